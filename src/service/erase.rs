//! Erasure of a subject, and the legal hold that forbids it.
//!
//! Erasing destroys the subject's key, its identifiers and links, and revokes its tokens, in one commit. What says nothing
//! about who it was (facts, marks, decisions, ended tokens) stays for auditors until the retention ends. Evidence
//! that stood against it is not laundered: whoever comes back with its document is looked at by a person.

use super::cross_check::takes_back;
use super::subjects::link_key;
use super::{Actor, App, ServiceError, ServiceResult, invalid};
use crate::storage::{Change, Conflict, FeedRow, StoredErasure, StoredHold, StoredSession, Write};
use serde::Serialize;
use serde_json::json;
use vouchsafe_core::Second;
use vouchsafe_core::facts::{Outcome, SubjectFacts};
use vouchsafe_core::fusion::Side;
use vouchsafe_core::ids::SubjectId;

/// How often an erasure is tried whose subject changes under it.
const TRIES: usize = 5;

/// What the caller of an erasure is told.
#[derive(Debug, Clone, Serialize)]
pub struct Erased {
    /// `sub_…`
    pub subject: String,
    /// When it was erased.
    pub erased_at: Second,
    /// Until when its facts, decisions and tokens are kept for auditors, without name or key.
    pub kept_until: Second,
}

/// A legal hold as its owner sees it.
#[derive(Debug, Clone, Serialize)]
pub struct HoldView {
    /// Why.
    pub reason: String,
    /// Who placed it.
    pub placed_by: String,
    /// Since when.
    pub placed_at: Second,
}

impl From<StoredHold> for HoldView {
    fn from(hold: StoredHold) -> Self {
        Self { reason: hold.reason, placed_by: hold.placed_by, placed_at: Second::from_millis(hold.placed_at_ms) }
    }
}

impl App {
    /// Erases a subject. `cause` goes into the audit log: `requested` or `inactive`.
    ///
    /// # Errors
    /// `NotFound`, `Erased` when it was erased before, `LegalHold` while one stands.
    pub async fn erase_subject(&self, actor: &Actor, subject: &SubjectId, cause: &str) -> ServiceResult<Erased> {
        // A caller that named a version gets one try: the next would find another.
        let tries = if super::idempotency::is_plain() { TRIES } else { 1 };
        for _ in 0..tries {
            if let Some(erased) = self.erase_once(actor, subject, cause).await? {
                self.scrub_wanted.store(true, std::sync::atomic::Ordering::Release);
                return Ok(erased);
            }
        }
        Err(ServiceError::Conflict("subject"))
    }

    /// `None` when the subject changed between reading and erasing.
    async fn erase_once(&self, actor: &Actor, subject: &SubjectId, cause: &str) -> ServiceResult<Option<Erased>> {
        let Some((facts, read_at)) = self.load_versioned(subject.as_str()).await? else {
            return Err(self.missing(subject.as_str()).await);
        };
        let now_ms = self.clock.now_ms();
        let erasure = StoredErasure {
            subject: subject.to_string(),
            erased_at_ms: now_ms,
            keep_until_ms: now_ms + self.retention_ms(),
            adverse: self.stands_accused(&facts).await?,
        };
        let links = self.store.links(subject.as_str()).await?;
        let sessions: Vec<(StoredSession, String)> = self
            .store
            .sessions(subject.as_str())
            .await?
            .into_iter()
            .map(|session| {
                let digest = self.erased_session(&session.source, &session.session);
                (session, digest)
            })
            .collect();
        let feed =
            links.iter().map(|link| FeedRow { kind: "link".to_owned(), key: link_key(&link.namespace, &link.digest) });
        let feed = feed.chain([FeedRow { kind: "subject".to_owned(), key: subject.to_string() }]).collect();
        let erased = Erased {
            subject: subject.to_string(),
            erased_at: Second::from_millis(now_ms),
            kept_until: Second::from_millis(erasure.keep_until_ms),
        };
        let detail = json!({ "cause": cause, "kept_until": erased.kept_until, "links": links.len(), "sessions": sessions.len() });
        let audit = self.audit(actor, "subject.erased", subject.as_str(), &detail)?;
        let messages = self.id(super::outbox::PREFIX)?;
        let write = Write::Erase { erasure, expected: read_at.version, sessions, messages };
        let outbox = self.erasure_messages(subject).await?;
        match self.commit_whole(Change { writes: vec![write], audit: vec![audit], feed, outbox }).await? {
            Ok(()) => Ok(Some(erased)),
            Err(Conflict::Exists("holds")) => Err(ServiceError::LegalHold),
            Err(Conflict::NoSuchSubject) => Err(self.missing(subject.as_str()).await),
            Err(_) => Ok(None),
        }
    }

