//! The explanation adds up to the decision, and what it says would flip the answer does.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails where a production path must not")]

#[path = "support/people.rs"]
mod people;
mod support;

use people::{evidence, instant, second, subject};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use std::collections::BTreeSet;
use vouchsafe_core::explain::{ChangeCode, Explanation, Fate, explanation, missing_units, texts};
use vouchsafe_core::facts::{Attestation, Mark, MarkKind, SubjectFacts};
use vouchsafe_core::fusion::{GateItems, Item, Question, Share, Side, Thresholds, combine_side, shares, units};
use vouchsafe_core::ids::ResourceId;
use vouchsafe_core::rules::Rules;
use vouchsafe_core::second::DAY;
use vouchsafe_core::timeline::{Action, Entry};
use vouchsafe_core::{Decision, Second, Status, decide};

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(20_261_121),
        ..ProptestConfig::default()
    }
}

/// Every shipped policy, each for a resource of its own.
fn compiled() -> Vec<Rules> {
    let library = support::library();
    library
        .policies
        .iter()
        .map(|((id, version), policy)| {
            let action = Action::Activate { policy: id.clone(), version: *version };
            let entry = Entry { seq: 1, directive: "start".to_owned(), from: second(-400 * DAY), action };
            let resource = policy.resources[0].to_string().replace('*', "any");
            Rules::compile(&library, &[entry], &ResourceId::parse(&resource).unwrap(), second(0)).unwrap()
        })
        .collect()
}

thread_local! {
    static RULES: Vec<Rules> = compiled();
}

fn rules(index: usize) -> Rules {
    RULES.with(|all| all[index % all.len()].clone())
}

fn explained(rules: &Rules, facts: &SubjectFacts, at: Second) -> (Decision, Explanation) {
    let decision = decide(rules, facts, at);
    let made = explanation(rules, &facts.known_at(at), &decision);
    (decision, made)
}

fn item() -> impl Strategy<Value = Item> {
    let lasts = prop::option::weighted(0.3, 1i64..500 * DAY);
    ((any::<bool>(), 0.01f64..0.99), (0i64..400 * DAY, lasts), (0i64..100, 1i64..400), (0u8..4, 0u8..3)).prop_map(
        |((supports, q), (checked, lasts), (grace, half_life), (document, assessor))| Item {
            side: if supports { Side::Supports } else { Side::Adverse },
            e0: units(q),
            counts_from: second(checked),
            fades_from: second(checked),
            grace: grace * DAY,
            half_life: half_life * DAY,
            ends_at: lasts.map(|lasts| second(checked + lasts)),
            document: format!("d{document}"),
            assessor: format!("a{assessor}"),
            silences: Vec::new(),
        },
    )
}

proptest! {
    #![proptest_config(config(2000))]

    #[test]
    fn shares_add_up_to_the_side(
        items in prop::collection::vec((0u8..4, 0u8..4, prop_oneof![Just(0.0), Just(3.0), 0.0f64..40.0]), 0..9), rho in 0.0f64..=1.0,
    ) {
        let items: Vec<(String, String, f64)> = items.into_iter().map(|(d, a, e)| (format!("d{d}"), format!("a{a}"), e)).collect();
        let view = || items.iter().map(|(d, a, e)| (d.as_str(), a.as_str(), *e));
        let shares = shares(view(), rho);
        prop_assert_eq!(shares.len(), items.len());
        let mut sum = 0.0;
        for (place, share) in shares.iter().enumerate() {
            match share {
                Share::Counts(share) => {
                    prop_assert!((0.0..=1.0).contains(share) && items[place].2 > 0.0);
                    sum += share * items[place].2;
                }
                Share::SameDocumentAs(other) => {
                    prop_assert!(items[place].2 > 0.0);
                    prop_assert!(matches!(shares[*other], Share::Counts(_)));
                    prop_assert_eq!(&items[*other].0, &items[place].0);
                    prop_assert!(items[*other].2 >= items[place].2);
                }
                Share::Nothing => prop_assert!(items[place].2 == 0.0),
            }
        }
        let side = combine_side(view(), rho);
        prop_assert!((sum - side).abs() <= 1e-12 * side.max(1.0), "{} is not {}", sum, side);
    }

    #[test]
    fn the_units_missing_suffice_and_a_little_less_does_not(items in prop::collection::vec(item(), 0..6), gated in any::<bool>(), at in 0i64..900) {
        let t = second(at * DAY);
        let thresholds = Thresholds { eligible_at: 0.85, ineligible_at: 0.5, material: 0.25 };
        let gate = gated.then(|| GateItems { admitted: Vec::new() });
        let question = Question { items, thresholds, rho: 0.5, gate };
        let with = |units: f64| {
            let mut with = question.clone();
            with.items.push(Item {
                side: Side::Supports, e0: units, counts_from: t, fades_from: t, grace: DAY, half_life: DAY, ends_at: None,
                document: "new".to_owned(), assessor: "new".to_owned(), silences: Vec::new(),
            });
            if let Some(gate) = &mut with.gate {
                gate.admitted.push(with.items.len() - 1);
            }
            with.status(t)
        };
        match missing_units(&question, t) {
            None => prop_assert_ne!(with(1e12), Status::Eligible),
            Some(0.0) => prop_assert_eq!(question.status(t), Status::Eligible),
            Some(units) => {
                prop_assert_ne!(question.status(t), Status::Eligible);
                prop_assert_eq!(with(units * (1.0 + 1e-9)), Status::Eligible);
                prop_assert_ne!(with(units * (1.0 - 1e-6)), Status::Eligible);
            }
        }
    }
}

