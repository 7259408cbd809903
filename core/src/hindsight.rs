//! Two clocks: the instant that is asked about, and how much is known.
//!
//! "Was X eligible at 17:21?" has two answers: by what was known then, and by what has been learnt since. What is learnt
//! has two instants, when it was learnt and from when it holds, and counts if it was learnt by `known_at` and holds by
//! `at`:
//!
//! | what | learnt | holds from |
//! |---|---|---|
//! | a statement | when it was recorded | when its source looked (or it was recorded, if that was earlier) |
//! | a withdrawal, an adjudication, a suspension | its instant | its instant |
//! | a withdrawal from the start (forgery, a vendor that reopens) | its instant | always |
//! | the replacement by a newer result of the same check | when that was recorded | when the newer result holds |
//!
//! With `known_at` = `at` this is what was answered at that instant.

use crate::facts::{Attestation, Mark, MarkKind, SubjectFacts};
use crate::ids::AttestationId;
use crate::second::Second;
use std::collections::{BTreeMap, BTreeSet};

/// The facts that hold at `at` by what was known at `known_at`, as [`crate::decide`] takes them for `at`. `successors` says
/// which newer result replaced an attestation.
///
/// What was learnt after `at` and holds by then is given the instant `at`: it is as if it had just been learnt.
#[must_use]
pub fn as_of(
    facts: &SubjectFacts,
    at: Second,
    known_at: Second,
    successors: &BTreeMap<AttestationId, AttestationId>,
) -> SubjectFacts {
    let mut facts = facts.clone();
    let parties = facts.related.parties.values_mut().map(|party| &mut party.attestations);
    for attestations in parties.chain([&mut facts.attestations]) {
        attestations.retain(|attestation| {
            attestation.recorded_at <= known_at && attestation.recorded_at.min(attestation.facts.checked_at) <= at
        });
        let holding: BTreeSet<AttestationId> = attestations.iter().map(|attestation| attestation.id.clone()).collect();
        for attestation in attestations {
            attestation.recorded_at = attestation.recorded_at.min(at);
            let replaced = successors.get(&attestation.id).is_some_and(|newer| holding.contains(newer));
            let Attestation { marks, .. } = attestation;
            marks.retain_mut(|mark| holds(mark, at, known_at, replaced));
        }
    }
    facts
}

/// Whether a mark holds; if so it does at `at`.
fn holds(mark: &mut Mark, at: Second, known_at: Second, replaced: bool) -> bool {
    let learnt = mark.at <= known_at;
    let holds = mark.at <= at || mark.from_start || (mark.kind == MarkKind::Superseded && replaced);
    mark.at = mark.at.min(at);
    learnt && holds
}
