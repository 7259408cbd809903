//! The decision: pure, total, the same on every surface.

use crate::criterion::{Answer, Prepared};
use crate::definitions::{Pack, Shape};
use crate::evidence::interpret;
use crate::explain::{self, CriterionReport, NextStep};
use crate::facts::{Attestation, Mark, SubjectFacts, merged};
use crate::fusion::{Cause, Item, Question, Side, Status, first_change};
use crate::ids::{AttestationId, SubjectId};
use crate::parties::{Known, Role, Sheet};
use crate::policy::{Criterion, EndUser, Of, Policy};
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

/// An attestation that a decision looked at, with what had been said of it by then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LookedAt {
    /// The attestation.
    pub id: AttestationId,
    /// Its marks, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub marks: Vec<Mark>,
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
    /// Whether a yes lets nobody in before the caller's end user is judged too; see [`crate::end_users`].
    #[serde(default, skip_serializing_if = "EndUser::is_ignored")]
    pub end_user: EndUser,
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
    pub attestations: Vec<LookedAt>,
}

impl Decision {
    /// When it has to be computed again though nothing new arrives.
    #[must_use]
    pub fn valid_until(&self) -> Option<Second> {
        if self.status == Status::Eligible { self.expires_at } else { self.recheck_at }
    }

    /// Whether its subject is let in without anybody else being named; see [`crate::end_users`].
    #[must_use]
    pub fn admits_alone(&self) -> bool {
        self.status == Status::Eligible && self.end_user.is_ignored()
    }
}

/// Who asks.
struct Asked {
    subject: SubjectId,
    acting_for: Option<SubjectId>,
}

/// A way to be eligible: the main criteria, or an exemption with those it does not waive.
struct Branch<'p> {
    exemption: Option<&'p str>,
    members: Vec<usize>,
}

/// A branch with its answers at an instant.
pub(crate) struct BranchAnswers<'a, 'p> {
    /// The exemption; none for the main criteria.
    pub(crate) exemption: Option<&'p str>,
    /// The worst of its counted criteria.
    pub(crate) status: Status,
    /// Each of its criteria.
    pub(crate) answers: Vec<(&'a Prepared<'p>, Answer<'a, 'p>)>,
}

/// Everything prepared for one policy and one subject; asked at many instants.
pub(crate) struct Case<'p> {
    prepared: Vec<Prepared<'p>>,
    branches: Vec<Branch<'p>>,
    live: BTreeMap<usize, Vec<&'p Criterion>>,
}

