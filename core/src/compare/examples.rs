//! The smallest person whom one policy lets in and the other does not: evidence made from the packs' own rows, judged by `decide`.

use super::{Example, Side, let_in};
use crate::criterion::Prepared;
use crate::definitions::{Pack, Part, Proves, Row, Shape, When};
use crate::evidence::interpret;
use crate::facts::{Attestation, Facts, Grade, Kind, Outcome, SourceKind, Statement, SubjectFacts};
use crate::ids::{AttestationId, SourceId, SubjectId};
use crate::parties::{Role, Sheet};
use crate::policy::{Criterion, Of, source_of};
use crate::second::{DAY, Second};
use crate::shares::Share;
use crate::{Status, check_live, decide};
use std::collections::{BTreeMap, BTreeSet};

/// 2026-11-21T00:00:00Z: the instant of every example.
const AT: i64 = 1_795_219_200;
/// Most combinations of evidence about several frames that are looked at, and most of them that are put before `decide`.
const COMBINATIONS: usize = 20_000;
/// See [`COMBINATIONS`].
const JUDGED: usize = 100;

/// Somebody who gains and somebody who loses, each looked for unless it is proved that there is nobody.
pub(super) fn find(
    old: &Side,
    new: &Side,
    nobody_gains: bool,
    nobody_loses: bool,
) -> (Option<Example>, Option<Example>) {
    let (mut gains, mut loses) = (None, None);
    let Some(bench) = Bench::new(old, new) else { return (None, None) };
    // First with few items, then with all that the rows can make, then with two in one frame.
    for effort in [Effort::Registers, Effort::AllRows, Effort::Pairs] {
        let done = bench.search(effort, &mut |example| {
            if let_in(&example.new) && gains.is_none() && !nobody_gains {
                gains = Some(example);
            } else if let_in(&example.old) && loses.is_none() && !nobody_loses {
                loses = Some(example);
            }
            (nobody_gains || gains.is_some(), nobody_loses || loses.is_some())
        });
        if done {
            break;
        }
    }
    (gains, loses)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
enum Effort {
    Registers,
    AllRows,
    Pairs,
}

/// What one frame's evidence comes to: a bit for each criterion of both policies that it meets.
struct Profile {
    met: u64,
    evidence: Vec<Attestation>,
}

/// Both policies as sets of bits: an expectation only, `decide` judges.
struct Bench<'s> {
    sides: [&'s Side; 2],
    /// Every criterion with its side and its bit.
    criteria: Vec<(usize, u64, &'s Criterion)>,
    /// Of each side, in order: what a branch needs stored, what it needs of the request.
    branches: [Vec<(u64, u64)>; 2],
}

impl<'s> Bench<'s> {
    /// `None` when there are more criteria than bits.
    fn new(old: &'s Side, new: &'s Side) -> Option<Self> {
        let sides = [old, new];
        let mut criteria: Vec<(usize, u64, &Criterion)> = Vec::new();
        for (number, side) in sides.iter().enumerate() {
            for criterion in side.policy.all_criteria() {
                let bit = 1u64.checked_shl(u32::try_from(criteria.len()).ok()?)?;
                criteria.push((number, bit, criterion));
            }
        }
        let bits = |number: usize, members: &[&Criterion]| {
            let of = |member: &&Criterion| {
                criteria.iter().find(|(side, _, c)| *side == number && c.id == member.id).map_or(0, |(_, bit, _)| *bit)
            };
            members.iter().map(of).fold(0, |all, bit| all | bit)
        };
        let branches = |number: usize, side: &Side| {
            side.branches().iter().map(|b| (bits(number, &b.stored), bits(number, &b.live))).collect::<Vec<_>>()
        };
        let branches = [branches(0, old), branches(1, new)];
        Some(Self { sides, criteria, branches })
    }

    /// The first branch whose stored criteria are met answers, with what it needs of the request.
    fn expects(branches: &[(u64, u64)], met: u64) -> bool {
        branches.iter().find(|(stored, _)| stored & !met == 0).is_some_and(|(_, live)| live & !met == 0)
    }

    /// What evidence about a frame meets.
    fn profile(&self, frame: &str, evidence: Vec<Attestation>) -> Profile {
        let mut met = 0;
        for (number, side) in self.sides.iter().enumerate() {
            let body = &side.rules.body;
            let Some(pack) = body.packs.get(frame) else { continue };
            let person = |evidence| Sheet { role: Role::Subject, party: None, adverse_only: false, evidence };
            // An example acts for nobody.
            let nobody = person(Vec::new());
            let read = person(interpret(pack, &body.weights, &evidence));
            for (_, bit, criterion) in self.criteria.iter().filter(|(of, _, c)| *of == number && c.frame == frame) {
                let sheet = if criterion.of == Of::Subject { &read } else { &nobody };
                let prepared = Prepared::new(criterion, pack, &body.weights, &body.sets, sheet);
                let answer = prepared.as_ref().and_then(|prepared| prepared.answer(Second::from_epoch(AT)));
                if answer.is_some_and(|answer| answer.neutral || answer.status == Status::Eligible) {
                    met |= bit;
                }
            }
        }
        Profile { met, evidence }
    }

    /// Goes through combinations of frames' evidence, smallest first, until `found` has had enough: it answers whether
    /// those who gain, and those who lose, need not be looked for any more.
    fn search(&self, effort: Effort, found: &mut dyn FnMut(Example) -> (bool, bool)) -> bool {
        let [old, new] = self.sides;
        let frames: BTreeSet<&str> = self.criteria.iter().map(|(_, _, criterion)| criterion.frame.as_str()).collect();
        let choices: Vec<Vec<Profile>> = frames.iter().map(|frame| self.profiles(frame, effort)).collect();
        let mut combinations: Vec<(u64, Vec<&Profile>)> = vec![(0, Vec::new())];
        for of_frame in &choices {
            combinations = combinations
                .iter()
                .flat_map(|(met, held)| {
                    of_frame.iter().map(move |next| (met | next.met, held.iter().copied().chain([next]).collect()))
                })
                .take(COMBINATIONS)
                .collect();
        }
        combinations.sort_by_key(|(_, chosen)| chosen.iter().map(|profile| profile.evidence.len()).sum::<usize>());
        let mut enough = (false, false);
        let mut judged_so_far = 0;
        for (met, chosen) in &combinations {
            let [was, is] = [0, 1].map(|n: usize| self.branches.get(n).is_some_and(|b| Self::expects(b, *met)));
            if was == is || (is && enough.0) || (was && enough.1) || judged_so_far >= JUDGED {
                continue;
            }
            judged_so_far += 1;
            let evidence = chosen.iter().flat_map(|profile| profile.evidence.iter().cloned()).collect();
            if let Some(example) = judged(old, new, numbered(evidence)) {
                enough = found(shrunk(old, new, example));
                if enough == (true, true) {
                    return true;
                }
            }
        }
        enough == (true, true)
    }

    /// Distinct profiles of what a frame's evidence can come to, each with the least evidence for it.
    fn profiles(&self, frame: &str, effort: Effort) -> Vec<Profile> {
        let mut kept: Vec<Profile> = Vec::new();
        let mut keep = |evidence: Vec<Attestation>| {
            let profile = self.profile(frame, evidence);
            if !kept.iter().any(|held| held.met == profile.met) {
                kept.push(profile);
            }
        };
        keep(Vec::new());
        let [old, new] = self.sides;
        let mut packs: Vec<&Pack> = self.sides.iter().filter_map(|side| side.rules.body.packs.get(frame)).collect();
        packs.dedup();
        for pack in packs {
            let maker = Maker::new(old, new, pack, frame);
            let simple = maker.items(Effort::Registers);
            for item in simple
                .iter()
                .cloned()
                .chain((effort > Effort::Registers).then(|| maker.items(effort)).into_iter().flatten())
            {
                keep(numbered(item));
            }
            if effort == Effort::Pairs {
                for first in simple.iter().filter(|item| item.iter().all(|a| a.facts.doubt.is_none())) {
                    for second in &simple {
                        keep(numbered(first.iter().chain(second).cloned().collect()));
                    }
                }
            }
        }
        kept
    }
}

fn person(attestations: Vec<Attestation>) -> Option<SubjectFacts> {
    Some(SubjectFacts::person(SubjectId::parse("sub_example").ok()?, attestations))
}

/// The two decisions about a person, if they differ.
fn judged(old: &Side, new: &Side, all: Vec<Attestation>) -> Option<Example> {
    let at = Second::from_epoch(AT);
    // What a live criterion looks at is seen by the request, not stored.
    let live: BTreeSet<&str> = [old, new]
        .into_iter()
        .flat_map(|side| side.policy.all_criteria())
        .filter(|criterion| criterion.live)
        .map(|criterion| criterion.frame.as_str())
        .collect();
    let (request, attestations): (Vec<Attestation>, Vec<Attestation>) =
        all.into_iter().partition(|a| a.facts.kind == Kind::Observation && !live.is_empty());
    let facts = person(attestations.clone())?;
    let decision = |side: &Side| check_live(&side.rules, decide(&side.rules, &facts, at), &request, at);
    let (old, new) = (decision(old), decision(new));
    (let_in(&old) != let_in(&new)).then_some(Example { at, attestations, request, old, new })
}

/// The example without anything that it does not need.
fn shrunk(old: &Side, new: &Side, mut example: Example) -> Example {
    'smaller: loop {
        let all: Vec<Attestation> = example.attestations.iter().chain(&example.request).cloned().collect();
        for index in 0..all.len() {
            let fewer = all.iter().enumerate().filter(|(i, _)| *i != index).map(|(_, a)| a.clone()).collect();
            if let Some(smaller) = judged(old, new, fewer)
                && let_in(&smaller.new) == let_in(&example.new)
            {
                example = smaller;
                continue 'smaller;
            }
        }
        return example;
    }
}

/// Each with an id, a document and an assessor of its own.
fn numbered(evidence: Vec<Attestation>) -> Vec<Attestation> {
    evidence
        .into_iter()
        .enumerate()
        .filter_map(|(index, mut attestation)| {
            attestation.id = AttestationId::parse(&format!("att_example{}", index + 1)).ok()?;
            attestation.facts.document = format!("document-{}", index + 1);
            attestation.facts.assessor = format!("assessor-{}", index + 1);
            Some(attestation)
        })
        .collect()
}

/// Makes evidence for one frame out of its pack's rows.
struct Maker<'s> {
    pack: &'s Pack,
    /// States or keys worth speaking of: those the policies name, and one they do not.
    names: Vec<String>,
    /// Grades and doubts that tell the policies' numbers apart, the strongest first.
    strengths: Vec<(Grade, Option<f64>)>,
    /// Days since the check.
    ages: Vec<i64>,
}

