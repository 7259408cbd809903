//! Evidence that would do, on packs small enough to work out.
//!
//! Strengths .1, .25, .5, .8, .9 of sources trusted wholly are 2 q / (1 - q) = 2/9, 2/3, 2, 8 and 18 units; r units alone give belief
//! r / (r + 2). A second document of one assessor counts half.

use super::offers::{Newness, Route, implies, routes};
use super::shapes::{Candidate, Group};
use super::target::Target;
use crate::criterion::Prepared;
use crate::definitions::{Pack, Weights, When};
use crate::evidence::interpret;
use crate::facts::{Attestation, Grade, Kind};
use crate::parties::{Role, Sheet};
use crate::policy::Criterion;
use crate::second::Second;
use serde_json::{Value, json};
use std::collections::BTreeMap;

const AT: &str = "2026-11-21T00:00:00Z";

fn now() -> Second {
    Second::parse(AT).unwrap()
}

fn when(value: &Value) -> When {
    serde_json::from_value(value.clone()).unwrap()
}

#[test]
fn a_description_implies_another_where_all_that_fits_it_fits_the_other() {
    let lists = ["kind", "document_type", "issuing_country", "nationality", "category", "basis"];
    let (a, b) = ("vouch", "review");
    for list in lists {
        let (a, b) = if list == "basis" { ("i9", "hr_record") } else { (a, b) };
        let of = |names: &[&str]| when(&json!({ list: names }));
        let (any, one, other, both) = (of(&[]), of(&[a]), of(&[b]), of(&[a, b]));
        let fits = [(&any, &any), (&one, &any), (&one, &one), (&one, &both), (&both, &any), (&both, &both)];
        let not = [(&any, &one), (&both, &one), (&other, &one), (&any, &both)];
        assert!(fits.iter().all(|(narrow, wide)| implies(narrow, wide)), "{list}");
        assert!(!not.iter().any(|(narrow, wide)| implies(narrow, wide)), "{list}");
    }
    let table = [
        // Another country than the named one: said so, or of a country that is another one.
        (json!({}), json!({ "not_issuing_country": ["USA"] }), false),
        (json!({ "not_issuing_country": ["USA"] }), json!({ "not_issuing_country": ["USA"] }), true),
        (json!({ "not_issuing_country": ["USA", "IRL"] }), json!({ "not_issuing_country": ["USA"] }), true),
        (json!({ "not_issuing_country": ["USA"] }), json!({ "not_issuing_country": ["USA", "IRL"] }), false),
        (json!({ "not_issuing_country": ["USA"] }), json!({}), true),
        (json!({ "issuing_country": ["IRL"] }), json!({ "not_issuing_country": ["USA"] }), true),
        (json!({ "issuing_country": ["USA"] }), json!({ "not_issuing_country": ["USA"] }), false),
        (json!({ "issuing_country": ["IRL", "USA"] }), json!({ "not_issuing_country": ["USA"] }), false),
        (json!({ "not_basis": ["i9"] }), json!({ "not_basis": ["i9"] }), true),
        (json!({ "not_basis": ["i9", "e_verify"] }), json!({ "not_basis": ["i9"] }), true),
        (json!({}), json!({ "not_basis": ["i9"] }), false),
        // Of the codes asked for all must be there, or one.
        (json!({ "codes": ["x", "y"] }), json!({ "codes": ["x"] }), true),
        (json!({ "codes": ["x"] }), json!({ "codes": ["x", "y"] }), false),
        (json!({ "codes": ["x"] }), json!({ "any_code": ["x", "y"] }), true),
        (json!({ "codes": ["z"] }), json!({ "any_code": ["x", "y"] }), false),
        (json!({}), json!({ "any_code": ["x"] }), false),
        // What supports has passed its check.
        (json!({}), json!({ "outcome": ["approved"] }), true),
        (json!({}), json!({ "outcome": ["declined"] }), false),
        (json!({}), json!({ "outcome": ["declined", "approved"] }), true),
    ];
    for (narrow, wide, expected) in table {
        assert_eq!(implies(&when(&narrow), &when(&wide)), expected, "{narrow} and {wide}");
    }
}

/// A pack of one frame, `f`: `shape` of `state`, with states `in` and `out`, or of `membership`.
fn pack(shape: &str, rows: &Value) -> Pack {
    let shape =
        if shape == "state" { json!({ "type": shape, "states": ["in", "out"] }) } else { json!({ "type": shape }) };
    let whole = json!({ "id": "f", "version": 1, "source": "made up", "shape": shape, "rows": rows });
    serde_json::from_value(whole).unwrap()
}

