//! Native vendors: raw bytes, the vendor's own signature, then the result fetched from the vendor decides.

use super::ingest::{Delivery, Speaker, Submission};
use super::world::{Vendor, VendorSecrets};
use super::{Actor, App, ServiceError, ServiceResult};
use crate::intake::CheckResult;
use crate::intake::native::{Account, Native, Notice};
use crate::storage::{Change, Conflict, FeedRow, OutboxRow, Quarantined, StoredMark, Write};
use reqwest::header::HeaderMap;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeSet;
use vouchsafe_core::Second;
use vouchsafe_core::facts::{Grade, Kind, Outcome, SourceKind, Statement};
use vouchsafe_core::ids::SubjectId;
use vouchsafe_core::second::DAY;

/// Sessions of one round of the job.
const ROUND: i64 = 100;
/// How long it is remembered that a result was refused, milliseconds: vendors deliver again for days.
const REJECTED_MS: i64 = 30 * 86_400_000;

/// How long a vendor's result is believed to be under way, in seconds: seven days.
pub const PENDING_SECS: i64 = 7 * DAY;

/// A vendor's result that is under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pending {
    /// The source it will come from.
    pub source: String,
    /// What it will be.
    pub kind: Kind,
    /// Since when.
    pub since: Second,
}

/// A check result as it waits, sealed, for its session to be linked.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Waiting {
    pub(crate) event: String,
    pub(crate) lineage: String,
    pub(crate) decided_at: Second,
    pub(crate) outcome: Outcome,
    pub(crate) codes: BTreeSet<String>,
    pub(crate) grade: Grade,
    pub(crate) document_type: Option<String>,
    pub(crate) issuing_country: Option<String>,
    pub(crate) nationalities: BTreeSet<String>,
    pub(crate) category: Option<String>,
    pub(crate) document_number: Option<String>,
    pub(crate) birth_date: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) issued_on: Option<Second>,
    pub(crate) ends_at: Option<Second>,
    /// Made up on a test deployment.
    #[serde(default)]
    pub(crate) simulated: bool,
}

impl From<CheckResult> for Waiting {
    fn from(result: CheckResult) -> Self {
        let clear = |secret: Option<SecretString>| secret.map(|secret| secret.expose_secret().to_owned());
        Self {
            event: result.event,
            lineage: result.lineage,
            decided_at: result.decided_at,
            outcome: result.outcome,
            codes: result.codes,
            grade: result.grade,
            document_type: result.document_type,
            issuing_country: result.issuing_country,
            nationalities: result.nationalities,
            category: result.category,
            document_number: clear(result.document_number),
            birth_date: clear(result.birth_date),
            name: clear(result.name),
            issued_on: result.issued_on,
            ends_at: result.ends_at,
            simulated: false,
        }
    }
}

impl Waiting {
    /// What the result means for its session: over, unless the vendor says that it goes on.
    fn step(&self, source: &str, session: String) -> Write {
        let pending_since_ms = (self.outcome == Outcome::Pending).then(|| self.decided_at.millis());
        Write::Progress { source: source.to_owned(), session, pending_since_ms }
    }

    pub(crate) fn submission(self, source: &str) -> Submission {
        Submission {
            source: source.to_owned(),
            event: self.event,
            lineage: Some(self.lineage),
            kind: Kind::DocumentCheck,
            grade: Some(self.grade),
            outcome: self.outcome,
            codes: self.codes,
            document_type: self.document_type,
            issuing_country: self.issuing_country,
            document_number: self.document_number,
            statement: Some(Statement::Read { nationalities: self.nationalities, category: self.category }),
            basis: None,
            doubt: None,
            birth_date: self.birth_date,
            name: self.name,
            fact_date: self.issued_on,
            checked_at: Some(self.decided_at),
            ends_at: self.ends_at,
            simulated: self.simulated,
        }
    }
}

/// A vendor and our account with it, from stored settings.
pub(crate) fn account(vendor: Vendor, secrets: VendorSecrets) -> ServiceResult<(Native, Account)> {
    let native = Native::parse(&vendor.name).ok_or_else(|| ServiceError::Unreadable("vendor name".to_owned()))?;
    let account = Account {
        webhook_tokens: secrets.webhook_tokens.into_iter().map(SecretString::from).collect(),
        api_token: SecretString::from(secrets.api_token),
        base_url: reqwest::Url::parse(&vendor.base_url).map_err(|_| ServiceError::Unreadable("base_url".to_owned()))?,
        production: vendor.production,
    };
    Ok((native, account))
}

