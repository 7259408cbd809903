//! Writing what subjects came to; see `sql.rs` for why this is a macro.

/// Run inside a transaction like the writes of `sql.rs`, whose helpers it uses.
macro_rules! implement_standing {
    ($connection:ty) => {
        async fn stand(
            conn: &mut $connection,
            standing: &StoredStanding,
            replaces: Option<&(String, i64)>,
            timeline: i64,
        ) -> Result<(), Undo> {
            let stale = || Conflict::Stale("standings");
            match lock(conn, &standing.subject).await? {
                Some((version, true)) if version == standing.version => {}
                Some((_, true)) => return Err(stale().into()),
                _ => return Err(Conflict::NoSuchSubject.into()),
            }
            let (orders, suspensions): (i64, i64) = sqlx::query_as(
                "SELECT (SELECT COALESCE(MAX(seq), 0) FROM timeline), (SELECT COUNT(*) FROM suspensions)",
            )
            .fetch_one(&mut *conn)
            .await?;
            if (orders, suspensions) != (timeline, standing.suspensions) {
                return Err(stale().into());
            }
            let (decision, version) = replaces.map_or(("", 0), |(decision, version)| (decision.as_str(), *version));
            let text = if replaces.is_some() {
                "UPDATE standings SET status = $4, decision = $5, rules = $6, version = $7, suspensions = $8, due_ms = $9,
                     notice_ms = $12, told_end_ms = $13, told_before_ms = $14, level = $15
                 WHERE subject = $1 AND acting_for = $2 AND resource = $3 AND decision = $10 AND version = $11"
            } else {
                "INSERT INTO standings
                     (subject, acting_for, resource, status, decision, rules, version, suspensions, due_ms, notice_ms,
                      told_end_ms, told_before_ms, level)
                 SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $12, $13, $14, $15 WHERE $10 = '' AND $11 = 0
                 ON CONFLICT DO NOTHING"
            };
            let done = sqlx::query(text)
                .bind(&standing.subject)
                .bind(&standing.acting_for)
                .bind(&standing.resource)
                .bind(&standing.status)
                .bind(&standing.decision)
                .bind(&standing.rules)
                .bind(standing.version)
                .bind(standing.suspensions)
                .bind(standing.due_ms)
                .bind(decision)
                .bind(version)
                .bind(standing.notice_ms)
                .bind(standing.told_end_ms)
                .bind(standing.told_before_ms)
                .bind(&standing.level)
                .execute(conn)
                .await?;
            or_conflict(done.rows_affected(), stale())
        }

        async fn relies(
            conn: &mut $connection,
            subject: &str,
            parties: &[(String, i64)],
            now_ms: i64,
        ) -> Result<(), Undo> {
            // Taken by whoever issues a token too, so that none comes between.
            if !matches!(lock(conn, subject).await?, Some((_, true))) {
                return Err(Conflict::NoSuchSubject.into());
            }
            sqlx::query(
                "DELETE FROM relies WHERE subject = $1 AND NOT EXISTS
                     (SELECT 1 FROM tokens WHERE subject = $1 AND expires_at_ms > $2 AND revoked_at_ms IS NULL)",
            )
            .bind(subject)
            .bind(now_ms)
            .execute(&mut *conn)
            .await?;
            for (party, version) in parties {
                sqlx::query(
                    "INSERT INTO relies (subject, party, version) VALUES ($1, $2, $3)
                     ON CONFLICT (subject, party) DO UPDATE SET version = excluded.version",
                )
                .bind(subject)
                .bind(party)
                .bind(version)
                .execute(&mut *conn)
                .await?;
            }
            Ok(())
        }
    };
}
pub(super) use implement_standing;
