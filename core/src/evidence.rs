//! Interpretation: what facts say about a frame under a pack.

use crate::definitions::{Pack, Proves, Row, Shape, Weights};
use crate::facts::{Attestation, Basis, Grade, Kind, Mark, MarkKind, Outcome, SourceKind, Statement};
use crate::fusion::{Side, Silence, SilenceCause, discounted};
use crate::ids::AttestationId;
use crate::second::Second;
use crate::shares::Share;
use std::collections::{BTreeMap, BTreeSet};

/// What a piece of evidence says in its frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Says {
    /// The subject is in one of these states.
    States(BTreeSet<String>),
    /// Yes or no about one key of a membership frame.
    Key {
        /// The key, for example an organisation id.
        key: String,
        /// The answer.
        yes: bool,
    },
    /// Against the subject, whatever the policy allows.
    Against,
    /// These owners hold these shares.
    Owners(BTreeMap<String, Share>),
    /// What shares come to under one criterion.
    Judged(Side),
}

/// What one attestation (or several together) says about one frame.
#[derive(Debug, Clone)]
pub struct Evidence {
    /// The attestation that proves the state.
    pub attestation: AttestationId,
    /// All attestations it needs, the proving one included.
    pub parts: Vec<AttestationId>,
    /// The pack's row it matched.
    pub row: String,
    /// What it says.
    pub says: Says,
    /// Kind of the proving statement.
    pub kind: Kind,
    /// Lowest grade of its parts.
    pub grade: Grade,
    /// Discounted strength when it supports; 0 says nothing on that side.
    pub supporting_q: f64,
    /// Discounted strength when it is adverse; 0 says nothing on that side.
    pub adverse_q: f64,
    /// Lineage key of the underlying record.
    pub document: String,
    /// Who made the judgement.
    pub assessor: String,
    /// Whether an organisation says it.
    pub organisation: bool,
    /// Who says it, unverified organisations kept apart.
    pub speaker: String,
    /// First second it counts.
    pub counts_from: Second,
    /// Where its age is measured from.
    pub fades_from: Second,
    /// Grace and half-life of its class, in seconds.
    pub ageing: (i64, i64),
    /// When the stated condition began.
    pub fact_date: Option<Second>,
    /// End on the supporting side.
    pub supporting_end: Option<Second>,
    /// End on the adverse side.
    pub adverse_end: Option<Second>,
    /// Silences by marks.
    pub silences: Vec<Silence>,
    /// Reason codes of a cross-check, told whether or not it weighs anything.
    pub tells: Vec<String>,
}

impl Evidence {
    /// First instant at which a mark silences it: `None` = never, and a mark from the start gives the earliest second.
    #[must_use]
    pub fn first_mark(&self) -> Option<Second> {
        self.silences.iter().map(|silence| silence.from).min()
    }

    /// Whether what was seen is still so at `t`, whatever it weighs.
    #[must_use]
    pub fn stands(&self, t: Second) -> bool {
        self.counts_from <= t
            && self.adverse_end.is_none_or(|end| t < end)
            && !self.silences.iter().any(|silence| silence.acts(t))
    }
}

/// All evidence the attestations hold about the pack's frame, in attestation order. Total: what cannot be read says nothing.
#[must_use]
pub fn interpret(pack: &Pack, weights: &Weights, attestations: &[Attestation]) -> Vec<Evidence> {
    let mut sorted: Vec<&Attestation> = attestations.iter().collect();
    sorted.sort_by(|a, b| a.id.cmp(&b.id));
    sorted.dedup_by(|a, b| a.id == b.id);
    let mut found = Vec::new();
    // An adjudication resolves others and proves nothing itself.
    sorted.retain(|attestation| attestation.facts.kind != Kind::Adjudication);
    for attestation in &sorted {
        for row in pack.single_rows(&attestation.facts) {
            let parts = [(*attestation, false)];
            found.extend(read(pack, weights, row, attestation, &parts));
        }
    }
    for row in pack.rows.iter().filter(|row| !row.all_of.is_empty()) {
        let mut combination = Vec::new();
        compound(pack, weights, row, &sorted, &mut combination, &mut found);
    }
    found
}

