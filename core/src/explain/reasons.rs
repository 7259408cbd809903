//! Reason codes: one line per criterion, and what is worth telling beside it.

use crate::criterion::{Answer, Prepared};
use crate::definitions::Pack;
use crate::evidence::{Evidence, Says};
use crate::fusion::{Item, Side, SilenceCause, Status};
use crate::second::Second;
use std::collections::BTreeSet;

/// Stable reason codes of the answering branch at `at`, in criterion order.
#[must_use]
pub fn reasons(answers: &[(&Prepared<'_>, Answer<'_, '_>)], exempt: bool, at: Second) -> Vec<String> {
    let mut codes: Vec<String> = Vec::new();
    if exempt {
        codes.push("exemption.applied".to_owned());
    }
    for (prepared, answer) in answers {
        let frame = &prepared.criterion.frame;
        let word = match answer.status {
            _ if answer.neutral => "unknown_allowed",
            Status::Eligible => "supported",
            Status::Ineligible => "adverse",
            Status::Review => "conflicting",
            Status::Insufficient if answer.opinion.con >= prepared.criterion.material => "doubted",
            Status::Insufficient if answer.opinion.b >= prepared.criterion.eligible_at => "gate_unmet",
            Status::Insufficient if answer.opinion.r > 0.0 => "insufficient",
            Status::Insufficient => "missing",
        };
        codes.push(format!("{frame}.{word}"));
        let items = &answer.keyed.question.items;
        if items.iter().any(|item| item.silence(at) == Some(SilenceCause::Overtaken)) {
            codes.push(format!("{frame}.overtaken"));
        }
        let held = answer.keyed.evidence.iter().chain(&answer.keyed.silent);
        codes.extend(held.filter(|e| e.stands(at)).flat_map(|e| e.tells.iter().cloned()));
        if inconsistent(prepared.pack, &answer.keyed.evidence, items, at) {
            codes.push(format!("{frame}.inconsistent"));
        }
    }
    let mut seen = BTreeSet::new();
    codes.retain(|code| seen.insert(code.clone()));
    codes
}

/// Support drawn from two exclusive states that no lawful change puts in order: told, never blocking.
fn inconsistent(pack: &Pack, evidence: &[&Evidence], items: &[Item], at: Second) -> bool {
    let supporting =
        evidence.iter().zip(items).filter(|(_, item)| item.side == Side::Supports && item.units_at(at) > 0.0);
    let states: Vec<Dated<'_>> = supporting
        .filter_map(|(e, _)| match &e.says {
            Says::States(states) => Some((e.fact_date, states)),
            _ => None,
        })
        .collect();
    let leads = |(before, from): Dated<'_>, (after, to): Dated<'_>| {
        before.zip(after).is_some_and(|(before, after)| before < after) && pack.leads(from, to)
    };
    let apart = |a: Dated<'_>, b: Dated<'_>| a.1.is_disjoint(b.1) && !leads(a, b) && !leads(b, a);
    states.iter().any(|a| states.iter().any(|b| apart(*a, *b)))
}

/// States, and since when.
type Dated<'e> = (Option<Second>, &'e BTreeSet<String>);
