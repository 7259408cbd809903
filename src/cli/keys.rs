//! `keys master | list | rotate | retire | rotate-master | export`.

use super::{ConfigArgs, load, open, say, settle};
use crate::crypto::MasterKey;
use crate::service::Actor;
use crate::service::keys::KeyState;
use crate::storage::StoredKey;
use crate::token::keys::{Algorithm, Purpose};
use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use vouchsafe_core::Second;

/// `vouchsafe keys …`
#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// Create a master key file, readable by its owner only.
    Master {
        /// Where; must not exist.
        file: PathBuf,
    },
    /// Signing keys and what they do now.
    List(ListArgs),
    /// Publish the next key of each purpose, or of one; it signs when everybody has it.
    Rotate(RotateArgs),
    /// In an emergency: take a key away at once, with everything that it signed.
    Retire(RetireArgs),
    /// Let another master key open the database too, or, with `--finish`, end the one it took the place of.
    RotateMaster(RotateMasterArgs),
    /// The public keys as a JWK set, as the service publishes it.
    Export(ConfigArgs),
}

/// Which keys.
#[derive(Debug, Args)]
pub struct ListArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Also those that are retired.
    #[arg(long)]
    all: bool,
}

/// Whose next key.
#[derive(Debug, Args)]
pub struct RotateArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// `access`, `eligibility`, `receipt` or `status_list`; absent means all.
    #[arg(long)]
    purpose: Option<String>,
    /// `ES256`, `EdDSA` or `RS256`; absent means all.
    #[arg(long)]
    alg: Option<String>,
}

/// The file of the master key to come.
#[derive(Debug, Args)]
pub struct RotateMasterArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Where the new master key is; made if it is not there.
    #[arg(required_unless_present = "finish")]
    file: Option<PathBuf>,
    /// No other master key than the configured one opens the database any more.
    #[arg(long, conflicts_with = "file")]
    finish: bool,
}

/// Which key, and why.
#[derive(Debug, Args)]
pub struct RetireArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Its id, as `keys list` shows it.
    kid: String,
    /// Why; goes into the audit log.
    #[arg(long)]
    reason: String,
}

