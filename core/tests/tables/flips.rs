//! What would flip an answer, and what ends it by itself.

use super::made::{AT, allowing, allows, at, decided, membership, person, plain, rules, says, state, sub, works};
use serde_json::{Value, json};
use vouchsafe_core::explain::{Change, ChangeCode, Explanation, explanation};
use vouchsafe_core::facts::{Attestation, Party, SubjectFacts, SubjectKind};
use vouchsafe_core::rules::Rules;
use vouchsafe_core::{Second, decide};

fn explained(rules: &Rules, facts: &SubjectFacts, instant: Second) -> Explanation {
    explanation(rules, facts, &decide(rules, facts, instant))
}

fn out(id: &str, grade: &str, more: &Value) -> Attestation {
    let mut whole = json!({ "grade": grade });
    whole.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    state(id, "document_check", &["out"], &whole)
}

fn settles(rules: &Rules, facts: &SubjectFacts) -> String {
    let change = explained(rules, facts, at(AT)).flip.unwrap();
    assert_eq!(change.code, ChangeCode::ResolveItems, "{change:?}");
    change.attestations.join(" ")
}

#[test]
fn settling_is_enough_when_less_than_a_quarter_is_left() {
    let none = json!({});
    let settles = |all| settles(&allows(&none), &person(all));
    // 8 and 2/3 against. Without the 8, 2/3 is a quarter and still material.
    assert_eq!(settles(vec![out("x", "STRONG", &none), out("y", "WEAK", &none)]), "att_x att_y");
    assert_eq!(settles(vec![out("x", "STRONG", &none), out("y", "WEAK", &json!({ "doubt": 0.99 }))]), "att_x");
    // What has ended, or was settled before, is not settled again beside two that must be.
    let over = json!({ "checked_at": "2026-11-10T00:00:00Z", "ends_at": "2026-11-15T00:00:00Z" });
    let resolved = json!({ "marks": [{ "at": "2026-11-20T12:00:00Z", "kind": "resolved" }] });
    for gone in [over, resolved] {
        assert_eq!(
            settles(vec![out("a", "STRONG", &gone), out("x", "STRONG", &none), out("y", "FAIR", &none)]),
            "att_x att_y"
        );
    }
}

#[test]
fn what_stands_against_a_workload_is_settled_there_and_not_with_its_person() {
    let rules = allows(&json!({}));
    let who = json!({ "type": "workload", "owner": "sub_o", "responsible": "sub_r" });
    let behind = says("w", "directory", &json!({ "source_kind": "service", "statement": who }));
    let own = vec![behind, out("x", "STRONG", &json!({})), out("y", "FAIR", &json!({}))];
    let mut facts = SubjectFacts::new(sub("a"), SubjectKind::Workload, own);
    let proof = vec![state("p", "registry", &["in"], &json!({}))];
    facts.related.parties.insert(sub("r"), Party { kind: SubjectKind::Person, attestations: proof });
    assert_eq!(settles(&rules, &facts), "att_x att_y");
}

#[test]
fn a_criterion_that_is_left_out_or_met_has_nothing_to_flip() {
    let both = json!([allowing("unknown", &json!({ "when_unknown": "allow" })), { "id": "job", "frame": "m", "any_of": ["org_a"], "eligible_at": 0.79 }]);
    let rules = rules(&[plain(), membership()], &both, &json!({}));
    let made = explained(&rules, &person(vec![]), at(AT));
    let flips: Vec<bool> = made.branches[0].criteria.iter().map(|criterion| criterion.flip.is_some()).collect();
    assert_eq!(flips, [false, true]);
    let made = explained(&rules, &person(vec![works("j", "org_a", true, &json!({}))]), at(AT));
    assert!(made.branches[0].criteria.iter().all(|criterion| criterion.flip.is_none()) && made.flip.is_none());
}

fn named(change: Option<Change>) -> (ChangeCode, String) {
    let change = change.unwrap();
    (change.code, change.attestations.join(" "))
}