impl<'s> Maker<'s> {
    fn new(old: &'s Side, new: &'s Side, pack: &'s Pack, frame: &str) -> Self {
        let criteria: Vec<(&Side, &Criterion)> = [old, new]
            .into_iter()
            .flat_map(|side| side.policy.all_criteria().map(move |criterion| (side, criterion)))
            .filter(|(_, criterion)| criterion.frame == frame)
            .collect();
        let mut names: BTreeSet<String> = match &pack.shape {
            Shape::State { states } => states.clone(),
            Shape::OpenState | Shape::Membership | Shape::Shares => BTreeSet::from(["ZZZ".to_owned()]),
        };
        if !matches!(pack.shape, Shape::State { .. }) {
            let tests = criteria.iter().filter_map(|(side, criterion)| criterion.test(&side.rules.body.sets));
            // A long list's members are alike; the first few tell the lists apart as well as can be.
            let lists: Vec<&BTreeSet<String>> = tests.map(|test| crate::check::members(&test)).collect();
            for list in &lists {
                names.extend(list.iter().take(3).cloned());
                names.extend(lists.iter().flat_map(|other| list.difference(other)).take(3).cloned());
            }
        }
        let mut strengths = vec![(Grade::Superior, None)];
        for gate in criteria.iter().filter_map(|(_, criterion)| criterion.gate.as_ref()) {
            strengths.push((gate.grade, None));
            strengths.extend(below(gate.grade).map(|grade| (grade, None)));
        }
        let mut marks: Vec<f64> =
            criteria.iter().flat_map(|(_, c)| [c.eligible_at, c.material]).chain([0.0, 1.0]).collect();
        marks.sort_by(f64::total_cmp);
        marks.dedup();
        // Between two neighbouring thresholds lies a strength that one policy takes and the other does not.
        let best = old.rules.body.weights.sigma(Grade::Superior);
        strengths.extend(
            marks
                .windows(2)
                .filter_map(|pair| match pair {
                    [low, high] => {
                        Some((Grade::Superior, Some((low + high) / 2.0 / best).filter(|doubt| *doubt < 1.0)?))
                    }
                    _ => None,
                })
                .map(|(grade, doubt)| (grade, Some(doubt))),
        );
        strengths.dedup();
        let classes = |side: &'s Side| &side.rules.body.weights.classes;
        let ages = if classes(old) == classes(new) { vec![1] } else { vec![1, 60, 200, 500, 900] };
        Self { pack, names: names.into_iter().collect(), strengths, ages }
    }