pub(crate) async fn run(command: KeysCommand) -> anyhow::Result<ExitCode> {
    match command {
        KeysCommand::Master { file } => create_master_key(&file),
        KeysCommand::List(args) => list(args).await,
        KeysCommand::Rotate(args) => rotate(args).await,
        KeysCommand::Retire(args) => retire(args).await,
        KeysCommand::RotateMaster(args) => rotate_master(args).await,
        KeysCommand::Export(args) => {
            say(&open(&load(&args)?).await?.key_set().to_string());
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn view(key: &StoredKey, now_ms: i64) -> Value {
    let at = |instant: Option<i64>| instant.map(Second::from_millis);
    let times = key.times;
    json!({
        "kid": key.kid, "purpose": key.purpose, "alg": key.alg, "state": KeyState::at(&times, now_ms).as_str(),
        "published_at": at(Some(times.published_ms)), "signs_from": at(Some(times.signs_from_ms)),
        "last_signs": at(times.last_signs_ms), "verifies_until": at(times.verifies_until_ms),
        "retired_at": at(times.retired_at_ms),
    })
}

async fn list(args: ListArgs) -> anyhow::Result<ExitCode> {
    let app = open(&load(&args.config)?).await?;
    let now_ms = app.clock.now_ms();
    let mut keys = app.all_keys().await?;
    keys.retain(|key| args.all || key.times.retired_at_ms.is_none());
    let items: Vec<Value> = keys.iter().map(|key| view(key, now_ms)).collect();
    if args.config.json {
        say(&json!({ "keys": items }).to_string());
    }
    for item in items.iter().filter(|_| !args.config.json) {
        say(&super::case::line(
            item,
            &["kid", "purpose", "alg", "state", "signs_from", "last_signs", "verifies_until"],
        ));
    }
    Ok(ExitCode::SUCCESS)
}

async fn rotate(args: RotateArgs) -> anyhow::Result<ExitCode> {
    let purpose = args.purpose.as_deref().map(|text| {
        Purpose::parse(text).with_context(|| {
            format!("`{text}` is no purpose: choose `access`, `eligibility`, `event`, `introspection`, `provided_claims`, `receipt` or `status_list`")
        })
    });
    let purpose = purpose.transpose()?;
    let alg = args.alg.as_deref().map(|text| {
        Algorithm::parse(text).with_context(|| format!("`{text}` is no algorithm: choose `ES256`, `EdDSA` or `RS256`"))
    });
    let alg = alg.transpose()?;
    let app = open(&load(&args.config)?).await?;
    let mut published = Vec::new();
    for key in app.all_keys().await?.iter().filter(|key| key.times.last_signs_ms.is_none()) {
        let (Some(its_purpose), Some(its_alg)) = (Purpose::parse(&key.purpose), Algorithm::parse(&key.alg)) else {
            continue;
        };
        let is_meant = key.times.retired_at_ms.is_none()
            && purpose.is_none_or(|purpose| purpose == its_purpose)
            && alg.is_none_or(|alg| alg == its_alg);
        if is_meant {
            published.extend(app.rotate_key(&Actor::command_line(), its_purpose, its_alg).await?);
        }
    }
    anyhow::ensure!(!published.is_empty(), "there is no key of this purpose and algorithm to follow");
    settle(&app).await;
    let now_ms = app.clock.now_ms();
    let keys = app.all_keys().await?;
    for key in keys.iter().filter(|key| published.contains(&key.kid)) {
        say(&if args.config.json {
            view(key, now_ms).to_string()
        } else {
            let from = Second::from_millis(key.times.signs_from_ms);
            format!("published {} ({} with {}); it signs from {from} on", key.kid, key.purpose, key.alg)
        });
    }
    Ok(ExitCode::SUCCESS)
}

async fn retire(args: RetireArgs) -> anyhow::Result<ExitCode> {
    let app = open(&load(&args.config)?).await?;
    let retired = app.retire_key(&Actor::command_line(), &args.kid, &args.reason).await;
    let follower = retired.with_context(|| format!("key `{}` was not retired", args.kid))?;
    settle(&app).await;
    say(&if args.config.json {
        json!({ "retired": args.kid, "follower": follower }).to_string()
    } else {
        let who = follower.map_or_else(String::new, |kid| format!("; {kid} signs from now on"));
        format!("retired {}: what it signed is refused from now on{who}", args.kid)
    });
    Ok(ExitCode::SUCCESS)
}

async fn rotate_master(args: RotateMasterArgs) -> anyhow::Result<ExitCode> {
    let config = load(&args.config)?;
    let app = open(&config).await?;
    let actor = Actor::command_line();
    let Some(file) = args.file else {
        let ended = app.end_other_master_keys(&actor).await.context("no master key was ended")?;
        say(&if args.config.json {
            json!({ "ended": ended }).to_string()
        } else if ended.is_empty() {
            "only the configured master key opens the database; there was nothing to end".to_owned()
        } else {
            format!("ended: {}; keep its file only for backups made until now", ended.join(", "))
        });
        return Ok(ExitCode::SUCCESS);
    };
    // Durable before the database relies on it.
    if !file.exists() {
        create_master_key(&file)?;
    }
    let next = MasterKey::from_file(&file)?;
    app.add_master_key(&actor, &next).await.context("the new master key does not open the database yet: try again")?;
    say(&if args.config.json {
        json!({ "opens": next.id() }).to_string()
    } else {
        format!(
            "`{}` opens the database too; now put it in place of `{}` on every machine, restart each service, then run \
             `vouchsafe keys rotate-master --finish`",
            file.display(),
            config.master_key_file.display()
        )
    });
    Ok(ExitCode::SUCCESS)
}

/// Writes 32 random bytes to a new file of mode 0400.
pub(crate) fn create_master_key(file: &Path) -> anyhow::Result<ExitCode> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let bytes: [u8; 32] = crate::crypto::random()?;
    let mut out = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o400)
        .open(file)
        .with_context(|| format!("creating `{}`", file.display()))?;
    out.write_all(&bytes)?;
    out.sync_all()?;
    crate::storage::backup::sync_folder(file)?;
    Ok(ExitCode::SUCCESS)
}
