//! The files under a SQLite database: whether they are there, sound, and still the ones that were opened.

use crate::storage::StoreError;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr as _;

/// Largest file whose every page is looked at before the start, in bytes; at 1 GB/s that is a twentieth of a second.
const LOOKED_THROUGH: u64 = 64 * 1024 * 1024;

/// See [`crate::storage::examine`].
pub(in crate::storage) async fn examine(url: &str) -> Result<(), StoreError> {
    let options = SqliteConnectOptions::from_str(url)?.create_if_missing(false);
    let path = options.get_filename();
    let refuse = |problem: String| StoreError::Broken(format!("`{}` {problem}", path.display()));
    let size = match std::fs::metadata(path) {
        Ok(found) => found.len(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(StoreError::Missing(format!(
                "`{}` does not exist; restore it from its backup, or run `vouchsafe migrate` for a new deployment",
                path.display()
            )));
        }
        Err(error) => return Err(StoreError::Unavailable(format!("`{}`: {error}", path.display()))),
    };
    // SQLite takes an empty file for a new database.
    if size == 0 {
        return Err(refuse("is empty; restore it from its backup".to_owned()));
    }
    // SQLite would say of a read-only disk that it is unable to open the file, or begin and fail every write.
    if let Err(error) = std::fs::OpenOptions::new().write(true).open(path) {
        return Err(StoreError::Unavailable(format!("`{}` cannot be written: {error}", path.display())));
    }
    if size > LOOKED_THROUGH {
        return Ok(());
    }
    let looked = async {
        let mut conn = options.connect().await?;
        let found: String = sqlx::query_scalar("PRAGMA quick_check(1)").fetch_one(&mut conn).await?;
        conn.close().await?;
        Ok(found)
    };
    let found = match looked.await {
        // 11 CORRUPT, 26 NOTADB.
        Err(sqlx::Error::Database(error)) if error.code().is_some_and(|code| code == "11" || code == "26") => {
            error.message().to_owned()
        }
        found => found?,
    };
    if found == "ok" { Ok(()) } else { Err(refuse(format!("is damaged ({found}); restore it from its backup"))) }
}

/// The files of an open database, by number: a name may come to stand for another file, or for none. What is written
/// then ends with this process.
pub(super) struct Opened {
    files: Vec<(PathBuf, (u64, u64))>,
    log: PathBuf,
}

/// What tells a file from another of its name: device and number.
pub(super) fn identity(path: &Path) -> std::io::Result<(u64, u64)> {
    std::fs::metadata(path).map(|found| (found.dev(), found.ino()))
}

impl Opened {
    /// The database and its side files as they are now.
    pub(super) fn now(database: &Path) -> Self {
        let with = |suffix: &str| {
            let mut path = database.as_os_str().to_owned();
            path.push(suffix);
            PathBuf::from(path)
        };
        let paths = ["", "-wal", "-shm"].map(with).into_iter();
        let files = paths.filter_map(|path| identity(&path).ok().map(|found| (path, found))).collect();
        Self { files, log: with("-wal") }
    }

    /// Length of the write-ahead log in bytes. It begins again from its start once it is merged, and never shrinks.
    pub(super) fn log_length(&self) -> u64 {
        std::fs::metadata(&self.log).map_or(0, |found| found.len())
    }

    /// The first file that is not the one that was opened.
    pub(super) fn missing(&self) -> Option<&Path> {
        self.files.iter().find(|(path, opened)| identity(path).ok() != Some(*opened)).map(|(path, _)| path.as_path())
    }
}