#[test]
fn what_fades_is_named_by_what_it_loses_the_most_first() {
    let rules =
        rules(&[plain()], &json!([allowing("c", &json!({ "eligible_at": 0.88 }))]), &json!({ "max_ttl": "3650d" }));
    // .88 need 14.67 units of 8 + 8 + 8 / 2. Each begins to fade ten days after its check.
    let checked = |id: &str, day: u32, more: &Value| {
        let mut whole = json!({ "checked_at": format!("2026-11-{day:02}T00:00:00Z") });
        whole.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        state(id, "document_check", &["in"], &whole)
    };
    let vendor = json!({ "assessor": "v" });
    let all = vec![checked("a", 10, &json!({})), checked("b", 8, &vendor), checked("h", 8, &vendor)];
    let made = explained(&rules, &person(all), at("2026-11-11T00:00:00Z"));
    // Of one vendor `h` counts half and loses half of what `b` does; `a` begins two days after them and loses less than `b`.
    let (code, named_by) = named(made.by_itself.clone());
    assert_eq!(code, ChangeCode::SupportFades);
    // 20 - 14.67 are lost after t days of halving of 12 (b and h) and 8 (a) from day 10 on; with a two days behind, b has lost most.
    assert_eq!(named_by, "att_b att_a att_h");
    // One that is still whole by then is left out.
    let held = vec![checked("new", 20, &json!({})), checked("old", 5, &json!({ "grade": "FAIR" }))];
    let low = allows(&json!({ "eligible_at": 0.82 }));
    // 9.11 of 8 + 2 x 2^-(days / 10): 2 falls to 1.11 after 8.5 days, on the 23rd; the other is whole until the 30th.
    let change = explained(&low, &person(held), at("2026-11-20T00:00:00Z")).by_itself.unwrap();
    assert_eq!((change.code, change.attestations.join(" ")), (ChangeCode::SupportFades, "att_old".to_owned()));
    assert_eq!(change.at.unwrap().to_string()[..10], *"2026-11-23");
}

#[test]
fn what_was_lost_is_told_since_the_decision_and_not_within_its_last_second() {
    // .8993 need 17.861 units. Of 8 units that fade from 20 November on 3.249 are left on 3 December, of 18 that fade from the 30th
    // on 14.620: together 17.869. By then the one has lost 4.75 and the other 3.38; but a second of the other's is worth more.
    let early = state("early", "registry", &["in"], &json!({ "checked_at": "2026-11-10T00:00:00Z" }));
    let late = state("late", "document_check", &["in"], &json!({ "grade": "SUPERIOR" }));
    let criteria = json!([allowing("c", &json!({ "eligible_at": 0.8993 }))]);
    let rules = rules(&[plain()], &criteria, &json!({ "max_ttl": "3650d" }));
    let change = explained(&rules, &person(vec![early, late]), at("2026-11-20T00:00:00Z")).by_itself.unwrap();
    assert_eq!(change.at.unwrap().to_string()[..10], *"2026-12-03");
    assert_eq!(change.attestations, ["att_early", "att_late"]);
}

#[test]
fn a_strict_criterion_is_named_though_another_ends_a_document_in_the_same_second() {
    let criteria = json!([allowing("mild", &json!({})), { "id": "job", "frame": "m", "any_of": ["org_a"], "eligible_at": 0.79, "strict": true }]);
    let rules = rules(&[plain(), membership()], &criteria, &json!({}));
    let end = json!({ "ends_at": "2026-11-25T00:00:00Z" });
    let all = vec![
        state("a", "registry", &["in"], &json!({})),
        state("b", "document_check", &["in"], &end),
        works("j", "org_a", true, &json!({})),
        says(
            "k",
            "registry",
            &json!({ "ends_at": "2026-11-25T00:00:00Z", "statement": { "type": "employment", "organisation": "org_a", "employed": true } }),
        ),
    ];
    let change = explained(&rules, &person(all), at(AT)).by_itself.unwrap();
    assert_eq!(
        (change.code, change.criteria, change.attestations),
        (ChangeCode::EvidenceEnds, vec!["job".to_owned()], vec!["att_k".to_owned()])
    );
    // A strict one whose documents last is not named for another's.
    let swapped = json!([allowing("mild", &json!({ "strict": true })), { "id": "job", "frame": "m", "any_of": ["org_a"], "eligible_at": 0.79, "strict": true }]);
    let swapped = super::made::rules(&[plain(), membership()], &swapped, &json!({}));
    let all = vec![
        state("a", "registry", &["in"], &json!({})),
        works("j", "org_a", true, &json!({})),
        says(
            "k",
            "registry",
            &json!({ "ends_at": "2026-11-25T00:00:00Z", "statement": { "type": "employment", "organisation": "org_a", "employed": true } }),
        ),
    ];
    let change = explained(&swapped, &person(all), at(AT)).by_itself.unwrap();
    assert_eq!(change.criteria, ["job"]);
}

#[test]
fn a_frozen_resource_has_no_branches_and_one_judged_at_the_request_has() {
    let mut frozen = allows(&json!({})).body;
    frozen.frozen_by = vec!["friday".to_owned()];
    let frozen = Rules::from_body(frozen, at("2020-01-01T00:00:00Z"));
    let proof = || vec![state("a", "registry", &["in"], &json!({}))];
    assert!(explained(&frozen, &person(proof()), at(AT)).branches.is_empty());
    let live = allows(&json!({ "live": true }));
    assert_eq!(decided(&live, vec![]).live, ["c"]);
    assert_eq!(explained(&live, &person(vec![]), at(AT)).branches.len(), 1);
}
