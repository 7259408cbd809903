//! What `compare` claims is never contradicted by `decide`.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails where a production path must not, and reads how much to draw"
)]

#[path = "support/people.rs"]
mod people;
mod support;

use people::{STATES, evidence, instant, second, subject};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use serde_json::{Map, Value, json};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use vouchsafe_core::cases::attestation;
use vouchsafe_core::compare::{Comparison, Verdict, compare};
use vouchsafe_core::facts::Attestation;
use vouchsafe_core::ids::ResourceId;
use vouchsafe_core::policy::{Members, Policy, Span};
use vouchsafe_core::rules::{Library, Rules};
use vouchsafe_core::{Second, Status, check_live, decide};

thread_local! {
    static LIBRARY: Library = support::library();
    static VERDICTS: RefCell<BTreeMap<&'static str, u32>> = const { RefCell::new(BTreeMap::new()) };
}

fn shipped(name: &str) -> Policy {
    LIBRARY.with(|library| library.policies[&(name.to_owned(), 1)].clone())
}

fn compared(old: &Policy, new: &Policy) -> Comparison {
    LIBRARY.with(|library| compare(old, new, library).unwrap())
}

fn rules(policy: &Policy) -> Rules {
    LIBRARY.with(|library| Rules::of(library, policy, ResourceId::parse("x").unwrap(), second(-1000)).unwrap())
}

fn let_in(rules: &Rules, all: &[Attestation], request: &[Attestation], at: Second) -> bool {
    check_live(rules, decide(rules, &subject(all.to_vec()), at), request, at).status == Status::Eligible
}

/// Turns each example of a comparison round under rules of its own making.
fn examples_hold(old: &Policy, new: &Policy, found: &Comparison) {
    let (old, new) = (rules(old), rules(new));
    for (example, gains) in [(&found.gains, true), (&found.loses, false)] {
        let Some(example) = example else { continue };
        let asked = |rules| let_in(rules, &example.attestations, &example.request, example.at);
        assert_eq!((asked(&old), asked(&new)), (!gains, gains), "{example:#?}");
    }
}

fn pick<T: Clone>(from: &[T], with: u32) -> T {
    from[with as usize % from.len()].clone()
}

/// A criterion by its numbers; `slot` says which frame.
fn criterion(id: &str, slot: u32, n: &[u32; 8]) -> Value {
    let chosen = |names: &[&str], mask: u32| -> Vec<String> {
        let some: Vec<String> = names
            .iter()
            .enumerate()
            .filter(|(bit, _)| mask >> bit & 1 == 1)
            .map(|(_, name)| (*name).to_owned())
            .collect();
        if some.is_empty() { vec![names[0].to_owned()] } else { some }
    };
    let mut made = json!({
        "id": id,
        "eligible_at": pick(&[0.85, 0.85, 0.6, 0.9, 0.95], n[0]),
        "material": pick(&[0.25, 0.25, 0.25, 0.2, 0.4], n[1]),
        "when_unknown": pick(&["refuse", "refuse", "refuse", "allow"], n[2]),
    });
    let (frame, test, list) = match slot % 6 {
        0 | 1 => ("us_status", pick(&["allow", "allow", "deny"], n[3]), chosen(&STATES, n[4] % 31)),
        2 => ("identity", "allow", vec!["proofed".to_owned()]),
        3 => ("employer", pick(&["any_of", "any_of", "none_of"], n[3]), chosen(&["org_a", "org_b", "org_c"], n[4])),
        4 => {
            made["when_unknown"] = json!("allow");
            ("citizenship", pick(&["none_of_except", "none_of"], n[3]), chosen(&["USA", "IRL", "FRA"], n[4]))
        }
        _ => {
            made["live"] = json!(n[5].is_multiple_of(3));
            ("country_now", pick(&["deny", "allow"], n[3]), chosen(&["CUB", "FRA", "USA"], n[4]))
        }
    };
    made["frame"] = json!(frame);
    made[test] = json!(list);
    if frame == "us_status" && n[6].is_multiple_of(2) {
        let from = chosen(&["document_check", "registry", "review", "vouch"], n[7]);
        made["gate"] = json!({ "grade": pick(&["STRONG", "STRONG", "SUPERIOR", "FAIR"], n[6] / 2), "from": from });
    }
    made["strict"] = json!(n[7].is_multiple_of(13));
    made
}

type Numbers = (Vec<(u32, [u32; 8])>, Vec<(u32, u32, [u32; 8])>, [u32; 2]);