impl App {
    pub(crate) fn vendor(&self, source: &str) -> ServiceResult<(Speaker, Vendor, VendorSecrets)> {
        let world = self.world.load();
        let (found, sealed) = world.sources.get(source).ok_or(ServiceError::NotFound("source"))?;
        let (Some(vendor), Some(sealed)) = (&found.vendor, sealed) else {
            return Err(ServiceError::NotFound("source"));
        };
        let plain = self.crypto.open_secret(&format!("source/{source}"), sealed)?;
        let secrets =
            serde_json::from_slice(&plain).map_err(|_| ServiceError::Unreadable(format!("secrets of {source}")))?;
        let speaker = Speaker {
            source: source.to_owned(),
            kind: SourceKind::DocumentVendor,
            assessor: found.assessor.clone().unwrap_or_else(|| source.to_owned()),
            max_grade: Grade::Superior,
        };
        Ok((speaker, vendor.clone(), secrets))
    }

    /// Takes a vendor's webhook: its headers as they came, of which each vendor reads its own.
    ///
    /// # Errors
    /// `Intake` for a delivery that is refused (nothing changes); `Unavailable` when the vendor cannot be asked, so that it delivers again.
    pub async fn webhook(&self, source: &str, headers: &HeaderMap, body: &[u8]) -> ServiceResult<Vec<Delivery>> {
        let (speaker, vendor, secrets) = self.vendor(source)?;
        let (native, account) = account(vendor, secrets)?;
        native.verify(&account, headers, body, self.clock.now())?;
        self.may_speak(source, self.clock.now())?;
        let (target, reopened) = match native.interpret(&account, body)? {
            Notice::Fetch(target) => (target, None),
            Notice::Reopened { lineage_prefix, target, .. } => (target, Some(lineage_prefix)),
            Notice::Ignored { .. } => return Ok(vec![Delivery::Ignored]),
            Notice::Progress { session, under_way } => {
                self.progress(&speaker, &session, under_way).await?;
                return Ok(vec![Delivery::Ignored]);
            }
        };
        let mut results = target.fetch(&self.outgoing, &account).await?;
        // SECURITY: not every signature covers a time, so an old "reopened" can come again. Only a check that is open now takes
        // its earlier results back.
        let open = |result: &CheckResult| !matches!(result.outcome, Outcome::Approved | Outcome::Declined);
        if let (Some(prefix), Some(session)) = (reopened, results.iter().find(|r| open(r)).map(|r| r.session.clone())) {
            if let Some(subject) = self.store.session_subject(source, &session).await? {
                self.reopen(&speaker, subject, &session, &prefix).await?;
                return Ok(vec![Delivery::Reopened]);
            }
            // While nobody is bound to the session, the open result waits behind the earlier ones and supersedes them: it
            // was open when we looked, whatever instant the notice gives.
            for result in results.iter_mut().filter(|result| open(result)) {
                result.decided_at = result.decided_at.max(self.clock.now());
            }
        }
        let (mut deliveries, mut refused) = (Vec::new(), None);
        for result in results {
            // One result that cannot be used holds none of the others back: they may be what speaks against somebody.
            match self.deliver(&speaker, result).await {
                Ok(delivery) => deliveries.push(delivery),
                Err(error) => refused = Some(error),
            }
        }
        match refused {
            Some(error) => Err(error),
            None if deliveries.is_empty() => Ok(vec![Delivery::Ignored]),
            None => Ok(deliveries),
        }
    }

    pub(crate) async fn deliver(&self, speaker: &Speaker, result: CheckResult) -> ServiceResult<Delivery> {
        let session = result.session.clone();
        self.deliver_to(speaker, session, Waiting::from(result)).await
    }

