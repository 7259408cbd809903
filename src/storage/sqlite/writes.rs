//! Single writes on SQLite.

use crate::storage::sql::{Undo, implement_writes, table};
use crate::storage::{
    AuditEntry, Change, Conflict, NewAttestation, OutboxRow, Quarantined, Record, StoredDecision, StoredKey,
    StoredLink, StoredMark, StoredRequest, StoredSubject, Write,
};
use sqlx::SqliteConnection;

// One connection writes: nothing to lock.
implement_writes!(SqliteConnection, "");
