use super::*;
use crate::key::KeySet;
use crate::profile::{self, ACCESS, CLIENT_ASSERTION, DPOP, ELIGIBILITY, ID_TOKEN, RECEIPT, VOUCH};
use crate::testing::attacks::{self, Target, Wanted};
use crate::testing::{Signer, b64};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

const NOW: i64 = 1_800_000_000;
const ISSUER: &str = "https://eligibility.example";
const AUDIENCE: &str = "edge";

fn members(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

fn target<'a>(signer: &'a Signer, typ: &'a str, lists: bool, others: bool, expiry_leeway: i64) -> Target<'a> {
    let claims = json!({"iss": ISSUER, "aud": AUDIENCE, "sub": "sub_1", "client_id": "cl_1", "jti": "jti_1",
        "iat": NOW - 10, "exp": NOW + 600});
    Target {
        signer,
        kid: "key-1",
        typ,
        claims: members(claims),
        required: &["sub", "jti"],
        lists,
        others,
        expiry_leeway,
        at: NOW,
        max_length: 16 * 1024,
    }
}

fn expected(at: i64) -> Expected<'static> {
    Expected { issuer: Some(ISSUER), audience: Audience::Is(AUDIENCE), at }
}

/// Runs the table and gives how often each code was met, `accepted` among them.
fn run(target: &Target<'_>, profile: &Profile<'_>) -> BTreeMap<&'static str, usize> {
    // A set as issuers publish it: others beside the genuine key.
    let keys = [Signer::es256().key("key-0"), target.signer.key("key-1"), Signer::ed25519().key("key-2")];
    let (mut met, mut wrong) = (BTreeMap::new(), Vec::new());
    for case in attacks::table(target) {
        let found = verify(&case.token, &keys, profile, &expected(NOW)).err();
        let code = found.map(Refused::code);
        if !case.holds(code) {
            wrong.push(format!("{}: wanted {:?}, found {code:?}", case.name, case.wanted));
        }
        *met.entry(code.unwrap_or("accepted")).or_default() += 1;
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    met
}

#[test]
fn every_attack_is_refused_for_its_reason_and_every_good_token_accepted() {
    // Kind, whether `aud` may be a list, whether with others, seconds after `exp`: as docs/verify.md has it.
    let kinds = [
        ("eligibility+jwt", &ELIGIBILITY, false, false, 0),
        ("vouch+jwt", &VOUCH, true, false, 30),
        ("at+jwt", &ACCESS, false, false, 0),
    ];
    for signer in [Signer::es256(), Signer::ed25519(), Signer::rs256()] {
        for (typ, profile, lists, others, expiry_leeway) in kinds {
            // One kind for the slow key is enough.
            if signer.alg() == "RS256" && typ != "vouch+jwt" {
                continue;
            }
            let met = run(&target(&signer, typ, lists, others, expiry_leeway), profile);
            assert!(met.values().sum::<usize>() > 1200 && met["accepted"] >= 14, "{met:?}");
            let never = BTreeSet::from(["bad_key", "too_old"]);
            for code in Refused::ALL.iter().map(|refused| refused.code()).filter(|code| !never.contains(code)) {
                assert!(met.get(code).is_some_and(|times| *times > 0), "{} never met `{code}`", signer.alg());
            }
        }
    }
}

#[test]
fn any_jwt_of_an_issuer_is_judged_by_the_same_table_its_type_aside() {
    let signer = Signer::es256();
    let target = target(&signer, "eligibility+jwt", true, true, 30);
    let keys = [signer.key("key-1")];
    let mut tried = 0;
    for case in attacks::table(&target) {
        let of_type = case.wanted == Wanted::Refused("wrong_type");
        // Any text is a type, and nothing beside the usual claims is required.
        if of_type || ["sub ", "jti "].iter().any(|name| case.name.starts_with(name)) {
            continue;
        }
        let found = verify(&case.token, &keys, &profile::ANY, &expected(NOW)).err().map(Refused::code);
        assert!(case.holds(found), "{}: {found:?}", case.name);
        tried += 1;
    }
    assert!(tried > 1200);
}

