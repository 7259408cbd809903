//! Edges of the small parts: the last value that is taken, the first that is not, and what stands on the line itself.
#![expect(
    clippy::unwrap_used,
    clippy::float_cmp,
    reason = "a test fails where a production path must not; the figures are exact"
)]

use serde_json::json;
use std::collections::BTreeMap;
use vouchsafe_core::Second;
use vouchsafe_core::compare::{Verdict, span};
use vouchsafe_core::facts::{Attestation, Kind, MarkKind, Related, SubjectFacts, SubjectKind, merged};
use vouchsafe_core::fusion::{
    Item, Opinion, Side, Silence, SilenceCause, Status, Thresholds, combine_side, crossing, discounted, fade, r_min,
    units,
};
use vouchsafe_core::ids::{AttestationId, OrganisationId, ResourceId, ResourcePattern, SourceId, SubjectId};
use vouchsafe_core::parties::named;
use vouchsafe_core::second::DAY;
use vouchsafe_core::shares::Share;
use vouchsafe_core::timeline::{Action, ActionName, Entry, state_at};

const GOOD: Thresholds = Thresholds { eligible_at: 0.9, ineligible_at: 0.5, material: 0.25 };

#[test]
fn thresholds_lie_strictly_between_nothing_and_certainty() {
    assert!(GOOD.sound() && Thresholds { ineligible_at: 0.25, ..GOOD }.sound());
    for unsound in [
        Thresholds { material: 0.0, ..GOOD },
        Thresholds { material: 0.500_001, ..GOOD },
        Thresholds { ineligible_at: 1.0, ..GOOD },
        Thresholds { eligible_at: 0.0, ..GOOD },
        Thresholds { eligible_at: 1.0, ..GOOD },
        Thresholds { eligible_at: f64::NAN, ..GOOD },
        Thresholds { ineligible_at: f64::NAN, ..GOOD },
        Thresholds { material: f64::NAN, ..GOOD },
    ] {
        assert!(!unsound.sound(), "{unsound:?}");
    }
}

#[test]
fn a_threshold_is_reached_on_the_line() {
    // Two units alone are one half: 2 / (2 + 2). Two thirds of a unit are one quarter: (2/3) / (2/3 + 2).
    let half = Thresholds { eligible_at: 0.5, ..GOOD };
    assert_eq!(Opinion::new(2.0, 0.0).status(&half), Status::Eligible);
    assert_eq!(Opinion::new(1.999_999, 0.0).status(&half), Status::Insufficient);
    assert_eq!(Opinion::new(0.0, 2.0).status(&half), Status::Ineligible);
    assert_eq!(Opinion::new(0.0, 1.999_999).status(&half), Status::Insufficient);
    let third = 2.0 / 3.0;
    assert_eq!(Opinion::new(third, third).status(&half), Status::Review);
    assert_eq!(Opinion::new(third - 1e-9, third).status(&half), Status::Insufficient);
    assert_eq!(Opinion::new(3.0, third - 1e-9).status(&half), Status::Eligible);
    assert_eq!(Opinion::new(third - 1e-9, 4.0).status(&half), Status::Ineligible);
}

#[test]
fn strength_is_never_more_than_its_cap_nor_certainty() {
    assert_eq!(discounted(0.5, 0.5, 0.99), 0.25);
    assert_eq!(discounted(1.0, 1.0, 0.99), 0.99);
    assert_eq!(discounted(1.0, 1.0, 1.0), 0.999_999);
    assert_eq!(discounted(2.0, 0.5, 0.99), 0.5);
    assert_eq!(discounted(-1.0, 0.5, 0.99), 0.0);
    for none in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        assert_eq!(discounted(none, 0.5, 0.99), 0.0);
        assert_eq!(discounted(0.5, 0.5, none), 0.0);
    }
    assert_eq!(units(0.5), 2.0);
    assert_eq!(units(0.0), 0.0);
}

#[test]
fn fading_begins_after_the_last_second_of_grace() {
    assert_eq!((fade(9, 10, 5), fade(10, 10, 5), fade(15, 10, 5), fade(20, 10, 5)), (1.0, 1.0, 0.5, 0.25));
    assert!(fade(11, 10, 5) < 1.0);
    assert_eq!((fade(10, 10, 0), fade(11, 10, 0), fade(11, 10, -1)), (1.0, 0.0, 0.0));
    // 0.9 needs 0.9 x 2 / 0.1 = 18 units; against one adverse unit 27. Twice 18 units have 18 left after one half-life.
    assert!((r_min(0.9, 0.0) - 18.0).abs() < 1e-12 && (r_min(0.9, 1.0) - 27.0).abs() < 1e-12);
    assert!((crossing(36.0, 30, 100, 18.0) - 130.0).abs() < 1e-12);
    assert!((crossing(72.0, 30, 100, 18.0) - 230.0).abs() < 1e-12);
}

