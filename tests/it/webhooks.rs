//! Events out: who is told, signed how, in which order, and what happens when a receiver does not take it.

mod drain;
pub(crate) mod receiver;

use crate::app::{TestApp, asylee_record, face_check, newcomer, on_both, work_off};
use crate::cases::{contradicted, decide, scene, the_case};
use receiver::{Receiver, Reply};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use vouchsafe::service::webhooks::Courier;
use vouchsafe::storage::{Change, OutgoingWrite, Write};

const DAY: i64 = 86_400;
const ENDPOINTS: &str = "/v1/webhook-endpoints";

/// An endpoint for these types: its id and secret.
async fn endpoint(t: &TestApp, receiver: &Receiver, topics: &[&str]) -> (String, String) {
    let body = json!({ "name": "backend", "url": receiver.url(), "topics": topics });
    let made = t.created(ENDPOINTS, body).await;
    (made["id"].as_str().unwrap().to_owned(), made["secret"].as_str().unwrap().to_owned())
}

/// Does what the job does until nothing is due.
async fn deliver(t: &TestApp) {
    work_off(&t.app).await;
    Courier::new(Arc::clone(&t.app)).work_off().await.unwrap();
}

async fn later(t: &TestApp, seconds: i64) {
    t.clock.advance(seconds);
    deliver(t).await;
}

/// Says that the subject declares something; a message of its own each time. Gives the attestation.
async fn declare(t: &TestApp, subject: &str, event: &str) -> String {
    let body = json!({ "source": "src_self", "kind": "declaration", "event_id": event,
        "statement": { "type": "states", "frame": "us_status", "states": ["citizen"] } });
    let answer = t.post(&format!("/v1/subjects/{subject}/attestations"), body).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
    answer.body["id"].as_str().unwrap().to_owned()
}

async fn log(t: &TestApp, endpoint: &str) -> Vec<Value> {
    let answer = t.get(&format!("{ENDPOINTS}/{endpoint}/deliveries?limit=200")).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    answer.body["items"].as_array().unwrap().clone()
}

/// Access tokens end while the clock is moved.
async fn sign_in(t: &mut TestApp) {
    t.admin = t.client("Ada", &vouchsafe::service::admin::SCOPES, &["src_self"], None).await;
}

/// States and tries, newest first.
async fn states(t: &TestApp, endpoint: &str) -> Vec<(String, i64)> {
    let items = log(t, endpoint).await;
    items.iter().map(|item| (item["state"].as_str().unwrap().to_owned(), item["tries"].as_i64().unwrap())).collect()
}

fn state(state: &str, tries: i64) -> (String, i64) {
    (state.to_owned(), tries)
}

