//! The real binary on a database, and what a client needs to speak to it.

use crate::support::{Database, TempDir, pairs};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};
use vouchsafe::clock::{Clock, SystemClock};
use vouchsafe::crypto::MasterKey;
use vouchsafe::intake::geoip::GeoIp;
use vouchsafe::service::anchor::AnchorFile;
use vouchsafe::service::world::{Audience, Organisation, Source};
use vouchsafe::service::{Actor, App, admin};
use vouchsafe_core::facts::{Grade, SourceKind};
use vouchsafe_core::ids::ResourcePattern;
use vouchsafe_core::policy::{NamedSet, Policy};

const BUILT: &str = env!("CARGO_BIN_EXE_vouchsafe");
const ORIGIN: &str = "http://127.0.0.1";
/// The audience of every token here.
pub(super) const AUDIENCE: &str = "edge";
/// The resource that is asked for.
pub(super) const RESOURCE: &str = "restricted.api";

/// The binary under test: another than the one just built, if `VOUCHSAFE_BIN` names one.
fn binary() -> String {
    std::env::var("VOUCHSAFE_BIN").unwrap_or_else(|_| BUILT.to_owned())
}

/// Master key and database of one service; its processes come and go.
pub(super) struct Deployment {
    pub(super) database: Database,
    folder: TempDir,
}

/// What the seeding made; the same for every copy of the database.
#[derive(Clone)]
pub(super) struct Seeded {
    pub(super) registry: String,
    pub(super) vendor: String,
    pub(super) organisation: String,
    gateway: String,
    pub(super) clients: [(String, String); 2],
}

/// A running `vouchsafe serve`. Killed when dropped.
pub(super) struct Server {
    child: Child,
    pub(super) url: String,
    pub(super) admin_url: String,
    /// From the start of the process to its first `/readyz` that says ready.
    pub(super) ready: Duration,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it as an operator does, and waits.
    pub(super) fn stop(&mut self) -> std::process::ExitStatus {
        assert!(Command::new("kill").args(["-TERM", &self.pid().to_string()]).status().unwrap().success());
        self.child.wait().unwrap()
    }

    /// The status of `/readyz`; `None` when nobody answers.
    pub(super) async fn readyz(&self) -> Option<StatusCode> {
        http().get(format!("{}/readyz", self.admin_url)).send().await.ok().map(|answer| answer.status())
    }

    /// Whether the process has ended by itself, and how.
    pub(super) fn ended(&mut self) -> Option<std::process::ExitStatus> {
        self.child.try_wait().unwrap()
    }
}

impl Deployment {
    /// On an empty database.
    pub(super) fn on(database: Database) -> Self {
        let this = Self { database, folder: TempDir::new() };
        assert!(Command::new(binary()).args(["keys", "master"]).arg(this.key()).status().unwrap().success());
        this
    }

    /// A copy of a SQLite deployment at rest, in a folder of its own.
    pub(super) fn copy(&self) -> Self {
        let this = Self { database: Database::sqlite(), folder: TempDir::new() };
        std::fs::copy(self.key(), this.key()).unwrap();
        std::fs::copy(self.anchor(), this.anchor()).unwrap();
        for suffix in ["", "-wal"] {
            let with = |file: PathBuf| format!("{}{suffix}", file.display());
            if Path::new(&with(self.file())).exists() {
                std::fs::copy(with(self.file()), with(this.file())).unwrap();
            }
        }
        this
    }

    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn key(&self) -> PathBuf {
        self.folder.path().join("master.key")
    }

    fn anchor(&self) -> PathBuf {
        self.folder.path().join("master.key.anchor")
    }

    /// The database file, on SQLite.
    pub(super) fn file(&self) -> PathBuf {
        self.database.url().strip_prefix("sqlite:").unwrap().into()
    }

