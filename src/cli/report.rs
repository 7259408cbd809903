//! `vouchsafe report`: what gateways know, and whom they let in that should not have been.

use super::{ConfigArgs, load, open, say};
use crate::service::admissions::Asked;
use crate::service::reports::{Exposed, GatewaysReport, Knowledge};
use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde_json::json;
use std::process::ExitCode;
use vouchsafe_core::Second;
use vouchsafe_core::ids::{ResourcePattern, SubjectId};

/// Rows of the ledger looked at at once.
const PAGE: i64 = 200;

/// `vouchsafe report …`
#[derive(Debug, Subcommand)]
pub enum ReportCommand {
    /// Who acknowledged each freeze in force, whose time has passed, who is silent, what nobody guards; exit code 1 when a
    /// time has passed.
    Gateways(ConfigArgs),
    /// Admissions that today's evidence would not have allowed.
    Exposure(ExposureArgs),
}

/// Which admissions.
#[derive(Debug, Args)]
pub struct ExposureArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// A resource, or a family such as `restricted.*`.
    #[arg(long)]
    resource: String,
    /// Those going on at or after this instant, RFC 3339.
    #[arg(long)]
    from: String,
    /// Those begun before this instant, RFC 3339.
    #[arg(long)]
    to: String,
    /// Of one subject.
    #[arg(long)]
    subject: Option<String>,
}

pub(crate) async fn run(command: ReportCommand) -> anyhow::Result<ExitCode> {
    match command {
        ReportCommand::Gateways(args) => gateways(&args).await,
        ReportCommand::Exposure(args) => exposure(args).await,
    }
}

async fn gateways(args: &ConfigArgs) -> anyhow::Result<ExitCode> {
    let report = open(&load(args)?).await?.report_gateways().await?;
    if args.json {
        say(&json!(report).to_string());
    } else {
        tell(&report);
    }
    let overdue = report.freezes.iter().flat_map(|freeze| &freeze.gateways).any(|g| g.state == Knowledge::Overdue);
    Ok(if overdue { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn tell(report: &GatewaysReport) {
    let name = |id: &str| {
        let found = report.gateways.iter().find(|gateway| gateway.id == id);
        found.map_or_else(|| id.to_owned(), |gateway| format!("{} ({id})", gateway.name))
    };
    for freeze in &report.freezes {
        say(&format!("freeze of `{}` by `{}` since {}", freeze.resource, freeze.directive, freeze.since));
        for knows in &freeze.gateways {
            let gateway = name(&knows.gateway);
            say(&match knows.state {
                Knowledge::Acknowledged => {
                    let known = knows.known_at.map(|at| format!(" at {at}")).unwrap_or_default();
                    format!("  {gateway}: knows of it{known}")
                }
                Knowledge::Bound => format!("  {gateway}: has not asked since, and is refused when it does"),
                Knowledge::Pending => format!("  {gateway}: has until {} to tell that it knows", knows.due_at),
                Knowledge::Overdue => format!("  {gateway}: OVERDUE, should know since {}", knows.due_at),
            });
        }
    }
    if report.freezes.is_empty() {
        say("no freeze is in force");
    }
    for gateway in report.gateways.iter().filter(|gateway| gateway.silent) {
        let gateway_name = name(&gateway.id);
        say(&match gateway.last_contact {
            Some(last) => format!("silent since {last}: {gateway_name}"),
            None => format!("never heard of: {gateway_name}"),
        });
    }
    for resource in &report.unguarded {
        let partly = match resource.in_part_by.as_slice() {
            [] => String::new(),
            some => {
                format!("; something of it by {}", some.iter().map(|id| name(id)).collect::<Vec<_>>().join(", "))
            }
        };
        say(&format!("guarded by nobody: `{}`{partly}", resource.resource));
    }
}

async fn exposure(args: ExposureArgs) -> anyhow::Result<ExitCode> {
    let asked = Asked {
        resource: Some(ResourcePattern::parse(&args.resource).context("`--resource`")?),
        subject: args.subject.as_deref().map(SubjectId::parse).transpose().context("`--subject`")?,
        gateway: None,
        from: Some(Second::parse(&args.from).context("`--from`")?),
        to: Some(Second::parse(&args.to).context("`--to`")?),
    };
    let app = open(&load(&args.config)?).await?;
    let (mut found, mut looked_at, mut admitted, mut cursor) = (0, 0, 0_i64, String::new());
    loop {
        let page = app.report_exposure(&asked, &cursor, PAGE).await?;
        looked_at += page.looked_at;
        for item in &page.items {
            found += 1;
            admitted = admitted.saturating_add(item.admission.count);
            say(&if args.config.json { json!(item).to_string() } else { line(item) });
        }
        match page.next_cursor {
            Some(next) => cursor = next,
            None => break,
        }
    }
    if !args.config.json {
        say(&format!("{found} of {looked_at} rows, at most {admitted} admissions, would not be given again"));
    }
    Ok(ExitCode::SUCCESS)
}

fn line(item: &Exposed) -> String {
    let (row, now) = (&item.admission, &item.now);
    let acting_for = row.acting_for.as_ref().map(|id| format!(" for {id}")).unwrap_or_default();
    format!(
        "{}{acting_for} to `{}` by {}: {} from {} to {} under {}; now {} at {}: {}",
        row.subject,
        row.resource,
        row.gateway,
        row.count,
        row.first_at,
        row.last_at,
        row.decision,
        now.status.as_str(),
        now.at,
        now.reasons.join(", ")
    )
}
