//! ID tokens of registered identity providers (OpenID Connect Core 1.0 section 3.1.3.7): who somebody is there.

use crate::token::jws::{UnverifiedToken, VerificationKey};
use crate::token::key::KeySet;
use crate::token::profile::{ENTRA_ACCESS, ID_TOKEN};
use crate::token::verifier::{self, Audience, Expected};
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// Longest `sub` (OpenID Connect Core 1.0 section 2).
const MAX_SUB_LENGTH: usize = 255;

/// Somebody as the provider knows them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Their `sub`.
    pub sub: String,
    /// The session there that the token was issued in (OpenID Connect Back-Channel Logout 1.0 section 2.1: `sid`).
    pub sid: Option<String>,
    /// Issue of the token, epoch seconds.
    pub iat: i64,
    /// The end of the token, epoch seconds.
    pub exp: i64,
}

/// What a token says of itself, to find whose keys verify it and nothing else.
#[must_use]
pub fn unverified_issuer(token: &str) -> Option<(String, Option<String>)> {
    let token = UnverifiedToken::parse(token).ok()?;
    Some((token.unverified_claim("iss")?.to_owned(), token.unverified_header("kid").map(str::to_owned)))
}

/// Verifies an ID token of `issuer` for one of `audiences`, at `now` (epoch seconds). `None` for whatever is not one.
#[must_use]
pub fn verify(
    token: &str,
    issuer: &str,
    audiences: &BTreeSet<String>,
    keys: &[VerificationKey],
    now: i64,
) -> Option<Identity> {
    let for_one = |audience: &String| {
        let expected = Expected { issuer: Some(issuer), audience: Audience::Is(audience), at: now };
        verifier::verify(token, keys, &ID_TOKEN, &expected).ok()
    };
    let held = audiences.iter().find_map(for_one)?;
    // A logout token may bear the same type; what tells it is this.
    if held.claims.contains_key("events") || !is_for(&held.claims, audiences)? {
        return None;
    }
    // To the second at its end: a leeway would let what is made of it outlive it.
    let exp = held.times.exp.filter(|exp| now < *exp)?;
    let sub = held.text("sub").filter(|sub| sub.len() <= MAX_SUB_LENGTH)?;
    let sid = match held.claims.get("sid") {
        None => None,
        // SECURITY: what it was got by must be known to end with it.
        Some(_) => Some(held.text("sid").filter(|sid| !sid.is_empty())?.to_owned()),
    };
    Some(Identity { sub: sub.to_owned(), sid, iat: held.times.iat?, exp })
}

/// The application that Microsoft Entra's authentication events service calls as.
pub const ENTRA_EVENTS: &str = "99045fe1-7639-4a75-9d4a-577b6ca3810f";

/// Whether a token is one by which a tenant's authentication events service calls the application `audience`, at `now`
/// (epoch seconds): the caller is named by `azp` in tokens of version 2 and by `appid` in those of version 1.
#[must_use]
pub fn is_entra(token: &str, issuer: &str, audience: &str, tenant: &str, keys: &[VerificationKey], now: i64) -> bool {
    let expected = Expected { issuer: Some(issuer), audience: Audience::Is(audience), at: now };
    let Ok(held) = verifier::verify(token, keys, &ENTRA_ACCESS, &expected) else { return false };
    let is = |name: &str, wanted: &str| held.claims.get(name).map(|value| value.as_str() == Some(wanted));
    let callers = [is("azp", ENTRA_EVENTS), is("appid", ENTRA_EVENTS)];
    // SECURITY: whichever is there has to be right, and one has to be there.
    callers.contains(&Some(true)) && !callers.contains(&Some(false)) && is("tid", tenant) != Some(false)
}

/// Whether it was given to one of ours; where it names several, the authorised party has to be one of ours too.
fn is_for(claims: &Map<String, Value>, audiences: &BTreeSet<String>) -> Option<bool> {
    let ours = |value: &Value| value.as_str().is_some_and(|named| audiences.contains(named));
    let azp = claims.get("azp").map(ours);
    Some(match claims.get("aud")? {
        Value::String(named) => audiences.contains(named) && azp != Some(false),
        Value::Array(list) if list.len() == 1 => list.iter().all(ours) && azp != Some(false),
        Value::Array(list) => list.iter().all(Value::is_string) && list.iter().any(ours) && azp == Some(true),
        _ => false,
    })
}

