//! What is told beside a decision: other resources, scheduled changes, checks to try again; and when nothing helps.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails where a production path must not")]

#[path = "support/people.rs"]
mod people;
mod support;

use people::{evidence, instant, second, subject};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use serde_json::json;
use vouchsafe_core::explain::{StepAction, alternatives, of_one_family, retries, upcoming};
use vouchsafe_core::facts::{Attestation, Mark, MarkKind, SubjectFacts};
use vouchsafe_core::ids::{ResourceId, ResourcePattern};
use vouchsafe_core::rules::Rules;
use vouchsafe_core::second::DAY;
use vouchsafe_core::timeline::{Action, ActionName, Entry};
use vouchsafe_core::{Decision, Second, Status, decide};

/// Activations and freezes, from these days on.
fn timeline(orders: &[(i64, &str, Action)]) -> Vec<Entry> {
    let entry = |(index, (day, directive, action)): (usize, &(i64, &str, Action))| Entry {
        seq: i64::try_from(index).unwrap(),
        directive: (*directive).to_owned(),
        from: second(day * DAY),
        action: action.clone(),
    };
    orders.iter().enumerate().map(entry).collect()
}

fn activate(policy: &str) -> Action {
    Action::Activate { policy: policy.to_owned(), version: 1 }
}

fn resource(id: &str) -> ResourceId {
    ResourceId::parse(id).unwrap()
}

fn rules(timeline: &[Entry], id: &str, at: Second) -> Rules {
    Rules::compile(&support::library(), timeline, &resource(id), at).unwrap()
}

fn attestation(id: &str, facts: serde_json::Value) -> Attestation {
    let at = facts.get("checked_at").unwrap().clone();
    let full = json!({ "id": format!("att_{id}"), "source": "src_any", "recorded_at": at, "facts": facts });
    serde_json::from_value(full).unwrap()
}

fn passport(id: &str, outcome: &str, at: Second) -> Attestation {
    attestation(
        id,
        json!({ "kind": "document_check", "source_kind": "document_vendor", "grade": "STRONG", "outcome": outcome,
            "document_type": "passport", "issuing_country": "USA", "codes": ["face_match"], "document": format!("doc-{id}"),
            "assessor": "vendor", "checked_at": at }),
    )
}

fn actions(decision: &Decision) -> Vec<StepAction> {
    decision.next_steps.iter().map(|step| step.action).collect()
}

#[test]
fn a_frozen_resource_is_final_until_other_rules_are_approved() {
    let freeze = Action::Freeze(ResourcePattern::parse("restricted.*").unwrap());
    let orders = [(0, "start", activate("ear_us_person")), (10, "friday", freeze)];
    let held = subject(vec![passport("a", "approved", second(0))]);
    let frozen = decide(&rules(&timeline(&orders), "restricted.api", second(20 * DAY)), &held, second(20 * DAY));
    assert_eq!((frozen.status, actions(&frozen)), (Status::Ineligible, vec![StepAction::Final]));

    let lift = Action::Lift { directive: "friday".to_owned(), actions: [ActionName::Freeze].into() };
    let lifted: Vec<_> = orders.into_iter().chain([(30, "monday", lift)]).collect();
    let waits = decide(&rules(&timeline(&lifted), "restricted.api", second(20 * DAY)), &held, second(20 * DAY));
    assert_eq!(actions(&waits), [StepAction::Wait]);
    assert_eq!(waits.next_steps.first().unwrap().at, Some(second(30 * DAY)));
}

#[test]
fn what_is_scheduled_is_foretold_with_the_status_then() {
    let freeze = Action::Freeze(ResourcePattern::parse("restricted.*").unwrap());
    let lift = Action::Lift { directive: "friday".to_owned(), actions: [ActionName::Freeze].into() };
    let orders = timeline(&[
        (0, "start", activate("ear_us_person")),
        (10, "friday", freeze),
        (24, "monday", lift),
        (40, "narrower", activate("ear_us_person")),
    ]);
    let held = subject(vec![passport("a", "approved", second(0))]);
    let now = second(5 * DAY);
    let today = rules(&orders, "restricted.api", now);
    let decision = decide(&today, &held, now);
    assert_eq!(decision.status, Status::Eligible);
    let library = support::library();
    let then = |at| Rules::compile(&library, &orders, &resource("restricted.api"), at).ok();
    let told = upcoming(&today, then, &held, decision.status);
    // Frozen on day 10, open again on day 24; the activation of day 40 changes nothing for her.
    let seen: Vec<_> = told.iter().map(|change| (change.at, change.status)).collect();
    assert_eq!(seen, [(second(10 * DAY), Status::Ineligible), (second(24 * DAY), Status::Eligible)]);
    assert_eq!(told.first().unwrap().directives, ["friday"]);
    assert!(upcoming(&rules(&orders, "restricted.api", second(50 * DAY)), then, &held, Status::Eligible).is_empty());
}

