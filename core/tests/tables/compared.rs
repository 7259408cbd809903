//! Two policies compared: what proves nothing, what is told of it, and packs of two versions.

use super::made::{allowing, library, membership, pack, plain, policy, proves, stated, states};
use serde_json::{Value, json};
use vouchsafe_core::compare::{Comparison, Verdict, compare};
use vouchsafe_core::definitions::Pack;
use vouchsafe_core::facts::Statement;

fn compared(packs: &[Pack], old: &Value, new: &Value) -> Comparison {
    compare(&policy(packs, old, &json!({})), &policy(packs, new, &json!({})), &library(packs)).unwrap()
}

fn with(criterion: &Value, member: &str, value: Value) -> Value {
    let mut changed = criterion.clone();
    changed[member] = value;
    changed
}

#[test]
fn names_and_citations_move_nobody_and_whom_it_asks_about_does() {
    let base = allowing("c", &json!({}));
    let verdict = |new: Value| compared(&[plain()], &json!([base]), &json!([new])).verdict;
    assert_eq!(verdict(with(&base, "id", json!("d"))), Verdict::Equal);
    assert_eq!(verdict(with(&base, "citation", json!("another law"))), Verdict::Equal);
    let member = json!({ "id": "c", "frame": "m", "any_of": ["org_a"], "eligible_at": 0.79 });
    for (base, member, value) in
        [(&base, "of", json!("acting_for")), (&member, "chain", json!(2)), (&base, "live", json!(true))]
    {
        let found =
            compared(&[plain(), super::made::membership()], &json!([base]), &json!([with(base, member, value)]));
        assert!(!matches!(found.verdict, Verdict::Equal | Verdict::Wider), "{member}: {:?}", found.verdict);
    }
    // Alike but for the frame.
    let other = pack("g", &states(&["in", "out", "far"]), &json!([stated("r", &json!({}))]), &json!({}));
    let found = compared(&[plain(), other], &json!([base]), &json!([with(&base, "frame", json!("g"))]));
    assert_eq!(found.verdict, Verdict::Incomparable);
    // Behind an owner who is no longer listed others are looked for: only the same list is compared.
    let rows = json!([{ "id": "r", "class": "c", "when": {}, "proves": { "by": "owners" } }]);
    let shares = pack("s", &json!({ "type": "shares" }), &rows, &json!({}));
    let listed =
        json!({ "id": "c", "frame": "s", "none_of": ["x", "y"], "aggregate": { "at": "50%", "along": "product" } });
    let of_owners = |new: &Value| compared(std::slice::from_ref(&shares), &json!([listed]), &json!([new])).verdict;
    assert_eq!(of_owners(&with(&listed, "citation", json!("x"))), Verdict::Equal);
    assert!(!matches!(of_owners(&with(&listed, "none_of", json!(["x"]))), Verdict::Equal | Verdict::Wider));
}

#[test]
fn somebody_is_shown_or_it_is_said_that_perhaps_nobody_is() {
    let none = json!({});
    // A state that nobody can prove adds nobody.
    let rows = json!([proves("r", &none, &["in"]), proves("s", &none, &["out"])]);
    let narrow = || pack("f", &states(&["in", "out", "far"]), &rows, &none);
    let (only, more) = (json!([allowing("c", &none)]), json!([allowing("c", &json!({ "allow": ["in", "far"] }))]));
    let wider = compared(&[narrow()], &only, &more);
    assert_eq!(
        (wider.verdict, wider.gains.is_some(), wider.open.as_slice()),
        (Verdict::Wider, false, ["nobody was found who gains: perhaps nobody does".to_owned()].as_slice())
    );
    let narrower = compared(&[narrow()], &more, &only);
    assert_eq!(
        (narrower.verdict, narrower.open.as_slice()),
        (Verdict::Narrower, ["nobody was found who loses: perhaps nobody does".to_owned()].as_slice())
    );
    let more = json!([allowing("c", &json!({ "allow": ["in", "out"] }))]);
    let wider = compared(&[narrow()], &only, &more);
    assert_eq!((wider.verdict, wider.gains.is_some(), wider.open.len()), (Verdict::Wider, true, 0));
    let narrower = compared(&[narrow()], &more, &only);
    assert_eq!((narrower.verdict, narrower.loses.is_some(), narrower.open.len()), (Verdict::Narrower, true, 0));
}

