//! Signing keys: one key, one algorithm, one purpose; the private part sealed at rest, and only while it may sign.

use crate::crypto::{Crypto, CryptoError};
use crate::storage::{KeyTimes, StoredKey};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
pub use ring::{KeyRing, RingKey};
use serde_json::{Value, json};

mod known;
mod ring;

/// What a key signs. Keys of one purpose never verify for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// `at+jwt` for API clients.
    Access,
    /// `eligibility+jwt` for gateways.
    Eligibility,
    /// `decision-receipt+jwt` for auditors.
    Receipt,
    /// `token-introspection+jwt` for who introspects.
    Introspection,
    /// `secevent+jwt` for receivers of signals.
    Event,
    /// `statuslist+jwt` for whoever verifies eligibility tokens offline.
    StatusList,
    /// `provided-claims+jwt` for relying parties of identity providers.
    ProvidedClaims,
}

impl Purpose {
    /// Name in storage.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Purpose::Access => "access",
            Purpose::Eligibility => "eligibility",
            Purpose::Receipt => "receipt",
            Purpose::Introspection => "introspection",
            Purpose::StatusList => "status_list",
            Purpose::ProvidedClaims => "provided_claims",
            Purpose::Event => "event",
        }
    }

    /// From its name in storage.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let all = [
            Self::Access,
            Self::Eligibility,
            Self::Receipt,
            Self::Introspection,
            Self::Event,
            Self::StatusList,
            Self::ProvidedClaims,
        ];
        all.into_iter().find(|purpose| purpose.as_str() == text)
    }
}

/// Signature algorithms we issue with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// ECDSA on P-256 with SHA-256 (RFC 7518).
    Es256,
    /// Ed25519, emitted as `EdDSA` (RFC 8037).
    EdDsa,
    /// RSASSA-PKCS1-v1_5 with SHA-256 (RFC 7518).
    Rs256,
}

impl Algorithm {
    /// The `alg` value.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Algorithm::Es256 => "ES256",
            Algorithm::EdDsa => "EdDSA",
            Algorithm::Rs256 => "RS256",
        }
    }

    /// From the `alg` value, exact; `Ed25519` (RFC 9864) names the same key type.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "ES256" => Some(Algorithm::Es256),
            "EdDSA" | "Ed25519" => Some(Algorithm::EdDsa),
            "RS256" => Some(Algorithm::Rs256),
            _ => None,
        }
    }
}

enum Pair {
    Es256(EcdsaKeyPair),
    EdDsa(Ed25519KeyPair),
    Rs256(RsaKeyPair),
}

/// A key that can sign.
pub struct SigningKey {
    /// RFC 7638 thumbprint.
    pub kid: String,
    /// Its one algorithm.
    pub alg: Algorithm,
    /// What it signs.
    pub purpose: Purpose,
    /// Public JWK with `use`, `alg`, `kid`.
    pub jwk: Value,
    pair: Pair,
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SigningKey({}, {})", self.kid, self.alg.as_str())
    }
}

