//! Webhook endpoints: who is told by HTTP, signed by Standard Webhooks (<https://www.standardwebhooks.com>).

mod courier;
mod endpoints;
mod log;
mod sign;

use super::outbox::Receiver;
use super::{App, ServiceError, ServiceResult};
use crate::storage::Record;
use arc_swap::ArcSwap;
pub use courier::Courier;
pub use endpoints::{Admin, Shown, Wanted};
pub use log::{Again, DeliveryView, Tested};
use serde::{Deserialize, Serialize};
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
}
