//! What a gate counted, handed in at the ledger of the Vouchsafe whose tokens it judges.

use super::{Admission, EndUser, Reporter, Settings};
use crate::fetch::{FetchError, Fetcher};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Most lines of one upload; the service takes no more.
const MOST_LINES: usize = 500;
/// Most lines held while the service does not answer; what comes on top is lost, and counted.
const MOST_HELD: usize = 100_000;
/// How often it looks whether something waits.
const PACE: Duration = Duration::from_secs(1);
/// How often it is heard of though nothing waits.
const SIGN_OF_LIFE: Duration = Duration::from_secs(30);
/// Longest answer read, in bytes.
const MOST_BYTES: usize = 1024 * 1024;

/// A [`Reporter`] that uploads to `POST /v1/admissions`, each upload under an id of its own and until it is answered, so
/// that everything counts once. It also tells which orders stand in the status lists that the gate judges by.
pub struct Uploader {
    fetcher: Fetcher,
    url: String,
    key: String,
    agent: String,
    /// Unlike that of any other process.
    prefix: String,
    waiting: Mutex<Waiting>,
    lost: AtomicU64,
    refused: AtomicU64,
    /// One sends at a time.
    sending: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Waiting {
    uploads: VecDeque<(String, Vec<Admission>)>,
    held: usize,
    next: u64,
    orders: Option<String>,
}

impl std::fmt::Debug for Uploader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Uploader(to {})", self.url)
    }
}

impl Uploader {
    /// One for a gate of these settings, by the gateway's key (`gw_….secret`); `agent` is what the gateway calls itself.
    ///
    /// # Errors
    /// When TLS cannot be set up, or the issuer may not be asked.
    pub fn new(settings: &Settings, key: &str, agent: &str) -> Result<Self, FetchError> {
        let fetcher = Fetcher::new(settings.reach)?;
        let url = format!("{}/v1/admissions", settings.issuer);
        fetcher.check(&url)?;
        Ok(Self {
            fetcher,
            url,
            key: key.to_owned(),
            agent: agent.to_owned(),
            prefix: format!("{:016x}{:016x}", RandomState::new().hash_one(0), RandomState::new().hash_one(1)),
            waiting: Mutex::default(),
            lost: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            sending: tokio::sync::Mutex::default(),
        })
    }

    /// Uploads what waits, for as long as it is polled.
    pub async fn run(self: Arc<Self>) {
        let mut told: Option<tokio::time::Instant> = None;
        loop {
            let is_quiet = told.is_none_or(|at| at.elapsed() >= SIGN_OF_LIFE);
            if is_quiet {
                self.sign_of_life();
            }
            if matches!(self.send().await, Ok(sent) if sent > 0) {
                told = Some(tokio::time::Instant::now());
            }
            tokio::time::sleep(PACE).await;
        }
    }

    /// Uploads what waits; how many uploads were answered. Before the process ends, after the gate's last report.
    ///
    /// # Errors
    /// When one was not answered: it waits on, and all behind it.
    pub async fn send(&self) -> Result<usize, FetchError> {
        let _alone = self.sending.lock().await;
        let mut sent = 0;
        loop {
            let Some((id, body)) = self.first() else { return Ok(sent) };
            let (status, answer) = self.fetcher.post(&self.url, ("x-gateway-key", &self.key), body, MOST_BYTES).await?;
            let lines = match status {
                200 => {
                    let answer: Value = serde_json::from_slice(&answer).unwrap_or_default();
                    let items = answer.get("items").and_then(Value::as_array).into_iter().flatten();
                    let refused = items.filter(|item| item.get("result") == Some(&json!("refused"))).count();
                    self.refused.fetch_add(u64::try_from(refused).unwrap_or(u64::MAX), Ordering::Relaxed);
                    self.done(&id);
                    sent += 1;
                    continue;
                }
                // What cannot be used today cannot be used tomorrow; all else may pass.
                400 | 413 | 422 => self.done(&id),
                _ => return Err(FetchError::Answer { url: self.url.clone(), why: "takes no admissions now" }),
            };
            self.lost.fetch_add(u64::try_from(lines).unwrap_or(u64::MAX), Ordering::Relaxed);
        }
    }

    /// Lines that were lost: there was no room for them, or their upload could not be used.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Lines that the service could not place.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn first(&self) -> Option<(String, String)> {
        let waiting = self.waiting();
        let (id, lines) = waiting.uploads.front()?;
        let lines: Vec<Value> = lines
            .iter()
            .map(|line| {
                json!({ "subject": line.subject, "acting_for": line.acting_for, "resource": line.resource,
                    "decision": line.decision, "end_user": line.end_user.as_ref().map(told), "hour": line.hour, "count": line.count, "first_at": line.first_at,
                    "last_at": line.last_at })
            })
            .collect();
        let body = json!({ "upload": id, "admissions": lines, "seen": waiting.orders, "agent": self.agent });
        Some((id.clone(), body.to_string()))
    }

    /// The upload needs not be sent again; how many lines it had.
    fn done(&self, id: &str) -> usize {
        let mut waiting = self.waiting();
        if waiting.uploads.front().is_none_or(|(first, _)| first != id) {
            return 0;
        }
        let lines = waiting.uploads.pop_front().map_or(0, |(_, lines)| lines.len());
        waiting.held -= lines;
        lines
    }

    fn sign_of_life(&self) {
        let mut waiting = self.waiting();
        if waiting.uploads.is_empty() {
            self.push(&mut waiting, Vec::new());
        }
    }

    fn push(&self, waiting: &mut Waiting, lines: Vec<Admission>) {
        let id = format!("{}-{}", self.prefix, waiting.next);
        waiting.next += 1;
        waiting.held += lines.len();
        waiting.uploads.push_back((id, lines));
    }
}

fn told(end_user: &EndUser) -> Value {
    json!({ "subject": end_user.subject, "customer": end_user.customer, "decision": end_user.decision })
}

impl Reporter for Uploader {
    fn report(&self, mut admissions: Vec<Admission>) {
        let mut waiting = self.waiting();
        while !admissions.is_empty() {
            let rest = admissions.split_off(admissions.len().min(MOST_LINES));
            let lines = std::mem::replace(&mut admissions, rest);
            if waiting.held + lines.len() > MOST_HELD {
                self.lost.fetch_add(u64::try_from(lines.len()).unwrap_or(u64::MAX), Ordering::Relaxed);
            } else {
                self.push(&mut waiting, lines);
            }
        }
    }

    fn seen(&self, orders: &str) {
        self.waiting().orders = Some(orders.to_owned());
    }
}
