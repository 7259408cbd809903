//! Rules in plain words, word by word: an owner of a rule reads these instead of the file.
#![expect(clippy::unwrap_used, reason = "a test fails where a production path must not")]

use serde_json::{Value, json};
use vouchsafe_core::definitions::{Pack, Weights};
use vouchsafe_core::facts::Attestation;
use vouchsafe_core::policy::{NamedSet, Policy};
use vouchsafe_core::rules::Library;
use vouchsafe_core::words;

/// A document check lasts by its class; the own word is never enough.
const BADGE: &str = r#"id = "badge"
version = 1
source = "made up"
shape = { type = "state", states = ["red", "blue", "green", "none"] }

[trust]
document_vendor = 0.97
subject = 0.5

[classes."badge.short"]
grace = "30d"
half_life = "100d"
[classes."badge.day"]
grace = "1d"
half_life = "1d"

[[rows]]
id = "red_badge"
class = "badge.short"
when = { kind = ["document_check"], document_type = ["red_badge"] }
proves = { by = "states", states = ["red"] }
[[rows]]
id = "blue_badge"
class = "badge.short"
when = { kind = ["document_check"], document_type = ["blue_badge"] }
proves = { by = "states", states = ["blue"] }
[[rows]]
id = "day_pass"
class = "badge.day"
when = { kind = ["document_check"], document_type = ["day_pass"] }
proves = { by = "states", states = ["red"] }
[[rows]]
id = "own_word"
class = "badge.short"
when = { kind = ["declaration", "registry"] }
proves = { by = "statement" }
"#;

const CLUB: &str = r#"id = "club"
version = 1
source = "made up"
shape = { type = "membership" }
trust = { employer = 0.5 }
[[rows]]
id = "vouched"
class = "employer_vouch"
when = { kind = ["vouch"] }
proves = { by = "organisation" }
"#;

fn library() -> Library {
    let mut library = Library { weights: Weights::default(), ..Library::default() };
    let owners =
        CLUB.replace("\"club\"", "\"owners\"").replace("membership", "shares").replace("organisation", "owners");
    for text in [BADGE, CLUB, &owners] {
        let pack = Pack::from_toml(text).unwrap();
        library.packs.insert(pack.name(), pack);
    }
    let set = json!({ "id": "listed@2026-06", "as_of": "2026-06-26", "source": "a gazette", "members": ["org_a", "org_b", "org_c"] });
    let set: NamedSet = serde_json::from_value(set).unwrap();
    library.sets.insert(set.id.clone(), set);
    library
}

fn policy(value: Value) -> Policy {
    let mut policy: Policy = serde_json::from_value(value).unwrap();
    policy.write_out_defaults();
    policy
}

fn plain() -> Value {
    json!({
        "id": "door", "title": "The door", "resources": ["door.*", "gate"], "definitions": ["badge@1", "club@1", "owners@1"],
        "max_ttl": "36h", "token_ttl": "90s", "outage_grace": "0s",
        "criteria": [{ "id": "badge", "frame": "badge", "allow": ["blue", "red"], "eligible_at": 0.85 }],
    })
}

/// STRONG by a vendor: .92 x .97 = .8924, 16.587 units, 11.333 are needed: .5495 half-lives after the grace. 30 + 54.95 days;
/// 86,400 + 47,477.8 s, less than two days, so not in second 133,878. The own word: .2 x .5 = .1. There is no trust in registers.
#[test]
fn a_policy_is_told_with_what_is_enough_and_for_how_long() {
    let text = words::policy(&policy(plain()), &library());
    let expected = "The door (policy `door`)

Governs `door.*` and `gate`.

This must hold:
- badge: `badge` must be `blue` or `red`.
  Enough by itself, where it shows one of those:
    a document check of grade STRONG or better, for 133878s: `day_pass`
    a document check of grade STRONG or better, for 84 days: `red_badge` or `blue_badge`
  Helps, and is not enough by itself: the person's own word (`own_word`).

A yes holds for at most 36h and is renewed without new evidence while the evidence carries it. A token lives 90s at most. When the database cannot be reached nobody is let in.

Never asked: one particular document where another would do; name, accent, birthplace or address.
Of the frames there are packs for, this policy never looks at `club` or `owners`.
";
    assert_eq!(text, expected);
}

