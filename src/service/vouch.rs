//! Employers' vouches: signed, or by the organisation's own authenticated client.

use super::authenticate::Caller;
use super::end_users::OWN_NAMESPACE;
use super::ingest::{Delivery, Speaker, Submission};
use super::suspend::organisation_source;
use super::{Actor, App, ServiceError, ServiceResult, invalid};
use crate::intake::IntakeError;
use crate::intake::vouch::{OrganisationKey, VouchSubject, unverified_issuer, verify};
use crate::storage::{Change, Conflict, FeedRow, StoredMark, Write};
use serde_json::{Value, json};
use vouchsafe_core::Second;
use vouchsafe_core::facts::{Basis, Facts, Grade, Kind, SourceKind, Statement};
use vouchsafe_core::ids::SubjectId;

/// What an organisation's own client says.
#[derive(Debug)]
pub struct PlainVouch {
    /// What is vouched.
    pub statement: Statement,
    /// What it rests on.
    pub basis: Option<Basis>,
    /// When the stated condition began.
    pub fact_date: Option<Second>,
    /// When the vouch ends.
    pub ends_at: Option<Second>,
    /// The organisation's own delivery id.
    pub event: Option<String>,
}

impl App {
    pub(crate) fn organisation_speaker(&self, id: &str) -> Option<(Speaker, Vec<Value>)> {
        let world = self.world.load();
        let organisation = world.organisations.get(id)?;
        let speaker = Speaker {
            source: organisation_source(id),
            kind: if organisation.verified { SourceKind::Employer } else { SourceKind::UnverifiedOrganisation },
            assessor: id.to_owned(),
            max_grade: Grade::Strong,
        };
        Some((speaker, organisation.keys.clone()))
    }

    /// The organisation that the caller is, and as whom it speaks.
    pub(crate) fn organisation_of(&self, caller: &Caller) -> ServiceResult<(String, Speaker)> {
        let organisation = caller.organisation.clone().ok_or(ServiceError::Forbidden("organisation"))?;
        let (speaker, _) = self.organisation_speaker(&organisation).ok_or(ServiceError::Forbidden("organisation"))?;
        Ok((organisation, speaker))
    }

    /// The subject that a vouch of an organisation names: by our id, by a link, or as one of its own end users.
    ///
    /// # Errors
    /// `NotFound` for a link that leads nowhere; whether there is a subject of this id is for the commit to say.
    pub async fn vouched_subject(&self, organisation: &str, subject: &VouchSubject) -> ServiceResult<SubjectId> {
        let unknown = || ServiceError::NotFound("subject");
        match subject {
            VouchSubject::Link { namespace, id } if namespace == OWN_NAMESPACE => {
                self.registered_end_user(organisation, id).await.map_err(|error| match error {
                    ServiceError::NotFound(_) => unknown(),
                    error => error,
                })
            }
            VouchSubject::Id(id) => SubjectId::parse(id).map_err(|_| unknown()),
            VouchSubject::Link { namespace, id } => {
                let found = self.resolve_link(namespace, id).await?.ok_or_else(unknown)?;
                SubjectId::parse(&found).map_err(|_| unknown())
            }
        }
    }

