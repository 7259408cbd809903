//! Fusion: subjective logic in evidence space.
//!
//! Each side (supporting `r`, adverse `s`) is a non-negative number of evidence units. Independent units
//! add, dependent ones are capped, supporting units fade with age, adverse ones do not, and the sides are never
//! netted into one score: the status is four-valued. Formulas: Jøsang, *Subjective Logic* (2016), the Beta map
//! with prior weight `W` = 2; the dependence cap and the four-valued rule are this project's own.

use crate::second::Second;
use serde::{Deserialize, Serialize};

/// Non-informative prior weight of the Beta map.
pub const PRIOR_WEIGHT: f64 = 2.0;

/// The answer to "may this subject use this resource?".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Evidence says no. The worst, so the smallest.
    Ineligible,
    /// Sources contradict: a human must look.
    Review,
    /// Not enough evidence yet.
    Insufficient,
    /// Evidence says yes.
    Eligible,
}

impl Status {
    /// The name used in JSON, SQL and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Ineligible => "ineligible",
            Status::Review => "review",
            Status::Insufficient => "insufficient",
            Status::Eligible => "eligible",
        }
    }
}

/// Which way an item speaks under a criterion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// For the criterion.
    Supports,
    /// Against it.
    Adverse,
}

/// Thresholds of one criterion, each in [0, 1].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Thresholds {
    /// tau_e: least belief for `eligible`.
    pub eligible_at: f64,
    /// tau_i: least contrary weight for `ineligible`.
    pub ineligible_at: f64,
    /// mu: least weight of a side that is material.
    pub material: f64,
}

impl Thresholds {
    /// Whether the numbers can be used: `0 < material <= ineligible_at < 1` and `0 < eligible_at < 1`.
    #[must_use]
    pub fn sound(&self) -> bool {
        self.material > 0.0
            && self.material <= self.ineligible_at
            && self.ineligible_at < 1.0
            && self.eligible_at > 0.0
            && self.eligible_at < 1.0
    }
}

/// Discounted strength of one statement: `min(sigma * trust, cap)`; a number that is none counts as 0.
#[must_use]
pub fn discounted(sigma: f64, trust: f64, cap: f64) -> f64 {
    let share = |value: f64| if value.is_finite() { value.clamp(0.0, 1.0) } else { 0.0 };
    // Below 1 whatever the table says, so that no opinion is dogmatic.
    (share(sigma) * share(trust)).min(share(cap)).min(0.999_999)
}

/// Evidence units of a discounted strength: `W q / (1 - q)`. `q` must be below 1.
#[must_use]
pub fn units(q: f64) -> f64 {
    PRIOR_WEIGHT * q / (1.0 - q)
}

/// Share of supporting units left after `age` seconds: 1 during `grace`, halved every `half_life` after it. Without a half-life nothing is left.
#[must_use]
pub fn fade(age: i64, grace: i64, half_life: i64) -> f64 {
    let beyond = age.saturating_sub(grace);
    if beyond <= 0 {
        return 1.0;
    }
    if half_life <= 0 {
        return 0.0;
    }
    // One software exp2 on all platforms, so that every replica computes the same second.
    #[expect(clippy::cast_precision_loss, reason = "seconds stay far below 2^53")]
    libm::exp2(-(beyond as f64) / half_life as f64)
}

/// Evidence units of one side: the smaller of "best per document, summed" and "per assessor, its documents discounted
/// by rho". Symmetric, idempotent, monotone in each unit; summed in key order so equal sets give equal bits.
#[must_use]
pub fn combine_side<'a>(items: impl IntoIterator<Item = (&'a str, &'a str, f64)>, rho: f64) -> f64 {
    let mut best = best_of_pairs(items);
    if let [] | [_] = best.as_slice() {
        return best.first().map_or(0.0, |item| item.units);
    }
    let per_document: f64 = per_document(&best).fold(0.0, |sum, item| sum + item.units);
    let per_assessor: f64 = per_assessor(&mut best, rho).fold(0.0, |sum, (item, share)| sum + share * item.units);
    per_document.min(per_assessor)
}

