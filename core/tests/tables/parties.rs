//! Chains of contracts and shares, and who stands behind a workload: what does not count.

use super::made::{AT, CHECKED, at, membership, pack, rules, says, sub, works};
use serde_json::{Value, json};
use vouchsafe_core::explain::explanation;
use vouchsafe_core::facts::{Attestation, Party, SubjectFacts, SubjectKind};
use vouchsafe_core::ids::OrganisationId;
use vouchsafe_core::rules::Rules;
use vouchsafe_core::{Decision, Status, decide};

fn facts(
    kind: SubjectKind,
    own: Vec<Attestation>,
    parties: Vec<(&str, SubjectKind, Vec<Attestation>)>,
) -> SubjectFacts {
    let mut facts = SubjectFacts::new(sub("asked"), kind, own);
    for (name, kind, attestations) in parties {
        facts.related.parties.insert(sub(name), Party { kind, attestations });
        facts.related.organisations.insert(OrganisationId::parse(&format!("org_{name}")).unwrap(), sub(name));
    }
    facts
}

const ORGANISATION: SubjectKind = SubjectKind::Organisation;
const PERSON: SubjectKind = SubjectKind::Person;

fn chain(test: &str, organisation: &str, chain: u8) -> Rules {
    let criterion = json!([{ "id": "c", "frame": "m", test: [organisation], "eligible_at": 0.79, "chain": chain }]);
    rules(&[membership()], &criterion, &json!({}))
}

fn used(decision: &Decision) -> Vec<String> {
    decision.attestations.iter().map(|a| a.id.to_string()).collect()
}

#[test]
fn only_links_that_support_are_followed_and_only_a_yes_is_taken_over() {
    let none = json!({});
    // A doubt that cannot be read takes all support away.
    let unread = json!({ "doubt": -1.0 });
    let ask = |first: &Value, next: &Value, yes: bool| {
        let rules = chain("any_of", "org_c", 2);
        let small = vec![works("b", "org_c", yes, next)];
        decide(&rules, &facts(PERSON, vec![works("a", "org_s", true, first)], vec![("s", ORGANISATION, small)]), at(AT))
    };
    assert_eq!(
        (ask(&none, &none, true).status, used(&ask(&none, &none, true))),
        (Status::Eligible, vec!["att_a".to_owned(), "att_b".to_owned()])
    );
    assert_eq!(used(&ask(&unread, &none, true)), ["att_a"]);
    assert_eq!(used(&ask(&none, &unread, true)), ["att_a"]);
    assert_eq!(used(&ask(&none, &none, false)), ["att_a"]);
    // That the contractor has left the customer does not show that its people have.
    let small = || vec![works("b", "org_c", false, &none)];
    let nowhere =
        |own| decide(&chain("none_of", "org_c", 2), &facts(PERSON, own, vec![("s", ORGANISATION, small())]), at(AT));
    let decision = nowhere(vec![works("a", "org_s", true, &none)]);
    assert_eq!((decision.status, decision.criteria[0].belief), (Status::Insufficient, 0.0));
    assert_eq!(nowhere(vec![works("a", "org_c", false, &none)]).status, Status::Eligible);
    // Round a ring a membership is told directly and once round.
    let ring = vec![
        ("s", ORGANISATION, vec![works("b", "org_t", true, &none)]),
        ("t", ORGANISATION, vec![works("d", "org_s", true, &none)]),
    ];
    let decision =
        decide(&chain("any_of", "org_s", 8), &facts(PERSON, vec![works("a", "org_s", true, &none)], ring), at(AT));
    assert_eq!(decision.criteria[0].evidence.len(), 2);
}

#[test]
fn a_chain_begins_with_its_later_link_and_ages_by_the_class_that_ages_sooner() {
    let none = json!({});
    let early = json!({ "checked_at": "2026-11-25T00:00:00Z", "recorded_at": CHECKED });
    for (first, next) in [(&early, &none), (&none, &early)] {
        let small = vec![works("b", "org_c", true, next)];
        let known = facts(PERSON, vec![works("a", "org_s", true, first)], vec![("s", ORGANISATION, small)]);
        let rules = chain("any_of", "org_c", 2);
        assert_eq!(decide(&rules, &known, at(AT)).status, Status::Insufficient);
        assert_eq!(decide(&rules, &known, at("2026-11-25T00:00:00Z")).status, Status::Eligible);
    }
    // A register's word ages by a class that halves at once and every day, an organisation's by the other: a day later 8 units are 4.
    let rows = json!([
        { "id": "slow", "class": "c", "when": { "kind": ["vouch"] }, "proves": { "by": "organisation" } },
        { "id": "quick", "class": "m.quick", "when": { "kind": ["registry"] }, "proves": { "by": "organisation" } },
    ]);
    let quick = json!({ "classes": { "m.quick": { "grace": "0s", "half_life": "1d" } } });
    let pack = pack("m", &json!({ "type": "membership" }), &rows, &quick);
    let criterion = json!([{ "id": "c", "frame": "m", "any_of": ["org_c"], "chain": 2 }]);
    let rules = rules(&[pack], &criterion, &none);
    let of = |kind: &str, id: &str, organisation: &str| {
        let mut said = works(id, organisation, true, &none);
        if kind == "registry" {
            said = says(id, kind, &json!({ "statement": said.facts.statement, "recorded_at": AT }));
        } else {
            said.recorded_at = at(AT);
        }
        said
    };
    for (first, next) in [("vouch", "registry"), ("registry", "vouch")] {
        let known =
            facts(PERSON, vec![of(first, "a", "org_s")], vec![("s", ORGANISATION, vec![of(next, "b", "org_c")])]);
        // 4 / (4 + 2).
        assert_eq!(decide(&rules, &known, at(AT)).criteria[0].belief, 0.6667, "{first} {next}");
    }
}

