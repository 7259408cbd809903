//! Receipts: they derive the same bytes, name nobody, and no member of decision or rules can be altered.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails where a production path must not")]

#[path = "support/people.rs"]
mod people;
mod support;

use people::{evidence, instant, second, subject};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use serde_json::Value;
use std::collections::BTreeSet;
use vouchsafe_core::facts::{Kind, SourceKind, Statement, SubjectFacts};
use vouchsafe_core::ids::ResourceId;
use vouchsafe_core::receipt::{Receipt, ReceiptError, looked_at};
use vouchsafe_core::rules::Rules;
use vouchsafe_core::second::DAY;
use vouchsafe_core::timeline::{Action, Entry};
use vouchsafe_core::{Decision, Second, decide};

const POLICIES: [(&str, &str); 5] = [
    ("restricted-us-persons", "restricted.api"),
    ("us_nationals_only", "nationals.api"),
    ("citizen_or_lpr", "residents.api"),
    ("sole_us_nationality", "sole.api"),
    ("embargo", "regional.api"),
];

thread_local! {
    static RULES: Vec<Rules> = (0..POLICIES.len()).map(compiled).collect();
}

fn rules(index: usize) -> Rules {
    RULES.with(|all| all[index].clone())
}

fn compiled(index: usize) -> Rules {
    let (policy, resource) = POLICIES[index];
    let action = Action::Activate { policy: policy.to_owned(), version: 1 };
    let entry = Entry { seq: 1, directive: "start".to_owned(), from: second(-400 * DAY), action };
    Rules::compile(&support::library(), &[entry], &ResourceId::parse(resource).unwrap(), second(0)).unwrap()
}

/// Facts as they are held, with what must not leave: keyed digests and free texts.
fn held(mut facts: SubjectFacts) -> SubjectFacts {
    for (n, attestation) in facts.attestations.iter_mut().enumerate() {
        let facts = &mut attestation.facts;
        // Digests sort in any order, and keys of other kinds sort among them.
        let prefix = ["doc:", "src_9/", "zzz/", "self:"][n % 4];
        facts.document = format!("{prefix}secret-{:x}", (usize::from(facts.document.as_bytes()[9]) * 7919) % 257);
        facts.codes.insert("secret-code".to_owned());
        if let Some(person) = &mut facts.person {
            person.birth = format!("secret-{}", person.birth);
            person.name = Some("secret-name".to_owned());
        }
        if let Some(Statement::Employment { relation, .. }) = &mut facts.statement {
            *relation = Some("secret-relation".to_owned());
        }
        if facts.kind == Kind::Review {
            facts.document_type = Some("secret-type".to_owned());
        }
    }
    facts
}

/// A decision and its receipt, as a service makes it from what is stored.
fn made(rules: &Rules, facts: &SubjectFacts, at: Second) -> (Decision, Result<Receipt, ReceiptError>) {
    let decision = decide(rules, facts, at);
    let stored = Rules::from_body(rules.body.clone(), decision.at);
    let receipt =
        Receipt::new("https://e.example", &stored, &looked_at(facts.clone(), &decision.attestations), &decision);
    (decision, receipt)
}

fn bytes(decision: &Decision) -> String {
    serde_json::to_string(decision).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 600, failure_persistence: None, rng_seed: RngSeed::Fixed(20_261_122), ..ProptestConfig::default()
    })]

    #[test]
    fn every_receipt_gives_the_decision_again_and_names_nobody(attestations in evidence(), at in instant(), policy in 0usize..5) {
        let rules = rules(policy);
        let facts = held(subject(attestations));
        let (decision, receipt) = made(&rules, &facts, at);
        let text = receipt.unwrap().canonical();
        prop_assert!(!text.contains("secret"), "{}", text);
        // Through its text, as a file.
        let read: Receipt = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(bytes(&read.verify().unwrap()), bytes(&decision));
        prop_assert_eq!(read.canonical(), text);
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 20_000, failure_persistence: None, rng_seed: RngSeed::Fixed(20_261_123), ..ProptestConfig::default()
    })]

    /// Digests and receipts rest on it: a policy's threshold or a source's doubt may have any number of digits.
    #[test]
    fn a_number_is_read_back_as_it_was_written(number in 0.0f64..1.0) {
        let text = serde_json::to_string(&number).unwrap();
        prop_assert_eq!(serde_json::from_str::<f64>(&text).unwrap().to_bits(), number.to_bits(), "{}", text);
    }
}

