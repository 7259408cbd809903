//! A copy of the file by `VACUUM INTO`: one snapshot, beside the writer, compact and without free pages.

use super::{PATIENCE, file_options};
use crate::storage::audit::Chain;
use crate::storage::backup::{BackupError, Contents, Expected, PAGE, agree, follow, place};
use crate::storage::reads::HISTORY;
use crate::storage::{History, StoreError};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Files that SQLite would apply to a database file of the name beside them.
const SIDE_FILES: [&str; 3] = ["-wal", "-shm", "-journal"];

async fn history(conn: &mut SqliteConnection) -> Result<History, sqlx::Error> {
    sqlx::query_as(HISTORY).bind(0_i64).fetch_one(conn).await
}

/// See [`crate::storage::backup::inspect`].
pub(crate) async fn inspect(url: &str) -> Result<Option<History>, StoreError> {
    let options = file_options(url)?.busy_timeout(PATIENCE);
    match std::fs::metadata(options.get_filename()) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StoreError::Unavailable(format!("database file: {error}"))),
        Ok(_) => {}
    }
    let mut conn = options.connect().await?;
    let tables: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM sqlite_schema").fetch_one(&mut conn).await?;
    let found = if tables == 0 { None } else { Some(history(&mut conn).await?) };
    conn.close().await?;
    Ok(found)
}

/// See [`crate::storage::backup::back_up`].
pub(crate) async fn back_up(url: &str, file: &Path) -> Result<Contents, BackupError> {
    let mut conn = file_options(url)?.busy_timeout(PATIENCE).connect().await?;
    // Absolute, so that SQLite takes no name for a URI.
    let path = std::path::absolute(file).map_err(BackupError::file(file))?;
    let text = path.to_str().ok_or_else(|| BackupError::Refused("the path must be UTF-8".to_owned()))?;
    sqlx::query("VACUUM INTO $1").bind(text.to_owned()).execute(&mut conn).await?;
    conn.close().await?;
    examine(&path).await
}

/// Reads a copy from end to end: pages, references, the audit log.
async fn examine(file: &Path) -> Result<Contents, BackupError> {
    let options = SqliteConnectOptions::new().filename(file).read_only(true).immutable(true);
    let mut conn = options.connect().await?;
    let damaged = |text: String| BackupError::Refused(format!("the copy is damaged: {text}"));
    let integrity: String = sqlx::query_scalar("PRAGMA integrity_check(1)").fetch_one(&mut conn).await?;
    if integrity != "ok" {
        return Err(damaged(integrity));
    }
    if sqlx::query("PRAGMA foreign_key_check").fetch_optional(&mut conn).await?.is_some() {
        return Err(damaged("a row refers to one that is missing".to_owned()));
    }
    let mut chain = Chain::default();
    loop {
        let page = sqlx::query_as(
            "SELECT position, hash, previous, entry FROM audit_log WHERE position > $1 ORDER BY position LIMIT $2",
        )
        .bind(chain.position)
        .bind(PAGE)
        .fetch_all(&mut conn)
        .await?;
        if follow(&mut chain, page)? {
            break;
        }
    }
    let schema = sqlx::query_scalar("SELECT COALESCE(MAX(version), 0) FROM _sqlx_migrations WHERE success")
        .fetch_one(&mut conn)
        .await?;
    let history = history(&mut conn).await?;
    conn.close().await?;
    agree(&chain, history, schema)
}

/// See [`crate::storage::backup::restore`].
pub(crate) async fn restore(url: &str, file: &Path, expected: &Expected) -> Result<(), BackupError> {
    let options = file_options(url)?;
    let target = options.get_filename();
    let beside = |ending: &str| {
        let mut name = target.as_os_str().to_owned();
        name.push(ending);
        PathBuf::from(name)
    };
    for taken in std::iter::once(target.to_owned()).chain(SIDE_FILES.map(beside)) {
        if taken.symlink_metadata().is_ok() {
            return Err(BackupError::Refused(format!(
                "`{}` exists; stop the service and move the old database away, with its side files",
                taken.display()
            )));
        }
    }
    let partial = beside(".restoring");
    let placed = place_copy(file, &partial, target, expected).await;
    // Of a copy that was refused nothing stays.
    let _ = std::fs::remove_file(&partial);
    placed
}

/// What is examined is what is placed: the copy of the copy.
async fn place_copy(file: &Path, partial: &Path, target: &Path, expected: &Expected) -> Result<(), BackupError> {
    let mut from = std::fs::File::open(file).map_err(BackupError::file(file))?;
    let mut to = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(partial)
        .map_err(BackupError::file(partial))?;
    std::io::copy(&mut from, &mut to).map_err(BackupError::file(partial))?;
    expected.check(&examine(partial).await?)?;
    place(partial, target)
}
