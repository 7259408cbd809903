//! Explanation: reasons, evidence line by line, and what would change the answer.

use crate::criterion::{Answer, Prepared};
use crate::definitions::{Pack, Proves, Row};
use crate::evidence::{Evidence, Says};
use crate::facts::{Grade, Kind};
use crate::fusion::{GATE_UNITS, Side, SilenceCause, Status, discounted, r_min, units};
use crate::ids::SubjectId;
use crate::parties::Role;
use crate::policy::{Test, source_of};
use crate::rules::Rules;
use crate::second::Second;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Rounds for display; the engine never computes with the result.
#[must_use]
pub fn rounded(value: f64, digits: i32) -> f64 {
    let factor = 10f64.powi(digits);
    (value * factor).round() / factor
}

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
    let items = &answer.keyed.question.items;
    let mut evidence: Vec<EvidenceReport> = Vec::new();
    for (index, (item, source)) in items.iter().zip(&answer.keyed.evidence).enumerate() {
        let now = item.units_at(at);
        let rival = items.iter().enumerate().any(|(other, rival)| {
            let theirs = rival.units_at(at);
            other != index
                && rival.side == item.side
                && rival.document == item.document
                && (theirs > now || (theirs == now && other < index))
        });
        let why_not = if let Some(cause) = item.silence(at) {
            Some(silence_code(cause))
        } else if at < item.counts_from {
            Some("not_yet")
        } else if item.ends_at.is_some_and(|end| at >= end) {
            Some("ended")
        } else if rival {
            Some("same_document")
        } else {
            None
        };
        evidence.push(EvidenceReport {
            attestation: source.attestation.to_string(),
            side: Some(item.side),
            units: rounded(now, 2),
            of: rounded(item.e0, 2),
            counted: why_not.is_none() && now > 0.0,
            why_not: why_not.map(str::to_owned),
        });
    }
    let spoken: BTreeSet<String> = evidence.iter().map(|line| line.attestation.clone()).collect();
    let silent: BTreeSet<String> =
        answer.keyed.silent.iter().map(|e| e.attestation.to_string()).filter(|id| !spoken.contains(id)).collect();
    evidence.extend(silent.into_iter().map(|attestation| EvidenceReport {
        attestation,
        side: None,
        units: 0.0,
        of: 0.0,
        counted: false,
        why_not: Some("says_nothing".to_owned()),
    }));
    evidence.sort_by(|a, b| a.attestation.cmp(&b.attestation));
    CriterionReport {
        id: prepared.criterion.id.clone(),
        frame: prepared.criterion.frame.clone(),
        key: answer.keyed.key.clone(),
        role: Some(prepared.sheet.role).filter(|role| *role != Role::Subject),
        party: prepared.sheet.party.clone().filter(|_| prepared.sheet.role != Role::Subject),
        status: answer.status,
        neutral: answer.neutral,
        belief: rounded(answer.opinion.b, 4),
        disbelief: rounded(answer.opinion.d, 4),
        uncertainty: rounded(answer.opinion.u, 4),
        eligible_at: prepared.criterion.eligible_at,
        evidence,
    }
}

fn silence_code(cause: SilenceCause) -> &'static str {
    match cause {
        SilenceCause::Revoked => "revoked",
        SilenceCause::Superseded => "superseded",
        SilenceCause::Resolved => "resolved",
        SilenceCause::Suspended => "suspended",
        SilenceCause::Overtaken => "overtaken",
        SilenceCause::Restated => "restated",
    }
}

