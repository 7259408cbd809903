//! Identity providers: registered, changed, switched off; whose ID tokens tell who a subject is, and their keys.

mod registering;

pub use registering::{Created, ProviderChange, Versions};

use super::clients::verification_keys;
use super::world::{Hook, IdentityProvider};
use super::{App, ServiceError, ServiceResult};
use crate::crypto::is_secret_of;
use crate::intake::identity::{Identity, is_entra, parse_jwks, unverified_issuer, verify};
use crate::token::jws::VerificationKey;
use crate::token::key::MAX_SET_LENGTH;
use arc_swap::ArcSwapOption;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use vouchsafe_verify::fetch::{Fetcher, Reach};

/// Fetched keys are taken for fresh at least and at most so long, in milliseconds, whatever the provider says.
const FRESH_MS: (i64, i64) = (300_000, 86_400_000);

/// Keys are fetched at most this often, in milliseconds: whoever makes up key ids does not make us ask.
const BETWEEN_MS: i64 = 60_000;

/// While a provider does not answer, the last good keys serve this long, in milliseconds.
const LAST_GOOD_MS: i64 = 86_400_000;

/// Keys of providers that are fetched, by address.
pub(crate) struct Identities {
    fetcher: Fetcher,
    fetched: RwLock<HashMap<String, Arc<Entry>>>,
}

/// What is known of one address.
struct Entry {
    current: ArcSwapOption<Keys>,
    fetching: tokio::sync::Mutex<()>,
    tried_at_ms: AtomicI64,
    /// A key was asked for that is not held, by somebody who does not wait for a fetch.
    missed: AtomicBool,
}

struct Keys {
    keys: Vec<VerificationKey>,
    fetched_at_ms: i64,
    fresh_until_ms: i64,
}

impl Entry {
    /// The keys, while they are fresh and hold the one that is asked for.
    fn usable(&self, kid: Option<&str>, now_ms: i64) -> Option<Arc<Keys>> {
        let fits = |keys: &Arc<Keys>| {
            now_ms < keys.fresh_until_ms && kid.is_none_or(|kid| keys.keys.iter().any(|key| key.kid() == kid))
        };
        self.current.load_full().filter(fits)
    }

    fn may_try(&self, now_ms: i64) -> bool {
        now_ms.saturating_sub(self.tried_at_ms.load(Ordering::Relaxed)) >= BETWEEN_MS
    }
}

impl Identities {
    /// Providers on this machine are asked where we are ourselves reached by it, as in development.
    pub(crate) fn new(issuer: &str) -> ServiceResult<Self> {
        let host = reqwest::Url::parse(issuer).ok().and_then(|url| url.host_str().map(str::to_owned));
        let local = matches!(host.as_deref(), Some("127.0.0.1" | "localhost" | "[::1]"));
        let reach = if local { Reach::Loopback } else { Reach::Public };
        let fetcher = Fetcher::new(reach).map_err(|_| ServiceError::Unavailable("outgoing client"))?;
        Ok(Self { fetcher, fetched: RwLock::default() })
    }

    fn entry(&self, uri: &str) -> Arc<Entry> {
        if let Some(entry) = self.fetched.read().unwrap_or_else(PoisonError::into_inner).get(uri) {
            return Arc::clone(entry);
        }
        let new = || Entry {
            current: ArcSwapOption::empty(),
            fetching: tokio::sync::Mutex::default(),
            tried_at_ms: i64::MIN.into(),
            missed: AtomicBool::new(false),
        };
        let mut fetched = self.fetched.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(fetched.entry(uri.to_owned()).or_insert_with(|| Arc::new(new())))
    }

    /// The keys at an address: fetched once for all who wait, again when they are old or `kid` is not among them, and the
    /// last good ones while the provider does not answer.
    async fn keys(&self, uri: &str, kid: Option<&str>, now_ms: i64) -> ServiceResult<Arc<Keys>> {
        let entry = self.entry(uri);
        if let Some(keys) = entry.usable(kid, now_ms) {
            return Ok(keys);
        }
        if entry.may_try(now_ms) {
            let _alone = entry.fetching.lock().await;
            if let Some(keys) = entry.usable(kid, now_ms) {
                return Ok(keys);
            }
            if entry.may_try(now_ms) {
                entry.tried_at_ms.store(now_ms, Ordering::Relaxed);
                match self.fetch(uri, now_ms).await {
                    Ok(keys) => entry.current.store(Some(Arc::new(keys))),
                    Err(why) => tracing::warn!(why, "the keys of an identity provider cannot be fetched"),
                }
            }
        }
        let last = entry.current.load_full().filter(|keys| now_ms - keys.fetched_at_ms < LAST_GOOD_MS);
        last.ok_or(ServiceError::Unavailable("identity provider"))
    }

    /// The keys at an address as far as they are in memory; whoever asks does not wait. Those that are missing are
    /// fetched by [`App::refresh_identities`].
    fn held(&self, uri: &str, kid: Option<&str>, now_ms: i64) -> Option<Arc<Keys>> {
        let entry = self.entry(uri);
        let last = entry.current.load_full().filter(|keys| now_ms - keys.fetched_at_ms < LAST_GOOD_MS);
        let fits = |keys: &Arc<Keys>| kid.is_none_or(|kid| keys.keys.iter().any(|key| key.kid() == kid));
        let found = last.filter(fits);
        if found.is_none() {
            entry.missed.store(true, Ordering::Relaxed);
        }
        found
    }

