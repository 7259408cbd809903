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

pub mod audit;
pub mod backup;
mod batch;
pub mod inspect;
pub mod postgres;
mod reads;
mod rows;
mod sql;
pub mod sqlite;
mod upkeep;

pub use upkeep::{Forgotten, StoredErasure, StoredHold, StoredSession, Table};

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

/// One entry for the audit log; written in the commit of the change it describes.
#[derive(Debug, Clone)]
pub struct AuditEntry {
    /// `aud_…`, sortable.
    pub id: String,
    /// Instant of the change, epoch milliseconds.
    pub at_ms: i64,
    /// Who did it: `client:…`, `source:…`, `operator:…`, `system`.
    pub actor: String,
    /// Stable code, for example `attestation.recorded`.
    pub action: String,
    /// What it was done to: an id.
    pub target: String,
    /// JSON object with the particulars; no direct identifier.
    pub detail: String,
}

/// What followers must reload; never what it became.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct FeedRow {
    /// `subject`, `record`, `timeline`, `token`, `key` or `source`.
    pub kind: String,
    /// Key of the changed thing: a subject id, `kind/id`, a jti, the id of a source whose every statement changed.
    pub key: String,
}

/// A message to the outside, to be sent at least once after the commit.
#[derive(Debug, Clone)]
pub struct OutboxRow {
    /// `out_…`, sortable; the receiver's deduplication id.
    pub id: String,
    /// Event type, for example `attestation.accepted`.
    pub topic: String,
    /// Messages with one key are delivered in order: the subject id.
    pub key: String,
    /// JSON body.
    pub body: String,
}

/// What a decision was made of: a token is recorded only while all are still so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Basis {
    /// The subject's version.
    pub version: i64,
    /// The last `seq` of the timeline, 0 for none.
    pub timeline: i64,
    /// How many suspensions there have been; see [`Store::suspensions`].
    pub suspensions: i64,
}

/// The hot intent: one authenticated statement about one subject.
#[derive(Debug, Clone)]
pub struct NewAttestation {
    /// `att_…`
    pub id: String,
    /// Whom it is about; must exist and not be erased.
    pub subject: String,
    /// Who says so.
    pub source: String,
    /// The source's own delivery id; unique per source for ever.
    pub event: String,
    /// Results of one check share a lineage; a newer one supersedes the older.
    pub lineage: String,
    /// The source's decision instant, epoch milliseconds; orders statements within a lineage.
    pub checked_at_ms: i64,
    /// Receipt, epoch milliseconds.
    pub recorded_at_ms: i64,
    /// Facts as JSON; identifies nobody.
    pub facts: String,
    /// Keyed digest of a document that another subject could hold too.
    pub document: Option<String>,
    /// Whether it names a document or a person that has to be compared with what else is held.
    pub compare: bool,
    /// Particulars of the audit entry.
    pub audit: AuditEntry,
    /// Outgoing event, if any.
    pub outbox: Option<OutboxRow>,
}

/// A stored attestation with everything said of it later.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct StoredAttestation {
    /// `att_…`
    pub id: String,
    /// Whom it is about.
    pub subject: String,
    /// Who said so.
    pub source: String,
    /// The source's delivery id.
    pub event: String,
    /// See [`NewAttestation::lineage`].
    pub lineage: String,
    /// Receipt, epoch milliseconds.
    pub recorded_at_ms: i64,
    /// Facts as JSON.
    pub facts: String,
    /// Marks in order of `at_ms`, then `kind`.
    #[sqlx(skip)]
    pub marks: Vec<StoredMark>,
}

/// An attestation that waits to be compared with what else is held.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Comparison {
    /// `att_…`
    pub attestation: String,
    /// Whom it is about.
    pub subject: String,
    /// Its document, if another subject could hold it too.
    pub document: Option<String>,
}

/// What was said of an attestation later. Marks only grow.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct StoredMark {
    /// The attestation it speaks of.
    pub attestation: String,
    /// `revoked`, `superseded`, `resolved`, or `suspended`, which is never stored: it follows from [`Write::Suspend`].
    pub kind: String,
    /// From when it acts, epoch milliseconds.
    pub at_ms: i64,
    /// Acts from the attestation's beginning (forgery, vendor reopening).
    pub from_start: bool,
    /// The attestation, client or operator that said so.
    #[sqlx(rename = "said_by")]
    pub by: String,
    /// Stable reason code.
    pub reason: String,
}

/// A subject's row.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct StoredSubject {
    /// `sub_…`
    pub id: String,
    /// `person`, `organisation` or `workload`.
    pub kind: String,
    /// Grows with every attestation, mark, link and change.
    pub version: i64,
    /// `active` or `erased`.
    pub state: String,
    /// Keyed digest of the caller's `external_id`, unique when present.
    pub external_digest: Option<String>,
    /// Direct identifiers, sealed under the subject's key.
    pub identifiers: Sealed,
    /// The subject's data key, wrapped by the master key.
    pub wrapped_key: Sealed,
    /// Creation, epoch milliseconds.
    pub created_at_ms: i64,
}

