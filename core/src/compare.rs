//! Whom one policy lets in and another does not.
//!
//! A verdict is claimed only when it is proved: that nobody loses (or gains) by implication of every branch of the one from
//! a branch of the other; that somebody does by an example, run through `decide` under both. Where neither
//! succeeds the verdict is [`Verdict::NotDecided`].

mod examples;
mod implication;

use crate::facts::Attestation;
use crate::ids::{ResourceId, ResourcePattern};
use crate::policy::{Criterion, EndUser, Policy};
use crate::rules::{Library, Rules, RulesError};
use crate::second::{DAY, Second};
use crate::{Decision, Status};
use serde::Serialize;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

/// How the new policy stands to the old one, for a resource that both govern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The same people at every instant, for as long.
    Equal,
    /// Nobody who is let in by the old one is shut out by the new one, or sooner.
    Wider,
    /// Nobody whom the old one shuts out is let in by the new one, or for longer.
    Narrower,
    /// Somebody gains and somebody loses.
    Incomparable,
    /// Neither proved nor disproved.
    NotDecided,
}

impl Verdict {
    /// In words.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::Equal => "equal",
            Verdict::Wider => "wider",
            Verdict::Narrower => "narrower",
            Verdict::Incomparable => "incomparable",
            Verdict::NotDecided => "not decided",
        }
    }
}

/// A person whom one policy lets in and the other does not.
#[derive(Debug, Clone, Serialize)]
pub struct Example {
    /// The instant.
    pub at: Second,
    /// What is known of them.
    pub attestations: Vec<Attestation>,
    /// What their request shows.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub request: Vec<Attestation>,
    /// The decision under the old policy.
    pub old: Decision,
    /// The decision under the new policy.
    pub new: Decision,
}

/// What was found.
#[derive(Debug, Clone, Serialize)]
pub struct Comparison {
    /// For a resource that both govern.
    pub verdict: Verdict,
    /// Somebody whom only the new one lets in.
    pub gains: Option<Example>,
    /// Somebody whom only the old one lets in.
    pub loses: Option<Example>,
    /// Why nothing is claimed, or what the verdict does not say.
    pub open: Vec<String>,
    /// Resources that only the old one governs.
    pub no_longer_governed: Vec<ResourcePattern>,
    /// Resources that only the new one governs.
    pub newly_governed: Vec<ResourcePattern>,
}

/// One way of being let in: the main criteria, or an exemption with those it does not waive.
struct Branch<'p> {
    stored: Vec<&'p Criterion>,
    live: Vec<&'p Criterion>,
}

/// One of the two policies, ready to be compared.
struct Side {
    rules: Rules,
    policy: Policy,
}

impl Side {
    fn new(policy: &Policy, library: &Library) -> Result<Self, RulesError> {
        let mut policy = policy.clone();
        policy.write_out_defaults();
        let resource = ResourceId::parse("compared")
            .map_err(|error| RulesError { resource: "compared".to_owned(), problem: error.to_string() })?;
        // Long before any example's evidence, so that only the evidence dates the decision.
        let rules = Rules::of(library, &policy, resource, Second::from_epoch(0))?;
        Ok(Self { rules, policy })
    }

    fn branches(&self) -> Vec<Branch<'_>> {
        fn branch<'p>(criteria: impl Iterator<Item = &'p Criterion>) -> Branch<'p> {
            let (live, stored) = criteria.partition(|criterion| criterion.live);
            Branch { stored, live }
        }
        let main = branch(self.policy.criteria.iter());
        let exempt = self.policy.exemptions.iter().map(|exemption| {
            let kept = self.policy.criteria.iter().filter(|criterion| !exemption.waives.contains(&criterion.id));
            branch(kept.chain(&exemption.criteria))
        });
        std::iter::once(main).chain(exempt).collect()
    }
}

/// Compares two policies that both pass their check.
///
/// # Errors
/// When the library does not hold a pack or set that one of them names.
pub fn compare(old: &Policy, new: &Policy, library: &Library) -> Result<Comparison, RulesError> {
    let (old, new) = (Side::new(old, library)?, Side::new(new, library)?);
    let mut open = BTreeSet::new();
    let nobody_loses = implication::includes(&old, &new, &mut open);
    let nobody_gains = implication::includes(&new, &old, &mut open);
    let (gains, loses) = if nobody_loses && nobody_gains {
        (None, None)
    } else {
        examples::find(&old, &new, nobody_gains, nobody_loses)
    };
    let (mut longer, mut shorter) = lifetimes(&old.policy, &new.policy);
    let end_users = end_users(&old.policy, &new.policy);
    let mut verdict = match (nobody_loses, nobody_gains) {
        (true, true) => Verdict::Equal,
        (true, false) => Verdict::Wider,
        (false, true) => Verdict::Narrower,
        (false, false) if gains.is_some() && loses.is_some() => Verdict::Incomparable,
        (false, false) => Verdict::NotDecided,
    };
    if verdict == Verdict::NotDecided {
        open.extend(thresholds(&old.policy, &new.policy));
    } else {
        // A proof is a proof.
        open.clear();
    }
    let mut open: Vec<String> = open.into_iter().collect();
    match verdict {
        Verdict::Wider if gains.is_none() => open.push("nobody was found who gains: perhaps nobody does".to_owned()),
        Verdict::Narrower if loses.is_none() => open.push("nobody was found who loses: perhaps nobody does".to_owned()),
        _ => {}
    }
    match end_users {
        EndUsers::Alike => {}
        EndUsers::MoreGetIn(what) => longer.push(what),
        EndUsers::FewerGetIn(what) => {
            open.push("whoever names no end user loses".to_owned());
            shorter.push(what);
        }
        EndUsers::Unknown(_) if verdict == Verdict::Incomparable => {}
        EndUsers::Unknown(why) => {
            open.push(why);
            verdict = Verdict::NotDecided;
        }
    }
    verdict = match (verdict, longer.is_empty(), shorter.is_empty()) {
        (held, true, true) | (held @ (Verdict::Incomparable | Verdict::NotDecided), _, _) => held,
        (Verdict::Equal | Verdict::Wider, false, true) => Verdict::Wider,
        (Verdict::Equal | Verdict::Narrower, true, false) => Verdict::Narrower,
        (_, _, _) => {
            open.push(format!("people and lifetimes move apart: {}", [longer, shorter].concat().join(", ")));
            Verdict::NotDecided
        }
    };
    let only = |a: &Policy, b: &Policy| -> Vec<ResourcePattern> {
        a.resources.iter().filter(|pattern| !b.resources.contains(pattern)).cloned().collect()
    };
    Ok(Comparison {
        verdict,
        gains,
        loses,
        open,
        no_longer_governed: only(&old.policy, &new.policy),
        newly_governed: only(&new.policy, &old.policy),
    })
}

