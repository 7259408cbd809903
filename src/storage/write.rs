//! The steps of a change, and the change: all of it or nothing.

use super::{
    AuditEntry, FeedRow, Forgotten, KeyTimes, NewAttestation, OutboxRow, OutgoingWrite, Quarantined, Record,
    ReviewWrite, Sealed, SessionsOver, StoredAdmission, StoredConsent, StoredContact, StoredDecision,
    StoredDirectoryUser, StoredErasure, StoredHold, StoredKey, StoredLink, StoredMark, StoredRequest, StoredRoot,
    StoredSession, StoredStanding, StoredSubject, Table,
};

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
        /// When it was approved, epoch milliseconds.
        approved_ms: i64,
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
    /// Sessions at an identity provider are over at an instant: for [`super::SESSION_KEPT_MS`] no token is recorded that was
    /// got by one of them. Every token recorded before it is committed is seen after it. Repeating it changes nothing.
    SessionsOver {
        /// Which.
        over: SessionsOver,
        /// When, epoch milliseconds.
        at_ms: i64,
    },
    /// Revokes an access token, of which nothing else is stored, until it ends; repeating it changes nothing.
    RevokeAccess {
        /// Token id.
        jti: String,
        /// Its end, epoch milliseconds.
        expires_at_ms: i64,
    },
    /// Lets a master key open the root secret; `Exists("roots")` if it does already, or if it founds a database that has a
    /// root secret.
    Root {
        /// The row.
        root: StoredRoot,
        /// Whether this is the first row ever.
        founds: bool,
    },
    /// Only this master key opens the root secret from now on; `Stale("roots")` if it does not or is the only one.
    OnlyRoot(String),
    /// Reserves blocks of a status list, which is made if there is none, for one process until an instant; what it does
    /// not use is lost. `Exists("status_blocks")` if one of them was reserved before, `Stale("status_lists")` if the list
    /// is retired.
    Reserve {
        /// Number of the list.
        list: i64,
        /// Which.
        blocks: Vec<i64>,
        /// Until when they are drawn from, epoch milliseconds.
        until_ms: i64,
    },
    /// No token of the list lives any more; `Stale("status_lists")` unless it is drawn from until the instant that was
    /// read. Its number stays used.
    RetireList {
        /// Number of the list.
        list: i64,
        /// As it was read.
        use_until_ms: i64,
        /// When, epoch milliseconds.
        at_ms: i64,
    },
    /// New signing key; `Exists("keys")`, also where its purpose and algorithm have a newest one already.
    Key(StoredKey),
    /// Another part of a key's life begins; `Stale("keys")` unless its instants are still those that were read.
    MoveKey {
        /// The key.
        kid: String,
        /// As they were read.
        was: KeyTimes,
        /// As they are from now on.
        times: KeyTimes,
        /// What is kept of it from now on, if something else.
        sealed: Option<Sealed>,
    },
    /// Records a decision and the rules it stands on; recording it again changes nothing.
    Decision {
        /// The compact row.
        decision: StoredDecision,
        /// The rules' canonical JSON, kept once per digest.
        rules: String,
    },
    /// Notes what a subject came to, in the place of what was read (decision and version), or for the first time. `Stale`
    /// when another standing is there, or when the subject, the orders or the suspensions are not what it was made of any
    /// more; `NoSuchSubject`.
    Standing {
        /// The row; its `version` is the subject's.
        standing: StoredStanding,
        /// Decision and version of the row that it replaces.
        replaces: Option<(String, i64)>,
        /// The last `seq` of the timeline it was made of.
        timeline: i64,
    },
    /// Notes of which other parties a subject's standings and living tokens were made. Those of a token that was issued
    /// meanwhile stay. `NoSuchSubject`.
    Relies {
        /// Subject id.
        subject: String,
        /// The parties with the versions that were looked at, -1 for none.
        parties: Vec<(String, i64)>,
        /// Now, epoch milliseconds.
        now_ms: i64,
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
    /// Erases an active subject at exactly the version that was read: its key, identifiers, links, consents, places in
    /// directories, waiting deliveries, comparisons and standings go, its sessions are kept under digests, its living tokens
    /// are revoked, fed and told. `NoSuchSubject`, `Stale("subjects")`, `Exists("holds")`.
    Erase {
        /// What stays known of it.
        erasure: StoredErasure,
        /// The version that was read.
        expected: i64,
        /// Its sessions, each with the digest that replaces the id.
        sessions: Vec<(StoredSession, String)>,
        /// How the ids of the messages begin by which the end of its tokens is told.
        messages: String,
    },
    /// Deletes rows that have outlived their use, as [`super::Store::bygone`] found them; `Stale(table)` when one is gone or
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
    /// Adds admissions to the hours they were counted in; no id twice. Of a subject that is not there any more nothing is
    /// kept.
    Admissions(Vec<StoredAdmission>),
    /// A consent was named, and claims provided under it so often; the same consent is one row, whose first instant stays.
    /// `NoSuchSubject`.
    Consent(StoredConsent),
    /// Claims were provided under a consent that was named before; `Stale("consents")` if it is not there, or about
    /// somebody else.
    Provided {
        /// `cns_…`
        consent: String,
        /// About whom.
        subject: String,
        /// When, epoch milliseconds.
        at_ms: i64,
    },
    /// A gateway was heard of; what is known of a later instant stays.
    Contact(StoredContact),
    /// Inserts (`expected` = 0) or replaces a person of a directory at exactly that version. `Exists("directory_users")` on
    /// a taken id, user name, id of the directory's own or subject within the directory, `Stale("directory_users")`,
    /// `NoSuchSubject` if the subject is missing or erased.
    DirectoryUser {
        /// The row; its `version` is set to `expected + 1`.
        user: StoredDirectoryUser,
        /// Digests of the addresses it is looked up by, in the place of those it had.
        emails: Vec<String>,
        /// Version that was read, 0 for new.
        expected: i64,
    },
    /// Removes a person from its directory at exactly the version that was read; `Stale("directory_users")`. Who it is, and
    /// what was said of it, stays.
    RemoveDirectoryUser {
        /// `usr_…`
        id: String,
        /// Version that was read.
        expected: i64,
    },
    /// What people look at: see [`ReviewWrite`].
    Review(ReviewWrite),
    /// What is told to the outside: see [`OutgoingWrite`].
    Outgoing(OutgoingWrite),
}

/// An atomic set of writes with its audit entry.
#[derive(Debug, Clone)]
pub struct Change {
    /// Applied in order; the first conflict undoes all.
    pub writes: Vec<Write>,
    /// Entries for the audit log; empty only where the writes bring their own, and for the books of idempotency keys,
    /// of spent ids, of admissions, of when gateways were heard of, of what is told to the outside and of bulk work, which
    /// are no state of ours.
    pub audit: Vec<AuditEntry>,
    /// What followers must reload.
    pub feed: Vec<FeedRow>,
    /// What to tell the outside.
    pub outbox: Vec<OutboxRow>,
}
