//! The second model's decision: branches, the instant of the decision, and what comes after it, one second after another.

use crate::naive::{Answer, NEVER, Question, Status, Word, words};
use std::collections::{BTreeMap, BTreeSet};
use vouchsafe_core::facts::{Attestation, SubjectFacts};
use vouchsafe_core::policy::Criterion;
use vouchsafe_core::rules::Body;

/// How closely the model looks for a change.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Look {
    /// At every second.
    Seconds,
    /// At every minute and a second around each event, then at every second of the minute in which something changed.
    Minutes,
}

/// How the model sees a criterion.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) id: String,
    pub(crate) answer: Answer,
    pub(crate) reason: String,
    pub(crate) overtaken: (bool, bool),
    pub(crate) restated: bool,
    pub(crate) tells: BTreeSet<String>,
}

/// What the decision must be.
#[derive(Debug)]
pub(crate) struct Verdict {
    pub(crate) status: Status,
    /// Why no criterion was judged.
    pub(crate) closed: Option<&'static str>,
    pub(crate) at: i64,
    pub(crate) confidence: Option<f64>,
    pub(crate) change: i64,
    pub(crate) cause: Option<&'static str>,
    /// Up to where a change was looked for.
    pub(crate) looked_to: i64,
    pub(crate) exemption: Option<String>,
    pub(crate) live: Vec<String>,
    pub(crate) lines: Vec<Line>,
    pub(crate) looked_at: BTreeSet<String>,
    pub(crate) renewals: u32,
    /// Something was proved by several attestations together.
    pub(crate) several_parts: bool,
    /// Two keys answer a strict criterion equally well, so that either end may be named.
    pub(crate) ambiguous: bool,
}

struct Branch {
    exemption: Option<String>,
    members: Vec<usize>,
    live: Vec<String>,
}

struct World<'a> {
    questions: Vec<Question<'a>>,
    branches: Vec<Branch>,
    look: Look,
    points: BTreeSet<i64>,
    jumps: BTreeSet<i64>,
}

impl<'a> World<'a> {
    fn new(body: &'a Body, said: &'a BTreeMap<String, Vec<Word>>, look: Look) -> Option<Self> {
        let policy = body.policy.as_ref()?;
        let mut questions = Vec::new();
        let mut branches = Vec::new();
        let ways = std::iter::once(None).chain(policy.exemptions.iter().map(Some));
        for exemption in ways {
            let own: &[Criterion] = exemption.map_or(&[], |e| &e.criteria);
            if policy.criteria.is_empty() || (exemption.is_some() && own.is_empty()) {
                return None;
            }
            let kept = policy.criteria.iter().filter(|c| exemption.is_none_or(|e| !e.waives.contains(&c.id)));
            let (mut members, mut live) = (Vec::new(), Vec::new());
            for criterion in kept.chain(own) {
                if criterion.live {
                    live.push(criterion.id.clone());
                } else {
                    members.push(questions.len());
                    questions.push(Question::new(criterion, body, said.get(&criterion.frame)?)?);
                }
            }
            branches.push(Branch { exemption: exemption.map(|e| e.id.clone()), members, live });
        }
        let all = |bends: bool| questions.iter().flat_map(|q| q.instants(bends)).collect();
        let (jumps, points) = (all(false), all(true));
        Some(Self { questions, branches, look, points, jumps })
    }

    fn answers(&self, branch: usize, t: i64) -> Vec<(&Question<'a>, Answer)> {
        self.branches[branch].members.iter().map(|n| (&self.questions[*n], self.questions[*n].at(t))).collect()
    }

    fn status(&self, branch: usize, t: i64) -> Status {
        let answers = self.answers(branch, t);
        let counted: Vec<Status> = answers.iter().filter(|(_, a)| !a.neutral).map(|(_, a)| a.status).collect();
        let worst = [Status::Ineligible, Status::Review, Status::Insufficient];
        worst.into_iter().find(|status| counted.contains(status)).unwrap_or(Status::Eligible)
    }

    fn outcome(&self, t: i64) -> (Status, usize) {
        match (0..self.branches.len()).find(|n| self.status(*n, t) == Status::Eligible) {
            Some(branch) => (Status::Eligible, branch),
            None => (self.status(0, t), 0),
        }
    }