/// A case in which every part of a receipt is there: evidence on both sides, marks, a birth date, an exemption's rules.
fn example() -> Receipt {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let rules = rules(0);
    for _ in 0..10_000 {
        let facts = subject(evidence().new_tree(&mut runner).unwrap().current());
        let (decision, receipt) = made(&rules, &facts, second(300 * DAY));
        let marked = decision.attestations.iter().any(|used| !used.marks.is_empty());
        let sided = decision.criteria.iter().any(|criterion| criterion.evidence.len() > 2);
        if marked && sided && !decision.next_steps.is_empty() {
            return receipt.unwrap();
        }
    }
    unreachable!("no such case is drawn")
}

/// Pointers of every leaf.
fn leaves(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(members) if !members.is_empty() => {
            members.iter().for_each(|(name, value)| {
                leaves(value, &format!("{at}/{}", name.replace('~', "~0").replace('/', "~1")), found)
            });
        }
        Value::Array(items) if !items.is_empty() => {
            items.iter().enumerate().for_each(|(n, value)| leaves(value, &format!("{at}/{n}"), found));
        }
        _ => found.push(at.to_owned()),
    }
}

fn altered(value: &Value) -> Value {
    match value {
        Value::Null => Value::from("x"),
        Value::Bool(yes) => Value::from(!yes),
        Value::Number(n) => Value::from(n.as_f64().unwrap() + 1.0),
        Value::String(text) => match Second::parse(text) {
            Ok(at) => Value::from(at.plus(1).to_string()),
            Err(_) => Value::from(format!("{text}x")),
        },
        Value::Array(_) => Value::from(vec!["x"]),
        Value::Object(_) => serde_json::json!({ "x": 1 }),
    }
}

#[test]
fn no_member_of_decision_or_rules_can_be_altered_unseen() {
    let receipt = serde_json::to_value(example()).unwrap();
    let (mut found, mut tops) = (Vec::new(), BTreeSet::new());
    for part in ["decision", "rules"] {
        leaves(&receipt[part], &format!("/{part}"), &mut found);
    }
    assert!(found.len() > 300, "{}", found.len());
    for pointer in &found {
        let mut bundle = receipt.clone();
        let leaf = bundle.pointer_mut(pointer).unwrap();
        *leaf = altered(leaf);
        // What is no receipt any more is found as well.
        let outcome = serde_json::from_value::<Receipt>(bundle).map(|read| read.verify());
        assert!(!matches!(outcome, Ok(Ok(_))), "{pointer}");
        tops.insert(pointer.split('/').nth(2).unwrap().to_owned());
    }
    // Members of the decision left out, and one more.
    for name in receipt["decision"].as_object().unwrap().keys() {
        let mut bundle = receipt.clone();
        bundle["decision"].as_object_mut().unwrap().remove(name);
        assert!(serde_json::from_value::<Receipt>(bundle).unwrap().verify().is_err(), "{name}");
        tops.contains(name).then_some(()).expect(name);
    }
    let mut bundle = receipt;
    bundle["decision"]["more"] = Value::from(1);
    assert!(serde_json::from_value::<Receipt>(bundle).unwrap().verify().is_err());
}

#[test]
fn attestations_and_marks_of_the_facts_cannot_be_altered_unseen() {
    let receipt = example();
    let check = |change: &dyn Fn(&mut Receipt)| {
        let mut bundle = receipt.clone();
        change(&mut bundle);
        assert_ne!(bundle.facts, receipt.facts);
        bundle.verify().unwrap_err()
    };
    for index in 0..receipt.facts.attestations.len() {
        check(&|r| drop(r.facts.attestations.remove(index)));
        check(&|r| r.facts.attestations[index].id = vouchsafe_core::ids::AttestationId::parse("att_other").unwrap());
        check(&|r| {
            let mark = vouchsafe_core::facts::Mark {
                at: second(0),
                kind: vouchsafe_core::facts::MarkKind::Revoked,
                from_start: false,
            };
            r.facts.attestations[index].marks.push(mark);
        });
        if !receipt.facts.attestations[index].marks.is_empty() {
            check(&|r| r.facts.attestations[index].marks.clear());
        }
        // From one that counts to one that says nothing.
        check(&|r| r.facts.attestations[index].facts.source_kind = SourceKind::Network);
    }
    check(&|r| r.facts.subject = vouchsafe_core::ids::SubjectId::parse("sub_other").unwrap());
}

#[test]
fn a_receipt_of_another_engine_says_so() {
    let mut receipt = example();
    receipt.engine = "0.0.1".to_owned();
    assert!(receipt.verify().is_ok(), "as long as the bytes are the same");
    receipt.decision["reasons"] = serde_json::json!(["us_status.worded_otherwise"]);
    let error = receipt.verify().unwrap_err();
    assert!(matches!(&error, ReceiptError::Engine { theirs, .. } if theirs == "0.0.1"), "{error}");
    assert_eq!(
        error.to_string(),
        format!(
            "`/reasons` is not what engine {} gives; the receipt is of engine 0.0.1: verify it with that version",
            env!("CARGO_PKG_VERSION")
        )
    );
}

