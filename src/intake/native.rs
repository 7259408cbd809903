//! The native vendors and what they have in common: one arm each here, one file each beside.

use super::{CheckResult, IntakeError, onfido, stripe};
use reqwest::header::HeaderMap;
use reqwest::{Client, Url};
use secrecy::{ExposeSecret as _, SecretString};
use std::fmt;
use vouchsafe_core::Second;
use vouchsafe_core::facts::Outcome;

/// A vendor whose deliveries we read ourselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Native {
    /// Onfido, classic checks and Studio runs.
    Onfido,
    /// Stripe Identity.
    Stripe,
}

/// One account with a vendor.
#[derive(Debug, Clone)]
pub struct Account {
    /// Secrets of the webhook's signature; two while one is being replaced.
    pub webhook_tokens: Vec<SecretString>,
    /// Token for the API.
    pub api_token: SecretString,
    /// Where the API is, such as `https://api.eu.onfido.com`. The only host ever connected to.
    pub base_url: Url,
    /// Whether results of test environments are refused.
    pub production: bool,
}

/// What a notice means. Never a verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice<T> {
    /// Nothing to do.
    Ignored {
        /// The vendor's name for it.
        action: String,
    },
    /// No result, but a session that will have one, or will have none.
    Progress {
        /// The vendor's session.
        session: String,
        /// Whether a result is under way.
        under_way: bool,
    },
    /// Something may have changed: fetch it.
    Fetch(T),
    /// A result is no longer standing: what begins with the prefix waits until `target` has been fetched.
    Reopened {
        /// The vendor's session, where the notice names it.
        session: Option<String>,
        /// Beginning of the lineages concerned, with the slash.
        lineage_prefix: String,
        /// When, where the notice says so.
        at: Option<Second>,
        /// Where the truth is.
        target: T,
    },
}

impl<T> Notice<T> {
    fn map<U>(self, into: impl FnOnce(T) -> U) -> Notice<U> {
        match self {
            Self::Ignored { action } => Notice::Ignored { action },
            Self::Progress { session, under_way } => Notice::Progress { session, under_way },
            Self::Fetch(target) => Notice::Fetch(into(target)),
            Self::Reopened { session, lineage_prefix, at, target } => {
                Notice::Reopened { session, lineage_prefix, at, target: into(target) }
            }
        }
    }
}

/// What to fetch, and from whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// From Onfido.
    Onfido(onfido::FetchTarget),
    /// From Stripe.
    Stripe(stripe::FetchTarget),
}

/// One page of past results that a vendor lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// What to fetch.
    pub targets: Vec<Target>,
    /// Where the next page begins; `None` after the last.
    pub next: Option<String>,
}

impl Native {
    /// Every name, for people.
    pub const NAMES: &'static str = "onfido, stripe";

    /// A vendor by its name in a source's settings.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "onfido" => Some(Self::Onfido),
            "stripe" => Some(Self::Stripe),
            _ => None,
        }
    }

    /// Whether an account's token is one of a test environment, as its beginning says; `None` where it does not.
    #[must_use]
    pub fn is_test(self, account: &Account) -> Option<bool> {
        let (test, live): (&[&str], &[&str]) = match self {
            Self::Onfido => (&["api_sandbox"], &["api_live"]),
            Self::Stripe => (&["sk_test_", "rk_test_"], &["sk_live_", "rk_live_"]),
        };
        let token = account.api_token.expose_secret();
        let begins = |beginnings: &[&str]| beginnings.iter().any(|beginning| token.starts_with(beginning));
        if begins(test) { Some(true) } else { begins(live).then_some(false) }
    }

    /// Verifies the vendor's signature over the raw body.
    ///
    /// # Errors
    /// [`IntakeError::MissingSignature`], [`IntakeError::BadSignature`]; [`IntakeError::Stale`] and
    /// [`IntakeError::NotYetValid`] where the signature covers a time.
    pub fn verify(self, account: &Account, headers: &HeaderMap, body: &[u8], now: Second) -> Result<(), IntakeError> {
        match self {
            Self::Onfido => onfido::verify(account, only(headers, onfido::SIGNATURE_HEADER)?, body),
            Self::Stripe => stripe::verify(account, only(headers, stripe::SIGNATURE_HEADER)?, body, now),
        }
    }

    /// Reads a verified notice.
    ///
    /// # Errors
    /// [`IntakeError::TooLarge`], [`IntakeError::Malformed`]; [`IntakeError::WrongEnvironment`] where a notice says
    /// that it is a test's.
    pub fn interpret(self, account: &Account, body: &[u8]) -> Result<Notice<Target>, IntakeError> {
        match self {
            Self::Onfido => onfido::interpret_notice(body).map(|notice| notice.map(Target::Onfido)),
            Self::Stripe => stripe::interpret_notice(account, body).map(|notice| notice.map(Target::Stripe)),
        }
    }

    /// Lists past results created at or after `since`, a page at a time: `place` is `next` of the page before.
    ///
    /// # Errors
    /// As [`Target::fetch`]; [`IntakeError::Unsupported`] where the vendor lists nothing.
    pub async fn list(
        self,
        client: &Client,
        account: &Account,
        since: Option<Second>,
        place: Option<&str>,
    ) -> Result<Listing, IntakeError> {
        match self {
            Self::Onfido => onfido::list(client, account, since, place).await,
            Self::Stripe => stripe::list(client, account, since, place).await,
        }
    }
}

