//! A client proves itself by a signed assertion (`private_key_jwt`: RFC 7523, with the stricter audience of its update).

use super::jws::foreign::{Types, instant};
use super::jws::{JwsError, UnverifiedToken, VerificationKey};
use serde_json::{Map, Value};

/// Types of an assertion: older clients name none, or `JWT`.
const TYPES: Types = Types { named: &["client-authentication+jwt", "JWT"], absent: true };

/// How far two honest clocks may differ, in seconds.
pub const LEEWAY_SECS: i64 = 30;

/// How far ahead an assertion may end, in seconds.
pub const MAX_AHEAD_SECS: i64 = 300;

/// Longest `jti`, in bytes.
const MAX_JTI_LENGTH: usize = 256;

/// Why an assertion proves nothing. Carries no part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AssertionError {
    /// It is not a token signed with a key of this client: a stranger learns nothing more.
    #[error("the assertion is not signed by the client: {0}")]
    Unproven(#[from] JwsError),
    /// The client signed it, and it cannot be used; says why.
    #[error("{0}")]
    Unfit(&'static str),
}

/// An assertion that holds. That it was not used before is for the caller to see to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assertion {
    /// To be spent once by this client.
    pub jti: String,
    /// Its end, epoch seconds.
    pub exp: i64,
}

/// The client that an assertion claims to come from: only to look up its keys.
#[must_use]
pub fn unverified_client(token: &str) -> Option<String> {
    UnverifiedToken::parse(token).ok()?.unverified_claim("sub").map(str::to_owned)
}

/// Verifies an assertion of `client`, signed with one of its `keys`, at `now` (epoch seconds). Its audience is one of
/// `audiences`, alone.
///
/// # Errors
/// [`AssertionError`].
pub fn verify(
    token: &str,
    client: &str,
    keys: &[VerificationKey],
    audiences: &[&str],
    now: i64,
) -> Result<Assertion, AssertionError> {
    let claims = UnverifiedToken::parse(token)?.verify_listed(keys, TYPES).map_err(|error| match error {
        // The signature was judged before.
        JwsError::Type => AssertionError::Unfit("`typ` is neither `client-authentication+jwt` nor absent"),
        error => AssertionError::Unproven(error),
    })?;
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    if text("iss") != Some(client) || text("sub") != Some(client) {
        return Err(AssertionError::Unfit("`iss` and `sub` must both be the client id"));
    }
    if !sole_audience(&claims).is_some_and(|named| audiences.contains(&named)) {
        return Err(AssertionError::Unfit("`aud` must be the issuer of this server, alone"));
    }
    let time = |name, problem| instant(&claims, name).map_err(|_| AssertionError::Unfit(problem));
    let exp = time("exp", "`exp` is no whole second")?.ok_or(AssertionError::Unfit("`exp` is missing"))?;
    if now >= exp + LEEWAY_SECS {
        return Err(AssertionError::Unfit("it has expired"));
    }
    if exp > now + MAX_AHEAD_SECS + LEEWAY_SECS {
        return Err(AssertionError::Unfit("`exp` lies more than 300 s ahead"));
    }
    let begins = [time("iat", "`iat` is no whole second")?, time("nbf", "`nbf` is no whole second")?];
    if begins.into_iter().flatten().any(|begin| begin > now + LEEWAY_SECS) {
        return Err(AssertionError::Unfit("it is dated in the future"));
    }
    let jti = text("jti").filter(|jti| (1..=MAX_JTI_LENGTH).contains(&jti.len()));
    let jti = jti.ok_or(AssertionError::Unfit("`jti` must have 1 to 256 characters"))?;
    Ok(Assertion { jti: jti.to_owned(), exp })
}

