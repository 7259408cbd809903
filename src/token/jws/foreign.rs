//! Tokens of others: assertions of clients, ID tokens, proofs that bring their key along.
//!
//! They differ from ours in two things that a standard leaves open: `kid` and `typ` may be missing. Everything else is
//! judged as in [`super::verify_jws`].

use super::{Algorithm, JwsError, UnverifiedToken, VerificationKey, kid_is_valid};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

/// The latest second that an instant can be printed in: the end of the year 9999.
const LATEST: i64 = 253_402_300_799;

/// Which values of `typ` a token may have.
#[derive(Debug, Clone, Copy)]
pub struct Types {
    /// Media types without `application/`.
    pub named: &'static [&'static str],
    /// Whether it may have none.
    pub absent: bool,
}

impl Types {
    fn check(self, header: &Map<String, Value>) -> Result<(), JwsError> {
        let Some(typ) = header.get("typ") else { return if self.absent { Ok(()) } else { Err(JwsError::Type) } };
        let typ = typ.as_str().ok_or(JwsError::Type)?.to_ascii_lowercase();
        let typ = typ.strip_prefix("application/").unwrap_or(&typ);
        let fits = self.named.iter().any(|named| named.eq_ignore_ascii_case(typ));
        if fits { Ok(()) } else { Err(JwsError::Type) }
    }
}

impl UnverifiedToken<'_> {
    /// The algorithm that the header names, once it says nothing else that changes what is signed.
    fn algorithm(&self) -> Result<Algorithm, JwsError> {
        if self.header.contains_key("crit") || self.header.contains_key("b64") {
            return Err(JwsError::Header("crit"));
        }
        let name = self.header.get("alg").and_then(Value::as_str).ok_or(JwsError::Header("alg"))?;
        Algorithm::parse(name).ok_or(JwsError::Algorithm)
    }

    /// Verifies it with this key and no other, then its type.
    fn verify_by(self, key: &VerificationKey, types: Types) -> Result<Map<String, Value>, JwsError> {
        if key.algorithm() != self.algorithm()? {
            return Err(JwsError::Algorithm);
        }
        key.verify(self.signed, &self.signature)?;
        types.check(&self.header)?;
        Ok(self.claims)
    }

    /// Verifies it with the registered key that it names; without `kid`, with the one key of its algorithm.
    ///
    /// # Errors
    /// As [`super::verify_jws`]; `UnknownKey` also where no `kid` is named and several keys would come into question.
    pub fn verify_listed(self, keys: &[VerificationKey], types: Types) -> Result<Map<String, Value>, JwsError> {
        let algorithm = self.algorithm()?;
        let kid = match self.header.get("kid") {
            None => None,
            Some(Value::String(kid)) if kid_is_valid(kid) => Some(kid.as_str()),
            Some(_) => return Err(JwsError::Header("kid")),
        };
        let mut named = keys.iter().filter(|key| match kid {
            Some(kid) => key.kid == kid,
            // SECURITY: keys are never tried one after the other.
            None => key.algorithm() == algorithm,
        });
        let (Some(key), None) = (named.next(), named.next()) else { return Err(JwsError::UnknownKey) };
        self.verify_by(key, types)
    }

    /// Verifies it with the public key in its own header (`jwk`): it shows that whoever made it holds that key, and no
    /// more. Gives the key's thumbprint too.
    ///
    /// # Errors
    /// As [`super::verify_jws`]; `Key` for a private, symmetric or unfitting key.
    pub fn verify_brought(self, types: Types) -> Result<(Map<String, Value>, String), JwsError> {
        let jwk = self.header.get("jwk").cloned().ok_or(JwsError::Header("jwk"))?;
        let kid = jwk.get("kid").and_then(Value::as_str).unwrap_or("brought");
        let key = VerificationKey::from_jwk(kid, &jwk)?;
        let thumbprint = thumbprint(&jwk).ok_or(JwsError::Key("a member is missing or malformed"))?;
        Ok((self.verify_by(&key, types)?, thumbprint))
    }
}

/// The SHA-256 thumbprint of a public key (RFC 7638), base64url.
#[must_use]
pub fn thumbprint(jwk: &Value) -> Option<String> {
    let members: &[&str] = match jwk.get("kty")?.as_str()? {
        "EC" => &["crv", "kty", "x", "y"],
        "OKP" => &["crv", "kty", "x"],
        "RSA" => &["e", "kty", "n"],
        _ => return None,
    };
    let text = |name: &&str| Some(format!("{}:{}", Value::from(*name), Value::from(jwk.get(*name)?.as_str()?)));
    let canonical = members.iter().map(text).collect::<Option<Vec<_>>>()?.join(",");
    let canonical = format!("{{{canonical}}}");
    Some(BASE64_URL_SAFE_NO_PAD.encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, canonical.as_bytes())))
}

/// A text, a fraction, or an instant that no calendar has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an instant in whole seconds")]
pub struct NoInstant;

