//! Single writes on PostgreSQL.

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
use sqlx::PgConnection;

implement_writes!(PgConnection, " FOR UPDATE");
implement_upkeep!(PgConnection);
implement_standing!(PgConnection);
implement_signing!(PgConnection);
implement_lists!(PgConnection);
implement_review_writes!(PgConnection);
implement_admission_writes!(PgConnection, "json_array_elements($1::json) AS e (value)");
implement_outgoing_writes!(PgConnection, "json_array_elements($1::json) AS e (value)", " FOR UPDATE");
