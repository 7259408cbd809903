//! Facts in memory: packed, filled on demand, bounded, following the commits.
//!
//! Correctness against a race of load and commit rests on generations: a commit raises the generation of its key after
//! it is durable; what is held is served only while its generation, read *before* its load began, is still the key's.
//! Decisions lately asked for are held beside the facts under every input they rest on: generation of the subject,
//! digest of the rules, and the span of instants in which nothing changes by itself.

use super::packed::{Packed, Shapes};
use super::parties::{Gathered, Seen};
use super::{ServiceError, ServiceResult};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use vouchsafe_core::facts::SubjectFacts;
use vouchsafe_core::ids::SubjectId;
use vouchsafe_core::rules::Rules;
use vouchsafe_core::{Decision, Second, decide};

const GENERATIONS: usize = 4096;

/// Bytes that an entry costs beside what it holds: key, counters, the cache's own books.
const OVERHEAD: usize = 160;

/// Decisions held.
const DECISIONS: u64 = 20_000;

/// What is held under a key.
enum Held {
    /// A subject's facts and what they were read at; `None` for a subject that does not exist or was erased.
    Facts(Option<(Packed, ReadAt)>),
    /// The subject behind a link; `None` for a link that does not exist.
    Link(Option<String>),
}

/// What a subject's facts were read at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadAt {
    /// The subject's version.
    pub version: i64,
    /// How many suspensions there had been, at least.
    pub suspensions: i64,
}

struct Entry {
    generation: u64,
    held: Held,
}

/// Of whom a decision is asked, and in which world.
pub(crate) struct Asked<'a> {
    pub(crate) subject: &'a SubjectId,
    pub(crate) acting_for: Option<&'a SubjectId>,
    /// How many organisations are registered.
    pub(crate) organisations: usize,
}

/// The versions that parties were read at; those that do not exist have none.
fn versions(parties: &[Seen]) -> Vec<(String, i64)> {
    parties.iter().filter_map(|seen| Some((seen.id.clone(), seen.version?))).collect()
}

struct HeldDecision {
    generation: u64,
    read_at: ReadAt,
    parties: Vec<Seen>,
    /// How many organisations were registered: a new one may be somebody's employer or owner.
    organisations: usize,
    rules: String,
    /// First instant at which it has to be computed again.
    until: Option<Second>,
    decision: Arc<Decision>,
}

/// The bounded index.
pub struct Index {
    entries: moka::future::Cache<String, Arc<Entry>>,
    decisions: moka::sync::Cache<(String, String, String), Arc<HeldDecision>>,
    shapes: Shapes,
    generations: Vec<AtomicU64>,
    hasher: RandomState,
}

impl std::fmt::Debug for Index {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Index({})", self.entries.entry_count())
    }
}

fn weight(key: &str, entry: &Entry) -> u32 {
    let held = match &entry.held {
        Held::Facts(packed) => packed.as_ref().map_or(0, |(packed, _)| packed.len()),
        Held::Link(subject) => subject.as_ref().map_or(0, String::len),
    };
    u32::try_from(key.len() + held + OVERHEAD).unwrap_or(u32::MAX)
}

