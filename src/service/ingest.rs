//! Attestations in: from authenticated clients that may speak for a source, and marks on them.

use super::deployment::SIMULATED;
use super::{Actor, App, NETWORK_SOURCE, SELF_SOURCE, ServiceError, ServiceResult, invalid};
use crate::intake::names::normalised_name;
use crate::storage::{Change, Comparison, Conflict, FeedRow, NewAttestation, StoredMark, Write};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use vouchsafe_core::Second;
use vouchsafe_core::end_users;
use vouchsafe_core::facts::{Basis, Facts, Grade, Kind, Outcome, PersonKey, SourceKind, Statement};
use vouchsafe_core::ids::SubjectId;
use vouchsafe_core::shares::Share;

/// For how long, in seconds, seeing a subject in the same place again says nothing new: so many observations a day are
/// kept of one subject at most as hours, for each place it is seen in.
const SEEN_AGAIN_SECS: i64 = 3600;

/// How far ahead a source's clock may be, in seconds.
const SKEW_SECS: i64 = 300;

/// A statement before it is facts: direct identifiers still inside.
#[derive(Debug)]
pub struct Submission {
    /// The source spoken for.
    pub source: String,
    /// The source's own delivery id.
    pub event: String,
    /// Results of one check share it.
    pub lineage: Option<String>,
    /// Kind of statement.
    pub kind: Kind,
    /// Claimed grade, capped by the source's.
    pub grade: Option<Grade>,
    /// How the check ended.
    pub outcome: Outcome,
    /// Outcome codes.
    pub codes: BTreeSet<String>,
    /// Document type.
    pub document_type: Option<String>,
    /// Issuing country, alpha-3.
    pub issuing_country: Option<String>,
    /// The document's number: only its keyed digest is kept.
    pub document_number: Option<String>,
    /// What was said.
    pub statement: Option<Statement>,
    /// What it rests on.
    pub basis: Option<Basis>,
    /// The source's own doubt.
    pub doubt: Option<f64>,
    /// Birth date as read: only its keyed digest is kept.
    pub birth_date: Option<String>,
    /// Name as read: only its keyed digest is kept.
    pub name: Option<String>,
    /// When the stated condition began.
    pub fact_date: Option<Second>,
    /// When the source looked.
    pub checked_at: Option<Second>,
    /// When it stops saying anything.
    pub ends_at: Option<Second>,
    /// Made up on a test deployment; refused on any other.
    pub simulated: bool,
}

impl Submission {
    /// A statement that says nothing yet, approved.
    #[must_use]
    pub fn new(source: &str, event: String, kind: Kind) -> Self {
        Self {
            source: source.to_owned(),
            event,
            lineage: None,
            kind,
            grade: None,
            outcome: Outcome::Approved,
            codes: BTreeSet::new(),
            document_type: None,
            issuing_country: None,
            document_number: None,
            statement: None,
            basis: None,
            doubt: None,
            birth_date: None,
            name: None,
            fact_date: None,
            checked_at: None,
            ends_at: None,
            simulated: false,
        }
    }
}

/// What became of a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivery {
    /// A new attestation.
    Recorded(String),
    /// Delivered before, as this attestation.
    Duplicate(String),
    /// Authentic, but nobody has linked its session.
    Quarantined,
    /// A newer result of the same check stands.
    Overtaken,
    /// The vendor reopened the check: its earlier results no longer count.
    Reopened,
    /// Nothing in it for us.
    Ignored,
}

/// Where facts come from, resolved.
pub(crate) struct Speaker {
    pub source: String,
    pub kind: SourceKind,
    pub assessor: String,
    pub max_grade: Grade,
}

/// How the key of a document with a number begins; any other key is nobody else's.
const NUMBERED: &str = "doc:";

/// Kinds of statement that a kind of source can make.
fn may_state(source: SourceKind, kind: Kind) -> bool {
    match source {
        SourceKind::DocumentVendor => kind == Kind::DocumentCheck,
        SourceKind::Registry => kind == Kind::Registry,
        SourceKind::Reviewer => kind == Kind::Review,
        SourceKind::Employer | SourceKind::UnverifiedOrganisation => matches!(kind, Kind::Vouch | Kind::Directory),
        SourceKind::Network => kind == Kind::Observation,
        SourceKind::Subject => kind == Kind::Declaration,
        SourceKind::Service => matches!(kind, Kind::CrossCheck | Kind::Directory),
    }
}

/// Most owners that a statement may name.
const MAX_OWNERS: usize = 256;

