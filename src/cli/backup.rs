//! `vouchsafe backup`, `restore` and `anchor`: copies of the database, and what is known of it outside.

use super::{ConfigArgs, load, say};
use crate::clock::{Clock as _, SystemClock};
use crate::config::Config;
use crate::crypto::MasterKey;
use crate::service::anchor::{Anchor, AnchorError, AnchorFile, Before, Mark, Regress};
use crate::service::backup::{self, Manifest, partial_path};
use crate::storage::{self, Store};
use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use vouchsafe_core::Second;

/// `vouchsafe backup FILE`, `vouchsafe restore FILE`.
#[derive(Debug, Args)]
pub struct BackupArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// The backup; `FILE.manifest.json` belongs to it.
    file: PathBuf,
}

/// `vouchsafe anchor …`
#[derive(Debug, Subcommand)]
pub enum AnchorCommand {
    /// Say what the anchor knows and whether the database is as far; exit code 1 when it is not.
    Show(ConfigArgs),
    /// Take the database as it is, with what it lost; every token issued so far ends.
    Accept(AcceptArgs),
}

/// Who accepts, and why.
#[derive(Debug, Args)]
pub struct AcceptArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// The person who decides; goes into the audit log.
    #[arg(long)]
    by: String,
    /// Why; goes into the audit log.
    #[arg(long)]
    reason: String,
}

/// What the anchor, if there is one that can be read here, holds against the audit log.
pub(crate) async fn against_anchor(config: &Config, store: &dyn Store) -> anyhow::Result<Option<String>> {
    // An auditor may have no key; then the log is judged by itself alone.
    let Ok(master) = MasterKey::from_file(&config.master_key_file) else { return Ok(None) };
    let Some(file) = anchor_file(config, &master) else { return Ok(None) };
    Ok(file.verdict(store).await?.and_then(|(_, verdict)| verdict.err()).map(|regress| regress.to_string()))
}

fn anchor_file(config: &Config, master: &MasterKey) -> Option<AnchorFile> {
    config.anchor_file.as_deref().map(|path| AnchorFile::new(path, master.authenticator()))
}

/// Opens and migrates the database, if it is the one the anchor knows; nothing is made or changed before that is clear.
pub(crate) async fn open_anchored(
    config: &Config,
    master: &MasterKey,
) -> anyhow::Result<(Arc<dyn Store>, Option<Arc<Anchor>>)> {
    let file = anchor_file(config, master);
    let before: Option<Before> = match &file {
        Some(file) => Some(file.before(&config.database).await.context("opening the database")?),
        None => {
            tracing::warn!("`anchor_file` is `off`: a database put back to an earlier state will not be noticed");
            None
        }
    };
    let store = storage::open(&config.database).await.context("opening the database")?;
    store.migrate().await.context("migrating the database")?;
    let anchor = match (file, before) {
        (Some(file), Some(before)) => Some(file.hold(before, &*store, SystemClock.now_ms()).await?),
        _ => None,
    };
    Ok((store, anchor))
}

pub(crate) async fn back_up(args: BackupArgs) -> anyhow::Result<ExitCode> {
    let config = load(&args.config)?;
    let master = MasterKey::from_file(&config.master_key_file)?;
    let progress = std::io::stderr().is_terminal().then(|| tokio::spawn(show_growth(partial_path(&args.file))));
    let made = backup::back_up(&config.database, &args.file, &master.authenticator(), SystemClock.now()).await;
    if let Some(progress) = progress {
        progress.abort();
        let _ = writeln!(std::io::stderr());
    }
    let manifest = made.context("no backup was made")?;
    say(&if args.config.json {
        manifest_json(&args, &manifest).to_string()
    } else {
        format!(
            "`{}`: {} bytes, SHA-256 {}, {} audit records, checked; the master key is not in it",
            args.file.display(),
            manifest.bytes,
            manifest.sha256,
            manifest.position
        )
    });
    Ok(ExitCode::SUCCESS)
}

fn manifest_json(args: &BackupArgs, manifest: &Manifest) -> Value {
    let mut value = json!(manifest);
    if let Some(members) = value.as_object_mut() {
        members.remove("mac");
        members.insert("file".to_owned(), json!(args.file.display().to_string()));
    }
    value
}

/// Says on the terminal how far the copy is.
async fn show_growth(partial: PathBuf) {
    loop {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let bytes = std::fs::metadata(&partial).map_or(0, |metadata| metadata.len());
        let _ = write!(std::io::stderr(), "\r{} MiB copied", bytes / (1 << 20));
    }
}

