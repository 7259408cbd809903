//! The seventeen properties of the evidence model, each under its number.

use crate::people::{attestation, draw, evidence, instant, second, states, subject};
use crate::{POLICIES, bytes, changed, config, item, question, rank, rules, word};
use proptest::prelude::*;
use proptest::sample::Index;
use std::collections::BTreeSet;
use vouchsafe_core::criterion::Prepared;
use vouchsafe_core::evidence::interpret;
use vouchsafe_core::facts::{Attestation, Grade, Kind, Mark, MarkKind, Outcome, SourceKind, merged};
use vouchsafe_core::fusion::{Cause, Item, Opinion, Question, Side, combine_side, discounted, units};
use vouchsafe_core::parties::{Role, Sheet};
use vouchsafe_core::policy::{Members, WhenUnknown};
use vouchsafe_core::rules::Rules;
use vouchsafe_core::second::DAY;
use vouchsafe_core::{Decision, Second, Status, decide};

const FRAME: u8 = 0b1_1111;

/// Rules with the single criterion that one of `mask` is the status, or with `deny` that none is.
fn of_status(mask: u8, deny: bool) -> Rules {
    changed(&rules(1), |body| {
        let policy = body.policy.as_mut().unwrap();
        policy.criteria.truncate(1);
        let list = Some(Members::List(states(mask)));
        (policy.criteria[0].allow, policy.criteria[0].deny) = if deny { (None, list) } else { (list, None) };
        policy.criteria[0].gate = None;
    })
}

/// The question that the first criterion asks of the evidence.
fn asked(rules: &Rules, all: &[Attestation], at: Second) -> Question {
    let known = merged(subject(all.to_vec()).known_at(at).attestations).unwrap();
    let criterion = &rules.body.policy.as_ref().unwrap().criteria[0];
    let pack = &rules.body.packs[&criterion.frame];
    let evidence = interpret(pack, &rules.body.weights, &known);
    let sheet = Sheet { role: Role::Subject, party: None, adverse_only: false, evidence };
    let prepared = Prepared::new(criterion, pack, &rules.body.weights, &rules.body.sets, &sheet).unwrap();
    prepared.keys[0].question.clone()
}

/// Which items of the question stand on which side, by document, assessor and beginning.
fn sides(question: &Question) -> (BTreeSet<String>, BTreeSet<String>) {
    let of = |side: Side| {
        let items = question.items.iter().filter(|item| item.side == side);
        items.map(|item| format!("{} {} {}", item.document, item.assessor, item.counts_from)).collect()
    };
    (of(Side::Supports), of(Side::Adverse))
}

fn one_sided(items: Vec<Item>, rho: f64) -> Question {
    let mut question = question(items);
    question.rho = rho;
    question
}

