//! The command line.

pub mod appeal;
pub mod backfill;
pub mod backup;
pub mod case;
pub mod create;
pub mod decide;
pub mod definitions;
pub mod demo;
pub mod directory;
pub mod doctor;
pub mod identity_provider;
pub mod import;
pub mod keys;
pub mod operator;
pub mod policy;
pub mod ready;
pub mod report;
pub mod serve;
pub mod signal_receiver;
pub mod simulate;
pub mod verify;
pub mod webhook;

use crate::clock::SystemClock;
use crate::config::{Config, LogFormat, Otlp, RawConfig};
use crate::crypto::MasterKey;
use crate::intake::geoip::GeoIp;
use crate::service::App;
use crate::service::deployment::Deployment;
use crate::storage::{self, audit::Chain};
use crate::telemetry::{self, Traces};
use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use serde_json::{Value, json};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

/// Evidence in, eligibility out, a signed token at the gate.
#[derive(Debug, Parser)]
#[command(name = "vouchsafe", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// Where the configuration comes from: defaults, then this file, then `VOUCHSAFE_*`, then flags.
#[derive(Debug, Args, Clone)]
pub struct ConfigArgs {
    /// Configuration file (TOML).
    #[arg(long, env = "VOUCHSAFE_CONFIG")]
    config: Option<PathBuf>,
    /// `sqlite:PATH` or `postgres://…`.
    #[arg(long)]
    database: Option<String>,
    /// Address of the public listener.
    #[arg(long)]
    listen: Option<String>,
    /// Address of the admin listener.
    #[arg(long)]
    admin_listen: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the service.
    Serve(ConfigArgs),
    /// A running service with hard cases, for the first five minutes; nothing is kept.
    Demo(demo::DemoArgs),
    /// A past decision once more, byte for byte: a recorded one, a receipt's, or from files.
    Decide(decide::DecideArgs),
    /// A token, judged with nothing but its issuer's keys: exit code 0 or 1.
    Verify(verify::VerifyArgs),
    /// Ask the running service whether it is fit to answer; exit code 1 when it is not.
    Ready(ConfigArgs),
    /// Look the installation over and say what to do; changes nothing. Exit code 1 when something fails.
    Doctor(doctor::DoctorArgs),
    /// Bring the database to this version.
    Migrate(ConfigArgs),
    /// Copy the database into a new file, while the service runs; the master key is not in it.
    Backup(backup::BackupArgs),
    /// Put a backup where there is no database.
    Restore(backup::BackupArgs),
    /// How far the database went, known outside it.
    #[command(subcommand)]
    Anchor(backup::AnchorCommand),
    /// API clients.
    #[command(subcommand)]
    Client(create::ClientCommand),
    /// Sources of evidence.
    #[command(subcommand)]
    Source(create::SourceCommand),
    /// Gateways.
    #[command(subcommand)]
    Gateway(create::GatewayCommand),
    /// Audiences of eligibility tokens.
    #[command(subcommand)]
    Audience(create::AudienceCommand),
    /// Identity providers: who people are there, and what is told about them.
    #[command(subcommand)]
    IdentityProvider(identity_provider::IdentityProviderCommand),
    /// Directories of organisations, which say by SCIM who belongs to them.
    #[command(subcommand)]
    Directory(directory::DirectoryCommand),
    /// Tokens by which directories provision.
    #[command(subcommand)]
    ScimToken(directory::ScimTokenCommand),
    /// The people who review, direct, audit and administer.
    #[command(subcommand)]
    Operator(operator::OperatorCommand),
    /// Who is told what happens, by HTTP.
    #[command(subcommand)]
    Webhook(webhook::WebhookCommand),
    /// Who is told by security event tokens (Shared Signals).
    #[command(subcommand)]
    SignalReceiver(signal_receiver::SignalReceiverCommand),
    /// What a person has to look at, and how it ends.
    #[command(subcommand)]
    Case(case::CaseCommand),
    /// What the subjects' side asks to be looked at again.
    #[command(subcommand)]
    Appeal(appeal::AppealCommand),
    /// Existing accounts and past results, from a file.
    #[command(subcommand)]
    Import(import::ImportCommand),
    /// Policies in files: check, test, explain, compare.
    #[command(subcommand)]
    Policy(policy::PolicyCommand),
    /// Definition packs and sets in files.
    #[command(subcommand)]
    Definitions(definitions::DefinitionsCommand),
    /// What gateways did and know.
    #[command(subcommand)]
    Report(report::ReportCommand),
    /// The audit log.
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Keys.
    #[command(subcommand)]
    Keys(keys::KeysCommand),
}

#[derive(Debug, Subcommand)]
enum AuditCommand {
    /// Check every link of the log, and that it holds what the anchor saw; exit code 1 when it does not.
    Verify(ConfigArgs),
}

