//! Ownership by exact shares along chains of owners.
//!
//! Every owner of an organisation is listed, an organisation with owners of its own, or somebody who is neither. What the listed
//! ones hold together is an interval: what is known at least, and what it can be at most, since owners may be left
//! unnamed and owners' owners unknown. Shares are rational numbers: three thirds are one.

use crate::fusion::Side;
use crate::policy::{Aggregate, Along};
use num_rational::BigRational;
use num_traits::{One as _, Signed as _, Zero as _};
use serde::{Deserialize, Serialize};
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// A share of an organisation, from 0 to 1, or one that is held but not known.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Share {
    /// This much.
    Known(BigRational),
    /// The owner holds something; how much is not known.
    Unknown,
}

/// Why a text is not a share.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected a share such as `30%`, `12.5%`, `1/3` or `unknown`, between 0 and 100 %")]
pub struct ParseShareError;

/// Longest number in a share, in digits: more is no share but an attempt to make us count.
const MAX_DIGITS: usize = 18;

impl Share {
    /// Reads `30%`, `12.5%`, `1/3` or `unknown`.
    ///
    /// # Errors
    /// When the text is none of these, or lies outside 0 to 100 %.
    pub fn parse(text: &str) -> Result<Self, ParseShareError> {
        if text == "unknown" {
            return Ok(Share::Unknown);
        }
        let share = match text.strip_suffix('%') {
            Some(percent) => {
                let (whole, fraction) = percent.split_once('.').unwrap_or((percent, "0"));
                let scale = u32::try_from(fraction.len()).ok().filter(|digits| *digits <= 9).ok_or(ParseShareError)?;
                let denominator = 10_u64.checked_pow(scale).ok_or(ParseShareError)?;
                let numerator = digits(whole)?.checked_mul(denominator).ok_or(ParseShareError)?;
                let numerator = numerator.checked_add(digits(fraction)?).ok_or(ParseShareError)?;
                ratio(numerator, denominator) / ratio(100, 1)
            }
            None => {
                let (numerator, denominator) = text.split_once('/').ok_or(ParseShareError)?;
                let denominator = digits(denominator)?;
                if denominator == 0 {
                    return Err(ParseShareError);
                }
                ratio(digits(numerator)?, denominator)
            }
        };
        if share > BigRational::one() { Err(ParseShareError) } else { Ok(Share::Known(share)) }
    }

    /// Whether known shares come to more than the whole.
    #[must_use]
    pub fn exceed_the_whole<'s>(shares: impl IntoIterator<Item = &'s Share>) -> bool {
        let mut sum = BigRational::zero();
        for share in shares {
            if let Share::Known(share) = share {
                sum += share;
            }
        }
        sum > BigRational::one()
    }

    /// Whether something can be measured by it: known and above nothing.
    #[must_use]
    pub fn is_threshold(&self) -> bool {
        matches!(self, Share::Known(share) if share.is_positive())
    }
}

fn digits(text: &str) -> Result<u64, ParseShareError> {
    let plain = (1..=MAX_DIGITS).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    if plain { text.parse().map_err(|_| ParseShareError) } else { Err(ParseShareError) }
}

fn ratio(numerator: u64, denominator: u64) -> BigRational {
    BigRational::new(numerator.into(), denominator.into())
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Share::Known(share) => write!(f, "{}/{}", share.numer(), share.denom()),
            Share::Unknown => f.write_str("unknown"),
        }
    }
}

impl TryFrom<String> for Share {
    type Error = ParseShareError;
    fn try_from(text: String) -> Result<Self, ParseShareError> {
        Self::parse(&text)
    }
}

impl From<Share> for String {
    fn from(share: Share) -> String {
        share.to_string()
    }
}

/// What listed owners hold together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Held {
    /// At least.
    pub(crate) low: BigRational,
    /// At most.
    pub(crate) high: BigRational,
    /// A listed owner is known to hold a share that is not.
    pub(crate) unknown: bool,
}

impl Held {
    fn nothing() -> Self {
        Self { low: BigRational::zero(), high: BigRational::zero(), unknown: false }
    }

    /// Nothing is known of an organisation's owners.
    fn opaque() -> Self {
        Self { high: BigRational::one(), ..Self::nothing() }
    }
}

/// Longest chain of owners that is followed; beyond it nothing is known.
const MAX_DEPTH: usize = 16;

/// One organisation's owners, by every statement about it that stands.
pub(crate) type Register<'s> = BTreeMap<&'s str, Vec<&'s BTreeMap<String, Share>>>;

