//! `client create`, `source create`, `gateway create`, `audience create`: at the machine, with its keys.

use super::{ConfigArgs, load, open, say, settle};
use crate::service::register::Settings;
use crate::service::world::{Audience, Gateway, Mode, Source, Vendor, VendorSecrets};
use crate::service::{Actor, ServiceError, clients};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::ExitCode;
use vouchsafe_core::facts::{Grade, SourceKind};
use vouchsafe_core::ids::ResourcePattern;

/// `vouchsafe client …`
#[derive(Debug, Subcommand)]
pub enum ClientCommand {
    /// Create an API client; its secret is shown once.
    Create(NewClient),
    /// Give a client other keys; those it had, or its secret, prove nothing from then on.
    Keys(ClientKeys),
    /// Give a client another secret, shown once; the one before proves nothing from then on, and its access tokens end.
    Secret(NamedClient),
    /// Switch a client off, at once and with its access tokens.
    Disable(NamedClient),
    /// Switch a client on again, with the secret or keys that it had.
    Enable(NamedClient),
}

/// A client by its id.
#[derive(Debug, Args)]
pub struct NamedClient {
    #[command(flatten)]
    config: ConfigArgs,
    /// The client.
    #[arg(long)]
    client: String,
}

/// Keys of a client.
#[derive(Debug, Args)]
pub struct ClientKeys {
    #[command(flatten)]
    config: ConfigArgs,
    /// The client.
    #[arg(long)]
    client: String,
    /// JWK set of its public keys.
    #[arg(long)]
    jwks_file: PathBuf,
}

/// An API client.
#[derive(Debug, Args)]
pub struct NewClient {
    #[command(flatten)]
    config: ConfigArgs,
    /// For people.
    #[arg(long)]
    name: String,
    /// The person who answers for it.
    #[arg(long)]
    owner: String,
    /// What it may do; may be repeated.
    #[arg(long = "scope", required = true)]
    scopes: Vec<String>,
    /// Sources it may speak for; may be repeated.
    #[arg(long = "source")]
    sources: Vec<String>,
    /// The organisation it is.
    #[arg(long)]
    organisation: Option<String>,
    /// An audience whose tokens it may introspect; may be repeated; none: all.
    #[arg(long = "audience")]
    audiences: Vec<String>,
    /// JWK set of its public keys: it proves itself by `private_key_jwt`, and gets no secret.
    #[arg(long)]
    jwks_file: Option<PathBuf>,
    /// Its assertions may name the token endpoint as their audience, instead of the issuer.
    #[arg(long, requires = "jwks_file")]
    endpoint_audience: bool,
    /// It gets access tokens that are bound to a key only.
    #[arg(long)]
    dpop_bound_access_tokens: bool,
}

/// A JWK set (RFC 7517 section 5).
#[derive(serde::Deserialize)]
struct JwkSet {
    keys: Vec<Value>,
}

/// `vouchsafe source …`
#[derive(Debug, Subcommand)]
pub enum SourceCommand {
    /// Register a source.
    Create(NewSource),
    /// Fetch a native vendor's past results.
    Backfill(super::backfill::Backfill),
    /// Make a source say something, on a test deployment.
    Simulate(super::simulate::Simulate),
}

/// A source.
#[derive(Debug, Args)]
pub struct NewSource {
    #[command(flatten)]
    config: ConfigArgs,
    /// For people.
    #[arg(long)]
    name: String,
    /// `registry`, `document_vendor` or `reviewer`.
    #[arg(long)]
    kind: String,
    /// Highest grade a client may claim for it.
    #[arg(long, default_value = "STRONG")]
    max_grade: String,
    /// Corporate group that judges.
    #[arg(long)]
    assessor: Option<String>,
    /// Native vendor: `onfido`, `stripe`.
    #[arg(long, requires = "base_url", requires = "secrets_file")]
    vendor: Option<String>,
    /// The vendor's API origin.
    #[arg(long)]
    base_url: Option<String>,
    /// JSON file `{"webhook_tokens": […], "api_token": "…"}`, so that no secret stands in a command line.
    #[arg(long)]
    secrets_file: Option<PathBuf>,
    /// Accept results of test environments.
    #[arg(long)]
    test_only: bool,
}

/// `vouchsafe gateway …`
#[derive(Debug, Subcommand)]
pub enum GatewayCommand {
    /// Create a gateway; its key is shown once.
    Create(NewGateway),
    /// Change a gateway; its key stays as it is.
    Change(GatewayChange),
    /// Give a gateway another key, shown once.
    Key(GatewayKey),
    /// Switch a gateway off, at once: its key proves nothing, and what it listens to ends.
    Disable(NamedGateway),
    /// Switch a gateway on again, with the key that it had.
    Enable(NamedGateway),
}

