//! End users: what a policy's word for them does to rules, texts and verdicts, and the whole table of who is let in.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails where a production path must not")]

mod support;

use serde_json::{Value, json};
use std::collections::BTreeMap;
use vouchsafe_core::compare::{Verdict, compare};
use vouchsafe_core::document::Document;
use vouchsafe_core::end_users::{Named, Refusal, VOUCH_LASTS, admits, customer, nothing_against, vouched_until};
use vouchsafe_core::facts::{Attestation, SubjectFacts, SubjectKind};
use vouchsafe_core::fusion::Cause;
use vouchsafe_core::ids::{ResourceId, SubjectId};
use vouchsafe_core::policy::{EndUser, Policy};
use vouchsafe_core::rules::Rules;
use vouchsafe_core::{Decision, Second, Status, decide, words};

/// 2026-11-21T00:00:00Z.
fn now() -> Second {
    Second::from_epoch(1_795_219_200)
}

const MODES: [EndUser; 3] = [EndUser::Ignored, EndUser::Vouched, EndUser::Required];

fn shipped(mode: Option<&str>) -> Policy {
    let library = support::library();
    let held = &library.policies[&("restricted-us-persons".to_owned(), 1)];
    let mut value = json!(held);
    if let Some(mode) = mode {
        value["end_user"] = json!(mode);
    }
    serde_json::from_value(value).unwrap()
}

fn rules(policy: &Policy) -> Rules {
    Rules::of(&support::library(), policy, ResourceId::parse("restricted.api").unwrap(), Second::from_epoch(0)).unwrap()
}

#[test]
fn rules_that_ask_for_nobody_are_the_rules_they_were() {
    let [silent, ignored] = [None, Some("ignored")].map(|mode| rules(&shipped(mode)));
    assert_eq!(silent.digest, ignored.digest);
    assert!(!silent.canonical.contains("end_user"));
    let [vouched, required] = ["vouched", "required"].map(|mode| rules(&shipped(Some(mode))));
    assert!(silent.digest != vouched.digest && vouched.digest != required.digest);
    assert!(vouched.canonical.contains("\"end_user\":\"vouched\""));
    // A decision says what is still to be asked, and one that nobody has to add to says nothing.
    let facts = SubjectFacts::person(SubjectId::parse("sub_a").unwrap(), Vec::new());
    let said = |rules: &Rules| json!(decide(rules, &facts, now())).get("end_user").cloned();
    assert_eq!(
        [said(&silent), said(&vouched), said(&required)],
        [None, Some(json!("vouched")), Some(json!("required"))]
    );
}

#[test]
fn the_word_is_checked_and_told_in_words() {
    let text = std::fs::read_to_string(format!(
        "{}/../fixtures/policies/restricted-us-persons.toml",
        env!("CARGO_MANIFEST_DIR")
    ));
    let text = text.unwrap();
    let checked = |line: &str| {
        let mut document = Document::from_toml(&format!("{line}\n{text}")).unwrap();
        Policy::examine(&mut document, &support::library())
    };
    let (policy, findings) = checked("end_user = \"requird\"");
    assert!(policy.is_none());
    let told = findings.iter().find(|finding| finding.pointer == "/end_user").unwrap();
    assert_eq!((told.place.unwrap().line, told.advice.as_deref()), (1, Some("did you mean `required`?")));
    for (mode, sentence) in [
        ("ignored", None),
        ("vouched", Some("The caller's own organisation must vouch for that user")),
        ("required", Some("both must be eligible")),
    ] {
        let (policy, findings) = checked(&format!("end_user = \"{mode}\""));
        assert!(!findings.iter().any(|finding| finding.pointer == "/end_user"), "{findings:?}");
        let words = words::policy(&policy.unwrap(), &support::library());
        assert_eq!(words.contains("end user"), sentence.is_some(), "{mode}");
        assert!(sentence.is_none_or(|sentence| words.contains(sentence)), "{mode}: {words}");
    }
    assert_eq!(
        words::changes(&shipped(None), &shipped(Some("required")), &support::library()),
        ["end user: required, was ignored"]
    );
    // A question about the organisation acted for has no answer for people who act for nobody.
    let mut asks = json!(shipped(Some("required")));
    asks["criteria"][0]["of"] = json!("acting_for");
    let findings = Policy::examine(&mut Document::from_json(asks), &support::library()).1;
    assert!(
        findings.iter().any(|finding| finding.pointer == "/end_user" && finding.problem.contains("acts for nobody"))
    );
}