    fn items(&self, effort: Effort) -> Vec<Vec<Attestation>> {
        let mut items = Vec::new();
        for row in &self.pack.rows {
            let kinds = crate::check::kinds(row);
            let plain = |kind: &Kind| matches!(kind, Kind::Registry | Kind::Observation);
            for kind in kinds.into_iter().filter(|kind| effort > Effort::Registers || plain(kind)) {
                if effort == Effort::Registers && matches!(row.proves, Proves::States { .. }) {
                    continue;
                }
                for (grade, doubt) in &self.strengths {
                    for age in &self.ages {
                        items.extend(self.of_row(row, kind, *grade, *doubt, *age));
                    }
                }
            }
        }
        items
    }

    /// What a row takes from a source of this kind, one list for each thing it can say.
    fn of_row(&self, row: &Row, kind: Kind, grade: Grade, doubt: Option<f64>, age: i64) -> Vec<Vec<Attestation>> {
        let made = |when: &When, kind: Kind| {
            let mut attestation = attestation(when, kind, grade, age)?;
            attestation.facts.doubt = doubt;
            Some(attestation)
        };
        let says = |attestation: Attestation| -> Vec<Attestation> { self.says(row, attestation) };
        match &row.when {
            Some(when) => made(when, kind).map(says).unwrap_or_default().into_iter().map(|a| vec![a]).collect(),
            None => {
                let part = |part: &Part| {
                    let own = part.when.kind.first().copied().unwrap_or(kind);
                    made(&part.when, if part.proves { kind } else { own })
                };
                row.all_of.iter().map(part).collect::<Option<Vec<_>>>().into_iter().collect()
            }
        }
    }

