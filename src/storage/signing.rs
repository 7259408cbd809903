//! Writing signing keys and the root secret; see `sql.rs` for why this is a macro.

/// Run inside a transaction like the writes of `sql.rs`, whose helpers it uses.
macro_rules! implement_signing {
    ($connection:ty) => {
        async fn add_root(conn: &mut $connection, root: &StoredRoot, founds: bool) -> Result<(), Undo> {
            let done = sqlx::query(
                "INSERT INTO roots (master, founding, sealed, statements)
                 SELECT $1, $2, $3, $4 WHERE $2 IS NULL OR NOT EXISTS (SELECT 1 FROM roots) ON CONFLICT DO NOTHING",
            )
            .bind(&root.master)
            .bind(founds.then_some(1_i64))
            .bind(&root.sealed)
            .bind(&root.statements)
            .execute(conn)
            .await?;
            or_conflict(done.rows_affected(), Conflict::Exists("roots"))
        }

        async fn only_root(conn: &mut $connection, master: &str) -> Result<(), Undo> {
            let done = sqlx::query(
                "DELETE FROM roots WHERE master <> $1 AND EXISTS (SELECT 1 FROM roots AS own WHERE own.master = $1)",
            )
            .bind(master)
            .execute(conn)
            .await?;
            or_conflict(done.rows_affected(), Conflict::Stale("roots"))
        }

        async fn add_key(conn: &mut $connection, key: &StoredKey) -> Result<(), Undo> {
            let done = sqlx::query(
                "INSERT INTO keys (kid, alg, purpose, sealed, jwk, published_ms, signs_from_ms, last_signs_ms,
                     verifies_until_ms, retired_at_ms)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT DO NOTHING",
            )
            .bind(&key.kid)
            .bind(&key.alg)
            .bind(&key.purpose)
            .bind(&key.sealed)
            .bind(&key.jwk)
            .bind(key.times.published_ms)
            .bind(key.times.signs_from_ms)
            .bind(key.times.last_signs_ms)
            .bind(key.times.verifies_until_ms)
            .bind(key.times.retired_at_ms)
            .execute(conn)
            .await?;
            or_conflict(done.rows_affected(), Conflict::Exists("keys"))
        }

        async fn move_key(
            conn: &mut $connection,
            kid: &str,
            was: &KeyTimes,
            times: &KeyTimes,
            sealed: Option<&Vec<u8>>,
        ) -> Result<(), Undo> {
            let done = sqlx::query(
                "UPDATE keys SET signs_from_ms = $6, last_signs_ms = $7, verifies_until_ms = $8, retired_at_ms = $9,
                     sealed = COALESCE($10, sealed)
                 WHERE kid = $1 AND signs_from_ms = $2 AND last_signs_ms IS NOT DISTINCT FROM $3
                     AND verifies_until_ms IS NOT DISTINCT FROM $4 AND retired_at_ms IS NOT DISTINCT FROM $5",
            )
            .bind(kid)
            .bind(was.signs_from_ms)
            .bind(was.last_signs_ms)
            .bind(was.verifies_until_ms)
            .bind(was.retired_at_ms)
            .bind(times.signs_from_ms)
            .bind(times.last_signs_ms)
            .bind(times.verifies_until_ms)
            .bind(times.retired_at_ms)
            .bind(sealed)
            .execute(conn)
            .await?;
            or_conflict(done.rows_affected(), Conflict::Stale("keys"))
        }
    };
}
pub(super) use implement_signing;
