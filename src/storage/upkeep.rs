//! What is taken away: erased subjects, and rows that have outlived their use.
//!
//! Nothing here reads a clock: what has outlived its use is the caller's to say. Rows of append-only tables go only
//! while `pruning` names them or their subject, within one transaction.

/// An erased subject: what is left of it, and until when.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct StoredErasure {
    /// `sub_…`
    pub subject: String,
    /// When it was erased, epoch milliseconds.
    pub erased_at_ms: i64,
    /// Until when its attestations, decisions and tokens are kept for auditors, epoch milliseconds.
    pub keep_until_ms: i64,
    /// Evidence against it stood when it was erased.
    pub adverse: bool,
}

/// A legal hold: its subject is neither erased nor purged.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct StoredHold {
    /// `sub_…`
    pub subject: String,
    /// Why, for example the citation of an order; names nobody.
    pub reason: String,
    /// Who placed it, as in the audit log.
    pub placed_by: String,
    /// Epoch milliseconds.
    pub placed_at_ms: i64,
}

/// A vendor session bound to a subject.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct StoredSession {
    /// Source id.
    pub source: String,
    /// The vendor's session id, or its digest once the subject is erased.
    pub session: String,
    /// When it was bound, epoch milliseconds.
    pub created_at_ms: i64,
}

/// Rows that can outlive their use one by one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Table {
    /// Tokens that ended before the instant.
    Tokens,
    /// Decisions made and ended before the instant that no token names.
    Decisions,
    /// Deliveries received before the instant and never attached.
    Quarantine,
    /// Cases closed before the instant, with what was said in them.
    Cases,
    /// Appeals decided before the instant.
    Appeals,
    /// Admissions of hours before the instant, of subjects not under hold.
    Admissions,
    /// Consents last named before the instant, of subjects not under hold.
    Consents,
    /// Erased subjects kept until the instant and not under hold, with all that is left of them.
    Erasures,
}

impl Table {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Tokens,
        Self::Decisions,
        Self::Quarantine,
        Self::Cases,
        Self::Appeals,
        Self::Admissions,
        Self::Consents,
        Self::Erasures,
    ];

    /// The table's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Tokens => "tokens",
            Self::Decisions => "decisions",
            Self::Quarantine => "quarantine",
            Self::Cases => "cases",
            Self::Appeals => "appeals",
            Self::Admissions => "admissions",
            Self::Consents => "consents",
            Self::Erasures => "erasures",
        }
    }

    /// Ids ($1: instant, $2: the same as the beginning of an id, $3: at most so many).
    pub(super) fn bygone(self) -> &'static str {
        match self {
            Self::Tokens => {
                "SELECT jti FROM tokens WHERE jti < 'jti_' || $2 AND expires_at_ms < $1 ORDER BY jti LIMIT $3"
            }
            Self::Decisions => {
                "SELECT id FROM decisions WHERE at_ms < $1 AND $2 <> '' AND COALESCE(expires_at_ms, 0) < $1
                     AND NOT EXISTS (SELECT 1 FROM tokens
                         WHERE tokens.subject = decisions.subject AND tokens.decision = decisions.id)
                 ORDER BY at_ms LIMIT $3"
            }
            Self::Quarantine => {
                "SELECT id FROM quarantine WHERE received_at_ms < $1 AND $2 <> '' ORDER BY received_at_ms LIMIT $3"
            }
            Self::Cases => {
                "SELECT id FROM cases WHERE state = 'closed' AND closed_at_ms < $1 AND $2 <> ''
                     AND (subject IS NULL OR subject NOT IN (SELECT subject FROM holds))
                 ORDER BY id LIMIT $3"
            }
            Self::Appeals => {
                "SELECT id FROM appeals WHERE state = 'decided' AND decided_at_ms < $1 AND $2 <> ''
                     AND subject NOT IN (SELECT subject FROM holds)
                 ORDER BY id LIMIT $3"
            }
            Self::Admissions => {
                "SELECT id FROM admissions
                 WHERE id < 'adm_' || $2 AND $1 > 0 AND subject NOT IN (SELECT subject FROM holds) ORDER BY id LIMIT $3"
            }
            Self::Consents => {
                "SELECT id FROM consents
                 WHERE last_ms < $1 AND $2 <> '' AND subject NOT IN (SELECT subject FROM holds)
                 ORDER BY last_ms, id LIMIT $3"
            }
            Self::Erasures => {
                "SELECT subject FROM erasures
                 WHERE keep_until_ms <= $1 AND $2 <> '' AND subject NOT IN (SELECT subject FROM holds)
                 ORDER BY keep_until_ms LIMIT $3"
            }
        }
    }
}

