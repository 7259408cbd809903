//! Sets of fresh items that suffice and of which none can be left out: one, two, or as many as it takes.

use super::offers::{MOST_ITEMS, Newness};
use super::shapes::{Candidate, Group, freshness, several};
use super::target::Target;
use crate::facts::{Grade, SourceKind};
use crate::policy::source_of;
use std::collections::BTreeMap;

/// Single items that suffice: for each group the least grade, and a lower one that has to be newer.
pub(super) fn singles<'g, 'p>(target: &Target<'_>, groups: &'g [Group<'p>]) -> Vec<Vec<Candidate<'g, 'p>>> {
    let mut found = Vec::new();
    for group in groups {
        let mut lowest: Option<Grade> = None;
        for from in freshness(group.kind, target.of_state) {
            let candidate =
                |(grade, units): &(Grade, f64)| vec![Candidate { group, grade: *grade, units: *units, from: *from }];
            let below = group.units.iter().filter(|(grade, _)| lowest.is_none_or(|lowest| *grade < lowest));
            if let Some(set) = below.map(candidate).find(|set| target.minimal(set)) {
                lowest = set.first().map(|item| item.grade);
                found.push(set);
            }
        }
    }
    found
}

/// Two items that suffice together where neither does alone.
pub(super) fn pairs<'g, 'p>(target: &Target<'_>, groups: &'g [Group<'p>]) -> Vec<Vec<Candidate<'g, 'p>>> {
    // Items of each group at each grade, as new as they may have to be.
    let all: Vec<Candidate<'g, 'p>> = groups
        .iter()
        .flat_map(|group| {
            let newness = freshness(group.kind, target.of_state)
                .iter()
                .filter(move |from| **from != Newness::Any || !several(group.kind, target.of_state));
            newness.flat_map(move |from| {
                group.units.iter().map(move |(grade, units)| Candidate {
                    group,
                    grade: *grade,
                    units: *units,
                    from: *from,
                })
            })
        })
        .collect();
    let mut found: Vec<Vec<Candidate<'g, 'p>>> = Vec::new();
    for (index, x) in all.iter().enumerate() {
        for y in all.iter().skip(index) {
            let twice = source_of(x.group.kind) == source_of(y.group.kind);
            if twice && !(several(x.group.kind, target.of_state) && several(y.group.kind, target.of_state)) {
                continue;
            }
            let set = vec![*x, *y];
            // Cheap first: they cannot bring more than all they weigh.
            if target.enough(target.most(&set), target.opens_gate(&set)) && target.minimal(&set) {
                found.push(set);
            }
        }
    }
    undominated(found)
}

/// Leaves out what asks for more than another set of the same groups.
fn undominated<'g, 'p>(sets: Vec<Vec<Candidate<'g, 'p>>>) -> Vec<Vec<Candidate<'g, 'p>>> {
    let asks_no_more = |a: &Candidate<'_, '_>, b: &Candidate<'_, '_>| {
        std::ptr::eq(a.group, b.group) && a.grade <= b.grade && a.from <= b.from
    };
    let covers = |small: &[Candidate<'_, '_>], large: &[Candidate<'_, '_>]| match (small, large) {
        ([a, b], [c, d]) => (asks_no_more(a, c) && asks_no_more(b, d)) || (asks_no_more(a, d) && asks_no_more(b, c)),
        _ => false,
    };
    // No two sets ask for the same.
    let covered = |(index, own): (usize, &Vec<Candidate<'_, '_>>)| {
        sets.iter().enumerate().any(|(other, set)| other != index && covers(set, own))
    };
    let kept: Vec<bool> = sets.iter().enumerate().map(|set| !covered(set)).collect();
    sets.into_iter().zip(kept).filter(|(_, kept)| *kept).map(|(set, _)| set).collect()
}

/// More than two items, where fewer never suffice: the strongest of each kind from sources of their own, then more of them.
pub(super) fn many<'g, 'p>(target: &Target<'_>, groups: &'g [Group<'p>]) -> Option<Vec<Candidate<'g, 'p>>> {
    let mut strongest: BTreeMap<Option<SourceKind>, Candidate<'g, 'p>> = BTreeMap::new();
    for group in groups {
        let Some((grade, units)) = group.units.last() else { continue };
        let from = *freshness(group.kind, target.of_state).last()?;
        let candidate = Candidate { group, grade: *grade, units: *units, from };
        let held = strongest.entry(source_of(group.kind)).or_insert(candidate);
        if candidate.units > held.units {
            *held = candidate;
        }
    }
    let mut pool: Vec<Candidate<'g, 'p>> = strongest.into_values().collect();
    pool.sort_by(|a, b| b.units.total_cmp(&a.units));
    let again: Vec<_> = pool.iter().copied().filter(|item| several(item.group.kind, target.of_state)).collect();
    let mut set: Vec<Candidate<'g, 'p>> = Vec::new();
    for item in pool.into_iter().chain(again.into_iter().cycle().take(MOST_ITEMS)) {
        if set.len() == MOST_ITEMS {
            return None;
        }
        set.push(item);
        if target.enough(target.least(&set), target.opens_gate(&set)) {
            // What came in early may not be needed beside what came late.
            let mut index = 0;
            while index < set.len() {
                let mut fewer = set.clone();
                fewer.remove(index);
                match target.enough(target.least(&fewer), target.opens_gate(&fewer)) {
                    true => set = fewer,
                    false => index += 1,
                }
            }
            return target.minimal(&set).then_some(set);
        }
    }
    None
}
