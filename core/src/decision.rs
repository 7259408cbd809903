//! The decision: pure, total, the same on every surface.

use crate::criterion::{Answer, Prepared};
use crate::evidence::{Evidence, interpret};
use crate::explain::{self, CriterionReport, NextStep};
use crate::facts::{Attestation, SubjectFacts};
use crate::fusion::{Cause, Question, Side, Status, first_change};
use crate::policy::{Criterion, Policy};
use crate::rules::{Rules, canonical, sha256_hex};
use crate::second::{DAY, Second};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

/// How far ahead a change of a non-eligible answer is looked for, in seconds: ten years.
pub const RECHECK_HORIZON: i64 = 3653 * DAY;

/// Which rules a decision was made under.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RulesRef {
    /// Digest of the rules.
    pub digest: String,
    /// Policy id, if one was in force.
    pub policy: Option<String>,
    /// Policy version.
    pub version: Option<u32>,
    /// Directives in force.
    pub directives: Vec<String>,
}

/// For (subject, resource, instant): status, confidence, expiry, reasons.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// `dec_…`: digest of the inputs.
    pub id: String,
    /// The subject.
    pub subject: String,
    /// The organisation acted for.
    pub acting_for: Option<String>,
    /// The resource.
    pub resource: String,
    /// The answer.
    pub status: Status,
    /// Smallest belief when eligible, largest disbelief when ineligible, otherwise null. Two digits.
    pub confidence: Option<f64>,
    /// The change that made the decision necessary, never the moment of asking.
    pub at: Second,
    /// First second it is no longer true; null unless eligible.
    pub expires_at: Option<Second>,
    /// Why it ends.
    pub expiry_cause: Option<Cause>,
    /// When a non-eligible answer would change by itself.
    pub recheck_at: Option<Second>,
    /// The rules it was made under.
    pub rules: RulesRef,
    /// The exemption that answered, if any.
    pub exemption: Option<String>,
    /// Criteria that only the request can answer; not judged here.
    pub live: Vec<String>,
    /// Every criterion of the answering branch.
    pub criteria: Vec<CriterionReport>,
    /// Stable codes; see [`explain::texts`].
    pub reasons: Vec<String>,
    /// What would make it eligible, least intrusive first.
    pub next_steps: Vec<NextStep>,
    /// The attestations it looked at.
    #[serde(default, skip_serializing)]
    pub attestations: Vec<String>,
}

impl Decision {
    /// When it has to be computed again though nothing new arrives.
    #[must_use]
    pub fn valid_until(&self) -> Option<Second> {
        if self.status == Status::Eligible { self.expires_at } else { self.recheck_at }
    }
}

/// A way to be eligible: the main criteria, or an exemption with those it does not waive.
struct Branch<'p> {
    exemption: Option<&'p str>,
    members: Vec<usize>,
}

/// Everything prepared for one policy and one subject; asked at many instants.
struct Case<'p> {
    prepared: Vec<Prepared<'p>>,
    branches: Vec<Branch<'p>>,
    live: BTreeMap<usize, Vec<&'p Criterion>>,
}