impl Index {
    /// Holds subjects and links of at most `capacity` bytes.
    #[must_use]
    pub fn new(capacity: u64) -> Self {
        Self {
            entries: moka::future::Cache::builder()
                .max_capacity(capacity)
                .weigher(|key: &String, entry: &Arc<Entry>| weight(key, entry))
                .build(),
            decisions: moka::sync::Cache::new(DECISIONS),
            shapes: Shapes::default(),
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

    /// Nothing held is known to be current any more.
    pub fn invalidate_all(&self) {
        for generation in &self.generations {
            generation.fetch_add(1, Ordering::AcqRel);
        }
    }

    fn current(&self, key: &str) -> u64 {
        self.generation(key).map_or(0, |generation| generation.load(Ordering::Acquire))
    }

    /// The facts of a subject, read by `load` if they are missing or outdated.
    ///
    /// # Errors
    /// Whatever `load` gives: a store that cannot be read is never an answer.
    pub async fn facts<F, Fut>(&self, subject: &SubjectId, load: F) -> ServiceResult<Option<SubjectFacts>>
    where
        F: Fn() -> Fut,
        Fut: Future<Output = ServiceResult<Option<(SubjectFacts, ReadAt)>>>,
    {
        Ok(self.versioned(subject, load).await?.0.map(|(facts, _)| facts))
    }

    /// The decision at `now`, computed once until one of its instants passes or an input changes; `None` for a subject
    /// that does not exist. With it comes what it was read at.
    ///
    /// # Errors
    /// As [`Index::facts`].
    pub(crate) async fn decision<F, Fut>(
        &self,
        asked: &Asked<'_>,
        rules: &Rules,
        now: Second,
        gather: F,
    ) -> ServiceResult<Option<(Arc<Decision>, ReadAt, Vec<(String, i64)>)>>
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = ServiceResult<Option<Gathered>>>,
    {
        let acting_for = asked.acting_for.map_or("", SubjectId::as_str).to_owned();
        let key = (asked.subject.as_str().to_owned(), acting_for, rules.body.resource.as_str().to_owned());
        if let Some(held) = self.decisions.get(&key)
            && held.generation == self.current(asked.subject.as_str())
            && held.parties.iter().all(|seen| seen.generation == self.current(&seen.id))
            && held.organisations == asked.organisations
            && held.rules == rules.digest
            && held.decision.at <= now
            && held.until.is_none_or(|until| now < until)
        {
            return Ok(Some((Arc::clone(&held.decision), held.read_at, versions(&held.parties))));
        }
        let Some(Gathered { facts, read_at, generation, parties }) = gather().await? else { return Ok(None) };
        let decision = Arc::new(decide(rules, &facts, now));
        // SECURITY: what another replica's clock wrote a moment ahead of ours is in the facts already and not yet in the
        // decision; no commit will say again that it counts.
        let ahead = facts.all().flat_map(|a| a.marks.iter().map(|mark| mark.at).chain([a.recorded_at]));
        let until = ahead.filter(|at| *at > now).chain(decision.valid_until()).min();
        let read = versions(&parties);
        let held = HeldDecision {
            generation,
            read_at,
            parties,
            organisations: asked.organisations,
            rules: rules.digest.clone(),
            until,
            decision: Arc::clone(&decision),
        };
        self.decisions.insert(key, Arc::new(held));
        Ok(Some((decision, read_at, read)))
    }

    /// The subject behind a link.
    ///
    /// # Errors
    /// As [`Index::facts`].
    pub async fn link<F, Fut>(&self, key: &str, load: F) -> ServiceResult<Option<String>>
    where
        F: Fn() -> Fut,
        Fut: Future<Output = ServiceResult<Option<String>>>,
    {
        let entry = self.get(key, || async { Ok(Held::Link(load().await?)) }).await?;
        match &entry.held {
            Held::Link(subject) => Ok(subject.clone()),
            Held::Facts(_) => Err(ServiceError::Unreadable("index".to_owned())),
        }
    }

    /// The facts of a subject, what they were read at, and the generation of what is held of it.
    ///
    /// # Errors
    /// As [`Index::facts`].
    pub(crate) async fn versioned<F, Fut>(
        &self,
        subject: &SubjectId,
        load: F,
    ) -> ServiceResult<(Option<(SubjectFacts, ReadAt)>, u64)>
    where
        F: Fn() -> Fut,
        Fut: Future<Output = ServiceResult<Option<(SubjectFacts, ReadAt)>>>,
    {
        let pack = || async {
            let loaded = load().await?;
            Ok(Held::Facts(loaded.map(|(facts, read_at)| (Packed::pack(&facts, &self.shapes), read_at))))
        };
        let entry = self.get(subject.as_str(), pack).await?;
        let unreadable = || ServiceError::Unreadable("index".to_owned());
        let facts = match &entry.held {
            Held::Facts(None) => None,
            Held::Facts(Some((packed, read_at))) => {
                Some((packed.unpack(subject, &self.shapes).ok_or_else(unreadable)?, *read_at))
            }
            Held::Link(_) => return Err(unreadable()),
        };
        Ok((facts, entry.generation))
    }

    /// The entry under `key`. Concurrent misses of one key load once.
    async fn get<F, Fut>(&self, key: &str, load: F) -> ServiceResult<Arc<Entry>>
    where
        F: Fn() -> Fut,
        Fut: Future<Output = ServiceResult<Held>>,
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
                    Ok::<_, ServiceError>(Arc::new(Entry { generation, held: load().await? }))
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
