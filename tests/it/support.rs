//! Databases for tests: a SQLite file or a database of its own on a private PostgreSQL server.

use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, Row, SqliteConnection};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use vouchsafe::storage::{self, Store};

static NEXT: AtomicU64 = AtomicU64::new(0);

/// Process ids come round again while a test server stays up, so the instant is part of the name.
fn unique(prefix: &str) -> String {
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos();
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{prefix}_{}_{now}_{next}", std::process::id())
}

/// A directory that goes away with the test.
pub(crate) struct TempDir(PathBuf);

impl TempDir {
    pub(crate) fn new() -> Self {
        let path = std::env::temp_dir().join(unique("vouchsafe_test"));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// An empty database of one kind.
pub(crate) enum Database {
    Sqlite { dir: TempDir },
    Postgres { url: String },
}

impl Database {
    pub(crate) fn sqlite() -> Self {
        Self::Sqlite { dir: TempDir::new() }
    }

    /// `None` (loudly) when this machine has no PostgreSQL.
    pub(crate) async fn postgres() -> Option<Self> {
        let Some(server) = server() else {
            eprintln!("SKIPPED: no PostgreSQL server; set VOUCHSAFE_TEST_POSTGRES or install one");
            return None;
        };
        let name = unique("vouchsafe");
        let mut admin = PgConnection::connect(server).await.unwrap();
        admin.execute(AssertSqlSafe(format!("CREATE DATABASE {name}"))).await.unwrap();
        let (before, after) = server.split_once("/postgres?").expect("the URL names the database `postgres`");
        Some(Self::Postgres { url: format!("{before}/{name}?{after}") })
    }

    pub(crate) fn url(&self) -> String {
        match self {
            Self::Sqlite { dir } => format!("sqlite:{}", dir.path().join("store.db").display()),
            Self::Postgres { url } => url.clone(),
        }
    }

    pub(crate) fn is_sqlite(&self) -> bool {
        matches!(self, Self::Sqlite { .. })
    }

    /// A store on this database; a second one is a second replica.
    pub(crate) async fn store(&self) -> Arc<dyn Store> {
        let store = storage::open(&self.url()).await.unwrap();
        store.migrate().await.unwrap();
        store
    }

    /// Runs SQL beside the store.
    pub(crate) async fn execute(&self, sql: &str) -> Result<(), sqlx::Error> {
        execute(&self.url(), sql).await
    }

    /// Rows of a table.
    pub(crate) async fn count(&self, table: &str) -> i64 {
        let sql = sqlx::raw_sql(AssertSqlSafe(format!("SELECT COUNT(*) FROM {table}")));
        match self {
            Self::Sqlite { .. } => {
                let mut conn = SqliteConnection::connect(&self.url()).await.unwrap();
                sql.fetch_one(&mut conn).await.unwrap().get(0)
            }
            Self::Postgres { url } => {
                let mut conn = PgConnection::connect(url).await.unwrap();
                sql.fetch_one(&mut conn).await.unwrap().get(0)
            }
        }
    }
}

/// Runs SQL beside whoever else uses the database.
pub(crate) async fn execute(url: &str, sql: &str) -> Result<(), sqlx::Error> {
    let sql = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()));
    if url.starts_with("sqlite:") {
        sql.execute(&mut SqliteConnection::connect(url).await?).await?;
    } else {
        sql.execute(&mut PgConnection::connect(url).await?).await?;
    }
    Ok(())
}

/// Pairs of texts that a query finds.
pub(crate) async fn pairs(url: &str, sql: &str) -> Vec<(String, String)> {
    if url.starts_with("sqlite:") {
        let mut conn = SqliteConnection::connect(url).await.unwrap();
        return sqlx::query_as(AssertSqlSafe(sql.to_owned())).fetch_all(&mut conn).await.unwrap();
    }
    let mut conn = PgConnection::connect(url).await.unwrap();
    loop {
        match sqlx::query_as(AssertSqlSafe(sql.to_owned())).fetch_all(&mut conn).await {
            // One of two that change many rows at once gives way; the other is done after that.
            Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("40P01") => {}
            found => return found.unwrap(),
        }
    }
}

impl Drop for Database {
    /// A server that outlives the tests must not fill up; a private one goes away as a whole.
    fn drop(&mut self) {
        let Self::Postgres { url } = self else { return };
        let Ok(server) = std::env::var("VOUCHSAFE_TEST_POSTGRES") else {
            return;
        };
        let Some(name) = url.split('?').next().and_then(|path| path.rsplit('/').next()) else {
            return;
        };
        let sql = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
        // A thread of its own: a runtime cannot be entered from within the test's.
        let dropped = std::thread::spawn(move || {
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap()
                .block_on(async { PgConnection::connect(&server).await?.execute(AssertSqlSafe(sql)).await })
        });
        if !matches!(dropped.join(), Ok(Ok(_))) {
            eprintln!("a test database was left behind");
        }
    }
}

/// URL of the server that the environment names or of one started for this process.
fn server() -> Option<&'static str> {
    static SERVER: OnceLock<Option<(String, Option<Child>)>> = OnceLock::new();
    let server = SERVER.get_or_init(|| {
        if let Ok(url) = std::env::var("VOUCHSAFE_TEST_POSTGRES") {
            return Some((url, None));
        }
        let started = start_server();
        assert!(
            started.is_some() || std::env::var_os("VOUCHSAFE_REQUIRE_POSTGRES").is_none(),
            "VOUCHSAFE_REQUIRE_POSTGRES is set and no PostgreSQL server could be started"
        );
        started
    });
    server.as_ref().map(|(url, _)| url.as_str())
}

/// The script stops the server when its standard input ends: with this process, however that ends.
fn start_server() -> Option<(String, Option<Child>)> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join(".ci/postgres.sh");
    let mut child = Command::new(script)
        .arg("run")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let mut url = String::new();
    BufReader::new(child.stdout.take()?).read_line(&mut url).ok()?;
    let url = url.trim().to_owned();
    if url.is_empty() { None } else { Some((url, Some(child))) }
}
