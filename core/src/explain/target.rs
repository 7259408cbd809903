//! A question that lacks support: what fresh items bring it at least and at most, and whether that suffices.

use super::offers::{MOST_ITEMS, Newness};
use super::shapes::Candidate;
use crate::criterion::Keyed;
use crate::facts::SourceKind;
use crate::fusion::{GATE_UNITS, Opinion, Question, Side, combine_side};
use crate::policy::{Gate, source_of};
use crate::second::Second;

/// A question that lacks support, with what it holds.
pub(super) struct Target<'q> {
    question: &'q Question,
    gate: Option<&'q Gate>,
    gate_met: bool,
    adverse: f64,
    pub(super) of_state: bool,
    /// Document, assessor and units of what supports it, with the kind of source.
    held: Vec<(&'q str, &'q str, f64, Option<SourceKind>)>,
}

impl<'q> Target<'q> {
    pub(super) fn new(keyed: &'q Keyed<'_>, gate: Option<&'q Gate>, of_state: bool, at: Second) -> Self {
        let question = &keyed.question;
        let items = question.items.iter().zip(&keyed.evidence).filter(|(item, _)| item.side == Side::Supports);
        let mut held: Vec<_> = items
            .map(|(item, e)| (item.document.as_str(), item.assessor.as_str(), item.units_at(at), source_of(e.kind)))
            .filter(|(_, _, units, _)| *units > 0.0)
            .collect();
        held.sort_by(|(.., x, _), (.., y, _)| y.total_cmp(x));
        Self { question, gate, gate_met: question.gate_met(at), adverse: question.opinion(at).s, of_state, held }
    }

    /// Whether so many supporting units suffice, the gate being met or not.
    pub(super) fn enough(&self, r: f64, gate_met: bool) -> bool {
        gate_met && Opinion::new(r, self.adverse).b >= self.question.thresholds.eligible_at
    }

    pub(super) fn opens_gate(&self, items: &[Candidate<'_, '_>]) -> bool {
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
    pub(super) fn most(&self, items: &[Candidate<'_, '_>]) -> f64 {
        let names = NEW;
        let placed: Vec<_> = items.iter().zip(names).map(|(item, name)| (name, name, item.units, false)).collect();
        self.units_with(&placed)
    }

    /// The least that these items can bring, whichever documents and sources they are of.
    pub(super) fn least(&self, items: &[Candidate<'_, '_>]) -> f64 {
        let places: Vec<Places<'_>> = items.iter().zip(NEW).map(|(item, name)| self.places(item, name)).collect();
        let ways = places.iter().map(|places| places.documents.len() * places.assessors.len());
        if ways.fold(1, usize::saturating_mul) > MOST_WAYS {
            // Too many to look at: on the safe side, only what is new in every respect brings anything.
            let new = items.iter().zip(NEW).filter(|(item, _)| item.from == Newness::AnotherSource);
            let placed: Vec<_> = new.map(|(item, name)| (name, name, item.units, false)).collect();
            return self.units_with(&placed);
        }
        self.least_of(items, &places, &mut Vec::new())
    }

    fn least_of<'a>(
        &'a self,
        items: &[Candidate<'_, '_>],
        places: &'a [Places<'a>],
        placed: &mut Vec<(&'a str, &'a str, f64, bool)>,
    ) -> f64 {
        let (Some(item), Some(open)) = (items.get(placed.len()), places.get(placed.len())) else {
            return self.units_with(placed);
        };
        let mut least = f64::INFINITY;
        for document in &open.documents {
            for assessor in &open.assessors {
                placed.push((document, assessor, item.units, open.replaces));
                least = least.min(self.least_of(items, places, placed));
                placed.pop();
            }
        }
        least
    }

    /// The documents and sources an item can be of, as far as its description leaves them open: a new one, or one held. Of those held,
    /// the ones that bring most: they have most to lose.
    fn places(&self, item: &Candidate<'_, '_>, name: &'static str) -> Places<'_> {
        fn distinct<'a>(names: impl Iterator<Item = &'a str>, most: usize) -> Vec<&'a str> {
            let mut kept: Vec<&str> = Vec::new();
            for name in names {
                if kept.len() < most && !kept.contains(&name) {
                    kept.push(name);
                }
            }
            kept
        }
        let source = source_of(item.group.kind);
        // Items of one kind of source that need not be independent come from one that is new, or from one that has spoken.
        let shared = NEW_SOURCES.get(source.map_or(0, |source| source as usize)).copied().unwrap_or(name);
        let mut documents = vec![name];
        let mut assessors = vec![if item.from == Newness::AnotherSource { name } else { shared }];
        if item.from == Newness::Any {
            documents.extend(distinct(self.held.iter().map(|(document, ..)| *document), MOST_DOCUMENTS));
        }
        if item.from != Newness::AnotherSource {
            let alike = self.held.iter().filter(|(.., kind)| *kind == source);
            assessors.extend(distinct(alike.map(|(_, assessor, ..)| *assessor), MOST_SOURCES));
        }
        // What an organisation said before may end with its new word.
        let replaces = source == Some(SourceKind::Employer) && item.from == Newness::Any;
        Places { documents, assessors, replaces }
    }

    /// Whether the items suffice whatever they are, and each of them is needed.
    pub(super) fn minimal(&self, items: &[Candidate<'_, '_>]) -> bool {
        self.enough(self.least(items), self.opens_gate(items))
            && (0..items.len()).all(|left_out| {
                let rest: Vec<_> =
                    items.iter().enumerate().filter(|(i, _)| *i != left_out).map(|(_, item)| *item).collect();
                !self.enough(self.most(&rest), self.opens_gate(&rest))
            })
    }
}

/// What an item leaves open.
struct Places<'a> {
    documents: Vec<&'a str>,
    assessors: Vec<&'a str>,
    /// Whether it takes the place of what its assessor said.
    replaces: bool,
}

/// Documents and sources held that are tried, and combinations of them.
const MOST_DOCUMENTS: usize = 6;
const MOST_SOURCES: usize = 4;
const MOST_WAYS: usize = 1024;

/// Names that no document and no assessor can have: theirs hold no blank.
const NEW: [&str; MOST_ITEMS] = ["new 1", "new 2", "new 3", "new 4", "new 5", "new 6", "new 7", "new 8"];
/// A source of each kind that has not spoken yet.
const NEW_SOURCES: [&str; 8] = ["new a", "new b", "new c", "new d", "new e", "new f", "new g", "new h"];
