//! Signing keys over their lives: whoever caches the key set as it allows never meets a token they cannot verify.

use crate::app::{TestApp, introspect, on_both};
use reqwest::StatusCode;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use vouchsafe::clock::Clock as _;
use vouchsafe::service::issue::Wanted;
use vouchsafe::service::keys::KeyState;
use vouchsafe::service::{Actor, App, ServiceError};
use vouchsafe::storage::StoredKey;
use vouchsafe::token::jws::{UnverifiedToken, VerificationKey, verify_jws};
use vouchsafe::token::keys::{Algorithm, Purpose, SigningKey};
use vouchsafe_core::ids::{ResourceId, SubjectId};

const TYPE: &str = "eligibility+jwt";

/// Somebody who keeps what they fetched as long as they may.
#[derive(Default)]
struct Cache {
    set: Option<(i64, i64, Value)>,
}

impl Cache {
    /// The set as this cache has it at `now` (seconds), fetched anew by `fetch` where it is too old.
    async fn get(&mut self, now: i64, fetch: impl AsyncFnOnce() -> (i64, Value)) -> (i64, Value) {
        match &self.set {
            Some((at, max_age, set)) if now - at < *max_age => (*max_age, set.clone()),
            _ => {
                let (max_age, set) = fetch().await;
                self.set = Some((now, max_age, set.clone()));
                (max_age, set)
            }
        }
    }
}

async fn fetch(t: &TestApp) -> (i64, Value) {
    let answer = t.get("/.well-known/jwks.json").await;
    assert_eq!(answer.status, StatusCode::OK);
    let max_age = answer.header("cache-control").split("max-age=").nth(1).unwrap().parse().unwrap();
    (max_age, answer.body)
}

fn keys(set: &Value) -> Vec<VerificationKey> {
    let jwks = set["keys"].as_array().unwrap().iter();
    jwks.map(|jwk| VerificationKey::from_jwk(jwk["kid"].as_str().unwrap(), jwk).unwrap()).collect()
}

fn kid_of(token: &str) -> String {
    UnverifiedToken::parse(token).unwrap().unverified_header("kid").unwrap().to_owned()
}

pub(crate) async fn issue(app: &App, subject: &str, audience: &str) -> String {
    let (subject, resource) = (SubjectId::parse(subject).unwrap(), ResourceId::parse("restricted.api").unwrap());
    let wanted = Wanted { subject: &subject, acting_for: None, resource: &resource, audience, end_user: None };
    app.issue(&Actor::system(), "cli_test", wanted).await.unwrap().token
}

/// Somebody eligible, and the audience `edge`.
pub(crate) async fn eligible(t: &TestApp) -> String {
    t.activate("restricted-us-persons").await;
    let sources = t.sources().await;
    t.audience("edge").await;
    t.eligible_subject(&sources, "ada").await
}

/// Divides a token's life (900 s), the key set's age (300 s) and the time between two rotations.
const STEP: i64 = 60;
/// No multiple of the key set's age: each rotation meets the caches at another of their moments.
const BETWEEN: i64 = 1260;

