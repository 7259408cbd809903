//! The store past one machine: any number of replicas on one PostgreSQL database.

use super::admissions::implement_admission_reads;
use super::batch::Queue;
use super::consents::implement_consent_reads;
use super::directory::implement_directory_reads;
use super::outgoing::implement_outgoing_reads;
use super::reads::{HISTORY, implement_store};
use super::review::reads::implement_review_reads;
use super::sql::Undo;
use super::{
    AdmissionStore, AskedAdmissions, AskedDeliveries, AuditEntry, AuditRecord, Backlog, Basis, CaseEntry, Change,
    Comparison, ConsentStore, DirectoryStore, FeedRow, History, Intent, KeyedDirectoryUser, NewAttestation,
    OperatorSession, Outgoing, OutgoingStore, Quarantined, Queued, Record, ReviewQueue, ReviewStore, SessionsOver,
    Store, StoreError, StoredAdmission, StoredAppeal, StoredAttestation, StoredCase, StoredConsent, StoredContact,
    StoredDecision, StoredDelivery, StoredErasure, StoredHold, StoredKey, StoredLink, StoredList, StoredMark,
    StoredReceiver, StoredRequest, StoredResolution, StoredRoot, StoredSession, StoredStanding, StoredSubject,
    StoredToken, Swept, Table, TimelineRow, TokenPlace, UserKey, audit,
};
use async_trait::async_trait;
use engine::PostgresEngine;
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions as _, PgConnection, PgPool};
use std::collections::HashMap;
use std::convert::Infallible;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use writes::apply_change;

pub(super) mod backup;
mod engine;
pub(super) mod inspect;
mod writes;

static MIGRATIONS: Migrator = sqlx::migrate!("migrations/postgres");

/// Connections of one replica.
const CONNECTIONS: u32 = 16;
/// How long to wait for a free connection.
const PATIENCE: Duration = Duration::from_secs(5);
/// Locks are held by row and given in order.
const COURTESY: Duration = Duration::ZERO;
/// How often a change that fell to a deadlock is tried.
const TRIES: usize = 4;

/// Our transactions are short: one that is not is ended by the server.
const SETTINGS: [(&str, &str); 4] = [
    ("statement_timeout", "5s"),
    ("lock_timeout", "5s"),
    ("idle_in_transaction_session_timeout", "5s"),
    ("synchronous_commit", "on"),
];

/// A [`Store`] on PostgreSQL 15 or newer.
///
/// Attestations and tokens go through one batching task per replica, which ends, after finishing what has queued
/// up, when the store is dropped; changes run on connections of their own.
pub struct PostgresStore {
    readers: PgPool,
    queue: Queue<Infallible>,
    options: PgConnectOptions,
    /// Reads the feed, always the same one: a server that crashed numbers transactions again whose loss it never wrote
    /// down, so a cursor is good only while the connection it came by lives. A pool would hide that it broke.
    follower: Mutex<Option<PgConnection>>,
}

impl PostgresStore {
    /// Connects to the database that `url` names.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when `url` does not parse or the database does not answer.
    pub async fn open(url: &str) -> Result<Self, StoreError> {
        let options = PgConnectOptions::from_str(url)?.options(SETTINGS);
        let pool = PgPoolOptions::new()
            .max_connections(CONNECTIONS)
            .acquire_timeout(PATIENCE)
            .connect_with(options.clone())
            .await?;
        let version: i32 =
            sqlx::query_scalar("SELECT current_setting('server_version_num')::int").fetch_one(&pool).await?;
        if version < inspect::OLDEST {
            return Err(StoreError::Unavailable("PostgreSQL 15 or newer is needed".to_owned()));
        }
        Ok(Self::start(pool, options))
    }

    /// Connects for reading only: the server refuses whatever would write.
    async fn open_read_only(options: PgConnectOptions) -> Result<Self, sqlx::Error> {
        let options = options.options(SETTINGS).options([("default_transaction_read_only", "on")]);
        let pool = PgPoolOptions::new().max_connections(1).acquire_timeout(PATIENCE);
        Ok(Self::start(pool.connect_with(options.clone()).await?, options))
    }

    fn start(pool: PgPool, options: PgConnectOptions) -> Self {
        let queue = Queue::start(PostgresEngine { pool: pool.clone() });
        Self { queue, readers: pool, options, follower: Mutex::default() }
    }

    async fn run_migrations(&self) -> Result<(), StoreError> {
        MIGRATIONS.run(&self.readers).await.map_err(|error| StoreError::Migration(error.to_string()))
    }

