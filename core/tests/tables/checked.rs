//! What is refused or told of packs and policies before they act, on the line itself.

use super::made::{allowing, library, pack, policy, proves, stated, states, weights};
use serde_json::{Value, json};
use vouchsafe_core::check::{Finding, Level, lasts};
use vouchsafe_core::definitions::{Class, Pack, Weights};
use vouchsafe_core::document::Document;
use vouchsafe_core::facts::{Grade, Kind};
use vouchsafe_core::policy::Policy;
use vouchsafe_core::rules::Library;
use vouchsafe_core::words;

const DAY: i64 = 86_400;

fn told(findings: &[Finding]) -> Vec<(Level, &str)> {
    findings.iter().map(|finding| (finding.level, finding.problem.as_str())).collect()
}

fn of_pack(shape: &Value, rows: &Value, more: &Value) -> Vec<(Level, String)> {
    let pack = pack("f", shape, rows, more);
    told(&pack.findings(&library(&[]))).into_iter().map(|(level, problem)| (level, problem.to_owned())).collect()
}

#[test]
fn numbers_of_a_pack_are_taken_up_to_their_limits() {
    let of = |more: Value| {
        of_pack(
            &states(&["in", "out"]),
            &json!([{ "id": "r", "class": "f.c", "when": {}, "proves": { "by": "statement" } }]),
            &more,
        )
    };
    let class = |grace: &str, half_life: &str, max_age: &str| json!({ "classes": { "f.c": { "grace": grace, "half_life": half_life, "max_age": max_age } } });
    assert_eq!(of(class("10d", "1s", "10d")), []);
    let refused = |more: Value| {
        of(more).into_iter().map(|(level, problem)| (level == Level::Refused, problem)).collect::<Vec<_>>()
    };
    assert_eq!(
        refused(class("10d", "0s", "10d")),
        [(true, "evidence would be worth nothing after its grace".to_owned())]
    );
    assert_eq!(refused(class("10d", "1s", "9d")), [(true, "ends before `grace` does".to_owned())]);
    let trusted = |trust: f64| {
        let mut more = class("10d", "1s", "10d");
        more["trust"] = json!({ "registry": trust });
        of(more).len()
    };
    assert_eq!([0.0, 0.001, 0.999, 1.0].map(trusted), [1, 0, 0, 1]);
}

#[test]
fn a_row_of_open_states_names_one_at_least() {
    let open = json!({ "type": "open_state" });
    let of = |names: &[&str]| of_pack(&open, &json!([proves("r", &json!({}), names)]), &json!({}));
    assert_eq!(of(&["IRL"]), []);
    assert_eq!(of(&[]), [(Level::Refused, "row `r` proves no state".to_owned())]);
}

/// Problems of a policy of one criterion about frame `f` with these rows.
fn of_policy(rows: &Value, criterion: &Value) -> Vec<String> {
    let packs = [pack("f", &states(&["in", "out", "far"]), rows, &json!({}))];
    let criterion = allowing("c", criterion);
    let findings = policy(&packs, &json!([criterion]), &json!({})).findings(&library(&packs));
    told(&findings).into_iter().map(|(_, problem)| problem.to_owned()).collect()
}

#[test]
fn a_threshold_is_refused_when_the_best_of_every_source_is_below_it() {
    let by = |kind: &str| json!([stated("r", &json!({ "kind": [kind] }))]);
    let reached = |rows: &Value, eligible_at: f64| of_policy(rows, &json!({ "eligible_at": eligible_at })).is_empty();
    // What an organisation says of a state is FAIR, 2 units and one half; an address is STRONG, .8; a register SUPERIOR, .9.
    assert!(reached(&by("vouch"), 0.5) && !reached(&by("vouch"), 0.51));
    assert!(reached(&by("observation"), 0.79) && !reached(&by("observation"), 0.81));
    assert!(reached(&by("registry"), 0.89) && !reached(&by("registry"), 0.91));
    // A row that names no kind takes any; one that proves another state none.
    assert!(reached(&json!([stated("r", &json!({}))]), 0.9));
    assert!(!reached(&json!([proves("r", &json!({}), &["out"])]), 0.3));
    assert!(reached(&json!([proves("r", &json!({}), &["in"])]), 0.9));
    assert!(!reached(&json!([proves("r", &json!({}), &["in", "out", "far"])]), 0.3));
}

