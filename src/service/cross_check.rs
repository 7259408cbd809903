//! What this service sees by comparing what it holds: one document of two subjects, two people on one subject.
//!
//! The row that asks for a comparison is written in the commit of the attestation and goes when the comparison is done,
//! so a crash between the two delays a comparison and never loses one. Each finding has a delivery id of its own:
//! comparing twice records it once.

use super::ingest::{Delivery, Speaker, Submission};
use super::{Actor, App, SERVICE_SOURCE, ServiceError, ServiceResult};
use crate::storage::{Change, Comparison, StoredErasure, Write};
use std::collections::BTreeSet;
use vouchsafe_core::facts::{
    DOCUMENT_OF_ERASED, DOCUMENT_SHARED, Facts, Grade, Kind, MarkKind, NAME_DIFFERS, Outcome, PERSON_MISMATCH,
    PersonKey, SUBJECT_DUPLICATE, SourceKind,
};
use vouchsafe_core::ids::SubjectId;
use vouchsafe_core::second::DAY;

/// How long a finding weighs unless somebody settles it.
const ENDS_AFTER: i64 = 730 * DAY;

/// Comparisons of one round of the job.
const ROUND: i64 = 100;

/// A document check that names a document.
struct Holder {
    subject: String,
    approved: bool,
    matched_face: bool,
    person: Option<PersonKey>,
}

impl Holder {
    fn new(subject: &str, facts: &Facts) -> Self {
        Self {
            subject: subject.to_owned(),
            approved: facts.outcome == Outcome::Approved,
            matched_face: facts.codes.contains("face_match"),
            person: facts.person.clone(),
        }
    }

    /// Whether both name one person: the same birth date and no other name.
    fn agrees(&self, other: &Self) -> bool {
        let (Some(a), Some(b)) = (&self.person, &other.person) else { return false };
        let differs = matches!((&a.name, &b.name), (Some(a), Some(b)) if a != b);
        a.birth == b.birth && !differs
    }

    /// What `other` holding the same document means for us; nothing when it means nothing. Only a check that passed is
    /// held against anybody: a failed one says nothing about who holds the document, or a thief could put its owner
    /// under review by trying it.
    fn beside(&self, other: &Self, erased: Option<&StoredErasure>) -> Option<&'static str> {
        let both_faces = self.matched_face && other.matched_face;
        match erased {
            Some(erased) if erased.adverse && (other.approved || self.agrees(other)) => Some(DOCUMENT_OF_ERASED),
            _ if !other.approved => None,
            // Somebody who left with nothing against them may come back.
            Some(_) if both_faces || self.agrees(other) => None,
            None if both_faces => Some(SUBJECT_DUPLICATE),
            _ => Some(DOCUMENT_SHARED),
        }
    }
}

/// Whether a mark of this kind takes its attestation back; a settled one still stands.
pub(super) fn takes_back(kind: MarkKind) -> bool {
    kind != MarkKind::Resolved
}

impl App {
    /// Compares what was left waiting; called now and then.
    ///
    /// # Errors
    /// When the store cannot be read or written; what waits goes on waiting.
    pub async fn compare_waiting(&self) -> ServiceResult<usize> {
        let waiting = self.store.comparisons(ROUND).await?;
        self.compare_many(&waiting).await?;
        Ok(waiting.len())
    }

    /// Compares one attestation with what else is held and records what is found.
    pub(crate) async fn compare(&self, waiting: &Comparison) -> ServiceResult<()> {
        self.compare_many(std::slice::from_ref(waiting)).await
    }

    /// Compares some and notes in one commit that it is done.
    pub(crate) async fn compare_many(&self, waiting: &[Comparison]) -> ServiceResult<()> {
        for comparison in waiting {
            self.compare_people(comparison).await?;
            if let Some(document) = &comparison.document {
                self.compare_holders(comparison, document).await?;
            }
        }
        if waiting.is_empty() {
            return Ok(());
        }
        let writes = waiting.iter().map(|comparison| Write::Compared(comparison.attestation.clone())).collect();
        // Bookkeeping, no change of state: what was found carries its own audit entry.
        let change = Change { writes, audit: Vec::new(), feed: Vec::new(), outbox: Vec::new() };
        let _ = self.store.commit(change).await?;
        Ok(())
    }

