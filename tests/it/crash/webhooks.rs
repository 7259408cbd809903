//! The process is killed between sending a message and writing down that it came through.

use super::deployment::{Api, Deployment, Sent};
use super::model::Dice;
use crate::support::Database;
use crate::webhooks::receiver::{Receiver, Reply};
use reqwest::StatusCode;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

pub(super) async fn made(api: &Api, path: &str, body: serde_json::Value) -> String {
    let got = api.send(&Sent::post(path, body)).await.unwrap();
    assert_eq!(got.status, StatusCode::CREATED, "{path}: {}", got.text);
    got.body["id"].as_str().unwrap().to_owned()
}

/// A new subject that something is said about; the message is committed with it.
async fn said(api: &Api, name: &str) {
    let subject = made(api, "/v1/subjects", json!({ "kind": "person", "external_id": name })).await;
    let body = json!({ "source": api.seeded.registry, "kind": "registry", "grade": "STRONG",
        "document": { "type": "status_record", "issuing_country": "USA" },
        "statement": { "type": "read", "category": "A05" } });
    made(api, &format!("/v1/subjects/{subject}/attestations"), body).await;
}

async fn endpoint(api: &Api, receiver: &Receiver) {
    let body = json!({ "name": "r", "url": receiver.url(), "topics": ["attestation.accepted"] });
    made(api, "/v1/webhook-endpoints", body).await;
}

/// A minute passes for every claim, and a day for every retry.
pub(super) async fn lapse(deployment: &Deployment) {
    deployment.pairs("UPDATE receivers SET not_before_ms = 0, failures = 0 RETURNING id, id").await;
    deployment.pairs("UPDATE deliveries SET due_ms = 0 WHERE state = 'pending' RETURNING receiver, message").await;
}

/// Whether nothing waits to be sent.
async fn is_drained(deployment: &Deployment) -> bool {
    let waits = "SELECT id, id FROM outbox UNION ALL SELECT receiver, message FROM deliveries WHERE state = 'pending'";
    deployment.pairs(waits).await.is_empty()
}

/// Waits until nothing waits to be sent. Meanwhile no claim lapses: nothing is sent a second time.
pub(super) async fn delivered(deployment: &Deployment) {
    for _ in 0..600 {
        if is_drained(deployment).await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("something waits for ever: {}", deployment.log());
}

/// As [`delivered`], and every claim and every wait for another try ends at once.
pub(super) async fn drained(deployment: &Deployment) {
    for _ in 0..600 {
        if is_drained(deployment).await {
            return;
        }
        lapse(deployment).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("something waits for ever: {}", deployment.log());
}

pub(super) async fn databases() -> Vec<Database> {
    let mut databases = vec![Database::sqlite()];
    databases.extend(Database::postgres().await);
    databases
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_sent_and_not_written_down_is_sent_again_under_the_same_id() {
    for database in databases().await {
        let deployment = Deployment::on(database);
        let seeded = deployment.seed().await;
        let receiver = Receiver::answering(|_| Reply::Never).await;
        let server = deployment.start().await;
        let api = seeded.api(&server).await;
        endpoint(&api, &receiver).await;
        for n in 0..10 {
            said(&api, &n.to_string()).await;
        }
        receiver.has(10).await;
        // Every message has arrived, and no answer has.
        drop(server);
        let first: BTreeSet<String> = receiver.taken().into_iter().map(|got| got.id).collect();
        assert_eq!(first.len(), 10);
        receiver.answers(|_| Reply::Status(200));
        lapse(&deployment).await;
        let server = deployment.start().await;
        delivered(&deployment).await;
        let second: Vec<String> = receiver.taken().into_iter().map(|got| got.id).collect();
        assert_eq!(second.iter().cloned().collect::<BTreeSet<_>>(), first);
        assert_eq!(second.len(), 10, "once more and no oftener");
        drop(server);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whenever_the_process_is_killed_every_committed_message_arrives() {
    for database in databases().await {
        let deployment = Deployment::on(database);
        let seeded = deployment.seed().await;
        let (mut dice, mut chance) = (Dice(3), Dice(4));
        // Of ten requests two are refused and one is never answered.
        let receiver = Receiver::answering(move |_| match chance.below(10) {
            0 | 1 => Reply::Status(500),
            2 => Reply::Never,
            _ => Reply::Status(200),
        })
        .await;
        for round in 0..5 {
            let server = deployment.start().await;
            let api = seeded.api(&server).await;
            if round == 0 {
                endpoint(&api, &receiver).await;
            }
            for n in 0..12 {
                said(&api, &format!("{round}.{n}")).await;
            }
            tokio::time::sleep(Duration::from_millis(dice.below(400))).await;
            drop(server);
            lapse(&deployment).await;
        }
        receiver.answers(|_| Reply::Status(200));
        let server = deployment.start().await;
        drained(&deployment).await;
        drop(server);
        let mut got: BTreeMap<String, String> = BTreeMap::new();
        for message in receiver.taken() {
            let text = got.entry(message.id).or_insert_with(|| message.text.clone());
            assert_eq!(*text, message.text, "one id, one message");
        }
        let told: BTreeSet<String> = got.values().map(|text| attestation(text)).collect();
        let committed = deployment.pairs("SELECT id, id FROM attestations WHERE source <> 'src_service'").await;
        let committed: BTreeSet<String> = committed.into_iter().map(|(id, _)| id).collect();
        assert_eq!(committed.len(), 60);
        assert_eq!(told, committed);
    }
}

fn attestation(text: &str) -> String {
    let body: serde_json::Value = serde_json::from_str(text).unwrap();
    body["data"]["attestation"].as_str().unwrap().to_owned()
}