/// How much of each item's units enters the sum of [`combine_side`], in the order of `items`.
#[must_use]
pub fn shares<'a>(items: impl IntoIterator<Item = (&'a str, &'a str, f64)>, rho: f64) -> Vec<Share> {
    let items: Vec<_> = items.into_iter().collect();
    let mut best = best_of_pairs(items.iter().copied());
    let documents: Vec<Weighed<'_>> = per_document(&best).collect();
    let assessors: Vec<(Weighed<'_>, f64)> = per_assessor(&mut best, rho).collect();
    let by_document: f64 = documents.iter().fold(0.0, |sum, item| sum + item.units);
    let by_assessor: f64 = assessors.iter().fold(0.0, |sum, (item, share)| sum + share * item.units);
    let counted: Vec<(Weighed<'_>, f64)> =
        if by_document <= by_assessor { documents.into_iter().map(|item| (item, 1.0)).collect() } else { assessors };
    items
        .iter()
        .enumerate()
        .map(|(place, (document, assessor, units))| {
            if let Some((_, share)) = counted.iter().find(|(item, _)| item.place == place) {
                return Share::Counts(*share);
            }
            // The same judgement said again gives way to its own best, any other to the best about the document.
            let same_pair = counted.iter().find(|(item, _)| item.document == *document && item.assessor == *assessor);
            let same_document = || counted.iter().find(|(item, _)| item.document == *document);
            match same_pair.or_else(same_document) {
                Some((item, _)) if *units > 0.0 => Share::SameDocumentAs(item.place),
                _ => Share::Nothing,
            }
        })
        .collect()
}

/// What becomes of one item when its side is added up.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Share {
    /// It has no units.
    Nothing,
    /// This share of its units counts: below 1 for a further document of one assessor.
    Counts(f64),
    /// The item at this place rests on the same document and counts instead.
    SameDocumentAs(usize),
}

/// An item with units, as it is added up.
#[derive(Debug, Clone, Copy)]
struct Weighed<'a> {
    document: &'a str,
    assessor: &'a str,
    units: f64,
    place: usize,
}

/// The largest item of each (document, assessor), in key order; items without units are left out.
fn best_of_pairs<'a>(items: impl IntoIterator<Item = (&'a str, &'a str, f64)>) -> Vec<Weighed<'a>> {
    let weighed = |(place, (document, assessor, units))| Weighed { document, assessor, units, place };
    let mut best: Vec<Weighed<'a>> =
        items.into_iter().enumerate().map(weighed).filter(|item| item.units > 0.0).collect();
    best.sort_unstable_by(|x, y| {
        (x.document, x.assessor)
            .cmp(&(y.document, y.assessor))
            .then(y.units.total_cmp(&x.units))
            .then(x.place.cmp(&y.place))
    });
    best.dedup_by(|later, kept| (later.document, later.assessor) == (kept.document, kept.assessor));
    best
}

/// The largest item of each document, of items in key order.
fn per_document<'a, 'i>(best: &'i [Weighed<'a>]) -> impl Iterator<Item = Weighed<'a>> + 'i {
    let larger = |held: Weighed<'a>, item: &Weighed<'a>| if item.units > held.units { *item } else { held };
    best.chunk_by(|x, y| x.document == y.document)
        .filter_map(move |of_one| of_one.split_first().map(|(first, rest)| rest.iter().fold(*first, larger)))
}

