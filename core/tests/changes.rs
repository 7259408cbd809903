//! What would flip an answer and what ends it by itself, on people small enough to work out.
//!
//! STRONG by a vendor: q = .92 x .97 = .8924, 2 q / (1 - q) = 16.587 units; FAIR .65 x .97 = .6305, 3.413 units; a register, STRONG:
//! .92 x .99 = .9108. At .85 are needed .85 x 2 / .15 = 11.333333… units.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails where a production path must not")]

mod support;

use serde_json::{Value, json};
use vouchsafe_core::explain::{Change, ChangeCode, Explanation, Fate, explanation};
use vouchsafe_core::facts::{Attestation, SubjectFacts};
use vouchsafe_core::fusion::Cause;
use vouchsafe_core::ids::{ResourceId, SubjectId};
use vouchsafe_core::policy::Policy;
use vouchsafe_core::rules::Rules;
use vouchsafe_core::timeline::{Action, Entry};
use vouchsafe_core::{Decision, Second, Status, decide};

const AT: &str = "2026-11-21T00:00:00Z";

fn at(text: &str) -> Second {
    Second::parse(text).unwrap()
}

/// An attestation checked on 1 November 2026, with `more` members.
fn says(id: &str, kind: &str, source: &str, grade: &str, more: &Value) -> Attestation {
    let mut facts = json!({
        "kind": kind, "source_kind": source, "grade": grade, "document": format!("doc-{id}"), "assessor": format!("by-{id}"),
        "checked_at": "2026-11-01T00:00:00Z",
    });
    facts.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let marks = facts.as_object_mut().unwrap().remove("marks").unwrap_or(json!([]));
    let recorded = facts["checked_at"].clone();
    let whole = json!({ "id": format!("att_{id}"), "source": "src_a", "recorded_at": recorded, "facts": facts, "marks": marks });
    serde_json::from_value(whole).unwrap()
}

fn passport(id: &str, grade: &str, more: &Value) -> Attestation {
    let mut read = json!({ "document_type": "passport", "issuing_country": "USA", "codes": ["face_match"] });
    read.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    says(id, "document_check", "document_vendor", grade, &read)
}

fn forged(id: &str, grade: &str) -> Attestation {
    passport(id, grade, &json!({ "codes": ["forged"], "outcome": "declined" }))
}

fn register(id: &str, frame: &str, state: &str) -> Attestation {
    says(
        id,
        "registry",
        "registry",
        "STRONG",
        &json!({ "statement": { "type": "states", "frame": frame, "states": [state] } }),
    )
}

fn policy(id: &str, criteria: &Value, max_ttl: &str) -> Policy {
    let mut policy: Policy = serde_json::from_value(json!({
        "id": id, "title": "t", "resources": ["own.x"], "criteria": criteria, "max_ttl": max_ttl,
        "definitions": ["us_status@1", "identity@1", "employer@1", "citizenship@1"],
    }))
    .unwrap();
    policy.write_out_defaults();
    policy
}

/// Rules of one policy, or of one and the next from an instant on.
fn rules(policies: &[(Policy, &str)]) -> Rules {
    let mut library = support::library();
    let mut timeline = Vec::new();
    for (seq, (policy, from)) in (1..).zip(policies) {
        policy.check(&library).unwrap();
        library.policies.insert((policy.id.clone(), 1), policy.clone());
        let action = Action::Activate { policy: policy.id.clone(), version: 1 };
        timeline.push(Entry { seq, directive: policy.id.clone(), from: at(from), action });
    }
    Rules::compile(&library, &timeline, &ResourceId::parse("own.x").unwrap(), at(AT)).unwrap()
}

fn one(criteria: &Value, max_ttl: &str) -> Rules {
    rules(&[(policy("own", criteria, max_ttl), "2026-06-01T00:00:00Z")])
}

fn explained(rules: &Rules, all: Vec<Attestation>) -> (Decision, Explanation) {
    let facts = SubjectFacts::person(SubjectId::parse("sub_a").unwrap(), all);
    let decision = decide(rules, &facts, at(AT));
    let made = explanation(rules, &facts, &decision);
    (decision, made)
}

fn flip(criteria: &Value, all: Vec<Attestation>) -> Option<Change> {
    let (decision, made) = explained(&one(criteria, "90d"), all);
    // With one criterion what would flip it would flip the answer, but for what a reviewer would make of the whole.
    if let ([branch], Some(change)) = (made.branches.as_slice(), &made.flip)
        && branch.criteria.len() == 1
        && change.code != ChangeCode::SeveralCriteria
    {
        assert_eq!(branch.criteria[0].flip.as_ref(), Some(change));
    }
    assert_eq!(made.flip.is_none(), decision.status == Status::Eligible);
    made.flip
}

