//! Status lists of the issuer, each fetched when its `ttl` is over.

use super::{Refusal, Settings};
use crate::fetch::Fetcher;
use crate::jws::{JwsError, VerificationKey};
use crate::profile::STATUS_LIST;
use crate::status_list::{Reference, Status, StatusError, StatusList};
use crate::token::Refused;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Most lists held: an issuer has few, and a token chooses among them.
const MOST_LISTS: usize = 64;

/// Between these a list is fetched anew, whatever its `ttl` says.
const TTL_SECS: (i64, i64) = (1, 3600);

/// `ttl` of a list that names none.
const DEFAULT_TTL_SECS: i64 = 60;

/// After a failure, how long until the next attempt.
const RETRY_SECS: i64 = 2;

/// A list that nobody asked about for so long is forgotten.
const FORGOTTEN_SECS: i64 = 3600;

/// One list, perhaps not fetched yet.
#[derive(Default)]
struct Slot {
    held: Mutex<Held>,
    /// One asks, the others wait for it.
    asking: tokio::sync::Mutex<()>,
}

#[derive(Default, Clone)]
struct Held {
    list: Option<Arc<StatusList>>,
    due_at: i64,
    not_before: i64,
    used_at: i64,
    problem: Problem,
}

/// Why the last attempt failed.
#[derive(Default, Clone)]
struct Problem {
    told: String,
    /// Its key is not among the issuer's as we know them.
    unknown_key: bool,
}

impl From<String> for Problem {
    fn from(told: String) -> Self {
        Self { told, unknown_key: false }
    }
}

pub(super) struct Lists {
    /// What every list's address begins with.
    prefix: String,
    longest_outage_secs: i64,
    slots: Mutex<HashMap<String, Arc<Slot>>>,
}

impl Lists {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            prefix: format!("{}/", settings.issuer),
            longest_outage_secs: settings.longest_outage_secs.max(0),
            slots: Mutex::default(),
        }
    }

    /// The status of a token, and whether the list is older than it should be.
    pub(super) async fn status(
        &self,
        fetcher: &Fetcher,
        keys: &[VerificationKey],
        reference: &Reference,
        now: i64,
    ) -> Result<(Result<Status, StatusError>, bool), Refusal> {
        // SECURITY: lists are the issuer's own; a token does not choose whom we ask.
        if !reference.uri.starts_with(&self.prefix) {
            return Err(Refusal::Invalid("status_elsewhere"));
        }
        let slot = self.slot(&reference.uri, now).ok_or(Refusal::Invalid("status_elsewhere"))?;
        if self.usable(&slot.held(), now).is_none() {
            slot.fetch_if_due(fetcher, keys, &reference.uri, now).await;
        }
        let held = slot.held();
        match self.usable(&held, now) {
            Some(list) => Ok((list.status(reference.idx), now >= held.due_at)),
            None => Err(Refusal::Unknown(format!("no status list fresh enough: {}", held.problem.told))),
        }
    }

    /// Fetches every list whose time has come, and forgets those nobody asks about.
    pub(super) async fn refresh_due(&self, fetcher: &Fetcher, keys: &[VerificationKey], now: i64) {
        let slots: Vec<(String, Arc<Slot>)> = {
            let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
            slots.retain(|_, slot| now < slot.held().used_at.saturating_add(FORGOTTEN_SECS));
            slots.iter().map(|(uri, slot)| (uri.clone(), Arc::clone(slot))).collect()
        };
        for (uri, slot) in slots {
            slot.fetch_if_due(fetcher, keys, &uri, now).await;
        }
    }

    /// Whether a list was signed with a key that we do not know: the issuer may have a new one.
    pub(super) fn lack_a_key(&self) -> bool {
        let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.values().any(|slot| slot.held().problem.unknown_key)
    }

    /// The orders that stand in every list that is judged by: those of the oldest; none while one of them does not say.
    pub(super) fn orders(&self, now: i64) -> Option<String> {
        let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let held: Vec<Held> = slots.values().map(|slot| slot.held()).collect();
        let lists = held.iter().filter_map(|held| self.usable(held, now));
        let made_at = |orders: &str| orders.rsplit('.').next().and_then(|at| at.parse::<i64>().ok());
        let named: Option<Vec<(i64, &str)>> =
            lists.map(|list| list.orders.as_deref().and_then(|orders| Some((made_at(orders)?, orders)))).collect();
        named?.into_iter().min().map(|(_, orders)| orders.to_owned())
    }

    fn usable<'a>(&self, held: &'a Held, now: i64) -> Option<&'a StatusList> {
        let within = now < held.due_at.saturating_add(self.longest_outage_secs);
        held.list.as_deref().filter(|list| within && now < list.expires_at)
    }

    fn slot(&self, uri: &str, now: i64) -> Option<Arc<Slot>> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if !slots.contains_key(uri) && slots.len() >= MOST_LISTS {
            return None;
        }
        let slot = Arc::clone(slots.entry(uri.to_owned()).or_default());
        slot.change(|held| held.used_at = now);
        Some(slot)
    }
}

impl Slot {
    async fn fetch_if_due(&self, fetcher: &Fetcher, keys: &[VerificationKey], uri: &str, now: i64) {
        let due = |held: &Held| now >= held.due_at && now >= held.not_before;
        if !due(&self.held()) {
            return;
        }
        let _asking = self.asking.lock().await;
        let before = self.held();
        if !due(&before) {
            return;
        }
        let found = fetch(fetcher, keys, uri, now).await.and_then(|list| match &before.list {
            // An older one would bring back to life what was withdrawn since.
            Some(held) if list.issued_at < held.issued_at => Err("an older list than the one held".to_owned().into()),
            _ => Ok(list),
        });
        self.change(|held| match found {
            Ok(list) => {
                let (least, most) = TTL_SECS;
                let ttl = list.ttl_secs.unwrap_or(DEFAULT_TTL_SECS).clamp(least, most);
                held.due_at = now.saturating_add(ttl).min(list.expires_at);
                held.not_before = 0;
                held.problem = Problem::default();
                held.list = Some(Arc::new(list));
            }
            Err(problem) => {
                held.not_before = now.saturating_add(RETRY_SECS);
                held.problem = problem;
            }
        });
    }

    fn held(&self) -> Held {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn change(&self, change: impl FnOnce(&mut Held)) {
        change(&mut self.held.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

async fn fetch(fetcher: &Fetcher, keys: &[VerificationKey], uri: &str, now: i64) -> Result<StatusList, Problem> {
    let fetched = fetcher.get(uri, "application/statuslist+jwt", STATUS_LIST.max_length).await;
    let body = fetched.map_err(|error| error.to_string())?.body;
    let text = std::str::from_utf8(&body).map_err(|_| "the status list is no token".to_owned())?;
    StatusList::verify(text, keys, uri, now).map_err(|error| Problem {
        told: error.to_string(),
        unknown_key: error == StatusError::Token(Refused::Jws(JwsError::UnknownKey)),
    })
}