/// Owners are named by our ids or as lists of parties name them, and hold no more than there is.
fn check_owners(owners: &BTreeMap<String, Share>) -> ServiceResult<()> {
    let fail = |problem: &str| Err(invalid("/statement/owners", problem));
    let name_ok = |name: &str| {
        (1..=80).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.:".contains(&byte))
    };
    if owners.is_empty() || owners.len() > MAX_OWNERS {
        return fail("needs 1 to 256 owners");
    }
    if !owners.keys().all(|name| name_ok(name)) {
        return fail("owners are `sub_…`, `org_…` or names of 1 to 80 of `a-z 0-9 - _ . :`");
    }
    if Share::exceed_the_whole(owners.values()) {
        return fail("the shares come to more than the whole");
    }
    Ok(())
}

fn country_ok(country: &str) -> bool {
    country.len() == 3 && country.bytes().all(|b| b.is_ascii_uppercase()) && country != "UTO"
}

/// Letters and digits in upper case: `12-34 5x` and `12345X` are one document.
fn normalised_number(number: &str) -> String {
    number.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_uppercase).collect()
}

impl App {
    /// Records a statement of an authenticated client about a subject.
    ///
    /// # Errors
    /// `Invalid` naming the member, `NotFound` for an unknown subject, `Conflict` when a newer result stands.
    pub async fn submit(&self, actor: &Actor, subject: &SubjectId, submission: Submission) -> ServiceResult<Delivery> {
        let speaker = self.speaker(&submission.source, subject)?;
        self.record(actor, subject, &speaker, submission).await
    }

    pub(crate) fn speaker(&self, source: &str, subject: &SubjectId) -> ServiceResult<Speaker> {
        if source == SELF_SOURCE {
            return Ok(Speaker {
                source: source.to_owned(),
                kind: SourceKind::Subject,
                assessor: format!("self:{subject}"),
                max_grade: Grade::SelfDeclared,
            });
        }
        let world = self.world.load();
        let (found, _) = world.sources.get(source).ok_or_else(|| invalid("/source", "no such source"))?;
        Ok(Speaker {
            source: source.to_owned(),
            kind: found.kind,
            assessor: found.assessor.clone().unwrap_or_else(|| source.to_owned()),
            max_grade: found.max_grade,
        })
    }

    /// Records one of many statements; what has to be compared is handed back, for one commit with others.
    ///
    /// # Errors
    /// As [`App::submit`].
    pub(crate) async fn submit_one_of_many(
        &self,
        actor: &Actor,
        subject: &SubjectId,
        submission: Submission,
    ) -> ServiceResult<(Delivery, Option<Comparison>)> {
        let speaker = self.speaker(&submission.source, subject)?;
        self.record_uncompared(actor, subject, &speaker, submission, Vec::new()).await
    }

    /// Turns a submission into facts, records it, and compares it with what else is held.
    pub(crate) async fn record(
        &self,
        actor: &Actor,
        subject: &SubjectId,
        speaker: &Speaker,
        submission: Submission,
    ) -> ServiceResult<Delivery> {
        self.record_with(actor, subject, speaker, submission, Vec::new()).await
    }

    /// As [`App::record`], with more writes in the commit of a new attestation.
    pub(crate) async fn record_with(
        &self,
        actor: &Actor,
        subject: &SubjectId,
        speaker: &Speaker,
        submission: Submission,
        also: Vec<Write>,
    ) -> ServiceResult<Delivery> {
        let (delivery, compare) = self.record_uncompared(actor, subject, speaker, submission, also).await?;
        if let Some(compare) = compare
            && let Err(error) = self.compare(&compare).await
        {
            tracing::warn!(error = %error, "an attestation waits to be compared");
        }
        Ok(delivery)
    }