#[test]
fn documents_and_assessors_are_told_apart() {
    // One assessor: 4 + 2/2 + 1/4 of three documents. Two on one document: the better. All apart: the sum.
    let one = combine_side([("a", "x", 1.0), ("b", "x", 4.0), ("c", "x", 2.0)], 0.5);
    assert_eq!(one, 5.25);
    assert_eq!(combine_side([("a", "x", 1.0), ("a", "y", 4.0)], 0.5), 4.0);
    assert_eq!(combine_side([("a", "x", 1.0), ("b", "y", 4.0)], 0.5), 5.0);
    assert_eq!(combine_side([("a", "x", 1.0), ("b", "x", 4.0)], 7.0), 5.0);
    assert_eq!(combine_side([("a", "x", 1.0), ("b", "x", 4.0)], f64::NAN), 4.0);
    assert_eq!(combine_side(std::iter::empty(), 0.5), 0.0);
}

#[test]
fn the_first_and_the_last_second_that_can_be_written() {
    // 1900-01-01T00:00:00Z lies 25,567 days before 1970.
    assert_eq!(Second::parse("1900-01-01T00:00:00Z").unwrap().epoch(), -25_567 * DAY);
    assert!(Second::parse("1899-12-31T23:59:59Z").is_err());
    // 10000-01-01T00:00:00Z lies 2,932,897 days after 1970: 8,030 years of 365 days and 1,947 leap days.
    let last = Second::from_epoch((8_030 * 365 + 1_947) * DAY - 1);
    for (before_last, text) in [
        (0, "9999-12-31T23:59:59Z"),
        (1, "9999-12-31T23:59:58Z"),
        (86_399, "9999-12-31T00:00:00Z"),
        (93_599, "9999-12-30T22:00:00Z"),
        (93_598, "9999-12-30T22:00:01Z"),
        (172_799, "9999-12-30T00:00:00Z"),
        (172_800, "9999-12-29T23:59:59Z"),
    ] {
        assert_eq!(Second::parse(text).unwrap(), last.plus(-before_last), "{text}");
        assert_eq!(last.plus(-before_last).to_string(), text);
    }
    assert_eq!(Second::parse("9999-12-31T00:30:00+01:00").unwrap().to_string(), "9999-12-30T23:30:00Z");
    for text in ["9999-12-31T23:59:59-00:01", "9999-12-32T00:00:00Z", "9999-12-3", "10000-01-01T00:00:00Z"] {
        assert!(Second::parse(text).is_err(), "{text}");
    }
    assert_eq!(last.plus(1).to_string(), "@253402300800");
    // What ends never, ends there.
    assert_eq!(Second::start_of_date("9999-12-31").unwrap(), last.plus(-86_399));
    assert_eq!(Second::end_of_date("9999-12-30").unwrap(), last.plus(-86_399));
    assert_eq!(Second::end_of_date("9999-12-31").unwrap(), last);
    assert_eq!(Second::parse("2026-11-21T01:00:00.999+01:00").unwrap(), Second::parse("2026-11-21T00:00:00Z").unwrap());
    assert_eq!(Second::start_of_date("1970-01-02").unwrap().epoch(), DAY);
    assert_eq!(Second::end_of_date("1970-01-01").unwrap().epoch(), DAY);
    for text in ["1970-1-02", "19700102", "1970-01-020", "1970-01-02T00:00:00Z", ""] {
        assert!(Second::start_of_date(text).is_err(), "{text}");
    }
    assert_eq!(Second::from_epoch(2).millis(), 2000);
    assert_eq!((Second::from_epoch(5).plus(3).epoch(), Second::from_epoch(5).since(Second::from_epoch(7))), (8, -2));
    assert_eq!(Second::from_epoch(i64::MAX).plus(1).epoch(), i64::MAX);
    assert_eq!(Second::from_epoch(i64::MAX).to_string(), format!("@{}", i64::MAX));
}

