//! The statuses in memory, and the places that this process may still give.

use super::places::{BLOCK, MOST_BLOCKS};
use crate::service::world::World;
use crate::storage::TokenPlace;
use crate::token::status_list::{Bits, ENTRIES, Status};
use arc_swap::ArcSwapOption;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use vouchsafe_core::Second;

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
    pub(super) iat: i64,
    pub(super) kid: String,
}

#[derive(Debug)]
pub(super) struct Content {
    pub(super) bits: Bits,
    pub(super) changed: bool,
}

#[derive(Debug)]
pub(super) struct List {
    content: Mutex<Content>,
    pub(super) signed: ArcSwapOption<Signed>,
}

impl List {
    pub(super) fn new() -> Arc<Self> {
        let content = Mutex::new(Content { bits: Bits::new(ENTRIES), changed: false });
        Arc::new(Self { content, signed: ArcSwapOption::empty() })
    }

    pub(super) fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Places of a block that are still free, in the order in which they are given.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) list: i64,
    pub(super) until_ms: i64,
    pub(super) free: Vec<i64>,
}

/// What the statuses were derived from beside revocations.
#[derive(Debug)]
pub(super) struct Looked {
    pub(super) world: Arc<World>,
    pub(super) at: Second,
    pub(super) tokens_since_ms: i64,
}

/// All lists that living tokens may stand in, and what this process may still give.
#[derive(Debug, Default)]
pub(crate) struct Board {
    pub(super) lists: RwLock<BTreeMap<i64, Arc<List>>>,
    stock: Mutex<Vec<Block>>,
    pub(super) reserving: tokio::sync::Mutex<()>,
    /// Places given since the last look at the stock.
    drawn: AtomicUsize,
    /// Wakes whoever tends the stock.
    low: tokio::sync::Notify,
    pub(super) looked: Mutex<Option<Looked>>,
}

impl Board {
    pub(super) fn list(&self, number: i64) -> Option<Arc<List>> {
        self.lists.read().unwrap_or_else(PoisonError::into_inner).get(&number).cloned()
    }

    pub(super) fn all(&self) -> Vec<(i64, Arc<List>)> {
        let lists = self.lists.read().unwrap_or_else(PoisonError::into_inner);
        lists.iter().map(|(number, list)| (*number, Arc::clone(list))).collect()
    }

    pub(super) fn stock(&self) -> MutexGuard<'_, Vec<Block>> {
        self.stock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next place, if there is one.
    pub(super) fn take(&self, now_ms: i64) -> Option<Place> {
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
    pub(super) fn wanted(&self, now_ms: i64) -> usize {
        let drawn = self.drawn.swap(0, Ordering::Relaxed);
        let lasting = now_ms + 60_000;
        let left: usize = self.stock().iter().filter(|block| lasting < block.until_ms).map(|b| b.free.len()).sum();
        let enough = BLOCK / 2 + drawn * 2;
        if left >= enough { 0 } else { (enough - left).div_ceil(BLOCK).min(MOST_BLOCKS) }
    }

    /// Notes that a token is revoked.
    pub(in crate::service) fn revoked(&self, token: &TokenPlace) {
        if let (Some(list), Ok(index)) = (self.list(token.list), usize::try_from(token.idx)) {
            let mut content = list.content();
            if content.bits.get(index) != Some(Status::Invalid) {
                content.bits.set(index, Status::Invalid);
                content.changed = true;
            }
        }
    }

    /// Waits until the stock runs low.
    pub(super) async fn runs_low(&self) {
        self.low.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
