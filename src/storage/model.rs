//! What goes in and comes out of the store, row by row.

use super::Sealed;

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
    /// `subject`, `record`, `timeline`, `token`, `key`, `root`, `status` or `source`.
    pub kind: String,
    /// Key of the changed thing: a subject id, `kind/id`, a jti, the number of a status list, the id of a source whose every statement changed.
    pub key: String,
}

/// A message to the outside, to be sent at least once after the commit.
#[derive(Debug, Clone)]
pub struct OutboxRow {
    /// `out_…`, sortable, beginning with the instant; the receiver's deduplication id.
    pub id: String,
    /// Event type, for example `attestation.accepted`.
    pub topic: String,
    /// Messages with one key are delivered in order: the subject id.
    pub key: String,
    /// JSON body.
    pub body: String,
}

/// What a decision was made of: a token is recorded only while all are still so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Basis {
    /// The subject's version.
    pub version: i64,
    /// The last `seq` of the timeline, 0 for none.
    pub timeline: i64,
    /// How many suspensions there have been; see [`super::Store::suspensions`].
    pub suspensions: i64,
    /// The other parties of the question, by id, with their versions.
    pub parties: Vec<(String, i64)>,
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
    /// `revoked`, `superseded`, `resolved`, or `suspended`, which is never stored: it follows from [`super::Write::Suspend`].
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
    /// When it was approved, epoch milliseconds.
    pub approved_ms: i64,
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
    /// Digest of the rules it was made under; see [`super::Store::rules`].
    pub rules_digest: String,
    /// JSON array of the attestations it looked at, with their marks.
    pub attestations: String,
}

/// What a subject came to when it was last looked at: derived, never decided on.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct StoredStanding {
    /// Whom it is about.
    pub subject: String,
    /// The organisation acted for; empty for none.
    pub acting_for: String,
    /// A resource or a family, for example `restricted.*`.
    pub resource: String,
    /// `eligible`, `ineligible`, `review`, `insufficient`.
    pub status: String,
    /// The decision that said so.
    pub decision: String,
    /// Digest of its rules.
    pub rules: String,
    /// The subject's version it was made of.
    pub version: i64,
    /// How many suspensions there had been.
    pub suspensions: i64,
    /// When it changes by itself, epoch milliseconds.
    pub due_ms: Option<i64>,
    /// When it is to be looked whether it will end, epoch milliseconds.
    pub notice_ms: Option<i64>,
    /// The end of which notice was given last, epoch milliseconds.
    pub told_end_ms: Option<i64>,
    /// How long before that end, milliseconds.
    pub told_before_ms: Option<i64>,
    /// The band of an eligible answer's confidence, where the policy discloses it.
    pub level: Option<String>,
}

/// A subject as a sweep over all finds it, beside one of its standings.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Swept {
    /// `sub_…`, active.
    pub subject: String,
    /// Its version now.
    pub current: i64,
    /// Whether anything was said or decided of it.
    pub matters: bool,
    /// Whether another party that it was made of is at another version now.
    pub parties_changed: bool,
    /// A standing of it, if there is one: what it is about and what it was made of.
    pub resource: Option<String>,
    /// See [`StoredStanding::rules`].
    pub rules: Option<String>,
    /// See [`StoredStanding::version`].
    pub version: Option<i64>,
    /// See [`StoredStanding::suspensions`].
    pub suspensions: Option<i64>,
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
    /// Number of the status list it stands in.
    pub status_list: i64,
    /// Its index there; no other token ever has it.
    pub status_idx: i64,
    /// What it says of an end user, as JSON; `None` where nobody asked for one when it was issued.
    pub end_user: Option<String>,
    /// The session at an identity provider that it was got by.
    #[sqlx(flatten)]
    pub session: StoredSessionOf,
}

