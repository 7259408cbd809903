//! The second model: written from the evidence model's text, it shares no arithmetic with the engine. It knows only what goes in
//! (facts, packs, weights, policies), keeps lists, adds up in another order, and finds a change by looking at one second after another.

use std::collections::BTreeSet;
use vouchsafe_core::definitions::{Pack, Proves, Row, Shape, Weights, When};
use vouchsafe_core::facts::{Attestation, Facts, Grade, Kind, MarkKind, Outcome, SourceKind, Statement};
use vouchsafe_core::policy::{Criterion, Members, WhenUnknown};
use vouchsafe_core::rules::Body;

pub(crate) const NEVER: i64 = i64::MAX;
const ALWAYS: i64 = i64::MIN;

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Says {
    States(Vec<String>),
    Key(String, bool),
    Against,
}

/// One statement in one frame, with both its strengths and both its ends.
#[derive(Debug, Clone)]
pub(crate) struct Word {
    pub(crate) says: Says,
    q_for: f64,
    q_against: f64,
    document: String,
    assessor: String,
    speaker: Option<String>,
    from: i64,
    fades: i64,
    grace: i64,
    half_life: i64,
    began: Option<i64>,
    end_for: i64,
    end_against: i64,
    marked: i64,
    kind: Kind,
    grade: Grade,
    tells: Vec<String>,
    pub(crate) parts: Vec<String>,
}

impl Word {
    /// Said and not taken back at `t`; whether its document has ended is another question.
    fn stands(&self, t: i64) -> bool {
        self.from <= t && t < self.marked
    }
}

fn fits(when: &When, f: &Facts, may_have_ended: bool) -> bool {
    let category = match &f.statement {
        Some(Statement::Read { category: Some(code), .. }) => Some(code),
        _ => None,
    };
    let outcome = match f.outcome {
        outcome if !when.outcome.is_empty() => when.outcome.contains(&outcome),
        Outcome::Approved => true,
        Outcome::DocumentExpired => may_have_ended,
        _ => false,
    };
    let mut no = !outcome;
    no |= !when.kind.is_empty() && !when.kind.contains(&f.kind);
    no |= !when.document_type.is_empty() && !f.document_type.iter().any(|d| when.document_type.contains(d));
    no |= !when.issuing_country.is_empty() && !f.issuing_country.iter().any(|c| when.issuing_country.contains(c));
    no |= !when.not_issuing_country.is_empty() && f.issuing_country.is_none();
    no |= f.issuing_country.iter().any(|c| when.not_issuing_country.contains(c));
    let read = match &f.statement {
        Some(Statement::Read { nationalities, .. }) => nationalities.iter().collect(),
        _ => Vec::new(),
    };
    no |= !when.nationality.is_empty() && !read.iter().any(|country| when.nationality.contains(*country));
    no |= !when.category.is_empty() && !category.iter().any(|code| when.category.contains(*code));
    no |= !when.basis.is_empty() && !f.basis.iter().any(|basis| when.basis.contains(basis));
    no |= f.basis.iter().any(|basis| when.not_basis.contains(basis));
    no |= !when.codes.is_subset(&f.codes);
    no |= !when.any_code.is_empty() && when.any_code.is_disjoint(&f.codes);
    !no
}

fn of_organisation(f: &Facts) -> bool {
    f.source_kind == SourceKind::Employer || f.source_kind == SourceKind::UnverifiedOrganisation
}

fn anonymised(f: &Facts) -> bool {
    matches!(f.statement, Some(Statement::Network { anonymous: true, .. }))
}

/// The grade this source can have in this frame.
fn graded(pack: &Pack, weights: &Weights, f: &Facts) -> Grade {
    let membership = pack.shape == Shape::Membership;
    let highest = match f.source_kind {
        SourceKind::Subject => return Grade::SelfDeclared,
        SourceKind::UnverifiedOrganisation if weights.unverified_grade_cap < Grade::Fair => {
            weights.unverified_grade_cap
        }
        SourceKind::UnverifiedOrganisation => Grade::Fair,
        SourceKind::Employer if !membership => Grade::Fair,
        SourceKind::Employer if f.kind == Kind::Directory => Grade::Fair,
        _ => Grade::Superior,
    };
    if f.grade > highest { highest } else { f.grade }
}