/// A gateway by its id.
#[derive(Debug, Args)]
pub struct NamedGateway {
    #[command(flatten)]
    config: ConfigArgs,
    /// `gw_…`
    #[arg(long)]
    gateway: String,
}

/// How a gateway gets another key.
#[derive(Debug, Args)]
pub struct GatewayKey {
    #[command(flatten)]
    named: NamedGateway,
    /// How long the key before goes on beside the new one, in seconds; 0 where it may have leaked.
    #[arg(long = "overlap", default_value_t = 0)]
    overlap_secs: i64,
}

/// A gateway.
#[derive(Debug, Args)]
pub struct NewGateway {
    #[command(flatten)]
    config: ConfigArgs,
    /// For people.
    #[arg(long)]
    name: String,
    /// A resource or family it guards; may be repeated.
    #[arg(long = "resource", required = true)]
    resources: Vec<String>,
    /// Audience whose tokens it accepts.
    #[arg(long)]
    audience: String,
    /// It may assert callers it authenticated itself.
    #[arg(long)]
    asserts: bool,
    /// The origin by which callers know it, for tokens that are bound to a key.
    #[arg(long)]
    origin: Option<String>,
    /// A page for callers who were refused; it is told `reason`, `decision` and `request`.
    #[arg(long)]
    help_url: Option<String>,
    /// 403 or 451.
    #[arg(long, default_value_t = 403)]
    deny_status: u16,
    /// `asks` (unless given), `offline` (judges tokens by itself) or `both`.
    #[arg(long)]
    mode: Option<String>,
    /// How old the picture may be that it acts on, in seconds.
    #[arg(long = "bound")]
    bound_secs: Option<i64>,
}

/// What is to be changed of a gateway; what is not given stays.
#[derive(Debug, Args)]
pub struct GatewayChange {
    #[command(flatten)]
    config: ConfigArgs,
    /// `gw_…`
    #[arg(long)]
    gateway: String,
    /// For people.
    #[arg(long)]
    name: Option<String>,
    /// A resource or family it guards, in place of those it had; may be repeated.
    #[arg(long = "resource")]
    resources: Vec<String>,
    /// Whether it may assert callers it authenticated itself.
    #[arg(long)]
    asserts: Option<bool>,
    /// The origin by which callers know it.
    #[arg(long)]
    origin: Option<String>,
    /// A page for callers who were refused.
    #[arg(long)]
    help_url: Option<String>,
    /// 403 or 451.
    #[arg(long)]
    deny_status: Option<u16>,
    /// `asks`, `offline` or `both`.
    #[arg(long)]
    mode: Option<String>,
    /// How old the picture may be that it acts on, in seconds.
    #[arg(long = "bound")]
    bound_secs: Option<i64>,
    /// What to take away: `origin`, `help-url`, `bound`; may be repeated.
    #[arg(long, value_parser = ["origin", "help-url", "bound"])]
    clear: Vec<String>,
}

fn mode(text: Option<&str>) -> anyhow::Result<Option<Mode>> {
    let refused = || anyhow::anyhow!("`--mode` must be `asks`, `offline` or `both`");
    text.map(|text| Mode::parse(text).ok_or_else(refused)).transpose()
}

async fn change_gateway(new: GatewayChange) -> anyhow::Result<ExitCode> {
    let app = open(&load(&new.config)?).await?;
    let clears = |name: &str| new.clear.iter().any(|clear| clear == name);
    let cleared = |name: &str, given: Option<String>| given.map(Some).or_else(|| clears(name).then_some(None));
    let cleared_bound = new.bound_secs.map(Some).or_else(|| clears("bound").then_some(None));
    let settings = Settings {
        name: new.name,
        resources: if new.resources.is_empty() { None } else { Some(patterns(&new.resources)?) },
        asserts: new.asserts,
        deny_status: new.deny_status,
        origin: cleared("origin", new.origin),
        help_url: cleared("help-url", new.help_url),
        mode: mode(new.mode.as_deref())?,
        bound_secs: cleared_bound,
    };
    app.change_gateway(&Actor::command_line(), &new.gateway, settings).await?;
    settle(&app).await;
    Ok(report(new.config.json, &json!({ "gateway": new.gateway })))
}