async fn rotate_on_both(rotations: usize) {
    rotate_under_load(TestApp::start(&crate::support::Database::sqlite()).await, rotations).await;
    if let Some(postgres) = crate::support::Database::postgres().await {
        rotate_under_load(TestApp::start(&postgres).await, rotations).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rotations_under_load_fail_no_verification() {
    rotate_on_both(15).await;
}

#[ignore = "minutes: `cargo nextest run --run-ignored only -E 'test(a_hundred_rotations)'`"]
#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_rotations_under_load_fail_no_verification() {
    rotate_on_both(100).await;
}

/// Two replicas issue, tend the keys at the same moments and follow the feed, while everybody keeps what they may.
async fn rotate_under_load(t: TestApp, rotations: usize) {
    let subject = eligible(&t).await;
    let other = t.replica().await;
    for app in [&t.app, &other] {
        app.key_rotation_secs.store(BETWEEN, std::sync::atomic::Ordering::Relaxed);
    }
    // A cache on the way keeps the set as long as it may; whoever asks it keeps that as long again.
    let mut between = Cache::default();
    let mut clients: Vec<Cache> = (0..5).map(|_| Cache::default()).collect();
    let mut living: Vec<(String, i64)> = Vec::new();
    let (mut signed_by, mut verified, mut largest) = (BTreeSet::new(), 0, 0);
    for step in 0.. {
        t.clock.advance(STEP);
        let now = t.clock.now().epoch();
        let (ours, theirs) = tokio::join!(t.app.tend_keys(), other.tend_keys());
        ours.unwrap();
        theirs.unwrap();
        t.app.poll_feed().await.unwrap();
        other.poll_feed().await.unwrap();
        let issue = |app| issue(app, &subject, "edge");
        let made = tokio::join!(issue(&t.app), issue(&other));
        for token in [made.0, made.1] {
            signed_by.insert(kid_of(&token));
            living.push((token, now + 900));
        }
        // Each client begins in a moment of its own.
        for client in clients.iter_mut().take(step + 1) {
            let (_, set) = client.get(now, async || between.get(now, async || fetch(&t).await).await).await;
            largest = largest.max(set["keys"].as_array().unwrap().len());
            let keys = keys(&set);
            for (token, ends) in living.iter().filter(|(_, ends)| now + 900 == *ends || now == *ends) {
                let found = verify_jws(token, &keys, TYPE);
                assert!(found.is_ok(), "step {step}, {} s before its end: {found:?}", ends - now);
                verified += 1;
            }
        }
        // With nothing cached at all, at the end that a verifier's leeway moves on.
        let keys = keys(&fetch(&t).await.1);
        for (token, _) in living.iter().filter(|(_, ends)| now == *ends) {
            assert!(verify_jws(token, &keys, TYPE).is_ok(), "step {step}: dropped before its last token ended");
        }
        living.retain(|(_, ends)| now < *ends);
        if signed_by.len() > rotations {
            break;
        }
    }
    let steps = usize::try_from(BETWEEN / STEP).unwrap() * (rotations - 1);
    // Each of two tokens by each of five clients, when it was made and at its end.
    assert!(verified > steps * 2 * 5 * 2 * 9 / 10, "{verified}");
    // Of each of four purposes that rotate one published, one that signs and one that verifies; one of receipts.
    assert!((6..=13).contains(&largest), "{largest} keys published");
    let held = t.app.all_keys().await.unwrap();
    for purpose in ["access", "eligibility", "status_list"] {
        let own = held.iter().filter(|key| key.purpose == purpose);
        let mut begin: Vec<i64> = own.map(|key| key.times.signs_from_ms).collect();
        begin.sort_unstable();
        let early = begin.windows(2).filter(|two| two[1] - two[0] < BETWEEN * 1000).count();
        assert_eq!(early, 0, "two replicas rotated {purpose} twice");
    }
    let now_ms = t.clock.now_ms();
    for (purpose, alg) in
        [("access", "ES256"), ("eligibility", "ES256"), ("status_list", "ES256"), ("receipt", "EdDSA")]
    {
        let newest = |key: &&StoredKey| {
            (key.purpose.as_str(), key.alg.as_str()) == (purpose, alg) && key.times.last_signs_ms.is_none()
        };
        assert_eq!(held.iter().filter(newest).count(), 1, "{purpose}");
    }
    // What is not needed is not kept.
    for key in &held {
        let gone = KeyState::at(&key.times, now_ms) == KeyState::Retired;
        assert_eq!(gone, key.sealed.is_empty(), "{key:?}");
        let private = SigningKey::from_stored(key, &t.app.crypto).is_ok();
        assert_eq!(private, key.times.verifies_until_ms.is_none(), "{key:?}");
    }
    assert!(t.audited("key.destroyed").await.len() > rotations);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retired_key_takes_everything_it_signed_with_it_on_every_replica() {
    on_both(async |t| {
        let subject = eligible(&t).await;
        let other = t.replica().await;
        let token = issue(&t.app, &subject, "edge").await;
        // Verified before, so that it is remembered.
        for app in [&t.app, &other] {
            assert_eq!(introspect(app, &token).await["active"], true);
        }
        let kid = kid_of(&token);
        let follower = t.app.retire_key(&Actor::command_line(), &kid, "stolen").await.unwrap().unwrap();
        assert!(matches!(t.app.retire_key(&Actor::system(), &kid, "again").await, Err(ServiceError::Conflict(_))));
        assert!(matches!(t.app.retire_key(&Actor::system(), "k", "none").await, Err(ServiceError::NotFound(_))));
        other.poll_feed().await.unwrap();
        for app in [&t.app, &other] {
            assert_eq!(introspect(app, &token).await, json!({ "active": false }));
            let published = app.key_set();
            let kids: Vec<&str> =
                published["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap()).collect();
            assert!(!kids.contains(&kid.as_str()) && kids.contains(&follower.as_str()), "{kids:?}");
            let next = issue(app, &subject, "edge").await;
            assert_eq!(kid_of(&next), follower);
            assert_eq!(introspect(app, &next).await["active"], true);
        }
        let gateway = t.gateway("edge", false).await;
        let bearer = format!("Bearer {token}");
        let headers = [("x-gateway-key", gateway.as_str()), ("authorization", bearer.as_str())];
        assert_eq!(t.check("restricted.api", &headers).await.status, StatusCode::UNAUTHORIZED);
        let entries = t.audited("key.retired").await;
        assert_eq!((&entries[0]["target"], &entries[0]["detail"]["reason"]), (&json!(kid), &json!("stolen")));
        let held = t.app.all_keys().await.unwrap();
        let gone = held.iter().find(|key| key.kid == kid).unwrap();
        assert_eq!(gone.sealed, Vec::<u8>::new(), "destroyed");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_always_signs_whichever_key_is_retired() {
    on_both(async |t| {
        let signer = || t.app.signer(Purpose::Access, Algorithm::Es256).map(|key| key.kid.clone());
        let retire = async |kid: &str| t.app.retire_key(&Actor::system(), kid, "test").await.unwrap();
        let rotate = async || t.app.rotate_key(&Actor::system(), Purpose::Access, Algorithm::Es256).await.unwrap();
        // The one that signs, while the next is published already: the next is brought forward.
        let (old, next) = (signer().unwrap(), rotate().await.unwrap());
        assert_eq!(signer().unwrap(), old);
        assert_eq!(retire(&old).await, Some(next.clone()));
        assert_eq!(signer().unwrap(), next);
        // The next, before it signs: one that was never meant to end comes in its place.
        let later = rotate().await.unwrap();
        let made = retire(&later).await.unwrap();
        assert_eq!(signer().unwrap(), made);
        // One that only verifies: nothing else changes.
        let _ = rotate().await.unwrap();
        t.clock.advance(661);
        assert_ne!(signer().unwrap(), made);
        let signs = signer().unwrap();
        assert_eq!(retire(&made).await, None);
        assert_eq!(signer().unwrap(), signs);
        // The next key is known to a process that starts between two instants.
        let next = rotate().await.unwrap();
        t.clock.advance(300);
        let other = t.replica().await;
        let kid = |app: &Arc<App>| app.signer(Purpose::Access, Algorithm::Es256).unwrap().kid.clone();
        assert_eq!(kid(&other), signs);
        t.clock.advance(361);
        assert_eq!((kid(&other), kid(&t.app)), (next.clone(), next));
    })
    .await;
}

#[tokio::test]
async fn an_audience_gets_tokens_by_the_algorithm_it_chose() {
    let database = crate::support::Database::sqlite();
    let t = TestApp::start(&database).await;
    let subject = eligible(&t).await;
    for (audience, alg, kty) in [("edge", "ES256", "EC"), ("ed", "EdDSA", "OKP"), ("rsa", "RS256", "RSA")] {
        if audience != "edge" {
            let body = json!({ "id": audience, "name": "n", "alg": alg, "resources": ["restricted.*"] });
            t.created("/v1/audiences", body).await;
        }
        let token = issue(&t.app, &subject, audience).await;
        let kid = kid_of(&token);
        let set = fetch(&t).await.1;
        let jwk = set["keys"].as_array().unwrap().iter().find(|key| key["kid"] == kid.as_str()).unwrap();
        assert_eq!((&jwk["alg"], &jwk["kty"], &jwk["use"]), (&json!(alg), &json!(kty), &json!("sig")));
        assert!(verify_jws(&token, &keys(&set), TYPE).is_ok());
        assert_eq!(introspect(&t.app, &token).await["active"], true);
    }
}

#[tokio::test]
async fn the_key_set_may_be_kept_for_five_minutes_and_is_not_sent_twice() {
    let database = crate::support::Database::sqlite();
    let t = TestApp::start(&database).await;
    let first = t.get("/.well-known/jwks.json").await;
    assert_eq!(first.header("cache-control"), "public, max-age=300");
    assert_eq!(first.header("content-type"), "application/jwk-set+json");
    let tag = first.header("etag").to_owned();
    assert!(tag.starts_with('"') && tag.ends_with('"') && tag.len() > 10, "{tag}");
    let again = async |tag: &str| {
        let request = t.http.get(format!("{}/.well-known/jwks.json", t.url)).header("if-none-match", tag);
        request.send().await.unwrap().status()
    };
    assert_eq!(again(&tag).await, StatusCode::NOT_MODIFIED);
    assert_eq!(again("\"x\"").await, StatusCode::OK);
    t.app.rotate_key(&Actor::system(), Purpose::Receipt, Algorithm::EdDsa).await.unwrap().unwrap();
    assert_eq!(again(&tag).await, StatusCode::OK, "there is one more");
    // Answered from memory.
    database.execute("DROP TABLE keys").await.unwrap();
    assert_eq!(t.get("/.well-known/jwks.json").await.status, StatusCode::OK);
}
