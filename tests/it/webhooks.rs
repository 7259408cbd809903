//! Events out: who is told, signed how, in which order, and what happens when a receiver does not take it.

mod crash;
mod drain;
mod receiver;

use crate::app::{TestApp, asylee_record, face_check, newcomer, on_both, work_off};
use receiver::{Receiver, Reply};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use vouchsafe::service::webhooks::Courier;

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

/// Says that the subject declares something; a message of its own each time.
async fn declare(t: &TestApp, subject: &str, event: &str) {
    let body = json!({ "source": "src_self", "kind": "declaration", "event": event,
        "statement": { "type": "declares", "states": ["us_citizen"] } });
    let answer = t.post(&format!("/v1/subjects/{subject}/attestations"), body).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
}

async fn log(t: &TestApp, endpoint: &str) -> Vec<Value> {
    let answer = t.get(&format!("{ENDPOINTS}/{endpoint}/deliveries?limit=200")).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    answer.body["items"].as_array().unwrap().clone()
}

/// States and tries, newest first.
async fn states(t: &TestApp, endpoint: &str) -> Vec<(String, i64)> {
    let items = log(t, endpoint).await;
    items.iter().map(|item| (item["state"].as_str().unwrap().to_owned(), item["tries"].as_i64().unwrap())).collect()
}

fn state(state: &str, tries: i64) -> (String, i64) {
    (state.to_owned(), tries)
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
            assert!(message.id.starts_with("out_") && !message.text.contains("ada") && message.text.len() < 20_000);
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
    on_both(async |t: TestApp| {
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
        assert_eq!(states(&t, &id).await, [state("dead", 10)]);
        later(&t, 3 * DAY).await;
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
    })
    .await;
}