/// Every item with its share: 1 for the largest of an assessor, times `rho` for each further one.
fn per_assessor<'a, 'i>(best: &'i mut [Weighed<'a>], rho: f64) -> impl Iterator<Item = (Weighed<'a>, f64)> + 'i {
    best.sort_unstable_by(|x, y| {
        x.assessor.cmp(y.assessor).then(y.units.total_cmp(&x.units)).then(x.place.cmp(&y.place))
    });
    let rho = if rho.is_finite() { rho.clamp(0.0, 1.0) } else { 0.0 };
    best.chunk_by(|x, y| x.assessor == y.assessor).flat_map(move |of_one| {
        of_one.iter().scan(1.0, move |share, item| {
            let own = *share;
            *share *= rho;
            Some((*item, own))
        })
    })
}

/// Belief, disbelief and uncertainty with the two one-sided weights.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Opinion {
    /// Supporting units.
    pub r: f64,
    /// Adverse units.
    pub s: f64,
    /// Belief `r / (r + s + W)`.
    pub b: f64,
    /// Disbelief `s / (r + s + W)`.
    pub d: f64,
    /// Uncertainty `W / (r + s + W)`, never 0.
    pub u: f64,
    /// Weight of the supporting side alone, `r / (r + W)`.
    pub pro: f64,
    /// Weight of the adverse side alone, `s / (s + W)`.
    pub con: f64,
    /// Dempster's conflict mass between the sides, `pro * con`; shown, never decided on.
    pub conflict: f64,
}

impl Opinion {
    /// From evidence units of the two sides.
    #[must_use]
    pub fn new(r: f64, s: f64) -> Self {
        let k = r + s + PRIOR_WEIGHT;
        let pro = r / (r + PRIOR_WEIGHT);
        let con = s / (s + PRIOR_WEIGHT);
        Self { r, s, b: r / k, d: s / k, u: PRIOR_WEIGHT / k, pro, con, conflict: pro * con }
    }

    /// The four-valued rule. Strong support never outvotes material adverse evidence.
    #[must_use]
    pub fn status(&self, thresholds: &Thresholds) -> Status {
        let against = self.con >= thresholds.material;
        if against && self.pro >= thresholds.material {
            Status::Review
        } else if against && self.con >= thresholds.ineligible_at {
            Status::Ineligible
        } else if !against && self.b >= thresholds.eligible_at {
            Status::Eligible
        } else {
            Status::Insufficient
        }
    }
}

/// Least supporting units for belief `tau` against `s` adverse units: `tau (s + W) / (1 - tau)`.
#[must_use]
pub fn r_min(tau: f64, s: f64) -> f64 {
    tau * (s + PRIOR_WEIGHT) / (1.0 - tau)
}

/// Seconds after the check at which one fading item falls to `r_min`: `grace + half_life log2(e0 / r_min)`.
#[must_use]
pub fn crossing(e0: f64, grace: i64, half_life: i64, r_min: f64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "seconds stay far below 2^53")]
    let (grace, half_life) = (grace as f64, half_life as f64);
    grace + half_life * libm::log2(e0 / r_min)
}

/// A stretch of time during which an item counts for nothing: `[from, until)`, or for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Silence {
    /// First second of silence.
    pub from: Second,
    /// First second it speaks again, if ever.
    pub until: Option<Second>,
    /// Why, for the explanation.
    pub cause: SilenceCause,
}

impl Silence {
    /// Whether it silences at `t`.
    #[must_use]
    pub fn acts(&self, t: Second) -> bool {
        self.from <= t && self.until.is_none_or(|until| t < until)
    }
}

/// Why an item is silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SilenceCause {
    /// Its source or an operator took it back.
    Revoked,
    /// A newer result of the same check stands.
    Superseded,
    /// An adjudication settled it.
    Resolved,
    /// Its source was suspended.
    Suspended,
    /// A lawful change of status came after it.
    Overtaken,
    /// The same organisation later said the opposite.
    Restated,
}

/// One item of evidence, ready to be weighed at any instant.
#[derive(Debug, Clone)]
pub struct Item {
    /// Which way it speaks.
    pub side: Side,
    /// Units when fresh.
    pub e0: f64,
    /// First second it counts.
    pub counts_from: Second,
    /// Where its age is measured from.
    pub fades_from: Second,
    /// Seconds before it begins to fade.
    pub grace: i64,
    /// Seconds in which it halves.
    pub half_life: i64,
    /// First second it no longer counts.
    pub ends_at: Option<Second>,
    /// Lineage key of the underlying record.
    pub document: String,
    /// Who made the judgement.
    pub assessor: String,
    /// When it is silent.
    pub silences: Vec<Silence>,
}

