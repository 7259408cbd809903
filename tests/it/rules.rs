//! Committing rules: everything wrong is told at once, and a next version says how it stands to the one before.

use crate::app::{TestApp, on_both};
use axum::http::StatusCode;
use serde_json::{Value, json};

fn fixture(name: &str) -> String {
    std::fs::read_to_string(format!("{}/fixtures/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

async fn toml(t: &TestApp, path: &str, text: &str) -> (StatusCode, Value) {
    let request = t.http.post(format!("{}{path}", t.url)).bearer_auth(&t.admin);
    let answer = crate::app::answer(request.header("content-type", "application/toml").body(text.to_owned())).await;
    (answer.status, answer.body)
}

/// Pointers and texts of a problem's members.
fn errors(body: &Value) -> Vec<(&str, &str)> {
    let members = body["errors"].as_array().unwrap();
    members.iter().map(|error| (error["pointer"].as_str().unwrap(), error["detail"].as_str().unwrap())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_policy_names_every_fault_with_its_place() {
    on_both(async |t: TestApp| {
        let text = fixture("policies/us_nationals_only.toml")
            .replace("title =", "titel =")
            .replace("\"national\"]", "\"nationl\"]");
        let (status, body) = toml(&t, "/v1/policies", &text).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{body}");
        assert_eq!(body["code"], "invalid");
        assert_eq!(
            errors(&body),
            [
                ("/titel", "line 2, column 1: unknown member `titel`: did you mean `title`?"),
                (
                    "/criteria/0/allow/1",
                    "line 16, column 21: criterion `us-status`: `nationl` is not a state of `us_status`: did you mean `national`?"
                ),
            ]
        );
        let (status, body) = toml(&t, "/v1/policies", "id = \"x\ntitle = 3").await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{body}");
        assert!(errors(&body).iter().any(|(_, detail)| detail.starts_with("line 1, ")), "{body}");
        let (status, body) = toml(&t, "/v1/policies", "id = \"a\\u0000b\"").await;
        assert_eq!((status, errors(&body)), (StatusCode::UNPROCESSABLE_ENTITY, vec![("/id", "holds the character U+0000")]));
        let answer = t.post("/v1/policies", json!({ "id": "x", "resources": [] })).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
        assert!(errors(&answer.body).len() >= 3, "{}", answer.body);
        assert_eq!(t.get("/v1/policies/us_nationals_only@2").await.status, StatusCode::NOT_FOUND);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_next_version_says_how_it_stands_to_the_one_before() {
    on_both(async |t: TestApp| {
        let text = fixture("policies/us_nationals_only.toml").replace("\"national\"]", "\"national\", \"lpr\"]");
        let (status, body) = toml(&t, "/v1/policies", &text).await;
        assert_eq!(status, StatusCode::CREATED, "{body}");
        let compared = json!({ "with_version": 1, "verdict": "wider", "same_resources": true });
        assert_eq!(body, json!({ "id": "us_nationals_only", "version": 2, "compared": compared }));
        let text = fixture("policies/us_nationals_only.toml").replace("nationals.*", "others.*");
        let (_, body) = toml(&t, "/v1/policies", &text).await;
        assert_eq!(body["compared"], json!({ "with_version": 2, "verdict": "narrower", "same_resources": false }));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn packs_and_sets_are_examined_like_policies() {
    on_both(async |t: TestApp| {
        // The packs of all countries are there from the start.
        assert_eq!(t.get("/v1/definitions/uk_status@1").await.status, StatusCode::OK);
        let text = fixture("definitions/uk_status@1.toml")
            .replace("version = 1", "version = 2")
            .replace("[\"other\", \"limited\"]", "[\"other\", \"limitd\"]");
        let (status, body) = toml(&t, "/v1/definitions", &text).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{body}");
        let told = errors(&body);
        assert_eq!(told.len(), 1, "{body}");
        assert!(told[0].1.ends_with("`limitd` is not a state of the frame: did you mean `limited`?"), "{body}");
        let set = json!({ "id": "listed", "as_of": "2026-11", "source": "", "members": [] });
        let answer = t.post("/v1/sets", set).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
        let pointers: Vec<&str> = errors(&answer.body).into_iter().map(|(pointer, _)| pointer).collect();
        assert_eq!(pointers, ["/as_of", "/id", "/members", "/source"]);
    })
    .await;
}