impl<'p> Case<'p> {
    fn new(rules: &'p Rules, policy: &'p Policy, evidence: &'p BTreeMap<String, Vec<Evidence>>) -> Option<Self> {
        let mut prepared = Vec::new();
        let mut prepare = |criterion: &'p Criterion| -> Option<usize> {
            let pack = rules.body.packs.get(&criterion.frame)?;
            let found = evidence.get(&criterion.frame)?;
            prepared.push(Prepared::new(criterion, pack, &rules.body.weights, &rules.body.sets, found)?);
            Some(prepared.len() - 1)
        };
        let mut main = Vec::new();
        for criterion in policy.criteria.iter().filter(|criterion| !criterion.live) {
            main.push((criterion.id.as_str(), prepare(criterion)?));
        }
        let live_of = |list: &'p [Criterion], waives: Option<&BTreeSet<String>>| -> Vec<&'p Criterion> {
            list.iter().filter(|c| c.live && !waives.is_some_and(|waives| waives.contains(&c.id))).collect()
        };
        let mut branches = vec![Branch { exemption: None, members: main.iter().map(|(_, index)| *index).collect() }];
        let mut live = BTreeMap::from([(0, live_of(&policy.criteria, None))]);
        for exemption in &policy.exemptions {
            let mut members: Vec<usize> =
                main.iter().filter(|(id, _)| !exemption.waives.contains(*id)).map(|(_, index)| *index).collect();
            for criterion in exemption.criteria.iter().filter(|criterion| !criterion.live) {
                members.push(prepare(criterion)?);
            }
            let mut asks = live_of(&policy.criteria, Some(&exemption.waives));
            asks.extend(live_of(&exemption.criteria, None));
            live.insert(branches.len(), asks);
            branches.push(Branch { exemption: Some(&exemption.id), members });
        }
        Some(Self { prepared, branches, live })
    }

    /// The worst of the branch's counted criteria; nothing counted is eligible.
    fn branch_status(&self, branch: &Branch<'p>, t: Second) -> Status {
        branch
            .members
            .iter()
            .filter_map(|index| self.prepared.get(*index)?.answer(t))
            .filter(|answer| !answer.neutral)
            .map(|answer| answer.status)
            .min()
            .unwrap_or(Status::Eligible)
    }

    /// The overall status and the branch that gives it: the first eligible one, else the main one.
    fn outcome(&self, t: Second) -> (Status, usize) {
        for (index, branch) in self.branches.iter().enumerate() {
            if self.branch_status(branch, t) == Status::Eligible {
                return (Status::Eligible, index);
            }
        }
        (self.branches.first().map_or(Status::Ineligible, |main| self.branch_status(main, t)), 0)
    }

    fn answers(&self, branch: &Branch<'p>, t: Second) -> Vec<(&Prepared<'p>, Answer<'_, 'p>)> {
        branch
            .members
            .iter()
            .filter_map(|index| {
                let prepared = self.prepared.get(*index)?;
                Some((prepared, prepared.answer(t)?))
            })
            .collect()
    }

    fn questions(&self) -> Vec<&Question> {
        self.prepared.iter().flat_map(Prepared::questions).collect()
    }
}

/// Decides whether the subject may use the resource. Pure and total: bad data never helps.
///
/// The instant of the decision is the newest change at or before `at` (evidence, mark or rules), or the end of the decision that
/// followed from it, so every replica gives the same body and id.
#[must_use]
pub fn decide(rules: &Rules, facts: &SubjectFacts, at: Second) -> Decision {
    let facts = facts.known_at(at);
    let evidence: BTreeMap<String, Vec<Evidence>> = rules
        .body
        .packs
        .iter()
        .map(|(frame, pack)| (frame.clone(), interpret(pack, &rules.body.weights, &facts.attestations)))
        .collect();
    let speaking: BTreeSet<&str> =
        evidence.values().flatten().flat_map(|e| e.parts.iter().map(crate::ids::AttestationId::as_str)).collect();
    let used: Vec<&Attestation> = facts.attestations.iter().filter(|a| speaking.contains(a.id.as_str())).collect();
    let newest = used
        .iter()
        .flat_map(|a| a.marks.iter().map(|mark| mark.at).chain([a.recorded_at]))
        .filter(|t| *t <= at)
        .fold(rules.since.min(at), Second::max);
    let mut instant = newest;
    // Bounded: every step moves at least a second, and promises reach at least one policy lifetime.
    for _ in 0..100_000 {
        let decision = decide_at(rules, &facts, &evidence, &used, instant);
        match decision.valid_until() {
            Some(next) if next <= at && next > instant => instant = next,
            _ => return decision,
        }
    }
    closed(rules, &facts, &used, at, Status::Insufficient, "engine.unsettled")
}