    /// Turns a submission into facts and records it, with more writes in the same commit; gives back what has to be
    /// compared.
    async fn record_uncompared(
        &self,
        actor: &Actor,
        subject: &SubjectId,
        speaker: &Speaker,
        submission: Submission,
        also: Vec<Write>,
    ) -> ServiceResult<(Delivery, Option<Comparison>)> {
        let event = submission.event.clone();
        let lineage = submission.lineage.clone().unwrap_or_else(|| event.clone());
        let facts = self.facts(subject, speaker, submission, &lineage)?;
        let new = self.new_attestation(actor, subject.as_str(), &speaker.source, event, lineage, &facts)?;
        let id = new.id.clone();
        let compare = new.compare.then(|| Comparison {
            attestation: id.clone(),
            subject: new.subject.clone(),
            document: new.document.clone(),
        });
        self.check_history()?;
        let denies = super::anchor::denies(&facts);
        let recorded = if also.is_empty() && super::idempotency::is_plain() {
            self.store.record_attestation(new).await?.map(|_| ())
        } else {
            let writes = also.into_iter().chain([Write::Attestation(new)]).collect();
            let change = Change { writes, audit: Vec::new(), feed: Vec::new(), outbox: Vec::new() };
            self.commit_change(change).await?
        };
        match recorded {
            Ok(()) => {
                self.index.invalidate(subject.as_str());
                if denies {
                    self.cover().await?;
                }
                metrics::counter!("vouchsafe_attestations_total", "kind" => facts.kind.as_str()).increment(1);
                Ok((Delivery::Recorded(id), compare))
            }
            Err(Conflict::DuplicateEvent { attestation }) => {
                // The first delivery may not have been acknowledged for want of the anchor.
                if denies {
                    self.cover().await?;
                }
                Ok((Delivery::Duplicate(attestation), None))
            }
            Err(Conflict::Overtaken) => Ok((Delivery::Overtaken, None)),
            Err(Conflict::NoSuchSubject) => Err(self.missing(subject.as_str()).await),
            Err(_) => Err(ServiceError::Conflict("attestation")),
        }
    }

    pub(crate) fn new_attestation(
        &self,
        actor: &Actor,
        subject: &str,
        source: &str,
        event: String,
        lineage: String,
        facts: &Facts,
    ) -> ServiceResult<NewAttestation> {
        self.may_speak(source, self.clock.now())?;
        let id = self.id("att")?;
        let document = facts.document.starts_with(NUMBERED).then(|| facts.document.clone());
        let mut detail = json!({ "subject": subject, "source": source, "kind": facts.kind, "outcome": facts.outcome });
        if facts.codes.contains(SIMULATED)
            && let Some(members) = detail.as_object_mut()
        {
            members.insert(SIMULATED.to_owned(), json!(true));
        }
        let told = json!({ "attestation": id, "subject": subject, "source": source, "kind": facts.kind,
            "outcome": facts.outcome });
        Ok(NewAttestation {
            subject: subject.to_owned(),
            source: source.to_owned(),
            event,
            lineage,
            checked_at_ms: facts.checked_at.millis(),
            recorded_at_ms: self.clock.now_ms(),
            facts: serde_json::to_string(facts).map_err(|_| ServiceError::Unreadable("facts".to_owned()))?,
            compare: document.is_some() || facts.person.is_some(),
            document,
            audit: self.audit(actor, "attestation.recorded", &id, &detail)?,
            outbox: Some(self.message("attestation.accepted", subject, &told)?),
            id,
        })
    }

