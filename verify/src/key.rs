//! Public keys: each has one id and one algorithm, and says itself what it may be used for.

use crate::jws::{JwsError, decode, kid_is_valid};
use crate::strict_json;
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

/// Largest JWK set read, in bytes.
pub const MAX_SET_LENGTH: usize = 256 * 1024;

/// Most keys of a set that are looked at.
pub const MAX_KEYS: usize = 256;

/// The algorithms accepted. Names are compared exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// Ed25519; `EdDSA` and `Ed25519` both name it.
    Ed25519,
    /// RSASSA-PKCS1-v1_5 with SHA-256, 2048 to 8192 bits.
    Rs256,
}

impl Algorithm {
    /// Reads the value of `alg`.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "ES256" => Some(Self::Es256),
            "EdDSA" | "Ed25519" => Some(Self::Ed25519),
            "RS256" => Some(Self::Rs256),
            _ => None,
        }
    }

    /// The name it is published under.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::Ed25519 => "EdDSA",
            Self::Rs256 => "RS256",
        }
    }
}

/// A public key with its id and the one algorithm it is for.
#[derive(Debug, Clone)]
pub struct VerificationKey {
    kid: String,
    material: Material,
}

#[derive(Debug, Clone)]
enum Material {
    /// Uncompressed point.
    Es256(Vec<u8>),
    Ed25519(Vec<u8>),
    Rs256 {
        n: Vec<u8>,
        e: Vec<u8>,
    },
}

impl VerificationKey {
    /// Reads a public JWK and binds it to one algorithm: the one it names, or the only one its type allows.
    ///
    /// # Errors
    /// [`JwsError::Key`] when it is private or symmetric, not for signatures, of another type, curve, size or
    /// exponent, or names another `kid` or algorithm.
    pub fn from_jwk(kid: &str, jwk: &Value) -> Result<Self, JwsError> {
        let members = jwk.as_object().ok_or(JwsError::Key("not an object"))?;
        if !kid_is_valid(kid) || members.get("kid").is_some_and(|own| own.as_str() != Some(kid)) {
            return Err(JwsError::Key("kid"));
        }
        Ok(Self { kid: kid.to_owned(), material: Material::read(members)? })
    }

    /// Reads a public JWK that a token brings along, as a DPoP proof does; its id is its thumbprint.
    ///
    /// SECURITY: such a key proves that its holder signed, and nothing about who that is.
    ///
    /// # Errors
    /// As [`VerificationKey::from_jwk`].
    pub fn from_embedded(jwk: &Value) -> Result<Self, JwsError> {
        let material = Material::read(jwk.as_object().ok_or(JwsError::Key("not an object"))?)?;
        Ok(Self { kid: material.thumbprint(), material })
    }

    /// Its RFC 7638 thumbprint with SHA-256, in base64url.
    #[must_use]
    pub fn thumbprint(&self) -> String {
        self.material.thumbprint()
    }

    /// The key's id.
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The one algorithm it is for.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.material.algorithm()
    }

    /// Verifies a signature over bytes that are no token; those of ECDSA as `r` and `s`, 32 bytes each.
    ///
    /// # Errors
    /// [`JwsError::Signature`].
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), JwsError> {
        match &self.material {
            Material::Es256(point) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature)
            }
            Material::Ed25519(key) => UnparsedPublicKey::new(&ED25519, key).verify(message, signature),
            Material::Rs256 { n, e } => rsa::PublicKeyComponents { n: n.as_slice(), e: e.as_slice() }.verify(
                &RSA_PKCS1_2048_8192_SHA256,
                message,
                signature,
            ),
        }
        .map_err(|_| JwsError::Signature)
    }
}

impl Material {
    fn read(members: &Map<String, Value>) -> Result<Self, JwsError> {
        check_use(members)?;
        let text = |name: &str| members.get(name).and_then(Value::as_str);
        let bytes = |name: &str| text(name).and_then(decode).ok_or(JwsError::Key("a member is missing or malformed"));
        let material = match (text("kty"), text("crv")) {
            (Some("EC"), Some("P-256")) => {
                let (x, y) = (bytes("x")?, bytes("y")?);
                if x.len() != 32 || y.len() != 32 {
                    return Err(JwsError::Key("coordinates"));
                }
                Self::Es256([&[4][..], &x, &y].concat())
            }
            (Some("OKP"), Some("Ed25519")) => {
                let x = bytes("x")?;
                if x.len() != 32 || is_of_small_order(&x) {
                    return Err(JwsError::Key("coordinates"));
                }
                Self::Ed25519(x)
            }
            (Some("RSA"), _) => {
                let (n, e) = (bytes("n")?, bytes("e")?);
                if n.first().is_none_or(|byte| *byte == 0) || !(256..=1024).contains(&n.len()) {
                    return Err(JwsError::Key("modulus"));
                }
                if e != [1, 0, 1] {
                    return Err(JwsError::Key("exponent"));
                }
                Self::Rs256 { n, e }
            }
            _ => return Err(JwsError::Key("type or curve")),
        };
        let named = members.get("alg").map(|value| value.as_str().and_then(Algorithm::parse));
        if named.is_some_and(|algorithm| algorithm != Some(material.algorithm())) {
            return Err(JwsError::Key("algorithm"));
        }
        // The point must lie on the curve: better known when a key is registered than when a token fails.
        if let Self::Es256(point) = &material {
            UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
                .parse()
                .map_err(|_| JwsError::Key("not a point of the curve"))?;
        }
        Ok(material)
    }

