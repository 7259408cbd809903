//! `webhook create | list | show | change | test | deliveries | replay | rotate | disable | enable | delete`: at the machine, with its keys.

use super::create::{changed_patterns, patterns, report, show};
use super::{ConfigArgs, load, open, say, settle};
use crate::service::webhooks::{Admin, Again, Wanted};
use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::process::ExitCode;
use vouchsafe_core::Second;

/// `vouchsafe webhook …`
#[derive(Debug, Subcommand)]
pub enum WebhookCommand {
    /// Register an endpoint; its secret is shown once.
    Create(New),
    /// Which endpoints there are.
    List(ConfigArgs),
    /// One of them, without its secrets.
    Show(Named),
    /// Change an endpoint; what is not given stays, and so do its secrets.
    Change(Change),
    /// Send an endpoint a test message now; exit code 1 when it does not come through.
    Test(Named),
    /// What was and is to be sent to an endpoint, newest first.
    Deliveries(Log),
    /// Send messages again: one, or those of a time.
    Replay(Replay),
    /// Give an endpoint a new secret, shown once; the old one signs beside it for a time.
    Rotate(Named),
    /// Tell an endpoint nothing more; what waits is kept, and can be replayed when it is enabled.
    Disable(Named),
    /// Let an endpoint be told again that was disabled.
    Enable(Named),
    /// Delete an endpoint, its secrets and the log of what was sent to it.
    Delete(Named),
}

/// An endpoint to register.
#[derive(Debug, Args)]
pub struct New {
    #[command(flatten)]
    config: ConfigArgs,
    /// For people.
    #[arg(long)]
    name: String,
    /// Where messages are posted.
    #[arg(long)]
    url: String,
    /// Which messages, such as `eligibility.changed`; may be repeated.
    #[arg(long = "topic", required = true)]
    topics: Vec<String>,
    /// Only what concerns this resource or family; may be repeated; none: all.
    #[arg(long = "resource")]
    resources: Vec<String>,
    /// Tell it the caller's own ids of subjects.
    #[arg(long)]
    external_id: bool,
    /// Sign with Ed25519 beside the secret.
    #[arg(long)]
    ed25519: bool,
}

/// A change of an endpoint.
#[derive(Debug, Args)]
pub struct Change {
    #[command(flatten)]
    named: Named,
    /// For people.
    #[arg(long)]
    name: Option<String>,
    /// Where messages are posted.
    #[arg(long)]
    url: Option<String>,
    /// Which messages, in place of those it had; may be repeated.
    #[arg(long = "topic")]
    topics: Vec<String>,
    /// Only what concerns this resource or family, in place of those it had; may be repeated.
    #[arg(long = "resource", conflicts_with = "all_resources")]
    resources: Vec<String>,
    /// Whatever resource it concerns.
    #[arg(long)]
    all_resources: bool,
    /// Whether it is told the caller's own ids of subjects.
    #[arg(long)]
    external_id: Option<bool>,
}

/// An endpoint, by its id.
#[derive(Debug, Args)]
pub struct Named {
    #[command(flatten)]
    config: ConfigArgs,
    /// `whe_…`
    endpoint: String,
}

/// Which deliveries.
#[derive(Debug, Args)]
pub struct Log {
    #[command(flatten)]
    named: Named,
    /// `pending`, `delivered` or `dead`.
    #[arg(long)]
    state: Option<String>,
    /// At most so many.
    #[arg(long, default_value_t = 50)]
    limit: i64,
}

/// Which messages are sent again.
#[derive(Debug, Args)]
pub struct Replay {
    #[command(flatten)]
    named: Named,
    /// One message, `out_…`.
    #[arg(long, conflicts_with_all = ["from", "to", "delivered"])]
    message: Option<String>,
    /// From when, such as `2026-11-22T08:00:00Z`.
    #[arg(long, requires = "to")]
    from: Option<String>,
    /// Until before when.
    #[arg(long, requires = "from")]
    to: Option<String>,
    /// Those that came through too.
    #[arg(long)]
    delivered: bool,
}

fn instant(text: &str) -> anyhow::Result<Second> {
    Second::parse(text).ok().with_context(|| format!("`{text}` is no instant such as `2026-11-22T08:00:00Z`"))
}

