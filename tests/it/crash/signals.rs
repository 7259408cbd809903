//! The process is killed between telling a signal and writing down that it was taken: it is told again as the same token,
//! and none is lost.

use super::deployment::{Api, Deployment, Seeded, Sent};
use super::model::Dice;
use super::webhooks::{databases, delivered, drained, lapse, made};
use crate::webhooks::receiver::{Receiver, Reply};
use reqwest::StatusCode;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use vouchsafe::token::jws::UnverifiedToken;

const CLAIMS_CHANGE: &str = "https://schemas.openid.net/secevent/caep/event-type/token-claims-change";

/// The stream of the first client, which is the receiver too.
async fn stream(api: &Api, seeded: &Seeded, delivery: Value) -> String {
    let body = json!({ "client": seeded.clients[0].0, "name": "r", "aud": "https://r.example", "namespace": "idp" });
    made(api, "/v1/signal-receivers", body).await;
    let body = json!({ "events_requested": [CLAIMS_CHANGE], "delivery": delivery });
    let got = api.send(&Sent::post("/ssf/stream", body)).await.unwrap();
    assert_eq!(got.status, StatusCode::CREATED, "{}", got.text);
    got.body["stream_id"].as_str().unwrap().to_owned()
}

/// Somebody new who may use the resource; that it is told follows a moment later.
async fn admitted(api: &Api, name: &str) {
    let subject = made(api, "/v1/subjects", json!({ "kind": "person", "external_id": name })).await;
    let link = Sent::post(format!("/v1/subjects/{subject}/links"), json!({ "namespace": "idp", "id": name }));
    assert_eq!(api.send(&link).await.unwrap().status, StatusCode::CREATED);
    let path = format!("/v1/subjects/{subject}/attestations");
    let record = json!({ "source": api.seeded.registry, "kind": "registry", "grade": "STRONG",
        "document": { "type": "status_record", "issuing_country": "USA" },
        "statement": { "type": "read", "category": "A05" } });
    let face = json!({ "source": api.seeded.vendor, "kind": "document_check", "grade": "STRONG", "codes": ["face_match"],
        "document": { "type": "employment_authorisation", "issuing_country": "USA" } });
    for body in [record, face] {
        made(api, &path, body).await;
    }
}

/// The id of a token, and of whom it tells that they may.
fn told(token: &str) -> (String, String) {
    let claims = UnverifiedToken::parse(token).unwrap().unverified_claims();
    let eligibility = &claims["events"][CLAIMS_CHANGE]["claims"]["eligibility"];
    assert_eq!(eligibility["allowed"], json!(true), "{claims:?}");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    (text(&claims["jti"]), text(&claims["sub_id"]["sub"]))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_pushed_and_not_written_down_is_pushed_again_as_the_same_token() {
    for database in databases().await {
        let deployment = Deployment::on(database);
        let seeded = deployment.seed().await;
        let receiver = Receiver::answering(|_| Reply::Never).await;
        let server = deployment.start().await;
        let api = seeded.api(&server).await;
        let push = json!({ "method": "urn:ietf:rfc:8935", "endpoint_url": receiver.url() });
        stream(&api, &seeded, push).await;
        for n in 0..10 {
            admitted(&api, &n.to_string()).await;
        }
        receiver.has(10).await;
        // Every token has arrived, and no answer has.
        drop(server);
        let first: BTreeSet<String> = receiver.taken().into_iter().map(|got| got.text).collect();
        assert_eq!(first.iter().map(|token| told(token).1).collect::<BTreeSet<_>>().len(), 10);
        receiver.answers(|_| Reply::Status(202));
        lapse(&deployment).await;
        let server = deployment.start().await;
        delivered(&deployment).await;
        let second: Vec<String> = receiver.taken().into_iter().map(|got| got.text).collect();
        assert_eq!(second.iter().cloned().collect::<BTreeSet<_>>(), first, "byte for byte");
        assert_eq!(second.len(), 10, "once more and no oftener");
        drop(server);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_fetched_comes_again_after_a_kill_until_it_is_acknowledged() {
    for database in databases().await {
        let deployment = Deployment::on(database);
        let seeded = deployment.seed().await;
        let mut server = deployment.start().await;
        let api = seeded.api(&server).await;
        let id = stream(&api, &seeded, Value::Null).await;
        for n in 0..10 {
            admitted(&api, &n.to_string()).await;
        }
        let path = format!("/ssf/poll/{id}");
        let poll = async |api: &Api, ack: &[String]| {
            let body = json!({ "returnImmediately": true, "ack": ack });
            let got = api.send(&Sent::post(path.clone(), body)).await.unwrap();
            assert_eq!(got.status, StatusCode::OK, "{}", got.text);
            got.body["sets"].as_object().unwrap().clone()
        };
        let mut sets = poll(&api, &[]).await;
        for _ in 0..200 {
            if sets.len() == 10 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
            sets = poll(&api, &[]).await;
        }
        assert_eq!(sets.len(), 10);
        drop(server);
        server = deployment.start().await;
        let again = poll(&api.at(&server), &[]).await;
        assert_eq!(again, sets, "the same tokens under the same ids");
        let ack: Vec<String> = sets.keys().take(4).cloned().collect();
        poll(&api.at(&server), &ack).await;
        // What was acknowledged to be acknowledged does not come back.
        drop(server);
        server = deployment.start().await;
        let rest = poll(&api.at(&server), &[]).await;
        sets.retain(|jti, _| !ack.contains(jti));
        assert_eq!((rest.len(), rest), (6, sets));
        drop(server);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whenever_the_process_is_killed_every_signal_arrives_under_one_id() {
    for database in databases().await {
        let deployment = Deployment::on(database);
        let seeded = deployment.seed().await;
        let (mut dice, mut chance) = (Dice(5), Dice(6));
        // Of ten requests two are refused for now and one is never answered.
        let receiver = Receiver::answering(move |_| match chance.below(10) {
            0 | 1 => Reply::Status(503),
            2 => Reply::Never,
            _ => Reply::Status(202),
        })
        .await;
        let mut names = BTreeSet::new();
        for round in 0..4 {
            let server = deployment.start().await;
            let api = seeded.api(&server).await;
            if round == 0 {
                let push = json!({ "method": "urn:ietf:rfc:8935", "endpoint_url": receiver.url() });
                stream(&api, &seeded, push).await;
            }
            for n in 0..8 {
                let name = format!("{round}.{n}");
                admitted(&api, &name).await;
                names.insert(name);
            }
            tokio::time::sleep(Duration::from_millis(dice.below(600))).await;
            drop(server);
            lapse(&deployment).await;
        }
        receiver.answers(|_| Reply::Status(202));
        let server = deployment.start().await;
        // That the last are admitted is noticed only now.
        for _ in 0..200 {
            let known = "SELECT subject, resource FROM standings WHERE status = 'eligible'";
            if deployment.pairs(known).await.len() == names.len() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        drained(&deployment).await;
        drop(server);
        let mut by_id: BTreeMap<String, String> = BTreeMap::new();
        let mut ids: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for got in receiver.taken() {
            let (jti, name) = told(&got.text);
            assert_eq!(by_id.entry(jti.clone()).or_insert_with(|| got.text.clone()), &got.text, "one id, one token");
            ids.entry(name).or_default().insert(jti);
        }
        assert_eq!(ids.keys().cloned().collect::<BTreeSet<_>>(), names, "of nobody none");
        assert!(ids.values().all(|ids| ids.len() == 1), "{ids:?}");
    }
}