impl Target {
    /// The vendor's own id of it.
    #[must_use]
    pub fn id(&self) -> &VendorId {
        match self {
            Self::Onfido(onfido::FetchTarget::Check { check, .. }) => check,
            Self::Onfido(onfido::FetchTarget::Run { run }) => run,
            Self::Stripe(target) => &target.session,
        }
    }

    /// Fetches what the vendor says now, one result for each document.
    ///
    /// # Errors
    /// [`IntakeError::Upstream`] when the vendor fails or answers nonsense (worth another try),
    /// [`IntakeError::SlowDown`], [`IntakeError::TooLarge`] over 1 MiB, [`IntakeError::WrongEnvironment`] for a test
    /// result in production.
    pub async fn fetch(&self, client: &Client, account: &Account) -> Result<Vec<CheckResult>, IntakeError> {
        match self {
            Self::Onfido(target) => onfido::fetch(client, account, target).await,
            Self::Stripe(target) => stripe::fetch(client, account, target).await,
        }
    }
}

/// The one header of a name. Of two, neither is believed.
fn only<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, IntakeError> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(|_| IntakeError::BadSignature),
        (Some(_), Some(_)) => Err(IntakeError::BadSignature),
    }
}

/// An id of the vendor's that is safe in a path, a key and a log.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VendorId(String);

impl VendorId {
    /// Reads 1 to 64 letters, digits, `-` and `_`.
    ///
    /// # Errors
    /// [`IntakeError::Malformed`] for anything else.
    pub fn parse(text: &str) -> Result<Self, IntakeError> {
        let fits = (1..=64).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
        if fits { Ok(Self(text.to_owned())) } else { Err(IntakeError::Malformed("vendor id")) }
    }

    /// The same of an answer, where another form is the vendor's failure.
    pub(super) fn of_answer(text: &str) -> Result<Self, IntakeError> {
        Self::parse(text).map_err(|_| IntakeError::Upstream("an id is not one"))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for VendorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An outcome's name in the id of a delivery.
pub(super) fn outcome_name(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Approved => "approved",
        Outcome::Declined => "declined",
        Outcome::Resubmit => "resubmit",
        Outcome::Pending => "pending",
        Outcome::DocumentExpired => "document_expired",
        Outcome::Error => "error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::header::HeaderValue;

    #[test]
    fn every_name_is_a_vendor_and_nothing_else_is() {
        assert!(Native::NAMES.split(", ").all(|name| Native::parse(name).is_some()));
        for other in ["", "Onfido", "stripe ", "onfido, stripe", "veriff"] {
            assert_eq!(Native::parse(other), None);
        }
    }

    #[test]
    fn a_header_that_comes_twice_is_not_believed() {
        let mut headers = HeaderMap::new();
        assert_eq!(only(&headers, "x-signature"), Ok(None));
        headers.append("x-signature", HeaderValue::from_static("a"));
        assert_eq!(only(&headers, "x-signature"), Ok(Some("a")));
        headers.append("x-signature", HeaderValue::from_static("a"));
        assert_eq!(only(&headers, "x-signature"), Err(IntakeError::BadSignature));
        headers.insert("x-signature", HeaderValue::from_bytes(b"\xff").unwrap());
        assert_eq!(only(&headers, "x-signature"), Err(IntakeError::BadSignature));
    }
}
