//! Evidence that would do: which kinds of fresh items, alone or together, carry one question over its threshold.
//!
//! Everything is worked out on the safe side: an item that may come from any source is taken to come from the one that
//! helps least, so that whatever fits the description suffices.

use super::sets::{many, pairs, singles};
use super::shapes::{Candidate, Group, KINDS, admits, groups, is_state, weight};
use super::target::Target;
use crate::check::can_support;
use crate::criterion::Keyed;
use crate::definitions::{Pack, Proves, Row, Weights, When};
use crate::facts::{Grade, Kind, Outcome};
use crate::policy::{Gate, Test};
use crate::second::Second;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// How many routes of one need are told.
const MOST_ROUTES: usize = 8;
/// How many items one route asks for at most.
pub(super) const MOST_ITEMS: usize = 8;

/// How new an item has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Newness {
    /// Any document, any source.
    Any,
    /// A document that was not looked at before, from any source.
    AnotherDocument,
    /// Such a document, from a source that has not spoken yet and gives no other item of the route.
    AnotherSource,
}

/// One of several facts that a row needs together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Piece {
    /// Kinds of statement.
    pub kind: BTreeSet<Kind>,
    /// Document types.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub document_type: BTreeSet<String>,
    /// The document may have ended.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub may_have_ended: bool,
}

/// A row of the pack that the item may match.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Way {
    /// The row.
    pub row: String,
    /// The facts it needs together, where it needs several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub all_of: Vec<Piece>,
    /// Other criteria of the step that it meets too.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub also_serves: BTreeSet<String>,
}

/// One fresh item of evidence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// Kind of statement.
    pub kind: Kind,
    /// Least grade.
    pub at_least: Grade,
    /// How new it has to be.
    pub from: Newness,
    /// The rows it may match, all equally good.
    pub any_of: Vec<Way>,
}

/// Items that together suffice, none of them dispensable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// They speak for one of these states or keys; empty where only what is refused is named.
    pub for_one_of: BTreeSet<String>,
    /// All of these.
    pub evidence: Vec<Offer>,
}

impl std::fmt::Display for Route {
    /// As cases write it: `registry STRONG`, `document_check STRONG + vouch FAIR (another_source)`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = |grade: Grade| match grade {
            Grade::SelfDeclared => "SELF",
            Grade::Weak => "WEAK",
            Grade::Fair => "FAIR",
            Grade::Strong => "STRONG",
            Grade::Superior => "SUPERIOR",
        };
        for (index, offer) in self.evidence.iter().enumerate() {
            let joined = if index == 0 { "" } else { " + " };
            let from = match offer.from {
                Newness::Any => "",
                Newness::AnotherDocument => " (another_document)",
                Newness::AnotherSource => " (another_source)",
            };
            write!(f, "{joined}{} {}{from}", offer.kind.as_str(), name(offer.at_least))?;
        }
        Ok(())
    }
}

impl Route {
    /// Whether both are one item of the same kind, grade and newness.
    fn asks_like(&self, other: &Self) -> bool {
        match (self.evidence.as_slice(), other.evidence.as_slice()) {
            ([a], [b]) => (a.kind, a.at_least, a.from) == (b.kind, b.at_least, b.from),
            _ => false,
        }
    }

    /// Takes up what the other may be of.
    fn join(&mut self, other: Self) {
        self.for_one_of.extend(other.for_one_of);
        for (own, more) in self.evidence.iter_mut().zip(other.evidence) {
            own.any_of.extend(more.any_of);
        }
    }

    /// Place of its most intrusive item in the order of kinds.
    pub(super) fn intrusiveness(&self) -> usize {
        let place = |offer: &Offer| KINDS.iter().position(|kind| *kind == offer.kind);
        self.evidence.iter().filter_map(place).max().unwrap_or(KINDS.len())
    }
}

/// Every way to bring one question over its threshold, least intrusive first, then least effort.
pub(super) fn routes(
    pack: &Pack,
    weights: &Weights,
    test: &Test<'_>,
    gate: Option<&Gate>,
    keyed: &Keyed<'_>,
    at: Second,
) -> Vec<Route> {
    let target = Target::new(keyed, gate, is_state(pack), at);
    let groups = groups(pack, weights, test);
    let mut sets: Vec<Vec<Candidate<'_, '_>>> = singles(&target, &groups);
    sets.extend(pairs(&target, &groups));
    if sets.is_empty() {
        sets.extend(many(&target, &groups));
    }
    sets.sort_by_key(|set| {
        let rank = |item: &Candidate<'_, '_>| KINDS.iter().position(|kind| *kind == item.group.kind);
        let effort = |item: &Candidate<'_, '_>| (item.grade as usize, item.from as usize);
        (set.iter().map(rank).max(), set.len(), set.iter().map(effort).collect::<Vec<_>>())
    });
    let mut routes: Vec<Route> = Vec::new();
    for route in sets.iter().map(|set| route(test, keyed.key.as_deref(), set)) {
        // Rows that weigh differently and suffice at the same grade are one offer.
        match routes.iter_mut().find(|held| held.asks_like(&route)) {
            Some(held) => held.join(route),
            None => routes.push(route),
        }
    }
    routes.truncate(MOST_ROUTES);
    routes
}

