//! Eligibility as an attribute: identity providers, the hooks of their platforms, userinfo and provided claims.

mod claims;
mod hooks;
mod providers;

use crate::app::{Answer, Sources, TestApp, answer};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::sync::LazyLock;
use vouchsafe::service::Actor;
use vouchsafe_core::policy::Policy;
use vouchsafe_verify::testing::Signer;

/// 2026-11-21T00:00:00Z, when the clock of a test begins.
const NOW: i64 = 1_795_219_200;
/// Ninety days later: as far as the policy's promises reach.
const UNTIL: i64 = NOW + 90 * 86_400;

const OKTA_ISSUER: &str = "https://acme.okta.example/oauth2/default";
const OKTA_USER: &str = "00u1example";
const TENANT: &str = "5f0c2a1e-7b64-4a0d-9c1f-2d8e6b3a4c5d";
const ENTRA_USER: &str = "9a8b7c6d-6666-4666-8666-666666666666";
const ENTRA_APP: &str = "3f2b8d10-7777-4777-8777-777777777777";
const ENTRA_EVENTS: &str = "99045fe1-7639-4a75-9d4a-577b6ca3810f";

/// The tenant's key; made once, because RSA takes its time.
static ENTRA_KEY: LazyLock<Signer> = LazyLock::new(Signer::rs256);

fn entra_issuer() -> String {
    format!("https://login.microsoftonline.com/{TENANT}/v2.0")
}

fn fixture(name: &str) -> String {
    let path = format!("{}/fixtures/sso/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).unwrap().trim_end().to_owned()
}

fn fixture_json(name: &str) -> Value {
    serde_json::from_str(&fixture(name)).unwrap()
}

/// Puts a value in a place of a document; null takes the member away.
fn with(mut document: Value, pointer: &str, value: Value) -> Value {
    let (parent, member) = pointer.rsplit_once('/').unwrap();
    let parent = document.pointer_mut(parent).unwrap().as_object_mut().unwrap();
    if value.is_null() {
        parent.remove(member);
    } else {
        parent.insert(member.to_owned(), value);
    }
    document
}

/// What a platform is answered: status and text.
async fn call(t: &TestApp, path: &str, authorization: Option<&str>, body: String) -> (u16, String) {
    let mut request = t.http.post(format!("{}{path}", t.url)).header("content-type", "application/json").body(body);
    if let Some(value) = authorization {
        request = request.header("authorization", value);
    }
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.text().await.unwrap())
}

/// The shipped policy under another name, disclosing something, in force.
pub(crate) async fn telling(t: &TestApp, name: &str, discloses: &str) {
    let path = format!("{}/fixtures/policies/restricted-us-persons.toml", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).unwrap();
    let text = text.replace("id = \"restricted-us-persons\"", &format!("id = \"{name}\"\ndiscloses = {discloses}"));
    t.app.create_policy(&Actor::system(), Policy::from_toml(&text).unwrap()).await.unwrap();
    t.activate(name).await;
}

async fn link(t: &TestApp, subject: &str, namespace: &str, id: &str) {
    t.created(&format!("/v1/subjects/{subject}/links"), json!({ "namespace": namespace, "id": id })).await;
}

/// Somebody eligible, linked at every provider of these tests.
async fn ada(t: &TestApp) -> (String, Sources) {
    let sources = t.sources().await;
    let subject = t.eligible_subject(&sources, "ada").await;
    link(t, &subject, "acme-okta", OKTA_USER).await;
    link(t, &subject, "acme-entra", ENTRA_USER).await;
    (subject, sources)
}

/// An Okta provider; its secret.
async fn okta(t: &TestApp, change: Value) -> String {
    let mut body = json!({ "name": "Acme's Okta", "issuer": OKTA_ISSUER, "namespace": "acme-okta",
        "resources": ["restricted.api"], "hook": { "platform": "okta" } });
    for (name, value) in change.as_object().unwrap() {
        body[name] = value.clone();
    }
    t.created("/v1/identity-providers", body).await["hook_secret"].as_str().unwrap().to_owned()
}

async fn entra(t: &TestApp, change: Value) {
    let mut jwk = ENTRA_KEY.jwk();
    jwk["kid"] = json!("tenant-key");
    let mut body = json!({ "name": "Acme's Entra", "issuer": entra_issuer(), "namespace": "acme-entra", "keys": [jwk],
        "resources": ["restricted.api"], "hook": { "platform": "entra", "tenant": TENANT, "audience": ENTRA_APP } });
    for (name, value) in change.as_object().unwrap() {
        body[name] = value.clone();
    }
    t.created("/v1/identity-providers", body).await;
}

fn entra_claims() -> Value {
    json!({ "iss": entra_issuer(), "aud": ENTRA_APP, "azp": ENTRA_EVENTS, "tid": TENANT, "iat": NOW - 60, "nbf": NOW - 60,
        "exp": NOW + 3600, "ver": "2.0", "sub": "s" })
}

/// The tenant's token, as its events service brings it.
fn entra_token(claims: &Value) -> String {
    let header = json!({ "alg": "RS256", "kid": "tenant-key", "typ": "JWT" });
    format!("Bearer {}", ENTRA_KEY.sign(&header, claims))
}

/// A client of a provider: id and access token.
async fn client(t: &TestApp, scopes: &[&str]) -> (String, String, String) {
    let scopes = scopes.iter().map(|scope| (*scope).to_owned()).collect();
    let created = t.app.create_client(&Actor::system(), "idp", "Ida", scopes, [].into(), None).await.unwrap();
    let token = t.app.access_token(&created.id, &created.secret, None).await.unwrap().token;
    (created.id, created.secret, token)
}

/// What a client asks at `/sso/userinfo`.
async fn userinfo(t: &TestApp, token: &str, body: Value) -> Answer {
    t.send(token, Method::POST, "/sso/userinfo", Some(body)).await
}

/// An assertion that a client asks for.
pub(crate) async fn assertion(t: &TestApp, token: &str, body: Value) -> Result<String, Answer> {
    let request = t.http.post(format!("{}/sso/userinfo", t.url)).bearer_auth(token);
    let request = request.header("accept", "application/provided-claims+jwt").json(&body);
    let response = request.try_clone().unwrap().send().await.unwrap();
    if response.status() != StatusCode::OK {
        return Err(answer(request).await);
    }
    assert_eq!(response.headers()["content-type"], "application/provided-claims+jwt");
    assert_eq!(response.headers()["cache-control"], "no-store");
    Ok(response.text().await.unwrap())
}

fn part(token: &str, index: usize) -> Value {
    use base64::Engine as _;
    let engine = base64::engine::general_purpose::URL_SAFE_NO_PAD;
    serde_json::from_slice(&engine.decode(token.split('.').nth(index).unwrap()).unwrap()).unwrap()
}

/// What it takes to get an assertion.
pub(crate) fn asked(sub: &str) -> Value {
    json!({ "sub": sub, "purpose": "To open the restricted model", "consent": "consent-17" })
}
