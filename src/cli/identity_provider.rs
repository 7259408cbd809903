//! `identity-provider create | list | show | change | disable | enable | secret`: at the machine, with its keys.

use super::create::{list, patterns, report, show};
use super::{ConfigArgs, load, open, settle};
use crate::service::Actor;
use crate::service::identity::ProviderChange;
use crate::service::world::{Hook, IdentityProvider};
use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;
use vouchsafe_core::policy::Disclosure;

const RECORD: &str = "identity_provider";

/// `vouchsafe identity-provider …`
#[derive(Debug, Subcommand)]
pub enum IdentityProviderCommand {
    /// Register an identity provider; the secret of an Okta hook is shown once.
    Create(Box<New>),
    /// Who there is.
    List(ConfigArgs),
    /// One of them.
    Show(Named),
    /// Change an identity provider; what is not given stays.
    Change(Box<Change>),
    /// Switch an identity provider off, at once on every replica.
    Disable(Named),
    /// Switch it on again.
    Enable(Named),
    /// Give an Okta hook a new secret, shown once.
    Secret(Secret),
}

/// What an identity provider is told and how it asks.
#[derive(Debug, Args)]
struct Asking {
    /// JWK set of its public keys.
    #[arg(long, conflicts_with = "jwks_uri")]
    jwks_file: Option<PathBuf>,
    /// Where its keys are fetched.
    #[arg(long)]
    jwks_uri: Option<String>,
    /// One of its clients whose ID tokens are accepted; may be repeated.
    #[arg(long = "audience")]
    audiences: Vec<String>,
    /// The organisation whose people it knows.
    #[arg(long)]
    organisation: Option<String>,
    /// A resource or family it may ask about; may be repeated.
    #[arg(long = "resource")]
    resources: Vec<String>,
    /// An API client that asks in its name; may be repeated.
    #[arg(long = "client")]
    clients: Vec<String>,
    /// Its hook: `okta` or `entra`.
    #[arg(long, value_parser = ["okta", "entra"])]
    hook: Option<String>,
    /// Entra: the tenant's id.
    #[arg(long, requires = "hook")]
    tenant: Option<String>,
    /// Entra: the id of the application that stands for this service.
    #[arg(long, requires = "hook")]
    hook_audience: Option<String>,
    /// Name of the claim that its hook is answered with.
    #[arg(long)]
    claim: Option<String>,
    /// `status`, `confidence` or `evidence`: what it may learn beside yes or no; may be repeated.
    #[arg(long = "disclose")]
    discloses: Vec<String>,
    /// A domain of the organisation in which sign-in names count; may be repeated.
    #[arg(long = "email-domain")]
    email_domains: Vec<String>,
    /// `ES256`, `EdDSA` or `RS256`, of claims that are provided.
    #[arg(long)]
    alg: Option<String>,
}

/// An identity provider to register.
#[derive(Debug, Args)]
pub struct New {
    #[command(flatten)]
    config: ConfigArgs,
    /// For people.
    #[arg(long)]
    name: String,
    /// `iss` of its ID tokens.
    #[arg(long)]
    issuer: String,
    /// Namespace of the links under which its users are known.
    #[arg(long)]
    namespace: String,
    #[command(flatten)]
    asking: Asking,
}

/// A change of an identity provider.
#[derive(Debug, Args)]
pub struct Change {
    #[command(flatten)]
    config: ConfigArgs,
    /// `idp_…`
    #[arg(long)]
    identity_provider: String,
    /// For people.
    #[arg(long)]
    name: Option<String>,
    /// It has no hook any more.
    #[arg(long, conflicts_with = "hook")]
    no_hook: bool,
    /// It learns nothing any more but yes or no and until when.
    #[arg(long, conflicts_with = "discloses")]
    disclose_nothing: bool,
    #[command(flatten)]
    asking: Asking,
}

/// An identity provider, by id.
#[derive(Debug, Args)]
pub struct Named {
    #[command(flatten)]
    config: ConfigArgs,
    /// `idp_…`
    #[arg(long)]
    identity_provider: String,
}

/// A new secret.
#[derive(Debug, Args)]
pub struct Secret {
    #[command(flatten)]
    named: Named,
    /// For how many seconds the one before it is still taken.
    #[arg(long, default_value_t = 0)]
    overlap: i64,
}

/// What may be learnt beside yes or no.
pub(crate) fn disclosures(names: &[String]) -> anyhow::Result<BTreeSet<Disclosure>> {
    let parse = |name: &String| {
        Disclosure::parse(name).with_context(|| format!("`{name}` is none of `status`, `confidence`, `evidence`"))
    };
    names.iter().map(parse).collect()
}

impl Asking {
    fn keys(&self) -> anyhow::Result<Option<Vec<Value>>> {
        let Some(file) = &self.jwks_file else { return Ok(None) };
        let text = std::fs::read_to_string(file).with_context(|| format!("reading `{}`", file.display()))?;
        let mut set: Value = serde_json::from_str(&text).context("the file is no JWK set")?;
        match set.get_mut("keys").map(Value::take) {
            Some(Value::Array(keys)) => Ok(Some(keys)),
            _ => bail!("the file is no JWK set"),
        }
    }

