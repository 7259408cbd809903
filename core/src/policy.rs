//! Policies: criteria that must all hold, exemptions, lifetimes and citations, in files a lawyer can read.

use crate::check::{Finding, Level};
use crate::facts::{Grade, Kind, SourceKind};
use crate::fusion::Thresholds;
use crate::ids::ResourcePattern;
use crate::rules::Library;
use crate::second::DAY;
use crate::shares::Share;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Why a policy cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// The text is not a policy; carries line and column.
    #[error("not a policy: {0}")]
    Syntax(String),
    /// A part of it cannot work.
    #[error("policy `{policy}`, `{}`: {finding}", finding.pointer)]
    Content {
        /// Policy id.
        policy: String,
        /// What is wrong, where, and what to do.
        finding: Box<Finding>,
    },
}

/// A length of time written `90d`, `24h`, `15m` or `30s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Span(i64);

impl Span {
    /// From seconds.
    #[must_use]
    pub const fn from_secs(seconds: i64) -> Self {
        Self(seconds)
    }

    /// In seconds.
    #[must_use]
    pub const fn secs(self) -> i64 {
        self.0
    }
}

impl TryFrom<String> for Span {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let fail = || format!("`{text}` is not a length of time such as `90d`, `24h`, `15m` or `30s`");
        let (digits, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(fail)?;
        let factor = match unit {
            "d" => DAY,
            "h" => 3600,
            "m" => 60,
            "s" => 1,
            _ => return Err(fail()),
        };
        let count: i64 = digits.parse().map_err(|_| fail())?;
        if digits.starts_with(['+', '-']) {
            return Err(fail());
        }
        count.checked_mul(factor).filter(|seconds| *seconds <= 36_530 * DAY).map(Self).ok_or_else(fail)
    }
}

impl From<Span> for String {
    fn from(span: Span) -> String {
        format!("{}s", span.0)
    }
}

/// A list written out, or a named dated set such as `set:embargoed@2026-11`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Members {
    /// `set:name@version`.
    Set(String),
    /// Written out.
    List(BTreeSet<String>),
}

/// A named, dated list with its source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NamedSet {
    /// `name@date`.
    pub id: String,
    /// Day on which the list was true, `YYYY-MM-DD`.
    pub as_of: String,
    /// Where it comes from.
    pub source: String,
    /// The members.
    pub members: BTreeSet<String>,
}

/// What a criterion asks of its frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Test<'a> {
    /// State frame: one of these states.
    Allow(&'a BTreeSet<String>),
    /// State frame: none of these states.
    Deny(&'a BTreeSet<String>),
    /// Membership frame: yes on one of these keys.
    AnyOf(&'a BTreeSet<String>),
    /// Membership frame: yes on none of these keys.
    NoneOf(&'a BTreeSet<String>),
    /// Membership frame: yes on no key but these.
    NoneOfExcept(&'a BTreeSet<String>),
}

/// What happens while nothing material is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhenUnknown {
    /// The criterion is not met.
    #[default]
    Refuse,
    /// The criterion is neutral: left out of status, confidence and next steps.
    Allow,
}

/// Whom a criterion judges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Of {
    /// The subject; of a workload, the person who answers for it, and what is held against the workload itself.
    #[default]
    Subject,
    /// The organisation acted for; of a workload, its owner too; of an organisation that acts for nobody, itself.
    ActingFor,
}

/// How shares add up along a chain of owners.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Along {
    /// Shares multiply: 60 % of an owner of 50 % is 30 %.
    Product,
    /// An owner that reaches the threshold itself counts with its whole share, as OFAC applies its 50 % rule.
    Control,
}

/// From which share of named owners, together, a criterion over ownership is not met.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Aggregate {
    /// The share, for example `50%`.
    pub at: Share,
    /// How it adds up along a chain.
    pub along: Along,
}

/// Longest chain of contracts that a criterion may follow.
pub const MAX_CHAIN: u8 = 8;

/// One supporting item must be this strong by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gate {
    /// Least grade.
    pub grade: Grade,
    /// Kinds of statement that may satisfy it.
    pub from: BTreeSet<Kind>,
}

