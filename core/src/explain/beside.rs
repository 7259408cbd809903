//! What is told beside a decision when it is asked for: no part of it, nor of a receipt or a replay.

use super::steps::{NextStep, StepAction};
use crate::decision::{Decision, decide, with_case};
use crate::facts::{Attestation, Outcome, SubjectFacts};
use crate::fusion::{Side, Status};
use crate::ids::ResourceId;
use crate::rules::Rules;
use crate::second::Second;
use serde::Serialize;
use std::borrow::Borrow;
use std::collections::BTreeSet;

/// A resource of the same family that the subject may use now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Alternative {
    /// The resource.
    pub resource: ResourceId,
    /// Until when, as things stand.
    pub expires_at: Option<Second>,
    /// Criteria that only the request can answer.
    pub live: Vec<String>,
}

/// What an approved change of the rules brings for the subject.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Upcoming {
    /// When.
    pub at: Second,
    /// The status then, by what is known now.
    pub status: Status,
    /// Directives that come into force or end.
    pub directives: Vec<String>,
}

/// How many resources of a family are looked at.
pub const MOST_ALTERNATIVES: usize = 16;
/// How many scheduled changes are looked at.
pub const MOST_CHANGES: usize = 4;

/// Whether two resources are of one family: their ids differ in the last segment only.
#[must_use]
pub fn of_one_family(a: &ResourceId, b: &ResourceId) -> bool {
    let stem = |id: &ResourceId| id.as_str().rsplit_once('.').map(|(stem, _)| stem.to_owned());
    a != b && stem(a).is_some() && stem(a) == stem(b)
}

/// Those of the resources that the subject may use at `at`, in their order.
#[must_use]
pub fn alternatives<R: Borrow<Rules>>(
    rules: impl IntoIterator<Item = R>,
    facts: &SubjectFacts,
    at: Second,
) -> Vec<Alternative> {
    let decisions = rules.into_iter().take(MOST_ALTERNATIVES).map(|rules| decide(rules.borrow(), facts, at));
    let eligible = decisions.filter(|decision| decision.status == Status::Eligible);
    eligible
        .filter_map(|decision| {
            let resource = ResourceId::parse(&decision.resource).ok()?;
            Some(Alternative { resource, expires_at: decision.expires_at, live: decision.live })
        })
        .collect()
}

/// What the approved changes that are still to come bring, where they change the status. `rules_at` compiles the rules of an
/// instant; what cannot be compiled is not foretold.
#[must_use]
pub fn upcoming(
    rules: &Rules,
    rules_at: impl Fn(Second) -> Option<Rules>,
    facts: &SubjectFacts,
    status: Status,
) -> Vec<Upcoming> {
    let mut found = Vec::new();
    let (mut before, mut next) = (status, rules.body.next_change);
    let mut in_force: BTreeSet<String> = rules.body.directives.iter().cloned().collect();
    for _ in 0..MOST_CHANGES {
        let Some(at) = next else { break };
        let Some(then) = rules_at(at) else { break };
        let status = decide(&then, facts, at).status;
        let later: BTreeSet<String> = then.body.directives.iter().cloned().collect();
        if status != before {
            let directives = in_force.symmetric_difference(&later).cloned().collect();
            found.push(Upcoming { at, status, directives });
        }
        (before, next, in_force) = (status, then.body.next_change, later);
    }
    found
}

/// Checks that ended without a finding and that would help if they were tried again.
///
/// What failed so says nothing in any frame, and so is no input of a decision: it is told beside it.
#[must_use]
pub fn retries(rules: &Rules, facts: &SubjectFacts, decision: &Decision, at: Second) -> Vec<NextStep> {
    let known = facts.known_at(at);
    let failed = |a: &&Attestation| {
        matches!(a.facts.outcome, Outcome::Resubmit | Outcome::Error)
            && a.marks.is_empty()
            && !known.attestations.iter().any(|later| followed(a, later))
    };
    let helps = known.attestations.iter().filter(failed).any(|failed| tried_again(rules, &known, failed, decision));
    if helps { vec![NextStep::new(StepAction::Retry, None)] } else { Vec::new() }
}

/// Whether `later` is a newer result of the same source about the same kind of document.
fn followed(failed: &Attestation, later: &Attestation) -> bool {
    let (a, b) = (&failed.facts, &later.facts);
    a.kind == b.kind
        && a.assessor == b.assessor
        && (a.document_type == b.document_type || a.document == b.document)
        && (b.checked_at, &later.id) > (a.checked_at, &failed.id)
}

/// Whether the check, had it been approved, would support a criterion that is open and that nothing material speaks against.
fn tried_again(rules: &Rules, facts: &SubjectFacts, failed: &Attestation, decision: &Decision) -> bool {
    let mut passed = facts.clone();
    for attestation in passed.attestations.iter_mut().filter(|a| a.id == failed.id) {
        attestation.facts.outcome = Outcome::Approved;
    }
    let supports = with_case(rules, &passed, decision.at.max(failed.recorded_at), |case| {
        let branches = case.branches_at(decision.at.max(failed.recorded_at));
        branches.iter().flat_map(|branch| &branch.answers).any(|(prepared, answer)| {
            let open = decision.criteria.iter().any(|report| {
                report.id == prepared.criterion.id && !report.neutral && report.status != Status::Eligible
            });
            let items = answer.keyed.question.items.iter().zip(&answer.keyed.evidence);
            open && answer.opinion.con < prepared.criterion.material
                && items.into_iter().any(|(item, e)| item.side == Side::Supports && e.parts.contains(&failed.id))
        })
    });
    supports == Some(true)
}