fn numbers() -> impl Strategy<Value = Numbers> {
    (
        prop::collection::vec((0u32..6, prop::array::uniform8(0u32..1000)), 1..4),
        prop::collection::vec((0u32..6, 1u32..8, prop::array::uniform8(0u32..1000)), 0..3),
        prop::array::uniform2(0u32..8),
    )
}

/// A policy made of numbers; `None` when its check refuses it.
fn policy(numbers: &Numbers) -> Option<Policy> {
    let (main, exemptions, lifetimes) = numbers;
    let criteria: Vec<Value> =
        main.iter().enumerate().map(|(index, (slot, n))| criterion(&format!("c{index}"), *slot, n)).collect();
    let exemptions: Vec<Value> = exemptions
        .iter()
        .enumerate()
        .map(|(index, (slot, waives, n))| {
            let waived: Vec<String> =
                (0..main.len()).filter(|bit| waives >> bit & 1 == 1).map(|bit| format!("c{bit}")).collect();
            let waived = if waived.is_empty() { vec!["c0".to_owned()] } else { waived };
            json!({ "id": format!("e{index}"), "waives": waived, "criteria": [criterion(&format!("x{index}"), *slot, n)] })
        })
        .collect();
    let made = json!({
        "id": "made", "title": "made", "resources": ["made.*"], "criteria": criteria, "exemptions": exemptions,
        "definitions": ["us_status@1", "identity@1", "employer@1", "citizenship@1", "country_now@1"],
        "max_ttl": pick(&["90d", "90d", "90d", "90d", "90d", "30d"], lifetimes[0]),
        "token_ttl": pick(&["15m", "15m", "15m", "15m", "15m", "5m"], lifetimes[1]),
    });
    let mut policy: Policy = serde_json::from_value(made).unwrap();
    policy.write_out_defaults();
    LIBRARY.with(|library| policy.check(library)).is_ok().then_some(policy)
}

/// Two policies: each made by itself, the second with a few numbers of the first changed, or one criterion that one of them leaves
/// out while nothing is known and the other asks for.
fn pair() -> impl Strategy<Value = (Policy, Policy)> {
    let changes = prop::collection::vec((any::<prop::sample::Index>(), 0usize..9, 0u32..1000), 1..4);
    let near = (numbers(), changes).prop_map(|(first, changes)| {
        let mut second = first.clone();
        for (place, member, value) in changes {
            let (criteria, exemptions) = (second.0.len(), second.1.len());
            let index = place.index(criteria + exemptions + 2);
            if index < criteria {
                match second.0.get_mut(index) {
                    Some((slot, _)) if member == 8 => *slot = value % 6,
                    Some((_, n)) => n[member] = value,
                    None => {}
                }
            } else if let Some((_, waives, n)) = second.1.get_mut(index - criteria) {
                if member == 8 { *waives = value % 8 } else { n[member] = value }
            } else if index == criteria + exemptions {
                second.0.truncate(1 + value as usize % criteria);
            } else {
                second.1.truncate(value as usize % (exemptions + 1));
            }
        }
        (first, second)
    });
    let slots = prop::sample::select(vec![0u32, 2, 3, 3, 3, 5]);
    let left_out = (slots, prop::array::uniform8(0u32..1000), prop::array::uniform2(0u32..8), any::<bool>());
    let left_out = left_out.prop_map(|(slot, mut n, lifetimes, first)| {
        let mut with = |unknown: u32| {
            n[2] = unknown;
            (vec![(slot, n)], Vec::new(), lifetimes)
        };
        let (allowed, asked) = (with(3), with(0));
        if first { (allowed, asked) } else { (asked, allowed) }
    });
    prop_oneof![4 => near, 1 => (numbers(), numbers()), 1 => left_out]
        .prop_filter_map("refused by the check", |(old, new)| Some((policy(&old)?, policy(&new)?)))
}

/// What a request shows: an address in some country, behind an anonymiser, or nothing.
fn request() -> impl Strategy<Value = Option<(usize, bool)>> {
    prop::option::weighted(0.8, (0usize..4, prop::bool::weighted(0.2)))
}

fn observed(request: Option<(usize, bool)>, at: Second) -> Vec<Attestation> {
    let made = |(country, anonymous): (usize, bool)| {
        let country = ["CUB", "FRA", "USA", "IRN"][country];
        let statement = json!({ "type": "network", "country": country, "anonymous": anonymous });
        let short = json!({ "kind": "observation", "grade": "STRONG", "checked_at": at, "statement": statement });
        let Value::Object(short) = short else { panic!("an object") };
        attestation(900, Map::from_iter(short)).unwrap()
    };
    request.map(made).into_iter().collect()
}

