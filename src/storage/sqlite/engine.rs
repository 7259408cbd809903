//! The writing connection: set-based batches, single changes, the audit sequencer.

use super::file::Opened;
use super::writes::apply_change;
use crate::storage::batch::{BATCH, Engine, Fault, Kind};
use crate::storage::sql::Undo;
use crate::storage::{Change, Conflict, Intent, StoreError, audit};
use sqlx::migrate::Migrator;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, Row, SqliteConnection};
use std::mem::ManuallyDrop;
use tokio::sync::oneshot;

pub(in crate::storage) static MIGRATIONS: Migrator = sqlx::migrate!("migrations/sqlite");

/// The writing connection's own tables: a batch waits here between its statements.
const STAGING: &str = "
CREATE TEMP TABLE staged (
    ordinal INTEGER PRIMARY KEY, version INTEGER, id TEXT, subject TEXT, source TEXT, event TEXT, lineage TEXT,
    checked INTEGER, recorded INTEGER, facts TEXT, document TEXT, compare INTEGER,
    audit_id TEXT, audit_at INTEGER, actor TEXT, action TEXT, target TEXT, detail TEXT,
    outbox_id TEXT, topic TEXT, outbox_key TEXT, outbox_body TEXT
);
CREATE TEMP TABLE staged_tokens (
    ordinal INTEGER PRIMARY KEY, jti TEXT, subject TEXT, audience TEXT, resource TEXT, decision TEXT, client TEXT,
    issued INTEGER, expires INTEGER, revoked INTEGER, list INTEGER, idx INTEGER, end_user TEXT,
    session TEXT, session_of TEXT, session_at INTEGER,
    d_id TEXT, d_subject TEXT, d_acting_for TEXT, d_resource TEXT, d_at INTEGER, d_status TEXT, d_expires INTEGER,
    d_rules TEXT, d_attestations TEXT,
    audit_id TEXT, audit_at INTEGER, actor TEXT, action TEXT, target TEXT, detail TEXT
)";

/// One call per batch. Every statement may use `?1` only: sqlx binds the one argument to each of them. What was
/// written comes back as one row: each row that sqlx hands over wakes a task. `OR ROLLBACK` spares SQLite the journal
/// it would keep per statement to undo a part of it.
const WRITE_ATTESTATIONS: &str = "
BEGIN IMMEDIATE;
DELETE FROM temp.staged;
INSERT OR ROLLBACK INTO temp.staged
SELECT e.key, s.version + 1, e.value ->> 'id', s.id, e.value ->> 'source', e.value ->> 'event',
    e.value ->> 'lineage', e.value ->> 'checked', e.value ->> 'recorded', e.value ->> 'facts',
    e.value ->> 'document', e.value ->> 'compare',
    e.value ->> '$.audit.id', e.value ->> '$.audit.at', e.value ->> '$.audit.actor', e.value ->> '$.audit.action',
    e.value ->> '$.audit.target', e.value ->> '$.audit.detail',
    e.value ->> '$.outbox.id', e.value ->> '$.outbox.topic', e.value ->> '$.outbox.key', e.value ->> '$.outbox.body'
FROM jsonb_each(?1) AS e
CROSS JOIN main.subjects_now AS s
WHERE s.id = e.value ->> 'subject' AND s.state = 'active'
    AND NOT EXISTS (
        SELECT 1 FROM main.attestations AS a
        WHERE a.source = e.value ->> 'source' AND a.event = e.value ->> 'event')
    AND NOT EXISTS (
        SELECT 1 FROM main.attestations AS a
        WHERE a.source = e.value ->> 'source' AND a.lineage = e.value ->> 'lineage'
            AND a.checked_at_ms >= e.value ->> 'checked');
INSERT OR ROLLBACK INTO main.attestations
    (id, subject, source, event, lineage, checked_at_ms, recorded_at_ms, version, facts, document)
