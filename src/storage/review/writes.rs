//! The steps of a change that concern review, which both databases run word for word; see `sql.rs`.

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
                ReviewWrite::OpenCase { case, audit: entry, outbox: row } => open_case(conn, case, entry, row).await,
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

        async fn open_case(
            conn: &mut $connection,
            case: &StoredCase,
            entry: &AuditEntry,
            row: &OutboxRow,
        ) -> Result<(), Undo> {
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
                outbox(conn, row).await?;
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
        async fn erase_review(conn: &mut $connection, subject: &str, at_ms: i64) -> Result<Vec<String>, Undo> {
            let closed: Vec<String> = sqlx::query_scalar(
                "UPDATE cases SET state = 'closed', version = version + 1, closed_at_ms = $2
                 WHERE subject = $1 AND state = 'open' RETURNING id",
            )
            .bind(subject)
            .bind(at_ms)
            .fetch_all(&mut *conn)
            .await?;
            sqlx::query(
                "UPDATE appeals SET state = 'decided', version = version + 1, decided_at_ms = $2
                 WHERE subject = $1 AND state <> 'decided'",
            )
            .bind(subject)
            .bind(at_ms)
            .execute(&mut *conn)
            .await?;
            for text in [
                "UPDATE case_entries SET sealed = NULL WHERE case_id IN (SELECT id FROM cases WHERE subject = $1)",
                "UPDATE appeals SET sealed = NULL WHERE subject = $1",
            ] {
                sqlx::query(text).bind(subject).execute(&mut *conn).await?;
            }
            Ok(closed)
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
pub(in crate::storage) use implement_review_writes;
