//! The store: what is acknowledged is durable, and every change carries its audit entry.
//!
//! [`Store`] is the one door to the database. A write is an *intent*: atomic by itself, either wholly
//! committed (with its audit entry, feed rows and outbox rows) or without any effect. No transaction crosses
//! this boundary. A lost race is a normal answer ([`Conflict`]), never an error.
//!
//! Rows carry only what storage needs to decide; personal identifiers arrive sealed ([`Sealed`]) or as keyed
//! digests, so nothing here can read a name.

use async_trait::async_trait;
use std::sync::Arc;
use std::time::Duration;

mod admissions;
pub mod audit;
pub mod backup;
mod batch;
mod consents;
mod directory;
pub mod inspect;
mod lists;
mod model;
mod outgoing;
pub mod postgres;
mod reads;
mod review;
mod rows;
mod signing;
mod sql;
pub mod sqlite;
mod standing;
mod upkeep;
mod write;

pub use admissions::{AdmissionStore, AskedAdmissions, StoredAdmission, StoredContact};
pub use consents::{ConsentStore, StoredConsent};
pub use directory::{DirectoryStore, KeyedDirectoryUser, StoredDirectoryUser, UserKey};
pub use model::*;
pub use outgoing::{
    AskedDeliveries, BEHIND, Backlog, Ending, FannedOut, Outgoing, OutgoingStore, OutgoingWrite, Queued,
    RECEIVER_KINDS, Settled, Shown, StoredDelivery, StoredReceiver,
};
pub use review::{
    CaseEntry, OperatorSession, ReviewQueue, ReviewStore, ReviewWrite, StoredAppeal, StoredCase, StoredResolution,
};
pub use upkeep::{Forgotten, StoredErasure, StoredHold, StoredSession, Table};
pub use write::{Change, Write};

/// A direct identifier, sealed under its subject's key; opaque to the store.
pub type Sealed = Vec<u8>;

/// Why the store could not answer. HTTP-free; the text is for operators' logs only.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database could not be reached, was too slow, or refused the statement.
    #[error("database unavailable: {0}")]
    Unavailable(String),
    /// A stored value does not parse; names table, column and row.
    #[error("unreadable row in `{table}`.`{column}`, row `{row}`")]
    Unreadable {
        /// Table name.
        table: &'static str,
        /// Column name.
        column: &'static str,
        /// Primary key of the row.
        row: String,
    },
    /// What is on the disk is not known any more: nothing is acknowledged until a new process has read it.
    #[error("the database cannot be trusted: {0}")]
    Broken(String),
    /// There is no database where one is expected.
    #[error("{0}")]
    Missing(String),
    /// The schema is not the one this binary knows.
    #[error("migration failed: {0}")]
    Migration(String),
}

