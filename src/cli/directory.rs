//! `directory …` and `scim-token …`: organisations' directories at the machine, with its keys.

use super::create::{list, report};
use super::{ConfigArgs, load, open, say, settle};
use crate::service::Actor;
use crate::service::directories::DirectorySettings;
use crate::service::world::{Directory, EmailLinks};
use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::process::ExitCode;
use vouchsafe_core::Second;
use vouchsafe_core::ids::ResourceId;
use vouchsafe_core::policy::Disclosure;

/// `vouchsafe directory …`
#[derive(Debug, Subcommand)]
pub enum DirectoryCommand {
    /// Register a directory of an organisation; it can ask once it has a token.
    Create(NewDirectory),
    /// Change a directory; what is not given stays.
    Change(DirectoryChange),
    /// Directories, with their tokens but for the secrets.
    List(ConfigArgs),
}

/// A directory.
#[derive(Debug, Args)]
pub struct NewDirectory {
    #[command(flatten)]
    config: ConfigArgs,
    /// For people.
    #[arg(long)]
    name: String,
    /// The organisation that it speaks for.
    #[arg(long)]
    organisation: String,
    /// Namespace of the links by the directory's own ids, of no other directory.
    #[arg(long)]
    namespace: String,
    /// A resource of which it is told whether its people may use it; may be repeated.
    #[arg(long = "resource")]
    resources: Vec<String>,
    /// What it is told beyond that, `status` or `confidence`; may be repeated.
    #[arg(long = "disclose")]
    discloses: Vec<String>,
    /// Namespace of the links from addresses to subjects, by which a new person may be found.
    #[arg(long, requires = "email_domains")]
    email_namespace: Option<String>,
    /// A domain of the organisation's own; may be repeated.
    #[arg(long = "email-domain", requires = "email_namespace")]
    email_domains: Vec<String>,
}

/// What is to be changed of a directory.
#[derive(Debug, Args)]
pub struct DirectoryChange {
    #[command(flatten)]
    config: ConfigArgs,
    /// `dir_…`
    #[arg(long)]
    directory: String,
    /// For people.
    #[arg(long)]
    name: Option<String>,
    /// A resource of which it is told, in place of those it had; may be repeated.
    #[arg(long = "resource")]
    resources: Vec<String>,
    /// It is told of no resource any more.
    #[arg(long, conflicts_with = "resources")]
    no_resources: bool,
    /// What it is told beyond that, `status` or `confidence`, in place of what it was; may be repeated.
    #[arg(long = "disclose")]
    discloses: Vec<String>,
    /// It is told nothing beyond that any more.
    #[arg(long, conflicts_with = "discloses")]
    disclose_nothing: bool,
    /// Namespace of the links from addresses to subjects, by which a new person may be found.
    #[arg(long, requires = "email_domains")]
    email_namespace: Option<String>,
    /// A domain of the organisation's own, in place of those it had; may be repeated.
    #[arg(long = "email-domain", requires = "email_namespace")]
    email_domains: Vec<String>,
    /// Nobody is found by an address any more.
    #[arg(long, conflicts_with = "email_namespace")]
    without_emails: bool,
    /// Whether it is switched off: none of its tokens is good then.
    #[arg(long)]
    disabled: Option<bool>,
}

/// `vouchsafe scim-token …`
#[derive(Debug, Subcommand)]
pub enum ScimTokenCommand {
    /// Make a token for a directory; it is shown once, and the others stay good.
    Create(NewToken),
    /// Tokens of a directory, but for the secrets.
    List(OfDirectory),
    /// End a token at once.
    Revoke(OneToken),
}

/// A token to make.
#[derive(Debug, Args)]
pub struct NewToken {
    #[command(flatten)]
    of: OfDirectory,
    /// When it ends, RFC 3339; never, unless given.
    #[arg(long)]
    expires_at: Option<String>,
}

/// A directory.
#[derive(Debug, Args)]
pub struct OfDirectory {
    #[command(flatten)]
    config: ConfigArgs,
    /// `dir_…`
    #[arg(long)]
    directory: String,
}

/// A token of a directory.
#[derive(Debug, Args)]
pub struct OneToken {
    #[command(flatten)]
    of: OfDirectory,
    /// `sct_…`
    #[arg(long)]
    token: String,
}

