//! Compact JSON Web Signatures, verified in one order that leaves nothing to the token.
//!
//! Length, characters, three parts, strict base64url, objects without repeated names, no `crit`, an exact algorithm,
//! a key by `kid` among keys we were given, the key's one algorithm, the signature, and only then `typ`. What the
//! claims say is judged in [`crate::token`]: who may have issued it, for whom, and when. Nothing in a header is ever fetched or used as
//! a key, and only public keys are held here.

pub use crate::key::{Algorithm, VerificationKey};

use crate::strict_json;
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
    /// Longer than is read: [`MAX_LENGTH`], unless its profile says otherwise.
    #[error("the token is too long")]
    TooLong,
    /// Another character than those of base64url and the dot.
    #[error("the token has a character that no compact token has")]
    Characters,
    /// Five parts: an encrypted token.
    #[error("the token is encrypted, and only signed ones are accepted")]
    Encrypted,
    /// Not three parts, or an empty one.
    #[error("the token has not three parts")]
    Parts,
    /// A part that is not base64url in its one canonical form without padding.
    #[error("a part of the token is not base64url without padding and stray bits")]
    Encoding,
    /// Header or claims are not one UTF-8 JSON object without repeated names, at most 32 deep.
    #[error("the token's header or claims are not a json object without repeated names")]
    Json,
    /// A header member is missing, of the wrong type, or not allowed.
    #[error("the token's header is not acceptable: `{0}`")]
    Header(&'static str),
    /// An algorithm we do not accept.
    #[error("the token's algorithm is not accepted")]
    Algorithm,
    /// No key, or more than one, has this `kid`.
    #[error("the token's key is unknown")]
    UnknownKey,
    /// An accepted algorithm that is not the key's.
    #[error("the token's algorithm is not that of its key")]
    KeyAlgorithm,
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

impl JwsError {
    /// Its stable code.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::TooLong => "too_long",
            Self::Characters => "bad_characters",
            Self::Encrypted => "encrypted",
            Self::Parts => "bad_parts",
            Self::Encoding => "bad_encoding",
            Self::Json => "bad_json",
            Self::Header(_) => "bad_header",
            Self::Algorithm => "bad_algorithm",
            Self::UnknownKey => "unknown_key",
            Self::KeyAlgorithm => "wrong_algorithm",
            Self::Signature => "bad_signature",
            Self::Type => "wrong_type",
            Self::Key(_) => "bad_key",
        }
    }

    /// Whether the token has not even the form of one.
    #[must_use]
    pub fn is_no_token(self) -> bool {
        matches!(self, Self::Characters | Self::Encrypted | Self::Parts | Self::Encoding | Self::Json)
    }
}

/// What a verified token's header said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The algorithm, which is the key's.
    pub algorithm: Algorithm,
    /// The key's id.
    pub kid: String,
    /// `typ` in lower case and without `application/`, if it has one.
    pub typ: Option<String>,
}

/// Anything signed, taken apart, of which nothing is verified yet. The payload may be any bytes.
#[derive(Debug)]
pub struct UnverifiedJws<'a> {
    signed: &'a [u8],
    header: Map<String, Value>,
    payload: Vec<u8>,
    signature: Vec<u8>,
}

