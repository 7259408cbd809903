//! What fresh items there can be under a pack: kinds of statement, their grades, and what each weighs.

use super::offers::Newness;
use crate::check::can_support;
use crate::definitions::{Pack, Part, Row, Shape as Frame, Weights, When};
use crate::facts::{Grade, Kind, Outcome};
use crate::fusion::{discounted, units};
use crate::policy::{Test, source_of};

/// Kinds a subject or an operator can bring about, least intrusive first: what the subject says, where it connects from, records that
/// exist already, people who know, the subject's papers, a person who looks.
pub(super) const KINDS: [Kind; 7] = [
    Kind::Declaration,
    Kind::Observation,
    Kind::Registry,
    Kind::Directory,
    Kind::Vouch,
    Kind::DocumentCheck,
    Kind::Review,
];

/// Rows of one kind that weigh alike at every grade.
pub(super) struct Group<'p> {
    pub(super) kind: Kind,
    pub(super) rows: Vec<&'p Row>,
    /// Units of a fresh item, by grade.
    pub(super) units: Vec<(Grade, f64)>,
}

/// A fresh item of a group, at a grade, as new as it has to be.
#[derive(Clone, Copy)]
pub(super) struct Candidate<'g, 'p> {
    pub(super) group: &'g Group<'p>,
    pub(super) grade: Grade,
    pub(super) units: f64,
    pub(super) from: Newness,
}

/// Grades at which a kind of statement comes.
pub(super) fn grades(kind: Kind, of_state: bool) -> &'static [Grade] {
    match kind {
        Kind::Declaration => &[Grade::SelfDeclared],
        Kind::Observation => &[Grade::Strong],
        Kind::Directory => &[Grade::Fair],
        Kind::Vouch if of_state => &[Grade::Fair],
        Kind::DocumentCheck => &[Grade::Weak, Grade::Fair, Grade::Strong, Grade::Superior],
        _ => &[Grade::Fair, Grade::Strong],
    }
}

/// How new an item of a kind can be. One register, vendor or organisation among several can be another; reviewers and the subject cannot.
pub(super) fn freshness(kind: Kind, of_state: bool) -> &'static [Newness] {
    match kind {
        Kind::DocumentCheck | Kind::Registry => &[Newness::Any, Newness::AnotherDocument, Newness::AnotherSource],
        Kind::Vouch if of_state => &[Newness::Any, Newness::AnotherSource],
        _ => &[Newness::Any],
    }
}

pub(super) fn is_state(pack: &Pack) -> bool {
    matches!(pack.shape, Frame::State { .. } | Frame::OpenState)
}

/// Whether a fact of this kind can match and support: a row that asks for a failed check supports nothing.
pub(super) fn admits(when: &When, kind: Kind) -> bool {
    (when.kind.is_empty() || when.kind.contains(&kind))
        && (when.outcome.is_empty() || when.outcome.contains(&Outcome::Approved))
}

/// Kind of each part of a row when the proving part is of `kind`; `None` if it cannot be.
fn part_kinds(row: &Row, kind: Kind) -> Option<Vec<Kind>> {
    if let Some(when) = &row.when {
        return admits(when, kind).then(|| vec![kind]);
    }
    let of_part = |part: &Part| {
        if part.proves {
            return admits(&part.when, kind).then_some(kind);
        }
        [kind].into_iter().chain(KINDS).find(|other| admits(&part.when, *other))
    };
    let kinds: Vec<Kind> = row.all_of.iter().map(of_part).collect::<Option<_>>()?;
    // Told once, as the most intrusive of its parts, where the proving part can be of that kind.
    let place = |kind: Kind| KINDS.iter().position(|other| *other == kind);
    let most = kinds.iter().copied().max_by_key(|kind| place(*kind))?;
    let proving = row.all_of.iter().find(|part| part.proves)?;
    (most == kind || !admits(&proving.when, most)).then_some(kinds)
}

/// What a fresh item of this row weighs at a grade: as much as its weakest part.
pub(super) fn weight(pack: &Pack, weights: &Weights, parts: &[Kind], grade: Grade) -> f64 {
    let strength = |kind: &Kind| {
        let own = grades(*kind, is_state(pack)).last().map_or(grade, |most| grade.min(*most));
        let trust = source_of(*kind).and_then(|source| weights.trust(source, &pack.id)).unwrap_or(0.0);
        discounted(weights.sigma(own), trust, weights.cap)
    };
    units(parts.iter().map(strength).fold(1.0, f64::min).min(0.999_999))
}

/// Rows that can support the test, by kind and weight.
pub(super) fn groups<'p>(pack: &'p Pack, weights: &Weights, test: &Test<'_>) -> Vec<Group<'p>> {
    let mut found: Vec<Group<'p>> = Vec::new();
    for kind in KINDS {
        for row in
            pack.rows.iter().filter(|row| can_support(pack, row, test) && weights.classes.contains_key(&row.class))
        {
            let Some(parts) = part_kinds(row, kind) else { continue };
            let scale: Vec<(Grade, f64)> = grades(kind, is_state(pack))
                .iter()
                .map(|grade| (*grade, weight(pack, weights, &parts, *grade)))
                .filter(|(_, units)| *units > 0.0)
                .collect();
            if scale.is_empty() {
                continue;
            }
            match found.iter_mut().find(|group| group.kind == kind && group.units == scale) {
                Some(group) => group.rows.push(row),
                None => found.push(Group { kind, rows: vec![row], units: scale }),
            }
        }
    }
    found
}

/// Whether several items of a kind can come from different sources.
pub(super) fn several(kind: Kind, of_state: bool) -> bool {
    freshness(kind, of_state).contains(&Newness::AnotherSource)
}