    /// What all processes of this deployment have written to their logs.
    pub(super) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// The command `vouchsafe ARGUMENTS` as configured here.
    pub(super) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command.args(arguments).env("VOUCHSAFE_PUBLIC_ORIGIN", ORIGIN).env("VOUCHSAFE_LOG", "json");
        command.env("VOUCHSAFE_DATABASE", self.database.url()).env("VOUCHSAFE_MASTER_KEY_FILE", self.key());
        for limit in ["CLIENT", "GATEWAY", "PUBLIC", "TOKEN"] {
            command.env(format!("VOUCHSAFE_RATE_LIMIT_{limit}"), "off");
        }
        command
    }

    pub(super) fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Starts the process only; its log is appended to the deployment's.
    pub(super) fn spawn(&self) -> (Child, Receiver<String>) {
        let mut command = self.command(&["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]);
        let mut child = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let errors = BufReader::new(child.stderr.take().unwrap());
        let mut log = OpenOptions::new().create(true).append(true).open(self.folder.path().join("log")).unwrap();
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in errors.lines().map_while(Result::ok) {
                let _ = writeln!(log, "{line}");
                let _ = sender.send(line);
            }
        });
        (child, lines)
    }

    /// Starts the service and waits until it is ready.
    pub(super) async fn start(&self) -> Server {
        self.try_start().await.unwrap_or_else(|said| panic!("serve ended before it was ready: {said}"))
    }

    /// As [`Self::start`]; what it said if it refused.
    pub(super) async fn try_start(&self) -> Result<Server, String> {
        let begun = Instant::now();
        let mut server = self.listen()?;
        while server.readyz().await != Some(StatusCode::OK) {
            assert!(begun.elapsed() < Duration::from_secs(30), "not ready in 30 s");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        server.ready = begun.elapsed();
        Ok(server)
    }

    /// Starts the service and waits until it listens, ready or not; what it said if it refused.
    pub(super) fn listen(&self) -> Result<Server, String> {
        let (child, lines) = self.spawn();
        let mut server = Server { child, url: String::new(), admin_url: String::new(), ready: Duration::ZERO };
        let mut said = String::new();
        loop {
            let Ok(line) = lines.recv_timeout(Duration::from_secs(30)) else { return Err(said) };
            if line.contains("\"ready\"") {
                let fields: Value = serde_json::from_str(&line).unwrap();
                let at = |name: &str| format!("http://{}", fields["fields"][name].as_str().unwrap());
                (server.url, server.admin_url) = (at("listen"), at("admin"));
                return Ok(server);
            }
            said.push_str(&line);
        }
    }

    /// Sources, clients, a gateway and a policy in force.
    pub(super) async fn seed(&self) -> Seeded {
        let master = MasterKey::from_file(&self.key()).unwrap();
        let anchor = AnchorFile::new(&self.anchor(), master.authenticator());
        let before = anchor.before(&self.database.url()).await.unwrap();
        let store = self.database.store().await;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let app = App::open(store, clock, master, ORIGIN.to_owned(), GeoIp::empty()).await.unwrap();
        app.hold_to(anchor.hold(before, &*app.store, app.clock.now_ms()).await.unwrap());
        let actor = Actor::system();
        let source = async |kind, max_grade| {
            let source =
                Source { name: "s".to_owned(), kind, assessor: None, max_grade, vendor: None, suspensions: Vec::new() };
            app.create_source(&actor, source, None).await.unwrap()
        };
        let registry = source(SourceKind::Registry, Grade::Strong).await;
        let vendor = source(SourceKind::DocumentVendor, Grade::Superior).await;
        let organisation = Organisation {
            name: "o".to_owned(),
            verified: true,
            keys: Vec::new(),
            subject: None,
            suspensions: Vec::new(),
        };
        let (organisation, _) = app.create_organisation(&actor, None, organisation).await.unwrap();
        let patterns = vec![ResourcePattern::parse("restricted.*").unwrap()];
        let audience = Audience {
            name: AUDIENCE.to_owned(),
            alg: "ES256".to_owned(),
            resources: patterns.clone(),
            pairwise: true,
            details: false,
        };
        app.create_audience(&actor, AUDIENCE, audience).await.unwrap();
        let gateway = app.create_gateway(&actor, "g", patterns, AUDIENCE, false, 403).await.unwrap().secret;
        let client = async |owner: &str| {
            let scopes = admin::SCOPES.map(str::to_owned).into();
            let sources = [registry.clone(), vendor.clone()].into();
            let made =
                app.create_client(&actor, "c", owner, scopes, sources, Some(organisation.clone())).await.unwrap();
            (made.id, made.secret)
        };
        let clients = [client("Ada").await, client("Lee").await];
        let fixture =
            |path: &str| std::fs::read_to_string(format!("{}/fixtures/{path}", env!("CARGO_MANIFEST_DIR"))).unwrap();
        let set: NamedSet = toml::from_str(&fixture("sets/annex-a@2026-06-26.toml")).unwrap();
        app.create_set(&actor, set).await.unwrap();
        let policy = Policy::from_toml(&fixture("policies/restricted-us-persons.toml")).unwrap();
        app.create_policy(&actor, policy).await.unwrap();
        let seeded = Seeded { registry, vendor, organisation, gateway, clients };
        drop(app);
        let server = self.start().await;
        let api = seeded.api(&server).await;
        let order = json!({ "id": "in-force", "authority": "a", "citation": "c",
            "actions": [{ "activate": { "policy": "restricted-us-persons", "version": 1 } }] });
        assert_eq!(api.send(&Sent::post("/v1/directives", order)).await.unwrap().status, StatusCode::CREATED);
        let approval = Sent { second: true, ..Sent::post("/v1/directives/in-force/approve", Value::Null) };
        assert_eq!(api.send(&approval).await.unwrap().status, StatusCode::OK);
        seeded
    }

    /// What the database answers to a query of two texts a row.
    pub(super) async fn pairs(&self, sql: &str) -> Vec<(String, String)> {
        pairs(&self.database.url(), sql).await
    }
}

