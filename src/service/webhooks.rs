//! Webhook endpoints: who is told by HTTP, signed by Standard Webhooks (<https://www.standardwebhooks.com>).

mod courier;
mod sign;

use super::admin::name_ok;
use super::authenticate::Caller;
use super::outbox::{Receiver, TOPICS, written_at};
use super::{Actor, App, ServiceError, ServiceResult, invalid};
use crate::storage::{
    AskedDeliveries, BEHIND, Change, Conflict, FeedRow, OutgoingWrite, Record, StoredDelivery, StoredReceiver, Write,
};
use arc_swap::ArcSwap;
pub use courier::Courier;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sign::Secret;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use vouchsafe_core::Second;
use vouchsafe_core::ids::ResourcePattern;
use vouchsafe_verify::fetch::{Fetcher, Ports, Reach, System};

/// The kind of its record.
pub(crate) const RECORD: &str = "webhook_endpoint";

/// The scope of those who administer endpoints and read what was sent.
pub const SCOPE: &str = "webhooks";

/// How long an old secret signs beside the new one, seconds.
pub const OVERLAP_SECS: i64 = 86_400;

/// How long a receiver may take to answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// Most endpoints of a deployment.
const MOST: usize = 200;

/// Most secrets that sign at once, so that a signature header has a bound.
const SECRETS_MAX: usize = 4;

/// What is configured of sending.
pub struct Settings {
    /// How long an old secret signs beside the new one, seconds.
    pub overlap_secs: AtomicI64,
    /// How messages leave.
    pub(crate) connector: ArcSwap<Fetcher>,
}

impl Settings {
    /// Receivers on this machine are told where we are ourselves reached by it, as in development.
    pub(crate) fn new(issuer: &str) -> ServiceResult<Self> {
        let connector = ArcSwap::from_pointee(connector(issuer, Vec::new())?);
        Ok(Self { overlap_secs: AtomicI64::new(OVERLAP_SECS), connector })
    }
}

fn connector(issuer: &str, ports: Vec<u16>) -> ServiceResult<Fetcher> {
    let host = reqwest::Url::parse(issuer).ok().and_then(|url| url.host_str().map(str::to_owned));
    let local = matches!(host.as_deref(), Some("127.0.0.1" | "localhost" | "[::1]"));
    let reach = if local { Reach::Loopback } else { Reach::Public };
    Fetcher::with(reach, Ports::Only(ports), PATIENCE, Arc::new(System))
        .map_err(|_| ServiceError::Unavailable("outgoing client"))
}

/// Somebody who is told by HTTP. Its secrets are sealed beside the record.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Endpoint {
    /// `whe_…`; known where it was read.
    #[serde(skip)]
    pub id: String,
    /// Version of its record; known where it was read.
    #[serde(skip)]
    pub version: i64,
    /// Its secrets, sealed; known where it was read.
    #[serde(skip)]
    pub sealed: Vec<u8>,
    /// For people.
    pub name: String,
    /// Where messages are posted.
    pub url: String,
    /// Which messages.
    pub topics: BTreeSet<String>,
    /// Only what concerns these resources; all if empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<ResourcePattern>,
    /// Whether it is told the caller's own id of a subject.
    #[serde(default)]
    pub external_id: bool,
    /// Public key of its Ed25519 signatures (`whpk_…`); without one it is signed by secret alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key: Option<String>,
    /// Since when and why it gets nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled: Option<Disabled>,
}

/// Why an endpoint gets nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Disabled {
    /// Since when.
    pub at: Second,
    /// `gone` (it said so), `failing` (nothing came through for days) or `administrator`.
    pub reason: String,
}

impl Endpoint {
    /// As somebody who is told.
    pub(crate) fn receiver(&self) -> Receiver<'_> {
        Receiver {
            record: RECORD,
            id: &self.id,
            version: self.version,
            kind: "webhook",
            topics: &self.topics,
            resources: &self.resources,
            silent: self.disabled.as_ref().map(|_| "disabled"),
        }
    }

    /// As it was stored.
    pub(crate) fn read(record: &Record) -> ServiceResult<Self> {
        let unreadable = |_| ServiceError::Unreadable(format!("record {RECORD}/{}", record.id));
        let endpoint: Self = serde_json::from_str(&record.body).map_err(unreadable)?;
        let sealed = record.sealed.clone().unwrap_or_default();
        Ok(Self { id: record.id.clone(), version: record.version, sealed, ..endpoint })
    }
}