    pub(crate) fn facts(
        &self,
        subject: &SubjectId,
        speaker: &Speaker,
        s: Submission,
        lineage: &str,
    ) -> ServiceResult<Facts> {
        if !may_state(speaker.kind, s.kind) {
            return Err(invalid("/kind", "this source does not make statements of this kind"));
        }
        let now = self.clock.now();
        let checked_at = s.checked_at.unwrap_or(now);
        if checked_at.since(now) > SKEW_SECS {
            return Err(invalid("/checked_at", "lies more than 300 s ahead"));
        }
        let checked_at = checked_at.min(now);
        if s.fact_date.is_some_and(|date| date.since(now) > SKEW_SECS) {
            return Err(invalid("/fact_date", "lies ahead"));
        }
        if s.doubt.is_some_and(|doubt| !(doubt > 0.0 && doubt <= 1.0)) {
            return Err(invalid("/doubt", "must lie in (0, 1]"));
        }
        if s.issuing_country.as_deref().is_some_and(|country| !country_ok(country)) {
            return Err(invalid("/document/issuing_country", "must be ISO 3166-1 alpha-3 in capitals"));
        }
        let code_ok = |code: &String| {
            (1..=64).contains(&code.len())
                && code.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_.-".contains(&b))
        };
        if s.codes.len() > 32 || !s.codes.iter().all(code_ok) {
            return Err(invalid("/codes", "at most 32 codes of 1 to 64 of `a-z 0-9 _ . -`"));
        }
        if s.codes.contains(SIMULATED) {
            return Err(invalid("/codes", "`simulated` is for made-up evidence of test deployments"));
        }
        let mut codes = s.codes;
        if s.simulated {
            self.only_on_a_test_deployment()?;
            codes.insert(SIMULATED.to_owned());
        }
        self.check_statement(speaker.kind, s.kind, s.statement.as_ref())?;
        let grade = match (speaker.kind, s.kind, &s.statement) {
            (SourceKind::Subject, ..) => Grade::SelfDeclared,
            // A word about employment is strong, one about legal status fair, a directory entry fair.
            (
                SourceKind::Employer | SourceKind::UnverifiedOrganisation,
                Kind::Vouch,
                Some(Statement::Employment { .. }),
            ) => Grade::Strong,
            (SourceKind::Employer | SourceKind::UnverifiedOrganisation, ..) => Grade::Fair,
            (SourceKind::Network, ..) => Grade::Strong,
            _ => s.grade.unwrap_or(Grade::Fair).min(speaker.max_grade),
        };
        let document = match (&s.document_number, s.kind) {
            (Some(number), _) => {
                let parts = [
                    s.issuing_country.as_deref().unwrap_or("?"),
                    s.document_type.as_deref().unwrap_or("?"),
                    &normalised_number(number),
                ];
                format!("{NUMBERED}{}", self.crypto.lineage_digest("document", &parts.join("/")))
            }
            (None, Kind::Vouch | Kind::Directory) => format!("{}/{subject}", speaker.assessor),
            (None, Kind::Declaration) => format!("self:{subject}"),
            (None, Kind::Observation) => speaker.assessor.clone(),
            (None, _) => format!("{}/{}", speaker.source, self.crypto.lineage_digest("lineage", lineage)),
        };
        let person = s.birth_date.as_ref().map(|birth| {
            let name = s.name.as_deref().map(normalised_name).filter(|name| !name.is_empty());
            PersonKey {
                birth: self.crypto.lineage_digest("birth", birth),
                name: name.map(|name| self.crypto.lineage_digest("name", &name)),
            }
        });
        Ok(Facts {
            kind: s.kind,
            source_kind: speaker.kind,
            grade,
            outcome: s.outcome,
            codes,
            document_type: s.document_type,
            issuing_country: s.issuing_country,
            statement: s.statement,
            basis: s.basis,
            doubt: s.doubt,
            document,
            assessor: speaker.assessor.clone(),
            person,
            fact_date: s.fact_date,
            checked_at,
            ends_at: s.ends_at,
        })
    }

    /// A statement must be of the kind's shape and use known words: an empty or unknown state is refused at the door.
    fn check_statement(&self, source: SourceKind, kind: Kind, statement: Option<&Statement>) -> ServiceResult<()> {
        let fail = |problem: &str| Err(invalid("/statement", problem));
        match (kind, statement) {
            (Kind::Vouch | Kind::Declaration | Kind::Observation | Kind::Directory, None) => fail("is required"),
            (_, None | Some(Statement::Read { .. }))
                if matches!(kind, Kind::Vouch | Kind::Declaration | Kind::Directory) =>
            {
                fail("must say what is vouched or declared")
            }
            (_, Some(Statement::States { frame, states })) if frame == end_users::FRAME => {
                let organisation = matches!(source, SourceKind::Employer | SourceKind::UnverifiedOrganisation);
                if kind != Kind::Vouch || !organisation {
                    fail("only organisations vouch for their end users")
                } else if states.len() != 1 || !states.contains(end_users::OWN) {
                    fail("must state `own`, and nothing else, in the frame `end_user`")
                } else {
                    Ok(())
                }
            }
            (_, Some(Statement::States { frame, states })) => {
                let world = self.world.load();
                let mut packs = world.library.packs.values().filter(|pack| pack.id == *frame).peekable();
                if packs.peek().is_none() {
                    return fail("names an unknown frame");
                }
                let known = packs.any(|pack| match &pack.shape {
                    vouchsafe_core::definitions::Shape::State { states: all } => states.is_subset(all),
                    vouchsafe_core::definitions::Shape::OpenState => states.iter().all(|state| country_ok(state)),
                    vouchsafe_core::definitions::Shape::Membership | vouchsafe_core::definitions::Shape::Shares => {
                        false
                    }
                });
                if states.is_empty() || !known {
                    return fail("needs one or more states of the frame");
                }
                Ok(())
            }
            (_, Some(Statement::Nationalities { countries })) => {
                if countries.is_empty() || !countries.iter().all(|country| country_ok(country)) {
                    return fail("countries must be ISO 3166-1 alpha-3 in capitals");
                }
                Ok(())
            }
            (_, Some(Statement::Read { nationalities, .. })) => {
                if nationalities.iter().all(|country| country_ok(country)) {
                    Ok(())
                } else {
                    fail("nationalities must be ISO 3166-1 alpha-3 in capitals")
                }
            }
            (_, Some(Statement::Network { .. })) if source != SourceKind::Network => {
                fail("only the network database observes")
            }
            (_, Some(Statement::Employment { organisation, relation, .. })) => {
                if relation.as_ref().is_some_and(|relation| relation.len() > 64) {
                    fail("relation is longer than 64 bytes")
                } else if vouchsafe_core::ids::OrganisationId::parse(organisation).is_err() {
                    fail("names no organisation")
                } else {
                    Ok(())
                }
            }
            (_, Some(Statement::Owners { owners })) => check_owners(owners),
            // Who stands behind a workload is said where the workload is registered.
            (_, Some(Statement::Workload { .. })) if source != SourceKind::Service => {
                fail("is not for a source to make")
            }
            _ => Ok(()),
        }
    }