/// Numbers that say for how long a yes holds: those that got longer, those that got shorter.
fn lifetimes(old: &Policy, new: &Policy) -> (Vec<String>, Vec<String>) {
    let (mut longer, mut shorter) = (Vec::new(), Vec::new());
    let grace = |policy: &Policy| policy.outage_grace.map_or(0, crate::policy::Span::secs);
    for (name, before, after) in [
        ("max_ttl", old.max_ttl.secs(), new.max_ttl.secs()),
        ("token_ttl", old.token_ttl.secs(), new.token_ttl.secs()),
        ("outage_grace", grace(old), grace(new)),
    ] {
        let list = match after.cmp(&before) {
            Ordering::Greater => &mut longer,
            Ordering::Less => &mut shorter,
            Ordering::Equal => continue,
        };
        list.push(format!("`{name}` {} to {}", span(before), span(after)));
    }
    // A strict criterion ends a yes with the earliest document.
    let strict = |policy: &Policy| -> BTreeMap<String, bool> {
        policy.all_criteria().filter(|criterion| criterion.strict).map(|c| (c.id.clone(), true)).collect()
    };
    let (before, after) = (strict(old), strict(new));
    longer.extend(before.keys().filter(|id| !after.contains_key(*id)).map(|id| format!("`{id}` no longer strict")));
    shorter.extend(after.keys().filter(|id| !before.contains_key(*id)).map(|id| format!("`{id}` strict")));
    (longer, shorter)
}

/// How what is asked about end users stands to what was asked.
enum EndUsers {
    /// For whoever may call, it is the same.
    Alike,
    /// It is no longer asked.
    MoreGetIn(String),
    /// It is asked from now on.
    FewerGetIn(String),
    /// Nothing is proved.
    Unknown(String),
}

/// A yes needs a caller and an end user. Where both must be eligible, who gains or loses as the one does as the other. Where a
/// vouch suffices, what counts against an end user is no question of being eligible, and is compared only by being the same.
fn end_users(old: &Policy, new: &Policy) -> EndUsers {
    let (was, is) = (old.end_user, new.end_user);
    let moved = || format!("`end_user` {} to {}", was.as_str(), is.as_str());
    match (was, is) {
        (EndUser::Ignored, EndUser::Ignored) | (EndUser::Required, EndUser::Required) => EndUsers::Alike,
        (EndUser::Ignored, _) => EndUsers::FewerGetIn(moved()),
        (_, EndUser::Ignored) => EndUsers::MoreGetIn(moved()),
        (EndUser::Vouched, EndUser::Vouched) => {
            let asks = |p: &Policy| (p.criteria.clone(), p.exemptions.clone(), p.definitions.clone());
            if asks(old) == asks(new) {
                EndUsers::Alike
            } else {
                let why = "for whom a vouch suffices follows from criteria that differ, and is not compared";
                EndUsers::Unknown(why.to_owned())
            }
        }
        (EndUser::Vouched, EndUser::Required) | (EndUser::Required, EndUser::Vouched) => EndUsers::Unknown(format!(
            "{}: an end user may be vouched for and not eligible, or eligible and not vouched for",
            moved()
        )),
    }
}

/// Thresholds and gates that differ between criteria of one name.
fn thresholds(old: &Policy, new: &Policy) -> Vec<String> {
    let mut told = Vec::new();
    for (before, after) in new.all_criteria().filter_map(|c| Some((old.all_criteria().find(|o| o.id == c.id)?, c))) {
        let numbers = |c: &Criterion| [("eligible_at", c.eligible_at), ("material", c.material)];
        for ((name, before), (_, now)) in numbers(before).into_iter().zip(numbers(after)) {
            if before.to_bits() != now.to_bits() {
                told.push(format!("`{name}` of criterion `{}` is {now}, was {before}", after.id));
            }
        }
        if before.gate != after.gate {
            told.push(format!("`gate` of criterion `{}` differs", after.id));
        }
    }
    told
}

/// A length of time in the largest unit that it is a whole number of.
#[must_use]
pub fn span(seconds: i64) -> String {
    for (unit, name) in [(DAY, "d"), (3600, "h"), (60, "m")] {
        if seconds != 0 && seconds % unit == 0 {
            return format!("{}{name}", seconds / unit);
        }
    }
    format!("{seconds}s")
}

/// Whether a decision, the request judged too, is a yes.
fn let_in(decision: &Decision) -> bool {
    decision.status == Status::Eligible
}