    /// Records a signed vouch. Its `jti` is spent in the same commit, so that it counts once.
    ///
    /// # Errors
    /// `Intake` for anything wrong with the token; an unknown organisation looks like a bad signature.
    pub async fn vouch_signed(&self, token: &str) -> ServiceResult<(Delivery, SubjectId)> {
        let issuer = unverified_issuer(token)?;
        let (speaker, keys) = self.organisation_speaker(&issuer).ok_or(IntakeError::BadSignature)?;
        let keys: Vec<OrganisationKey> = keys
            .into_iter()
            .filter_map(|jwk| Some(OrganisationKey { kid: jwk.get("kid")?.as_str()?.to_owned(), jwk }))
            .collect();
        let now = self.clock.now();
        let vouch = verify(token, &issuer, &keys, &self.issuer, now)?;
        // What was signed before the end of a suspension may have been signed by whoever caused it.
        self.may_speak(&speaker.source, vouch.issued_at)?;
        let subject = self.vouched_subject(&issuer, &vouch.subject).await?;
        let statement = match vouch.employed {
            Some(employed) => {
                Statement::Employment { organisation: issuer.clone(), employed, relation: vouch.relation.clone() }
            }
            None => Statement::States { frame: vouch.frame.clone(), states: vouch.states.clone() },
        };
        let actor = Actor::source(&speaker.source);
        let submission = Submission {
            checked_at: Some(vouch.issued_at),
            ..submission(&speaker, vouch.jti.clone(), statement, vouch.basis, vouch.fact_date, vouch.ends_at)
        };
        let facts = self.facts(&subject, &speaker, submission, &vouch.jti)?;
        let denies = super::anchor::denies(&facts);
        let new = self.new_attestation(
            &actor,
            subject.as_str(),
            &speaker.source,
            vouch.jti.clone(),
            vouch.jti.clone(),
            &facts,
        )?;
        let id = new.id.clone();
        let spend = Write::Spend { issuer, jti: vouch.jti, expires_at_ms: vouch.expires_at.plus(60).millis() };
        let audit = self.audit(&actor, "vouch.accepted", &id, &json!({ "subject": subject }))?;
        let feed = vec![FeedRow { kind: "subject".to_owned(), key: subject.to_string() }];
        let change =
            Change { writes: vec![spend, Write::Attestation(new)], audit: vec![audit], feed, outbox: Vec::new() };
        let answer = self.commit_change(change).await?;
        self.index.invalidate(subject.as_str());
        if denies && answer.is_ok() {
            self.cover().await?;
        }
        match answer {
            Ok(()) => Ok((Delivery::Recorded(id), subject)),
            Err(Conflict::Spent) => Err(ServiceError::Conflict("jti")),
            Err(Conflict::DuplicateEvent { .. }) => Err(ServiceError::Conflict("jti")),
            Err(Conflict::NoSuchSubject) => Err(self.missing(subject.as_str()).await),
            Err(_) => Err(ServiceError::Conflict("vouch")),
        }
    }

    /// Records a vouch of an organisation's own authenticated client.
    ///
    /// # Errors
    /// `Forbidden` for a client that is no organisation's.
    pub async fn vouch_plain(
        &self,
        caller: &Caller,
        subject: &SubjectId,
        vouch: PlainVouch,
    ) -> ServiceResult<Delivery> {
        let (organisation, speaker) = self.organisation_of(caller)?;
        if let Statement::Employment { organisation: named, .. } = &vouch.statement
            && *named != organisation
        {
            return Err(invalid("/organisation", "an organisation vouches for its own people only"));
        }
        let event = match vouch.event {
            Some(event) => event,
            None => self.id("evt")?,
        };
        let submission = submission(&speaker, event, vouch.statement, vouch.basis, vouch.fact_date, vouch.ends_at);
        self.record(&caller.actor(), subject, &speaker, submission).await
    }

    /// Withdraws a vouch of the caller's organisation.
    ///
    /// # Errors
    /// `NotFound` for anything that is not a vouch of that organisation.
    pub async fn withdraw_vouch(&self, caller: &Caller, id: &str) -> ServiceResult<()> {
        let (_, speaker) = self.organisation_of(caller)?;
        // What the organisation's directory says is for the directory to take back.
        let vouch = |facts: &str| serde_json::from_str::<Facts>(facts).is_ok_and(|facts| facts.kind == Kind::Vouch);
        let attestation = self.store.attestation(id).await?;
        let attestation = attestation.filter(|found| found.source == speaker.source && vouch(&found.facts));
        let attestation = attestation.ok_or(ServiceError::NotFound("vouch"))?;
        let actor = caller.actor();
        let mark = StoredMark {
            attestation: id.to_owned(),
            kind: "revoked".to_owned(),
            at_ms: self.clock.now_ms(),
            from_start: false,
            by: actor.as_str().to_owned(),
            reason: "withdrawn".to_owned(),
        };
        let audit = self.audit(&actor, "vouch.withdrawn", id, &json!({}))?;
        let feed = vec![FeedRow { kind: "subject".to_owned(), key: attestation.subject }];
        self.commit(vec![Write::Mark(mark)], audit, feed).await?.map_err(|_| ServiceError::NotFound("vouch"))
    }
}

pub(crate) fn submission(
    speaker: &Speaker,
    event: String,
    statement: Statement,
    basis: Option<Basis>,
    fact_date: Option<Second>,
    ends_at: Option<Second>,
) -> Submission {
    Submission {
        statement: Some(statement),
        basis,
        fact_date,
        ends_at,
        ..Submission::new(&speaker.source, event, Kind::Vouch)
    }
}