/// About `e`: that `x` does not hold half of it, along the product.
fn owned() -> Rules {
    let rows = json!([{ "id": "r", "class": "c", "when": { "kind": ["registry"] }, "proves": { "by": "owners" } }]);
    let pack = pack("s", &json!({ "type": "shares" }), &rows, &json!({}));
    let criterion = json!([{ "id": "c", "frame": "s", "none_of": ["x"], "aggregate": { "at": "55%", "along": "product" }, "eligible_at": 0.79 }]);
    rules(&[pack], &criterion, &json!({}))
}

fn owners(id: &str, owners: &Value, more: &Value) -> Attestation {
    let mut whole = json!({ "statement": { "type": "owners", "owners": owners } });
    whole.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    says(id, "registry", &whole)
}

fn about_e(own: Vec<Attestation>, parties: Vec<(&str, SubjectKind, Vec<Attestation>)>) -> SubjectFacts {
    facts(ORGANISATION, own, parties)
}

#[test]
fn a_person_has_no_owners_and_shares_beyond_the_whole_are_the_whole() {
    let none = json!({});
    let status = |known: &SubjectFacts| decide(&owned(), known, at(AT)).status;
    let held = |by: &str| vec![owners("e", &json!({ by: "50%", "fund": "50%" }), &none)];
    // Nobody listed is behind the holding, by its own register; what a person's register would say is not looked at.
    let clean = || vec![owners("h", &json!({ "fund": "100%" }), &none)];
    let whole = vec![owners("e", &json!({ "sub_h": "100%" }), &none)];
    assert_eq!(status(&about_e(whole.clone(), vec![("h", ORGANISATION, clean())])), Status::Eligible);
    assert_eq!(status(&about_e(whole, vec![("h", PERSON, clean())])), Status::Insufficient);
    // Two owners of the holding of whom nothing is known, 60 % each: at most the whole of it, and so half of `e`, not 60 %.
    let opaque = vec![owners("h", &json!({ "sub_y": "60%", "sub_z": "60%" }), &none)];
    assert_eq!(status(&about_e(held("sub_h"), vec![("h", ORGANISATION, opaque)])), Status::Eligible);
}

#[test]
fn a_statement_about_owners_counts_from_its_own_second_and_until_its_end() {
    let none = json!({});
    let early =
        json!({ "checked_at": "2026-11-25T00:00:00Z", "ends_at": "2026-11-28T00:00:00Z", "recorded_at": CHECKED });
    let held = about_e(
        vec![owners("e", &json!({ "sub_h": "100%" }), &early)],
        vec![(
            "h",
            ORGANISATION,
            vec![
                owners("h", &json!({ "fund": "100%" }), &none),
                owners(
                    "i",
                    &json!({ "fund": "100%" }),
                    &json!({ "checked_at": "2026-11-28T00:00:00Z", "recorded_at": CHECKED }),
                ),
            ],
        )],
    );
    let statuses = ["2026-11-24T23:59:59Z", "2026-11-25T00:00:00Z", "2026-11-27T23:59:59Z", "2026-11-28T00:00:00Z"];
    let found = statuses.map(|instant| decide(&owned(), &held, at(instant)).status);
    assert_eq!(found, [Status::Insufficient, Status::Eligible, Status::Eligible, Status::Insufficient]);
    // It is told once: what becomes known of the holding in its last second is beyond it.
    let decision = decide(&owned(), &held, at(AT));
    assert_eq!(explanation(&owned(), &held, &decision).branches[0].criteria[0].evidence.len(), 1);
}

#[test]
fn only_a_workloads_own_relation_is_looked_at_beside_what_speaks() {
    let none = json!({});
    let who = json!({ "type": "workload", "owner": "sub_o", "responsible": "sub_r" });
    let behind = || says("w", "directory", &json!({ "source_kind": "service", "statement": who }));
    let mute = || says("mute", "registry", &none);
    let rules = chain("any_of", "org_c", 1);
    let looked = |kind: SubjectKind| used(&decide(&rules, &facts(kind, vec![behind(), mute()], vec![]), at(AT)));
    assert_eq!(looked(SubjectKind::Workload), ["att_w"]);
    assert_eq!(looked(PERSON), [""; 0]);
}
