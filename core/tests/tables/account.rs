//! The account of each piece of evidence, and the reasons told.

use super::made::{allows, at, decided, pack, person, rules, says, state, stated, states};
use serde_json::json;
use vouchsafe_core::explain::{CODES, EvidenceAccount, Fate, explanation, texts};
use vouchsafe_core::facts::Attestation;
use vouchsafe_core::rules::Rules;
use vouchsafe_core::{Status, decide};

fn lines(rules: &Rules, all: Vec<Attestation>) -> Vec<EvidenceAccount> {
    let facts = person(all);
    let decision = decide(rules, &facts, at("2026-12-10T00:00:00Z"));
    explanation(rules, &facts, &decision).branches.remove(0).criteria.remove(0).evidence
}

#[test]
fn each_line_tells_its_share_after_fading_its_parts_and_whether_it_opens_the_gate() {
    let gated = allows(&json!({ "gate": { "grade": "STRONG", "from": ["document_check"] } }));
    let ten = |day: &str| json!({ "checked_at": format!("2026-{day}T00:00:00Z") });
    let fair = json!({ "grade": "FAIR" });
    // Received last, on 10 December: then the document of 20 November is ten days beyond its grace, the one of 31 October thirty.
    let all = vec![
        state("a", "document_check", &["in"], &ten("11-20")),
        state("b", "document_check", &["in"], &ten("10-31")),
        state("c", "registry", &["in"], &ten("12-10")),
        state("d", "document_check", &["in"], &fair),
        state("e", "document_check", &["out"], &ten("10-31")),
        state(
            "f",
            "registry",
            &["in"],
            &json!({ "checked_at": "2026-12-11T00:00:00Z", "recorded_at": "2026-12-10T00:00:00Z" }),
        ),
    ];
    let told: Vec<_> = lines(&gated, all)
        .into_iter()
        .map(|line| (line.fade, line.units, line.gate, line.fate, line.parts.len()))
        .collect();
    let counted = Fate::Counted;
    let expected = [
        (0.5, 4.0, Some(true), counted, 0),
        // One eighth of 8 units is one: two are needed.
        (0.125, 1.0, Some(false), counted, 0),
        (1.0, 8.0, Some(false), counted, 0),
        (0.5, 1.0, Some(false), counted, 0),
        // What is against the subject does not fade.
        (1.0, 8.0, Some(false), counted, 0),
        (1.0, 0.0, Some(false), Fate::NotYet, 0),
    ];
    assert_eq!(told, expected);
    let ungated = lines(&allows(&json!({})), vec![state("a", "registry", &["in"], &json!({}))]);
    assert_eq!(ungated[0].gate, None);
    // Two facts that prove together are both named.
    let row = json!({ "id": "both", "class": "c", "proves": { "by": "states", "states": ["in"] }, "all_of": [
        { "when": { "kind": ["registry"] }, "proves": true }, { "when": { "kind": ["vouch"] } } ] });
    let pack = pack("f", &states(&["in", "out"]), &json!([row]), &json!({}));
    let both = rules(&[pack], &json!([{ "id": "c", "frame": "f", "allow": ["in"] }]), &json!({}));
    let told = lines(&both, vec![says("r", "registry", &json!({})), says("v", "vouch", &json!({}))]);
    assert_eq!(
        (told.len(), told[0].attestation.as_str(), told[0].parts.as_slice()),
        (1, "att_r", ["att_r".to_owned(), "att_v".to_owned()].as_slice())
    );
}

#[test]
fn the_word_that_took_anothers_place_is_named() {
    let vouch = |id: &str, states: &str, day: u32| {
        let more =
            json!({ "assessor": "org_x", "basis": "hr_record", "checked_at": format!("2026-11-{day:02}T00:00:00Z") });
        state(id, "vouch", &[states], &more)
    };
    let told = lines(
        &allows(&json!({})),
        vec![vouch("z", "in", 1), vouch("b", "out", 2), state("a", "registry", &["out"], &json!({}))],
    );
    let of = |id: &str| told.iter().find(|line| line.attestation == id).unwrap();
    assert_eq!((of("att_z").fate, of("att_z").because_of.as_deref()), (Fate::Restated, Some("att_b")));
    assert_eq!((of("att_b").fate, of("att_b").because_of.as_deref()), (Fate::Counted, None));
    // Granted later, by two proofs: only the one that is strong enough overtakes, whichever is told first.
    let lawful = pack(
        "f",
        &states(&["in", "out"]),
        &json!([stated("r", &json!({}))]),
        &json!({ "transitions": [["out", "in"]] }),
    );
    let rules = rules(&[lawful], &json!([{ "id": "c", "frame": "f", "allow": ["in"] }]), &json!({}));
    let since = |year: u32, grade: &str| json!({ "fact_date": format!("{year}-01-01T00:00:00Z"), "grade": grade });
    let all = vec![
        state("a", "document_check", &["in"], &since(2025, "STRONG")),
        state("b", "registry", &["in"], &since(2024, "SUPERIOR")),
        state("c", "document_check", &["out"], &since(2023, "STRONG")),
    ];
    let told = lines(&rules, all);
    assert_eq!((told[2].fate, told[2].because_of.as_deref()), (Fate::Overtaken, Some("att_b")));
}

