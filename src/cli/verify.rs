//! `vouchsafe verify`: a token, judged as the service judges it, with nothing but its issuer's keys.

use super::say;
use crate::token::jws::{JwsError, VerificationKey};
use crate::token::key::{KeySet, MAX_SET_LENGTH};
use crate::token::profile::{ANY, Lifetime, Profile, Types};
use crate::token::verifier::{self, Audience, Expected, Refused, Token};
use anyhow::{Context as _, bail};
use clap::Args;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::io::{BufRead, Read as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use vouchsafe_core::Second;
use vouchsafe_verify::fetch::{Fetcher, Reach};
use vouchsafe_verify::profile::STATUS_LIST;
use vouchsafe_verify::status_list::{Reference, Status, StatusError, StatusList};

/// Exit code when nothing could be judged.
const NOT_JUDGED: u8 = 2;

/// Verify a token: exit code 0 when it is valid, 1 when it is not, 2 when that could not be judged.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// The issuer's key set: a file, or where it is published.
    #[arg(long, value_name = "FILE|URL")]
    jwks: String,
    /// Who must have issued it.
    #[arg(long)]
    issuer: String,
    /// For whom it must be.
    #[arg(long)]
    audience: String,
    /// Of which type it must be, such as `eligibility+jwt`; without it any type passes.
    #[arg(long = "type", value_name = "TYP")]
    typ: Option<String>,
    /// At which instant, RFC 3339 or epoch seconds; now, unless given.
    #[arg(long, value_name = "INSTANT")]
    at: Option<String>,
    /// By how many seconds the issuer's clock and this one may differ, `exp` included. A service of its own gives what
    /// it issued no leeway at its end.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(i64).range(0..=300))]
    leeway: i64,
    /// One token a line from standard input, one line of JSON for each: `valid` and, if it is not, `reason`.
    #[arg(long, conflicts_with = "token")]
    batch: bool,
    /// Fetch the status list that the token names and refuse a token that was revoked or suspended.
    #[arg(long)]
    status_list: bool,
    /// Let URLs name this machine, there by http too.
    #[arg(long)]
    allow_loopback: bool,
    /// Let URLs name private networks and this machine.
    #[arg(long)]
    allow_private: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// The token; from standard input, unless given.
    token: Option<String>,
}

/// Why a token is not good.
enum Bad {
    Refused(Refused),
    Revoked,
    Suspended,
    Unknown(String),
}

impl Bad {
    fn code(&self) -> &'static str {
        match self {
            Self::Refused(refused) => refused.code(),
            Self::Revoked => "revoked",
            Self::Suspended => "suspended",
            Self::Unknown(_) => "status_unknown",
        }
    }

    fn told(&self) -> String {
        match self {
            Self::Refused(refused) => refused.to_string(),
            Self::Revoked => "the token was revoked".to_owned(),
            Self::Suspended => "the token is suspended".to_owned(),
            Self::Unknown(why) => format!("the token's status cannot be known: {why}"),
        }
    }
}

pub(crate) async fn run(args: VerifyArgs) -> anyhow::Result<ExitCode> {
    // Whoever asks whether a token is valid must not take trouble of ours for a no.
    match judge_all(&args).await {
        Ok(true) => Ok(ExitCode::SUCCESS),
        Ok(false) => Ok(ExitCode::FAILURE),
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error:#}");
            Ok(ExitCode::from(NOT_JUDGED))
        }
    }
}

async fn judge_all(args: &VerifyArgs) -> anyhow::Result<bool> {
    let at = args.at.as_deref().map(instant).transpose()?;
    let reach = match (args.allow_private, args.allow_loopback) {
        (true, _) => Reach::Private,
        (false, true) => Reach::Loopback,
        (false, false) => Reach::Public,
    };
    let fetcher = Fetcher::new(reach)?;
    let types = args.typ.as_deref().map(normalised);
    let types: Vec<&str> = types.iter().map(String::as_str).collect();
    let mut judge = Judge {
        args,
        profile: profile(&types, args.leeway),
        keys: keys(args, &fetcher).await?,
        fetcher,
        lists: HashMap::new(),
        at,
    };
    if args.batch {
        return judge.batch().await;
    }
    let token = match &args.token {
        Some(token) => token.clone(),
        None => {
            let mut text = String::new();
            let most = u64::try_from(ANY.max_length)? + 3;
            std::io::stdin().take(most).read_to_string(&mut text).context("reading the token from standard input")?;
            // A line has an end; nothing else is taken away.
            let line = text.strip_suffix('\n').unwrap_or(&text);
            line.strip_suffix('\r').unwrap_or(line).to_owned()
        }
    };
    let found = judge.judge(&token).await;
    tell(&found, args.json);
    Ok(found.is_ok())
}

/// What judges one token after another.
struct Judge<'a> {
    args: &'a VerifyArgs,
    profile: Profile<'a>,
    keys: Vec<VerificationKey>,
    fetcher: Fetcher,
    lists: HashMap<String, StatusList>,
    at: Option<i64>,
}

