//! What became of each piece of evidence under a criterion, and what it was worth.

use super::rounded;
use crate::criterion::{Answer, Keyed, Prepared, overtaken, restated};
use crate::evidence::{Evidence, Says};
use crate::facts::{Grade, Kind};
use crate::fusion::{self, GATE_UNITS, Item, Side, SilenceCause, fade, shares};
use crate::second::Second;
use crate::shares::Share;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Whether an item counted, and why not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// Every unit it has enters the sum.
    Counted,
    /// A further item of one assessor: a share of its units enters the sum.
    SameAssessor,
    /// A stronger item rests on the same document and counts instead.
    SameDocument,
    /// It speaks of the frame and for neither side of this criterion.
    SaysNothing,
    /// Its document, its class or its own word has ended.
    Ended,
    /// It counts from a later instant.
    NotYet,
    /// It has faded to nothing.
    Faded,
    /// Its source or an operator took it back.
    Revoked,
    /// A newer result of the same check stands.
    Superseded,
    /// Its source was suspended.
    Suspended,
    /// An adjudication settled it.
    Resolved,
    /// The same organisation later said the opposite.
    Restated,
    /// A lawful change of status came after it.
    Overtaken,
}

impl Fate {
    /// Every fate.
    pub const ALL: [Fate; 13] = [
        Fate::Counted,
        Fate::SameAssessor,
        Fate::SameDocument,
        Fate::SaysNothing,
        Fate::Ended,
        Fate::NotYet,
        Fate::Faded,
        Fate::Revoked,
        Fate::Superseded,
        Fate::Suspended,
        Fate::Resolved,
        Fate::Restated,
        Fate::Overtaken,
    ];

    /// Its stable code.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Fate::Counted => "counted",
            Fate::SameAssessor => "same_assessor",
            Fate::SameDocument => "same_document",
            Fate::SaysNothing => "says_nothing",
            Fate::Ended => "ended",
            Fate::NotYet => "not_yet",
            Fate::Faded => "faded",
            Fate::Revoked => "revoked",
            Fate::Superseded => "superseded",
            Fate::Suspended => "suspended",
            Fate::Resolved => "resolved",
            Fate::Restated => "restated",
            Fate::Overtaken => "overtaken",
        }
    }

    fn of_silence(cause: SilenceCause) -> Self {
        match cause {
            SilenceCause::Revoked => Fate::Revoked,
            SilenceCause::Superseded => Fate::Superseded,
            SilenceCause::Suspended => Fate::Suspended,
            SilenceCause::Resolved => Fate::Resolved,
            SilenceCause::Restated => Fate::Restated,
            SilenceCause::Overtaken => Fate::Overtaken,
        }
    }
}

/// What an item says, as told to operators.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Told {
    /// The subject is in one of these states.
    States(BTreeSet<String>),
    /// Yes or no about one key.
    Key {
        /// The key.
        key: String,
        /// The answer.
        yes: bool,
    },
    /// Against the subject, whatever the policy allows.
    Against,
    /// These owners hold these shares.
    Owners(BTreeMap<String, Share>),
    /// What shares come to under the criterion.
    Judged(Side),
}

/// One piece of evidence under a criterion, with everything it was weighed by.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EvidenceAccount {
    /// The attestation that proves the state.
    pub attestation: String,
    /// Every attestation it needs, where it needs several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<String>,
    /// The pack's row it matched.
    pub row: String,
    /// Kind of the proving statement.
    pub kind: Kind,
    /// Grade, the lowest of its parts.
    pub grade: Grade,
    /// What it says.
    pub says: Told,
    /// Which way that speaks here; absent when neither.
    pub side: Option<Side>,
    /// Units when fresh.
    pub units_fresh: f64,
    /// Share left after fading, in [0, 1]; adverse items do not fade.
    pub fade: f64,
    /// Units now: 0 while it is silent, has ended or does not count yet.
    pub units: f64,
    /// Share of these units that enters the sum, in [0, 1].
    pub share: f64,
    /// Units it contributed; those of one side add up to `r` or `s`.
    pub contributed: f64,
    /// Whether it counted.
    pub fate: Fate,
    /// The attestation because of which it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub because_of: Option<String>,
    /// First second it counts.
    pub counts_from: Second,
    /// First second it no longer counts, if it ends.
    pub ends_at: Option<Second>,
    /// Whether it satisfies the gate by itself; absent without a gate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<bool>,
}

/// What became of an item: its units at the instant, the share that counted, its fate and the item that caused it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Weighing {
    pub(crate) units: f64,
    pub(crate) share: f64,
    pub(crate) fate: Fate,
    /// Place of the item that counts instead.
    pub(crate) instead: Option<usize>,
}