impl<'p> Case<'p> {
    /// `sheets`: those of every criterion that is not live, in the policy's order.
    fn new(rules: &'p Rules, policy: &'p Policy, sheets: &'p [Vec<Sheet>]) -> Option<Self> {
        // Without criteria everybody would be let in.
        if policy.criteria.is_empty() || policy.exemptions.iter().any(|exemption| exemption.criteria.is_empty()) {
            return None;
        }
        let mut prepared = Vec::new();
        let mut sheets = sheets.iter();
        // A criterion about several parties must hold for each of them.
        let mut prepare = |criterion: &'p Criterion| -> Option<std::ops::Range<usize>> {
            let pack = rules.body.packs.get(&criterion.frame)?;
            let first = prepared.len();
            for sheet in sheets.next()? {
                prepared.push(Prepared::new(criterion, pack, &rules.body.weights, &rules.body.sets, sheet)?);
            }
            (prepared.len() > first).then_some(first..prepared.len())
        };
        let mut main = Vec::new();
        for criterion in policy.criteria.iter().filter(|criterion| !criterion.live) {
            main.push((criterion.id.as_str(), prepare(criterion)?));
        }
        let live_of = |list: &'p [Criterion], waives: Option<&BTreeSet<String>>| -> Vec<&'p Criterion> {
            list.iter().filter(|c| c.live && !waives.is_some_and(|waives| waives.contains(&c.id))).collect()
        };
        let mut branches =
            vec![Branch { exemption: None, members: main.iter().flat_map(|(_, range)| range.clone()).collect() }];
        let mut live = BTreeMap::from([(0, live_of(&policy.criteria, None))]);
        for exemption in &policy.exemptions {
            let kept = main.iter().filter(|(id, _)| !exemption.waives.contains(*id));
            let mut members: Vec<usize> = kept.flat_map(|(_, range)| range.clone()).collect();
            for criterion in exemption.criteria.iter().filter(|criterion| !criterion.live) {
                members.extend(prepare(criterion)?);
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
            .filter_map(|index| match self.prepared.get(*index).and_then(|prepared| prepared.answer(t)) {
                Some(answer) if answer.neutral => None,
                Some(answer) => Some(answer.status),
                // What cannot be asked is not answered with yes.
                None => Some(Status::Insufficient),
            })
            .min()
            .unwrap_or(Status::Eligible)
    }

    /// The overall status and the branch that gives it: the first eligible one, else the main one.
    pub(crate) fn outcome(&self, t: Second) -> (Status, usize) {
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

    /// Whether the answer at `t` is another one: another status, or a yes that leaves other criteria to the request.
    fn changed(&self, (status, index): (Status, usize), t: Second) -> bool {
        let (then, branch) = self.outcome(t);
        let asks = |index: usize| {
            let asked = self.live.get(&index).into_iter().flatten();
            asked.map(|criterion| criterion.id.as_str()).collect::<BTreeSet<_>>()
        };
        then != status || asks(branch) != asks(index)
    }

    /// Every branch at `t`: its exemption, its status, and the answers of its criteria.
    pub(crate) fn branches_at(&self, t: Second) -> Vec<BranchAnswers<'_, 'p>> {
        let of = |branch: &Branch<'p>| BranchAnswers {
            exemption: branch.exemption,
            status: self.branch_status(branch, t),
            answers: self.answers(branch, t),
        };
        self.branches.iter().map(of).collect()
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
    let known = facts.known_at(at);
    let asked = Asked { subject: known.subject.clone(), acting_for: known.related.acting_for.clone() };
    let Some(known) = Known::new(known) else {
        let known = facts.known_at(at);
        let mut used: Vec<&Attestation> = known.all().collect();
        used.sort_by(|a, b| (&a.id, a.recorded_at).cmp(&(&b.id, b.recorded_at)));
        let start = newest(rules, &used, at);
        return closed(rules, &asked, &used, start, Status::Insufficient, "facts.inconsistent");
    };
    let sheets = sheets(rules, &known);
    // What speaks in a frame of the policy, or says of whom it is to be asked.
    let seen = sheets.iter().flatten().flatten().flat_map(|sheet| &sheet.evidence);
    let mut speaking: BTreeSet<AttestationId> = seen.flat_map(|e| e.parts.iter().cloned()).collect();
    let unread = rules.body.packs.values().filter(|pack| sheets.is_none() || !read_of_subject(rules, pack));
    speaking.extend(unread.flat_map(|pack| interpret(pack, &rules.body.weights, known.own())).flat_map(|e| e.parts));
    speaking.extend(known.relations().cloned());
    let used: Vec<&Attestation> = known.all().filter(|a| speaking.contains(&a.id)).collect();
    let start = newest(rules, &used, at);
    if let Some(next) = rules.body.next_change.filter(|next| *next <= at) {
        // Rules that have been replaced answer nothing.
        let mut decision = closed(rules, &asked, &used, start.max(next), Status::Insufficient, "rules.superseded");
        decision.recheck_at = None;
        return decision;
    }
    if !rules.body.frozen_by.is_empty() {
        return closed(rules, &asked, &used, start, Status::Ineligible, "directive.frozen");
    }
    let Some(policy) = &rules.body.policy else {
        return closed(rules, &asked, &used, start, Status::Ineligible, "resource.ungoverned");
    };
    let Some(case) = sheets.as_ref().and_then(|sheets| Case::new(rules, policy, sheets)) else {
        // A criterion that cannot be judged is not answered with yes.
        return closed(rules, &asked, &used, start, Status::Insufficient, "rules.incomplete");
    };
    let mut instant = start;
    // Bounded: every step passes an event of the evidence, a crossing between two of them, or all renewals before the next.
    for _ in 0..100_000 {
        let outcome = case.outcome(instant);
        let (change, cause) = next_change(rules, policy, &case, instant, outcome);
        match change {
            Some(next) if next <= at && next > instant => {
                instant = match cause {
                    Some(Cause::PolicyMaxTtl) => renewed(policy, &case, next, outcome, at),
                    _ => next,
                };
            }
            _ => {
                let frame = closed(rules, &asked, &used, instant, outcome.0, "");
                return told(rules, &case, frame, outcome, (change, cause));
            }
        }
    }
    closed(rules, &asked, &used, at, Status::Insufficient, "engine.unsettled")
}

/// What is known for each criterion that is not live, in the policy's order; `None` when a pack is missing.
fn sheets(rules: &Rules, known: &Known) -> Option<Vec<Vec<Sheet>>> {
    let criteria = rules.body.policy.iter().flat_map(Policy::all_criteria).filter(|criterion| !criterion.live);
    criteria.map(|criterion| known.sheets(rules, criterion)).collect()
}

/// Asks the case behind a decision. `None` where there is none: nothing governs the resource, or the rules or the facts cannot
/// be used.
pub(crate) fn with_case<R>(
    rules: &Rules,
    facts: &SubjectFacts,
    at: Second,
    ask: impl FnOnce(&Case<'_>) -> R,
) -> Option<R> {
    let sheets = sheets(rules, &Known::new(facts.known_at(at))?)?;
    Case::new(rules, rules.body.policy.as_ref()?, &sheets).map(|case| ask(&case))
}

/// Whether some sheet holds all that the subject's own facts say in the pack's frame.
fn read_of_subject(rules: &Rules, pack: &Pack) -> bool {
    let stored = |criterion: &&Criterion| !criterion.live && criterion.of == Of::Subject && criterion.frame == pack.id;
    pack.shape != Shape::Shares && rules.body.policy.iter().flat_map(Policy::all_criteria).any(|c| stored(&c))
}

/// The newest change at or before `at`.
fn newest(rules: &Rules, used: &[&Attestation], at: Second) -> Second {
    used.iter()
        .flat_map(|a| a.marks.iter().map(|mark| mark.at).chain([a.recorded_at]))
        .filter(|t| *t <= at)
        .fold(rules.since.min(at), Second::max)
}

/// The last of the renewals that follow one another from `first` on, up to `at`, while nothing but the policy's longest promise ends.
fn renewed(policy: &Policy, case: &Case<'_>, first: Second, outcome: (Status, usize), at: Second) -> Second {
    let ttl = max_ttl(policy);
    let questions = case.questions();
    let jump = questions.iter().flat_map(|q| q.items.iter()).flat_map(Item::jumps).filter(|t| *t > first).min();
    let limit = jump.map_or(at.plus(1), |jump| jump.min(at.plus(1)));
    if first.plus(ttl) >= limit || case.changed(outcome, first) {
        return first;
    }
    let outcome = case.outcome(first);
    let end = first_change(&questions, first, limit, |t| case.changed(outcome, t)).map_or(limit, |(t, _)| t);
    first.plus(end.plus(-1).since(first) / ttl * ttl)
}

fn max_ttl(policy: &Policy) -> i64 {
    policy.max_ttl.secs().max(1)
}

/// Fills a decision with what the case shows at its instant.
fn told(
    rules: &Rules,
    case: &Case<'_>,
    mut decision: Decision,
    (status, index): (Status, usize),
    (change, cause): (Option<Second>, Option<Cause>),
) -> Decision {
    let at = decision.at;
    let Some(branch) = case.branches.get(index) else { return decision };
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
    decision.reasons = explain::reasons(&answers, branch.exemption.is_some(), at);
    decision.confidence = confidence.map(|value| explain::rounded(value, 2));
    decision.exemption = branch.exemption.map(str::to_owned);
    decision.live = case.live.get(&index).into_iter().flatten().map(|criterion| criterion.id.clone()).collect();
    decision.criteria = answers.iter().map(|(prepared, answer)| explain::report(prepared, answer, at)).collect();
    if status == Status::Eligible {
        decision.expires_at = change;
        decision.expiry_cause = cause;
    } else {
        decision.recheck_at = change;
        decision.next_steps = explain::next_steps(rules, case, at, change);
    }
    decision
}

/// First second at which the answer differs, bounded by the policy's longest promise and the next change of rules.
fn next_change(
    rules: &Rules,
    policy: &Policy,
    case: &Case<'_>,
    at: Second,
    outcome: (Status, usize),
) -> (Option<Second>, Option<Cause>) {
    let eligible = outcome.0 == Status::Eligible;
    let mut limits: Vec<(Second, Cause)> = Vec::new();
    limits.extend(rules.body.next_change.map(|t| (t, Cause::RulesChange)));
    if eligible {
        limits.push((at.plus(max_ttl(policy)), Cause::PolicyMaxTtl));
        limits.extend(strict_end(case, outcome.1, at).map(|t| (t, Cause::EvidenceEnd)));
    }
    // At equal instants the earlier in the order of causes is named.
    limits.sort_by_key(|(t, cause)| (*t, *cause as u8));
    let limit = limits.first().copied();
    let horizon = match limit {
        // A yes is followed to its end, however far the policy reaches.
        Some((t, _)) if eligible => t,
        Some((t, _)) => t.min(at.plus(RECHECK_HORIZON)),
        None => at.plus(RECHECK_HORIZON),
    };
    let questions = case.questions();
    match first_change(&questions, at, horizon, |t| case.changed(outcome, t)) {
        Some((t, cause)) => (Some(t), Some(cause)),
        None => match limit {
            Some((t, cause)) => (Some(t), Some(cause)),
            None => (None, None),
        },
    }
}

/// Earliest end of a counted document under the strict criteria of the answering branch.
fn strict_end(case: &Case<'_>, index: usize, at: Second) -> Option<Second> {
    let branch = case.branches.get(index)?;
    case.answers(branch, at)
        .iter()
        .filter(|(prepared, answer)| prepared.criterion.strict && !answer.neutral)
        .flat_map(|(_, answer)| answer.keyed.question.items.iter())
        .filter(|item| item.side == Side::Supports && item.units_at(at) > 0.0)
        .filter_map(|item| item.ends_at)
        .min()
}

/// A decision without criteria: frozen, ungoverned, or the frame that [`told`] fills.
fn closed(
    rules: &Rules,
    Asked { subject, acting_for }: &Asked,
    used: &[&Attestation],
    at: Second,
    status: Status,
    reason: &str,
) -> Decision {
    let mut attestations: Vec<LookedAt> = used
        .iter()
        .map(|a| {
            let mut marks = a.marks.clone();
            marks.sort();
            LookedAt { id: a.id.clone(), marks }
        })
        .collect();
    attestations.sort_by(|a, b| a.id.cmp(&b.id));
    let said: Vec<_> = attestations.iter().map(|a| json!({ "id": a.id, "marks": a.marks })).collect();
    let inputs = canonical(&json!({
        "subject": subject, "acting_for": acting_for, "resource": rules.body.resource, "rules": rules.digest,
        "attestations": said, "at": at,
    }));
    let id: String = sha256_hex(&inputs).chars().take(40).collect();
    Decision {
        id: format!("dec_{id}"),
        subject: subject.to_string(),
        acting_for: acting_for.as_ref().map(SubjectId::to_string),
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
        end_user: rules.body.policy.as_ref().map_or(EndUser::Ignored, |policy| policy.end_user),
        live: Vec::new(),
        criteria: Vec::new(),
        reasons: if reason.is_empty() { Vec::new() } else { vec![reason.to_owned()] },
        next_steps: explain::steps_of_closed(reason, rules.body.next_change),
        attestations,
    }
}

/// Judges the criteria that look at the request. Only an eligible decision is judged further, and only downwards: no evidence, a
/// decision of other rules or one that is over means no.
///
/// `live` holds what this request shows, for example one observation of the client's address, made at `at`.
#[must_use]
pub fn check_live(rules: &Rules, decision: Decision, live: &[Attestation], at: Second) -> Decision {
    if decision.status != Status::Eligible {
        return decision;
    }
    let policy = match &rules.body.policy {
        Some(policy) if decision.rules.digest == rules.digest => policy,
        _ => return refused(decision, Status::Insufficient, Some("rules.superseded")),
    };
    if decision.expires_at.is_none_or(|end| at >= end) {
        return refused(decision, Status::Insufficient, Some("decision.expired"));
    }
    let Some(live) = merged(live.to_vec()) else {
        return refused(decision, Status::Insufficient, Some("facts.inconsistent"));
    };
    let mut decision = decision;
    let mut worst = Status::Eligible;
    let mut disbelief: Option<f64> = None;
    for id in decision.live.clone() {
        let criterion = policy.all_criteria().find(|criterion| criterion.id == id);
        let pack = criterion.and_then(|criterion| rules.body.packs.get(&criterion.frame));
        let (Some(criterion), Some(pack)) = (criterion, pack) else {
            worst = worst.min(Status::Insufficient);
            continue;
        };
        let evidence = interpret(pack, &rules.body.weights, &live);
        let sheet = Sheet { role: Role::Subject, party: None, adverse_only: false, evidence };
        let prepared = Prepared::new(criterion, pack, &rules.body.weights, &rules.body.sets, &sheet);
        let Some((prepared, answer)) = prepared.as_ref().and_then(|prepared| Some((prepared, prepared.answer(at)?)))
        else {
            worst = worst.min(Status::Insufficient);
            continue;
        };
        decision.criteria.push(explain::report(prepared, &answer, at));
        decision.reasons.extend(explain::reasons(&[(prepared, answer)], false, at));
        if answer.neutral {
            continue;
        }
        worst = worst.min(answer.status);
        match answer.status {
            Status::Eligible => {
                let belief = explain::rounded(answer.opinion.b, 2);
                decision.confidence = Some(decision.confidence.map_or(belief, |held| held.min(belief)));
            }
            Status::Ineligible => {
                disbelief = Some(disbelief.map_or(answer.opinion.d, |held| held.max(answer.opinion.d)));
            }
            Status::Review | Status::Insufficient => {}
        }
    }
    if worst == Status::Eligible {
        return decision;
    }
    let mut decision = refused(decision, worst, None);
    if worst == Status::Ineligible {
        decision.confidence = disbelief.map(|d| explain::rounded(d, 2));
    }
    decision
}

/// A yes that does not hold for this request.
fn refused(mut decision: Decision, status: Status, reason: Option<&str>) -> Decision {
    decision.status = status;
    decision.confidence = None;
    decision.expires_at = None;
    decision.expiry_cause = None;
    decision.reasons.retain(|reason| !reason.ends_with(".supported"));
    decision.reasons.extend(reason.map(str::to_owned));
    decision
}