fn route(test: &Test<'_>, key: Option<&str>, set: &[Candidate<'_, '_>]) -> Route {
    let way = |row: &&Row| Way {
        row: row.id.clone(),
        all_of: row
            .all_of
            .iter()
            .map(|part| Piece {
                kind: part.when.kind.clone(),
                document_type: part.when.document_type.clone(),
                may_have_ended: part.may_have_ended,
            })
            .collect(),
        also_serves: BTreeSet::new(),
    };
    let offer = |item: &Candidate<'_, '_>| Offer {
        kind: item.group.kind,
        at_least: item.grade,
        from: item.from,
        any_of: rows(item, set.len()).iter().map(way).collect(),
    };
    // A row that proves fixed states proves only those; any other may prove whatever is allowed.
    let mut proven: BTreeSet<String> = BTreeSet::new();
    for row in set.iter().flat_map(|item| rows(item, set.len())) {
        match (&row.proves, test) {
            (Proves::States { states }, Test::Allow(_)) => proven.extend(states.iter().cloned()),
            (_, Test::Allow(list)) => proven.extend(list.iter().cloned()),
            _ => {}
        }
    }
    if matches!(test, Test::AnyOf(_)) {
        proven.extend(key.map(str::to_owned));
    }
    Route { for_one_of: proven, evidence: set.iter().map(offer).collect() }
}

/// The rows an item may match. Beside others, a row of several facts is told only where no row of one fact does: parts of two items
/// could be a third.
fn rows<'p>(item: &Candidate<'_, 'p>, of: usize) -> Vec<&'p Row> {
    let plain: Vec<&Row> = item.group.rows.iter().copied().filter(|row| row.all_of.is_empty()).collect();
    if of == 1 || plain.is_empty() { item.group.rows.clone() } else { plain }
}

/// Whether every fact that fits `narrow` fits `wide` too.
pub(super) fn implies(narrow: &When, wide: &When) -> bool {
    fn within<T: Ord>(narrow: &BTreeSet<T>, wide: &BTreeSet<T>) -> bool {
        wide.is_empty() || (!narrow.is_empty() && narrow.is_subset(wide))
    }
    let named_and_other =
        !narrow.issuing_country.is_empty() && narrow.issuing_country.is_disjoint(&wide.not_issuing_country);
    within(&narrow.kind, &wide.kind)
        && within(&narrow.document_type, &wide.document_type)
        && within(&narrow.issuing_country, &wide.issuing_country)
        && (wide.not_issuing_country.is_empty()
            || wide.not_issuing_country.is_subset(&narrow.not_issuing_country)
            || named_and_other)
        && within(&narrow.nationality, &wide.nationality)
        && within(&narrow.category, &wide.category)
        && within(&narrow.basis, &wide.basis)
        && wide.not_basis.is_subset(&narrow.not_basis)
        && wide.codes.is_subset(&narrow.codes)
        && (wide.any_code.is_empty() || !wide.any_code.is_disjoint(&narrow.codes))
        && (wide.outcome.is_empty() || wide.outcome.contains(&Outcome::Approved))
}

/// Whether evidence by a row in one frame meets another question too.
pub(super) enum Meets {
    /// It says nothing there.
    No,
    /// It helps there, and is too little, or enough only of a fresh document and a new source.
    InPart,
    /// Whatever fits the description does.
    Yes,
}

/// Whether an item by `row` of another frame meets this question by itself.
#[expect(clippy::too_many_arguments, reason = "the one question and what it is asked of")]
pub(super) fn meets(
    row: &Row,
    kind: Kind,
    grade: Grade,
    pack: &Pack,
    weights: &Weights,
    test: &Test<'_>,
    gate: Option<&Gate>,
    keyed: &Keyed<'_>,
    at: Second,
) -> Meets {
    let target = Target::new(keyed, gate, is_state(pack), at);
    let parts = row.when.iter().chain(row.all_of.iter().map(|part| &part.when));
    let mut met = Meets::No;
    for part in parts {
        let fixed = |other: &&Row| matches!(other.proves, Proves::States { .. }) && can_support(pack, other, test);
        let speaks =
            pack.rows.iter().filter(fixed).any(|other| other.when.as_ref().is_some_and(|wide| implies(part, wide)));
        let Some(kind) = [kind].into_iter().chain(KINDS).find(|kind| admits(part, *kind)).filter(|_| speaks) else {
            continue;
        };
        let units = weight(pack, weights, &[kind], grade);
        let group = Group { kind, rows: Vec::new(), units: vec![(grade, units)] };
        let item = [Candidate { group: &group, grade, units, from: Newness::Any }];
        if target.enough(target.least(&item), target.opens_gate(&item)) {
            return Meets::Yes;
        }
        met = Meets::InPart;
    }
    met
}