/// A frame, what the policy allows in it, thresholds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Criterion {
    /// Unique within the policy.
    pub id: String,
    /// The frame it looks at.
    pub frame: String,
    /// Allowed states.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow: Option<Members>,
    /// Denied states.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deny: Option<Members>,
    /// Keys of which one must hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub any_of: Option<Members>,
    /// Keys of which none may hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub none_of: Option<Members>,
    /// The only keys that may hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub none_of_except: Option<Members>,
    /// tau_e, least belief.
    #[serde(default = "default_eligible_at")]
    pub eligible_at: f64,
    /// tau_i, least contrary weight for `ineligible`.
    #[serde(default = "default_ineligible_at")]
    pub ineligible_at: f64,
    /// mu, least material weight.
    #[serde(default = "default_material")]
    pub material: f64,
    /// One item must be strong by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<Gate>,
    /// What happens while nothing is known.
    #[serde(default)]
    pub when_unknown: WhenUnknown,
    /// Judged at the request, by `check_live` only.
    #[serde(default)]
    pub live: bool,
    /// Whom it judges.
    #[serde(default)]
    pub of: Of,
    /// Links from the subject to a named organisation: 1, its own people; 2, also those of its contractors; and so on.
    #[serde(default = "default_chain")]
    pub chain: u8,
    /// Over ownership: from which share together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aggregate: Option<Aggregate>,
    /// Ends with the earliest counted document.
    #[serde(default)]
    pub strict: bool,
    /// The law it rests on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub citation: Option<String>,
}

fn default_chain() -> u8 {
    1
}
fn default_eligible_at() -> f64 {
    0.90
}
fn default_ineligible_at() -> f64 {
    0.50
}
fn default_material() -> f64 {
    0.25
}

impl Criterion {
    /// Its thresholds.
    #[must_use]
    pub fn thresholds(&self) -> Thresholds {
        Thresholds { eligible_at: self.eligible_at, ineligible_at: self.ineligible_at, material: self.material }
    }

    pub(crate) fn members(&self) -> impl Iterator<Item = &Members> {
        [&self.allow, &self.deny, &self.any_of, &self.none_of, &self.none_of_except].into_iter().flatten()
    }

    /// What it asks, with named sets looked up. `None` when a set is missing or not exactly one test is given.
    #[must_use]
    pub fn test<'a>(&'a self, sets: &'a BTreeMap<String, NamedSet>) -> Option<Test<'a>> {
        if self.members().count() != 1 {
            return None;
        }
        let look = |members: &'a Members| match members {
            Members::List(list) => Some(list),
            Members::Set(name) => sets.get(name.strip_prefix("set:")?).map(|set| &set.members),
        };
        if let Some(members) = &self.allow {
            return look(members).map(Test::Allow);
        }
        if let Some(members) = &self.deny {
            return look(members).map(Test::Deny);
        }
        if let Some(members) = &self.any_of {
            return look(members).map(Test::AnyOf);
        }
        if let Some(members) = &self.none_of {
            return look(members).map(Test::NoneOf);
        }
        self.none_of_except.as_ref().and_then(look).map(Test::NoneOfExcept)
    }
}

/// Other criteria that take the place of some of the policy's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exemption {
    /// Unique within the policy.
    pub id: String,
    /// The criteria it replaces; never empty.
    pub waives: BTreeSet<String>,
    /// The law it rests on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub citation: Option<String>,
    /// What must hold instead.
    pub criteria: Vec<Criterion>,
}

/// Who ordered it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Authority {
    /// Name of the authority.
    pub name: String,
    /// Citation.
    pub citation: String,
}

/// Whether the policy asks for whom a caller uses its resources; see [`crate::end_users`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndUser {
    /// Nobody asks.
    #[default]
    Ignored,
    /// For somebody for whom the caller's own organisation vouches, and against whom nothing is held.
    Vouched,
    /// For somebody who is eligible too.
    Required,
}

impl EndUser {
    /// The name used in JSON and texts.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            EndUser::Ignored => "ignored",
            EndUser::Vouched => "vouched",
            EndUser::Required => "required",
        }
    }

    /// Whether nobody asks, as where nothing is said.
    #[must_use]
    pub fn is_ignored(&self) -> bool {
        *self == EndUser::Ignored
    }
}