pub(crate) async fn restore(args: BackupArgs) -> anyhow::Result<ExitCode> {
    let config = load(&args.config)?;
    let master = MasterKey::from_file(&config.master_key_file)?;
    let anchor = anchor_file(&config, &master);
    let restored = backup::restore(&config.database, &args.file, &master.authenticator(), anchor.as_ref()).await;
    let manifest = restored.context("nothing was restored")?;
    let store = storage::open(&config.database).await?;
    let verdict = match &anchor {
        Some(anchor) => anchor.verdict(&*store).await?,
        None => None,
    };
    let (known, mut report) = verdict_report(verdict);
    if args.config.json {
        if let Some(members) = report.as_object_mut() {
            members.insert("restored".to_owned(), manifest_json(&args, &manifest));
        }
        say(&report.to_string());
    } else {
        say(&format!(
            "restored the state of {} ({} audit records) from `{}`; {known}",
            manifest.created_at,
            manifest.position,
            args.file.display()
        ));
    }
    Ok(ExitCode::SUCCESS)
}

/// What the anchor says of the database, for people and as JSON.
fn verdict_report(verdict: Option<(Mark, Result<(), Regress>)>) -> (String, Value) {
    match verdict {
        None => ("there is no anchor to compare it with".to_owned(), json!({ "anchor": null })),
        Some((mark, verdict)) => {
            let anchored = json!({ "deployment": mark.deployment, "position": mark.position, "hash": mark.hash,
                "at": Second::from_millis(mark.at_ms) });
            let missing = match &verdict {
                Ok(()) => json!(0),
                Err(Regress::Behind { missing, .. }) => json!(missing),
                Err(_) => Value::Null,
            };
            let (holds, text) = match verdict {
                Ok(()) => (true, format!("nothing is missing up to record {}, where the anchor is", mark.position)),
                Err(regress) => (false, regress.to_string()),
            };
            let report = json!({ "anchor": anchored, "holds": holds, "missing": missing, "verdict": text });
            (text, report)
        }
    }
}

pub(crate) async fn anchor(command: AnchorCommand) -> anyhow::Result<ExitCode> {
    match command {
        AnchorCommand::Show(args) => show(&args).await,
        AnchorCommand::Accept(args) => accept(&args).await,
    }
}

/// The store of a database that is there, and its anchor file; nothing is migrated.
async fn existing(args: &ConfigArgs) -> anyhow::Result<(Arc<dyn Store>, AnchorFile)> {
    let config = load(args)?;
    let master = MasterKey::from_file(&config.master_key_file)?;
    let file = anchor_file(&config, &master).context("configuration key `anchor_file` is `off`")?;
    // Opening would make the file that is missing.
    match file.before(&config.database).await {
        Err(error @ (AnchorError::Empty { .. } | AnchorError::Store(_) | AnchorError::File { .. })) => {
            return Err(error.into());
        }
        Ok(Before::Fresh) => anyhow::bail!("there is neither an anchor nor a database with a history"),
        _ => {}
    }
    Ok((storage::open(&config.database).await?, file))
}

async fn show(args: &ConfigArgs) -> anyhow::Result<ExitCode> {
    let (store, file) = existing(args).await?;
    let (text, report) = verdict_report(file.verdict(&*store).await?);
    say(&if args.json { report.to_string() } else { text });
    Ok(if report.get("holds") == Some(&Value::Bool(true)) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn accept(args: &AcceptArgs) -> anyhow::Result<ExitCode> {
    let (store, file) = existing(&args.config).await?;
    let accepted = file.accept(&*store, SystemClock.now_ms(), &args.by, &args.reason).await?;
    let Some((mark, regress)) = accepted else {
        let text = "the database is as far as the anchor: there is nothing to accept";
        say(&if args.config.json { json!({ "accepted": false }).to_string() } else { text.to_owned() });
        return Ok(ExitCode::SUCCESS);
    };
    let what = regress.map_or_else(|| "there was no anchor".to_owned(), |regress| regress.to_string());
    say(&if args.config.json {
        json!({ "accepted": true, "position": mark.position, "hash": mark.hash, "was": what }).to_string()
    } else {
        format!(
            "accepted and noted as audit record {}: {what}; tokens issued before now are refused, people obtain new ones",
            mark.position
        )
    });
    Ok(ExitCode::SUCCESS)
}
