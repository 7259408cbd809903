//! Signing keys over their lives: published, signing, verifying, gone.
//!
//! | instant | what begins |
//! |---|---|
//! | published | the key is in the key set; its predecessor's last signature is fixed to the key's first |
//! | signs from | twice the key set's `max-age` later: whoever caches the set has it by then |
//! | last signs | the private part goes within minutes; the public part still verifies |
//! | verifies until | the longest token it may have signed has ended; it leaves the key set |
//! | retired | nothing of it is left but its row; in an emergency at once, with all that it signed |
//!
//! Which key signs and which verify follows from these instants and the clock. The job only writes them down, by
//! compare and swap, so any number of replicas may run it.

use super::{Actor, App, ServiceError, ServiceResult};
use crate::storage::{AuditEntry, Change, Conflict, FeedRow, KeyTimes, StoredKey, Write};
use crate::token::keys::{Algorithm, KeyRing, Purpose, RingKey, SigningKey, seal_public};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// How long anybody may keep the key set, in seconds.
pub const JWKS_MAX_AGE_SECS: i64 = 300;
/// How long a key is published before it signs, milliseconds: twice that, and a minute for clocks and the feed.
const LEAD_MS: i64 = (2 * JWKS_MAX_AGE_SECS + 60) * 1000;
/// By how much clocks of replicas may differ, milliseconds.
pub(super) const SKEW_MS: i64 = 60_000;
/// By how much verifiers take an end later than it is, milliseconds.
pub(super) const LEEWAY_MS: i64 = 30_000;
/// How long a key signs unless the configuration says otherwise, in seconds.
pub const KEY_ROTATION_SECS: i64 = 90 * 86_400;

/// The signing keys that every deployment has; keys of other algorithms are made when an audience wants them.
pub(crate) const USUAL_KEYS: [(Purpose, Algorithm); 5] = [
    (Purpose::Access, Algorithm::Es256),
    (Purpose::Eligibility, Algorithm::Es256),
    (Purpose::Receipt, Algorithm::EdDsa),
    (Purpose::StatusList, Algorithm::Es256),
    (Purpose::Introspection, Algorithm::Es256),
];

/// What a key does at an instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyState {
    /// In the key set, not signing yet.
    Published,
    /// Signs.
    Signing,
    /// What it signed still verifies.
    Verifying,
    /// Neither published nor believed.
    Retired,
}

impl KeyState {
    /// By its instants.
    #[must_use]
    pub fn at(times: &KeyTimes, now_ms: i64) -> Self {
        if times.retired_at_ms.is_some() || times.verifies_until_ms.is_some_and(|until| until <= now_ms) {
            Self::Retired
        } else if times.last_signs_ms.is_some_and(|last| last <= now_ms) {
            Self::Verifying
        } else if times.signs_from_ms > now_ms {
            Self::Published
        } else {
            Self::Signing
        }
    }

    /// Its word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Published => "published",
            Self::Signing => "signing",
            Self::Verifying => "verifying",
            Self::Retired => "retired",
        }
    }
}

fn is_of(key: &StoredKey, purpose: Purpose, alg: Algorithm) -> bool {
    key.purpose == purpose.as_str() && key.alg == alg.as_str() && key.times.retired_at_ms.is_none()
}

fn changed(kid: &str) -> FeedRow {
    FeedRow { kind: "key".to_owned(), key: kid.to_owned() }
}

impl App {
    /// The key that signs for a purpose now.
    ///
    /// # Errors
    /// `Unavailable` when there is none.
    pub fn signer(&self, purpose: Purpose, alg: Algorithm) -> ServiceResult<Arc<SigningKey>> {
        let keys = self.keys.load();
        let key = keys.signer(purpose, alg, self.clock.now_ms()).ok_or(ServiceError::Unavailable("key"))?;
        Ok(Arc::clone(key))
    }

    /// The key set as everybody may fetch it (RFC 7517).
    pub fn key_set(&self) -> Value {
        self.keys.load().jwks(self.clock.now_ms())
    }