/// `vouchsafe audience …`
#[derive(Debug, Subcommand)]
pub enum AudienceCommand {
    /// Register an audience of eligibility tokens.
    Create(NewAudience),
}

/// An audience.
#[derive(Debug, Args)]
pub struct NewAudience {
    #[command(flatten)]
    config: ConfigArgs,
    /// The `aud` of its tokens.
    #[arg(long)]
    id: String,
    /// For people.
    #[arg(long)]
    name: String,
    /// A resource or family its tokens may name; may be repeated.
    #[arg(long = "resource", required = true)]
    resources: Vec<String>,
    /// `ES256`, `EdDSA` or `RS256`.
    #[arg(long, default_value = "ES256")]
    alg: String,
}

pub(crate) fn patterns(list: &[String]) -> anyhow::Result<Vec<ResourcePattern>> {
    list.iter().map(|text| Ok(ResourcePattern::parse(text)?)).collect()
}

/// Resources of a change: those that are given, all of them, or those there were.
pub(crate) fn changed_patterns(list: &[String], all: bool) -> anyhow::Result<Option<Vec<ResourcePattern>>> {
    if list.is_empty() && !all { Ok(None) } else { patterns(list).map(Some) }
}

/// Shows every record of a kind, one a line: as JSON, or as `line` has it.
pub(crate) async fn list(config: &ConfigArgs, kind: &str, line: impl Fn(&Value) -> String) -> anyhow::Result<ExitCode> {
    let app = open(&load(config)?).await?;
    let mut after = String::new();
    loop {
        let page = app.list(kind, &after, 200).await?;
        let Some(last) = page.last().and_then(|item| item["id"].as_str()) else { return Ok(ExitCode::SUCCESS) };
        after = last.to_owned();
        for item in &page {
            say(&if config.json { item.to_string() } else { line(item) });
        }
    }
}