    fn algorithm(&self) -> Algorithm {
        match self {
            Self::Es256(_) => Algorithm::Es256,
            Self::Ed25519(_) => Algorithm::Ed25519,
            Self::Rs256 { .. } => Algorithm::Rs256,
        }
    }

    fn thumbprint(&self) -> String {
        let b64 = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        let canonical = match self {
            Self::Es256(point) => {
                let (x, y) = point.get(1..).unwrap_or_default().split_at_checked(32).unwrap_or_default();
                format!(r#"{{"crv":"P-256","kty":"EC","x":"{}","y":"{}"}}"#, b64(x), b64(y))
            }
            Self::Ed25519(x) => format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, b64(x)),
            Self::Rs256 { n, e } => format!(r#"{{"e":"{}","kty":"RSA","n":"{}"}}"#, b64(e), b64(n)),
        };
        b64(digest(&SHA256, canonical.as_bytes()).as_ref())
    }
}

/// Public, and for verifying signatures.
fn check_use(members: &Map<String, Value>) -> Result<(), JwsError> {
    // SECURITY: a private or symmetric key here means someone published or pasted a secret.
    if ["d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"].iter().any(|name| members.contains_key(*name)) {
        return Err(JwsError::Key("not a public key"));
    }
    if members.get("use").is_some_and(|value| value.as_str() != Some("sig")) {
        return Err(JwsError::Key("not for signatures"));
    }
    let verifies = |value: &Value| {
        value.as_array().is_some_and(|list| list.iter().any(|operation| operation.as_str() == Some("verify")))
    };
    if members.get("key_ops").is_some_and(|value| !verifies(value)) {
        return Err(JwsError::Key("not for verification"));
    }
    Ok(())
}

/// SECURITY: under the eight points of small order, in any encoding, some signatures verify over every message.
fn is_of_small_order(x: &[u8]) -> bool {
    const BELOW_SIGN: [[u8; 32]; 7] = small_order();
    let mut unsigned = [0; 32];
    for (to, from) in unsigned.iter_mut().zip(x) {
        *to = *from;
    }
    if let Some(last) = unsigned.last_mut() {
        *last &= 0x7f;
    }
    BELOW_SIGN.contains(&unsigned)
}

/// The y coordinates of the points of small order: 0, 1, two of order eight, p - 1, and p and p + 1 as other texts of 0 and 1.
const fn small_order() -> [[u8; 32]; 7] {
    let zero = [0; 32];
    let mut one = [0; 32];
    one[0] = 1;
    let mut p = [0xff; 32];
    (p[0], p[31]) = (0xed, 0x7f);
    let (mut below, mut above) = (p, p);
    (below[0], above[0]) = (0xec, 0xee);
    [
        zero,
        one,
        [
            0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5, 0xdf,
            0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
        ],
        [
            0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a, 0x20,
            0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
        ],
        below,
        p,
        above,
    ]
}

/// The keys of a JWK set that can be used, and which were passed over.
#[derive(Debug, Default)]
pub struct KeySet {
    /// Keys to verify with.
    pub keys: Vec<VerificationKey>,
    /// Position in the set and reason of each key that was passed over.
    pub passed_over: Vec<(usize, JwsError)>,
}

impl KeySet {
    /// Reads a JWK set (RFC 7517). A key that cannot be used is passed over: it verifies nothing, and the others go
    /// on working.
    ///
    /// # Errors
    /// [`JwsError::Key`] when it is no set, longer than [`MAX_SET_LENGTH`] or holds more than [`MAX_KEYS`].
    pub fn read(bytes: &[u8]) -> Result<Self, JwsError> {
        if bytes.len() > MAX_SET_LENGTH {
            return Err(JwsError::Key("the set is too long"));
        }
        let set = strict_json::parse_object(bytes).map_err(|_| JwsError::Key("the set is not a json object"))?;
        let listed = set.get("keys").and_then(Value::as_array).ok_or(JwsError::Key("the set has no `keys`"))?;
        if listed.len() > MAX_KEYS {
            return Err(JwsError::Key("the set has too many keys"));
        }
        let mut found = Self::default();
        for (position, jwk) in listed.iter().enumerate() {
            let kid = jwk.get("kid").and_then(Value::as_str).ok_or(JwsError::Key("kid"));
            match kid.and_then(|kid| VerificationKey::from_jwk(kid, jwk)) {
                Ok(key) => found.keys.push(key),
                Err(reason) => found.passed_over.push((position, reason)),
            }
        }
        Ok(found)
    }
}
