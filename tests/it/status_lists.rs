//! Status lists as a gateway reads them that verifies offline: fetched, verified, unpacked by hand.

use crate::app::{Answer, TestApp, introspect, on_both};
use crate::signing::eligible;
use crate::support::{Database, pairs};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
use reqwest::StatusCode;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::io::Read as _;
use vouchsafe::clock::Clock as _;
use vouchsafe::service::{Actor, App};
use vouchsafe::token::jws::{UnverifiedToken, VerificationKey, verify_jws};
use vouchsafe::token::keys::{Algorithm, Purpose};

/// Number of the list and index that a token names.
fn place(token: &str) -> (i64, usize) {
    let claims = UnverifiedToken::parse(token).unwrap().unverified_claims();
    let named = &claims["status"]["status_list"];
    let number = named["uri"].as_str().unwrap().rsplit('/').next().unwrap().parse().unwrap();
    (number, usize::try_from(named["idx"].as_u64().unwrap()).unwrap())
}

fn jti(token: &str) -> String {
    UnverifiedToken::parse(token).unwrap().unverified_claim("jti").unwrap().to_owned()
}

/// The claims of a signed list, verified with the published keys.
fn verified(app: &App, token: &str) -> Map<String, Value> {
    let set = app.key_set();
    let jwks = set["keys"].as_array().unwrap().iter();
    let keys: Vec<_> = jwks.map(|jwk| VerificationKey::from_jwk(jwk["kid"].as_str().unwrap(), jwk).unwrap()).collect();
    verify_jws(token, &keys, "statuslist+jwt").unwrap().1
}

/// Two bits for each index, least significant first, in a zlib stream.
fn statuses(claims: &Map<String, Value>) -> Vec<u8> {
    let stream = B64.decode(claims["status_list"]["lst"].as_str().unwrap()).unwrap();
    let mut bytes = Vec::new();
    flate2::read::ZlibDecoder::new(&stream[..]).read_to_end(&mut bytes).unwrap();
    bytes.iter().flat_map(|byte| [byte & 3, byte >> 2 & 3, byte >> 4 & 3, byte >> 6]).collect()
}

/// What a process says of a token now.
pub(crate) async fn status_at(app: &App, token: &str) -> u8 {
    let (number, index) = place(token);
    let signed = app.status_list(number).await.unwrap();
    statuses(&verified(app, &signed.token))[index]
}

async fn status(t: &TestApp, token: &str) -> u8 {
    status_at(&t.app, token).await
}

async fn get(t: &TestApp, path: &str, headers: &[(&str, &str)]) -> (StatusCode, reqwest::header::HeaderMap, Vec<u8>) {
    let mut request = t.http.get(format!("{}{path}", t.url));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = request.send().await.unwrap();
    (response.status(), response.headers().clone(), response.bytes().await.unwrap().to_vec())
}

/// A second passes and every job runs.
async fn second(t: &TestApp) {
    t.clock.advance(1);
    t.app.poll_feed().await.unwrap();
    t.app.tend_status().await.unwrap();
}