#[test]
fn alternatives_are_of_the_family_and_open_to_her_now() {
    let freeze = Action::Freeze(ResourcePattern::parse("restricted.api").unwrap());
    let orders = timeline(&[(0, "start", activate("ear_us_person")), (10, "friday", freeze)]);
    let now = second(20 * DAY);
    let others = ["restricted.api", "restricted.chat", "restricted.weights"].map(|id| rules(&orders, id, now));
    let held = subject(vec![passport("a", "approved", second(0))]);
    let open: Vec<String> = alternatives(&others, &held, now).iter().map(|other| other.resource.to_string()).collect();
    assert_eq!(open, ["restricted.chat", "restricted.weights"]);
    assert!(alternatives(&others, &subject(Vec::new()), now).is_empty());

    let family = |a: &str, b: &str| of_one_family(&resource(a), &resource(b));
    assert!(family("restricted.api", "restricted.chat") && family("a.b.c", "a.b.d"));
    assert!(
        !family("restricted.api", "restricted.api")
            && !family("restricted.api", "regional.api")
            && !family("api", "chat")
    );
    assert!(!family("a.b.c", "a.c.c"));
}

#[test]
fn a_check_without_a_finding_may_be_tried_again_until_something_follows_it() {
    let now = second(20 * DAY);
    let orders = timeline(&[(0, "start", activate("ear_us_person"))]);
    let rules = rules(&orders, "restricted.api", now);
    let told = |held: Vec<Attestation>| {
        let facts = subject(held);
        let decision = decide(&rules, &facts, now);
        retries(&rules, &facts, &decision, now).iter().map(|step| step.action).collect::<Vec<_>>()
    };
    let blurred = || passport("a", "resubmit", second(DAY));
    assert_eq!(told(vec![blurred()]), [StepAction::Retry]);
    assert_eq!(told(vec![passport("a", "error", second(DAY))]), [StepAction::Retry]);
    // Still under way, declined, taken back, or followed by a result: nothing to try again.
    assert!(told(vec![passport("a", "pending", second(DAY))]).is_empty());
    assert!(told(vec![passport("a", "document_expired", second(DAY))]).is_empty());
    let mut superseded = blurred();
    superseded.marks.push(Mark { at: second(2 * DAY), kind: MarkKind::Superseded, from_start: false });
    assert!(told(vec![superseded]).is_empty());
    assert!(told(vec![blurred(), passport("b", "approved", second(2 * DAY))]).is_empty());
    assert_eq!(told(vec![passport("b", "document_expired", second(0)), blurred()]), [StepAction::Retry]);
    assert!(told(Vec::new()).is_empty());
}

/// Everything the shipped policies could ask for, twice, from registers that nobody has heard. Undated, so that it overtakes nothing.
fn heap(at: Second) -> Vec<Attestation> {
    let said = |frame: &str, state: &str| json!({ "type": "states", "frame": frame, "states": [state] });
    let statements = [
        said("us_status", "citizen"),
        said("identity", "proofed"),
        json!({ "type": "employment", "organisation": "org_meridian", "employed": true }),
    ];
    let registers = ["one", "two"];
    let each =
        registers.iter().flat_map(|register| statements.iter().enumerate().map(move |(n, said)| (register, n, said)));
    each.map(|(register, n, said)| {
        attestation(
            &format!("heap{register}{n}"),
            json!({ "kind": "registry", "source_kind": "registry", "grade": "STRONG", "statement": said,
                "document": format!("heap-{register}-{n}"), "assessor": format!("heap-{register}"), "checked_at": at }),
        )
    })
    .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, rng_seed: RngSeed::Fixed(20_261_121), ..ProptestConfig::default() })]

    #[test]
    fn where_nothing_is_offered_no_heap_of_evidence_helps(all in evidence(), index in 0usize..5, at in instant()) {
        let policies = [
            ("ear_us_person", "restricted.api"), ("restricted-us-persons", "restricted.api"), ("us_nationals_only", "nationals.api"),
            ("citizen_or_lpr", "residents.api"), ("sole_us_nationality", "sole.api"),
        ];
        let (policy, id) = policies.get(index).copied().unwrap();
        let rules = rules(&timeline(&[(-400, "start", activate(policy))]), id, second(0));
        let known: SubjectFacts = subject(all).known_at(at);
        let before = decide(&rules, &known, at);
        let mut more = known;
        more.attestations.extend(heap(before.at));
        let after = decide(&rules, &more, before.at);
        let offered = actions(&before).contains(&StepAction::Provide);
        if before.status != Status::Eligible {
            prop_assert!(!before.next_steps.is_empty());
            prop_assert_eq!(offered, after.status == Status::Eligible, "{:?} to {:?}", before.next_steps, after.status);
        } else {
            prop_assert!(before.next_steps.is_empty());
        }
    }
}