#[test]
fn ids_are_as_long_as_they_may_be_and_no_longer() {
    let body = |n: usize| "a".repeat(n);
    assert!(SubjectId::parse(&format!("sub_{}", body(64))).is_ok());
    assert!(SubjectId::parse(&format!("sub_{}", body(65))).is_err());
    assert_eq!(SubjectId::parse("sub_a-9").unwrap().as_str(), "sub_a-9");
    assert_eq!(OrganisationId::parse("org_a").unwrap().to_string(), "org_a");
    assert_eq!(String::from(AttestationId::parse("att_a").unwrap()), "att_a");
    assert_eq!(SourceId::parse("sub_a").unwrap_err().to_string(), "expected `src_` followed by 1 to 64 of `a-z 0-9 -`");
    assert!(SubjectId::parse("sub_a_b").is_err());
    assert!(ResourceId::parse(&body(128)).is_ok() && ResourceId::parse(&body(129)).is_err());
    assert_eq!(ResourceId::parse("a-b_c.9").unwrap().as_str(), "a-b_c.9");
    assert_eq!(String::from(ResourcePattern::parse("a.*").unwrap()), "a.*");
    assert!(ResourcePattern::parse("*").is_err() && ResourcePattern::parse(".*").is_err());
    let one = ResourcePattern::parse("a.b").unwrap();
    assert!(one.covers(&ResourceId::parse("a.b").unwrap()) && !one.covers(&ResourceId::parse("a.b.c").unwrap()));
}

fn attestation(id: &str, recorded_at: i64, marks: &[(i64, &str)]) -> Attestation {
    let at = |t: i64| Second::from_epoch(t).to_string();
    let marks: Vec<_> = marks.iter().map(|(t, kind)| json!({ "at": at(*t), "kind": kind })).collect();
    let facts = json!({ "kind": "registry", "source_kind": "registry", "grade": "STRONG", "document": "d", "assessor": "a", "checked_at": at(0) });
    serde_json::from_value(
        json!({ "id": id, "source": "src_a", "recorded_at": at(recorded_at), "facts": facts, "marks": marks }),
    )
    .unwrap()
}

#[test]
fn what_is_known_includes_the_second_itself() {
    let all = vec![attestation("att_a", 10, &[(20, "revoked"), (21, "resolved")]), attestation("att_b", 11, &[])];
    let facts = SubjectFacts::person(SubjectId::parse("sub_a").unwrap(), all);
    assert_eq!(facts.known_at(Second::from_epoch(9)).attestations.len(), 0);
    assert_eq!(facts.known_at(Second::from_epoch(10)).attestations.len(), 1);
    assert_eq!(facts.known_at(Second::from_epoch(11)).attestations.len(), 2);
    let marks = |t: i64| facts.known_at(Second::from_epoch(t)).attestations.remove(0).marks.len();
    assert_eq!((marks(19), marks(20), marks(21)), (0, 1, 2));
    for kind in [SubjectKind::Person, SubjectKind::Organisation, SubjectKind::Workload] {
        assert_eq!(SubjectKind::parse(kind.as_str()), Some(kind));
    }
    assert_eq!(SubjectKind::parse("nobody"), None);
}

#[test]
fn deliveries_of_one_attestation_become_one() {
    let first = attestation("att_a", 30, &[(40, "revoked")]);
    let again = attestation("att_a", 20, &[(40, "revoked"), (35, "suspended")]);
    let one = merged(vec![first.clone(), attestation("att_0", 1, &[]), again]).unwrap();
    assert_eq!(one.iter().map(|a| a.id.as_str()).collect::<Vec<_>>(), ["att_0", "att_a"]);
    assert_eq!(one.last().unwrap().recorded_at, Second::from_epoch(20));
    let marks = &one.last().unwrap().marks;
    assert_eq!(marks.iter().map(|mark| mark.kind).collect::<Vec<_>>(), [MarkKind::Suspended, MarkKind::Revoked]);
    let (mut other_source, mut other_facts) = (first.clone(), first.clone());
    other_source.source = SourceId::parse("src_b").unwrap();
    other_facts.facts.document = "another".to_owned();
    assert!(merged(vec![first.clone(), other_source]).is_none());
    assert!(merged(vec![first, other_facts]).is_none());
}

