//! What people look at: sign-ins of operators, cases with what was said in them, what was settled, appeals.
//!
//! The bodies are the service's; storage looks at states, versions and ends only.

use super::{AuditEntry, Sealed, StoreError};
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
    /// A new case, with its own audit entry. No effect, and no entry, while the question has an open case or when the
    /// subject is not active: it can stand in any commit.
    OpenCase {
        /// The case; its `version` is 1.
        case: StoredCase,
        /// Written only if the case is.
        audit: AuditEntry,
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

/// The [`ReviewWrite`]s, run inside a transaction like those of `sql.rs`, whose helpers they use.
macro_rules! implement_review_writes {
    ($connection:ty) => {
        async fn review(conn: &mut $connection, write: &ReviewWrite) -> Result<(), Undo> {
            match write {
                ReviewWrite::OpenSession(session) => {
                    sqlx::query(
                        "INSERT INTO operator_sessions (digest, operator, version, site, opened_at_ms, used_at_ms)
                         VALUES ($1, $2, $3, $4, $5, $6)",
                    )
                    .bind(&session.digest)
                    .bind(&session.operator)
                    .bind(session.version)
                    .bind(&session.site)
                    .bind(session.opened_at_ms)
                    .bind(session.used_at_ms)
                    .execute(conn)
                    .await?;
                    Ok(())
                }
                ReviewWrite::UseSession { digest, at_ms } => {
                    sqlx::query(
                        "UPDATE operator_sessions SET used_at_ms = $2
                         WHERE digest = $1 AND ended_at_ms IS NULL AND used_at_ms < $2",
                    )
                    .bind(digest)
                    .bind(at_ms)
                    .execute(conn)
                    .await?;
                    Ok(())
                }
                ReviewWrite::EndSession { digest, at_ms } => {
                    sqlx::query(
                        "UPDATE operator_sessions SET ended_at_ms = $2 WHERE digest = $1 AND ended_at_ms IS NULL",
                    )
                    .bind(digest)
                    .bind(at_ms)
                    .execute(conn)
                    .await?;
                    Ok(())
                }
                ReviewWrite::OpenCase { case, audit: entry } => open_case(conn, case, entry).await,
                ReviewWrite::Case { case, expected } => {
                    let done = sqlx::query(
                        "UPDATE cases SET state = $3, version = version + 1, body = $4, closed_at_ms = $5
                         WHERE id = $1 AND version = $2",
                    )
                    .bind(&case.id)
                    .bind(expected)
                    .bind(&case.state)
                    .bind(&case.body)
                    .bind(case.closed_at_ms)
                    .execute(conn)
                    .await?;
                    or_conflict(done.rows_affected(), Conflict::Stale("cases"))
                }
                ReviewWrite::Entry(entry) => {
                    let done = sqlx::query(
                        "INSERT INTO case_entries (id, case_id, operator, kind, at_ms, body, sealed)
                         SELECT $1, id, $3, $4, $5, $6, $7 FROM cases WHERE id = $2",
                    )
                    .bind(&entry.id)
                    .bind(&entry.case_id)
                    .bind(&entry.operator)
                    .bind(&entry.kind)
                    .bind(entry.at_ms)
                    .bind(&entry.body)
                    .bind(&entry.sealed)
                    .execute(conn)
                    .await?;
                    or_conflict(done.rows_affected(), Conflict::Stale("cases"))
                }
                ReviewWrite::Resolve(settled) => {
                    sqlx::query(
                        "INSERT INTO resolutions (adjudication, subject, source, lineage, finding, at_ms)
                         VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING",
                    )
                    .bind(&settled.adjudication)
                    .bind(&settled.subject)
                    .bind(&settled.source)
                    .bind(&settled.lineage)
                    .bind(&settled.finding)
                    .bind(settled.at_ms)
                    .execute(conn)
                    .await?;
                    Ok(())
                }
                ReviewWrite::Appeal { appeal, expected } => put_appeal(conn, appeal, *expected).await,
            }
        }

        async fn open_case(conn: &mut $connection, case: &StoredCase, entry: &AuditEntry) -> Result<(), Undo> {
            if let Some(subject) = &case.subject {
                // Held until the commit: an erasure closes the cases it finds.
                match lock(conn, subject).await? {
                    Some((_, true)) => {}
                    _ => return Ok(()),
                }
            }
            let done = sqlx::query(
                "INSERT INTO cases (id, subject, question, state, version, body, opened_at_ms)
                 VALUES ($1, $2, $3, 'open', 1, $4, $5) ON CONFLICT DO NOTHING",
            )
            .bind(&case.id)
            .bind(&case.subject)
            .bind(&case.question)
            .bind(&case.body)
            .bind(case.opened_at_ms)
            .execute(&mut *conn)
            .await?;
            if done.rows_affected() > 0 {
                audit(conn, entry).await?;
            }
            Ok(())
        }

        async fn put_appeal(conn: &mut $connection, appeal: &StoredAppeal, expected: i64) -> Result<(), Undo> {
            if expected > 0 {
                let done = sqlx::query(
                    "UPDATE appeals SET state = $3, version = version + 1, body = $4, decided_at_ms = $5
                     WHERE id = $1 AND version = $2",
                )
                .bind(&appeal.id)
                .bind(expected)
                .bind(&appeal.state)
                .bind(&appeal.body)
                .bind(appeal.decided_at_ms)
                .execute(conn)
                .await?;
                return or_conflict(done.rows_affected(), Conflict::Stale("appeals"));
            }
            match lock(conn, &appeal.subject).await? {
                Some((_, true)) => {}
                _ => return Err(Conflict::NoSuchSubject.into()),
            }
            let done = sqlx::query(
                "INSERT INTO appeals (id, subject, resource, state, version, body, sealed, opened_at_ms, due_at_ms)
                 VALUES ($1, $2, $3, $4, 1, $5, $6, $7, $8) ON CONFLICT DO NOTHING",
            )
            .bind(&appeal.id)
            .bind(&appeal.subject)
            .bind(&appeal.resource)
            .bind(&appeal.state)
            .bind(&appeal.body)
            .bind(&appeal.sealed)
            .bind(appeal.opened_at_ms)
            .bind(appeal.due_at_ms)
            .execute(conn)
            .await?;
            or_conflict(done.rows_affected(), Conflict::Exists("appeals"))
        }

        /// Of an erased subject nothing is asked any more, and nobody's words about it stay.
        async fn erase_review(conn: &mut $connection, subject: &str, at_ms: i64) -> Result<(), Undo> {
            for text in [
                "UPDATE cases SET state = 'closed', version = version + 1, closed_at_ms = $2
                 WHERE subject = $1 AND state = 'open'",
                "UPDATE appeals SET state = 'decided', version = version + 1, decided_at_ms = $2
                 WHERE subject = $1 AND state <> 'decided'",
            ] {
                sqlx::query(text).bind(subject).bind(at_ms).execute(&mut *conn).await?;
            }
            for text in [
                "UPDATE case_entries SET sealed = NULL WHERE case_id IN (SELECT id FROM cases WHERE subject = $1)",
                "UPDATE appeals SET sealed = NULL WHERE subject = $1",
            ] {
                sqlx::query(text).bind(subject).execute(&mut *conn).await?;
            }
            Ok(())
        }

        /// A closed case with what was said in it.
        async fn prune_case(conn: &mut $connection, id: &str) -> Result<(), Undo> {
            allow(conn, id).await?;
            sqlx::query("DELETE FROM case_entries WHERE case_id = $1").bind(id).execute(&mut *conn).await?;
            let done =
                sqlx::query("DELETE FROM cases WHERE id = $1 AND state = 'closed'").bind(id).execute(conn).await?;
            or_conflict(done.rows_affected(), Conflict::Stale("cases"))
        }
    };
}
pub(super) use implement_review_writes;

/// The [`ReviewStore`] of a type with a pool `readers`.
macro_rules! implement_review_reads {
    ($store:ty, $database:ty) => {
        #[async_trait]
        impl ReviewStore for $store {
            async fn operator_session(
                &self,
                digest: &str,
            ) -> Result<Option<(OperatorSession, i64, String)>, StoreError> {
                #[derive(sqlx::FromRow)]
                struct Found {
                    #[sqlx(flatten)]
                    session: OperatorSession,
                    now_version: i64,
                    record: String,
                }
                let row = sqlx::query_as::<$database, Found>(
                    "SELECT s.digest, s.operator, s.version, s.site, s.opened_at_ms, s.used_at_ms, s.ended_at_ms,
                         r.version AS now_version, r.body AS record
                     FROM operator_sessions AS s JOIN records AS r ON r.kind = 'operator' AND r.id = s.operator
                     WHERE s.digest = $1",
                )
                .bind(digest)
                .fetch_optional(&self.readers)
                .await?;
                Ok(row.map(|found| (found.session, found.now_version, found.record)))
            }

            async fn knows_site(&self, operator: &str, site: &str, since_ms: i64) -> Result<bool, StoreError> {
                let row = sqlx::query_scalar::<$database, String>(
                    "SELECT digest FROM operator_sessions
                     WHERE operator = $1 AND site = $2 AND opened_at_ms >= $3 LIMIT 1",
                )
                .bind(operator)
                .bind(site)
                .bind(since_ms)
                .fetch_optional(&self.readers)
                .await?;
                Ok(row.is_some())
            }

            async fn case(&self, id: &str) -> Result<Option<StoredCase>, StoreError> {
                let row = sqlx::query_as::<$database, StoredCase>(
                    "SELECT id, subject, question, state, version, body, opened_at_ms, closed_at_ms
                     FROM cases WHERE id = $1",
                )
                .bind(id)
                .fetch_optional(&self.readers)
                .await?;
                Ok(row)
            }

            async fn cases(&self, queue: ReviewQueue<'_>) -> Result<Vec<StoredCase>, StoreError> {
                let rows = sqlx::query_as::<$database, StoredCase>(
                    "SELECT id, subject, question, state, version, body, opened_at_ms, closed_at_ms
                     FROM cases WHERE ($1 = '' OR state = $1) AND ($2 = '' OR subject = $2) AND id > $3
                     ORDER BY id LIMIT $4",
                )
                .bind(queue.state)
                .bind(queue.subject)
                .bind(queue.after)
                .bind(queue.limit.max(0))
                .fetch_all(&self.readers)
                .await?;
                Ok(rows)
            }

            async fn last_case(&self, question: &str) -> Result<Option<StoredCase>, StoreError> {
                let row = sqlx::query_as::<$database, StoredCase>(
                    "SELECT id, subject, question, state, version, body, opened_at_ms, closed_at_ms
                     FROM cases WHERE subject IS NULL AND question = $1 ORDER BY id DESC LIMIT 1",
                )
                .bind(question)
                .fetch_optional(&self.readers)
                .await?;
                Ok(row)
            }

            async fn case_entries(&self, case: &str) -> Result<Vec<CaseEntry>, StoreError> {
                let rows = sqlx::query_as::<$database, CaseEntry>(
                    "SELECT id, case_id, operator, kind, at_ms, body, sealed
                     FROM case_entries WHERE case_id = $1 ORDER BY at_ms, id LIMIT 500",
                )
                .bind(case)
                .fetch_all(&self.readers)
                .await?;
                Ok(rows)
            }

            async fn case_entry(&self, id: &str) -> Result<Option<CaseEntry>, StoreError> {
                let row = sqlx::query_as::<$database, CaseEntry>(
                    "SELECT id, case_id, operator, kind, at_ms, body, sealed FROM case_entries WHERE id = $1",
                )
                .bind(id)
                .fetch_optional(&self.readers)
                .await?;
                Ok(row)
            }

            async fn resolutions(&self, subject: &str) -> Result<Vec<StoredResolution>, StoreError> {
                let rows = sqlx::query_as::<$database, StoredResolution>(
                    "SELECT adjudication, subject, source, lineage, finding, at_ms
                     FROM resolutions WHERE subject = $1 ORDER BY adjudication, source, lineage, finding",
                )
                .bind(subject)
                .fetch_all(&self.readers)
                .await?;
                Ok(rows)
            }

            async fn unbound(
                &self,
                before_ms: i64,
                after: (&str, &str),
                limit: i64,
            ) -> Result<Vec<(String, String)>, StoreError> {
                let rows = sqlx::query_as::<$database, (String, String)>(
                    "SELECT DISTINCT q.source, q.session FROM quarantine AS q
                     WHERE q.received_at_ms < $1 AND (q.source, q.session) > ($2, $3) AND NOT EXISTS
                         (SELECT 1 FROM sessions AS s WHERE s.source = q.source AND s.session = q.session)
                     ORDER BY q.source, q.session LIMIT $4",
                )
                .bind(before_ms)
                .bind(after.0)
                .bind(after.1)
                .bind(limit.max(0))
                .fetch_all(&self.readers)
                .await?;
                Ok(rows)
            }

            async fn appeal(&self, id: &str) -> Result<Option<StoredAppeal>, StoreError> {
                let row = sqlx::query_as::<$database, StoredAppeal>(
                    "SELECT id, subject, resource, state, version, body, sealed, opened_at_ms, due_at_ms, decided_at_ms
                     FROM appeals WHERE id = $1",
                )
                .bind(id)
                .fetch_optional(&self.readers)
                .await?;
                Ok(row)
            }

            async fn appeals(&self, queue: ReviewQueue<'_>) -> Result<Vec<StoredAppeal>, StoreError> {
                let rows = sqlx::query_as::<$database, StoredAppeal>(
                    "SELECT id, subject, resource, state, version, body, sealed, opened_at_ms, due_at_ms, decided_at_ms
                     FROM appeals WHERE ($1 = '' OR state = $1) AND ($2 = '' OR subject = $2) AND id > $3
                     ORDER BY id LIMIT $4",
                )
                .bind(queue.state)
                .bind(queue.subject)
                .bind(queue.after)
                .bind(queue.limit.max(0))
                .fetch_all(&self.readers)
                .await?;
                Ok(rows)
            }

            async fn overdue_appeals(
                &self,
                now_ms: i64,
                after: &str,
                limit: i64,
            ) -> Result<Vec<StoredAppeal>, StoreError> {
                let rows = sqlx::query_as::<$database, StoredAppeal>(
                    "SELECT id, subject, resource, state, version, body, sealed, opened_at_ms, due_at_ms, decided_at_ms
                     FROM appeals WHERE state IN ('open', 'reconsidering') AND due_at_ms <= $1 AND id > $2
                     ORDER BY id LIMIT $3",
                )
                .bind(now_ms)
                .bind(after)
                .bind(limit.max(0))
                .fetch_all(&self.readers)
                .await?;
                Ok(rows)
            }
        }
    };
}
pub(super) use implement_review_reads;