#[test]
fn an_example_is_made_of_what_a_row_takes_and_says_what_such_a_source_says() {
    let none = json!({});
    let gains = |packs: &[Pack], old: &Value, new: &Value| {
        compared(packs, old, new).gains.unwrap().attestations.remove(0).facts
    };
    let (only, more) = (json!([allowing("c", &none)]), json!([allowing("c", &json!({ "allow": ["in", "far"] }))]));
    for when in
        [json!({ "category": ["A05"] }), json!({ "nationality": ["IRL"] }), json!({ "not_issuing_country": ["USA"] })]
    {
        let rows = json!([proves("r", &none, &["in"]), proves("s", &when, &["far"])]);
        let facts = gains(&[pack("f", &states(&["in", "out", "far"]), &rows, &none)], &only, &more);
        assert_eq!(facts.issuing_country.is_some(), when.get("not_issuing_country").is_some(), "{when}");
    }
    // Whom only the gate keeps out is FAIR: it asks for STRONG, and one half is enough.
    let half = json!({ "eligible_at": 0.49 });
    let mut gated = allowing("c", &half);
    gated["gate"] =
        json!({ "grade": "STRONG", "from": ["registry", "document_check", "review", "vouch", "observation"] });
    let facts = gains(&[plain()], &json!([gated]), &json!([allowing("c", &half)]));
    assert!(facts.grade < vouchsafe_core::facts::Grade::Strong, "{facts:?}");
    // The subject declares its nationalities, they are not read off anything.
    let mut declared = membership();
    declared.rows[0].proves = serde_json::from_value(json!({ "by": "nationalities" })).unwrap();
    declared.rows[0].when = serde_json::from_value(json!({ "kind": ["declaration"] })).unwrap();
    let any = |of: &[&str]| json!([{ "id": "c", "frame": "m", "any_of": of, "eligible_at": 0.09 }]);
    let facts = gains(&[declared], &any(&["USA"]), &any(&["USA", "IRL"]));
    assert!(matches!(facts.statement, Some(Statement::Nationalities { .. })), "{facts:?}");
}

/// Frame `f` in two versions; the criteria name it, a policy of each.
fn versions(first: &Value, second: &Value) -> [Comparison; 2] {
    let made = |version: u32, more: &Value| {
        let rows = json!([{ "id": "r", "class": "f.c", "when": {}, "proves": { "by": "statement" } }]);
        let mut whole = json!({ "classes": { "f.c": { "grace": "10d", "half_life": "10d" } }, "version": version });
        whole.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        pack("f", &states(&["in", "out", "far"]), &rows, &whole)
    };
    let packs = [made(1, first), made(2, second)];
    let library = library(&packs);
    let of = |pack: &Pack| policy(std::slice::from_ref(pack), &json!([allowing("c", &json!({}))]), &json!({}));
    let (old, new) = (of(&packs[0]), of(&packs[1]));
    [compare(&old, &new, &library).unwrap(), compare(&new, &old, &library).unwrap()]
}