    /// One attestation for each statement that the row reads.
    fn says(&self, row: &Row, attestation: Attestation) -> Vec<Attestation> {
        let with = |statement: Statement| {
            let mut attestation = attestation.clone();
            attestation.facts.statement = Some(statement);
            attestation
        };
        let names = || self.names.iter().cloned();
        match &row.proves {
            Proves::States { .. } | Proves::Against => vec![attestation],
            Proves::Statement => names()
                .map(|state| with(Statement::States { frame: self.pack.id.clone(), states: BTreeSet::from([state]) }))
                .collect(),
            Proves::ExitCountry => names()
                .map(|country| with(Statement::Network { country: Some(country), anonymous: false, asn: None }))
                .collect(),
            Proves::Organisation => names()
                .flat_map(|organisation| [true, false].map(|employed| (organisation.clone(), employed)))
                .map(|(organisation, employed)| with(Statement::Employment { organisation, employed, relation: None }))
                .collect(),
            // All of it, so that nothing is unaccounted for.
            Proves::Owners => names()
                .filter_map(|owner| Some(BTreeMap::from([(owner, Share::parse("100%").ok()?)])))
                .map(|owners| with(Statement::Owners { owners }))
                .collect(),
            Proves::Nationalities => names()
                .map(|country| {
                    let countries = BTreeSet::from([country]);
                    match attestation.facts.kind {
                        Kind::Declaration => with(Statement::Nationalities { countries }),
                        _ => with(Statement::Read { nationalities: countries, category: None }),
                    }
                })
                .collect(),
        }
    }
}

fn below(grade: Grade) -> Option<Grade> {
    match grade {
        Grade::Superior => Some(Grade::Strong),
        Grade::Strong => Some(Grade::Fair),
        Grade::Fair => Some(Grade::Weak),
        Grade::Weak => Some(Grade::SelfDeclared),
        Grade::SelfDeclared => None,
    }
}

/// Facts that a row takes, and nothing more.
fn attestation(when: &When, kind: Kind, grade: Grade, age: i64) -> Option<Attestation> {
    let source_kind = source_of(kind)?;
    // What a request shows is seen as it is made, and soon worth nothing.
    let age = if kind == Kind::Observation { 0 } else { age };
    let checked_at = Second::from_epoch(AT).plus(-age * DAY);
    let read = !when.category.is_empty() || !when.nationality.is_empty();
    let outcome = if when.outcome.is_empty() || when.outcome.contains(&Outcome::Approved) {
        Outcome::Approved
    } else {
        when.outcome.first().copied()?
    };
    Some(Attestation {
        id: AttestationId::parse("att_example").ok()?,
        source: SourceId::parse("src_example").ok()?,
        recorded_at: checked_at,
        facts: Facts {
            kind,
            source_kind,
            grade: if source_kind == SourceKind::Subject { Grade::SelfDeclared } else { grade },
            outcome,
            codes: when.codes.iter().chain(when.any_code.first()).cloned().collect(),
            document_type: when.document_type.first().cloned(),
            issuing_country: match when.issuing_country.first() {
                Some(country) => Some(country.clone()),
                None => (!when.not_issuing_country.is_empty()).then(|| "ZZZ".to_owned()),
            },
            statement: read.then(|| Statement::Read {
                nationalities: when.nationality.first().cloned().into_iter().collect(),
                category: when.category.first().cloned(),
            }),
            basis: when.basis.first().copied(),
            doubt: None,
            document: String::new(),
            assessor: String::new(),
            person: None,
            fact_date: None,
            checked_at,
            ends_at: None,
        },
        marks: Vec::new(),
    })
}