SELECT id, subject, source, event, lineage, checked, recorded, version, facts, document FROM temp.staged;
INSERT OR ROLLBACK INTO main.comparisons (attestation, subject, document)
SELECT id, subject, document FROM temp.staged WHERE compare;
INSERT OR ROLLBACK INTO main.marks (attestation, kind, at_ms, from_start, said_by, reason)
SELECT old.id, 'superseded', b.recorded, FALSE, b.id, 'superseded'
FROM temp.staged AS b
CROSS JOIN main.attestations AS old
WHERE old.source = b.source AND old.lineage = b.lineage AND old.checked_at_ms < b.checked
    AND old.subject = b.subject
    AND NOT EXISTS (
        SELECT 1 FROM main.marks AS m WHERE m.attestation = old.id AND m.kind = 'superseded');
INSERT OR ROLLBACK INTO main.feed (kind, key) SELECT 'subject', subject FROM temp.staged;
INSERT OR ROLLBACK INTO main.audit_entries (id, at_ms, actor, action, target, detail)
SELECT audit_id, audit_at, actor, action, target, detail FROM temp.staged;
INSERT OR ROLLBACK INTO main.outbox (id, topic, key, body)
SELECT outbox_id, topic, outbox_key, outbox_body FROM temp.staged WHERE outbox_id IS NOT NULL;
SELECT json_group_array(json_array(ordinal, version)) FROM temp.staged;
COMMIT";

const EXPLAIN_ATTESTATIONS: &str = "
SELECT e.key,
    (SELECT a.id FROM attestations AS a
     WHERE a.source = e.value ->> 'source' AND a.event = e.value ->> 'event'),
    EXISTS (SELECT 1 FROM subjects AS s WHERE s.id = e.value ->> 'subject' AND s.state = 'active'),
    EXISTS (SELECT 1 FROM attestations AS a
     WHERE a.source = e.value ->> 'source' AND a.lineage = e.value ->> 'lineage'
         AND a.checked_at_ms >= e.value ->> 'checked'),
    EXISTS (SELECT 1 FROM attestations AS a WHERE a.id = e.value ->> 'id')
FROM jsonb_each(?1) AS e";

/// That the session by which a token was got is over: asked when rows are written, and when it is explained why one was not.
macro_rules! session_is_over {
    () => {
        "EXISTS (SELECT 1 FROM main.spent_jtis AS o
        WHERE o.issuer = 'session' AND e.value ->> '$.session.id' IS NOT NULL
            AND o.jti IN (e.value ->> '$.session.id', e.value ->> '$.session.of',
                (e.value ->> '$.session.id') || '/' || (e.value ->> '$.session.of'))
            AND (o.jti <> e.value ->> '$.session.of' OR o.expires_at_ms >= e.value ->> '$.session.until'))"
    };
}

