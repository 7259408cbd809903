//! What the edge does with every request: limits, ids, traces.

use crate::app::{Answer, TestApp, answer, on_both};
use crate::support::Database;
use reqwest::StatusCode;
use serde_json::json;
use std::io::Write;
use std::sync::{Arc, Mutex};
use vouchsafe::http::limits::{Quota, Quotas};

fn quotas(client: &str, gateway: &str, public: &str, token: &str) -> Quotas {
    let quota = |text| Quota::parse(text).unwrap();
    Quotas { client: quota(client), gateway: quota(gateway), public: quota(public), token: quota(token) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_limited_by_its_own_bucket() {
    on_both(async |mut t: TestApp| {
        let other = t.client("Bo", &["subjects:read"], &[], None).await;
        t.limited(&quotas("3/60", "off", "off", "off")).await;
        let first = t.get("/v1/subjects").await;
        assert_eq!(first.header("ratelimit-policy"), "\"client\";q=3;w=60");
        assert_eq!(first.header("ratelimit"), "\"client\";r=2;t=20");
        t.get("/v1/subjects").await;
        assert_eq!(t.get("/v1/subjects").await.header("ratelimit"), "\"client\";r=0;t=60");
        let refused = t.post("/v1/subjects", json!({ "kind": "person" })).await;
        assert_eq!((refused.status, &refused.body["code"]), (StatusCode::TOO_MANY_REQUESTS, &json!("rate_limited")));
        assert_eq!(refused.header("retry-after"), "20");
        assert_eq!(refused.body["request_id"], refused.header("x-request-id"));
        assert_eq!(refused.header("content-type"), "application/problem+json");
        let method = reqwest::Method::GET;
        assert_eq!(t.send(&other, method, "/v1/subjects", None).await.status, StatusCode::OK, "another client");
        assert_eq!(t.get("/readyz").await.status, StatusCode::OK);
        t.clock.advance(20);
        assert_eq!(t.get("/v1/subjects").await.status, StatusCode::OK);
        assert_eq!(t.get("/v1/subjects").await.status, StatusCode::TOO_MANY_REQUESTS);
        let introspect = async |bearer: &str| {
            let request = t.http.post(format!("{}/oauth2/introspect", t.url)).bearer_auth(bearer);
            answer(request.form(&[("token", "x")])).await.header("ratelimit-policy").to_owned()
        };
        assert_eq!(introspect(&t.admin).await, "\"client\";q=3;w=60", "not the address's, which many share");
        assert_eq!(introspect("forged").await, "", "a stranger's address, which is not limited here");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_are_limited_by_address_and_cannot_empty_a_clients_bucket() {
    on_both(async |mut t: TestApp| {
        t.audience("edge").await;
        let key = t.gateway("edge", false).await;
        t.limited(&quotas("2/60", "2/60", "2/60", "1/60")).await;
        let from = async |path: &str, address: &str, header: (&str, &str)| {
            let request = t.http.get(format!("{}{path}", t.url)).header("x-forwarded-for", address);
            answer(request.header(header.0, header.1)).await.status
        };
        // A forged token and a wrong gateway key name a client, but prove nothing.
        let forged = format!("Bearer {}x", t.admin);
        let wrong = format!("{}x", key);
        let path = "/gateway/check/restricted.api";
        assert_eq!(from("/v1/subjects", "192.0.2.1", ("authorization", &forged)).await, StatusCode::UNAUTHORIZED);
        assert_eq!(from(path, "192.0.2.1", ("x-gateway-key", &wrong)).await, StatusCode::UNAUTHORIZED);
        assert_eq!(from(path, "192.0.2.1", ("x-gateway-key", &wrong)).await, StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(from("/openapi.json", "192.0.2.1", ("a", "b")).await, StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(from("/openapi.json", "192.0.2.2", ("a", "b")).await, StatusCode::OK, "another address");
        assert_eq!(t.get("/v1/subjects").await.status, StatusCode::OK);
        let check = async || t.check("restricted.api", &[("x-gateway-key", &key)]).await;
        let asked = check().await;
        assert_eq!((asked.status, asked.header("ratelimit")), (StatusCode::UNAUTHORIZED, ""), "no caller, yet counted");
        check().await;
        let refused: Answer = check().await;
        assert_eq!((refused.status, refused.header("retry-after")), (StatusCode::TOO_MANY_REQUESTS, "30"));

        let token = async |address: &str| {
            let form = [("grant_type", "client_credentials"), ("client_id", "cli_x"), ("client_secret", "y")];
            let request = t.http.post(format!("{}/oauth2/token", t.url)).header("x-forwarded-for", address);
            answer(request.form(&form)).await
        };
        assert_eq!(token("192.0.2.3").await.status, StatusCode::UNAUTHORIZED);
        let refused = token("192.0.2.3").await;
        assert_eq!(
            (refused.status, &refused.body["error"]),
            (StatusCode::TOO_MANY_REQUESTS, &json!("temporarily_unavailable"))
        );
        assert_eq!(refused.header("retry-after"), "60");
        assert_eq!(token("203.0.113.1, 192.0.2.3").await.status, StatusCode::TOO_MANY_REQUESTS, "the left is anyone's");
        assert_eq!(token("2001:db8::1").await.status, StatusCode::UNAUTHORIZED);
        assert_eq!(token("2001:db8::2").await.status, StatusCode::TOO_MANY_REQUESTS, "one site");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_id_is_echoed_if_safe_and_named_in_problems() {
    let database = Database::sqlite();
    let t = TestApp::start(&database).await;
    let ask =
        async |path: &str, id: &str| answer(t.http.get(format!("{}{path}", t.url)).header("x-request-id", id)).await;
    for path in ["/v1/subjects", "/nowhere"] {
        let named = ask(path, "order-7").await;
        assert_eq!((named.header("x-request-id"), &named.body["request_id"]), ("order-7", &json!("order-7")), "{path}");
        assert_eq!(named.body["code"], if path == "/nowhere" { "not_found" } else { "unauthenticated" });
    }
    assert_eq!(ask("/livez", "order-8").await.header("x-request-id"), "order-8");
    for unsafe_id in ["a b", "<script>", &"x".repeat(65)] {
        let replaced = ask("/v1/subjects", unsafe_id).await;
        let id = replaced.header("x-request-id");
        assert!(id.len() == 32 && id != unsafe_id, "{id}");
        assert_eq!(replaced.body["request_id"], id);
    }
}

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// On one thread, so that the subscriber sees what the server does.
#[tokio::test]
async fn a_log_line_names_request_and_trace() {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt().json().with_writer(move || writer.clone()).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let database = Database::sqlite();
    let t = TestApp::start(&database).await;
    let subject = t.subject("ada").await;
    database.execute("DROP VIEW subjects_now").await.unwrap();
    let request = t.http.get(format!("{}/v1/subjects/{subject}", t.url)).bearer_auth(&t.admin);
    let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let failed = answer(request.header("x-request-id", "order-9").header("traceparent", traceparent)).await;
    assert_eq!(failed.status, StatusCode::SERVICE_UNAVAILABLE, "{}", failed.body);
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    let line = text.lines().find(|line| line.contains("cannot know now")).unwrap();
    for part in
        ["\"request.id\":\"order-9\"", "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", "/v1/subjects/{id}"]
    {
        assert!(line.contains(part), "{part}: {line}");
    }
}
