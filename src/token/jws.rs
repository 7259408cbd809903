//! Compact JSON Web Signatures, verified in one order that leaves nothing to the token.
//!
//! Length, characters, three parts, strict base64url, objects without repeated names, no `crit`, an exact algorithm,
//! a key by `kid` among keys we were given, the key's one algorithm, the signature, and only then `typ`. Claims are
//! the caller's business: who may have issued it, for whom, and when. Nothing in a header is ever fetched or used as
//! a key, and only public keys are held here.

pub mod foreign;

use crate::strict_json;
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

/// Longest token read, in bytes.
pub const MAX_LENGTH: usize = 16 * 1024;

/// Longest key id.
const MAX_KID_LENGTH: usize = 128;

/// Why a token or key is not acceptable. Carries no part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JwsError {
    /// Longer than [`MAX_LENGTH`].
    #[error("the token is too long")]
    TooLong,
    /// Not three non-empty base64url parts of which two are JSON objects without repeated names.
    #[error("not a compact signed token")]
    NotAToken,
    /// A header member is missing, of the wrong type, or not allowed.
    #[error("the token's header is not acceptable: {0}")]
    Header(&'static str),
    /// An algorithm we do not accept, or not the key's.
    #[error("the token's algorithm is not acceptable")]
    Algorithm,
    /// No key, or more than one, has this `kid`.
    #[error("the token's key is unknown")]
    UnknownKey,
    /// The signature is not the key's over this token.
    #[error("the token's signature does not verify")]
    Signature,
    /// A token of another kind.
    #[error("the token is of another type")]
    Type,
    /// A public key that cannot be used.
    #[error("the key is not acceptable: {0}")]
    Key(&'static str),
}

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
        let text = |name: &str| members.get(name).and_then(Value::as_str);
        let bytes = |name: &str| text(name).and_then(decode).ok_or(JwsError::Key("a member is missing or malformed"));
        if !kid_is_valid(kid) || members.get("kid").is_some_and(|own| own.as_str() != Some(kid)) {
            return Err(JwsError::Key("kid"));
        }
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
        let material = match (text("kty"), text("crv")) {
            (Some("EC"), Some("P-256")) => {
                let (x, y) = (bytes("x")?, bytes("y")?);
                if x.len() != 32 || y.len() != 32 {
                    return Err(JwsError::Key("coordinates"));
                }
                Material::Es256([&[4][..], &x, &y].concat())
            }
            (Some("OKP"), Some("Ed25519")) => {
                let x = bytes("x")?;
                if x.len() != 32 {
                    return Err(JwsError::Key("coordinates"));
                }
                Material::Ed25519(x)
            }
            (Some("RSA"), _) => {
                let (n, e) = (bytes("n")?, bytes("e")?);
                if n.first().is_none_or(|byte| *byte == 0) || !(256..=1024).contains(&n.len()) {
                    return Err(JwsError::Key("modulus"));
                }
                if e != [1, 0, 1] {
                    return Err(JwsError::Key("exponent"));
                }
                Material::Rs256 { n, e }
            }
            _ => return Err(JwsError::Key("type or curve")),
        };
        let key = Self { kid: kid.to_owned(), material };
        let named = members.get("alg").map(|value| value.as_str().and_then(Algorithm::parse));
        if named.is_some_and(|algorithm| algorithm != Some(key.algorithm())) {
            return Err(JwsError::Key("algorithm"));
        }
        // The point must lie on the curve: better known when a key is registered than when a token fails.
        if let Material::Es256(point) = &key.material {
            UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
                .parse()
                .map_err(|_| JwsError::Key("not a point of the curve"))?;
        }
        Ok(key)
    }

    /// The key's id.
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The one algorithm it is for.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        match self.material {
            Material::Es256(_) => Algorithm::Es256,
            Material::Ed25519(_) => Algorithm::Ed25519,
            Material::Rs256 { .. } => Algorithm::Rs256,
        }
    }

    fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), JwsError> {
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

/// What a verified token's header said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The algorithm, which is the key's.
    pub algorithm: Algorithm,
    /// The key's id.
    pub kid: String,
}

