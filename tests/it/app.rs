//! The service over real HTTP, on either database, with a clock that tests move.

use crate::support::Database;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use vouchsafe::clock::{Clock, ManualClock};
use vouchsafe::crypto::MasterKey;
use vouchsafe::http::limits::{Limits, Quotas};
use vouchsafe::http::{Edge, router};
use vouchsafe::intake::client_address::Proxies;
use vouchsafe::intake::geoip::GeoIp;
use vouchsafe::service::authenticate::Caller;
use vouchsafe::service::deployment::Deployment;
use vouchsafe::service::{Actor, App};
use vouchsafe_core::policy::{NamedSet, Policy};

/// The master key of [`TestApp`]; a pattern would be refused.
pub(crate) const MASTER: [u8; 32] = [
    0x5b, 0xe1, 0x07, 0x9c, 0xd3, 0x2a, 0x84, 0xf6, 0x11, 0xc8, 0x3e, 0x70, 0xab, 0x55, 0x9f, 0x02, 0xe7, 0x46, 0xbd,
    0x18, 0x6c, 0xfa, 0x23, 0x91, 0x0d, 0xd8, 0x7f, 0x34, 0xa2, 0xee, 0x49, 0xb0,
];

/// 2026-11-21T00:00:00Z.
pub(crate) const START_MS: i64 = 1_795_219_200_000;

/// An answer: status, headers, JSON body (null when there is none).
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: Value,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

