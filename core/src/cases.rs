//! Cases: a person, evidence, and the decision that arithmetic says they must get, in a file that a reviewer can read.
//!
//! The test suite and `vouchsafe policy test` read them by this one reader.

use crate::check::Finding;
use crate::document::Document;
use crate::facts::{Attestation, Party, SubjectFacts, SubjectKind};
use crate::ids::{OrganisationId, ResourceId, SubjectId};
use crate::policy::Policy;
use crate::rules::{Library, Rules};
use crate::timeline::{Action, Entry};
use crate::{Decision, Second, check_live, decide};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// One case file. Facts that a case leaves out get the defaults of [`attestation`].
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// One line.
    pub title: String,
    /// The policy in force, by its id; the newest version there is.
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

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseParty {
    id: SubjectId,
    kind: SubjectKind,
    /// The name under which it is registered as an organisation.
    organisation: Option<OrganisationId>,
    #[serde(default)]
    attestations: Vec<Map<String, Value>>,
}

#[derive(Debug, Clone, Deserialize)]
struct Order {
    directive: String,
    from: Second,
    #[serde(flatten)]
    action: Map<String, Value>,
}

#[derive(Debug, Clone, Deserialize)]
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

#[derive(Debug, Clone, Deserialize)]
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

#[derive(Debug, Clone, Deserialize)]
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

/// One expectation that the decision does not meet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Which member, for example `criteria.us-status.belief`.
    pub what: String,
    /// What the case expects.
    pub expected: String,
    /// What the decision says.
    pub actual: String,
}

/// What one instant of a case gave.
#[derive(Debug, Clone, Serialize)]
pub struct Run {
    /// The instant.
    pub at: Second,
    /// What differs; empty when the case holds.
    pub differences: Vec<Difference>,
}

/// A case that cannot be run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CaseError(String);

fn broken(problem: impl Into<String>) -> CaseError {
    CaseError(problem.into())
}

/// An attestation from a case's short form: source kind by kind, one document per attestation, one assessor per kind of
/// source, received when checked.
///
/// # Errors
/// When a member is missing or is not one of an attestation.
pub fn attestation(number: usize, mut short: Map<String, Value>) -> Result<Attestation, CaseError> {
    let name = short.remove("id").map_or(number.to_string(), |id| id.as_str().unwrap_or_default().to_owned());
    let fail = |problem: &str| broken(format!("attestation `{name}`: {problem}"));
    let kind = short.get("kind").and_then(Value::as_str).ok_or_else(|| fail("`kind` is missing"))?;
    let usual = match kind {
        "document_check" => "document_vendor",
        "registry" => "registry",
        "review" | "adjudication" => "reviewer",
        "vouch" | "directory" => "employer",
        "declaration" => "subject",
        "cross_check" => "service",
        _ => "network",
    };
    let source_kind = short.entry("source_kind").or_insert(json!(usual)).as_str().unwrap_or_default().to_owned();
    if source_kind == "subject" {
        short.entry("grade").or_insert(json!("SELF"));
    }
    short.entry("document").or_insert(json!(format!("document-{number}")));
    short.entry("assessor").or_insert(json!(format!("assessor-{source_kind}")));
    let checked_at = short.get("checked_at").cloned().ok_or_else(|| fail("`checked_at` is missing"))?;
    let source = short.remove("source").unwrap_or(json!(format!("src_{}", source_kind.replace('_', "-"))));
    let recorded_at = short.remove("recorded_at").unwrap_or(checked_at);
    let marks = short.remove("marks").unwrap_or(json!([]));
    let full = json!({ "id": format!("att_{name}"), "source": source, "recorded_at": recorded_at, "facts": short, "marks": marks });
    serde_path_to_error::deserialize(&full).map_err(|error| fail(&error.to_string()))
}

impl Case {
    /// Reads a case and tells everything that does not fit its form.
    ///
    /// # Errors
    /// The findings, each with its place.
    pub fn from_toml(text: &str) -> Result<Self, Vec<Finding>> {
        let mut document = Document::from_toml(text)?;
        let (case, mut findings) = crate::check::read::<Self>(&mut document);
        match case {
            Some(case) if findings.is_empty() && !case.expect.is_empty() => Ok(case),
            _ => {
                if findings.is_empty() {
                    findings.push(Finding::refused("/expect", "a case that expects nothing proves nothing"));
                }
                Err(findings)
            }
        }
    }