/// Strength when it supports, and when it is adverse.
fn strength(pack: &Pack, weights: &Weights, f: &Facts) -> Option<(f64, f64)> {
    let trust = match anonymised(f) {
        true => *weights.anonymised_trust.get(&pack.id)?,
        false => *weights.trust.get(&f.source_kind)?.get(&pack.id)?,
    };
    let sigma = weights.sigma[&graded(pack, weights, f)];
    let q = |doubt: f64| (trust * sigma * doubt).min(weights.cap);
    if f.source_kind == SourceKind::Subject {
        let own_loss = (weights.against_interest_trust * weights.against_interest_sigma).min(weights.cap);
        return Some((q(readable(f.doubt).unwrap_or(0.0)), own_loss));
    }
    let recorded = f.basis.iter().any(|basis| pack.vouches.adverse_basis.contains(basis));
    let mere_vouch = of_organisation(f) && pack.shape != Shape::Membership && !recorded;
    let against = if mere_vouch { 0.0 } else { q(readable(f.doubt).unwrap_or(1.0)) };
    Some((q(readable(f.doubt).unwrap_or(0.0)), against))
}

/// No doubt is a factor of one; a doubt that is no number between 0 and 1 cannot be read.
fn readable(doubt: Option<f64>) -> Option<f64> {
    let factor = doubt.unwrap_or(1.0);
    (factor > 0.0 && factor <= 1.0).then_some(factor)
}

fn said(pack: &Pack, row: &Row, f: &Facts) -> Vec<Says> {
    match (&row.proves, &f.statement) {
        (Proves::Against, _) => vec![Says::Against],
        (Proves::States { states }, _) => vec![Says::States(states.iter().rev().cloned().collect())],
        (Proves::Statement, Some(Statement::States { frame, states })) => {
            let known = match &pack.shape {
                Shape::State { states: all } => states.iter().all(|state| all.contains(state)),
                Shape::OpenState => true,
                Shape::Membership | Shape::Shares => false,
            };
            if *frame != pack.id || !known || states.is_empty() {
                return Vec::new();
            }
            vec![Says::States(states.iter().rev().cloned().collect())]
        }
        (Proves::ExitCountry, Some(Statement::Network { country: Some(country), .. })) => {
            vec![Says::States(vec![country.clone()])]
        }
        (Proves::Organisation, Some(Statement::Employment { organisation, employed, .. })) => {
            vec![Says::Key(organisation.clone(), *employed)]
        }
        (Proves::Nationalities, statement) => {
            let mut countries: Vec<String> = match statement {
                Some(Statement::Read { nationalities: list, .. } | Statement::Nationalities { countries: list }) => {
                    list.iter().cloned().collect()
                }
                _ => Vec::new(),
            };
            if f.kind == Kind::DocumentCheck || f.kind == Kind::Registry {
                countries.extend(f.issuing_country.clone());
            }
            countries.sort();
            countries.dedup();
            countries.into_iter().map(|country| Says::Key(country, true)).collect()
        }
        _ => Vec::new(),
    }
}

/// Every way to choose one attestation for each part of a row.
fn choices<'a>(row: &Row, all: &'a [Attestation]) -> Vec<Vec<&'a Attestation>> {
    if let Some(when) = &row.when {
        return all.iter().filter(|a| fits(when, &a.facts, false)).map(|a| vec![a]).collect();
    }
    let mut chosen: Vec<Vec<&Attestation>> = vec![Vec::new()];
    for part in &row.all_of {
        let mut longer = Vec::new();
        for some in &chosen {
            for a in all.iter().filter(|a| fits(&part.when, &a.facts, part.may_have_ended)) {
                longer.push(some.iter().copied().chain([a]).collect::<Vec<_>>());
            }
        }
        chosen = longer;
    }
    chosen.retain(|some| {
        let ids: BTreeSet<_> = some.iter().map(|a| &a.id).collect();
        let births: BTreeSet<_> = some.iter().filter_map(|a| a.facts.person.as_ref()).map(|p| &p.birth).collect();
        ids.len() == some.len() && births.len() < 2
    });
    chosen
}

