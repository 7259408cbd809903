//! Facts in memory: filled on demand, bounded, following the commits.
//!
//! Correctness against a race of load and commit rests on generations: a commit raises the generation of its key after it is
//! durable; an entry is served only while its generation, read *before* its load began, is still the key's.

use super::{ServiceError, ServiceResult};
use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use vouchsafe_core::facts::SubjectFacts;
use vouchsafe_core::rules::Rules;
use vouchsafe_core::{Decision, Second, decide};

const GENERATIONS: usize = 4096;

/// What the index knows of a subject, or of a link.
#[derive(Debug)]
pub struct Entry {
    generation: u64,
    /// The subject's facts; `None` for a subject that does not exist or was erased.
    pub facts: Option<SubjectFacts>,
    /// For links: the subject behind it.
    pub subject: Option<String>,
    /// Last decision per resource with the digest of its rules; recomputed when one of its instants has passed.
    decisions: Mutex<HashMap<String, (String, Arc<Decision>)>>,
}

/// The bounded index.
pub struct Index {
    entries: moka::future::Cache<String, Arc<Entry>>,
    generations: Vec<AtomicU64>,
    hasher: RandomState,
}

impl std::fmt::Debug for Index {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Index({})", self.entries.entry_count())
    }
}

impl Index {
    /// Holds at most `capacity` subjects and links.
    #[must_use]
    pub fn new(capacity: u64) -> Self {
        Self {
            entries: moka::future::Cache::new(capacity),
            generations: (0..GENERATIONS).map(|_| AtomicU64::new(0)).collect(),
            hasher: RandomState::new(),
        }
    }

    fn generation(&self, key: &str) -> Option<&AtomicU64> {
        let hash = self.hasher.hash_one(key);
        self.generations.get(usize::try_from(hash % GENERATIONS as u64).unwrap_or(0))
    }

    /// What is held under `key` is no longer current.
    pub fn invalidate(&self, key: &str) {
        if let Some(generation) = self.generation(key) {
            generation.fetch_add(1, Ordering::AcqRel);
        }
    }

    fn current(&self, key: &str) -> u64 {
        self.generation(key).map_or(0, |generation| generation.load(Ordering::Acquire))
    }

    /// The entry under `key`, loaded by `load` if it is missing or outdated. Concurrent misses of one key load once.
    ///
    /// # Errors
    /// Whatever `load` gives: a store that cannot be read is never an answer.
    pub async fn get<F, Fut>(&self, key: &str, load: F) -> ServiceResult<Arc<Entry>>
    where
        F: Fn() -> Fut,
        Fut: Future<Output = ServiceResult<(Option<SubjectFacts>, Option<String>)>>,
    {
        for _ in 0..16 {
            let generation = self.current(key);
            if let Some(entry) = self.entries.get(key).await {
                if entry.generation == generation {
                    return Ok(entry);
                }
                self.entries.remove(key).await;
            }
            let loaded = self
                .entries
                .try_get_with(key.to_owned(), async {
                    // Read before the load, inside the flight that performs it.
                    let generation = self.current(key);
                    let (facts, subject) = load().await?;
                    Ok::<_, ServiceError>(Arc::new(Entry { generation, facts, subject, decisions: Mutex::default() }))
                })
                .await;
            match loaded {
                Ok(entry) if entry.generation == self.current(key) => return Ok(entry),
                Ok(_) => {}
                Err(_) => return Err(ServiceError::Unavailable("store")),
            }
        }
        Err(ServiceError::Unavailable("index"))
    }
}

impl Entry {
    /// The decision at `now`, computed once until one of its instants passes or its inputs change.
    #[must_use]
    pub fn decide(&self, rules: &Rules, now: Second) -> Option<Arc<Decision>> {
        let facts = self.facts.as_ref()?;
        let mut held = self.decisions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((digest, decision)) = held.get(rules.body.resource.as_str())
            && *digest == rules.digest
            && decision.at <= now
            && decision.valid_until().is_none_or(|until| now < until)
        {
            return Some(Arc::clone(decision));
        }
        let decision = Arc::new(decide(rules, facts, now));
        if held.len() >= 64 {
            held.clear();
        }
        held.insert(rules.body.resource.to_string(), (rules.digest.clone(), Arc::clone(&decision)));
        Some(decision)
    }
}