    /// Decides at each of its instants and compares. `library` holds packs, sets and policies the case may name.
    ///
    /// # Errors
    /// When the case names a policy that is not there or is refused, or an attestation that cannot be read.
    pub fn run(&self, library: &Library) -> Result<Vec<Run>, CaseError> {
        let mut library = library.clone();
        for policy in &self.policies {
            let mut document = Document::from_json(policy.clone());
            let (policy, findings) = Policy::examine(&mut document, &library);
            let told = || findings.iter().map(|f| format!("`{}`: {f}", f.pointer)).collect::<Vec<_>>().join("; ");
            let policy = policy.ok_or_else(|| broken(format!("its own policy is refused: {}", told())))?;
            library.policies.insert((policy.id.clone(), 1), policy);
        }
        let timeline = self.timeline(&library)?;
        let resource = ResourceId::parse(&self.resource).map_err(|error| broken(error.to_string()))?;
        let facts = self.facts()?;
        self.expect.iter().map(|want| self.expectation(want, &library, &timeline, &resource, &facts)).collect()
    }

    fn facts(&self) -> Result<SubjectFacts, CaseError> {
        let subject = SubjectId::parse("sub_case").map_err(|error| broken(error.to_string()))?;
        let read = |list: &[Map<String, Value>], first: usize| {
            list.iter()
                .cloned()
                .zip(first..)
                .map(|(short, number)| attestation(number, short))
                .collect::<Result<Vec<_>, _>>()
        };
        let mut facts = SubjectFacts::new(subject, self.kind, read(&self.attestations, 0)?);
        facts.related.acting_for.clone_from(&self.acting_for);
        for (number, party) in self.parties.iter().enumerate() {
            let attestations = read(&party.attestations, 100 * (number + 1))?;
            facts.related.organisations.extend(party.organisation.clone().map(|name| (name, party.id.clone())));
            facts.related.parties.insert(party.id.clone(), Party { kind: party.kind, attestations });
        }
        Ok(facts)
    }

    fn timeline(&self, library: &Library) -> Result<Vec<Entry>, CaseError> {
        let orders = match (&self.timeline, &self.policy) {
            (Some(orders), _) => orders.clone(),
            (None, Some(policy)) => {
                let versions = library.policies.keys().filter(|(id, _)| id == policy).map(|(_, version)| *version);
                let version = versions.max().ok_or_else(|| broken(format!("there is no policy `{policy}`")))?;
                let action = Map::from_iter([("activate".to_owned(), json!({ "policy": policy, "version": version }))]);
                let from = Second::parse("2026-06-01T00:00:00Z").map_err(|error| broken(error.to_string()))?;
                vec![Order { directive: "start".to_owned(), from, action }]
            }
            (None, None) => return Err(broken("names neither `policy` nor `timeline`")),
        };
        let entry = |(seq, order): (i64, Order)| {
            let action = serde_json::from_value::<Action>(Value::Object(order.action));
            let action = action.map_err(|error| broken(format!("directive `{}`: {error}", order.directive)))?;
            Ok(Entry { seq, directive: order.directive, from: order.from, action })
        };
        (1..).zip(orders).map(entry).collect()
    }

    fn expectation(
        &self,
        want: &Expect,
        library: &Library,
        timeline: &[Entry],
        resource: &ResourceId,
        facts: &SubjectFacts,
    ) -> Result<Run, CaseError> {
        let at = want.at.or(self.at).ok_or_else(|| broken("no instant: give `at`"))?;
        let rules = Rules::compile(library, timeline, resource, at).map_err(|error| broken(error.to_string()))?;
        let mut got = decide(&rules, facts, at);
        if let Some(seen) = &want.live {
            let mut statement = seen.clone();
            statement.insert("type".to_owned(), json!("network"));
            let short = [
                ("kind".to_owned(), json!("observation")),
                ("grade".to_owned(), json!("STRONG")),
                ("checked_at".to_owned(), json!(at)),
                ("statement".to_owned(), Value::Object(statement)),
            ];
            got = check_live(&rules, got, &[attestation(900, Map::from_iter(short))?], at);
        } else if want.live_without_evidence {
            got = check_live(&rules, got, &[], at);
        }
        let mut checker = Checker { differences: Vec::new() };
        checker.decision(&got, want);
        Ok(Run { at, differences: checker.differences })
    }
}

struct Checker {
    differences: Vec<Difference>,
}

/// As a case writes it.
fn shown(value: impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(Value::String(text)) => text,
        Ok(Value::Null) => "none".to_owned(),
        Ok(value) => value.to_string(),
        Err(_) => String::new(),
    }
}

impl Checker {
    fn differs(&mut self, what: &str, expected: impl Serialize, actual: impl Serialize) {
        let (expected, actual) = (shown(expected), shown(actual));
        self.differences.push(Difference { what: what.to_owned(), expected, actual });
    }

    fn same<T: PartialEq + Serialize>(&mut self, what: &str, actual: &T, expected: &T) {
        if actual != expected {
            self.differs(what, expected, actual);
        }
    }

