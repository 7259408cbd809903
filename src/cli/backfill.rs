//! `vouchsafe source backfill`: the results a vendor held before it sent us notices.

use super::import::progress::Progress;
use super::{ConfigArgs, load, open, say};
use crate::intake::IntakeError;
use crate::intake::native::Target;
use crate::service::ingest::Delivery;
use crate::service::{Actor, App, ServiceError};
use anyhow::Context as _;
use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use vouchsafe_core::Second;

/// Results asked for at once.
const AT_ONCE: usize = 8;
/// How often a question is asked while the vendor fails or asks us to wait.
const TRIES: u32 = 6;
/// Longest wait that a vendor can ask for.
const LONGEST: Duration = Duration::from_secs(300);
/// Kind of the record that holds the place.
const RECORD: &str = "backfill";

/// Past results of a native vendor.
#[derive(Debug, Args)]
pub struct Backfill {
    #[command(flatten)]
    config: ConfigArgs,
    /// The source, `src_…`.
    source: String,
    /// Only what was begun on this day or later, `YYYY-MM-DD`.
    #[arg(long)]
    since: Option<String>,
}

/// How far a listing came; gone when it came to its end.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Place {
    since: Option<Second>,
    /// Where the next page begins.
    next: Option<String>,
}

pub(crate) async fn run(args: Backfill) -> anyhow::Result<ExitCode> {
    let app = open(&load(&args.config)?).await?;
    let since = args.since.as_deref().map(Second::start_of_date).transpose();
    let since = since.context("`--since` must be a day as YYYY-MM-DD")?;
    let source = args.source.as_str();
    let (mut version, kept): (i64, Option<Place>) = app.stands(RECORD, source).await?;
    // Another day to begin at is another listing.
    let mut place = kept.filter(|kept| kept.since == since).and_then(|kept| kept.next);
    let actor = Actor::command_line();
    let resumed = place.is_some();
    app.note(&actor, "backfill.begun", source, &json!({ "since": since, "resumed": resumed })).await?;
    let mut counts: BTreeMap<&'static str, u64> = BTreeMap::new();
    let mut progress = Progress::new(None);
    loop {
        let page =
            asked(|| app.past_results(source, since, place.as_deref())).await.map_err(|error| explain(&error))?;
        for (name, problem) in settle(&app, source, page.targets).await? {
            *counts.entry(name).or_default() += 1;
            if let Some(problem) = problem {
                progress.say(&problem);
            }
        }
        let seen: u64 = counts.values().sum();
        progress.reached(seen, || format!("{seen} results"));
        place = page.next;
        // Kept after the page is settled: a process that ends in between asks for the page again.
        let stands = Place { since, next: place.clone() };
        if let Some(next) = app.keep(RECORD, source, version, &stands).await? {
            version = next;
        }
        if place.is_none() {
            break;
        }
    }
    progress.finish();
    let mut report = json!({ "source": source, "since": since, "resumed": resumed });
    if let Some(members) = report.as_object_mut() {
        members.extend(counts.iter().map(|(name, count)| ((*name).to_owned(), json!(count))));
    }
    app.note(&actor, "backfill.ended", source, &report).await?;
    super::settle(&app).await;
    say(&if args.config.json { report.to_string() } else { human(&counts) });
    Ok(if counts.contains_key("failed") { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Fetches and records a page: what became of each result, and a line for people where something failed.
async fn settle(
    app: &Arc<App>,
    source: &str,
    targets: Vec<Target>,
) -> anyhow::Result<Vec<(&'static str, Option<String>)>> {
    let mut settled = Vec::new();
    let mut targets = targets.into_iter();
    let mut under_way = JoinSet::new();
    loop {
        while under_way.len() < AT_ONCE
            && let Some(target) = targets.next()
        {
            let (app, source) = (Arc::clone(app), source.to_owned());
            under_way.spawn(async move {
                let answer = asked(|| app.backfill(&source, &target)).await;
                (target, answer)
            });
        }
        let Some(done) = under_way.join_next().await else { return Ok(settled) };
        match done? {
            (_, Ok(deliveries)) => settled.extend(deliveries.iter().map(|delivery| (name(delivery), None))),
            (target, Err(ServiceError::Intake(IntakeError::Upstream(_) | IntakeError::TooLarge))) => {
                settled.push(("failed", Some(format!("`{}` could not be fetched", target.id()))));
            }
            (target, Err(ServiceError::Invalid { pointer, .. })) => {
                settled.push(("failed", Some(format!("`{}` cannot be used: `{pointer}`", target.id()))));
            }
            (_, Err(error)) => return Err(explain(&error)),
        }
    }
}

fn name(delivery: &Delivery) -> &'static str {
    match delivery {
        Delivery::Recorded(_) => "recorded",
        Delivery::Duplicate(_) => "duplicate",
        Delivery::Quarantined => "quarantined",
        Delivery::Overtaken => "overtaken",
        Delivery::Reopened | Delivery::Ignored => "ignored",
    }
}

/// Asks again while the vendor fails in passing or asks us to wait, as long as it says.
async fn asked<T, F>(work: impl Fn() -> F) -> Result<T, ServiceError>
where
    F: Future<Output = Result<T, ServiceError>>,
{
    let mut pause = Duration::from_millis(500);
    for _ in 1..TRIES {
        let wait = match work().await {
            Err(ServiceError::Intake(IntakeError::SlowDown { after_secs: Some(secs) })) => {
                Duration::from_secs(secs.into()).min(LONGEST)
            }
            Err(ServiceError::Intake(IntakeError::SlowDown { after_secs: None } | IntakeError::Upstream(_))) => pause,
            answer => return answer,
        };
        pause *= 2;
        tokio::time::sleep(wait).await;
    }
    work().await
}

fn explain(error: &ServiceError) -> anyhow::Error {
    match error {
        ServiceError::NotFound(_) => {
            anyhow::anyhow!(
                "no such source, or it is no native vendor: only a vendor with an API of its own lists past results"
            )
        }
        ServiceError::Intake(IntakeError::Unsupported(what)) => {
            anyhow::anyhow!("this vendor does not allow it: {what}")
        }
        error => anyhow::anyhow!("{error}; run it again to go on from the last page"),
    }
}

fn human(counts: &BTreeMap<&'static str, u64>) -> String {
    if counts.is_empty() {
        return "the vendor lists no results".to_owned();
    }
    counts.iter().map(|(name, count)| format!("{count} {name}")).collect::<Vec<_>>().join(", ")
}