const WRITE_TOKENS: &str = concat!(
    "
BEGIN IMMEDIATE;
DELETE FROM temp.staged_tokens;
INSERT OR ROLLBACK INTO temp.staged_tokens
SELECT e.key, e.value ->> 'jti', s.id, e.value ->> 'audience', e.value ->> 'resource', e.value ->> 'decision',
    e.value ->> 'client', e.value ->> 'issued', e.value ->> 'expires', e.value ->> 'revoked',
    e.value ->> 'list', e.value ->> 'idx', e.value ->> 'end_user',
    e.value ->> '$.session.id', e.value ->> '$.session.of', e.value ->> '$.session.at',
    e.value ->> '$.d.id', e.value ->> '$.d.subject', e.value ->> '$.d.acting_for', e.value ->> '$.d.resource',
    e.value ->> '$.d.at', e.value ->> '$.d.status', e.value ->> '$.d.expires', e.value ->> '$.d.rules',
    e.value ->> '$.d.attestations',
    e.value ->> '$.audit.id', e.value ->> '$.audit.at', e.value ->> '$.audit.actor', e.value ->> '$.audit.action',
    e.value ->> '$.audit.target', e.value ->> '$.audit.detail'
FROM jsonb_each(?1, '$.rows') AS e
CROSS JOIN main.subjects_now AS s
WHERE s.id = e.value ->> 'subject' AND s.state = 'active' AND s.version = e.value ->> 'version'
    AND e.value ->> 'timeline' = (SELECT COALESCE(MAX(seq), 0) FROM main.timeline)
    AND e.value ->> 'suspensions' = (SELECT COUNT(*) FROM main.suspensions)
    AND NOT EXISTS (SELECT 1 FROM json_each(e.value, '$.parties') AS p WHERE NOT EXISTS
        (SELECT 1 FROM main.subjects_now AS o
         WHERE o.id = p.value ->> 0 AND o.state = 'active' AND o.version = p.value ->> 1))
    AND NOT EXISTS (SELECT 1 FROM main.tokens AS t WHERE t.jti = e.value ->> 'jti')
    AND NOT ",
    session_is_over!(),
    ";
INSERT INTO main.rules (digest, body)
SELECT e.key, e.value FROM json_each(?1, '$.rules') AS e
WHERE e.key IN (SELECT d_rules FROM temp.staged_tokens)
ON CONFLICT DO NOTHING;
INSERT INTO main.decisions
    (id, subject, acting_for, resource, at_ms, status, expires_at_ms, rules_digest, attestations)
SELECT d_id, d_subject, d_acting_for, d_resource, d_at, d_status, d_expires, d_rules, d_attestations
FROM temp.staged_tokens WHERE TRUE
ON CONFLICT DO NOTHING;
INSERT OR ROLLBACK INTO main.tokens
    (jti, subject, audience, resource, decision, client, issued_at_ms, expires_at_ms, revoked_at_ms,
     status_list, status_idx, end_user, session, session_of, session_at_ms)
SELECT jti, subject, audience, resource, decision, client, issued, expires, revoked, list, idx, end_user,
    session, session_of, session_at
FROM temp.staged_tokens;
INSERT INTO main.relies (subject, party, version)
SELECT t.subject, p.value ->> 0, p.value ->> 1
FROM json_each(?1, '$.rows') AS e
CROSS JOIN json_each(e.value, '$.parties') AS p
CROSS JOIN temp.staged_tokens AS t
WHERE t.ordinal = e.key
ON CONFLICT DO NOTHING;
INSERT OR ROLLBACK INTO main.audit_entries (id, at_ms, actor, action, target, detail)
SELECT audit_id, audit_at, actor, action, target, detail FROM temp.staged_tokens;
SELECT json_group_array(json_array(ordinal, 0)) FROM temp.staged_tokens;
COMMIT"
);

const EXPLAIN_TOKENS: &str = concat!(
    "
SELECT e.key,
    EXISTS (SELECT 1 FROM tokens AS t WHERE t.jti = e.value ->> 'jti'),
    EXISTS (SELECT 1 FROM subjects AS s WHERE s.id = e.value ->> 'subject' AND s.state = 'active'),
    EXISTS (SELECT 1 FROM subjects_now AS s WHERE s.id = e.value ->> 'subject' AND s.version = e.value ->> 'version')
        AND e.value ->> 'timeline' = (SELECT COALESCE(MAX(seq), 0) FROM timeline)
        AND e.value ->> 'suspensions' = (SELECT COUNT(*) FROM suspensions)
        AND NOT EXISTS (SELECT 1 FROM json_each(e.value, '$.parties') AS p WHERE NOT EXISTS
            (SELECT 1 FROM subjects_now AS o
             WHERE o.id = p.value ->> 0 AND o.state = 'active' AND o.version = p.value ->> 1)),
    ",
    session_is_over!(),
    "
FROM jsonb_each(?1) AS e"
);

/// What waits for its place in the audit log, as one row.
const PENDING: &str = "
SELECT json_group_array(json_array(position, id, at_ms, actor, action, target, detail) ORDER BY position)
FROM (SELECT * FROM audit_entries ORDER BY position LIMIT $1)";

/// Reads why a row was not written.
type Verdict = fn(&sqlx::sqlite::SqliteRow) -> Result<Option<Conflict>, sqlx::Error>;

/// Work for the writing connection besides batches, each with the sender of its answer.
pub(super) enum Task {
    Change(Box<Change>, oneshot::Sender<Intent<()>>),
    Sequence(i64, oneshot::Sender<Result<usize, StoreError>>),
    Migrate(oneshot::Sender<Result<(), StoreError>>),
    Probe(oneshot::Sender<Result<(), StoreError>>),
    Scrub(oneshot::Sender<Result<(), StoreError>>),
}

