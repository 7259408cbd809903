//! What people look at: sign-ins of operators, cases with what was said in them, what was settled, appeals.
//!
//! The bodies are the service's; storage looks at states, versions and ends only.

pub(super) mod reads;
pub(super) mod writes;

use super::{AuditEntry, OutboxRow, Sealed, StoreError};
use async_trait::async_trait;

/// A sign-in of an operator.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct OperatorSession {
    /// SHA-256 (hex) of its token.
    pub digest: String,
    /// `opr_…`
    pub operator: String,
    /// The version of the operator's record it was opened under.
    pub version: i64,
    /// Keyed digest of the network it was opened from.
    pub site: String,
    /// Epoch milliseconds.
    pub opened_at_ms: i64,
    /// Last use, epoch milliseconds, to the minute.
    pub used_at_ms: i64,
    /// Signing out, epoch milliseconds.
    pub ended_at_ms: Option<i64>,
}

/// Something that a person has to look at.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct StoredCase {
    /// `cas_…`, sortable.
    pub id: String,
    /// Whom it is about; `None` while nobody is bound to what was delivered.
    pub subject: Option<String>,
    /// What is asked: a frame, for example `us_status`.
    pub question: String,
    /// `open` or `closed`.
    pub state: String,
    /// 1 for a new case; each change adds one.
    pub version: i64,
    /// JSON object; names nobody.
    pub body: String,
    /// Epoch milliseconds.
    pub opened_at_ms: i64,
    /// Epoch milliseconds.
    pub closed_at_ms: Option<i64>,
}

/// What an operator said in a case.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct CaseEntry {
    /// `ent_…`, sortable.
    pub id: String,
    /// The case.
    pub case_id: String,
    /// `opr_…`
    pub operator: String,
    /// `comment`, `proposal`, `confirmation`, `rejection`.
    pub kind: String,
    /// Epoch milliseconds.
    pub at_ms: i64,
    /// JSON object; names nobody.
    pub body: String,
    /// The operator's own words, sealed; gone with the subject.
    pub sealed: Option<Sealed>,
}

/// One finding that an adjudication settled.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct StoredResolution {
    /// The adjudication: an attestation.
    pub adjudication: String,
    /// Whom it is about.
    pub subject: String,
    /// Who made the finding.
    pub source: String,
    /// The lineage key it has.
    pub lineage: String,
    /// Digest of what was found.
    pub finding: String,
    /// Epoch milliseconds.
    pub at_ms: i64,
}

/// An appeal of the subject's side.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct StoredAppeal {
    /// `apl_…`, sortable.
    pub id: String,
    /// Who appeals.
    pub subject: String,
    /// The resource that was refused.
    pub resource: String,
    /// `open`, `reconsidering` or `decided`.
    pub state: String,
    /// 1 for a new appeal; each change adds one.
    pub version: i64,
    /// JSON object; names nobody.
    pub body: String,
    /// The subject's own words, sealed under the subject's key.
    pub sealed: Option<Sealed>,
    /// Epoch milliseconds.
    pub opened_at_ms: i64,
    /// When it has to be decided, epoch milliseconds.
    pub due_at_ms: i64,
    /// Epoch milliseconds.
    pub decided_at_ms: Option<i64>,
}

