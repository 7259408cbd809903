//! Identity providers: whose ID tokens tell who a subject is, and their keys.

use super::admin::name_ok;
use super::clients::{check_keys, verification_keys};
use super::subjects::check_namespace;
use super::world::IdentityProvider;
use super::{Actor, App, ServiceError, ServiceResult, invalid};
use crate::intake::identity::{Identity, parse_jwks, unverified_issuer, verify};
use crate::token::jws::VerificationKey;
use crate::token::key::MAX_SET_LENGTH;
use arc_swap::ArcSwapOption;
use serde_json::json;
use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
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
    /// Registers an identity provider; its id is made of the namespace of its links, which no other has.
    ///
    /// # Errors
    /// `Invalid`; `Conflict` for an issuer or a namespace that another provider has.
    pub async fn create_identity_provider(&self, actor: &Actor, provider: IdentityProvider) -> ServiceResult<String> {
        if !name_ok(&provider.name) {
            return Err(invalid("/name", "give a name of 1 to 200 characters"));
        }
        let issuer = reqwest::Url::parse(&provider.issuer).ok();
        if provider.issuer.len() > 500
            || provider.issuer == self.issuer
            || !issuer.is_some_and(|url| matches!(url.scheme(), "https" | "http") && url.query().is_none())
        {
            return Err(invalid("/issuer", "must be the provider's `iss`, a URL without query, and not this service"));
        }
        check_namespace(&provider.namespace)?;
        let fits = |audience: &String| (1..=200).contains(&audience.len());
        if !(1..=100).contains(&provider.audiences.len()) || !provider.audiences.iter().all(fits) {
            return Err(invalid("/audiences", "name 1 to 100 clients of the provider whose ID tokens are accepted"));
        }
        if let Some(organisation) = &provider.organisation
            && !self.world.load().organisations.contains_key(organisation)
        {
            return Err(invalid("/organisation", "no such organisation"));
        }
        check_keys("/keys", &provider.keys)?;
        match &provider.jwks_uri {
            None if provider.keys.is_empty() => return Err(invalid("/keys", "give `keys` or `jwks_uri`")),
            Some(_) if !provider.keys.is_empty() => {
                return Err(invalid("/keys", "give `keys` or `jwks_uri`, not both"));
            }
            None => {}
            Some(uri) => {
                self.identities.fetcher.check(uri).map_err(|error| invalid("/jwks_uri", error.why()))?;
            }
        }
        if self.world.load().identity_providers.values().any(|known| known.issuer == provider.issuer) {
            return Err(ServiceError::Conflict("issuer"));
        }
        let id = format!("idp_{}", provider.namespace);
        let detail = json!({ "issuer": provider.issuer, "namespace": provider.namespace,
            "organisation": provider.organisation });
        self.create_record(actor, "identity_provider", &id, &provider, None, detail).await?;
        Ok(id)
    }

    /// The keys at an address of a provider.
    pub(crate) async fn keys_at(&self, uri: &str, kid: Option<&str>) -> ServiceResult<Vec<VerificationKey>> {
        Ok(self.identities.keys(uri, kid, self.clock.now_ms()).await?.keys.clone())
    }

    /// Who an ID token is about, and the namespace in which they are linked. `None` for whatever is no ID token of a
    /// registered provider for one of its accepted clients, now.
    ///
    /// # Errors
    /// `Unavailable` when the provider's keys cannot be known.
    pub(crate) async fn identify(&self, token: &str) -> ServiceResult<Option<(String, Identity)>> {
        let Some((issuer, kid)) = unverified_issuer(token) else { return Ok(None) };
        let world = self.world.load_full();
        let mut named = world.identity_providers.values().filter(|provider| provider.issuer == issuer);
        // SECURITY: two that were registered at the same moment under one issuer are none.
        let (Some(provider), None) = (named.next(), named.next()) else { return Ok(None) };
        let now = self.clock.now();
        let verified = |keys: &[VerificationKey]| verify(token, &issuer, &provider.audiences, keys, now.epoch());
        let identity = match &provider.jwks_uri {
            None => verified(&verification_keys(&provider.keys)),
            Some(uri) => verified(&self.identities.keys(uri, kid.as_deref(), now.millis()).await?.keys),
        };
        Ok(identity.map(|identity| (provider.namespace.clone(), identity)))
    }
}