impl Item {
    /// The cause of silence at `t`, if any.
    #[must_use]
    pub fn silence(&self, t: Second) -> Option<SilenceCause> {
        self.silences.iter().find(|silence| silence.acts(t)).map(|silence| silence.cause)
    }

    /// Units at `t`.
    #[must_use]
    pub fn units_at(&self, t: Second) -> f64 {
        if t < self.counts_from || self.ends_at.is_some_and(|end| t >= end) || self.silence(t).is_some() {
            return 0.0;
        }
        match self.side {
            Side::Adverse => self.e0,
            Side::Supports => self.e0 * fade(t.since(self.fades_from), self.grace, self.half_life),
        }
    }

    /// Instants at which its units may jump.
    pub(crate) fn jumps(&self) -> impl Iterator<Item = Second> + '_ {
        let silences = self.silences.iter().flat_map(|silence| [Some(silence.from), silence.until]);
        [Some(self.counts_from), self.ends_at].into_iter().chain(silences).flatten()
    }

    /// The instant at which it begins to fade.
    pub(crate) fn bend(&self) -> Second {
        self.fades_from.plus(self.grace)
    }
}

/// A requirement that one supporting item be strong by itself.
#[derive(Debug, Clone)]
pub struct GateItems {
    /// Indices of the items that may satisfy the gate.
    pub admitted: Vec<usize>,
}

/// One question with everything that speaks to it.
#[derive(Debug, Clone)]
pub struct Question {
    /// Its items.
    pub items: Vec<Item>,
    /// Its thresholds.
    pub thresholds: Thresholds,
    /// Discount of further documents of one assessor.
    pub rho: f64,
    /// The gate, if the criterion has one.
    pub gate: Option<GateItems>,
}

/// Units one item needs at an instant to satisfy a gate: own belief one half.
pub const GATE_UNITS: f64 = 2.0;

impl Question {
    /// The opinion at `t`.
    #[must_use]
    pub fn opinion(&self, t: Second) -> Opinion {
        let side = |side: Side| {
            combine_side(
                self.items
                    .iter()
                    .filter(|item| item.side == side)
                    .map(|item| (item.document.as_str(), item.assessor.as_str(), item.units_at(t))),
                self.rho,
            )
        };
        Opinion::new(side(Side::Supports), side(Side::Adverse))
    }

    /// Whether the gate, if any, is satisfied at `t`.
    #[must_use]
    pub fn gate_met(&self, t: Second) -> bool {
        self.gate.as_ref().is_none_or(|gate| {
            gate.admitted.iter().any(|index| self.items.get(*index).is_some_and(|item| item.units_at(t) >= GATE_UNITS))
        })
    }

    /// The status at `t`, gate included. The adverse rules ignore the gate.
    #[must_use]
    pub fn status(&self, t: Second) -> Status {
        self.status_of(&self.opinion(t), t)
    }

    fn status_of(&self, opinion: &Opinion, t: Second) -> Status {
        match opinion.status(&self.thresholds) {
            Status::Eligible if !self.gate_met(t) => Status::Insufficient,
            status => status,
        }
    }

    /// How many halvings of its supporting units the status `held` is away from its change at `t`: while they fade, nearly a
    /// line. Guides the search for that change and decides nothing.
    fn margin(&self, held: Status, opinion: &Opinion, t: Second) -> f64 {
        let needed = match held {
            Status::Eligible => r_min(self.thresholds.eligible_at, opinion.s),
            _ => r_min(self.thresholds.material, 0.0),
        };
        let gate = self.gate.iter().flat_map(|gate| &gate.admitted).filter_map(|index| self.items.get(*index));
        let strongest = gate.map(|item| item.units_at(t) / GATE_UNITS).reduce(f64::max);
        let share = opinion.r / needed;
        libm::log2(strongest.map_or(share, |own| own.min(share)))
    }
}

/// Why an answer changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// An approved change of the rules.
    RulesChange,
    /// The policy's longest promise.
    PolicyMaxTtl,
    /// Evidence ended, or a silence began or ended.
    EvidenceEnd,
    /// Evidence faded below a threshold.
    Confidence,
    /// A grace period granted by a directive ended.
    GraceEnd,
}

