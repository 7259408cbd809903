//! End users of organisations that call on their behalf: nobody is let in without both.

mod attacks;
mod ended;
mod ledger;
mod product;

use crate::app::{Answer, Sources, TestApp, answer, asylee_record, face_check};
use crate::support::pairs;
use base64::Engine as _;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

pub(crate) const MODES: [&str; 3] = ["ignored", "vouched", "required"];
const END_USER: &str = "urn:vouchsafe:params:oauth:token-type:end-user";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
const GRANT: &str = "urn:ietf:params:oauth:grant-type:token-exchange";

/// Two organisations that sell what the provider makes, each with a workload that calls, and three resources.
pub(crate) struct Trade {
    pub(crate) sources: Sources,
    /// Who answers for both workloads.
    pub(crate) responsible: String,
    pub(crate) acme: Customer,
    pub(crate) rival: Customer,
    /// Keys of a gateway that may assert, and of one that may not.
    pub(crate) asserting: String,
    pub(crate) plain: String,
}

pub(crate) struct Customer {
    /// `org_…`
    pub(crate) id: String,
    /// The subject that it is.
    pub(crate) subject: String,
    /// The workload.
    pub(crate) agent: String,
    /// How gateways know the workload.
    pub(crate) caller: String,
    /// The organisation's own client, and an access token of it.
    client: (String, String),
    pub(crate) access: String,
}

pub(crate) async fn behind(t: &TestApp, agent: &str, owner: &str, responsible: &str) {
    let body = json!({ "owner": owner, "responsible": responsible });
    let said = t.send(&t.admin, Method::PUT, &format!("/v1/subjects/{agent}/behind"), Some(body)).await;
    assert_eq!(said.status, StatusCode::OK, "{}", said.body);
}

impl Customer {
    async fn new(t: &TestApp, name: &str, responsible: &str) -> Self {
        let id = format!("org_{name}");
        let body = t.created("/v1/organisations", json!({ "id": id, "name": name, "verified": true })).await;
        let subject = body["subject"].as_str().unwrap().to_owned();
        let agent = t.created("/v1/subjects", json!({ "kind": "workload" })).await["id"].as_str().unwrap().to_owned();
        behind(t, &agent, &id, responsible).await;
        let caller = format!("api-key:{name}");
        t.created(&format!("/v1/subjects/{agent}/links"), json!({ "namespace": "api-key", "id": name })).await;
        let scopes = ["vouches:write", "end_users:write"].map(str::to_owned).into();
        let created = vouchsafe::service::Actor::system();
        let created = t.app.create_client(&created, name, "Cu", scopes, [].into(), Some(id.clone())).await.unwrap();
        let access = t.app.access_token(&created.id, &created.secret, None).await.unwrap().token;
        Self { id, subject, agent, caller, client: (created.id, created.secret), access }
    }

    /// Registers a handle, as the organisation does itself.
    pub(crate) async fn registers(&self, t: &TestApp, handle: &str) -> Answer {
        t.send(&self.access, Method::POST, "/v1/end-users", Some(json!({ "handle": handle }))).await
    }

