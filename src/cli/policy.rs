//! `vouchsafe policy …`: rules looked at before they act. Needs files only: no configuration, no database.

mod diff;
mod library;
mod test;

use super::say;
use clap::{Args, Subcommand};
use library::{FileFindings, beside};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use vouchsafe_core::check::refused;
use vouchsafe_core::policy::Policy;
use vouchsafe_core::rules::Library;
use vouchsafe_core::words;

pub(crate) use library::{Kind, examined};

/// `vouchsafe policy …`
#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// Say everything that is wrong with policies; exit code 1 when something is refused.
    Check(Files),
    /// Run case files and show where a decision is not the expected one; exit code 1 when a case fails.
    Test(CaseFiles),
    /// Say a policy in plain words.
    Explain(One),
    /// Say what another version changes, whom it lets in besides and whom no longer.
    Diff(Two),
}

/// Where packs and sets are looked for.
#[derive(Debug, Args)]
pub struct Rules {
    /// Folder or file with packs, sets or policies; may be repeated. Usual: the folder of the file, and `definitions`, `sets` and
    /// `policies` beside it. The packs that ship are always there.
    #[arg(long = "rules", value_name = "PATH")]
    rules: Vec<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Files to check.
#[derive(Debug, Args)]
pub struct Files {
    /// The files.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    rules: Rules,
}

/// Cases to run.
#[derive(Debug, Args)]
pub struct CaseFiles {
    /// A folder of cases, or one case.
    dir: PathBuf,
    #[command(flatten)]
    rules: Rules,
}

/// One policy.
#[derive(Debug, Args)]
pub struct One {
    /// The policy.
    file: PathBuf,
    #[command(flatten)]
    rules: Rules,
}

/// Two policies.
#[derive(Debug, Args)]
pub struct Two {
    /// The policy as it is.
    old: PathBuf,
    /// The policy as it would be.
    new: PathBuf,
    #[command(flatten)]
    rules: Rules,
}

pub(crate) fn run(command: PolicyCommand) -> anyhow::Result<ExitCode> {
    match command {
        PolicyCommand::Check(args) => check(&args, &[Kind::Policy]),
        PolicyCommand::Test(args) => test::run(&args.dir, &args.rules.rules, args.rules.json),
        PolicyCommand::Explain(args) => explain(&args),
        PolicyCommand::Diff(args) => diff::run(&args),
    }
}

/// Checks files that must be of one of these kinds, and prints what is wrong with each.
pub(crate) fn check(args: &Files, kinds: &[Kind]) -> anyhow::Result<ExitCode> {
    let mut all = Vec::new();
    for file in &args.files {
        let library = beside(file, &args.rules.rules)?;
        all.push(examined(file, &library, kinds)?);
    }
    let bad = all.iter().any(|of_file| refused(&of_file.findings));
    if args.rules.json {
        say(&json!(all).to_string());
    } else {
        all.iter().for_each(|of_file| say(&of_file.shown()));
    }
    Ok(if bad { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// A policy that passes its check, with the library it was checked against; otherwise what is wrong with it.
fn sound(file: &Path, rules: &[PathBuf]) -> anyhow::Result<Result<(Policy, Library), FileFindings>> {
    let library = beside(file, rules)?;
    let (policy, findings) = library::policy(file, &library)?;
    Ok(match policy {
        Some(policy) => Ok((policy, library)),
        None => Err(FileFindings::new(file, findings)),
    })
}

fn explain(args: &One) -> anyhow::Result<ExitCode> {
    match sound(&args.file, &args.rules.rules)? {
        Ok((policy, library)) => {
            let text = words::policy(&policy, &library);
            say(&if args.rules.json { json!({ "policy": policy.id, "text": text }).to_string() } else { text });
            Ok(ExitCode::SUCCESS)
        }
        Err(findings) => {
            say(&if args.rules.json { json!([findings]).to_string() } else { findings.shown() });
            Ok(ExitCode::FAILURE)
        }
    }
}
