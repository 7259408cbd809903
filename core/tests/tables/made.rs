//! Packs, people and rules with figures that can be worked out in the head.
//!
//! Strengths .1, .25, .5, .8, .9 of sources trusted wholly are 2 q / (1 - q) = 2/9, 2/3, 2, 8 and 18 units; r units alone give belief
//! r / (r + 2). Evidence stays whole for 10 days and then halves every 10 days.

use serde_json::{Value, json};
use std::collections::BTreeMap;
use vouchsafe_core::definitions::{Pack, Weights};
use vouchsafe_core::facts::{Attestation, SubjectFacts};
use vouchsafe_core::ids::{ResourceId, SubjectId};
use vouchsafe_core::policy::Policy;
use vouchsafe_core::rules::{Library, Rules};
use vouchsafe_core::{Decision, Second, decide};

/// Whatever says nothing else was checked and received on 20 November 2026, and is asked about a day later.
pub(crate) const CHECKED: &str = "2026-11-20T00:00:00Z";
pub(crate) const AT: &str = "2026-11-21T00:00:00Z";

pub(crate) fn at(text: &str) -> Second {
    Second::parse(text).unwrap()
}

pub(crate) fn sub(name: &str) -> SubjectId {
    SubjectId::parse(&format!("sub_{name}")).unwrap()
}

fn merge(into: &mut Value, more: &Value) {
    into.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
}

/// The source that normally makes statements of a kind.
fn source(kind: &str) -> &'static str {
    match kind {
        "document_check" => "document_vendor",
        "review" => "reviewer",
        "vouch" | "directory" => "employer",
        "declaration" => "subject",
        "observation" => "network",
        "cross_check" => "service",
        _ => "registry",
    }
}

/// A statement of its own document and assessor, STRONG unless `more` says otherwise; there also its `marks` and `recorded_at`.
pub(crate) fn says(id: &str, kind: &str, more: &Value) -> Attestation {
    let mut facts = json!({
        "kind": kind, "source_kind": source(kind), "grade": "STRONG", "document": format!("doc-{id}"), "assessor": format!("by-{id}"),
        "checked_at": CHECKED,
    });
    merge(&mut facts, more);
    let members = facts.as_object_mut().unwrap();
    let marks = members.remove("marks").unwrap_or(json!([]));
    let recorded = members.remove("recorded_at").unwrap_or(members["checked_at"].clone());
    let whole = json!({ "id": format!("att_{id}"), "source": "src_a", "recorded_at": recorded, "facts": facts, "marks": marks });
    serde_json::from_value(whole).unwrap()
}

/// That one of these states of frame `f` holds.
pub(crate) fn state(id: &str, kind: &str, states: &[&str], more: &Value) -> Attestation {
    let mut whole = json!({ "statement": { "type": "states", "frame": "f", "states": states } });
    merge(&mut whole, more);
    says(id, kind, &whole)
}

/// That the subject works for the organisation, or does not; by that organisation.
pub(crate) fn works(id: &str, organisation: &str, employed: bool, more: &Value) -> Attestation {
    let statement = json!({ "type": "employment", "organisation": organisation, "employed": employed });
    let mut whole = json!({ "statement": statement, "assessor": organisation });
    merge(&mut whole, more);
    says(id, "vouch", &whole)
}

/// A pack of the frame `id`.
pub(crate) fn pack(id: &str, shape: &Value, rows: &Value, more: &Value) -> Pack {
    let mut whole = json!({ "id": id, "version": 1, "source": "made up", "shape": shape, "rows": rows });
    merge(&mut whole, more);
    serde_json::from_value(whole).unwrap()
}

/// A row that takes one fact and proves what it states.
pub(crate) fn stated(id: &str, when: &Value) -> Value {
    json!({ "id": id, "class": "c", "when": when, "proves": { "by": "statement" } })
}

/// A row that takes one fact and proves these states.
pub(crate) fn proves(id: &str, when: &Value, states: &[&str]) -> Value {
    json!({ "id": id, "class": "c", "when": when, "proves": { "by": "states", "states": states } })
}

pub(crate) fn states(names: &[&str]) -> Value {
    json!({ "type": "state", "states": names })
}

/// Frame `f` of the states `in`, `out` and `far`, of which anybody may speak.
pub(crate) fn plain() -> Pack {
    pack(
        "f",
        &states(&["in", "out", "far"]),
        &json!([stated("r", &json!({}))]),
        &json!({ "vouches": { "adverse_basis": ["hr_record"] } }),
    )
}

/// Frame `m` of memberships, of which anybody may speak.
pub(crate) fn membership() -> Pack {
    let rows = json!([{ "id": "r", "class": "c", "when": {}, "proves": { "by": "organisation" } }]);
    pack("m", &json!({ "type": "membership" }), &rows, &json!({}))
}

/// The numbers above, every source being trusted wholly in every frame.
pub(crate) fn weights() -> Weights {
    let mut weights = serde_json::to_value(Weights::default()).unwrap();
    weights["sigma"] = json!({ "SELF": 0.1, "WEAK": 0.25, "FAIR": 0.5, "STRONG": 0.8, "SUPERIOR": 0.9 });
    let frames = json!({ "f": 1.0, "g": 1.0, "m": 1.0, "o": 1.0, "s": 1.0 });
    let sources = ["registry", "document_vendor", "reviewer", "employer", "network", "subject", "service"];
    weights["trust"] = Value::Object(sources.iter().map(|source| ((*source).to_owned(), frames.clone())).collect());
    weights["classes"] = json!({ "c": { "grace_secs": 864_000, "half_life_secs": 864_000 } });
    serde_json::from_value(weights).unwrap()
}

pub(crate) fn library(packs: &[Pack]) -> Library {
    let packs = packs.iter().map(|pack| (pack.name(), pack.clone())).collect();
    Library { weights: weights(), packs, sets: BTreeMap::new(), policies: BTreeMap::new() }
}

/// A policy with these criteria over these packs, and `more` members.
pub(crate) fn policy(packs: &[Pack], criteria: &Value, more: &Value) -> Policy {
    let names: Vec<String> = packs.iter().map(Pack::name).collect();
    let mut whole =
        json!({ "id": "own", "title": "t", "resources": ["own.x"], "definitions": names, "criteria": criteria });
    merge(&mut whole, more);
    let mut policy: Policy = serde_json::from_value(whole).unwrap();
    policy.write_out_defaults();
    policy
}

/// Rules of one such policy, in force since 2020.
pub(crate) fn rules(packs: &[Pack], criteria: &Value, more: &Value) -> Rules {
    let policy = policy(packs, criteria, more);
    let resource = ResourceId::parse("own.x").unwrap();
    Rules::of(&library(packs), &policy, resource, at("2020-01-01T00:00:00Z")).unwrap()
}

/// Rules of one criterion about frame `f`, `in` being allowed unless `more` says otherwise.
pub(crate) fn allows(more: &Value) -> Rules {
    rules(&[plain()], &json!([allowing("c", more)]), &json!({}))
}

/// A criterion about frame `f`, `in` being allowed at .8, that is at 8 units.
pub(crate) fn allowing(id: &str, more: &Value) -> Value {
    let mut criterion = json!({ "id": id, "frame": "f", "allow": ["in"], "eligible_at": 0.79 });
    merge(&mut criterion, more);
    criterion
}

pub(crate) fn person(all: Vec<Attestation>) -> SubjectFacts {
    SubjectFacts::person(sub("a"), all)
}

pub(crate) fn decided(rules: &Rules, all: Vec<Attestation>) -> Decision {
    decide(rules, &person(all), at(AT))
}
