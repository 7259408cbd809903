//! The one change that would flip an answer: what would have to come, and what comes by itself.

use super::account::weighings;
use crate::criterion::{Answer, Over, Prepared};
use crate::decision::{BranchAnswers, Case, Decision, RECHECK_HORIZON, with_case};
use crate::facts::{Mark, MarkKind, SubjectFacts};
use crate::fusion::{Cause, GATE_UNITS, Question, Side, Status, first_change, r_min};
use crate::rules::Rules;
use crate::second::Second;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// What kind of change it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeCode {
    /// That many more supporting units, from an item independent of those held.
    SupportMissing,
    /// One item of the kind and grade that the gate asks for, with that many units.
    GateItemMissing,
    /// A reviewer settles these items.
    ResolveItems,
    /// These items end.
    EvidenceEnds,
    /// These items fade, the one that loses most first.
    SupportFades,
    /// The policy's longest promise ends; it is renewed while the evidence lasts.
    PromiseEnds,
    /// Other rules come into force.
    RulesChange,
    /// More than one criterion stands against it, so that no single change suffices.
    SeveralCriteria,
}

impl ChangeCode {
    /// Every code.
    pub const ALL: [ChangeCode; 8] = [
        ChangeCode::SupportMissing,
        ChangeCode::GateItemMissing,
        ChangeCode::ResolveItems,
        ChangeCode::EvidenceEnds,
        ChangeCode::SupportFades,
        ChangeCode::PromiseEnds,
        ChangeCode::RulesChange,
        ChangeCode::SeveralCriteria,
    ];

    /// Its stable code.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            ChangeCode::SupportMissing => "support_missing",
            ChangeCode::GateItemMissing => "gate_item_missing",
            ChangeCode::ResolveItems => "resolve_items",
            ChangeCode::EvidenceEnds => "evidence_ends",
            ChangeCode::SupportFades => "support_fades",
            ChangeCode::PromiseEnds => "promise_ends",
            ChangeCode::RulesChange => "rules_change",
            ChangeCode::SeveralCriteria => "several_criteria",
        }
    }
}

/// A change after which the answer is another one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// What kind.
    pub code: ChangeCode,
    /// The status after it; null where other rules decide.
    pub then: Option<Status>,
    /// The criteria it acts on.
    pub criteria: Vec<String>,
    /// When, if it comes by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Second>,
    /// The attestations it is about.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attestations: Vec<String>,
    /// Supporting units that would have to come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub units: Option<f64>,
}

impl Change {
    fn new(code: ChangeCode, then: Option<Status>, criteria: Vec<String>) -> Self {
        Self { code, then, criteria, at: None, attestations: Vec::new(), units: None }
    }
}

/// Least units of one further item, independent of all others, that make the question's answer eligible at `at`; `None` while
/// evidence against it is material, since no support outvotes that. 0 when it is eligible already.
#[must_use]
pub fn missing_units(question: &Question, at: Second) -> Option<f64> {
    let opinion = question.opinion(at);
    let thresholds = &question.thresholds;
    if opinion.con >= thresholds.material {
        return None;
    }
    let missing = (r_min(thresholds.eligible_at, opinion.s) - opinion.r).max(0.0);
    Some(if question.gate_met(at) { missing } else { missing.max(GATE_UNITS) })
}

/// How many items are tried one by one before all of them together.
const MOST_SINGLES: usize = 16;

