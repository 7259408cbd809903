//! Criteria and decisions.

use super::made::{
    AT, allowing, allows, at, decided, membership, pack, person, plain, proves, rules, says, state, states, sub, works,
};
use serde_json::json;
use vouchsafe_core::facts::{SubjectFacts, SubjectKind};
use vouchsafe_core::fusion::Cause;
use vouchsafe_core::rules::Rules;
use vouchsafe_core::{Decision, Status, decide};

fn members(test: &str, more: &serde_json::Value) -> Rules {
    let mut criterion = json!({ "id": "c", "frame": "m", test: ["org_a", "org_b"], "eligible_at": 0.79 });
    criterion.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    rules(&[membership()], &json!([criterion]), &json!({}))
}

#[test]
fn nothing_known_is_left_out_and_doubt_on_the_line_is_not() {
    let open = allows(&json!({ "when_unknown": "allow" }));
    assert_eq!(decided(&open, vec![]).status, Status::Eligible);
    // 2/3 unit against is one quarter, the least that is material; less than that is nothing known.
    let against = |doubt: f64| state("a", "document_check", &["out"], &json!({ "grade": "WEAK", "doubt": doubt }));
    assert_eq!(decided(&open, vec![against(1.0)]).status, Status::Insufficient);
    assert_eq!(decided(&open, vec![against(0.99)]).status, Status::Eligible);
}

#[test]
fn of_keys_that_stand_alike_the_first_answers_and_only_what_speaks_of_it_is_told() {
    let none = json!({});
    for test in ["any_of", "none_of"] {
        let decision = decided(&members(test, &none), vec![]);
        assert_eq!(decision.criteria[0].key.as_deref(), Some("org_a"), "{test}");
    }
    // The other organisation's no settles its own key: of this one nothing is known, and nothing is told.
    let decision = decided(&members("none_of", &none), vec![works("b", "org_b", false, &none)]);
    let report = &decision.criteria[0];
    assert_eq!((report.key.as_deref(), report.status, report.evidence.len()), (Some("org_a"), Status::Insufficient, 0));
}

#[test]
fn only_the_same_organisation_takes_its_word_back_and_only_later() {
    let later = |seconds: i64| at("2026-11-20T00:00:00Z").plus(seconds).to_string();
    let basis = "hr_record";
    let said = |id: &str, kind: &str, state_of: &str, grade: &str, seconds: i64| {
        state(
            id,
            kind,
            &[state_of],
            &json!({ "assessor": "org_x", "basis": basis, "grade": grade, "checked_at": later(seconds) }),
        )
    };
    let half = allows(&json!({ "eligible_at": 0.49 }));
    let status = |all| decided(&half, all).status;
    // A FAIR word of 2 units each: the later one stands. In the same second both do, and a person must look.
    assert_eq!(
        status(vec![said("a", "vouch", "in", "FAIR", 0), said("b", "vouch", "out", "FAIR", 1)]),
        Status::Ineligible
    );
    assert_eq!(
        status(vec![said("a", "vouch", "out", "FAIR", 0), said("b", "vouch", "in", "FAIR", 1)]),
        Status::Eligible
    );
    assert_eq!(status(vec![said("a", "vouch", "in", "FAIR", 0), said("b", "vouch", "out", "FAIR", 0)]), Status::Review);
    // A register of the same name is somebody else, whichever speaks first.
    assert_eq!(
        status(vec![said("a", "vouch", "in", "FAIR", 0), said("b", "registry", "out", "FAIR", 1)]),
        Status::Review
    );
    assert_eq!(
        status(vec![said("a", "registry", "in", "FAIR", 0), said("b", "vouch", "out", "FAIR", 1)]),
        Status::Review
    );
}

#[test]
fn a_later_yes_of_a_register_overtakes_an_organisations_no() {
    let any = members("any_of", &json!({ "any_of": ["org_a"] }));
    let no = || works("a", "org_a", false, &json!({ "fact_date": "2026-01-01T00:00:00Z" }));
    let yes = |since: &str, grade: &str| {
        let statement = json!({ "type": "employment", "organisation": "org_a", "employed": true });
        says("r", "registry", &json!({ "statement": statement, "fact_date": since, "grade": grade }))
    };
    // From .85 on: 18 units of a SUPERIOR record are .9, 8 of a STRONG one .8.
    assert_eq!(decided(&any, vec![no(), yes("2026-02-01T00:00:00Z", "SUPERIOR")]).status, Status::Eligible);
    assert_eq!(decided(&any, vec![no(), yes("2026-01-01T00:00:00Z", "SUPERIOR")]).status, Status::Review);
    assert_eq!(decided(&any, vec![no(), yes("2026-02-01T00:00:00Z", "STRONG")]).status, Status::Review);
    let overtaken = decided(&any, vec![no(), yes("2026-02-01T00:00:00Z", "SUPERIOR")]);
    assert!(overtaken.reasons.contains(&"m.overtaken".to_owned()), "{:?}", overtaken.reasons);
}

#[test]
fn a_failed_check_supports_nothing() {
    let rows = json!([proves("failed", &json!({ "kind": ["document_check"], "outcome": ["declined"] }), &["out"])]);
    let pack = pack("f", &states(&["in", "out"]), &rows, &json!({}));
    let failed = || vec![says("a", "document_check", &json!({ "outcome": "declined" }))];
    let of = |test: &str| {
        rules(
            std::slice::from_ref(&pack),
            &json!([{ "id": "c", "frame": "f", test: ["out"], "eligible_at": 0.5 }]),
            &json!({}),
        )
    };
    assert_eq!(decided(&of("deny"), failed()).status, Status::Ineligible);
    let decision = decided(&of("allow"), failed());
    assert_eq!((decision.status, decision.criteria[0].belief), (Status::Insufficient, 0.0));
}

