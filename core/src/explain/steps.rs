//! Next steps: sets of evidence that would make the subject eligible, or what else would.

use super::offers::{Meets, Offer, Route, meets, routes};
use super::rounded;
use crate::criterion::{Answer, Keyed, Prepared};
use crate::decision::{BranchAnswers, Case};
use crate::definitions::Shape;
use crate::fusion::{Status, r_min};
use crate::ids::SubjectId;
use crate::parties::Role;
use crate::policy::Test;
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

/// What one criterion still needs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Need {
    /// Criterion id.
    pub criterion: String,
    /// Its frame.
    pub frame: String,
    /// As what the party is judged that the evidence is about, unless it is the subject itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// That party; absent where the question names none yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub party: Option<SubjectId>,
    /// Evidence for one of these states or keys.
    pub evidence_for_one_of: BTreeSet<String>,
    /// Evidence for anything but these states, or that none of these keys holds.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub evidence_against_each_of: BTreeSet<String>,
    /// Supporting units missing.
    pub missing_units: f64,
    /// Ways to provide it, least intrusive first, then least effort. One of them suffices.
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
    /// For `PROVIDE`: all of these. A need that a chosen way of an earlier one also serves is met by it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<Need>,
}

impl NextStep {
    pub(super) fn new(action: StepAction, exemption: Option<&str>) -> Self {
        Self { action, exemption: exemption.map(str::to_owned), at: None, needs: Vec::new() }
    }

    fn criteria(&self) -> BTreeSet<String> {
        self.needs.iter().map(|need| need.criterion.clone()).collect()
    }
}

/// What would change a refusal, least intrusive first; then waiting, when it gets better by itself or other rules come.
pub(crate) fn next_steps(rules: &Rules, case: &Case<'_>, at: Second, change: Option<Second>) -> Vec<NextStep> {
    let mut steps: Vec<NextStep> = Vec::new();
    let mut review = false;
    for branch in &case.branches_at(at) {
        let contested = |(prepared, answer): &&(&Prepared<'_>, Answer<'_, '_>)| {
            !answer.neutral && answer.opinion.con >= prepared.criterion.material
        };
        if branch.answers.iter().any(|answer| contested(&answer)) {
            review |= branch.exemption.is_none();
        } else if let Some(needs) = needs(rules, branch, at).filter(|needs| !needs.is_empty()) {
            steps.push(NextStep { needs, ..NextStep::new(StepAction::Provide, branch.exemption) });
        }
    }
    // What another branch asks for too, and more besides, is not needed.
    let asked: Vec<BTreeSet<String>> = steps.iter().map(NextStep::criteria).collect();
    let needed = |own: &BTreeSet<String>| !asked.iter().any(|other| other.len() < own.len() && other.is_subset(own));
    steps.retain(|step| needed(&step.criteria()));
    steps.sort_by_key(intrusiveness);
    if review {
        steps.push(NextStep::new(StepAction::Review, None));
    }
    let better = |t: &Second| rank(case.outcome(*t).0) > rank(case.outcome(at).0);
    if let Some(change) = change.filter(|t| rules.body.next_change == Some(*t) || better(t)) {
        steps.push(NextStep { at: Some(change), ..NextStep::new(StepAction::Wait, None) });
    }
    if steps.is_empty() {
        steps.push(NextStep::new(StepAction::Final, None));
    }
    steps
}

/// What follows a refusal that no criterion gave: other rules, or nothing.
pub(crate) fn steps_of_closed(reason: &str, next_change: Option<Second>) -> Vec<NextStep> {
    let step = match (reason, next_change) {
        // The frame of a judged decision, and rules that answer nothing.
        ("" | "rules.superseded", _) => return Vec::new(),
        ("facts.inconsistent", _) => NextStep::new(StepAction::Review, None),
        (_, Some(at)) => NextStep { at: Some(at), ..NextStep::new(StepAction::Wait, None) },
        (_, None) => NextStep::new(StepAction::Final, None),
    };
    vec![step]
}

/// Better and worse, as evidence moves an answer.
fn rank(status: Status) -> u8 {
    match status {
        Status::Ineligible => 0,
        Status::Review | Status::Insufficient => 1,
        Status::Eligible => 2,
    }
}

/// By the most intrusive of its needs' first routes, then by the number of items.
fn intrusiveness(step: &NextStep) -> (usize, usize) {
    let first = || step.needs.iter().filter_map(|need| need.routes.first());
    let most = first().map(Route::intrusiveness).max().unwrap_or(0);
    (most, first().map(|route| route.evidence.len()).sum())
}

/// What every open criterion of the branch needs; `None` when one of them cannot be met.
fn needs(rules: &Rules, branch: &BranchAnswers<'_, '_>, at: Second) -> Option<Vec<Need>> {
    let open = branch.answers.iter().filter(|(_, answer)| !answer.neutral && answer.status != Status::Eligible);
    let each: Vec<Vec<Open<'_>>> =
        open.map(|(prepared, answer)| Open::all(rules, prepared, answer, at)).collect::<Option<_>>()?;
    let mut open: Vec<Open<'_>> = each.into_iter().flatten().collect();
    for index in 0..open.len() {
        let (before, rest) = open.split_at_mut(index);
        let Some((own, after)) = rest.split_first_mut() else { continue };
        own.serve(rules, before.iter().chain(after.iter()), at);
    }
    Some(open.into_iter().map(|open| open.need).collect())
}