/// What an endpoint's messages are signed with, newest first.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Secrets {
    secrets: Vec<Secret>,
}

/// What an endpoint is to be, or to become: what is absent stays.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// For people.
    pub name: Option<String>,
    /// Where messages are posted.
    pub url: Option<String>,
    /// Which messages.
    pub topics: Option<BTreeSet<String>>,
    /// Only what concerns these resources; all if empty.
    pub resources: Option<Vec<ResourcePattern>>,
    /// Whether it is told the caller's own id of a subject.
    pub external_id: Option<bool>,
}

/// Who administers endpoints.
#[derive(Debug, Clone, Copy)]
pub enum Admin<'a> {
    /// Somebody who asks by the API.
    Caller(&'a Caller),
    /// A person at the command line of the machine.
    CommandLine,
}

impl Admin<'_> {
    fn actor(self) -> Actor {
        match self {
            Self::Caller(caller) => caller.actor(),
            Self::CommandLine => Actor::command_line(),
        }
    }

    /// Whether this one may see what it would have an endpoint told.
    fn may_have_told(self, external_id: bool) -> ServiceResult<()> {
        match self {
            Self::Caller(caller) if external_id => caller.require("subjects:read"),
            _ => Ok(()),
        }
    }
}

/// A secret that is shown once.
#[derive(Debug, Serialize)]
pub struct Shown {
    /// The endpoint.
    pub id: String,
    /// `whsec_…`
    pub secret: String,
    /// `whpk_…`, where it has Ed25519 signatures.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_key: Option<String>,
    /// Until when the secret before it signs too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous_until: Option<Second>,
}

/// What came of a test.
#[derive(Debug, Serialize)]
pub struct Tested {
    /// Its id.
    pub message: String,
    /// Whether it came through.
    pub delivered: bool,
    /// Status of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Why there was none, in a word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<&'static str>,
}

/// One message for one endpoint, as the log shows it.
#[derive(Debug, Serialize)]
pub struct DeliveryView {
    /// Its id.
    pub message: String,
    /// Its type.
    #[serde(rename = "type")]
    pub topic: String,
    /// What it is ordered by: a subject, a directive, a case about nobody.
    pub key: String,
    /// When it happened.
    pub at: Option<Second>,
    /// `pending`, `delivered` or `dead`.
    pub state: String,
    /// How often it was tried.
    pub tries: i64,
    /// When it is tried next; absent while it waits behind another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub due_at: Option<Second>,
    /// When it was tried last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tried_at: Option<Second>,
    /// Status of the last answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<i64>,
    /// How the last try ended, in a word; empty for success.
    pub outcome: String,
}

impl From<StoredDelivery> for DeliveryView {
    fn from(row: StoredDelivery) -> Self {
        Self {
            at: written_at(&row.message),
            due_at: (row.state == "pending" && row.due_ms != BEHIND).then(|| Second::from_millis(row.due_ms)),
            tried_at: row.tried_at_ms.map(Second::from_millis),
            status: (row.status > 0).then_some(row.status),
            message: row.message,
            topic: row.topic,
            key: row.key,
            state: row.state,
            tries: row.tries,
            outcome: row.outcome,
        }
    }
}

/// Which messages are to be sent again.
#[derive(Debug, Clone)]
pub enum Again {
    /// This one, whatever became of it.
    Message(String),
    /// Those of a time, from its beginning to before its end.
    Time {
        /// From when.
        from: Second,
        /// Until before when.
        to: Second,
        /// Those that came through too.
        delivered: bool,
    },
}