/// Writes that take something away, run inside a transaction like those of `sql.rs`, whose helpers they use.
macro_rules! implement_upkeep {
    ($connection:ty) => {
        async fn hold(conn: &mut $connection, hold: &StoredHold) -> Result<(), Undo> {
            let (version, _) = lock(conn, &hold.subject).await?.ok_or(Conflict::NoSuchSubject)?;
            let done = sqlx::query(
                "INSERT INTO holds (subject, reason, placed_by, placed_at_ms) VALUES ($1, $2, $3, $4)
                 ON CONFLICT DO NOTHING",
            )
            .bind(&hold.subject)
            .bind(&hold.reason)
            .bind(&hold.placed_by)
            .bind(hold.placed_at_ms)
            .execute(&mut *conn)
            .await?;
            or_conflict(done.rows_affected(), Conflict::Exists("holds"))?;
            set_version(conn, &hold.subject, version + 1).await?;
            Ok(())
        }

        async fn lift_hold(conn: &mut $connection, subject: &str) -> Result<(), Undo> {
            let (version, _) = lock(conn, subject).await?.ok_or(Conflict::NoSuchSubject)?;
            let done = sqlx::query("DELETE FROM holds WHERE subject = $1").bind(subject).execute(&mut *conn).await?;
            or_conflict(done.rows_affected(), Conflict::Stale("holds"))?;
            set_version(conn, subject, version + 1).await?;
            Ok(())
        }

        async fn held(conn: &mut $connection, subject: &str) -> Result<bool, sqlx::Error> {
            let found: Option<String> = sqlx::query_scalar("SELECT subject FROM holds WHERE subject = $1")
                .bind(subject)
                .fetch_optional(conn)
                .await?;
            Ok(found.is_some())
        }

        async fn erase(
            conn: &mut $connection,
            erasure: &StoredErasure,
            expected: i64,
            sessions: &[(StoredSession, String)],
            messages: &str,
        ) -> Result<(), Undo> {
            let subject = &erasure.subject;
            match lock(conn, subject).await? {
                None | Some((_, false)) => return Err(Conflict::NoSuchSubject.into()),
                Some((version, true)) if version != expected => return Err(Conflict::Stale("subjects").into()),
                Some(_) => {}
            }
            if held(conn, subject).await? {
                return Err(Conflict::Exists("holds").into());
            }
            sqlx::query("INSERT INTO erasures (subject, erased_at_ms, keep_until_ms, adverse) VALUES ($1, $2, $3, $4)")
                .bind(subject)
                .bind(erasure.erased_at_ms)
                .bind(erasure.keep_until_ms)
                .bind(erasure.adverse)
                .execute(&mut *conn)
                .await?;
            sqlx::query(
                "UPDATE subjects SET state = 'erased', external_digest = NULL, identifiers = $2, wrapped_key = $2,
                     version = $3
                 WHERE id = $1",
            )
            .bind(subject)
            .bind(Vec::<u8>::new())
            .bind(expected + 1)
            .execute(&mut *conn)
            .await?;
            for text in [
                "DELETE FROM quarantine WHERE EXISTS (SELECT 1 FROM sessions AS s
                     WHERE s.subject = $1 AND s.source = quarantine.source AND s.session = quarantine.session)",
                "DELETE FROM links WHERE subject = $1",
                "DELETE FROM consents WHERE subject = $1",
                "DELETE FROM directory_emails WHERE member IN (SELECT id FROM directory_users WHERE subject = $1)",
                "DELETE FROM directory_users WHERE subject = $1",
                "DELETE FROM comparisons WHERE subject = $1",
                "DELETE FROM standings WHERE subject = $1",
                "DELETE FROM relies WHERE subject = $1",
                "DELETE FROM muted WHERE subject = $1",
            ] {
                sqlx::query(text).bind(subject).execute(&mut *conn).await?;
            }
            let mut told: Vec<(&str, serde_json::Value)> = Vec::new();
            for case in erase_review(conn, subject, erasure.erased_at_ms).await? {
                let body = serde_json::json!({ "case": case, "subject": subject, "outcome": "moot", "reason": "erased" });
                told.push(("case.closed", body));
            }
            for (session, digest) in sessions {
                sqlx::query(
                    "UPDATE sessions SET session = $4, pending_since_ms = NULL
                     WHERE source = $1 AND session = $2 AND subject = $3",
                )
                .bind(&session.source)
                .bind(&session.session)
                .bind(subject)
                .bind(digest)
                .execute(&mut *conn)
                .await?;
            }
            sqlx::query("UPDATE tokens SET session = NULL, session_of = NULL, session_at_ms = NULL WHERE subject = $1")
                .bind(subject)
                .execute(&mut *conn)
                .await?;
            let revoked: Vec<(String, String)> = sqlx::query_as(
                "UPDATE tokens SET revoked_at_ms = $2
                 WHERE subject = $1 AND expires_at_ms > $2 AND revoked_at_ms IS NULL RETURNING jti, resource",
            )
            .bind(subject)
            .bind(erasure.erased_at_ms)
            .fetch_all(&mut *conn)
            .await?;
            for (jti, resource) in revoked {
                feed(conn, "token", &jti).await?;
                let body = serde_json::json!({
                    "subject": subject, "token": jti, "resource": resource, "cause": "erased",
                });
                told.push(("token.revoked", body));
            }
            for (number, (topic, body)) in told.into_iter().enumerate() {
                let row = OutboxRow {
                    id: format!("{messages}{number:x}"),
                    topic: topic.to_owned(),
                    key: subject.clone(),
                    body: body.to_string(),
                };
                outbox(conn, &row).await?;
            }
            Ok(())
        }

        /// `Stale` when one of the rows is gone already: the audit entry beside it shall name what was deleted.
        async fn prune(conn: &mut $connection, table: Table, ids: &[String], now_ms: i64) -> Result<(), Undo> {
            for id in ids {
                let text = match table {
                    Table::Tokens => "DELETE FROM tokens WHERE jti = $1",
                    Table::Quarantine => "DELETE FROM quarantine WHERE id = $1",
                    Table::Decisions => {
                        allow(conn, id).await?;
                        "DELETE FROM decisions WHERE id = $1"
                    }
                    Table::Appeals => "DELETE FROM appeals WHERE id = $1 AND state = 'decided'",
                    Table::Admissions => "DELETE FROM admissions WHERE id = $1",
                    Table::Consents => "DELETE FROM consents WHERE id = $1",
                    Table::Cases => {
                        prune_case(conn, id).await?;
                        continue;
                    }
                    Table::Erasures => {
                        purge(conn, id, now_ms).await?;
                        continue;
                    }
                };
                let done = sqlx::query(text).bind(id).execute(&mut *conn).await?;
                or_conflict(done.rows_affected(), Conflict::Stale(table.name()))?;
            }
            disallow(conn).await
        }

        async fn allow(conn: &mut $connection, id: &str) -> Result<(), Undo> {
            sqlx::query("INSERT INTO pruning (id) VALUES ($1)").bind(id).execute(conn).await?;
            Ok(())
        }

        async fn disallow(conn: &mut $connection) -> Result<(), Undo> {
            sqlx::query("DELETE FROM pruning").execute(conn).await?;
            Ok(())
        }

        /// All that is left of an erased subject.
        async fn purge(conn: &mut $connection, subject: &str, now_ms: i64) -> Result<(), Undo> {
            let _ = lock(conn, subject).await?;
            let kept_until: Option<i64> = sqlx::query_scalar("SELECT keep_until_ms FROM erasures WHERE subject = $1")
                .bind(subject)
                .fetch_optional(&mut *conn)
                .await?;
            if kept_until.is_none_or(|until| until > now_ms) || held(conn, subject).await? {
                return Err(Conflict::Stale("erasures").into());
            }
            allow(conn, subject).await?;
            for text in [
                "DELETE FROM marks WHERE attestation IN (SELECT id FROM attestations WHERE subject = $1)",
                "DELETE FROM comparisons WHERE subject = $1",
                "DELETE FROM standings WHERE subject = $1",
                "DELETE FROM relies WHERE subject = $1 OR party = $1",
                "DELETE FROM resolutions WHERE subject = $1",
                "DELETE FROM case_entries WHERE case_id IN (SELECT id FROM cases WHERE subject = $1)",
                "DELETE FROM cases WHERE subject = $1",
                "DELETE FROM appeals WHERE subject = $1",
                "DELETE FROM admissions WHERE subject = $1",
                "DELETE FROM attestations WHERE subject = $1",
                "DELETE FROM tokens WHERE subject = $1",
                "DELETE FROM decisions WHERE subject = $1",
                "DELETE FROM sessions WHERE subject = $1",
                "DELETE FROM messages WHERE key = $1",
                "DELETE FROM outbox WHERE key = $1",
                "DELETE FROM erasures WHERE subject = $1",
                "DELETE FROM subjects WHERE id = $1",
            ] {
                sqlx::query(text).bind(subject).execute(&mut *conn).await?;
            }
            Ok(())
        }

        async fn forget(conn: &mut $connection, what: Forgotten, now_ms: i64) -> Result<(), Undo> {
            let (text, table) = match what {
                Forgotten::Requests => (
                    "DELETE FROM requests WHERE (client, key) IN
                         (SELECT client, key FROM requests WHERE expires_at_ms <= $1 LIMIT 1000)",
                    "requests",
                ),
                Forgotten::SpentIds => (
                    "DELETE FROM spent_jtis WHERE (issuer, jti) IN
                         (SELECT issuer, jti FROM spent_jtis WHERE expires_at_ms <= $1 LIMIT 1000)",
                    "spent_jtis",
                ),
                Forgotten::OperatorSessions => (
                    "DELETE FROM operator_sessions WHERE digest IN
                         (SELECT digest FROM operator_sessions WHERE opened_at_ms <= $1 LIMIT 1000)",
                    "operator_sessions",
                ),
                Forgotten::Messages => return forget_messages(conn, now_ms).await,
                Forgotten::Feed => (
                    "DELETE FROM feed WHERE position IN (SELECT position FROM feed
                         WHERE position <= (SELECT MAX(position) FROM feed_marks WHERE at_ms <= $1)
                         ORDER BY position LIMIT 5000)",
                    "feed",
                ),
            };
            let done = sqlx::query(text).bind(now_ms).execute(&mut *conn).await?;
            or_conflict(done.rows_affected(), Conflict::Stale(table))
        }

        /// Their deliveries go with them.
        async fn forget_messages(conn: &mut $connection, written_ms: i64) -> Result<(), Undo> {
            let text = "DELETE FROM messages WHERE id IN (SELECT id FROM messages WHERE id < $1 ORDER BY id LIMIT 1000)";
            let done = sqlx::query(text).bind(format!("out_{:012x}", written_ms.max(0))).execute(conn).await?;
            or_conflict(done.rows_affected(), Conflict::Stale("messages"))
        }

        /// The newest mark that `Forgotten::Feed` can use stays; older ones say nothing more.
        async fn mark_feed(conn: &mut $connection, now_ms: i64, old_ms: i64) -> Result<(), Undo> {
            sqlx::query(
                "INSERT INTO feed_marks (at_ms, position) SELECT $1, COALESCE(MAX(position), 0) FROM feed WHERE TRUE
                 ON CONFLICT (at_ms) DO NOTHING",
            )
            .bind(now_ms)
            .execute(&mut *conn)
            .await?;
            sqlx::query("DELETE FROM feed_marks WHERE at_ms < (SELECT MAX(at_ms) FROM feed_marks WHERE at_ms <= $1)")
                .bind(old_ms)
                .execute(conn)
                .await?;
            Ok(())
        }
    };
}
pub(super) use implement_upkeep;

/// Rows that are books, not history: they go without an entry in the audit log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forgotten {
    /// Idempotency keys that expired at the instant.
    Requests,
    /// Single-use ids that expired at the instant.
    SpentIds,
    /// Sign-ins of operators opened at or before the instant.
    OperatorSessions,
    /// Messages that were fanned out, written before the instant, whatever became of them.
    Messages,
    /// Feed rows older than the instant, as far as the marks of [`super::Write::MarkFeed`] tell.
    Feed,
}