    /// Vouches for the end user behind a handle; the vouch's id.
    pub(crate) async fn vouches(&self, t: &TestApp, handle: &str) -> String {
        let body = json!({ "subject": format!("end-user:{handle}"),
            "statement": { "type": "states", "frame": "end_user", "states": ["own"] } });
        let said = t.send(&self.access, Method::POST, "/v1/vouches", Some(body)).await;
        assert_eq!(said.status, StatusCode::CREATED, "{}", said.body);
        assert!(!said.body.to_string().contains("sub_"), "no id of ours goes to a customer");
        said.body["id"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn withdraws(&self, t: &TestApp, vouch: &str) {
        let done = t.send(&self.access, Method::POST, &format!("/v1/vouches/{vouch}/withdraw"), None).await;
        assert_eq!(done.status, StatusCode::NO_CONTENT);
    }

    /// The subject behind a handle, as the provider is told.
    pub(crate) async fn behind(&self, t: &TestApp, handle: &str) -> String {
        let found = t.get(&format!("/v1/organisations/{}/end-users/{handle}", self.id)).await;
        assert_eq!(found.status, StatusCode::OK, "{}", found.body);
        found.body["subject"].as_str().unwrap().to_owned()
    }

    /// Exchanges a handle for a token about its end user, with the workload's own token as `actor_token`, or as the
    /// organisation itself.
    pub(crate) async fn exchange(&self, t: &TestApp, resource: &str, handle: &str, actor: Option<&str>) -> Answer {
        let resource = format!("{}/resources/{resource}", t.url);
        let mut form = vec![
            ("grant_type", GRANT),
            ("client_id", self.client.0.as_str()),
            ("client_secret", self.client.1.as_str()),
            ("subject_token_type", END_USER),
            ("subject_token", handle),
            ("resource", resource.as_str()),
            ("audience", "edge"),
        ];
        if let Some(actor) = actor {
            form.extend([("actor_token", actor), ("actor_token_type", JWT)]);
        }
        answer(t.http.post(format!("{}/oauth2/token", t.url)).form(&form)).await
    }

    pub(crate) async fn exchanged(&self, t: &TestApp, resource: &str, handle: &str, actor: Option<&str>) -> String {
        let issued = self.exchange(t, resource, handle, actor).await;
        assert_eq!(issued.status, StatusCode::OK, "{}", issued.body);
        issued.body["access_token"].as_str().unwrap().to_owned()
    }
}

pub(crate) fn resource(mode: &str) -> String {
    format!("restricted.{mode}")
}

/// A policy of US persons for `restricted.{name}`.
pub(crate) fn policy(name: &str, mode: &str) -> Value {
    let mut policy = json!({
        "id": name, "title": "US persons, through whomever", "resources": [resource(name)],
        "definitions": ["us_status@1", "identity@1"],
        "criteria": [
            { "id": "us-status", "frame": "us_status", "allow": ["citizen", "national", "lpr", "protected"], "eligible_at": 0.85 },
            { "id": "identity", "frame": "identity", "allow": ["proofed"], "eligible_at": 0.85 },
        ],
    });
    policy["end_user"] = json!(mode);
    policy
}

impl Trade {
    pub(crate) async fn new(t: &TestApp) -> Self {
        let sources = t.sources().await;
        for mode in MODES {
            t.created("/v1/policies", policy(mode, mode)).await;
            t.activate(mode).await;
        }
        t.audience("edge").await;
        let responsible = t.eligible_subject(&sources, "responsible").await;
        let acme = Customer::new(t, "acme", &responsible).await;
        let rival = Customer::new(t, "rival", &responsible).await;
        let (asserting, plain) = (t.gateway("edge", true).await, t.gateway("edge", false).await);
        Self { sources, responsible, acme, rival, asserting, plain }
    }

    /// Makes somebody eligible under every one of the policies.
    pub(crate) async fn proves(&self, t: &TestApp, subject: &str) {
        for body in [asylee_record(&self.sources), face_check(&self.sources)] {
            assert_eq!(t.attest(&self.sources, subject, body).await.status, StatusCode::CREATED);
        }
    }

    /// A register's record about somebody's status; the attestation's id.
    pub(crate) async fn record(&self, t: &TestApp, subject: &str, state: &str) -> String {
        let body = json!({ "source": self.sources.registry, "kind": "registry", "grade": "STRONG",
            "statement": { "type": "states", "frame": "us_status", "states": [state] } });
        let answer = t.attest(&self.sources, subject, body).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
        answer.body["id"].as_str().unwrap().to_owned()
    }

    /// The gateway's question about an asserted caller.
    pub(crate) async fn asserted(&self, t: &TestApp, mode: &str, caller: &str, handle: Option<&str>) -> Answer {
        let mut headers = vec![("x-gateway-key", self.asserting.as_str()), ("x-vouchsafe-caller", caller)];
        headers.extend(handle.map(|handle| ("x-vouchsafe-end-user", handle)));
        t.check(&resource(mode), &headers).await
    }

    /// The same about a token, at a gateway that may assert or at one that may not.
    pub(crate) async fn by_token(
        &self,
        t: &TestApp,
        key: &str,
        mode: &str,
        token: &str,
        handle: Option<&str>,
    ) -> Answer {
        let bearer = format!("Bearer {token}");
        let mut headers = vec![("x-gateway-key", key), ("authorization", bearer.as_str())];
        headers.extend(handle.map(|handle| ("x-vouchsafe-end-user", handle)));
        t.check(&resource(mode), &headers).await
    }
}

/// Status and reason.
pub(crate) fn gist(answer: &Answer) -> (u16, String) {
    (answer.status.as_u16(), answer.header("x-eligibility-reason").to_owned())
}

/// What a refusal is.
pub(crate) fn refused(reason: &str) -> (u16, String) {
    (403, reason.to_owned())
}

pub(crate) const PASSED: (u16, String) = (200, String::new());

/// The claims of a token, unverified.
pub(crate) fn claims(token: &str) -> Value {
    let part = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
    serde_json::from_slice(&part).unwrap()
}

/// How many tokens are revoked.
pub(crate) async fn revoked(t: &TestApp) -> usize {
    pairs(&t.database_url, "SELECT jti, subject FROM tokens WHERE revoked_at_ms IS NOT NULL").await.len()
}
