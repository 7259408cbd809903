//! Group commit: one task takes everything that has queued up and commits it together.
//!
//! Submitters serialise their own row; the task joins the rows into one JSON parameter and makes one call per
//! batch. A reply is sent only after the commit.

use super::{AuditEntry, Basis, Conflict, Intent, NewAttestation, StoreError, StoredDecision, StoredToken, rows};
use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};

/// Most intents of one commit.
pub(super) const BATCH: usize = 512;
/// Queue length at which submitters wait.
const QUEUE: usize = 4096;
/// How long a submitter waits for its turn; what is older is refused. A lock that another process holds is waited for
/// once more by whoever has the turn, so an answer comes within twice this time.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often an intent that neither won nor met a conflict is tried again.
const TRIES: u8 = 3;
/// Digests of stored rules that are remembered; beyond it they are sent again.
const KNOWN_RULES: usize = 1024;

/// The two intents that are decided set-based.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Attestation,
    Token,
}

/// Whose fault a failed batch is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// One intent's: the others may still succeed alone.
    Intent,
    /// Nobody's (a deadlock): the same batch may succeed now.
    Passing,
    /// The database's: nothing will succeed now.
    Store,
}

/// What the database does for the batcher.
pub(super) trait Engine: Send + 'static {
    /// Work that is not batched but needs the same connection.
    type Task: Send + 'static;
    /// Commits what can be committed of `json` and returns ordinal and value of each row written. On an error
    /// nothing is written and no transaction is left open.
    fn write(&mut self, kind: Kind, json: &str) -> impl Future<Output = Result<Vec<(i64, i64)>, sqlx::Error>> + Send;
    /// Why rows were not written, by ordinal; `None` if nothing stands against a row any more.
    fn explain(
        &mut self,
        kind: Kind,
        json: &str,
    ) -> impl Future<Output = Result<Vec<(i64, Option<Conflict>)>, sqlx::Error>> + Send;
    /// Classifies an error of [`Engine::write`].
    fn fault(error: &sqlx::Error) -> Fault;
    /// Runs one task.
    fn run(&mut self, task: Self::Task) -> impl Future<Output = ()> + Send;
    /// Housekeeping that nobody waits for: called when those who waited have their answers.
    fn tidy(&mut self) -> impl Future<Output = ()> + Send;
    /// Called once, when the last submitter is gone and everything is answered.
    fn close(self) -> impl Future<Output = ()> + Send;
}

/// One submitted row.
struct Row {
    kind: Kind,
    /// Hashes of what two rows of one batch must not share; a collision costs a batch, nothing else.
    keys: [u64; 3],
    element: String,
    rules: Option<(String, Arc<str>)>,
    tries: u8,
    since: Instant,
    reply: oneshot::Sender<Intent<i64>>,
}

enum Job<T> {
    Row(Row),
    Task(T, Instant),
}

/// The submitters' end; when the last one is dropped the batcher finishes what it has and ends.
pub(super) struct Queue<T> {
    sender: mpsc::Sender<Job<T>>,
}

fn key(parts: (&str, &str, &str)) -> u64 {
    let mut hasher = DefaultHasher::new();
    parts.hash(&mut hasher);
    hasher.finish()
}

fn gone() -> StoreError {
    StoreError::Unavailable("the writer has ended or was busy for too long".to_owned())
}