/// A caller's id for a subject: (namespace, keyed digest of the id), unique.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct StoredLink {
    /// Namespace, for example `api-key`.
    pub namespace: String,
    /// Keyed digest of the id.
    pub digest: String,
    /// The linked subject.
    pub subject: String,
    /// The id itself, sealed under the subject's key.
    pub sealed: Sealed,
    /// Creation, epoch milliseconds.
    pub created_at_ms: i64,
}

/// A versioned document of administration: source, organisation, client, gateway, audience, policy,
/// definition, set, directive.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Record {
    /// `source`, `organisation`, `client`, `gateway`, `audience`, `policy`, `definition`, `set`, `directive`,
    /// `deployment`; `import` and `backfill`, where bulk work stands.
    pub kind: String,
    /// Unique within the kind; policies, definitions and sets are `name@version`.
    pub id: String,
    /// 1 for a new record; each replacement adds one.
    pub version: i64,
    /// JSON object.
    pub body: String,
    /// Secrets the record needs (webhook tokens, API tokens), sealed under the master key.
    pub sealed: Option<Sealed>,
    /// Last change, epoch milliseconds.
    pub updated_at_ms: i64,
}

/// One approved action on the append-only timeline.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct TimelineRow {
    /// Order of approval; assigned by the store, gap-free is not promised.
    pub seq: i64,
    /// The directive it belongs to.
    pub directive: String,
    /// From when it acts, epoch milliseconds.
    pub from_ms: i64,
    /// The action as JSON.
    pub action: String,
}

/// A compact decision; its body is derived again from rules, attestations and instant.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct StoredDecision {
    /// `dec_…`, a digest of its inputs.
    pub id: String,
    /// Whom it is about.
    pub subject: String,
    /// The organisation acted for.
    pub acting_for: Option<String>,
    /// The restricted resource.
    pub resource: String,
    /// The decision's instant, epoch milliseconds.
    pub at_ms: i64,
    /// `eligible`, `ineligible`, `review`, `insufficient`.
    pub status: String,
    /// End of an eligible answer, epoch milliseconds.
    pub expires_at_ms: Option<i64>,
    /// Digest of the rules it was made under; see [`Store::rules`].
    pub rules_digest: String,
    /// JSON array of the attestations it looked at, with their marks.
    pub attestations: String,
}

/// An issued eligibility token.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct StoredToken {
    /// Unique token id.
    pub jti: String,
    /// Subject, by our id.
    pub subject: String,
    /// Audience id.
    pub audience: String,
    /// The restricted resource.
    pub resource: String,
    /// The decision it states.
    pub decision: String,
    /// The client it was issued to.
    pub client: String,
    /// Issue, epoch milliseconds.
    pub issued_at_ms: i64,
    /// End, epoch milliseconds.
    pub expires_at_ms: i64,
    /// Revocation, epoch milliseconds.
    pub revoked_at_ms: Option<i64>,
}

/// A signing key; the private part is sealed under the master key.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct StoredKey {
    /// RFC 7638 thumbprint.
    pub kid: String,
    /// `ES256`, `EdDSA` or `RS256`.
    pub alg: String,
    /// `eligibility`, `access`.
    pub purpose: String,
    /// Private key, PKCS#8, sealed.
    pub sealed: Sealed,
    /// Public JWK as JSON.
    pub jwk: String,
    /// Creation, epoch milliseconds.
    pub created_at_ms: i64,
}

/// A request under an idempotency key.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct StoredRequest {
    /// The client it came from.
    pub client: String,
    /// Keyed digest of method, path and key; unique per client.
    pub key: String,
    /// SHA-256 (hex) of its body.
    pub body_sha256: String,
    /// Random; who works on it.
    pub owner: String,
    /// Until when its owner is believed to live, epoch milliseconds.
    pub lease_until_ms: i64,
    /// What it did, once that is committed.
    pub effect: Option<String>,
    /// Its answer, sealed, once that is known.
    pub answer: Option<Sealed>,
    /// When it is forgotten, epoch milliseconds.
    pub expires_at_ms: i64,
}

/// A delivery that is authentic but cannot be attached to a subject yet.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Quarantined {
    /// `qua_…`
    pub id: String,
    /// Source it came from.
    pub source: String,
    /// The source's delivery id.
    pub event: String,
    /// The vendor session that nobody has linked.
    pub session: String,
    /// Normalised facts as JSON, sealed under the master key.
    pub sealed: Sealed,
    /// Receipt, epoch milliseconds.
    pub received_at_ms: i64,
}

