//! What is told to the outside: the outbox, and who receives what of it.
//!
//! A commit writes what it has to say into the outbox. Fanning out takes rows from there and writes, in one commit, the
//! message and one delivery for each receiver. Whoever sends takes deliveries by a claim that ends by itself, so that a
//! sender that is gone costs a second delivery and never one.

use super::{StoreError, sql::Undo};
use async_trait::async_trait;
use serde::Serialize;

/// Kinds of records that are receivers.
pub const RECEIVER_KINDS: [&str; 2] = ["signal_receiver", "webhook_endpoint"];

/// Due when the one before it has ended: [`StoredDelivery::due_ms`] of a delivery that waits behind another of its key.
pub const BEHIND: i64 = 9_000_000_000_000_000;

/// A row of the outbox as it waits.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Queued {
    /// Its place.
    pub position: i64,
    /// `out_…`
    pub id: String,
    /// See [`super::OutboxRow::topic`].
    pub topic: String,
    /// See [`super::OutboxRow::key`].
    pub key: String,
    /// JSON.
    pub body: String,
}

/// One message for one receiver, as it is fanned out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FannedOut {
    /// Place of the row in the outbox.
    pub position: i64,
    /// Id of the receiver.
    pub receiver: String,
    /// How it leaves: `webhook`, `signal`.
    pub kind: &'static str,
    /// Why it is dead from the beginning, in a word; `None` where it is to be sent.
    pub dead: Option<&'static str>,
}

/// How a try ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// It came through.
    Delivered,
    /// It is tried again at this instant, epoch milliseconds.
    Again(i64),
    /// It is not tried again.
    Dead,
}

/// The end of one try of one delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled {
    /// Id of the receiver.
    pub receiver: String,
    /// Id of the message.
    pub message: String,
    /// The claim under which it was sent.
    pub claim: String,
    /// How it ended.
    pub ending: Ending,
    /// When, epoch milliseconds.
    pub tried_at_ms: i64,
    /// Status of the answer, 0 for none.
    pub status: i64,
    /// In a word.
    pub outcome: &'static str,
}

/// How a receiver answers.
#[derive(Debug, Clone, Default, PartialEq, Eq, sqlx::FromRow)]
pub struct StoredReceiver {
    /// Its id.
    pub id: String,
    /// Failures since something came through.
    pub failures: i64,
    /// Since when nothing came through, epoch milliseconds.
    pub failing_since_ms: Option<i64>,
    /// Before when nothing is sent, epoch milliseconds.
    pub not_before_ms: i64,
}

/// What some tries show of a receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// The receiver; `failures` and `failing_since_ms` are counted from the last success among the tries, if there is one.
    pub receiver: StoredReceiver,
    /// Whether one of them came through: what was known before is over.
    pub came_through: bool,
}

/// A delivery that was claimed, with its message.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Outgoing {
    /// Id of the receiver.
    pub receiver: String,
    /// Id of the message.
    pub message: String,
    /// Event type.
    pub topic: String,
    /// See [`super::OutboxRow::key`].
    pub key: String,
    /// JSON.
    pub body: String,
    /// How often it was tried before.
    pub tries: i64,
    /// The claim.
    pub claim: String,
}

/// A delivery as the log shows it.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct StoredDelivery {
    /// Id of the message.
    pub message: String,
    /// Event type.
    pub topic: String,
    /// See [`super::OutboxRow::key`].
    pub key: String,
    /// `pending`, `delivered` or `dead`.
    pub state: String,
    /// How often it was tried.
    pub tries: i64,
    /// When it is sent next, epoch milliseconds, or [`BEHIND`]; of no meaning once it is delivered or dead.
    pub due_ms: i64,
    /// The last try, epoch milliseconds.
    pub tried_at_ms: Option<i64>,
    /// Status of its answer, 0 for none.
    pub status: i64,
    /// How it ended, in a word.
    pub outcome: String,
}

/// Which deliveries of a receiver are asked for, newest first; an empty text asks for all.
#[derive(Debug, Clone, Copy)]
pub struct AskedDeliveries<'a> {
    /// The receiver.
    pub receiver: &'a str,
    /// The state.
    pub state: &'a str,
    /// Only messages before this one.
    pub before: &'a str,
    /// At most so many.
    pub limit: i64,
}