/// The session that an identity provider's ID token named, by keyed digests; empty where it named none.
#[derive(Debug, Clone, Default, PartialEq, Eq, sqlx::FromRow)]
pub struct StoredSessionOf {
    /// The session.
    pub session: Option<String>,
    /// Whose it is, as the provider knows them.
    pub session_of: Option<String>,
    /// Issue of the ID token, epoch milliseconds.
    pub session_at_ms: Option<i64>,
}

/// Sessions at an identity provider that are over, by the keyed digests of [`StoredSessionOf`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionsOver {
    /// One session; where it is named too, only if it is theirs.
    One {
        /// The session.
        session: String,
        /// Whose it is.
        of: Option<String>,
    },
    /// All of somebody's as far as ID tokens told of them by this instant, epoch milliseconds.
    All {
        /// Whose they are.
        of: String,
        /// The instant.
        until_ms: i64,
    },
}

/// How long it is remembered that a session is over, in milliseconds.
pub const SESSION_KEPT_MS: i64 = 30 * 86_400_000;

impl SessionsOver {
    /// By what it is remembered.
    pub(super) fn key(&self) -> String {
        match self {
            Self::One { session, of: None } => session.clone(),
            Self::One { session, of: Some(of) } => format!("{session}/{of}"),
            Self::All { of, .. } => of.clone(),
        }
    }
}

impl StoredToken {
    /// Where its status stands.
    #[must_use]
    pub fn place(&self) -> TokenPlace {
        TokenPlace {
            jti: self.jti.clone(),
            resource: self.resource.clone(),
            issued_at_ms: self.issued_at_ms,
            list: self.status_list,
            idx: self.status_idx,
        }
    }
}

/// A token and where its status stands.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct TokenPlace {
    /// Token id.
    pub jti: String,
    /// The restricted resource.
    pub resource: String,
    /// Issue, epoch milliseconds.
    pub issued_at_ms: i64,
    /// Number of its status list.
    pub list: i64,
    /// Its index there.
    pub idx: i64,
}

/// A status list that is not retired.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::FromRow)]
pub struct StoredList {
    /// Its number.
    pub number: i64,
    /// Until when it may be drawn from, epoch milliseconds.
    pub use_until_ms: i64,
    /// How many of its blocks are reserved.
    pub taken: i64,
}

/// The root secret as one master key opens it.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct StoredRoot {
    /// Which master key.
    pub master: String,
    /// The root secret, sealed under it.
    pub sealed: Sealed,
    /// Its key of statements, sealed under the root secret.
    pub statements: Sealed,
}

/// The instants of a signing key's life, epoch milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::FromRow)]
pub struct KeyTimes {
    /// In the key set since.
    pub published_ms: i64,
    /// First signature.
    pub signs_from_ms: i64,
    /// The last one; none while no successor is published.
    pub last_signs_ms: Option<i64>,
    /// End of the last token it may have signed; none while that is not known.
    pub verifies_until_ms: Option<i64>,
    /// Since when it is neither published nor believed.
    pub retired_at_ms: Option<i64>,
}

impl KeyTimes {
    /// Of a key that nothing follows yet.
    #[must_use]
    pub const fn new(published_ms: i64, signs_from_ms: i64) -> Self {
        Self { published_ms, signs_from_ms, last_signs_ms: None, verifies_until_ms: None, retired_at_ms: None }
    }
}

/// A signing key, sealed under the master key.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct StoredKey {
    /// RFC 7638 thumbprint.
    pub kid: String,
    /// `ES256`, `EdDSA` or `RS256`.
    pub alg: String,
    /// `eligibility`, `access`, `receipt`, `introspection`, `status_list`, `event`.
    pub purpose: String,
    /// Private key (PKCS#8) while it may sign, then its public JWK, both sealed; empty once it is retired.
    pub sealed: Sealed,
    /// Public JWK as JSON, for people: what is believed is sealed.
    pub jwk: String,
    /// Its life.
    #[sqlx(flatten)]
    pub times: KeyTimes,
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
    /// See [`super::Write::TokensSince`]; 0 when no loss was ever accepted.
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