/// What a party that asks for eligibility as an attribute may learn beside yes or no and until when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Disclosure {
    /// Which of the four answers it is.
    Status,
    /// How sure the answer is.
    Confidence,
    /// What a yes rests on: kinds of evidence with their sources and dates.
    Evidence,
}

impl Disclosure {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Status, Self::Confidence, Self::Evidence];

    /// Its name in JSON and TOML.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Confidence => "confidence",
            Self::Evidence => "evidence",
        }
    }

    /// The one of that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|disclosure| disclosure.as_str() == name)
    }
}

/// Criteria that must all hold for its resources. Immutable once committed; the server numbers versions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Name.
    pub id: String,
    /// One line for people.
    pub title: String,
    /// Resources and families it governs once activated.
    pub resources: Vec<ResourcePattern>,
    /// Pinned packs, `name@version`.
    pub definitions: BTreeSet<String>,
    /// Countries in which the rule may be applied.
    #[serde(default)]
    pub applies_in: BTreeSet<String>,
    /// How far a promise may reach.
    #[serde(default = "default_max_ttl")]
    pub max_ttl: Span,
    /// Longest life of a token.
    #[serde(default = "default_token_ttl")]
    pub token_ttl: Span,
    /// How long connected checks may answer from the last poll. Absent: 0 with an authority, else 15 minutes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outage_grace: Option<Span>,
    /// Whether callers have to say for whom; left out where they need not, so that rules without it keep their digest.
    #[serde(default, skip_serializing_if = "EndUser::is_ignored")]
    pub end_user: EndUser,
    /// Who ordered it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authority: Option<Authority>,
    /// What identity providers that are registered to learn it may learn beside yes or no and until when. Empty, it is
    /// not written out, so that rules which disclose nothing keep their digest.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub discloses: BTreeSet<Disclosure>,
    /// All of these must hold.
    pub criteria: Vec<Criterion>,
    /// Tried in order when the main criteria do not hold.
    #[serde(default)]
    pub exemptions: Vec<Exemption>,
}

fn default_max_ttl() -> Span {
    Span::from_secs(90 * DAY)
}
fn default_token_ttl() -> Span {
    Span::from_secs(900)
}

impl Policy {
    /// Reads a policy from TOML; meaning is checked by [`Policy::check`].
    ///
    /// # Errors
    /// [`PolicyError::Syntax`] with line and column.
    pub fn from_toml(text: &str) -> Result<Self, PolicyError> {
        let mut policy: Self = toml::from_str(text).map_err(|error| PolicyError::Syntax(error.to_string()))?;
        policy.write_out_defaults();
        Ok(policy)
    }

    /// Writes out the defaults that depend on other members, so that a digest names every number.
    pub fn write_out_defaults(&mut self) {
        let grace = if self.authority.is_some() { 0 } else { 900 };
        self.outage_grace.get_or_insert(Span::from_secs(grace));
    }

    /// Every criterion, of the policy and of its exemptions.
    pub fn all_criteria(&self) -> impl Iterator<Item = &Criterion> {
        self.criteria.iter().chain(self.exemptions.iter().flat_map(|exemption| exemption.criteria.iter()))
    }

    /// Refuses what cannot work; [`Policy::findings`] tells everything at once.
    ///
    /// # Errors
    /// [`PolicyError::Content`] with the first of what is refused.
    pub fn check(&self, library: &Library) -> Result<(), PolicyError> {
        match self.findings(library).into_iter().find(|finding| finding.level == Level::Refused) {
            Some(finding) => Err(PolicyError::Content { policy: self.id.clone(), finding: Box::new(finding) }),
            None => Ok(()),
        }
    }
}

/// The kind of source that normally makes statements of a kind.
#[must_use]
pub fn source_of(kind: Kind) -> Option<SourceKind> {
    match kind {
        Kind::DocumentCheck => Some(SourceKind::DocumentVendor),
        Kind::Registry => Some(SourceKind::Registry),
        Kind::Review => Some(SourceKind::Reviewer),
        Kind::Vouch | Kind::Directory => Some(SourceKind::Employer),
        Kind::Declaration => Some(SourceKind::Subject),
        Kind::Observation => Some(SourceKind::Network),
        Kind::Adjudication | Kind::CrossCheck => None,
    }
}