/// Pairs of policies in the suite; `COMPARISONS=20000 cargo test --release -p vouchsafe-core --test comparisons` draws more.
const PAIRS: u32 = 250;

/// The share of the random policies for which a verdict is given; it may grow, not shrink.
const DECIDED: f64 = 0.75;

#[test]
fn no_verdict_is_contradicted_by_a_random_person() {
    let people = || prop::collection::vec((evidence(), request(), instant()), 20);
    let pairs = std::env::var("COMPARISONS").map_or(PAIRS, |text| text.parse().unwrap());
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: pairs,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(20_261_121),
        max_global_rejects: 100_000,
        ..ProptestConfig::default()
    });
    runner
        .run(&(pair(), people()), |((old, new), people)| {
            let found = compared(&old, &new);
            VERDICTS.with_borrow_mut(|verdicts| *verdicts.entry(found.verdict.as_str()).or_default() += 1);
            examples_hold(&old, &new, &found);
            let (before, after) = (rules(&old), rules(&new));
            for (all, seen, at) in people {
                let request = observed(seen, at);
                let (was, is) = (let_in(&before, &all, &request, at), let_in(&after, &all, &request, at));
                let fits = match found.verdict {
                    Verdict::Equal => was == is,
                    Verdict::Wider => !was || is,
                    Verdict::Narrower => was || !is,
                    Verdict::Incomparable | Verdict::NotDecided => true,
                };
                prop_assert!(fits, "{:?}: {was} to {is} for {all:#?}\n{old:#?}\n{new:#?}", found.verdict);
            }
            Ok(())
        })
        .unwrap();
    VERDICTS.with_borrow(|verdicts| {
        let total: u32 = verdicts.values().sum();
        let open = verdicts.get("not decided").copied().unwrap_or(0);
        assert!(f64::from(total - open) >= DECIDED * f64::from(total), "{verdicts:?}");
        for verdict in ["equal", "wider", "narrower", "incomparable"] {
            assert!(verdicts.get(verdict).copied().unwrap_or(0) >= total / 50, "{verdicts:?}");
        }
    });
}

#[test]
fn sets_of_states_order_the_shipped_policies() {
    let policies = ["us_nationals_only", "citizen_or_lpr", "ear_us_person"].map(shipped);
    for (i, old) in policies.iter().enumerate() {
        for (j, new) in policies.iter().enumerate() {
            let found = compared(old, new);
            let expected = match i.cmp(&j) {
                std::cmp::Ordering::Equal => Verdict::Equal,
                std::cmp::Ordering::Less => Verdict::Wider,
                std::cmp::Ordering::Greater => Verdict::Narrower,
            };
            assert_eq!(found.verdict, expected, "{i} {j}");
            let example = found.gains.or(found.loses);
            // Status and identity: two statements are the fewest that open either policy.
            assert_eq!(example.map(|example| example.attestations.len()), (i != j).then_some(2));
        }
    }
}

#[test]
fn an_exemption_more_is_wider_and_its_example_works_for_a_listed_organisation() {
    let found = compared(&shipped("ear_us_person"), &shipped("restricted-us-persons"));
    assert_eq!(found.verdict, Verdict::Wider);
    let gains = found.gains.unwrap();
    assert_eq!(gains.new.exemption.as_deref(), Some("annex-a"));
    assert_eq!(gains.attestations.len(), 2);
}

#[test]
fn numbers_that_move_one_way_decide_and_numbers_that_cross_do_not() {
    let old = shipped("ear_us_person");
    let with = |change: &dyn Fn(&mut Policy)| {
        let mut new = old.clone();
        change(&mut new);
        let found = compared(&old, &new);
        examples_hold(&old, &new, &found);
        found
    };
    let lower = with(&|policy| policy.criteria[0].eligible_at = 0.8);
    assert_eq!(lower.verdict, Verdict::Wider);
    assert!(lower.gains.is_some());
    assert_eq!(with(&|policy| policy.criteria[0].gate = None).verdict, Verdict::Wider);
    assert_eq!(with(&|policy| policy.criteria[0].material = 0.2).verdict, Verdict::Narrower);
    assert_eq!(with(&|policy| policy.max_ttl = Span::from_secs(86_400)).verdict, Verdict::Narrower);
    assert_eq!(with(&|policy| policy.criteria[0].strict = true).verdict, Verdict::Narrower);
    // Fewer may enter, for longer: neither is claimed.
    let apart = with(&|policy| {
        policy.criteria[0].allow = Some(Members::List(BTreeSet::from(["citizen".to_owned()])));
        policy.max_ttl = Span::from_secs(180 * 86_400);
    });
    assert_eq!(apart.verdict, Verdict::NotDecided);
    assert!(apart.open.iter().any(|reason| reason.contains("`max_ttl` 90d to 180d")), "{:?}", apart.open);
    // One threshold down and another up: somebody on each side is found.
    let crossing = with(&|policy| {
        policy.criteria[0].eligible_at = 0.7;
        policy.criteria[1].eligible_at = 0.95;
    });
    assert_eq!(crossing.verdict, Verdict::Incomparable);
}