#[test]
fn codes_are_distinct_and_documented() {
    let codes: BTreeSet<&str> = Refused::ALL.iter().map(|refused| refused.code()).collect();
    assert_eq!(codes.len(), Refused::ALL.len());
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/verify.md")).unwrap();
    let rows: BTreeSet<&str> =
        page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` |")).map(|(code, _)| code).collect();
    for code in codes {
        assert!(rows.contains(code), "docs/verify.md has no row for `{code}`");
    }
}

#[test]
fn without_an_expected_issuer_nothing_that_names_one_passes() {
    let signer = Signer::ed25519();
    let target = target(&signer, "eligibility+jwt", false, false, 0);
    let token = &attacks::table(&target)[0].token;
    let expected = Expected { issuer: None, ..expected(NOW) };
    assert_eq!(verify(token, &[signer.key("key-1")], &ELIGIBILITY, &expected).unwrap_err(), Refused::Issuer);
}

#[test]
fn kinds_are_found_by_their_type() {
    for typ in ["eligibility+jwt", "APPLICATION/eligibility+jwt", "Eligibility+JWT"] {
        assert_eq!(Profile::of_type(typ).unwrap().types, ELIGIBILITY.types, "{typ}");
    }
    for typ in ["", "application/", "eligibility", "application/application/at+jwt", "secevent+jwt"] {
        assert!(Profile::of_type(typ).is_none(), "{typ}");
    }
}

#[test]
fn a_client_assertion_is_about_its_issuer_for_us_alone_and_short() {
    let signer = Signer::es256();
    let keys = [signer.key("k1")];
    let judged = |typ: Value, change: Value| {
        let mut header = members(json!({"alg": "ES256", "kid": "k1"}));
        if !typ.is_null() {
            header.insert("typ".into(), typ);
        }
        let mut claims = members(json!({"iss": "cl_1", "sub": "cl_1", "aud": ISSUER, "jti": "j", "exp": NOW + 60}));
        claims.extend(members(change));
        let expected = Expected { issuer: Some("cl_1"), audience: Audience::Is(ISSUER), at: NOW };
        let token = signer.sign(&Value::Object(header), &Value::Object(claims));
        verify(&token, &keys, &CLIENT_ASSERTION, &expected).map(|_| ()).map_err(Refused::code)
    };
    for typ in [json!(null), json!("JWT"), json!("client-authentication+jwt")] {
        assert_eq!(judged(typ.clone(), json!({})), Ok(()), "{typ}");
    }
    assert_eq!(judged(json!("at+jwt"), json!({})), Err("wrong_type"));
    assert_eq!(judged(json!(null), json!({"sub": "cl_2"})), Err("bad_claim"));
    assert_eq!(judged(json!(null), json!({"iss": "cl_2", "sub": "cl_2"})), Err("wrong_issuer"));
    assert_eq!(judged(json!(null), json!({"aud": [ISSUER]})), Ok(()));
    assert_eq!(judged(json!(null), json!({"aud": [ISSUER, "https://other.example"]})), Err("wrong_audience"));
    assert_eq!(judged(json!(null), json!({"aud": format!("{ISSUER}/oauth2/token")})), Err("wrong_audience"));
    // Five minutes and the leeway.
    assert_eq!(judged(json!(null), json!({"exp": NOW + 330})), Ok(()));
    assert_eq!(judged(json!(null), json!({"exp": NOW + 331})), Err("lifetime"));
    assert_eq!(judged(json!(null), json!({"exp": NOW - 29})), Ok(()));
    assert_eq!(judged(json!(null), json!({"exp": NOW - 30})), Err("expired"));
}

#[test]
fn a_proof_of_possession_verifies_by_the_key_it_brings_and_is_fresh() {
    for signer in [Signer::es256(), Signer::ed25519(), Signer::rs256()] {
        let claims = json!({"jti": "j", "htm": "POST", "htu": "https://eligibility.example/oauth2/token", "iat": NOW});
        let proof = |jwk: Value, claims: &Value| {
            signer.sign(&json!({"alg": signer.alg(), "typ": "dpop+jwt", "jwk": jwk}), claims)
        };
        let judged = |token: &str, at: i64| {
            let expected = Expected { issuer: None, audience: Audience::AnyOne, at };
            verify_embedded(token, &DPOP, &expected).map(|(_, key)| key.thumbprint()).map_err(Refused::code)
        };
        let good = proof(signer.jwk(), &claims);
        assert_eq!(judged(&good, NOW), Ok(signer.key("x").thumbprint()));
        for (at, wanted) in
            [(NOW + 60, None), (NOW + 61, Some("too_old")), (NOW - 30, None), (NOW - 31, Some("issued_later"))]
        {
            assert_eq!(judged(&good, at).err(), wanted, "{at}");
        }
        let mut private = signer.jwk();
        private["d"] = json!("AAAA");
        assert_eq!(judged(&proof(private, &claims), NOW), Err("bad_key"));
        assert_eq!(judged(&proof(json!({"kty": "oct", "k": "AAAA"}), &claims), NOW), Err("bad_key"));
        assert!(judged(&proof(Signer::es256().jwk(), &claims), NOW).is_err());
        let without = signer.sign(&json!({"alg": signer.alg(), "typ": "dpop+jwt"}), &claims);
        assert_eq!(judged(&without, NOW), Err("bad_header"));
        for name in ["jti", "htm", "htu", "iat"] {
            let mut lacking = members(claims.clone());
            lacking.remove(name);
            assert_eq!(judged(&proof(signer.jwk(), &Value::Object(lacking)), NOW), Err("bad_claim"), "{name}");
        }
    }
}

#[test]
fn an_id_token_may_name_others_beside_us_and_a_receipt_names_nobody() {
    let signer = Signer::rs256();
    let keys = [signer.key("k1")];
    let claims = json!({"iss": ISSUER, "sub": "1", "aud": ["other", AUDIENCE], "iat": NOW, "exp": NOW + 60});
    let token = signer.sign(&json!({"alg": "RS256", "kid": "k1"}), &claims);
    assert!(verify(&token, &keys, &ID_TOKEN, &expected(NOW)).is_ok());
    assert_eq!(verify(&token, &keys, &ID_TOKEN, &expected(NOW + 90)).unwrap_err(), Refused::Expired);
    let receipt =
        signer.sign(&json!({"alg": "RS256", "kid": "k1", "typ": "decision-receipt+jwt"}), &json!({"iss": ISSUER}));
    assert!(verify(&receipt, &keys, &RECEIPT, &Expected { issuer: None, ..expected(0) }).is_ok());
}

/// RFC 8037 appendix A.3 and RFC 7638 section 3.1.
#[test]
fn thumbprints_are_those_of_the_standards() {
    let ed25519 = json!({"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"});
    let rsa = json!({"kty": "RSA", "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw", "e": "AQAB", "alg": "RS256", "kid": "2011-04-29"});
    for (jwk, thumbprint) in
        [(ed25519, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"), (rsa, "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs")]
    {
        assert_eq!(VerificationKey::from_embedded(&jwk).unwrap().thumbprint(), thumbprint);
    }
}

#[test]
fn a_key_under_which_anything_verifies_is_no_key() {
    // The neutral point as key and as R, and S = 0: S·B = R + k·A whatever k, so it holds for every message.
    let neutral = {
        let mut bytes = [0; 32];
        bytes[0] = 1;
        bytes
    };
    let forged = [&neutral[..], &[0; 32]].concat();
    let raw = aws_lc_rs::signature::UnparsedPublicKey::new(&aws_lc_rs::signature::ED25519, neutral);
    assert!(raw.verify(b"anything", &forged).is_ok(), "the primitive has become stricter: this check can go");
    let jwk = |x: &[u8]| json!({"kty": "OKP", "crv": "Ed25519", "x": b64(x)});
    assert!(VerificationKey::from_embedded(&jwk(&neutral)).is_err());
    // RFC 7748's prime 2^255 - 19, little-endian: y = p - 1 has order two, p and p + 1 are other texts of 0 and 1.
    let prime = |last: u8| [&[last][..], &[0xff; 30], &[0x7f]].concat();
    for bytes in [prime(0xec), prime(0xed), prime(0xee), vec![0; 32]] {
        assert!(VerificationKey::from_embedded(&jwk(&bytes)).is_err());
        let mut signed = bytes.clone();
        signed[31] |= 0x80;
        assert!(VerificationKey::from_embedded(&jwk(&signed)).is_err());
    }
    // The two of order eight are each other's negatives.
    let eight = "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05";
    let bytes: Vec<u8> = (0..32).map(|at| u8::from_str_radix(&eight[2 * at..2 * at + 2], 16).unwrap()).collect();
    let mut negative: Vec<u8> = prime(0xed);
    let mut borrow = 0_i16;
    for (to, from) in negative.iter_mut().zip(&bytes) {
        let difference = i16::from(*to) - i16::from(*from) - borrow;
        (*to, borrow) = (u8::try_from(difference.rem_euclid(256)).unwrap(), i16::from(difference < 0));
    }
    for bytes in [bytes, negative] {
        assert!(VerificationKey::from_embedded(&jwk(&bytes)).is_err());
    }
    for _ in 0..20 {
        assert!(VerificationKey::from_embedded(&Signer::ed25519().jwk()).is_ok());
    }
}

#[test]
fn a_set_passes_over_what_it_cannot_use_and_says_which() {
    let (one, two) = (Signer::es256(), Signer::ed25519());
    let named = |signer: &Signer, kid: &str| {
        let mut jwk = signer.jwk();
        jwk["kid"] = json!(kid);
        jwk
    };
    let set = json!({"keys": [named(&one, "a"), {"kty": "oct", "k": "AAAA", "kid": "b"}, two.jwk(), "x", named(&two, "c")], "x": 1});
    let read = KeySet::read(set.to_string().as_bytes()).unwrap();
    assert_eq!(read.keys.iter().map(VerificationKey::kid).collect::<Vec<_>>(), ["a", "c"]);
    let reasons = [JwsError::Key("not a public key"), JwsError::Key("kid"), JwsError::Key("kid")];
    assert_eq!(read.passed_over, [1, 2, 3].into_iter().zip(reasons).collect::<Vec<_>>());
    for text in ["", "[]", "{}", r#"{"keys":{}}"#, r#"{"keys":[],"keys":[]}"#] {
        assert!(KeySet::read(text.as_bytes()).is_err(), "{text}");
    }
    let many = json!({"keys": vec![json!({}); 257]}).to_string();
    assert!(KeySet::read(many.as_bytes()).is_err());
    assert!(KeySet::read(&vec![b' '; 300_000]).is_err());
}

proptest::proptest! {
    #[test]
    fn any_claims_under_a_good_signature_are_answered(claims in "\\{(\"(iss|aud|exp|iat|nbf|sub)\":(-?[0-9]{1,20}|\"[a-z]{0,4}\"|\\[\\]|null|1e[0-9]{1,3}),?){0,6}\\}") {
        let signer = Signer::ed25519();
        let token = signer.sign_parts(r#"{"alg":"EdDSA","kid":"k1","typ":"at+jwt"}"#, &claims);
        let _ = verify(&token, &[signer.key("k1")], &ACCESS, &expected(NOW));
    }

    #[test]
    fn no_instant_overflows(at in proptest::num::i64::ANY, exp in 0..=LAST_SECOND, iat in 0..=LAST_SECOND) {
        for profile in profile::ALL.iter() {
            let times = Times { iat: Some(iat), nbf: Some(iat), exp: Some(exp) };
            let _ = times.check(&profile.lifetime, at);
        }
    }
}

#[test]
fn a_token_of_others_may_leave_its_key_unnamed_where_there_is_one_of_its_algorithm() {
    let (one, two, other) = (Signer::es256(), Signer::es256(), Signer::ed25519());
    let claims = json!({"iss": ISSUER, "sub": ISSUER, "aud": AUDIENCE, "jti": "j", "iat": NOW, "exp": NOW + 60});
    let token = |kid: Value| {
        let mut header = json!({"alg": "ES256", "typ": "JWT"});
        if kid != json!("absent") {
            header["kid"] = kid;
        }
        one.sign(&header, &claims)
    };
    let judged = |token: &str, profile: &Profile<'_>, keys: &[crate::jws::VerificationKey]| {
        verify(token, keys, profile, &expected(NOW)).map(|held| held.header.kid).map_err(Refused::code)
    };
    let unnamed = token(json!("absent"));
    for profile in [&CLIENT_ASSERTION, &ID_TOKEN] {
        assert_eq!(judged(&unnamed, profile, &[other.key("k2"), one.key("k1")]), Ok("k1".to_owned()));
        assert_eq!(judged(&unnamed, profile, &[one.key("k1"), two.key("k2")]), Err("unknown_key"));
        assert_eq!(judged(&unnamed, profile, &[two.key("k1")]), Err("bad_signature"));
        assert_eq!(judged(&unnamed, profile, &[other.key("k1")]), Err("unknown_key"));
        for kid in [json!(null), json!(1), json!(""), json!("a b")] {
            assert_eq!(judged(&token(kid.clone()), profile, &[one.key("k1")]), Err("bad_header"), "{kid}");
        }
    }
    let named = token(json!("k2"));
    assert_eq!(judged(&named, &CLIENT_ASSERTION, &[one.key("k1")]), Err("unknown_key"), "the only key is not tried");
    assert_eq!(judged(&unnamed, &profile::ANY, &[one.key("k1")]), Err("bad_header"));
}
