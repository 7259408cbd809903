//! A client proves itself by a signed assertion (`private_key_jwt`: RFC 7523, with the stricter audience of its update).

use super::jws::{JwsError, UnverifiedToken, VerificationKey};
use super::profile::{CLIENT_ASSERTION, LEEWAY_SECS};
use super::verifier::{self, Audience, Expected, Refused};

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
    let mut found = Err(Refused::Audience);
    for audience in audiences {
        let expected = Expected { issuer: Some(client), audience: Audience::Is(audience), at: now };
        found = verifier::verify(token, keys, &CLIENT_ASSERTION, &expected);
        if !matches!(found, Err(Refused::Audience)) {
            break;
        }
    }
    let held = found.map_err(told)?;
    let jti = held.text("jti").filter(|jti| jti.len() <= MAX_JTI_LENGTH).ok_or(told(Refused::Claim("jti")))?;
    Ok(Assertion { jti: jti.to_owned(), exp: held.times.exp.ok_or(told(Refused::Claim("exp")))? })
}

/// Until when an assertion could be used again, in epoch seconds.
#[must_use]
pub fn spent_until(assertion: &Assertion) -> i64 {
    assertion.exp + LEEWAY_SECS + 1
}

/// What its client is told; once the signature is proven it is told why.
fn told(refused: Refused) -> AssertionError {
    AssertionError::Unfit(match refused {
        Refused::Jws(JwsError::Type) => "`typ` is neither `client-authentication+jwt` nor absent",
        Refused::Jws(error) => return AssertionError::Unproven(error),
        Refused::Issuer | Refused::Claim("iss" | "sub") => "`iss` and `sub` must both be the client id",
        Refused::Audience | Refused::Claim("aud") => "`aud` must be the issuer of this server, alone",
        Refused::Expired => "it has expired",
        Refused::Lifetime => "`exp` lies more than 300 s ahead, or not after `iat`",
        Refused::NotYetValid | Refused::IssuedLater | Refused::Old => "it is dated in the future",
        Refused::Claim("exp") => "`exp` must be a whole second",
        Refused::Claim("iat") => "`iat` is no whole second",
        Refused::Claim("nbf") => "`nbf` is no whole second",
        Refused::Claim(_) => "`jti` must have 1 to 256 characters",
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;
    use serde_json::json;
    use vouchsafe_verify::testing::Signer;

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
        for (change, exp) in [
            (json!({"exp": NOW + 330}), 330),
            (json!({"exp": NOW - 29, "iat": NOW - 60}), -29),
            (json!({"iat": NOW + 30}), 60),
        ] {
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