    /// Two birth dates are two people; one birth date under two names is told.
    async fn compare_people(&self, waiting: &Comparison) -> ServiceResult<()> {
        let Some(facts) = self.load_facts(&waiting.subject).await? else { return Ok(()) };
        let standing: Vec<(&str, &PersonKey)> = facts
            .attestations
            .iter()
            .filter(|attestation| attestation.facts.outcome == Outcome::Approved)
            .filter(|attestation| !attestation.marks.iter().any(|mark| takes_back(mark.kind)))
            .filter_map(|attestation| Some((attestation.id.as_str(), attestation.facts.person.as_ref()?)))
            .collect();
        let Some((_, ours)) = standing.iter().find(|(id, _)| *id == waiting.attestation) else { return Ok(()) };
        if let Some((_, other)) = standing.iter().find(|(_, person)| person.birth != ours.birth) {
            let mut births = [ours.birth.as_str(), other.birth.as_str()];
            births.sort_unstable();
            return self.found(&facts.subject, PERSON_MISMATCH, &births.join("/")).await;
        }
        let differs = |other: &PersonKey| matches!((&other.name, &ours.name), (Some(a), Some(b)) if a != b);
        if standing.iter().any(|(_, person)| differs(person)) {
            return self.found(&facts.subject, NAME_DIFFERS, &ours.birth).await;
        }
        Ok(())
    }

    /// A document on two subjects: shared, or one person with two accounts when both matched the face.
    async fn compare_holders(&self, waiting: &Comparison, document: &str) -> ServiceResult<()> {
        let mut ours = None;
        let mut others: Vec<Holder> = Vec::new();
        for id in self.store.of_document(document).await? {
            let Some(row) = self.store.attestation(&id).await? else { continue };
            if row.marks.iter().any(|mark| mark.kind != "resolved") {
                continue;
            }
            let unreadable = |_| ServiceError::Unreadable(format!("attestation {id}"));
            let facts: Facts = serde_json::from_str(&row.facts).map_err(unreadable)?;
            let holder = Holder::new(&row.subject, &facts);
            if id == waiting.attestation {
                ours = Some(holder);
            } else if row.subject != waiting.subject {
                others.push(holder);
            }
        }
        let Some(ours) = ours.filter(|holder| holder.approved) else { return Ok(()) };
        for other in others {
            let erased = self.store.erasure(&other.subject).await?;
            let Some(code) = ours.beside(&other, erased.as_ref()) else { continue };
            for subject in [&ours.subject, &other.subject] {
                let subject = SubjectId::parse(subject).map_err(|_| ServiceError::Unreadable("subject".to_owned()))?;
                self.found(&subject, code, document).await?;
            }
        }
        Ok(())
    }

    async fn found(&self, subject: &SubjectId, code: &str, about: &str) -> ServiceResult<()> {
        let weighs = [DOCUMENT_SHARED, DOCUMENT_OF_ERASED, PERSON_MISMATCH].contains(&code);
        let now = self.clock.now();
        let speaker = Speaker {
            source: SERVICE_SOURCE.to_owned(),
            kind: SourceKind::Service,
            assessor: "service".to_owned(),
            max_grade: Grade::Weak,
        };
        let submission = Submission {
            grade: Some(Grade::Weak),
            outcome: if weighs { Outcome::Declined } else { Outcome::Approved },
            codes: BTreeSet::from([code.to_owned()]),
            checked_at: Some(now),
            ends_at: Some(now.plus(ENDS_AFTER)),
            ..Submission::new(SERVICE_SOURCE, format!("{code}:{subject}:{about}"), Kind::CrossCheck)
        };
        // The futures of recording and comparing contain each other.
        let recorded = Box::pin(self.record(&Actor::system(), subject, &speaker, submission)).await;
        match recorded {
            Ok(Delivery::Recorded(_)) => {
                metrics::counter!("vouchsafe_cross_checks_total", "code" => code.to_owned()).increment(1);
                Ok(())
            }
            // Found before; or the subject was erased meanwhile.
            Ok(_) | Err(ServiceError::NotFound(_) | ServiceError::Erased) => Ok(()),
            Err(error) => Err(error),
        }
    }
}