proptest! {
    #![proptest_config(config(400))]

    #[test]
    fn what_the_items_contributed_adds_up_to_both_sides(all in evidence(), index in 0usize..6, at in instant()) {
        let (decision, made) = explained(&rules(index), &subject(all), at);
        for criterion in made.branches.iter().flat_map(|branch| &branch.criteria) {
            let sum = |side: Side| -> f64 {
                criterion.evidence.iter().filter(|line| line.side == Some(side)).map(|line| line.contributed).sum()
            };
            prop_assert!((sum(Side::Supports) - criterion.supporting_units).abs() < 1e-5, "{:?}", criterion);
            prop_assert!((sum(Side::Adverse) - criterion.adverse_units).abs() < 1e-5, "{:?}", criterion);
            let (r, s) = (criterion.supporting_units, criterion.adverse_units);
            prop_assert!((criterion.belief - r / (r + s + 2.0)).abs() < 1e-5);
            prop_assert!((criterion.con - s / (s + 2.0)).abs() < 1e-5 && (criterion.conflict - criterion.pro * criterion.con).abs() < 1e-5);
            for line in &criterion.evidence {
                prop_assert!((line.contributed > 0.0) == matches!(line.fate, Fate::Counted | Fate::SameAssessor), "{:?}", line);
                prop_assert!(line.units <= line.units_fresh * line.fade + 1e-4);
                prop_assert!((line.fate == Fate::SameDocument || line.fate == Fate::Overtaken || line.fate == Fate::Restated) == line.because_of.is_some(), "{:?}", line);
            }
        }
        // The account and the decision say the same of the branch that answers.
        let answering = made.branches.iter().find(|branch| branch.answers).unwrap();
        prop_assert_eq!(&answering.exemption, &decision.exemption);
        prop_assert_eq!(answering.status, decision.status);
        for (account, report) in answering.criteria.iter().zip(&decision.criteria) {
            prop_assert_eq!((&account.id, account.status, account.neutral), (&report.id, report.status, report.neutral));
            prop_assert!((account.belief - report.belief).abs() < 6e-5);
            let counted = |id: &str| account.evidence.iter().any(|line| line.attestation == id && line.contributed > 0.0);
            for line in &report.evidence {
                prop_assert!(!line.counted || counted(&line.attestation));
            }
        }
    }

    #[test]
    fn the_item_named_as_the_cause_is_the_cause(all in evidence(), index in 0usize..6, at in instant()) {
        let all = subject(all);
        let (_, made) = explained(&rules(index), &all, at);
        let held = |id: &str| all.attestations.iter().find(|a| a.id.as_str() == id).unwrap();
        for line in made.branches.iter().flat_map(|branch| &branch.criteria).flat_map(|criterion| &criterion.evidence) {
            let Some(cause) = line.because_of.as_deref().map(held) else { continue };
            let own = held(&line.attestation);
            match line.fate {
                Fate::SameDocument => {
                    let unverified = |a: &Attestation| a.facts.source_kind == vouchsafe_core::facts::SourceKind::UnverifiedOrganisation;
                    prop_assert!(own.facts.document == cause.facts.document || (unverified(own) && unverified(cause)));
                }
                Fate::Overtaken => prop_assert!(cause.facts.fact_date.unwrap() > own.facts.fact_date.unwrap_or(own.facts.checked_at)),
                _ => prop_assert!(own.facts.assessor == cause.facts.assessor && cause.facts.checked_at > own.facts.checked_at),
            }
        }
    }

    #[test]
    fn settling_the_named_items_gives_the_status_named(all in evidence(), index in 0usize..6, at in instant()) {
        let rules = rules(index);
        let known = subject(all).known_at(at);
        let (decision, made) = explained(&rules, &known, at);
        if decision.status == Status::Eligible {
            prop_assert!(made.flip.is_none());
        } else {
            let flip = made.flip.unwrap();
            prop_assert!((flip.code == ChangeCode::SeveralCriteria) == (flip.criteria.len() > 1));
            if flip.code == ChangeCode::ResolveItems {
                let mut settled = known;
                for held in settled.attestations.iter_mut().filter(|a| flip.attestations.iter().any(|id| id == a.id.as_str())) {
                    held.marks.push(Mark { at: decision.at, kind: MarkKind::Resolved, from_start: false });
                }
                let after = decide(&rules, &settled, decision.at);
                prop_assert_eq!(Some(after.status), flip.then);
                prop_assert_ne!(after.reasons, decision.reasons);
            }
        }
    }

    #[test]
    fn what_comes_by_itself_comes_then_and_by_these_items(all in evidence(), index in 0usize..6, at in instant()) {
        let rules = rules(index);
        let known = subject(all).known_at(at);
        let (decision, made) = explained(&rules, &known, at);
        prop_assert_eq!(made.by_itself.is_some(), decision.valid_until().is_some());
        if let Some(change) = made.by_itself {
            let t = change.at.unwrap();
            prop_assert_eq!(Some(t), decision.valid_until());
            let after = decide(&rules, &known, t);
            prop_assert_eq!(Some(after.status), change.then, "{:?}", change);
            let named: BTreeSet<&str> = change.attestations.iter().map(String::as_str).collect();
            prop_assert!(change.code == ChangeCode::PromiseEnds || !named.is_empty(), "{:?}", change);
            let acts_on = || made.branches.iter().flat_map(|branch| &branch.criteria).filter(|c| change.criteria.contains(&c.id));
            // Of several keys the account shows the one that answers; the item may be about another.
            let one_key = acts_on().all(|criterion| criterion.keys == 1);
            let lines: Vec<_> = acts_on().flat_map(|c| &c.evidence).filter(|line| named.contains(line.attestation.as_str())).collect();
            if change.code == ChangeCode::EvidenceEnds && one_key {
                // Each of them counts until then, and their end lies where the account says.
                for id in &named {
                    prop_assert!(lines.iter().any(|line| line.attestation == *id && line.ends_at == Some(t) && line.units > 0.0), "{:?}", change);
                }
            }
            if change.code == ChangeCode::SupportFades && one_key {
                prop_assert!(lines.iter().any(|line| line.side == Some(Side::Supports) && line.contributed > 0.0));
            }
        }
    }

    #[test]
    fn every_code_of_an_explanation_has_its_texts(all in evidence(), index in 0usize..6, at in instant()) {
        let (decision, made) = explained(&rules(index), &subject(all), at);
        let unknown = texts("no.such.code");
        for code in &decision.reasons {
            prop_assert_ne!(texts(code), unknown, "{}", code);
        }
        for line in made.branches.iter().flat_map(|branch| &branch.criteria).flat_map(|criterion| &criterion.evidence) {
            prop_assert!(made.texts.contains_key(line.fate.code()));
        }
        prop_assert!(made.texts.values().all(|texts| *texts != unknown));
    }
}

#[test]
fn random_cases_reach_every_fate_and_change_often_enough() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut counts = std::collections::BTreeMap::new();
    for index in 0..1500 {
        let all = evidence().new_tree(&mut runner).unwrap().current();
        let at = instant().new_tree(&mut runner).unwrap().current();
        let (_, made) = explained(&rules(index), &subject(all), at);
        for criterion in made.branches.iter().flat_map(|branch| &branch.criteria) {
            for line in &criterion.evidence {
                *counts.entry(line.fate.code()).or_insert(0) += 1;
            }
        }
        for change in [made.flip, made.by_itself].into_iter().flatten() {
            *counts.entry(change.code.code()).or_insert(0) += 1;
        }
    }
    for code in Fate::ALL.map(Fate::code).into_iter().chain(ChangeCode::ALL.map(ChangeCode::code)) {
        // Need a class without a half-life, an instant before the evidence, an organisation that the policy lists, and two policies.
        if !["faded", "not_yet", "restated", "rules_change"].contains(&code) {
            assert!(counts.get(code).copied().unwrap_or(0) >= 3, "{code}: {counts:?}");
        }
    }
}
