//! Evidence that would do: which kinds of fresh items, alone or together, carry one question over its threshold.
//!
//! Everything is worked out on the safe side: an item that may come from any source is taken to come from the one that
//! helps least, so that whatever fits the description suffices.

use crate::criterion::Keyed;
use crate::definitions::{Pack, Proves, Row, Shape as Frame, Weights, When};
use crate::facts::{Grade, Kind, Outcome, SourceKind};
use crate::fusion::{GATE_UNITS, Opinion, Question, Side, combine_side, discounted, units};
use crate::policy::{Gate, Test, source_of};
use crate::second::Second;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Kinds a subject or an operator can bring about, least intrusive first: what the subject says, where it connects from, records that
/// exist already, people who know, the subject's papers, a person who looks.
const KINDS: [Kind; 7] = [
    Kind::Declaration,
    Kind::Observation,
    Kind::Registry,
    Kind::Directory,
    Kind::Vouch,
    Kind::DocumentCheck,
    Kind::Review,
];

/// How many routes of one need are told.
const MOST_ROUTES: usize = 8;
/// How many items one route asks for at most.
const MOST_ITEMS: usize = 8;

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

/// Rows of one kind that weigh alike at every grade.
struct Group<'p> {
    kind: Kind,
    rows: Vec<&'p Row>,
    /// Units of a fresh item, by grade.
    units: Vec<(Grade, f64)>,
}

/// A fresh item of a group, at a grade, as new as it has to be.
#[derive(Clone, Copy)]
struct Candidate<'g, 'p> {
    group: &'g Group<'p>,
    grade: Grade,
    units: f64,
    from: Newness,
}

/// Grades at which a kind of statement comes.
fn grades(kind: Kind, of_state: bool) -> &'static [Grade] {
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
fn freshness(kind: Kind, of_state: bool) -> &'static [Newness] {
    match kind {
        Kind::DocumentCheck | Kind::Registry => &[Newness::Any, Newness::AnotherDocument, Newness::AnotherSource],
        Kind::Vouch if of_state => &[Newness::Any, Newness::AnotherSource],
        _ => &[Newness::Any],
    }
}

fn is_state(pack: &Pack) -> bool {
    matches!(pack.shape, Frame::State { .. } | Frame::OpenState)
}

/// Whether a fact of this kind can match and support: a row that asks for a failed check supports nothing.
fn admits(when: &When, kind: Kind) -> bool {
    (when.kind.is_empty() || when.kind.contains(&kind))
        && (when.outcome.is_empty() || when.outcome.contains(&Outcome::Approved))
}