/// Tries every combination of attestations for a compound row's parts.
fn compound<'a>(
    pack: &Pack,
    weights: &Weights,
    row: &Row,
    attestations: &[&'a Attestation],
    chosen: &mut Vec<(&'a Attestation, bool)>,
    found: &mut Vec<Evidence>,
) {
    let Some(part) = row.all_of.get(chosen.len()) else {
        let proving = row.all_of.iter().position(|part| part.proves).and_then(|index| chosen.get(index));
        if let Some((proving, _)) = proving {
            found.extend(read(pack, weights, row, proving, chosen));
        }
        return;
    };
    for attestation in attestations {
        // One fact cannot be two parts, and parts that name different birth dates are two people.
        let clash = chosen.iter().any(|(other, _)| {
            other.id == attestation.id
                || matches!((&other.facts.person, &attestation.facts.person), (Some(a), Some(b)) if a.birth != b.birth)
        });
        if !clash && Pack::part_accepts(part, &attestation.facts) {
            chosen.push((attestation, part.may_have_ended));
            compound(pack, weights, row, attestations, chosen, found);
            chosen.pop();
        }
    }
}

/// What the parts say together. The boolean of a part tells that its end does not matter.
fn read(
    pack: &Pack,
    weights: &Weights,
    row: &Row,
    proving: &Attestation,
    parts: &[(&Attestation, bool)],
) -> Vec<Evidence> {
    let Some(class) = weights.classes.get(&row.class) else { return Vec::new() };
    // A quality or technical failure is no evidence on either side.
    let failed =
        |part: &Attestation| matches!(part.facts.outcome, Outcome::Resubmit | Outcome::Pending | Outcome::Error);
    if parts.iter().any(|(part, _)| failed(part)) {
        return Vec::new();
    }
    // Any other outcome but approved supports nothing, except the end of a document whose end does not matter.
    let approved = parts.iter().all(|(part, may_have_ended)| match part.facts.outcome {
        Outcome::Approved => true,
        Outcome::DocumentExpired => *may_have_ended,
        _ => false,
    });
    let says = says(pack, row, proving);
    if says.is_empty() {
        return Vec::new();
    }
    let strengths: Option<Vec<(f64, f64)>> = parts.iter().map(|(part, _)| strengths(pack, weights, part)).collect();
    let Some(strengths) = strengths else { return Vec::new() };
    let supporting_q = strengths.iter().map(|(q, _)| *q).fold(f64::INFINITY, f64::min);
    let adverse_q = strengths.iter().map(|(_, q)| *q).fold(f64::INFINITY, f64::min);
    let checked = parts.iter().map(|(part, _)| part.facts.checked_at);
    let (Some(oldest), Some(newest)) = (checked.clone().min(), checked.max()) else { return Vec::new() };
    let ends =
        parts.iter().filter(|(_, may_have_ended)| !may_have_ended).filter_map(|(part, _)| part.facts.ends_at).min();
    let earliest = |limits: [Option<Second>; 3]| limits.into_iter().flatten().min();
    let by_class = class.max_age_secs.map(|age| oldest.plus(age));
    let against = row.proves == Proves::Against;
    let silences: Vec<Silence> =
        parts.iter().flat_map(|(part, _)| part.marks.iter()).filter_map(|mark| silence(mark, against)).collect();
    let (document, assessor) = lineage(proving);
    says.into_iter()
        .map(|says| Evidence {
            attestation: proving.id.clone(),
            parts: parts.iter().map(|(part, _)| part.id.clone()).collect(),
            row: row.id.clone(),
            says,
            kind: proving.facts.kind,
            grade: parts.iter().map(|(part, _)| grade(pack, weights, part)).min().unwrap_or(Grade::SelfDeclared),
            supporting_q: if against || !approved { 0.0 } else { supporting_q },
            adverse_q,
            document: document.clone(),
            assessor: assessor.clone(),
            organisation: is_organisation(proving),
            speaker: proving.facts.assessor.clone(),
            counts_from: newest,
            fades_from: oldest,
            ageing: (class.grace_secs, class.half_life_secs),
            fact_date: proving.facts.fact_date,
            supporting_end: earliest([ends, by_class, None]),
            adverse_end: if against {
                None
            } else {
                earliest([ends, by_class, Some(oldest.plus(weights.adverse_max_age_secs))])
            },
            silences: silences.clone(),
            tells: match proving.facts.kind {
                Kind::CrossCheck => proving.facts.codes.iter().cloned().collect(),
                _ => Vec::new(),
            },
        })
        .collect()
}

/// What the row proves, given the attestation that proves it. Empty: nothing.
fn says(pack: &Pack, row: &Row, proving: &Attestation) -> Vec<Says> {
    let facts = &proving.facts;
    match &row.proves {
        Proves::Against => vec![Says::Against],
        Proves::States { states } => vec![Says::States(states.clone())],
        Proves::Statement => match &facts.statement {
            Some(Statement::States { frame, states }) if *frame == pack.id && !states.is_empty() => {
                let known = match &pack.shape {
                    Shape::State { states: frame } => states.is_subset(frame),
                    Shape::OpenState => true,
                    Shape::Membership | Shape::Shares => false,
                };
                if known { vec![Says::States(states.clone())] } else { Vec::new() }
            }
            _ => Vec::new(),
        },
        Proves::ExitCountry => match &facts.statement {
            Some(Statement::Network { country: Some(country), .. }) => {
                vec![Says::States(BTreeSet::from([country.clone()]))]
            }
            _ => Vec::new(),
        },
        Proves::Organisation => match &facts.statement {
            Some(Statement::Employment { organisation, employed, .. }) => {
                vec![Says::Key { key: organisation.clone(), yes: *employed }]
            }
            _ => Vec::new(),
        },
        Proves::Owners => match &facts.statement {
            Some(Statement::Owners { owners }) => vec![Says::Owners(owners.clone())],
            _ => Vec::new(),
        },
        Proves::Nationalities => {
            let mut countries: BTreeSet<String> = match &facts.statement {
                Some(Statement::Read { nationalities, .. }) => nationalities.clone(),
                Some(Statement::Nationalities { countries }) => countries.clone(),
                _ => BTreeSet::new(),
            };
            if matches!(facts.kind, Kind::DocumentCheck | Kind::Registry) {
                countries.extend(facts.issuing_country.clone());
            }
            countries.into_iter().map(|key| Says::Key { key, yes: true }).collect()
        }
    }
}

fn is_organisation(attestation: &Attestation) -> bool {
    matches!(attestation.facts.source_kind, SourceKind::Employer | SourceKind::UnverifiedOrganisation)
}

fn is_anonymised(attestation: &Attestation) -> bool {
    matches!(&attestation.facts.statement, Some(Statement::Network { anonymous: true, .. }))
}

/// The grade it can have: whoever graded it, a declaration is the subject's own word, and neither a directory nor an
/// organisation's word about a state is more than fair.
fn grade(pack: &Pack, weights: &Weights, attestation: &Attestation) -> Grade {
    let facts = &attestation.facts;
    let of_state = matches!(pack.shape, Shape::State { .. } | Shape::OpenState);
    match facts.source_kind {
        SourceKind::Subject => Grade::SelfDeclared,
        SourceKind::UnverifiedOrganisation => facts.grade.min(weights.unverified_grade_cap).min(Grade::Fair),
        SourceKind::Employer if of_state || facts.kind == Kind::Directory => facts.grade.min(Grade::Fair),
        _ => facts.grade,
    }
}

/// Discounted strengths (supporting, adverse); `None`: this source says nothing in this frame.
fn strengths(pack: &Pack, weights: &Weights, attestation: &Attestation) -> Option<(f64, f64)> {
    let facts = &attestation.facts;
    let trust = if is_anonymised(attestation) {
        weights.anonymised_trust.get(&pack.id).copied()?
    } else {
        weights.trust(facts.source_kind, &pack.id)?
    };
    let sigma = weights.sigma(grade(pack, weights, attestation));
    // A doubt that cannot be read takes all support away and leaves the adverse side as it is.
    let (doubt, adverse_doubt) = match facts.doubt {
        None => (1.0, 1.0),
        Some(doubt) if doubt > 0.0 && doubt <= 1.0 => (doubt, doubt),
        Some(_) => (0.0, 1.0),
    };
    let plain = discounted(sigma * doubt, trust, weights.cap);
    let adverse = discounted(sigma * adverse_doubt, trust, weights.cap);
    if facts.source_kind == SourceKind::Subject {
        let own = discounted(weights.against_interest_sigma, weights.against_interest_trust, weights.cap);
        return Some((plain, own));
    }
    let silent_against = is_organisation(attestation)
        && matches!(pack.shape, Shape::State { .. } | Shape::OpenState)
        && !facts.basis.is_some_and(|basis: Basis| pack.vouches.adverse_basis.contains(&basis));
    Some((plain, if silent_against { 0.0 } else { adverse }))
}

/// Document and assessor keys; those nobody verified are all one, and so are those behind anonymisers.
fn lineage(attestation: &Attestation) -> (String, String) {
    let facts = &attestation.facts;
    if facts.source_kind == SourceKind::UnverifiedOrganisation {
        return ("unverified".to_owned(), "unverified".to_owned());
    }
    if is_anonymised(attestation) {
        return ("anonymised".to_owned(), "anonymised".to_owned());
    }
    if facts.source_kind == SourceKind::Service {
        return ("service".to_owned(), "service".to_owned());
    }
    (facts.document.clone(), facts.assessor.clone())
}

fn silence(mark: &Mark, against: bool) -> Option<Silence> {
    let cause = match mark.kind {
        MarkKind::Revoked => SilenceCause::Revoked,
        MarkKind::Superseded => SilenceCause::Superseded,
        MarkKind::Resolved => SilenceCause::Resolved,
        MarkKind::Suspended => SilenceCause::Suspended,
    };
    // Forged, tampered, impostor last until adjudicated: neither a mere newer delivery nor one person's suspension of
    // the source ends them.
    if against && matches!(mark.kind, MarkKind::Superseded | MarkKind::Suspended) {
        return None;
    }
    let from = if mark.from_start { Second::from_epoch(i64::MIN) } else { mark.at };
    Some(Silence { from, until: None, cause })
}
