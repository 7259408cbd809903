//! Made-up evidence for integrators, through the path that real evidence takes. Test deployments only.

use super::ingest::{Delivery, Submission};
use super::vendor::Waiting;
use super::{Actor, App, SELF_SOURCE, ServiceResult, invalid};
use std::collections::BTreeSet;
use vouchsafe_core::facts::{Grade, Kind, Outcome, SourceKind};
use vouchsafe_core::ids::SubjectId;
use vouchsafe_core::second::DAY;

/// What the source shall say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Everything is in order, and the face matches.
    Pass,
    /// The document is somebody else's.
    Fail,
    /// The document ended yesterday.
    Expired,
    /// The document is a forgery.
    Forged,
    /// Somebody at the source is still looking.
    Review,
}

/// Whom it speaks of.
#[derive(Debug, Clone)]
pub enum About {
    /// A subject of ours.
    Subject(SubjectId),
    /// A vendor's session, bound to a subject or not yet.
    Session(String),
}

/// A statement to make up.
#[derive(Debug, Clone)]
pub struct Simulation {
    /// The source that seems to speak.
    pub source: String,
    /// Whom it speaks of.
    pub about: About,
    /// What it says.
    pub verdict: Verdict,
    /// `passport`, `permanent_resident_card`, …
    pub document_type: String,
    /// ISO 3166-1 alpha-3.
    pub country: String,
    /// Nationalities read, ISO 3166-1 alpha-3.
    pub nationalities: BTreeSet<String>,
    /// Category code such as `A05`.
    pub category: Option<String>,
}

impl Verdict {
    /// Outcome and codes, as vendors' own words are read.
    fn in_our_words(self) -> (Outcome, &'static [&'static str]) {
        match self {
            Self::Pass => (Outcome::Approved, &["face_match"]),
            Self::Fail => (Outcome::Declined, &["face_mismatch"]),
            Self::Expired => (Outcome::DocumentExpired, &["face_match"]),
            Self::Forged => (Outcome::Declined, &["forged"]),
            Self::Review => (Outcome::Pending, &[]),
        }
    }
}

impl App {
    /// Makes a source say something. A later word about the same person and document supersedes an earlier one.
    ///
    /// # Errors
    /// `WrongDeployment` anywhere but on a test deployment; else as real evidence is refused.
    pub async fn simulate(&self, actor: &Actor, simulation: Simulation) -> ServiceResult<Delivery> {
        self.only_on_a_test_deployment()?;
        let source = simulation.source.as_str();
        let kind = match self.world.load().sources.get(source).map(|(source, _)| source.kind) {
            Some(SourceKind::DocumentVendor) => Kind::DocumentCheck,
            Some(SourceKind::Registry) => Kind::Registry,
            Some(SourceKind::Reviewer) => Kind::Review,
            _ if source == SELF_SOURCE => {
                return Err(invalid("/source", "a subject speaks for itself by the API"));
            }
            _ => return Err(invalid("/source", "no such source")),
        };
        let whom = match &simulation.about {
            About::Subject(subject) => subject.to_string(),
            About::Session(session) => session.clone(),
        };
        let (outcome, codes) = simulation.verdict.in_our_words();
        let now = self.clock.now();
        let made_up = Waiting {
            event: self.id("sim")?,
            lineage: format!("simulated/{whom}/{}/{}", simulation.country, simulation.document_type),
            decided_at: now,
            outcome,
            codes: codes.iter().map(|code| (*code).to_owned()).collect(),
            grade: Grade::Strong,
            document_type: Some(simulation.document_type),
            issuing_country: Some(simulation.country),
            nationalities: simulation.nationalities,
            category: simulation.category,
            document_number: None,
            birth_date: None,
            name: None,
            issued_on: None,
            ends_at: (simulation.verdict == Verdict::Expired).then(|| now.plus(-DAY)),
            simulated: true,
        };
        match simulation.about {
            About::Session(session) => {
                let (speaker, ..) = self.vendor(source)?;
                self.deliver_to(&speaker, session, made_up).await
            }
            About::Subject(subject) => {
                let submission = Submission { kind, ..made_up.submission(source) };
                let speaker = self.speaker(source, &subject)?;
                self.record(actor, &subject, &speaker, submission).await
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_pass_approves() {
        for verdict in [Verdict::Fail, Verdict::Expired, Verdict::Forged, Verdict::Review] {
            assert_ne!(verdict.in_our_words().0, Outcome::Approved, "{verdict:?}");
        }
        assert_eq!(Verdict::Pass.in_our_words().0, Outcome::Approved);
    }
}