proptest! {
    #![proptest_config(config(250))]

    #[test]
    fn property_01_order_does_not_matter(
        (all, shuffled) in evidence().prop_flat_map(|all| (Just(all.clone()), Just(all).prop_shuffle())), index in 0usize..6, at in instant(),
    ) {
        let rules = rules(index);
        prop_assert_eq!(bytes(&decide(&rules, &subject(shuffled), at)), bytes(&decide(&rules, &subject(all), at)));
    }

    #[test]
    fn property_02_repetition_does_not_matter(
        all in evidence(), copies in prop::collection::vec(any::<Index>(), 1..4), index in 0usize..6, at in instant(),
    ) {
        prop_assume!(!all.is_empty());
        let rules = rules(index);
        let mut more = all.clone();
        for copy in copies {
            // Delivered again, once without its marks and later, once with the marks turned round.
            let mut again = copy.get(&all).clone();
            again.marks.reverse();
            more.push(again.clone());
            again.marks.clear();
            again.recorded_at = again.recorded_at.plus(DAY);
            more.insert(0, again);
        }
        prop_assert_eq!(bytes(&decide(&rules, &subject(more), at)), bytes(&decide(&rules, &subject(all), at)));
    }

    #[test]
    fn property_03_batches_merge_in_any_way(
        all in evidence(), cuts in prop::collection::vec(0usize..4, 12), index in 0usize..6, at in instant(),
    ) {
        let rules = rules(index);
        let expected = bytes(&decide(&rules, &subject(all.clone()), at));
        // Four replicas hold overlapping parts and join them pair by pair.
        let mut parts: Vec<Vec<Attestation>> = vec![Vec::new(); 4];
        for (n, a) in all.iter().enumerate() {
            parts[cuts[n % cuts.len()]].push(a.clone());
            parts[cuts[(n + 5) % cuts.len()]].push(a.clone());
        }
        let join = |a: &[Attestation], b: &[Attestation]| merged([a, b].concat()).unwrap();
        let left = join(&join(&parts[0], &parts[1]), &join(&parts[2], &parts[3]));
        let right = join(&parts[3], &join(&parts[2], &join(&parts[1], &parts[0])));
        prop_assert_eq!(&bytes(&decide(&rules, &subject(left), at)), &expected);
        prop_assert_eq!(&bytes(&decide(&rules, &subject(right), at)), &expected);
    }

    #[test]
    fn property_05_support_never_hurts(
        all in evidence(), index in 0usize..5, at in instant(), back in 0i64..300, dated in any::<bool>(), grade in 1usize..5,
    ) {
        let rules = rules(index);
        let before = asked(&rules, &all, at);
        let mut more = all.clone();
        let mut support = word(&["citizen"], at.plus(-back * DAY), dated.then(|| at.plus(-back * DAY - 1)));
        support.facts.grade = crate::people::GRADES[grade];
        more.push(support.clone());
        let after = asked(&rules, &more, at);
        // And the same word, stronger.
        let mut strengthened = all.clone();
        support.facts.grade = Grade::Superior;
        strengthened.push(support);
        let stronger = asked(&rules, &strengthened, at);
        for (less, more) in [(&before, &after), (&after, &stronger)] {
            let (less, more) = (less.opinion(at), more.opinion(at));
            prop_assert!(more.r >= less.r && more.b >= less.b && more.s <= less.s, "{:?} to {:?}", less, more);
        }
        let status = |all: &[Attestation]| rank(decide(&rules, &subject(all.to_vec()), at).status);
        prop_assert!(status(&more) >= status(&all) && status(&strengthened) >= status(&more));
    }

    #[test]
    fn property_06_adverse_evidence_never_helps(
        all in evidence(), index in 0usize..5, at in instant(), back in 0i64..300, dated in any::<bool>(), grade in 1usize..5,
    ) {
        let rules = rules(index);
        let mut more = all.clone();
        let mut adverse = word(&["other"], at.plus(-back * DAY), dated.then(|| at.plus(-back * DAY - 1)));
        adverse.facts.grade = crate::people::GRADES[grade];
        more.push(adverse);
        let (before, after) = (asked(&rules, &all, at).opinion(at), asked(&rules, &more, at).opinion(at));
        prop_assert!(after.s >= before.s && after.b <= before.b, "{:?} to {:?}", before, after);
        let status = |all: Vec<Attestation>| rank(decide(&rules, &subject(all), at).status);
        prop_assert!(status(more) <= status(all));
    }

    #[test]
    fn property_07_what_says_nothing_changes_nothing(all in evidence(), index in 0usize..6, at in instant(), which in 0u8..5) {
        let rules = rules(index);
        let first = decide(&rules, &subject(all.clone()), at);
        let mut silent = word(&["citizen"], first.at, None);
        match which {
            0 => {
                silent.facts.kind = Kind::DocumentCheck;
                silent.facts.source_kind = SourceKind::DocumentVendor;
                silent.facts.document_type = Some("library_card".to_owned());
                silent.facts.statement = None;
            }
            // Every state there is; a pair of source and frame that is not listed; a check that failed by itself.
            1 => silent = word(&["citizen", "national", "lpr", "protected", "other"], first.at, None),
            2 => silent.facts.source_kind = SourceKind::Network,
            3 => silent.facts.outcome = Outcome::Error,
            _ => silent.facts.kind = Kind::Adjudication,
        }
        let mut more = all;
        more.push(silent);
        let second = decide(&rules, &subject(more), at);
        if which != 1 {
            prop_assert_eq!(bytes(&second), bytes(&first));
        }
        let weighed = |d: &Decision| {
            let criteria = d.criteria.iter().map(|c| (c.id.clone(), c.status, c.neutral, c.belief, c.disbelief));
            (d.status, d.confidence, d.at, d.expires_at, d.expiry_cause, d.recheck_at, d.reasons.clone(), criteria.collect::<Vec<_>>())
        };
        prop_assert_eq!(weighed(&second), weighed(&first));
    }

    #[test]
    fn property_08_older_weaker_or_shorter_support_is_not_better(
        all in evidence(), index in 0usize..5, at in instant(), back in 0i64..300, how in 0u8..4, by in 1i64..200,
    ) {
        let rules = rules(index);
        let mut strong = word(&["citizen"], at.plus(-back * DAY), Some(at.plus(-1000 * DAY)));
        let mut weak = strong.clone();
        match how {
            0 => weak.facts.checked_at = weak.facts.checked_at.plus(-by * DAY),
            1 => weak.facts.doubt = Some(0.5),
            2 => weak.facts.grade = Grade::Fair,
            _ => {
                strong.facts.ends_at = Some(at.plus(by * DAY));
                weak.facts.ends_at = Some(at.plus((by - 150) * DAY));
            }
        }
        let with = |one: &Attestation| [all.clone(), vec![one.clone()]].concat();
        let belief = |one: &Attestation| asked(&rules, &with(one), at).opinion(at).b;
        prop_assert!(belief(&weak) <= belief(&strong));
        // Less trust in registers, of which only this word comes.
        let others: Vec<Attestation> = all.iter().filter(|a| a.facts.source_kind != SourceKind::Registry).cloned().collect();
        let distrusting = changed(&rules, |body| {
            body.weights.trust.get_mut(&SourceKind::Registry).unwrap().insert("us_status".to_owned(), 0.7);
        });
        let with = [others, vec![strong]].concat();
        prop_assert!(asked(&distrusting, &with, at).opinion(at).b <= asked(&rules, &with, at).opinion(at).b);
    }

    #[test]
    fn property_09_a_promise_holds_until_its_end_and_no_longer(
        all in evidence(), index in 0usize..6, at in instant(), shares in prop::collection::vec(0.0f64..1.0, 3),
    ) {
        let rules = rules(index);
        let known = subject(all).known_at(at);
        let first = decide(&rules, &known, at);
        prop_assert!(first.at <= at);
        let end = first.valid_until().unwrap_or(at.plus(4000 * DAY));
        prop_assert!(end > at, "{:?}", first);
        #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "any instants between will do")]
        let between = shares.iter().map(|share| at.plus((end.since(at) as f64 * share) as i64).min(end.plus(-1)));
        for t in between.chain([first.at, end.plus(-1)]) {
            prop_assert_eq!(bytes(&decide(&rules, &known, t)), bytes(&first), "at {}", t);
        }
        if first.valid_until().is_some() {
            let next = decide(&rules, &known, end);
            prop_assert_eq!(next.at, end);
            if first.expiry_cause == Some(Cause::PolicyMaxTtl) {
                prop_assert_eq!(end.since(first.at), 90 * DAY);
            } else {
                prop_assert_ne!(next.status, first.status);
            }
        }
    }

    #[test]
    fn property_12_a_wider_policy_never_hurts(all in evidence(), narrow in 1u8..31, more in 1u8..31, at in instant()) {
        prop_assume!(narrow | more != FRAME);
        let (narrow, wide) = (of_status(narrow, false), of_status(narrow | more, false));
        let (a, b) = (asked(&narrow, &all, at), asked(&wide, &all, at));
        prop_assert!(sides(&a).0.is_subset(&sides(&b).0) && sides(&b).1.is_subset(&sides(&a).1));
        prop_assert!(b.opinion(at).r >= a.opinion(at).r && b.opinion(at).s <= a.opinion(at).s);
        let status = |rules: &Rules| rank(decide(rules, &subject(all.clone()), at).status);
        prop_assert!(status(&wide) >= status(&narrow));
        // {citizen, national} within {citizen, national, lpr} within {citizen, national, lpr, protected}, as shipped.
        let shipped: Vec<u8> = [2, 3, 1].into_iter().map(|index| status(&rules(index))).collect();
        prop_assert!(shipped.is_sorted(), "{:?}", shipped);
    }

    #[test]
    fn property_13_nobody_is_eligible_without_evidence(index in 0usize..6, at in -1000i64..100_000, keep in 0usize..3) {
        let decision = decide(&rules(index), &subject(Vec::new()), second(at * DAY));
        prop_assert_eq!(decision.status, Status::Insufficient);
        prop_assert!(decision.criteria.iter().all(|c| c.belief == 0.0 && c.disbelief == 0.0 && c.uncertainty == 1.0));
        // Unless every criterion is neutral or left to the request.
        let open = changed(&rules(index), |body| {
            for (n, criterion) in body.policy.as_mut().unwrap().criteria.iter_mut().enumerate() {
                criterion.when_unknown = if n == keep { WhenUnknown::Refuse } else { WhenUnknown::Allow };
            }
        });
        let criteria = &open.body.policy.as_ref().unwrap().criteria;
        let asks = criteria.iter().any(|c| !c.live && c.when_unknown == WhenUnknown::Refuse);
        let decision = decide(&open, &subject(Vec::new()), second(at * DAY));
        prop_assert_eq!(decision.status, if asks { Status::Insufficient } else { Status::Eligible });
        prop_assert_eq!(decision.confidence, None);
    }

    #[test]
    fn property_14_one_criterion_more_never_helps(all in evidence(), index in 0usize..5, drop in any::<Index>(), at in instant()) {
        let full = changed(&rules(index), |body| body.policy.as_mut().unwrap().exemptions.clear());
        let fewer = changed(&full, |body| {
            let policy = body.policy.as_mut().unwrap();
            policy.criteria.remove(drop.index(policy.criteria.len()));
        });
        let (full, fewer) = (decide(&full, &subject(all.clone()), at), decide(&fewer, &subject(all), at));
        prop_assert!(full.status <= fewer.status);
        if full.status == Status::Eligible && full.at == fewer.at {
            prop_assert!(full.expires_at <= fewer.expires_at);
            prop_assert!(fewer.confidence.is_none() || full.confidence <= fewer.confidence);
        }
    }

    /// The engine forms NOT, AND and OR over sets of states, where they are exact, and never over beliefs.
    #[test]
    fn property_15_not_not_and_de_morgan(all in evidence(), a in 1u8..31, b in 1u8..31, at in instant()) {
        let here = |rules: &Rules| asked(rules, &all, at);
        // NOT NOT: denying what is not A is allowing A, to the bit.
        let (allowed, denied) = (decide(&of_status(a, false), &subject(all.clone()), at), decide(&of_status(FRAME & !a, true), &subject(all.clone()), at));
        prop_assert_eq!((allowed.status, allowed.confidence, allowed.expires_at, allowed.recheck_at), (denied.status, denied.confidence, denied.expires_at, denied.recheck_at));
        prop_assert_eq!(here(&of_status(a, false)).opinion(at), here(&of_status(FRAME & !a, true)).opinion(at));
        // NOT turns the sides round. What stands on one side only (a vouch without a record) or is against the subject itself aside.
        let plain: Vec<Attestation> = all.iter().filter(|x| !matches!(x.facts.kind, Kind::Vouch) && x.facts.doubt.is_none()).cloned().collect();
        let plain: Vec<Attestation> = plain.into_iter().filter(|x| x.facts.outcome == Outcome::Approved).collect();
        let (yes, no) = (sides(&asked(&of_status(a, false), &plain, at)), sides(&asked(&of_status(a, true), &plain, at)));
        prop_assert_eq!((yes.0, yes.1), (no.1, no.0));
        if (a | b) != FRAME {
            // NOT (A OR B) = NOT A AND NOT B; and what supports both of two is what supports their intersection.
            prop_assert_eq!(sides(&here(&of_status(a | b, true))), sides(&here(&of_status(FRAME & !a & !b, false))));
        }
        if a & b != 0 {
            prop_assert_eq!(sides(&here(&of_status(a & b, true))), sides(&here(&of_status((FRAME & !a) | (FRAME & !b), false))));
            let both: BTreeSet<String> = sides(&here(&of_status(a, false))).0.intersection(&sides(&here(&of_status(b, false))).0).cloned().collect();
            prop_assert!(sides(&here(&of_status(a & b, false))).0.is_subset(&both));
        }
    }

    #[test]
    fn property_16_revoking_and_adding_commute(all in evidence(), one in any::<Index>(), index in 0usize..6, at in instant(), late in 0i64..50) {
        prop_assume!(!all.is_empty());
        let rules = rules(index);
        let plain = one.get(&all).clone();
        let mut revoked = plain.clone();
        revoked.marks.push(Mark { at: plain.recorded_at.plus(late * DAY), kind: MarkKind::Revoked, from_start: false });
        let others: Vec<Attestation> = all.iter().filter(|a| a.id != plain.id).cloned().collect();
        let after = |deliveries: [&Attestation; 2]| {
            let mut held = others.clone();
            for delivery in deliveries {
                held.push(delivery.clone());
                held = merged(held).unwrap();
            }
            decide(&rules, &subject(held), at)
        };
        let (first, second) = (after([&plain, &revoked]), after([&revoked, &plain]));
        prop_assert_eq!(bytes(&first), bytes(&second));
        // And it stays revoked.
        let mark = plain.recorded_at.plus(late * DAY);
        let counted = first.criteria.iter().flat_map(|c| &c.evidence).any(|line| line.attestation == plain.id.as_str() && line.counted);
        prop_assert!(at < mark || !counted);
    }

    #[test]
    fn property_17_belief_of_one_item_alone_is_its_strength(d in draw(), grade in 0usize..5, doubt in 1u8..=10) {
        let mut one = attestation(1, &d);
        let said = word(&["citizen"], one.facts.checked_at, None);
        (one.facts, one.recorded_at) = (said.facts, said.recorded_at);
        (one.facts.grade, one.facts.doubt, one.marks) = (crate::people::GRADES[grade], Some(f64::from(doubt) / 10.0), Vec::new());
        let at = one.facts.checked_at;
        // sigma by trust in a register about status, the table of the evidence model.
        let sigma = [0.20, 0.40, 0.65, 0.92, 0.98][grade];
        let q = (sigma * f64::from(doubt) / 10.0 * 0.99_f64).min(0.99);
        let opinion = asked(&of_status(0b1, false), &[one.clone()], at).opinion(at);
        prop_assert!((opinion.b - q).abs() < 1e-12 && opinion.d == 0.0, "{:?} {}", opinion, q);
        let adverse = asked(&of_status(0b10, false), &[one], at).opinion(at);
        prop_assert!((adverse.d - q).abs() < 1e-12 && adverse.b == 0.0, "{:?} {}", adverse, q);
    }
}