/// Stable reason codes of the answering branch at `at`, in criterion order.
#[must_use]
pub fn reasons(answers: &[(&Prepared<'_>, Answer<'_, '_>)], exempt: bool, at: Second) -> Vec<String> {
    let mut codes: Vec<String> = Vec::new();
    if exempt {
        codes.push("exemption.applied".to_owned());
    }
    for (prepared, answer) in answers {
        let frame = &prepared.criterion.frame;
        let word = match answer.status {
            _ if answer.neutral => "unknown_allowed",
            Status::Eligible => "supported",
            Status::Ineligible => "adverse",
            Status::Review => "conflicting",
            Status::Insufficient if answer.opinion.con >= prepared.criterion.material => "doubted",
            Status::Insufficient if answer.opinion.b >= prepared.criterion.eligible_at => "gate_unmet",
            Status::Insufficient if answer.opinion.r > 0.0 => "insufficient",
            Status::Insufficient => "missing",
        };
        codes.push(format!("{frame}.{word}"));
        let items = &answer.keyed.question.items;
        if items.iter().any(|item| item.silence(at) == Some(SilenceCause::Overtaken)) {
            codes.push(format!("{frame}.overtaken"));
        }
        let held = answer.keyed.evidence.iter().chain(&answer.keyed.silent);
        codes.extend(held.filter(|e| stands(e, at)).flat_map(|e| e.tells.iter().cloned()));
        if inconsistent(prepared.pack, &answer.keyed.evidence, items, at) {
            codes.push(format!("{frame}.inconsistent"));
        }
    }
    let mut seen = BTreeSet::new();
    codes.retain(|code| seen.insert(code.clone()));
    codes
}

/// Whether what was seen is still so, whatever it weighs.
fn stands(evidence: &Evidence, at: Second) -> bool {
    evidence.counts_from <= at
        && evidence.adverse_end.is_none_or(|end| at < end)
        && !evidence.silences.iter().any(|s| s.from <= at && s.until.is_none_or(|until| at < until))
}

/// Support drawn from two exclusive states that no lawful change puts in order: told, never blocking.
fn inconsistent(pack: &Pack, evidence: &[&Evidence], items: &[crate::fusion::Item], at: Second) -> bool {
    let supporting: Vec<&Evidence> = evidence
        .iter()
        .zip(items)
        .filter(|(_, item)| item.side == Side::Supports && item.units_at(at) > 0.0)
        .map(|(e, _)| *e)
        .collect();
    supporting.iter().enumerate().any(|(index, a)| {
        supporting.iter().skip(index + 1).any(|b| match (&a.says, &b.says) {
            (Says::States(x), Says::States(y)) => {
                let ordered = match (a.fact_date, b.fact_date) {
                    (Some(first), Some(second)) if first < second => pack.leads(x, y),
                    (Some(first), Some(second)) if first > second => pack.leads(y, x),
                    _ => false,
                };
                x.is_disjoint(y) && !ordered
            }
            _ => false,
        })
    })
}

/// The two texts of a reason code: for the subject, and for operators. The subject's text never tells what is held against anyone.
#[must_use]
pub fn texts(code: &str) -> (&'static str, &'static str) {
    match code.rsplit_once('.').map_or(code, |(_, word)| word) {
        "supported" => ("What you provided is sufficient.", "belief reaches the threshold"),
        "adverse" => (
            "Information we hold does not allow access. You may contest it.",
            "material adverse evidence and no material support",
        ),
        "conflicting" => (
            "Sources disagree. A person will look at it; you do not need to do anything now.",
            "both sides are material: review",
        ),
        "doubted" => ("Some information needs to be cleared up.", "adverse evidence is material but not decisive"),
        "gate_unmet" => (
            "One strong proof from a document check, a register or a reviewer is needed.",
            "belief reaches the threshold but no single item satisfies the gate",
        ),
        "insufficient" => ("What you provided is not enough yet.", "support is below the threshold"),
        "missing" => ("Nothing has been provided yet.", "no evidence in this frame"),
        "unknown_allowed" => ("Not needed.", "neutral while nothing material is known"),
        "overtaken" => {
            ("An earlier record was replaced by a newer one.", "an adverse item was overtaken by a lawful change")
        }
        "inconsistent" => ("Your documents describe different situations.", "support from exclusive states"),
        "shared" | "mismatch" => (
            "Your identity check needs a person to look at it.",
            "a document is on two subjects, or two birth dates on one",
        ),
        "of_erased" => (
            "Your identity check needs a person to look at it.",
            "the document is that of a subject who was erased with evidence against it",
        ),
        "duplicate" => (
            "You may have more than one account with us.",
            "a document is on two subjects and both matched the face: one person, two accounts",
        ),
        "name_differs" => {
            ("Your documents write your name differently.", "documents of one birth date carry different names")
        }
        "applied" => ("You are covered by an exemption.", "an exemption branch answers"),
        "frozen" => ("Access is suspended for everybody.", "a directive freezes the resource"),
        "ungoverned" => ("This resource is not open.", "no policy is in force for the resource"),
        "unlinked" => ("We do not know this account yet.", "the asserted caller has no link to a subject"),
        "revoked" => ("This credential was withdrawn.", "the token is revoked"),
        _ => ("The request could not be decided.", "the rules are incomplete"),
    }
}

/// What kind of step it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum StepAction {
    /// Provide evidence.
    Provide,
    /// A reviewer must look; evidence alone will not change it.
    Review,
    /// It changes by itself at the given instant.
    Wait,
    /// Nothing the subject can do changes it.
    Final,
}

/// A kind of evidence that would do.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Route {
    /// Kind of statement.
    pub kind: Kind,
    /// Least grade that suffices by itself.
    pub at_least: Grade,
    /// The pack's rows that it may be, all equally good.
    pub any_of: Vec<String>,
}

/// What one criterion still needs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Need {
    /// Criterion id.
    pub criterion: String,
    /// Its frame.
    pub frame: String,
    /// Evidence for one of these states or keys.
    pub evidence_for_one_of: BTreeSet<String>,
    /// Supporting units missing.
    pub missing_units: f64,
    /// Ways to provide it, least intrusive first.
    pub routes: Vec<Route>,
}

/// A set of evidence that would make the subject eligible, or what else would.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NextStep {
    /// What to do.
    pub action: StepAction,
    /// The exemption this step leads to; null for the main criteria.
    pub exemption: Option<String>,
    /// For `WAIT`: when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Second>,
    /// For `PROVIDE`: all of these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<Need>,
}