    /// A server that was replaced is known by what it says; see the anchor.
    fn still_the_same(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn probe(&self) -> Result<(), StoreError> {
        let read_only: String =
            sqlx::query_scalar("SELECT current_setting('transaction_read_only')").fetch_one(&self.readers).await?;
        // A standby and a database set to read-only both say `on`.
        if read_only == "off" { Ok(()) } else { Err(StoreError::Unavailable("the database is read-only".to_owned())) }
    }

    /// On a connection of its own, which is not given back: its time limit is another.
    async fn scrub_files(&self) -> Result<(), StoreError> {
        let mut conn = self.readers.acquire().await?.detach();
        sqlx::raw_sql("SET statement_timeout = '15min'").execute(&mut conn).await?;
        for text in ["VACUUM subjects", "VACUUM links", "VACUUM quarantine", "VACUUM sessions"] {
            sqlx::query(text).execute(&mut conn).await?;
        }
        sqlx::Connection::close(conn).await?;
        Ok(())
    }

    async fn apply(&self, change: Change) -> Intent<()> {
        for _ in 1..TRIES {
            match self.apply_once(&change).await {
                Err(Undo::Failed(error)) if is_passing(&error) => {}
                Err(undo) => return undo.answer(),
                Ok(()) => return Ok(Ok(())),
            }
        }
        match self.apply_once(&change).await {
            Err(undo) => undo.answer(),
            Ok(()) => Ok(Ok(())),
        }
    }

    /// Dropping the transaction on the way out rolls it back.
    async fn apply_once(&self, change: &Change) -> Result<(), Undo> {
        let mut transaction = self.readers.begin().await?;
        apply_change(&mut transaction, change).await?;
        transaction.commit().await?;
        Ok(())
    }

    /// The cursor is the snapshot of the previous poll: what it did not see and this one does is new. Rows and the
    /// next cursor come from one statement, hence from one snapshot.
    async fn read_feed(&self, cursor: &str) -> Result<(Vec<FeedRow>, String), StoreError> {
        let mut follower = self.follower.lock().await;
        let conn = match &mut *follower {
            Some(conn) => conn,
            none => none.insert(
                tokio::time::timeout(PATIENCE, self.options.connect())
                    .await
                    .map_err(|_| StoreError::Unavailable("no connection in time".to_owned()))??,
            ),
        };
        let read = Self::read_feed_on(conn, cursor).await;
        if read.is_err() {
            *follower = None;
        }
        read
    }

    async fn read_feed_on(conn: &mut PgConnection, cursor: &str) -> Result<(Vec<FeedRow>, String), StoreError> {
        if cursor.is_empty() {
            let now = sqlx::query_scalar("SELECT pg_current_snapshot()::text").fetch_one(conn).await?;
            return Ok((Vec::new(), now));
        }
        let rows: Vec<(String, Option<String>, Option<String>)> = sqlx::query_as(
            "SELECT now.cursor, feed.kind, feed.key
             FROM (SELECT pg_current_snapshot()::text AS cursor) AS now
             LEFT JOIN feed ON feed.xid >= pg_snapshot_xmin($1::text::pg_snapshot)
                 AND NOT pg_visible_in_snapshot(feed.xid, $1::text::pg_snapshot)
             ORDER BY feed.xid, feed.position",
        )
        .bind(cursor)
        .fetch_all(conn)
        .await
        .map_err(|error| match error {
            sqlx::Error::Database(error) if error.code().is_some_and(|code| code == "22P02") => {
                StoreError::Unreadable { table: "feed", column: "cursor", row: cursor.to_owned() }
            }
            other => other.into(),
        })?;
        let next = rows.first().map_or_else(|| cursor.to_owned(), |row| row.0.clone());
        let rows = rows.into_iter().filter_map(|(_, kind, key)| Some(FeedRow { kind: kind?, key: key? })).collect();
        Ok((rows, next))
    }

    /// Under the lock replicas take turns, and each statement after it sees what was committed before; if the lock ever
    /// fails, the unique position and predecessor of a log record make the second one lose.
    async fn sequence(&self, limit: i64) -> Result<usize, StoreError> {
        let mut transaction = self.readers.begin().await?;
        sqlx::query("SELECT pg_advisory_xact_lock(hashtext('vouchsafe.audit'))").execute(&mut *transaction).await?;
        let head = sqlx::query_as("SELECT position, hash FROM audit_log ORDER BY position DESC LIMIT 1")
            .fetch_optional(&mut *transaction)
            .await?;
        let pending: Vec<audit::Pending> = sqlx::query_as(
            "SELECT position, id, at_ms, actor, action, target, detail FROM audit_entries ORDER BY position LIMIT $1",
        )
        .bind(limit)
        .fetch_all(&mut *transaction)
        .await?;
        let encode = |error: serde_json::Error| sqlx::Error::Encode(error.into());
        let records = audit::continue_chain(head, &pending).map_err(encode)?;
        let inserted = sqlx::query(
            "INSERT INTO audit_log (position, hash, previous, entry)
             SELECT (e ->> 0)::bigint, e ->> 1, e ->> 2, e ->> 3 FROM json_array_elements($1::json) AS e",
        )
        .bind(audit::as_json(&records).map_err(encode)?)
        .execute(&mut *transaction)
        .await;
        match inserted {
            Err(sqlx::Error::Database(error)) if error.is_unique_violation() => {
                transaction.rollback().await?;
                return Err(StoreError::Unavailable("another replica links the audit log".to_owned()));
            }
            other => other?,
        };
        // By position, one by one: a transaction that is still open may hold lower ones.
        let moved: Vec<i64> = pending.iter().map(|entry| entry.position).collect();
        sqlx::query("DELETE FROM audit_entries WHERE position = ANY($1)")
            .bind(moved)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(records.len())
    }
}

/// A deadlock or serialisation failure: everything was rolled back and the same may succeed now.
fn is_passing(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(error) => error.code().is_some_and(|code| code == "40P01" || code == "40001"),
        _ => false,
    }
}

implement_store!(PostgresStore, sqlx::Postgres, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
implement_review_reads!(PostgresStore, sqlx::Postgres);
implement_admission_reads!(PostgresStore, sqlx::Postgres);
implement_consent_reads!(PostgresStore, sqlx::Postgres);
implement_directory_reads!(PostgresStore, sqlx::Postgres, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
implement_outgoing_reads!(PostgresStore, sqlx::Postgres);