/// Which promise of an intent did not hold; nothing was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Conflict {
    /// (source, event) was recorded before, as the attestation named here.
    DuplicateEvent {
        /// The attestation that the first delivery became.
        attestation: String,
    },
    /// The subject does not exist or was erased.
    NoSuchSubject,
    /// A newer statement of the same lineage stands already.
    Overtaken,
    /// A row with this key exists (`table` says where).
    Exists(&'static str),
    /// The record, subject or token is not at the expected version or state.
    Stale(&'static str),
    /// A single-use identifier was spent before.
    Spent,
    /// The subject is not at the version that [`Write::Expect`] names.
    Unmet,
}

/// Result of an intent: committed with `T`, or not written because of a conflict.
pub type Intent<T> = Result<Result<T, Conflict>, StoreError>;
/// What the store promises. Durability: when a writing method returns `Ok(Ok(_))`, the change survives a crash
/// of this process and of the machine (SQLite `synchronous=FULL`; PostgreSQL `synchronous_commit=on`). Isolation: readers
/// see whole commits only. All instants are epoch milliseconds given by the caller; the store reads no clock.
#[async_trait]
pub trait Store:
    AdmissionStore + ConsentStore + DirectoryStore + OutgoingStore + ReviewStore + Send + Sync + 'static
{
    /// Applies pending migrations. Safe to run at every start and from several processes.
    async fn migrate(&self) -> Result<(), StoreError>;
    /// Cheap proof that the database answers and accepts writes.
    async fn ping(&self) -> Result<(), StoreError>;
    /// How long bulk work must leave the database alone, now and then, so that other processes can write too.
    fn courtesy(&self) -> Duration;

    /// Records one attestation, raising the subject's version, with audit entry, `subject` feed row and
    /// outbox row, in one commit shared with whatever else has queued up. An attestation of the same (source, lineage) and
    /// subject with an older `checked_at_ms` gets a `superseded` mark in the same commit (at `recorded_at_ms`, by the
    /// new id). Conflicts: `DuplicateEvent`, `NoSuchSubject`, `Overtaken` (same source and lineage, newer or equal
    /// `checked_at_ms` present). Returns the subject's new version.
    async fn record_attestation(&self, new: NewAttestation) -> Intent<i64>;
    /// Records an issued token with its decision and rules; group commit as above. `Exists("tokens")` on a taken jti,
    /// `Stale("subjects")` when anything was said of the subject, ordered or suspended since `basis`: what is committed before
    /// the token is obeyed by it. `Spent` when its session is over ([`Write::SessionsOver`]).
    async fn record_token(
        &self,
        token: StoredToken,
        decision: StoredDecision,
        basis: Basis,
        rules: Arc<str>,
        audit: AuditEntry,
    ) -> Intent<()>;
    /// Applies a change: all writes or none.
    async fn commit(&self, change: Change) -> Intent<()>;

    /// A subject by our id.
    async fn subject(&self, id: &str) -> Result<Option<StoredSubject>, StoreError>;
    /// A subject by the keyed digest of its external id.
    async fn subject_by_external(&self, digest: &str) -> Result<Option<StoredSubject>, StoreError>;
    /// The subject a link names.
    async fn link(&self, namespace: &str, digest: &str) -> Result<Option<StoredLink>, StoreError>;
    /// Links of a subject.
    async fn links(&self, subject: &str) -> Result<Vec<StoredLink>, StoreError>;
    /// Subjects in id order after `after`, at most `limit`.
    async fn subjects(&self, after: &str, limit: i64) -> Result<Vec<StoredSubject>, StoreError>;
    /// What is left of an erased subject; `None` for any other.
    async fn erasure(&self, subject: &str) -> Result<Option<StoredErasure>, StoreError>;
    /// The legal hold on a subject.
    async fn hold(&self, subject: &str) -> Result<Option<StoredHold>, StoreError>;
    /// Vendor sessions of a subject.
    async fn sessions(&self, subject: &str) -> Result<Vec<StoredSession>, StoreError>;
    /// Decisions about a subject in id order after `after`, at most `limit`.
    async fn decisions_of(&self, subject: &str, after: &str, limit: i64) -> Result<Vec<StoredDecision>, StoreError>;
    /// Tokens of a subject in id order after `after`, at most `limit`.
    async fn tokens_of(&self, subject: &str, after: &str, limit: i64) -> Result<Vec<StoredToken>, StoreError>;
    /// Ids of rows that have outlived their use at `before_ms`, at most `limit`; see [`Table`].
    async fn bygone(&self, table: Table, before_ms: i64, limit: i64) -> Result<Vec<String>, StoreError>;
    /// Active subjects after `after` in id order that were created before `before_ms`, without hold, and of whom nothing
    /// was recorded, decided or issued and who was not let in anywhere since, nor is a member of a directory; at most `limit`.
    async fn idle_subjects(&self, after: &str, before_ms: i64, limit: i64) -> Result<Vec<String>, StoreError>;
    /// Makes what was erased unreadable in the database's own files, as far as the database can: SQLite's log is
    /// written back and emptied, PostgreSQL's dead rows are vacuumed. Copies elsewhere are out of its reach.
    async fn scrub(&self) -> Result<(), StoreError>;
    /// The subject that a vendor session is bound to.
    async fn session_subject(&self, source: &str, session: &str) -> Result<Option<String>, StoreError>;
    /// (source, since when in epoch milliseconds) of a subject's sessions with a result under way since after an
    /// instant, oldest first, at most 20.
    async fn pending(&self, subject: &str, after_ms: i64) -> Result<Vec<(String, i64)>, StoreError>;
    /// Quarantined deliveries of one session, oldest first.
    async fn quarantined(&self, source: &str, session: &str) -> Result<Vec<Quarantined>, StoreError>;
    /// (source, session, subject) of bound sessions that something is still quarantined for.
    async fn bound_quarantine(&self, limit: i64) -> Result<Vec<(String, String, String)>, StoreError>;

    /// The subject and all its attestations with their marks, in id order, read in one snapshot.
    async fn load_subject(&self, id: &str) -> Result<Option<(StoredSubject, Vec<StoredAttestation>)>, StoreError>;
    /// One attestation with its marks.
    async fn attestation(&self, id: &str) -> Result<Option<StoredAttestation>, StoreError>;

    /// Attestations that wait to be compared, oldest first. Each was written in the commit of its attestation.
    async fn comparisons(&self, limit: i64) -> Result<Vec<Comparison>, StoreError>;
    /// Ids of attestations that name a document, at most 64 of the newest.
    async fn of_document(&self, document: &str) -> Result<Vec<String>, StoreError>;

    /// How many suspensions there have been; it grows with each, and a reinstatement leaves it.
    async fn suspensions(&self) -> Result<i64, StoreError>;

    /// One record at its current version.
    async fn record(&self, kind: &str, id: &str) -> Result<Option<Record>, StoreError>;
    /// Records of a kind in id order after `after`, at most `limit`.
    async fn records(&self, kind: &str, after: &str, limit: i64) -> Result<Vec<Record>, StoreError>;
    /// The whole timeline in `seq` order.
    async fn timeline(&self) -> Result<Vec<TimelineRow>, StoreError>;

    /// A recorded decision.
    async fn decision(&self, id: &str) -> Result<Option<StoredDecision>, StoreError>;
    /// What a subject came to, one row for each resource or family, in order.
    async fn standings(&self, subject: &str) -> Result<Vec<StoredStanding>, StoreError>;
    /// Subjects with a standing that is due, or due for a notice, at `now_ms`, longest due first, at most `limit`; a subject
    /// may come twice.
    async fn due_standings(&self, now_ms: i64, limit: i64) -> Result<Vec<String>, StoreError>;
    /// The other parties that a subject's standings and tokens were made of, in order, with the versions looked at last.
    async fn relied_on(&self, subject: &str) -> Result<Vec<(String, i64)>, StoreError>;
    /// Subjects whose standings or tokens were made of this party too, in order, at most `limit`.
    async fn relying_on(&self, party: &str, limit: i64) -> Result<Vec<String>, StoreError>;
    /// The next `limit` active subjects after `after` in id order, one row for each standing, or one without.
    async fn sweep(&self, after: &str, limit: i64) -> Result<Vec<Swept>, StoreError>;
    /// Tokens of a subject that are neither revoked nor at their end at `now_ms`, in id order.
    async fn living_tokens(&self, subject: &str, now_ms: i64) -> Result<Vec<StoredToken>, StoreError>;
    /// Tokens got by sessions that are over, as [`StoredToken::session`] has them, neither revoked nor at their end at
    /// `now_ms`, in id order, at most `limit`.
    async fn tokens_of_sessions(
        &self,
        over: &SessionsOver,
        now_ms: i64,
        limit: i64,
    ) -> Result<Vec<StoredToken>, StoreError>;
    /// The rules' canonical JSON by digest.
    async fn rules(&self, digest: &str) -> Result<Option<String>, StoreError>;
    /// An issued token.
    async fn token(&self, jti: &str) -> Result<Option<StoredToken>, StoreError>;
    /// Tokens revoked and not yet expired at `now_ms`, by their ids.
    async fn revoked_tokens(&self, now_ms: i64) -> Result<Vec<TokenPlace>, StoreError>;
    /// jtis of access tokens revoked and not yet expired at `now_ms`.
    async fn revoked_access(&self, now_ms: i64) -> Result<Vec<String>, StoreError>;
    /// Tokens neither revoked nor expired at `now_ms` with an id after `after`, in order, at most `limit`.
    async fn living_places(&self, after: &str, now_ms: i64, limit: i64) -> Result<Vec<TokenPlace>, StoreError>;
    /// Status lists that are not retired, by their numbers.
    async fn status_lists(&self) -> Result<Vec<StoredList>, StoreError>;
    /// Reserved blocks of a status list, in order.
    async fn status_blocks(&self, list: i64) -> Result<Vec<i64>, StoreError>;
    /// A request by its idempotency key.
    async fn request(&self, client: &str, key: &str) -> Result<Option<StoredRequest>, StoreError>;
    /// The root secret as each master key opens it.
    async fn roots(&self) -> Result<Vec<StoredRoot>, StoreError>;
    /// All signing keys, those retired included, newest first.
    async fn keys(&self) -> Result<Vec<StoredKey>, StoreError>;

    /// Feed rows committed and not yet seen by `cursor`, with the next cursor. An empty cursor means "from now": no rows,
    /// only the cursor. Order between polls is not promised; nothing committed is ever skipped.
    async fn feed(&self, cursor: &str) -> Result<(Vec<FeedRow>, String), StoreError>;

    /// Moves at most `limit` committed audit entries into the hash-linked log, in commit order; returns how many. What was
    /// committed before the call is in the log after it, unless `limit` were moved. Safe to run from several replicas: they
    /// take turns, and two can never fork the chain.
    async fn sequence_audit(&self, limit: i64) -> Result<usize, StoreError>;
    /// Log records after `position`, at most `limit`, in order.
    async fn audit_log(&self, position: i64, limit: i64) -> Result<Vec<AuditRecord>, StoreError>;
    /// Number of audit entries not yet in the log.
    async fn audit_backlog(&self) -> Result<i64, StoreError>;
    /// How far the history goes, and the log's hash at `asked`; one snapshot. [`StoreError::Broken`] when the database is
    /// no longer the one that was opened.
    async fn history(&self, asked: i64) -> Result<History, StoreError>;
}

/// Opens the store that `url` names: `sqlite:PATH`, `sqlite::memory:` is refused (nothing would be durable), or `postgres://…`.
///
/// # Errors
/// [`StoreError::Unavailable`] when the scheme is unknown or the database cannot be opened.
pub async fn open(url: &str) -> Result<Arc<dyn Store>, StoreError> {
    if url.starts_with("postgres:") || url.starts_with("postgresql:") {
        return Ok(Arc::new(postgres::PostgresStore::open(url).await?));
    }
    if url.starts_with("sqlite:") {
        return Ok(Arc::new(sqlite::SqliteStore::open(url).await?));
    }
    Err(StoreError::Unavailable("database must be `sqlite:PATH` or `postgres://…`".to_owned()))
}

/// Refuses a database that is missing, empty or damaged, so that a service never goes on with an empty one in the place
/// of the one it had. A server's database answers for itself.
///
/// # Errors
/// [`StoreError::Missing`]; [`StoreError::Broken`] with what is wrong and what to do; [`StoreError::Unavailable`] when it
/// cannot be read.
pub async fn examine(url: &str) -> Result<(), StoreError> {
    if url.starts_with("sqlite:") { sqlite::examine(url).await } else { Ok(()) }
}

/// Hash of an audit record: SHA-256 over previous hash (hex text), a newline, and the entry's canonical JSON.
#[must_use]
pub fn audit_hash(previous: &str, entry: &str) -> String {
    let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    context.update(previous.as_bytes());
    context.update(b"\n");
    context.update(entry.as_bytes());
    context.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}
