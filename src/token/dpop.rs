//! Proofs that a sender holds the key its token is bound to (DPoP, RFC 9449).

use super::jws::JwsError;
use super::profile::DPOP;
use super::verifier::{self, Audience, Expected, Refused};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use reqwest::Url;

/// For how long after its `iat` a proof can be used, in seconds, with the difference of two honest clocks.
pub const WINDOW_SECS: i64 = 90;

/// Longest `jti`, in bytes.
const MAX_JTI_LENGTH: usize = 256;

/// Why a proof proves nothing. Carries no part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DpopError {
    /// Not a token signed with the key that it brings.
    #[error("the proof is not signed with the key it brings")]
    Unproven(JwsError),
    /// It is for something else, or for another time; says what.
    #[error("{0}")]
    Unfit(&'static str),
}

/// A proof that holds. That it was not used before is for the caller to see to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// Thumbprint of the key (RFC 7638).
    pub jkt: String,
    /// To be spent once with this key.
    pub jti: String,
    /// When it was made, epoch seconds.
    pub iat: i64,
}

/// The request that a proof has to be made for.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// HTTP method.
    pub method: &'a str,
    /// The address by which clients know it, from configuration.
    pub url: &'a str,
    /// The token that comes with it.
    pub token: Option<&'a str>,
}

/// SHA-256 of a token, base64url: the claim `ath`.
#[must_use]
pub fn token_hash(token: &str) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, token.as_bytes()))
}

/// Verifies a proof for `request` at `now` (epoch seconds).
///
/// # Errors
/// [`DpopError`].
pub fn verify(proof: &str, request: Request<'_>, now: i64) -> Result<Proof, DpopError> {
    let expected = Expected { issuer: None, audience: Audience::AnyOne, at: now };
    let (held, key) = verifier::verify_embedded(proof, &DPOP, &expected).map_err(told)?;
    let text = |name: &str| held.text(name);
    if text("htm") != Some(request.method) {
        return Err(DpopError::Unfit("`htm` is not the method of this request"));
    }
    let same = text("htu").and_then(target).zip(target(request.url)).is_some_and(|(theirs, ours)| theirs == ours);
    if !same {
        return Err(told(Refused::Claim("htu")));
    }
    let jti = text("jti").filter(|jti| jti.len() <= MAX_JTI_LENGTH).ok_or(told(Refused::Claim("jti")))?;
    let iat = held.times.iat.ok_or(told(Refused::Claim("iat")))?;
    match (request.token, text("ath")) {
        (None, _) => {}
        (Some(token), Some(ath)) if token_hash(token) == ath => {}
        (Some(_), _) => return Err(DpopError::Unfit("`ath` is not the hash of the token")),
    }
    Ok(Proof { jkt: key.thumbprint(), jti: jti.to_owned(), iat })
}

/// What its sender is told; once the signature is proven it is told why.
fn told(refused: Refused) -> DpopError {
    DpopError::Unfit(match refused {
        Refused::Jws(JwsError::Type) => "`typ` must be `dpop+jwt`",
        Refused::Jws(error) => return DpopError::Unproven(error),
        Refused::Claim("htm") => "`htm` is not the method of this request",
        Refused::Claim("htu") => "`htu` is not the address of this request",
        Refused::Claim("jti") => "`jti` must have 1 to 256 characters",
        Refused::Claim("iat") => "`iat` is missing or no whole second",
        Refused::IssuedLater | Refused::Old => "`iat` lies more than 60 s back or 30 s ahead",
        _ => "it has expired, or is not valid yet",
    })
}