fn identity() -> Value {
    json!([{ "id": "identity", "frame": "identity", "allow": ["proofed"], "eligible_at": 0.85 }])
}

fn status() -> Value {
    json!({ "id": "status", "frame": "us_status", "allow": ["citizen", "lpr", "national", "protected"], "eligible_at": 0.85 })
}

#[test]
fn what_is_missing_is_told_in_units_rounded_up() {
    let missing = |units: f64, code| Change {
        code,
        then: Some(Status::Eligible),
        criteria: vec!["identity".to_owned()],
        at: None,
        attestations: Vec::new(),
        units: Some(units),
    };
    assert_eq!(flip(&identity(), vec![]), Some(missing(11.333_334, ChangeCode::SupportMissing)));
    // 11.333333 - 3.413396 = 7.919938, rounded up in the sixth place.
    let fair = flip(&identity(), vec![passport("a", "FAIR", &json!({}))]).unwrap();
    let left = 11.0 + 1.0 / 3.0 - 2.0 * 0.6305 / 0.3695;
    assert!((0.0..1e-6).contains(&(fair.units.unwrap() - left)), "{fair:?}");
    assert_eq!(flip(&identity(), vec![passport("a", "STRONG", &json!({}))]), None);
}

#[test]
fn a_gate_asks_for_one_item_of_two_units_at_least() {
    let mut gated = status();
    gated["gate"] = json!({ "grade": "STRONG", "from": ["document_check"] });
    let gated = json!([gated]);
    let none = flip(&gated, vec![]).unwrap();
    assert_eq!((none.code, none.units), (ChangeCode::GateItemMissing, Some(11.333_334)));
    // The register's word is enough and opens no gate.
    let register = flip(&gated, vec![register("r", "us_status", "lpr")]).unwrap();
    assert_eq!(
        (register.code, register.units, register.then),
        (ChangeCode::GateItemMissing, Some(2.0), Some(Status::Eligible))
    );
}

#[test]
fn what_a_reviewer_would_have_to_settle_is_named_the_heaviest_first() {
    let settle = |all: Vec<Attestation>| {
        let change = flip(&identity(), all).unwrap();
        assert_eq!((change.code, change.units, change.at), (ChangeCode::ResolveItems, None, None));
        (change.attestations.join(" "), change.then.unwrap())
    };
    assert_eq!(settle(vec![forged("a", "STRONG")]), ("att_a".to_owned(), Status::Insufficient));
    let beside = vec![forged("a", "STRONG"), passport("p", "STRONG", &json!({}))];
    assert_eq!(settle(beside), ("att_a".to_owned(), Status::Eligible));
    // Either of two stays material (.8924 and .6305 against .25), so both.
    let two = vec![forged("b", "FAIR"), forged("z", "STRONG"), passport("p", "STRONG", &json!({}))];
    assert_eq!(settle(two), ("att_z att_b".to_owned(), Status::Eligible));
    // Of two that weigh alike the one that comes first by its name.
    let alike = vec![forged("d", "FAIR"), forged("c", "FAIR")];
    assert_eq!(settle(alike), ("att_c att_d".to_owned(), Status::Insufficient));
    // What is settled already, or has ended, stands in nobody's way.
    let marks = json!({ "codes": ["forged"], "outcome": "declined", "marks": [{ "at": "2026-11-02T00:00:00Z", "kind": "resolved" }] });
    let settled = vec![passport("a", "STRONG", &marks), forged("b", "STRONG")];
    assert_eq!(settle(settled), ("att_b".to_owned(), Status::Insufficient));
}

#[test]
fn where_several_criteria_stand_against_it_all_are_named() {
    let mut both = identity();
    both.as_array_mut().unwrap().push(status());
    let several = flip(&both, vec![]).unwrap();
    assert_eq!((several.code, several.then), (ChangeCode::SeveralCriteria, None));
    assert_eq!(several.criteria, ["identity", "status"]);
    // A register's word about the status leaves one.
    let one = flip(&both, vec![register("r", "us_status", "lpr")]).unwrap();
    assert_eq!((one.code, one.criteria), (ChangeCode::SupportMissing, vec!["identity".to_owned()]));
    // What is left out while nothing is known stands in nobody's way.
    let mut left_out = both.clone();
    left_out[1]["when_unknown"] = json!("allow");
    let one = flip(&left_out, vec![]).unwrap();
    assert_eq!((one.code, one.criteria), (ChangeCode::SupportMissing, vec!["identity".to_owned()]));
    // Two keys of which each must be shown not to hold.
    let nowhere = json!([{ "id": "nowhere", "frame": "employer", "none_of": ["org_a", "org_b"], "eligible_at": 0.6 }]);
    assert_eq!(flip(&nowhere, vec![]).unwrap().code, ChangeCode::SeveralCriteria);
    let left = |organisation: &str| {
        let statement = json!({ "type": "employment", "organisation": organisation, "employed": false });
        says(
            organisation.trim_start_matches("org_"),
            "vouch",
            "employer",
            "STRONG",
            &json!({ "statement": statement, "assessor": organisation, "basis": "hr_record" }),
        )
    };
    let one = flip(&nowhere, vec![left("org_a")]).unwrap();
    assert_eq!((one.code, one.then), (ChangeCode::SupportMissing, Some(Status::Eligible)));
    assert_eq!(flip(&nowhere, vec![left("org_a"), left("org_b")]), None);
}