    /// Records what a session found for the subject it is bound to, or lets it wait for one.
    pub(crate) async fn deliver_to(
        &self,
        speaker: &Speaker,
        session: String,
        waiting: Waiting,
    ) -> ServiceResult<Delivery> {
        if let Some(subject) = self.store.session_subject(&speaker.source, &session).await? {
            let subject = SubjectId::parse(&subject).map_err(|_| ServiceError::Unreadable("session".to_owned()))?;
            let actor = Actor::source(&speaker.source);
            let step = waiting.step(&speaker.source, session);
            let event = waiting.event.clone();
            let recorded =
                self.record_with(&actor, &subject, speaker, waiting.submission(&speaker.source), vec![step]).await;
            if let Err(ServiceError::Invalid { .. }) = recorded {
                self.tell_rejected(&actor, &subject, &speaker.source, &event).await?;
            }
            return recorded;
        }
        let erased = self.erased_session(&speaker.source, &session);
        if self.store.session_subject(&speaker.source, &erased).await?.is_some() {
            return Ok(Delivery::Ignored);
        }
        let id = self.id("qua")?;
        let event = waiting.event.clone();
        let plain = serde_json::to_vec(&waiting).map_err(|_| ServiceError::Unreadable("result".to_owned()))?;
        let quarantined = Quarantined {
            sealed: self.crypto.seal_secret(&format!("quarantine/{id}"), &plain)?,
            id: id.clone(),
            source: speaker.source.clone(),
            event,
            session,
            received_at_ms: self.clock.now_ms(),
        };
        let actor = Actor::source(&speaker.source);
        let audit = self.audit(&actor, "delivery.quarantined", &id, &json!({ "source": speaker.source }))?;
        let session = quarantined.session.clone();
        match self.commit(vec![Write::Quarantine(quarantined)], audit, Vec::new()).await? {
            Ok(()) | Err(Conflict::DuplicateEvent { .. }) => {}
            Err(_) => return Err(ServiceError::Conflict("delivery")),
        }
        // Binding commits first and then looks for what waits; this side commits first and then looks for a binding.
        // Whatever the order, one of the two sees the other.
        if let Some(subject) = self.store.session_subject(&speaker.source, &session).await? {
            let subject = SubjectId::parse(&subject).map_err(|_| ServiceError::Unreadable("session".to_owned()))?;
            self.release_quarantine(&speaker.source, &session, &subject).await?;
        }
        Ok(Delivery::Quarantined)
    }

    /// The message that an authentic result of a subject cannot be used.
    fn rejected(&self, subject: &SubjectId, source: &str) -> ServiceResult<OutboxRow> {
        self.message("attestation.rejected", subject.as_str(), &json!({ "subject": subject, "source": source }))
    }

    /// Tells that a result cannot be used, once however often it is delivered.
    async fn tell_rejected(&self, actor: &Actor, subject: &SubjectId, source: &str, event: &str) -> ServiceResult<()> {
        let digest = self.crypto.lookup_digest(&format!("rejected/{source}"), event);
        let expires_at_ms = self.clock.now_ms() + REJECTED_MS;
        let spend = Write::Spend { issuer: format!("rejected/{source}"), jti: digest, expires_at_ms };
        let audit = self.audit(actor, "delivery.refused", subject.as_str(), &json!({ "source": source }))?;
        let outbox = vec![self.rejected(subject, source)?];
        let _ = self.commit_whole(Change { writes: vec![spend], audit: vec![audit], feed: Vec::new(), outbox }).await?;
        Ok(())
    }

    /// Notes that a session works on a result, or will have none.
    async fn progress(&self, speaker: &Speaker, session: &str, under_way: bool) -> ServiceResult<()> {
        let Some(subject) = self.store.session_subject(&speaker.source, session).await? else { return Ok(()) };
        let action = if under_way { "session.processing" } else { "session.canceled" };
        let detail = json!({ "source": speaker.source });
        let audit = self.audit(&Actor::source(&speaker.source), action, &subject, &detail)?;
        let write = Write::Progress {
            source: speaker.source.clone(),
            session: session.to_owned(),
            pending_since_ms: under_way.then(|| self.clock.now_ms()),
        };
        let _ = self.commit(vec![write], audit, Vec::new()).await?;
        Ok(())
    }