pub(crate) async fn run(command: WebhookCommand) -> anyhow::Result<ExitCode> {
    match command {
        WebhookCommand::Create(new) => {
            let app = open(&load(&new.config)?).await?;
            let wanted = Wanted {
                name: Some(new.name),
                url: Some(new.url),
                topics: Some(new.topics.into_iter().collect()),
                resources: Some(patterns(&new.resources)?),
                external_id: Some(new.external_id),
            };
            let shown = app.create_endpoint(Admin::CommandLine, wanted, new.ed25519).await?;
            settle(&app).await;
            Ok(report(new.config.json, &json!(shown)))
        }
        WebhookCommand::List(config) => endpoints(&config).await,
        WebhookCommand::Show(named) => show(&named.config, "webhook_endpoint", &named.endpoint).await,
        WebhookCommand::Change(new) => {
            let app = open(&load(&new.named.config)?).await?;
            let wanted = Wanted {
                name: new.name,
                url: new.url,
                topics: (!new.topics.is_empty()).then(|| new.topics.into_iter().collect()),
                resources: changed_patterns(&new.resources, new.all_resources)?,
                external_id: new.external_id,
            };
            app.change_endpoint(Admin::CommandLine, &new.named.endpoint, wanted, None).await?;
            settle(&app).await;
            Ok(report(new.named.config.json, &json!({ "id": new.named.endpoint })))
        }
        WebhookCommand::Test(named) => {
            let app = open(&load(&named.config)?).await?;
            let tested = app.test_endpoint(Admin::CommandLine, &named.endpoint).await?;
            settle(&app).await;
            report(named.config.json, &json!(tested));
            Ok(if tested.delivered { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        WebhookCommand::Deliveries(log) => deliveries(&log).await,
        WebhookCommand::Replay(replay) => {
            let again = match (replay.message, replay.from, replay.to) {
                (Some(message), ..) => Again::Message(message),
                (None, Some(from), Some(to)) => {
                    Again::Time { from: instant(&from)?, to: instant(&to)?, delivered: replay.delivered }
                }
                _ => bail!("give `--message`, or `--from` and `--to`"),
            };
            let app = open(&load(&replay.named.config)?).await?;
            let count = app.replay_messages(Admin::CommandLine, &replay.named.endpoint, again).await?;
            settle(&app).await;
            Ok(report(replay.named.config.json, &json!({ "replayed": count })))
        }
        WebhookCommand::Rotate(named) => {
            let app = open(&load(&named.config)?).await?;
            let shown = app.rotate_endpoint(Admin::CommandLine, &named.endpoint).await?;
            settle(&app).await;
            Ok(report(named.config.json, &json!(shown)))
        }
        WebhookCommand::Enable(named) => {
            let app = open(&load(&named.config)?).await?;
            app.enable_endpoint(Admin::CommandLine, &named.endpoint, None).await?;
            settle(&app).await;
            Ok(report(named.config.json, &json!({ "id": named.endpoint, "state": "enabled" })))
        }
        WebhookCommand::Disable(named) => {
            let app = open(&load(&named.config)?).await?;
            app.disable_endpoint(Admin::CommandLine, &named.endpoint, None).await?;
            settle(&app).await;
            Ok(report(named.config.json, &json!({ "id": named.endpoint, "state": "disabled" })))
        }
        WebhookCommand::Delete(named) => {
            let app = open(&load(&named.config)?).await?;
            app.delete_endpoint(Admin::CommandLine, &named.endpoint, None).await?;
            settle(&app).await;
            Ok(report(named.config.json, &json!({ "id": named.endpoint, "state": "deleted" })))
        }
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

async fn endpoints(config: &ConfigArgs) -> anyhow::Result<ExitCode> {
    let app = open(&load(config)?).await?;
    // There are at most as many as one page holds.
    let items = app.list("webhook_endpoint", "", 200).await?;
    if config.json {
        say(&json!({ "items": items }).to_string());
        return Ok(ExitCode::SUCCESS);
    }
    for item in &items {
        let body = &item["body"];
        let topics: Vec<&str> = body["topics"].as_array().into_iter().flatten().map(text).collect();
        let state = match body.pointer("/disabled/reason").map(text).unwrap_or_default() {
            "" => "active".to_owned(),
            reason => format!("disabled ({reason})"),
        };
        say(&format!(
            "{}  {}  {}  {}  {state}",
            text(&item["id"]),
            text(&body["name"]),
            text(&body["url"]),
            topics.join(",")
        ));
    }
    Ok(ExitCode::SUCCESS)
}

async fn deliveries(log: &Log) -> anyhow::Result<ExitCode> {
    let app = open(&load(&log.named.config)?).await?;
    let state = log.state.as_deref().unwrap_or_default();
    let items = app.endpoint_deliveries(&log.named.endpoint, state, "", log.limit.clamp(1, 1000)).await?;
    if log.named.config.json {
        say(&json!({ "items": items }).to_string());
        return Ok(ExitCode::SUCCESS);
    }
    for item in &items {
        let at = item.at.map(|at| at.to_string()).unwrap_or_default();
        let status = item.status.map(|status| status.to_string()).unwrap_or_default();
        let last = format!("{} tries {status} {}", item.tries, item.outcome);
        say(&format!("{at}  {}  {}  {}  {}  {}", item.message, item.topic, item.key, item.state, last.trim_end()));
    }
    Ok(ExitCode::SUCCESS)
}