fn decide_at(
    rules: &Rules,
    facts: &SubjectFacts,
    evidence: &BTreeMap<String, Vec<Evidence>>,
    used: &[&Attestation],
    at: Second,
) -> Decision {
    let Some(policy) = &rules.body.policy else {
        let reason = if rules.body.frozen_by.is_empty() { "resource.ungoverned" } else { "directive.frozen" };
        return closed(rules, facts, used, at, Status::Ineligible, reason);
    };
    if !rules.body.frozen_by.is_empty() {
        return closed(rules, facts, used, at, Status::Ineligible, "directive.frozen");
    }
    let Some(case) = Case::new(rules, policy, evidence) else {
        // A criterion whose pack or set is missing cannot be judged: never yes.
        return closed(rules, facts, used, at, Status::Insufficient, "rules.incomplete");
    };
    let (status, index) = case.outcome(at);
    let Some(branch) = case.branches.get(index) else {
        return closed(rules, facts, used, at, Status::Insufficient, "rules.incomplete");
    };
    let answers = case.answers(branch, at);
    let counted = || answers.iter().filter(|(_, answer)| !answer.neutral);
    let confidence = match status {
        Status::Eligible => counted().map(|(_, answer)| answer.opinion.b).min_by(f64::total_cmp),
        Status::Ineligible => counted()
            .filter(|(_, answer)| answer.status == Status::Ineligible)
            .map(|(_, answer)| answer.opinion.d)
            .max_by(f64::total_cmp),
        Status::Review | Status::Insufficient => None,
    };
    let mut decision = closed(rules, facts, used, at, status, "");
    decision.reasons = explain::reasons(&answers, branch.exemption.is_some());
    decision.confidence = confidence.map(|value| explain::rounded(value, 2));
    decision.exemption = branch.exemption.map(str::to_owned);
    decision.live = case.live.get(&index).into_iter().flatten().map(|criterion| criterion.id.clone()).collect();
    decision.criteria = answers.iter().map(|(prepared, answer)| explain::report(prepared, answer, at)).collect();
    let (change, cause) = next_change(rules, policy, &case, at, status);
    if status == Status::Eligible {
        decision.expires_at = change;
        decision.expiry_cause = cause;
    } else {
        decision.recheck_at = change;
        let branches: Vec<_> =
            case.branches.iter().map(|branch| (branch.exemption, case.answers(branch, at))).collect();
        decision.next_steps = explain::next_steps(rules, &branches, at, change);
    }
    decision
}

/// First second at which the answer differs, bounded by the policy's longest promise and the next change of rules.
fn next_change(
    rules: &Rules,
    policy: &Policy,
    case: &Case<'_>,
    at: Second,
    status: Status,
) -> (Option<Second>, Option<Cause>) {
    let eligible = status == Status::Eligible;
    let mut limits: Vec<(Second, Cause)> = Vec::new();
    limits.extend(rules.body.next_change.map(|t| (t, Cause::RulesChange)));
    if eligible {
        limits.push((at.plus(policy.max_ttl.secs()), Cause::PolicyMaxTtl));
        limits.extend(strict_end(case, at).map(|t| (t, Cause::EvidenceEnd)));
    }
    // At equal instants the earlier in the order of causes is named.
    limits.sort_by_key(|(t, cause)| (*t, *cause as u8));
    let limit = limits.first().copied();
    let horizon = limit.map_or(at.plus(RECHECK_HORIZON), |(t, _)| t.min(at.plus(RECHECK_HORIZON)));
    let questions = case.questions();
    let changed = |t: Second| case.outcome(t).0 != status;
    match first_change(&questions, at, horizon, changed) {
        Some((t, cause)) => (Some(t), Some(cause)),
        None => match limit {
            Some((t, cause)) => (Some(t), Some(cause)),
            None => (None, None),
        },
    }
}

