//! A criterion over a subject's evidence: sides, dependence, overtaking, gate, and the answer at any instant.

use crate::definitions::{Pack, Shape, Weights};
use crate::evidence::{Evidence, Says};
use crate::fusion::{GateItems, Item, Opinion, Question, Side, Silence, SilenceCause, Status, units};
use crate::ids::SubjectId;
use crate::parties::{Role, Sheet};
use crate::policy::{Criterion, NamedSet, Test, WhenUnknown};
use crate::second::Second;
use std::collections::{BTreeMap, BTreeSet};

/// How the keys of a criterion combine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Over {
    /// The best key answers.
    Best,
    /// The worst key answers.
    Worst,
}

/// One question of a criterion, with the evidence behind each of its items.
#[derive(Debug, Clone)]
pub struct Keyed<'e> {
    /// The key in a membership frame.
    pub key: Option<String>,
    /// The question.
    pub question: Question,
    /// The evidence of each item, in the order of `question.items`.
    pub evidence: Vec<&'e Evidence>,
    /// Evidence of this frame that says nothing here.
    pub silent: Vec<&'e Evidence>,
}

/// A criterion ready to be asked at any instant.
#[derive(Debug, Clone)]
pub struct Prepared<'e> {
    /// The criterion.
    pub criterion: &'e Criterion,
    pub(crate) pack: &'e Pack,
    /// Own strength from which a supporting item may overtake.
    pub(crate) overtakes_at: f64,
    /// Whom it judges, and as what.
    pub(crate) sheet: &'e Sheet,
    pub(crate) over: Over,
    /// One entry for state frames, one per key for membership frames; never empty.
    pub keys: Vec<Keyed<'e>>,
}

/// The answer of a criterion at an instant.
#[derive(Debug, Clone, Copy)]
pub struct Answer<'p, 'e> {
    /// The status, gate included.
    pub status: Status,
    /// Left out of status, confidence and next steps.
    pub neutral: bool,
    /// The opinion behind it.
    pub opinion: Opinion,
    /// The question that answered.
    pub keyed: &'p Keyed<'e>,
}

impl<'e> Prepared<'e> {
    /// Sorts the frame's evidence to the sides of the criterion. `None` when it cannot be judged: a set is missing, a list is
    /// empty or names everything, a threshold is no number.
    #[must_use]
    pub fn new(
        criterion: &'e Criterion,
        pack: &'e Pack,
        weights: &Weights,
        sets: &'e BTreeMap<String, NamedSet>,
        sheet: &'e Sheet,
    ) -> Option<Self> {
        let evidence = sheet.evidence.as_slice();
        let test = criterion.test(sets)?;
        if !criterion.thresholds().sound() || embraces_all_or_nothing(&test, pack) {
            return None;
        }
        let keyed = |key: Option<&str>, side_of: &dyn Fn(&Evidence) -> Option<Side>| {
            question(criterion, pack, weights, evidence, key, side_of)
        };
        let (over, keys) = match test {
            Test::Allow(list) => (Over::Best, vec![keyed(None, &|e| state_side(e, pack, list, true))]),
            Test::Deny(list) => (Over::Best, vec![keyed(None, &|e| state_side(e, pack, list, false))]),
            Test::AnyOf(list) => {
                (Over::Best, list.iter().map(|key| keyed(Some(key), &|e| key_side(e, key, true))).collect())
            }
            Test::NoneOf(_) if pack.shape == Shape::Shares => {
                criterion.aggregate.as_ref().filter(|aggregate| aggregate.at.is_threshold())?;
                let judged = |e: &Evidence| match &e.says {
                    Says::Against => Some(Side::Adverse),
                    Says::Judged(side) => Some(*side),
                    _ => None,
                };
                (Over::Best, vec![keyed(None, &judged)])
            }
            Test::NoneOf(list) => {
                (Over::Worst, list.iter().map(|key| keyed(Some(key), &|e| key_side(e, key, false))).collect())
            }
            Test::NoneOfExcept(list) => {
                let named: BTreeSet<&str> = evidence
                    .iter()
                    .filter_map(|e| match &e.says {
                        Says::Key { key, .. } if !list.contains(key) => Some(key.as_str()),
                        _ => None,
                    })
                    .collect();
                // One more key that nobody has named: never more than insufficient.
                let mut keys: Vec<Keyed<'e>> =
                    named.iter().map(|key| keyed(Some(key), &|e| key_side(e, key, false))).collect();
                keys.push(keyed(None, &|_| None));
                (Over::Worst, keys)
            }
        };
        Some(Self { criterion, pack, overtakes_at: weights.overtakes_at, sheet, over, keys })
    }