    /// Marks an attestation as revoked. `from_start` for forgery and reopened checks.
    ///
    /// # Errors
    /// `NotFound` when there is no such attestation.
    pub async fn revoke_attestation(
        &self,
        actor: &Actor,
        id: &str,
        reason: &str,
        from_start: bool,
    ) -> ServiceResult<()> {
        let attestation = self.store.attestation(id).await?.ok_or(ServiceError::NotFound("attestation"))?;
        let mark = StoredMark {
            attestation: id.to_owned(),
            kind: "revoked".to_owned(),
            at_ms: self.clock.now_ms(),
            from_start,
            by: actor.as_str().to_owned(),
            reason: reason.to_owned(),
        };
        let audit =
            self.audit(actor, "attestation.revoked", id, &json!({ "reason": reason, "from_start": from_start }))?;
        let feed = vec![FeedRow { kind: "subject".to_owned(), key: attestation.subject }];
        self.commit(vec![Write::Mark(mark)], audit, feed).await?.map_err(|_| ServiceError::NotFound("attestation"))
    }

    /// Records where a client address seen for a subject leaves its network.
    ///
    /// # Errors
    /// `Invalid` when the network databases know nothing of the address.
    pub async fn observe(&self, actor: &Actor, subject: &SubjectId, address: IpAddr) -> ServiceResult<Delivery> {
        let Some(statement) = self.geoip.load().observe(address) else {
            return Err(invalid("/address", "nothing is known of this address: no evidence recorded"));
        };
        let speaker = Speaker {
            source: NETWORK_SOURCE.to_owned(),
            kind: SourceKind::Network,
            assessor: NETWORK_SOURCE.to_owned(),
            max_grade: Grade::Strong,
        };
        let now = self.clock.now();
        let facts = self.index.facts(subject, || self.load_versioned(subject.as_str())).await?;
        let same = facts.iter().flat_map(|facts| &facts.attestations).find(|seen| {
            seen.source.as_str() == NETWORK_SOURCE
                && seen.facts.statement.as_ref() == Some(&statement)
                && now.since(seen.facts.checked_at) < SEEN_AGAIN_SECS
                && seen.marks.is_empty()
        });
        if let Some(same) = same {
            return Ok(Delivery::Duplicate(same.id.to_string()));
        }
        let submission = Submission {
            statement: Some(statement),
            checked_at: Some(now),
            ends_at: Some(now.plus(86_400)),
            ..Submission::new(NETWORK_SOURCE, self.id("obs")?, Kind::Observation)
        };
        self.record(actor, subject, &speaker, submission).await
    }
}

impl App {
    /// A delivery id for a statement that came without one.
    ///
    /// # Errors
    /// When the generator fails.
    pub fn fresh_event(&self) -> ServiceResult<String> {
        self.id("evt")
    }

    /// The subject's attestations as stored.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn attestations(&self, subject: &SubjectId) -> ServiceResult<Vec<vouchsafe_core::facts::Attestation>> {
        match self.load_facts(subject.as_str()).await? {
            Some(facts) => Ok(facts.attestations),
            None => Err(self.missing(subject.as_str()).await),
        }
    }

    /// Revokes an attestation of a source that the caller may speak for; any other looks missing.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn revoke_as(
        &self,
        caller: &super::authenticate::Caller,
        id: &str,
        reason: &str,
        from_start: bool,
    ) -> ServiceResult<()> {
        let found = self.store.attestation(id).await?.filter(|found| caller.sources.contains(&found.source));
        found.ok_or(ServiceError::NotFound("attestation"))?;
        self.revoke_attestation(&caller.actor(), id, reason, from_start).await
    }
}
