//! What must hold whatever the numbers, instants and rules: nothing broken ever helps.

use crate::people::{evidence, instant, second, subject};
use crate::{changed, config, rules, word};
use proptest::prelude::*;
use vouchsafe_core::facts::{Attestation, Mark, MarkKind};
use vouchsafe_core::fusion::Side;
use vouchsafe_core::policy::{Members, Span};
use vouchsafe_core::rules::{Body, Rules};
use vouchsafe_core::second::DAY;
use vouchsafe_core::{Decision, Second, Status, check_live, decide};

proptest! {
    #![proptest_config(config(250))]

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
