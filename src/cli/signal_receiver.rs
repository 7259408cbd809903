//! `signal-receiver create | list | show | change | enable | pause | disable | delete`: at the machine, with its keys.

use super::create::{changed_patterns, list, patterns, report, show};
use super::identity_provider::disclosures;
use super::{ConfigArgs, load, open, settle};
use crate::service::Actor;
use crate::service::ssf::streams::Status;
use crate::service::ssf::{Names, NewReceiver, ReceiverChange};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::process::ExitCode;

const RECORD: &str = "signal_receiver";

/// `vouchsafe signal-receiver …`
#[derive(Debug, Subcommand)]
pub enum SignalReceiverCommand {
    /// Register a client as a receiver; it makes its stream itself.
    Create(New),
    /// Who there is, and how its stream is.
    List(ConfigArgs),
    /// One of them, with its stream.
    Show(Named),
    /// Change a receiver; what is not given stays, and so does its stream.
    Change(Change),
    /// Let its stream flow; what was held is told.
    Enable(Switch),
    /// Hold what there is to tell, for 30 days.
    Pause(Switch),
    /// Stop its stream; what there would be to tell is not kept.
    Disable(Switch),
    /// End a receiver with its stream and all that waits in it.
    Delete(Named),
}

/// A receiver to register.
#[derive(Debug, Args)]
pub struct New {
    #[command(flatten)]
    config: ConfigArgs,
    /// The client; it holds `ssf.read` and `ssf.manage`.
    #[arg(long)]
    client: String,
    /// For people.
    #[arg(long)]
    name: String,
    /// `aud` of its tokens.
    #[arg(long)]
    aud: String,
    /// It knows subjects by the pairwise `sub` of this audience.
    #[arg(long, required_unless_present = "namespace", conflicts_with = "namespace")]
    audience: Option<String>,
    /// It knows subjects by their ids in this namespace of links.
    #[arg(long)]
    namespace: Option<String>,
    /// Only what concerns this resource or family; may be repeated; none: all.
    #[arg(long = "resource")]
    resources: Vec<String>,
    /// It guards just these resources itself.
    #[arg(long, requires = "resources")]
    for_resource: bool,
    /// `confidence`: what it may learn where the policy discloses it too.
    #[arg(long = "disclose")]
    discloses: Vec<String>,
}

/// A change of a receiver.
#[derive(Debug, Args)]
pub struct Change {
    #[command(flatten)]
    named: Named,
    /// For people.
    #[arg(long)]
    name: Option<String>,
    /// `aud` of its tokens.
    #[arg(long)]
    aud: Option<String>,
    /// Only what concerns this resource or family, in place of those it had; may be repeated.
    #[arg(long = "resource", conflicts_with = "all_resources")]
    resources: Vec<String>,
    /// Whatever resource it concerns.
    #[arg(long)]
    all_resources: bool,
    /// Whether it guards just these resources itself.
    #[arg(long)]
    for_resource: Option<bool>,
    /// `confidence`: what it may learn where the policy discloses it too.
    #[arg(long = "disclose")]
    discloses: Vec<String>,
    /// It learns nothing any more but whether and until when.
    #[arg(long, conflicts_with = "discloses")]
    disclose_nothing: bool,
}

/// A receiver, by id.
#[derive(Debug, Args)]
pub struct Named {
    #[command(flatten)]
    config: ConfigArgs,
    /// The client.
    #[arg(long)]
    signal_receiver: String,
}

/// What its stream is to do.
#[derive(Debug, Args)]
pub struct Switch {
    #[command(flatten)]
    named: Named,
    /// Why; the receiver is told.
    #[arg(long)]
    reason: Option<String>,
}

async fn create(new: New) -> anyhow::Result<ExitCode> {
    let app = open(&load(&new.config)?).await?;
    let names = match (new.audience, new.namespace) {
        (Some(audience), _) => Names::Audience(audience),
        (None, namespace) => Names::Namespace(namespace.unwrap_or_default()),
    };
    let receiver = NewReceiver {
        client: new.client.clone(),
        name: new.name,
        aud: new.aud,
        names,
        resources: patterns(&new.resources)?,
        for_resource: new.for_resource,
        discloses: disclosures(&new.discloses)?,
    };
    app.create_signal_receiver(&Actor::command_line(), receiver).await?;
    settle(&app).await;
    Ok(report(new.config.json, &json!({ "signal_receiver": new.client })))
}

async fn change(new: Change) -> anyhow::Result<ExitCode> {
    let discloses = disclosures(&new.discloses)?;
    let change = ReceiverChange {
        name: new.name,
        aud: new.aud,
        resources: changed_patterns(&new.resources, new.all_resources)?,
        for_resource: new.for_resource,
        discloses: if new.disclose_nothing { Some(BTreeSet::new()) } else { Some(discloses).filter(|d| !d.is_empty()) },
    };
    let app = open(&load(&new.named.config)?).await?;
    app.change_signal_receiver(&Actor::command_line(), &new.named.signal_receiver, change, None).await?;
    settle(&app).await;
    Ok(report(new.named.config.json, &json!({ "signal_receiver": new.named.signal_receiver })))
}

async fn switch(asked: Switch, status: Status) -> anyhow::Result<ExitCode> {
    let Switch { named, reason } = asked;
    let app = open(&load(&named.config)?).await?;
    let told = app.administer_stream(&Actor::command_line(), &named.signal_receiver, status, reason.as_deref()).await?;
    settle(&app).await;
    Ok(report(named.config.json, &json!(told)))
}

fn line(item: &Value) -> String {
    let text = |pointer: &str| item.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let state = match text("/body/stream/status") {
        "" => "no stream",
        status => status,
    };
    format!("{}  {state}  {}  {}", text("/id"), text("/body/aud"), text("/body/name"))
}

pub(crate) async fn run(command: SignalReceiverCommand) -> anyhow::Result<ExitCode> {
    match command {
        SignalReceiverCommand::Create(new) => create(new).await,
        SignalReceiverCommand::List(config) => list(&config, RECORD, line).await,
        SignalReceiverCommand::Show(named) => show(&named.config, RECORD, &named.signal_receiver).await,
        SignalReceiverCommand::Change(new) => change(new).await,
        SignalReceiverCommand::Enable(asked) => switch(asked, Status::Enabled).await,
        SignalReceiverCommand::Pause(asked) => switch(asked, Status::Paused).await,
        SignalReceiverCommand::Disable(asked) => switch(asked, Status::Disabled).await,
        SignalReceiverCommand::Delete(named) => {
            let app = open(&load(&named.config)?).await?;
            app.delete_signal_receiver(&Actor::command_line(), &named.signal_receiver, None).await?;
            settle(&app).await;
            Ok(report(named.config.json, &json!({ "signal_receiver": named.signal_receiver, "state": "deleted" })))
        }
    }
}