/// An open criterion with what it needs.
struct Open<'a> {
    prepared: &'a Prepared<'a>,
    keyed: &'a Keyed<'a>,
    test: Test<'a>,
    need: Need,
}

impl<'a> Open<'a> {
    /// One need, or one for each key that must be shown not to hold; `None` where nothing would do.
    fn all(rules: &'a Rules, prepared: &'a Prepared<'a>, answer: &Answer<'a, 'a>, at: Second) -> Option<Vec<Self>> {
        let test = prepared.criterion.test(&rules.body.sets)?;
        let none = BTreeSet::new;
        match &test {
            Test::Allow(list) => Some(vec![Self::new(rules, prepared, answer.keyed, ((*list).clone(), none()), at)?]),
            Test::AnyOf(list) => Some(vec![Self::new(rules, prepared, answer.keyed, ((*list).clone(), none()), at)?]),
            Test::Deny(list) => Some(vec![Self::new(rules, prepared, answer.keyed, (none(), (*list).clone()), at)?]),
            Test::NoneOf(list) if prepared.pack.shape == Shape::Shares => {
                Some(vec![Self::new(rules, prepared, answer.keyed, (none(), (*list).clone()), at)?])
            }
            Test::NoneOf(_) => {
                let open = prepared.keys.iter().filter(|keyed| keyed.question.status(at) != Status::Eligible);
                let of = |keyed: &'a Keyed<'a>| (none(), keyed.key.iter().cloned().collect());
                open.map(|keyed| Self::new(rules, prepared, keyed, of(keyed), at)).collect()
            }
            // One more key that nobody has named can never be shown not to hold.
            Test::NoneOfExcept(_) => None,
        }
    }

    fn new(
        rules: &'a Rules,
        prepared: &'a Prepared<'a>,
        keyed: &'a Keyed<'a>,
        (wanted, against): (BTreeSet<String>, BTreeSet<String>),
        at: Second,
    ) -> Option<Self> {
        let criterion = prepared.criterion;
        let test = criterion.test(&rules.body.sets)?;
        let gate = criterion.gate.as_ref();
        let of = |keyed: &Keyed<'_>| routes(prepared.pack, &rules.body.weights, &test, gate, keyed, at);
        let routes = match &test {
            Test::AnyOf(_) => of_best_keys(prepared, &of, at),
            _ => of(keyed),
        };
        let opinion = keyed.question.opinion(at);
        let need = Need {
            criterion: criterion.id.clone(),
            frame: criterion.frame.clone(),
            role: prepared.role(),
            party: prepared.party(),
            evidence_for_one_of: wanted,
            evidence_against_each_of: against,
            missing_units: rounded((r_min(criterion.eligible_at, opinion.s) - opinion.r).max(0.0), 2),
            routes,
        };
        (!need.routes.is_empty()).then_some(Self { prepared, keyed, test, need })
    }

    /// Marks the ways that meet another criterion of the step too, and leaves out those that help there only in part: beside them
    /// some item of the step might not be needed. Where none would be left, all stay: the set suffices all the same.
    fn serve<'o>(&mut self, rules: &Rules, others: impl Iterator<Item = &'o Open<'o>>, at: Second) {
        let all = self.need.routes.clone();
        for other in others.filter(|other| other.prepared.same_party(self.prepared)) {
            let pack = other.prepared.pack;
            let gate = other.prepared.criterion.gate.as_ref();
            for offer in self.need.routes.iter_mut().flat_map(|route| &mut route.evidence) {
                let Offer { kind, at_least, .. } = *offer;
                offer.any_of.retain_mut(|way| {
                    let Some(row) = self.prepared.pack.rows.iter().find(|row| row.id == way.row) else { return false };
                    match meets(row, kind, at_least, pack, &rules.body.weights, &other.test, gate, other.keyed, at) {
                        Meets::No => true,
                        Meets::InPart => false,
                        Meets::Yes => way.also_serves.insert(other.prepared.criterion.id.clone()),
                    }
                });
            }
            self.need.routes.retain(|route| route.evidence.iter().all(|offer| !offer.any_of.is_empty()));
        }
        if self.need.routes.is_empty() {
            self.need.routes = all;
        }
    }
}

/// How many keys with some support are followed up.
const MOST_KEYS: usize = 3;

/// Of a list of keys: those that have some support, then all that have none as one.
fn of_best_keys(prepared: &Prepared<'_>, of: &dyn Fn(&Keyed<'_>) -> Vec<Route>, at: Second) -> Vec<Route> {
    let (bare, spoken): (Vec<&Keyed<'_>>, Vec<&Keyed<'_>>) =
        prepared.keys.iter().partition(|keyed| keyed.question.items.is_empty());
    let mut found: Vec<Route> = Vec::new();
    let mut supported: Vec<_> = spoken
        .into_iter()
        .map(|keyed| (keyed.question.opinion(at), keyed))
        .filter(|(opinion, keyed)| opinion.con < keyed.question.thresholds.material)
        .collect();
    supported.sort_by(|(x, _), (y, _)| y.r.total_cmp(&x.r));
    for (_, keyed) in supported.into_iter().take(MOST_KEYS) {
        found.extend(of(keyed));
    }
    if let Some(first) = bare.first() {
        let keys: BTreeSet<String> = bare.iter().filter_map(|keyed| keyed.key.clone()).collect();
        found.extend(of(first).into_iter().map(|route| Route { for_one_of: keys.clone(), ..route }));
    }
    found.sort_by_key(Route::intrusiveness);
    found
}
