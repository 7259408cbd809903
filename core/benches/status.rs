//! The heart alone: the status of three criteria over six attestations, and the second at which it changes.
//!
//! The limit is what cannot be left out: the six powers of two by which the items fade. `tests/proof/instructions.sh` counts
//! instructions of the same two.
#![expect(clippy::print_stdout, reason = "a measurement prints its figures")]

use std::hint::black_box;
use std::time::Instant;
use vouchsafe_core::fusion::{Item, Question, Side, Status, Thresholds, first_change, units};
use vouchsafe_core::second::{DAY, Second};

/// 2026-11-21T00:00:00Z.
const AT: i64 = 1_795_219_200;

fn item(document: &str, assessor: &str, q: f64, age: i64, half_life: i64) -> Item {
    let checked = Second::from_epoch(AT).plus(-age * DAY);
    Item {
        side: Side::Supports,
        e0: units(q),
        counts_from: checked,
        fades_from: checked,
        grace: 30 * DAY,
        half_life: half_life * DAY,
        ends_at: Some(checked.plus(1_800 * DAY)),
        document: document.to_owned(),
        assessor: assessor.to_owned(),
        silences: Vec::new(),
    }
}

/// Status: two documents of one vendor and a register. Identity: two documents. Employer: a vouch.
fn questions() -> [Question; 3] {
    let question = |items: Vec<Item>, eligible_at: f64| Question {
        items,
        thresholds: Thresholds { eligible_at, ineligible_at: 0.5, material: 0.25 },
        rho: 0.5,
        gate: None,
    };
    [
        question(
            vec![
                item("doc:passport", "vendor-a", 0.92 * 0.97, 100, 365),
                item("doc:card", "vendor-a", 0.65 * 0.97, 60, 365),
                item("record:1", "register", 0.92 * 0.99, 200, 365),
            ],
            0.85,
        ),
        question(
            vec![
                item("doc:passport", "vendor-a", 0.92 * 0.97, 100, 365),
                item("doc:licence", "vendor-b", 0.65 * 0.97, 100, 365),
            ],
            0.85,
        ),
        question(vec![item("vouch:1", "org_meridian", 0.92 * 0.99, 40, 90)], 0.60),
    ]
}

fn status(questions: &[Question; 3], t: Second) -> Status {
    questions.iter().map(|question| question.status(t)).min().unwrap_or(Status::Insufficient)
}

/// Nanoseconds of one of many, the best of twenty rounds.
fn time(mut one: impl FnMut(i64)) -> f64 {
    const ROUNDS: i64 = 5_000;
    let mut best = f64::INFINITY;
    for _ in 0..20 {
        let start = Instant::now();
        for n in 0..ROUNDS {
            one(n);
        }
        best = best.min(start.elapsed().as_secs_f64() * 1e9 / 5_000.0);
    }
    best
}

fn main() {
    let questions = questions();
    let at = Second::from_epoch(AT);
    assert_eq!(status(&questions, at), Status::Eligible);
    let references: Vec<&Question> = questions.iter().collect();
    let horizon = at.plus(3_653 * DAY);
    let change = |from: Second| first_change(&references, from, horizon, |t| status(&questions, t) != Status::Eligible);
    let (changes, _) = change(at).unwrap_or((at, vouchsafe_core::fusion::Cause::EvidenceEnd));
    assert_ne!(status(&questions, changes), Status::Eligible);
    assert_eq!(status(&questions, changes.plus(-1)), Status::Eligible);
    // Under a counter of instructions: one kind of work, so often, and nothing else.
    let mut asked = std::env::args().skip(1);
    if let (Some(what), Some(often)) = (asked.next(), asked.next().and_then(|n| n.parse::<i64>().ok())) {
        for n in 0..often {
            let t = at.plus(black_box(n % 60));
            match what.as_str() {
                "status" => _ = black_box(status(black_box(&questions), t)),
                "expiry" => _ = black_box(change(t)),
                _ => {}
            }
        }
        return;
    }
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    let powers = time(|n| {
        for k in 0..6 {
            _ = black_box(libm::exp2(black_box(-(n as f64) / 9_000.0 - f64::from(k))));
        }
    });
    let one = time(|n| _ = black_box(status(black_box(&questions), at.plus(n % 60))));
    let expiry = time(|n| _ = black_box(change(at.plus(n % 60))));
    println!("six powers of two: {powers:.0} ns");
    println!("status, six items, three criteria: {one:.0} ns, {:.1} of the limit", one / powers);
    println!(
        "the second of its change, {} days off: {expiry:.0} ns, {:.1} statuses",
        changes.since(at) / DAY,
        expiry / one
    );
}