/// Name of an exemption, and the answers of its branch.
pub(crate) type BranchAnswers<'a, 'e> = (Option<&'a str>, Vec<(&'a Prepared<'e>, Answer<'a, 'e>)>);

/// What would change the answer, in order of branches; then waiting, when it changes by itself.
pub(crate) fn next_steps(
    rules: &Rules,
    branches: &[BranchAnswers<'_, '_>],
    at: Second,
    recheck_at: Option<Second>,
) -> Vec<NextStep> {
    let mut steps: Vec<NextStep> = Vec::new();
    for (exemption, answers) in branches {
        let open: Vec<_> = answers.iter().filter(|(_, a)| !a.neutral && a.status != Status::Eligible).collect();
        let contested = open.iter().any(|(prepared, answer)| answer.opinion.con >= prepared.criterion.material);
        let exemption = exemption.map(str::to_owned);
        if contested {
            if exemption.is_none() {
                steps.push(NextStep { action: StepAction::Review, exemption, at: None, needs: Vec::new() });
            }
            continue;
        }
        let needs: Option<Vec<Need>> =
            open.iter().map(|(prepared, answer)| need(rules, prepared, answer, at)).collect();
        if let Some(needs) = needs.filter(|needs| !needs.is_empty()) {
            steps.push(NextStep { action: StepAction::Provide, exemption, at: None, needs });
        }
    }
    steps.sort_by_key(|step| step.action != StepAction::Provide);
    if let Some(change) = recheck_at {
        steps.push(NextStep { action: StepAction::Wait, exemption: None, at: Some(change), needs: Vec::new() });
    }
    if steps.is_empty() {
        steps.push(NextStep { action: StepAction::Final, exemption: None, at: None, needs: Vec::new() });
    }
    steps
}

/// Least intrusive first: records that exist already, then people who know, then the subject's papers.
const ROUTE_ORDER: [Kind; 5] = [Kind::Registry, Kind::Directory, Kind::Vouch, Kind::DocumentCheck, Kind::Review];

fn need(rules: &Rules, prepared: &Prepared<'_>, answer: &Answer<'_, '_>, _at: Second) -> Option<Need> {
    let criterion = prepared.criterion;
    let pack = rules.body.packs.get(&criterion.frame)?;
    let test = criterion.test(&rules.body.sets)?;
    let missing = (r_min(criterion.eligible_at, answer.opinion.s) - answer.opinion.r).max(0.0);
    let wanted: BTreeSet<String> = match &test {
        Test::Allow(list) | Test::AnyOf(list) => (*list).clone(),
        Test::Deny(_) | Test::NoneOf(_) | Test::NoneOfExcept(_) => BTreeSet::new(),
    };
    let mut routes: Vec<Route> = Vec::new();
    for kind in ROUTE_ORDER {
        let Some(trust) = source_of(kind).and_then(|source| rules.body.weights.trust(source, &pack.id)) else {
            continue;
        };
        let rows: Vec<String> = pack
            .rows
            .iter()
            .filter(|row| row_kinds(row).contains(&kind) && supports(pack, row, &test))
            .map(|row| row.id.clone())
            .collect();
        let gate = criterion.gate.as_ref().filter(|_| !answer.keyed.question.gate_met(_at));
        if rows.is_empty() || gate.is_some_and(|gate| !gate.from.contains(&kind)) {
            continue;
        }
        let enough = |grade: &&Grade| {
            let e = units(discounted(rules.body.weights.sigma(**grade), trust, rules.body.weights.cap));
            e >= missing && gate.is_none_or(|gate| **grade >= gate.grade && e >= GATE_UNITS)
        };
        let reachable: &[Grade] = match kind {
            Kind::DocumentCheck => &[Grade::Fair, Grade::Strong, Grade::Superior],
            Kind::Vouch if matches!(test, Test::Allow(_) | Test::Deny(_)) => &[Grade::Fair],
            Kind::Directory => &[Grade::Fair],
            _ => &[Grade::Fair, Grade::Strong],
        };
        if let Some(grade) = reachable.iter().find(enough) {
            routes.push(Route { kind, at_least: *grade, any_of: rows });
        }
    }
    (!routes.is_empty()).then(|| Need {
        criterion: criterion.id.clone(),
        frame: criterion.frame.clone(),
        evidence_for_one_of: wanted,
        missing_units: rounded(missing, 2),
        routes,
    })
}

fn row_kinds(row: &Row) -> BTreeSet<Kind> {
    let when = row.when.as_ref().or_else(|| row.all_of.iter().find(|part| part.proves).map(|part| &part.when));
    when.map(|when| when.kind.clone()).unwrap_or_default()
}

/// Whether the row can support the test.
fn supports(pack: &Pack, row: &Row, test: &Test<'_>) -> bool {
    match (&row.proves, test) {
        (Proves::States { states }, Test::Allow(list)) => {
            states.is_subset(list)
                && !matches!(&pack.shape, crate::definitions::Shape::State { states: all } if all == states)
        }
        (Proves::States { states }, Test::Deny(list)) => states.is_disjoint(list),
        (Proves::Statement | Proves::ExitCountry, Test::Allow(_) | Test::Deny(_))
        | (Proves::Organisation | Proves::Nationalities, Test::AnyOf(_)) => true,
        _ => false,
    }
}
