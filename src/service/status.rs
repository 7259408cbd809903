//! Status lists: what is known of every living token, for whoever verifies offline.
//!
//! Each token has a place of its own in a list of constant length, drawn at random from a block that this process reserved
//! in a commit of its own, ahead of need. No place is given twice: what a crash or an hour leaves of a block is lost.
//!
//! The statuses stand in memory and follow the change feed. A list is signed anew when something changed, at most once
//! a second, and otherwise in the first second of every fifth minute of the clock, the same for all replicas. While the
//! database does not answer nothing is signed: the last list is served until its end, then none.

use super::idempotency::bookkeeping;
use super::keys::{LEEWAY_MS, SKEW_MS};
use super::world::World;
use super::{Actor, App, ServiceError, ServiceResult};
use crate::crypto::{random, sha256_hex};
use crate::storage::{Change, FeedRow, StoredList, TokenPlace, Write};
use crate::token::keys::{Algorithm, Purpose, SigningKey};
use crate::token::status_list::{self, Bits, ENTRIES, Status};
use arc_swap::ArcSwapOption;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use vouchsafe_core::Second;
use vouchsafe_core::ids::ResourceId;

/// Places of one block.
const BLOCK: usize = 4096;
/// Blocks of one list.
const BLOCKS: usize = ENTRIES / BLOCK;
/// How long a block is drawn from, milliseconds.
const USED_MS: i64 = 3_600_000;
/// Blocks of one reservation at most.
const MOST_BLOCKS: usize = 64;
/// How often a reservation is tried while other replicas reserve too.
const TRIES: usize = 8;
/// Where nothing changed, lists are signed in the first second of every so many.
const SLOT_SECS: i64 = 300;
/// A picture older than this, in seconds, is not signed.
const STALE_SECS: i64 = 2;
/// Tokens read at once.
const PAGE: i64 = 5000;

/// Where the status of a token stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Number of the list.
    pub list: i64,
    /// Index in it.
    pub index: i64,
}

/// A list as it is served.
#[derive(Debug)]
pub struct Signed {
    /// Compact JWS.
    pub token: String,
    /// The same as gzip.
    pub gzip: Vec<u8>,
    /// SHA-256 of it, hex.
    pub digest: String,
    /// The first second at which it is good no more.
    pub exp: i64,
    iat: i64,
    kid: String,
}

#[derive(Debug)]
struct Content {
    bits: Bits,
    changed: bool,
}

#[derive(Debug)]
struct List {
    content: Mutex<Content>,
    signed: ArcSwapOption<Signed>,
}

