//! A gate of a service's own: eligibility tokens judged here, without a question to Vouchsafe for each request.
//!
//! Key set and status lists are fetched beside the requests and kept while they may be: a list for its `ttl` and a
//! bounded time beyond, never past its `exp`; the keys likewise. What cannot be known is not admitted. A gate that
//! judges offline learns of a withdrawal with the next list, so within its `ttl`; one that has to know at once asks
//! the service.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use std::sync::Arc;
//! use vouchsafe_verify::gate::{Gate, GateLayer, Settings};
//!
//! let settings = Settings::new("https://eligibility.example", "my-service", "restricted.api");
//! let gate = Arc::new(Gate::new(settings, Arc::new(|admissions| println!("{admissions:?}")))?);
//! tokio::spawn(Arc::clone(&gate).run());
//! let layer = GateLayer::new(gate);
//! # drop(layer); Ok(()) }
//! ```

mod admissions;
mod keys;
mod layer;
mod lists;
mod uploads;

pub use admissions::{Admission, EndUser, Reporter};
pub use layer::{GateLayer, Guarded};
pub use uploads::Uploader;

use crate::fetch::{FetchError, Fetcher, Reach};
use crate::jws::{JwsError, VerificationKey};
use crate::profile::{ELIGIBILITY, Profile, TEST_ELIGIBILITY};
use crate::status_list::{Reference, Status, StatusError};
use crate::token::{self, Audience, Expected, Refused, Token};
use admissions::Admissions;
use keys::Keys;
use lists::Lists;
use serde_json::{Map, Value};
use std::sync::Arc;
use std::time::Duration;

/// How often it looks whether something is due.
const PACE: Duration = Duration::from_secs(1);

/// What a gate guards, and how.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The Vouchsafe whose word counts: its public origin.
    pub issuer: String,
    /// Who we are to it.
    pub audience: String,
    /// What is restricted here; a token for anything else opens nothing.
    pub resource: String,
    /// Where its keys are; `/.well-known/jwks.json` at the issuer unless changed.
    pub jwks_url: String,
    /// Whether tokens of a test deployment are meant, and then no others.
    pub test_deployment: bool,
    /// How long, in seconds, keys and lists are used after they should have been fetched anew and could not be. 60
    /// unless changed; with 0 an outage shuts the gate when the next list is due.
    pub longest_outage_secs: i64,
    /// Whether a token that names no status list is admitted: nothing would ever withdraw it here. Off unless changed.
    pub admit_without_status: bool,
    /// Whether a token is admitted whose decision left criteria open that look at the request itself, such as the
    /// caller's address. Off unless changed: whoever turns it on has to judge them.
    pub admit_unjudged_live: bool,
    /// From where keys and lists may be fetched.
    pub reach: Reach,
}

impl Settings {
    /// The strict settings.
    #[must_use]
    pub fn new(issuer: &str, audience: &str, resource: &str) -> Self {
        let issuer = issuer.trim_end_matches('/').to_owned();
        Self {
            jwks_url: format!("{issuer}/.well-known/jwks.json"),
            issuer,
            audience: audience.to_owned(),
            resource: resource.to_owned(),
            test_deployment: false,
            longest_outage_secs: 60,
            admit_without_status: false,
            admit_unjudged_live: false,
            reach: Reach::Public,
        }
    }
}

/// What time it is, in epoch seconds.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// Somebody who may pass, as the request's extension.
#[derive(Debug, Clone)]
pub struct Eligible {
    /// The subject, as this audience knows it; where somebody acts for it, their end user.
    pub subject: String,
    /// The organisation acted for, as this audience knows it; of whoever acts, where somebody does.
    pub acting_for: Option<String>,
    /// The decision; of whoever acts, where somebody does.
    pub decision: String,
    /// Who acts for the subject, where that is somebody's end user.
    pub acted_for: Option<ActedFor>,
    /// First second at which the decision no longer holds, epoch seconds.
    pub valid_until: i64,
    /// First second at which the token no longer holds, epoch seconds.
    pub expires_at: i64,
    /// Criteria that nobody has judged; empty unless the settings admit them.
    pub live: Vec<String>,
    /// Whether keys or list are older than they should be.
    pub stale: bool,
    /// All that the token says.
    pub token: Arc<Token>,
}

