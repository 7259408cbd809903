//! `appeal list | show | answer`: at the machine, as the operator whose password is proven.

use super::case::{line, print};
use super::operator::{Who, as_operator};
use super::{ConfigArgs, say, settle};
use crate::service::appeals::Verdict;
use crate::service::cases::Queue;
use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde_json::json;
use std::process::ExitCode;

/// `vouchsafe appeal …`
#[derive(Debug, Subcommand)]
pub enum AppealCommand {
    /// What waits, oldest first.
    List(List),
    /// One appeal with its words.
    Show(One),
    /// Answer an appeal: the decision stands, or two others look at it anew.
    Answer(Answer),
}

/// A queue.
#[derive(Debug, Args)]
pub struct List {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    who: Who,
    /// `open`, `reconsidering`, `decided` or `all`.
    #[arg(long, default_value = "open")]
    state: String,
}

/// An appeal.
#[derive(Debug, Args)]
pub struct One {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    who: Who,
    /// `apl_…`
    appeal: String,
}

/// The answer.
#[derive(Debug, Args)]
pub struct Answer {
    #[command(flatten)]
    of: One,
    /// `upheld` or `reconsider`.
    #[arg(long)]
    verdict: String,
    /// A reason that the subject is told, such as `decision_stands`.
    #[arg(long)]
    reason: String,
}

pub(crate) async fn run(command: AppealCommand) -> anyhow::Result<ExitCode> {
    match command {
        AppealCommand::List(args) => list(args).await,
        AppealCommand::Show(one) => {
            let (app, caller) = as_operator(&one.config, &one.who, "appeals:read").await?;
            print(one.config.json, &app.show_appeal(&caller, &one.appeal).await?.1)
        }
        AppealCommand::Answer(args) => {
            let (app, caller) = as_operator(&args.of.config, &args.of.who, "cases:review").await?;
            let verdict: Verdict = serde_json::from_value(json!(args.verdict))
                .ok()
                .with_context(|| format!("`{}` is no verdict: choose `upheld` or `reconsider`", args.verdict))?;
            let (_, appeal) = app.answer_appeal(&caller, &args.of.appeal, verdict, &args.reason, None).await?;
            settle(&app).await;
            print(args.of.config.json, &appeal)
        }
    }
}

async fn list(args: List) -> anyhow::Result<ExitCode> {
    let (app, caller) = as_operator(&args.config, &args.who, "appeals:read").await?;
    let state = if args.state == "all" { "" } else { &args.state };
    let mut items = Vec::new();
    let mut after = Some(String::new());
    while let Some(place) = after {
        let queue = Queue { state, subject: "", after: &place, limit: 200 };
        let (page, next) = app.list_appeals(&caller, queue).await?;
        items.extend(page);
        after = next;
    }
    if args.config.json {
        return print(true, &json!({ "items": items }));
    }
    for item in &items {
        say(&line(item, &["id", "state", "subject", "resource", "due_at", "overdue", "outcome"]));
    }
    Ok(ExitCode::SUCCESS)
}