/// First whole second in `(from, horizon)` at which `changed` holds, with its cause.
///
/// Between two events `s` is constant and `r` does not increase, so the status of each question changes at most
/// once per segment: its end is compared and the change bisected on whole seconds. Exact, not sampled. `changed` is asked only at
/// instants where some question may have changed.
pub fn first_change(
    questions: &[&Question],
    from: Second,
    horizon: Second,
    changed: impl Fn(Second) -> bool,
) -> Option<(Second, Cause)> {
    let inside = |t: &Second| *t > from && *t < horizon;
    let mut jumps: Vec<Second> =
        questions.iter().flat_map(|q| q.items.iter()).flat_map(Item::jumps).filter(inside).collect();
    jumps.sort_unstable();
    jumps.dedup();
    let bends = questions.iter().flat_map(|q| q.items.iter()).map(Item::bend).filter(inside);
    let mut events: Vec<Second> = jumps.iter().copied().chain(bends).chain([horizon]).collect();
    events.sort_unstable();
    events.dedup();

    let mut start = from;
    for event in events {
        let mut candidates: Vec<Second> =
            questions.iter().filter_map(|question| crossing_in(question, start, event)).collect();
        candidates.sort_unstable();
        candidates.dedup();
        if let Some(t) = candidates.into_iter().find(|t| changed(*t)) {
            return Some((t, Cause::Confidence));
        }
        if event < horizon && changed(event) {
            let cause = if jumps.binary_search(&event).is_ok() { Cause::EvidenceEnd } else { Cause::Confidence };
            return Some((event, cause));
        }
        start = event;
    }
    None
}

/// First second in `(start, end)` at which the question's status differs from that at `start`.
fn crossing_in(question: &Question, start: Second, end: Second) -> Option<Second> {
    let last = end.plus(-1);
    let at = |t: Second| {
        let opinion = question.opinion(t);
        (question.status_of(&opinion, t), opinion)
    };
    let ((before, first), (after, then)) = (at(start), at(last));
    if last <= start || after == before {
        return None;
    }
    let margin = |opinion: &Opinion, t: Second| question.margin(before, opinion, t);
    let look = |t: Second| {
        let (status, opinion) = at(t);
        (status == before, margin(&opinion, t))
    };
    Some(narrowed([(start, margin(&first, start)), (last, margin(&then, last))], look))
}

/// First second that is as the second point, given that all before it are as the first one. `look` tells of a second between
/// them whether it is as the first, and its margin, which falls to zero about where the change is.
fn narrowed(mut points: [(Second, f64); 2], look: impl Fn(Second) -> (bool, f64)) -> Second {
    let [(mut same, _), (mut other, _)] = points;
    let mut guesses = GUESSES;
    while other.since(same) > 1 {
        let middle = same.plus(other.since(same) / 2);
        let guess = if guesses > 0 { secant(points) } else { None };
        guesses = guesses.saturating_sub(1);
        let probe = guess.map_or(middle, |guess| guess.clamp(same.plus(1), other.plus(-1)));
        let (as_first, margin) = look(probe);
        let side = if as_first { &mut same } else { &mut other };
        *side = probe;
        points = [points[1], (probe, margin)];
    }
    other
}

/// Guesses before the rest is halved. Any probe inside the bracket gives the same answer; a good one gives it sooner.
const GUESSES: u32 = 12;

/// Where the line through two points falls below zero, in whole seconds.
fn secant([(t0, y0), (t1, y1)]: [(Second, f64); 2]) -> Option<Second> {
    #[expect(clippy::cast_precision_loss, reason = "seconds stay far below 2^53")]
    let step = (-y1 * t1.since(t0) as f64 / (y1 - y0)).ceil();
    #[expect(clippy::cast_possible_truncation, reason = "checked to be small")]
    (step.abs() < 1e12).then(|| t1.plus(step as i64))
}

#[cfg(test)]
mod tests;
