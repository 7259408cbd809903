//! Looking at a database without changing it, whether the service runs or not.

use super::{Store, postgres, sqlite};
use crate::finding::Finding;
use sqlx::migrate::Migrator;
use std::sync::Arc;

/// What was found, and a way to read on where that makes sense.
pub struct Inspection {
    /// What the database itself shows.
    pub findings: Vec<Finding>,
    /// Its content, if its schema is the one of this binary.
    pub content: Option<Content>,
}

/// A database that can be read.
pub struct Content {
    /// Reads only: what writes is refused by the database.
    pub store: Arc<dyn Store>,
    /// Position of the last record of the audit log, 0 for none.
    pub log_end: i64,
    /// Oldest and newest instant of the audit entries that wait for the log, epoch milliseconds.
    pub waiting: Option<(i64, i64)>,
}

impl Inspection {
    /// Nothing more can be read.
    pub(super) fn only(findings: Vec<Finding>) -> Self {
        Self { findings, content: None }
    }
}

/// Looks at the database that `url` names. `now_ms` is this machine's clock.
pub async fn inspect(url: &str, now_ms: impl Fn() -> i64 + Send) -> Inspection {
    if url.starts_with("postgres:") || url.starts_with("postgresql:") {
        return postgres::inspect::inspect(url, now_ms).await;
    }
    if url.starts_with("sqlite:") {
        return sqlite::inspect::inspect(url).await;
    }
    Inspection::only(vec![Finding::failure(
        "database.url",
        "the configured database is neither SQLite nor PostgreSQL",
        "the service does not start",
        "set configuration key `database` to `sqlite:PATH` or `postgres://…`",
    )])
}

/// Both databases understand these.
pub(super) const APPLIED: &str = "SELECT version, success, checksum FROM _sqlx_migrations ORDER BY version";
pub(super) const LOG_END: &str = "SELECT COALESCE(MAX(position), 0) FROM audit_log";
pub(super) const WAITING: &str = "SELECT MIN(at_ms), MAX(at_ms) FROM audit_entries";

/// A migration as the database remembers it.
pub(super) type Applied = (i64, bool, Vec<u8>);

/// Whether the schema is the one this binary was built for.
pub(super) fn schema(applied: &[Applied], known: &Migrator) -> Finding {
    let check = "database.schema";
    let why = "every replica must agree on what the tables mean";
    if let Some((version, ..)) = applied.iter().find(|(_, success, _)| !success) {
        let found = format!("migration {version} stopped half-way");
        return Finding::failure(check, found, why, "restore the backup made before it, then `vouchsafe migrate`");
    }
    let newest = applied.last().map_or(0, |(version, ..)| *version);
    let ours = known.iter().map(|migration| migration.version).max().unwrap_or(0);
    if newest > ours {
        let found = format!("the schema is at version {newest}, newer than this binary, which knows {ours}");
        return Finding::failure(check, found, why, "run the binary that made it, or a newer one");
    }
    for migration in known.iter() {
        match applied.iter().find(|(version, ..)| *version == migration.version) {
            None => {
                let found = format!("the schema is at version {newest}, and this binary needs {ours}");
                let remedy = "back the database up, then `vouchsafe migrate` (`vouchsafe serve` does it too)";
                return Finding::warning(check, found, "the service migrates when it starts", remedy);
            }
            Some((version, _, checksum)) if *checksum != *migration.checksum => {
                let found = format!("migration {version} was made by another build of this version");
                let remedy = "run the binary that made the database, or move the data to a new one";
                return Finding::failure(check, found, why, remedy);
            }
            Some(_) => {}
        }
    }
    Finding::ok(check, format!("the schema is at version {newest}, as this binary needs"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Level;

    static KNOWN: Migrator = sqlx::migrate!("migrations/sqlite");

    fn as_built() -> Vec<Applied> {
        KNOWN.iter().map(|migration| (migration.version, true, migration.checksum.to_vec())).collect()
    }

    #[test]
    fn a_schema_is_this_version_older_newer_or_another_build() {
        assert_eq!(schema(&as_built(), &KNOWN).level, Level::Ok);
        assert_eq!(schema(&[], &KNOWN).level, Level::Warning);
        let mut newer = as_built();
        newer.push((9_999_999_999_999_999, true, vec![1]));
        let found = schema(&newer, &KNOWN);
        assert!(found.level == Level::Failure && found.found.contains("newer than this binary"), "{found:?}");
        let mut altered = as_built();
        altered[0].2[0] ^= 1;
        let found = schema(&altered, &KNOWN);
        assert!(found.level == Level::Failure && found.found.contains("another build"), "{found:?}");
        let mut half = as_built();
        half[0].1 = false;
        assert!(schema(&half, &KNOWN).found.contains("half-way"));
    }
}