/// The numbers with two more classes: grace and half-life in seconds.
fn aged(short: (i64, i64), long: (i64, i64)) -> Weights {
    let mut weights = weights();
    for (name, (grace_secs, half_life_secs)) in [("short", short), ("long", long)] {
        weights.classes.insert(name.to_owned(), Class { grace_secs, half_life_secs, max_age_secs: None });
    }
    weights
}

#[test]
fn an_item_lasts_until_the_second_after_its_units_fall_below_what_is_needed() {
    let pack = pack(
        "f",
        &states(&["in", "out"]),
        &json!([stated("r", &json!({ "kind": ["document_check", "vouch"] }))]),
        &json!({}),
    );
    let of = |criterion: &Value, kind: Kind, grade: Grade| {
        let policy = policy(std::slice::from_ref(&pack), &json!([allowing("c", criterion)]), &json!({}));
        lasts(&policy.criteria[0], &pack, &weights(), &pack.rows[0], kind, grade)
    };
    let half = json!({ "eligible_at": 0.5 });
    // 2 units are one half, for ten days of grace; 8 halve twice, in twenty days more.
    assert_eq!(of(&half, Kind::DocumentCheck, Grade::Fair), Some(10 * DAY + 1));
    assert_eq!(of(&half, Kind::DocumentCheck, Grade::Strong), Some(30 * DAY + 1));
    assert_eq!(of(&half, Kind::DocumentCheck, Grade::Weak), None);
    // No organisation is STRONG about a state, and no register matches the row.
    assert_eq!(of(&half, Kind::Vouch, Grade::Fair), Some(10 * DAY + 1));
    assert_eq!(of(&half, Kind::Vouch, Grade::Strong), None);
    assert_eq!(of(&half, Kind::Registry, Grade::Strong), None);
    // A gate asks for a kind, a grade, and two units.
    let gated = |grade: &str, from: &str| json!({ "eligible_at": 0.4, "gate": { "grade": grade, "from": [from] } });
    assert_eq!(of(&gated("STRONG", "document_check"), Kind::DocumentCheck, Grade::Strong), Some(30 * DAY + 1));
    assert_eq!(
        of(&gated("STRONG", "document_check"), Kind::DocumentCheck, Grade::Superior).map(|lasts| lasts > 30 * DAY + 1),
        Some(true)
    );
    assert_eq!(of(&gated("STRONG", "document_check"), Kind::DocumentCheck, Grade::Fair), None);
    assert_eq!(of(&gated("STRONG", "vouch"), Kind::DocumentCheck, Grade::Strong), None);
}

/// What is told where `in` is proved by rows of these classes and `far` by one of `long`.
fn unequal(of_in: &[(&str, &str)], weights: Weights) -> Vec<Finding> {
    let row = |id: &str, class: &str, state: &str| json!({ "id": id, "class": class, "when": { "kind": ["document_check"] }, "proves": { "by": "states", "states": [state] } });
    let mut rows: Vec<Value> = of_in.iter().map(|(id, class)| row(id, class, "in")).collect();
    rows.push(row("z", "long", "far"));
    let packs = [pack("f", &states(&["in", "out", "far"]), &json!(rows), &json!({}))];
    let criterion = allowing("c", &json!({ "allow": ["in", "far"], "eligible_at": 0.5 }));
    let library = Library { weights, ..library(&packs) };
    policy(&packs, &json!([criterion]), &json!({})).findings(&library)
}