#[test]
fn support_of_two_states_is_told_as_inconsistent_unless_one_lawfully_follows_the_other() {
    let pack = pack(
        "f",
        &states(&["a", "b", "c"]),
        &json!([stated("r", &json!({}))]),
        &json!({ "transitions": [["a", "b"]] }),
    );
    let of = |more: serde_json::Value| {
        let mut criterion = json!({ "id": "c", "frame": "f", "allow": ["a", "b"], "eligible_at": 0.79 });
        criterion.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        rules(std::slice::from_ref(&pack), &json!([criterion]), &json!({}))
    };
    let rules = of(json!({}));
    let said = |id: &str, state_of: &str, since: Option<u32>, more: &serde_json::Value| {
        let mut whole = more.clone();
        if let Some(year) = since {
            whole["fact_date"] = json!(format!("{year}-01-01T00:00:00Z"));
        }
        state(id, "registry", &[state_of], &whole)
    };
    let told = |all: Vec<Attestation>| decided(&rules, all).reasons.contains(&"f.inconsistent".to_owned());
    let none = json!({});
    for (a, b, expected) in [
        (Some(2020), Some(2021), false),
        (Some(2021), Some(2020), true),
        (Some(2020), Some(2020), true),
        (None, Some(2021), true),
        (Some(2020), None, true),
        (None, None, true),
    ] {
        for names in [["x", "y"], ["y", "x"]] {
            let all = vec![said(names[0], "a", a, &none), said(names[1], "b", b, &none)];
            assert_eq!(told(all), expected, "{a:?} {b:?} {names:?}");
        }
    }
    assert!(!told(vec![said("x", "a", None, &none), said("y", "a", None, &none)]));
    // What has ended, or speaks against, is no support.
    let over = json!({ "checked_at": "2026-11-10T00:00:00Z", "ends_at": "2026-11-15T00:00:00Z" });
    assert!(!told(vec![said("x", "a", None, &over), said("y", "b", None, &none)]));
    assert!(!told(vec![said("x", "a", None, &none), said("y", "c", None, &none)]));
}

#[test]
fn what_this_service_saw_is_told_as_long_as_it_stands() {
    let row = json!({ "id": "seen", "class": "c", "when": { "kind": ["cross_check"] }, "proves": { "by": "states", "states": ["in", "out"] } });
    let pack = pack("f", &states(&["in", "out"]), &json!([row]), &json!({}));
    let rules = rules(&[pack], &json!([{ "id": "c", "frame": "f", "allow": ["in"] }]), &json!({}));
    let told = |more: serde_json::Value| {
        let mut whole = json!({ "codes": ["subject.duplicate"] });
        whole.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        decided(&rules, vec![says("seen", "cross_check", &whole)]).reasons.contains(&"subject.duplicate".to_owned())
    };
    assert!(told(json!({})));
    assert!(told(json!({ "ends_at": "2026-11-21T00:00:01Z" })));
    assert!(!told(json!({ "ends_at": "2026-11-20T00:00:00Z" })));
    assert!(!told(json!({ "marks": [{ "at": "2026-11-20T00:00:00Z", "kind": "resolved" }] })));
    assert!(!told(json!({ "checked_at": "2026-11-22T00:00:00Z", "recorded_at": "2026-11-20T00:00:00Z" })));
}

#[test]
fn every_code_has_the_texts_of_its_own_row() {
    for row in CODES {
        assert_eq!(texts(row.code), row.texts, "{}", row.code);
    }
    assert_eq!(texts("any_frame.adverse"), texts("<frame>.adverse"));
    assert_eq!(Status::Eligible.as_str(), "eligible");
}
