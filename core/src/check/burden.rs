//! Equal burden: whether one lawful status is asked for again sooner than another with evidence of the same grade.

use super::Finding;
use super::policy::{can_support, grade_cap, kinds};
use crate::definitions::{Pack, Proves, Row, Shape, Weights};
use crate::facts::{Grade, Kind};
use crate::fusion::{GATE_UNITS, crossing, discounted, r_min, units};
use crate::policy::{Criterion, Test, source_of};
use crate::second::DAY;
use std::collections::BTreeMap;

/// Kinds of proof of which a person may be asked for the next when it has faded.
const PROOFS: [Kind; 2] = [Kind::DocumentCheck, Kind::Registry];

/// Seconds for which one item of this row, kind and grade carries the criterion by itself. `None`: it never does.
#[must_use]
pub fn lasts(
    criterion: &Criterion,
    pack: &Pack,
    weights: &Weights,
    row: &Row,
    kind: Kind,
    grade: Grade,
) -> Option<i64> {
    let source = source_of(kind)?;
    if grade > grade_cap(source, pack) || !kinds(row).contains(&kind) {
        return None;
    }
    if criterion.gate.as_ref().is_some_and(|gate| !gate.from.contains(&kind) || grade < gate.grade) {
        return None;
    }
    let class = weights.classes.get(&row.class)?;
    let fresh = units(discounted(weights.sigma(grade), weights.trust(source, &pack.id)?, weights.cap));
    let gate = if criterion.gate.is_some() { GATE_UNITS } else { 0.0 };
    let needed = r_min(criterion.eligible_at, 0.0).max(gate);
    if fresh < needed {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, reason = "a century in seconds fits")]
    let faded = crossing(fresh, class.grace_secs, class.half_life_secs, needed).floor() as i64 + 1;
    Some(class.max_age_secs.map_or(faded, |age| faded.min(age)))
}

pub(super) fn finding(
    criterion: &Criterion,
    pack: &Pack,
    weights: &Weights,
    test: &Test<'_>,
    at: &str,
) -> Option<Finding> {
    let Shape::State { states } = &pack.shape else { return None };
    let allowed: Vec<&String> = match test {
        Test::Allow(list) => list.iter().collect(),
        Test::Deny(list) => states.difference(list).collect(),
        _ => return None,
    };
    for kind in PROOFS {
        for grade in [Grade::Strong, Grade::Superior, Grade::Fair] {
            let mut longest: BTreeMap<&str, (i64, &Row)> = BTreeMap::new();
            for row in pack.rows.iter().filter(|row| can_support(pack, row, test)) {
                let Some(lasts) = lasts(criterion, pack, weights, row, kind, grade) else { continue };
                let of = |state: &String| match &row.proves {
                    Proves::States { states } => states.contains(state),
                    _ => true,
                };
                for state in allowed.iter().filter(|state| of(state)) {
                    let held = longest.entry(state).or_insert((lasts, row));
                    if lasts > held.0 {
                        *held = (lasts, row);
                    }
                }
            }
            let shortest = longest.iter().min_by_key(|(_, (lasts, _))| *lasts);
            let most = longest.iter().max_by_key(|(_, (lasts, _))| *lasts);
            if let (Some((sooner, (short, row))), Some((later, (long, other)))) = (shortest, most)
                && short < long
            {
                let problem = format!(
                    "criterion `{}`: whoever proves `{sooner}` by a {kind} is asked again after {}, who proves `{later}` after {}",
                    criterion.id,
                    days(*short),
                    days(*long),
                    kind = kind.as_str(),
                );
                return Some(Finding::warning(at, problem).advise(format!(
                    "make classes `{}` (row `{}`) and `{}` (row `{}`) of pack `{}` age alike, or say in `title` why not",
                    row.class, row.id, other.class, other.id, pack.name(),
                )));
            }
        }
    }
    None
}

fn days(seconds: i64) -> String {
    if seconds < 2 * DAY { format!("{seconds} s") } else { format!("{} days", seconds / DAY) }
}
