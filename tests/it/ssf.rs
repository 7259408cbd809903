//! Signals: who gets a stream and what it may say of it, what is told and to whom, and what providers tell us.

mod commands;
mod delivery;
mod events;
mod levels;
mod receive;
mod sessions;
mod streams;

use crate::app::{Answer, Sources, TestApp, asylee_record, face_check, work_off};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use vouchsafe::service::Actor;
use vouchsafe::service::webhooks::Courier;

const CLAIMS_CHANGE: &str = "https://schemas.openid.net/secevent/caep/event-type/token-claims-change";
const SESSION_REVOKED: &str = "https://schemas.openid.net/secevent/caep/event-type/session-revoked";
const CREDENTIAL_CHANGE: &str = "https://schemas.openid.net/secevent/caep/event-type/credential-change";
const PURGED: &str = "https://schemas.openid.net/secevent/risc/event-type/account-purged";
const VERIFICATION: &str = "https://schemas.openid.net/secevent/ssf/event-type/verification";
const UPDATED: &str = "https://schemas.openid.net/secevent/ssf/event-type/stream-updated";
const PUSH: &str = "urn:ietf:rfc:8935";
const POLL: &str = "urn:ietf:rfc:8936";
const AUD: &str = "https://receiver.example";

/// A client that is a receiver.
struct Party {
    id: String,
    secret: String,
    token: String,
}

impl Party {
    /// A client with these scopes, not registered yet.
    async fn client(t: &TestApp, scopes: &[&str]) -> Self {
        let scopes = scopes.iter().map(|scope| (*scope).to_owned()).collect();
        let made = t.app.create_client(&Actor::system(), "r", "Rae", scopes, [].into(), None).await.unwrap();
        let token = t.app.access_token(&made.id, &made.secret, None).await.unwrap().token;
        Self { id: made.id, secret: made.secret, token }
    }

    /// With another access token: the old one has ended.
    async fn renewed(self, t: &TestApp) -> Self {
        let token = t.app.access_token(&self.id, &self.secret, None).await.unwrap().token;
        Self { token, ..self }
    }

    /// A receiver that knows subjects by the links of a namespace, or as `change` has it.
    async fn register(t: &TestApp, change: Value) -> Self {
        let party = Self::client(t, &["ssf.read", "ssf.manage"]).await;
        let mut body = json!({ "client": party.id, "name": "r", "aud": AUD });
        if change.get("audience").is_none() {
            body["namespace"] = json!("idp");
        }
        body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        t.created("/v1/signal-receivers", body).await;
        party
    }

    async fn ask(&self, t: &TestApp, method: Method, path: &str, body: Value) -> Answer {
        t.send(&self.token, method, path, (!body.is_null()).then_some(body)).await
    }

    async fn post(&self, t: &TestApp, path: &str, body: Value) -> Answer {
        self.ask(t, Method::POST, path, body).await
    }

    /// Its stream's id.
    async fn stream(&self, t: &TestApp, body: Value) -> String {
        let made = self.post(t, "/ssf/stream", body).await;
        assert_eq!(made.status, StatusCode::CREATED, "{}", made.body);
        made.body["stream_id"].as_str().unwrap().to_owned()
    }

    async fn status(&self, t: &TestApp, stream: &str, status: &str) {
        let set = self.post(t, "/ssf/status", json!({ "stream_id": stream, "status": status })).await;
        assert_eq!(set.status, StatusCode::OK, "{}", set.body);
    }

    /// What waits, at once.
    async fn poll(&self, t: &TestApp, stream: &str, mut body: Value) -> Value {
        body["returnImmediately"] = json!(true);
        let found = self.post(t, &format!("/ssf/poll/{stream}"), body).await;
        assert_eq!(found.status, StatusCode::OK, "{}", found.body);
        found.body
    }

    /// All that waits, verified, acknowledged one answer after the other, each answer sorted by id.
    async fn drain(&self, t: &TestApp, stream: &str) -> Vec<Value> {
        let (mut all, mut ack) = (Vec::new(), json!([]));
        loop {
            let found = self.poll(t, stream, json!({ "ack": ack })).await;
            let sets = found["sets"].as_object().unwrap().clone();
            if sets.is_empty() {
                assert_eq!(found.get("moreAvailable"), None);
                return all;
            }
            ack = json!(sets.keys().collect::<Vec<_>>());
            for (jti, set) in &sets {
                let claims = verified(t, set.as_str().unwrap()).await;
                assert_eq!(claims["jti"], json!(jti));
                all.push(claims);
            }
        }
    }
}

