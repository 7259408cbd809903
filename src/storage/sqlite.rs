//! The embedded store: one SQLite file, readers beside one writer that commits together what has queued up.

use super::admissions::implement_admission_reads;
use super::batch::Queue;
use super::consents::implement_consent_reads;
use super::directory::implement_directory_reads;
use super::outgoing::implement_outgoing_reads;
use super::reads::{HISTORY, implement_store};
use super::review::reads::implement_review_reads;
use super::{
    AdmissionStore, AskedAdmissions, AskedDeliveries, AuditEntry, AuditRecord, Backlog, Basis, CaseEntry, Change,
    Comparison, ConsentStore, DirectoryStore, FeedRow, History, Intent, KeyedDirectoryUser, NewAttestation,
    OperatorSession, Outgoing, OutgoingStore, Quarantined, Queued, Record, ReviewQueue, ReviewStore, SessionsOver,
    Store, StoreError, StoredAdmission, StoredAppeal, StoredAttestation, StoredCase, StoredConsent, StoredContact,
    StoredDecision, StoredDelivery, StoredErasure, StoredHold, StoredKey, StoredLink, StoredList, StoredMark,
    StoredReceiver, StoredRequest, StoredResolution, StoredRoot, StoredSession, StoredStanding, StoredSubject,
    StoredToken, Swept, Table, TimelineRow, TokenPlace, UserKey,
};
use async_trait::async_trait;
pub(super) use engine::MIGRATIONS;
use engine::{SqliteEngine, Task};
use sqlx::SqlitePool;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use std::collections::HashMap;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

pub(super) mod backup;
mod engine;
mod file;
pub(super) mod inspect;
mod writes;

pub(super) use file::examine;
use file::identity;

/// How long a statement waits for another process's lock.
const PATIENCE: Duration = Duration::from_secs(5);
/// Who waits for the one lock looks for it every 100 ms at the latest, and in no order.
const COURTESY: Duration = Duration::from_millis(120);
/// Connections that read.
const READERS: u32 = 4;

/// A [`Store`] in one SQLite file (WAL, `synchronous=FULL`).
///
/// All writing goes through one task that owns the only writing connection; it ends, after finishing what has
/// queued up, when the store is dropped.
pub struct SqliteStore {
    readers: SqlitePool,
    queue: Queue<Task>,
    file: PathBuf,
    /// Device and number of the file that was opened: its name may come to stand for another.
    identity: (u64, u64),
}

impl SqliteStore {
    /// Opens the file that `url` (`sqlite:PATH`) names, creating it readable by its owner alone.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when `url` names no file or the file cannot be opened.
    pub async fn open(url: &str) -> Result<Self, StoreError> {
        let options = file_options(url)?;
        let file = options.get_filename().to_owned();
        create_private(&file)?;
        let unreadable = |error| StoreError::Unavailable(format!("database file `{}`: {error}", file.display()));
        let identity = identity(&file).map_err(unreadable)?;
        let options = options
            .foreign_keys(true)
            .busy_timeout(PATIENCE)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            // The writer merges the log itself: SQLite would not tell of a sync that failed on the way.
            .pragma("wal_autocheckpoint", "0");
        // The writer opens first: it turns the file into WAL mode, which readers need.
        let engine = SqliteEngine::open(options.clone()).await?;
        let store = Self::start(engine, options.pragma("query_only", "ON"), file, identity).await?;
        let version: String = sqlx::query_scalar("SELECT sqlite_version()").fetch_one(&store.readers).await?;
        if !inspect::is_safe(&version) {
            let problem = format!("SQLite {version} can corrupt the file; 3.51.3 or newer is needed");
            return Err(StoreError::Unavailable(problem));
        }
        Ok(store)
    }

    /// Opens an existing file with options for reading only: SQLite refuses whatever would write.
    async fn open_read_only(options: SqliteConnectOptions) -> Result<Self, sqlx::Error> {
        let file = options.get_filename().to_owned();
        let identity = identity(&file)?;
        Self::start(SqliteEngine::open(options.clone()).await?, options, file, identity).await
    }

