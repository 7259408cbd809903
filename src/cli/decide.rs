//! `vouchsafe decide`: a past decision once more, byte for byte, from where its inputs are.

use super::{ConfigArgs, load, open, say};
use crate::service::receipt::{self, Opened};
use crate::token::jws::VerificationKey;
use crate::token::key::KeySet;
use anyhow::{Context as _, bail};
use clap::Args;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use vouchsafe_core::facts::SubjectFacts;
use vouchsafe_core::rules::{Body, Rules};
use vouchsafe_core::{Decision, Second, decide};

/// Decide again: a recorded decision, a receipt, or rules and facts from files.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("from").required(true).args(["id", "receipt", "rules"]))]
pub struct DecideArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// A recorded decision, `dec_…`, in the configured database.
    #[arg(long)]
    id: Option<String>,
    /// A file with a receipt; no database is asked.
    #[arg(long)]
    receipt: Option<PathBuf>,
    /// The issuer's keys, as `/.well-known/jwks.json` gives them; without them the signature is not checked.
    #[arg(long, requires = "receipt")]
    jwks: Option<PathBuf>,
    /// A file with rules, as in `rules` of a receipt; no database is asked.
    #[arg(long, requires_all = ["facts", "at"])]
    rules: Option<PathBuf>,
    /// A file with facts, as in `facts` of a receipt.
    #[arg(long, requires = "rules")]
    facts: Option<PathBuf>,
    /// The instant, RFC 3339, as in `at` of a decision.
    #[arg(long, requires = "rules")]
    at: Option<String>,
}

pub(crate) async fn run(args: DecideArgs) -> anyhow::Result<ExitCode> {
    let json = args.config.json;
    if let Some(file) = &args.receipt {
        let opened = from_receipt(file, args.jwks.as_deref())?;
        tell_receipt(&opened, json);
        return Ok(ExitCode::SUCCESS);
    }
    let decision = match (&args.id, &args.rules, &args.facts, &args.at) {
        (Some(id), ..) => {
            let app = open(&load(&args.config)?).await?;
            app.decision(id).await.with_context(|| format!("decision `{id}`"))?
        }
        (None, Some(rules), Some(facts), Some(at)) => from_files(rules, facts, at)?,
        _ => bail!("say what to decide: `--id`, `--receipt`, or `--rules`, `--facts` and `--at`"),
    };
    say(&if json { json!({ "decision": stated(&decision) }).to_string() } else { decision.canonical() });
    Ok(ExitCode::SUCCESS)
}

fn stated(decision: &Decision) -> Value {
    json!(decision)
}

fn from_files(rules: &Path, facts: &Path, at: &str) -> anyhow::Result<Decision> {
    let at = Second::parse(at).context("`--at`")?;
    let body: Body = read(rules)?;
    let facts: SubjectFacts = read(facts)?;
    Ok(decide(&Rules::from_body(body, at), &facts, at))
}

fn from_receipt(file: &Path, jwks: Option<&Path>) -> anyhow::Result<Opened> {
    let keys = jwks.map(keys).transpose()?;
    let text = text(file)?;
    receipt::open(text.trim(), keys.as_deref())
        .with_context(|| format!("the receipt `{}` does not hold", file.display()))
}

/// The keys of a JWK set that can verify.
fn keys(file: &Path) -> anyhow::Result<Vec<VerificationKey>> {
    let set = KeySet::read(text(file)?.as_bytes()).with_context(|| format!("reading `{}`", file.display()))?;
    if set.keys.is_empty() {
        bail!("`{}` has no key that can be used", file.display());
    }
    Ok(set.keys)
}

fn tell_receipt(opened: &Opened, json: bool) {
    let Opened { receipt, decision, signed_by, test } = opened;
    if json {
        say(&json!({
            "decision": stated(decision), "signature": if signed_by.is_some() { "verified" } else { "not_checked" },
            "kid": signed_by, "iss": receipt.iss, "engine": receipt.engine, "test": test,
        })
        .to_string());
        return;
    }
    say(&decision.canonical());
    let signature = match signed_by {
        Some(kid) => format!("signed by key `{kid}` of `{}`", receipt.iss),
        None => "its signature was NOT checked: give the issuer's keys with `--jwks`".to_owned(),
    };
    let made_up = if *test { "; of a test deployment: evidence may be made up" } else { "" };
    // The decision alone on standard output: it is compared byte for byte.
    let _ = writeln!(std::io::stderr(), "rules, facts and instant give this decision; {signature}{made_up}");
}

fn text(file: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(file).with_context(|| format!("reading `{}`", file.display()))
}

fn read<T: DeserializeOwned>(file: &Path) -> anyhow::Result<T> {
    serde_json::from_str(&text(file)?).with_context(|| format!("reading `{}`", file.display()))
}