/// One step of a [`Change`]; each names its own conflict.
#[derive(Debug, Clone)]
pub enum Write {
    /// New subject; `Exists("subjects")` on a taken id or external digest.
    Subject(StoredSubject),
    /// New link; `Exists("links")` on a taken (namespace, digest), `NoSuchSubject` if the subject is missing
    /// or erased.
    Link(StoredLink),
    /// Removes a link; `Stale("links")` if it is not there.
    Unlink {
        /// Namespace.
        namespace: String,
        /// Keyed digest.
        digest: String,
    },
    /// Binds a vendor session to a subject, its result under way; idempotent for the same subject, `Exists("sessions")` for another.
    Session {
        /// Source id.
        source: String,
        /// The vendor's session id.
        session: String,
        /// Our subject id.
        subject: String,
        /// Creation, epoch milliseconds.
        created_at_ms: i64,
    },
    /// A vendor's result is under way since an instant, or none is; no effect on a session that nobody bound.
    Progress {
        /// Source id.
        source: String,
        /// The vendor's session id.
        session: String,
        /// Since when, epoch milliseconds.
        pending_since_ms: Option<i64>,
    },
    /// Inserts (`expected` = 0) or replaces a record at exactly that version; `Exists("records")`, `Stale("records")`.
    Record {
        /// The record; its `version` is set to `expected + 1`.
        record: Record,
        /// Version that was read, 0 for new.
        expected: i64,
    },
    /// Appends an approved action; `seq` is assigned by the store.
    Timeline {
        /// Directive id.
        directive: String,
        /// From when, epoch milliseconds.
        from_ms: i64,
        /// Action JSON.
        action: String,
    },
    /// Adds a mark to an attestation and raises its subject's version; repeating the same (attestation, kind, by)
    /// changes nothing; `Stale("attestations")` if the attestation does not exist.
    Mark(StoredMark),
    /// Nothing that a source said since `since_ms`, and until it is reinstated, counts from `at_ms` on: each such
    /// attestation, whatever their number, is read with a `suspended` mark. `Exists("suspensions")` while the source is
    /// suspended.
    Suspend {
        /// Source id.
        source: String,
        /// From when it acts, epoch milliseconds.
        at_ms: i64,
        /// Only what was recorded at or after it, epoch milliseconds.
        since_ms: i64,
        /// Who said so.
        by: String,
        /// Stable reason code.
        reason: String,
    },
    /// Ends a suspension: what is recorded after `at_ms` counts again, what the suspension silenced stays silent.
    /// `Stale("suspensions")` if there is none.
    Reinstate {
        /// Source id.
        source: String,
        /// The end, epoch milliseconds.
        at_ms: i64,
    },
    /// Stores a delivery for later; `DuplicateEvent` if (source, event) is here or in attestations.
    Quarantine(Quarantined),
    /// Removes a quarantined delivery; `Stale("quarantine")` if it is gone.
    Release(String),
    /// The attestation has been compared; repeating it changes nothing.
    Compared(String),
    /// Spends a single-use id until `expires_at_ms`; `Spent` the second time.
    Spend {
        /// Issuer of the id.
        issuer: String,
        /// The id.
        jti: String,
        /// When it may be forgotten, epoch milliseconds.
        expires_at_ms: i64,
    },
    /// Revokes a token; no effect if it is revoked already, `Stale("tokens")` if unknown.
    RevokeToken {
        /// Token id.
        jti: String,
        /// Revocation, epoch milliseconds.
        at_ms: i64,
    },
    /// New signing key; `Exists("keys")`.
    Key(StoredKey),
    /// Records a decision and the rules it stands on; recording it again changes nothing.
    Decision {
        /// The compact row.
        decision: StoredDecision,
        /// The rules' canonical JSON, kept once per digest.
        rules: String,
    },
    /// The attestation intent as part of a larger change (for example with a spent jti).
    Attestation(NewAttestation),
    /// Writes nothing; `Unmet` unless the subject is at one of these versions, which it then keeps until the commit.
    Expect {
        /// Subject id.
        subject: String,
        /// Versions that were read.
        versions: Vec<i64>,
    },
    /// Takes an idempotency key. One that has expired at `now_ms`, or whose owner's lease has ended without effect
    /// and whose body is the same, is taken over; `Exists("requests")` otherwise.
    Claim {
        /// The row; its `effect` and `answer` are ignored.
        request: StoredRequest,
        /// Now, epoch milliseconds.
        now_ms: i64,
    },
    /// Notes in the commit of what a request does that it did it; `Stale("requests")` if its owner lost the key.
    Effect {
        /// Client id.
        client: String,
        /// See [`StoredRequest::key`].
        key: String,
        /// The owner that claimed it.
        owner: String,
        /// What was made or changed; the first one named stays.
        effect: String,
    },
    /// Keeps the answer of a request; `Stale("requests")` if its owner lost the key.
    Answer {
        /// Client id.
        client: String,
        /// See [`StoredRequest::key`].
        key: String,
        /// The owner that claimed it.
        owner: String,
        /// Sealed.
        answer: Sealed,
    },
    /// Gives a key back: forgotten if it had no effect, else its lease ends. `Stale("requests")` if it is not held.
    GiveBack {
        /// Client id.
        client: String,
        /// See [`StoredRequest::key`].
        key: String,
        /// The owner that claimed it.
        owner: String,
    },
    /// Places a legal hold and raises the subject's version; `Exists("holds")`, `NoSuchSubject`.
    Hold(StoredHold),
    /// Lifts the legal hold of a subject and raises its version; `Stale("holds")`, `NoSuchSubject`.
    LiftHold(String),
    /// Erases an active subject at exactly the version that was read: its key, identifiers, links, waiting deliveries and
    /// comparisons go, its sessions are kept under digests, its living tokens are revoked and fed. `NoSuchSubject`,
    /// `Stale("subjects")`, `Exists("holds")`.
    Erase {
        /// What stays known of it.
        erasure: StoredErasure,
        /// The version that was read.
        expected: i64,
        /// Its sessions, each with the digest that replaces the id.
        sessions: Vec<(StoredSession, String)>,
    },
    /// Deletes rows that have outlived their use, as [`Store::bygone`] found them; `Stale(table)` when one is gone or
    /// may not go.
    Prune {
        /// Where.
        table: Table,
        /// Which.
        ids: Vec<String>,
        /// Now, epoch milliseconds.
        now_ms: i64,
    },
    /// Forgets a bounded number of rows that are books; `Stale(table)` if there is none.
    Forget(Forgotten, i64),
    /// Notes how far the feed has come at the first instant; marks before the last one that is older than the second go.
    MarkFeed(i64, i64),
    /// Tokens issued before this instant, epoch milliseconds, are refused from now on; it only ever moves ahead.
    TokensSince(i64),
}