    /// Vendor results under way for a subject. Told beside a decision, no part of it.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn pending(&self, subject: &SubjectId) -> ServiceResult<Vec<Pending>> {
        let after_ms = self.clock.now_ms() - PENDING_SECS * 1000;
        let rows = self.store.pending(subject.as_str(), after_ms).await?;
        let told =
            |(source, since_ms)| Pending { source, kind: Kind::DocumentCheck, since: Second::from_millis(since_ms) };
        Ok(rows.into_iter().map(told).collect())
    }

    /// What waits in quarantine, opened.
    pub(crate) fn open_waiting(&self, quarantined: &Quarantined) -> ServiceResult<Waiting> {
        let plain = self.crypto.open_secret(&format!("quarantine/{}", quarantined.id), &quarantined.sealed)?;
        serde_json::from_slice(&plain).map_err(|_| ServiceError::Unreadable(format!("quarantine {}", quarantined.id)))
    }

    /// Attaches what waited for a session that has now been linked.
    pub(crate) async fn release_quarantine(
        &self,
        source: &str,
        session: &str,
        subject: &SubjectId,
    ) -> ServiceResult<usize> {
        let waiting = self.store.quarantined(source, session).await?;
        if waiting.is_empty() {
            return Ok(0);
        }
        let (speaker, ..) = self.vendor(source)?;
        let actor = Actor::source(source);
        let mut attached = 0;
        for quarantined in waiting {
            let result = self.open_waiting(&quarantined)?;
            let received_at = Second::from_millis(quarantined.received_at_ms);
            let recorded = match self.may_speak(source, received_at) {
                Ok(()) => {
                    let step = result.step(source, session.to_owned());
                    self.record_with(&actor, subject, &speaker, result.submission(source), vec![step]).await
                }
                Err(error) => Err(error),
            };
            // Attach first, then release: a crash between the two leaves a duplicate delivery, never a lost one.
            let action = match recorded {
                Ok(_) => "delivery.released",
                // It will not become usable by waiting, and must not hold back what waits behind it.
                Err(ServiceError::Invalid { .. } | ServiceError::Suspended) => "delivery.refused",
                Err(error) => return Err(error),
            };
            let audit = vec![self.audit(&actor, action, &quarantined.id, &json!({ "subject": subject }))?];
            let mut outbox = Vec::new();
            if action == "delivery.refused" {
                outbox.push(self.rejected(subject, source)?);
            }
            let writes = vec![Write::Release(quarantined.id)];
            let _ = self.commit_whole(Change { writes, audit, feed: Vec::new(), outbox }).await?;
            attached += usize::from(action == "delivery.released");
        }
        Ok(attached)
    }

    /// Attaches what still waits although its session is bound: the process ended, or the store failed, between the two.
    ///
    /// # Errors
    /// When the store cannot be read or written; what waits goes on waiting.
    pub async fn release_waiting(&self) -> ServiceResult<usize> {
        let mut attached = 0;
        for (source, session, subject) in self.store.bound_quarantine(ROUND).await? {
            let subject = SubjectId::parse(&subject).map_err(|_| ServiceError::Unreadable("session".to_owned()))?;
            attached += self.release_quarantine(&source, &session, &subject).await?;
        }
        Ok(attached)
    }

    /// The vendor reopened a check: what it said no longer counts, from the beginning.
    async fn reopen(
        &self,
        speaker: &Speaker,
        subject: String,
        session: &str,
        lineage_prefix: &str,
    ) -> ServiceResult<()> {
        let Some((_, attestations)) = self.store.load_subject(&subject).await? else { return Ok(()) };
        let actor = Actor::source(&speaker.source);
        let affected: Vec<_> = attestations
            .into_iter()
            .filter(|a| a.source == speaker.source && a.lineage.starts_with(lineage_prefix))
            .collect();
        if affected.is_empty() {
            return Ok(());
        }
        let now_ms = self.clock.now_ms();
        let mut writes: Vec<Write> = affected
            .iter()
            .map(|a| {
                Write::Mark(StoredMark {
                    attestation: a.id.clone(),
                    kind: "revoked".to_owned(),
                    at_ms: now_ms,
                    from_start: true,
                    by: actor.as_str().to_owned(),
                    reason: "check.reopened".to_owned(),
                })
            })
            .collect();
        writes.push(Write::Progress {
            source: speaker.source.clone(),
            session: session.to_owned(),
            pending_since_ms: Some(now_ms),
        });
        let audit = self.audit(&actor, "attestation.revoked", &subject, &json!({ "reason": "check.reopened" }))?;
        let feed = vec![FeedRow { kind: "subject".to_owned(), key: subject }];
        let _ = self.commit(writes, audit, feed).await?;
        Ok(())
    }
}
