//! Suspending a source or an organisation whose word no longer counts, and letting it speak again.
//!
//! A suspension is one row, however much the source has said: from its instant every statement of the source is read
//! with a mark, so decisions are right at once and explain themselves, and no batch is waited for. A reinstatement lets
//! the source speak again and revives nothing: what it said before the end of the suspension stays silent.

use super::world::{self, Suspension, is_suspended};
use super::{Actor, App, ServiceError, ServiceResult, invalid};
use crate::storage::{FeedRow, Record, Write};
use serde_json::{Map, Value, json};
use vouchsafe_core::Second;

/// Who can be suspended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Party {
    /// An organisation: its vouches.
    Organisation,
    /// A source: its statements.
    Source,
}

impl Party {
    /// The kind of its record.
    #[must_use]
    pub fn kind(self) -> &'static str {
        match self {
            Self::Organisation => "organisation",
            Self::Source => "source",
        }
    }

    /// The source it speaks as.
    fn source(self, id: &str) -> String {
        match self {
            Self::Organisation => organisation_source(id),
            Self::Source => id.to_owned(),
        }
    }
}

/// The source as which an organisation vouches.
pub(crate) fn organisation_source(id: &str) -> String {
    format!("src_org-{}", id.strip_prefix("org_").unwrap_or(id))
}

/// The organisation that vouches as a source.
pub(crate) fn source_of_organisation(source: &str) -> Option<String> {
    source.strip_prefix("src_org-").map(|id| format!("org_{id}"))
}

impl App {
    /// Suspends a party: what it said (since an instant, if one is given) counts for nobody from now on, and nothing
    /// new is taken from it. Gives the record's new version and the record.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` while it is suspended; `Invalid` for an instant ahead.
    pub async fn suspend(
        &self,
        actor: &Actor,
        party: Party,
        id: &str,
        reason: &str,
        since: Option<Second>,
    ) -> ServiceResult<(i64, Value)> {
        let now = self.clock.now();
        if since.is_some_and(|since| since > now) {
            return Err(invalid("/since", "lies ahead"));
        }
        let (record, mut suspensions) = self.party(party, id).await?;
        if is_suspended(&suspensions) {
            return Err(ServiceError::Conflict("suspension"));
        }
        let by = actor.as_str().to_owned();
        suspensions.push(Suspension { at: now, since, until: None, reason: reason.to_owned(), by: by.clone() });
        let write = Write::Suspend {
            source: party.source(id),
            at_ms: self.clock.now_ms(),
            since_ms: since.map_or(0, Second::millis),
            by,
            reason: reason.to_owned(),
        };
        let detail = json!({ "reason": reason, "since": since });
        self.turn(actor, party, "suspended", record, &suspensions, write, &detail).await
    }

    /// Ends a suspension: what the party says from now on counts again.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` when it is not suspended.
    pub async fn reinstate(&self, actor: &Actor, party: Party, id: &str, reason: &str) -> ServiceResult<(i64, Value)> {
        let (record, mut suspensions) = self.party(party, id).await?;
        let last = suspensions.last_mut().filter(|last| last.until.is_none());
        last.ok_or(ServiceError::Conflict("suspension"))?.until = Some(self.clock.now());
        let write = Write::Reinstate { source: party.source(id), at_ms: self.clock.now_ms() };
        self.turn(actor, party, "reinstated", record, &suspensions, write, &json!({ "reason": reason })).await
    }

    async fn party(&self, party: Party, id: &str) -> ServiceResult<(Record, Vec<Suspension>)> {
        let record = self.store.record(party.kind(), id).await?.ok_or(ServiceError::NotFound(party.kind()))?;
        let body = body_of(&record)?;
        let suspensions = body.get("suspensions").cloned().unwrap_or_else(|| json!([]));
        let suspensions = serde_json::from_value(suspensions).map_err(|_| unreadable(&record))?;
        Ok((record, suspensions))
    }

    /// The record and what acts on statements, in one commit.
    #[expect(clippy::too_many_arguments, reason = "one commit, made in one place")]
    async fn turn(
        &self,
        actor: &Actor,
        party: Party,
        verb: &str,
        mut record: Record,
        suspensions: &[Suspension],
        write: Write,
        detail: &Value,
    ) -> ServiceResult<(i64, Value)> {
        let mut body = body_of(&record)?;
        body.insert("suspensions".to_owned(), json!(suspensions));
        record.body = Value::Object(body).to_string();
        record.updated_at_ms = self.clock.now_ms();
        let (id, expected) = (record.id.clone(), record.version);
        let audit = self.audit(actor, &format!("{}.{verb}", party.kind()), &id, detail)?;
        let feed = vec![
            FeedRow { kind: "source".to_owned(), key: party.source(&id) },
            FeedRow { kind: "record".to_owned(), key: format!("{}/{id}", party.kind()) },
        ];
        self.commit(vec![Write::Record { record, expected }, write], audit, feed)
            .await?
            .map_err(|_| ServiceError::Conflict("suspension"))?;
        self.show(party.kind(), &id).await
    }

    /// Refuses a statement that its source made while it was suspended, or before: a reinstated source has to say it
    /// anew.
    ///
    /// # Errors
    /// `Suspended`.
    pub(crate) fn may_speak(&self, source: &str, said_at: Second) -> ServiceResult<()> {
        let world = self.world.load();
        let organisation = || world.organisations.get(&format!("org_{}", source.strip_prefix("src_org-")?));
        let suspensions = match world.sources.get(source) {
            Some((found, _)) => Some(&found.suspensions),
            None => organisation().map(|organisation| &organisation.suspensions),
        };
        match suspensions.and_then(|suspensions| suspensions.last()) {
            Some(last) if last.until.is_none_or(|until| said_at <= until) => Err(ServiceError::Suspended),
            _ => Ok(()),
        }
    }
}

fn unreadable(record: &Record) -> ServiceError {
    ServiceError::Unreadable(format!("record {}/{} version {}", record.kind, record.id, record.version))
}

fn body_of(record: &Record) -> ServiceResult<Map<String, Value>> {
    world::parse(record)
}
