//! Proof that whoever one policy lets in, the other lets in too.
//!
//! A criterion is met when it is eligible or neutral. Its evidence, sides, fading and dependence are the same under both
//! policies as long as packs and numbers are, so it is enough to look at the test, the thresholds and the gate:
//! more allowed states turn adverse items into silent or supporting ones and never the reverse, a higher `material` and a lower
//! `eligible_at` are reached sooner.

use super::{Branch, Side};
use crate::definitions::{Pack, Shape, Weights};
use crate::policy::{Criterion, Gate, Test, WhenUnknown};
use std::collections::{BTreeMap, BTreeSet};

/// Most pairs of criteria, branch by branch, that are looked at: far more than a policy for people has.
const MOST: usize = 100_000;

/// Whether everybody whom `inner` lets in is let in by `outer` too. What keeps it from being proved is added to `open`.
pub(super) fn includes(inner: &Side, outer: &Side, open: &mut BTreeSet<String>) -> bool {
    let (ours, theirs) = (inner.branches(), outer.branches());
    let size = |branches: &[Branch<'_>]| branches.iter().map(|b| 1 + b.stored.len() + b.live.len()).sum::<usize>();
    if size(&ours).saturating_mul(size(&theirs)) > MOST {
        open.insert("more criteria and exemptions than are compared".to_owned());
        return false;
    }
    let mut implied = |c: &Criterion, d: &Criterion| implies(inner, c, outer, d, open);
    let mut covered = |branch: &Branch<'_>| {
        theirs.iter().any(|other| other.stored.iter().all(|d| branch.stored.iter().any(|c| implied(c, d))))
    };
    let stored = ours.iter().all(&mut covered);
    // The first eligible branch answers, whichever that is, and what it leaves to the request is judged then.
    let live = ours
        .iter()
        .all(|branch| theirs.iter().all(|other| other.live.iter().all(|d| branch.live.iter().any(|c| implied(c, d)))));
    stored && live
}

/// What a test lets in.
enum Range<'t> {
    Only(BTreeSet<&'t str>),
    AllBut(BTreeSet<&'t str>),
}

impl Range<'_> {
    fn within(&self, other: &Range<'_>) -> bool {
        match (self, other) {
            (Range::Only(a), Range::Only(b)) => a.is_subset(b),
            (Range::Only(a), Range::AllBut(b)) => a.is_disjoint(b),
            (Range::AllBut(_), Range::Only(_)) => false,
            (Range::AllBut(a), Range::AllBut(b)) => b.is_subset(a),
        }
    }
}