/// What waits to be sent to one receiver.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Backlog {
    /// Its id.
    pub receiver: String,
    /// How many deliveries.
    pub pending: i64,
    /// Id of the oldest message among them.
    pub oldest: String,
}

/// One step of a [`super::Change`] that concerns what is told to the outside. None needs an audit entry of its own.
#[derive(Debug, Clone)]
pub enum OutgoingWrite {
    /// Takes rows from the outbox and writes their deliveries. Rows that nobody receives are gone. `Stale("outbox")` where
    /// one is not there any more, `Stale("records")` unless the receivers are those that were read.
    FanOut {
        /// The rows, as they were read.
        rows: Vec<Queued>,
        /// Who receives what of them.
        deliveries: Vec<FannedOut>,
        /// Kind, id and version of every receiver.
        receivers: Vec<(String, String, i64)>,
        /// From when they may be sent, epoch milliseconds.
        now_ms: i64,
    },
    /// Claims deliveries that are due, each the earliest pending one of its key, unless the receiver is not to be sent
    /// anything yet. Where another was faster it has no effect on that one.
    Take {
        /// Id of the receiver.
        receiver: String,
        /// Unique.
        claim: String,
        /// Now, epoch milliseconds.
        now_ms: i64,
        /// When the claim ends, epoch milliseconds: they are due again.
        until_ms: i64,
        /// At most so many.
        limit: i64,
    },
    /// Notes how tries ended. One that came through counts whoever holds the delivery, the others only for who claimed it.
    /// What waited behind one that ended is due.
    Settle {
        /// The tries.
        tries: Vec<Settled>,
        /// What they show of their receivers.
        shown: Vec<Shown>,
    },
    /// Makes deliveries pending again and due at once, with no tries behind them: those that are dead or wait, and those
    /// that came through if asked for. `Stale("deliveries")` if there is none.
    Replay {
        /// Id of the receiver.
        receiver: String,
        /// From this message on.
        from: String,
        /// Before this one.
        to: String,
        /// Those that came through too.
        delivered: bool,
        /// Now, epoch milliseconds.
        now_ms: i64,
    },
    /// What waits behind nothing is due from now on, epoch milliseconds: the one before it may have been let go.
    Mend(i64),
    /// Nothing that waits for the receiver is tried again, for a reason in a word.
    Bury {
        /// Id of the receiver.
        receiver: String,
        /// Why.
        outcome: &'static str,
    },
    /// The receiver said of a message that it cannot take it: not tried again, for a reason in a word. Where it is not
    /// pending any more it has no effect.
    Refuse {
        /// Id of the receiver.
        receiver: String,
        /// Id of the message.
        message: String,
        /// Why.
        outcome: &'static str,
        /// When, epoch milliseconds.
        at_ms: i64,
    },
    /// The receiver is not told of a subject any more, or is told again. `NoSuchSubject` unless it is active.
    Mute {
        /// Id of the receiver.
        receiver: String,
        /// The subject.
        subject: String,
        /// Whether it is not told.
        muted: bool,
    },
    /// The receiver is told of every subject again.
    Unmute(String),
    /// What is known of how the receiver answers is over.
    Anew(String),
    /// The receiver's record is gone, and what there was for it; `Stale("records")` unless it is at that version.
    Drop {
        /// Kind of its record.
        kind: &'static str,
        /// Its id.
        id: String,
        /// The version that was read.
        expected: i64,
    },
}

impl OutgoingWrite {
    pub(super) fn table(&self) -> &'static str {
        match self {
            Self::FanOut { .. } => "messages",
            Self::Anew(_) => "receivers",
            Self::Mute { .. } | Self::Unmute(_) => "muted",
            _ => "deliveries",
        }
    }
}