proptest! {
    #![proptest_config(config(1500))]

    #[test]
    fn property_04_an_opinion_is_whole_and_never_certain(r in 0.0f64..1e6, s in 0.0f64..1e6, items in prop::collection::vec(item(), 0..8), at in 0i64..900) {
        for o in [Opinion::new(r, s), question(items).opinion(second(at * DAY))] {
            prop_assert!((o.b + o.d + o.u - 1.0).abs() < 1e-12);
            prop_assert!(o.u > 0.0 && [o.b, o.d, o.u, o.pro, o.con, o.conflict].iter().all(|v| (0.0..=1.0).contains(v)));
        }
    }

    #[test]
    fn property_05_and_08_more_or_stronger_support_never_lowers_belief(items in prop::collection::vec(item(), 0..6), more in item(), rho in 0.0f64..=1.0, at in 0i64..900) {
        let t = second(at * DAY);
        let before = one_sided(items.clone(), rho);
        let mut more = more;
        more.side = Side::Supports;
        let with = |one: &Item| one_sided([items.clone(), vec![one.clone()]].concat(), rho);
        let after = with(&more);
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
            if weak.ends_at <= more.ends_at || more.ends_at.is_none() {
                prop_assert!(with(&weak).opinion(t).b <= b1.b + 1e-12);
            }
        }
    }

    #[test]
    fn property_06_more_adverse_evidence_never_raises_belief(items in prop::collection::vec(item(), 0..6), more in item(), rho in 0.0f64..=1.0, at in 0i64..900) {
        let t = second(at * DAY);
        let before = one_sided(items.clone(), rho);
        let after = one_sided([items, vec![Item { side: Side::Adverse, ..more }]].concat(), rho);
        let (b0, b1) = (before.opinion(t), after.opinion(t));
        prop_assert!(b1.s >= b0.s && b1.b <= b0.b && b1.r.to_bits() == b0.r.to_bits());
        // What is material is never outvoted, however strong the other side.
        prop_assert!(b1.con < after.thresholds.material || after.status(t) != Status::Eligible);
        prop_assert!(rank(after.status(t)) <= rank(before.status(t)));
    }

    #[test]
    fn property_10_belief_only_falls_while_nothing_new_comes_and_nothing_adverse_ends(items in prop::collection::vec(item(), 0..6), a in 400i64..900, b in 0i64..500) {
        let items = items.into_iter().map(|mut item| {
            if item.side == Side::Adverse {
                item.ends_at = None;
            }
            item
        });
        let question = question(items.collect());
        let (t1, t2) = (second(a * DAY), second((a + b) * DAY));
        prop_assert!(question.opinion(t2).b <= question.opinion(t1).b + 1e-15);
        prop_assert!(question.opinion(t2).s.to_bits() == question.opinion(t1).s.to_bits());
    }

    #[test]
    fn property_11_dependent_items_are_capped(es in prop::collection::vec(0.0f64..100.0, 1..9), rho in 0.0f64..0.95) {
        let most = es.iter().copied().fold(0.0, f64::max);
        let same = combine_side(es.iter().map(|e| ("d", "a", *e)), rho);
        prop_assert!((same - most).abs() < 1e-12);
        let names: Vec<String> = (0..es.len()).map(|n| format!("d{n}")).collect();
        let one_assessor = combine_side(es.iter().zip(&names).map(|(e, d)| (d.as_str(), "a", *e)), rho);
        prop_assert!(one_assessor <= most / (1.0 - rho) + 1e-9 && one_assessor >= most);
        let one_document = combine_side(es.iter().zip(&names).map(|(e, a)| ("d", a.as_str(), *e)), rho);
        prop_assert!((one_document - most).abs() < 1e-12);
        // Two vendors, two documents: the full sum.
        let apart = combine_side(es.iter().zip(&names).map(|(e, n)| (n.as_str(), n.as_str(), *e)), rho);
        prop_assert!((apart - es.iter().sum::<f64>()).abs() < 1e-9);
    }

    #[test]
    fn property_17_belief_of_one_report_is_the_trust_in_it(sigma in 0.0f64..1.0, trust in 0.0f64..1.0) {
        let q = discounted(sigma, trust, 0.99);
        prop_assert!((Opinion::new(units(q), 0.0).b - (sigma * trust).min(0.99)).abs() < 1e-12);
    }
}

#[test]
fn every_property_has_a_test_under_its_number() {
    let own = include_str!("seventeen.rs");
    for number in 1..=17 {
        assert!(own.contains(&format!("fn property_{number:02}")), "property {number}");
    }
    assert_eq!(POLICIES.len(), 6);
}
