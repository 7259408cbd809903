//! Whatever the next steps offer suffices, every item of it is needed, and nothing is final that evidence could change.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails where a production path must not")]

#[path = "support/people.rs"]
mod people;
mod support;

use people::{evidence, instant, second, subject};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use std::collections::{BTreeMap, BTreeSet};
use vouchsafe_core::definitions::{Pack, Part, Proves, Row, When};
use vouchsafe_core::evidence::interpret;
use vouchsafe_core::explain::{Need, Newness, NextStep, Offer, Route, StepAction};
use vouchsafe_core::facts::{Attestation, Basis, Facts, Grade, Kind, Outcome, SourceKind, Statement, SubjectFacts};
use vouchsafe_core::ids::{AttestationId, ResourceId, SourceId};
use vouchsafe_core::policy::source_of;
use vouchsafe_core::rules::{Body, Rules};
use vouchsafe_core::second::DAY;
use vouchsafe_core::timeline::{Action, Entry};
use vouchsafe_core::{Second, Status, decide};

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(20_261_121),
        ..ProptestConfig::default()
    }
}

/// Every shipped policy for a resource of its own, and each once more with thresholds that one good item does not reach.
fn compiled() -> Vec<Rules> {
    let library = support::library();
    let shipped: Vec<Rules> = library
        .policies
        .iter()
        .map(|((id, version), policy)| {
            let action = Action::Activate { policy: id.clone(), version: *version };
            let entry = Entry { seq: 1, directive: "start".to_owned(), from: second(-400 * DAY), action };
            let resource = policy.resources[0].to_string().replace('*', "any");
            Rules::compile(&library, &[entry], &ResourceId::parse(&resource).unwrap(), second(0)).unwrap()
        })
        .collect();
    let raised = |rules: &Rules, to: f64| {
        let mut body: Body = rules.body.clone();
        for criterion in &mut body.policy.as_mut().unwrap().criteria {
            criterion.eligible_at = to;
        }
        Rules::from_body(body, rules.since)
    };
    let higher: Vec<Rules> =
        [0.90, 0.935].iter().flat_map(|to| shipped.iter().map(|rules| raised(rules, *to))).collect();
    shipped.into_iter().chain(higher).collect()
}

thread_local! {
    static RULES: Vec<Rules> = compiled();
}

fn rules(index: usize) -> Rules {
    RULES.with(|all| all[index % all.len()].clone())
}

/// Who a fresh item comes from, of those that its description leaves open.
#[derive(Debug, Clone, Copy)]
struct Luck {
    same_document: bool,
    same_source: bool,
    pick: usize,
}

fn luck() -> impl Strategy<Value = Luck> {
    (any::<bool>(), any::<bool>(), 0usize..1000).prop_map(|(same_document, same_source, pick)| Luck {
        same_document,
        same_source,
        pick,
    })
}

fn first<T: Clone>(set: &BTreeSet<T>, pick: usize) -> Option<T> {
    set.iter().nth(pick % set.len().max(1)).cloned()
}

/// Facts that fit `when` and no more than it asks for.
fn fitting(when: &When, kind: Kind, states: Option<(&str, String)>, key: Option<(&str, String)>, pick: usize) -> Facts {
    let statement = match (states, key) {
        (Some((frame, state)), _) => {
            Some(Statement::States { frame: frame.to_owned(), states: BTreeSet::from([state]) })
        }
        (_, Some((_, organisation))) => Some(Statement::Employment { organisation, employed: true, relation: None }),
        _ if !when.category.is_empty() || !when.nationality.is_empty() => {
            let nationalities = first(&when.nationality, pick).into_iter().collect();
            Some(Statement::Read { nationalities, category: first(&when.category, pick) })
        }
        _ => None,
    };
    let elsewhere = (!when.not_issuing_country.is_empty()).then(|| "IRL".to_owned());
    Facts {
        kind,
        source_kind: source_of(kind).unwrap(),
        grade: Grade::Strong,
        outcome: Outcome::Approved,
        codes: when.codes.iter().cloned().chain(first(&when.any_code, pick)).collect(),
        document_type: first(&when.document_type, pick),
        issuing_country: first(&when.issuing_country, pick).or(elsewhere),
        statement,
        basis: first(&when.basis, pick).or(Some(Basis::DocumentSeen)),
        doubt: None,
        document: String::new(),
        assessor: String::new(),
        person: None,
        fact_date: None,
        checked_at: second(0),
        ends_at: None,
    }
}