/// Reads of what is told to the outside.
#[async_trait]
pub trait OutgoingStore: Send + Sync + 'static {
    /// Rows of the outbox, oldest first.
    async fn outbox(&self, limit: i64) -> Result<Vec<Queued>, StoreError>;
    /// Whether something may be sent to the receiver at an instant; it may also wait behind something earlier.
    async fn is_due(&self, receiver: &str, now_ms: i64) -> Result<bool, StoreError>;
    /// What was claimed by [`OutgoingWrite::Take`], in order.
    async fn taken(&self, claim: &str) -> Result<Vec<Outgoing>, StoreError>;
    /// What waits for a receiver to fetch it, in order, of each key the earliest alone; and how much waits in all.
    async fn waiting_for(&self, receiver: &str, limit: i64) -> Result<(Vec<Outgoing>, i64), StoreError>;
    /// Whether the receiver asked not to be told of a subject.
    async fn is_muted(&self, receiver: &str, subject: &str) -> Result<bool, StoreError>;
    /// The receivers that asked not to be told of a subject, in order.
    async fn muted_by(&self, subject: &str) -> Result<Vec<String>, StoreError>;
    /// How receivers answer, those of which there is something to know.
    async fn receivers(&self) -> Result<Vec<StoredReceiver>, StoreError>;
    /// Deliveries of one receiver.
    async fn deliveries(&self, asked: AskedDeliveries<'_>) -> Result<Vec<StoredDelivery>, StoreError>;
    /// How many deliveries [`OutgoingWrite::Replay`] would make pending.
    async fn replayable(&self, receiver: &str, from: &str, to: &str, delivered: bool) -> Result<i64, StoreError>;
    /// What waits in the outbox: how many rows, and the oldest one's id (empty for none).
    async fn outbox_backlog(&self) -> Result<(i64, String), StoreError>;
    /// What waits to be sent, by receiver.
    async fn backlog(&self) -> Result<Vec<Backlog>, StoreError>;
    /// Id and type of messages under a key, oldest first, at most 1,000.
    async fn messages_of(&self, key: &str) -> Result<Vec<(String, String)>, StoreError>;
}

/// Rows as the JSON parameter of one statement.
pub(super) fn as_json(rows: &impl Serialize) -> Result<String, Undo> {
    serde_json::to_string(rows).map_err(|error| Undo::Failed(sqlx::Error::Encode(error.into())))
}

