//! Properties of the evidence model, on random evidence.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails where a production path must not")]

#[path = "support/people.rs"]
mod people;
mod support;

use people::{attestation, draw, evidence, instant, second, subject};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use vouchsafe_core::facts::{Attestation, Facts, Grade, Kind, Mark, MarkKind, SourceKind, Statement};
use vouchsafe_core::fusion::{Cause, Item, Opinion, Question, Side, Thresholds, combine_side, discounted, units};
use vouchsafe_core::ids::ResourceId;
use vouchsafe_core::policy::{Members, Span};
use vouchsafe_core::rules::{Body, Rules};
use vouchsafe_core::second::DAY;
use vouchsafe_core::timeline::{Action, Entry};
use vouchsafe_core::{Decision, Second, Status, check_live, decide};

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(20_261_121),
        ..ProptestConfig::default()
    }
}

/// The shipped policies with a resource of each.
const POLICIES: [(&str, &str); 6] = [
    ("restricted-us-persons", "restricted.api"),
    ("ear_us_person", "restricted.api"),
    ("us_nationals_only", "nationals.api"),
    ("citizen_or_lpr", "residents.api"),
    ("sole_us_nationality", "sole.api"),
    ("embargo", "regional.api"),
];

fn compiled() -> Vec<Rules> {
    let library = support::library();
    POLICIES
        .iter()
        .map(|(policy, resource)| {
            let action = Action::Activate { policy: (*policy).to_owned(), version: 1 };
            let entry = Entry { seq: 1, directive: "start".to_owned(), from: second(-400 * DAY), action };
            Rules::compile(&library, &[entry], &ResourceId::parse(resource).unwrap(), second(0)).unwrap()
        })
        .collect()
}

thread_local! {
    static RULES: Vec<Rules> = compiled();
}

fn rules(index: usize) -> Rules {
    RULES.with(|all| all[index % all.len()].clone())
}

/// Rules with a changed policy.
fn changed(rules: &Rules, change: impl FnOnce(&mut Body)) -> Rules {
    let mut body = rules.body.clone();
    change(&mut body);
    Rules::from_body(body, rules.since)
}

fn rank(status: Status) -> u8 {
    match status {
        Status::Ineligible => 0,
        Status::Review | Status::Insufficient => 1,
        Status::Eligible => 2,
    }
}

fn bytes(decision: &Decision) -> String {
    format!("{} {:?}", serde_json::to_string(decision).unwrap(), decision.attestations)
}

/// A register's word about status: always one side or the other, on a document and by an assessor of its own.
fn word(states: &[&str], at: Second, began: Option<Second>) -> Attestation {
    let mut word = attestation(900, &sample_draw());
    word.facts = Facts {
        kind: Kind::Registry,
        source_kind: SourceKind::Registry,
        grade: Grade::Strong,
        document_type: None,
        statement: Some(Statement::States {
            frame: "us_status".to_owned(),
            states: states.iter().map(|state| (*state).to_owned()).collect(),
        }),
        basis: None,
        doubt: None,
        document: "a-record-of-its-own".to_owned(),
        assessor: "a-register-of-its-own".to_owned(),
        person: None,
        fact_date: began,
        checked_at: at,
        ends_at: None,
        outcome: vouchsafe_core::facts::Outcome::Approved,
        codes: std::collections::BTreeSet::new(),
        issuing_country: None,
    };
    word.recorded_at = at;
    word.marks.clear();
    word
}

fn sample_draw() -> people::Draw {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    draw().new_tree(&mut runner).unwrap().current()
}