    /// Every key there ever was, newest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn all_keys(&self) -> ServiceResult<Vec<StoredKey>> {
        Ok(self.store.keys().await?)
    }

    pub(crate) async fn load_keys(&self) -> ServiceResult<()> {
        let _alone = self.reloading.lock().await;
        let mut keys = Vec::new();
        for stored in self.store.keys().await?.iter().filter(|key| key.times.retired_at_ms.is_none()) {
            keys.push(RingKey::from_stored(stored, &self.crypto)?);
        }
        self.keys.store(Arc::new(KeyRing::new(keys)));
        Ok(())
    }

    /// Makes the signing keys that are missing.
    pub(crate) async fn ensure_keys(&self) -> ServiceResult<()> {
        self.load_keys().await?;
        for (purpose, alg) in USUAL_KEYS {
            self.ensure_key(purpose, alg).await?;
        }
        Ok(())
    }

    /// Makes the first key of a purpose and algorithm, unless there is one. It signs at once: nothing that it will sign
    /// was ever verified by anybody.
    pub(crate) async fn ensure_key(&self, purpose: Purpose, alg: Algorithm) -> ServiceResult<()> {
        if self.signer(purpose, alg).is_ok() {
            return Ok(());
        }
        let new = self.new_key(purpose, alg, self.clock.now_ms()).await?;
        let audit = self.key_entry(&Actor::system(), "key.created", &new, &json!({}))?;
        let feed = vec![changed(&new.kid)];
        match self.commit(vec![Write::Key(new)], audit, feed).await? {
            Ok(()) => Ok(()),
            // Another process was first.
            Err(_) => self.load_keys().await,
        }
    }

    async fn new_key(&self, purpose: Purpose, alg: Algorithm, signs_from_ms: i64) -> ServiceResult<StoredKey> {
        let generated = tokio::task::spawn_blocking(move || SigningKey::generate(alg, purpose));
        let (key, pkcs8) = generated.await.map_err(|_| ServiceError::Unavailable("key generation"))??;
        let times = KeyTimes::new(self.clock.now_ms(), signs_from_ms);
        Ok(key.to_stored(&pkcs8, &self.crypto, times)?)
    }

    fn key_entry(&self, actor: &Actor, action: &str, key: &StoredKey, more: &Value) -> ServiceResult<AuditEntry> {
        let mut detail = json!({ "purpose": key.purpose, "alg": key.alg });
        if let (Some(detail), Some(more)) = (detail.as_object_mut(), more.as_object()) {
            detail.extend(more.clone());
        }
        self.audit(actor, action, &key.kid, &detail)
    }

    /// Publishes the next key of a purpose and algorithm; it signs when everybody has it. Gives its id, `None` where
    /// another replica was faster.
    ///
    /// # Errors
    /// `NotFound` when there is no key to follow; when the store cannot be read or written.
    pub async fn rotate_key(&self, actor: &Actor, purpose: Purpose, alg: Algorithm) -> ServiceResult<Option<String>> {
        let held = self.store.keys().await?;
        let newest = held.into_iter().find(|key| is_of(key, purpose, alg) && key.times.last_signs_ms.is_none());
        self.publish_follower(actor, purpose, alg, newest.ok_or(ServiceError::NotFound("key"))?).await
    }

    /// Publishes the next key after exactly this one.
    async fn publish_follower(
        &self,
        actor: &Actor,
        purpose: Purpose,
        alg: Algorithm,
        old: StoredKey,
    ) -> ServiceResult<Option<String>> {
        let now_ms = self.clock.now_ms();
        // Never before the one it follows.
        let signs_from_ms = (now_ms + LEAD_MS).max(old.times.signs_from_ms + 1);
        let new = self.new_key(purpose, alg, signs_from_ms).await?;
        let detail = json!({ "follows": old.kid, "signs_from_ms": signs_from_ms });
        let audit = self.key_entry(actor, "key.published", &new, &detail)?;
        let times = KeyTimes { last_signs_ms: Some(signs_from_ms), ..old.times };
        let feed = vec![changed(&new.kid)];
        let kid = new.kid.clone();
        let writes = vec![Write::MoveKey { kid: old.kid, was: old.times, times, sealed: None }, Write::Key(new)];
        match self.commit(writes, audit, feed).await? {
            Ok(()) => Ok(Some(kid)),
            Err(Conflict::Stale(_) | Conflict::Exists(_)) => Ok(None),
            Err(_) => Err(ServiceError::Conflict("key")),
        }
    }

    /// Takes a key away at once, with everything that it signed; where it was to sign, another does from now on. Gives the
    /// id of a key that was made or brought forward for it.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` when it is retired already or changed meanwhile.
    pub async fn retire_key(&self, actor: &Actor, kid: &str, reason: &str) -> ServiceResult<Option<String>> {
        let held = self.store.keys().await?;
        let key = held.iter().find(|key| key.kid == kid).ok_or(ServiceError::NotFound("key"))?;
        if key.times.retired_at_ms.is_some() {
            return Err(ServiceError::Conflict("key"));
        }
        let unreadable = || ServiceError::Unreadable(format!("key {kid}"));
        let purpose = Purpose::parse(&key.purpose).ok_or_else(unreadable)?;
        let alg = Algorithm::parse(&key.alg).ok_or_else(unreadable)?;
        let now_ms = self.clock.now_ms();
        let gone = KeyTimes { retired_at_ms: Some(now_ms), ..key.times };
        let mut writes =
            vec![Write::MoveKey { kid: kid.to_owned(), was: key.times, times: gone, sealed: Some(Vec::new()) }];
        let mut feed = vec![changed(kid)];
        let others = || held.iter().filter(|other| other.kid != kid && is_of(other, purpose, alg));
        let signs = others().any(|other| KeyState::at(&other.times, now_ms) == KeyState::Signing);
        let follower = match others().find(|other| other.times.last_signs_ms.is_none()) {
            Some(_) if signs => None,
            // The next one is published already: better known than one made now.
            Some(next) => {
                let times = KeyTimes { signs_from_ms: now_ms, ..next.times };
                writes.push(Write::MoveKey { kid: next.kid.clone(), was: next.times, times, sealed: None });
                Some(next.kid.clone())
            }
            None if key.times.last_signs_ms.is_some() => None,
            None => {
                let new = self.new_key(purpose, alg, now_ms).await?;
                let kid = new.kid.clone();
                writes.push(Write::Key(new));
                Some(kid)
            }
        };
        feed.extend(follower.as_deref().map(changed));
        let audit = self.key_entry(actor, "key.retired", key, &json!({ "reason": reason, "follower": follower }))?;
        let change = Change { writes, audit: vec![audit], feed, outbox: Vec::new() };
        self.commit_whole(change).await?.map_err(|_| ServiceError::Conflict("key"))?;
        Ok(follower)
    }

    /// Moves every key on whose time has come: publishes the next ones, destroys what is not needed any more; called once
    /// a minute.
    ///
    /// # Errors
    /// When the store cannot be read or written; the rest goes the next time.
    pub async fn tend_keys(&self) -> ServiceResult<()> {
        let now_ms = self.clock.now_ms();
        for key in self.store.keys().await? {
            if let Some((action, times, sealed)) = self.next_part(&key, now_ms)? {
                let audit = self.key_entry(&Actor::system(), action, &key, &json!({}))?;
                let feed = vec![changed(&key.kid)];
                let write = Write::MoveKey { kid: key.kid, was: key.times, times, sealed: Some(sealed) };
                // Another replica may have been faster.
                let _ = self.commit(vec![write], audit, feed).await?;
            }
        }
        for (purpose, alg) in self.wanted_keys() {
            self.ensure_key(purpose, alg).await?;
            let period_ms = self.rotation_ms(purpose);
            let held = self.store.keys().await?;
            let newest = held.into_iter().find(|key| is_of(key, purpose, alg) && key.times.last_signs_ms.is_none());
            let due =
                |key: &StoredKey| now_ms >= key.times.signs_from_ms.saturating_add(period_ms).saturating_sub(LEAD_MS);
            if let Some(newest) = newest.filter(due)
                && period_ms > 0
            {
                // The one that was looked at: another replica may have published its follower meanwhile.
                self.publish_follower(&Actor::system(), purpose, alg, newest).await?;
            }
        }
        Ok(())
    }

    /// What becomes of a key that signs no more.
    fn next_part(&self, key: &StoredKey, now_ms: i64) -> ServiceResult<Option<(&'static str, KeyTimes, Vec<u8>)>> {
        let times = key.times;
        Ok(match (times.last_signs_ms, times.verifies_until_ms, times.retired_at_ms) {
            (Some(last), None, None) if now_ms >= last.saturating_add(SKEW_MS) => {
                let ring = RingKey::from_stored(key, &self.crypto)?;
                // Rules only ever grow, so whatever it signed ends before this.
                let longest = self.longest_life_ms(ring.purpose);
                let until = last.saturating_add(SKEW_MS + LEEWAY_MS).saturating_add(longest);
                let times = KeyTimes { verifies_until_ms: Some(until), ..times };
                Some(("key.signs_no_more", times, seal_public(&key.kid, ring.jwk(), &self.crypto)?))
            }
            (_, Some(until), None) if now_ms >= until => {
                Some(("key.destroyed", KeyTimes { retired_at_ms: Some(now_ms), ..times }, Vec::new()))
            }
            _ => None,
        })
    }

    /// How long a key of a purpose signs, milliseconds; 0 for ever. Receipts are verified for years: a key of theirs that
    /// was rotated stays published as long, so they get few.
    fn rotation_ms(&self, purpose: Purpose) -> i64 {
        let secs = match self.key_rotation_secs.load(Ordering::Relaxed) {
            secs if secs > 0 && purpose == Purpose::Receipt => secs.max(KEY_ROTATION_SECS),
            secs => secs,
        };
        secs.saturating_mul(1000)
    }

    /// Purposes and algorithms that somebody needs a key for.
    fn wanted_keys(&self) -> Vec<(Purpose, Algorithm)> {
        let mut wanted = USUAL_KEYS.to_vec();
        let named: BTreeSet<String> =
            self.world.load().audiences.values().map(|audience| audience.alg.clone()).collect();
        for alg in named.iter().filter_map(|alg| Algorithm::parse(alg)) {
            if !wanted.contains(&(Purpose::Eligibility, alg)) {
                wanted.push((Purpose::Eligibility, alg));
            }
        }
        let world = self.world.load();
        let providers = world.identity_providers.values().filter(|provider| !provider.clients.is_empty());
        for alg in providers.filter_map(|provider| Algorithm::parse(&provider.alg)) {
            if !wanted.contains(&(Purpose::ProvidedClaims, alg)) {
                wanted.push((Purpose::ProvidedClaims, alg));
            }
        }
        if !self.world.load().signal_receivers.is_empty() {
            wanted.push((Purpose::Event, Algorithm::Rs256));
        }
        wanted
    }

    /// How long something of a purpose that is signed now can be good, milliseconds.
    pub(crate) fn longest_life_ms(&self, purpose: Purpose) -> i64 {
        match purpose {
            Purpose::Access => super::authenticate::ACCESS_TTL_SECS * 1000,
            Purpose::Eligibility => {
                let world = self.world.load();
                let longest = world.library.policies.values().map(|policy| policy.token_ttl.secs()).max();
                longest.unwrap_or(0).saturating_mul(1000)
            }
            // An auditor may ask as long as what it rests on is kept.
            Purpose::Receipt => self.retention_ms(),
            // An answer about now, for who asked.
            Purpose::Introspection => super::authenticate::ACCESS_TTL_SECS * 1000,
            Purpose::StatusList => crate::token::status_list::LIFE_SECS * 1000,
            // They have no end; what they say of a yes has.
            Purpose::ProvidedClaims => {
                let world = self.world.load();
                let longest = world.library.policies.values().map(|policy| policy.max_ttl.secs()).max();
                longest.unwrap_or(0).saturating_mul(1000)
            }
            // They have no end: a receiver that is behind may look at them some days later.
            Purpose::Event => 7 * 86_400_000,
        }
    }
}
