//! Copies of a whole database, and the way back. What differs between the databases stands in their folders.

use super::audit::{Broken, Chain};
use super::{AuditRecord, History, StoreError, postgres, sqlite};
use std::path::Path;

/// Why there is no copy, or none that can be trusted. Its text is for the operator at the machine.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The database cannot answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The copied audit log does not hold together.
    #[error(transparent)]
    Broken(#[from] Broken),
    /// A file cannot be read or written.
    #[error("`{path}`: {error}")]
    File {
        /// The file.
        path: String,
        /// What the operating system says.
        error: std::io::Error,
    },
    /// A program of PostgreSQL is missing or failed; carries what it said.
    #[error("{0}")]
    Tool(String),
    /// It is not what it should be; says what to do.
    #[error("{0}")]
    Refused(String),
}

impl From<sqlx::Error> for BackupError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

impl BackupError {
    /// An input or output error with the file it happened to.
    pub(crate) fn file(path: &Path) -> impl Fn(std::io::Error) -> Self + '_ {
        |error| Self::File { path: path.display().to_string(), error }
    }
}

/// What a copy holds, as read from the very snapshot that was copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents {
    /// How far its history goes.
    pub history: History,
    /// Number of its last migration.
    pub schema: i64,
}

/// Records read at once when a log is followed.
pub(super) const PAGE: i64 = 1000;

/// What a finished copy must agree with: the log as followed, and what the database says of itself.
pub(super) fn agree(chain: &Chain, history: History, schema: i64) -> Result<Contents, BackupError> {
    if (chain.position, &chain.head) == (history.position, &history.head) {
        return Ok(Contents { history, schema });
    }
    Err(BackupError::Refused("the audit log does not end where the database says".to_owned()))
}

/// Follows the records of one page; `true` when it was the last.
pub(super) fn follow(chain: &mut Chain, page: Vec<AuditRecord>) -> Result<bool, Broken> {
    let last = page.is_empty();
    page.into_iter().try_for_each(|record| chain.follow(record))?;
    Ok(last)
}

/// The kind of database that `url` names: `sqlite` or `postgres`.
///
/// # Errors
/// [`StoreError::Unavailable`] for any other scheme.
pub fn kind(url: &str) -> Result<&'static str, StoreError> {
    match url.split_once(':') {
        Some(("postgres" | "postgresql", _)) => Ok("postgres"),
        Some(("sqlite", _)) => Ok("sqlite"),
        _ => Err(StoreError::Unavailable("database must be `sqlite:PATH` or `postgres://…`".to_owned())),
    }
}

/// How far the history of a database goes, without making or changing anything; `None` where there is no database of
/// ours yet.
///
/// # Errors
/// When it cannot be read: a damaged file is not an empty one.
pub async fn inspect(url: &str) -> Result<Option<History>, StoreError> {
    match kind(url)? {
        "postgres" => postgres::backup::inspect(url).await,
        _ => sqlite::backup::inspect(url).await,
    }
}

/// Copies one snapshot of the database into `file`, which exists and is empty, while others go on writing.
///
/// # Errors
/// When the database, the disk or a tool fails, or the copy does not hold together.
pub async fn back_up(url: &str, file: &Path) -> Result<Contents, BackupError> {
    match kind(url)? {
        "postgres" => postgres::backup::back_up(url, file).await,
        _ => sqlite::backup::back_up(url, file).await,
    }
}

/// Puts the copy `file` where `url` points, which must be free; `expected` is what was copied (its waiting entries aside).
///
/// # Errors
/// As [`back_up`]; [`BackupError::Refused`] when something is there already, or the copy is not the one expected.
pub async fn restore(url: &str, file: &Path, expected: &Expected) -> Result<(), BackupError> {
    match kind(url)? {
        "postgres" => postgres::backup::restore(url, file, expected).await,
        _ => sqlite::backup::restore(url, file, expected).await,
    }
}

/// What a copy must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// See [`History::deployment`].
    pub deployment: String,
    /// See [`History::position`].
    pub position: i64,
    /// See [`History::head`].
    pub head: String,
    /// See [`Contents::schema`].
    pub schema: i64,
}

impl Expected {
    pub(super) fn check(&self, found: &Contents) -> Result<(), BackupError> {
        let History { deployment, position, head, .. } = &found.history;
        let same = (&self.deployment, &self.position, &self.head) == (deployment, position, head);
        if same && self.schema == found.schema {
            return Ok(());
        }
        Err(BackupError::Refused("the copy does not hold what its manifest says".to_owned()))
    }
}

/// Number of the newest migration that this binary knows.
#[must_use]
pub fn newest_schema() -> i64 {
    sqlite::MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or(0)
}

/// Gives a finished file its name, durably, without ever replacing another.
pub(crate) fn place(partial: &Path, file: &Path) -> Result<(), BackupError> {
    // The name is taken first: of two that want it one fails, and nothing is overwritten.
    std::fs::OpenOptions::new().write(true).create_new(true).open(file).map_err(BackupError::file(file))?;
    std::fs::File::open(partial).and_then(|file| file.sync_all()).map_err(BackupError::file(partial))?;
    if let Err(error) = std::fs::rename(partial, file) {
        let _ = std::fs::remove_file(file);
        return Err(BackupError::file(file)(error));
    }
    sync_folder(file).map_err(BackupError::file(file))
}

/// Makes a change of names in a file's folder durable.
pub(crate) fn sync_folder(file: &Path) -> std::io::Result<()> {
    std::fs::File::open(folder(file))?.sync_all()
}

/// The folder a file is in.
pub(crate) fn folder(file: &Path) -> &Path {
    file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