/// One step of a [`super::Change`] that concerns review.
#[derive(Debug, Clone)]
pub enum ReviewWrite {
    /// A sign-in.
    OpenSession(OperatorSession),
    /// A sign-in was used; no effect on one that ended.
    UseSession {
        /// Its digest.
        digest: String,
        /// Epoch milliseconds.
        at_ms: i64,
    },
    /// Signing out; no effect on one that ended.
    EndSession {
        /// Its digest.
        digest: String,
        /// Epoch milliseconds.
        at_ms: i64,
    },
    /// A new case, with its own audit entry and message. No effect, and neither of them, while the question has an open case or when the
    /// subject is not active: it can stand in any commit.
    OpenCase {
        /// The case; its `version` is 1.
        case: StoredCase,
        /// Written only if the case is.
        audit: AuditEntry,
        /// Told only if the case is written.
        outbox: OutboxRow,
    },
    /// Replaces a case at exactly that version; `Stale("cases")`.
    Case {
        /// The case; its `version` is set to `expected + 1`.
        case: StoredCase,
        /// The version that was read.
        expected: i64,
    },
    /// Something an operator said; `Stale("cases")` if the case does not exist.
    Entry(CaseEntry),
    /// A finding that is settled from now on.
    Resolve(StoredResolution),
    /// A new appeal (`expected` = 0) of an active subject, or its replacement at exactly that version;
    /// `Exists("appeals")` while another about the same is undecided, `NoSuchSubject`, `Stale("appeals")`.
    Appeal {
        /// The appeal; its `version` is set to `expected + 1`.
        appeal: StoredAppeal,
        /// The version that was read, 0 for new.
        expected: i64,
    },
}

impl ReviewWrite {
    /// Whether its loss would give something back that was taken away: a sign-in that ended, a case that was decided.
    #[must_use]
    pub fn takes_away(&self) -> bool {
        match self {
            Self::EndSession { .. } | Self::Resolve(_) => true,
            Self::Case { case, .. } => case.state == "closed",
            _ => false,
        }
    }

    pub(super) fn table(&self) -> &'static str {
        match self {
            Self::OpenSession(_) | Self::UseSession { .. } | Self::EndSession { .. } => "operator_sessions",
            Self::OpenCase { .. } | Self::Case { .. } => "cases",
            Self::Entry(_) => "case_entries",
            Self::Resolve(_) => "resolutions",
            Self::Appeal { .. } => "appeals",
        }
    }
}

/// Which cases or appeals are asked for; an empty text asks for all.
#[derive(Debug, Clone, Copy, Default)]
pub struct ReviewQueue<'a> {
    /// The state.
    pub state: &'a str,
    /// The subject.
    pub subject: &'a str,
    /// Only ids after this one.
    pub after: &'a str,
    /// At most so many.
    pub limit: i64,
}

/// Reads of what people look at.
#[async_trait]
pub trait ReviewStore: Send + Sync + 'static {
    /// A sign-in, with version and body of its operator's record as they are now, in one snapshot.
    async fn operator_session(&self, digest: &str) -> Result<Option<(OperatorSession, i64, String)>, StoreError>;
    /// Whether the operator signed in from this network since an instant.
    async fn knows_site(&self, operator: &str, site: &str, since_ms: i64) -> Result<bool, StoreError>;
    /// One case.
    async fn case(&self, id: &str) -> Result<Option<StoredCase>, StoreError>;
    /// Cases in id order.
    async fn cases(&self, queue: ReviewQueue<'_>) -> Result<Vec<StoredCase>, StoreError>;
    /// The newest case that asks a question about nobody in particular.
    async fn last_case(&self, question: &str) -> Result<Option<StoredCase>, StoreError>;
    /// What was said in a case, oldest first, at most 500.
    async fn case_entries(&self, case: &str) -> Result<Vec<CaseEntry>, StoreError>;
    /// One entry.
    async fn case_entry(&self, id: &str) -> Result<Option<CaseEntry>, StoreError>;
    /// Findings settled about a subject.
    async fn resolutions(&self, subject: &str) -> Result<Vec<StoredResolution>, StoreError>;
    /// (source, session) of deliveries that wait since before an instant for a session that nobody bound, in that order,
    /// after one of them.
    async fn unbound(
        &self,
        before_ms: i64,
        after: (&str, &str),
        limit: i64,
    ) -> Result<Vec<(String, String)>, StoreError>;
    /// One appeal.
    async fn appeal(&self, id: &str) -> Result<Option<StoredAppeal>, StoreError>;
    /// Appeals in id order.
    async fn appeals(&self, queue: ReviewQueue<'_>) -> Result<Vec<StoredAppeal>, StoreError>;
    /// Undecided appeals that were due at an instant, in id order after `after`.
    async fn overdue_appeals(&self, now_ms: i64, after: &str, limit: i64) -> Result<Vec<StoredAppeal>, StoreError>;
}