#[test]
fn no_verdict_on_end_users_goes_beyond_what_is_proved() {
    use Verdict::{Equal, Narrower, NotDecided, Wider};
    let library = support::library();
    let table = [
        ["ignored", "vouched", "required"].map(|new| ("ignored", new)),
        ["ignored", "vouched", "required"].map(|new| ("vouched", new)),
        ["ignored", "vouched", "required"].map(|new| ("required", new)),
    ];
    let verdicts = |from: &dyn Fn(&str) -> Policy, to: &dyn Fn(&str) -> Policy| {
        table.map(|row| row.map(|(old, new)| compare(&from(old), &to(new), &library).unwrap().verdict))
    };
    let same = |mode: &str| shipped(Some(mode));
    assert_eq!(
        verdicts(&same, &same),
        [[Equal, Narrower, Narrower], [Wider, Equal, NotDecided], [Wider, NotDecided, Equal]]
    );
    // The criteria get looser at the same time: nothing is claimed where it would have to rest on both.
    let looser = |mode: &str| {
        let mut value = json!(same(mode));
        value["criteria"][0]["eligible_at"] = json!(0.6);
        serde_json::from_value::<Policy>(value).unwrap()
    };
    assert_eq!(compare(&same("ignored"), &looser("ignored"), &library).unwrap().verdict, Wider);
    assert_eq!(
        verdicts(&same, &looser),
        [[Wider, NotDecided, NotDecided], [Wider, NotDecided, NotDecided], [Wider, NotDecided, Wider]]
    );
    assert_eq!(
        verdicts(&looser, &same),
        [[Narrower, Narrower, Narrower], [NotDecided, NotDecided, NotDecided], [NotDecided, NotDecided, Narrower]]
    );
}

/// A decision of this status and with these reasons, that ends or changes by itself in 100 s.
fn decision(status: Status, reasons: &[&str]) -> Decision {
    let facts = SubjectFacts::person(SubjectId::parse("sub_a").unwrap(), Vec::new());
    let mut decision = decide(&rules(&shipped(None)), &facts, now());
    decision.status = status;
    decision.reasons = reasons.iter().map(|reason| (*reason).to_owned()).collect();
    let eligible = status == Status::Eligible;
    decision.expires_at = eligible.then(|| now().plus(100));
    decision.expiry_cause = eligible.then_some(Cause::EvidenceEnd);
    decision.recheck_at = (!eligible).then(|| now().plus(100));
    decision
}

#[test]
fn an_end_user_is_let_in_exactly_as_the_table_says() {
    let people = [
        ("eligible", decision(Status::Eligible, &["us_status.supported"]), true),
        ("nothing known", decision(Status::Insufficient, &["us_status.missing", "identity.insufficient"]), true),
        ("two accounts", decision(Status::Insufficient, &["us_status.missing", "subject.duplicate"]), true),
        ("doubted", decision(Status::Insufficient, &["us_status.doubted"]), false),
        ("a shared document", decision(Status::Insufficient, &["us_status.missing", "document.shared"]), false),
        ("unsettled rules", decision(Status::Insufficient, &["rules.incomplete"]), false),
        ("a word nobody knows", decision(Status::Insufficient, &["us_status.surprising"]), false),
        ("without a reason", decision(Status::Insufficient, &[]), false),
        ("review", decision(Status::Review, &["us_status.conflicting"]), false),
        ("ineligible", decision(Status::Ineligible, &["us_status.adverse"]), false),
        ("frozen", decision(Status::Ineligible, &["directive.frozen"]), false),
    ];
    let vouches = [None, Some(now().plus(-1)), Some(now()), Some(now().plus(1)), Some(now().plus(1000))];
    for mode in MODES {
        let nobody = admits(mode, None, now());
        assert_eq!(nobody, if mode == EndUser::Ignored { Ok(None) } else { Err(Refusal::Missing) });
        for (who, decision, harmless) in &people {
            assert_eq!(nothing_against(decision), *harmless, "{who}");
            for vouched_until in vouches {
                let named = Named { decision, vouched_until };
                let counts = vouched_until.filter(|end| *end > now());
                let wanted = match mode {
                    EndUser::Ignored => Ok(None),
                    EndUser::Required if *who == "eligible" => Ok(Some(now().plus(100))),
                    EndUser::Required => Err(Refusal::NotEligible),
                    EndUser::Vouched => match counts {
                        None => Err(Refusal::NotVouched),
                        Some(_) if !harmless => Err(Refusal::NotEligible),
                        Some(end) => Ok(Some(end.min(now().plus(100)))),
                    },
                };
                assert_eq!(admits(mode, Some(named), now()), wanted, "{mode:?} {who} {vouched_until:?}");
            }
        }
    }
    // A yes that is over is none.
    let over = decision(Status::Eligible, &["us_status.supported"]);
    let named = Named { decision: &over, vouched_until: None };
    for (at, yes) in [(99, true), (100, false), (101, false)] {
        assert_eq!(admits(EndUser::Required, Some(named), now().plus(at)).is_ok(), yes, "{at}");
    }
}