#[test]
fn a_pack_whose_trust_moves_is_not_decided_and_says_so() {
    let mut library = support::library();
    let old = shipped("ear_us_person");
    let mut pack = library.packs["us_status@1"].clone();
    pack.version = 2;
    pack.trust.insert(vouchsafe_core::facts::SourceKind::Employer, 0.5);
    library.packs.insert(pack.name(), pack);
    let mut new = old.clone();
    new.definitions.remove("us_status@1");
    new.definitions.insert("us_status@2".to_owned());
    let found = compare(&old, &new, &library).unwrap();
    assert_eq!(found.verdict, Verdict::NotDecided);
    assert_eq!(found.open, ["numbers `trust` of frame `us_status` differ"]);
}

/// A policy of one criterion.
fn of(criterion: &Value) -> Policy {
    let mut criterion = criterion.clone();
    criterion["id"] = json!("only");
    let mut policy: Policy = serde_json::from_value(json!({
        "id": "one", "title": "one", "resources": ["one"], "criteria": [criterion],
        "definitions": ["us_status@1", "identity@1", "employer@1", "citizenship@1", "country_now@1"],
    }))
    .unwrap();
    policy.write_out_defaults();
    LIBRARY.with(|library| policy.check(library)).unwrap();
    policy
}

fn with(base: &Value, member: &str, value: Value) -> Value {
    let mut changed = base.clone();
    changed[member] = value;
    changed
}

/// Each pair both ways: to the second from the first, and back.
fn stand(first: &Value, second: &Value, forth: Verdict, back: Verdict) {
    let (old, new) = (of(first), of(second));
    for (old, new, expected) in [(&old, &new, forth), (&new, &old, back)] {
        let found = compared(old, new);
        assert_eq!(found.verdict, expected, "{first} and {second}: {:?}", found.open);
        examples_hold(old, new, &found);
        let (gains, loses) = (found.gains.is_some(), found.loses.is_some());
        assert_eq!((gains, loses), (expected == Verdict::Wider, expected == Verdict::Narrower), "{first} and {second}");
    }
}

#[test]
fn a_criterion_is_wider_by_its_test_its_threshold_its_gate_or_what_it_leaves_out() {
    let wider = |first: &Value, second: &Value| stand(first, second, Verdict::Wider, Verdict::Narrower);
    let status = json!({ "frame": "us_status", "allow": ["citizen"], "eligible_at": 0.85 });
    let employer = json!({ "frame": "employer", "any_of": ["org_a"], "eligible_at": 0.6 });
    let nowhere = json!({ "frame": "employer", "none_of": ["org_a", "org_b"], "eligible_at": 0.6 });
    wider(&status, &with(&status, "allow", json!(["citizen", "lpr"])));
    wider(&employer, &with(&employer, "any_of", json!(["org_a", "org_b"])));
    wider(&nowhere, &with(&nowhere, "none_of", json!(["org_a"])));
    // All that is not one of two is more than all that is not one of three.
    let deny = json!({ "frame": "country_now", "deny": ["CUB", "FRA"], "eligible_at": 0.6 });
    wider(&deny, &with(&deny, "deny", json!(["CUB"])));
    let here = json!({ "frame": "country_now", "allow": ["USA"], "eligible_at": 0.6 });
    wider(&here, &deny);
    // Whom nothing is known of is let in by one of them.
    for base in [&status, &employer, &with(&nowhere, "none_of", json!(["org_a"]))] {
        wider(base, &with(base, "when_unknown", json!("allow")));
        wider(&with(base, "eligible_at", json!(0.87)), base);
        wider(base, &with(base, "material", json!(0.4)));
    }
    // Left out while nothing is known: then the threshold decides nothing where the test is the same.
    let sole = json!({ "frame": "citizenship", "none_of_except": ["USA"], "when_unknown": "allow" });
    wider(&sole, &with(&sole, "none_of_except", json!(["USA", "IRL"])));
    let gate = |grade: &str, from: &[&str]| with(&status, "gate", json!({ "grade": grade, "from": from }));
    wider(&gate("STRONG", &["document_check"]), &status);
    wider(&gate("STRONG", &["document_check"]), &gate("STRONG", &["document_check", "registry"]));
    wider(&gate("SUPERIOR", &["document_check"]), &gate("STRONG", &["document_check"]));
    for same in [&status, &employer, &nowhere, &sole, &gate("STRONG", &["registry"])] {
        stand(same, same, Verdict::Equal, Verdict::Equal);
        // How long a no and a weak yes are told apart does not say who is let in.
        stand(same, &with(same, "ineligible_at", json!(0.8)), Verdict::Equal, Verdict::Equal);
    }
}