    fn near(&mut self, what: &str, actual: f64, expected: f64, within: f64) {
        let off = (actual - expected).abs();
        // What is no number differs.
        if off.is_nan() || off > within {
            self.differs(what, expected, actual);
        }
    }

    fn decision(&mut self, got: &Decision, want: &Expect) {
        self.same("status", &got.status.as_str(), &want.status.as_str());
        match &want.confidence {
            Some(Value::String(none)) if none == "none" => self.same("confidence", &got.confidence, &None),
            Some(number) => {
                let number = number.as_f64().unwrap_or(f64::NAN);
                self.near("confidence", got.confidence.unwrap_or(f64::NAN), number, 1e-9);
            }
            None => {}
        }
        if let Some(at) = want.decided_at {
            self.same("decided_at", &got.at, &at);
        }
        for (what, got, want) in [
            ("expires_at", shown(got.expires_at), &want.expires_at),
            ("expiry_cause", shown(got.expiry_cause), &want.expiry_cause),
            ("recheck_at", shown(got.recheck_at), &want.recheck_at),
            ("exemption", shown(&got.exemption), &want.exemption),
        ] {
            if let Some(want) = want {
                self.same(what, &got, want);
            }
        }
        for reason in want.reasons.iter().filter(|reason| !got.reasons.contains(reason)) {
            self.differs("reasons", reason, got.reasons.join(", "));
        }
        for reason in want.not_reasons.iter().filter(|reason| got.reasons.contains(reason)) {
            self.differs("reasons", format!("not {reason}"), got.reasons.join(", "));
        }
        for id in want.live_criteria.iter().filter(|id| !got.live.contains(id)) {
            self.differs("live_criteria", id, got.live.join(", "));
        }
        for (id, want) in &want.criteria {
            self.criterion(got, id, want);
        }
        for want in want.next_steps.iter().flatten() {
            if !got.next_steps.iter().any(|step| fits(step, want)) {
                let steps = serde_json::to_string(&got.next_steps).unwrap_or_default();
                self.differs("next_steps", format!("{} {}", want.action, shown(&want.criterion)), steps);
            }
        }
    }

    fn criterion(&mut self, got: &Decision, id: &str, want: &ExpectCriterion) {
        let name = format!("criteria.{id}");
        let Some(criterion) = got.criteria.iter().find(|criterion| criterion.id == *id) else {
            let all: Vec<&str> = got.criteria.iter().map(|criterion| criterion.id.as_str()).collect();
            return self.differs("criteria", id, all.join(", "));
        };
        if let Some(status) = &want.status {
            self.same(&format!("{name}.status"), &criterion.status.as_str(), &status.as_str());
        }
        if let Some(belief) = want.belief {
            self.near(&format!("{name}.belief"), criterion.belief, belief, 5.1e-5);
        }
        if let Some(disbelief) = want.disbelief {
            self.near(&format!("{name}.disbelief"), criterion.disbelief, disbelief, 5.1e-5);
        }
        if let Some(neutral) = want.neutral {
            self.same(&format!("{name}.neutral"), &criterion.neutral, &neutral);
        }
        if let Some(key) = &want.key {
            self.same(&format!("{name}.key"), &criterion.key.as_deref(), &Some(key.as_str()));
        }
        for (attestation, want) in &want.evidence {
            let lines = criterion.evidence.iter().filter(|line| line.attestation == format!("att_{attestation}"));
            let found: Vec<&str> = lines
                .map(|line| if line.counted { "counted" } else { line.why_not.as_deref().unwrap_or("nothing") })
                .collect();
            if !found.contains(&want.as_str()) {
                self.differs(&format!("{name}.evidence.{attestation}"), want, found.join(", "));
            }
        }
    }
}

/// Whether a next step is the one that a case names.
fn fits(step: &crate::explain::NextStep, want: &ExpectStep) -> bool {
    let of_criterion = |id: &String| {
        step.needs.iter().filter(|need| need.criterion == *id).any(|need| {
            let routes = || -> Vec<String> { need.routes.iter().map(ToString::to_string).collect() };
            want.missing_units.is_none_or(|units| (units - need.missing_units).abs() < 0.0051)
                && want.routes.as_ref().is_none_or(|want| *want == routes())
                && want.evidence_for_one_of.as_ref().is_none_or(|want| want.iter().eq(need.evidence_for_one_of.iter()))
        })
    };
    shown(step.action) == want.action
        && want.exemption.as_ref().is_none_or(|exemption| *exemption == shown(&step.exemption))
        && want.at.is_none_or(|at| step.at == Some(at))
        && want.criterion.as_ref().is_none_or(of_criterion)
}