impl Judge<'_> {
    async fn judge(&mut self, token: &str) -> Result<Token, Bad> {
        let at = self.at.unwrap_or_else(now);
        let (issuer, audience) = (Some(self.args.issuer.as_str()), Audience::Is(&self.args.audience));
        let token = match verifier::verify(token, &self.keys, &self.profile, &Expected { issuer, audience, at }) {
            Ok(token) => token,
            Err(refused) => return Err(Bad::Refused(refused)),
        };
        if !self.args.status_list {
            return Ok(token);
        }
        match self.status(&token, at).await {
            Ok(Status::Valid) => Ok(token),
            Ok(Status::Revoked) => Err(Bad::Revoked),
            Ok(Status::Suspended) => Err(Bad::Suspended),
            Err(why) => Err(Bad::Unknown(why)),
        }
    }

    async fn status(&mut self, token: &Token, at: i64) -> Result<Status, String> {
        let told = |error: StatusError| error.to_string();
        let reference = Reference::of(&token.claims).map_err(told)?.ok_or("it names no status list")?;
        // SECURITY: the list is the issuer's own; a token does not choose whom we ask.
        if !reference.uri.strip_prefix(&self.args.issuer).is_some_and(|rest| rest.starts_with('/')) {
            return Err("its status list is not at its issuer's".to_owned());
        }
        if let Some(list) = self.lists.get(&reference.uri) {
            return list.status(reference.idx).map_err(told);
        }
        let fetched = self.fetcher.get(&reference.uri, "application/statuslist+jwt", STATUS_LIST.max_length).await;
        let fetched = fetched.map_err(|error| error.to_string())?;
        let text = std::str::from_utf8(&fetched.body).map_err(|_| "the status list is no token")?;
        let list = StatusList::verify(text, &self.keys, &reference.uri, at).map_err(told)?;
        let status = list.status(reference.idx).map_err(told);
        self.lists.insert(reference.uri, list);
        status
    }

    async fn batch(&mut self) -> anyhow::Result<bool> {
        let mut input = std::io::stdin().lock();
        let mut every = true;
        while let Some(line) = next_line(&mut input, self.profile.max_length)? {
            let found = match std::str::from_utf8(&line) {
                Ok(token) => self.judge(token).await,
                Err(_) => Err(Bad::Refused(JwsError::Characters.into())),
            };
            every &= found.is_ok();
            say(&json!({ "valid": found.is_ok(), "reason": found.err().map(|bad| bad.code()) }).to_string());
        }
        Ok(every)
    }
}

/// The next line without its end; of one that is too long no more than is needed to know it.
fn next_line(input: &mut impl BufRead, most: usize) -> anyhow::Result<Option<Vec<u8>>> {
    let (mut line, limit) = (Vec::new(), u64::try_from(most)? + 2);
    if input.take(limit).read_until(b'\n', &mut line).context("reading tokens from standard input")? == 0 {
        return Ok(None);
    }
    if line.pop_if(|last| *last == b'\n').is_none() {
        input.skip_until(b'\n').context("reading tokens from standard input")?;
    } else {
        line.pop_if(|last| *last == b'\r');
    }
    Ok(Some(line))
}

/// The kind that is asked for. Those that name no issuer or audience are not for this command.
fn profile<'a>(types: &'a [&'a str], leeway: i64) -> Profile<'a> {
    let lifetime = |lifetime: Lifetime| Lifetime { leeway_secs: leeway, expiry_leeway_secs: leeway, ..lifetime };
    let Some(typ) = types.first() else { return Profile { lifetime: lifetime(ANY.lifetime), ..ANY } };
    match Profile::of_type(typ) {
        Some(kind) if kind.issuer && matches!(kind.types, Types::Named(_)) => {
            Profile { lifetime: lifetime(kind.lifetime), ..*kind }
        }
        _ => Profile { types: Types::Named(types), lifetime: lifetime(ANY.lifetime), ..ANY },
    }
}

fn normalised(typ: &str) -> String {
    let typ = typ.to_ascii_lowercase();
    typ.strip_prefix("application/").unwrap_or(&typ).to_owned()
}

async fn keys(args: &VerifyArgs, fetcher: &Fetcher) -> anyhow::Result<Vec<VerificationKey>> {
    let bytes = if args.jwks.contains("://") {
        fetcher.get(&args.jwks, "application/jwk-set+json, application/json", MAX_SET_LENGTH).await?.body
    } else {
        let path = PathBuf::from(&args.jwks);
        std::fs::read(&path).with_context(|| format!("reading `{}`", path.display()))?
    };
    let set = KeySet::read(&bytes).with_context(|| format!("`{}`", args.jwks))?;
    for (position, reason) in &set.passed_over {
        let _ = writeln!(std::io::stderr(), "note: key {} of the set is passed over: {reason}", position + 1);
    }
    Ok(set.keys)
}

fn instant(text: &str) -> anyhow::Result<i64> {
    if let Ok(seconds) = text.parse::<i64>() {
        return Ok(seconds);
    }
    match Second::parse(text) {
        Ok(second) => Ok(second.epoch()),
        Err(error) => bail!("`--at {text}`: {error}"),
    }
}

fn now() -> i64 {
    use crate::clock::Clock as _;
    crate::clock::SystemClock.now().epoch()
}

fn tell(found: &Result<Token, Bad>, json: bool) {
    let text = |token: &Token, name: &str| token.text(name).unwrap_or_default().to_owned();
    match found {
        Ok(token) if json => say(&json!({
            "valid": true, "reason": null, "typ": token.header.typ, "kid": token.header.kid,
            "alg": token.header.algorithm.as_str(), "claims": Value::Object(token.claims.clone()),
        })
        .to_string()),
        Ok(token) => {
            let until = token.times.exp.map(|exp| Second::from_epoch(exp).to_string()).unwrap_or_default();
            say(&format!("valid: of `{}` for `{}`, until {until}", text(token, "iss"), text(token, "sub")));
        }
        Err(bad) if json => say(&json!({ "valid": false, "reason": bad.code(), "detail": bad.told() }).to_string()),
        Err(bad) => say(&format!("refused, `{}`: {}", bad.code(), bad.told())),
    }
}