/// Prints one line to standard output; a closed pipe is no error.
pub(crate) fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Runs the command line.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(run(cli.command)) {
        Ok(code) => code,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Serve(args) => serve::run(&args).await,
        Command::Demo(args) => demo::run(args).await,
        Command::Decide(args) => decide::run(args).await,
        Command::Verify(args) => verify::run(args).await,
        Command::Ready(args) => ready::run(&args).await,
        Command::Doctor(args) => doctor::run(&args).await,
        Command::Migrate(args) => {
            let config = load(&args)?;
            backup::open_anchored(&config, &MasterKey::from_file(&config.master_key_file)?).await?;
            say(&if args.json {
                json!({ "migrated": true }).to_string()
            } else {
                "the database is up to date".to_owned()
            });
            Ok(ExitCode::SUCCESS)
        }
        Command::Backup(args) => backup::back_up(args).await,
        Command::Restore(args) => backup::restore(args).await,
        Command::Anchor(command) => backup::anchor(command).await,
        Command::Client(command) => create::client(command).await,
        Command::Source(command) => create::source(command).await,
        Command::Gateway(command) => create::gateway(command).await,
        Command::Audience(command) => create::audience(command).await,
        Command::IdentityProvider(command) => identity_provider::run(command).await,
        Command::Directory(command) => directory::directory(command).await,
        Command::ScimToken(command) => directory::scim_token(command).await,
        Command::Operator(command) => operator::run(command).await,
        Command::Webhook(command) => webhook::run(command).await,
        Command::SignalReceiver(command) => signal_receiver::run(command).await,
        Command::Case(command) => case::run(command).await,
        Command::Appeal(command) => appeal::run(command).await,
        Command::Import(command) => import::run(command).await,
        Command::Policy(command) => policy::run(command),
        Command::Definitions(command) => definitions::run(command),
        Command::Audit(AuditCommand::Verify(args)) => verify_audit(&args).await,
        Command::Report(command) => report::run(command).await,
        Command::Keys(command) => keys::run(command).await,
    }
}

/// What file, environment and flags say, unchecked.
pub(crate) fn read(args: &ConfigArgs) -> anyhow::Result<RawConfig> {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
    let raw = RawConfig::load(args.config.as_deref())?.overlay(|name| std::env::var(name).ok())?;
    Ok(flagged(raw, args))
}

/// The configuration from file, environment and flags.
pub(crate) fn load(args: &ConfigArgs) -> anyhow::Result<Config> {
    Ok(Config::check(read(args)?)?)
}

/// Lays the flags over it.
fn flagged(mut raw: RawConfig, args: &ConfigArgs) -> RawConfig {
    for (slot, flag) in [
        (&mut raw.database, &args.database),
        (&mut raw.listen, &args.listen),
        (&mut raw.admin_listen, &args.admin_listen),
    ] {
        if let Some(value) = flag {
            *slot = Some(value.clone());
        }
    }
    raw
}

/// Opens the service as configured, its database migrated.
pub(crate) async fn open(config: &Config) -> anyhow::Result<Arc<App>> {
    let master = MasterKey::from_file(&config.master_key_file)?;
    let (store, anchor) = backup::open_anchored(config, &master).await?;
    let geoip = if config.geoip.is_empty() {
        GeoIp::empty()
    } else {
        GeoIp::open(&config.geoip).context("configuration key `geoip`")?
    };
    let deployment = if config.test_deployment { Deployment::Test } else { Deployment::Production };
    let app = App::open_as(deployment, store, Arc::new(SystemClock), master, config.public_origin.clone(), geoip).await;
    let app = app.context("opening the service")?;
    app.retention_secs.store(config.retention.secs(), std::sync::atomic::Ordering::Relaxed);
    let rotation = config.key_rotation.map_or(0, vouchsafe_core::policy::Span::secs);
    app.key_rotation_secs.store(rotation, std::sync::atomic::Ordering::Relaxed);
    app.appeal_secs.store(config.appeal_within.secs(), std::sync::atomic::Ordering::Relaxed);
    app.configure_webhooks(config.webhook_overlap.secs(), &config.webhook_ports)?;
    app.notices.store(Arc::new(config.expiry_notices.clone()));
    app.subject_search.store(config.authzen_subject_search, std::sync::atomic::Ordering::Relaxed);
    if let Some(anchor) = anchor {
        app.hold_to(anchor);
    }
    Ok(app)
}

/// Links and anchors what a command did: no service may be running that would. What is done stays done.
pub(crate) async fn settle(app: &App) {
    if let Err(error) = app.link_and_anchor().await {
        let _ = writeln!(std::io::stderr(), "warning: done, and not yet in the audit log or the anchor: {error}");
    }
}

/// Starts logging at the configured format; the filter is `RUST_LOG`, else `info`. Traces go where `otlp` says.
pub(crate) fn logs(format: LogFormat, otlp: Option<&Otlp>) -> anyhow::Result<Traces> {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
    let filter = std::env::var("RUST_LOG").unwrap_or_else(|_| "info".to_owned());
    telemetry::install(format, &filter, otlp).map_err(|problem| anyhow::anyhow!("traces: {problem}"))
}

async fn verify_audit(args: &ConfigArgs) -> anyhow::Result<ExitCode> {
    let config = load(args)?;
    let store = storage::open(&config.database).await?;
    let mut chain = Chain::default();
    let broken = loop {
        let page = store.audit_log(chain.position, 1000).await?;
        if page.is_empty() {
            break None;
        }
        if let Err(broken) = page.into_iter().try_for_each(|record| chain.follow(record)) {
            break Some(broken);
        }
    };
    let backlog = store.audit_backlog().await?;
    let differs = backup::against_anchor(&config, &*store).await?;
    let report = match (&broken, &differs) {
        (Some(broken), _) => json!({ "valid": false, "position": broken.position, "problem": broken.problem }),
        (None, Some(differs)) => json!({ "valid": false, "position": chain.position, "problem": differs }),
        (None, None) => {
            json!({ "valid": true, "records": chain.position, "head": chain.head, "not_yet_linked": backlog })
        }
    };
    say(&if args.json { report.to_string() } else { human(&report) });
    Ok(if broken.is_none() && differs.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn human(report: &Value) -> String {
    if report["valid"] == true {
        format!(
            "the audit log is intact: {} records, head {}, {} not yet linked",
            report["records"],
            report["head"].as_str().unwrap_or_default(),
            report["not_yet_linked"]
        )
    } else {
        let problem = report["problem"].as_str().unwrap_or_default();
        format!("the audit log does not hold at record {}: {problem}", report["position"])
    }
}
