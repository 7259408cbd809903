//! The time machine against a naive model: every combination of small instants.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails where a production path must not")]

#[path = "support/people.rs"]
mod people;

use people::{attestation, evidence, instant, subject};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use vouchsafe_core::Second;
use vouchsafe_core::facts::{Attestation, Mark, MarkKind, SubjectFacts};
use vouchsafe_core::hindsight::as_of;
use vouchsafe_core::ids::{AttestationId, SubjectId};

const LAST: i64 = 4;

fn second(n: i64) -> Second {
    Second::from_epoch(n)
}

fn id(number: usize) -> AttestationId {
    AttestationId::parse(&format!("att_{number:03}")).unwrap()
}

/// What is learnt at an instant and holds from one: the whole model.
struct Learnt {
    learnt: i64,
    holds_from: i64,
}

impl Learnt {
    fn counts(&self, at: i64, known_at: i64) -> bool {
        self.learnt <= known_at && self.holds_from <= at
    }
}

/// An attestation that was looked into at one instant and recorded at another.
fn said(number: usize, checked: i64, recorded: i64) -> Attestation {
    let mut made = people_sample(number);
    (made.recorded_at, made.facts.checked_at) = (second(recorded), second(checked));
    made.marks.clear();
    made
}

fn people_sample(number: usize) -> Attestation {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    attestation(number, &people::draw().new_tree(&mut runner).unwrap().current())
}

fn counted(facts: &SubjectFacts, at: i64) -> BTreeMap<AttestationId, BTreeSet<MarkKind>> {
    // What `decide` goes by.
    let known = facts.known_at(second(at)).attestations;
    known.into_iter().map(|a| (a.id, a.marks.into_iter().map(|mark| mark.kind).collect())).collect()
}

#[test]
fn a_statement_and_a_mark_count_if_learnt_and_holding() {
    let instants = || 0..=LAST;
    let sample = said(1, 0, 0);
    let mut seen = BTreeSet::new();
    for (checked, recorded) in instants().flat_map(|c| (c..=LAST).map(move |r| (c, r))) {
        for (marked, from_start) in (recorded..=LAST).flat_map(|m| [(m, false), (m, true)]) {
            for (at, known_at) in instants().flat_map(|a| instants().map(move |k| (a, k))) {
                let mut it = sample.clone();
                (it.recorded_at, it.facts.checked_at) = (second(recorded), second(checked));
                it.marks = vec![Mark { at: second(marked), kind: MarkKind::Revoked, from_start }];
                let facts = SubjectFacts::person(SubjectId::parse("sub_1").unwrap(), vec![it]);
                let found = counted(&as_of(&facts, second(at), second(known_at), &BTreeMap::new()), at);
                let statement = Learnt { learnt: recorded, holds_from: checked };
                let mark = Learnt { learnt: marked, holds_from: if from_start { i64::MIN } else { marked } };
                let expected: BTreeMap<_, BTreeSet<_>> = statement
                    .counts(at, known_at)
                    .then(|| (id(1), mark.counts(at, known_at).then_some(MarkKind::Revoked).into_iter().collect()))
                    .into_iter()
                    .collect();
                assert_eq!(
                    found, expected,
                    "checked {checked} recorded {recorded} marked {marked} {from_start}, at {at} known {known_at}"
                );
                seen.insert((statement.counts(at, known_at), mark.counts(at, known_at), known_at.cmp(&at) as i8));
            }
        }
    }
    assert!(seen.len() >= 10, "every kind of case: {seen:?}");
}

#[test]
fn a_result_is_replaced_from_when_the_newer_one_looked() {
    let (old_sample, new_sample) = (said(1, 0, 0), said(2, 0, 0));
    for (old, checked, recorded) in
        (0..=LAST).flat_map(|o| (o..=LAST).flat_map(move |c| (c..=LAST).map(move |r| (o, c, r))))
    {
        for (at, known_at) in (0..=LAST).flat_map(|a| (0..=LAST).map(move |k| (a, k))) {
            let (mut first, mut newer) = (old_sample.clone(), new_sample.clone());
            (first.recorded_at, first.facts.checked_at) = (second(old), second(old));
            (newer.recorded_at, newer.facts.checked_at) = (second(recorded), second(checked));
            first.marks = vec![Mark { at: second(recorded), kind: MarkKind::Superseded, from_start: false }];
            let facts = SubjectFacts::person(SubjectId::parse("sub_1").unwrap(), vec![first, newer]);
            let successors = BTreeMap::from([(id(1), id(2))]);
            let found = counted(&as_of(&facts, second(at), second(known_at), &successors), at);
            let newer = Learnt { learnt: recorded, holds_from: checked };
            let stands: Vec<AttestationId> =
                found.iter().filter(|(_, marks)| marks.is_empty()).map(|(id, _)| id.clone()).collect();
            // Of one check exactly one result stands, once there is any.
            let first = Learnt { learnt: old, holds_from: old };
            let expected = match (newer.counts(at, known_at), first.counts(at, known_at)) {
                (true, _) => vec![id(2)],
                (false, true) => vec![id(1)],
                (false, false) => vec![],
            };
            assert_eq!(stands, expected, "old {old}, newer {checked} recorded {recorded}, at {at} known {known_at}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn known_then_is_what_was_held_then(attestations in evidence(), at in instant()) {
        // A clock that was never wrong: nothing is recorded before it was looked into.
        let mut facts = subject(attestations);
        facts.attestations.iter_mut().for_each(|a| a.recorded_at = a.recorded_at.max(a.facts.checked_at));
        prop_assert_eq!(as_of(&facts, at, at, &BTreeMap::new()), facts.known_at(at));
    }

    #[test]
    fn what_is_learnt_after_known_at_changes_nothing(attestations in evidence(), at in instant(), known_at in instant()) {
        let facts = subject(attestations);
        let mut then = facts.clone();
        then.attestations.retain(|a| a.recorded_at <= known_at);
        then.attestations.iter_mut().for_each(|a| a.marks.retain(|mark| mark.at <= known_at));
        prop_assert_eq!(as_of(&facts, at, known_at, &BTreeMap::new()), as_of(&then, at, known_at, &BTreeMap::new()));
    }
}