fn row(id: &str, kinds: &[&str]) -> Value {
    json!({ "id": id, "class": "c", "when": { "kind": kinds }, "proves": { "by": "states", "states": ["in"] } })
}

/// The numbers above; sources that are not `trusted` say nothing.
fn weights(trusted: &[&str]) -> Weights {
    let mut weights = serde_json::to_value(Weights::default()).unwrap();
    weights["sigma"] = json!({ "SELF": 0.1, "WEAK": 0.25, "FAIR": 0.5, "STRONG": 0.8, "SUPERIOR": 0.9 });
    weights["trust"] =
        trusted.iter().map(|source| (*source, json!({ "f": 1.0 }))).collect::<BTreeMap<_, _>>().into_iter().collect();
    weights["classes"] = json!({ "c": { "grace_secs": 86_400, "half_life_secs": 86_400 } });
    serde_json::from_value(weights).unwrap()
}

const ALL: [&str; 6] = ["registry", "document_vendor", "reviewer", "employer", "network", "subject"];

/// An approved statement: number, kind, grade, document, assessor; about `org_a` in a membership frame.
fn held(all: &[(&str, &str, &str, &str)]) -> Vec<Attestation> {
    let source = |kind: &str| match kind {
        "document_check" => "document_vendor",
        "review" => "reviewer",
        "vouch" | "directory" => "employer",
        "declaration" => "subject",
        "observation" => "network",
        _ => "registry",
    };
    let one = |(n, (kind, grade, document, assessor)): (usize, &(&str, &str, &str, &str))| {
        serde_json::from_value(json!({
            "id": format!("att_{n}"), "source": "src_a", "recorded_at": AT, "facts": {
                "kind": kind, "source_kind": source(kind), "grade": grade, "document": document, "assessor": assessor, "checked_at": AT,
                "statement": { "type": "employment", "organisation": "org_a", "employed": true },
            },
        }))
        .unwrap()
    };
    all.iter().enumerate().map(one).collect()
}

/// What a question is asked with.
struct Asked {
    pack: Pack,
    weights: Weights,
    criterion: Criterion,
    evidence: Vec<Attestation>,
}

impl Asked {
    /// A state frame, `in` being allowed, or a membership of `org_a`.
    fn of(pack: Pack, eligible_at: f64) -> Self {
        let (test, list) = if matches!(pack.shape, crate::definitions::Shape::State { .. }) {
            ("allow", "in")
        } else {
            ("any_of", "org_a")
        };
        let criterion =
            serde_json::from_value(json!({ "id": "c", "frame": "f", test: [list], "eligible_at": eligible_at }));
        Self { pack, weights: weights(&ALL), criterion: criterion.unwrap(), evidence: Vec::new() }
    }

    fn holding(mut self, all: &[(&str, &str, &str, &str)]) -> Self {
        self.evidence = held(all);
        self
    }