    /// Fetches the keys at an address when they are old, or when one was missed.
    async fn refresh(&self, uri: &str, now_ms: i64) -> bool {
        let entry = self.entry(uri);
        if entry.missed.load(Ordering::Relaxed) && entry.may_try(now_ms) {
            entry.missed.store(false, Ordering::Relaxed);
            // No key has this name: what is held does not do.
            return self.keys(uri, Some(""), now_ms).await.is_ok();
        }
        self.keys(uri, None, now_ms).await.is_ok()
    }

    async fn fetch(&self, uri: &str, now_ms: i64) -> Result<Keys, &'static str> {
        const ACCEPT: &str = "application/jwk-set+json, application/json";
        let fetched = self.fetcher.get(uri, ACCEPT, MAX_SET_LENGTH).await.map_err(|error| error.why())?;
        let keys = parse_jwks(&fetched.body)?;
        let (least, most) = FRESH_MS;
        let fresh_ms = fetched.max_age_secs.unwrap_or(0).saturating_mul(1000).clamp(least, most);
        Ok(Keys { keys, fetched_at_ms: now_ms, fresh_until_ms: now_ms + fresh_ms })
    }
}

impl App {
    /// The keys at an address of a provider.
    pub(crate) async fn keys_at(&self, uri: &str, kid: Option<&str>) -> ServiceResult<Vec<VerificationKey>> {
        Ok(self.identities.keys(uri, kid, self.clock.now_ms()).await?.keys.clone())
    }

    /// Who an ID token is about, and whose it is. `None` for whatever is no ID token of a registered provider for one of
    /// its accepted clients, now.
    ///
    /// # Errors
    /// `Unavailable` when the provider's keys cannot be known.
    pub async fn identify(&self, token: &str) -> ServiceResult<Option<(Arc<IdentityProvider>, Identity)>> {
        let Some((issuer, kid)) = unverified_issuer(token) else { return Ok(None) };
        let world = self.world.load_full();
        let Some(provider) = world.identity_provider(|provider| provider.issuer == issuer) else { return Ok(None) };
        let now = self.clock.now();
        let verified = |keys: &[VerificationKey]| verify(token, &issuer, &provider.audiences, keys, now.epoch());
        let identity = match &provider.jwks_uri {
            None => verified(&verification_keys(&provider.keys)),
            Some(uri) => verified(&self.identities.keys(uri, kid.as_deref(), now.millis()).await?.keys),
        };
        Ok(identity.map(|identity| (provider, identity)))
    }

    /// Fetches the keys of those providers whose hooks are answered from memory; called every few seconds, and costs
    /// nothing while they are fresh. How many are held.
    pub async fn refresh_identities(&self) -> usize {
        let now_ms = self.clock.now_ms();
        let world = self.world.load_full();
        let mut held = 0;
        for provider in world.identity_providers.values().filter(|provider| !provider.disabled) {
            if let (Some(Hook::Entra { .. }), Some(uri)) = (&provider.hook, &provider.jwks_uri)
                && self.identities.refresh(uri, now_ms).await
            {
                held += 1;
            }
        }
        held
    }

    /// The provider that a client asks for.
    ///
    /// # Errors
    /// `Forbidden` for a client of none.
    pub fn provider_of(&self, client: &str) -> ServiceResult<Arc<IdentityProvider>> {
        let found = self.world.load().identity_provider(|provider| provider.clients.contains(client));
        found.ok_or(ServiceError::Forbidden("identity_provider"))
    }

    /// The provider whose Okta hook sends this secret.
    ///
    /// # Errors
    /// `Unauthenticated`; says nothing more.
    pub fn okta_hook(&self, secret: &str) -> ServiceResult<Arc<IdentityProvider>> {
        self.check_history()?;
        // A namespace may hold dots, a secret never does.
        let (id, secret) = secret.rsplit_once('.').ok_or(ServiceError::Unauthenticated)?;
        let world = self.world.load();
        let provider = world.identity_providers.get(id).filter(|provider| !provider.disabled);
        let provider = provider.ok_or(ServiceError::Unauthenticated)?;
        let now = self.clock.now();
        let same = |key: &super::world::HookKey| {
            let living = key.until.is_none_or(|until| now < until);
            living && is_secret_of(secret, &key.sha256)
        };
        let proven = provider.hook == Some(Hook::Okta {}) && provider.hook_keys.iter().any(same);
        if proven { Ok(Arc::clone(provider)) } else { Err(ServiceError::Unauthenticated) }
    }

    /// The provider whose Entra tenant calls with this token. Its keys are looked for in memory only.
    ///
    /// # Errors
    /// `Unauthenticated`; says nothing more.
    pub fn entra_hook(&self, token: &str) -> ServiceResult<Arc<IdentityProvider>> {
        self.check_history()?;
        let (issuer, kid) = unverified_issuer(token).ok_or(ServiceError::Unauthenticated)?;
        let provider = self.world.load().identity_provider(|provider| provider.issuer == issuer);
        let provider = provider.ok_or(ServiceError::Unauthenticated)?;
        let Some(Hook::Entra { tenant, audience }) = &provider.hook else { return Err(ServiceError::Unauthenticated) };
        let now = self.clock.now();
        let verified = |keys: &[VerificationKey]| is_entra(token, &issuer, audience, tenant, keys, now.epoch());
        let proven = match &provider.jwks_uri {
            None => verified(&verification_keys(&provider.keys)),
            Some(uri) => {
                let held = self.identities.held(uri, kid.as_deref(), now.millis());
                held.is_some_and(|held| verified(&held.keys))
            }
        };
        if proven { Ok(provider) } else { Err(ServiceError::Unauthenticated) }
    }
}