/// What all attestations say in the pack's frame.
pub(crate) fn words(pack: &Pack, weights: &Weights, all: &[Attestation]) -> Vec<Word> {
    let all: Vec<Attestation> = all.iter().filter(|a| a.facts.kind != Kind::Adjudication).cloned().collect();
    let mut found = Vec::new();
    for row in &pack.rows {
        let Some(class) = weights.classes.get(&row.class) else { continue };
        for parts in choices(row, &all) {
            let place = row.all_of.iter().position(|part| part.proves).unwrap_or(0);
            let proving = parts[place];
            let f = &proving.facts;
            let strengths: Vec<_> = parts.iter().map(|a| strength(pack, weights, &a.facts)).collect();
            if strengths.iter().any(Option::is_none) {
                continue;
            }
            let unfinished =
                |a: &&Attestation| matches!(a.facts.outcome, Outcome::Pending | Outcome::Error | Outcome::Resubmit);
            if parts.iter().any(unfinished) {
                continue;
            }
            let ends_matter = |n: usize| !row.all_of.get(n).is_some_and(|part| part.may_have_ended);
            let passed = parts.iter().enumerate().all(|(n, a)| {
                a.facts.outcome == Outcome::Approved || (a.facts.outcome == Outcome::DocumentExpired && !ends_matter(n))
            });
            let against = row.proves == Proves::Against;
            let smallest = |of: fn((f64, f64)) -> f64| strengths.iter().flatten().map(|s| of(*s)).fold(1.0, f64::min);
            let oldest = parts.iter().map(|a| a.facts.checked_at.epoch()).fold(NEVER, i64::min);
            let mut end_for = class.max_age_secs.map_or(NEVER, |age| oldest + age);
            for (_, a) in parts.iter().enumerate().filter(|(n, _)| ends_matter(*n)) {
                end_for = end_for.min(a.facts.ends_at.map_or(NEVER, |end| end.epoch()));
            }
            let mut marked = NEVER;
            for mark in parts.iter().flat_map(|a| &a.marks) {
                // What is against the subject itself lasts until somebody adjudicates or takes it back.
                if !against || mark.kind == MarkKind::Revoked || mark.kind == MarkKind::Resolved {
                    marked = marked.min(if mark.from_start { ALWAYS } else { mark.at.epoch() });
                }
            }
            let one_for_all = match f.source_kind {
                SourceKind::UnverifiedOrganisation => Some("all organisations nobody verified"),
                _ if anonymised(f) => Some("all that hide their address"),
                SourceKind::Service => Some("this service"),
                _ => None,
            };
            let key = |own: &String| one_for_all.map_or(format!("own {own}"), str::to_owned);
            for says in said(pack, row, f) {
                found.push(Word {
                    says,
                    q_for: if against || !passed { 0.0 } else { smallest(|s| s.0) },
                    q_against: smallest(|s| s.1),
                    document: key(&f.document),
                    assessor: key(&f.assessor),
                    speaker: of_organisation(f).then(|| f.assessor.clone()),
                    from: parts.iter().map(|a| a.facts.checked_at.epoch()).fold(ALWAYS, i64::max),
                    fades: oldest,
                    grace: class.grace_secs,
                    half_life: class.half_life_secs,
                    began: f.fact_date.map(|date| date.epoch()),
                    end_for,
                    end_against: if against { NEVER } else { end_for.min(oldest + weights.adverse_max_age_secs) },
                    marked,
                    kind: f.kind,
                    grade: parts.iter().map(|a| graded(pack, weights, &a.facts)).min().unwrap_or(Grade::SelfDeclared),
                    tells: f.codes.iter().filter(|_| f.kind == Kind::CrossCheck).cloned().collect(),
                    parts: parts.iter().map(|a| a.id.to_string()).collect(),
                });
            }
        }
    }
    found
}

/// Whether from every state of the first list a chain of declared changes ends in the second.
fn leads(pack: &Pack, from: &[String], to: &[String]) -> bool {
    from.iter().all(|start| {
        let mut reached: Vec<&String> = vec![start];
        // One step at least, and never more steps than there are edges.
        let mut arrived = false;
        for _ in 0..=pack.transitions.len() {
            let next: Vec<&String> =
                pack.transitions.iter().filter(|(a, _)| reached.contains(&a)).map(|(_, b)| b).collect();
            arrived |= next.iter().any(|state| to.contains(state));
            reached.extend(next);
            reached.sort();
            reached.dedup();
        }
        arrived
    })
}

