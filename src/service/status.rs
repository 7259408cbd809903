//! Status lists: what is known of every living token, for whoever verifies offline.
//!
//! Each token has a place of its own in a list of constant length, drawn at random from a block that this process reserved
//! in a commit of its own, ahead of need. No place is given twice: what a crash or an hour leaves of a block is lost.
//!
//! The statuses stand in memory and follow the change feed. A list is signed anew when something changed, at most once
//! a second, and otherwise in the first second of every fifth minute of the clock, the same for all replicas. While the
//! database does not answer nothing is signed: the last list is served until its end, then none.

use super::keys::SKEW_MS;
use super::register::Position;
use super::world::World;
use super::{App, ServiceError, ServiceResult};
use crate::crypto::sha256_hex;
use crate::storage::TokenPlace;
use crate::token::keys::{Algorithm, Purpose, SigningKey};
use crate::token::status_list::{self, Bits, Status};
pub(crate) use board::Board;
use board::{Content, List, Looked};
pub use board::{Place, Signed};
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, PoisonError};
use vouchsafe_core::Second;
use vouchsafe_core::ids::ResourceId;

mod board;
mod places;

/// Where nothing changed, lists are signed in the first second of every so many.
const SLOT_SECS: i64 = 300;
/// A picture older than this, in seconds, is not signed.
const STALE_SECS: i64 = 2;
/// Tokens read at once.
const PAGE: i64 = 5000;

impl App {
    /// Where the status lists of this deployment are, in order.
    pub fn status_list_uris(&self) -> Vec<String> {
        self.status.all().iter().map(|(number, _)| self.status_list_uri(*number)).collect()
    }

    /// The address of a list, as its tokens name it.
    pub(crate) fn status_list_uri(&self, number: i64) -> String {
        format!("{}/status-lists/{number}", self.issuer)
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
        let ordered;
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
            // Lists tell which orders they know: whoever judges by them has acknowledged those.
            ordered = looked.as_ref().is_none_or(|before| {
                before.world.orders() != world.orders()
                    || world.timeline.iter().any(|entry| before.at < entry.from && entry.from <= at)
            });
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
            if bits != content.bits || ordered {
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
        // Before the statuses: what is said to be known stands in them.
        let orders = {
            let looked = self.status.looked.lock().unwrap_or_else(PoisonError::into_inner);
            looked.as_ref().map(|looked| Position::of(&looked.world, looked.at).to_string())
        };
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
        let work = tokio::task::spawn_blocking(move || sign(&key, &uri, iat, orders.as_deref(), &bits));
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
}

/// Whether nobody may use a resource, whoever they are.
fn is_frozen(world: &World, resource: &ResourceId, at: Second) -> ServiceResult<bool> {
    Ok(!world.rules(resource, at)?.body.frozen_by.is_empty())
}

fn sign(key: &SigningKey, uri: &str, iat: i64, orders: Option<&str>, bits: &Bits) -> ServiceResult<Signed> {
    let failed = |_| ServiceError::Unavailable("status list");
    let claims = status_list::claims(uri, iat, orders, &bits.encoded().map_err(failed)?);
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