/// An employer's vouch: .92 x .5 = .46 at STRONG, .98 x .5 = .49 at SUPERIOR, 1.70 and 1.92 units; 2 x .6 / .4 = 3 are needed.
#[test]
fn every_part_of_a_policy_has_its_sentence() {
    let mut value = plain();
    value["authority"] = json!({ "name": "Somebody", "citation": "Some law" });
    value["applies_in"] = json!(["GB", "IE", "US"]);
    value["outage_grace"] = json!("10m");
    value["discloses"] = json!(["status", "confidence"]);
    value["criteria"] = json!([
        {
            "id": "badge", "frame": "badge", "deny": ["none"], "eligible_at": 0.95, "strict": true, "citation": "art. 1",
            "gate": { "grade": "SUPERIOR", "from": ["registry", "document_check"] },
        },
        {
            "id": "club", "frame": "club", "any_of": "set:listed@2026-06", "eligible_at": 0.6, "of": "acting_for",
            "live": true, "when_unknown": "allow", "chain": 3,
        },
        { "id": "owned", "frame": "owners", "none_of": ["org_x", "org_y"], "aggregate": { "at": "50%", "along": "control" } },
    ]);
    value["exemptions"] = json!([{
        "id": "guests", "waives": ["badge", "club"], "citation": "art. 2",
        "criteria": [
            { "id": "no-club", "frame": "club", "none_of": ["org_z"] },
            { "id": "only-club", "frame": "club", "none_of_except": ["org_a", "org_b"], "chain": 1 },
            { "id": "hold", "frame": "owners", "none_of": ["org_x"], "aggregate": { "at": "25%", "along": "product" } },
        ],
    }]);
    let text = words::policy(&policy(value), &library());
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines[..6],
        [
            "The door (policy `door`)",
            "",
            "Governs `door.*` and `gate`.",
            "Ordered by: Somebody; Some law.",
            "May be applied in `GB`, `IE` and `US`.",
            "",
        ]
    );
    // SUPERIOR by a vendor: .98 x .97 = .9506, 38.486 units; 2 x .95 / .05 = 38 are needed: log2(38.486 / 38) = .01833
    // half-lives. 30 + 1.83 days; 86,400 + 1,583.5 s, so not in second 87,984.
    let badge = [
        "All of these must hold:",
        "- badge: `badge` must not be `none` (art. 1).",
        "  It ends with the earliest document that counts.",
        "  One proof must be SUPERIOR or better by itself: a document check or a register's record.",
        "  Enough by itself, where it shows one of those:",
        "    a document check of grade SUPERIOR or better, for 87984s: `day_pass`",
        "    a document check of grade SUPERIOR or better, for 31 days: `red_badge` or `blue_badge`",
        "  Helps, and is not enough by itself: the person's own word (`own_word`).",
    ];
    assert_eq!(lines[6..14], badge);
    let club = [
        "- club: `club` must hold for `org_a`, `org_b` or `org_c` (set `listed@2026-06`, as of 2026-06-26; source: a gazette).",
        "  It is asked of the organisation acted for.",
        "  It is judged at each request, by what the request shows, and nothing of it is stored.",
        "  While nothing material is known about it, it is left out.",
        "  It is followed along contracts, over 3 links at most.",
        "  Enough by itself:",
        "    nothing: several proofs are needed together",
        "  Helps, and is not enough by itself: an organisation's vouch (`vouched`).",
    ];
    assert_eq!(lines[14..22], club);
    let tests: Vec<&str> = lines[22..].iter().copied().filter(|line| line.starts_with(['-', 'E', 'A'])).collect();
    assert_eq!(
        tests,
        [
            "- owned: of `owners`, `org_x` and `org_y` together must hold less than 1/2 (an owner that reaches it itself counts whole along a chain).",
            "Exemption `guests` (art. 2): who meets the following need not meet `badge` and `club`; everything else above still holds:",
            "- no-club: `club` must not hold for `org_z`.",
            "- only-club: `club` must hold for nothing but `org_a` and `org_b`.",
            "- hold: of `owners`, `org_x` together must hold less than 1/4 (shares multiply along a chain of owners).",
            "A yes holds for at most 36h and is renewed without new evidence while the evidence carries it. A token lives 90s at most. When the database cannot be reached, those last seen eligible are let in for 10m more.",
        ]
    );
    assert_eq!(text.matches("It is followed along contracts").count(), 1);
    assert!(!text.contains("never looks at"), "{text}");
}