/// Code, instant, status after it, and the attestations.
type Ending = (ChangeCode, String, Option<Status>, String);

/// What ends the decision, and what its first criterion.
fn ends(rules: &Rules, all: Vec<Attestation>) -> [Option<Ending>; 2] {
    let (decision, made) = explained(rules, all);
    assert_eq!(made.by_itself.as_ref().and_then(|change| change.at), decision.valid_until());
    let own = made.branches[0].criteria[0].by_itself.clone();
    [made.by_itself, own].map(|change| {
        change.map(|change| (change.code, change.at.unwrap().to_string(), change.then, change.attestations.join(" ")))
    })
}

#[test]
fn what_ends_an_answer_by_itself_is_named_with_its_second() {
    let change = |code, at: &str, then, by: &str| Some((code, at.to_owned(), then, by.to_owned()));
    let ending = json!({ "ends_at": "2026-12-15T00:00:00Z" });
    let ended = change(ChangeCode::EvidenceEnds, "2026-12-15T00:00:00Z", Some(Status::Insufficient), "att_p");
    assert_eq!(ends(&one(&identity(), "90d"), vec![passport("p", "STRONG", &ending)]), [ended.clone(), ended]);
    // Nothing is known and nothing will be.
    assert_eq!(ends(&one(&identity(), "90d"), vec![]), [None, None]);
    // Half after 365 days, none of it within 90: 90 + 365 log2(16.587361 / 11.333333) = 290.5 days after the check, on 18 August 2027.
    let statuses = json!([status()]);
    let days = 90.0 + 365.0 * ((2.0 * 0.8924 / 0.1076) / (1.7 / 0.15_f64)).log2();
    #[expect(clippy::cast_possible_truncation, reason = "some hundred days in seconds")]
    let faded = at("2026-11-01T00:00:00Z").plus((days * 86_400.0).floor() as i64 + 1).to_string();
    assert!(faded.starts_with("2027-08-18T"), "{faded}");
    let fades = change(ChangeCode::SupportFades, &faded, Some(Status::Insufficient), "att_p");
    assert_eq!(
        ends(&one(&statuses, "3650d"), vec![passport("p", "STRONG", &json!({}))]),
        [fades.clone(), fades.clone()]
    );
    // 90 days after the decision the promise ends and is renewed.
    let renewed = change(ChangeCode::PromiseEnds, "2027-01-30T00:00:00Z", Some(Status::Eligible), "");
    assert_eq!(ends(&one(&statuses, "90d"), vec![passport("p", "STRONG", &json!({}))]), [renewed, fades.clone()]);
    // Other rules come first.
    let next = [
        (policy("own", &statuses, "90d"), "2026-06-01T00:00:00Z"),
        (policy("next", &identity(), "90d"), "2026-12-01T00:00:00Z"),
    ];
    let other = change(ChangeCode::RulesChange, "2026-12-01T00:00:00Z", None, "");
    assert_eq!(ends(&rules(&next), vec![passport("p", "STRONG", &json!({}))]), [other, fades.clone()]);
    // A strict criterion ends with its earliest document, although the other one carries it.
    let mut strict = status();
    strict["strict"] = json!(true);
    let soon = passport("a", "FAIR", &ending);
    let [decision, own] = ends(&one(&json!([strict]), "90d"), vec![soon.clone(), passport("p", "STRONG", &json!({}))]);
    assert_eq!(decision, change(ChangeCode::EvidenceEnds, "2026-12-15T00:00:00Z", Some(Status::Eligible), "att_a"));
    // By then the passport has lost 5.254 units and the ended one its 3.413.
    assert_eq!(own, change(ChangeCode::SupportFades, &faded, Some(Status::Insufficient), "att_p att_a"));
    // What is against the subject ends after 730 days.
    let [against, _] = ends(
        &one(&identity(), "90d"),
        vec![passport("m", "STRONG", &json!({ "codes": ["face_mismatch"], "outcome": "declined" }))],
    );
    assert_eq!(against, change(ChangeCode::EvidenceEnds, "2028-10-31T00:00:00Z", Some(Status::Insufficient), "att_m"));
}