impl SigningKey {
    /// A new key and its PKCS#8.
    ///
    /// # Errors
    /// When generation fails.
    pub fn generate(alg: Algorithm, purpose: Purpose) -> Result<(Self, Vec<u8>), CryptoError> {
        use aws_lc_rs::encoding::AsDer as _;
        let rng = SystemRandom::new();
        let fail = |_| CryptoError::Primitive;
        let pkcs8 = match alg {
            Algorithm::Es256 => {
                EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &rng).map_err(fail)?.as_ref().to_vec()
            }
            Algorithm::EdDsa => Ed25519KeyPair::generate_pkcs8(&rng).map_err(fail)?.as_ref().to_vec(),
            Algorithm::Rs256 => {
                let pair = RsaKeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).map_err(fail)?;
                pair.as_der().map_err(fail)?.as_ref().to_vec()
            }
        };
        Ok((Self::from_pkcs8(alg, purpose, &pkcs8)?, pkcs8))
    }

    /// From PKCS#8.
    ///
    /// # Errors
    /// When the bytes are no key of this algorithm.
    pub fn from_pkcs8(alg: Algorithm, purpose: Purpose, pkcs8: &[u8]) -> Result<Self, CryptoError> {
        let fail = |_| CryptoError::Opening;
        let (pair, mut jwk, thumb_input) = match alg {
            Algorithm::Es256 => {
                let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8).map_err(fail)?;
                // Uncompressed point: 0x04, x, y.
                let point = pair.public_key().as_ref();
                let (x, y) = match point.split_first() {
                    Some((4, rest)) if rest.len() == 64 => rest.split_at(32),
                    _ => return Err(CryptoError::Opening),
                };
                let (x, y) = (B64.encode(x), B64.encode(y));
                let thumb = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
                (Pair::Es256(pair), json!({ "kty": "EC", "crv": "P-256", "x": x, "y": y }), thumb)
            }
            Algorithm::EdDsa => {
                let pair = Ed25519KeyPair::from_pkcs8(pkcs8).map_err(fail)?;
                let x = B64.encode(pair.public_key().as_ref());
                let thumb = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
                (Pair::EdDsa(pair), json!({ "kty": "OKP", "crv": "Ed25519", "x": x }), thumb)
            }
            Algorithm::Rs256 => {
                let pair = RsaKeyPair::from_pkcs8(pkcs8).map_err(fail)?;
                let n = B64.encode(pair.public_key().modulus().big_endian_without_leading_zero());
                let e = B64.encode(pair.public_key().exponent().big_endian_without_leading_zero());
                let thumb = format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#);
                (Pair::Rs256(pair), json!({ "kty": "RSA", "n": n, "e": e }), thumb)
            }
        };
        let kid = B64.encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, thumb_input.as_bytes()));
        if let Some(members) = jwk.as_object_mut() {
            members.insert("use".to_owned(), json!("sig"));
            members.insert("alg".to_owned(), json!(alg.as_str()));
            members.insert("kid".to_owned(), json!(kid));
        }
        Ok(Self { kid, alg, purpose, jwk, pair })
    }

    /// From its stored form.
    ///
    /// # Errors
    /// When the row is not a key of ours that may still sign; [`CryptoError::WeakKey`].
    pub fn from_stored(stored: &StoredKey, crypto: &Crypto) -> Result<Self, CryptoError> {
        let alg = Algorithm::parse(&stored.alg).ok_or(CryptoError::Opening)?;
        let purpose = Purpose::parse(&stored.purpose).ok_or(CryptoError::Opening)?;
        let pkcs8 = crypto.open_secret(&private_context(&stored.kid), &stored.sealed)?;
        let key = Self::from_pkcs8(alg, purpose, &pkcs8)?;
        if key.kid != stored.kid {
            return Err(CryptoError::Opening);
        }
        known::refuse(&key.kid, &key.jwk)?;
        Ok(key)
    }

    /// Its stored form.
    ///
    /// # Errors
    /// When sealing fails.
    pub fn to_stored(&self, pkcs8: &[u8], crypto: &Crypto, times: KeyTimes) -> Result<StoredKey, CryptoError> {
        Ok(StoredKey {
            kid: self.kid.clone(),
            alg: self.alg.as_str().to_owned(),
            purpose: self.purpose.as_str().to_owned(),
            sealed: crypto.seal_secret(&private_context(&self.kid), pkcs8)?,
            jwk: self.jwk.to_string(),
            times,
        })
    }

    /// Signs claims as a compact JWS (RFC 7515) with header `alg`, `kid`, `typ`.
    ///
    /// # Errors
    /// When the primitive fails.
    pub fn sign(&self, typ: &str, claims: &Value) -> Result<String, CryptoError> {
        self.sign_text(typ, &claims.to_string())
    }

    /// As [`SigningKey::sign`], of claims as they stand.
    ///
    /// # Errors
    /// As [`SigningKey::sign`].
    pub fn sign_text(&self, typ: &str, claims: &str) -> Result<String, CryptoError> {
        let header = format!(r#"{{"alg":"{}","kid":"{}","typ":"{typ}"}}"#, self.alg.as_str(), self.kid);
        let mut token = format!("{}.{}", B64.encode(header), B64.encode(claims));
        let rng = SystemRandom::new();
        let signature = match &self.pair {
            Pair::Es256(pair) => {
                pair.sign(&rng, token.as_bytes()).map_err(|_| CryptoError::Primitive)?.as_ref().to_vec()
            }
            Pair::EdDsa(pair) => pair.sign(token.as_bytes()).as_ref().to_vec(),
            Pair::Rs256(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &rng, token.as_bytes(), &mut signature)
                    .map_err(|_| CryptoError::Primitive)?;
                signature
            }
        };
        token.push('.');
        B64.encode_string(signature, &mut token);
        Ok(token)
    }
}

fn private_context(kid: &str) -> String {
    format!("key/{kid}")
}

fn public_context(kid: &str) -> String {
    format!("key/{kid}/public")
}

/// What is kept of a key that signs no more: its public part, sealed, so that nobody who writes to the database can add one.
///
/// # Errors
/// When sealing fails.
pub fn seal_public(kid: &str, jwk: &Value, crypto: &Crypto) -> Result<Vec<u8>, CryptoError> {
    crypto.seal_secret(&public_context(kid), jwk.to_string().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_algorithm_generates_stores_and_comes_back_with_its_thumbprint() {
        let crypto = Crypto::new(&[3; 32]);
        for alg in [Algorithm::Es256, Algorithm::EdDsa, Algorithm::Rs256] {
            let (key, pkcs8) = SigningKey::generate(alg, Purpose::Eligibility).unwrap();
            let stored = key.to_stored(&pkcs8, &crypto, KeyTimes::new(0, 0)).unwrap();
            let back = SigningKey::from_stored(&stored, &crypto).unwrap();
            assert_eq!(back.kid, key.kid);
            assert_eq!(back.jwk["alg"], alg.as_str());
            assert_eq!(back.sign("t", &json!({})).unwrap().split('.').count(), 3);
        }
    }
}