impl<'a> UnverifiedJws<'a> {
    /// Takes it apart, at most `most` bytes of it.
    ///
    /// # Errors
    /// [`JwsError::TooLong`] and what [`JwsError::is_no_token`] names.
    pub fn parse(token: &'a str, most: usize) -> Result<Self, JwsError> {
        if token.len() > most {
            return Err(JwsError::TooLong);
        }
        if !token.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')) {
            return Err(JwsError::Characters);
        }
        let mut parts = token.split('.');
        let (Some(header), Some(payload), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            let encrypted = token.bytes().filter(|byte| *byte == b'.').count() == 4;
            return Err(if encrypted { JwsError::Encrypted } else { JwsError::Parts });
        };
        if [header, payload, signature].contains(&"") {
            return Err(JwsError::Parts);
        }
        let bytes = |part: &str| decode(part).ok_or(JwsError::Encoding);
        let signed = token.rsplit_once('.').map_or(token, |(signed, _)| signed).as_bytes();
        let (header, payload, signature) = (bytes(header)?, bytes(payload)?, bytes(signature)?);
        let header = strict_json::parse_object(&header).map_err(|_| JwsError::Json)?;
        Ok(Self { signed, header, payload, signature })
    }

    /// Verifies it with the one key that its `kid` names, and gives what was signed.
    ///
    /// # Errors
    /// [`JwsError::Header`], [`JwsError::Algorithm`], [`JwsError::UnknownKey`], [`JwsError::KeyAlgorithm`] and
    /// [`JwsError::Signature`], the first of them in this order.
    pub fn verify(self, keys: &[VerificationKey]) -> Result<(Header, Vec<u8>), JwsError> {
        let header = self.judge(keys, false)?;
        Ok((header, self.payload))
    }

    /// Verifies it with the key of its `kid`. Without one, where `unnamed`, with the only key of its algorithm.
    fn judge(&self, keys: &[VerificationKey], unnamed: bool) -> Result<Header, JwsError> {
        let algorithm = self.algorithm()?;
        let kid = match self.header.get("kid") {
            None if unnamed => None,
            kid => Some(kid.and_then(Value::as_str).filter(|kid| kid_is_valid(kid)).ok_or(JwsError::Header("kid"))?),
        };
        // SECURITY: keys are never tried one after the other.
        let mut named = keys.iter().filter(|key| match kid {
            Some(kid) => key.kid() == kid,
            None => key.algorithm() == algorithm,
        });
        let (Some(key), None) = (named.next(), named.next()) else {
            return Err(JwsError::UnknownKey);
        };
        self.judge_by(key, algorithm)
    }

    /// Verifies it with the key it brings along in `jwk`.
    fn judge_embedded(&self) -> Result<(Header, VerificationKey), JwsError> {
        let algorithm = self.algorithm()?;
        let key = VerificationKey::from_embedded(self.header.get("jwk").ok_or(JwsError::Header("jwk"))?)?;
        Ok((self.judge_by(&key, algorithm)?, key))
    }

    /// `alg`, of those accepted, in a header that asks for nothing we do not understand.
    fn algorithm(&self) -> Result<Algorithm, JwsError> {
        // `b64` changes what is signed; it would need `crit`, which nothing here understands.
        if self.header.contains_key("crit") || self.header.contains_key("b64") {
            return Err(JwsError::Header("crit"));
        }
        Algorithm::parse(self.text("alg").ok_or(JwsError::Header("alg"))?).ok_or(JwsError::Algorithm)
    }

    fn judge_by(&self, key: &VerificationKey, algorithm: Algorithm) -> Result<Header, JwsError> {
        // SECURITY: the key says what it is for, never the token.
        if key.algorithm() != algorithm {
            return Err(JwsError::KeyAlgorithm);
        }
        key.verify(self.signed, &self.signature)?;
        let typ = match self.header.get("typ") {
            None => None,
            Some(value) => {
                let named = value.as_str().ok_or(JwsError::Type)?.to_ascii_lowercase();
                Some(named.strip_prefix("application/").unwrap_or(&named).to_owned())
            }
        };
        Ok(Header { algorithm, kid: key.kid().to_owned(), typ })
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.header.get(name).and_then(Value::as_str)
    }
}

/// A token taken apart, of which nothing is verified yet.
#[derive(Debug)]
pub struct UnverifiedToken<'a> {
    jws: UnverifiedJws<'a>,
    claims: Map<String, Value>,
}

impl<'a> UnverifiedToken<'a> {
    /// Takes a token apart.
    ///
    /// # Errors
    /// [`JwsError::TooLong`] and what [`JwsError::is_no_token`] names.
    pub fn parse(token: &'a str) -> Result<Self, JwsError> {
        Self::parse_within(token, MAX_LENGTH)
    }

    /// As [`UnverifiedToken::parse`], up to another length in bytes.
    ///
    /// # Errors
    /// As [`UnverifiedToken::parse`].
    pub fn parse_within(token: &'a str, most: usize) -> Result<Self, JwsError> {
        let mut jws = UnverifiedJws::parse(token, most)?;
        let claims = strict_json::parse_object(&std::mem::take(&mut jws.payload)).map_err(|_| JwsError::Json)?;
        Ok(Self { jws, claims })
    }

    /// A claim nobody has vouched for yet: good for choosing whose keys to try, and for nothing else.
    #[must_use]
    pub fn unverified_claim(&self, name: &str) -> Option<&str> {
        self.claims.get(name).and_then(Value::as_str)
    }

    /// A member of the header nobody has vouched for yet.
    #[must_use]
    pub fn unverified_header(&self, name: &str) -> Option<&str> {
        self.jws.text(name)
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
        let (header, claims) = self.verify_any_type(keys, false)?;
        if header.typ.as_deref() != Some(allowed_type.to_ascii_lowercase().as_str()) {
            return Err(JwsError::Type);
        }
        Ok((header, claims))
    }

    pub(crate) fn verify_any_type(
        self,
        keys: &[VerificationKey],
        unnamed: bool,
    ) -> Result<(Header, Map<String, Value>), JwsError> {
        Ok((self.jws.judge(keys, unnamed)?, self.claims))
    }

    pub(crate) fn verify_embedded(self) -> Result<(Header, Map<String, Value>, VerificationKey), JwsError> {
        let (header, key) = self.jws.judge_embedded()?;
        Ok((header, self.claims, key))
    }
}

/// Verifies a token against the keys of one issuer and returns its header and claims; [`crate::token::verify`] judges
/// the claims too.
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
pub(crate) fn decode(part: &str) -> Option<Vec<u8>> {
    BASE64_URL_SAFE_NO_PAD.decode(part).ok().filter(|bytes| !bytes.is_empty())
}

pub(crate) fn kid_is_valid(kid: &str) -> bool {
    (1..=MAX_KID_LENGTH).contains(&kid.len())
        && kid.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':' | b'~'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Signer, b64};
    use serde_json::json;

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
            assert_eq!(verify_jws(&token, &keys, TYPE).unwrap_err(), JwsError::KeyAlgorithm, "{alg}");
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
            assert!(verify_jws(&token, &keys, TYPE).unwrap_err().is_no_token(), "{token}");
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
            assert_eq!(verify_jws(&token, &keys, TYPE).unwrap_err(), JwsError::Json);
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