    /// Whether evidence against the subject stands: a check that failed for a reason of substance, or anything that counts
    /// against it under a policy in force. Marks that take an item back clear it.
    async fn stands_accused(&self, facts: &SubjectFacts) -> ServiceResult<bool> {
        let declined = facts
            .attestations
            .iter()
            .any(|a| a.facts.outcome == Outcome::Declined && !a.marks.iter().any(|mark| takes_back(mark.kind)));
        if declined {
            return Ok(true);
        }
        let standing = self.standing(facts).await?;
        let mut evidence =
            standing.iter().flat_map(|decision| &decision.criteria).flat_map(|criterion| &criterion.evidence);
        Ok(evidence.any(|item| item.counted && item.side == Some(Side::Adverse)))
    }

    /// Under what the session of an erased subject is kept, so that a late result is recognised and dropped.
    pub(crate) fn erased_session(&self, source: &str, session: &str) -> String {
        format!("erased:{}", self.crypto.lookup_digest(&format!("session/{source}"), session))
    }

    /// Why a subject cannot be had: erased, or never there.
    pub(crate) async fn missing(&self, subject: &str) -> ServiceError {
        match self.store.erasure(subject).await {
            Ok(Some(_)) => ServiceError::Erased,
            Ok(None) => ServiceError::NotFound("subject"),
            Err(error) => error.into(),
        }
    }

    /// Forbids erasing a subject, or purging what is left of an erased one.
    ///
    /// # Errors
    /// `Invalid` without a reason, `NotFound`, `Conflict` when a hold stands.
    pub async fn place_hold(&self, actor: &Actor, subject: &SubjectId, reason: &str) -> ServiceResult<HoldView> {
        if reason.trim().is_empty() || reason.len() > 200 {
            return Err(invalid("/reason", "give the reason in 1 to 200 bytes, such as the citation of an order"));
        }
        let hold = StoredHold {
            subject: subject.to_string(),
            reason: reason.to_owned(),
            placed_by: actor.as_str().to_owned(),
            placed_at_ms: self.clock.now_ms(),
        };
        let audit = self.audit(actor, "hold.placed", subject.as_str(), &json!({ "reason": reason }))?;
        let feed = vec![FeedRow { kind: "subject".to_owned(), key: subject.to_string() }];
        match self.commit(vec![Write::Hold(hold.clone())], audit, feed).await? {
            Ok(()) => Ok(hold.into()),
            Err(Conflict::NoSuchSubject) => Err(ServiceError::NotFound("subject")),
            Err(_) => Err(ServiceError::Conflict("hold")),
        }
    }

    /// Lifts the hold.
    ///
    /// # Errors
    /// `NotFound` when there is none.
    pub async fn lift_hold(&self, actor: &Actor, subject: &SubjectId) -> ServiceResult<()> {
        let audit = self.audit(actor, "hold.lifted", subject.as_str(), &json!({}))?;
        let feed = vec![FeedRow { kind: "subject".to_owned(), key: subject.to_string() }];
        let write = Write::LiftHold(subject.to_string());
        self.commit(vec![write], audit, feed).await?.map_err(|_| ServiceError::NotFound("hold"))
    }

    /// The hold on a subject.
    ///
    /// # Errors
    /// `NotFound` when there is none.
    pub async fn hold(&self, subject: &SubjectId) -> ServiceResult<HoldView> {
        let hold = self.store.hold(subject.as_str()).await?;
        hold.map(HoldView::from).ok_or(ServiceError::NotFound("hold"))
    }
}