#[test]
fn items_that_fade_together_are_named_by_what_they_lose() {
    // Together 3.413 and 3.610 (FAIR of a register, .6435), and 2.469 of a vouch: each fades, and the sum is enough at .8 (8 units).
    let mut low = status();
    low["eligible_at"] = json!(0.8);
    let states = json!({ "type": "states", "frame": "us_status", "states": ["lpr"] });
    let fair = says("r", "registry", "registry", "FAIR", &json!({ "statement": states }));
    let vouch = says("v", "vouch", "employer", "FAIR", &json!({ "statement": states, "basis": "document_seen" }));
    let all = vec![passport("p", "FAIR", &json!({})), fair, vouch];
    let (decision, made) = explained(&one(&json!([low]), "3650d"), all);
    assert_eq!(decision.status, Status::Eligible);
    let change = made.by_itself.unwrap();
    assert_eq!(change.code, ChangeCode::SupportFades);
    let lines = &made.branches[0].criteria[0].evidence;
    assert!(lines.iter().all(|line| line.fate == Fate::Counted && line.contributed > 0.0), "{lines:#?}");
    assert_eq!(change.attestations.len(), 3, "{change:?}");
}

#[test]
fn each_line_of_the_account_adds_up() {
    let twice = json!({ "assessor": "by-p" });
    let same = json!({ "document": "doc-p", "assessor": "by-p" });
    let all = vec![
        passport("p", "STRONG", &json!({})),
        passport("q", "FAIR", &twice),
        passport("r", "FAIR", &same),
        passport("s", "STRONG", &json!({ "ends_at": "2026-11-10T00:00:00Z" })),
        passport("t", "STRONG", &json!({ "marks": [{ "at": "2026-11-12T00:00:00Z", "kind": "revoked" }] })),
        forged("x", "FAIR"),
    ];
    let (_, made) = explained(&one(&identity(), "90d"), all);
    let criterion = &made.branches[0].criteria[0];
    let line = |id: &str| criterion.evidence.iter().find(|line| line.attestation == format!("att_{id}")).unwrap();
    let told = |id: &str| (line(id).fate, line(id).share, line(id).because_of.as_deref());
    assert_eq!(told("p"), (Fate::Counted, 1.0, None));
    // A further document of one assessor counts half.
    assert_eq!(told("q"), (Fate::SameAssessor, 0.5, None));
    assert_eq!(told("r"), (Fate::SameDocument, 0.0, Some("att_p")));
    assert_eq!(told("s"), (Fate::Ended, 0.0, None));
    assert_eq!(told("t"), (Fate::Revoked, 0.0, None));
    assert_eq!(told("x"), (Fate::Counted, 1.0, None));
    // 16.587361 and 3.412720 / 2; against it 3.412720.
    let (strong, fair) = (2.0 * 0.8924 / 0.1076, 2.0 * 0.6305 / 0.3695);
    assert!((criterion.supporting_units - (strong + fair / 2.0)).abs() < 1e-6, "{criterion:#?}");
    assert!((criterion.adverse_units - fair).abs() < 1e-6);
    assert!((line("q").units - fair).abs() < 1e-6 && (line("q").contributed - fair / 2.0).abs() < 1e-6);
    assert!((line("s").units_fresh - strong).abs() < 1e-6 && line("s").units == 0.0);
    // .85 (s + 2) / .15.
    assert!((criterion.needed_units - 0.85 * (fair + 2.0) / 0.15).abs() < 1e-6);
    assert!((criterion.con - 0.6305).abs() < 1e-6 && criterion.keys == 1 && criterion.gate.is_none());
}

#[test]
fn of_two_causes_in_one_second_the_first_in_order_is_named() {
    // Rules, then the longest promise, then evidence. 90 days after 1 November the promise and the passport end.
    let end = json!({ "ends_at": "2027-01-30T00:00:00Z" });
    let statuses = json!([status()]);
    let (decision, _) = explained(&one(&statuses, "90d"), vec![passport("p", "STRONG", &end)]);
    assert_eq!(decision.expires_at, Some(at("2027-01-30T00:00:00Z")));
    assert_eq!(decision.expiry_cause, Some(Cause::PolicyMaxTtl));
    let next = [
        (policy("own", &statuses, "90d"), "2026-06-01T00:00:00Z"),
        (policy("next", &identity(), "90d"), "2027-01-30T00:00:00Z"),
    ];
    let (decision, _) = explained(&rules(&next), vec![passport("p", "STRONG", &end)]);
    assert_eq!(decision.expiry_cause, Some(Cause::RulesChange));
}