/// A token taken apart, of which nothing is verified yet.
#[derive(Debug)]
pub struct UnverifiedToken<'a> {
    signed: &'a [u8],
    header: Map<String, Value>,
    claims: Map<String, Value>,
    signature: Vec<u8>,
}

impl<'a> UnverifiedToken<'a> {
    /// Takes a token apart.
    ///
    /// # Errors
    /// [`JwsError::TooLong`] and [`JwsError::NotAToken`].
    pub fn parse(token: &'a str) -> Result<Self, JwsError> {
        Self::parse_within(token, MAX_LENGTH)
    }

    /// As [`UnverifiedToken::parse`], up to another length in bytes.
    ///
    /// # Errors
    /// As [`UnverifiedToken::parse`].
    pub fn parse_within(token: &'a str, most: usize) -> Result<Self, JwsError> {
        if token.len() > most {
            return Err(JwsError::TooLong);
        }
        if !token.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')) {
            return Err(JwsError::NotAToken);
        }
        // Five parts would be an encrypted token; four dots more are nothing at all.
        let (signed, signature) = token.rsplit_once('.').ok_or(JwsError::NotAToken)?;
        let (header, claims) = signed.split_once('.').ok_or(JwsError::NotAToken)?;
        let object = |part: &str| {
            let bytes = decode(part).ok_or(JwsError::NotAToken)?;
            strict_json::parse_object(&bytes).map_err(|_| JwsError::NotAToken)
        };
        let signature = decode(signature).ok_or(JwsError::NotAToken)?;
        Ok(Self { signed: signed.as_bytes(), header: object(header)?, claims: object(claims)?, signature })
    }

    /// A claim nobody has vouched for yet: good for choosing whose keys to try, and for nothing else.
    #[must_use]
    pub fn unverified_claim(&self, name: &str) -> Option<&str> {
        self.claims.get(name).and_then(Value::as_str)
    }

    /// A member of the header nobody has vouched for yet.
    #[must_use]
    pub fn unverified_header(&self, name: &str) -> Option<&str> {
        self.header.get(name).and_then(Value::as_str)
    }

    /// All claims, though nobody has vouched for them.
    #[must_use]
    pub fn unverified_claims(self) -> Map<String, Value> {
        self.claims
    }

    /// Verifies it; see [`verify_jws`].
    ///
    /// # Errors
    /// As [`verify_jws`], without those of taking it apart.
    pub fn verify(
        self,
        keys: &[VerificationKey],
        allowed_type: &str,
    ) -> Result<(Header, Map<String, Value>), JwsError> {
        let Self { signed, header, claims, signature } = self;
        // `b64` changes what is signed; it would need `crit`, which nothing here understands.
        if header.contains_key("crit") || header.contains_key("b64") {
            return Err(JwsError::Header("crit"));
        }
        let text = |name: &'static str| header.get(name).and_then(Value::as_str).ok_or(JwsError::Header(name));
        let algorithm = Algorithm::parse(text("alg")?).ok_or(JwsError::Algorithm)?;
        let kid = text("kid")?;
        if !kid_is_valid(kid) {
            return Err(JwsError::Header("kid"));
        }
        let mut named = keys.iter().filter(|key| key.kid == kid);
        let (Some(key), None) = (named.next(), named.next()) else {
            return Err(JwsError::UnknownKey);
        };
        // SECURITY: the key says what it is for, never the token.
        if key.algorithm() != algorithm {
            return Err(JwsError::Algorithm);
        }
        key.verify(signed, &signature)?;
        let named_type = text("typ").map_err(|_| JwsError::Type)?.to_ascii_lowercase();
        let named_type = named_type.strip_prefix("application/").unwrap_or(&named_type);
        if named_type != allowed_type.to_ascii_lowercase() {
            return Err(JwsError::Type);
        }
        Ok((Header { algorithm, kid: kid.to_owned() }, claims))
    }
}