/// An atomic set of writes with its audit entry.
#[derive(Debug, Clone)]
pub struct Change {
    /// Applied in order; the first conflict undoes all.
    pub writes: Vec<Write>,
    /// Entries for the audit log; empty only where the writes bring their own, and for the books of idempotency keys
    /// and of bulk work, which are no state of ours.
    pub audit: Vec<AuditEntry>,
    /// What followers must reload.
    pub feed: Vec<FeedRow>,
    /// What to tell the outside.
    pub outbox: Vec<OutboxRow>,
}

/// One entry of the sequenced, hash-linked audit log.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct AuditRecord {
    /// Position, from 1, without gaps.
    pub position: i64,
    /// SHA-256 (hex) of the previous record's hash and this entry's canonical JSON.
    pub hash: String,
    /// `hash` of position - 1; 64 zeros for the first.
    pub previous: String,
    /// Canonical JSON of the entry.
    pub entry: String,
}

/// How far the history of a database goes, read in one snapshot.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct History {
    /// Random id of the deployment, made by the first migration.
    pub deployment: String,
    /// See [`Write::TokensSince`]; 0 when no loss was ever accepted.
    pub tokens_since_ms: i64,
    /// Position of the last record of the audit log, 0 for none.
    pub position: i64,
    /// Hash of that record; 64 zeros for none.
    pub head: String,
    /// Hash of the record at the position that was asked about, if there is one.
    pub asked: Option<String>,
    /// Committed audit entries that are not in the log yet.
    pub waiting: i64,
}

/// What the store promises. Durability: when a writing method returns `Ok(Ok(_))`, the change survives a crash
/// of this process and of the machine (SQLite `synchronous=FULL`; PostgreSQL `synchronous_commit=on`). Isolation: readers
/// see whole commits only. All instants are epoch milliseconds given by the caller; the store reads no clock.
#[async_trait]
pub trait Store: Send + Sync + 'static {
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
    /// the token is obeyed by it.
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
    /// was recorded, decided or issued since; at most `limit`.
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
    /// The rules' canonical JSON by digest.
    async fn rules(&self, digest: &str) -> Result<Option<String>, StoreError>;
    /// An issued token.
    async fn token(&self, jti: &str) -> Result<Option<StoredToken>, StoreError>;
    /// jtis revoked and not yet expired at `now_ms`.
    async fn revoked_tokens(&self, now_ms: i64) -> Result<Vec<String>, StoreError>;
    /// A request by its idempotency key.
    async fn request(&self, client: &str, key: &str) -> Result<Option<StoredRequest>, StoreError>;
    /// All signing keys, newest first.
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