impl<T: Send + 'static> Queue<T> {
    /// Starts the batcher on `engine`.
    pub(super) fn start<E: Engine<Task = T>>(engine: E) -> Self {
        let (sender, inbox) = mpsc::channel(QUEUE);
        tokio::spawn(Batcher { engine, known: HashSet::new() }.run(inbox));
        Self { sender }
    }

    /// Runs a task in turn; `task` gets the sender of its answer.
    pub(super) async fn task<A>(&self, task: impl FnOnce(oneshot::Sender<A>) -> T) -> Result<A, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.sender.send(Job::Task(task(reply), Instant::now())).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())
    }

    /// See [`super::Store::record_attestation`].
    pub(super) async fn attestation(&self, new: NewAttestation) -> Intent<i64> {
        let keys = [
            key(("event", &new.source, &new.event)),
            key(("lineage", &new.source, &new.lineage)),
            // One version number each: two statements about one subject take turns.
            key(("subject", &new.subject, "")),
        ];
        let element = rows::attestation(&new)?;
        self.row(Kind::Attestation, keys, element, None).await
    }

    /// See [`super::Store::record_token`].
    pub(super) async fn token(
        &self,
        token: &StoredToken,
        decision: &StoredDecision,
        basis: Basis,
        rules: Arc<str>,
        audit: &AuditEntry,
    ) -> Intent<()> {
        let taken = key(("jti", &token.jti, ""));
        let element = rows::token(token, decision, &basis, audit)?;
        let rules = Some((decision.rules_digest.clone(), rules));
        let answer = self.row(Kind::Token, [taken; 3], element, rules).await?;
        Ok(answer.map(|_| ()))
    }

    async fn row(&self, kind: Kind, keys: [u64; 3], element: String, rules: Option<(String, Arc<str>)>) -> Intent<i64> {
        let (reply, answer) = oneshot::channel();
        let row = Row { kind, keys, element, rules, tries: 0, since: Instant::now(), reply };
        self.sender.send(Job::Row(row)).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

struct Batcher<E> {
    engine: E,
    /// Digests of rules that are certainly stored: a token need not carry the text again.
    known: HashSet<String>,
}

impl<E: Engine> Batcher<E> {
    async fn run(mut self, mut inbox: mpsc::Receiver<Job<E::Task>>) {
        let mut waiting: Vec<Row> = Vec::new();
        let mut jobs = Vec::with_capacity(BATCH);
        loop {
            // Whoever is ready comes before the batch is closed: one commit of many costs hardly more than of one.
            tokio::task::yield_now().await;
            if waiting.is_empty() {
                if inbox.recv_many(&mut jobs, BATCH).await == 0 {
                    break;
                }
            } else {
                while waiting.len() + jobs.len() < BATCH
                    && let Ok(job) = inbox.try_recv()
                {
                    jobs.push(job);
                }
            }
            let mut rows = std::mem::take(&mut waiting);
            let mut tasks = Vec::new();
            for job in jobs.drain(..) {
                match job {
                    Job::Row(row) => rows.push(row),
                    Job::Task(task, since) => tasks.push((task, since)),
                }
            }
            // Dropping the sender of its answer refuses it.
            rows.retain(|row| row.since.elapsed() < PATIENCE);
            let (batch, later) = compatible(rows);
            waiting = later;
            let (attestations, tokens) = batch.into_iter().partition(|row| row.kind == Kind::Attestation);
            waiting.extend(self.settle(Kind::Attestation, attestations).await);
            waiting.extend(self.settle(Kind::Token, tokens).await);
            for (task, since) in tasks {
                if since.elapsed() < PATIENCE {
                    self.engine.run(task).await;
                }
            }
            self.engine.tidy().await;
        }
        self.engine.close().await;
    }

    /// Commits `rows` together, or one by one if one of them spoils it; returns those to be tried again.
    async fn settle(&mut self, kind: Kind, rows: Vec<Row>) -> Vec<Row> {
        if rows.is_empty() {
            return rows;
        }
        match self.attempt(kind, &rows).await {
            Ok(written) => self.answer(kind, rows, written).await,
            Err(error) if rows.len() > 1 && E::fault(&error) == Fault::Intent => {
                tracing::warn!(rows = rows.len(), %error, "batch undone, running its intents one by one");
                let mut again = Vec::new();
                for row in rows {
                    let row = vec![row];
                    match self.attempt(kind, &row).await {
                        Ok(written) => again.extend(self.answer(kind, row, written).await),
                        Err(error) => self.failed(kind, row, error).await,
                    }
                }
                again
            }
            Err(error) => {
                self.failed(kind, rows, error).await;
                Vec::new()
            }
        }
    }

    async fn attempt(&mut self, kind: Kind, rows: &[Row]) -> Result<Vec<(i64, i64)>, sqlx::Error> {
        for _ in 1..TRIES {
            match self.attempt_once(kind, rows).await {
                Err(error) if E::fault(&error) == Fault::Passing => {}
                outcome => return outcome,
            }
        }
        self.attempt_once(kind, rows).await
    }

    async fn attempt_once(&mut self, kind: Kind, rows: &[Row]) -> Result<Vec<(i64, i64)>, sqlx::Error> {
        let mut digests = Vec::new();
        let json = match kind {
            Kind::Attestation => array(rows),
            Kind::Token => {
                let mut rules: HashMap<&str, &str> = HashMap::new();
                for (digest, body) in rows.iter().filter_map(|row| row.rules.as_ref()) {
                    if !self.known.contains(digest) && rules.insert(digest, body).is_none() {
                        digests.push(digest.clone());
                    }
                }
                let rules = serde_json::to_string(&rules).map_err(|error| sqlx::Error::Encode(error.into()))?;
                format!("{{\"rules\":{rules},\"rows\":{}}}", array(rows))
            }
        };
        let outcome = self.engine.write(kind, &json).await;
        if outcome.is_ok() && self.known.len() + digests.len() <= KNOWN_RULES {
            self.known.extend(digests);
        } else {
            self.known.clear();
        }
        outcome
    }

    /// Tells winners their value and losers their conflict.
    async fn answer(&mut self, kind: Kind, rows: Vec<Row>, written: Vec<(i64, i64)>) -> Vec<Row> {
        let written: HashMap<i64, i64> = written.into_iter().collect();
        let mut lost = Vec::new();
        for (ordinal, row) in (0..).zip(rows) {
            match written.get(&ordinal) {
                // A submitter that no longer listens changes nothing: the row is committed.
                Some(value) => drop(row.reply.send(Ok(Ok(*value)))),
                None => lost.push(row),
            }
        }
        if lost.is_empty() {
            return lost;
        }
        let reasons = match self.engine.explain(kind, &array(&lost)).await {
            Ok(reasons) => reasons,
            Err(error) => {
                refuse(lost, &error);
                return Vec::new();
            }
        };
        let mut reasons: HashMap<i64, Option<Conflict>> = reasons.into_iter().collect();
        let mut again = Vec::new();
        for (ordinal, mut row) in (0..).zip(lost) {
            match reasons.remove(&ordinal).flatten() {
                Some(conflict) => drop(row.reply.send(Ok(Err(conflict)))),
                None if row.tries < TRIES => {
                    row.tries += 1;
                    again.push(row);
                }
                None => drop(row.reply.send(Err(StoreError::Unavailable("too many lost races".to_owned())))),
            }
        }
        again
    }

    /// A single row that broke a uniqueness rule gets its conflict, everything else the error.
    async fn failed(&mut self, kind: Kind, rows: Vec<Row>, error: sqlx::Error) {
        if rows.len() == 1
            && E::fault(&error) == Fault::Intent
            && let Ok(reasons) = self.engine.explain(kind, &array(&rows)).await
            && let Some((_, Some(conflict))) = reasons.into_iter().next()
        {
            for row in rows {
                drop(row.reply.send(Ok(Err(conflict.clone()))));
            }
            return;
        }
        refuse(rows, &error);
    }
}

fn refuse(rows: Vec<Row>, error: &sqlx::Error) {
    for row in rows {
        drop(row.reply.send(Err(StoreError::Unavailable(error.to_string()))));
    }
}

fn array(rows: &[Row]) -> String {
    let mut json = String::with_capacity(rows.iter().map(|row| row.element.len() + 1).sum::<usize>() + 2);
    json.push('[');
    for (index, row) in rows.iter().enumerate() {
        if index > 0 {
            json.push(',');
        }
        json.push_str(&row.element);
    }
    json.push(']');
    json
}

/// Splits off the rows that share a key with an earlier one; those wait for the next batch.
fn compatible(rows: Vec<Row>) -> (Vec<Row>, Vec<Row>) {
    let mut seen = HashSet::with_capacity(rows.len() * 3);
    rows.into_iter().partition(|row| {
        let free = row.keys.iter().all(|key| !seen.contains(key));
        // A row that waits holds its keys too, so that a third one cannot overtake it.
        seen.extend(row.keys);
        free
    })
}

impl Conflict {
    /// The first conflict, in the order of the contract, of an attestation that was not written.
    pub(super) fn of_attestation(
        duplicate: Option<String>,
        subject: bool,
        overtaken: bool,
        taken: bool,
    ) -> Option<Self> {
        match (duplicate, subject, overtaken, taken) {
            (Some(attestation), ..) => Some(Self::DuplicateEvent { attestation }),
            (_, false, ..) => Some(Self::NoSuchSubject),
            (_, _, true, _) => Some(Self::Overtaken),
            (_, _, _, true) => Some(Self::Exists("attestations")),
            _ => None,
        }
    }

    /// The conflict of a token that was not written.
    pub(super) fn of_token(taken: bool, subject: bool, fresh: bool, over: bool) -> Option<Self> {
        match (taken, subject, fresh, over) {
            (true, ..) => Some(Self::Exists("tokens")),
            (_, false, ..) => Some(Self::NoSuchSubject),
            (.., true) => Some(Self::Spent),
            (_, _, false, _) => Some(Self::Stale("subjects")),
            _ => None,
        }
    }
}