/// A claim that is an instant in whole seconds, `None` where it is absent.
///
/// # Errors
/// [`NoInstant`].
pub fn instant(claims: &Map<String, Value>, name: &str) -> Result<Option<i64>, NoInstant> {
    match claims.get(name) {
        None => Ok(None),
        Some(value) => value.as_i64().filter(|seconds| (0..=LATEST).contains(seconds)).map(Some).ok_or(NoInstant),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::jws::tests::Signer;
    use serde_json::json;

    const TYPES: Types = Types { named: &["a+jwt", "JWT"], absent: true };

    #[test]
    fn rfc_8037_appendix_a_key_has_its_thumbprint() {
        let jwk =
            json!({"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo", "kid": "other"});
        assert_eq!(thumbprint(&jwk).as_deref(), Some("kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"));
    }

    #[test]
    fn rfc_7638_section_3_1_key_has_its_thumbprint() {
        let jwk = json!({"kty": "RSA", "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw",
            "e": "AQAB", "alg": "RS256", "kid": "2011-04-29"});
        assert_eq!(thumbprint(&jwk).as_deref(), Some("NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"));
    }

    #[test]
    fn a_key_is_found_by_kid_or_by_being_the_only_one_of_its_algorithm() {
        let (one, two, other) = (Signer::es256(), Signer::es256(), Signer::ed25519());
        let verify = |token: &str, keys: &[VerificationKey]| {
            UnverifiedToken::parse(token).unwrap().verify_listed(keys, TYPES).map(|_| ())
        };
        let unnamed = one.sign(&json!({"alg": "ES256"}), &json!({}));
        assert_eq!(verify(&unnamed, &[one.key("k1"), other.key("k2")]), Ok(()));
        assert_eq!(verify(&unnamed, &[one.key("k1"), two.key("k2")]), Err(JwsError::UnknownKey));
        assert_eq!(verify(&unnamed, &[two.key("k1")]), Err(JwsError::Signature));
        let named = one.sign(&json!({"alg": "ES256", "kid": "k1"}), &json!({}));
        assert_eq!(verify(&named, &[one.key("k1"), two.key("k2")]), Ok(()));
        assert_eq!(verify(&named, &[one.key("k2")]), Err(JwsError::UnknownKey));
        assert_eq!(verify(&named, &[other.key("k1")]), Err(JwsError::Algorithm));
        for kid in [json!(1), json!(null), json!(""), json!("a b")] {
            let token = one.sign(&json!({"alg": "ES256", "kid": kid}), &json!({}));
            assert_eq!(verify(&token, &[one.key("k1")]), Err(JwsError::Header("kid")), "{kid}");
        }
    }

    #[test]
    fn a_type_is_one_of_those_named_or_absent_where_it_may_be() {
        let signer = Signer::ed25519();
        let verify = |header: Value, types: Types| {
            let token = signer.sign(&header, &json!({}));
            UnverifiedToken::parse(&token).unwrap().verify_listed(&[signer.key("k")], types).map(|_| ())
        };
        for typ in ["a+jwt", "A+JWT", "application/a+jwt", "jwt", "JWT"] {
            assert_eq!(verify(json!({"alg": "EdDSA", "typ": typ}), TYPES), Ok(()), "{typ}");
        }
        for typ in [json!("b+jwt"), json!(""), json!(null), json!(["JWT"]), json!("application/application/a+jwt")] {
            assert_eq!(verify(json!({"alg": "EdDSA", "typ": typ}), TYPES), Err(JwsError::Type), "{typ}");
        }
        assert_eq!(verify(json!({"alg": "EdDSA"}), TYPES), Ok(()));
        assert_eq!(verify(json!({"alg": "EdDSA"}), Types { absent: false, ..TYPES }), Err(JwsError::Type));
    }

    #[test]
    fn a_brought_key_verifies_its_own_token_and_must_be_public() {
        let types = Types { named: &["dpop+jwt"], absent: false };
        let verify = |token: &str| UnverifiedToken::parse(token).unwrap().verify_brought(types).map(|(_, print)| print);
        for signer in [Signer::es256(), Signer::ed25519(), Signer::rs256()] {
            let header = |jwk: Value| json!({"alg": signer.alg(), "typ": "dpop+jwt", "jwk": jwk});
            let token = signer.sign(&header(signer.jwk()), &json!({}));
            assert_eq!(verify(&token).ok(), thumbprint(&signer.jwk()));
            let with = |member: &str, value: Value| {
                let mut jwk = signer.jwk();
                jwk[member] = value;
                verify(&signer.sign(&header(jwk), &json!({}))).unwrap_err()
            };
            assert_eq!(with("d", json!("AAAA")), JwsError::Key("not a public key"));
            assert_eq!(with("use", json!("enc")), JwsError::Key("not for signatures"));
            assert!(verify(&signer.sign(&header(Signer::es256().jwk()), &json!({}))).is_err());
            let bare = signer.sign(&json!({"alg": signer.alg(), "typ": "dpop+jwt"}), &json!({}));
            assert_eq!(verify(&bare).unwrap_err(), JwsError::Header("jwk"));
        }
    }
}