/// Verifies a token against the keys of one issuer and returns its header and claims.
///
/// `allowed_type` is the media type without `application/`, such as `vouch+jwt`; the token must name it.
///
/// # Errors
/// The first [`JwsError`] in the order of this module's description.
pub fn verify_jws(
    token: &str,
    keys: &[VerificationKey],
    allowed_type: &str,
) -> Result<(Header, Map<String, Value>), JwsError> {
    UnverifiedToken::parse(token)?.verify(keys, allowed_type)
}

/// Strict base64url: no padding, no stray bits, never empty.
fn decode(part: &str) -> Option<Vec<u8>> {
    BASE64_URL_SAFE_NO_PAD.decode(part).ok().filter(|bytes| !bytes.is_empty())
}

fn kid_is_valid(kid: &str) -> bool {
    (1..=MAX_KID_LENGTH).contains(&kid.len())
        && kid.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':' | b'~'))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
    };
    use serde_json::json;

    /// Signs tokens as an issuer would, or as an attacker who has a key.
    pub(crate) enum Signer {
        Es256(EcdsaKeyPair),
        Ed25519(Ed25519KeyPair),
        Rs256(RsaKeyPair),
    }

    pub(crate) fn b64(bytes: impl AsRef<[u8]>) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(bytes)
    }

    impl Signer {
        pub(crate) fn es256() -> Self {
            Self::Es256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
        }

        pub(crate) fn ed25519() -> Self {
            Self::Ed25519(Ed25519KeyPair::generate().unwrap())
        }

        pub(crate) fn rs256() -> Self {
            Self::Rs256(RsaKeyPair::generate(rsa::KeySize::Rsa2048).unwrap())
        }

        pub(crate) fn alg(&self) -> &'static str {
            match self {
                Self::Es256(_) => "ES256",
                Self::Ed25519(_) => "EdDSA",
                Self::Rs256(_) => "RS256",
            }
        }

        pub(crate) fn jwk(&self) -> Value {
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

        pub(crate) fn sign_parts(&self, header: &str, claims: &str) -> String {
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

        pub(crate) fn sign(&self, header: &Value, claims: &Value) -> String {
            self.sign_parts(&header.to_string(), &claims.to_string())
        }

        pub(crate) fn key(&self, kid: &str) -> VerificationKey {
            VerificationKey::from_jwk(kid, &self.jwk()).unwrap()
        }
    }

    const TYPE: &str = "vouch+jwt";

    fn header(alg: &str) -> Value {
        json!({"alg": alg, "kid": "k1", "typ": TYPE})
    }

    #[test]
    fn each_algorithm_verifies_and_every_changed_character_does_not() {
        for signer in [Signer::es256(), Signer::ed25519(), Signer::rs256()] {
            let keys = [signer.key("k1")];
            let token = signer.sign(&header(signer.alg()), &json!({"iss": "org_a"}));
            let (read, claims) = verify_jws(&token, &keys, TYPE).unwrap();
            assert_eq!((read.kid.as_str(), &claims["iss"]), ("k1", &json!("org_a")));
            for at in 0..token.len() {
                let mut wrong = token.clone().into_bytes();
                wrong[at] = if wrong[at] == b'A' { b'B' } else { b'A' };
                let wrong = String::from_utf8(wrong).unwrap();
                assert!(verify_jws(&wrong, &keys, TYPE).is_err(), "{} at {at}", signer.alg());
            }
        }
    }

    #[test]
    fn rfc_8037_appendix_a_signature_verifies() {
        let jwk = json!({"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"});
        let key = VerificationKey::from_jwk("k1", &jwk).unwrap();
        let signed = b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
        let signature =
            decode("hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg").unwrap();
        assert!(key.verify(signed, &signature).is_ok());
    }

    #[test]
    fn rfc_7515_appendix_a_signatures_verify() {
        let es256 = json!({"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
            "y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"});
        let signed = b"eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
        let signature =
            decode("DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q").unwrap();
        let key = VerificationKey::from_jwk("k", &es256).unwrap();
        assert!(key.verify(signed, &signature).is_ok());
        assert!(key.verify(&signed[1..], &signature).is_err());
        assert!(key.verify(signed, &[0; 64]).is_err());
    }

    #[test]
    fn the_key_decides_the_algorithm() {
        let (es, ed, rs) = (Signer::es256(), Signer::ed25519(), Signer::rs256());
        let keys = [es.key("k1"), ed.key("k2"), rs.key("k3")];
        let claims = json!({});
        for alg in ["none", "None", "noNE", "HS256", "es256", "ES384", "PS256", "eddsa", "ES256K", "", " ES256"] {
            let token = es.sign(&header(alg), &claims);
            assert_eq!(verify_jws(&token, &keys, TYPE).unwrap_err(), JwsError::Algorithm, "{alg}");
        }
        for alg in ["EdDSA", "Ed25519", "RS256"] {
            let token = es.sign(&header(alg), &claims);
            assert_eq!(verify_jws(&token, &keys, TYPE).unwrap_err(), JwsError::Algorithm, "{alg}");
        }
        for alg in ["EdDSA", "Ed25519"] {
            let token = ed.sign(&json!({"alg": alg, "kid": "k2", "typ": TYPE}), &claims);
            assert!(verify_jws(&token, &keys, TYPE).is_ok());
        }
        // An HMAC keyed with the public key, the classic confusion.
        let signed = format!("{}.{}", b64(header("HS256").to_string()), b64("{}"));
        let secret = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, es.jwk().to_string().as_bytes());
        let token = format!("{signed}.{}", b64(aws_lc_rs::hmac::sign(&secret, signed.as_bytes())));
        assert_eq!(verify_jws(&token, &keys, TYPE).unwrap_err(), JwsError::Algorithm);
    }

    #[test]
    fn algorithm_names_are_exact() {
        for name in ["eddsa", "EDDSA", "ed25519", "es256", "Es256", "rs256", "ES256 ", "RSA256", "none", ""] {
            assert_eq!(Algorithm::parse(name), None, "{name}");
        }
        assert_eq!(Algorithm::parse("Ed25519"), Algorithm::parse("EdDSA"));
    }

    #[test]
    fn keys_are_found_by_kid_and_never_guessed() {
        let (one, two) = (Signer::es256(), Signer::es256());
        let keys = [one.key("k1"), two.key("k2")];
        let claims = json!({});
        let with = |kid: Value| one.sign(&json!({"alg": "ES256", "kid": kid, "typ": TYPE}), &claims);
        assert!(verify_jws(&with(json!("k1")), &keys, TYPE).is_ok());
        assert_eq!(verify_jws(&with(json!("k2")), &keys, TYPE).unwrap_err(), JwsError::Signature);
        assert_eq!(verify_jws(&with(json!("k3")), &keys, TYPE).unwrap_err(), JwsError::UnknownKey);
        assert_eq!(verify_jws(&with(json!("K1")), &keys, TYPE).unwrap_err(), JwsError::UnknownKey);
        for kid in [json!(null), json!(1), json!(""), json!("a' or 1=1"), json!("../k1"), json!("k".repeat(129))] {
            assert_eq!(verify_jws(&with(kid.clone()), &keys, TYPE).unwrap_err(), JwsError::Header("kid"), "{kid}");
        }
        let twice = [one.key("k1"), two.key("k1")];
        assert_eq!(verify_jws(&with(json!("k1")), &twice, TYPE).unwrap_err(), JwsError::UnknownKey);
        assert_eq!(verify_jws(&with(json!("k1")), &[], TYPE).unwrap_err(), JwsError::UnknownKey);
        // A key brought along is not used.
        let stranger = Signer::es256();
        let brought = json!({"alg": "ES256", "kid": "k1", "typ": TYPE, "jwk": stranger.jwk(), "jku": "https://a.test"});
        assert_eq!(verify_jws(&stranger.sign(&brought, &claims), &keys, TYPE).unwrap_err(), JwsError::Signature);
    }

    #[test]
    fn types_keep_tokens_of_other_kinds_out() {
        let signer = Signer::ed25519();
        let keys = [signer.key("k1")];
        let with = |typ: Value| signer.sign(&json!({"alg": "EdDSA", "kid": "k1", "typ": typ}), &json!({}));
        for typ in ["vouch+jwt", "application/vouch+jwt", "VOUCH+JWT", "Application/Vouch+Jwt"] {
            assert!(verify_jws(&with(json!(typ)), &keys, TYPE).is_ok(), "{typ}");
        }
        for typ in [json!("JWT"), json!("at+jwt"), json!(null), json!(""), json!("application/application/vouch+jwt")] {
            assert_eq!(verify_jws(&with(typ.clone()), &keys, TYPE).unwrap_err(), JwsError::Type, "{typ}");
        }
        let without = signer.sign(&json!({"alg": "EdDSA", "kid": "k1"}), &json!({}));
        assert_eq!(verify_jws(&without, &keys, TYPE).unwrap_err(), JwsError::Type);
        // The signature is judged first: a stranger learns nothing about types.
        let stranger = Signer::ed25519().sign(&json!({"alg": "EdDSA", "kid": "k1", "typ": "JWT"}), &json!({}));
        assert_eq!(verify_jws(&stranger, &keys, TYPE).unwrap_err(), JwsError::Signature);
    }

    #[test]
    fn critical_extensions_and_unencoded_payloads_are_refused() {
        let signer = Signer::ed25519();
        for extra in [json!({"crit": []}), json!({"crit": ["exp"]}), json!({"crit": null}), json!({"b64": false})] {
            let mut header = header("EdDSA");
            header.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            let token = signer.sign(&header, &json!({}));
            assert_eq!(verify_jws(&token, &[signer.key("k1")], TYPE).unwrap_err(), JwsError::Header("crit"));
        }
    }

    #[test]
    fn only_three_strict_parts_are_a_token() {
        let signer = Signer::ed25519();
        let keys = [signer.key("k1")];
        let good = signer.sign(&header("EdDSA"), &json!({}));
        let parts: Vec<&str> = good.split('.').collect();
        let (h, c, s) = (parts[0], parts[1], parts[2]);
        let bad = [
            String::new(),
            ".".into(),
            "..".into(),
            "...".into(),
            format!("{h}.{c}"),
            format!("{h}.{c}."),
            format!("{h}..{s}"),
            format!(".{c}.{s}"),
            format!("{h}.{c}.{s}.{s}"),
            format!("{h}.{c}.{s}.{s}.{s}"),
            format!("{good}."),
            format!(".{good}"),
            format!("{h}.{c}.{s}=="),
            format!("{good} "),
            format!(" {good}"),
            format!("{good}\n"),
            format!("{h}.{c}.{s}+"),
            format!("{h}.{c}.{s}/"),
            format!("{h}.{c}.{s}ü"),
            format!("{h}.{c}.{s}\0"),
            format!("{h}A.{c}.{s}"),
            format!("{}.{c}.{s}", b64("[]")),
            format!("{}.{c}.{s}", b64("{}{}")),
            format!("{}.{c}.{s}", b64(b"\xff")),
        ];
        for token in bad {
            assert_eq!(verify_jws(&token, &keys, TYPE).unwrap_err(), JwsError::NotAToken, "{token}");
        }
        // Stray bits in the last character: another text of the same bytes.
        let stray = format!("{}{}", &good[..good.len() - 1], if good.ends_with('A') { "B" } else { "z" });
        assert!(verify_jws(&stray, &keys, TYPE).is_err());
    }

    #[test]
    fn repeated_members_are_refused_in_header_and_claims() {
        let signer = Signer::ed25519();
        let keys = [signer.key("k1")];
        let plain = header("EdDSA").to_string();
        let twice = r#"{"alg":"none","alg":"EdDSA","kid":"k1","typ":"vouch+jwt"}"#;
        for token in [
            signer.sign_parts(twice, "{}"),
            signer.sign_parts(&plain, r#"{"iss":"org_a","iss":"org_b"}"#),
            signer.sign_parts(&plain, r#"{"iss":"org_a","\u0069ss":"org_b"}"#),
            signer.sign_parts(&plain, r#"{"vouch":{"frame":"a","frame":"b"}}"#),
        ] {
            assert_eq!(verify_jws(&token, &keys, TYPE).unwrap_err(), JwsError::NotAToken);
        }
    }

    #[test]
    fn length_is_capped_exactly() {
        let signer = Signer::ed25519();
        let sized = |padding: usize| signer.sign(&header("EdDSA"), &json!({"p": "x".repeat(padding)}));
        let (mut fits, mut exceeds) = (0, 0);
        for padding in 12_000..12_300 {
            let token = sized(padding);
            match verify_jws(&token, &[signer.key("k1")], TYPE) {
                Ok(_) => fits = fits.max(token.len()),
                Err(error) => {
                    assert_eq!(error, JwsError::TooLong);
                    exceeds = token.len();
                }
            }
        }
        assert!(fits <= MAX_LENGTH && exceeds > MAX_LENGTH && fits + 2 > MAX_LENGTH - 2);
    }

    #[test]
    fn keys_that_do_not_fit_are_refused_when_registered() {
        let refused = |jwk: Value| VerificationKey::from_jwk("k1", &jwk).unwrap_err();
        let changed = |signer: &Signer, change: Value| {
            let mut jwk = signer.jwk();
            jwk.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
            jwk
        };
        let (es, ed, rs) = (Signer::es256(), Signer::ed25519(), Signer::rs256());
        for change in [
            json!({"d": "AAAA"}),
            json!({"k": "AAAA"}),
            json!({"use": "enc"}),
            json!({"use": null}),
            json!({"key_ops": ["sign"]}),
            json!({"key_ops": "verify"}),
            json!({"alg": "ES384"}),
            json!({"alg": "none"}),
            json!({"alg": 1}),
            json!({"kid": "k2"}),
            json!({"kid": 1}),
            json!({"kty": "oct"}),
            json!({"kty": null}),
        ] {
            for signer in [&es, &ed, &rs] {
                assert!(matches!(refused(changed(signer, change.clone())), JwsError::Key(_)), "{change}");
            }
        }
        for change in [json!({"crv": "P-384"}), json!({"x": "AAAA"}), json!({"y": es.jwk()["x"]}), json!({"x": ""})] {
            refused(changed(&es, change));
        }
        for change in [json!({"crv": "Ed448"}), json!({"crv": "X25519"}), json!({"x": "AAAA"}), json!({"x": null})] {
            refused(changed(&ed, change));
        }
        for change in [json!({"e": "Aw"}), json!({"e": "AQ"}), json!({"e": "AAEAAQ"}), json!({"n": "AQAB"})] {
            refused(changed(&rs, change));
        }
        let zero = b64([&[0_u8][..], &[0xff; 256]].concat());
        refused(changed(&rs, json!({"n": zero})));
        refused(json!([]));
        refused(json!(null));
        assert!(VerificationKey::from_jwk("", &es.jwk()).is_err());
        assert!(VerificationKey::from_jwk("a b", &es.jwk()).is_err());
        let complete = json!({"alg": "ES256", "use": "sig", "kid": "k1", "key_ops": ["verify"], "x5t": "ignored"});
        assert!(VerificationKey::from_jwk("k1", &changed(&es, complete)).is_ok());
    }

    #[test]
    fn der_and_wrong_length_signatures_of_ecdsa_are_refused() {
        let signer = Signer::es256();
        let key = signer.key("k1");
        let token = signer.sign(&header("ES256"), &json!({}));
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let raw = decode(signature).unwrap();
        for wrong in [&raw[..63], &[&raw[..], &[0]].concat(), &[&[0x30, 0x44, 2, 0x20][..], &raw].concat(), &[0; 64]] {
            assert_eq!(key.verify(signed.as_bytes(), wrong), Err(JwsError::Signature));
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_answered(token in "[A-Za-z0-9_.-]{0,200}|.{0,100}") {
            let _ = verify_jws(&token, &[], TYPE);
        }
    }
}
