//! Entity tags: who has a thing gets no copy, who changes it insists on what was read.

use crate::app::{Answer, TestApp, answer, face_check, on_both};
use reqwest::{Method, StatusCode};
use serde_json::json;

async fn ask(t: &TestApp, method: Method, path: &str, header: (&str, &str)) -> Answer {
    answer(t.http.request(method, format!("{}{path}", t.url)).bearer_auth(&t.admin).header(header.0, header.1)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subject_changes_only_at_the_version_read() {
    on_both(async |t: TestApp| {
        let sources = t.sources().await;
        let subject = t.subject("ada").await;
        let path = format!("/v1/subjects/{subject}");
        let shown = t.get(&path).await;
        assert_eq!((shown.header("etag"), &shown.body["version"]), ("\"1\"", &json!(1)));
        let known = ask(&t, Method::GET, &path, ("if-none-match", "\"1\"")).await;
        assert_eq!((known.status, known.header("etag")), (StatusCode::NOT_MODIFIED, "\"1\""));
        let link = |id: &str| json!({ "namespace": "n", "id": id });
        let links = format!("{path}/links");
        let stale = t.post_with(&links, &link("1"), &[("if-match", "\"2\"")]).await;
        assert_eq!(
            (stale.status, &stale.body["code"]),
            (StatusCode::PRECONDITION_FAILED, &json!("precondition_failed"))
        );
        assert_eq!(t.post_with(&links, &link("1"), &[("if-match", "\"1\"")]).await.status, StatusCode::CREATED);
        assert_eq!(
            t.post_with(&links, &link("2"), &[("if-match", "\"1\"")]).await.status,
            StatusCode::PRECONDITION_FAILED
        );
        assert_eq!(t.post_with(&links, &link("2"), &[("if-match", "*")]).await.status, StatusCode::CREATED);
        assert_eq!(t.get(&path).await.header("etag"), "\"3\"");
        assert_eq!(ask(&t, Method::GET, &path, ("if-none-match", "\"1\"")).await.status, StatusCode::OK);
        let remove = format!("{links}/n/1");
        assert_eq!(
            ask(&t, Method::DELETE, &remove, ("if-match", "\"1\"")).await.status,
            StatusCode::PRECONDITION_FAILED
        );
        assert_eq!(ask(&t, Method::DELETE, &remove, ("if-match", "\"3\"")).await.status, StatusCode::NO_CONTENT);

        let attest = async |version: &str| {
            let request = t.http.post(format!("{}{path}/attestations", t.url)).bearer_auth(&sources.token);
            answer(request.json(&face_check(&sources)).header("if-match", version)).await.status
        };
        assert_eq!(attest("\"3\"").await, StatusCode::PRECONDITION_FAILED);
        assert_eq!(attest("W/\"4\"").await, StatusCode::PRECONDITION_FAILED, "a weak tag never matches");
        assert_eq!(attest("\"4\"").await, StatusCode::CREATED);
        let session = json!({ "source": sources.vendor, "session": "s" });
        let sessions = format!("{path}/sessions");
        assert_eq!(
            t.post_with(&sessions, &session, &[("if-match", "\"4\"")]).await.status,
            StatusCode::PRECONDITION_FAILED
        );
        assert_eq!(t.post_with(&sessions, &session, &[("if-match", "\"5\"")]).await.status, StatusCode::CREATED);
        let missing = format!("/v1/subjects/{}/links", subject.replace("sub_0", "sub_f"));
        assert_eq!(t.post_with(&missing, &link("3"), &[("if-match", "\"1\"")]).await.status, StatusCode::NOT_FOUND);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_sixteen_who_read_one_version_one_changes_it() {
    on_both(async |t: TestApp| {
        let subject = t.subject("ada").await;
        let mut tasks = tokio::task::JoinSet::new();
        for n in 0..16 {
            let request = t.http.post(format!("{}/v1/subjects/{subject}/links", t.url)).bearer_auth(&t.admin);
            let request = request.json(&json!({ "namespace": "n", "id": n.to_string() })).header("if-match", "\"1\"");
            tasks.spawn(async move { answer(request).await.status });
        }
        let answers = tasks.join_all().await;
        assert_eq!(answers.iter().filter(|status| **status == StatusCode::CREATED).count(), 1);
        assert_eq!(answers.iter().filter(|status| **status == StatusCode::PRECONDITION_FAILED).count(), 15);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records_have_tags_and_an_approval_insists_on_what_was_read() {
    on_both(async |t: TestApp| {
        t.audience("edge").await;
        let key = t.gateway("edge", false).await;
        let gateway = key.split_once('.').unwrap().0;
        for path in [
            "/v1/policies/embargo@1",
            "/v1/sets/embargoed@2026-11",
            "/v1/audiences/edge",
            &format!("/v1/gateways/{gateway}"),
        ] {
            let shown = t.get(path).await;
            assert_eq!((shown.status, shown.header("etag")), (StatusCode::OK, "\"1\""), "{path}: {}", shown.body);
            assert_eq!(shown.body["body"]["key_sha256"], json!(null));
            assert_eq!(ask(&t, Method::GET, path, ("if-none-match", "\"1\"")).await.status, StatusCode::NOT_MODIFIED);
        }
        assert_eq!(t.get("/v1/audiences/nobody").await.status, StatusCode::NOT_FOUND);
        t.created(
            "/v1/directives",
            json!({ "id": "d", "authority": "a", "citation": "c",
            "actions": [{ "activate": { "policy": "embargo", "version": 1 } }] }),
        )
        .await;
        assert_eq!(t.get("/v1/directives/d").await.header("etag"), "\"1\"");
        let second = t.client("Lee", &["directives:approve"], &[], None).await;
        let approve = async |tag: &str| {
            let request = t.http.post(format!("{}/v1/directives/d/approve", t.url)).bearer_auth(&second);
            answer(request.header("if-match", tag)).await.status
        };
        assert_eq!(approve("\"2\"").await, StatusCode::PRECONDITION_FAILED);
        assert_eq!(approve("\"1\"").await, StatusCode::OK);
        assert_eq!(t.get("/v1/directives/d").await.header("etag"), "\"2\"");
    })
    .await;
}