/// Who acts for an end user, and through whom. Both were eligible when the token was made.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ActedFor {
    /// Who acts (`act.sub`), as this audience knows it.
    pub actor: String,
    /// The organisation whose end user the subject is, as this audience knows it.
    pub customer: String,
    /// The decision about the end user, sealed.
    pub decision: String,
}

impl ActedFor {
    /// What a token says of an end user: `Ok(None)` where nobody asks for one.
    fn read(token: &Token, eligibility: &Map<String, Value>) -> Result<Option<Self>, Refusal> {
        let invalid = || Refusal::Invalid("bad_claim");
        let told = match eligibility.get("end_user") {
            None => return Ok(None),
            // SECURITY: the caller's own token, where an end user is asked for: nobody here can judge one.
            Some(Value::String(_)) => return Err(Refusal::Forbidden("end_user.missing")),
            Some(told) => told.as_object().ok_or_else(invalid)?,
        };
        let text =
            |members: &Map<String, Value>, name: &str| members.get(name).and_then(Value::as_str).map(str::to_owned);
        let act = token.claims.get("act").and_then(Value::as_object).ok_or_else(invalid)?;
        Ok(Some(Self {
            actor: text(act, "sub").ok_or_else(invalid)?,
            customer: text(told, "customer").ok_or_else(invalid)?,
            decision: text(told, "decision").ok_or_else(invalid)?,
        }))
    }
}

/// Why somebody may not pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// 401: no credential.
    Missing,
    /// 401: a token that is not good here; the code is for the log, not for the caller.
    Invalid(&'static str),
    /// 403: a token that was good, with a reason.
    Forbidden(&'static str),
    /// 503: it cannot be known; the text is for the log.
    Unknown(String),
}

/// Judges tokens for one resource.
pub struct Gate {
    settings: Settings,
    profile: &'static Profile<'static>,
    fetcher: Fetcher,
    clock: Clock,
    keys: Keys,
    lists: Lists,
    admissions: Admissions,
}

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Gate({} at {})", self.settings.resource, self.settings.issuer)
    }
}

