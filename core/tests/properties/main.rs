//! Properties of the evidence model, on random evidence: the seventeen by number, and the guards beside them.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails where a production path must not")]

mod guards;
#[path = "../support/people.rs"]
mod people;
mod seventeen;
#[path = "../support/mod.rs"]
mod support;

use people::{attestation, draw, second};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use vouchsafe_core::facts::{Attestation, Facts, Grade, Kind, SourceKind, Statement};
use vouchsafe_core::fusion::{Item, Question, Side, Thresholds, units};
use vouchsafe_core::ids::ResourceId;
use vouchsafe_core::rules::{Body, Rules};
use vouchsafe_core::second::DAY;
use vouchsafe_core::timeline::{Action, Entry};
use vouchsafe_core::{Decision, Second, Status};

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(20_261_121),
        ..ProptestConfig::default()
    }
}

/// The shipped policies with a resource of each.
const POLICIES: [(&str, &str); 6] = [
    ("restricted-us-persons", "restricted.api"),
    ("ear_us_person", "restricted.api"),
    ("us_nationals_only", "nationals.api"),
    ("citizen_or_lpr", "residents.api"),
    ("sole_us_nationality", "sole.api"),
    ("embargo", "regional.api"),
];

fn compiled() -> Vec<Rules> {
    let library = support::library();
    POLICIES
        .iter()
        .map(|(policy, resource)| {
            let action = Action::Activate { policy: (*policy).to_owned(), version: 1 };
            let entry = Entry { seq: 1, directive: "start".to_owned(), from: second(-400 * DAY), action };
            Rules::compile(&library, &[entry], &ResourceId::parse(resource).unwrap(), second(0)).unwrap()
        })
        .collect()
}

thread_local! {
    static RULES: Vec<Rules> = compiled();
}

fn rules(index: usize) -> Rules {
    RULES.with(|all| all[index % all.len()].clone())
}

/// Rules with a changed policy.
fn changed(rules: &Rules, change: impl FnOnce(&mut Body)) -> Rules {
    let mut body = rules.body.clone();
    change(&mut body);
    Rules::from_body(body, rules.since)
}

fn rank(status: Status) -> u8 {
    match status {
        Status::Ineligible => 0,
        Status::Review | Status::Insufficient => 1,
        Status::Eligible => 2,
    }
}

fn bytes(decision: &Decision) -> String {
    format!("{} {:?}", serde_json::to_string(decision).unwrap(), decision.attestations)
}

/// A register's word about status: always one side or the other, on a document and by an assessor of its own.
fn word(states: &[&str], at: Second, began: Option<Second>) -> Attestation {
    let mut word = attestation(900, &sample_draw());
    word.facts = Facts {
        kind: Kind::Registry,
        source_kind: SourceKind::Registry,
        grade: Grade::Strong,
        document_type: None,
        statement: Some(Statement::States {
            frame: "us_status".to_owned(),
            states: states.iter().map(|state| (*state).to_owned()).collect(),
        }),
        basis: None,
        doubt: None,
        document: "a-record-of-its-own".to_owned(),
        assessor: "a-register-of-its-own".to_owned(),
        person: None,
        fact_date: began,
        checked_at: at,
        ends_at: None,
        outcome: vouchsafe_core::facts::Outcome::Approved,
        codes: std::collections::BTreeSet::new(),
        issuing_country: None,
    };
    word.recorded_at = at;
    word.marks.clear();
    word
}

fn sample_draw() -> people::Draw {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    draw().new_tree(&mut runner).unwrap().current()
}

fn item() -> impl Strategy<Value = Item> {
    let times = (0i64..400 * DAY, prop::option::weighted(0.3, 1i64..500 * DAY));
    ((any::<bool>(), 0.01f64..0.99), times, (0i64..100, 1i64..400), (0u8..3, 0u8..3)).prop_map(
        |((supports, q), (checked, lasts), (grace, half_life), (document, assessor))| Item {
            side: if supports { Side::Supports } else { Side::Adverse },
            e0: units(q),
            counts_from: second(checked),
            fades_from: second(checked),
            grace: grace * DAY,
            half_life: half_life * DAY,
            ends_at: lasts.map(|lasts| second(checked + lasts)),
            document: format!("d{document}"),
            assessor: format!("a{assessor}"),
            silences: Vec::new(),
        },
    )
}

fn question(items: Vec<Item>) -> Question {
    let thresholds = Thresholds { eligible_at: 0.85, ineligible_at: 0.5, material: 0.25 };
    Question { items, thresholds, rho: 0.5, gate: None }
}