fn vouch(change: &Value) -> Attestation {
    let mut value = json!({ "id": "att_1", "source": "src_org-acme", "recorded_at": now(), "facts": {
        "kind": "vouch", "source_kind": "employer", "grade": "STRONG", "document": "d", "assessor": "org_acme",
        "checked_at": now(), "statement": { "type": "states", "frame": "end_user", "states": ["own"] } } });
    for (pointer, new) in change.as_object().unwrap() {
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        value.pointer_mut(parent).unwrap()[name] = new.clone();
    }
    serde_json::from_value(value).unwrap()
}

#[test]
fn a_vouch_for_an_end_user_counts_only_as_it_is_defined() {
    let until = |change: Value, at: Second| {
        let facts = SubjectFacts::person(SubjectId::parse("sub_a").unwrap(), vec![vouch(&change)]);
        vouched_until(&facts, |source| source == "src_org-acme", at)
    };
    let year = now().plus(VOUCH_LASTS);
    assert_eq!(until(json!({}), now()), Some(year));
    assert_eq!((until(json!({}), now().plus(VOUCH_LASTS - 1)), until(json!({}), year)), (Some(year), None));
    assert_eq!(until(json!({}), now().plus(-1)), None, "not before it was recorded");
    assert_eq!(until(json!({ "/facts/ends_at": now().plus(60) }), now()), Some(now().plus(60)));
    assert_eq!(until(json!({ "/facts/ends_at": now().plus(60) }), now().plus(60)), None);
    assert_eq!(until(json!({ "/facts/ends_at": now().plus(2 * VOUCH_LASTS) }), now()), Some(year));
    assert_eq!(until(json!({ "/facts/checked_at": now().plus(-60) }), now()), Some(year.plus(-60)));
    assert_eq!(until(json!({ "/facts/checked_at": now().plus(600) }), now()), Some(year), "nobody looks ahead of time");
    for (what, change) in [
        ("another organisation", json!({ "/source": "src_org-rival" })),
        ("one that nobody verified", json!({ "/facts/source_kind": "unverified_organisation" })),
        ("no vouch", json!({ "/facts/kind": "directory" })),
        ("another frame", json!({ "/facts/statement": { "type": "states", "frame": "us_status", "states": ["own"] } })),
        ("another word", json!({ "/facts/statement": { "type": "states", "frame": "end_user", "states": ["else"] } })),
        (
            "two words",
            json!({ "/facts/statement": { "type": "states", "frame": "end_user", "states": ["own", "else"] } }),
        ),
        (
            "employment",
            json!({ "/facts/statement":
            { "type": "employment", "organisation": "org_acme", "employed": true, "relation": "end_user" } }),
        ),
        ("declined", json!({ "/facts/outcome": "declined" })),
    ] {
        assert_eq!(until(change, now()), None, "{what}");
    }
    for kind in ["revoked", "superseded", "resolved", "suspended"] {
        assert_eq!(until(json!({ "/marks": [{ "at": now(), "kind": kind }] }), now()), None, "{kind}");
    }
    // The one that lasts longest counts, and one taken back takes nothing from another.
    let other = json!({ "/id": "att_2", "/marks": [{ "at": now(), "kind": "revoked" }] });
    let short = json!({ "/id": "att_3", "/facts/ends_at": now().plus(5) });
    let all = [json!({}), other, short].iter().map(vouch).collect();
    let facts = SubjectFacts::person(SubjectId::parse("sub_a").unwrap(), all);
    assert_eq!(vouched_until(&facts, |source| source == "src_org-acme", now()), Some(year));
}

#[test]
fn only_organisations_and_their_workloads_have_end_users() {
    let subject = SubjectId::parse("sub_a").unwrap();
    let behind = |marks: Value| {
        let value = json!({ "id": "att_1", "source": "src_service", "recorded_at": now(), "marks": marks, "facts": {
            "kind": "directory", "source_kind": "service", "grade": "STRONG", "document": "d", "assessor": "service",
            "checked_at": now(), "statement": { "type": "workload", "owner": "sub_org", "responsible": "sub_p" } } });
        vec![serde_json::from_value::<Attestation>(value).unwrap()]
    };
    let of =
        |kind, attestations| customer(&SubjectFacts::new(subject.clone(), kind, attestations)).map(|id| id.to_string());
    let standing = || behind(json!([]));
    let found: BTreeMap<&str, Option<String>> = [
        ("organisation", of(SubjectKind::Organisation, Vec::new())),
        ("workload", of(SubjectKind::Workload, standing())),
        ("workload of nobody", of(SubjectKind::Workload, Vec::new())),
        (
            "workload that was taken away",
            of(SubjectKind::Workload, behind(json!([{ "at": now(), "kind": "superseded" }]))),
        ),
        ("person", of(SubjectKind::Person, standing())),
    ]
    .into();
    let wanted = [
        ("organisation", Some("sub_a")),
        ("workload", Some("sub_org")),
        ("workload of nobody", None),
        ("workload that was taken away", None),
        ("person", None),
    ];
    assert_eq!(found, wanted.map(|(name, id)| (name, id.map(str::to_owned))).into());
}