/// Run inside a transaction like the writes of `sql.rs`. `$rows` names the elements of a JSON array as rows with a column
/// `value`.
macro_rules! implement_outgoing_writes {
    ($connection:ty, $rows:literal, $lock:literal) => {
        async fn outgoing(conn: &mut $connection, write: &OutgoingWrite) -> Result<(), Undo> {
            match write {
                OutgoingWrite::FanOut { rows, deliveries, receivers, now_ms } => {
                    fan_out(conn, rows, deliveries, receivers, *now_ms).await
                }
                OutgoingWrite::Take { receiver, claim, now_ms, until_ms, limit } => {
                    sqlx::query(
                        "UPDATE deliveries SET claim = $2, due_ms = $4
                         WHERE receiver = $1 AND state = 'pending' AND due_ms <= $3 AND message IN (
                             SELECT message FROM deliveries AS d
                             WHERE d.receiver = $1 AND d.state = 'pending' AND d.due_ms <= $3
                                 AND NOT EXISTS (SELECT 1 FROM deliveries AS e WHERE e.receiver = $1
                                     AND e.key = d.key AND e.state = 'pending' AND e.position < d.position)
                                 AND NOT EXISTS (SELECT 1 FROM receivers AS r WHERE r.id = $1 AND r.not_before_ms > $3)
                             ORDER BY d.due_ms, d.position LIMIT $5)",
                    )
                    .bind(receiver)
                    .bind(claim)
                    .bind(now_ms)
                    .bind(until_ms)
                    .bind((*limit).max(0))
                    .execute(conn)
                    .await?;
                    Ok(())
                }
                OutgoingWrite::Settle { tries, shown } => settle(conn, tries, shown).await,
                OutgoingWrite::Replay { receiver, from, to, delivered, now_ms } => {
                    let done = sqlx::query(
                        "UPDATE deliveries SET state = 'pending', tries = 0, due_ms = $5, outcome = ''
                         WHERE receiver = $1 AND message >= $2 AND message < $3 AND claim IS NULL
                             AND (state <> 'delivered' OR $4)",
                    )
                    .bind(receiver)
                    .bind(from)
                    .bind(to)
                    .bind(delivered)
                    .bind(now_ms)
                    .execute(conn)
                    .await?;
                    or_conflict(done.rows_affected(), Conflict::Stale("deliveries"))
                }
                OutgoingWrite::Mend(now_ms) => {
                    sqlx::query(
                        "UPDATE deliveries SET due_ms = $1
                         WHERE state = 'pending' AND due_ms = $2 AND NOT EXISTS (SELECT 1 FROM deliveries AS e
                             WHERE e.receiver = deliveries.receiver AND e.key = deliveries.key
                                 AND e.state = 'pending' AND e.position < deliveries.position)",
                    )
                    .bind(now_ms)
                    .bind(outgoing::BEHIND)
                    .execute(conn)
                    .await?;
                    Ok(())
                }
                OutgoingWrite::Bury { receiver, outcome } => {
                    sqlx::query(
                        "UPDATE deliveries SET state = 'dead', claim = NULL, outcome = $2
                         WHERE receiver = $1 AND state = 'pending'",
                    )
                    .bind(receiver)
                    .bind(outcome)
                    .execute(conn)
                    .await?;
                    Ok(())
                }
                OutgoingWrite::Refuse { receiver, message, outcome, at_ms } => {
                    sqlx::query(
                        "UPDATE deliveries SET state = 'dead', claim = NULL, tries = tries + 1, tried_at_ms = $4,
                             outcome = $3
                         WHERE receiver = $1 AND message = $2 AND state = 'pending'",
                    )
                    .bind(receiver)
                    .bind(message)
                    .bind(outcome)
                    .bind(at_ms)
                    .execute(conn)
                    .await?;
                    Ok(())
                }
                OutgoingWrite::Mute { receiver, subject, muted: true } => {
                    match lock(conn, subject).await? {
                        Some((_, true)) => {}
                        _ => return Err(Conflict::NoSuchSubject.into()),
                    }
                    sqlx::query("INSERT INTO muted (receiver, subject) VALUES ($1, $2) ON CONFLICT DO NOTHING")
                        .bind(receiver)
                        .bind(subject)
                        .execute(conn)
                        .await?;
                    Ok(())
                }
                OutgoingWrite::Mute { receiver, subject, muted: false } => {
                    sqlx::query("DELETE FROM muted WHERE receiver = $1 AND subject = $2")
                        .bind(receiver)
                        .bind(subject)
                        .execute(conn)
                        .await?;
                    Ok(())
                }
                OutgoingWrite::Unmute(receiver) => {
                    sqlx::query("DELETE FROM muted WHERE receiver = $1").bind(receiver).execute(conn).await?;
                    Ok(())
                }
                OutgoingWrite::Anew(receiver) => {
                    sqlx::query("DELETE FROM receivers WHERE id = $1").bind(receiver).execute(conn).await?;
                    Ok(())
                }
                OutgoingWrite::Drop { kind, id, expected } => {
                    let done = sqlx::query("DELETE FROM records WHERE kind = $1 AND id = $2 AND version = $3")
                        .bind(kind)
                        .bind(id)
                        .bind(expected)
                        .execute(&mut *conn)
                        .await?;
                    or_conflict(done.rows_affected(), Conflict::Stale("records"))?;
                    sqlx::query("DELETE FROM receivers WHERE id = $1").bind(id).execute(&mut *conn).await?;
                    sqlx::query("DELETE FROM deliveries WHERE receiver = $1").bind(id).execute(conn).await?;
                    Ok(())
                }
            }
        }

        async fn fan_out(
            conn: &mut $connection,
            rows: &[Queued],
            deliveries: &[FannedOut],
            receivers: &[(String, String, i64)],
            now_ms: i64,
        ) -> Result<(), Undo> {
            let places: Vec<[i64; 1]> = rows.iter().map(|row| [row.position]).collect();
            let done = sqlx::query(concat!(
                "DELETE FROM outbox WHERE position IN (SELECT CAST(value ->> 0 AS BIGINT) FROM ",
                $rows,
                ")",
            ))
            .bind(outgoing::as_json(&places)?)
            .execute(&mut *conn)
            .await?;
            if usize::try_from(done.rows_affected()) != Ok(rows.len()) {
                return Err(Conflict::Stale("outbox").into());
            }
            let kinds: Vec<[&str; 1]> = outgoing::RECEIVER_KINDS.iter().map(|kind| [*kind]).collect();
            let found: Vec<(String, String, i64)> = sqlx::query_as(concat!(
                "SELECT kind, id, version FROM records WHERE kind IN (SELECT value ->> 0 FROM ",
                $rows,
                ") ORDER BY kind, id",
            ))
            .bind(outgoing::as_json(&kinds)?)
            .fetch_all(&mut *conn)
            .await?;
            if found != receivers {
                return Err(Conflict::Stale("records").into());
            }
            let mut by_place: std::collections::HashMap<i64, Vec<&FannedOut>> = std::collections::HashMap::new();
            for delivery in deliveries {
                by_place.entry(delivery.position).or_default().push(delivery);
            }
            let wanted = rows.iter().filter(|row| by_place.contains_key(&row.position));
            let messages: Vec<_> = wanted.map(|row| (&row.id, &row.topic, &row.key, &row.body)).collect();
            if messages.is_empty() {
                return Ok(());
            }
            sqlx::query(concat!(
                "INSERT INTO messages (id, topic, key, body)
                 SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3 FROM ",
                $rows,
            ))
            .bind(outgoing::as_json(&messages)?)
            .execute(&mut *conn)
            .await?;
            let (mut all, mut seen) = (Vec::new(), std::collections::HashSet::new());
            for row in rows {
                for to in by_place.get(&row.position).into_iter().flatten() {
                    let (state, why) = to.dead.map_or(("pending", ""), |why| ("dead", why));
                    let first = if seen.insert((&to.receiver, &row.key)) { "first" } else { "" };
                    all.push((&to.receiver, &row.id, to.kind, row.position, &row.key, state, why, first));
                }
            }
            // Whoever ends what these wait behind does so before or after this commit: then the statements see each other.
            sqlx::query(concat!(
                "SELECT message FROM deliveries WHERE claim IS NOT NULL AND (receiver, key) IN
                     (SELECT value ->> 0, value ->> 4 FROM ",
                $rows,
                ")",
                $lock,
            ))
            .bind(outgoing::as_json(&all)?)
            .execute(&mut *conn)
            .await?;
            sqlx::query(concat!(
                "INSERT INTO deliveries
                     (receiver, message, kind, position, key, state, tries, due_ms, status, outcome)
                 SELECT value ->> 0, value ->> 1, value ->> 2, CAST(value ->> 3 AS BIGINT), value ->> 4, value ->> 5,
                     0, CASE WHEN value ->> 7 = 'first' AND NOT EXISTS (SELECT 1 FROM deliveries AS p
                             WHERE p.receiver = value ->> 0 AND p.key = value ->> 4 AND p.state = 'pending')
                         THEN $2 ELSE $3 END,
                     0, value ->> 6
                 FROM ",
                $rows,
            ))
            .bind(outgoing::as_json(&all)?)
            .bind(now_ms)
            .bind(outgoing::BEHIND)
            .execute(conn)
            .await?;
            Ok(())
        }

        async fn settle(conn: &mut $connection, tries: &[Settled], shown: &[Shown]) -> Result<(), Undo> {
            let mut rows: Vec<_> = tries
                .iter()
                .map(|done| {
                    let (state, due_ms) = match done.ending {
                        Ending::Delivered => ("delivered", done.tried_at_ms),
                        Ending::Again(due_ms) => ("pending", due_ms),
                        Ending::Dead => ("dead", done.tried_at_ms),
                    };
                    (
                        &done.receiver,
                        &done.message,
                        &done.claim,
                        state,
                        due_ms,
                        done.tried_at_ms,
                        done.status,
                        done.outcome,
                    )
                })
                .collect();
            // In order: whoever settles the same at once waits in turn.
            rows.sort_unstable();
            sqlx::query(concat!(
                "UPDATE deliveries SET state = value ->> 3, tries = deliveries.tries + 1,
                     due_ms = CAST(value ->> 4 AS BIGINT), claim = NULL, tried_at_ms = CAST(value ->> 5 AS BIGINT),
                     status = CAST(value ->> 6 AS BIGINT), outcome = value ->> 7
                 FROM ",
                $rows,
                " WHERE deliveries.receiver = value ->> 0 AND deliveries.message = value ->> 1
                     AND ((deliveries.state = 'pending' AND deliveries.claim = value ->> 2)
                         OR (deliveries.state <> 'delivered' AND value ->> 3 = 'delivered'))",
            ))
            .bind(outgoing::as_json(&rows)?)
            .execute(&mut *conn)
            .await?;
            let now_ms = tries.iter().map(|done| done.tried_at_ms).max().unwrap_or(0);
            sqlx::query(concat!(
                "UPDATE deliveries SET due_ms = $2 WHERE state = 'pending' AND due_ms = $3 AND (receiver, message) IN
                     (SELECT d.receiver, (SELECT n.message FROM deliveries AS n
                             WHERE n.receiver = d.receiver AND n.key = d.key AND n.state = 'pending'
                             ORDER BY n.position LIMIT 1)
                      FROM ",
                $rows,
                " JOIN deliveries AS d ON d.receiver = value ->> 0 AND d.message = value ->> 1
                      WHERE d.state <> 'pending')",
            ))
            .bind(outgoing::as_json(&rows)?)
            .bind(now_ms)
            .bind(outgoing::BEHIND)
            .execute(&mut *conn)
            .await?;
            for Shown { receiver, came_through } in shown {
                sqlx::query(
                    "INSERT INTO receivers AS r (id, failures, failing_since_ms, not_before_ms)
                     VALUES ($1, $2, $3, $4)
                     ON CONFLICT (id) DO UPDATE SET
                         failures = CASE WHEN $5 THEN $2 ELSE r.failures + $2 END,
                         failing_since_ms = CASE WHEN $5 THEN $3 ELSE COALESCE(r.failing_since_ms, $3) END,
                         not_before_ms = CASE WHEN $5 OR $4 > r.not_before_ms THEN $4 ELSE r.not_before_ms END",
                )
                .bind(&receiver.id)
                .bind(receiver.failures)
                .bind(receiver.failing_since_ms)
                .bind(receiver.not_before_ms)
                .bind(came_through)
                .execute(&mut *conn)
                .await?;
            }
            Ok(())
        }
    };
}
pub(super) use implement_outgoing_writes;

/// The [`OutgoingStore`] of a type with a pool `readers`.
macro_rules! implement_outgoing_reads {
    ($store:ty, $database:ty) => {
        #[async_trait]
        impl OutgoingStore for $store {
            async fn outbox(&self, limit: i64) -> Result<Vec<Queued>, StoreError> {
                let rows = sqlx::query_as::<$database, Queued>(
                    "SELECT position, id, topic, key, body FROM outbox ORDER BY position LIMIT $1",
                )
                .bind(limit.max(0))
                .fetch_all(&self.readers)
                .await?;
                Ok(rows)
            }

            async fn is_due(&self, receiver: &str, now_ms: i64) -> Result<bool, StoreError> {
                let found = sqlx::query_scalar::<$database, String>(
                    "SELECT message FROM deliveries WHERE receiver = $1 AND state = 'pending' AND due_ms <= $2
                         AND NOT EXISTS (SELECT 1 FROM receivers AS r WHERE r.id = $1 AND r.not_before_ms > $2)
                     LIMIT 1",
                )
                .bind(receiver)
                .bind(now_ms)
                .fetch_optional(&self.readers)
                .await?;
                Ok(found.is_some())
            }

            async fn taken(&self, claim: &str) -> Result<Vec<Outgoing>, StoreError> {
                let rows = sqlx::query_as::<$database, Outgoing>(
                    "SELECT d.receiver, d.message, m.topic, m.key, m.body, d.tries, d.claim
                     FROM deliveries AS d JOIN messages AS m ON m.id = d.message
                     WHERE d.claim = $1 ORDER BY d.position",
                )
                .bind(claim)
                .fetch_all(&self.readers)
                .await?;
                Ok(rows)
            }

            async fn waiting_for(&self, receiver: &str, limit: i64) -> Result<(Vec<Outgoing>, i64), StoreError> {
                let rows = sqlx::query_as::<$database, Outgoing>(
                    "SELECT d.receiver, d.message, m.topic, m.key, m.body, d.tries, COALESCE(d.claim, '') AS claim
                     FROM deliveries AS d JOIN messages AS m ON m.id = d.message
                     WHERE d.receiver = $1 AND d.state = 'pending'
                         AND NOT EXISTS (SELECT 1 FROM deliveries AS e WHERE e.receiver = $1
                             AND e.key = d.key AND e.state = 'pending' AND e.position < d.position)
                     ORDER BY d.position LIMIT $2",
                )
                .bind(receiver)
                .bind(limit.max(0))
                .fetch_all(&self.readers)
                .await?;
                let all = sqlx::query_scalar::<$database, i64>(
                    "SELECT COUNT(*) FROM deliveries WHERE receiver = $1 AND state = 'pending'",
                )
                .bind(receiver)
                .fetch_one(&self.readers)
                .await?;
                Ok((rows, all))
            }

            async fn is_muted(&self, receiver: &str, subject: &str) -> Result<bool, StoreError> {
                let found = sqlx::query_scalar::<$database, String>(
                    "SELECT subject FROM muted WHERE receiver = $1 AND subject = $2",
                )
                .bind(receiver)
                .bind(subject)
                .fetch_optional(&self.readers)
                .await?;
                Ok(found.is_some())
            }

            async fn muted_by(&self, subject: &str) -> Result<Vec<String>, StoreError> {
                let rows = sqlx::query_scalar::<$database, String>(
                    "SELECT receiver FROM muted WHERE subject = $1 ORDER BY receiver",
                )
                .bind(subject)
                .fetch_all(&self.readers)
                .await?;
                Ok(rows)
            }

            async fn receivers(&self) -> Result<Vec<StoredReceiver>, StoreError> {
                let rows = sqlx::query_as::<$database, StoredReceiver>(
                    "SELECT id, failures, failing_since_ms, not_before_ms FROM receivers ORDER BY id",
                )
                .fetch_all(&self.readers)
                .await?;
                Ok(rows)
            }

            async fn deliveries(&self, asked: AskedDeliveries<'_>) -> Result<Vec<StoredDelivery>, StoreError> {
                let rows = sqlx::query_as::<$database, StoredDelivery>(
                    "SELECT d.message, m.topic, d.key, d.state, d.tries, d.due_ms, d.tried_at_ms, d.status, d.outcome
                     FROM deliveries AS d JOIN messages AS m ON m.id = d.message
                     WHERE d.receiver = $1 AND ($2 = '' OR d.state = $2) AND ($3 = '' OR d.message < $3)
                     ORDER BY d.message DESC LIMIT $4",
                )
                .bind(asked.receiver)
                .bind(asked.state)
                .bind(asked.before)
                .bind(asked.limit.max(0))
                .fetch_all(&self.readers)
                .await?;
                Ok(rows)
            }

            async fn replayable(
                &self,
                receiver: &str,
                from: &str,
                to: &str,
                delivered: bool,
            ) -> Result<i64, StoreError> {
                let count = sqlx::query_scalar::<$database, i64>(
                    "SELECT COUNT(*) FROM deliveries
                     WHERE receiver = $1 AND message >= $2 AND message < $3 AND claim IS NULL
                         AND (state <> 'delivered' OR $4)",
                )
                .bind(receiver)
                .bind(from)
                .bind(to)
                .bind(delivered)
                .fetch_one(&self.readers)
                .await?;
                Ok(count)
            }

            async fn outbox_backlog(&self) -> Result<(i64, String), StoreError> {
                let row = sqlx::query_as::<$database, (i64, String)>(
                    "SELECT COUNT(*), COALESCE((SELECT id FROM outbox ORDER BY position LIMIT 1), '') FROM outbox",
                )
                .fetch_one(&self.readers)
                .await?;
                Ok(row)
            }

            async fn backlog(&self) -> Result<Vec<Backlog>, StoreError> {
                let rows = sqlx::query_as::<$database, Backlog>(
                    "SELECT receiver, COUNT(*) AS pending, MIN(message) AS oldest
                     FROM deliveries WHERE state = 'pending' GROUP BY receiver ORDER BY receiver",
                )
                .fetch_all(&self.readers)
                .await?;
                Ok(rows)
            }

            async fn messages_of(&self, key: &str) -> Result<Vec<(String, String)>, StoreError> {
                let rows = sqlx::query_as::<$database, (String, String)>(
                    "SELECT id, topic FROM messages WHERE key = $1 ORDER BY id LIMIT 1000",
                )
                .bind(key)
                .fetch_all(&self.readers)
                .await?;
                Ok(rows)
            }
        }
    };
}
pub(super) use implement_outgoing_reads;
