//! `operator create | list | disable | reset`: at the machine, with its keys; and how a command knows who gives it.

use super::create::report;
use super::{ConfigArgs, load, open, say, settle};
use crate::service::authenticate::Caller;
use crate::service::operators::{Maker, NewOperator, Role, operator_id};
use crate::service::{Actor, App, ServiceError};
use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

/// `vouchsafe operator …`
#[derive(Debug, Subcommand)]
pub enum OperatorCommand {
    /// Make an operator; the password is shown once and has to be changed at the first sign-in.
    Create(New),
    /// Who there is.
    List(ConfigArgs),
    /// Switch an operator off; every sign-in ends at once.
    Disable(Named),
    /// Give an operator a new password, shown once, and switch them on again.
    Reset(Named),
    /// Change a password; every sign-in ends.
    Password(Password),
}

/// An operator to make.
#[derive(Debug, Args)]
pub struct New {
    #[command(flatten)]
    config: ConfigArgs,
    /// The name to sign in with; never used again for anybody else.
    #[arg(long)]
    login: String,
    /// The person's name.
    #[arg(long)]
    name: String,
    /// `reviewer`, `compliance`, `auditor` or `admin`; may be repeated.
    #[arg(long = "role", required = true)]
    roles: Vec<String>,
    /// Who they are as a subject: nobody looks at their own case.
    #[arg(long)]
    subject: Option<String>,
}

/// An operator, by name.
#[derive(Debug, Args)]
pub struct Named {
    #[command(flatten)]
    config: ConfigArgs,
    /// The name they sign in with.
    login: String,
}

/// A new password in the place of the old one.
#[derive(Debug, Args)]
pub struct Password {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    who: Who,
    /// File with the new password; one line.
    #[arg(long)]
    new_password_file: PathBuf,
}

/// Who gives a command that takes a person.
#[derive(Debug, Args)]
pub struct Who {
    /// The name you sign in with.
    #[arg(long, env = "VOUCHSAFE_OPERATOR")]
    operator: String,
    /// File with your password, one line, so that it stands in no command line; `-` is standard input.
    #[arg(long, env = "VOUCHSAFE_OPERATOR_PASSWORD_FILE")]
    password_file: PathBuf,
}

/// The first line of a file, or of standard input.
fn secret_line(file: &std::path::Path) -> anyhow::Result<String> {
    let mut text = String::new();
    if file.as_os_str() == "-" {
        std::io::stdin().read_to_string(&mut text)?;
    } else {
        text = std::fs::read_to_string(file).with_context(|| format!("reading `{}`", file.display()))?;
    }
    match text.lines().next() {
        Some(line) if !line.is_empty() => Ok(line.to_owned()),
        _ => bail!("`{}` is empty", file.display()),
    }
}

/// What is tried at the machine is counted by itself.
const THIS_MACHINE: u64 = u64::MAX;

impl Who {
    /// The operator, once the password is proven.
    pub(crate) async fn caller(&self, app: &App) -> anyhow::Result<Caller> {
        let caller =
            app.operator_at_the_machine(&self.operator, &secret_line(&self.password_file)?, THIS_MACHINE).await;
        match caller {
            Ok(caller) => Ok(caller),
            Err(ServiceError::Unauthenticated) => {
                bail!("no such operator, a wrong password, or an operator who was disabled")
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// The service and the operator who gives a command that takes a scope.
pub(crate) async fn as_operator(
    config: &ConfigArgs,
    who: &Who,
    scope: &'static str,
) -> anyhow::Result<(Arc<App>, Caller)> {
    let app = open(&load(config)?).await?;
    let caller = who.caller(&app).await?;
    match caller.require(scope) {
        Ok(()) => Ok((app, caller)),
        Err(ServiceError::PasswordGiven) => bail!("change the password you were given: `vouchsafe operator password`"),
        Err(_) => bail!("`{}` may not do this: it takes `{scope}`", caller.id),
    }
}

fn roles(names: &[String]) -> anyhow::Result<BTreeSet<Role>> {
    names
        .iter()
        .map(|name| Role::parse(name).with_context(|| format!("`{name}` is no role: choose from {}", Role::NAMES)))
        .collect()
}

pub(crate) async fn run(command: OperatorCommand) -> anyhow::Result<ExitCode> {
    match command {
        OperatorCommand::Create(new) => {
            let app = open(&load(&new.config)?).await?;
            let wanted =
                NewOperator { login: new.login, name: new.name, roles: roles(&new.roles)?, subject: new.subject };
            let created = app.create_operator(&Maker::CommandLine, wanted).await?;
            settle(&app).await;
            Ok(report(new.config.json, &json!({ "operator": created.id, "password": created.password })))
        }
        OperatorCommand::List(config) => list(&config).await,
        OperatorCommand::Disable(named) => {
            let app = open(&load(&named.config)?).await?;
            let id = operator_id(&named.login);
            app.disable_operator(&Actor::command_line(), &id).await?;
            settle(&app).await;
            Ok(report(named.config.json, &json!({ "operator": id, "state": "disabled" })))
        }
        OperatorCommand::Reset(named) => {
            let app = open(&load(&named.config)?).await?;
            let created = app.reset_operator(&operator_id(&named.login)).await?;
            settle(&app).await;
            Ok(report(named.config.json, &json!({ "operator": created.id, "password": created.password })))
        }
        OperatorCommand::Password(new) => {
            let app = open(&load(&new.config)?).await?;
            let caller = new.who.caller(&app).await?;
            let (old, password) = (secret_line(&new.who.password_file)?, secret_line(&new.new_password_file)?);
            app.change_password(&caller, THIS_MACHINE, &old, &password).await?;
            settle(&app).await;
            Ok(report(new.config.json, &json!({ "operator": caller.id, "state": "password changed" })))
        }
    }
}

async fn list(config: &ConfigArgs) -> anyhow::Result<ExitCode> {
    let app = open(&load(config)?).await?;
    let mut items: Vec<Value> = Vec::new();
    loop {
        let after = items.last().and_then(|item| item["id"].as_str()).unwrap_or_default().to_owned();
        let page = app.list("operator", &after, 200).await?;
        if page.is_empty() {
            break;
        }
        items.extend(page);
    }
    if config.json {
        say(&json!({ "items": items }).to_string());
        return Ok(ExitCode::SUCCESS);
    }
    for item in &items {
        let body = &item["body"];
        let roles: Vec<&str> = body["roles"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let state = match (&body["disabled"], &body["password_given"]) {
            (Value::Bool(true), _) => "disabled",
            (_, Value::Bool(true)) => "has to change the password",
            _ => "active",
        };
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        say(&format!("{}  {}  {}  {state}", text(&item["id"]), text(&body["name"]), roles.join(",")));
    }
    Ok(ExitCode::SUCCESS)
}