impl Gate {
    /// A gate by the clock of this machine.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn new(settings: Settings, reporter: Arc<dyn Reporter>) -> Result<Self, FetchError> {
        #[expect(clippy::disallowed_methods, reason = "the one place of this package that asks the machine")]
        let clock: Clock = Arc::new(|| {
            let elapsed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            // A clock that makes no sense is in the year 9999: everything has expired then.
            elapsed.ok().and_then(|elapsed| i64::try_from(elapsed.as_secs()).ok()).unwrap_or(253_402_300_799)
        });
        Self::with_clock(settings, reporter, clock)
    }

    /// A gate by another clock.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn with_clock(settings: Settings, reporter: Arc<dyn Reporter>, clock: Clock) -> Result<Self, FetchError> {
        Ok(Self {
            profile: if settings.test_deployment { &TEST_ELIGIBILITY } else { &ELIGIBILITY },
            fetcher: Fetcher::new(settings.reach)?,
            keys: Keys::new(&settings),
            lists: Lists::new(&settings),
            admissions: Admissions::new(reporter),
            settings,
            clock,
        })
    }

    /// Fetches what is due and reports admissions, for as long as it is polled. Without it the gate works, but fetches
    /// while requests wait and reports nothing.
    pub async fn run(self: Arc<Self>) {
        loop {
            self.tick().await;
            tokio::time::sleep(PACE).await;
        }
    }

    /// Looks once whether something is due, and does it.
    pub async fn tick(&self) {
        let now = (self.clock)();
        self.keys.refresh_if_due(&self.fetcher, now).await;
        if let Some(held) = self.keys.current(now) {
            self.lists.refresh_due(&self.fetcher, &held.keys, now).await;
        }
        if self.lists.lack_a_key() {
            self.keys.refresh_for_unknown(&self.fetcher, now).await;
        }
        if let Some(orders) = self.lists.orders(now) {
            self.admissions.seen(&orders);
        }
        self.admissions.report_if_due(now);
    }

    /// Reports what was counted and not reported yet: before the process ends.
    pub fn report_now(&self) {
        self.admissions.report();
    }

    /// Judges a bearer token.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn judge(&self, text: &str) -> Result<Eligible, Refusal> {
        let now = (self.clock)();
        let (token, keys_stale) = self.verified(text, now).await?;
        let invalid = || Refusal::Invalid("bad_claim");
        let eligibility = token.claims.get("eligibility").and_then(Value::as_object).ok_or_else(invalid)?;
        let inner = |name: &str| eligibility.get(name).and_then(Value::as_str);
        if inner("resource") != Some(self.settings.resource.as_str()) {
            return Err(Refusal::Invalid("wrong_resource"));
        }
        let decision = inner("decision").ok_or_else(invalid)?.to_owned();
        let valid_until = eligibility.get("valid_until").and_then(Value::as_i64).ok_or_else(invalid)?;
        if now >= valid_until {
            return Err(Refusal::Invalid("expired"));
        }
        let acting_for = match eligibility.get("acting_for") {
            // SECURITY: one of another type is not as if it were absent.
            Some(name) => Some(name.as_str().ok_or_else(invalid)?.to_owned()),
            None => None,
        };
        let live = names(eligibility.get("live")).ok_or_else(invalid)?;
        let acted_for = ActedFor::read(&token, eligibility);
        if let Err(Refusal::Invalid(code)) = &acted_for {
            return Err(Refusal::Invalid(code));
        }
        let list_stale = self.check_status(&token, now).await?;
        let acted_for = acted_for?;
        if !live.is_empty() && !self.settings.admit_unjudged_live {
            return Err(Refusal::Forbidden("live.unjudged"));
        }
        let subject = token.text("sub").ok_or_else(invalid)?.to_owned();
        let expires_at = token.times.exp.ok_or_else(invalid)?;
        let eligible = Eligible {
            subject,
            acting_for,
            decision,
            acted_for,
            valid_until,
            expires_at,
            live,
            stale: keys_stale || list_stale,
            token: Arc::new(token),
        };
        self.admissions.count(&eligible, &self.settings.resource, now);
        Ok(eligible)
    }

    /// The token, verified; and whether the keys are older than they should be.
    async fn verified(&self, text: &str, now: i64) -> Result<(Token, bool), Refusal> {
        if self.keys.current(now).is_none() {
            self.keys.refresh_if_due(&self.fetcher, now).await;
        }
        let held =
            self.keys.current(now).ok_or_else(|| Refusal::Unknown("no keys, or none fresh enough".to_owned()))?;
        match self.verify(text, &held.keys, now) {
            Ok(token) => Ok((token, held.stale)),
            Err(Refused::Jws(JwsError::UnknownKey)) => {
                // It may be new. The issuer is asked at most once a minute, whoever sends what.
                self.keys.refresh_for_unknown(&self.fetcher, now).await;
                let held = self.keys.current(now).unwrap_or(held);
                let token = self.verify(text, &held.keys, now).map_err(|refused| Refusal::Invalid(refused.code()))?;
                Ok((token, held.stale))
            }
            Err(refused) => Err(Refusal::Invalid(refused.code())),
        }
    }

    fn verify(&self, text: &str, keys: &[VerificationKey], at: i64) -> Result<Token, Refused> {
        let (issuer, audience) = (Some(self.settings.issuer.as_str()), Audience::Is(&self.settings.audience));
        token::verify(text, keys, self.profile, &Expected { issuer, audience, at })
    }

    /// Whether the list is older than it should be, where the token still stands.
    async fn check_status(&self, token: &Token, now: i64) -> Result<bool, Refusal> {
        let reference = Reference::of(&token.claims).map_err(|_| Refusal::Invalid("bad_claim"))?;
        let Some(reference) = reference else {
            return if self.settings.admit_without_status { Ok(false) } else { Err(Refusal::Invalid("no_status")) };
        };
        let keys = self.keys.current(now).ok_or_else(|| Refusal::Unknown("no keys".to_owned()))?.keys;
        let (status, stale) = self.lists.status(&self.fetcher, &keys, &reference, now).await?;
        match status {
            Ok(Status::Valid) => Ok(stale),
            Ok(Status::Revoked) => Err(Refusal::Forbidden("token.revoked")),
            Ok(Status::Suspended) => Err(Refusal::Forbidden("token.suspended")),
            Err(StatusError::Index) => Err(Refusal::Invalid("status_index")),
            Err(_) => Err(Refusal::Invalid("status_value")),
        }
    }
}

/// A list of texts; absent is empty.
fn names(value: Option<&Value>) -> Option<Vec<String>> {
    match value {
        None => Some(Vec::new()),
        Some(list) => list.as_array()?.iter().map(|name| name.as_str().map(str::to_owned)).collect(),
    }
}

#[cfg(test)]
mod tests;
