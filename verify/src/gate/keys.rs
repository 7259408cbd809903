//! The issuer's keys, fetched beside the requests, and once more when a token names one that is not among them.

use super::Settings;
use crate::fetch::{FetchError, Fetcher};
use crate::jws::VerificationKey;
use crate::key::{KeySet, MAX_SET_LENGTH};
use std::sync::{Arc, PoisonError, RwLock};

/// Between these a set is fetched anew, whatever its `Cache-Control` says.
const FRESH_SECS: (i64, i64) = (300, 86_400);

/// After a failure, how long until the next attempt.
const RETRY_SECS: i64 = 5;

/// How long until a key that is not there may make it ask again.
const UNKNOWN_SECS: i64 = 60;

/// Keys to verify with.
#[derive(Debug, Clone)]
pub(super) struct Held {
    pub(super) keys: Arc<[VerificationKey]>,
    /// Whether they should have been fetched anew.
    pub(super) stale: bool,
}

#[derive(Debug, Default)]
struct State {
    keys: Option<Arc<[VerificationKey]>>,
    /// When they should be fetched anew.
    due_at: i64,
    /// Not to be asked before, since it failed.
    not_before: i64,
    /// Not to be asked before for a key that is not there.
    unknown_not_before: i64,
}

pub(super) struct Keys {
    url: String,
    longest_outage_secs: i64,
    state: RwLock<State>,
    /// One asks, the others wait for it.
    asking: tokio::sync::Mutex<()>,
}

impl Keys {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            url: settings.jwks_url.clone(),
            longest_outage_secs: settings.longest_outage_secs.max(0),
            state: RwLock::default(),
            asking: tokio::sync::Mutex::default(),
        }
    }

    /// The keys, while they may be used.
    pub(super) fn current(&self, now: i64) -> Option<Held> {
        self.look(|state| {
            let usable = now < state.due_at.saturating_add(self.longest_outage_secs);
            state.keys.clone().filter(|_| usable).map(|keys| Held { keys, stale: now >= state.due_at })
        })
    }

    pub(super) async fn refresh_if_due(&self, fetcher: &Fetcher, now: i64) {
        let due = |state: &State| now >= state.due_at && now >= state.not_before;
        if self.look(due) {
            let _asking = self.asking.lock().await;
            if self.look(due) {
                self.fetch(fetcher, now).await;
            }
        }
    }

    pub(super) async fn refresh_for_unknown(&self, fetcher: &Fetcher, now: i64) {
        // Whoever waited here takes what the one before it got.
        let _asking = self.asking.lock().await;
        if self.look(|state| now >= state.unknown_not_before) {
            self.change(|state| state.unknown_not_before = now.saturating_add(UNKNOWN_SECS));
            self.fetch(fetcher, now).await;
        }
    }

    async fn fetch(&self, fetcher: &Fetcher, now: i64) {
        let fetched = fetcher.get(&self.url, "application/jwk-set+json, application/json", MAX_SET_LENGTH).await;
        // A set that reads counts, however few keys are in it: taking one away is how an issuer retires it.
        let read = fetched.map_err(|error: FetchError| error.to_string()).and_then(|fetched| {
            let set = KeySet::read(&fetched.body).map_err(|error| error.to_string())?;
            Ok((set.keys, fetched.max_age_secs))
        });
        self.change(|state| {
            match read {
                Ok((keys, max_age)) => {
                    let (least, most) = FRESH_SECS;
                    state.keys = Some(keys.into());
                    state.due_at = now.saturating_add(max_age.unwrap_or(least).clamp(least, most));
                    state.not_before = 0;
                }
                // The last good set stays, for as long as it may.
                Err(_) => state.not_before = now.saturating_add(RETRY_SECS),
            }
        });
    }

    fn look<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.write().unwrap_or_else(PoisonError::into_inner));
    }
}
