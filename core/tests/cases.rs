//! The corpus of cases in `fixtures/cases`: people, evidence, and the decision that arithmetic says they must get.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a case that cannot be read fails the test"
)]

mod support;

use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use vouchsafe_core::facts::{Attestation, Party, SubjectFacts, SubjectKind};
use vouchsafe_core::ids::{OrganisationId, ResourceId, SubjectId};
use vouchsafe_core::policy::Policy;
use vouchsafe_core::rules::Rules;
use vouchsafe_core::timeline::{Action, Entry};
use vouchsafe_core::{Decision, Second, check_live, decide};

/// One case file. Facts that a case leaves out get the defaults of [`attestation`].
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    /// One line.
    title: String,
    /// A file in `fixtures/policies`.
    policy: Option<String>,
    /// Policies of the case's own, version 1.
    #[serde(default)]
    policies: Vec<Value>,
    /// The resource asked for.
    resource: String,
    /// The instant, unless a check names its own.
    at: Option<Second>,
    /// What the subject is; a person unless said.
    #[serde(default)]
    kind: SubjectKind,
    /// The organisation acted for.
    acting_for: Option<SubjectId>,
    #[serde(default)]
    attestations: Vec<Map<String, Value>>,
    /// The other parties of the question.
    #[serde(default)]
    parties: Vec<CaseParty>,
    /// Absent: the policy has been in force since 2026-06-01.
    timeline: Option<Vec<Order>>,
    expect: Vec<Expect>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseParty {
    id: SubjectId,
    kind: SubjectKind,
    /// The name under which it is registered as an organisation.
    organisation: Option<OrganisationId>,
    #[serde(default)]
    attestations: Vec<Map<String, Value>>,
}