    /// Another status, or a yes that asks other things of the request.
    fn differs(&self, (status, branch): (Status, usize), t: i64) -> bool {
        let (then, other) = self.outcome(t);
        let asks = |n: usize| self.branches[n].live.iter().collect::<BTreeSet<_>>();
        then != status || (status == Status::Eligible && asks(branch) != asks(other))
    }

    /// The first second after `t` and before `limit` at which the answer differs.
    fn first(&self, t: i64, limit: i64) -> Option<i64> {
        let now = self.outcome(t);
        if self.look == Look::Seconds {
            return (t + 1..limit).find(|second| self.differs(now, *second));
        }
        let events = self.points.iter().flat_map(|p| [p.saturating_sub(1), *p, p.saturating_add(1)]);
        let mut points: BTreeSet<i64> = events.filter(|p| *p > t && *p < limit).collect();
        points.extend((t + 1..limit).step_by(60));
        points.extend((limit > t + 1).then_some(limit - 1));
        let mut before = t;
        for point in points {
            if self.differs(now, point) {
                return (before + 1..=point).find(|second| self.differs(now, *second));
            }
            before = point;
        }
        None
    }

    fn strict_end(&self, branch: usize, t: i64) -> (i64, bool) {
        let mut end = (NEVER, false);
        for (question, answer) in self.answers(branch, t) {
            if question.criterion.strict && !answer.neutral {
                end = (end.0.min(question.strict_end(&answer, t)), end.1 || answer.tied);
            }
        }
        end
    }
}

fn word_for(question: &Question<'_>, answer: &Answer) -> &'static str {
    let c = question.criterion;
    match answer.status {
        _ if answer.neutral => "unknown_allowed",
        Status::Eligible => "supported",
        Status::Ineligible => "adverse",
        Status::Review => "conflicting",
        Status::Insufficient if answer.con >= c.material => "doubted",
        Status::Insufficient if answer.b >= c.eligible_at => "gate_unmet",
        Status::Insufficient if answer.r > 0.0 => "insufficient",
        Status::Insufficient => "missing",
    }
}

/// What is known at `at`, each attestation once. `None`: one id stands for two statements.
pub(crate) fn known(facts: &SubjectFacts, at: i64) -> (Vec<Attestation>, bool) {
    let mut once: Vec<Attestation> = Vec::new();
    let mut consistent = true;
    for a in facts.attestations.iter().rev().filter(|a| a.recorded_at.epoch() <= at) {
        let mut a = a.clone();
        a.marks.retain(|mark| mark.at.epoch() <= at);
        match once.iter_mut().find(|held| held.id == a.id) {
            Some(held) => {
                // Facts that hold no number at all are never the same.
                consistent &= held.facts == a.facts && held.source == a.source;
                held.recorded_at = held.recorded_at.min(a.recorded_at);
                held.marks.extend(a.marks);
            }
            None => once.push(a),
        }
    }
    (once, consistent)
}

/// The model's decision. `reach` is how many seconds ahead it looks for a change of an answer that is no yes.
pub(crate) fn verdict(body: &Body, since: i64, facts: &SubjectFacts, at: i64, reach: i64, look: Look) -> Verdict {
    let (known, consistent) = known(facts, at);
    let said: BTreeMap<String, Vec<Word>> =
        body.packs.iter().map(|(frame, pack)| (frame.clone(), words(pack, &body.weights, &known))).collect();
    let looked_at: BTreeSet<String> = if consistent {
        said.values().flatten().flat_map(|w| w.parts.iter().cloned()).collect()
    } else {
        known.iter().map(|a| a.id.to_string()).collect()
    };
    let mut start = since.min(at);
    for a in known.iter().filter(|a| looked_at.contains(a.id.as_str())) {
        start = a.marks.iter().map(|mark| mark.at.epoch()).fold(start.max(a.recorded_at.epoch()), i64::max);
    }
    if !consistent {
        // It came to be so with the second of the two statements.
        let received = facts.attestations.iter().map(|a| a.recorded_at.epoch());
        start = received.filter(|t| *t <= at).fold(start, i64::max);
    }
    let next = body.next_change.map_or(NEVER, |t| t.epoch());
    let closed = |status: Status, at: i64, why: &'static str, change: i64| Verdict {
        status,
        closed: Some(why),
        at,
        confidence: None,
        change,
        cause: None,
        looked_to: NEVER,
        exemption: None,
        live: Vec::new(),
        lines: Vec::new(),
        looked_at: looked_at.clone(),
        renewals: 0,
        several_parts: false,
        ambiguous: false,
    };
    if !consistent {
        return closed(Status::Insufficient, start, "facts.inconsistent", next);
    } else if next <= at {
        return closed(Status::Insufficient, start.max(next), "rules.superseded", NEVER);
    } else if !body.frozen_by.is_empty() {
        return closed(Status::Ineligible, start, "directive.frozen", next);
    }
    let Some(policy) = &body.policy else {
        return closed(Status::Ineligible, start, "resource.ungoverned", next);
    };
    let Some(world) = World::new(body, &said, look) else {
        return closed(Status::Insufficient, start, "rules.incomplete", next);
    };
    let ttl = policy.max_ttl.secs().max(1);
    let (mut now, mut renewals, mut ambiguous) = (start, 0, false);
    loop {
        let (status, branch) = world.outcome(now);
        let yes = status == Status::Eligible;
        let (strict, tied) = if yes { world.strict_end(branch, now) } else { (NEVER, false) };
        ambiguous |= tied;
        let promise = if yes { now + ttl } else { NEVER };
        let limit = next.min(promise).min(strict);
        let looked_to = limit.min(if yes { NEVER } else { now + reach });
        let changed = world.first(now, looked_to);
        let (change, cause) = match changed {
            Some(t) if world.jumps.contains(&t) => (t, Some("evidence_end")),
            Some(t) => (t, Some("confidence")),
            None if looked_to < limit || limit == NEVER => (NEVER, None),
            None if limit == next => (limit, Some("rules_change")),
            None if limit == promise => (limit, Some("policy_max_ttl")),
            None => (limit, Some("evidence_end")),
        };
        if change <= at {
            now = change;
            renewals += 1;
            continue;
        }
        let lines = world.answers(branch, now).into_iter().map(|(question, answer)| Line {
            id: question.criterion.id.clone(),
            reason: format!("{}.{}", question.criterion.frame, word_for(question, &answer)),
            overtaken: question.overtaken(&answer, now),
            restated: question.restated(now),
            tells: question.told(&answer, now),
            answer,
        });
        let lines: Vec<Line> = lines.collect();
        let counted = || lines.iter().map(|line| &line.answer).filter(|a| !a.neutral);
        let confidence = match status {
            Status::Eligible => counted().map(|a| a.b).reduce(f64::min),
            Status::Ineligible => counted().filter(|a| a.status == status).map(|a| a.d).reduce(f64::max),
            _ => None,
        };
        let Branch { exemption, live, .. } = &world.branches[branch];
        return Verdict {
            status,
            closed: None,
            at: now,
            confidence,
            change,
            cause: cause.filter(|_| yes),
            looked_to,
            exemption: exemption.clone(),
            live: live.clone(),
            lines,
            looked_at,
            renewals,
            several_parts: said.values().flatten().any(|w| w.parts.len() > 1),
            ambiguous,
        };
    }
}