/// What would make the criterion another one: missing support by closed form, or the items a reviewer would have to settle.
pub(super) fn flip(
    rules: &Rules,
    facts: &SubjectFacts,
    prepared: &Prepared<'_>,
    answer: &Answer<'_, '_>,
    at: Second,
) -> Option<Change> {
    let id = || vec![prepared.criterion.id.clone()];
    if answer.neutral || answer.status == Status::Eligible {
        return None;
    }
    if let Some(units) = missing_units(&answer.keyed.question, at) {
        let open = prepared.keys.iter().filter(|keyed| keyed.question.status(at) != Status::Eligible).count();
        if prepared.over == Over::Worst && open > 1 {
            return None;
        }
        let code = match answer.keyed.question.gate_met(at) {
            true => ChangeCode::SupportMissing,
            false => ChangeCode::GateItemMissing,
        };
        let change = Change::new(code, Some(Status::Eligible), id());
        // Rounded up, so that the figure shown suffices.
        return Some(Change { units: Some((units * 1e6).ceil() / 1e6), ..change });
    }
    let mut against: Vec<(f64, String)> = answer
        .keyed
        .evidence
        .iter()
        .zip(&answer.keyed.question.items)
        .zip(weighings(answer.keyed, at))
        .filter(|((_, item), weighing)| item.side == Side::Adverse && weighing.units > 0.0)
        .map(|((source, _), weighing)| (weighing.units, source.attestation.to_string()))
        .collect();
    against.sort_by(|(x, a), (y, b)| y.total_cmp(x).then(a.cmp(b)));
    against.dedup_by(|later, kept| later.1 == kept.1);
    let all: Vec<String> = against.into_iter().map(|(_, id)| id).collect();
    let settled = |ids: &[String]| {
        let then = status_if_settled(rules, facts, ids, prepared, at)?;
        Some(Change { attestations: ids.to_vec(), ..Change::new(ChangeCode::ResolveItems, Some(then), id()) })
    };
    all.iter().take(MOST_SINGLES).find_map(|one| settled(std::slice::from_ref(one))).or_else(|| settled(&all))
}

/// The criterion's status were the items settled; `None` while evidence against it stays material.
fn status_if_settled(
    rules: &Rules,
    facts: &SubjectFacts,
    ids: &[String],
    asked: &Prepared<'_>,
    at: Second,
) -> Option<Status> {
    with_case(rules, &settle(facts, ids, at), at, |case| {
        let branches = case.branches_at(at);
        let (prepared, answer) = branches
            .iter()
            .flat_map(|branch| &branch.answers)
            .find(|(prepared, _)| prepared.criterion.id == asked.criterion.id && prepared.same_party(asked))?;
        (answer.opinion.con < prepared.criterion.material).then_some(answer.status)
    })?
}

/// The facts as if a reviewer had settled these attestations.
fn settle(facts: &SubjectFacts, ids: &[String], at: Second) -> SubjectFacts {
    let mut facts = facts.clone();
    let of_others = facts.related.parties.values_mut().flat_map(|party| &mut party.attestations);
    for attestation in facts.attestations.iter_mut().chain(of_others) {
        if ids.iter().any(|id| id == attestation.id.as_str()) {
            attestation.marks.push(Mark { at, kind: MarkKind::Resolved, from_start: false });
        }
    }
    facts
}

/// When the criterion's answer changes although nothing new comes, and by which items.
pub(super) fn by_itself(prepared: &Prepared<'_>, answer: &Answer<'_, '_>, at: Second) -> Option<Change> {
    let questions: Vec<&Question> = prepared.questions().collect();
    let now = (answer.status, answer.neutral);
    let then = |t: Second| prepared.answer(t).map(|answer| (answer.status, answer.neutral));
    let (t, cause) = first_change(&questions, at, at.plus(RECHECK_HORIZON), |t| then(t) != Some(now))?;
    let (code, attestations) = match cause {
        Cause::EvidenceEnd => (ChangeCode::EvidenceEnds, ending(prepared, t)),
        _ => (ChangeCode::SupportFades, fading(answer, at, t)),
    };
    let change = Change::new(code, then(t).map(|(status, _)| status), vec![prepared.criterion.id.clone()]);
    Some(Change { at: Some(t), attestations, ..change })
}

/// Attestations whose items end exactly at `t`.
fn ending(prepared: &Prepared<'_>, t: Second) -> Vec<String> {
    let items = prepared.keys.iter().flat_map(|keyed| keyed.evidence.iter().zip(&keyed.question.items));
    let ended = items.filter(|(_, item)| item.jumps().any(|jump| jump == t));
    let ids: BTreeSet<String> = ended.map(|(source, _)| source.attestation.to_string()).collect();
    ids.into_iter().collect()
}

