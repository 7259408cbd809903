//! Imports: whom a line is about, how far a file has been read, and what the audit log says of it.

use super::{Actor, App, ServiceError, ServiceResult, invalid};
use crate::storage::{Change, Record, Write};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeSet;
use vouchsafe_core::ids::SubjectId;

/// How far a file has been settled. Kept in the database: restored with it, so it never says more than the rows do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checkpoint {
    /// Bytes from the beginning, up to the end of a line.
    pub bytes: u64,
    /// Lines in them.
    pub lines: u64,
    /// SHA-256 (hex) of these bytes: of a file that was changed since, nothing is skipped.
    pub sha256: String,
    /// Numbers of the lines that were refused; they are tried again.
    pub refused: BTreeSet<u64>,
}

impl App {
    /// The id of an import: the same for the same kind and first line, however much the file grows.
    #[must_use]
    pub fn import_id(&self, what: &str, first_line: &[u8]) -> String {
        let digest = self.crypto.lookup_digest("import", &format!("{what}\n{}", crate::crypto::sha256_hex(first_line)));
        format!("imp_{}", digest.get(..32).unwrap_or(&digest))
    }

    /// A delivery id for a line without one: the same line has the same. Keyed, since a line may hold a birth date.
    #[must_use]
    pub fn line_event(&self, line: &[u8]) -> String {
        format!("line:{}", self.crypto.lookup_digest("import/line", &crate::crypto::sha256_hex(line)))
    }

    /// The subject that a line names: by our id, a link `namespace:id`, or its external id.
    ///
    /// # Errors
    /// `Invalid` when there is none.
    pub async fn referred(&self, reference: &str, by_external_id: bool) -> ServiceResult<SubjectId> {
        if by_external_id {
            let found = self.store.subject_by_external(&self.external_digest(reference)).await?;
            let id = found.filter(|subject| subject.state == "active").map(|subject| subject.id);
            return subject_of(id, "/external_id");
        }
        if let Ok(id) = SubjectId::parse(reference) {
            return Ok(id);
        }
        let Some((namespace, id)) = reference.split_once(':') else {
            return Err(invalid("/subject", "must be our id or a link `namespace:id`"));
        };
        let link = self.store.link(namespace, &self.link_digest(namespace, id)).await?;
        subject_of(link.map(|link| link.subject), "/subject")
    }

    /// Where bulk work stands (`import`, `backfill`), with the version of its record.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn stands<T: DeserializeOwned>(&self, kind: &str, id: &str) -> ServiceResult<(i64, Option<T>)> {
        let Some(record) = self.store.record(kind, id).await? else { return Ok((0, None)) };
        let kept =
            serde_json::from_str(&record.body).map_err(|_| ServiceError::Unreadable(format!("record {kind}/{id}")))?;
        Ok((record.version, Some(kept)))
    }

    /// Keeps where bulk work stands; gives the next version, or `None` when another process does the same work.
    ///
    /// # Errors
    /// When the store cannot write.
    pub async fn keep<T: Serialize>(
        &self,
        kind: &str,
        id: &str,
        expected: i64,
        stands: &T,
    ) -> ServiceResult<Option<i64>> {
        let body = serde_json::to_string(stands).map_err(|_| ServiceError::Unreadable(kind.to_owned()))?;
        let record = Record {
            kind: kind.to_owned(),
            id: id.to_owned(),
            version: expected + 1,
            body,
            sealed: None,
            updated_at_ms: self.clock.now_ms(),
        };
        // Bookkeeping, no change of state: what was done carries its own audit entries.
        let writes = vec![Write::Record { record, expected }];
        let change = Change { writes, audit: Vec::new(), feed: Vec::new(), outbox: Vec::new() };
        Ok(self.store.commit(change).await?.is_ok().then_some(expected + 1))
    }

    /// Writes into the audit log that bulk work began or ended.
    ///
    /// # Errors
    /// When the store cannot write.
    pub async fn note(&self, actor: &Actor, action: &str, target: &str, detail: &Value) -> ServiceResult<()> {
        let audit = self.audit(actor, action, target, detail)?;
        self.commit(Vec::new(), audit, Vec::new()).await?.map_err(|_| ServiceError::Conflict("audit entry"))
    }
}

fn subject_of(id: Option<String>, pointer: &str) -> ServiceResult<SubjectId> {
    let id = id.ok_or_else(|| invalid(pointer, "no such subject; import it first"))?;
    SubjectId::parse(&id).map_err(|_| ServiceError::Unreadable("subject id".to_owned()))
}