/// How listed owners stand behind one statement about an organisation's owners.
pub(crate) struct Chains<'s> {
    /// Statements about the owners of other organisations.
    pub(crate) register: Register<'s>,
    /// The listed.
    pub(crate) listed: &'s BTreeSet<String>,
    /// The threshold.
    pub(crate) aggregate: &'s Aggregate,
    /// The name under which an owner's own owners are known.
    pub(crate) known_as: &'s dyn Fn(&str) -> Option<String>,
    /// Statements that may still be looked at: owners who own each other many times over are not followed for ever.
    pub(crate) budget: Cell<u32>,
}

/// Statements looked at for one answer, at most.
pub(crate) const BUDGET: u32 = 10_000;

impl Chains<'_> {
    /// What the listed hold by this statement about `organisation`.
    pub(crate) fn held(&self, organisation: &str, owners: &BTreeMap<String, Share>) -> Held {
        self.by_statement(owners, &mut vec![organisation.to_owned()])
    }

    /// Everybody whose owners were asked for, `organisation` left out.
    pub(crate) fn consulted(&self, owners: &BTreeMap<String, Share>) -> BTreeSet<String> {
        let mut seen = BTreeSet::new();
        let mut edge: Vec<&BTreeMap<String, Share>> = vec![owners];
        while let Some(owners) = edge.pop() {
            for key in owners.keys().filter(|key| !self.is_listed(key)) {
                let Some(name) = (self.known_as)(key) else { continue };
                let statements = self.register.get(name.as_str()).into_iter().flatten().copied();
                if seen.insert(name.clone()) {
                    edge.extend(statements);
                }
            }
        }
        seen
    }

    /// Which way it speaks: for, against, both where a listed owner's share is not known, neither where owners are not.
    pub(crate) fn sides(&self, held: &Held) -> Vec<Side> {
        let Share::Known(at) = &self.aggregate.at else { return Vec::new() };
        if held.low >= *at {
            vec![Side::Adverse]
        } else if held.high < *at {
            vec![Side::Supports]
        } else if held.unknown {
            vec![Side::Supports, Side::Adverse]
        } else {
            Vec::new()
        }
    }

    fn is_listed(&self, key: &str) -> bool {
        self.listed.contains(key) || (self.known_as)(key).is_some_and(|name| self.listed.contains(&name))
    }

    fn by_statement(&self, owners: &BTreeMap<String, Share>, path: &mut Vec<String>) -> Held {
        let Some(left) = self.budget.get().checked_sub(1) else { return Held::opaque() };
        self.budget.set(left);
        let mut held = Held::nothing();
        let mut rest = BigRational::one();
        for (key, share) in owners {
            let behind = if self.is_listed(key) {
                Held { low: BigRational::one(), high: BigRational::one(), unknown: false }
            } else {
                self.behind(key, path)
            };
            match share {
                Share::Known(share) => {
                    rest -= share;
                    held.low += share * &behind.low;
                    held.high += share * &behind.high;
                    held.unknown |= behind.unknown && share.is_positive();
                }
                Share::Unknown => {
                    held.unknown |= behind.low.is_positive() || behind.unknown;
                }
            }
        }
        // What nobody accounts for may be anybody's.
        if rest.is_positive() {
            held.high += rest;
        }
        held.high = held.high.min(BigRational::one());
        held
    }

    /// What the listed hold of an owner.
    fn behind(&self, key: &str, path: &mut Vec<String>) -> Held {
        // A name of no organisation that we know is an owner of flesh and blood, or one whom the list would name.
        let Some(name) = (self.known_as)(key) else { return Held::nothing() };
        if path.len() >= MAX_DEPTH || path.contains(&name) {
            return Held::opaque();
        }
        let Some(statements) = self.register.get(name.as_str()).filter(|statements| !statements.is_empty()) else {
            return Held::opaque();
        };
        path.push(name);
        let mut worst = Held::nothing();
        for owners in statements {
            let held = self.by_statement(owners, path);
            worst.low = worst.low.max(held.low);
            worst.high = worst.high.max(held.high);
            worst.unknown |= held.unknown;
        }
        path.pop();
        match self.aggregate.along {
            Along::Product => worst,
            Along::Control => self.controlled(&worst),
        }
    }

    /// An owner that the listed control counts whole; one that they cannot control not at all.
    fn controlled(&self, held: &Held) -> Held {
        let Share::Known(at) = &self.aggregate.at else { return Held::opaque() };
        if held.low >= *at {
            Held { low: BigRational::one(), high: BigRational::one(), unknown: false }
        } else if held.high < *at {
            Held::nothing()
        } else {
            Held { unknown: held.unknown, ..Held::opaque() }
        }
    }
}