/// Supporting attestations that lose units between two instants, the greatest loss first.
fn fading(answer: &Answer<'_, '_>, at: Second, t: Second) -> Vec<String> {
    let items = answer.keyed.evidence.iter().zip(&answer.keyed.question.items).zip(weighings(answer.keyed, at));
    let mut lost: Vec<(f64, String)> = items
        .filter(|((_, item), _)| item.side == Side::Supports)
        .map(|((source, item), weighing)| {
            (weighing.share * (weighing.units - item.units_at(t)), source.attestation.to_string())
        })
        .filter(|(lost, _)| *lost > 0.0)
        .collect();
    lost.sort_by(|(x, a), (y, b)| y.total_cmp(x).then(a.cmp(b)));
    lost.dedup_by(|later, kept| later.1 == kept.1);
    lost.into_iter().map(|(_, id)| id).collect()
}

/// The criteria that stand in a branch's way.
fn open<'a, 'p>(branch: &'a BranchAnswers<'a, 'p>) -> Vec<&'a (&'a Prepared<'p>, Answer<'a, 'p>)> {
    branch.answers.iter().filter(|(_, answer)| !answer.neutral && answer.status != Status::Eligible).collect()
}

/// The one change that would flip a refusal: of the first branch in whose way one criterion stands.
pub(super) fn of_refusal(rules: &Rules, facts: &SubjectFacts, case: &Case<'_>, at: Second) -> Option<Change> {
    let branches = case.branches_at(at);
    for branch in &branches {
        let [(prepared, answer)] = open(branch).as_slice() else { continue };
        let Some(mut change) = flip(rules, facts, prepared, answer, at) else { continue };
        if change.code == ChangeCode::ResolveItems {
            let settled = settle(facts, &change.attestations, at);
            change.then = with_case(rules, &settled, at, |case| case.outcome(at).0);
        }
        return Some(change);
    }
    let main = open(branches.first()?);
    let criteria = main.iter().map(|(prepared, _)| prepared.criterion.id.clone()).collect();
    Some(Change::new(ChangeCode::SeveralCriteria, None, criteria))
}

/// What ends the decision although nothing new comes.
pub(super) fn of_time(rules: &Rules, case: &Case<'_>, decision: &Decision) -> Option<Change> {
    let t = decision.valid_until()?;
    let at = |change: Change| Change { at: Some(t), ..change };
    if rules.body.next_change == Some(t) {
        return Some(at(Change::new(ChangeCode::RulesChange, None, Vec::new())));
    }
    let then = Some(case.outcome(t).0);
    if decision.expiry_cause == Some(Cause::PolicyMaxTtl) {
        return Some(at(Change::new(ChangeCode::PromiseEnds, then, Vec::new())));
    }
    // As it stood just before, another branch may have taken over in the meantime.
    let before = t.plus(-1);
    let branches = case.branches_at(before);
    let of_branches =
        branches.iter().filter(|branch| decision.status != Status::Eligible || branch.status == Status::Eligible);
    let answers: Vec<_> = of_branches.flat_map(|branch| &branch.answers).collect();
    let mut changes = answers
        .iter()
        .filter_map(|(prepared, answer)| by_itself(prepared, answer, before).filter(|change| change.at == Some(t)));
    if let Some(change) = changes.next() {
        let attestations = match change.code {
            // Faded since the decision, not within the last second.
            ChangeCode::SupportFades => answers
                .iter()
                .find(|(prepared, _)| change.criteria.first() == Some(&prepared.criterion.id))
                .and_then(|(prepared, _)| Some(fading(&prepared.answer(decision.at)?, decision.at, t)))
                .unwrap_or_default(),
            _ => change.attestations,
        };
        return Some(Change { then, attestations, ..change });
    }
    // A strict criterion ends with its earliest document although it would still hold.
    let (prepared, _) =
        answers.iter().find(|(prepared, _)| prepared.criterion.strict && !ending(prepared, t).is_empty())?;
    let change = Change::new(ChangeCode::EvidenceEnds, then, vec![prepared.criterion.id.clone()]);
    Some(at(Change { attestations: ending(prepared, t), ..change }))
}