fn item() -> impl Strategy<Value = Item> {
    let times = (0i64..400 * DAY, prop::option::weighted(0.3, 1i64..500 * DAY));
    ((any::<bool>(), 0.01f64..0.99), times, (0i64..100, 1i64..400), (0u8..3, 0u8..3)).prop_map(
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

fn question(items: Vec<Item>) -> Question {
    let thresholds = Thresholds { eligible_at: 0.85, ineligible_at: 0.5, material: 0.25 };
    Question { items, thresholds, rho: 0.5, gate: None }
}

proptest! {
    #![proptest_config(config(250))]

    #[test]
    fn order_repetition_and_batches_do_not_matter(
        all in evidence().prop_flat_map(|all| (Just(all.clone()), Just(all).prop_shuffle())),
        copies in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
        index in 0usize..6,
        at in instant(),
    ) {
        let (all, mut shuffled) = all;
        let rules = rules(index);
        let expected = decide(&rules, &subject(all.clone()), at);
        if !all.is_empty() {
            for copy in copies {
                // Delivered again, once without its marks and once with the marks turned round.
                let mut again = copy.get(&all).clone();
                again.marks.reverse();
                shuffled.push(again.clone());
                again.marks.clear();
                shuffled.insert(0, again);
            }
        }
        let got = decide(&rules, &subject(shuffled), at);
        prop_assert_eq!(bytes(&got), bytes(&expected));
        prop_assert_eq!(got, expected);
    }

    #[test]
    fn asking_again_before_anything_changes_gives_the_same_decision(all in evidence(), index in 0usize..6, at in instant(), share in 0.0f64..1.0) {
        let rules = rules(index);
        let all = subject(all);
        let first = decide(&rules, &all.known_at(at), at);
        prop_assert!(first.at <= at);
        let end = first.valid_until().unwrap_or(at.plus(4000 * DAY));
        prop_assert!(end > at, "{:?}", first);
        #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "any instant between will do")]
        let between = at.plus((end.since(at) as f64 * share) as i64);
        for t in [first.at, between.min(end.plus(-1)), end.plus(-1)] {
            prop_assert_eq!(bytes(&decide(&rules, &all.known_at(at), t)), bytes(&first), "at {}", t);
        }
    }

    #[test]
    fn the_answer_changes_exactly_when_the_decision_says(all in evidence(), index in 0usize..6, at in instant()) {
        let rules = rules(index);
        let known = subject(all).known_at(at);
        let first = decide(&rules, &known, at);
        if let Some(end) = first.valid_until() {
            let next = decide(&rules, &known, end);
            if first.expiry_cause == Some(Cause::PolicyMaxTtl) {
                prop_assert!(end.since(first.at) == 90 * DAY);
            } else {
                prop_assert_ne!(next.status, first.status);
            }
            prop_assert_eq!(next.at, end);
        }
    }

    #[test]
    fn support_never_lowers_the_status(all in evidence(), index in 0usize..5, at in instant(), back in 0i64..300, dated in any::<bool>()) {
        let rules = rules(index);
        let before = decide(&rules, &subject(all.clone()), at);
        let mut more = all;
        more.push(word(&["citizen"], at.plus(-back * DAY), dated.then(|| at.plus(-back * DAY - 1))));
        let after = decide(&rules, &subject(more), at);
        prop_assert!(rank(after.status) >= rank(before.status), "{:?} to {:?}", before.status, after.status);
    }

    #[test]
    fn adverse_evidence_never_raises_the_status(all in evidence(), index in 0usize..5, at in instant(), back in 0i64..300, dated in any::<bool>()) {
        let rules = rules(index);
        let before = decide(&rules, &subject(all.clone()), at);
        let mut more = all;
        more.push(word(&["other"], at.plus(-back * DAY), dated.then(|| at.plus(-back * DAY - 1))));
        let after = decide(&rules, &subject(more), at);
        prop_assert!(rank(after.status) <= rank(before.status), "{:?} to {:?}", before.status, after.status);
    }

    #[test]
    fn evidence_that_says_nothing_changes_nothing(all in evidence(), index in 0usize..6, at in instant()) {
        let rules = rules(index);
        let before = decide(&rules, &subject(all.clone()), at);
        let mut silent = word(&["citizen"], at, None);
        silent.facts.kind = Kind::DocumentCheck;
        silent.facts.source_kind = SourceKind::DocumentVendor;
        silent.facts.document_type = Some("library_card".to_owned());
        silent.facts.statement = None;
        let mut more = all;
        more.push(silent);
        prop_assert_eq!(bytes(&decide(&rules, &subject(more), at)), bytes(&before));
    }

    #[test]
    fn a_revocation_counts_like_an_attestation_that_never_came(all in evidence(), index in 0usize..6, at in instant()) {
        prop_assume!(!all.is_empty());
        let rules = rules(index);
        let mut without = all.clone();
        let mut taken = without.pop().unwrap();
        taken.marks = vec![Mark { at: taken.recorded_at, kind: MarkKind::Revoked, from_start: true }];
        let mut with = without.clone();
        with.push(taken);
        let (a, b) = (decide(&rules, &subject(with), at), decide(&rules, &subject(without), at));
        prop_assert_eq!(a.status, b.status);
        prop_assert_eq!(&a.exemption, &b.exemption);
    }

    #[test]
    fn a_wider_policy_never_hurts(all in evidence(), at in instant()) {
        // {citizen, national} within {citizen, national, lpr} within {citizen, national, lpr, protected}.
        let all = subject(all);
        let ranks: Vec<u8> = [2, 3, 1].into_iter().map(|index| rank(decide(&rules(index), &all, at).status)).collect();
        prop_assert!(ranks.is_sorted(), "{:?}", ranks);
    }

    #[test]
    fn one_criterion_more_never_raises_the_answer(all in evidence(), index in 0usize..5, drop in 0usize..3, at in instant()) {
        let full = rules(index);
        let fewer = changed(&full, |body| {
            let policy = body.policy.as_mut().unwrap();
            policy.exemptions.clear();
            let drop = drop % policy.criteria.len();
            policy.criteria.remove(drop);
        });
        let full = changed(&full, |body| body.policy.as_mut().unwrap().exemptions.clear());
        let (full, fewer) = (decide(&full, &subject(all.clone()), at), decide(&fewer, &subject(all), at));
        prop_assert!(full.status <= fewer.status);
        if full.status == Status::Eligible && full.at == fewer.at {
            prop_assert!(full.expires_at <= fewer.expires_at);
            prop_assert!(fewer.confidence.is_none() || full.confidence <= fewer.confidence);
        }
    }

    #[test]
    fn nobody_is_eligible_without_evidence(index in 0usize..6, at in -1000i64..100_000) {
        let decision = decide(&rules(index), &subject(Vec::new()), second(at * DAY));
        prop_assert_eq!(decision.status, Status::Insufficient);
        prop_assert!(decision.criteria.iter().all(|c| c.belief == 0.0 && c.disbelief == 0.0));
        prop_assert!(!decision.next_steps.is_empty());
    }

    #[test]
    fn only_evidence_that_is_known_and_stands_makes_a_yes(all in evidence(), index in 0usize..6, at in instant()) {
        let decision = decide(&rules(index), &subject(all.clone()), at);
        if decision.status == Status::Eligible {
            prop_assert!(decision.expires_at.unwrap() > at);
            for criterion in decision.criteria.iter().filter(|c| !c.neutral) {
                let known = criterion.evidence.iter().any(|line| {
                    let source = all.iter().find(|a| a.id.as_str() == line.attestation).unwrap();
                    line.counted
                        && line.side == Some(Side::Supports)
                        && source.recorded_at <= at
                        && source.facts.checked_at <= at
                });
                prop_assert!(known);
            }
        } else {
            prop_assert!(decision.expires_at.is_none() && decision.expiry_cause.is_none());
        }
        prop_assert_eq!(decision.confidence.is_some(), matches!(decision.status, Status::Eligible | Status::Ineligible));
    }

    #[test]
    fn a_decision_reads_back_from_its_json(all in evidence(), index in 0usize..6, at in instant()) {
        let rules = rules(index);
        let decision = decide(&rules, &subject(all), at);
        let mut read: Decision = serde_json::from_str(&serde_json::to_string(&decision).unwrap()).unwrap();
        read.attestations.clone_from(&decision.attestations);
        prop_assert_eq!(read, decision);
        let body: Body = serde_json::from_str(&rules.canonical).unwrap();
        prop_assert_eq!(Rules::from_body(body, rules.since).digest, rules.digest);
    }
}

proptest! {
    #![proptest_config(config(1500))]

    #[test]
    fn an_opinion_is_whole_and_never_certain(r in 0.0f64..1e6, s in 0.0f64..1e6) {
        let o = Opinion::new(r, s);
        prop_assert!((o.b + o.d + o.u - 1.0).abs() < 1e-12);
        prop_assert!(o.u > 0.0 && [o.b, o.d, o.u, o.pro, o.con, o.conflict].iter().all(|v| (0.0..=1.0).contains(v)));
    }

    #[test]
    fn belief_of_one_report_is_the_trust_in_it(sigma in 0.0f64..1.0, trust in 0.0f64..1.0) {
        let q = discounted(sigma, trust, 0.99);
        prop_assert!((Opinion::new(units(q), 0.0).b - (sigma * trust).min(0.99)).abs() < 1e-12);
    }

    #[test]
    fn dependent_items_are_capped(es in prop::collection::vec(0.0f64..100.0, 1..9)) {
        let most = es.iter().copied().fold(0.0, f64::max);
        let same = combine_side(es.iter().map(|e| ("d", "a", *e)), 0.5);
        prop_assert!((same - most).abs() < 1e-12);
        let names: Vec<String> = (0..es.len()).map(|n| format!("d{n}")).collect();
        let one_assessor = combine_side(es.iter().zip(&names).map(|(e, d)| (d.as_str(), "a", *e)), 0.5);
        prop_assert!(one_assessor <= most / 0.5 + 1e-9 && one_assessor >= most);
        let one_document = combine_side(es.iter().zip(&names).map(|(e, a)| ("d", a.as_str(), *e)), 0.5);
        prop_assert!((one_document - most).abs() < 1e-12);
    }

    #[test]
    fn more_or_stronger_support_never_lowers_belief(items in prop::collection::vec(item(), 0..6), more in item(), at in 0i64..900) {
        let t = second(at * DAY);
        let before = question(items.clone());
        let mut more = more;
        more.side = Side::Supports;
        let mut with = items.clone();
        with.push(more.clone());
        let after = question(with);
        let (b0, b1) = (before.opinion(t), after.opinion(t));
        prop_assert!(b1.r >= b0.r && b1.b >= b0.b && b1.s.to_bits() == b0.s.to_bits());
        prop_assert!(rank(after.status(t)) >= rank(before.status(t)));
        // Older, weaker or ending earlier: not better.
        for weaken in 0..3 {
            let mut weak = more.clone();
            match weaken {
                0 => weak.fades_from = weak.fades_from.plus(-100 * DAY),
                1 => weak.e0 *= 0.7,
                _ => weak.ends_at = Some(weak.counts_from.plus(DAY)),
            }
            let mut with = items.clone();
            with.push(weak);
            prop_assert!(question(with).opinion(t).b <= b1.b + 1e-12);
        }
    }

    #[test]
    fn more_adverse_evidence_never_raises_belief(items in prop::collection::vec(item(), 0..6), more in item(), at in 0i64..900) {
        let t = second(at * DAY);
        let before = question(items.clone());
        let mut with = items;
        with.push(Item { side: Side::Adverse, ..more });
        let after = question(with);
        let (b0, b1) = (before.opinion(t), after.opinion(t));
        prop_assert!(b1.s >= b0.s && b1.b <= b0.b);
        prop_assert!(rank(after.status(t)) <= rank(before.status(t)));
    }

    #[test]
    fn belief_only_falls_while_nothing_new_comes_and_nothing_adverse_ends(items in prop::collection::vec(item(), 0..6), a in 400i64..900, b in 0i64..500) {
        let items = items.into_iter().map(|mut item| {
            if item.side == Side::Adverse {
                item.ends_at = None;
            }
            item
        });
        let question = question(items.collect());
        let (t1, t2) = (second(a * DAY), second((a + b) * DAY));
        prop_assert!(question.opinion(t2).b <= question.opinion(t1).b + 1e-15);
    }
}

/// Numbers and instants nobody should send.
fn wild() -> impl Strategy<Value = f64> {
    prop_oneof![
        Just(f64::NAN),
        Just(f64::INFINITY),
        Just(f64::NEG_INFINITY),
        Just(-1.0),
        Just(0.0),
        Just(1.0),
        Just(2.0),
        Just(1e300),
    ]
}

fn far() -> impl Strategy<Value = i64> {
    prop_oneof![Just(i64::MIN), Just(i64::MAX), Just(0), Just(i64::MIN / 2), Just(i64::MAX / 2), any::<i64>()]
}

proptest! {
    #![proptest_config(config(250))]

    #[test]
    fn impossible_instants_neither_panic_nor_hang(
        all in evidence(), index in 0usize..6, times in prop::collection::vec((far(), far(), far(), far()), 7), at in far(),
    ) {
        let all: Vec<Attestation> = all.into_iter().zip(times).map(|(mut a, (checked, ends, began, marked))| {
            a.facts.checked_at = Second::from_epoch(checked);
            a.facts.ends_at = a.facts.ends_at.map(|_| Second::from_epoch(ends));
            a.facts.fact_date = a.facts.fact_date.map(|_| Second::from_epoch(began));
            a.recorded_at = Second::from_epoch(checked.saturating_add(1));
            for mark in &mut a.marks {
                mark.at = Second::from_epoch(marked);
            }
            a
        }).collect();
        let at = Second::from_epoch(at);
        let decision = decide(&rules(index), &subject(all), at);
        prop_assert!(decision.status != Status::Eligible || decision.expires_at.unwrap() > at || at.epoch() == i64::MAX);
        let live = check_live(&rules(index), decision, &[], at);
        prop_assert!(live.live.is_empty() || live.status != Status::Eligible);
    }

    #[test]
    fn a_source_that_doubts_in_no_number_supports_nothing(all in evidence(), index in 0usize..5, doubt in wild(), at in instant()) {
        prop_assume!(!(doubt > 0.0 && doubt <= 1.0));
        let doubted = all.into_iter().map(|mut a| {
            a.facts.doubt = Some(doubt);
            a
        });
        prop_assert_ne!(decide(&rules(index), &subject(doubted.collect()), at).status, Status::Eligible);
    }

    #[test]
    fn numbers_that_are_none_never_help(all in evidence(), index in 0usize..6, number in wild(), which in 0u8..9, at in instant()) {
        let sane = rules(index);
        let broken = changed(&sane, |body| {
            let weights = &mut body.weights;
            match which {
                0 => weights.sigma.values_mut().for_each(|sigma| *sigma = number),
                1 => weights.trust.values_mut().flat_map(|frames| frames.values_mut()).for_each(|trust| *trust = number),
                2 => weights.cap = number,
                3 => weights.rho = number,
                4 => weights.classes.values_mut().for_each(|class| class.half_life_secs = 0),
                _ => {
                    for criterion in &mut body.policy.as_mut().unwrap().criteria {
                        match which {
                            5 => criterion.material = number,
                            6 => criterion.ineligible_at = number,
                            7 => criterion.eligible_at = number,
                            _ => criterion.allow = Some(Members::List(std::collections::BTreeSet::new())),
                        }
                    }
                }
            }
        });
        let before = decide(&sane, &subject(all.clone()), at);
        let decision = decide(&broken, &subject(all), at);
        let usable = (which < 4 && number == 1.0) || (which < 4 && number > 1.0 && number.is_finite());
        if !usable && before.status != Status::Eligible {
            prop_assert_ne!(decision.status, Status::Eligible);
        }
    }

    #[test]
    fn a_long_time_of_short_promises_is_crossed_at_once(ttl in 1i64..4000, days in 1i64..40_000) {
        // Every criterion is left to the request, so the promise is renewed for ever.
        let rules = changed(&rules(5), |body| {
            let policy = body.policy.as_mut().unwrap();
            policy.criteria.retain(|criterion| criterion.live);
            policy.max_ttl = Span::from_secs(ttl);
        });
        let at = rules.since.plus(days * DAY);
        let decision = decide(&rules, &subject(Vec::new()), at);
        prop_assert_eq!(decision.status, Status::Eligible);
        prop_assert_eq!(decision.at.since(rules.since) % ttl, 0);
        prop_assert!(decision.at <= at && decision.expires_at == Some(decision.at.plus(ttl)) && at < decision.at.plus(ttl));
        let live = check_live(&rules, decision, &[], at);
        prop_assert_eq!(live.status, Status::Insufficient);
    }
}

#[test]
fn a_policy_without_criteria_lets_nobody_in() {
    for exempt in [false, true] {
        let rules = changed(&rules(0), |body| {
            let policy = body.policy.as_mut().unwrap();
            if exempt { policy.exemptions[0].criteria.clear() } else { policy.criteria.clear() }
        });
        let all = vec![word(&["citizen"], second(0), None)];
        let decision = decide(&rules, &subject(all), second(DAY));
        assert_eq!((decision.status, decision.reasons), (Status::Insufficient, vec!["rules.incomplete".to_owned()]));
    }
}

#[test]
fn two_statements_under_one_id_are_not_believed() {
    let (a, mut b) = (word(&["citizen"], second(0), None), word(&["other"], second(0), None));
    let decision = decide(&rules(0), &subject(vec![a.clone(), b.clone()]), second(DAY));
    assert_eq!(decision.reasons, ["facts.inconsistent"]);
    b.facts = a.facts.clone();
    assert_ne!(decide(&rules(0), &subject(vec![a, b]), second(DAY)).reasons, ["facts.inconsistent"]);
}

#[test]
fn replaced_rules_answer_nothing() {
    let rules = changed(&rules(2), |body| body.next_change = Some(second(10 * DAY)));
    let all = subject(vec![word(&["citizen"], second(0), None)]);
    assert_eq!(decide(&rules, &all, second(10 * DAY)).reasons, ["rules.superseded"]);
    assert_ne!(decide(&rules, &all, second(10 * DAY - 1)).reasons, ["rules.superseded"]);
}

#[test]
fn a_live_check_needs_the_decisions_own_rules_and_time() {
    let own = changed(&rules(5), |body| body.policy.as_mut().unwrap().criteria.retain(|criterion| criterion.live));
    let decision = decide(&own, &subject(Vec::new()), second(0));
    assert_eq!(decision.status, Status::Eligible);
    assert_eq!(check_live(&rules(5), decision.clone(), &[], second(0)).reasons, ["rules.superseded"]);
    let over = decision.expires_at.unwrap();
    assert_eq!(check_live(&own, decision, &[], over).reasons, ["decision.expired"]);
}

#[test]
fn random_evidence_reaches_every_status_often_enough() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut counts = std::collections::BTreeMap::new();
    for index in 0..600 {
        let all = evidence().new_tree(&mut runner).unwrap().current();
        let at = instant().new_tree(&mut runner).unwrap().current();
        *counts.entry(decide(&rules(index), &subject(all), at).status).or_insert(0) += 1;
    }
    for status in [Status::Ineligible, Status::Review, Status::Insufficient, Status::Eligible] {
        assert!(counts.get(&status).copied().unwrap_or(0) >= 30, "{counts:?}");
    }
}
