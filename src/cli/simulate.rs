//! `vouchsafe source simulate`: made-up evidence for integrators, on test deployments only.

use super::{ConfigArgs, load, open, say};
use crate::service::Actor;
use crate::service::ingest::Delivery;
use crate::service::simulate::{About, Simulation, Verdict};
use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use std::process::ExitCode;
use vouchsafe_core::ids::SubjectId;

/// What the source shall say.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Say {
    Pass,
    Fail,
    Expired,
    Forged,
    Review,
}

/// Make a source say something.
#[derive(Debug, Args)]
pub struct Simulate {
    #[command(flatten)]
    config: ConfigArgs,
    /// The source, `src_…`.
    source: String,
    /// What it says.
    #[arg(long)]
    say: Say,
    /// The subject it speaks of: our id, or a link `namespace:id`.
    #[arg(long, conflicts_with = "session", required_unless_present = "session")]
    subject: Option<String>,
    /// The native vendor's session it speaks of; unbound, the result waits as a real one does.
    #[arg(long)]
    session: Option<String>,
    /// `passport`, `permanent_resident_card`, …
    #[arg(long, default_value = "passport")]
    document: String,
    /// Who issued it, ISO 3166-1 alpha-3.
    #[arg(long, default_value = "USA")]
    country: String,
    /// A nationality read off it, ISO 3166-1 alpha-3; may be repeated.
    #[arg(long = "nationality")]
    nationalities: Vec<String>,
    /// A category code such as `A05`.
    #[arg(long)]
    category: Option<String>,
}

pub(crate) async fn run(args: Simulate) -> anyhow::Result<ExitCode> {
    let app = open(&load(&args.config)?).await?;
    let about = match (args.subject, args.session) {
        (Some(subject), None) => {
            let found = match subject.split_once(':') {
                Some((namespace, id)) => app.resolve_link(namespace, id).await?.context("nobody has this link")?,
                None => subject,
            };
            About::Subject(SubjectId::parse(&found).context("`--subject` must be our id or a link, `namespace:id`")?)
        }
        (None, Some(session)) => About::Session(session),
        _ => bail!("give one of `--subject` and `--session`"),
    };
    let verdict = match args.say {
        Say::Pass => Verdict::Pass,
        Say::Fail => Verdict::Fail,
        Say::Expired => Verdict::Expired,
        Say::Forged => Verdict::Forged,
        Say::Review => Verdict::Review,
    };
    let simulation = Simulation {
        source: args.source,
        about,
        verdict,
        document_type: args.document,
        country: args.country,
        nationalities: args.nationalities.into_iter().collect(),
        category: args.category,
    };
    let result = match app.simulate(&Actor::command_line(), simulation).await? {
        Delivery::Recorded(id) => json!({ "result": "recorded", "id": id }),
        Delivery::Quarantined => json!({ "result": "quarantined" }),
        Delivery::Overtaken => bail!("it said something of this document in this second already; try again"),
        _ => bail!("nothing was recorded"),
    };
    super::settle(&app).await;
    let shown = match result.get("id").and_then(Value::as_str) {
        _ if args.config.json => result.to_string(),
        Some(id) => format!("recorded as {id}, marked as simulated"),
        None => "waits for its session to be bound, marked as simulated".to_owned(),
    };
    say(&shown);
    Ok(ExitCode::SUCCESS)
}