/// The fate of every item of the question, in its order.
pub(crate) fn weighings(keyed: &Keyed<'_>, at: Second) -> Vec<Weighing> {
    let items = &keyed.question.items;
    let of_side = |side: Side| {
        let places: Vec<usize> =
            (0..items.len()).filter(|place| items.get(*place).is_some_and(|i| i.side == side)).collect();
        let own = places.iter().filter_map(|place| items.get(*place));
        let parts = own.map(|item| (item.document.as_str(), item.assessor.as_str(), item.units_at(at)));
        let shares = shares(parts, keyed.question.rho);
        (places, shares)
    };
    let sides = [of_side(Side::Supports), of_side(Side::Adverse)];
    let share_of = |index: usize| {
        sides.iter().find_map(|(places, shares)| {
            let local = places.iter().position(|place| *place == index)?;
            let share = *shares.get(local)?;
            let instead = match share {
                fusion::Share::SameDocumentAs(local) => places.get(local).copied(),
                fusion::Share::Nothing | fusion::Share::Counts(_) => None,
            };
            Some((share, instead))
        })
    };
    let weighing = |(index, item): (usize, &Item)| {
        let (share, instead) = share_of(index).unwrap_or((fusion::Share::Nothing, None));
        let fate = match share {
            _ if item.silence(at).is_some() => item.silence(at).map_or(Fate::SaysNothing, Fate::of_silence),
            _ if at < item.counts_from => Fate::NotYet,
            _ if item.ends_at.is_some_and(|end| at >= end) => Fate::Ended,
            fusion::Share::Nothing => Fate::Faded,
            fusion::Share::SameDocumentAs(_) => Fate::SameDocument,
            fusion::Share::Counts(share) if share < 1.0 => Fate::SameAssessor,
            fusion::Share::Counts(_) => Fate::Counted,
        };
        let share = if let fusion::Share::Counts(share) = share { share } else { 0.0 };
        Weighing { units: item.units_at(at), share, fate, instead }
    };
    items.iter().enumerate().map(weighing).collect()
}

/// The evidence behind an answer, item by item, in order of the attestations; then what says nothing.
pub(crate) fn evidence(prepared: &Prepared<'_>, answer: &Answer<'_, '_>, at: Second) -> Vec<EvidenceAccount> {
    let keyed = answer.keyed;
    let items = keyed.question.items.iter().zip(&keyed.evidence);
    let mut accounts: Vec<EvidenceAccount> = items
        .zip(weighings(keyed, at))
        .enumerate()
        .map(|(index, ((item, source), weighing))| {
            let gate = keyed.question.gate.as_ref();
            let fading = match item.side {
                Side::Supports => fade(at.since(item.fades_from), item.grace, item.half_life),
                Side::Adverse => 1.0,
            };
            EvidenceAccount {
                side: Some(item.side),
                units_fresh: rounded(item.e0, 6),
                fade: rounded(fading, 6),
                units: rounded(weighing.units, 6),
                share: rounded(weighing.share, 6),
                contributed: rounded(weighing.share * weighing.units, 6),
                fate: weighing.fate,
                because_of: because_of(prepared, keyed, source, &weighing, at),
                ends_at: item.ends_at,
                gate: gate.map(|gate| gate.admitted.contains(&index) && weighing.units >= GATE_UNITS),
                ..silent(source)
            }
        })
        .collect();
    accounts.extend(keyed.silent.iter().map(|source| silent(source)));
    accounts.sort_by(|a, b| (&a.attestation, &a.row).cmp(&(&b.attestation, &b.row)));
    accounts
}

/// Evidence that says nothing here.
fn silent(source: &Evidence) -> EvidenceAccount {
    let parts = source.parts.iter().map(ToString::to_string).collect::<Vec<_>>();
    EvidenceAccount {
        attestation: source.attestation.to_string(),
        parts: if parts.len() > 1 { parts } else { Vec::new() },
        row: source.row.clone(),
        kind: source.kind,
        grade: source.grade,
        says: match &source.says {
            Says::States(states) => Told::States(states.clone()),
            Says::Key { key, yes } => Told::Key { key: key.clone(), yes: *yes },
            Says::Against => Told::Against,
            Says::Owners(owners) => Told::Owners(owners.clone()),
            Says::Judged(side) => Told::Judged(*side),
        },
        side: None,
        units_fresh: 0.0,
        fade: 1.0,
        units: 0.0,
        share: 0.0,
        contributed: 0.0,
        fate: Fate::SaysNothing,
        because_of: None,
        counts_from: source.counts_from,
        ends_at: source.supporting_end,
        gate: None,
    }
}

/// The attestation that took an item's place, overtook it or unsaid it.
fn because_of(
    prepared: &Prepared<'_>,
    keyed: &Keyed<'_>,
    source: &Evidence,
    weighing: &Weighing,
    at: Second,
) -> Option<String> {
    let acts = |silence: fusion::Silence| silence.acts(at);
    let others = || keyed.evidence.iter().chain(&keyed.silent);
    let found = match weighing.fate {
        Fate::SameDocument => keyed.evidence.get(weighing.instead?),
        Fate::Overtaken => keyed
            .evidence
            .iter()
            .zip(&keyed.question.items)
            .filter(|(later, item)| item.side == Side::Supports && later.supporting_q >= prepared.overtakes_at)
            .map(|(later, _)| later)
            .find(|later| overtaken(prepared.pack, source, later).is_some_and(acts)),
        Fate::Restated => others().find(|later| restated(source, later).is_some_and(acts)),
        _ => None,
    };
    found.map(|later| later.attestation.to_string())
}
