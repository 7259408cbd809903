//! Single writes on SQLite.

use crate::storage::admissions::{self, implement_admission_writes};
use crate::storage::lists::implement_lists;
use crate::storage::outgoing::{self, implement_outgoing_writes};
use crate::storage::review::writes::implement_review_writes;
use crate::storage::signing::implement_signing;
use crate::storage::sql::{Undo, implement_writes, table};
use crate::storage::standing::implement_standing;
use crate::storage::upkeep::implement_upkeep;
use crate::storage::{
    AuditEntry, Change, Conflict, Ending, FannedOut, Forgotten, KeyTimes, NewAttestation, OutboxRow, OutgoingWrite,
    Quarantined, Queued, Record, ReviewWrite, Settled, Shown, StoredAdmission, StoredAppeal, StoredCase, StoredContact,
    StoredDecision, StoredErasure, StoredHold, StoredKey, StoredLink, StoredMark, StoredRequest, StoredRoot,
    StoredSession, StoredStanding, StoredSubject, Table, Write,
};
use sqlx::SqliteConnection;

// One connection writes: nothing to lock.
implement_writes!(SqliteConnection, "");
implement_upkeep!(SqliteConnection);
implement_standing!(SqliteConnection);
implement_signing!(SqliteConnection);
implement_lists!(SqliteConnection);
implement_review_writes!(SqliteConnection);
implement_admission_writes!(SqliteConnection, "json_each($1)");
implement_outgoing_writes!(SqliteConnection, "json_each($1)", "");
