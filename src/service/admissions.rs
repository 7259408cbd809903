//! Admissions: who was let in, when, by which gateway, under which decision.
//!
//! A check counts in memory and waits for nothing; a job writes what was counted a few seconds later, so a process that is
//! killed loses at most what it counted in the last ten seconds. Every batch has an id that is spent with it: one whose
//! commit was not heard of is tried again and counts once. The decision is recorded in the same commit, so that what an
//! admission rested on can be derived again.

mod reading;
mod upload;

pub use reading::{AdmissionView, Asked};
pub use upload::{Line, LineEndUser, MAX_LINES, Outcome, Reported, Upload, Uploaded};

use super::{Actor, App, ServiceError, ServiceResult};
use crate::crypto::sha256_hex;
use crate::storage::{Change, Conflict, StoredAdmission, Write};
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Notify;
use vouchsafe_core::Decision;
use vouchsafe_core::ids::SubjectId;
use vouchsafe_core::rules::Rules;

/// How often the job writes, seconds; with the commit itself it stays under the ten that are promised.
pub const PERIOD_SECS: u64 = 5;
/// Rows of one commit.
const ROUND: usize = 200;
/// Most rows in memory, those being written included: about 20 MB, and what decisions take that were never recorded. What
/// comes on top is let in and not counted.
const MOST_ROWS: usize = 50_000;
/// Each time there are so many rows more, the job does not wait for its time.
const MANY_ROWS: usize = 5_000;
/// How long the id of a batch is remembered, milliseconds: longer than any commit stays unheard of.
const BATCH_REMEMBERED_MS: i64 = 3_600_000;
/// Who spends the ids of our own batches.
const BATCHES: &str = "admissions";

const HOUR_MS: i64 = 3_600_000;
/// Checks of different decisions seldom wait for each other.
const SHARDS: usize = 32;

/// The first millisecond of an instant's hour.
fn hour_of(at_ms: i64) -> i64 {
    at_ms - at_ms.rem_euclid(HOUR_MS)
}

/// The id of a row: whatever counts the same thing, here or elsewhere, adds to the same row.
fn row_id(hour_ms: i64, about: [&str; 6]) -> String {
    // Ids, resources and names of gateways hold no line feed.
    let digest = sha256_hex(about.join("\n").as_bytes());
    format!("adm_{hour_ms:012x}{}", digest.get(..32).unwrap_or_default())
}

/// A decision with its rules, to be recorded.
type Unrecorded = (Arc<Decision>, Arc<Rules>);

/// What was counted of one decision at one gateway in one hour.
struct Tally {
    gateway: String,
    /// Of an end user, the organisation through which they came; else empty.
    through: String,
    hour_ms: i64,
    subject: String,
    acting_for: Option<String>,
    resource: String,
    count: i64,
    first_ms: i64,
    last_ms: i64,
    /// To be recorded with it, unless that was done.
    decision: Option<Unrecorded>,
}

impl Tally {
    fn is_of(&self, hour_ms: i64, gateway: &str, through: &str) -> bool {
        self.hour_ms == hour_ms && self.gateway == gateway && self.through == through
    }
}

/// Rows on their way into the store.
struct Batch {
    /// Counts once.
    id: String,
    rows: Vec<StoredAdmission>,
    decisions: Vec<Unrecorded>,
}

/// What was counted and is not written yet.
pub(crate) struct Ledger {
    /// By decision.
    shards: [Mutex<HashMap<String, Vec<Tally>>>; SHARDS],
    held: AtomicUsize,
    many: Notify,
    /// Only the one who writes holds it.
    batches: tokio::sync::Mutex<VecDeque<Batch>>,
}

impl Default for Ledger {
    fn default() -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::default()),
            held: AtomicUsize::new(0),
            many: Notify::new(),
            batches: tokio::sync::Mutex::default(),
        }
    }
}