#[test]
fn what_the_subject_says_in_a_frame_is_looked_at_though_another_is_asked_for() {
    // Asked is whom one acts for; the person's own word in that frame is an input all the same.
    let of_other = rules(&[plain()], &json!([allowing("c", &json!({ "of": "acting_for" }))]), &json!({}));
    let used = |decision: &Decision| decision.attestations.iter().map(|a| a.id.to_string()).collect::<Vec<_>>();
    let own = || state("own", "registry", &["in"], &json!({}));
    let decision = decided(&of_other, vec![own(), says("mute", "registry", &json!({}))]);
    assert_eq!((decision.status, used(&decision)), (Status::Insufficient, vec!["att_own".to_owned()]));
    // A statement about owners that was over when it was looked for is looked at.
    let rows = json!([{ "id": "r", "class": "c", "when": {}, "proves": { "by": "owners" } }]);
    let shares = pack("s", &json!({ "type": "shares" }), &rows, &json!({}));
    let criterion =
        json!([{ "id": "c", "frame": "s", "none_of": ["x"], "aggregate": { "at": "50%", "along": "product" } }]);
    let over = says(
        "over",
        "registry",
        &json!({ "ends_at": "2026-11-20T00:00:00Z", "statement": { "type": "owners", "owners": { "y": "100%" } } }),
    );
    let facts = SubjectFacts::new(sub("e"), SubjectKind::Organisation, vec![over]);
    let decision = decide(&rules(&[shares], &criterion, &json!({})), &facts, at(AT));
    assert_eq!((decision.status, used(&decision)), (Status::Insufficient, vec!["att_over".to_owned()]));
}

#[test]
fn a_yes_is_renewed_as_often_as_it_takes() {
    // 172,801 promises of a second lie between the check and two days later.
    let short = rules(&[plain()], &json!([allowing("c", &json!({}))]), &json!({ "max_ttl": "1s" }));
    let proof = || state("a", "registry", &["in"], &json!({}));
    let decision = decide(&short, &person(vec![proof()]), at("2026-11-22T00:00:01Z"));
    assert_eq!((decision.status, decision.at), (Status::Eligible, at("2026-11-22T00:00:01Z")));
    // Under a strict criterion a document that ends begins the days anew: ended at noon of the 22nd, asked at midnight of the 24th.
    let strict = rules(&[plain()], &json!([allowing("c", &json!({ "strict": true }))]), &json!({ "max_ttl": "1d" }));
    let ending = state("b", "document_check", &["in"], &json!({ "ends_at": "2026-11-22T12:00:00Z" }));
    let decision = decide(&strict, &person(vec![proof(), ending]), at("2026-11-24T00:00:00Z"));
    assert_eq!((decision.status, decision.at), (Status::Eligible, at("2026-11-23T12:00:00Z")));
}

#[test]
fn a_yes_is_followed_to_its_end_and_a_refusal_for_ten_years() {
    // 18 units suffice until 8 x 10 days of halving have left 18 / 256; .0352 of belief need .07297. 10 + 10 log2(18 / needed) days.
    let needed: f64 = 2.0 * 0.000_01 / (1.0 - 0.000_01);
    let days = 10.0 + 10.0 * (18.0 / needed).log2();
    // Slow: one day is 20 here, so that it takes more than ten years.
    let mut slow = allows(&json!({ "eligible_at": 0.000_01, "when_unknown": "refuse" })).body;
    let class = slow.weights.classes.get_mut("c").unwrap();
    (class.grace_secs, class.half_life_secs) = (class.grace_secs * 20, class.half_life_secs * 20);
    slow.policy.as_mut().unwrap().max_ttl = vouchsafe_core::policy::Span::from_secs(20_000 * 86_400);
    let slow = Rules::from_body(slow, at("2020-01-01T00:00:00Z"));
    let decision = decided(&slow, vec![state("a", "registry", &["in"], &json!({ "grade": "SUPERIOR" }))]);
    #[expect(clippy::cast_possible_truncation, reason = "some thousand days in seconds")]
    let end = at("2026-11-20T00:00:00Z").plus((days * 20.0 * 86_400.0).floor() as i64 + 1);
    assert!(days * 20.0 > 3_653.0 && decision.status == Status::Eligible);
    assert_eq!((decision.expires_at, decision.expiry_cause), (Some(end), Some(Cause::Confidence)));
    // A proof that counts only from 2037 on is beyond ten years: the next rules of 2038 are what is told.
    let mut later = allows(&json!({})).body;
    later.next_change = Some(at("2038-01-01T00:00:00Z"));
    let later = Rules::from_body(later, at("2020-01-01T00:00:00Z"));
    let proof = |year: &str| {
        let checked = format!("{year}-01-01T00:00:00Z");
        state("a", "registry", &["in"], &json!({ "checked_at": checked, "recorded_at": "2026-11-20T00:00:00Z" }))
    };
    assert_eq!(decided(&later, vec![proof("2037")]).recheck_at, later.body.next_change);
    assert_eq!(decided(&later, vec![proof("2036")]).recheck_at, Some(at("2036-01-01T00:00:00Z")));
}