    fn hook(&self) -> anyhow::Result<Option<Hook>> {
        match (self.hook.as_deref(), &self.tenant, &self.hook_audience) {
            (None, ..) => Ok(None),
            (Some("entra"), Some(tenant), Some(audience)) => {
                Ok(Some(Hook::Entra { tenant: tenant.clone(), audience: audience.clone() }))
            }
            (Some("entra"), ..) => bail!("an Entra hook needs `--tenant` and `--hook-audience`"),
            (Some(_), None, None) => Ok(Some(Hook::Okta {})),
            (Some(_), ..) => bail!("an Okta hook has no `--tenant` and no `--hook-audience`"),
        }
    }

    fn discloses(&self) -> anyhow::Result<BTreeSet<Disclosure>> {
        disclosures(&self.discloses)
    }

    fn set(list: &[String]) -> BTreeSet<String> {
        list.iter().cloned().collect()
    }

    fn some(list: &[String]) -> Option<BTreeSet<String>> {
        (!list.is_empty()).then(|| Self::set(list))
    }
}

async fn create(new: New) -> anyhow::Result<ExitCode> {
    let app = open(&load(&new.config)?).await?;
    let asking = &new.asking;
    let provider = IdentityProvider {
        id: String::new(),
        name: new.name,
        issuer: new.issuer,
        keys: asking.keys()?.unwrap_or_default(),
        jwks_uri: asking.jwks_uri.clone(),
        audiences: Asking::set(&asking.audiences),
        namespace: new.namespace,
        organisation: asking.organisation.clone(),
        resources: patterns(&asking.resources)?,
        clients: Asking::set(&asking.clients),
        hook: asking.hook()?,
        hook_keys: Vec::new(),
        claim: asking.claim.clone().unwrap_or_else(|| "eligibility".to_owned()),
        discloses: asking.discloses()?,
        email_domains: Asking::set(&asking.email_domains),
        alg: asking.alg.clone().unwrap_or_else(|| "ES256".to_owned()),
        disabled: false,
    };
    let created = app.create_identity_provider(&Actor::command_line(), provider).await?;
    settle(&app).await;
    let mut told = json!({ "identity_provider": created.id });
    if let (Some(secret), Some(members)) = (created.secret, told.as_object_mut()) {
        members.insert("hook_secret".to_owned(), json!(secret));
    }
    Ok(report(new.config.json, &told))
}

async fn change(new: Change) -> anyhow::Result<ExitCode> {
    let asking = &new.asking;
    let change = ProviderChange {
        name: new.name,
        keys: asking.keys()?,
        jwks_uri: asking.jwks_uri.clone(),
        audiences: Asking::some(&asking.audiences),
        organisation: asking.organisation.clone().map(Some),
        resources: if asking.resources.is_empty() { None } else { Some(patterns(&asking.resources)?) },
        clients: Asking::some(&asking.clients),
        hook: if new.no_hook { Some(None) } else { asking.hook()?.map(Some) },
        claim: asking.claim.clone(),
        discloses: if new.disclose_nothing {
            Some(BTreeSet::new())
        } else {
            Some(asking.discloses()?).filter(|d| !d.is_empty())
        },
        email_domains: Asking::some(&asking.email_domains),
        alg: asking.alg.clone(),
        disabled: None,
    };
    apply(&new.config, &new.identity_provider, change).await
}

async fn apply(config: &ConfigArgs, id: &str, change: ProviderChange) -> anyhow::Result<ExitCode> {
    let app = open(&load(config)?).await?;
    app.change_identity_provider(&Actor::command_line(), id, None, change).await?;
    settle(&app).await;
    Ok(report(config.json, &json!({ "identity_provider": id })))
}

async fn switch(named: &Named, disabled: bool) -> anyhow::Result<ExitCode> {
    let change = ProviderChange { disabled: Some(disabled), ..ProviderChange::default() };
    apply(&named.config, &named.identity_provider, change).await
}

fn line(item: &Value) -> String {
    let body = &item["body"];
    let state = if body["disabled"] == true { "disabled" } else { "enabled" };
    let text = |name: &str| body[name].as_str().unwrap_or_default();
    format!("{}  {state}  {}  {}", item["id"].as_str().unwrap_or_default(), text("issuer"), text("name"))
}

pub(crate) async fn run(command: IdentityProviderCommand) -> anyhow::Result<ExitCode> {
    match command {
        IdentityProviderCommand::Create(new) => create(*new).await,
        IdentityProviderCommand::List(config) => list(&config, RECORD, line).await,
        IdentityProviderCommand::Show(named) => show(&named.config, RECORD, &named.identity_provider).await,
        IdentityProviderCommand::Change(new) => change(*new).await,
        IdentityProviderCommand::Disable(named) => switch(&named, true).await,
        IdentityProviderCommand::Enable(named) => switch(&named, false).await,
        IdentityProviderCommand::Secret(Secret { named, overlap }) => {
            let app = open(&load(&named.config)?).await?;
            let id = &named.identity_provider;
            let secret = app.renew_hook_secret(&Actor::command_line(), id, None, overlap).await?;
            settle(&app).await;
            Ok(report(named.config.json, &json!({ "identity_provider": id, "hook_secret": secret })))
        }
    }
}
