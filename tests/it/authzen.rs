//! The AuthZEN Authorization API 1.0, over HTTP: its wire rules, our mapping, and the certification scenario.

mod scenario;
mod wire;

use crate::app::{Answer, TestApp};
use reqwest::Method;
use serde_json::{Value, json};

const EVALUATION: &str = "/access/v1/evaluation";
const EVALUATIONS: &str = "/access/v1/evaluations";

async fn post(t: &TestApp, path: &str, body: Value) -> Answer {
    t.send(&t.admin, Method::POST, path, Some(body)).await
}

/// May a person use a service?
fn may_use(subject: &str, resource: &str) -> Value {
    json!({ "subject": { "type": "person", "id": subject }, "action": { "name": "use" },
        "resource": { "type": "service", "id": resource } })
}

fn decisions(answer: &Answer) -> Vec<bool> {
    answer.body["evaluations"].as_array().unwrap().iter().map(|item| item["decision"].as_bool().unwrap()).collect()
}