impl App {
    /// Configures how long an old secret signs and on which ports, besides 443, receivers are told.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn configure_webhooks(&self, overlap_secs: i64, ports: &[u16]) -> ServiceResult<()> {
        self.webhooks.overlap_secs.store(overlap_secs, Ordering::Relaxed);
        self.webhooks.connector.store(Arc::new(connector(&self.issuer, ports.to_vec())?));
        Ok(())
    }

    /// Registers an endpoint; its secret is shown once.
    ///
    /// # Errors
    /// `Invalid` for an address that may not be reached, an unknown type or none; `Forbidden` where it is to be told what the
    /// caller may not see.
    pub async fn create_endpoint(&self, admin: Admin<'_>, wanted: Wanted, ed25519: bool) -> ServiceResult<Shown> {
        if self.world.load().webhook_endpoints.len() >= MOST {
            return Err(invalid("", format!("there are {MOST} endpoints already: delete one")));
        }
        let missing = |pointer: &str| invalid(pointer, "is required");
        let mut endpoint = Endpoint {
            id: self.id("whe")?,
            version: 0,
            sealed: Vec::new(),
            name: wanted.name.clone().ok_or_else(|| missing("/name"))?,
            url: wanted.url.clone().ok_or_else(|| missing("/url"))?,
            topics: wanted.topics.clone().ok_or_else(|| missing("/topics"))?,
            resources: Vec::new(),
            external_id: false,
            public_key: None,
            disabled: None,
        };
        self.change_to(admin, &mut endpoint, wanted)?;
        let secret = Secret::new(ed25519)?;
        endpoint.public_key = secret.public_key()?;
        let shown = Shown {
            id: endpoint.id.clone(),
            secret: secret.shown(),
            public_key: endpoint.public_key.clone(),
            previous_until: None,
        };
        let sealed = self.seal_secrets(&endpoint.id, &Secrets { secrets: vec![secret] })?;
        let detail = told(&endpoint);
        self.create_record(&admin.actor(), RECORD, &endpoint.id, &endpoint, Some(sealed), detail).await?;
        Ok(shown)
    }

    /// Takes over what is wanted and checks the whole.
    fn change_to(&self, admin: Admin<'_>, endpoint: &mut Endpoint, wanted: Wanted) -> ServiceResult<()> {
        let Wanted { name, url, topics, resources, external_id } = wanted;
        admin.may_have_told(external_id.unwrap_or(endpoint.external_id))?;
        endpoint.name = name.unwrap_or_else(|| std::mem::take(&mut endpoint.name));
        endpoint.url = url.unwrap_or_else(|| std::mem::take(&mut endpoint.url));
        endpoint.topics = topics.unwrap_or_else(|| std::mem::take(&mut endpoint.topics));
        endpoint.resources = resources.unwrap_or_else(|| std::mem::take(&mut endpoint.resources));
        endpoint.external_id = external_id.unwrap_or(endpoint.external_id);
        if !name_ok(&endpoint.name) {
            return Err(invalid("/name", "give a name of 1 to 200 characters"));
        }
        if endpoint.url.len() > 500 {
            return Err(invalid("/url", "must be at most 500 long"));
        }
        self.webhooks.connector.load().check(&endpoint.url).map_err(|error| invalid("/url", error.why()))?;
        if endpoint.topics.is_empty() || !endpoint.topics.iter().all(|topic| TOPICS.contains(&topic.as_str())) {
            return Err(invalid("/topics", format!("choose from {}", TOPICS.join(", "))));
        }
        if endpoint.resources.len() > 100 {
            return Err(invalid("/resources", "names more than 100"));
        }
        Ok(())
    }

    fn seal_secrets(&self, id: &str, secrets: &Secrets) -> ServiceResult<Vec<u8>> {
        let plain = serde_json::to_vec(secrets).map_err(|_| ServiceError::Unreadable("secrets".to_owned()))?;
        Ok(self.crypto.seal_secret(&format!("{RECORD}/{id}"), &plain)?)
    }

    fn endpoint_secrets(&self, endpoint: &Endpoint) -> ServiceResult<Secrets> {
        let plain = self.crypto.open_secret(&format!("{RECORD}/{}", endpoint.id), &endpoint.sealed)?;
        serde_json::from_slice(&plain).map_err(|_| ServiceError::Unreadable(format!("secrets of {}", endpoint.id)))
    }

    /// An endpoint as it is now, at one of the versions that the caller may insist on.
    async fn endpoint(&self, id: &str, expected: Option<&[i64]>) -> ServiceResult<Endpoint> {
        let record = self.store.record(RECORD, id).await?.ok_or(ServiceError::NotFound(RECORD))?;
        if expected.is_some_and(|versions| !versions.contains(&record.version)) {
            return Err(ServiceError::PreconditionFailed);
        }
        Endpoint::read(&record)
    }

    /// Commits an endpoint as it is to be, and what follows from it; what is read meanwhile by another is refused.
    async fn replace_endpoint(
        &self,
        actor: &Actor,
        endpoint: &Endpoint,
        verb: &str,
        detail: &Value,
        more: Vec<Write>,
    ) -> ServiceResult<()> {
        let sealed = Some(endpoint.sealed.clone());
        let record = self.record_row(RECORD, &endpoint.id, endpoint, sealed, endpoint.version)?;
        let mut writes = vec![Write::Record { record, expected: endpoint.version }];
        writes.extend(more);
        let audit = vec![self.audit(actor, &format!("{RECORD}.{verb}"), &endpoint.id, detail)?];
        let feed = vec![FeedRow { kind: "record".to_owned(), key: format!("{RECORD}/{}", endpoint.id) }];
        let change = Change { writes, audit, feed, outbox: Vec::new() };
        self.commit_whole(change).await?.map_err(|_| ServiceError::Conflict(RECORD))
    }

    /// Changes an endpoint; its secrets stay.
    ///
    /// # Errors
    /// `NotFound`, `PreconditionFailed`, and as [`App::create_endpoint`].
    pub async fn change_endpoint(
        &self,
        admin: Admin<'_>,
        id: &str,
        wanted: Wanted,
        expected: Option<&[i64]>,
    ) -> ServiceResult<()> {
        let mut endpoint = self.endpoint(id, expected).await?;
        self.change_to(admin, &mut endpoint, wanted)?;
        self.replace_endpoint(&admin.actor(), &endpoint, "changed", &told(&endpoint), Vec::new()).await
    }

    /// Deletes an endpoint, its secrets and all that was or is to be sent to it.
    ///
    /// # Errors
    /// `NotFound`, `PreconditionFailed`, `Conflict`.
    pub async fn delete_endpoint(&self, admin: Admin<'_>, id: &str, expected: Option<&[i64]>) -> ServiceResult<()> {
        let endpoint = self.endpoint(id, expected).await?;
        let drop = OutgoingWrite::Drop { kind: RECORD, id: id.to_owned(), expected: endpoint.version };
        let audit = self.audit(&admin.actor(), &format!("{RECORD}.deleted"), id, &told(&endpoint))?;
        let feed = vec![FeedRow { kind: "record".to_owned(), key: format!("{RECORD}/{id}") }];
        let done = self.commit(vec![Write::Outgoing(drop)], audit, feed).await?;
        done.map_err(|_| ServiceError::Conflict(RECORD))
    }

    /// Gives an endpoint a new secret, shown once; the old one signs beside it for a time.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` while too many secrets sign; `Conflict`.
    pub async fn rotate_endpoint(&self, admin: Admin<'_>, id: &str) -> ServiceResult<Shown> {
        let mut endpoint = self.endpoint(id, None).await?;
        let now_ms = self.clock.now_ms();
        let until_ms = now_ms + self.webhooks.overlap_secs.load(Ordering::Relaxed) * 1000;
        let mut secrets = self.endpoint_secrets(&endpoint)?.secrets;
        secrets.retain(|secret| secret.until_ms.is_none_or(|until| now_ms < until));
        for secret in secrets.iter_mut().filter(|secret| secret.until_ms.is_none()) {
            secret.until_ms = Some(until_ms);
        }
        if secrets.len() >= SECRETS_MAX {
            return Err(invalid("", format!("{SECRETS_MAX} secrets sign already: wait until one has ended")));
        }
        let secret = Secret::new(endpoint.public_key.is_some())?;
        endpoint.public_key = secret.public_key()?;
        let shown = Shown {
            id: id.to_owned(),
            secret: secret.shown(),
            public_key: endpoint.public_key.clone(),
            previous_until: Some(Second::from_millis(until_ms)),
        };
        secrets.insert(0, secret);
        endpoint.sealed = self.seal_secrets(id, &Secrets { secrets })?;
        let detail = json!({ "previous_until": shown.previous_until, "public_key": endpoint.public_key });
        self.replace_endpoint(&admin.actor(), &endpoint, "rotated", &detail, Vec::new()).await?;
        Ok(shown)
    }

    /// Lets an endpoint be told again; what it missed can be replayed.
    ///
    /// # Errors
    /// `NotFound`, `PreconditionFailed`, `Conflict`.
    pub async fn enable_endpoint(&self, admin: Admin<'_>, id: &str, expected: Option<&[i64]>) -> ServiceResult<()> {
        let mut endpoint = self.endpoint(id, expected).await?;
        if endpoint.disabled.take().is_none() {
            return Ok(());
        }
        let anew = Write::Outgoing(OutgoingWrite::Anew(id.to_owned()));
        self.replace_endpoint(&admin.actor(), &endpoint, "enabled", &json!({}), vec![anew]).await
    }

    /// Tells an endpoint nothing more until it is enabled again. What waits for it is dead, and kept.
    ///
    /// # Errors
    /// `NotFound`, `PreconditionFailed`, `Conflict`.
    pub async fn disable_endpoint(&self, admin: Admin<'_>, id: &str, expected: Option<&[i64]>) -> ServiceResult<()> {
        let endpoint = self.endpoint(id, expected).await?;
        self.disable(&admin.actor(), endpoint, "administrator").await
    }

    async fn disable(&self, actor: &Actor, mut endpoint: Endpoint, reason: &str) -> ServiceResult<()> {
        if endpoint.disabled.is_some() {
            return Ok(());
        }
        endpoint.disabled = Some(Disabled { at: self.clock.now(), reason: reason.to_owned() });
        let bury = OutgoingWrite::Bury { receiver: endpoint.id.clone(), outcome: "disabled" };
        let detail = json!({ "reason": reason });
        self.replace_endpoint(actor, &endpoint, "disabled", &detail, vec![Write::Outgoing(bury)]).await
    }

    /// An endpoint said that it is gone, or nothing came through for days.
    pub(super) async fn give_up_endpoint(&self, id: &str, reason: &'static str) -> ServiceResult<()> {
        let endpoint = match self.endpoint(id, None).await {
            Err(ServiceError::NotFound(_)) => return Ok(()),
            found => found?,
        };
        if endpoint.disabled.is_none() {
            self.disable(&Actor::system(), endpoint, reason).await?;
            tracing::warn!(endpoint = id, reason, "a webhook endpoint was disabled");
            metrics::counter!("vouchsafe_webhook_disabled_total", "reason" => reason).increment(1);
        }
        Ok(())
    }

    /// Sends an endpoint a message of the type `webhook.test` now, disabled or not, and says what came of it.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn test_endpoint(&self, admin: Admin<'_>, id: &str) -> ServiceResult<Tested> {
        let endpoint = self.endpoint(id, None).await?;
        let message = self.id(super::outbox::PREFIX)?;
        let audit = self.audit(&admin.actor(), &format!("{RECORD}.tested"), id, &json!({ "message": message }))?;
        self.commit(Vec::new(), audit, Vec::new()).await?.map_err(|_| ServiceError::Conflict(RECORD))?;
        let body = json!({ "endpoint": id }).to_string();
        let answer = self.post(&endpoint, &message, "webhook.test", &body).await;
        let (status, outcome) = match answer {
            Ok((status, _)) => (Some(status), None),
            Err(outcome) => (None, Some(outcome)),
        };
        let delivered = status.is_some_and(|status| (200..300).contains(&status));
        Ok(Tested { message, delivered, status, outcome })
    }

    /// What was and is to be sent to an endpoint, newest first.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` for an unknown state.
    pub async fn endpoint_deliveries(
        &self,
        id: &str,
        state: &str,
        before: &str,
        limit: i64,
    ) -> ServiceResult<Vec<DeliveryView>> {
        self.endpoint(id, None).await?;
        if !matches!(state, "" | "pending" | "delivered" | "dead") {
            return Err(invalid("/state", "choose from pending, delivered, dead"));
        }
        let rows = self.store.deliveries(AskedDeliveries { receiver: id, state, before, limit }).await?;
        Ok(rows.into_iter().map(DeliveryView::from).collect())
    }

    /// Sends messages again that an endpoint was or should have been sent; how many.
    ///
    /// # Errors
    /// `NotFound` for an endpoint, or a message that was not for it; `Invalid` while it is disabled.
    pub async fn replay_messages(&self, admin: Admin<'_>, id: &str, again: Again) -> ServiceResult<i64> {
        if self.endpoint(id, None).await?.disabled.is_some() {
            return Err(invalid("", "the endpoint is disabled: enable it first"));
        }
        let at = |at: Second| format!("{}_{:012x}", super::outbox::PREFIX, at.millis().max(0));
        let (from, to, delivered, detail) = match &again {
            Again::Message(message) => (message.clone(), format!("{message} "), true, json!({ "message": message })),
            Again::Time { from, to, delivered } => {
                if to <= from {
                    return Err(invalid("/to", "must be after `from`"));
                }
                (at(*from), at(*to), *delivered, json!({ "from": from, "to": to, "delivered": delivered }))
            }
        };
        let count = self.store.replayable(id, &from, &to, delivered).await?;
        let (receiver, now_ms) = (id.to_owned(), self.clock.now_ms());
        let write = Write::Outgoing(OutgoingWrite::Replay { receiver, from, to, delivered, now_ms });
        let audit = self.audit(&admin.actor(), &format!("{RECORD}.replayed"), id, &detail)?;
        match (self.commit(vec![write], audit, Vec::new()).await?, again) {
            (Ok(()), _) => Ok(count),
            (Err(Conflict::Stale(_)), Again::Time { .. }) => Ok(0),
            (Err(_), _) => Err(ServiceError::NotFound("message of this endpoint")),
        }
    }

    /// How an endpoint answers; nothing where it always answered well.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn endpoint_health(&self, id: &str) -> ServiceResult<StoredReceiver> {
        let found = self.store.receivers().await?.into_iter().find(|row| row.id == id);
        Ok(found.unwrap_or_default())
    }

    /// Measures what waits: in the outbox, and by endpoint.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn measure_outgoing(&self) -> ServiceResult<()> {
        let now_ms = self.clock.now_ms();
        let age = |message: &str| {
            let age = written_at(message).map_or(0, |at| (now_ms - at.millis()).max(0) / 1000);
            f64::from(i32::try_from(age).unwrap_or(i32::MAX))
        };
        let number = |count: i64| f64::from(i32::try_from(count).unwrap_or(i32::MAX));
        let (rows, oldest) = self.store.outbox_backlog().await?;
        metrics::gauge!("vouchsafe_outbox_rows").set(number(rows));
        metrics::gauge!("vouchsafe_outbox_oldest_seconds").set(age(&oldest));
        let (backlog, shown) = (self.store.backlog().await?, self.store.receivers().await?);
        for id in self.world.load_full().webhook_endpoints.keys() {
            let pending = backlog.iter().find(|row| row.receiver == *id);
            let failures = shown.iter().find(|row| row.id == *id).map_or(0, |row| row.failures);
            metrics::gauge!("vouchsafe_webhook_pending", "endpoint" => id.clone())
                .set(number(pending.map_or(0, |row| row.pending)));
            metrics::gauge!("vouchsafe_webhook_oldest_seconds", "endpoint" => id.clone())
                .set(pending.map_or(0.0, |row| age(&row.oldest)));
            metrics::gauge!("vouchsafe_webhook_failures", "endpoint" => id.clone()).set(number(failures));
        }
        Ok(())
    }
}

/// What the audit log says of an endpoint.
fn told(endpoint: &Endpoint) -> Value {
    let Endpoint { url, topics, resources, external_id, .. } = endpoint;
    json!({ "url": url, "topics": topics, "resources": resources, "external_id": external_id })
}
