//! Receipts, defaults and timelines.

use super::made::{AT, CHECKED, at, membership, pack, person, plain, policy, proves, rules, says, states};
use super::support;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use vouchsafe_core::definitions::Pack;
use vouchsafe_core::facts::{Attestation, Statement, SubjectFacts};
use vouchsafe_core::ids::{ResourceId, ResourcePattern};
use vouchsafe_core::policy::{Policy, Span};
use vouchsafe_core::receipt::Receipt;
use vouchsafe_core::rules::Rules;
use vouchsafe_core::timeline::{Action, Entry, state_at};
use vouchsafe_core::{Second, decide};

fn receipt(rules: &Rules, all: Vec<Attestation>) -> SubjectFacts {
    let facts = person(all);
    let decision = decide(rules, &facts, at(AT));
    Receipt::new("https://e.example", rules, &facts, &decision).unwrap().facts
}

#[test]
fn tokens_of_documents_sort_as_their_keys_do_among_the_three_that_stay() {
    let keys = ["Z9", "anonymised", "b", "r", "service", "t", "u", "unverified", "v", "z"];
    let rules = rules(&[plain()], &json!([{ "id": "c", "frame": "f", "allow": ["in"] }]), &json!({}));
    let all = keys.iter().enumerate().map(|(n, key)| says(&n.to_string(), "registry", &json!({ "document": key })));
    let tokens: Vec<String> =
        receipt(&rules, all.collect()).attestations.into_iter().map(|a| a.facts.document).collect();
    // Between two that stay a letter of its own, numbered in the order of the keys.
    let expected = [
        "a000000",
        "anonymised",
        "d000000",
        "d000001",
        "service",
        "t000000",
        "t000001",
        "unverified",
        "v000000",
        "v000001",
    ];
    assert_eq!(tokens, expected);
    assert!(expected.is_sorted() && keys.is_sorted());
}

/// What of a fact is left under a pack with one such row.
fn left(pack: &Pack, kind: &str, more: &Value) -> Attestation {
    let rules =
        rules(std::slice::from_ref(pack), &json!([{ "id": "c", "frame": pack.id, "allow": ["in"] }]), &json!({}));
    receipt(&rules, vec![says("a", kind, more)]).attestations.remove(0)
}

#[test]
fn what_no_row_reads_is_left_out_of_a_receipt() {
    let of = |when: Value| pack("f", &states(&["in", "out"]), &json!([proves("r", &when, &["in"])]), &json!({}));
    let codes =
        |pack: &Pack, kind: &str| left(pack, kind, &json!({ "codes": ["read", "person.mismatch"] })).facts.codes;
    let one = |code: &str| BTreeSet::from([code.to_owned()]);
    assert_eq!(codes(&of(json!({ "codes": ["read"] })), "registry"), one("read"));
    assert_eq!(codes(&of(json!({ "any_code": ["read", "other"] })), "registry"), one("read"));
    assert_eq!(codes(&of(json!({})), "registry"), BTreeSet::new());
    // What this service saw is told by its codes.
    assert_eq!(codes(&of(json!({})), "cross_check").len(), 2);
    let read = json!({ "statement": { "type": "read", "nationalities": ["IRL"], "category": "A05" } });
    let kept = |pack: &Pack| match left(pack, "registry", &read).facts.statement {
        Some(Statement::Read { nationalities, category }) => (nationalities.len(), category.is_some()),
        _ => (9, false),
    };
    assert_eq!(kept(&of(json!({}))), (0, false));
    assert_eq!(kept(&of(json!({ "nationality": ["IRL"] }))), (1, false));
    assert_eq!(kept(&of(json!({ "category": ["A05"] }))), (0, true));
    let mut citizenships = membership();
    citizenships.rows[0].proves = serde_json::from_value(json!({ "by": "nationalities" })).unwrap();
    let rules = rules(&[citizenships], &json!([{ "id": "c", "frame": "m", "any_of": ["IRL"] }]), &json!({}));
    let facts = receipt(&rules, vec![says("a", "registry", &read)]).attestations.remove(0).facts;
    assert_eq!(facts.statement, serde_json::from_value(json!({ "type": "read", "nationalities": ["IRL"] })).unwrap());
}

#[test]
fn an_authority_grants_no_grace_in_an_outage_and_others_a_quarter_of_an_hour() {
    let grace = |more: &str| {
        let text = format!("id = \"p\"\ntitle = \"t\"\nresources = [\"x\"]\ndefinitions = []\ncriteria = []\n{more}");
        Policy::from_toml(&text).unwrap().outage_grace
    };
    assert_eq!(grace(""), Some(Span::from_secs(900)));
    assert_eq!(grace("[authority]\nname = \"a\"\ncitation = \"c\""), Some(Span::from_secs(0)));
    assert_eq!(grace("outage_grace = \"1h\""), Some(Span::from_secs(3_600)));
    assert_eq!(policy(&[plain()], &json!([]), &json!({})).outage_grace, Some(Span::from_secs(900)));
}

#[test]
fn a_lift_approved_before_a_freeze_of_its_second_says_nothing_of_it() {
    let entry = |seq: i64, directive: &str, from: i64, action: Action| Entry {
        seq,
        directive: directive.to_owned(),
        from: Second::from_epoch(from),
        action,
    };
    let freeze = || Action::Freeze(ResourcePattern::parse("a.*").unwrap());
    let lift = || Action::Lift { directive: "d".to_owned(), actions: BTreeSet::new() };
    let frozen = |lift_seq: i64, lift_from: i64| {
        let entries = [entry(2, "d", 10, freeze()), entry(lift_seq, "l", lift_from, lift())];
        !state_at(&entries, &BTreeMap::new(), &ResourceId::parse("a.b").unwrap(), Second::from_epoch(20))
            .frozen_by
            .is_empty()
    };
    // Approved before: it lifts only what acts before it. Approved after: whatever it names.
    assert!(frozen(1, 9) && frozen(1, 10) && !frozen(1, 11));
    assert!(!frozen(3, 9) && !frozen(3, 10) && !frozen(3, 20) && frozen(3, 21));
    assert_eq!(support::files("sets").len(), support::library().sets.len(), "{CHECKED}");
}