#[test]
fn a_status_that_must_be_proved_sooner_than_another_is_told_by_its_longest_row() {
    let ages = || aged((DAY, DAY), (2 * DAY, DAY));
    let found = unequal(&[("a", "short"), ("b", "short")], ages());
    // STRONG: 8 units halve twice: 1 + 2 and 2 + 2 days.
    let problem = "criterion `c`: whoever proves `in` by a document_check is asked again after 3 days, who proves `far` after 4 days";
    assert_eq!(told(&found), [(Level::Warning, problem)]);
    assert!(found[0].advice.as_ref().unwrap().contains("`short` (row `a`) and `long` (row `z`)"), "{found:?}");
    // A row that lasts as long is there too, wherever it stands.
    assert_eq!(unequal(&[("a", "short"), ("b", "long")], ages()), []);
    assert_eq!(unequal(&[("a", "long"), ("b", "short")], ages()), []);
    // Less than two days are told in seconds.
    let after = |seconds: i64| {
        let found = unequal(&[("a", "short")], aged((seconds - 1, 0), (9 * DAY, 0)));
        found[0].problem.split("asked again after ").nth(1).unwrap().split(',').next().unwrap().to_owned()
    };
    assert_eq!([2 * DAY - 1, 2 * DAY, 3 * DAY - 1].map(after), ["172799 s", "2 days", "2 days"]);
}

const PACK: &str = r#"id = "f"
version = 1
source = "made up"
shape = { type = "membership" }
transitions = []

[[rows]]
id = "r"
class = "employer_vouch"
when = { kind = ["vouch"] }
proves = { by = "organisation" }
"#;

/// Problem and advice of each finding on the pack with one text in place of another.
fn read_pack(from: &str, to: &str) -> Vec<String> {
    assert!(PACK.contains(from), "{from}");
    let mut document = Document::from_toml(&PACK.replacen(from, to, 1)).unwrap();
    Pack::examine(&mut document, &Library::default()).1.iter().map(ToString::to_string).collect()
}

#[test]
fn all_that_is_missing_or_of_another_form_is_told_at_once() {
    // A table that is missing, and what it would need.
    let missing = ["member `shape` is missing", "member `type` is missing"];
    assert_eq!(read_pack("shape = { type = \"membership\" }\n", ""), missing);
    assert_eq!(read_pack("source = \"made up\"", "source = 1"), ["must be a text"]);
    assert_eq!(read_pack("transitions = []", "transitions = [\"a\"]"), ["must be a tuple of size 2"]);
    assert_eq!(read_pack("when = { kind = [\"vouch\"] }", "when = 3"), ["must be a table"]);
}

#[test]
fn what_is_put_in_a_wrong_words_place_is_not_judged() {
    let text = |unknown: &str, more: &str| {
        format!(
            "id = \"p\"\ntitle = \"t\"\nresources = [\"x\"]\ndefinitions = [\"f@1\"]\n[[criteria]]\nid = \"c\"\nframe = \"f\"\n\
             none_of_except = [\"org_a\"]\nwhen_unknown = \"{unknown}\"\n{more}"
        )
    };
    let packs = [Pack::from_toml(PACK).unwrap()];
    let told = |text: &str| -> Vec<String> {
        let mut document = Document::from_toml(text).unwrap();
        Policy::examine(&mut document, &library(&packs)).1.iter().map(ToString::to_string).collect()
    };
    assert_eq!(told(&text("allow", "")), [""; 0]);
    assert_eq!(told(&text("refuse", "")).len(), 1);
    assert_eq!(told(&text("zzz", "")), ["`zzz` is not known here: choose from `refuse`, `allow`"]);
    assert_eq!(told(&text("allow", "chain = \"two\"")), ["must be a whole number"]);
}

#[test]
fn one_of_those_states_is_said_only_of_rows_that_prove_fixed_states() {
    let words = |rows: Value| {
        let packs = [pack("f", &states(&["in", "out"]), &rows, &json!({}))];
        words::policy(&policy(&packs, &json!([allowing("c", &json!({}))]), &json!({})), &library(&packs))
    };
    let fixed = "  Enough by itself, where it shows one of those:\n";
    assert!(words(json!([proves("r", &json!({}), &["in"])])).contains(fixed));
    let stated = words(json!([stated("r", &json!({}))]));
    assert!(stated.contains("  Enough by itself:\n") && !stated.contains(fixed), "{stated}");
}