    fn ask<R>(&self, ask: impl FnOnce(&Prepared<'_>) -> R) -> R {
        let evidence = interpret(&self.pack, &self.weights, &self.evidence);
        let sheet = Sheet { role: Role::Subject, party: None, adverse_only: false, evidence };
        let sets = BTreeMap::new();
        ask(&Prepared::new(&self.criterion, &self.pack, &self.weights, &sets, &sheet).unwrap())
    }

    fn routes(&self) -> Vec<Route> {
        let sets = BTreeMap::new();
        let test = self.criterion.test(&sets).unwrap();
        self.ask(|prepared| {
            routes(&self.pack, &self.weights, &test, self.criterion.gate.as_ref(), &prepared.keys[0], now())
        })
    }

    fn told(&self) -> Vec<String> {
        self.routes().iter().map(ToString::to_string).collect()
    }
}

fn of_state(kinds: &[&str], eligible_at: f64) -> Asked {
    Asked::of(pack("state", &json!([row("r", kinds)])), eligible_at)
}

const EVERY: [&str; 7] = ["review", "document_check", "vouch", "directory", "registry", "observation", "declaration"];

#[test]
fn single_items_come_at_the_least_grade_that_suffices_the_least_intrusive_first() {
    // 8 units are .8: what the subject says, a directory and a vouch about a state never come to as much.
    let told = of_state(&EVERY, 0.8).told();
    assert_eq!(told, ["observation STRONG", "registry STRONG", "document_check STRONG", "review STRONG"]);
    let told = of_state(&EVERY, 0.5).told();
    let fair =
        ["observation STRONG", "registry FAIR", "directory FAIR", "vouch FAIR", "document_check FAIR", "review FAIR"];
    assert_eq!(told, fair);
    // 2/9 unit is .1; 2/3 is .25, and only papers are graded as low as that.
    assert_eq!(of_state(&EVERY, 0.1).told()[0], "declaration SELF");
    assert_eq!(
        of_state(&EVERY, 0.25).told(),
        ["observation STRONG", "registry FAIR", "directory FAIR", "vouch FAIR", "document_check WEAK", "review FAIR"]
    );
}

#[test]
fn what_could_be_of_a_document_or_a_source_that_is_held_must_be_new_or_stronger() {
    let beside = |eligible_at: f64| {
        of_state(&["document_check", "registry"], eligible_at).holding(&[("document_check", "FAIR", "d", "v")]).told()
    };
    // 8 units suffice, even if they are of the document and the vendor that are held.
    assert_eq!(beside(0.8), ["registry STRONG", "document_check STRONG"]);
    // 8.53 do not: another document of that vendor comes to 8 + 2 / 2, a register's record of the same document to 8, of another to 10.
    assert_eq!(
        beside(0.81)[..3],
        ["registry STRONG (another_document)", "document_check STRONG (another_document)", "document_check SUPERIOR"]
    );
    // 9.76 need a vendor that has not spoken; the register has not.
    assert_eq!(
        beside(0.83)[..3],
        ["registry STRONG (another_document)", "document_check STRONG (another_source)", "document_check SUPERIOR"]
    );
    // Two documents of one vendor, 2 + 2 / 2: one of them again, STRONG, makes 8 + 2 / 2 = 9 of it.
    let two = [("document_check", "FAIR", "d", "v"), ("document_check", "FAIR", "e", "v")];
    assert_eq!(of_state(&["document_check"], 0.81).holding(&two).told()[0], "document_check STRONG");
}

#[test]
fn an_organisations_new_word_takes_the_place_of_its_old_ones() {
    let member = |eligible_at: f64, all: &[(&str, &str, &str, &str)]| {
        Asked::of(pack("membership", &json!([{ "id": "r", "class": "c", "when": { "kind": ["vouch", "directory"] }, "proves": { "by": "organisation" } }])), eligible_at)
            .holding(all)
            .told()
    };
    // About who works for it an organisation may be STRONG, and there is no other one to ask.
    assert_eq!(member(0.66, &[]), ["vouch STRONG"]);
    assert_eq!(member(0.5, &[]), ["directory FAIR", "vouch FAIR"]);
    // It said 2 + 2 / 2 before; what it says now is 8 and no more, however much that were beside the old.
    let two = [("vouch", "FAIR", "d", "org_a"), ("vouch", "FAIR", "e", "org_a")];
    assert_eq!(member(0.8, &two), ["vouch STRONG"]);
    assert_eq!(member(0.81, &two), [""; 0]);
}

#[test]
fn two_items_are_offered_where_neither_suffices_and_no_less_would() {
    // 9.76 units: 8 + 2 of two vendors, or of a vendor and an organisation; 8 + 8 / 2 of one vendor.
    let told = of_state(&["document_check", "vouch"], 0.83).told();
    assert_eq!(
        told,
        [
            "document_check SUPERIOR",
            "document_check FAIR (another_document) + document_check STRONG (another_source)",
            "vouch FAIR (another_source) + document_check STRONG (another_document)",
            "document_check STRONG (another_document) + document_check FAIR (another_source)",
            "document_check STRONG (another_document) + document_check STRONG (another_document)",
        ]
    );
    // Two organisations; its own directory may be the word of the same one.
    let told = of_state(&["vouch", "directory"], 0.66).told();
    assert_eq!(told, ["vouch FAIR (another_source) + vouch FAIR (another_source)"]);
    // Reviewers are one source, and so is the subject.
    assert_eq!(of_state(&["review"], 0.85).told(), [""; 0]);
    assert_eq!(of_state(&["review", "observation"], 0.85).told(), ["observation STRONG + review STRONG"]);
}

#[test]
fn more_items_are_offered_where_two_never_suffice_up_to_eight() {
    let join = |one: &str, times: usize| vec![one; times].join(" + ");
    let register = "registry STRONG (another_source)";
    // 38 units are five times 8 at least. 63.8 are eight times, 64.7 nine.
    assert_eq!(of_state(&["registry"], 0.95).told(), [join(register, 5)]);
    assert_eq!(of_state(&["registry"], 0.9696).told(), [join(register, 8)]);
    assert_eq!(of_state(&["registry"], 0.97).told(), [""; 0]);
    // A source that is not trusted takes nobody's place.
    let mut untrusted = of_state(&["registry", "vouch"], 0.9696);
    untrusted.weights = weights(&["registry"]);
    assert_eq!(untrusted.told(), [join(register, 8)]);
    // 18 units: 8 + 2 + 8. 18.8: one more of the 2.
    let vouch = "vouch FAIR (another_source)";
    assert_eq!(of_state(&["registry", "vouch"], 0.9).told(), [format!("{register} + {vouch} + {register}")]);
    assert_eq!(
        of_state(&["registry", "vouch"], 0.904).told(),
        [format!("{register} + {vouch} + {register} + {vouch}")]
    );
    // 17.9: the subject's 2/9 comes before the second register and is not needed beside it.
    let told = of_state(&["registry", "review", "declaration"], 0.8995).told();
    assert_eq!(told, [format!("{register} + review STRONG + {register}")]);
    // Of the rows of one source the one that weighs most: with a vouch of 2 units a document is no more.
    let with_vouch = json!({ "id": "weak", "class": "c", "proves": { "by": "states", "states": ["in"] }, "all_of": [
        { "when": { "kind": ["document_check"] }, "proves": true }, { "when": { "kind": ["vouch"] } } ] });
    for rows in [json!([with_vouch, row("r", &["document_check"])]), json!([row("r", &["document_check"]), with_vouch])]
    {
        // 38 units: 18 + 18 + 2 are not needed where 18 + 18 + 18 are.
        let told = Asked::of(pack("state", &rows), 0.95).routes();
        assert_eq!(
            told.iter().map(ToString::to_string).collect::<Vec<_>>(),
            [join("document_check SUPERIOR (another_source)", 3)]
        );
        assert!(told[0].evidence.iter().all(|offer| offer.any_of.len() == 1 && offer.any_of[0].row == "r"));
    }
}

#[test]
fn a_gate_is_opened_by_one_item_of_its_kind_and_grade() {
    let mut asked =
        of_state(&["document_check", "registry", "vouch"], 0.8).holding(&[("registry", "STRONG", "d", "r")]);
    asked.criterion.gate =
        Some(serde_json::from_value(json!({ "grade": "STRONG", "from": ["document_check"] })).unwrap());
    // The register's word suffices and opens nothing: a STRONG document does, a FAIR one does not, nor another register.
    assert_eq!(asked.told(), ["document_check STRONG"]);
    asked.criterion.gate =
        Some(serde_json::from_value(json!({ "grade": "FAIR", "from": ["document_check", "vouch"] })).unwrap());
    assert_eq!(asked.told(), ["vouch FAIR", "document_check FAIR"]);
    // Two units open it: a WEAK document has 2/3.
    asked.criterion.gate =
        Some(serde_json::from_value(json!({ "grade": "WEAK", "from": ["document_check"] })).unwrap());
    assert_eq!(asked.told(), ["document_check FAIR"]);
}

#[test]
fn ways_of_one_grade_are_one_offer_and_name_what_they_prove() {
    let states = |id: &str, kinds: &[&str], states: &[&str]| {
        let mut row = row(id, kinds);
        row["proves"]["states"] = json!(states);
        row
    };
    let compound = |id: &str, proving: &[&str], other: &[&str]| {
        json!({ "id": id, "class": "c", "proves": { "by": "states", "states": ["in"] }, "all_of": [
            { "when": { "kind": proving }, "proves": true, "may_have_ended": true }, { "when": { "kind": other, "document_type": ["t"] } } ] })
    };
    let ways = |routes: &[Route]| -> Vec<String> {
        let offers = routes.iter().flat_map(|route| &route.evidence);
        offers
            .map(|offer| {
                format!(
                    "{}: {}",
                    offer.kind.as_str(),
                    offer.any_of.iter().map(|way| way.row.as_str()).collect::<Vec<_>>().join(" ")
                )
            })
            .collect()
    };
    let mut declined = row("declined", &["document_check"]);
    declined["when"]["outcome"] = json!(["declined"]);
    let mut unclassed = row("unclassed", &["document_check"]);
    unclassed["class"] = json!("none");
    let rows = json!([
        states("plain", &["document_check"], &["in"]),
        states("apart", &["document_check"], &["out"]),
        states("either", &["document_check"], &["in", "out"]),
        // As strong as its weaker part: FAIR by the organisation however good the document. At FAIR both are 2 units.
        compound("with_vouch", &["document_check"], &["vouch"]),
        compound("both", &["document_check", "registry"], &["document_check"]),
        compound("register_first", &["registry"], &["document_check"]),
        declined,
        unclassed,
        { "id": "said", "class": "c", "when": { "kind": ["review"] }, "proves": { "by": "statement" } },
    ]);
    let asked = Asked::of(pack("state", &rows), 0.5);
    let made = asked.routes();
    // A row of several facts is told as its most intrusive one, or as the one that proves where that can be no other.
    assert_eq!(ways(&made), ["registry: register_first", "document_check: plain both with_vouch", "review: said"]);
    assert!(made.iter().all(|route| route.for_one_of.iter().eq(["in"])), "{made:?}");
    let parts = &made[1].evidence[0].any_of[2].all_of;
    assert_eq!((parts.len(), parts[0].may_have_ended, parts[1].may_have_ended), (2, true, false));
    assert!(parts[1].document_type.iter().eq(["t"]) && made[1].evidence[0].any_of[0].all_of.is_empty());
    // A paper or a record with another record: told as either.
    let either = json!([compound("either", &["document_check", "registry"], &["registry"])]);
    let either = Asked::of(pack("state", &either), 0.5).routes();
    assert_eq!(ways(&either), ["registry: either", "document_check: either"]);
    // Beside another item a row of several facts is told only where there is none of one fact.
    let two = Asked::of(pack("state", &rows), 0.83).routes();
    let pair = two
        .iter()
        .find(|route| route.evidence.len() == 2 && route.evidence.iter().all(|offer| offer.kind == Kind::DocumentCheck))
        .unwrap();
    assert_eq!(ways(std::slice::from_ref(pair)), ["document_check: plain", "document_check: plain"]);
    let only =
        Asked::of(pack("state", &json!([compound("both", &["document_check"], &["document_check"])])), 0.83).routes();
    assert_eq!(ways(&only[..1]), ["document_check: both"]);
    assert_eq!(ways(&only[1..2]), ["document_check: both", "document_check: both"]);
    // Denied: whatever proves another state, and a statement of any.
    let mut denied = Asked::of(pack("state", &rows), 0.5);
    denied.criterion =
        serde_json::from_value(json!({ "id": "c", "frame": "f", "deny": ["in"], "eligible_at": 0.5 })).unwrap();
    let made = denied.routes();
    assert_eq!(ways(&made), ["document_check: apart", "review: said"]);
    assert!(made.iter().all(|route| route.for_one_of.is_empty()));
    // Of a key: that key.
    let member = Asked::of(
        pack(
            "membership",
            &json!([{ "id": "r", "class": "c", "when": { "kind": ["vouch"] }, "proves": { "by": "organisation" } }]),
        ),
        0.5,
    );
    assert!(member.routes()[0].for_one_of.iter().eq(["org_a"]));
    // What is allowed is a list of which a row names a part.
    let mut wide = Asked::of(pack("state", &json!([states("plain", &["document_check"], &["in"]), rows[8]])), 0.5);
    wide.pack.shape = serde_json::from_value(json!({ "type": "state", "states": ["in", "out", "far"] })).unwrap();
    wide.criterion =
        serde_json::from_value(json!({ "id": "c", "frame": "f", "allow": ["in", "out"], "eligible_at": 0.5 })).unwrap();
    let listed: Vec<Vec<String>> =
        wide.routes().iter().map(|route| route.for_one_of.iter().cloned().collect()).collect();
    assert_eq!(listed, [vec!["in"], vec!["in", "out"]]);
}

#[test]
fn beyond_a_thousand_ways_only_what_is_new_in_every_respect_brings_anything() {
    let group = Group { kind: Kind::Review, rows: Vec::new(), units: Vec::new() };
    let item = |from: Newness| Candidate { group: &group, grade: Grade::Strong, units: 8.0, from };
    let least = |all: &[(&str, &str, &str, &str)], items: &[Candidate<'_, '_>]| {
        let asked = of_state(&["document_check", "review"], 0.9).holding(all);
        asked.ask(|prepared| Target::new(&prepared.keys[0], None, true, now()).least(items))
    };
    let near = |found: f64, expected: f64| assert!((found - expected).abs() < 1e-9, "{found} is not {expected}");
    // One document and one reviewer held: an item is of it or new, by them or another, four ways. Five items have 4^5 = 1024:
    // at the least all of the one document, 8 units. Six have 4096, and count for nothing beside the 2 held.
    let own = [("review", "FAIR", "d", "v")];
    near(least(&own, &[item(Newness::Any); 5]), 8.0);
    near(least(&own, &[item(Newness::Any); 6]), 2.0);
    let mut seven = [item(Newness::Any); 7];
    seven[6] = item(Newness::AnotherSource);
    near(least(&own, &seven), 10.0);
    // Held of somebody else there are two ways each: seven items have 128.
    let theirs = [("document_check", "FAIR", "d", "v")];
    near(least(&theirs, &[item(Newness::Any); 7]), 8.0);
}
