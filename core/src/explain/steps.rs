//! Next steps.

use super::rounded;
use crate::criterion::{Answer, Prepared};
use crate::decision::BranchAnswers;
use crate::definitions::{Pack, Proves, Row};
use crate::facts::{Grade, Kind};
use crate::fusion::{GATE_UNITS, Status, discounted, r_min, units};
use crate::policy::{Test, source_of};
use crate::rules::Rules;
use crate::second::Second;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// What kind of step it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum StepAction {
    /// Provide evidence.
    Provide,
    /// A check ended without a finding: the subject may try it again.
    Retry,
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

/// What would change the answer, in order of branches; then waiting, when it changes by itself.
pub(crate) fn next_steps(
    rules: &Rules,
    branches: &[BranchAnswers<'_, '_>],
    at: Second,
    recheck_at: Option<Second>,
) -> Vec<NextStep> {
    let mut steps: Vec<NextStep> = Vec::new();
    for BranchAnswers { exemption, answers, .. } in branches {
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
