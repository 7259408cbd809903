//! Single writes on PostgreSQL.

use crate::storage::sql::{Undo, implement_writes, table};
use crate::storage::{
    AuditEntry, Change, Conflict, NewAttestation, OutboxRow, Quarantined, Record, StoredDecision, StoredKey,
    StoredLink, StoredMark, StoredRequest, StoredSubject, Write,
};
use sqlx::PgConnection;

implement_writes!(PgConnection, " FOR UPDATE");