#[test]
fn every_type_of_message_is_on_the_page() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/webhooks.md")).unwrap();
    for topic in vouchsafe::service::outbox::TOPICS {
        assert!(page.contains(&format!("`{topic}`")), "{topic}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_is_told_once_signed_and_without_names() {
    on_both(async |t: TestApp| {
        let receiver = Receiver::new().await;
        let (id, secret) = endpoint(&t, &receiver, &["eligibility.changed", "attestation.accepted"]).await;
        let subject = newcomer(&t).await;
        let sources = t.sources().await;
        for body in [asylee_record(&sources), face_check(&sources)] {
            t.attest(&sources, &subject, body).await;
        }
        deliver(&t).await;
        let got = receiver.got();
        let topics: Vec<String> = got.iter().map(receiver::Got::topic).collect();
        assert_eq!(topics, ["attestation.accepted", "attestation.accepted", "eligibility.changed"]);
        for message in &got {
            assert!(message.is_signed_with(&secret), "{message:?}");
            assert!(!message.is_signed_with("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"));
            assert_eq!(message.timestamp, t.clock_secs().to_string());
            assert!(message.id.starts_with("out_") && !message.text.contains("\"ada\"") && message.text.len() < 20_000);
            assert_eq!(message.body()["timestamp"], "2026-11-21T00:00:00Z");
            assert_eq!(message.body()["data"]["subject"], json!(subject));
        }
        let changed = &got[2].body()["data"];
        assert_eq!((&changed["status"], &changed["resource"]), (&json!("eligible"), &json!("restricted.*")));
        let ids: BTreeSet<&str> = got.iter().map(|message| message.id.as_str()).collect();
        assert_eq!(ids.len(), 3);
        deliver(&t).await;
        assert_eq!(receiver.got().len(), 3, "told once");
        let items = log(&t, &id).await;
        assert_eq!(items.iter().map(|item| item["message"].as_str().unwrap()).collect::<BTreeSet<_>>(), ids);
        assert!(items.iter().all(|item| item["state"] == "delivered" && item["status"] == 204), "{items:?}");
        let shown = t.get(&format!("{ENDPOINTS}/{id}")).await;
        assert!(!shown.body.to_string().contains("whsec_"), "{}", shown.body);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_message_comes_again_by_the_schedule_under_the_same_id_until_it_is_dead() {
    on_both(async |mut t: TestApp| {
        let receiver = Receiver::answering(|_| Reply::Status(500)).await;
        let (id, secret) = endpoint(&t, &receiver, &["attestation.accepted"]).await;
        let subject = t.subject("ada").await;
        declare(&t, &subject, "1").await;
        deliver(&t).await;
        let first = receiver.taken().remove(0);
        // 5 s, 5 min, 30 min, 2 h, 5 h, 10 h, 14 h, 20 h, 24 h.
        for (tries, delay) in (2..).zip([5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400]) {
            later(&t, delay - 1).await;
            assert_eq!(receiver.got().len(), 0, "before try {tries}");
            later(&t, delay / 10 + 2).await;
            let again = receiver.taken();
            assert_eq!(again.len(), 1, "try {tries}");
            assert_eq!((again[0].id.as_str(), again[0].text.as_str()), (first.id.as_str(), first.text.as_str()));
            assert_ne!(again[0].timestamp, first.timestamp);
            assert!(again[0].is_signed_with(&secret));
        }
        sign_in(&mut t).await;
        assert_eq!(states(&t, &id).await, [state("dead", 10)]);
        later(&t, 300).await;
        assert_eq!(receiver.taken().len(), 0, "it is given up");
        // And kept: it can be sent again.
        receiver.answers(|_| Reply::Status(200));
        let replay = t.post(&format!("{ENDPOINTS}/{id}/replay"), json!({ "message": first.id })).await;
        assert_eq!((replay.status, &replay.body), (StatusCode::OK, &json!({ "replayed": 1 })));
        deliver(&t).await;
        assert_eq!(receiver.taken()[0].id, first.id);
        assert_eq!(states(&t, &id).await, [state("delivered", 1)]);
        let missing = t.post(&format!("{ENDPOINTS}/{id}/replay"), json!({ "message": "out_x" })).await;
        assert_eq!(missing.status, StatusCode::NOT_FOUND);
        // What somebody is sending this moment is there, and is not sent twice.
        declare(&t, &subject, "2").await;
        t.app.fan_out().await.unwrap();
        let waits = log(&t, &id).await[0]["message"].clone();
        let now_ms = t.clock_secs() * 1000;
        let take = OutgoingWrite::Take {
            receiver: id.clone(),
            claim: "c".into(),
            now_ms,
            until_ms: now_ms + 60_000,
            limit: 1,
        };
        let change = Change { writes: vec![Write::Outgoing(take)], audit: vec![], feed: vec![], outbox: vec![] };
        t.app.store.commit(change).await.unwrap().unwrap();
        let on_its_way = t.post(&format!("{ENDPOINTS}/{id}/replay"), json!({ "message": waits })).await;
        assert_eq!((on_its_way.status, &on_its_way.body["code"]), (StatusCode::CONFLICT, &json!("conflict")));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redirects_are_not_followed_and_count_as_failures() {
    on_both(async |t: TestApp| {
        let receiver = Receiver::answering(|_| Reply::Redirect(307)).await;
        let (id, _) = endpoint(&t, &receiver, &["attestation.accepted"]).await;
        let subject = t.subject("ada").await;
        declare(&t, &subject, "1").await;
        deliver(&t).await;
        assert_eq!(receiver.taken().len(), 1);
        let item = log(&t, &id).await.remove(0);
        assert_eq!((&item["state"], &item["status"]), (&json!("pending"), &json!(307)));
        assert_eq!(item["outcome"], "redirected");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_one_subject_a_later_message_waits_for_the_earlier_one() {
    on_both(async |t: TestApp| {
        let (ada, bo) = (t.subject("ada").await, t.subject("bo").await);
        let poisoned = ada.clone();
        let mut failures = 2;
        let receiver = Receiver::answering(move |got| {
            let fails = got.body()["data"]["subject"] == poisoned.as_str() && failures > 0;
            failures -= i32::from(fails);
            Reply::Status(if fails { 500 } else { 200 })
        })
        .await;
        endpoint(&t, &receiver, &["attestation.accepted"]).await;
        let (mut of_ada, mut of_bo) = (Vec::new(), Vec::new());
        for event in 1..=4 {
            of_ada.push(declare(&t, &ada, &format!("a{event}")).await);
            of_bo.push(declare(&t, &bo, &format!("b{event}")).await);
        }
        let of = |subject: &str| -> Vec<String> {
            let got = receiver.got();
            let own = got.iter().filter(|got| got.body()["data"]["subject"] == subject);
            own.map(|got| got.body()["data"]["attestation"].as_str().unwrap().to_owned()).collect()
        };
        deliver(&t).await;
        assert_eq!((of(&ada).len(), of(&bo).len()), (1, 4), "the other subject does not wait");
        later(&t, 6).await;
        assert_eq!(of(&ada).len(), 2);
        later(&t, 331).await;
        let told = of(&ada);
        assert_eq!(told.len(), 6);
        assert_eq!((&told[0], &told[1]), (&told[2], &told[2]), "the first, three times");
        assert_eq!((&told[2..], of(&bo)), (of_ada.as_slice(), of_bo));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_gone_is_told_nothing_more_until_it_is_enabled_and_what_it_missed_can_be_replayed() {
    on_both(async |t: TestApp| {
        let receiver = Receiver::answering(|_| Reply::Status(410)).await;
        let (id, _) = endpoint(&t, &receiver, &["attestation.accepted"]).await;
        let subject = t.subject("ada").await;
        declare(&t, &subject, "1").await;
        declare(&t, &subject, "2").await;
        deliver(&t).await;
        assert_eq!(receiver.taken().len(), 1);
        let audited = t.audited("webhook_endpoint.disabled").await;
        assert_eq!(audited.len(), 1);
        assert_eq!((&audited[0]["actor"], &audited[0]["detail"]["reason"]), (&json!("system"), &json!("gone")));
        declare(&t, &subject, "3").await;
        deliver(&t).await;
        assert_eq!(receiver.taken().len(), 0);
        assert!(states(&t, &id).await.iter().all(|(state, _)| state == "dead"), "kept");
        let range = json!({ "from": "2026-11-20T00:00:00Z", "to": "2026-11-22T00:00:00Z" });
        let replay = t.post(&format!("{ENDPOINTS}/{id}/replay"), range.clone()).await;
        assert_eq!(replay.status, StatusCode::UNPROCESSABLE_ENTITY, "while it is disabled");
        assert_eq!(t.post(&format!("{ENDPOINTS}/{id}/enable"), Value::Null).await.status, StatusCode::NO_CONTENT);
        receiver.answers(|_| Reply::Status(200));
        let replay = t.post(&format!("{ENDPOINTS}/{id}/replay"), range).await;
        assert_eq!(replay.body, json!({ "replayed": 3 }));
        deliver(&t).await;
        assert_eq!(receiver.taken().len(), 3);
        declare(&t, &subject, "4").await;
        deliver(&t).await;
        assert_eq!(receiver.taken().len(), 1);
        for action in ["enabled", "replayed"] {
            assert_eq!(t.audited(&format!("webhook_endpoint.{action}")).await.len(), 1, "{action}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_for_a_pause_gets_it_and_nobody_else_waits() {
    on_both(async |t: TestApp| {
        let (slow, quick) = (Receiver::answering(|_| Reply::After(429, "120")).await, Receiver::new().await);
        endpoint(&t, &slow, &["attestation.accepted"]).await;
        endpoint(&t, &quick, &["attestation.accepted"]).await;
        let (ada, bo) = (t.subject("ada").await, t.subject("bo").await);
        declare(&t, &ada, "1").await;
        deliver(&t).await;
        slow.answers(|_| Reply::Status(200));
        declare(&t, &bo, "2").await;
        later(&t, 119).await;
        assert_eq!((slow.taken().len(), quick.taken().len()), (1, 2), "another subject's waits too");
        later(&t, 2).await;
        assert_eq!(slow.taken().len(), 2);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_hangs_does_not_slow_the_others() {
    on_both(async |t: TestApp| {
        let (hanging, quick) = (Receiver::answering(|_| Reply::Never).await, Receiver::new().await);
        endpoint(&t, &hanging, &["attestation.accepted"]).await;
        endpoint(&t, &quick, &["attestation.accepted"]).await;
        for n in 0..40 {
            let subject = t.subject(&format!("s{n}")).await;
            declare(&t, &subject, &n.to_string()).await;
        }
        let stop = tokio_util::sync::CancellationToken::new();
        let job = tokio::spawn(Courier::new(Arc::clone(&t.app)).run(stop));
        let begun = std::time::Instant::now();
        quick.has(40).await;
        // A try that hangs is given up after 15 s.
        assert!(begun.elapsed() < std::time::Duration::from_secs(14), "{:?}", begun.elapsed());
        assert_eq!(hanging.got().len(), 16, "no more than its own places");
        job.abort();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_secret_is_rotated_both_sign() {
    on_both(async |mut t: TestApp| {
        let receiver = Receiver::new().await;
        let body = json!({ "name": "b", "url": receiver.url(), "topics": ["attestation.accepted"], "ed25519": true });
        let made = t.created(ENDPOINTS, body).await;
        let (id, old) = (made["id"].as_str().unwrap(), made["secret"].as_str().unwrap().to_owned());
        assert!(made["public_key"].as_str().unwrap().starts_with("whpk_"));
        let rotated = t.post(&format!("{ENDPOINTS}/{id}/rotate"), Value::Null).await;
        assert_eq!(rotated.status, StatusCode::OK, "{}", rotated.body);
        assert_eq!(rotated.header("cache-control"), "no-store");
        assert_eq!(rotated.body["previous_until"], "2026-11-22T00:00:00Z");
        assert_ne!(rotated.body["public_key"], made["public_key"]);
        let new = rotated.body["secret"].as_str().unwrap().to_owned();
        let told = async |t: &TestApp, event: &str| {
            let subject = t.subject(event).await;
            declare(t, &subject, event).await;
            deliver(t).await;
            receiver.taken().remove(0)
        };
        let both = told(&t, "1").await;
        assert!(both.is_signed_with(&old) && both.is_signed_with(&new));
        let kinds: Vec<&str> = both.signatures.split(' ').map(|part| part.split_once(',').unwrap().0).collect();
        assert_eq!(kinds, ["v1", "v1a", "v1", "v1a"]);
        t.clock.advance(DAY);
        t.app.poll_feed().await.unwrap();
        sign_in(&mut t).await;
        let one = told(&t, "2").await;
        assert!(!one.is_signed_with(&old) && one.is_signed_with(&new), "a day later the old one is over");
        assert_eq!(one.signatures.split(' ').count(), 2);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn endpoints_take_a_scope_of_their_own_and_are_told_only_what_their_owner_may_see() {
    on_both(async |t: TestApp| {
        let receiver = Receiver::new().await;
        let body = |external_id: bool| {
            json!({ "name": "b", "url": receiver.url(), "topics": ["attestation.accepted"],
                "external_id": external_id })
        };
        let admin = t.client("Bo", &["admin", "subjects:read"], &[], None).await;
        let hooks = t.client("Cy", &["webhooks"], &[], None).await;
        let both = t.client("Di", &["webhooks", "subjects:read"], &[], None).await;
        let post = async |token: &str, body: Value| t.send(token, Method::POST, ENDPOINTS, Some(body)).await;
        assert_eq!(post(&admin, body(false)).await.status, StatusCode::FORBIDDEN);
        assert_eq!(post(&hooks, body(true)).await.status, StatusCode::FORBIDDEN);
        let made = post(&hooks, body(false)).await;
        assert_eq!(made.status, StatusCode::CREATED, "{}", made.body);
        let path = format!("{ENDPOINTS}/{}", made.body["id"].as_str().unwrap());
        let change = async |token: &str, body: Value| t.send(token, Method::PATCH, &path, Some(body)).await.status;
        assert_eq!(change(&hooks, json!({ "external_id": true })).await, StatusCode::FORBIDDEN);
        assert_eq!(change(&hooks, json!({ "name": "c" })).await, StatusCode::NO_CONTENT);
        assert_eq!(change(&both, json!({ "external_id": true })).await, StatusCode::NO_CONTENT);
        // Once it is told, who changes it has to be somebody who may see it.
        assert_eq!(change(&hooks, json!({ "url": "http://127.0.0.1:9999/else" })).await, StatusCode::FORBIDDEN);
        let subject = t.subject("ada@example").await;
        declare(&t, &subject, "1").await;
        deliver(&t).await;
        assert_eq!(receiver.taken()[0].body()["data"]["external_id"], "ada@example");
        // What is erased before it is sent is not told.
        declare(&t, &subject, "2").await;
        let erased = t.send(&t.admin, Method::DELETE, &format!("/v1/subjects/{subject}"), None).await;
        assert_eq!(erased.status, StatusCode::OK);
        deliver(&t).await;
        assert_eq!(receiver.taken()[0].body()["data"]["external_id"], Value::Null);
        for path in [ENDPOINTS.to_owned(), path.clone(), format!("{path}/deliveries")] {
            assert_eq!(t.send(&admin, Method::GET, &path, None).await.status, StatusCode::FORBIDDEN, "{path}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_addresses_that_may_be_reached_and_types_there_are_can_be_registered() {
    on_both(async |t: TestApp| {
        let post = async |url: &str, topic: &str| {
            t.post(ENDPOINTS, json!({ "name": "b", "url": url, "topics": [topic] })).await
        };
        for url in [
            "http://hooks.example/x",
            "ftp://hooks.example/x",
            "https://10.0.0.1/x",
            "https://169.254.169.254/latest/meta-data",
            "https://[::ffff:10.0.0.1]/x",
            "https://[64:ff9b::a00:1]/x",
            "https://[2002:a00:1::]/x",
            "https://100.64.0.1/x",
            "https://0x0a000001/x",
            "https://user:secret@hooks.example/x",
            "https://hooks.example:22/x",
            "https://hooks.example:8443/x",
            "https://hooks.example/x#a",
            "http://127.0.0.1:22/x",
            "not a url",
        ] {
            let answer = post(url, "case.opened").await;
            assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{url}: {}", answer.body);
            assert_eq!(answer.body["errors"][0]["pointer"], "/url", "{url}");
        }
        assert_eq!(post("https://hooks.example/x?a=b", "case.opened").await.status, StatusCode::CREATED);
        let unknown = post("https://hooks.example/x", "everything").await;
        assert_eq!(unknown.body["errors"][0]["pointer"], "/topics");
        t.app.configure_webhooks(DAY, &[8443]).unwrap();
        assert_eq!(post("https://hooks.example:8443/x", "case.opened").await.status, StatusCode::CREATED);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_has_versions_and_goes_with_its_log() {
    on_both(async |t: TestApp| {
        let receiver = Receiver::new().await;
        let (id, _) = endpoint(&t, &receiver, &["attestation.accepted"]).await;
        let path = format!("{ENDPOINTS}/{id}");
        assert_eq!(t.get(&path).await.header("etag"), "\"1\"");
        let send = async |method: Method, tag: &str, body: Value| {
            let request = t.http.request(method, format!("{}{path}", t.url)).bearer_auth(&t.admin);
            crate::app::answer(request.header("if-match", tag).json(&body)).await.status
        };
        let change = json!({ "topics": ["attestation.accepted", "case.opened"], "resources": ["restricted.*"] });
        assert_eq!(send(Method::PATCH, "\"2\"", change.clone()).await, StatusCode::PRECONDITION_FAILED);
        assert_eq!(send(Method::PATCH, "\"1\"", change).await, StatusCode::NO_CONTENT);
        let shown = t.get(&path).await;
        assert_eq!((shown.header("etag"), &shown.body["body"]["resources"]), ("\"2\"", &json!(["restricted.*"])));
        let tested = t.post(&format!("{path}/test"), Value::Null).await;
        assert_eq!((&tested.body["delivered"], &tested.body["status"]), (&json!(true), &json!(204)));
        assert_eq!(receiver.topics(), ["webhook.test"]);
        let subject = t.subject("ada").await;
        declare(&t, &subject, "1").await;
        deliver(&t).await;
        assert_eq!(send(Method::DELETE, "\"1\"", Value::Null).await, StatusCode::PRECONDITION_FAILED);
        assert_eq!(send(Method::DELETE, "\"2\"", Value::Null).await, StatusCode::NO_CONTENT);
        assert_eq!(t.get(&path).await.status, StatusCode::NOT_FOUND);
        assert_eq!(t.get(&format!("{path}/deliveries")).await.status, StatusCode::NOT_FOUND);
        declare(&t, &subject, "2").await;
        receiver.taken();
        deliver(&t).await;
        assert_eq!(receiver.taken().len(), 0);
        for action in ["created", "changed", "tested", "deleted"] {
            assert_eq!(t.audited(&format!("webhook_endpoint.{action}")).await.len(), 1, "{action}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_sender_that_is_gone_had_claimed_is_sent_again_under_the_same_id() {
    on_both(async |t: TestApp| {
        let receiver = Receiver::answering(|_| Reply::Never).await;
        endpoint(&t, &receiver, &["attestation.accepted"]).await;
        let subject = t.subject("ada").await;
        declare(&t, &subject, "1").await;
        let mut gone = Courier::new(Arc::clone(&t.app));
        gone.round().await.unwrap();
        receiver.has(1).await;
        drop(gone);
        receiver.answers(|_| Reply::Status(200));
        later(&t, 59).await;
        assert_eq!(receiver.got().len(), 1, "it may still come through");
        later(&t, 1).await;
        let got = receiver.taken();
        assert_eq!((got.len(), &got[0].id), (2, &got[1].id));
        later(&t, 60).await;
        assert_eq!(receiver.got().len(), 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn several_replicas_share_the_work_and_none_is_told_twice() {
    on_both(async |t: TestApp| {
        let receiver = Receiver::new().await;
        endpoint(&t, &receiver, &["attestation.accepted"]).await;
        for n in 0..30 {
            let subject = t.subject(&format!("s{n}")).await;
            for event in ["a", "b"] {
                declare(&t, &subject, &format!("{event}{n}")).await;
            }
        }
        let mut senders = tokio::task::JoinSet::new();
        for _ in 0..3 {
            let replica = t.replica().await;
            senders.spawn(async move { Courier::new(replica).work_off().await });
        }
        for done in senders.join_all().await {
            done.unwrap();
        }
        deliver(&t).await;
        let ids: BTreeSet<String> = receiver.got().into_iter().map(|got| got.id).collect();
        assert_eq!((receiver.got().len(), ids.len()), (60, 60));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_fails_for_days_is_disabled() {
    on_both(async |mut t: TestApp| {
        let receiver = Receiver::answering(|_| Reply::Status(500)).await;
        let (id, _) = endpoint(&t, &receiver, &["attestation.accepted"]).await;
        let subject = t.subject("ada").await;
        declare(&t, &subject, "1").await;
        deliver(&t).await;
        for _ in 0..5 {
            later(&t, DAY - 1).await;
        }
        assert_eq!(t.audited("webhook_endpoint.disabled").await.len(), 0);
        sign_in(&mut t).await;
        declare(&t, &subject, "2").await;
        for _ in 0..3 {
            later(&t, DAY / 3).await;
        }
        let audited = t.audited("webhook_endpoint.disabled").await;
        assert_eq!(audited.len(), 1);
        assert_eq!(audited[0]["detail"]["reason"], "failing");
        sign_in(&mut t).await;
        assert!(log(&t, &id).await.iter().all(|item| item["state"] == "dead"));
        assert_eq!(t.get(&format!("{ENDPOINTS}/{id}")).await.body["body"]["disabled"]["reason"], "failing");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_and_tokens_are_told_to_who_asked_for_them() {
    on_both(async |t: TestApp| {
        let (all, other) = (Receiver::new().await, Receiver::new().await);
        let topics = ["directive.applied", "token.revoked", "case.opened", "case.closed"];
        endpoint(&t, &all, &topics).await;
        let body = json!({ "name": "b", "url": other.url(), "topics": topics, "resources": ["regional.*"] });
        t.created(ENDPOINTS, body).await;
        t.activate("restricted-us-persons").await;
        let sources = t.sources().await;
        let subject = t.eligible_subject(&sources, "ada").await;
        t.audience("gw").await;
        let token = t.token(&subject, "restricted.api", "gw").await;
        t.token(&subject, "restricted.api", "gw").await;
        deliver(&t).await;
        let applied = all.taken().remove(0).body();
        assert_eq!(applied["type"], "directive.applied");
        assert_eq!(applied["data"]["directive"], "activate-restricted-us-persons");
        assert_eq!(applied["data"]["resources"], json!(["restricted.*"]));
        // One token is taken back, the other dies with the freeze.
        let form = [("token", token.as_str())];
        let revoked = t.http.post(format!("{}/oauth2/revoke", t.url)).bearer_auth(&t.admin).form(&form);
        assert_eq!(crate::app::answer(revoked).await.status, StatusCode::OK);
        deliver(&t).await;
        let told = all.taken().remove(0).body();
        assert_eq!((&told["type"], &told["data"]["cause"]), (&json!("token.revoked"), &json!("revoked")));
        let actions = json!([{ "freeze": "restricted.*" }]);
        let freeze = json!({ "id": "freeze", "authority": "a", "citation": "c", "actions": actions });
        t.created("/v1/directives", freeze).await;
        deliver(&t).await;
        let told: Vec<Value> = all.taken().iter().map(receiver::Got::body).collect();
        assert_eq!(told.iter().filter(|told| told["type"] == "directive.applied").count(), 1, "{told:?}");
        let dead: Vec<&Value> = told.iter().filter(|told| told["type"] == "token.revoked").collect();
        assert_eq!(dead.len(), 1, "{told:?}");
        assert_eq!(dead[0]["data"]["cause"], "not_eligible");
        assert_eq!(dead[0]["data"]["subject"], json!(subject));
        assert_eq!(other.topics(), Vec::<String>::new(), "it asked about other resources");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_case_is_told_when_it_opens_and_when_it_ends() {
    on_both(async |t: TestApp| {
        let receiver = Receiver::new().await;
        endpoint(&t, &receiver, &["case.opened", "case.closed"]).await;
        let scene = scene(&t).await;
        let told = || receiver.taken().iter().map(receiver::Got::body).collect::<Vec<_>>();
        for (name, reason) in [("ada", "looked_at"), ("bo", "erased")] {
            let (subject, _) = contradicted(&t, &scene, name).await;
            deliver(&t).await;
            let opened = told();
            assert_eq!(opened.len(), 1, "{opened:?}");
            let (kind, data) = (&opened[0]["type"], &opened[0]["data"]);
            assert_eq!((kind, &data["subject"]), (&json!("case.opened"), &json!(subject)));
            assert_eq!((&data["question"], &data["causes"]), (&json!("us_status"), &json!(["status.review"])));
            let case = the_case(&t, &scene.rio, &subject).await;
            assert_eq!(data["case"], json!(case));
            if reason == "erased" {
                let erased = t.send(&t.admin, Method::DELETE, &format!("/v1/subjects/{subject}"), None).await;
                assert_eq!(erased.status, StatusCode::OK);
            } else {
                decide(&t, &scene.rio, &scene.sam, &case, json!({ "reason": reason })).await;
            }
            deliver(&t).await;
            let closed = told();
            assert_eq!(closed.len(), 1, "{closed:?}");
            let data = &closed[0]["data"];
            assert_eq!((&closed[0]["type"], &data["case"]), (&json!("case.closed"), &json!(case)));
            assert_eq!((&data["subject"], &data["reason"]), (&json!(subject), &json!(reason)));
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_that_nothing_held_would_renew_is_told_thirty_seven_and_one_days_before() {
    on_both(async |t: TestApp| {
        let receiver = Receiver::new().await;
        endpoint(&t, &receiver, &["eligibility.expiring"]).await;
        let subject = newcomer(&t).await;
        let sources = t.sources().await;
        let mut record = asylee_record(&sources);
        // 2026-11-21 and 60 days.
        record["ends_at"] = json!("2027-01-20T00:00:00Z");
        for body in [record, face_check(&sources)] {
            let answer = t.attest(&sources, &subject, body).await;
            assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
        }
        deliver(&t).await;
        let mut told = Vec::new();
        for day in 0..62 {
            for got in receiver.taken() {
                let body = got.body();
                assert_eq!(body["data"]["ends_at"], "2027-01-20T00:00:00Z", "{body}");
                assert_eq!(body["data"]["subject"], json!(subject));
                assert_eq!(body["data"]["next_status"], "insufficient");
                told.push(day);
            }
            later(&t, DAY).await;
        }
        assert_eq!(told, [30, 53, 59]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_that_the_evidence_renews_is_not_told() {
    on_both(async |t: TestApp| {
        let receiver = Receiver::new().await;
        endpoint(&t, &receiver, &["eligibility.expiring"]).await;
        t.activate("restricted-us-persons").await;
        let sources = t.sources().await;
        t.eligible_subject(&sources, "ada").await;
        deliver(&t).await;
        // The policy ends every yes after 90 days, and the evidence begins it anew.
        for _ in 0..20 {
            later(&t, 5 * DAY).await;
        }
        let renewed = t.audited("eligibility.renewed").await;
        assert_eq!((renewed.is_empty(), receiver.taken().len()), (false, 0));
    })
    .await;
}
