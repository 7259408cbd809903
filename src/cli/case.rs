//! `case list | show | evidence | assign | comment | propose | confirm | reject`: at the machine, as the operator whose
//! password is proven.

use super::create::report;
use super::operator::{Who, as_operator};
use super::{ConfigArgs, say, settle};
use crate::service::cases::{Finding, NewProposal, Queue};
use crate::service::operators::operator_id;
use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::ExitCode;

/// `vouchsafe case …`
#[derive(Debug, Subcommand)]
pub enum CaseCommand {
    /// What waits, oldest first.
    List(List),
    /// One case with what was said in it.
    Show(One),
    /// What a case rests on, piece by piece; no identifiers.
    Evidence(One),
    /// Say who looks at a case; without `--to`, that nobody does.
    Assign(Assign),
    /// Say something in a case.
    Comment(Comment),
    /// Propose how a case ends; a second operator confirms or rejects it.
    Propose(Propose),
    /// Confirm another operator's proposal: the case is closed.
    Confirm(Confirm),
    /// Reject a proposal, or take one's own back.
    Reject(Reject),
}

/// A queue.
#[derive(Debug, Args)]
pub struct List {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    who: Who,
    /// `open`, `closed` or `all`.
    #[arg(long, default_value = "open")]
    state: String,
    /// Only those about this subject.
    #[arg(long, default_value = "")]
    subject: String,
}

/// A case.
#[derive(Debug, Args)]
pub struct One {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    who: Who,
    /// `cas_…`
    case: String,
}

/// Who looks at it.
#[derive(Debug, Args)]
pub struct Assign {
    #[command(flatten)]
    of: One,
    /// The operator's name.
    #[arg(long)]
    to: Option<String>,
}

/// Words.
#[derive(Debug, Args)]
pub struct Comment {
    #[command(flatten)]
    of: One,
    /// What there is to say.
    #[arg(long)]
    text: String,
}

/// How it should end.
#[derive(Debug, Args)]
pub struct Propose {
    #[command(flatten)]
    of: One,
    /// Stable reason code.
    #[arg(long)]
    reason: String,
    /// The reason in words.
    #[arg(long)]
    text: Option<String>,
    /// An attestation that is settled; may be repeated.
    #[arg(long = "resolve")]
    resolves: Vec<String>,
    /// JSON file with what was found out: `{"statement": {…}, "grade": "STRONG"}`.
    #[arg(long)]
    finding_file: Option<PathBuf>,
}

/// Agreement.
#[derive(Debug, Args)]
pub struct Confirm {
    #[command(flatten)]
    of: One,
    /// `ent_…`
    #[arg(long)]
    proposal: String,
    /// Why, in words.
    #[arg(long)]
    text: Option<String>,
}

/// Disagreement.
#[derive(Debug, Args)]
pub struct Reject {
    #[command(flatten)]
    of: One,
    /// `ent_…`
    #[arg(long)]
    proposal: String,
    /// Stable reason code.
    #[arg(long)]
    reason: String,
    /// Why, in words.
    #[arg(long)]
    text: Option<String>,
}

/// One line of a list: the texts of some members.
pub(crate) fn line(item: &Value, members: &[&str]) -> String {
    let texts = members.iter().map(|member| match item.get(member) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(","),
        Some(Value::Bool(true)) => (*member).to_owned(),
        _ => "-".to_owned(),
    });
    texts.collect::<Vec<_>>().join("  ")
}

/// Prints JSON, indented for people.
pub(crate) fn print(json: bool, value: &Value) -> anyhow::Result<ExitCode> {
    say(&if json { value.to_string() } else { serde_json::to_string_pretty(value)? });
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn run(command: CaseCommand) -> anyhow::Result<ExitCode> {
    match command {
        CaseCommand::List(args) => list(args).await,
        CaseCommand::Show(one) => {
            let (app, caller) = as_operator(&one.config, &one.who, "cases:read").await?;
            print(one.config.json, &app.show_case(&caller, &one.case).await?.1)
        }
        CaseCommand::Evidence(one) => {
            let (app, caller) = as_operator(&one.config, &one.who, "cases:read").await?;
            print(one.config.json, &app.case_evidence(&caller, &one.case).await?)
        }
        CaseCommand::Assign(args) => {
            let (app, caller) = as_operator(&args.of.config, &args.of.who, "cases:review").await?;
            let to = args.to.as_deref().map(operator_id);
            app.assign_case(&caller, &args.of.case, to.as_deref(), None).await?;
            settle(&app).await;
            Ok(report(args.of.config.json, &json!({ "case": args.of.case, "assignee": to })))
        }
        CaseCommand::Comment(args) => {
            let (app, caller) = as_operator(&args.of.config, &args.of.who, "cases:review").await?;
            let entry = app.comment_case(&caller, &args.of.case, &args.text, None).await?;
            settle(&app).await;
            Ok(report(args.of.config.json, &json!({ "case": args.of.case, "entry": entry })))
        }
        CaseCommand::Propose(args) => propose(args).await,
        CaseCommand::Confirm(args) => {
            let (app, caller) = as_operator(&args.of.config, &args.of.who, "cases:review").await?;
            app.confirm_proposal(&caller, &args.of.case, &args.proposal, args.text.as_deref(), None).await?;
            settle(&app).await;
            Ok(report(args.of.config.json, &json!({ "case": args.of.case, "state": "closed" })))
        }
        CaseCommand::Reject(args) => {
            let (app, caller) = as_operator(&args.of.config, &args.of.who, "cases:review").await?;
            let words = args.text.as_deref();
            app.reject_proposal(&caller, &args.of.case, &args.proposal, &args.reason, words, None).await?;
            settle(&app).await;
            Ok(report(args.of.config.json, &json!({ "case": args.of.case, "state": "open" })))
        }
    }
}

async fn list(args: List) -> anyhow::Result<ExitCode> {
    let (app, caller) = as_operator(&args.config, &args.who, "cases:read").await?;
    let state = if args.state == "all" { "" } else { &args.state };
    let mut items = Vec::new();
    let mut after = Some(String::new());
    while let Some(place) = after {
        let queue = Queue { state, subject: &args.subject, after: &place, limit: 200 };
        let (page, next) = app.list_cases(&caller, queue).await?;
        items.extend(page);
        after = next;
    }
    if args.config.json {
        return print(true, &json!({ "items": items }));
    }
    for item in &items {
        say(&line(item, &["id", "state", "subject", "question", "causes", "assignee", "opened_at"]));
    }
    Ok(ExitCode::SUCCESS)
}

async fn propose(args: Propose) -> anyhow::Result<ExitCode> {
    let (app, caller) = as_operator(&args.of.config, &args.of.who, "cases:review").await?;
    let finding: Option<Finding> = match &args.finding_file {
        Some(file) => {
            let text = std::fs::read_to_string(file).with_context(|| format!("reading `{}`", file.display()))?;
            Some(serde_json::from_str(&text).with_context(|| format!("`{}`", file.display()))?)
        }
        None => None,
    };
    let new =
        NewProposal { reason: args.reason, words: args.text, resolves: args.resolves.into_iter().collect(), finding };
    let proposal = app.propose_in_case(&caller, &args.of.case, new, None).await?;
    settle(&app).await;
    Ok(report(args.of.config.json, &json!({ "case": args.of.case, "proposal": proposal })))
}
