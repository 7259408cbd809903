//! Webhook endpoints: who is told by HTTP, signed by Standard Webhooks (<https://www.standardwebhooks.com>).

use super::outbox::Receiver;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use vouchsafe_core::Second;
use vouchsafe_core::ids::ResourcePattern;

/// The kind of its record.
pub(crate) const RECORD: &str = "webhook_endpoint";

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
    /// Public keys of its Ed25519 signatures (`whpk_…`), newest first; without them it is signed by secret alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub public_keys: Vec<String>,
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
}