#[test]
fn an_action_stands_from_its_second_until_it_is_lifted() {
    let freeze = || Action::Freeze(ResourcePattern::parse("a.*").unwrap());
    let lift =
        |actions: &[ActionName]| Action::Lift { directive: "d".to_owned(), actions: actions.iter().copied().collect() };
    let entry = |seq, name: &str, from, action| Entry {
        seq,
        directive: name.to_owned(),
        from: Second::from_epoch(from),
        action,
    };
    let resource = ResourceId::parse("a.b").unwrap();
    let at = |entries: &[Entry], t: i64| state_at(entries, &BTreeMap::new(), &resource, Second::from_epoch(t));
    let frozen = |entries: &[Entry], t: i64| !at(entries, t).frozen_by.is_empty();
    let lifted = [entry(1, "d", 10, freeze()), entry(2, "l", 20, lift(&[ActionName::Freeze]))];
    assert_eq!([9, 10, 19, 20].map(|t| frozen(&lifted, t)), [false, true, true, false]);
    let state = at(&lifted, 15);
    assert_eq!((state.since, state.next_change), (Some(Second::from_epoch(10)), Some(Second::from_epoch(20))));
    assert_eq!((state.directives, at(&lifted, 9).since), (vec!["d".to_owned()], None));
    // Lifted in its own second, or before it acts by a later approval: it never stands. A lift approved before it says nothing.
    assert!(!frozen(&[entry(1, "d", 10, freeze()), entry(2, "l", 10, lift(&[]))], 10));
    assert!(!frozen(&[entry(1, "d", 10, freeze()), entry(2, "l", 5, lift(&[]))], 10));
    assert!(frozen(&[entry(2, "d", 10, freeze()), entry(1, "l", 5, lift(&[]))], 10));
    assert!(!frozen(&[entry(2, "d", 10, freeze()), entry(1, "l", 11, lift(&[]))], 11));
    // Only its freeze, only of that directive, only of that family.
    assert!(frozen(&[entry(1, "d", 10, freeze()), entry(2, "l", 12, lift(&[ActionName::Activate]))], 12));
    assert!(frozen(&[entry(1, "e", 10, freeze()), entry(2, "l", 12, lift(&[]))], 12));
    let other = ResourceId::parse("b.b").unwrap();
    assert!(state_at(&lifted, &BTreeMap::new(), &other, Second::from_epoch(15)).frozen_by.is_empty());
    // Two freezes are two: the earlier is told first, and a directive once.
    let two = [entry(2, "e", 12, freeze()), entry(1, "d", 10, freeze()), entry(3, "e", 12, freeze())];
    assert_eq!(at(&two, 12).frozen_by, ["d", "e", "e"]);
    assert_eq!(at(&two, 12).directives, ["d", "e"]);
    assert!(!freeze().loosens() && lift(&[]).loosens());
}

#[test]
fn a_span_is_told_in_the_largest_unit_that_it_is_a_whole_number_of() {
    let told = [0, 59, 60, 90, 3_600, 5_400, 86_400, 129_600, 172_800].map(span);
    assert_eq!(told, ["0s", "59s", "1m", "90s", "1h", "90m", "1d", "36h", "2d"]);
}

#[test]
fn verdicts_and_kinds_have_the_names_that_are_documented() {
    let verdicts = [Verdict::Equal, Verdict::Wider, Verdict::Narrower, Verdict::Incomparable, Verdict::NotDecided];
    assert_eq!(verdicts.map(Verdict::as_str), ["equal", "wider", "narrower", "incomparable", "not decided"]);
    let kinds = [
        (Kind::DocumentCheck, "document_check"),
        (Kind::Registry, "registry"),
        (Kind::Review, "review"),
        (Kind::Vouch, "vouch"),
        (Kind::Directory, "directory"),
        (Kind::Declaration, "declaration"),
        (Kind::Observation, "observation"),
        (Kind::Adjudication, "adjudication"),
        (Kind::CrossCheck, "cross_check"),
    ];
    for (kind, name) in kinds {
        // In SQL and logs as in JSON.
        assert_eq!((kind.as_str(), serde_json::to_value(kind).unwrap()), (name, json!(name)));
    }
}

#[test]
fn shares_exceed_the_whole_only_above_it() {
    let exceed = |shares: &[&str]| {
        Share::exceed_the_whole(&shares.iter().map(|share| Share::parse(share).unwrap()).collect::<Vec<_>>())
    };
    assert!(!exceed(&[]) && !exceed(&["1/3", "1/3", "1/3"]) && !exceed(&["100%", "unknown"]));
    assert!(exceed(&["1/3", "1/3", "1/3", "0.000000001%"]) && exceed(&["60%", "unknown", "50%"]));
    assert!(!exceed(&["50%", "40%"]) && exceed(&["100%", "100%"]));
}

