//! Endpoints as they are administered: made, changed, rotated, disabled, deleted.

use super::sign::Secret;
use super::{Disabled, Endpoint, RECORD, Secrets};
use crate::service::admin::name_ok;
use crate::service::authenticate::Caller;
use crate::service::outbox::TOPICS;
use crate::service::{Actor, App, ServiceError, ServiceResult, invalid};
use crate::storage::{Change, FeedRow, OutgoingWrite, Write};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use vouchsafe_core::Second;
use vouchsafe_core::ids::ResourcePattern;

/// Most endpoints of a deployment.
const MOST: usize = 200;

/// Most secrets that sign at once, so that a signature header has a bound.
const SECRETS_MAX: usize = 4;

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
    pub(super) fn actor(self) -> Actor {
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

impl App {
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

    pub(super) fn endpoint_secrets(&self, endpoint: &Endpoint) -> ServiceResult<Secrets> {
        let plain = self.crypto.open_secret(&format!("{RECORD}/{}", endpoint.id), &endpoint.sealed)?;
        serde_json::from_slice(&plain).map_err(|_| ServiceError::Unreadable(format!("secrets of {}", endpoint.id)))
    }

    /// An endpoint as it is now, at one of the versions that the caller may insist on.
    pub(super) async fn endpoint(&self, id: &str, expected: Option<&[i64]>) -> ServiceResult<Endpoint> {
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
}

/// What the audit log says of an endpoint.
fn told(endpoint: &Endpoint) -> Value {
    let Endpoint { url, topics, resources, external_id, .. } = endpoint;
    json!({ "url": url, "topics": topics, "resources": resources, "external_id": external_id })
}