impl Ledger {
    /// Counts one admission; `false` when there is no room. It waits for nobody but other counts of the same shard.
    fn count(
        &self,
        gateway: &str,
        decision: &Arc<Decision>,
        through: &str,
        now_ms: i64,
        unrecorded: impl FnOnce() -> Option<Arc<Rules>>,
    ) -> bool {
        let hour_ms = hour_of(now_ms);
        let place = decision.id.bytes().rev().take(2).fold(0, |sum, byte| sum * 31 + usize::from(byte)) % SHARDS;
        let Some(shard) = self.shards.get(place) else { return false };
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        let known = shard
            .get_mut(&decision.id)
            .and_then(|tallies| tallies.iter_mut().find(|tally| tally.is_of(hour_ms, gateway, through)));
        if let Some(tally) = known {
            tally.count += 1;
            tally.first_ms = tally.first_ms.min(now_ms);
            tally.last_ms = tally.last_ms.max(now_ms);
            return true;
        }
        let held = self.held.fetch_add(1, Ordering::Relaxed) + 1;
        if held > MOST_ROWS {
            self.held.fetch_sub(1, Ordering::Relaxed);
            return false;
        }
        shard.entry(decision.id.clone()).or_default().push(Tally {
            gateway: gateway.to_owned(),
            through: through.to_owned(),
            hour_ms,
            subject: decision.subject.clone(),
            acting_for: decision.acting_for.clone(),
            resource: decision.resource.clone(),
            count: 1,
            first_ms: now_ms,
            last_ms: now_ms,
            decision: unrecorded().map(|rules| (Arc::clone(decision), rules)),
        });
        if held.is_multiple_of(MANY_ROWS) {
            self.many.notify_one();
        }
        true
    }

    /// Takes out what was counted.
    fn take(&self) -> (Vec<StoredAdmission>, Vec<Unrecorded>) {
        let (mut rows, mut decisions) = (Vec::new(), Vec::new());
        for shard in &self.shards {
            let counted = std::mem::take(&mut *shard.lock().unwrap_or_else(PoisonError::into_inner));
            for (decision, tallies) in counted {
                for tally in tallies {
                    let acting_for = tally.acting_for.unwrap_or_default();
                    let about =
                        [&tally.subject, &acting_for, &tally.resource, &decision, &tally.gateway, &tally.through];
                    rows.push(StoredAdmission {
                        id: row_id(tally.hour_ms, about.map(String::as_str)),
                        subject: tally.subject,
                        acting_for,
                        resource: tally.resource,
                        decision: decision.clone(),
                        gateway: tally.gateway,
                        through: tally.through,
                        hour_ms: tally.hour_ms,
                        count: tally.count,
                        first_ms: tally.first_ms,
                        last_ms: tally.last_ms,
                    });
                    decisions.extend(tally.decision);
                }
            }
        }
        (rows, decisions)
    }
}

impl App {
    /// Counts an admission under a decision; of an end user with the organisation through which they came. Never refuses: what
    /// there is no room for is counted as lost.
    pub(crate) fn admitted(
        &self,
        gateway: &str,
        decision: &Arc<Decision>,
        rules: &Arc<Rules>,
        through: Option<&SubjectId>,
    ) {
        let unrecorded = || (!self.recorded.contains_key(&decision.id)).then(|| Arc::clone(rules));
        let through = through.map_or("", SubjectId::as_str);
        if !self.ledger.count(gateway, decision, through, self.clock.now_ms(), unrecorded) {
            metrics::counter!("vouchsafe_admissions_lost_total").increment(1);
        }
    }

    /// Completes when so much was counted that it should not wait for its time.
    pub async fn admissions_are_many(&self) {
        self.ledger.many.notified().await;
    }

    /// Writes what was counted up to now; called every few seconds and at the end. How many rows were written.
    ///
    /// # Errors
    /// When the store cannot write: what was counted stays in memory and is written the next time, once.
    pub async fn write_admissions(&self) -> ServiceResult<usize> {
        let mut batches = self.ledger.batches.lock().await;
        let (mut rows, mut decisions) = self.ledger.take();
        while !rows.is_empty() {
            let rows: Vec<_> = rows.drain(..rows.len().min(ROUND)).collect();
            let decisions = decisions.drain(..decisions.len().min(ROUND)).collect();
            batches.push_back(Batch { id: self.id("adb")?, rows, decisions });
        }
        let mut written = 0;
        while let Some(batch) = batches.front() {
            match self.commit_change(self.batch_change(batch)?).await? {
                // Spent: the commit that was not heard of was made.
                Ok(()) | Err(Conflict::Spent) => {}
                Err(_) => return Err(ServiceError::Conflict("admissions")),
            }
            for (decision, _) in &batch.decisions {
                self.recorded.insert(decision.id.clone(), ()).await;
            }
            written += batch.rows.len();
            self.ledger.held.fetch_sub(batch.rows.len(), Ordering::Relaxed);
            batches.pop_front();
        }
        self.write_contacts().await?;
        Ok(written)
    }

