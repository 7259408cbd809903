//! All keys that sign or verify now. Which does what follows from instants, so no job has to be on time.

use super::{Algorithm, Purpose, SigningKey, known, public_context};
use crate::crypto::{Crypto, CryptoError};
use crate::storage::{KeyTimes, StoredKey};
use crate::token::jws::VerificationKey;
use serde_json::{Value, json};
use std::sync::Arc;

/// A key that is not retired.
#[derive(Debug)]
pub struct RingKey {
    /// RFC 7638 thumbprint.
    pub kid: String,
    /// Its one algorithm.
    pub alg: Algorithm,
    /// What it signs.
    pub purpose: Purpose,
    /// Its life.
    pub times: KeyTimes,
    jwk: Value,
    /// Gone when it signs no more.
    signing: Option<Arc<SigningKey>>,
}

impl RingKey {
    /// From its stored form.
    ///
    /// # Errors
    /// When the row is not a key of ours; [`CryptoError::WeakKey`].
    pub fn from_stored(stored: &StoredKey, crypto: &Crypto) -> Result<Self, CryptoError> {
        let (jwk, signing, alg, purpose) = match SigningKey::from_stored(stored, crypto) {
            Ok(key) => (key.jwk.clone(), Some(Arc::new(key)), None, None),
            Err(CryptoError::Opening) => {
                // SECURITY: the sealed copy is believed, not the readable column.
                let plain = crypto.open_secret(&public_context(&stored.kid), &stored.sealed)?;
                let jwk: Value = serde_json::from_slice(&plain).map_err(|_| CryptoError::Opening)?;
                known::refuse(&stored.kid, &jwk)?;
                (jwk, None, Algorithm::parse(&stored.alg), Purpose::parse(&stored.purpose))
            }
            Err(error) => return Err(error),
        };
        let alg = signing.as_ref().map(|key| key.alg).or(alg).ok_or(CryptoError::Opening)?;
        let purpose = signing.as_ref().map(|key| key.purpose).or(purpose).ok_or(CryptoError::Opening)?;
        Ok(Self { kid: stored.kid.clone(), alg, purpose, times: stored.times, jwk, signing })
    }

    /// Public JWK with `use`, `alg`, `kid`.
    #[must_use]
    pub fn jwk(&self) -> &Value {
        &self.jwk
    }

    fn verifies(&self, now_ms: i64) -> bool {
        self.times.retired_at_ms.is_none() && self.times.verifies_until_ms.is_none_or(|until| now_ms < until)
    }
}

/// All keys of the deployment, newest first.
#[derive(Debug, Default)]
pub struct KeyRing {
    keys: Vec<RingKey>,
    access: Vec<VerificationKey>,
    eligibility: Vec<VerificationKey>,
    receipt: Vec<VerificationKey>,
    status_list: Vec<VerificationKey>,
}

impl KeyRing {
    /// From keys that are not retired.
    #[must_use]
    pub fn new(mut keys: Vec<RingKey>) -> Self {
        // Of two that began at once, the one that is not followed.
        let age = |key: &RingKey| (key.times.signs_from_ms, key.times.last_signs_ms.is_none(), key.kid.clone());
        keys.sort_by_key(|key| std::cmp::Reverse(age(key)));
        let verifiers = |purpose: Purpose| {
            let own = keys.iter().filter(|key| key.purpose == purpose);
            own.filter_map(|key| VerificationKey::from_jwk(&key.kid, &key.jwk).ok()).collect()
        };
        Self {
            access: verifiers(Purpose::Access),
            eligibility: verifiers(Purpose::Eligibility),
            receipt: verifiers(Purpose::Receipt),
            status_list: verifiers(Purpose::StatusList),
            keys,
        }
    }

    /// The key to sign with at an instant: the newest whose time has come.
    #[must_use]
    pub fn signer(&self, purpose: Purpose, alg: Algorithm, now_ms: i64) -> Option<&Arc<SigningKey>> {
        let due = |key: &&RingKey| key.purpose == purpose && key.alg == alg && key.times.signs_from_ms <= now_ms;
        self.keys.iter().filter(due).find_map(|key| key.signing.as_ref())
    }

    /// What tokens of a purpose verify with. Whether the key that did is still good is [`KeyRing::verifies`]'s to say.
    #[must_use]
    pub fn verifiers(&self, purpose: Purpose) -> &[VerificationKey] {
        match purpose {
            Purpose::Access => &self.access,
            Purpose::Eligibility => &self.eligibility,
            Purpose::Receipt => &self.receipt,
            Purpose::StatusList => &self.status_list,
            // Nothing of this kind ever comes back to us.
            Purpose::Introspection | Purpose::Event | Purpose::ProvidedClaims => &[],
        }
    }

    /// Whether what a key signed is believed at an instant.
    #[must_use]
    pub fn verifies(&self, purpose: Purpose, kid: &str, now_ms: i64) -> bool {
        self.keys.iter().any(|key| key.purpose == purpose && key.kid == kid && key.verifies(now_ms))
    }

    /// The JWK set (RFC 7517) of all public keys that verify at an instant.
    #[must_use]
    pub fn jwks(&self, now_ms: i64) -> Value {
        let published = self.keys.iter().filter(|key| key.verifies(now_ms));
        json!({ "keys": published.map(|key| key.jwk.clone()).collect::<Vec<_>>() })
    }
}