struct Maker<'a> {
    rules: &'a Rules,
    held: &'a [Attestation],
    at: Second,
    luck: Luck,
    made: usize,
}

impl Maker<'_> {
    fn pack(&self, frame: &str) -> &Pack {
        &self.rules.body.packs[frame]
    }

    /// One item as offered: one attestation, or one for each part of a compound row.
    fn item(&mut self, need: &Need, route: &Route, offer: &Offer, row: &Row) -> Vec<Attestation> {
        let frame = need.frame.as_str();
        let wanted = first(&route.for_one_of, self.luck.pick);
        let (states, key) = match &row.proves {
            Proves::Statement | Proves::ExitCountry => {
                let other = need.evidence_against_each_of.first().map(|_| "FRA".to_owned());
                (wanted.or(other).map(|state| (frame, state)), None)
            }
            Proves::Organisation | Proves::Nationalities => (None, wanted.map(|key| (frame, key))),
            _ => (None, None),
        };
        let parts: Vec<Part> = match &row.when {
            Some(when) => vec![Part { when: when.clone(), proves: true, may_have_ended: false }],
            None => row.all_of.clone(),
        };
        let mut made = Vec::new();
        for part in parts {
            let kind = if part.proves || part.when.kind.contains(&offer.kind) {
                offer.kind
            } else {
                *part.when.kind.first().unwrap()
            };
            let mut facts = fitting(&part.when, kind, states.clone(), key.clone(), self.luck.pick);
            facts.grade = offer.at_least;
            self.made += 1;
            let number = self.made;
            self.place(&mut facts, offer, number, frame);
            let id = AttestationId::parse(&format!("att_new{number}")).unwrap();
            let source = SourceId::parse("src_new").unwrap();
            made.push(Attestation {
                id,
                source,
                recorded_at: self.at,
                facts: Facts { checked_at: self.at, ..made_at(number) },
                marks: Vec::new(),
            });
            let last = made.last_mut().unwrap();
            last.facts = Facts { checked_at: self.at, ..facts };
        }
        made
    }

    /// Document and assessor: the same as something held, where the offer leaves that open.
    fn place(&self, facts: &mut Facts, offer: &Offer, number: usize, frame: &str) {
        let alike: Vec<&Attestation> = self.held.iter().filter(|a| a.facts.source_kind == facts.source_kind).collect();
        let pick = (!alike.is_empty()).then(|| alike[self.luck.pick % alike.len().max(1)]);
        facts.document = format!("fresh-{number}");
        facts.assessor = format!("fresh-source-{number}");
        if offer.from != Newness::AnotherSource {
            facts.assessor = format!("fresh-{:?}", facts.source_kind);
            if let Some(held) = pick.filter(|_| self.luck.same_source) {
                facts.assessor.clone_from(&held.facts.assessor);
            }
        }
        if let Some(held) = pick.filter(|_| offer.from == Newness::Any && self.luck.same_document) {
            facts.document.clone_from(&held.facts.document);
        }
        // What an organisation or the subject says rests on its own word.
        if facts.source_kind == SourceKind::Employer {
            facts.document = format!("{}/{frame}", facts.assessor);
        }
    }
}

fn made_at(_: usize) -> Facts {
    fitting(&When::default(), Kind::Registry, None, None, 0)
}

/// The items of a set: one route and one way for each need, none for a need that a way chosen before serves too.
fn sets(step: &NextStep, pick: usize) -> Vec<(&Need, &Route, &Offer, String)> {
    let mut served: BTreeSet<&str> = BTreeSet::new();
    let mut chosen = Vec::new();
    for need in &step.needs {
        if served.contains(need.criterion.as_str()) {
            continue;
        }
        let route = &need.routes[pick % need.routes.len()];
        for offer in &route.evidence {
            let way = &offer.any_of[pick / 7 % offer.any_of.len()];
            served.extend(way.also_serves.iter().map(String::as_str));
            chosen.push((need, route, offer, way.row.clone()));
        }
    }
    chosen.retain(|(need, ..)| !chosen_serves(step, need, &served));
    chosen
}

/// Whether a way of another need was chosen that meets this one.
fn chosen_serves(_: &NextStep, need: &Need, served: &BTreeSet<&str>) -> bool {
    served.contains(need.criterion.as_str())
}

