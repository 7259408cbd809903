//! Writing what is reserved in status lists; see `sql.rs` for why this is a macro.

/// Run inside a transaction like the writes of `sql.rs`, whose helpers it uses.
macro_rules! implement_lists {
    ($connection:ty) => {
        async fn reserve(conn: &mut $connection, list: i64, blocks: &[i64], until_ms: i64) -> Result<(), Undo> {
            let done = sqlx::query(
                "INSERT INTO status_lists (number, use_until_ms) VALUES ($1, $2)
                 ON CONFLICT (number) DO UPDATE SET use_until_ms =
                     CASE WHEN excluded.use_until_ms > status_lists.use_until_ms THEN excluded.use_until_ms
                     ELSE status_lists.use_until_ms END
                 WHERE status_lists.retired_at_ms IS NULL",
            )
            .bind(list)
            .bind(until_ms)
            .execute(&mut *conn)
            .await?;
            or_conflict(done.rows_affected(), Conflict::Stale("status_lists"))?;
            for block in blocks {
                let done =
                    sqlx::query("INSERT INTO status_blocks (list, block) VALUES ($1, $2) ON CONFLICT DO NOTHING")
                        .bind(list)
                        .bind(block)
                        .execute(&mut *conn)
                        .await?;
                or_conflict(done.rows_affected(), Conflict::Exists("status_blocks"))?;
            }
            Ok(())
        }

        async fn retire_list(conn: &mut $connection, list: i64, use_until_ms: i64, at_ms: i64) -> Result<(), Undo> {
            let done = sqlx::query(
                "UPDATE status_lists SET retired_at_ms = $3
                 WHERE number = $1 AND use_until_ms = $2 AND retired_at_ms IS NULL",
            )
            .bind(list)
            .bind(use_until_ms)
            .bind(at_ms)
            .execute(&mut *conn)
            .await?;
            or_conflict(done.rows_affected(), Conflict::Stale("status_lists"))?;
            sqlx::query("DELETE FROM status_blocks WHERE list = $1").bind(list).execute(conn).await?;
            Ok(())
        }
    };
}
pub(super) use implement_lists;