impl List {
    fn new() -> Arc<Self> {
        let content = Mutex::new(Content { bits: Bits::new(ENTRIES), changed: false });
        Arc::new(Self { content, signed: ArcSwapOption::empty() })
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Places of a block that are still free, in the order in which they are given.
#[derive(Debug)]
struct Block {
    list: i64,
    until_ms: i64,
    free: Vec<i64>,
}

/// What the statuses were derived from beside revocations.
#[derive(Debug)]
struct Looked {
    world: Arc<World>,
    at: Second,
    tokens_since_ms: i64,
}

/// All lists that living tokens may stand in, and what this process may still give.
#[derive(Debug, Default)]
pub(crate) struct Board {
    lists: RwLock<BTreeMap<i64, Arc<List>>>,
    stock: Mutex<Vec<Block>>,
    reserving: tokio::sync::Mutex<()>,
    /// Places given since the last look at the stock.
    drawn: AtomicUsize,
    /// Wakes whoever tends the stock.
    low: tokio::sync::Notify,
    looked: Mutex<Option<Looked>>,
}

impl Board {
    fn list(&self, number: i64) -> Option<Arc<List>> {
        self.lists.read().unwrap_or_else(PoisonError::into_inner).get(&number).cloned()
    }

    fn all(&self) -> Vec<(i64, Arc<List>)> {
        let lists = self.lists.read().unwrap_or_else(PoisonError::into_inner);
        lists.iter().map(|(number, list)| (*number, Arc::clone(list))).collect()
    }

    fn stock(&self) -> MutexGuard<'_, Vec<Block>> {
        self.stock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next place, if there is one.
    fn take(&self, now_ms: i64) -> Option<Place> {
        let mut stock = self.stock();
        stock.retain(|block| now_ms < block.until_ms && !block.free.is_empty());
        let block = stock.first_mut()?;
        let place = Place { list: block.list, index: block.free.pop()? };
        if stock.iter().map(|block| block.free.len()).sum::<usize>() < BLOCK / 2 {
            self.low.notify_one();
        }
        self.drawn.fetch_add(1, Ordering::Relaxed);
        Some(place)
    }

    /// How many blocks have to be reserved so that there is enough for the time to come.
    fn wanted(&self, now_ms: i64) -> usize {
        let drawn = self.drawn.swap(0, Ordering::Relaxed);
        let lasting = now_ms + 60_000;
        let left: usize = self.stock().iter().filter(|block| lasting < block.until_ms).map(|b| b.free.len()).sum();
        let enough = BLOCK / 2 + drawn * 2;
        if left >= enough { 0 } else { (enough - left).div_ceil(BLOCK).min(MOST_BLOCKS) }
    }

    /// Notes that a token is revoked.
    pub(super) fn revoked(&self, token: &TokenPlace) {
        if let (Some(list), Ok(index)) = (self.list(token.list), usize::try_from(token.idx)) {
            let mut content = list.content();
            if content.bits.get(index) != Some(Status::Invalid) {
                content.bits.set(index, Status::Invalid);
                content.changed = true;
            }
        }
    }

    /// Waits until the stock runs low.
    pub(crate) async fn runs_low(&self) {
        self.low.notified().await;
    }
}

/// The first `most` of a list in random order.
fn shuffled(mut list: Vec<i64>, most: usize) -> ServiceResult<Vec<i64>> {
    let most = most.min(list.len());
    for at in 0..most {
        let draw = u64::from_le_bytes(random::<8>()?);
        let rest = u64::try_from(list.len() - at).unwrap_or(1);
        list.swap(at, at + usize::try_from(draw % rest).unwrap_or(0));
    }
    list.truncate(most);
    Ok(list)
}

impl App {
    /// Where the status lists of this deployment are, in order.
    pub fn status_list_uris(&self) -> Vec<String> {
        self.status.all().iter().map(|(number, _)| self.status_list_uri(*number)).collect()
    }

    /// The address of a list, as its tokens name it.
    pub(crate) fn status_list_uri(&self, number: i64) -> String {
        format!("{}/status-lists/{number}", self.issuer)
    }

    /// A place for a new token. Only where the job that reserves ahead did not keep up, it is waited for.
    pub(crate) async fn draw_place(&self) -> ServiceResult<Place> {
        if let Some(place) = self.status.take(self.clock.now_ms()) {
            return Ok(place);
        }
        let _alone = self.status.reserving.lock().await;
        if let Some(place) = self.status.take(self.clock.now_ms()) {
            return Ok(place);
        }
        self.reserve_blocks(1).await?;
        self.status.take(self.clock.now_ms()).ok_or(ServiceError::Unavailable("status list"))
    }

    /// Reserves places ahead of need, looks at the orders, and signs what changed; called once a second.
    ///
    /// # Errors
    /// When the store cannot be read or written; what is signed stays as it is.
    pub async fn tend_status(&self) -> ServiceResult<()> {
        self.check_feed_age()?;
        self.stock_up().await?;
        self.look_at_orders().await?;
        self.sign_lists().await
    }

    /// Reserves places ahead of need.
    ///
    /// # Errors
    /// When the store cannot be read or written.
    pub async fn stock_up(&self) -> ServiceResult<()> {
        let wanted = self.status.wanted(self.clock.now_ms());
        if wanted == 0 {
            return Ok(());
        }
        let _alone = self.status.reserving.lock().await;
        self.reserve_blocks(wanted).await
    }

    /// Completes when places become few.
    pub async fn stock_runs_low(&self) {
        self.status.runs_low().await;
    }

    async fn reserve_blocks(&self, wanted: usize) -> ServiceResult<()> {
        for _ in 0..TRIES {
            let room = i64::try_from(BLOCKS).unwrap_or(0);
            let open = self.store.status_lists().await?.into_iter().filter(|list| list.taken < room);
            // One list after the other: few lists, each with many tokens.
            let fullest = open.max_by_key(|list| list.taken).map(|list| list.number);
            let (number, taken) = match fullest {
                Some(number) => (number, self.store.status_blocks(number).await?),
                None => (i64::from(u32::from_le_bytes(random::<4>()?) >> 1), Vec::new()),
            };
            let taken: BTreeSet<i64> = taken.into_iter().collect();
            let blocks = shuffled((0..room).filter(|block| !taken.contains(block)).collect(), wanted)?;
            let until_ms = self.clock.now_ms() + USED_MS;
            let write = Write::Reserve { list: number, blocks: blocks.clone(), until_ms };
            // Reserving is a book; a new list is told.
            let mut change = bookkeeping(write);
            if taken.is_empty() {
                let target = number.to_string();
                change.audit.push(self.audit(&Actor::system(), "status_list.created", &target, &json!({}))?);
                change.feed.push(FeedRow { kind: "status".to_owned(), key: target });
            }
            if !self.keep_books(change).await? {
                continue;
            }
            let size = i64::try_from(BLOCK).unwrap_or(1);
            for block in blocks {
                let free = shuffled((block * size..(block + 1) * size).collect(), BLOCK)?;
                self.status.stock().push(Block { list: number, until_ms, free });
            }
            return Ok(());
        }
        Err(ServiceError::Unavailable("status list"))
    }

    /// Commits books and follows them; whether nobody else was faster. They are the service's own, whatever request is
    /// under way.
    async fn keep_books(&self, change: Change) -> ServiceResult<bool> {
        self.check_history()?;
        let feed = change.feed.clone();
        let done = self.store.commit(change).await?.is_ok();
        if done {
            self.follow(&feed).await?;
        }
        Ok(done)
    }

    /// Reads which lists there are and what is revoked in them. What is known already stays.
    pub(crate) async fn load_lists(&self) -> ServiceResult<()> {
        let held: BTreeSet<i64> = self.store.status_lists().await?.iter().map(|list| list.number).collect();
        let new = {
            let mut lists = self.status.lists.write().unwrap_or_else(PoisonError::into_inner);
            lists.retain(|number, _| held.contains(number));
            let before = lists.len();
            for number in held {
                lists.entry(number).or_insert_with(List::new);
            }
            lists.len() > before
        };
        if new {
            for token in self.store.revoked_tokens(self.clock.now_ms()).await? {
                self.status.revoked(&token);
            }
            *self.status.looked.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
        Ok(())
    }

    /// Suspends the tokens of what is frozen, as soon as that is known: each of their subjects is looked at later, one by
    /// one, and their tokens revoked.
    async fn look_at_orders(&self) -> ServiceResult<()> {
        let (world, at) = (self.world.load_full(), self.clock.now());
        let tokens_since_ms = self.tokens_since_ms();
        {
            let looked = self.status.looked.lock().unwrap_or_else(PoisonError::into_inner);
            let as_before = looked.as_ref().is_some_and(|before| {
                Arc::ptr_eq(&before.world, &world)
                    && before.tokens_since_ms == tokens_since_ms
                    && !world.timeline.iter().any(|entry| before.at < entry.from && entry.from <= at)
            });
            if as_before {
                return Ok(());
            }
        }
        let mut found: HashMap<i64, Vec<(i64, Status)>> = HashMap::new();
        // Every freeze names a resource or family, for which a made-up member stands.
        let mut looks = tokens_since_ms > self.oldest_living_ms();
        for sample in world.sample_resources() {
            looks = looks || is_frozen(&world, &sample, at)?;
        }
        if looks {
            let mut frozen: HashMap<String, bool> = HashMap::new();
            self.each_living(|token| {
                let stopped = match frozen.get(&token.resource) {
                    Some(stopped) => *stopped,
                    None => {
                        let resource = ResourceId::parse(&token.resource)
                            .map_err(|_| ServiceError::Unreadable(format!("token {}", token.jti)))?;
                        is_frozen(&world, &resource, at)?
                    }
                };
                let entry = found.entry(token.list).or_default();
                // As every check does it: to the second.
                if token.issued_at_ms.div_euclid(1000) < tokens_since_ms.div_euclid(1000) {
                    entry.push((token.idx, Status::Invalid));
                } else if stopped {
                    entry.push((token.idx, Status::Suspended));
                }
                frozen.insert(token.resource, stopped);
                Ok(())
            })
            .await?;
        }
        for (number, list) in self.status.all() {
            let mut content = list.content();
            let mut bits = content.bits.clone();
            bits.lift_suspensions();
            for (index, status) in found.remove(&number).unwrap_or_default() {
                // A revocation that came meanwhile stands above a suspension.
                if let Ok(index) = usize::try_from(index)
                    && bits.get(index) == Some(Status::Valid)
                {
                    bits.set(index, status);
                }
            }
            if bits != content.bits {
                *content = Content { bits, changed: true };
            }
        }
        let now = Looked { world, at, tokens_since_ms };
        *self.status.looked.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
        Ok(())
    }

    /// No token that lives was issued before, epoch milliseconds.
    fn oldest_living_ms(&self) -> i64 {
        self.clock.now_ms().saturating_sub(self.longest_life_ms(Purpose::Eligibility) + SKEW_MS).max(0)
    }

    /// Goes through every token that neither ended nor was revoked.
    async fn each_living(&self, mut seen: impl FnMut(TokenPlace) -> ServiceResult<()>) -> ServiceResult<()> {
        let now_ms = self.clock.now_ms();
        // Ids of tokens begin with their instant.
        let mut after = format!("jti_{:012x}", self.oldest_living_ms());
        loop {
            let page = self.store.living_places(&after, now_ms, PAGE).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after.clone_from(&last.jti);
            page.into_iter().try_for_each(&mut seen)?;
        }
    }

    /// Signs the lists that need it.
    async fn sign_lists(&self) -> ServiceResult<()> {
        self.check_history()?;
        if self.feed_age_secs() > STALE_SECS {
            return Ok(());
        }
        for (number, list) in self.status.all() {
            self.sign_list(number, &list).await?;
        }
        Ok(())
    }

    async fn sign_list(&self, number: i64, list: &Arc<List>) -> ServiceResult<()> {
        let key = self.signer(Purpose::StatusList, Algorithm::Es256)?;
        let now = self.clock.now().epoch();
        let last = list.signed.load_full();
        let bits = {
            let mut content = list.content();
            let stands = last.as_ref().is_some_and(|last| {
                !content.changed && last.kid == key.kid && last.iat.max(now) / SLOT_SECS == last.iat / SLOT_SECS
            });
            if stands {
                return Ok(());
            }
            content.changed = false;
            content.bits.clone()
        };
        // A clock that was set back does not make a list older than the one before it.
        let iat = last.as_ref().map_or(now, |last| now.max(last.iat));
        let uri = self.status_list_uri(number);
        let work = tokio::task::spawn_blocking(move || sign(&key, &uri, iat, &bits));
        match work.await.map_err(|_| ServiceError::Unavailable("status list")).flatten() {
            Ok(signed) => {
                list.signed.store(Some(Arc::new(signed)));
                metrics::counter!("vouchsafe_status_lists_signed_total").increment(1);
                Ok(())
            }
            Err(error) => {
                list.content().changed = true;
                Err(error)
            }
        }
    }

    /// A list as it was last signed.
    ///
    /// # Errors
    /// `NotFound`; `Unavailable` when the last one has ended.
    pub async fn status_list(&self, number: i64) -> ServiceResult<Arc<Signed>> {
        let list = self.status.list(number).ok_or(ServiceError::NotFound("status list"))?;
        if list.signed.load().is_none() && self.feed_age_secs() <= STALE_SECS && self.check_history().is_ok() {
            // The first time nobody has to wait for the job.
            self.sign_list(number, &list).await?;
        }
        let now_ms = self.clock.now_ms();
        let keys = self.keys.load();
        let good = |signed: &Arc<Signed>| {
            now_ms < signed.exp * 1000 && keys.verifies(Purpose::StatusList, &signed.kid, now_ms)
        };
        list.signed.load_full().filter(good).ok_or(ServiceError::Unavailable("status list"))
    }

    /// Retires lists of which no token can live any more; called once a minute.
    pub(crate) async fn retire_lists(&self) -> ServiceResult<()> {
        let now_ms = self.clock.now_ms();
        let longest = self.longest_life_ms(Purpose::Eligibility);
        let over = |list: &StoredList| list.use_until_ms.saturating_add(longest + SKEW_MS + LEEWAY_MS) < now_ms;
        for list in self.store.status_lists().await?.into_iter().filter(over) {
            let (number, use_until_ms) = (list.number, list.use_until_ms);
            let mut change = bookkeeping(Write::RetireList { list: number, use_until_ms, at_ms: now_ms });
            let target = number.to_string();
            change.audit.push(self.audit(&Actor::system(), "status_list.retired", &target, &json!({}))?);
            change.feed.push(FeedRow { kind: "status".to_owned(), key: target });
            self.keep_books(change).await?;
        }
        Ok(())
    }
}

/// Whether nobody may use a resource, whoever they are.
fn is_frozen(world: &World, resource: &ResourceId, at: Second) -> ServiceResult<bool> {
    Ok(!world.rules(resource, at)?.body.frozen_by.is_empty())
}

fn sign(key: &SigningKey, uri: &str, iat: i64, bits: &Bits) -> ServiceResult<Signed> {
    let failed = |_| ServiceError::Unavailable("status list");
    let claims = status_list::claims(uri, iat, &bits.encoded().map_err(failed)?);
    let token = key.sign_text(status_list::TYPE, &claims)?;
    Ok(Signed {
        gzip: status_list::gzip(&token).map_err(failed)?,
        digest: sha256_hex(token.as_bytes()),
        exp: iat + status_list::LIFE_SECS,
        iat,
        kid: key.kid.clone(),
        token,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shuffle_gives_each_once_and_every_order_its_chance() {
        let mut first = BTreeSet::new();
        for _ in 0..200 {
            let drawn = shuffled((0..5).collect(), 5).unwrap();
            let mut sorted = drawn.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, [0, 1, 2, 3, 4]);
            first.insert(drawn[0]);
        }
        // One of five never first in 200 draws: below 5 * 0.8^200 = 2e-19.
        assert_eq!(first.len(), 5);
        assert_eq!(shuffled((0..5).collect(), 2).unwrap().len(), 2);
    }

    #[test]
    fn a_block_is_given_out_once_and_not_after_its_time() {
        let board = Board::default();
        board.stock().push(Block { list: 7, until_ms: 100, free: vec![3, 1] });
        let place = |index| Some(Place { list: 7, index });
        assert_eq!((board.take(99), board.take(99), board.take(99)), (place(1), place(3), None));
        board.stock().push(Block { list: 7, until_ms: 100, free: vec![2] });
        assert_eq!(board.take(100), None, "the rest is lost");
    }

    #[test]
    fn more_is_reserved_the_more_is_drawn() {
        let board = Board::default();
        assert_eq!(board.wanted(0), 1, "one block before anything was drawn");
        board.stock().push(Block { list: 7, until_ms: 3_600_000, free: (0..4096).collect() });
        assert_eq!(board.wanted(0), 0);
        for _ in 0..2049 {
            board.take(0).unwrap();
        }
        // Twice what was drawn (4098) and half a block (2048), less what is left (2047).
        assert_eq!(board.wanted(0), 2);
        assert_eq!(board.wanted(3_600_000 - 60_000), 1, "what ends within a minute does not count");
    }
}