/// Owns the only connection that writes.
pub(super) struct SqliteEngine {
    options: SqliteConnectOptions,
    /// Closed only by [`Engine::close`], and never once what is on the disk is unknown: closing merges the log into the
    /// file and removes it, and the log is what the next process reads.
    conn: ManuallyDrop<SqliteConnection>,
    opened: Opened,
    /// Why nothing is acknowledged any more.
    broken: Option<String>,
}

/// Pages in the log from which on it is merged into the file. More would write a little faster but stall commits ten
/// times as long.
const MERGED_FROM: i64 = 4000;
/// The same as a length of the log, in bytes: pages of 4096 with a head of 24 each.
const LONG_LOG: u64 = 4000 * (4096 + 24);

/// SQLite's code of a sync of file or folder that failed. What the kernel could not write it may forget: the next sync
/// succeeds and proves nothing.
fn is_failed_sync(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Database(error) if error.code().is_some_and(|code| code == "1034" || code == "1290"))
}

impl SqliteEngine {
    pub(super) async fn open(options: SqliteConnectOptions) -> Result<Self, sqlx::Error> {
        let options = options
            .pragma("temp_store", "MEMORY")
            .pragma("cache_size", "-65536")
            .pragma("secure_delete", "FAST")
            .row_buffer_size(BATCH);
        let mut conn = Self::connect(&options).await?;
        // A first read makes the side files.
        sqlx::query("SELECT 1 FROM sqlite_schema").execute(&mut conn).await?;
        let opened = Opened::now(options.get_filename());
        Ok(Self { options, conn: ManuallyDrop::new(conn), opened, broken: None })
    }

    /// Whether what was written can be read by the next process; asked after every commit, before its answer.
    fn sound(&mut self) -> Result<(), sqlx::Error> {
        if self.broken.is_none()
            && let Some(path) = self.opened.missing()
        {
            self.give_up(format!("`{}` was removed or replaced while in use", path.display()));
        }
        match &self.broken {
            Some(reason) => Err(sqlx::Error::Protocol(reason.clone())),
            None => Ok(()),
        }
    }

    /// Merges the log into the file when it has grown. The commits in it are durable already, so what fails here is no
    /// failure of theirs.
    async fn merge(&mut self) {
        if self.opened.log_length() < LONG_LOG || self.sound().is_err() {
            return;
        }
        let merged = async {
            // Busy or not, pages in the log, pages merged.
            let (_, log, merged): (i64, i64, i64) =
                sqlx::query_as("PRAGMA wal_checkpoint(NOOP)").fetch_one(&mut *self.conn).await?;
            if log >= MERGED_FROM && merged < log {
                sqlx::query("PRAGMA wal_checkpoint(PASSIVE)").execute(&mut *self.conn).await?;
            }
            Ok::<(), sqlx::Error>(())
        };
        if let Err(error) = merged.await {
            if is_failed_sync(&error) {
                self.give_up(format!("a sync failed: {error}"));
            } else {
                tracing::warn!(%error, "the log could not be merged into the database file and grows");
            }
        }
    }

    fn give_up(&mut self, reason: String) {
        tracing::error!(reason, "nothing more is written by this process");
        self.broken = Some(reason);
    }

    /// The error of a task: one that no retry in this process can cure is told apart.
    fn told(&self, error: StoreError) -> StoreError {
        self.broken.clone().map_or(error, StoreError::Broken)
    }

    async fn connect(options: &SqliteConnectOptions) -> Result<SqliteConnection, sqlx::Error> {
        let mut conn = options.connect().await?;
        sqlx::raw_sql(STAGING).execute(&mut conn).await?;
        Ok(conn)
    }

    /// Leaves no transaction open after a failed call. sqlx does not know of transactions begun inside a text.
    async fn undo(&mut self, error: &sqlx::Error) {
        if is_failed_sync(error) {
            self.give_up(format!("a sync failed: {error}"));
        }
        if self.broken.is_some() {
            return;
        }
        match sqlx::query("ROLLBACK").execute(&mut *self.conn).await {
            Ok(_) => {}
            // The call failed before it began, or SQLite rolled back by itself.
            Err(sqlx::Error::Database(error)) if error.message().contains("no transaction is active") => {}
            Err(error) => {
                tracing::error!(%error, "writer cannot roll back, opening a new connection");
                match Self::connect(&self.options).await {
                    Ok(conn) => {
                        drop(ManuallyDrop::into_inner(std::mem::replace(&mut self.conn, ManuallyDrop::new(conn))))
                    }
                    Err(error) => tracing::error!(%error, "writer cannot reconnect"),
                }
            }
        }
    }