#[test]
fn owners_who_are_people_are_named_by_tokens_and_the_listed_by_name() {
    let library = support::library();
    let policy = serde_json::json!({
        "id": "owned", "title": "t", "resources": ["owned"], "definitions": ["ownership@1"],
        "criteria": [{ "id": "owners", "frame": "ownership", "none_of": ["Listed One"], "aggregate": { "at": "50%", "along": "product" } }],
    });
    let mut policy: vouchsafe_core::policy::Policy = serde_json::from_value(policy).unwrap();
    policy.write_out_defaults();
    let rules = Rules::of(&library, &policy, ResourceId::parse("owned").unwrap(), second(-400 * DAY)).unwrap();
    let owners = serde_json::json!({ "Jane Doe": "10%", "Adam Roe": "10%", "Listed One": "20%", "org_x": "30%", "sub_y": "30%" });
    let attestation = serde_json::json!({
        "id": "att_owners", "source": "src_register", "recorded_at": second(0), "marks": [], "facts": {
            "kind": "registry", "source_kind": "registry", "grade": "STRONG", "document": "d", "assessor": "a",
            "checked_at": second(0), "statement": { "type": "owners", "owners": owners },
        },
    });
    let facts = SubjectFacts::new(
        vouchsafe_core::ids::SubjectId::parse("sub_e").unwrap(),
        vouchsafe_core::facts::SubjectKind::Organisation,
        vec![serde_json::from_value(attestation).unwrap()],
    );
    let (decision, receipt) = made(&rules, &facts, second(DAY));
    let receipt = receipt.unwrap();
    let Some(Statement::Owners { owners }) = &receipt.facts.attestations[0].facts.statement else {
        unreachable!("the statement is kept")
    };
    // In the order of their names.
    let names: Vec<&str> = owners.keys().map(String::as_str).collect();
    assert_eq!(names, ["Listed One", "org_x", "owner000000", "owner000001", "sub_y"]);
    // RFC 8785: members in order, no space; the decision's own as well.
    let text = receipt.canonical();
    assert!(text.starts_with("{\"decision\":{\"acting_for\":null,\"at\":\"") && !text.contains("Jane"), "{text}");
    let bytes = decision.canonical();
    assert!(bytes.starts_with("{\"acting_for\":null,\"at\":\"2026-01-01T00:00:00Z\",\"confidence\":"), "{bytes}");
    assert!(text.contains(&format!("{{\"decision\":{bytes},\"engine\":\"")), "{text}");
}

#[test]
fn the_first_member_that_differs_is_named_with_both_values() {
    let held = example();
    let told = |change: &dyn Fn(&mut Receipt)| {
        let mut receipt = held.clone();
        change(&mut receipt);
        receipt.verify().unwrap_err().to_string()
    };
    let engine = format!(
        "is not what rules and facts give: `\"{}\"` instead of `\"dec_x\"`",
        held.decision["id"].as_str().unwrap()
    );
    assert_eq!(told(&|r| r.decision["id"] = Value::from("dec_x")), format!("`/id` {engine}"));
    // The id follows from the rest, and is told only when nothing else differs.
    let both = told(&|r| {
        r.decision["id"] = Value::from("dec_x");
        r.decision["subject"] = Value::from("sub_x");
    });
    assert!(both.starts_with("`/subject` is not") && both.ends_with("instead of `\"sub_x\"`"), "{both}");
    let more = told(&|r| r.decision["zzz"] = Value::from(1));
    assert_eq!(more, "`/zzz` is not what rules and facts give: nothing instead of `1`");
    let fewer = told(&|r| drop(r.decision.as_object_mut().unwrap().remove("live")));
    assert_eq!(fewer, "`/live` is not what rules and facts give: `[]` instead of nothing");
    let list = told(&|r| r.decision["reasons"][0] = Value::from("x"));
    assert!(list.starts_with("`/reasons/0` is not"), "{list}");
    let longer = told(&|r| r.decision["live"] = serde_json::json!(["x"]));
    assert!(longer.starts_with("`/live` is not"), "{longer}");
    let digest = told(&|r| r.decision["rules"]["digest"] = Value::from("sha256:0"));
    assert!(digest.ends_with("the decision names `sha256:0`"), "{digest}");
    assert_eq!(told(&|r| r.decision["at"] = Value::from(1)), "the decision has no usable member `/at`");
    assert_eq!(told(&|r| r.decision["at"] = Value::from("x")), "the decision has no usable member `/at`");
}
