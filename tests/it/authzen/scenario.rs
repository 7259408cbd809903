//! The certification scenario of the specification (`certification/authorization-api-1_0-scenario.md` of openid/authzen,
//! sections as there). Its tenant is made of policies and evidence alone: who is on which list is what organisations say.
//!
//! Of its two kinds of tests, those of the core levels all hold. Those of the properties levels hold as far as evidence
//! says what the properties claim; a property that contradicts the evidence changes nothing here, by design.

use super::post;
use crate::app::{TestApp, on_both};
use crate::vouches::Employer;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::sync::atomic::Ordering;
use vouchsafe::service::Actor;
use vouchsafe_core::policy::Policy;

fn fixture(name: &str) -> String {
    std::fs::read_to_string(format!("{}/fixtures/authzen/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// Alice and Bob, known under `user`, and the policies about the two records.
async fn tenant(t: &TestApp) {
    for name in ["records-read", "records-write", "archive-write"] {
        let policy = Policy::from_toml(&fixture(&format!("{name}.toml"))).unwrap();
        t.app.create_policy(&Actor::system(), policy).await.unwrap();
        t.activate(name).await;
    }
    for name in ["alice", "bob"] {
        let subject = t.subject(name).await;
        t.created(&format!("/v1/subjects/{subject}/links"), json!({ "namespace": "user", "id": name })).await;
    }
    let staff: [(&str, &[&str]); 3] =
        [("org_staff", &["alice", "bob"]), ("org_writers", &["alice"]), ("org_administrators", &["bob"])];
    for (organisation, members) in staff {
        Employer::register(t, organisation).await;
        let own = t.client("Emi", &["vouches:write"], &[], Some(organisation)).await;
        let rows: String = members
            .iter()
            .map(|name| json!({ "subject": format!("user:{name}"), "employed": true }).to_string() + "\n")
            .collect();
        let request = t.http.post(format!("{}/v1/vouches/batch", t.url)).bearer_auth(&own);
        let answer = crate::app::answer(request.header("content-type", "application/x-ndjson").body(rows)).await;
        assert_eq!(answer.body["refused"], json!(0), "{}", answer.body);
    }
    t.app.subject_search.store(true, Ordering::Relaxed);
}

fn holds(case: &Value, status: StatusCode, body: &Value) {
    let (expect, name) = (&case["expect"], format!("{} {}: {status} {body}", case["section"], case["path"]));
    let wanted = expect["status"].as_u64().unwrap_or(200);
    assert_eq!(u64::from(status.as_u16()), wanted, "{name}");
    if let Some(decision) = expect["decision"].as_bool() {
        assert_eq!(body["decision"], decision, "{name}");
        assert!(body["context"].is_object(), "{name}");
    }
    if let Some(decisions) = expect["decisions"].as_array() {
        let items = body["evaluations"].as_array().unwrap();
        assert_eq!(items.len(), decisions.len(), "{name}");
        assert!(body.get("decision").is_none(), "{name}");
        for (item, wanted) in items.iter().zip(decisions) {
            assert!(item["decision"].is_boolean(), "{name}");
            assert!(wanted.is_null() || item["decision"] == *wanted, "{name}");
        }
    }
    if let Some(results) = expect["results"].as_array() {
        let found = body["results"].as_array().unwrap();
        assert!(results.iter().all(|result| found.contains(result)), "{name}");
        assert!(!results.is_empty() || found.is_empty(), "{name}");
        assert!(body["page"]["next_token"].is_string(), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_certification_scenario_holds() {
    on_both(async |t: TestApp| {
        tenant(&t).await;
        let cases: Vec<Value> = serde_json::from_str(&fixture("scenario.json")).unwrap();
        assert!(cases.len() >= 44);
        for case in &cases {
            // 2.6: the same answer every time.
            for _ in 0..2 {
                let answer = post(&t, case["path"].as_str().unwrap(), case["body"].clone()).await;
                if answer.status == StatusCode::OK {
                    assert_eq!(answer.header("content-type"), "application/json");
                }
                holds(case, answer.status, &answer.body);
            }
        }
        // Sections 4.5 and 4.5.2: page by page, the same and nothing twice.
        let search = |page: Value| {
            json!({ "subject": { "type": "user" }, "action": { "name": "read" },
                "resource": { "type": "record", "id": "record-1" }, "page": page })
        };
        let (mut found, mut page) = (Vec::new(), json!({ "limit": 1 }));
        for _ in 0..10 {
            let answer = post(&t, "/access/v1/search/subject", search(page)).await;
            assert!(answer.body["results"].as_array().unwrap().len() <= 1);
            found.extend(answer.body["results"].as_array().unwrap().clone());
            let token = answer.body["page"]["next_token"].as_str().unwrap();
            if token.is_empty() {
                break;
            }
            page = json!({ "limit": 1, "token": token });
        }
        found.sort_by_key(Value::to_string);
        assert_eq!(found, [json!({ "id": "alice", "type": "user" }), json!({ "id": "bob", "type": "user" })]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_property_that_evidence_does_not_bear_out_opens_nothing() {
    on_both(async |t: TestApp| {
        tenant(&t).await;
        let ask = async |subject: Value, action: Value, resource: Value| {
            let body = json!({ "subject": subject, "action": action, "resource": resource });
            post(&t, super::EVALUATION, body).await.body["decision"].clone()
        };
        let alice = json!({ "type": "user", "id": "alice", "properties": { "role": "admin", "employer": "org_administrators" } });
        let archived = json!({ "type": "record", "id": "record-2", "properties": { "status": "active", "owner": "alice" } });
        assert_eq!(ask(alice.clone(), json!({ "name": "write" }), archived).await, false);
        let record = json!({ "type": "record", "id": "record-1" });
        // Rules 7 and 8 rest on a property alone, and no policy governs deleting.
        for soft in [true, false] {
            let delete = json!({ "name": "delete", "properties": { "soft": soft } });
            assert_eq!(ask(alice.clone(), delete, record.clone()).await, false);
        }
        // Nor does one that speaks against somebody take anything away.
        let bob = json!({ "type": "user", "id": "bob", "properties": { "role": "none", "disabled": true } });
        assert_eq!(ask(bob, json!({ "name": "read" }), record).await, true);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn searching_takes_its_scope_and_for_subjects_the_configuration_too() {
    on_both(async |t: TestApp| {
        tenant(&t).await;
        let subjects = json!({ "subject": { "type": "user" }, "action": { "name": "read" },
            "resource": { "type": "record", "id": "record-1" } });
        let actions = json!({ "subject": { "type": "user", "id": "alice" }, "resource": { "type": "record", "id": "record-1" } });
        let evaluator = t.client("Eva", &["access:evaluate"], &[], None).await;
        let searcher = t.client("Sam", &["access:search"], &[], None).await;
        let send = async |token: &str, what: &str, body: &Value| {
            t.send(token, Method::POST, &format!("/access/v1/search/{what}"), Some(body.clone())).await
        };
        for what in ["subject", "resource", "action"] {
            let refused = send(&evaluator, what, &actions).await;
            assert_eq!(refused.status, StatusCode::FORBIDDEN, "{what}");
            assert!(refused.header("www-authenticate").contains("access:search"), "{what}");
        }
        assert_eq!(send(&searcher, "action", &actions).await.status, StatusCode::OK);
        assert_eq!(send(&searcher, "subject", &subjects).await.status, StatusCode::OK);
        let body = json!({ "subject": { "type": "user", "id": "alice" }, "action": { "name": "read" }, "resource": { "type": "record", "id": "record-1" } });
        let refused = t.send(&searcher, Method::POST, super::EVALUATION, Some(body)).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "who searches does not evaluate");
        t.audience("edge").await;
        let key = t.gateway("edge", true).await;
        let request = t.http.post(format!("{}/access/v1/search/action", t.url)).header("x-gateway-key", &key);
        assert_eq!(crate::app::answer(request.json(&actions)).await.status, StatusCode::FORBIDDEN);

        let metadata = t.get("/.well-known/authzen-configuration").await.body;
        assert!(metadata["search_subject_endpoint"].is_string());
        t.app.subject_search.store(false, Ordering::Relaxed);
        assert_eq!(send(&searcher, "subject", &subjects).await.status, StatusCode::NOT_FOUND);
        assert_eq!(send(&searcher, "action", &actions).await.status, StatusCode::OK);
        assert!(t.get("/.well-known/authzen-configuration").await.body.get("search_subject_endpoint").is_none());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_token_is_good_for_its_own_search_and_client_alone() {
    on_both(async |t: TestApp| {
        tenant(&t).await;
        let search = |action: &str, page: Value| {
            json!({ "subject": { "type": "user" }, "action": { "name": action },
                "resource": { "type": "record", "id": "record-1" }, "page": page })
        };
        let send =
            async |token: &str, body: Value| t.send(token, Method::POST, "/access/v1/search/subject", Some(body)).await;
        let first = send(&t.admin, search("read", json!({ "limit": 1 }))).await;
        let next = first.body["page"]["next_token"].as_str().unwrap().to_owned();
        assert!(!next.is_empty());
        assert_eq!(send(&t.admin, search("read", json!({ "token": next }))).await.status, StatusCode::OK);
        let other = t.client("Sam", &["access:search"], &[], None).await;
        let forged = format!("{}x", next);
        for (who, action, token) in [(&t.admin, "write", &next), (&other, "read", &next), (&t.admin, "read", &forged)] {
            let answer = send(who, search(action, json!({ "token": token }))).await;
            assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{action} {token}");
        }
        for page in
            [json!("x"), json!({ "limit": 0 }), json!({ "limit": "1" }), json!({ "limit": -1 }), json!({ "token": 1 })]
        {
            assert_eq!(send(&t.admin, search("read", page.clone())).await.status, StatusCode::BAD_REQUEST, "{page}");
        }
        // What a search is not about may be anything.
        let odd = json!({ "limit": 1, "properties": { "sort": "asc" }, "future": 1 });
        assert_eq!(send(&t.admin, search("read", odd)).await.status, StatusCode::OK);
    })
    .await;
}