pub(crate) struct TestApp {
    pub(crate) app: Arc<App>,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) url: String,
    pub(crate) http: reqwest::Client,
    pub(crate) admin: String,
    pub(crate) database_url: String,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for TestApp {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn fixture(path: &str) -> String {
    std::fs::read_to_string(format!("{}/fixtures/{path}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

async fn listen() -> (tokio::net::TcpListener, String) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    (listener, url)
}

/// The proxy of most tests: the one on this machine.
pub(crate) fn proxies() -> Proxies {
    Proxies { trusted: vec!["127.0.0.1/32".parse().unwrap()], ..Proxies::default() }
}

fn serve(
    app: &Arc<App>,
    listener: tokio::net::TcpListener,
    quotas: &Quotas,
    proxies: Proxies,
) -> tokio::task::JoinHandle<()> {
    let edge = Edge {
        app: Arc::clone(app),
        trusted_proxies: proxies.into(),
        limits: Limits::new(quotas).into(),
        metrics: None,
    };
    let routes = router(edge).into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() })
}

/// What a token is worth to somebody who may see all.
pub(crate) async fn introspect(app: &App, token: &str) -> Value {
    let caller = Caller {
        id: "cli_any".to_owned(),
        owner: "Ada".to_owned(),
        scopes: ["tokens:introspect".to_owned()].into(),
        sources: BTreeSet::new(),
        organisation: None,
        operator: None,
    };
    serde_json::from_str(&app.introspect(&caller, token).await.unwrap()).unwrap()
}

impl TestApp {
    /// A service with every scope in one client's hands and the shipped policies committed, none in force.
    pub(crate) async fn start(database: &Database) -> Self {
        Self::start_as(Deployment::Production, database).await
    }

    /// The same on either kind of deployment.
    pub(crate) async fn start_as(deployment: Deployment, database: &Database) -> Self {
        let store = database.store().await;
        let clock = Arc::new(ManualClock::new(START_MS));
        let (listener, url) = listen().await;
        let networks = format!("{}/fixtures/geoip/test.mmdb", env!("CARGO_MANIFEST_DIR"));
        let geoip = GeoIp::open(&[networks.into()]).unwrap();
        let clock_dyn: Arc<dyn Clock> = clock.clone();
        let master = MasterKey::new(&MASTER);
        let app = App::open_as(deployment, store, clock_dyn, master, url.clone(), geoip).await.unwrap();
        let server = serve(&app, listener, &Quotas::default(), proxies());
        let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        let mut this = Self { app, clock, url, http, admin: String::new(), database_url: database.url(), server };
        this.admin = this.client("Ada", &vouchsafe::service::admin::SCOPES, &["src_self"], None).await;
        for set in ["annex-a@2026-06-26", "embargoed@2026-11"] {
            let set: NamedSet = toml::from_str(&fixture(&format!("sets/{set}.toml"))).unwrap();
            this.app.create_set(&Actor::system(), set).await.unwrap();
        }
        for name in ["restricted-us-persons", "us_nationals_only", "embargo"] {
            let policy = Policy::from_toml(&fixture(&format!("policies/{name}.toml"))).unwrap();
            this.app.create_policy(&Actor::system(), policy).await.unwrap();
        }
        this
    }

    /// The service again after its process ended: only the database and the keys are the same. Its url replaces ours.
    pub(crate) async fn restart(&mut self) {
        let app = self.replica().await;
        let (listener, url) = listen().await;
        self.server.abort();
        self.server = serve(&app, listener, &Quotas::default(), proxies());
        (self.app, self.url) = (app, url);
    }

    /// The same service behind an edge with other limits.
    pub(crate) async fn limited(&mut self, quotas: &Quotas) {
        let (listener, url) = listen().await;
        self.server.abort();
        self.server = serve(&self.app, listener, quotas, proxies());
        self.url = url;
    }

    /// The same service behind other proxies.
    pub(crate) async fn behind(&mut self, proxies: Proxies) {
        let (listener, url) = listen().await;
        self.server.abort();
        self.server = serve(&self.app, listener, &Quotas::default(), proxies);
        self.url = url;
    }

    /// Another process on the same database: own store, own memory, same keys and clock.
    pub(crate) async fn replica(&self) -> Arc<App> {
        let store = vouchsafe::storage::open(&self.database_url).await.unwrap();
        let clock: Arc<dyn Clock> = self.clock.clone();
        App::open(store, clock, MasterKey::new(&MASTER), self.app.issuer.clone(), GeoIp::empty()).await.unwrap()
    }

    /// The access token of a new client.
    pub(crate) async fn client(
        &self,
        owner: &str,
        scopes: &[&str],
        sources: &[&str],
        organisation: Option<&str>,
    ) -> String {
        let set = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect();
        let organisation = organisation.map(str::to_owned);
        let created = self
            .app
            .create_client(&Actor::system(), "test", owner, set(scopes), set(sources), organisation)
            .await
            .unwrap();
        self.app.access_token(&created.id, &created.secret, None).await.unwrap().token
    }

    pub(crate) async fn send(&self, token: &str, method: Method, path: &str, body: Option<Value>) -> Answer {
        let mut request = self.http.request(method, format!("{}{path}", self.url)).bearer_auth(token);
        if let Some(body) = body {
            request = request.json(&body);
        }
        answer(request).await
    }

    /// A client with the secret in hand.
    pub(crate) async fn client_secret(&self) -> vouchsafe::service::admin::Created {
        let scopes = ["subjects:read", "subjects:write"].map(str::to_owned).into();
        self.app.create_client(&Actor::system(), "test", "Bo", scopes, [].into(), None).await.unwrap()
    }

    /// The clock, in seconds.
    pub(crate) fn clock_secs(&self) -> i64 {
        self.clock.now_ms() / 1000
    }

    /// Client and digest of every idempotency key.
    pub(crate) async fn requests(&self) -> Vec<(String, String)> {
        self.requests_with("key").await
    }

    /// Client and another column of every idempotency key.
    pub(crate) async fn requests_with(&self, column: &str) -> Vec<(String, String)> {
        crate::support::pairs(&self.database_url, &format!("SELECT client, {column} FROM requests")).await
    }

    /// A POST of the administrator with more headers.
    pub(crate) async fn post_with(&self, path: &str, body: &Value, headers: &[(&str, &str)]) -> Answer {
        let mut request = self.http.post(format!("{}{path}", self.url)).bearer_auth(&self.admin).json(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        answer(request).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(&self.admin, Method::GET, path, None).await
    }

    /// A recorded decision as it is told to whoever may ask and not see the evidence.
    pub(crate) async fn decided(&self, decision: &Value) -> Answer {
        let reader = self.client("Ray", &["eligibility:read"], &[], None).await;
        let path = format!("/v1/decisions/{}", decision["id"].as_str().unwrap());
        self.send(&reader, Method::GET, &path, None).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(&self.admin, Method::POST, path, Some(body)).await
    }

    pub(crate) async fn created(&self, path: &str, body: Value) -> Value {
        let answer = self.post(path, body).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{path}: {}", answer.body);
        answer.body
    }

    /// Two people put a policy in force.
    pub(crate) async fn activate(&self, policy: &str) {
        let id = format!("activate-{}", policy.replace('_', "-"));
        let directive = json!({ "id": id, "authority": "a", "citation": "c",
            "actions": [{ "activate": { "policy": policy, "version": 1 } }] });
        self.created("/v1/directives", directive).await;
        let second = self.client("Lee", &["directives:approve"], &[], None).await;
        let answer = self.send(&second, Method::POST, &format!("/v1/directives/{id}/approve"), None).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    }

    pub(crate) async fn subject(&self, external_id: &str) -> String {
        let body = self.created("/v1/subjects", json!({ "kind": "person", "external_id": external_id })).await;
        body["id"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn eligibility(&self, subject: &str, resource: &str) -> Value {
        let answer = self.get(&format!("/v1/subjects/{subject}/eligibility?resource={resource}")).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        answer.body
    }

    /// A register and a document examiner, with a client that may speak for both.
    pub(crate) async fn sources(&self) -> Sources {
        let source = async |kind: &str, grade: &str| {
            let body = json!({ "name": kind, "kind": kind, "max_grade": grade });
            self.created("/v1/sources", body).await["id"].as_str().unwrap().to_owned()
        };
        let registry = source("registry", "STRONG").await;
        let vendor = source("document_vendor", "SUPERIOR").await;
        let token = self.client("Sue", &["attestations:write"], &[&registry, &vendor], None).await;
        Sources { registry, vendor, token }
    }

    pub(crate) async fn attest(&self, sources: &Sources, subject: &str, body: Value) -> Answer {
        self.send(&sources.token, Method::POST, &format!("/v1/subjects/{subject}/attestations"), Some(body)).await
    }

    /// A subject whom a register and a document check make eligible under the US-person policy.
    pub(crate) async fn eligible_subject(&self, sources: &Sources, external_id: &str) -> String {
        let subject = self.subject(external_id).await;
        for body in [asylee_record(sources), face_check(sources)] {
            let answer = self.attest(sources, &subject, body).await;
            assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
        }
        subject
    }

    pub(crate) async fn audience(&self, id: &str) {
        let body = json!({ "id": id, "name": id, "resources": ["restricted.*", "regional.*", "nationals.*"] });
        self.created("/v1/audiences", body).await;
    }

    /// A gateway's key.
    pub(crate) async fn gateway(&self, audience: &str, asserts: bool) -> String {
        let body = json!({ "name": "gw", "resources": ["restricted.*", "regional.*"], "audience": audience, "asserts": asserts });
        self.created("/v1/gateways", body).await["key"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn token(&self, subject: &str, resource: &str, audience: &str) -> String {
        let path = format!("/v1/subjects/{subject}/tokens");
        let body = self.created(&path, json!({ "resource": resource, "audience": audience })).await;
        body["token"].as_str().unwrap().to_owned()
    }

    /// Entries of the audit log with this action, those that wait included.
    pub(crate) async fn audited(&self, action: &str) -> Vec<Value> {
        while self.app.store.sequence_audit(1000).await.unwrap() > 0 {}
        let mut found: Vec<Value> = Vec::new();
        let mut position = 0;
        loop {
            let page = self.app.store.audit_log(position, 1000).await.unwrap();
            let Some(last) = page.last() else { return found };
            position = last.position;
            let entries = page.iter().map(|record| serde_json::from_str::<Value>(&record.entry).unwrap());
            found.extend(entries.filter(|entry| entry["action"] == action));
        }
    }

    /// Asks as a gateway does.
    pub(crate) async fn check(&self, resource: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = self.http.get(format!("{}/gateway/check/{resource}", self.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        answer(request).await
    }
}

pub(crate) struct Sources {
    pub(crate) registry: String,
    pub(crate) vendor: String,
    pub(crate) token: String,
}

pub(crate) fn asylee_record(sources: &Sources) -> Value {
    json!({ "source": sources.registry, "kind": "registry", "grade": "STRONG",
        "document": { "type": "status_record", "issuing_country": "USA" }, "statement": { "type": "read", "category": "A05" } })
}

pub(crate) fn face_check(sources: &Sources) -> Value {
    json!({ "source": sources.vendor, "kind": "document_check", "grade": "STRONG", "codes": ["face_match"],
        "document": { "type": "employment_authorisation", "issuing_country": "USA" } })
}

/// Does what the job does until nothing waits.
pub(crate) async fn work_off(app: &App) {
    app.poll_feed().await.unwrap();
    while app.reassess().await.unwrap() {}
}

pub(crate) async fn answer(request: reqwest::RequestBuilder) -> Answer {
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status(), response.headers().clone());
    let body = response.json().await.unwrap_or(Value::Null);
    Answer { status, headers, body }
}

/// Runs the story on SQLite and on PostgreSQL.
pub(crate) async fn on_both<F: AsyncFn(TestApp)>(story: F) {
    let sqlite = Database::sqlite();
    story(TestApp::start(&sqlite).await).await;
    if let Some(postgres) = Database::postgres().await {
        story(TestApp::start(&postgres).await).await;
    }
}

/// The shipped policy in force, a subject, and what it is now.
pub(crate) async fn newcomer(t: &TestApp) -> String {
    t.activate("restricted-us-persons").await;
    let subject = t.subject("ada").await;
    assert_eq!(status(t, &subject).await, "insufficient");
    subject
}

pub(crate) async fn status(t: &TestApp, subject: &str) -> String {
    t.eligibility(subject, "restricted.api").await["status"].as_str().unwrap().to_owned()
}

pub(crate) async fn attestations(t: &TestApp, subject: &str) -> Vec<Value> {
    let answer = t.get(&format!("/v1/subjects/{subject}/attestations")).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    answer.body["items"].as_array().unwrap().clone()
}
