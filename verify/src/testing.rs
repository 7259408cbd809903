//! Signers and attacks, for tests: of ours and of this package's users.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that fails shall panic where it does"
)]

pub mod attacks;

use crate::jws::VerificationKey;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};

/// Signs tokens as an issuer would, or as an attacker who has a key.
#[derive(Debug)]
pub enum Signer {
    /// `ES256`.
    Es256(EcdsaKeyPair),
    /// `EdDSA`.
    Ed25519(Ed25519KeyPair),
    /// `RS256`.
    Rs256(RsaKeyPair),
}

/// Base64url without padding.
#[must_use]
pub fn b64(bytes: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

impl Signer {
    /// A new key on P-256.
    #[must_use]
    pub fn es256() -> Self {
        Self::Es256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    /// A new key on Ed25519.
    #[must_use]
    pub fn ed25519() -> Self {
        Self::Ed25519(Ed25519KeyPair::generate().unwrap())
    }

    /// A new key of 2048 bits.
    #[must_use]
    pub fn rs256() -> Self {
        Self::Rs256(RsaKeyPair::generate(rsa::KeySize::Rsa2048).unwrap())
    }

    /// A key from its PKCS#8, for the algorithm that its JWK's `kty` names.
    #[must_use]
    pub fn from_pkcs8(kty: &str, pkcs8: &[u8]) -> Self {
        match kty {
            "EC" => Self::Es256(EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8).unwrap()),
            "OKP" => Self::Ed25519(Ed25519KeyPair::from_pkcs8(pkcs8).unwrap()),
            _ => Self::Rs256(RsaKeyPair::from_pkcs8(pkcs8).unwrap()),
        }
    }

    /// What goes into `alg`.
    #[must_use]
    pub fn alg(&self) -> &'static str {
        match self {
            Self::Es256(_) => "ES256",
            Self::Ed25519(_) => "EdDSA",
            Self::Rs256(_) => "RS256",
        }
    }

    /// The public key, without `kid` and `alg`.
    #[must_use]
    pub fn jwk(&self) -> Value {
        match self {
            Self::Es256(pair) => {
                let point = pair.public_key().as_ref();
                json!({"kty": "EC", "crv": "P-256", "x": b64(&point[1..33]), "y": b64(&point[33..])})
            }
            Self::Ed25519(pair) => json!({"kty": "OKP", "crv": "Ed25519", "x": b64(pair.public_key())}),
            Self::Rs256(pair) => {
                let public = pair.public_key();
                json!({"kty": "RSA", "e": b64(public.exponent().big_endian_without_leading_zero()),
                    "n": b64(public.modulus().big_endian_without_leading_zero())})
            }
        }
    }

    /// Signs header and claims as they stand, whether they are JSON or not.
    #[must_use]
    pub fn sign_parts(&self, header: &str, claims: &str) -> String {
        let signed = format!("{}.{}", b64(header), b64(claims));
        let signature = match self {
            Self::Es256(pair) => pair.sign(&SystemRandom::new(), signed.as_bytes()).unwrap().as_ref().to_vec(),
            Self::Ed25519(pair) => pair.sign(signed.as_bytes()).as_ref().to_vec(),
            Self::Rs256(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature).unwrap();
                signature
            }
        };
        format!("{signed}.{}", b64(signature))
    }

    /// Signs header and claims.
    #[must_use]
    pub fn sign(&self, header: &Value, claims: &Value) -> String {
        self.sign_parts(&header.to_string(), &claims.to_string())
    }

    /// The public key as verifiers hold it.
    #[must_use]
    pub fn key(&self, kid: &str) -> VerificationKey {
        VerificationKey::from_jwk(kid, &self.jwk()).unwrap()
    }
}