    fn batch_change(&self, batch: &Batch) -> ServiceResult<Change> {
        let expires_at_ms = self.clock.now_ms() + BATCH_REMEMBERED_MS;
        let mut writes = vec![
            Write::Spend { issuer: BATCHES.to_owned(), jti: batch.id.clone(), expires_at_ms },
            Write::Admissions(batch.rows.clone()),
        ];
        let mut audit = Vec::new();
        for (decision, rules) in &batch.decisions {
            let (write, entry) = self.recording(&Actor::system(), decision, rules)?;
            writes.push(write);
            audit.push(entry);
        }
        Ok(Change { writes, audit, feed: Vec::new(), outbox: Vec::new() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vouchsafe_core::facts::{SubjectFacts, SubjectKind};
    use vouchsafe_core::ids::ResourceId;
    use vouchsafe_core::rules::Library;
    use vouchsafe_core::{Second, decide};

    const HOUR: i64 = 497_222 * HOUR_MS;

    fn decision(subject: &str) -> (Arc<Decision>, Arc<Rules>) {
        let resource = ResourceId::parse("restricted.api").unwrap();
        let rules = Rules::compile(&Library::default(), &[], &resource, Second::from_millis(HOUR)).unwrap();
        let facts = SubjectFacts::new(SubjectId::parse(subject).unwrap(), SubjectKind::Person, Vec::new());
        (Arc::new(decide(&rules, &facts, Second::from_millis(HOUR))), Arc::new(rules))
    }

    #[test]
    fn one_decision_at_one_gateway_in_one_hour_is_one_row() {
        let ledger = Ledger::default();
        let (ada, rules) = decision("sub_ada");
        for (gateway, at_ms) in [
            ("gw_1", HOUR + 70),
            ("gw_1", HOUR),
            ("gw_1", HOUR + HOUR_MS - 1),
            ("gw_1", HOUR + HOUR_MS),
            ("gw_2", HOUR + 5),
        ] {
            assert!(ledger.count(gateway, &ada, "", at_ms, || Some(Arc::clone(&rules))));
        }
        let (mut rows, decisions) = ledger.take();
        rows.sort_by(|a, b| (a.hour_ms, &a.gateway).cmp(&(b.hour_ms, &b.gateway)));
        let seen: Vec<_> = rows.iter().map(|r| (r.gateway.as_str(), r.count, r.first_ms, r.last_ms)).collect();
        let expected = [
            ("gw_1", 3, HOUR, HOUR + HOUR_MS - 1),
            ("gw_2", 1, HOUR + 5, HOUR + 5),
            ("gw_1", 1, HOUR + HOUR_MS, HOUR + HOUR_MS),
        ];
        assert_eq!(seen, expected);
        assert_eq!(decisions.len(), 3, "each may be the only one that is written");
        assert!(rows.windows(2).all(|pair| pair[0].id != pair[1].id));
        assert!(ledger.take().0.is_empty());
    }

    #[test]
    fn what_there_is_no_room_for_is_said_and_the_rest_stays() {
        let ledger = Ledger::default();
        let (ada, _) = decision("sub_ada");
        ledger.held.store(MOST_ROWS - 1, Ordering::Relaxed);
        assert!(ledger.count("gw_1", &ada, "", HOUR, || None));
        assert!(!ledger.count("gw_2", &ada, "", HOUR, || None), "a row too many");
        assert!(ledger.count("gw_1", &ada, "", HOUR, || None), "a row that is there counts on");
        assert_eq!((ledger.take().0.len(), ledger.held.load(Ordering::Relaxed)), (1, MOST_ROWS));
    }
}