fn opposite(a: &Word, b: &Word) -> bool {
    match (&a.says, &b.says) {
        (Says::States(x), Says::States(y)) => !x.iter().any(|state| y.contains(state)),
        (Says::Key(x, yes), Says::Key(y, no)) => x == y && yes != no,
        _ => false,
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Ineligible,
    Review,
    Insufficient,
    Eligible,
}

impl Status {
    fn badness(self) -> u8 {
        match self {
            Status::Ineligible => 3,
            Status::Review => 2,
            Status::Insufficient => 1,
            Status::Eligible => 0,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Side {
    For,
    Against,
}

/// A word with its side under one criterion and key, and those that silence it while they stand.
struct Piece {
    word: usize,
    side: Side,
    full: f64,
    restated_by: Vec<usize>,
    overtaken_by: Vec<usize>,
    opens_gate: bool,
}

struct Asked {
    key: Option<String>,
    pieces: Vec<Piece>,
}

/// A criterion with the words of its frame.
pub(crate) struct Question<'a> {
    pub(crate) criterion: &'a Criterion,
    words: &'a [Word],
    best: bool,
    keys: Vec<Asked>,
    rho: f64,
    membership: bool,
}

/// How a criterion answers at one second.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: Status,
    pub(crate) neutral: bool,
    pub(crate) b: f64,
    pub(crate) d: f64,
    pub(crate) con: f64,
    pub(crate) r: f64,
    pub(crate) key: Option<String>,
    /// Several keys answer equally well.
    pub(crate) tied: bool,
    place: usize,
}

/// The list a criterion names, and how it is meant.
fn listed<'a>(criterion: &'a Criterion, body: &'a Body) -> Option<(&'static str, &'a BTreeSet<String>)> {
    let tests = [
        ("allow", &criterion.allow),
        ("deny", &criterion.deny),
        ("any_of", &criterion.any_of),
        ("none_of", &criterion.none_of),
        ("none_of_except", &criterion.none_of_except),
    ];
    let given: Vec<_> = tests.into_iter().filter_map(|(name, members)| Some((name, members.as_ref()?))).collect();
    let [(name, members)] = given.as_slice() else { return None };
    match members {
        Members::List(list) => Some((name, list)),
        Members::Set(set) => Some((name, &body.sets.get(&set.replacen("set:", "", 1))?.members)),
    }
}

impl<'a> Question<'a> {
    /// `None`: the criterion cannot be judged.
    pub(crate) fn new(criterion: &'a Criterion, body: &'a Body, words: &'a [Word]) -> Option<Self> {
        let pack = body.packs.get(&criterion.frame)?;
        let (test, list) = listed(criterion, body)?;
        let (mu, tau_i, tau_e) = (criterion.material, criterion.ineligible_at, criterion.eligible_at);
        let usable = mu > 0.0 && mu <= tau_i && tau_i < 1.0 && tau_e > 0.0 && tau_e < 1.0;
        let everything = matches!(&pack.shape, Shape::State { states } if states.iter().all(|s| list.contains(s)));
        if !usable || list.is_empty() || everything {
            return None;
        }
        let mut keys: Vec<Option<String>> = match test {
            "allow" | "deny" => vec![None],
            "any_of" | "none_of" => list.iter().cloned().map(Some).collect(),
            _ => words
                .iter()
                .filter_map(|w| match &w.says {
                    Says::Key(key, _) if !list.contains(key) => Some(Some(key.clone())),
                    _ => None,
                })
                .collect(),
        };
        keys.sort();
        keys.dedup();
        if test == "none_of_except" {
            keys.push(None);
        }
        let membership = !matches!(test, "allow" | "deny");
        let side = |w: &Word, key: &Option<String>| -> Option<Side> {
            let good = match (&w.says, key) {
                (Says::Against, _) => return (!membership).then_some(Side::Against),
                (Says::Key(about, yes), Some(key)) if about == key => *yes == (test == "any_of"),
                (Says::States(states), None) if !membership => {
                    let named = states.iter().filter(|state| list.contains(*state)).count();
                    let whole = matches!(&pack.shape, Shape::State { states: all } if all.len() == states.len());
                    if whole || (named > 0 && named < states.len()) {
                        return None;
                    }
                    (named > 0) == (test == "allow")
                }
                _ => return None,
            };
            Some(if good { Side::For } else { Side::Against })
        };
        let keys = keys.into_iter().map(|key| {
            let sides: Vec<Option<Side>> = words.iter().map(|w| side(w, &key)).collect();
            let pieces = words.iter().enumerate().filter_map(|(word, w)| {
                let side = sides[word]?;
                let q = if side == Side::For { w.q_for } else { w.q_against };
                let restated_by = words.iter().enumerate().filter(|(_, later)| {
                    w.speaker.is_some() && later.speaker == w.speaker && later.from > w.from && opposite(w, later)
                });
                let overtaken_by = words.iter().enumerate().filter(|(n, later)| {
                    let lawful = match (&w.says, &later.says) {
                        (Says::States(x), Says::States(y)) => leads(pack, x, y),
                        _ => opposite(w, later),
                    };
                    let newer = later.began.is_some_and(|date| date > w.began.unwrap_or(w.from) && date <= later.from);
                    let strong = later.q_for > 0.0 && later.q_for >= body.weights.overtakes_at;
                    side == Side::Against && sides[*n] == Some(Side::For) && strong && newer && lawful
                });
                let gate = criterion.gate.as_ref();
                (q > 0.0).then(|| Piece {
                    word,
                    side,
                    full: 2.0 / (1.0 / q - 1.0),
                    restated_by: restated_by.map(|(n, _)| n).collect(),
                    overtaken_by: overtaken_by.map(|(n, _)| n).collect(),
                    opens_gate: side == Side::For
                        && gate.is_some_and(|gate| w.grade >= gate.grade && gate.from.contains(&w.kind)),
                })
            });
            let pieces = pieces.collect();
            Asked { key, pieces }
        });
        let keys = keys.collect();
        Some(Self {
            criterion,
            words,
            best: matches!(test, "allow" | "deny" | "any_of"),
            keys,
            rho: body.weights.rho,
            membership,
        })
    }

    fn quiet(&self, by: &[usize], t: i64) -> bool {
        by.iter().any(|later| self.words[*later].stands(t))
    }

    /// Units of one piece at `t`.
    fn e(&self, piece: &Piece, t: i64) -> f64 {
        let w = &self.words[piece.word];
        let end = if piece.side == Side::For { w.end_for } else { w.end_against };
        if !w.stands(t) || t >= end || self.quiet(&piece.restated_by, t) || self.quiet(&piece.overtaken_by, t) {
            return 0.0;
        }
        let late = t - w.fades - w.grace;
        if piece.side == Side::Against || late <= 0 {
            return piece.full;
        }
        #[expect(clippy::cast_precision_loss, reason = "seconds stay far below 2^53")]
        if w.half_life > 0 { piece.full * 0.5f64.powf(late as f64 / w.half_life as f64) } else { 0.0 }
    }

    /// Both limits of one side by their definitions, from the last piece to the first.
    fn fused(&self, asked: &Asked, side: Side, t: i64) -> f64 {
        let mut pairs: Vec<(&str, &str, f64)> = Vec::new();
        for piece in asked.pieces.iter().rev().filter(|piece| piece.side == side) {
            let (w, e) = (&self.words[piece.word], self.e(piece, t));
            match pairs.iter_mut().find(|(d, a, _)| *d == w.document && *a == w.assessor) {
                Some(pair) if pair.2 < e => pair.2 = e,
                Some(_) => {}
                None => pairs.push((&w.document, &w.assessor, e)),
            }
        }
        // Greatest first: then the first of a document is its best, and the n-th of an assessor its n-th best.
        pairs.sort_by(|x, y| y.2.total_cmp(&x.2));
        let (mut documents, mut assessors) = (0.0, 0.0);
        for (n, (document, assessor, e)) in pairs.iter().enumerate() {
            let before = &pairs[..n];
            if !before.iter().any(|(d, _, _)| d == document) {
                documents += e;
            }
            let rank = before.iter().filter(|(_, a, _)| a == assessor).count();
            assessors += e * (0..rank).fold(1.0, |share, _| share * self.rho);
        }
        if documents < assessors { documents } else { assessors }
    }

    fn one(&self, place: usize, t: i64) -> Answer {
        let (asked, c) = (&self.keys[place], self.criterion);
        let (r, s) = (self.fused(asked, Side::For, t), self.fused(asked, Side::Against, t));
        let (pro, con) = (r / (r + 2.0), s / (s + 2.0));
        let b = r / (r + s + 2.0);
        let open = c.gate.is_none() || asked.pieces.iter().any(|p| p.opens_gate && self.e(p, t) >= 2.0);
        let status = match (con >= c.material, pro >= c.material) {
            (true, true) => Status::Review,
            (true, false) if con >= c.ineligible_at => Status::Ineligible,
            (false, _) if b >= c.eligible_at && open => Status::Eligible,
            _ => Status::Insufficient,
        };
        let neutral = c.when_unknown == WhenUnknown::Allow && status == Status::Insufficient && con < c.material;
        Answer { status, neutral, b, d: s / (r + s + 2.0), con, r, key: asked.key.clone(), tied: false, place }
    }

    pub(crate) fn at(&self, t: i64) -> Answer {
        let mut answers: Vec<Answer> = (0..self.keys.len()).map(|place| self.one(place, t)).collect();
        let near = |x: f64, y: f64| (x - y).abs() < 1e-11;
        let worse = |x: &Answer, y: &Answer| x.status.badness() as i16 - y.status.badness() as i16;
        // How much better a key answers for this criterion; equal ones keep their order.
        let beats = |x: &Answer, y: &Answer| match (worse(x, y), self.best) {
            (0, true) => !near(x.b, y.b) && x.b > y.b,
            (0, false) if near(x.con, y.con) => !near(x.b, y.b) && x.b < y.b,
            (0, false) => x.con > y.con,
            (by, best) => (by < 0) == best,
        };
        let mut chosen = 0;
        for n in 1..answers.len() {
            if beats(&answers[n], &answers[chosen]) {
                chosen = n;
            }
        }
        let doubted = answers.iter().any(|a| a.con >= self.criterion.material);
        let tied = (0..answers.len()).any(|n| n != chosen && !beats(&answers[chosen], &answers[n]));
        let mut answer = answers.swap_remove(chosen);
        answer.neutral &= !doubted;
        answer.tied = tied;
        answer
    }

    /// End of the first counted document to end.
    pub(crate) fn strict_end(&self, answer: &Answer, t: i64) -> i64 {
        let pieces = self.keys[answer.place].pieces.iter();
        pieces
            .filter(|p| p.side == Side::For && self.e(p, t) > 0.0)
            .map(|p| self.words[p.word].end_for)
            .fold(NEVER, i64::min)
    }

    /// Instants at which something begins, ends or falls silent; with `bends`, also those at which it begins to fade.
    pub(crate) fn instants(&self, bends: bool) -> BTreeSet<i64> {
        let mut all = BTreeSet::new();
        for piece in self.keys.iter().flat_map(|asked| &asked.pieces) {
            let w = &self.words[piece.word];
            all.extend([w.from, w.marked, if piece.side == Side::For { w.end_for } else { w.end_against }]);
            for by in piece.restated_by.iter().chain(&piece.overtaken_by) {
                let by = &self.words[*by];
                if by.from < by.marked {
                    all.extend([by.from, by.marked]);
                }
            }
            if bends {
                all.insert(w.fades + w.grace);
            }
        }
        all
    }

    /// Whether an adverse word is overtaken at `t`: certainly (it would count otherwise), possibly (whether or not it would).
    pub(crate) fn overtaken(&self, answer: &Answer, t: i64) -> (bool, bool) {
        let hushed = |p: &&Piece| self.quiet(&p.overtaken_by, t);
        let would = |p: &Piece| {
            let w = &self.words[p.word];
            w.stands(t) && t < w.end_against && !self.quiet(&p.restated_by, t)
        };
        let pieces = || self.keys[answer.place].pieces.iter().filter(hushed);
        (pieces().any(would), pieces().next().is_some())
    }

    /// Whether a word of an organisation is silenced by its later word at `t`.
    pub(crate) fn restated(&self, t: i64) -> bool {
        let mut pieces = self.keys.iter().flat_map(|asked| &asked.pieces);
        pieces.any(|p| self.words[p.word].stands(t) && self.quiet(&p.restated_by, t))
    }

    /// Codes that cross-checks tell about what answered.
    pub(crate) fn told(&self, answer: &Answer, t: i64) -> BTreeSet<String> {
        let about = |w: &Word| match &w.says {
            Says::Key(key, _) => Some(key) == answer.key.as_ref(),
            _ => !self.membership,
        };
        let words = self.words.iter().filter(|w| about(w) && w.stands(t) && t < w.end_against);
        words.flat_map(|w| w.tells.iter().cloned()).collect()
    }
}