/// The keys of a JWK set that can be used; keys of other kinds are passed over (RFC 7517 section 5).
///
/// # Errors
/// Says what is wrong with the set.
pub fn parse_jwks(body: &[u8]) -> Result<Vec<VerificationKey>, &'static str> {
    let set = KeySet::read(body).map_err(|_| "the answer is no set of keys")?;
    if set.keys.is_empty() { Err("the answer has no key that can be used") } else { Ok(set.keys) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use vouchsafe_verify::fetch::{Fetcher, Reach};
    use vouchsafe_verify::testing::Signer;
    use wiremock::matchers::path;
    use wiremock::{Mock, MockServer, ResponseTemplate};

    const NOW: i64 = 1_800_000_000;
    const ISSUER: &str = "https://idp.example";

    fn read(signer: &Signer, header: &Value, change: Value, now: i64) -> Option<Identity> {
        let mut claims = json!({"iss": ISSUER, "aud": "app", "sub": "248289761001", "iat": NOW, "exp": NOW + 300});
        for (name, value) in change.as_object().unwrap() {
            match value {
                Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
                value => drop(claims.as_object_mut().unwrap().insert(name.clone(), value.clone())),
            }
        }
        let audiences = ["app", "portal"].map(str::to_owned).into();
        verify(&signer.sign(header, &claims), ISSUER, &audiences, &[signer.key("k1")], now)
    }

    #[test]
    fn an_id_token_for_one_of_ours_tells_who_it_is_until_its_end() {
        let signer = Signer::rs256();
        let header = json!({"alg": "RS256", "kid": "k1"});
        let who = |change: Value, now: i64| read(&signer, &header, change, now);
        let identity = |sid: Option<&str>| {
            Some(Identity { sub: "248289761001".into(), sid: sid.map(str::to_owned), iat: NOW, exp: NOW + 300 })
        };
        let ada = identity(None);
        assert_eq!(who(json!({"sid": "s1"}), NOW), identity(Some("s1")));
        assert_eq!(who(json!({}), NOW), ada);
        assert_eq!(who(json!({}), NOW + 299), ada);
        assert_eq!(who(json!({}), NOW + 300), None);
        assert_eq!(who(json!({}), NOW - 30), ada);
        assert_eq!(who(json!({}), NOW - 31), None);
        assert_eq!(who(json!({"aud": ["portal"]}), NOW), ada);
        assert_eq!(who(json!({"aud": ["app", "else"], "azp": "app"}), NOW), ada);
        for refused in [
            json!({"aud": ["app", "else"]}),
            json!({"aud": ["app", "else"], "azp": "else"}),
            json!({"aud": "app", "azp": "else"}),
            json!({"aud": "else"}),
            json!({"aud": []}),
            json!({"aud": null}),
            json!({"aud": {"app": 1}}),
            json!({"aud": ["app", 1], "azp": "app"}),
            json!({"iss": "https://idp.example/"}),
            json!({"iss": "https://other.example"}),
            json!({"sub": null}),
            json!({"sub": ""}),
            json!({"sub": "s".repeat(256)}),
            json!({"sub": 7}),
            json!({"exp": null}),
            json!({"exp": "1800000300"}),
            json!({"iat": null}),
            json!({"iat": NOW + 31}),
            json!({"nbf": NOW + 31}),
            json!({"nbf": "x"}),
            json!({"sid": ""}),
            json!({"sid": 7}),
            json!({"sid": ["s1"]}),
            json!({"events": {"http://schemas.openid.net/event/backchannel-logout": {}}}),
        ] {
            assert_eq!(who(refused.clone(), NOW), None, "{refused}");
        }
    }

    #[test]
    fn tokens_of_other_kinds_and_other_keys_are_none() {
        let signer = Signer::es256();
        for typ in ["at+jwt", "logout+jwt", "dpop+jwt", "secevent+jwt"] {
            let header = json!({"alg": "ES256", "kid": "k1", "typ": typ});
            assert_eq!(read(&signer, &header, json!({}), NOW), None, "{typ}");
        }
        assert!(read(&signer, &json!({"alg": "ES256", "kid": "k1", "typ": "JWT"}), json!({}), NOW).is_some());
        assert_eq!(read(&signer, &json!({"alg": "ES256", "kid": "k2"}), json!({}), NOW), None);
        assert_eq!(read(&signer, &json!({"alg": "none", "kid": "k1"}), json!({}), NOW), None);
    }

    #[test]
    fn a_set_gives_the_keys_that_can_be_used() {
        let signer = Signer::es256();
        let mut jwk = signer.jwk();
        jwk["kid"] = json!("k1");
        let set = |keys: Value| parse_jwks(json!({"keys": keys}).to_string().as_bytes()).map(|keys| keys.len());
        let encryption = json!({"kty": "RSA", "use": "enc", "kid": "e", "n": "AQ", "e": "AQAB"});
        assert_eq!(set(json!([encryption, jwk, {"kty": "oct", "kid": "s", "k": "AA"}, {}])), Ok(1));
        assert!(set(json!([])).is_err() && set(json!([{}])).is_err() && set(json!({})).is_err());
        assert!(parse_jwks(b"[]").is_err() && parse_jwks(b"").is_err());
    }

    #[tokio::test]
    async fn a_name_of_an_inner_address_is_not_connected_to() {
        let server = MockServer::start().await;
        let url = server.uri().replace("127.0.0.1", "localhost").replace("http:", "https:");
        let refused = Fetcher::new(Reach::Public).unwrap().get(&url, "*/*", 10).await.unwrap_err();
        assert_eq!(refused.why(), "resolves to an address that is not public");
        assert!(server.received_requests().await.unwrap().is_empty());
        // The same server by the same kind of name, where it may be reached.
        let url = server.uri().replace("127.0.0.1", "localhost");
        let found = Fetcher::new(Reach::Loopback).unwrap().get(&url, "*/*", 10).await.unwrap_err();
        assert_eq!((found.why(), server.received_requests().await.unwrap().len()), ("has no answer of 200", 1));
    }

    #[tokio::test]
    async fn a_redirect_is_not_followed_and_a_large_answer_not_read() {
        let server = MockServer::start().await;
        let moved = ResponseTemplate::new(302).insert_header("location", format!("{}/ok", server.uri()));
        Mock::given(path("/moved")).respond_with(moved).mount(&server).await;
        Mock::given(path("/ok")).respond_with(ResponseTemplate::new(200).set_body_string("x")).mount(&server).await;
        let large = ResponseTemplate::new(200).set_body_bytes(vec![b'x'; 11]);
        Mock::given(path("/large")).respond_with(large).mount(&server).await;
        let own = Fetcher::new(Reach::Loopback).unwrap();
        let get = async |path: &str| own.get(&format!("{}{path}", server.uri()), "*/*", 10).await;
        assert_eq!(get("/moved").await.unwrap_err().why(), "redirects");
        assert_eq!(get("/large").await.unwrap_err().why(), "is too long");
        assert_eq!(get("/ok").await.unwrap().body, b"x");
    }
}