#[test]
fn every_change_is_told_once_and_nothing_else() {
    let exemption = |id: &str, waives: &[&str], eligible_at: f64| json!({ "id": id, "waives": waives, "criteria": [{ "id": "in-club", "frame": "club", "any_of": ["org_a"], "eligible_at": eligible_at }] });
    let mut old = plain();
    let mut new = plain();
    assert_eq!(words::changes(&policy(old.clone()), &policy(new.clone()), &library()), Vec::<String>::new());
    old["exemptions"] = json!([exemption("kept", &["badge"], 0.6), exemption("gone", &["badge"], 0.6)]);
    new["exemptions"] = json!([exemption("kept", &["badge", "club"], 0.7), exemption("new", &["club"], 0.6)]);
    old["criteria"][0]["material"] = json!(0.25);
    let gone = json!({ "id": "left", "frame": "club", "none_of": ["org_b"] });
    old["criteria"].as_array_mut().unwrap().push(gone);
    new["criteria"] = json!([
        {
            "id": "badge", "frame": "badge", "allow": ["red"], "eligible_at": 0.9, "material": 0.2, "ineligible_at": 0.4, "live": true,
            "when_unknown": "allow", "of": "acting_for", "chain": 2, "strict": true, "citation": "art. 9",
            "gate": { "grade": "WEAK", "from": ["vouch"] },
        },
        { "id": "club", "frame": "club", "none_of": ["org_c"] },
    ]);
    old["criteria"][0]["ineligible_at"] = json!(0.5);
    new["title"] = json!("The gate");
    new["resources"] = json!(["door.*"]);
    new["definitions"] = json!(["badge@1", "club@1"]);
    new["applies_in"] = json!(["US"]);
    new["authority"] = json!({ "name": "Somebody", "citation": "Some law" });
    new["max_ttl"] = json!("2d");
    new["token_ttl"] = json!("2m");
    new["outage_grace"] = json!("1h");
    new["discloses"] = json!(["evidence"]);
    let told = words::changes(&policy(old), &policy(new), &library());
    let expected = [
        "title: \"The gate\", was \"The door\"",
        "resources: `door.*`, was `door.*` and `gate`",
        "packs: `badge@1` and `club@1`, was `badge@1`, `club@1` and `owners@1`",
        "applies in: `US`, was nothing",
        "ordered by: Somebody; Some law, was nobody",
        "longest promise: 2d, was 36h",
        "longest token: 2m, was 90s",
        "outage grace: 1h, was 0s",
        "disclosed beside yes or no: `evidence`, was nothing",
        "criterion `left` is gone: `club` must not hold for `org_b`",
        "criterion `badge`, asks: `badge` must be `red`, was `badge` must be `blue` or `red`",
        "criterion `badge`, belief needed: 0.9, was 0.85",
        "criterion `badge`, material from: 0.2, was 0.25",
        "criterion `badge`, ineligible from: 0.4, was 0.5",
        "criterion `badge`, gate: One proof must be WEAK or better by itself: an organisation's vouch., was none",
        "criterion `badge`, while nothing is known: left out, was not met",
        "criterion `badge`, judged: at the request, was by what is stored",
        "criterion `badge`, asked of: the organisation acted for, was the subject",
        "criterion `badge`, links along contracts: 2, was 1",
        "criterion `badge`, ends: with the earliest document, was when the evidence no longer carries it",
        "criterion `badge`, citation: art. 9, was none",
        "criterion `club` is new: `club` must not hold for `org_c`",
        "exemption `gone` is gone",
        "exemption `kept` waives `badge` and `club`, was `badge`",
        "exemption `kept`, criterion `in-club`, belief needed: 0.7, was 0.6",
        "exemption `new` is new: `club` must hold for `org_a`; waives `club`",
    ];
    assert_eq!(told, expected);
}

#[test]
fn an_example_is_told_in_a_line() {
    let made = |kind: &str, source: &str, grade: &str, statement: Option<Value>| -> Attestation {
        let mut facts = json!({
            "kind": kind, "source_kind": source, "grade": grade, "document": "d", "assessor": "a", "checked_at": "2026-11-21T00:00:00Z",
        });
        if let Some(statement) = statement {
            facts["statement"] = statement;
        }
        let whole = json!({ "id": "att_a", "source": "src_a", "recorded_at": "2026-11-21T00:00:00Z", "facts": facts, "marks": [] });
        serde_json::from_value(whole).unwrap()
    };
    let plain = |kind: &str, source: &str, grade: &str| words::attestation(&made(kind, source, grade, None));
    assert_eq!(plain("review", "reviewer", "FAIR"), "a reviewer's finding of grade FAIR");
    assert_eq!(plain("directory", "employer", "WEAK"), "an organisation's directory of grade WEAK");
    assert_eq!(plain("declaration", "subject", "SELF"), "the person's own word of grade SELF");
    assert_eq!(plain("adjudication", "reviewer", "SUPERIOR"), "an adjudication of grade SUPERIOR");
    assert_eq!(plain("cross_check", "service", "STRONG"), "what this service saw by comparing of grade STRONG");
    let mut check = made("document_check", "document_vendor", "STRONG", None);
    check.facts.doubt = Some(0.25);
    check.facts.document_type = Some("passport".to_owned());
    check.facts.issuing_country = Some("IRL".to_owned());
    assert_eq!(
        words::attestation(&check),
        "a document check of grade STRONG (weighed at 0.250 by its own source), `passport` of `IRL`"
    );
    let seen = json!({ "type": "network", "country": "FRA", "anonymous": false });
    assert_eq!(
        words::attestation(&made("observation", "network", "STRONG", Some(seen))),
        "a network observation of grade STRONG, anonymous false, country FRA"
    );
    let said = json!({ "type": "states", "frame": "badge", "states": ["blue", "red"] });
    assert_eq!(
        words::attestation(&made("registry", "registry", "STRONG", Some(said))),
        "a register's record of grade STRONG, frame badge, states blue, red"
    );
}