enum Asked<'t> {
    /// One of these states.
    States(Range<'t>),
    /// Yes on one of these keys.
    AnyKey(Range<'t>),
    /// Yes on none of these keys.
    NoKey(Range<'t>),
}

fn asked<'t>(test: &Test<'t>, pack: &'t Pack) -> Asked<'t> {
    let list = |list: &'t BTreeSet<String>| list.iter().map(String::as_str).collect::<BTreeSet<&str>>();
    match (test, &pack.shape) {
        (Test::Allow(states), _) => Asked::States(Range::Only(list(states))),
        (Test::Deny(states), Shape::State { states: frame }) => {
            Asked::States(Range::Only(frame.difference(states).map(String::as_str).collect()))
        }
        (Test::Deny(states), _) => Asked::States(Range::AllBut(list(states))),
        (Test::AnyOf(keys), _) => Asked::AnyKey(Range::Only(list(keys))),
        (Test::NoneOf(keys), _) => Asked::NoKey(Range::Only(list(keys))),
        (Test::NoneOfExcept(keys), _) => Asked::NoKey(Range::AllBut(list(keys))),
    }
}

/// Whether `d` is met under `outer` whenever `c` is met under `inner`.
fn implies(inner: &Side, c: &Criterion, outer: &Side, d: &Criterion, open: &mut BTreeSet<String>) -> bool {
    if rest(c) != rest(d) {
        return false;
    }
    let (packs, sets) = (&inner.rules.body.packs, &inner.rules.body.sets);
    let (Some(pack), Some(other)) = (packs.get(&c.frame), outer.rules.body.packs.get(&d.frame)) else { return false };
    let (Some(first), Some(second)) = (c.test(sets), d.test(&outer.rules.body.sets)) else { return false };
    let (ours, theirs) = (&inner.rules.body.weights, &outer.rules.body.weights);
    if !alike(ours, theirs, pack, other, open) || harder(ours, theirs, pack, other) || d.material < c.material {
        return false;
    }
    // An owner who is no longer listed is looked behind, so that other statements count.
    if pack.shape == Shape::Shares && first != second {
        return false;
    }
    let neutral = |criterion: &Criterion| criterion.when_unknown == WhenUnknown::Allow;
    let reached = d.eligible_at <= c.eligible_at && weaker(c.gate.as_ref(), d.gate.as_ref());
    match (asked(&first, pack), asked(&second, other)) {
        (Asked::States(a), Asked::States(b)) => a.within(&b) && (neutral(d) || (!neutral(c) && reached)),
        (Asked::AnyKey(a), Asked::AnyKey(b)) => {
            // Neutral means that no key is doubted, so then the keys must be the same.
            a.within(&b) && reached && (!neutral(c) || (neutral(d) && b.within(&a)))
        }
        (Asked::NoKey(a), Asked::NoKey(b)) => b.within(&a) && (neutral(d) || (!neutral(c) && reached)),
        _ => false,
    }
}

/// The criterion without what the implication looks at, without names, and without `strict` and `ineligible_at`, which say how
/// long a yes holds and which no is given.
fn rest(criterion: &Criterion) -> Criterion {
    let blank = Criterion { id: String::new(), citation: None, allow: None, deny: None, ..criterion.clone() };
    let blank = Criterion { any_of: None, none_of: None, none_of_except: None, gate: None, ..blank };
    let blank = Criterion { eligible_at: 0.5, ineligible_at: 0.5, material: 0.5, ..blank };
    Criterion { when_unknown: WhenUnknown::Refuse, strict: false, ..blank }
}

/// Whether whatever opens the gate `c` opens the gate `d` too.
fn weaker(c: Option<&Gate>, d: Option<&Gate>) -> bool {
    match (c, d) {
        (_, None) => true,
        (None, Some(_)) => false,
        (Some(c), Some(d)) => d.grade <= c.grade && c.from.is_subset(&d.from),
    }
}

/// Whether numbers or declared changes that move one way move against those who are let in.
fn harder(inner: &Weights, outer: &Weights, pack: &Pack, other: &Pack) -> bool {
    let slower = pack.rows.iter().all(|row| match (inner.classes.get(&row.class), outer.classes.get(&row.class)) {
        (Some(a), Some(b)) => a.grace_secs <= b.grace_secs && a.half_life_secs <= b.half_life_secs,
        _ => true,
    });
    let changes = |pack: &Pack| pack.transitions.iter().cloned().collect::<BTreeSet<_>>();
    let easier = slower
        && changes(pack).is_subset(&changes(other))
        && other.vouches.adverse_basis.is_subset(&pack.vouches.adverse_basis);
    !easier
}

/// Whether everything is the same that moves both sides of the evidence, so that nothing could be concluded from it. What
/// differs is added to `open`. Both sides are compiled from one library: only what packs bring can differ.
fn alike(inner: &Weights, outer: &Weights, pack: &Pack, other: &Pack, open: &mut BTreeSet<String>) -> bool {
    let frame = &pack.id;
    let mut alike = true;
    let mut differs = |same: bool, what: &str| {
        if !same {
            alike = false;
            open.insert(format!("{what} of frame `{frame}` differ"));
        }
    };
    let rows = |pack: &Pack| pack.rows.iter().map(|row| (row.id.clone(), row.clone())).collect::<BTreeMap<_, _>>();
    differs(pack.shape == other.shape, "states");
    differs(rows(pack) == rows(other), "rows");
    let column = |weights: &Weights| {
        weights.trust.iter().filter_map(|(source, frames)| Some((*source, *frames.get(frame)?))).collect::<Vec<_>>()
    };
    differs(column(inner) == column(outer), "numbers `trust`");
    let age = |weights: &Weights| {
        pack.rows.iter().map(|row| weights.classes.get(&row.class).map(|class| class.max_age_secs)).collect::<Vec<_>>()
    };
    differs(age(inner) == age(outer), "numbers `max_age`");
    alike
}