/// An address without query and fragment, in one form (RFC 3986 section 6.2.2 and 6.2.3, as far as URLs have one).
fn target(text: &str) -> Option<Url> {
    let mut url = Url::parse(text).ok()?;
    if url.cannot_be_a_base() || !url.username().is_empty() || url.password().is_some() {
        return None;
    }
    url.set_query(None);
    url.set_fragment(None);
    Some(url)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use vouchsafe_verify::testing::Signer;

    /// The proof of RFC 9449 section 4.2 was made at this second.
    const RFC_IAT: i64 = 1_562_262_616;
    const RFC_PROOF: &str = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19.eyJqdGkiOiItQndDM0VTYzZhY2MybFRjIiwiaHRtIjoiUE9TVCIsImh0dSI6Imh0dHBzOi8vc2VydmVyLmV4YW1wbGUuY29tL3Rva2VuIiwiaWF0IjoxNTYyMjYyNjE2fQ.2-GxA6T8lP4vfrg8v-FdWP0A0zdrj8igiMLvqRMUvwnQg4PtFLbdLXiOSsX0x7NVY-FNyJK70nfbV37xRZT3Lg";

    const URL: &str = "https://as.example/v1/subjects";
    const NOW: i64 = 1_800_000_000;

    #[test]
    fn rfc_9449_section_4_2_proof_verifies_for_its_request_alone() {
        let request = |method, url| Request { method, url, token: None };
        let at = |request, now| verify(RFC_PROOF, request, now);
        let ours = request("POST", "https://server.example.com/token");
        let proof = at(ours, RFC_IAT).unwrap();
        // The thumbprint that section 6.1 gives for this key.
        assert_eq!(proof.jkt, "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I");
        assert_eq!((proof.jti.as_str(), proof.iat), ("-BwC3ESc6acc2lTc", RFC_IAT));
        assert!(at(ours, RFC_IAT + 60).is_ok() && at(ours, RFC_IAT - 30).is_ok());
        assert!(at(ours, RFC_IAT + 61).is_err() && at(ours, RFC_IAT - 31).is_err());
        assert!(at(request("GET", "https://server.example.com/token"), RFC_IAT).is_err());
        assert!(at(request("POST", "https://server.example.com/other"), RFC_IAT).is_err());
        assert!(at(request("POST", "http://server.example.com/token"), RFC_IAT).is_err());
    }

    #[test]
    fn rfc_9449_section_7_1_token_has_its_hash() {
        let token = "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU";
        assert_eq!(token_hash(token), "fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo");
    }

    fn made(signer: &Signer, change: Value) -> String {
        let mut claims = json!({"htm": "GET", "htu": URL, "iat": NOW, "jti": "j", "ath": token_hash("t")});
        claims.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        signer.sign(&json!({"alg": signer.alg(), "typ": "dpop+jwt", "jwk": signer.jwk()}), &claims)
    }

    #[test]
    fn addresses_are_compared_in_one_form_and_without_query() {
        let signer = Signer::es256();
        let holds = |htu: &str| {
            let request = Request { method: "GET", url: URL, token: Some("t") };
            verify(&made(&signer, json!({"htu": htu})), request, NOW).is_ok()
        };
        for good in [
            "https://as.example/v1/subjects",
            "HTTPS://AS.EXAMPLE/v1/subjects",
            "https://as.example:443/v1/subjects",
            "https://as.example/v1/subjects?limit=1",
            "https://as.example/v1/subjects#x",
            "https://as.example/v1/./subjects",
        ] {
            assert!(holds(good), "{good}");
        }
        for bad in [
            "https://as.example/v1/subjects/",
            "https://as.example/V1/subjects",
            "https://as.example:8443/v1/subjects",
            "http://as.example/v1/subjects",
            "https://as.example.attacker.example/v1/subjects",
            "https://user@as.example/v1/subjects",
            "/v1/subjects",
            "as.example/v1/subjects",
            "",
        ] {
            assert!(!holds(bad), "{bad}");
        }
    }

    #[test]
    fn a_proof_is_for_one_token_method_and_time() {
        let signer = Signer::ed25519();
        let request = Request { method: "GET", url: URL, token: Some("t") };
        assert!(verify(&made(&signer, json!({})), request, NOW).is_ok());
        for (change, text) in [
            (json!({"ath": token_hash("u")}), "`ath`"),
            (json!({"ath": null}), "`ath`"),
            (json!({"htm": "get"}), "`htm`"),
            (json!({"htm": "POST"}), "`htm`"),
            (json!({"iat": NOW - 61}), "`iat`"),
            (json!({"iat": NOW + 31}), "`iat`"),
            (json!({"iat": "now"}), "`iat`"),
            (json!({"iat": null}), "`iat`"),
            (json!({"jti": ""}), "`jti`"),
            (json!({"jti": "j".repeat(257)}), "`jti`"),
            (json!({"jti": null}), "`jti`"),
            (json!({"htu": null}), "`htu`"),
        ] {
            let refused = verify(&made(&signer, change.clone()), request, NOW).unwrap_err().to_string();
            assert!(refused.contains(text), "{change}: {refused}");
        }
        let typed = signer.sign(&json!({"alg": "EdDSA", "typ": "JWT", "jwk": signer.jwk()}), &json!({}));
        assert!(verify(&typed, request, NOW).unwrap_err().to_string().contains("`typ`"));
    }
}
