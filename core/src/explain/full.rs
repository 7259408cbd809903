//! The full account of a decision, for operators, reviewers and auditors.

use super::account::{EvidenceAccount, evidence};
use super::change::{self, Change};
use super::rounded;
use super::texts::{Texts, texts};
use crate::criterion::{Answer, Prepared};
use crate::decision::{BranchAnswers, Case, Decision, with_case};
use crate::facts::{Grade, Kind, SubjectFacts};
use crate::fusion::{GATE_UNITS, Status, r_min};
use crate::ids::SubjectId;
use crate::parties::Role;
use crate::rules::Rules;
use crate::second::Second;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// Everything a decision was weighed by. Derived from the same inputs as the decision, and no part of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Explanation {
    /// The main criteria, then every exemption; empty where no policy could be asked.
    pub branches: Vec<BranchAccount>,
    /// What would have to come for another answer; null for a yes, and where rules alone decide.
    pub flip: Option<Change>,
    /// What ends the answer although nothing new comes; null when nothing does.
    pub by_itself: Option<Change>,
    /// Both texts of every code that stands in this account.
    pub texts: BTreeMap<&'static str, Texts>,
}

/// A way to be eligible, with how far it is met.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BranchAccount {
    /// The exemption; null for the main criteria.
    pub exemption: Option<String>,
    /// Whether it is the branch that the decision reports.
    pub answers: bool,
    /// The worst status of its counted criteria.
    pub status: Status,
    /// Each of its criteria.
    pub criteria: Vec<CriterionAccount>,
}

/// A gate, and whether it is met.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GateAccount {
    /// Least grade.
    pub grade: Grade,
    /// Kinds of statement that may satisfy it.
    pub from: BTreeSet<Kind>,
    /// Least units of one item.
    pub units: f64,
    /// Whether one item satisfies it.
    pub met: bool,
}

/// One criterion with every number it was judged by.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CriterionAccount {
    /// Criterion id.
    pub id: String,
    /// Its frame.
    pub frame: String,
    /// The key that answered, in membership frames.
    pub key: Option<String>,
    /// As what the party was judged, unless it is the subject itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// That party; absent where the question names none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub party: Option<SubjectId>,
    /// How many keys were asked; 1 in state frames.
    pub keys: usize,
    /// Its status, gate included.
    pub status: Status,
    /// Left out of status and confidence.
    pub neutral: bool,
    /// Supporting units, `r`.
    pub supporting_units: f64,
    /// Adverse units, `s`.
    pub adverse_units: f64,
    /// Supporting units it needs against these adverse ones: `eligible_at (s + W) / (1 - eligible_at)`, `W` = 2.
    pub needed_units: f64,
    /// Belief `r / (r + s + W)`.
    pub belief: f64,
    /// Disbelief `s / (r + s + W)`.
    pub disbelief: f64,
    /// Uncertainty `W / (r + s + W)`.
    pub uncertainty: f64,
    /// Weight of the supporting side alone, `r / (r + W)`.
    pub pro: f64,
    /// Weight of the adverse side alone, `s / (s + W)`.
    pub con: f64,
    /// `pro * con`: shown, never decided on.
    pub conflict: f64,
    /// Least belief for eligible.
    pub eligible_at: f64,
    /// Least weight of the adverse side for ineligible.
    pub ineligible_at: f64,
    /// Least weight of a side that is material.
    pub material: f64,
    /// The gate, if the criterion has one.
    pub gate: Option<GateAccount>,
    /// Every piece of evidence of the frame about this key.
    pub evidence: Vec<EvidenceAccount>,
    /// What would have to come for another answer of this criterion.
    pub flip: Option<Change>,
    /// What changes its answer although nothing new comes.
    pub by_itself: Option<Change>,
}

/// The account of a decision made under these rules on these facts.
///
/// Pure, like the decision: the same inputs give the same account.
#[must_use]
pub fn explanation(rules: &Rules, facts: &SubjectFacts, decision: &Decision) -> Explanation {
    let at = decision.at;
    let judged = !decision.criteria.is_empty() || !decision.live.is_empty();
    let made = judged.then(|| with_case(rules, facts, at, |case| account(rules, facts, case, decision))).flatten();
    let mut made = made.unwrap_or_else(|| Explanation {
        branches: Vec::new(),
        flip: None,
        by_itself: None,
        texts: BTreeMap::new(),
    });
    let criteria = || made.branches.iter().flat_map(|branch| &branch.criteria);
    let changes = criteria().flat_map(|c| [&c.flip, &c.by_itself]).chain([&made.flip, &made.by_itself]).flatten();
    let codes = criteria().flat_map(|c| &c.evidence).map(|line| line.fate.code()).chain(changes.map(|c| c.code.code()));
    let texts = codes.map(|code| (code, texts(code))).collect();
    made.texts = texts;
    made
}

fn account(rules: &Rules, facts: &SubjectFacts, case: &Case<'_>, decision: &Decision) -> Explanation {
    let at = decision.at;
    let (status, answering) = case.outcome(at);
    let branches = case.branches_at(at);
    let of = |(index, branch): (usize, &BranchAnswers<'_, '_>)| BranchAccount {
        exemption: branch.exemption.map(str::to_owned),
        answers: index == answering,
        status: branch.status,
        criteria: branch.answers.iter().map(|(p, answer)| criterion(rules, facts, p, answer, at)).collect(),
    };
    Explanation {
        branches: branches.iter().enumerate().map(of).collect(),
        flip: if status == Status::Eligible { None } else { change::of_refusal(rules, facts, case, at) },
        by_itself: change::of_time(rules, case, decision),
        texts: BTreeMap::new(),
    }
}

fn criterion(
    rules: &Rules,
    facts: &SubjectFacts,
    prepared: &Prepared<'_>,
    answer: &Answer<'_, '_>,
    at: Second,
) -> CriterionAccount {
    let (asked, opinion) = (prepared.criterion, answer.opinion);
    CriterionAccount {
        id: asked.id.clone(),
        frame: asked.frame.clone(),
        key: answer.keyed.key.clone(),
        role: prepared.role(),
        party: prepared.party(),
        keys: prepared.keys.len(),
        status: answer.status,
        neutral: answer.neutral,
        supporting_units: rounded(opinion.r, 6),
        adverse_units: rounded(opinion.s, 6),
        needed_units: rounded(r_min(asked.eligible_at, opinion.s), 6),
        belief: rounded(opinion.b, 6),
        disbelief: rounded(opinion.d, 6),
        uncertainty: rounded(opinion.u, 6),
        pro: rounded(opinion.pro, 6),
        con: rounded(opinion.con, 6),
        conflict: rounded(opinion.conflict, 6),
        eligible_at: asked.eligible_at,
        ineligible_at: asked.ineligible_at,
        material: asked.material,
        gate: asked.gate.as_ref().map(|gate| GateAccount {
            grade: gate.grade,
            from: gate.from.clone(),
            units: GATE_UNITS,
            met: answer.keyed.question.gate_met(at),
        }),
        evidence: evidence(prepared, answer, at),
        flip: change::flip(rules, facts, prepared, answer, at),
        by_itself: change::by_itself(prepared, answer, at),
    }
}