fn resources(list: &[String]) -> anyhow::Result<BTreeSet<ResourceId>> {
    list.iter().map(|text| Ok(ResourceId::parse(text)?)).collect()
}

fn discloses(list: &[String]) -> anyhow::Result<BTreeSet<Disclosure>> {
    let told = |name: &String| Disclosure::parse(name).filter(|disclosure| *disclosure != Disclosure::Evidence);
    list.iter().map(told).collect::<Option<_>>().context("`--disclose` must be `status` or `confidence`")
}

pub(crate) async fn directory(command: DirectoryCommand) -> anyhow::Result<ExitCode> {
    match command {
        DirectoryCommand::Create(new) => {
            let app = open(&load(&new.config)?).await?;
            let domains: BTreeSet<String> = new.email_domains.into_iter().collect();
            let directory = Directory {
                id: String::new(),
                name: new.name,
                organisation: new.organisation,
                namespace: new.namespace,
                resources: resources(&new.resources)?,
                discloses: discloses(&new.discloses)?,
                emails: new.email_namespace.map(|namespace| EmailLinks { namespace, domains }),
                tokens: Vec::new(),
                disabled: false,
            };
            let id = app.create_directory(&Actor::command_line(), directory).await?;
            settle(&app).await;
            Ok(report(new.config.json, &json!({ "directory": id })))
        }
        DirectoryCommand::Change(new) => {
            let app = open(&load(&new.config)?).await?;
            let domains: BTreeSet<String> = new.email_domains.into_iter().collect();
            let emails = new.email_namespace.map(|namespace| Some(EmailLinks { namespace, domains }));
            let (told_of, told) = (resources(&new.resources)?, discloses(&new.discloses)?);
            let settings = DirectorySettings {
                name: new.name,
                resources: (new.no_resources || !told_of.is_empty()).then_some(told_of),
                discloses: (new.disclose_nothing || !told.is_empty()).then_some(told),
                emails: if new.without_emails { Some(None) } else { emails },
                disabled: new.disabled,
            };
            app.change_directory(&Actor::command_line(), &new.directory, settings, None).await?;
            settle(&app).await;
            Ok(report(new.config.json, &json!({ "directory": new.directory })))
        }
        DirectoryCommand::List(config) => list(&config, "directory", told).await,
    }
}

/// One line of a record.
fn told(record: &Value) -> String {
    let text = |pointer: &str| record.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let tokens = record.pointer("/body/tokens").and_then(Value::as_array).map_or(0, Vec::len);
    let state = if record.pointer("/body/disabled") == Some(&json!(true)) { "disabled" } else { "enabled" };
    format!("{}  {}  {tokens} tokens  {state}  {}", text("/id"), text("/body/organisation"), text("/body/name"))
}

pub(crate) async fn scim_token(command: ScimTokenCommand) -> anyhow::Result<ExitCode> {
    match command {
        ScimTokenCommand::Create(NewToken { of, expires_at }) => {
            let app = open(&load(&of.config)?).await?;
            let end = expires_at.as_deref().map(Second::parse).transpose().context("`--expires-at` is no instant")?;
            let created = app.create_directory_token(&Actor::command_line(), &of.directory, end).await?;
            settle(&app).await;
            let shown = json!({ "id": created.id, "token": created.token,
                "base_url": format!("{}/scim/v2", app.issuer) });
            Ok(report(of.config.json, &shown))
        }
        ScimTokenCommand::List(of) => {
            let app = open(&load(&of.config)?).await?;
            let (_, record) = app.show("directory", &of.directory).await?;
            for token in record.pointer("/body/tokens").and_then(Value::as_array).into_iter().flatten() {
                let text = |name: &str| token[name].as_str().unwrap_or("never").to_owned();
                say(&if of.config.json {
                    token.to_string()
                } else {
                    format!("{}  made {}  ends {}", text("id"), text("created_at"), text("expires_at"))
                });
            }
            Ok(ExitCode::SUCCESS)
        }
        ScimTokenCommand::Revoke(OneToken { of, token }) => {
            let app = open(&load(&of.config)?).await?;
            app.revoke_directory_token(&Actor::command_line(), &of.directory, &token).await?;
            settle(&app).await;
            Ok(report(of.config.json, &json!({ "revoked": token })))
        }
    }
}