    /// As what it judges somebody, unless it judges the subject itself.
    pub(crate) fn role(&self) -> Option<Role> {
        Some(self.sheet.role).filter(|role| *role != Role::Subject)
    }

    /// Whom it judges, unless the subject itself.
    pub(crate) fn party(&self) -> Option<SubjectId> {
        self.sheet.party.clone().filter(|_| self.role().is_some())
    }

    /// Whether both judge the same party as the same.
    pub(crate) fn same_party(&self, other: &Prepared<'_>) -> bool {
        (self.sheet.role, &self.sheet.party) == (other.sheet.role, &other.sheet.party)
    }

    /// All its questions.
    pub fn questions(&self) -> impl Iterator<Item = &Question> {
        self.keys.iter().map(|keyed| &keyed.question)
    }

    /// The answer at `t`.
    #[must_use]
    pub fn answer(&self, t: Second) -> Option<Answer<'_, 'e>> {
        let mut best: Option<Answer<'_, 'e>> = None;
        for keyed in &self.keys {
            let opinion = keyed.question.opinion(t);
            let status = match opinion.status(&keyed.question.thresholds) {
                Status::Eligible if !keyed.question.gate_met(t) => Status::Insufficient,
                status => status,
            };
            let neutral = (self.criterion.when_unknown == WhenUnknown::Allow || self.sheet.adverse_only)
                && status == Status::Insufficient;
            let answer = Answer { status, neutral, opinion, keyed };
            // Keys come in order, so a tie keeps the first.
            let better = best.as_ref().is_none_or(|held| match self.over {
                Over::Best => (status, opinion.b) > (held.status, held.opinion.b),
                Over::Worst => (status, -opinion.con, opinion.b) < (held.status, -held.opinion.con, held.opinion.b),
            });
            if better {
                best = Some(answer);
            }
        }
        // Something material about any key is something known.
        if let Some(answer) = &mut best {
            let doubted = || self.keys.iter().any(|keyed| keyed.question.opinion(t).con >= self.criterion.material);
            answer.neutral = answer.neutral && !doubted();
        }
        best
    }
}

/// Whether the test names nothing, or every state there is: nothing could be judged by it.
fn embraces_all_or_nothing(test: &Test<'_>, pack: &Pack) -> bool {
    let (Test::Allow(list) | Test::Deny(list) | Test::AnyOf(list) | Test::NoneOf(list) | Test::NoneOfExcept(list)) =
        test;
    list.is_empty() || matches!(&pack.shape, Shape::State { states } if states.is_subset(list))
}

/// Which way evidence speaks when the allowed states are `list` (or all but `list`).
fn state_side(evidence: &Evidence, pack: &Pack, list: &BTreeSet<String>, allow: bool) -> Option<Side> {
    match &evidence.says {
        Says::Against => Some(Side::Adverse),
        Says::States(states) => {
            if matches!(&pack.shape, Shape::State { states: frame } if states == frame) {
                return None;
            }
            let within = states.is_subset(list);
            let apart = states.is_disjoint(list);
            let (supports, adverse) = if allow { (within, apart) } else { (apart, within) };
            if adverse {
                Some(Side::Adverse)
            } else if supports {
                Some(Side::Supports)
            } else {
                None
            }
        }
        Says::Key { .. } | Says::Owners(_) | Says::Judged(_) => None,
    }
}

/// Which way evidence speaks about one key; `wanted` is the answer that supports.
fn key_side(evidence: &Evidence, wanted_key: &str, wanted: bool) -> Option<Side> {
    match &evidence.says {
        Says::Key { key, yes } if key == wanted_key => {
            Some(if *yes == wanted { Side::Supports } else { Side::Adverse })
        }
        _ => None,
    }
}

