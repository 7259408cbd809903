//! Checks that are worth another try.

use super::made::{AT, allowing, at, membership, pack, person, plain, proves, rules, says, state, states, works};
use serde_json::{Value, json};
use vouchsafe_core::decide;
use vouchsafe_core::definitions::Pack;
use vouchsafe_core::explain::retries;
use vouchsafe_core::facts::Attestation;
use vouchsafe_core::rules::Rules;

/// Frame `g`: papers prove `in`, a visa proves `out`.
fn papers() -> Pack {
    let rows = json!([
        proves("papers", &json!({ "kind": ["document_check", "registry"], "document_type": ["passport", "id_card"] }), &["in"]),
        proves("visa", &json!({ "kind": ["document_check"], "document_type": ["visa"] }), &["out"]),
        { "id": "said", "class": "c", "when": { "kind": ["review"] }, "proves": { "by": "statement" } },
    ]);
    pack("g", &states(&["in", "out"]), &rows, &json!({}))
}

fn about_g(more: &Value) -> Value {
    let mut criterion = json!({ "id": "papers", "frame": "g", "allow": ["in"], "eligible_at": 0.79 });
    criterion.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    criterion
}

fn asked(criteria: &Value) -> Rules {
    rules(&[papers(), plain(), membership()], criteria, &json!({}))
}

fn check(id: &str, outcome: &str, more: &Value) -> Attestation {
    let mut whole = json!({ "outcome": outcome, "document_type": "passport", "document": "d", "assessor": "v" });
    whole.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    says(id, "document_check", &whole)
}

fn worth_a_try(rules: &Rules, all: Vec<Attestation>) -> bool {
    let facts = person(all);
    !retries(rules, &facts, &decide(rules, &facts, at(AT)), at(AT)).is_empty()
}

#[test]
fn only_a_newer_result_of_the_same_source_about_the_same_kind_of_document_follows_a_failed_check() {
    let rules = asked(&json!([about_g(&json!({}))]));
    let failed = || check("b", "resubmit", &json!({}));
    assert!(worth_a_try(&rules, vec![failed()]));
    // The newer one proves nothing: no row takes an ended document.
    let later = |more: Value| {
        let mut whole = json!({ "checked_at": "2026-11-20T00:00:01Z" });
        whole.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        check("a", "document_expired", &whole)
    };
    for (more, follows) in [
        (json!({}), true),
        // Another document of the kind, or another kind of the document.
        (json!({ "document": "e" }), true),
        (json!({ "document_type": "id_card" }), true),
        (json!({ "document": "e", "document_type": "id_card" }), false),
        (json!({ "assessor": "w" }), false),
        (json!({ "kind": "registry" }), false),
        // Before it, or in the same second and before it by name.
        (json!({ "checked_at": "2026-11-19T23:59:59Z" }), false),
        (json!({ "checked_at": "2026-11-20T00:00:00Z" }), false),
    ] {
        assert_eq!(worth_a_try(&rules, vec![failed(), later(more.clone())]), !follows, "{more}");
    }
    let named_after = check("c", "document_expired", &json!({}));
    assert!(!worth_a_try(&rules, vec![failed(), named_after]));
    // What was taken back says nothing, from whichever second on.
    for from_start in [false, true] {
        let marks = json!({ "marks": [{ "at": "2026-11-20T12:00:00Z", "kind": "revoked", "from_start": from_start }] });
        assert!(!worth_a_try(&rules, vec![check("b", "resubmit", &marks)]));
    }
}

#[test]
fn a_check_is_worth_another_try_where_it_would_support_what_is_open_and_not_contested() {
    let none = json!({});
    let only = asked(&json!([about_g(&none)]));
    let failed = || check("b", "error", &none);
    assert!(worth_a_try(&only, vec![failed()]));
    // A visa would speak against it, a letter says nothing; beside some support neither is worth anything.
    let fair = || state_of_g("s", "in", "FAIR");
    for kind in ["visa", "letter"] {
        let of = check("b", "error", &json!({ "document_type": kind }));
        assert!(!worth_a_try(&only, vec![of.clone()]) && !worth_a_try(&only, vec![of, fair()]), "{kind}");
    }
    assert!(worth_a_try(&only, vec![failed(), fair()]));
    // Enough is shown already.
    assert!(!worth_a_try(&only, vec![failed(), state_of_g("s", "in", "STRONG")]));
    // 2/3 unit against it is a quarter, and material: no document helps. A little less does not matter.
    let doubt = |doubt: f64| {
        let mut said = state_of_g("s", "out", "WEAK");
        said.facts.doubt = Some(doubt);
        said
    };
    assert!(!worth_a_try(&only, vec![failed(), doubt(1.0)]));
    assert!(worth_a_try(&only, vec![failed(), doubt(0.99)]));
    // What it would support is met, and another criterion is open; or it is left out while nothing is known.
    let job = json!({ "id": "job", "frame": "m", "any_of": ["org_a"], "eligible_at": 0.79 });
    let both = asked(&json!([about_g(&none), job]));
    assert!(!worth_a_try(&both, vec![failed(), state_of_g("s", "in", "STRONG")]));
    assert!(worth_a_try(&both, vec![failed(), works("j", "org_a", true, &none)]));
    let left_out = asked(&json!([about_g(&json!({ "when_unknown": "allow" })), allowing("c", &none)]));
    assert!(!worth_a_try(&left_out, vec![failed()]));
    assert!(!worth_a_try(&left_out, vec![failed(), state("x", "registry", &["in"], &none)]));
}

fn state_of_g(id: &str, state: &str, grade: &str) -> Attestation {
    says(id, "review", &json!({ "grade": grade, "statement": { "type": "states", "frame": "g", "states": [state] } }))
}