#[test]
fn what_is_left_out_while_nothing_is_known_is_not_implied_by_more_keys() {
    // Somebody of whom one organisation doubts something is let in where that one is not asked for.
    let any =
        |keys: &[&str]| json!({ "frame": "employer", "any_of": keys, "eligible_at": 0.6, "when_unknown": "allow" });
    let found = compared(&of(&any(&["org_a"])), &of(&any(&["org_a", "org_b"])));
    assert!(!matches!(found.verdict, Verdict::Wider | Verdict::Equal), "{found:#?}");
    // Two tests of different kinds imply nothing.
    let none = json!({ "frame": "employer", "none_of": ["org_a"], "eligible_at": 0.6 });
    let found = compared(&of(&any(&["org_a"])), &of(&none));
    assert!(matches!(found.verdict, Verdict::Incomparable | Verdict::NotDecided), "{found:#?}");
}

#[test]
fn what_is_judged_at_the_request_is_compared_with_its_example() {
    let embargo = shipped("embargo");
    let mut open = embargo.clone();
    open.criteria.retain(|criterion| !criterion.live);
    assert_eq!((embargo.criteria.len(), open.criteria.len()), (2, 1));
    let found = compared(&embargo, &open);
    assert_eq!(found.verdict, Verdict::Wider);
    let gains = found.gains.unwrap();
    // Who is who is stored, the request shows nothing that would do.
    assert_eq!((gains.attestations.len(), gains.request.len()), (1, 0));
    let back = compared(&open, &embargo);
    assert_eq!((back.verdict, back.loses.is_some(), back.gains.is_some()), (Verdict::Narrower, true, false));
    examples_hold(&open, &embargo, &back);
    // One country more: the example is an address in it.
    let mut more = embargo.clone();
    more.criteria[1].deny = Some(Members::List(BTreeSet::from(["CUB".to_owned()])));
    let fewer = more.clone();
    more.criteria[1].deny = Some(Members::List(BTreeSet::from(["CUB".to_owned(), "FRA".to_owned()])));
    let found = compared(&fewer, &more);
    assert_eq!(found.verdict, Verdict::Narrower);
    let seen = found.loses.unwrap().request;
    assert_eq!(seen.len(), 1);
    assert!(format!("{:?}", seen[0].facts.statement).contains("FRA"), "{seen:?}");
    let stored = with_live(&embargo, false);
    assert!(!matches!(compared(&embargo, &stored).verdict, Verdict::Equal));
}

/// The same with every criterion judged at the request, or none.
fn with_live(policy: &Policy, live: bool) -> Policy {
    let mut policy = policy.clone();
    for criterion in &mut policy.criteria {
        criterion.live = live;
    }
    policy
}

#[test]
fn resources_lifetimes_and_thresholds_that_differ_are_told() {
    let old = shipped("ear_us_person");
    let mut new = old.clone();
    new.resources = vec![vouchsafe_core::ids::ResourcePattern::parse("elsewhere").unwrap()];
    let found = compared(&old, &new);
    assert_eq!(found.no_longer_governed, old.resources);
    assert_eq!(found.newly_governed, new.resources);
    assert_eq!((found.verdict, found.open.len()), (Verdict::Equal, 0));
    // A longer token and a shorter promise: nobody gains or loses, and neither way is claimed.
    new.resources = old.resources.clone();
    new.max_ttl = Span::from_secs(30 * 86_400);
    new.token_ttl = Span::from_secs(3_600);
    let found = compared(&old, &new);
    assert_eq!(found.verdict, Verdict::NotDecided);
    assert_eq!(found.open, ["people and lifetimes move apart: `token_ttl` 15m to 1h, `max_ttl` 90d to 30d"]);
    // No longer strict holds for longer.
    new.max_ttl = old.max_ttl;
    new.token_ttl = old.token_ttl;
    let mut strict = old.clone();
    strict.criteria[0].strict = true;
    assert_eq!(compared(&strict, &new).verdict, Verdict::Wider);
    assert_eq!(compared(&strict, &strict).verdict, Verdict::Equal);
}
