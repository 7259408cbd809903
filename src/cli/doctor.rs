//! `vouchsafe doctor`: looks the installation over, whether the service runs or not, and changes nothing.

use super::{ConfigArgs, say};
use crate::clock::{Clock as _, SystemClock};
use crate::config::Config;
use crate::crypto::MasterKey;
use crate::finding::{Finding, Level, files};
use crate::service::checkup::{Stored, VendorApi, look_over};
use crate::storage::inspect::inspect;
use clap::Args;
use configuration::Read;
use serde_json::json;
use std::path::Path;
use std::process::ExitCode;

mod configuration;
mod listeners;
mod machine;
mod networks;
mod vendors;

/// `vouchsafe doctor`.
#[derive(Debug, Args, Clone)]
pub struct DoctorArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Do not try to reach vendors.
    #[arg(long)]
    offline: bool,
}

pub(crate) async fn run(args: &DoctorArgs) -> anyhow::Result<ExitCode> {
    let environment: Vec<(String, String)> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.to_string_lossy().into_owned())))
        .collect();
    let Read { mut findings, config, refused } = configuration::read(&args.config, &environment);
    findings.extend(machine::check());
    if let Some(config) = config {
        findings.extend(installation(&config, &refused, args.offline).await);
    }
    let worst = findings.iter().map(|finding| finding.level).max().unwrap_or(Level::Ok);
    say(&if args.config.json { json!({ "result": worst, "checks": findings }).to_string() } else { human(&findings) });
    Ok(if worst == Level::Failure { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Everything that the configuration names. `refused` are keys whose values could not be used.
async fn installation(config: &Config, refused: &[&'static str], offline: bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut master = None;
    if !refused.contains(&"master_key_file") {
        let key;
        (master, key) = master_key(&config.master_key_file);
        findings.extend(key);
    }
    findings.extend(listeners::check(config, refused).await);
    findings.extend(networks::check(&config.geoip, SystemClock.now()));
    let mut inspection = inspect(&config.database, || SystemClock.now_ms()).await;
    findings.append(&mut inspection.findings);
    let mut apis: Vec<VendorApi> = Vec::new();
    if let Some(content) = inspection.content {
        let stored = Stored {
            store: &*content.store,
            master: master.as_ref(),
            log_end: content.log_end,
            waiting: content.waiting,
            now_ms: SystemClock.now_ms(),
            networks: !config.geoip.is_empty(),
        };
        let (found, vendors) = look_over(&stored).await;
        findings.extend(found);
        apis = vendors;
    }
    if !offline {
        findings.extend(vendors::check(apis).await);
    }
    findings
}

/// The master key, as the service would read it at its start.
fn master_key(path: &Path) -> (Option<MasterKey>, Vec<Finding>) {
    match MasterKey::from_file(path) {
        Ok(master) => (Some(master), vec![files::mode("keys.file", path, 0o400), files::folder("keys.folder", path)]),
        Err(error) => {
            let remedy = if path.exists() {
                format!("put back the key that belongs to this database, and `chmod 0400 {}`", path.display())
            } else {
                format!("put the key of this database there; for a new one `vouchsafe keys master {}`", path.display())
            };
            let why = "the service does not start without it";
            (None, vec![Finding::failure("keys.file", error.to_string(), why, remedy)])
        }
    }
}

/// What matters first, then what is well.
fn human(findings: &[Finding]) -> String {
    let of = |level: Level| findings.iter().filter(move |finding| finding.level == level);
    let mut lines = Vec::new();
    for (level, word) in [(Level::Failure, "FAILURE"), (Level::Warning, "WARNING")] {
        for Finding { check, found, why, remedy, .. } in of(level) {
            lines.push(format!("{word}  {check}: {found}\n         because {why}\n         do: {remedy}"));
        }
    }
    lines.extend(of(Level::Ok).map(|finding| format!("ok       {}: {}", finding.check, finding.found)));
    let (failures, warnings) = (of(Level::Failure).count(), of(Level::Warning).count());
    lines.push(format!("{failures} failures, {warnings} warnings, {} well", of(Level::Ok).count()));
    lines.join("\n")
}
