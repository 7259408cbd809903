//! A POST under an idempotency key happens once, whatever becomes of its answer.

use crate::app::{TestApp, on_both};
use reqwest::StatusCode;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use vouchsafe::service::Actor;
use vouchsafe::service::idempotency::{Claimed, KEPT_SECS, LEASE_SECS, under};

async fn subjects(t: &TestApp) -> usize {
    t.get("/v1/subjects?limit=200").await.body["items"].as_array().unwrap().len()
}

fn key(text: &str) -> [(&str, &str); 1] {
    [("idempotency-key", text)]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_key_gets_the_first_answer_also_after_a_restart() {
    on_both(async |mut t: TestApp| {
        let body = json!({ "kind": "person" });
        let first = t.post_with("/v1/subjects", &body, &key("\"k1\"")).await;
        assert_eq!(first.status, StatusCode::CREATED, "{}", first.body);
        assert_eq!(first.header("idempotency-replayed"), "");
        for after_restart in [false, true] {
            if after_restart {
                t.restart().await;
            }
            let again = t.post_with("/v1/subjects", &body, &key("k1")).await;
            assert_eq!((again.status, &again.body), (first.status, &first.body), "quotes are not part of the key");
            assert_eq!(again.header("idempotency-replayed"), "true");
            assert_eq!(again.header("content-type"), "application/json");
        }
        assert_eq!(subjects(&t).await, 1);
        let other_body = t.post_with("/v1/subjects", &json!({ "kind": "workload" }), &key("k1")).await;
        assert_eq!(other_body.status, StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(other_body.body["code"], "idempotency_key_reused");
        let other_key = t.post_with("/v1/subjects", &body, &key("k2")).await;
        assert_ne!(other_key.body["id"], first.body["id"]);
        let other_place = t.post_with("/v1/organisations", &json!({ "name": "n" }), &key("k1")).await;
        assert_eq!(other_place.status, StatusCode::CREATED, "a key belongs to its method and path");
        t.admin = t.client("Bo", &["subjects:write", "subjects:read"], &[], None).await;
        let other_client = t.post_with("/v1/subjects", &body, &key("k1")).await;
        assert_ne!(other_client.body["id"], first.body["id"], "a key belongs to its client");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_creating_route_takes_a_key() {
    on_both(async |t: TestApp| {
        t.activate("restricted-us-persons").await;
        t.audience("edge").await;
        let sources = t.sources().await;
        let subject = t.eligible_subject(&sources, "ada").await;
        let of = |path: &str| format!("/v1/subjects/{subject}/{path}");
        let declared = json!({ "source": "src_self", "kind": "declaration",
            "statement": { "type": "nationalities", "countries": ["USA"] } });
        for (path, body) in [
            (of("attestations"), declared),
            (of("links"), json!({ "namespace": "n", "id": "1" })),
            (of("sessions"), json!({ "source": sources.vendor, "session": "s" })),
            (of("tokens"), json!({ "resource": "restricted.api", "audience": "edge" })),
            ("/v1/observations".to_owned(), json!({ "subject": subject, "address": "203.0.113.7" })),
            ("/v1/clients".to_owned(), json!({ "name": "n", "owner": "o", "scopes": ["subjects:read"] })),
            ("/v1/gateways".to_owned(), json!({ "name": "g", "resources": ["restricted.*"], "audience": "edge" })),
            ("/v1/audiences".to_owned(), json!({ "id": "rs", "name": "rs", "alg": "RS256", "resources": ["a.b"] })),
            ("/v1/sources".to_owned(), json!({ "name": "s", "kind": "registry" })),
            (
                "/v1/directives".to_owned(),
                json!({ "id": "f", "authority": "a", "citation": "c",
                "actions": [{ "freeze": "regional.*" }] }),
            ),
        ] {
            let first = t.post_with(&path, &body, &key("k")).await;
            assert_eq!(first.status, StatusCode::CREATED, "{path}: {}", first.body);
            let again = t.post_with(&path, &body, &key("k")).await;
            assert_eq!((again.status, &again.body), (first.status, &first.body), "{path}");
            assert_eq!(again.header("cache-control"), first.header("cache-control"), "{path}");
            assert_eq!(again.header("idempotency-replayed"), "true", "{path}");
        }
        let noted = t.requests_with("COALESCE(effect, '')").await;
        let without = noted.iter().filter(|(_, effect)| effect.is_empty()).count();
        assert_eq!((noted.len(), without), (10, 1), "only a token is committed without its key");
        let attestations = t.get(&of("attestations")).await.body["items"].as_array().unwrap().len();
        assert_eq!(attestations, 4, "one declaration and one observation were added");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_at_once_create_one() {
    on_both(async |t: TestApp| {
        let body = json!({ "kind": "person" });
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..64 {
            let request = t.http.post(format!("{}/v1/subjects", t.url)).bearer_auth(&t.admin).json(&body);
            let request = request.header("idempotency-key", "same");
            tasks.spawn(async move { crate::app::answer(request).await });
        }
        let mut ids = BTreeSet::new();
        for answer in tasks.join_all().await {
            match answer.status {
                StatusCode::CREATED => _ = ids.insert(answer.body["id"].as_str().unwrap().to_owned()),
                StatusCode::CONFLICT => {
                    assert_eq!(answer.body["code"], "idempotency_in_progress");
                    assert_eq!(answer.header("retry-after"), "1");
                }
                other => panic!("{other}: {}", answer.body),
            }
        }
        assert_eq!((ids.len(), subjects(&t).await), (1, 1));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_request_gives_its_key_back_and_a_collision_keeps_it() {
    on_both(async |t: TestApp| {
        let bad = t.post_with("/v1/subjects", &json!({ "kind": "ghost" }), &key("k")).await;
        assert_eq!(bad.status, StatusCode::UNPROCESSABLE_ENTITY);
        let body = json!({ "kind": "person", "external_id": "ada" });
        let corrected = t.post_with("/v1/subjects", &body, &key("k")).await;
        assert_eq!(corrected.status, StatusCode::CREATED, "{}", corrected.body);
        let taken = t.post_with("/v1/subjects", &body, &key("other")).await;
        assert_eq!(taken.status, StatusCode::CONFLICT);
        let again = t.post_with("/v1/subjects", &body, &key("other")).await;
        assert_eq!((again.status, &again.body), (taken.status, &taken.body), "down to the request id");
        assert_eq!(again.header("idempotency-replayed"), "true");
        for bad in ["\"open", ""] {
            let refused = t.post_with("/v1/subjects", &body, &key(bad)).await;
            assert_eq!(
                (refused.status, &refused.body["code"]),
                (StatusCode::BAD_REQUEST, &json!("idempotency_key_invalid"))
            );
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_remembered_for_a_day_and_then_forgotten_by_the_job() {
    on_both(async |t: TestApp| {
        let body = json!({ "kind": "person" });
        let first = t.post_with("/v1/subjects", &body, &key("k")).await.body;
        let secret = t.client_secret().await;
        let log_in = async || t.app.access_token(&secret.id, &secret.secret, None).await.unwrap().token;
        t.clock.advance(KEPT_SECS - 1);
        t.app.keep_bounds().await.unwrap();
        let token = log_in().await;
        let ask = async |token: &str| {
            let request = t.http.post(format!("{}/v1/subjects", t.url)).bearer_auth(token).json(&body);
            crate::app::answer(request.header("idempotency-key", "day")).await.body
        };
        let kept = ask(&token).await;
        assert_eq!(ask(&token).await["id"], kept["id"]);
        t.clock.advance(1);
        t.app.keep_bounds().await.unwrap();
        assert_eq!(ask(&log_in().await).await["id"], kept["id"], "a younger key stays");
        t.clock.advance(KEPT_SECS);
        let anew = ask(&log_in().await).await;
        assert_ne!(anew["id"], kept["id"], "an expired key counts for nothing, forgotten or not");
        assert_ne!(anew["id"], first["id"]);
    })
    .await;
}

/// The claims a process holds when it ends in the middle of its work.
#[tokio::test(flavor = "multi_thread")]
async fn a_crash_never_lets_a_retry_do_it_twice() {
    on_both(async |mut t: TestApp| {
        let secret = t.client_secret().await;
        let body = json!({ "kind": "person" });
        let bytes = serde_json::to_vec(&body).unwrap();
        let claim = async |t: &TestApp, key: &str| match t.app.claim(&secret.id, "POST /v1/subjects", key, &bytes).await
        {
            Ok(Claimed::Ours(claim)) => claim,
            other => panic!("{other:?}"),
        };
        let ask = async |t: &TestApp, key: &str| {
            let token = t.app.access_token(&secret.id, &secret.secret, None).await.unwrap().token;
            let request = t.http.post(format!("{}/v1/subjects", t.url)).bearer_auth(token).json(&body);
            crate::app::answer(request.header("idempotency-key", key)).await
        };
        // Before the effect, and between the effect and the answer.
        let before = claim(&t, "before").await;
        let between = claim(&t, "between").await;
        let actor = Actor::client(&secret.id);
        let made = under(between, t.app.create_subject(&actor, "person", None)).await.unwrap();
        t.restart().await;
        for crashed in ["before", "between"] {
            let early = ask(&t, crashed).await;
            assert_eq!((early.status, &early.body["code"]), (StatusCode::CONFLICT, &json!("idempotency_in_progress")));
        }
        t.clock.advance(LEASE_SECS);
        let lost = ask(&t, "between").await;
        assert_eq!((lost.status, &lost.body["code"]), (StatusCode::CONFLICT, &json!("idempotency_answer_lost")));
        assert!(lost.body["detail"].as_str().unwrap().contains(&made.id), "{}", lost.body);
        let count = subjects_of(&t).await;
        let retried = ask(&t, "before").await;
        assert_eq!(retried.status, StatusCode::CREATED, "nothing was done under it");
        // The process that was thought dead wakes up: what it still wants to do is undone.
        let late = under(before, t.app.create_subject(&actor, "person", None)).await;
        assert!(matches!(late, Err(vouchsafe::service::ServiceError::KeyTakenOver)), "{late:?}");
        assert_eq!(subjects_of(&t).await, count + 1);
    })
    .await;
}

async fn subjects_of(t: &TestApp) -> usize {
    t.app.subjects("", 200).await.unwrap().len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_secret_is_sealed_and_only_for_who_may_still_ask() {
    on_both(async |t: TestApp| {
        let body = json!({ "name": "n", "owner": "o", "scopes": ["subjects:read"] });
        let first = t.post_with("/v1/clients", &body, &key("k")).await.body;
        let secret = first["client_secret"].as_str().unwrap();
        for (client, digest) in t.requests().await {
            let row = t.app.store.request(&client, &digest).await.unwrap().unwrap();
            let answer = row.answer.unwrap();
            assert!(!answer.windows(secret.len()).any(|window| window == secret.as_bytes()));
            assert!(!digest.contains('k') && row.body_sha256.len() == 64);
        }
        let powerless = t.client("Pat", &["subjects:read"], &[], None).await;
        let request = t.http.post(format!("{}/v1/clients", t.url)).bearer_auth(powerless).json(&body);
        let refused = crate::app::answer(request.header("idempotency-key", "k")).await;
        assert_eq!((refused.status, &refused.body["client_secret"]), (StatusCode::FORBIDDEN, &Value::Null));
    })
    .await;
}
