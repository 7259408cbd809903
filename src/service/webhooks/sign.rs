//! Signatures by Standard Webhooks: symmetric (`v1`) and, where an endpoint asks for it, Ed25519 (`v1a`).

use crate::crypto::{CryptoError, random};
use aws_lc_rs::hmac;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

/// What one generation of messages is signed with.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Secret {
    /// 32 bytes of chance, base64.
    secret: String,
    /// Seed of an Ed25519 key, base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    seed: Option<String>,
    /// Until when it signs beside its successor, epoch milliseconds; none while it is the newest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) until_ms: Option<i64>,
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl Secret {
    /// A new one.
    pub(super) fn new(ed25519: bool) -> Result<Self, CryptoError> {
        let seed = ed25519.then(random::<32>).transpose()?.map(|seed| STANDARD.encode(seed));
        Ok(Self { secret: STANDARD.encode(random::<32>()?), seed, until_ms: None })
    }

    /// As its receiver gets it: `whsec_…`.
    pub(super) fn shown(&self) -> String {
        format!("whsec_{}", self.secret)
    }

    /// The public key of its Ed25519 signatures: `whpk_…`.
    pub(super) fn public_key(&self) -> Result<Option<String>, CryptoError> {
        let key = self.key_pair()?;
        Ok(key.map(|key| format!("whpk_{}", STANDARD.encode(key.public_key().as_ref()))))
    }

    fn key_pair(&self) -> Result<Option<Ed25519KeyPair>, CryptoError> {
        let Some(seed) = &self.seed else { return Ok(None) };
        let seed = STANDARD.decode(seed).map_err(|_| CryptoError::Opening)?;
        Ed25519KeyPair::from_seed_unchecked(&seed).map(Some).map_err(|_| CryptoError::Primitive)
    }

    fn sign(&self, message: &[u8], to: &mut Vec<String>) -> Result<(), CryptoError> {
        let secret = STANDARD.decode(&self.secret).map_err(|_| CryptoError::Opening)?;
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &secret), message);
        to.push(format!("v1,{}", STANDARD.encode(tag)));
        if let Some(key) = self.key_pair()? {
            to.push(format!("v1a,{}", STANDARD.encode(key.sign(message))));
        }
        Ok(())
    }
}

/// The header `webhook-signature` of a message: one signature of each secret that signs at `now_ms`.
pub(super) fn signatures(
    secrets: &[Secret],
    now_ms: i64,
    id: &str,
    timestamp: &str,
    body: &str,
) -> Result<String, CryptoError> {
    let message = format!("{id}.{timestamp}.{body}");
    let mut signatures = Vec::new();
    for secret in secrets.iter().filter(|secret| secret.until_ms.is_none_or(|until| now_ms < until)) {
        secret.sign(message.as_bytes(), &mut signatures)?;
    }
    Ok(signatures.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};

    fn secret(secret: &str, until_ms: Option<i64>) -> Secret {
        Secret { secret: secret.to_owned(), seed: None, until_ms }
    }

    /// The vector that the libraries of Standard Webhooks test with.
    #[test]
    fn the_published_vector_is_met() {
        let held = [secret("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", None)];
        let signed =
            signatures(&held, 0, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", r#"{"test": 2432232314}"#).unwrap();
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn an_old_secret_signs_beside_the_new_one_until_its_end() {
        let (new, old) = (Secret::new(false).unwrap(), Secret::new(false).unwrap());
        let at = |now_ms| {
            let held = [new.clone(), Secret { until_ms: Some(100), ..old.clone() }];
            signatures(&held, now_ms, "id", "1", "{}").unwrap()
        };
        let one = |of: &Secret| signatures(std::slice::from_ref(of), 0, "id", "1", "{}").unwrap();
        assert_eq!(at(99), format!("{} {}", one(&new), one(&old)));
        assert_eq!(at(100), one(&new));
        assert_ne!(one(&new), one(&old));
    }

    #[test]
    fn an_ed25519_signature_is_verified_by_the_public_key_that_is_shown() {
        let held = Secret::new(true).unwrap();
        let public = STANDARD.decode(&held.public_key().unwrap().unwrap()["whpk_".len()..]).unwrap();
        assert_eq!(public.len(), 32);
        let signed = signatures(std::slice::from_ref(&held), 0, "id", "1", "{}").unwrap();
        let (symmetric, own) = signed.split_once(' ').unwrap();
        assert!(symmetric.starts_with("v1,"));
        let tag = STANDARD.decode(own.strip_prefix("v1a,").unwrap()).unwrap();
        let key = UnparsedPublicKey::new(&ED25519, &public);
        key.verify(b"id.1.{}", &tag).unwrap();
        assert!(key.verify(b"id.2.{}", &tag).is_err());
        assert_eq!(Secret::new(false).unwrap().public_key().unwrap(), None);
        assert!(STANDARD.decode(&held.shown()["whsec_".len()..]).is_ok_and(|bytes| bytes.len() == 32));
    }
}