/// What a request adds to a yes: the status, and its confidence.
pub(crate) fn at_the_request(body: &Body, verdict: &Verdict, live: &[Attestation], at: i64) -> (Status, Option<f64>) {
    let mut sure = verdict.confidence;
    let mut against: Option<f64> = None;
    let mut worst = Status::Eligible;
    for id in &verdict.live {
        let criterion = body.policy.iter().flat_map(|p| p.all_criteria()).find(|c| c.id == *id);
        let answer = criterion.and_then(|criterion| {
            let said = words(body.packs.get(&criterion.frame)?, &body.weights, live);
            Some(Question::new(criterion, body, &said)?.at(at))
        });
        let status = match &answer {
            Some(answer) if answer.neutral => continue,
            Some(answer) => answer.status,
            None => Status::Insufficient,
        };
        let order = [Status::Ineligible, Status::Review, Status::Insufficient, Status::Eligible];
        worst = order.into_iter().find(|s| *s == worst || *s == status).unwrap_or(worst);
        if let Some(answer) = answer {
            match status {
                Status::Eligible => sure = Some(sure.map_or(answer.b, |held| held.min(answer.b))),
                Status::Ineligible => against = Some(against.map_or(answer.d, |held| held.max(answer.d))),
                _ => {}
            }
        }
    }
    match worst {
        Status::Eligible => (worst, sure),
        Status::Ineligible => (worst, against),
        _ => (worst, None),
    }
}