    async fn batch(&mut self, sql: &'static str, json: &str) -> Result<Vec<(i64, i64)>, sqlx::Error> {
        // To its end: only then has the commit succeeded.
        let outcome = sqlx::query_scalar::<_, String>(sql).bind(json.to_owned()).fetch_all(&mut *self.conn).await;
        match outcome {
            Ok(written) => {
                self.sound()?;
                let written = written.first().map_or("[]", String::as_str);
                serde_json::from_str(written).map_err(|error| sqlx::Error::Decode(error.into()))
            }
            Err(error) => {
                self.undo(&error).await;
                Err(error)
            }
        }
    }

    async fn change(&mut self, change: &Change) -> Intent<()> {
        let outcome = async {
            sqlx::query("BEGIN IMMEDIATE").execute(&mut *self.conn).await?;
            apply_change(&mut self.conn, change).await?;
            sqlx::query("COMMIT").execute(&mut *self.conn).await?;
            Ok::<(), Undo>(())
        }
        .await;
        let undo = match outcome {
            Ok(()) => return self.sound().map(Ok).map_err(|error| self.told(error.into())),
            Err(undo) => undo,
        };
        match &undo {
            Undo::Failed(error) => self.undo(error).await,
            Undo::Conflict(_) => self.undo(&sqlx::Error::RowNotFound).await,
        }
        undo.answer().map_err(|error| self.told(error))
    }

    async fn sequence(&mut self, limit: i64) -> Result<usize, StoreError> {
        let outcome = match self.sequence_open(limit).await {
            Ok(records) => self.sound().map(|()| records),
            Err(error) => {
                self.undo(&error).await;
                Err(error)
            }
        };
        outcome.map_err(|error| self.told(error.into()))
    }

    async fn sequence_open(&mut self, limit: i64) -> Result<usize, sqlx::Error> {
        let conn = &mut *self.conn;
        sqlx::query("BEGIN IMMEDIATE").execute(&mut *conn).await?;
        let head = sqlx::query_as("SELECT position, hash FROM audit_log ORDER BY position DESC LIMIT 1")
            .fetch_optional(&mut *conn)
            .await?;
        let pending: String = sqlx::query_scalar(PENDING).bind(limit).fetch_one(&mut *conn).await?;
        let pending: Vec<audit::Pending> =
            serde_json::from_str(&pending).map_err(|error| sqlx::Error::Decode(error.into()))?;
        let encode = |error: serde_json::Error| sqlx::Error::Encode(error.into());
        let records = audit::continue_chain(head, &pending).map_err(encode)?;
        sqlx::query(
            "INSERT INTO audit_log (position, hash, previous, entry)
             SELECT e.value ->> 0, e.value ->> 1, e.value ->> 2, e.value ->> 3 FROM jsonb_each($1) AS e",
        )
        .bind(audit::as_json(&records).map_err(encode)?)
        .execute(&mut *conn)
        .await?;
        // One writer: nothing below the last position can appear later.
        sqlx::query("DELETE FROM audit_entries WHERE position <= $1")
            .bind(pending.last().map_or(0, |entry| entry.position))
            .execute(&mut *conn)
            .await?;
        sqlx::query("COMMIT").execute(&mut *conn).await?;
        Ok(records.len())
    }

    async fn migrate(&mut self) -> Result<(), StoreError> {
        let failed = |error: &dyn std::fmt::Display| StoreError::Migration(error.to_string());
        // The lock keeps a second process out: sqlx itself takes none on SQLite.
        let mut transaction = self.conn.begin_with("BEGIN IMMEDIATE").await.map_err(|error| failed(&error))?;
        MIGRATIONS.run_direct(None, &mut *transaction, false).await.map_err(|error| failed(&error))?;
        transaction.commit().await.map_err(|error| failed(&error))
    }