async fn issue(t: &TestApp, subject: &str) -> String {
    crate::signing::issue(&t.app, subject, "edge").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_is_seen_at_once_and_in_the_list_of_every_replica() {
    on_both(async |t| {
        let subject = eligible(&t).await;
        let (kept, lost) = (issue(&t, &subject).await, issue(&t, &subject).await);
        let other = t.replica().await;
        second(&t).await;
        other.poll_feed().await.unwrap();
        assert_eq!((status(&t, &kept).await, status(&t, &lost).await), (0, 0));
        assert_eq!((status_at(&other, &kept).await, status_at(&other, &lost).await), (0, 0));
        t.app.revoke_jti(&Actor::system(), &jti(&lost)).await.unwrap();
        assert_eq!(introspect(&t.app, &lost).await, json!({ "active": false }));
        second(&t).await;
        other.poll_feed().await.unwrap();
        other.tend_status().await.unwrap();
        for app in [&t.app, &other] {
            assert_eq!((status_at(app, &kept).await, status_at(app, &lost).await), (0, 1));
        }
        // A process that starts knows it too.
        assert_eq!(status_at(&*t.replica().await, &lost).await, 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_frozen_is_suspended_at_once_until_it_is_lifted_or_looked_at() {
    on_both(async |t| {
        let subject = eligible(&t).await;
        let token = issue(&t, &subject).await;
        second(&t).await;
        assert_eq!(status(&t, &token).await, 0);
        let freeze = async |id: &str| {
            let body =
                json!({ "id": id, "authority": "a", "citation": "c", "actions": [{ "freeze": "restricted.*" }] });
            t.created("/v1/directives", body).await;
        };
        let lift = async |id: &str| {
            let body = json!({ "id": format!("lift-{id}"), "authority": "a", "citation": "c",
                "actions": [{ "lift": { "directive": id } }] });
            t.created("/v1/directives", body).await;
            let second = t.client("Lee", &["directives:approve"], &[], None).await;
            let path = format!("/v1/directives/lift-{id}/approve");
            let answer: Answer = t.send(&second, reqwest::Method::POST, &path, None).await;
            assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        };
        freeze("one").await;
        second(&t).await;
        assert_eq!(status(&t, &token).await, 2);
        assert_eq!(introspect(&t.app, &token).await, json!({ "active": false }));
        lift("one").await;
        second(&t).await;
        assert_eq!(status(&t, &token).await, 0);
        assert_eq!(introspect(&t.app, &token).await["active"], true);
        // Who was looked at under the freeze has to ask for a new token.
        freeze("two").await;
        while t.app.reassess().await.unwrap() {}
        second(&t).await;
        assert_eq!(status(&t, &token).await, 1);
        lift("two").await;
        second(&t).await;
        assert_eq!(status(&t, &token).await, 1);
        assert_eq!(introspect(&t.app, &token).await, json!({ "active": false }));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_two_tokens_have_one_place_also_after_a_crash() {
    on_both(async |mut t| {
        let subject = eligible(&t).await;
        let mut seen = Vec::new();
        for _ in 0..3 {
            // Nothing is handed over: the process before ended without a word.
            t.restart().await;
            for _ in 0..40 {
                seen.push(place(&issue(&t, &subject).await));
            }
        }
        let distinct: BTreeSet<_> = seen.iter().collect();
        assert_eq!(distinct.len(), 120);
        assert!(seen.iter().all(|(_, index)| *index < 1 << 20));
        // Each process drew from a block of its own, and in no order.
        let blocks: BTreeSet<_> = seen.iter().map(|(list, index)| (list, index / 4096)).collect();
        assert_eq!(blocks.len(), 3);
        assert!(!seen[..40].is_sorted());
        let held = pairs(&t.database_url, "SELECT CAST(list AS TEXT), CAST(block AS TEXT) FROM status_blocks").await;
        let held: BTreeSet<_> = held.into_iter().collect();
        assert!(blocks.iter().all(|(list, block)| held.contains(&(list.to_string(), block.to_string()))), "{held:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn places_are_reserved_before_they_are_needed() {
    let database = Database::sqlite();
    let t = TestApp::start(&database).await;
    let subject = eligible(&t).await;
    let blocks = async || database.count("status_blocks").await;
    assert_eq!(blocks().await, 0, "nobody asked for any");
    second(&t).await;
    assert_eq!(blocks().await, 1);
    for _ in 0..3 {
        issue(&t, &subject).await;
        second(&t).await;
    }
    assert_eq!(blocks().await, 1, "it is not used up");
    // What is left of a block is lost after an hour; the next one is there a minute before.
    t.clock.advance(3600 - 59);
    t.app.poll_feed().await.unwrap();
    t.app.tend_status().await.unwrap();
    assert_eq!(blocks().await, 2);
    let ours = place(&issue(&t, &subject).await);
    t.clock.advance(60);
    t.app.poll_feed().await.unwrap();
    let later = place(&issue(&t, &subject).await);
    assert_eq!((ours.0, blocks().await), (later.0, 2));
    assert_ne!(ours.1 / 4096, later.1 / 4096);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_says_what_the_draft_asks_of_it() {
    let database = Database::sqlite();
    let t = TestApp::start(&database).await;
    let subject = eligible(&t).await;
    let token = issue(&t, &subject).await;
    second(&t).await;
    let (number, _) = place(&token);
    let path = format!("/status-lists/{number}");
    let now = t.clock.now().epoch();
    let (status, headers, body) = get(&t, &path, &[]).await;
    let header = |name: &str| headers.get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
    assert_eq!(status, StatusCode::OK);
    assert_eq!(header("content-type"), "application/statuslist+jwt");
    assert_eq!(header("cache-control"), "public, max-age=30");
    assert_eq!(header("access-control-allow-origin"), "*");
    let body = String::from_utf8(body).unwrap();
    let claims = verified(&t.app, &body);
    let uri = format!("{}{path}", t.app.issuer);
    assert_eq!((&claims["sub"], &claims["ttl"]), (&json!(uri), &json!(30)));
    let iat = claims["iat"].as_i64().unwrap();
    assert!((now - 1..=now).contains(&iat) && claims["exp"] == json!(iat + 900));
    assert_eq!(claims["status_list"]["bits"], 2);
    assert_eq!(statuses(&claims).len(), 1 << 20, "always as long");
    // Nobody else's key signs it, and its key signs nothing else.
    let header_of = |token: &str| UnverifiedToken::parse(token).unwrap().unverified_header("kid").unwrap().to_owned();
    assert_ne!(header_of(&body), header_of(&token));

    let tag = header("etag");
    assert_eq!(get(&t, &path, &[("if-none-match", &tag)]).await.0, StatusCode::NOT_MODIFIED);
    let (_, zipped, bytes) = get(&t, &path, &[("accept-encoding", "br, gzip;q=0.8")]).await;
    assert_eq!(zipped["content-encoding"], "gzip");
    assert_ne!(zipped["etag"], headers["etag"], "other bytes, another tag");
    let mut unzipped = String::new();
    flate2::read::GzDecoder::new(&bytes[..]).read_to_string(&mut unzipped).unwrap();
    assert_eq!(unzipped, body);
    assert!(!get(&t, &path, &[("accept-encoding", "gzip;q=0")]).await.1.contains_key("content-encoding"));

    for (headers, expected) in [
        (vec![("accept", "application/statuslist+jwt")], 200),
        (vec![("accept", "*/*")], 200),
        (vec![("accept", "application/statuslist+cwt")], 406),
        (vec![("accept", "application/json")], 406),
    ] {
        assert_eq!(get(&t, &path, &headers).await.0.as_u16(), expected, "{headers:?}");
    }
    assert_eq!(get(&t, &format!("{path}?time=1"), &[]).await.0, StatusCode::NOT_IMPLEMENTED);
    for unknown in ["/status-lists/0", "/status-lists/-1", "/status-lists/x"] {
        assert_eq!(get(&t, unknown, &[]).await.0, StatusCode::NOT_FOUND, "{unknown}");
    }
    assert_eq!(get(&t, &format!("/status-lists/0{number}"), &[]).await.0, StatusCode::NOT_FOUND, "another text");
    let metadata = t.get("/.well-known/oauth-authorization-server").await.body;
    let all = metadata["status_list_aggregation_endpoint"].as_str().unwrap().to_owned();
    assert_eq!(all, format!("{}/status-lists", t.app.issuer));
    assert_eq!(t.get("/status-lists").await.body, json!({ "status_lists": [uri] }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_is_signed_anew_when_something_changed_and_every_fifth_minute() {
    let database = Database::sqlite();
    let t = TestApp::start(&database).await;
    let subject = eligible(&t).await;
    let token = issue(&t, &subject).await;
    let (number, _) = place(&token);
    let iat = async || {
        let signed = t.app.status_list(number).await.unwrap();
        verified(&t.app, &signed.token)["iat"].as_i64().unwrap()
    };
    // The clock of the tests begins at the first second of a fifth minute.
    let begin = t.clock.now().epoch();
    assert_eq!(begin % 300, 0);
    second(&t).await;
    let first = iat().await;
    t.clock.advance(begin + 299 - t.clock.now().epoch() - 1);
    second(&t).await;
    assert_eq!(iat().await, first, "nothing changed");
    second(&t).await;
    assert_eq!(iat().await, begin + 300);
    t.app.revoke_jti(&Actor::system(), &jti(&token)).await.unwrap();
    second(&t).await;
    assert_eq!(iat().await, begin + 301, "something changed");
    // A clock that is set back makes no list older than the last one.
    let another = issue(&t, &subject).await;
    t.clock.advance(-5);
    t.app.poll_feed().await.unwrap();
    t.app.revoke_jti(&Actor::system(), &jti(&another)).await.unwrap();
    t.app.tend_status().await.unwrap();
    assert_eq!((iat().await, status(&t, &another).await), (begin + 301, 1));
    // Its key was retired: nothing is served that it signed, and the next second has another.
    let kid = t.app.signer(Purpose::StatusList, Algorithm::Es256).unwrap().kid.clone();
    t.app.retire_key(&Actor::system(), &kid, "test").await.unwrap();
    assert_eq!(get(&t, &format!("/status-lists/{number}"), &[]).await.0, StatusCode::SERVICE_UNAVAILABLE);
    second(&t).await;
    assert_eq!(status(&t, &another).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_database_the_last_list_is_served_until_its_end_and_then_none() {
    let database = Database::sqlite();
    let t = TestApp::start(&database).await;
    let subject = eligible(&t).await;
    let token = issue(&t, &subject).await;
    second(&t).await;
    let (number, _) = place(&token);
    let path = format!("/status-lists/{number}");
    let read = async || {
        let (status, headers, body) = get(&t, &path, &[]).await;
        let age = headers.get("cache-control").map_or("", |value| value.to_str().unwrap()).to_owned();
        (status, age, body)
    };
    let (_, _, before) = read().await;
    let exp = verified(&t.app, std::str::from_utf8(&before).unwrap())["exp"].as_i64().unwrap();
    // Something changed that was not signed yet when the database went away.
    t.app.revoke_jti(&Actor::system(), &jti(&token)).await.unwrap();
    database.execute("ALTER TABLE feed RENAME TO gone").await.unwrap();
    for _ in 0..12 {
        t.clock.advance(1);
        assert!(t.app.poll_feed().await.is_err());
        // The first seconds cannot be told from a slow poll, and are not signed all the same.
        if t.app.feed_age_secs() > 2 {
            let _ = t.app.tend_status().await;
            assert_eq!(read().await.2, before, "{} s old", t.app.feed_age_secs());
        }
    }
    assert!(t.app.tend_status().await.is_err(), "past ten seconds");
    t.clock.advance(exp - 10 - t.clock.now().epoch());
    let (status_then, age, body) = read().await;
    assert_eq!((status_then, age.as_str(), body), (StatusCode::OK, "public, max-age=10", before), "never past its end");
    t.clock.advance(9);
    assert_eq!(read().await.0, StatusCode::OK);
    t.clock.advance(1);
    assert_eq!(read().await.0, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(t.get("/.well-known/jwks.json").await.status, StatusCode::OK);
    // Back again: what was missed is in the next list.
    database.execute("ALTER TABLE gone RENAME TO feed").await.unwrap();
    second(&t).await;
    assert_eq!(status(&t, &token).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_is_retired_when_no_token_of_it_can_live() {
    on_both(async |t| {
        let subject = eligible(&t).await;
        let (number, _) = place(&issue(&t, &subject).await);
        let other = t.replica().await;
        // An hour of drawing, the longest token (a quarter of an hour), a minute for clocks, half a minute for leeway.
        let until = 3600 + 900 + 60 + 30;
        t.clock.advance(until);
        t.app.poll_feed().await.unwrap();
        t.app.keep_bounds().await.unwrap();
        assert!(t.app.status_list(number).await.is_ok(), "a moment before its end");
        t.clock.advance(1);
        t.app.keep_bounds().await.unwrap();
        other.poll_feed().await.unwrap();
        for app in [&t.app, &other] {
            assert!(app.status_list(number).await.is_err());
            assert_eq!(app.status_list_uris(), Vec::<String>::new());
        }
        assert_eq!(t.audited("status_list.retired").await[0]["target"], json!(number.to_string()));
        assert_ne!(place(&issue(&t, &subject).await).0, number);
    })
    .await;
}
