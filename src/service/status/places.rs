//! Places for tokens to come: reserved in blocks, given once.

use super::board::{Block, Place};
use crate::crypto::random;
use crate::service::idempotency::bookkeeping;
use crate::service::keys::{LEEWAY_MS, SKEW_MS};
use crate::service::{Actor, App, ServiceError, ServiceResult};
use crate::storage::{Change, FeedRow, StoredList, Write};
use crate::token::keys::Purpose;
use crate::token::status_list::ENTRIES;
use serde_json::json;
use std::collections::BTreeSet;

/// Places of one block.
pub(super) const BLOCK: usize = 4096;
/// Blocks of one list.
const BLOCKS: usize = ENTRIES / BLOCK;
/// How long a block is drawn from, milliseconds.
const USED_MS: i64 = 3_600_000;
/// Blocks of one reservation at most.
pub(super) const MOST_BLOCKS: usize = 64;
/// How often a reservation is tried while other replicas reserve too.
const TRIES: usize = 8;

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
}