/// Shows one record.
pub(crate) async fn show(config: &ConfigArgs, kind: &'static str, id: &str) -> anyhow::Result<ExitCode> {
    let app = open(&load(config)?).await?;
    let (_, shown) = app.show(kind, id).await?;
    say(&if config.json { shown.to_string() } else { format!("{shown:#}") });
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn report(json: bool, value: &Value) -> ExitCode {
    if json {
        say(&value.to_string());
    } else if let Some(members) = value.as_object() {
        for (name, value) in members {
            say(&format!("{name}: {}", value.as_str().unwrap_or_default()));
        }
    }
    ExitCode::SUCCESS
}

async fn client_keys(new: ClientKeys) -> anyhow::Result<ExitCode> {
    let app = open(&load(&new.config)?).await?;
    let set: JwkSet = serde_json::from_str(&std::fs::read_to_string(new.jwks_file)?)?;
    app.replace_client_keys(&Actor::command_line(), &new.client, set.keys).await?;
    settle(&app).await;
    Ok(report(new.config.json, &json!({ "client_id": new.client })))
}

async fn switch_client(named: NamedClient, off: bool) -> anyhow::Result<ExitCode> {
    let app = open(&load(&named.config)?).await?;
    let (actor, id) = (Actor::command_line(), named.client.as_str());
    if off {
        app.disable_client(&actor, id).await?
    } else {
        app.enable_client(&actor, id).await?
    }
    settle(&app).await;
    let state = if off { "disabled" } else { "enabled" };
    Ok(report(named.config.json, &json!({ "client_id": id, "state": state })))
}

async fn switch_gateway(named: NamedGateway, off: bool) -> anyhow::Result<ExitCode> {
    let app = open(&load(&named.config)?).await?;
    let (actor, id) = (Actor::command_line(), named.gateway.as_str());
    if off {
        app.disable_gateway(&actor, id).await?
    } else {
        app.enable_gateway(&actor, id).await?
    }
    settle(&app).await;
    let state = if off { "disabled" } else { "enabled" };
    Ok(report(named.config.json, &json!({ "gateway": id, "state": state })))
}

pub(crate) async fn client(command: ClientCommand) -> anyhow::Result<ExitCode> {
    let new = match command {
        ClientCommand::Create(new) => new,
        ClientCommand::Keys(new) => return client_keys(new).await,
        ClientCommand::Secret(named) => {
            let app = open(&load(&named.config)?).await?;
            let secret = app.renew_client_secret(&Actor::command_line(), &named.client).await?;
            settle(&app).await;
            return Ok(report(named.config.json, &json!({ "client_id": named.client, "client_secret": secret })));
        }
        ClientCommand::Disable(named) => return switch_client(named, true).await,
        ClientCommand::Enable(named) => return switch_client(named, false).await,
    };
    let app = open(&load(&new.config)?).await?;
    let keys = match new.jwks_file {
        Some(file) => serde_json::from_str::<JwkSet>(&std::fs::read_to_string(file)?)?.keys,
        None => Vec::new(),
    };
    let client = clients::NewClient {
        name: new.name,
        owner: new.owner,
        scopes: new.scopes.into_iter().collect(),
        sources: new.sources.into_iter().collect(),
        audiences: new.audiences.into_iter().collect(),
        organisation: new.organisation,
        keys,
        endpoint_audience: new.endpoint_audience,
        dpop_bound_access_tokens: new.dpop_bound_access_tokens,
    };
    let created = app.register_client(&Actor::command_line(), client).await?;
    settle(&app).await;
    let mut told = json!({ "client_id": created.id });
    if let (Some(secret), Some(members)) = (created.secret, told.as_object_mut()) {
        members.insert("client_secret".to_owned(), json!(secret));
    }
    Ok(report(new.config.json, &told))
}

pub(crate) async fn source(command: SourceCommand) -> anyhow::Result<ExitCode> {
    let new = match command {
        SourceCommand::Create(new) => new,
        SourceCommand::Backfill(args) => return super::backfill::run(args).await,
        SourceCommand::Simulate(args) => return super::simulate::run(args).await,
    };
    let app = open(&load(&new.config)?).await?;
    let kind: SourceKind = serde_json::from_value(json!(new.kind)).map_err(|_| ServiceError::Invalid {
        pointer: "--kind".to_owned(),
        problem: "is no kind of source".to_owned(),
    })?;
    let max_grade: Grade = serde_json::from_value(json!(new.max_grade))
        .map_err(|_| ServiceError::Invalid { pointer: "--max-grade".to_owned(), problem: "is no grade".to_owned() })?;
    let (vendor, secrets) = match (new.vendor, new.base_url, new.secrets_file) {
        (Some(name), Some(base_url), Some(file)) => {
            let secrets: VendorSecrets = serde_json::from_str(&std::fs::read_to_string(file)?)?;
            (Some(Vendor { name, base_url, production: !new.test_only }), Some(secrets))
        }
        _ => (None, None),
    };
    let source = Source { name: new.name, kind, assessor: new.assessor, max_grade, vendor, suspensions: Vec::new() };
    let id = app.create_source(&Actor::command_line(), source, secrets).await?;
    settle(&app).await;
    Ok(report(new.config.json, &json!({ "source": id })))
}

pub(crate) async fn gateway(command: GatewayCommand) -> anyhow::Result<ExitCode> {
    let new = match command {
        GatewayCommand::Create(new) => new,
        GatewayCommand::Change(new) => return change_gateway(new).await,
        GatewayCommand::Key(GatewayKey { named, overlap_secs }) => {
            let app = open(&load(&named.config)?).await?;
            let key = app.renew_gateway_key(&Actor::command_line(), &named.gateway, overlap_secs).await?;
            settle(&app).await;
            return Ok(report(named.config.json, &json!({ "gateway": named.gateway, "key": key })));
        }
        GatewayCommand::Disable(named) => return switch_gateway(named, true).await,
        GatewayCommand::Enable(named) => return switch_gateway(named, false).await,
    };
    let app = open(&load(&new.config)?).await?;
    let resources = patterns(&new.resources)?;
    let gateway = Gateway {
        id: String::new(),
        name: new.name,
        key_sha256: String::new(),
        former_key: None,
        disabled: false,
        resources,
        audience: new.audience,
        asserts: new.asserts,
        deny_status: new.deny_status,
        origin: new.origin,
        help_url: new.help_url,
        mode: mode(new.mode.as_deref())?.unwrap_or_default(),
        bound_secs: new.bound_secs,
    };
    let created = app.register_gateway(&Actor::command_line(), gateway).await?;
    settle(&app).await;
    Ok(report(new.config.json, &json!({ "gateway": created.id, "key": created.secret })))
}

pub(crate) async fn audience(AudienceCommand::Create(new): AudienceCommand) -> anyhow::Result<ExitCode> {
    let app = open(&load(&new.config)?).await?;
    let audience =
        Audience { name: new.name, alg: new.alg, resources: patterns(&new.resources)?, pairwise: true, details: false };
    app.create_audience(&Actor::command_line(), &new.id, audience).await?;
    settle(&app).await;
    Ok(report(new.config.json, &json!({ "audience": new.id })))
}