/// The one audience, as a text or as a list of one.
fn sole_audience(claims: &Map<String, Value>) -> Option<&str> {
    match claims.get("aud")? {
        Value::String(named) => Some(named),
        Value::Array(list) => match list.as_slice() {
            [Value::String(named)] => Some(named),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::jws::tests::Signer;
    use serde_json::json;

    const NOW: i64 = 1_800_000_000;
    const ISSUER: &str = "https://as.example";
    const ENDPOINT: &str = "https://as.example/oauth2/token";

    fn claims(change: Value) -> Value {
        let mut claims =
            json!({"iss": "cli_1", "sub": "cli_1", "aud": ISSUER, "iat": NOW, "exp": NOW + 60, "jti": "j-1"});
        claims.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        claims
    }

    fn outcome(signer: &Signer, header: &Value, claims: &Value, audiences: &[&str], now: i64) -> Result<i64, String> {
        verify(&signer.sign(header, claims), "cli_1", &[signer.key("k1")], audiences, now)
            .map(|assertion| assertion.exp - NOW)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn an_assertion_for_the_issuer_alone_holds_with_and_without_type() {
        for signer in [Signer::es256(), Signer::ed25519(), Signer::rs256()] {
            for typ in [json!({}), json!({"typ": "client-authentication+jwt"}), json!({"typ": "JWT"})] {
                let mut header = json!({"alg": signer.alg(), "kid": "k1"});
                header.as_object_mut().unwrap().extend(typ.as_object().unwrap().clone());
                assert_eq!(outcome(&signer, &header, &claims(json!({})), &[ISSUER], NOW), Ok(60));
                assert_eq!(outcome(&signer, &header, &claims(json!({"aud": [ISSUER]})), &[ISSUER], NOW), Ok(60));
            }
        }
        let other = json!({"alg": "EdDSA", "kid": "k1", "typ": "at+jwt"});
        assert!(outcome(&Signer::ed25519(), &other, &claims(json!({})), &[ISSUER], NOW).is_err());
    }

    #[test]
    fn everything_that_is_not_exactly_right_is_refused() {
        let signer = Signer::es256();
        let header = json!({"alg": "ES256", "kid": "k1"});
        for (change, text) in [
            (json!({"aud": ENDPOINT}), "`aud`"),
            (json!({"aud": [ISSUER, ENDPOINT]}), "`aud`"),
            (json!({"aud": [ISSUER, ISSUER]}), "`aud`"),
            (json!({"aud": []}), "`aud`"),
            (json!({"aud": null}), "`aud`"),
            (json!({"aud": format!("{ISSUER}/")}), "`aud`"),
            (json!({"aud": ISSUER.to_uppercase()}), "`aud`"),
            (json!({"iss": "cli_2"}), "`iss`"),
            (json!({"sub": "cli_2"}), "`iss`"),
            (json!({"iss": ["cli_1"]}), "`iss`"),
            (json!({"exp": "1800000060"}), "`exp`"),
            (json!({"exp": NOW as f64 + 0.5}), "`exp`"),
            (json!({"exp": i64::MAX}), "`exp`"),
            (json!({"exp": -1}), "`exp`"),
            (json!({"exp": NOW + 331}), "300 s"),
            (json!({"exp": NOW - 30}), "expired"),
            (json!({"iat": NOW + 31}), "future"),
            (json!({"nbf": NOW + 31}), "future"),
            (json!({"iat": "now"}), "`iat`"),
            (json!({"jti": ""}), "`jti`"),
            (json!({"jti": 7}), "`jti`"),
            (json!({"jti": "j".repeat(257)}), "`jti`"),
        ] {
            let refused = outcome(&signer, &header, &claims(change.clone()), &[ISSUER], NOW).unwrap_err();
            assert!(refused.contains(text), "{change}: {refused}");
        }
        for (change, exp) in
            [(json!({"exp": NOW + 330}), 330), (json!({"exp": NOW - 29}), -29), (json!({"iat": NOW + 30}), 60)]
        {
            assert_eq!(outcome(&signer, &header, &claims(change), &[ISSUER], NOW), Ok(exp));
        }
        for missing in ["iss", "sub", "aud", "exp", "jti"] {
            let mut claims = claims(json!({}));
            claims.as_object_mut().unwrap().remove(missing);
            assert!(outcome(&signer, &header, &claims, &[ISSUER], NOW).is_err(), "{missing}");
        }
        let stranger = Signer::es256().sign(&header, &claims(json!({})));
        let refused = verify(&stranger, "cli_1", &[signer.key("k1")], &[ISSUER], NOW);
        assert_eq!(refused, Err(AssertionError::Unproven(JwsError::Signature)));
    }

    #[test]
    fn an_older_client_may_name_the_endpoint_where_it_is_allowed() {
        let signer = Signer::es256();
        let header = json!({"alg": "ES256", "kid": "k1"});
        let legacy = claims(json!({"aud": ENDPOINT}));
        assert_eq!(outcome(&signer, &header, &legacy, &[ISSUER, ENDPOINT], NOW), Ok(60));
        let both = claims(json!({"aud": [ISSUER, ENDPOINT]}));
        assert!(outcome(&signer, &header, &both, &[ISSUER, ENDPOINT], NOW).is_err());
    }
}