#[derive(Deserialize)]
struct Order {
    directive: String,
    from: Second,
    #[serde(flatten)]
    action: Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expect {
    at: Option<Second>,
    /// What the request shows: an observation of the client's address.
    live: Option<Map<String, Value>>,
    /// The request shows no address.
    #[serde(default)]
    live_without_evidence: bool,
    status: String,
    confidence: Option<Value>,
    decided_at: Option<Second>,
    expires_at: Option<String>,
    expiry_cause: Option<String>,
    recheck_at: Option<String>,
    exemption: Option<String>,
    #[serde(default)]
    reasons: Vec<String>,
    #[serde(default)]
    not_reasons: Vec<String>,
    #[serde(default)]
    live_criteria: Vec<String>,
    #[serde(default)]
    criteria: BTreeMap<String, ExpectCriterion>,
    next_steps: Option<Vec<ExpectStep>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExpectCriterion {
    status: Option<String>,
    belief: Option<f64>,
    disbelief: Option<f64>,
    neutral: Option<bool>,
    key: Option<String>,
    /// Attestation name to `counted`, `says_nothing`, `ended`, …
    #[serde(default)]
    evidence: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExpectStep {
    action: String,
    exemption: Option<String>,
    criterion: Option<String>,
    missing_units: Option<f64>,
    routes: Option<Vec<String>>,
    evidence_for_one_of: Option<Vec<String>>,
    at: Option<Second>,
}

/// TOML to JSON, instants as text.
fn json_of(value: toml::Value) -> Value {
    match value {
        toml::Value::Datetime(instant) => json!(instant.to_string()),
        toml::Value::Array(list) => list.into_iter().map(json_of).collect(),
        toml::Value::Table(table) => Value::Object(table.into_iter().map(|(k, v)| (k, json_of(v))).collect()),
        toml::Value::String(text) => json!(text),
        toml::Value::Integer(number) => json!(number),
        toml::Value::Float(number) => json!(number),
        toml::Value::Boolean(yes) => json!(yes),
    }
}

/// An attestation from a case's short form: source kind by kind, one document per attestation, one assessor per kind of
/// source, received when checked.
fn attestation(number: usize, mut short: Map<String, Value>) -> Attestation {
    let kind = short.get("kind").and_then(Value::as_str).unwrap().to_owned();
    let source_kind = match kind.as_str() {
        "document_check" => "document_vendor",
        "registry" => "registry",
        "review" | "adjudication" => "reviewer",
        "vouch" | "directory" => "employer",
        "declaration" => "subject",
        "cross_check" => "service",
        _ => "network",
    };
    let source_kind = short.entry("source_kind").or_insert(json!(source_kind)).as_str().unwrap().to_owned();
    if source_kind == "subject" {
        short.entry("grade").or_insert(json!("SELF"));
    }
    short.entry("document").or_insert(json!(format!("document-{number}")));
    short.entry("assessor").or_insert(json!(format!("assessor-{source_kind}")));
    let id = short.remove("id").map_or(format!("{number}"), |id| id.as_str().unwrap().to_owned());
    let source = short.remove("source").unwrap_or(json!(format!("src_{}", source_kind.replace('_', "-"))));
    let recorded_at = short.remove("recorded_at").unwrap_or_else(|| short.get("checked_at").unwrap().clone());
    let marks = short.remove("marks").unwrap_or(json!([]));
    let full = json!({ "id": format!("att_{id}"), "source": source, "recorded_at": recorded_at, "facts": short, "marks": marks });
    serde_json::from_value(full.clone()).unwrap_or_else(|error| panic!("{error}: {full}"))
}

struct Checker {
    place: String,
    failures: Vec<String>,
}

impl Checker {
    fn same<T: PartialEq + std::fmt::Debug>(&mut self, what: &str, got: &T, want: &T) {
        if got != want {
            self.failures.push(format!("{}: {what} is {got:?}, must be {want:?}", self.place));
        }
    }

    fn near(&mut self, what: &str, got: f64, want: f64, within: f64) {
        if (got - want).abs() > within {
            self.failures.push(format!("{}: {what} is {got}, must be {want}", self.place));
        }
    }

    fn decision(&mut self, got: &Decision, want: &Expect) {
        let value = serde_json::to_value(got).unwrap();
        self.same("status", &got.status.as_str(), &want.status.as_str());
        match &want.confidence {
            Some(Value::String(none)) if none == "none" => self.same("confidence", &got.confidence, &None),
            Some(number) => self.near("confidence", got.confidence.unwrap_or(-1.0), number.as_f64().unwrap(), 1e-9),
            None => {}
        }
        if let Some(at) = want.decided_at {
            self.same("at", &got.at, &at);
        }
        for (what, want) in [
            ("expires_at", &want.expires_at),
            ("expiry_cause", &want.expiry_cause),
            ("recheck_at", &want.recheck_at),
            ("exemption", &want.exemption),
        ] {
            if let Some(want) = want {
                let got = value.get(what).and_then(Value::as_str).unwrap_or("none");
                self.same(what, &got, &want.as_str());
            }
        }
        for reason in &want.reasons {
            if !got.reasons.contains(reason) {
                self.failures.push(format!("{}: reason `{reason}` missing from {:?}", self.place, got.reasons));
            }
        }
        for reason in &want.not_reasons {
            if got.reasons.contains(reason) {
                self.failures.push(format!("{}: reason `{reason}` must not be in {:?}", self.place, got.reasons));
            }
        }
        for id in &want.live_criteria {
            self.same("a live criterion", &got.live.contains(id), &true);
        }
        for (id, want) in &want.criteria {
            let Some(criterion) = got.criteria.iter().find(|criterion| criterion.id == *id) else {
                self.failures.push(format!("{}: no criterion `{id}`", self.place));
                continue;
            };
            if let Some(status) = &want.status {
                self.same(&format!("status of {id}"), &criterion.status.as_str(), &status.as_str());
            }
            if let Some(belief) = want.belief {
                self.near(&format!("belief of {id}"), criterion.belief, belief, 5.1e-5);
            }
            if let Some(disbelief) = want.disbelief {
                self.near(&format!("disbelief of {id}"), criterion.disbelief, disbelief, 5.1e-5);
            }
            if let Some(neutral) = want.neutral {
                self.same(&format!("neutrality of {id}"), &criterion.neutral, &neutral);
            }
            if let Some(key) = &want.key {
                self.same(&format!("key of {id}"), &criterion.key.as_deref(), &Some(key.as_str()));
            }
            for (name, want) in &want.evidence {
                let found: Vec<&str> = criterion
                    .evidence
                    .iter()
                    .filter(|line| line.attestation == format!("att_{name}"))
                    .map(|line| if line.counted { "counted" } else { line.why_not.as_deref().unwrap_or("nothing") })
                    .collect();
                if !found.contains(&want.as_str()) {
                    self.failures.push(format!("{}: {name} under {id} is {found:?}, must be {want}", self.place));
                }
            }
        }
        for want in want.next_steps.iter().flatten() {
            let fits = got.next_steps.iter().any(|step| {
                let action = serde_json::to_value(step.action).unwrap();
                let of = |exemption: &Option<String>| exemption.clone().unwrap_or("none".to_owned());
                action == json!(want.action)
                    && want.exemption.as_ref().is_none_or(|exemption| *exemption == of(&step.exemption))
                    && want.at.is_none_or(|at| step.at == Some(at))
                    && want.criterion.as_ref().is_none_or(|id| {
                        step.needs.iter().filter(|need| need.criterion == *id).any(|need| {
                            let routes: Vec<String> = need
                                .routes
                                .iter()
                                .map(|route| {
                                    let grade = serde_json::to_value(route.at_least).unwrap();
                                    format!("{} {}", route.kind.as_str(), grade.as_str().unwrap())
                                })
                                .collect();
                            want.missing_units.is_none_or(|units| (units - need.missing_units).abs() < 0.0051)
                                && want.routes.as_ref().is_none_or(|want| *want == routes)
                                && want.evidence_for_one_of.as_ref().is_none_or(|want| {
                                    want.iter().collect::<Vec<_>>()
                                        == need.evidence_for_one_of.iter().collect::<Vec<_>>()
                                })
                        })
                    })
            });
            if !fits {
                let steps = serde_json::to_string(&got.next_steps).unwrap();
                self.failures.push(format!("{}: no step {} {:?} in {steps}", self.place, want.action, want.criterion));
            }
        }
    }
}

fn run(name: &str, text: &str) -> Vec<String> {
    let table: toml::Value = toml::from_str(text).unwrap_or_else(|error| panic!("{name}: {error}"));
    let case: Case = serde_json::from_value(json_of(table)).unwrap_or_else(|error| panic!("{name}: {error}"));
    let mut library = support::library();
    for policy in &case.policies {
        let mut policy: Policy =
            serde_json::from_value(policy.clone()).unwrap_or_else(|error| panic!("{name}: {error}"));
        policy.write_out_defaults();
        policy.check(&library.packs, &library.sets, &library.weights).unwrap_or_else(|error| panic!("{name}: {error}"));
        library.policies.insert((policy.id.clone(), 1), policy);
    }
    let orders = case.timeline.unwrap_or_else(|| {
        let policy = case.policy.clone().unwrap_or_else(|| panic!("{name}: names neither policy nor timeline"));
        assert!(library.policies.contains_key(&(policy.clone(), 1)), "{name}: no policy {policy}");
        let action = json!({ "activate": { "policy": policy, "version": 1 } });
        let from = Second::parse("2026-06-01T00:00:00Z").unwrap();
        vec![Order { directive: "start".to_owned(), from, action: action.as_object().unwrap().clone() }]
    });
    let timeline: Vec<Entry> = orders
        .into_iter()
        .zip(1..)
        .map(|(order, seq)| Entry {
            seq,
            directive: order.directive,
            from: order.from,
            action: serde_json::from_value::<Action>(Value::Object(order.action)).unwrap(),
        })
        .collect();
    let resource = ResourceId::parse(&case.resource).unwrap();
    let attestations = case.attestations.into_iter().enumerate().map(|(n, short)| attestation(n, short)).collect();
    let mut facts = SubjectFacts::new(SubjectId::parse("sub_case").unwrap(), case.kind, attestations);
    facts.related.acting_for = case.acting_for;
    for (number, party) in case.parties.into_iter().enumerate() {
        let held = party.attestations.into_iter().zip(100 * (number + 1)..);
        let attestations = held.map(|(short, number)| attestation(number, short)).collect();
        facts.related.organisations.extend(party.organisation.map(|name| (name, party.id.clone())));
        facts.related.parties.insert(party.id, Party { kind: party.kind, attestations });
    }
    let mut failures = Vec::new();
    assert!(!case.expect.is_empty(), "{name}: expects nothing");
    for want in &case.expect {
        let at = want.at.or(case.at).unwrap_or_else(|| panic!("{name}: no instant"));
        let rules = Rules::compile(&library, &timeline, &resource, at).unwrap();
        let mut got = decide(&rules, &facts, at);
        if let Some(seen) = &want.live {
            let mut short = json!({ "kind": "observation", "grade": "STRONG", "checked_at": at, "statement": seen });
            short["statement"]["type"] = json!("network");
            got = check_live(&rules, got, &[attestation(900, short.as_object().unwrap().clone())], at);
        } else if want.live_without_evidence {
            got = check_live(&rules, got, &[], at);
        }
        let mut checker = Checker { place: format!("{name} ({}) at {at}", case.title), failures: Vec::new() };
        checker.decision(&got, want);
        failures.extend(checker.failures);
    }
    failures
}

#[test]
fn every_case_gets_the_decision_that_arithmetic_gives() {
    let files = support::files("cases");
    assert!(files.len() >= 80, "{} cases", files.len());
    let mut failures = Vec::new();
    for path in files {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        failures.extend(run(&name, &std::fs::read_to_string(&path).unwrap()));
    }
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

#[test]
fn a_wrong_expectation_is_reported() {
    let text = "title = \"t\"\npolicy = \"embargo\"\nresource = \"regional.x\"\nat = 2026-11-21T00:00:00Z\n[[expect]]\nstatus = \"eligible\"\nreasons = [\"x\"]\n";
    assert_eq!(run("inline", text).len(), 2);
}