/// A request.
#[derive(Debug, Clone)]
pub(super) struct Sent {
    pub(super) method: Method,
    pub(super) path: String,
    /// Null for none; for `/oauth2/` a form.
    pub(super) body: Value,
    pub(super) key: Option<String>,
    /// As the second person.
    pub(super) second: bool,
}

impl Sent {
    pub(super) fn post(path: impl Into<String>, body: Value) -> Self {
        Self { method: Method::POST, path: path.into(), body, key: None, second: false }
    }

    pub(super) fn get(path: impl Into<String>) -> Self {
        Self { method: Method::GET, ..Self::post(path, Value::Null) }
    }

    pub(super) fn with_key(self, key: Option<&str>) -> Self {
        Self { key: key.map(str::to_owned), ..self }
    }
}

/// An answer that arrived whole.
#[derive(Debug)]
pub(super) struct Got {
    pub(super) status: StatusCode,
    pub(super) replayed: bool,
    pub(super) retry_after: bool,
    pub(super) text: String,
    pub(super) body: Value,
}

/// A client of a running server.
#[derive(Clone)]
pub(super) struct Api {
    pub(super) http: reqwest::Client,
    pub(super) url: String,
    pub(super) seeded: Seeded,
    tokens: [String; 2],
}

fn http() -> reqwest::Client {
    let builder = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
    builder.timeout(Duration::from_secs(30)).build().unwrap()
}

impl Seeded {
    /// Signs both clients in.
    pub(super) async fn api(&self, server: &Server) -> Api {
        let http = http();
        let sign_in = async |(id, secret): &(String, String)| -> String {
            let request = http.post(format!("{}/oauth2/token", server.url)).basic_auth(id, Some(secret));
            let request = request.form(&[("grant_type", "client_credentials")]);
            let answer: Value = request.send().await.unwrap().json().await.unwrap();
            answer["access_token"].as_str().unwrap_or_else(|| panic!("no access token: {answer}")).to_owned()
        };
        let tokens = [sign_in(&self.clients[0]).await, sign_in(&self.clients[1]).await];
        Api { http, url: server.url.clone(), seeded: self.clone(), tokens }
    }
}

impl Api {
    /// The same signed-in clients at another process of the same deployment.
    pub(super) fn at(&self, server: &Server) -> Self {
        Self { http: http(), url: server.url.clone(), ..self.clone() }
    }

    /// `Err` when no whole answer arrived: nothing was acknowledged.
    pub(super) async fn send(&self, sent: &Sent) -> Result<Got, reqwest::Error> {
        let request = self.http.request(sent.method.clone(), format!("{}{}", self.url, sent.path));
        let mut request = request.bearer_auth(&self.tokens[usize::from(sent.second)]);
        if sent.path.starts_with("/oauth2/") {
            request = request.form(&sent.body);
        } else if !sent.body.is_null() {
            request = request.json(&sent.body);
        }
        if let Some(key) = &sent.key {
            request = request.header("idempotency-key", key);
        }
        let response = request.send().await?;
        let (status, replayed) = (response.status(), response.headers().contains_key("idempotency-replayed"));
        let retry_after = response.headers().contains_key("retry-after");
        let text = response.text().await?;
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        Ok(Got { status, replayed, retry_after, text, body })
    }

    /// What the gateway says to a token for the resource.
    pub(super) async fn check(&self, token: &str) -> StatusCode {
        let request = self.http.get(format!("{}/gateway/check/{RESOURCE}", self.url)).bearer_auth(token);
        request.header("x-gateway-key", &self.seeded.gateway).send().await.unwrap().status()
    }

    /// What is acknowledged is written down here, by the client's process.
    pub(super) fn journal(path: &Path) -> File {
        OpenOptions::new().create(true).append(true).open(path).unwrap()
    }
}