/// Earliest end of a counted document under the strict criteria of the answering branch.
fn strict_end(case: &Case<'_>, at: Second) -> Option<Second> {
    let (_, index) = case.outcome(at);
    let branch = case.branches.get(index)?;
    case.answers(branch, at)
        .iter()
        .filter(|(prepared, answer)| prepared.criterion.strict && !answer.neutral)
        .flat_map(|(_, answer)| answer.keyed.question.items.iter())
        .filter(|item| item.side == Side::Supports && item.units_at(at) > 0.0)
        .filter_map(|item| item.ends_at)
        .min()
}

/// A decision without criteria: frozen, ungoverned, or the frame that [`decide_at`] fills.
fn closed(
    rules: &Rules,
    facts: &SubjectFacts,
    used: &[&Attestation],
    at: Second,
    status: Status,
    reason: &str,
) -> Decision {
    let mut said: Vec<_> = used
        .iter()
        .map(|a| {
            let mut marks = a.marks.clone();
            marks.sort();
            json!({ "id": a.id, "marks": marks })
        })
        .collect();
    said.sort_by_key(|entry| entry.get("id").and_then(|id| id.as_str()).unwrap_or_default().to_owned());
    let mut attestations: Vec<String> = used.iter().map(|a| a.id.to_string()).collect();
    attestations.sort();
    let inputs = canonical(&json!({
        "subject": facts.subject, "acting_for": null, "resource": rules.body.resource, "rules": rules.digest,
        "attestations": said, "at": at,
    }));
    let id: String = sha256_hex(&inputs).chars().take(40).collect();
    Decision {
        id: format!("dec_{id}"),
        subject: facts.subject.to_string(),
        acting_for: None,
        resource: rules.body.resource.to_string(),
        status,
        confidence: None,
        at,
        expires_at: None,
        expiry_cause: None,
        recheck_at: if status == Status::Eligible { None } else { rules.body.next_change },
        rules: RulesRef {
            digest: rules.digest.clone(),
            policy: rules.body.policy.as_ref().map(|policy| policy.id.clone()),
            version: rules.body.policy_version,
            directives: rules.body.directives.clone(),
        },
        exemption: None,
        live: Vec::new(),
        criteria: Vec::new(),
        reasons: if reason.is_empty() { Vec::new() } else { vec![reason.to_owned()] },
        next_steps: Vec::new(),
        attestations,
    }
}

/// Judges the criteria that look at the request. Only an eligible decision is judged further, and only downwards; no evidence means no.
///
/// `live` holds what this request shows, for example one observation of the client's address, made at `at`.
#[must_use]
pub fn check_live(rules: &Rules, decision: Decision, live: &[Attestation], at: Second) -> Decision {
    if decision.live.is_empty() || decision.status != Status::Eligible {
        return decision;
    }
    let mut decision = decision;
    let Some(policy) = &rules.body.policy else {
        decision.status = Status::Ineligible;
        return decision;
    };
    let asked: BTreeSet<String> = decision.live.iter().cloned().collect();
    let mut worst = Status::Eligible;
    for criterion in policy.all_criteria().filter(|criterion| asked.contains(&criterion.id)) {
        let Some(pack) = rules.body.packs.get(&criterion.frame) else {
            worst = worst.min(Status::Insufficient);
            continue;
        };
        let evidence = interpret(pack, &rules.body.weights, live);
        let prepared = Prepared::new(criterion, pack, &rules.body.weights, &rules.body.sets, &evidence);
        let Some((prepared, answer)) = prepared.as_ref().and_then(|prepared| Some((prepared, prepared.answer(at)?)))
        else {
            worst = worst.min(Status::Insufficient);
            continue;
        };
        decision.criteria.push(explain::report(prepared, &answer, at));
        if !answer.neutral {
            worst = worst.min(answer.status);
            if answer.status != Status::Eligible {
                decision.reasons.extend(explain::reasons(&[(prepared, answer)], false));
            }
        }
    }
    if worst != Status::Eligible {
        decision.status = worst;
        decision.confidence = None;
        decision.expires_at = None;
        decision.expiry_cause = None;
        decision.reasons.retain(|reason| !reason.ends_with(".supported"));
    }
    decision
}
