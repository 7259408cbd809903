//! The authorization server: clients that prove themselves, exchange, introspection, revocation, bound tokens.

mod clients;
mod dpop;
mod exchange;
mod tokens;

use crate::app::{Answer, TestApp, answer};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
use reqwest::StatusCode;
use serde_json::{Value, json};
use vouchsafe::service::Actor;
use vouchsafe::service::clients::NewClient;

/// 2026-11-21T00:00:00Z, when the clock of a test begins.
const NOW: i64 = 1_795_219_200;
const CLIENT_CREDENTIALS: (&str, &str) = ("grant_type", "client_credentials");
const JWT_BEARER: (&str, &str) = ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer");

/// Somebody's ES256 key.
struct Key {
    pair: EcdsaKeyPair,
    kid: String,
}

impl Key {
    fn new(kid: &str) -> Self {
        let rng = SystemRandom::new();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &rng).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref()).unwrap();
        Self { pair, kid: kid.to_owned() }
    }

    fn public(&self) -> Value {
        let point = self.pair.public_key().as_ref();
        json!({ "kty": "EC", "crv": "P-256", "x": B64.encode(&point[1..33]), "y": B64.encode(&point[33..]) })
    }

    /// As it is registered.
    fn jwk(&self) -> Value {
        let mut jwk = self.public();
        jwk["kid"] = json!(self.kid);
        jwk
    }

    /// RFC 7638, written out by hand.
    fn thumbprint(&self) -> String {
        let jwk = self.public();
        let text = format!(r#"{{"crv":"P-256","kty":"EC","x":{},"y":{}}}"#, jwk["x"], jwk["y"]);
        B64.encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes()))
    }

    fn sign(&self, header: &Value, claims: &Value) -> String {
        let signed = format!("{}.{}", B64.encode(header.to_string()), B64.encode(claims.to_string()));
        let signature = self.pair.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
        format!("{signed}.{}", B64.encode(signature))
    }

    fn assert(&self, claims: &Value) -> String {
        self.sign(&json!({ "alg": "ES256", "kid": self.kid, "typ": "client-authentication+jwt" }), claims)
    }

    /// A proof of possession for a request.
    fn prove(&self, method: &str, url: &str, iat: i64, jti: &str, token: Option<&str>) -> String {
        let mut claims = json!({ "htm": method, "htu": url, "iat": iat, "jti": jti });
        if let Some(token) = token {
            let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, token.as_bytes());
            claims["ath"] = json!(B64.encode(hash));
        }
        self.sign(&json!({ "alg": "ES256", "typ": "dpop+jwt", "jwk": self.public() }), &claims)
    }
}

/// Members that a test changes; null takes one away.
fn changed(mut base: Value, change: &Value) -> Value {
    for (name, value) in change.as_object().unwrap() {
        if value.is_null() {
            base.as_object_mut().unwrap().remove(name);
        } else {
            base[name] = value.clone();
        }
    }
    base
}

/// The claims of a token, unverified.
fn claims(token: &str) -> Value {
    serde_json::from_slice(&B64.decode(token.split('.').nth(1).unwrap()).unwrap()).unwrap()
}

type Form<'a> = Vec<(&'a str, &'a str)>;

/// A request to the authorization server.
async fn ask(t: &TestApp, path: &str, form: &Form<'_>, headers: &[(&str, &str)]) -> Answer {
    let mut request = t.http.post(format!("{}/oauth2/{path}", t.url)).form(form);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    answer(request).await
}

fn error(answer: &Answer) -> (u16, &str) {
    (answer.status.as_u16(), answer.body["error"].as_str().unwrap_or("none"))
}

/// A client with a secret and these scopes.
struct Machine {
    id: String,
    secret: String,
}

impl Machine {
    async fn new(t: &TestApp, scopes: &[&str], change: impl FnOnce(&mut NewClient)) -> Self {
        let scopes = scopes.iter().map(|scope| (*scope).to_owned()).collect();
        let mut new = NewClient { name: "machine".to_owned(), owner: "Mo".to_owned(), scopes, ..NewClient::default() };
        change(&mut new);
        let created = t.app.register_client(&Actor::system(), new).await.unwrap();
        Self { id: created.id, secret: created.secret.unwrap_or_default() }
    }

    fn form<'a>(&'a self, more: &[(&'a str, &'a str)]) -> Form<'a> {
        let own = [("client_id", self.id.as_str()), ("client_secret", self.secret.as_str())];
        own.into_iter().chain(more.iter().copied()).collect()
    }

    async fn ask(&self, t: &TestApp, path: &str, more: &[(&str, &str)]) -> Answer {
        ask(t, path, &self.form(more), &[]).await
    }

    async fn access(&self, t: &TestApp) -> String {
        let answer = self.ask(t, "token", &[CLIENT_CREDENTIALS]).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        answer.body["access_token"].as_str().unwrap().to_owned()
    }
}

/// The shipped policy in force, an audience, and somebody who is eligible.
async fn eligible(t: &TestApp) -> String {
    t.activate("restricted-us-persons").await;
    t.audience("edge").await;
    let sources = t.sources().await;
    t.eligible_subject(&sources, "ada").await
}
