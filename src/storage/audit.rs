//! The hash-linked audit log: pending entries become records, each naming the hash of the one before.

use super::{AuditRecord, audit_hash};
use serde::{Deserialize, Serialize};

/// `previous` of the first record.
pub const GENESIS: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// Follows a log record by record from its beginning and says where it is broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// Position of the last record that was followed, 0 for none.
    pub position: i64,
    /// Its hash.
    pub head: String,
}

impl Default for Chain {
    fn default() -> Self {
        Self { position: 0, head: GENESIS.to_owned() }
    }
}

/// Where a log is broken, and how.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the audit log is broken at record {position}: {problem}")]
pub struct Broken {
    /// Position of the record.
    pub position: i64,
    /// What is wrong with it.
    pub problem: &'static str,
}

impl Chain {
    /// Follows one more record.
    ///
    /// # Errors
    /// When it does not continue the log or its content is not the one that was hashed.
    pub fn follow(&mut self, record: AuditRecord) -> Result<(), Broken> {
        let Some(problem) = record.fault(self.position, &self.head) else {
            (self.position, self.head) = (record.position, record.hash);
            return Ok(());
        };
        Err(Broken { position: record.position, problem })
    }
}

/// A committed entry that waits for its place in the log.
#[derive(Debug, Deserialize, sqlx::FromRow)]
pub(super) struct Pending {
    pub(super) position: i64,
    id: String,
    at_ms: i64,
    actor: String,
    action: String,
    target: String,
    detail: String,
}

impl AuditRecord {
    /// What is wrong with a record that should follow the one at `position` with hash `previous`.
    #[must_use]
    pub fn fault(&self, position: i64, previous: &str) -> Option<&'static str> {
        if self.position != position + 1 {
            Some("a record is missing before this one")
        } else if self.previous != previous {
            Some("does not follow the record before it")
        } else if self.hash != audit_hash(&self.previous, &self.entry) {
            Some("its content was altered")
        } else {
            None
        }
    }
}

/// The canonical form: keys sorted, no spaces. The fields stand here in that order.
#[derive(Serialize)]
struct Entry<'a> {
    action: &'a str,
    actor: &'a str,
    at_ms: i64,
    detail: serde_json::Value,
    id: &'a str,
    target: &'a str,
}

/// Canonical JSON of an entry.
fn canonical(pending: &Pending) -> Result<String, serde_json::Error> {
    // A detail that is no JSON is kept as text: one bad entry must not stop the log.
    let detail = serde_json::from_str(&pending.detail).unwrap_or_else(|_| pending.detail.as_str().into());
    serde_json::to_string(&Entry {
        action: &pending.action,
        actor: &pending.actor,
        at_ms: pending.at_ms,
        detail,
        id: &pending.id,
        target: &pending.target,
    })
}

/// The records that continue the log after `head` (position and hash of its last record).
pub(super) fn continue_chain(
    head: Option<(i64, String)>,
    entries: &[Pending],
) -> Result<Vec<AuditRecord>, serde_json::Error> {
    let (mut position, mut previous) = head.unwrap_or_else(|| (0, GENESIS.to_owned()));
    entries
        .iter()
        .map(|pending| {
            let entry = canonical(pending)?;
            let hash = audit_hash(&previous, &entry);
            position += 1;
            Ok(AuditRecord { position, previous: std::mem::replace(&mut previous, hash.clone()), hash, entry })
        })
        .collect()
}

/// The records as one JSON parameter: `[[position, hash, previous, entry], …]`.
pub(super) fn as_json(records: &[AuditRecord]) -> Result<String, serde_json::Error> {
    let rows: Vec<_> = records.iter().map(|row| (row.position, &row.hash, &row.previous, &row.entry)).collect();
    serde_json::to_string(&rows)
}