/// Kind of each part of a row when the proving part is of `kind`; `None` if it cannot be.
fn part_kinds(row: &Row, kind: Kind) -> Option<Vec<Kind>> {
    if let Some(when) = &row.when {
        return admits(when, kind).then(|| vec![kind]);
    }
    let of_part = |part: &crate::definitions::Part| {
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
fn weight(pack: &Pack, weights: &Weights, parts: &[Kind], grade: Grade) -> f64 {
    let strength = |kind: &Kind| {
        let own = grades(*kind, is_state(pack)).last().map_or(grade, |most| grade.min(*most));
        let trust = source_of(*kind).and_then(|source| weights.trust(source, &pack.id)).unwrap_or(0.0);
        discounted(weights.sigma(own), trust, weights.cap)
    };
    units(parts.iter().map(strength).fold(1.0, f64::min).min(0.999_999))
}

/// Whether the row can support the test. `yes` tells which answer about a key supports.
fn supports(pack: &Pack, row: &Row, test: &Test<'_>) -> bool {
    match (&row.proves, test) {
        (Proves::States { states }, Test::Allow(list)) => {
            states.is_subset(list) && !matches!(&pack.shape, Frame::State { states: all } if all == states)
        }
        (Proves::States { states }, Test::Deny(list)) => states.is_disjoint(list),
        (Proves::Statement | Proves::ExitCountry, Test::Allow(_) | Test::Deny(_))
        | (Proves::Organisation, Test::AnyOf(_) | Test::NoneOf(_))
        | (Proves::Nationalities, Test::AnyOf(_))
        | (Proves::Owners, Test::NoneOf(_)) => true,
        _ => false,
    }
}

/// Rows that can support the test, by kind and weight.
fn groups<'p>(pack: &'p Pack, weights: &Weights, test: &Test<'_>) -> Vec<Group<'p>> {
    let mut found: Vec<Group<'p>> = Vec::new();
    for kind in KINDS {
        for row in pack.rows.iter().filter(|row| supports(pack, row, test) && weights.classes.contains_key(&row.class))
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

/// A question that lacks support, with what it holds.
struct Target<'q> {
    question: &'q Question,
    gate: Option<&'q Gate>,
    gate_met: bool,
    adverse: f64,
    of_state: bool,
    /// Document, assessor and units of what supports it, with the kind of source.
    held: Vec<(&'q str, &'q str, f64, Option<SourceKind>)>,
}

impl<'q> Target<'q> {
    fn new(keyed: &'q Keyed<'_>, gate: Option<&'q Gate>, of_state: bool, at: Second) -> Self {
        let question = &keyed.question;
        let items = question.items.iter().zip(&keyed.evidence).filter(|(item, _)| item.side == Side::Supports);
        let held = items
            .map(|(item, e)| (item.document.as_str(), item.assessor.as_str(), item.units_at(at), source_of(e.kind)))
            .filter(|(_, _, units, _)| *units > 0.0)
            .collect();
        Self { question, gate, gate_met: question.gate_met(at), adverse: question.opinion(at).s, of_state, held }
    }

    /// Whether so many supporting units suffice, the gate being met or not.
    fn enough(&self, r: f64, gate_met: bool) -> bool {
        gate_met && Opinion::new(r, self.adverse).b >= self.question.thresholds.eligible_at
    }

    fn opens_gate(&self, items: &[Candidate<'_, '_>]) -> bool {
        self.gate_met
            || self.gate.is_none_or(|gate| {
                items.iter().any(|item| {
                    gate.from.contains(&item.group.kind) && item.grade >= gate.grade && item.units >= GATE_UNITS
                })
            })
    }

    /// Supporting units together with these items: (document, assessor, units, whether it replaces what its assessor said).
    fn units_with(&self, items: &[(&str, &str, f64, bool)]) -> f64 {
        let replaced = |assessor: &str| items.iter().any(|(_, own, _, replaces)| *replaces && *own == assessor);
        let held = self.held.iter().filter(|(_, assessor, ..)| !replaced(assessor)).map(|(d, a, e, _)| (*d, *a, *e));
        combine_side(held.chain(items.iter().map(|(d, a, e, _)| (*d, *a, *e))), self.question.rho)
    }

    /// The most that these items can bring: all of them independent.
    fn most(&self, items: &[Candidate<'_, '_>]) -> f64 {
        let names = NEW;
        let placed: Vec<_> = items.iter().zip(names).map(|(item, name)| (name, name, item.units, false)).collect();
        self.units_with(&placed)
    }

    /// The least that these items can bring, whichever documents and sources they are of.
    fn least<'a>(&'a self, items: &'a [Candidate<'_, '_>], placed: &mut Vec<(&'a str, &'a str, f64, bool)>) -> f64 {
        let (Some(item), Some(name)) = (items.get(placed.len()), NEW.get(placed.len())) else {
            return self.units_with(placed);
        };
        let source = source_of(item.group.kind);
        let organisation = source == Some(SourceKind::Employer);
        let mut documents: Vec<&str> = vec![name];
        if item.from == Newness::Any {
            documents.extend(self.held.iter().map(|(document, ..)| *document));
        }
        // Two items of one kind of source that need not be independent come from one that is new, or from one that has spoken.
        let shared = NEW_SOURCES.get(source.map_or(0, |source| source as usize)).copied().unwrap_or(name);
        let mut assessors: Vec<&str> = vec![if item.from == Newness::AnotherSource { name } else { shared }];
        if item.from != Newness::AnotherSource {
            assessors.extend(self.held.iter().filter(|(.., kind)| *kind == source).map(|(_, assessor, ..)| *assessor));
        }
        documents.sort_unstable();
        documents.dedup();
        assessors.sort_unstable();
        assessors.dedup();
        let mut least = f64::INFINITY;
        for document in &documents {
            for assessor in &assessors {
                // What an organisation said before may end with its new word.
                placed.push((document, assessor, item.units, organisation && item.from == Newness::Any));
                least = least.min(self.least(items, placed));
                placed.pop();
            }
        }
        least
    }

    /// Whether the items suffice whatever they are, and each of them is needed.
    fn minimal(&self, items: &[Candidate<'_, '_>]) -> bool {
        self.enough(self.least(items, &mut Vec::new()), self.opens_gate(items))
            && (0..items.len()).all(|left_out| {
                let rest: Vec<_> =
                    items.iter().enumerate().filter(|(i, _)| *i != left_out).map(|(_, item)| *item).collect();
                !self.enough(self.most(&rest), self.opens_gate(&rest))
            })
    }
}

/// Names that no document and no assessor can have: theirs hold no blank.
const NEW: [&str; MOST_ITEMS] = ["new 1", "new 2", "new 3", "new 4", "new 5", "new 6", "new 7", "new 8"];
/// A source of each kind that has not spoken yet.
const NEW_SOURCES: [&str; 8] = ["new a", "new b", "new c", "new d", "new e", "new f", "new g", "new h"];

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

/// Single items that suffice: for each group the least grade, and a lower one that has to be newer.
fn singles<'g, 'p>(target: &Target<'_>, groups: &'g [Group<'p>]) -> Vec<Vec<Candidate<'g, 'p>>> {
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
fn pairs<'g, 'p>(target: &Target<'_>, groups: &'g [Group<'p>]) -> Vec<Vec<Candidate<'g, 'p>>> {
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

/// Whether several items of a kind can come from different sources.
fn several(kind: Kind, of_state: bool) -> bool {
    freshness(kind, of_state).contains(&Newness::AnotherSource)
}

/// Leaves out what asks for more than another set of the same groups.
fn undominated<'g, 'p>(sets: Vec<Vec<Candidate<'g, 'p>>>) -> Vec<Vec<Candidate<'g, 'p>>> {
    let asks_no_more = |a: &Candidate<'_, '_>, b: &Candidate<'_, '_>| {
        std::ptr::eq(a.group, b.group) && a.grade <= b.grade && a.from <= b.from
    };
    let same = |a: &Candidate<'_, '_>, b: &Candidate<'_, '_>| asks_no_more(a, b) && asks_no_more(b, a);
    let covers = |small: &[Candidate<'_, '_>],
                  large: &[Candidate<'_, '_>],
                  by: &dyn Fn(&Candidate<'_, '_>, &Candidate<'_, '_>) -> bool| {
        match (small, large) {
            ([a, b], [c, d]) => (by(a, c) && by(b, d)) || (by(a, d) && by(b, c)),
            _ => false,
        }
    };
    let kept: Vec<usize> = (0..sets.len())
        .filter(|index| {
            let Some(own) = sets.get(*index) else { return false };
            !sets.iter().enumerate().any(|(other, set)| {
                other != *index && covers(set, own, &asks_no_more) && (!covers(set, own, &same) || other < *index)
            })
        })
        .collect();
    sets.into_iter().enumerate().filter(|(index, _)| kept.contains(index)).map(|(_, set)| set).collect()
}

/// More than two items, where fewer never suffice: the strongest of each kind from sources of their own, then more of them.
fn many<'g, 'p>(target: &Target<'_>, groups: &'g [Group<'p>]) -> Option<Vec<Candidate<'g, 'p>>> {
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
        if target.enough(target.least(&set, &mut Vec::new()), target.opens_gate(&set)) {
            // What came in early may not be needed beside what came late.
            let mut index = 0;
            while index < set.len() {
                let mut fewer = set.clone();
                fewer.remove(index);
                match target.enough(target.least(&fewer, &mut Vec::new()), target.opens_gate(&fewer)) {
                    true => set = fewer,
                    false => index += 1,
                }
            }
            return target.minimal(&set).then_some(set);
        }
    }
    None
}

/// Whether every fact that fits `narrow` fits `wide` too.
fn implies(narrow: &When, wide: &When) -> bool {
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
        let fixed = |other: &&Row| matches!(other.proves, Proves::States { .. }) && supports(pack, other, test);
        let speaks =
            pack.rows.iter().filter(fixed).any(|other| other.when.as_ref().is_some_and(|wide| implies(part, wide)));
        let Some(kind) = [kind].into_iter().chain(KINDS).find(|kind| admits(part, *kind)).filter(|_| speaks) else {
            continue;
        };
        let units = weight(pack, weights, &[kind], grade);
        let group = Group { kind, rows: Vec::new(), units: vec![(grade, units)] };
        let item = [Candidate { group: &group, grade, units, from: Newness::Any }];
        if target.enough(target.least(&item, &mut Vec::new()), target.opens_gate(&item)) {
            return Meets::Yes;
        }
        met = Meets::InPart;
    }
    met
}