    async fn start(
        engine: SqliteEngine,
        options: SqliteConnectOptions,
        file: PathBuf,
        identity: (u64, u64),
    ) -> Result<Self, sqlx::Error> {
        let pool = SqlitePoolOptions::new().max_connections(READERS).acquire_timeout(PATIENCE);
        Ok(Self { readers: pool.connect_with(options).await?, queue: Queue::start(engine), file, identity })
    }

    /// A file that was renamed over or removed lives on in our hands alone: what we write into it ends with us.
    fn still_the_same(&self) -> Result<(), StoreError> {
        if identity(&self.file).is_ok_and(|found| found == self.identity) {
            return Ok(());
        }
        Err(StoreError::Broken(format!(
            "the database file `{}` was replaced or removed while in use",
            self.file.display()
        )))
    }

    async fn run_migrations(&self) -> Result<(), StoreError> {
        self.queue.task(Task::Migrate).await?
    }

    async fn probe(&self) -> Result<(), StoreError> {
        self.queue.task(Task::Probe).await?
    }

    async fn scrub_files(&self) -> Result<(), StoreError> {
        self.queue.task(Task::Scrub).await?
    }

    async fn apply(&self, change: Change) -> Intent<()> {
        self.queue.task(|reply| Task::Change(Box::new(change), reply)).await?
    }

    async fn sequence(&self, limit: i64) -> Result<usize, StoreError> {
        self.queue.task(|reply| Task::Sequence(limit, reply)).await?
    }

    /// One writer means that positions appear in order: the cursor is the last one seen.
    async fn read_feed(&self, cursor: &str) -> Result<(Vec<FeedRow>, String), StoreError> {
        if cursor.is_empty() {
            let last: i64 =
                sqlx::query_scalar("SELECT COALESCE(MAX(position), 0) FROM feed").fetch_one(&self.readers).await?;
            return Ok((Vec::new(), last.to_string()));
        }
        let after: i64 = cursor.parse().map_err(|_| StoreError::Unreadable {
            table: "feed",
            column: "cursor",
            row: cursor.to_owned(),
        })?;
        let rows: Vec<(i64, String, String)> =
            sqlx::query_as("SELECT position, kind, key FROM feed WHERE position > $1 ORDER BY position")
                .bind(after)
                .fetch_all(&self.readers)
                .await?;
        let last = rows.last().map_or(after, |row| row.0);
        Ok((rows.into_iter().map(|(_, kind, key)| FeedRow { kind, key }).collect(), last.to_string()))
    }
}

/// Where the file that `url` names is.
fn file_options(url: &str) -> Result<SqliteConnectOptions, StoreError> {
    if url.contains(":memory:") || url.contains("mode=memory") {
        return Err(StoreError::Unavailable("an in-memory database keeps nothing; name a file".to_owned()));
    }
    let options = SqliteConnectOptions::from_str(url)?.create_if_missing(false);
    if options.get_filename().as_os_str().is_empty() {
        return Err(StoreError::Unavailable("`sqlite:` needs the path of a file".to_owned()));
    }
    Ok(options)
}

/// SQLite gives its side files the mode of the database file, so it is enough to create that one privately.
fn create_private(path: &Path) -> Result<(), StoreError> {
    match std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(StoreError::Unavailable(format!("cannot create the database file: {error}"))),
    }
}

implement_store!(SqliteStore, sqlx::Sqlite, "BEGIN");
implement_review_reads!(SqliteStore, sqlx::Sqlite);
implement_admission_reads!(SqliteStore, sqlx::Sqlite);
implement_consent_reads!(SqliteStore, sqlx::Sqlite);
implement_directory_reads!(SqliteStore, sqlx::Sqlite, "BEGIN");
implement_outgoing_reads!(SqliteStore, sqlx::Sqlite);