/// Whether a row of several facts rests on facts of which some belong to no offered item, or to two.
fn completed_by_others(rules: &Rules, facts: &SubjectFacts, items: &[Vec<Attestation>]) -> bool {
    let of_item = |id: &AttestationId| items.iter().position(|item| item.iter().any(|a| a.id == *id));
    let is_new = |id: &AttestationId| of_item(id).is_some();
    rules.body.packs.values().flat_map(|pack| interpret(pack, &rules.body.weights, &facts.attestations)).any(|e| {
        let owners: BTreeSet<Option<usize>> = e.parts.iter().map(of_item).collect();
        e.parts.len() > 1 && owners.len() > 1 && e.parts.iter().any(is_new)
    })
}

proptest! {
    #![proptest_config(config(1500))]

    #[test]
    fn every_set_offered_suffices_and_none_of_its_items_is_dispensable(
        all in evidence(), index in 0usize..18, at in instant(), luck in luck(),
    ) {
        let rules = rules(index);
        let known = subject(all).known_at(at);
        let before = decide(&rules, &known, at);
        for step in before.next_steps.iter().filter(|step| step.action == StepAction::Provide) {
            prop_assert!(!step.needs.is_empty() && step.needs.iter().all(|need| !need.routes.is_empty()));
            let chosen = sets(step, luck.pick);
            let mut maker = Maker { rules: &rules, held: &known.attestations, at: before.at, luck, made: 0 };
            let items: Vec<Vec<Attestation>> = chosen
                .iter()
                .map(|(need, route, offer, row)| {
                    let row = maker.pack(&need.frame).rows.iter().find(|held| held.id == *row).unwrap().clone();
                    maker.item(need, route, offer, &row)
                })
                .collect();
            let with = |left_out: Option<usize>| {
                let mut facts = known.clone();
                facts.attestations.extend(items.iter().enumerate().filter(|(i, _)| Some(*i) != left_out).flat_map(|(_, item)| item.clone()));
                (decide(&rules, &facts, before.at), facts)
            };
            let told = || {
                let set: Vec<_> = chosen.iter().map(|(need, _, offer, row)| (&need.criterion, offer.kind, offer.at_least, offer.from, row)).collect();
                let line = |a: &Attestation| format!("{:?} {:?} {} {} {:?} {:?}", a.facts.kind, a.facts.grade, a.facts.document, a.facts.assessor, a.facts.document_type, a.facts.statement);
                let held: Vec<_> = known.attestations.iter().map(line).collect();
                let made: Vec<_> = items.iter().flatten().map(line).collect();
                format!("{} under {:?}\nset {set:#?}\nheld {held:#?}\nmade {made:#?}", before.status.as_str(), before.rules.policy)
            };
            let (after, _) = with(None);
            prop_assert_eq!(after.status, Status::Eligible, "{}\n{:#?}", told(), after.criteria);
            for index in 0..items.len() {
                let fewer = with(Some(index));
                // Facts that say nothing alone, and so are no part of a decision, may complete a row of several with a fresh one.
                if !completed_by_others(&rules, &fewer.1, &items) {
                    prop_assert_ne!(fewer.0.status, Status::Eligible, "without {}: {}", index, told());
                }
            }
        }
    }
}

#[test]
fn random_cases_are_offered_sets_of_every_kind() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for index in 0..1500 {
        let all = evidence().new_tree(&mut runner).unwrap().current();
        let at = instant().new_tree(&mut runner).unwrap().current();
        for step in decide(&rules(index), &subject(all), at).next_steps {
            *counts.entry(format!("{:?}", step.action)).or_default() += 1;
            if step.exemption.is_some() {
                *counts.entry("exemption".to_owned()).or_default() += 1;
            }
            for route in step.needs.iter().flat_map(|need| &need.routes) {
                *counts.entry(format!("{} items", route.evidence.len())).or_default() += 1;
                for offer in &route.evidence {
                    *counts
                        .entry(format!("{} {:?} {:?}", offer.kind.as_str(), offer.at_least, offer.from))
                        .or_default() += 1;
                }
            }
        }
    }
    for what in [
        "Provide",
        "Review",
        "Wait",
        "exemption",
        "1 items",
        "2 items",
        "document_check Fair AnotherSource",
        "document_check Fair AnotherDocument",
        "document_check Superior Any",
    ] {
        assert!(counts.get(what).copied().unwrap_or(0) >= 3, "{what}: {counts:#?}");
    }
}