fn question<'e>(
    criterion: &Criterion,
    pack: &Pack,
    weights: &Weights,
    evidence: &'e [Evidence],
    key: Option<&str>,
    side_of: &dyn Fn(&Evidence) -> Option<Side>,
) -> Keyed<'e> {
    let mut sided: Vec<(&'e Evidence, Side, f64)> = Vec::new();
    let mut silent = Vec::new();
    for e in evidence {
        let side = side_of(e);
        let q = match side {
            Some(Side::Supports) => e.supporting_q,
            Some(Side::Adverse) => e.adverse_q,
            None => 0.0,
        };
        match side {
            Some(side) if q > 0.0 => sided.push((e, side, q)),
            _ if key.is_none() || side.is_some() => silent.push(e),
            _ => {}
        }
    }
    let items: Vec<Item> = sided
        .iter()
        .map(|(e, side, q)| {
            let mut silences = e.silences.clone();
            if e.organisation {
                // Also a word that says nothing here, such as a negative without a record, ends the earlier one.
                silences.extend(evidence.iter().filter_map(|later| restated(e, later)));
            }
            if *side == Side::Adverse {
                silences.extend(
                    sided
                        .iter()
                        .filter(|(_, side, q)| *side == Side::Supports && *q >= weights.overtakes_at)
                        .filter_map(|(later, ..)| overtaken(pack, e, later)),
                );
            }
            Item {
                side: *side,
                e0: units(*q),
                counts_from: e.counts_from,
                fades_from: e.fades_from,
                grace: e.ageing.0,
                half_life: e.ageing.1,
                ends_at: if *side == Side::Adverse { e.adverse_end } else { e.supporting_end },
                document: e.document.clone(),
                assessor: e.assessor.clone(),
                silences,
            }
        })
        .collect();
    let gate = criterion.gate.as_ref().map(|gate| GateItems {
        admitted: sided
            .iter()
            .enumerate()
            .filter(|(_, (e, side, _))| *side == Side::Supports && e.grade >= gate.grade && gate.from.contains(&e.kind))
            .map(|(index, _)| index)
            .collect(),
    });
    Keyed {
        key: key.map(str::to_owned),
        question: Question { items, thresholds: criterion.thresholds(), rho: weights.rho, gate },
        evidence: sided.into_iter().map(|(e, ..)| e).collect(),
        silent,
    }
}

/// The same organisation later said the opposite: its earlier word ends, unless the later one is withdrawn.
pub(crate) fn restated(earlier: &Evidence, later: &Evidence) -> Option<Silence> {
    let contradicts = match (&earlier.says, &later.says) {
        (Says::States(a), Says::States(b)) => a.is_disjoint(b),
        (Says::Key { key: a, yes: x }, Says::Key { key: b, yes: y }) => a == b && x != y,
        _ => false,
    };
    let applies = earlier.organisation
        && later.organisation
        && earlier.speaker == later.speaker
        && later.counts_from > earlier.counts_from
        && contradicts;
    applies.then(|| since(later, SilenceCause::Restated)).flatten()
}

/// A lawful change of status came after the adverse fact.
pub(crate) fn overtaken(pack: &Pack, adverse: &Evidence, supporting: &Evidence) -> Option<Silence> {
    let began = adverse.fact_date.unwrap_or(adverse.counts_from);
    let lawful = match (&adverse.says, &supporting.says) {
        (Says::States(from), Says::States(to)) => pack.leads(from, to),
        // On the two sides of one key: yes and no may follow each other.
        (Says::Key { .. }, Says::Key { .. }) => true,
        _ => false,
    };
    // A date ahead of the check cannot be right.
    let applies = lawful && supporting.fact_date.is_some_and(|date| date > began && date <= supporting.counts_from);
    applies.then(|| since(supporting, SilenceCause::Overtaken)).flatten()
}

/// Silence from the first second of `later` until the first mark on it. Its mere end does not lift the silence.
fn since(later: &Evidence, cause: SilenceCause) -> Option<Silence> {
    let until = later.first_mark();
    if until.is_some_and(|until| until <= later.counts_from) {
        return None;
    }
    Some(Silence { from: later.counts_from, until, cause })
}