    /// Deleted content is overwritten in the pages that are written anyway (`secure_delete`); old pages in the log go
    /// when it is written back and cut.
    async fn scrub(&mut self) -> Result<(), StoreError> {
        let (busy, _, _): (i64, i64, i64) =
            match sqlx::query_as("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(&mut *self.conn).await {
                Ok(found) => found,
                Err(error) => {
                    self.undo(&error).await;
                    return Err(self.told(error.into()));
                }
            };
        if busy == 0 { Ok(()) } else { Err(StoreError::Unavailable("the log is being read; later".to_owned())) }
    }

    async fn probe(&mut self) -> Result<(), StoreError> {
        let outcome = sqlx::raw_sql(
            "BEGIN IMMEDIATE; INSERT INTO spent_jtis (issuer, jti, expires_at_ms) VALUES ('', '', 0); ROLLBACK",
        )
        .execute(&mut *self.conn)
        .await;
        let outcome = match outcome {
            Ok(_) => self.sound(),
            Err(error) => {
                self.undo(&error).await;
                Err(error)
            }
        };
        outcome.map_err(|error| self.told(error.into()))
    }
}

impl Engine for SqliteEngine {
    type Task = Task;

    async fn write(&mut self, kind: Kind, json: &str) -> Result<Vec<(i64, i64)>, sqlx::Error> {
        if let Some(reason) = &self.broken {
            return Err(sqlx::Error::Protocol(reason.clone()));
        }
        match kind {
            Kind::Attestation => self.batch(WRITE_ATTESTATIONS, json).await,
            Kind::Token => self.batch(WRITE_TOKENS, json).await,
        }
    }

    async fn explain(&mut self, kind: Kind, json: &str) -> Result<Vec<(i64, Option<Conflict>)>, sqlx::Error> {
        let (sql, read): (_, Verdict) = match kind {
            Kind::Attestation => (EXPLAIN_ATTESTATIONS, |row| {
                Ok(Conflict::of_attestation(row.try_get(1)?, row.try_get(2)?, row.try_get(3)?, row.try_get(4)?))
            }),
            Kind::Token => (EXPLAIN_TOKENS, |row| {
                Ok(Conflict::of_token(row.try_get(1)?, row.try_get(2)?, row.try_get(3)?, row.try_get(4)?))
            }),
        };
        let rows = sqlx::query(sql).bind(json.to_owned()).fetch_all(&mut *self.conn).await?;
        rows.iter().map(|row| Ok((row.try_get(0)?, read(row)?))).collect()
    }

    fn fault(error: &sqlx::Error) -> Fault {
        let code = match error {
            sqlx::Error::Database(error) => error.code().and_then(|code| code.parse::<u32>().ok()),
            _ => None,
        };
        // The low byte is the primary code: 1 ERROR (malformed JSON), 18 TOOBIG, 19 CONSTRAINT, 20 MISMATCH.
        match code.map(|code| code & 0xff) {
            Some(1 | 18 | 19 | 20) => Fault::Intent,
            _ => Fault::Store,
        }
    }

    async fn run(&mut self, task: Task) {
        if let Some(reason) = self.broken.clone() {
            let broken = StoreError::Broken(reason);
            return match task {
                Task::Change(_, reply) => drop(reply.send(Err(broken))),
                Task::Sequence(_, reply) => drop(reply.send(Err(broken))),
                Task::Migrate(reply) | Task::Probe(reply) | Task::Scrub(reply) => drop(reply.send(Err(broken))),
            };
        }
        // A caller that no longer listens changes nothing.
        match task {
            Task::Change(change, reply) => drop(reply.send(self.change(&change).await)),
            Task::Sequence(limit, reply) => drop(reply.send(self.sequence(limit).await)),
            Task::Migrate(reply) => drop(reply.send(self.migrate().await)),
            Task::Probe(reply) => drop(reply.send(self.probe().await)),
            Task::Scrub(reply) => drop(reply.send(self.scrub().await)),
        }
    }

    async fn tidy(&mut self) {
        self.merge().await;
    }

    async fn close(self) {
        if self.broken.is_some() {
            return;
        }
        if let Err(error) = ManuallyDrop::into_inner(self.conn).close().await {
            tracing::error!(%error, "writer did not close cleanly");
        }
    }
}