#[test]
fn packs_that_age_evidence_more_slowly_or_forgive_more_are_wider() {
    let class =
        |grace: &str, half_life: &str| json!({ "classes": { "f.c": { "grace": grace, "half_life": half_life } } });
    let change = |from: &str, to: &str| json!({ "transitions": [[from, to]] });
    let vouches = |basis: &[&str]| json!({ "vouches": { "adverse_basis": basis } });
    let both = |a: Value, b: Value| {
        let mut a = a;
        a.as_object_mut().unwrap().extend(b.as_object().unwrap().clone());
        a
    };
    let wider = [
        (class("10d", "10d"), class("20d", "10d")),
        (class("10d", "10d"), class("10d", "20d")),
        (json!({}), change("out", "in")),
        (vouches(&["hr_record", "i9"]), vouches(&["i9"])),
        (both(class("10d", "10d"), vouches(&["i9"])), both(class("11d", "11d"), change("out", "in"))),
    ];
    for (first, second) in wider {
        let found = versions(&first, &second);
        assert_eq!(found.map(|found| found.verdict), [Verdict::Wider, Verdict::Narrower], "{first} {second}");
    }
    // 60 days after its check a SUPERIOR item has its 18 units under a grace of 70 days, and 18 x 2^-1.5 = 6.4 under one of 45: 7.5
    // are needed.
    let [forth, back] = versions(&class("45d", "10d"), &class("70d", "10d"));
    assert_eq!((forth.verdict, forth.gains.is_some()), (Verdict::Wider, true));
    assert_eq!((back.verdict, back.loses.is_some()), (Verdict::Narrower, true));
    // One number each way, or a change forgiven and another basis taken.
    let apart = [
        (class("10d", "20d"), class("20d", "10d")),
        (change("far", "in"), change("out", "in")),
        (vouches(&["hr_record"]), vouches(&["i9"])),
        (both(class("20d", "10d"), json!({})), both(class("10d", "10d"), change("out", "in"))),
        (vouches(&["i9"]), both(change("out", "in"), vouches(&["i9", "hr_record"]))),
        (both(class("10d", "10d"), vouches(&[])), both(class("20d", "10d"), vouches(&["i9"]))),
    ];
    for (first, second) in apart {
        for found in versions(&first, &second) {
            assert!(
                matches!(found.verdict, Verdict::NotDecided | Verdict::Incomparable),
                "{first} {second}: {:?}",
                found.verdict
            );
        }
    }
}

#[test]
fn where_only_one_side_is_shown_nothing_is_claimed_and_the_numbers_are_told() {
    let trust = |trust: f64| json!({ "trust": { "registry": trust, "document_vendor": 0.9 } });
    // Belief .95 and .5 of the best register: only the first suffices.
    let [forth, back] = versions(&trust(0.99), &trust(0.5));
    assert_eq!((forth.verdict, forth.gains.is_some(), forth.loses.is_some()), (Verdict::NotDecided, false, true));
    assert_eq!((back.verdict, back.gains.is_some(), back.loses.is_some()), (Verdict::NotDecided, true, false));
    assert!(forth.open.contains(&"numbers `trust` of frame `f` differ".to_owned()), "{:?}", forth.open);
    let two = |of: &[(&str, f64)]| -> Value {
        of.iter()
            .map(|(id, at)| {
                allowing(id, &json!({ "eligible_at": at, "of": if *id == "c" { "subject" } else { "acting_for" } }))
            })
            .collect()
    };
    let mut new = two(&[("c", 0.85), ("d", 0.5)]);
    new[0]["gate"] = json!({ "grade": "STRONG", "from": ["registry"] });
    let found = compared(&[plain()], &two(&[("c", 0.8), ("d", 0.6)]), &new);
    assert_eq!(found.verdict, Verdict::NotDecided);
    let told = [
        "`eligible_at` of criterion `c` is 0.85, was 0.8",
        "`eligible_at` of criterion `d` is 0.5, was 0.6",
        "`gate` of criterion `c` differs",
    ];
    assert_eq!(found.open, told);
}

#[test]
fn a_hundred_thousand_pairs_of_criteria_are_compared_and_no_more() {
    let many = |stored: usize, live: usize| -> Value {
        let of = |n: usize| allowing(&format!("c{n}"), &json!({ "live": n >= stored }));
        (0..stored + live).map(of).collect()
    };
    // A branch counts one and its criteria: 250 times 400.
    let most = compared(&[plain()], &many(199, 50), &many(300, 99));
    assert_eq!((most.verdict, most.open.len()), (Verdict::Equal, 0));
    let more = compared(&[plain()], &many(200, 50), &many(300, 99));
    assert_eq!(
        (more.verdict, more.open.as_slice()),
        (Verdict::NotDecided, ["more criteria and exemptions than are compared".to_owned()].as_slice())
    );
    assert_eq!(compared(&[membership()], &json!([]), &json!([])).verdict, Verdict::Equal);
}