/// The claims of a token, its signature checked with the published key that its header names (RFC 7515, 8017).
async fn verified(t: &TestApp, set: &str) -> Value {
    let parts: Vec<&str> = set.split('.').collect();
    let json = |part: &str| serde_json::from_slice::<Value>(&B64.decode(part).unwrap()).unwrap();
    let header = json(parts[0]);
    assert_eq!((&header["alg"], &header["typ"]), (&json!("RS256"), &json!("secevent+jwt")));
    assert_eq!(header.as_object().unwrap().len(), 3, "{header}");
    let keys = t.http.get(format!("{}/.well-known/jwks.json", t.url)).send().await.unwrap();
    let keys: Value = keys.json().await.unwrap();
    let key = keys["keys"].as_array().unwrap().iter().find(|key| key["kid"] == header["kid"]).unwrap();
    assert_eq!((&key["kty"], &key["alg"]), (&json!("RSA"), &json!("RS256")));
    let member = |name: &str| B64.decode(key[name].as_str().unwrap()).unwrap();
    assert_eq!(member("n").len(), 256, "2048 bits");
    let key = aws_lc_rs::signature::RsaPublicKeyComponents { n: member("n"), e: member("e") };
    let signed = format!("{}.{}", parts[0], parts[1]);
    key.verify(&aws_lc_rs::signature::RSA_PKCS1_2048_8192_SHA256, signed.as_bytes(), &B64.decode(parts[2]).unwrap())
        .unwrap();
    let claims = json(parts[1]);
    let names: Vec<&String> = claims.as_object().unwrap().keys().collect();
    assert_eq!(names, ["aud", "events", "iat", "iss", "jti", "sub_id", "txn"], "neither `sub` nor `exp`");
    assert_eq!(claims["events"].as_object().unwrap().len(), 1, "one event each");
    assert_eq!((&claims["aud"], &claims["iss"]), (&json!(AUD), &json!(t.app.issuer)));
    claims
}

/// The one event of a token: its type and members.
fn event(claims: &Value) -> (String, Value) {
    let (uri, members) = claims["events"].as_object().unwrap().iter().next().unwrap();
    (uri.clone(), members.clone())
}

fn uris(all: &[Value]) -> Vec<String> {
    all.iter().map(|claims| event(claims).0).collect()
}

/// A subject with a link that nothing is known of, under the policy in force.
async fn linked(t: &TestApp, name: &str) -> String {
    let subject = t.subject(name).await;
    let link = json!({ "namespace": "idp", "id": format!("{name}-there") });
    t.created(&format!("/v1/subjects/{subject}/links"), link).await;
    subject
}

/// Makes it eligible; the register's statement, on which it rests.
async fn admit(t: &TestApp, sources: &Sources, subject: &str) -> String {
    let record = t.attest(sources, subject, asylee_record(sources)).await;
    assert_eq!(t.attest(sources, subject, face_check(sources)).await.status, StatusCode::CREATED);
    work_off(&t.app).await;
    record.body["id"].as_str().unwrap().to_owned()
}

/// Takes back what it rests on.
async fn dismiss(t: &TestApp, record: &str) {
    t.app.revoke_attestation(&Actor::system(), record, "test", false).await.unwrap();
    work_off(&t.app).await;
}

/// Does what the job does until nothing is due.
async fn deliver(t: &TestApp) {
    work_off(&t.app).await;
    Courier::new(Arc::clone(&t.app)).work_off().await.unwrap();
}

fn named(t: &TestApp, name: &str) -> Value {
    json!({ "format": "iss_sub", "iss": t.app.issuer, "sub": format!("{name}-there") })
}

/// One request as it was pushed.
#[derive(Debug, Clone)]
struct Got {
    kind: String,
    accept: String,
    authorization: String,
    set: String,
}

type Script = Arc<Mutex<Box<dyn FnMut(usize) -> (u16, &'static str) + Send>>>;

/// A push endpoint that writes down what it gets.
struct Endpoint {
    url: String,
    got: Arc<Mutex<Vec<Got>>>,
    script: Script,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn receive(
    State((got, script)): State<(Arc<Mutex<Vec<Got>>>, Script)>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let text = |name: &str| headers.get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
    let number = {
        let mut got = got.lock().unwrap();
        got.push(Got {
            kind: text("content-type"),
            accept: text("accept"),
            authorization: text("authorization"),
            set: String::from_utf8(body.to_vec()).unwrap(),
        });
        got.len()
    };
    let (status, body) = (script.lock().unwrap())(number);
    (axum::http::StatusCode::from_u16(status).unwrap(), body).into_response()
}

impl Endpoint {
    /// One that takes everything.
    async fn new() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/events", listener.local_addr().unwrap());
        let got: Arc<Mutex<Vec<Got>>> = Arc::default();
        let script: Script = Arc::new(Mutex::new(Box::new(|_| (202, ""))));
        let routes = Router::new().fallback(receive).with_state((Arc::clone(&got), Arc::clone(&script)));
        let server = tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        Self { url, got, script, server }
    }

    /// From now on it answers the request of a number so, counted from 1 since it was last emptied.
    fn answers(&self, script: impl FnMut(usize) -> (u16, &'static str) + Send + 'static) {
        *self.script.lock().unwrap() = Box::new(script);
    }

    /// What it got since the last time.
    fn taken(&self) -> Vec<Got> {
        std::mem::take(&mut *self.got.lock().unwrap())
    }

    fn delivery(&self) -> Value {
        json!({ "method": PUSH, "endpoint_url": self.url })
    }
}
