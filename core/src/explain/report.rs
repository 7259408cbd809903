//! The report of a criterion that every decision carries.

use super::account::{Fate, weighings};
use super::rounded;
use crate::criterion::{Answer, Prepared};
use crate::fusion::{Side, Status};
use crate::ids::SubjectId;
use crate::parties::Role;
use crate::second::Second;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// One piece of evidence under a criterion.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EvidenceReport {
    /// The attestation.
    pub attestation: String,
    /// Which way it speaks; absent when it says nothing here.
    pub side: Option<Side>,
    /// Units now.
    pub units: f64,
    /// Units when fresh.
    pub of: f64,
    /// Whether it enters the sum.
    pub counted: bool,
    /// Why not, as a stable code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why_not: Option<String>,
}

/// One criterion of a decision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CriterionReport {
    /// Criterion id.
    pub id: String,
    /// Its frame.
    pub frame: String,
    /// The key that answered, in membership frames.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// As what the party was judged, unless it is the subject itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// That party; absent where the question names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub party: Option<SubjectId>,
    /// Its status.
    pub status: Status,
    /// Left out of status and confidence.
    pub neutral: bool,
    /// Belief, four digits.
    pub belief: f64,
    /// Disbelief, four digits.
    pub disbelief: f64,
    /// Uncertainty, four digits.
    pub uncertainty: f64,
    /// Least belief for eligible.
    pub eligible_at: f64,
    /// The evidence.
    pub evidence: Vec<EvidenceReport>,
}

/// The criterion with its evidence at `at`.
#[must_use]
pub fn report(prepared: &Prepared<'_>, answer: &Answer<'_, '_>, at: Second) -> CriterionReport {
    let items = answer.keyed.question.items.iter().zip(&answer.keyed.evidence);
    let mut evidence: Vec<EvidenceReport> = items
        .zip(weighings(answer.keyed, at))
        .map(|((item, source), weighing)| {
            let counted = weighing.share > 0.0;
            EvidenceReport {
                attestation: source.attestation.to_string(),
                side: Some(item.side),
                units: rounded(weighing.units, 2),
                of: rounded(item.e0, 2),
                counted,
                why_not: (!counted).then(|| weighing.fate.code().to_owned()),
            }
        })
        .collect();
    let spoken: BTreeSet<String> = evidence.iter().map(|line| line.attestation.clone()).collect();
    let silent: BTreeSet<String> =
        answer.keyed.silent.iter().map(|e| e.attestation.to_string()).filter(|id| !spoken.contains(id)).collect();
    evidence.extend(silent.into_iter().map(|attestation| EvidenceReport {
        attestation,
        side: None,
        units: 0.0,
        of: 0.0,
        counted: false,
        why_not: Some(Fate::SaysNothing.code().to_owned()),
    }));
    evidence.sort_by(|a, b| a.attestation.cmp(&b.attestation));
    CriterionReport {
        id: prepared.criterion.id.clone(),
        frame: prepared.criterion.frame.clone(),
        key: answer.keyed.key.clone(),
        role: prepared.role(),
        party: prepared.party(),
        status: answer.status,
        neutral: answer.neutral,
        belief: rounded(answer.opinion.b, 4),
        disbelief: rounded(answer.opinion.d, 4),
        uncertainty: rounded(answer.opinion.u, 4),
        eligible_at: prepared.criterion.eligible_at,
        evidence,
    }
}
