//! What must hold of any text that the verifier is given: it is refused with a code, never a panic, and what it accepts was
//! signed and says what was asked for. The fuzz target and a test of the verifier's suite call the same function.
#![allow(dead_code, reason = "each caller uses one of them")]

use aws_lc_rs::signature::Ed25519KeyPair;
use serde_json::{Value, json};
use std::sync::LazyLock;
use vouchsafe_verify::jws::VerificationKey;
use vouchsafe_verify::key::KeySet;
use vouchsafe_verify::profile;
use vouchsafe_verify::status_list::StatusList;
use vouchsafe_verify::testing::{Signer, b64};
use vouchsafe_verify::token::{Audience, Expected, verify, verify_embedded};

const AT: i64 = 1_800_000_000;

/// The key of RFC 8037, appendix A.1: of no use for anything else.
static SIGNER: LazyLock<Signer> = LazyLock::new(|| {
    let seed = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
    let bytes: Vec<u8> = (0..32).map(|at| u8::from_str_radix(&seed[2 * at..2 * at + 2], 16).unwrap()).collect();
    Signer::Ed25519(Ed25519KeyPair::from_seed_unchecked(&bytes).unwrap())
});
static KEYS: LazyLock<[VerificationKey; 1]> = LazyLock::new(|| [SIGNER.key("k")]);

const EXPECTED: Expected<'static> = Expected { issuer: Some("i"), audience: Audience::Is("a"), at: AT };

/// The first byte says what the rest is: a token, claims, a header, a key set, or the packed bytes of a status list.
pub(crate) fn any(data: &[u8]) {
    let Some((kind, rest)) = data.split_first() else { return };
    let text = String::from_utf8_lossy(rest);
    match kind % 5 {
        0 => token(&text),
        1 => claims(&text),
        2 => header(&text),
        3 => drop(KeySet::read(rest)),
        _ => list(rest),
    }
}

/// Nobody signed it, so nobody accepts it.
fn token(text: &str) {
    for kind in profile::ALL.iter().chain([&profile::ANY]) {
        assert!(verify(text, &KEYS[..], kind, &EXPECTED).is_err(), "{text:?} is accepted");
    }
    // Under a key of its own anybody can sign.
    let _ = verify_embedded(text, &profile::DPOP, &EXPECTED);
}

/// Signed claims are accepted only if, read by another parser, they say what was asked for.
fn claims(text: &str) {
    let signed = SIGNER.sign_parts(r#"{"alg":"EdDSA","kid":"k","typ":"at+jwt"}"#, text);
    if let Ok(found) = verify(&signed, &KEYS[..], &profile::ACCESS, &EXPECTED) {
        let plain: Value = serde_json::from_str(text).expect("another parser reads it too");
        assert_eq!(plain["iss"], json!("i"), "{text}");
        assert_eq!(plain["aud"], json!("a"), "{text}");
        let exp = plain["exp"].as_i64().expect("a whole number");
        let iat = plain["iat"].as_i64().expect("a whole number");
        assert!(exp > AT && iat <= AT + 30 && iat < exp, "{text}");
        assert_eq!(found.times.exp, Some(exp));
    }
}

/// A header is accepted only with the one algorithm, key and type.
fn header(text: &str) {
    let good = json!({"iss": "i", "aud": "a", "sub": "s", "client_id": "c", "jti": "j", "iat": AT, "exp": AT + 60});
    let signed = SIGNER.sign_parts(text, &good.to_string());
    if verify(&signed, &KEYS[..], &profile::ACCESS, &EXPECTED).is_ok() {
        let plain: Value = serde_json::from_str(text).expect("another parser reads it too");
        assert!(plain["alg"] == "EdDSA" || plain["alg"] == "Ed25519", "{text}");
        assert_eq!(plain["kid"], "k", "{text}");
        let typ = plain["typ"].as_str().expect("a text").to_ascii_lowercase();
        assert!(typ == "at+jwt" || typ == "application/at+jwt", "{text}");
        assert!(plain.get("crit").is_none() && plain.get("b64").is_none(), "{text}");
    }
}

/// Whatever the bytes unpack to, a position is answered or is not in the list.
fn list(packed: &[u8]) {
    let claims = json!({"sub": "u", "iat": AT, "exp": AT + 60, "status_list": {"bits": 2, "lst": b64(packed)}});
    let signed = SIGNER.sign(&json!({"alg": "EdDSA", "kid": "k", "typ": "statuslist+jwt"}), &claims);
    if let Ok(list) = StatusList::verify(&signed, &KEYS[..], "u", AT) {
        for idx in [0, 1, 3, 4, 1000, 1 << 24, u64::MAX] {
            let _ = list.status(idx);
        }
        assert!(list.status(1 << 24).is_err(), "more than is ever unpacked");
    }
}