#[test]
fn a_family_has_a_sample_unless_it_would_be_too_long() {
    let sample = |text: &str| ResourcePattern::parse(text).unwrap().sample().map(|resource| resource.to_string());
    assert_eq!(sample("a.*").as_deref(), Some("a.any"));
    assert_eq!(sample("a.b").as_deref(), Some("a.b"));
    assert_eq!(sample(&format!("{}.*", "a".repeat(125))), None);
}

#[test]
fn employers_owners_and_those_behind_a_workload_are_named() {
    let saying = |statement: serde_json::Value| {
        let mut made = attestation("att_a", 0, &[]);
        made.facts.statement = Some(serde_json::from_value(statement).unwrap());
        named(&[made])
    };
    let found = |statement| {
        let named = saying(statement);
        let organisations: Vec<String> = named.organisations.iter().map(ToString::to_string).collect();
        let subjects: Vec<String> = named.subjects.iter().map(ToString::to_string).collect();
        (organisations.join(" "), subjects.join(" "))
    };
    let employment = json!({ "type": "employment", "organisation": "org_a", "employed": true });
    assert_eq!(found(employment), ("org_a".to_owned(), String::new()));
    let owners = json!({ "type": "owners", "owners": { "org_b": "50%", "sub_c": "25%", "Jane Doe": "25%" } });
    assert_eq!(found(owners), ("org_b".to_owned(), "sub_c".to_owned()));
    let workload = json!({ "type": "workload", "owner": "sub_o", "responsible": "sub_r" });
    assert_eq!(found(workload), (String::new(), "sub_o sub_r".to_owned()));
    let states = json!({ "type": "states", "frame": "us_status", "states": ["org_z"] });
    assert_eq!(found(states), (String::new(), String::new()));
}

#[test]
fn facts_are_written_with_the_parties_they_have_and_without_those_they_have_not() {
    let mut facts = SubjectFacts::person(SubjectId::parse("sub_a").unwrap(), Vec::new());
    assert!(facts.related.is_empty());
    assert!(serde_json::to_value(&facts).unwrap().get("related").is_none());
    facts.related = Related { acting_for: Some(SubjectId::parse("sub_b").unwrap()), ..Related::default() };
    assert!(!facts.related.is_empty());
    let written = serde_json::to_value(&facts).unwrap();
    assert_eq!(written.pointer("/related/acting_for"), Some(&json!("sub_b")));
    assert_eq!(serde_json::from_value::<SubjectFacts>(written).unwrap(), facts);
}

#[test]
fn an_item_is_silent_from_one_second_until_another() {
    let at = Second::from_epoch;
    let silence =
        |from, until: Option<i64>| Silence { from: at(from), until: until.map(at), cause: SilenceCause::Suspended };
    let item = |silences: Vec<Silence>| Item {
        side: Side::Supports,
        e0: 8.0,
        counts_from: at(5),
        fades_from: at(5),
        grace: 100,
        half_life: 100,
        ends_at: Some(at(40)),
        document: "d".to_owned(),
        assessor: "a".to_owned(),
        silences,
    };
    let some = item(vec![silence(10, Some(20)), silence(30, None)]);
    let silent = |t: i64| some.silence(at(t)).is_some();
    assert_eq!([9, 10, 19, 20, 29, 30, 99].map(silent), [false, true, true, false, false, true, true]);
    let units = |t: i64| some.units_at(at(t));
    assert_eq!([4, 5, 9, 10, 19, 20, 30].map(units), [0.0, 8.0, 8.0, 0.0, 0.0, 8.0, 0.0]);
    assert_eq!([39, 40].map(|t| item(vec![]).units_at(at(t))), [8.0, 0.0]);
}

#[test]
fn values_are_written_as_they_are_read() {
    for (text, written) in [("30%", "3/10"), ("12.5%", "1/8"), ("1/3", "1/3"), ("unknown", "unknown")] {
        assert_eq!(serde_json::to_value(Share::parse(text).unwrap()).unwrap(), json!(written));
    }
    assert_eq!(serde_json::to_value(ResourceId::parse("a.b").unwrap()).unwrap(), json!("a.b"));
    // A family does not hold its own stem.
    let family = ResourcePattern::parse("a.*").unwrap();
    let covers = |text: &str| family.covers(&ResourceId::parse(text).unwrap());
    assert!(covers("a.b") && covers("a.b.c") && !covers("a") && !covers("ab"));
}
