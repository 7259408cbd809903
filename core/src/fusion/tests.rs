//! The search for the second of a change: where it guesses, that it never guesses wrong, and how seldom it looks.

use super::*;
use std::cell::Cell;

fn at(t: i64) -> Second {
    Second::from_epoch(t)
}

/// An item of its own document and assessor that halves every 100 seconds from second 0 on.
fn item(name: &str, side: Side, e0: f64) -> Item {
    Item {
        side,
        e0,
        counts_from: at(0),
        fades_from: at(0),
        grace: 0,
        half_life: 100,
        ends_at: None,
        document: name.to_owned(),
        assessor: name.to_owned(),
        silences: Vec::new(),
    }
}

fn question(items: Vec<Item>, gate: Option<Vec<usize>>) -> Question {
    Question {
        items,
        thresholds: Thresholds { eligible_at: 0.9, ineligible_at: 0.5, material: 0.25 },
        rho: 0.5,
        gate: gate.map(|admitted| GateItems { admitted }),
    }
}

#[test]
fn the_margin_is_told_in_halvings() {
    let margin = |question: &Question, held| question.margin(held, &question.opinion(at(0)), at(0));
    // .9 x 2 / .1 = 18 units are needed: of 36 one half is left after one halving. Against 2 units .9 x 4 / .1 = 36 are.
    let plain = |against: f64| question(vec![item("a", Side::Supports, 36.0), item("x", Side::Adverse, against)], None);
    assert!((margin(&plain(0.0), Status::Eligible) - 1.0).abs() < 1e-12);
    assert!(margin(&plain(2.0), Status::Eligible).abs() < 1e-12);
    // Any other status changes where support is material no more: .25 x 2 / .75 = 2/3 unit, four times 8/3.
    let little = question(vec![item("a", Side::Supports, 8.0 / 3.0)], None);
    for held in [Status::Review, Status::Insufficient, Status::Ineligible] {
        assert!((margin(&little, held) - 2.0).abs() < 1e-12);
    }
    // One item of three units opens the gate until it has lost a third, long before the 36 of both are 18.
    let gated =
        |own: f64| question(vec![item("a", Side::Supports, 36.0 - own), item("b", Side::Supports, own)], Some(vec![1]));
    assert!((margin(&gated(3.0), Status::Eligible) - 1.5f64.log2()).abs() < 1e-12);
    // One of sixteen units opens it for three halvings, and the sum is enough for one.
    assert!((margin(&gated(16.0), Status::Eligible) - 1.0).abs() < 1e-12);
}

#[test]
fn a_line_is_followed_to_where_it_falls_below_zero() {
    // From 2 at 0 to 1 at 10: 0 at 20. From 3 at 0 to 1 at 10: 0 at 15. From 1 at 0 to 2 at 10: 0 at -10.
    assert_eq!(secant([(at(0), 2.0), (at(10), 1.0)]), Some(at(20)));
    assert_eq!(secant([(at(0), 3.0), (at(10), 1.0)]), Some(at(15)));
    assert_eq!(secant([(at(0), 1.0), (at(10), 2.0)]), Some(at(-10)));
    assert_eq!(secant([(at(0), 1.0), (at(10), -1.0)]), Some(at(5)));
    // A third of a second late is a second late: 10 + 10 x 1/3.
    assert_eq!(secant([(at(0), 4.0), (at(10), 1.0)]), Some(at(14)));
    // A level line falls nowhere, nor does one that takes longer than 30,000 years.
    assert_eq!(secant([(at(0), 1.0), (at(10), 1.0)]), None);
    assert_eq!(secant([(at(0), 1.0), (at(10), 1.0 - 1e-13)]), None);
}

/// Where `change` is found between 0 and `last`, and by how many looks.
fn found(change: i64, last: i64, margin: impl Fn(i64) -> f64) -> (i64, u32) {
    let looks = Cell::new(0);
    let look = |t: Second| {
        looks.set(looks.get() + 1);
        assert!((1..last).contains(&t.epoch()), "{t} lies outside");
        (t.epoch() < change, margin(t.epoch()))
    };
    let second = narrowed([(at(0), margin(0)), (at(last), margin(last))], look);
    (second.epoch(), looks.get())
}

#[test]
fn a_change_is_found_wherever_the_guesses_fall_and_soon_where_they_are_good() {
    #[expect(clippy::cast_precision_loss, reason = "seconds of a year")]
    let line = |change: i64| move |t: i64| (change - t) as f64;
    let year = 365 * 86_400;
    for change in [1, 2, 1_000_003, year / 2, year - 1, year] {
        // Halving alone takes 25 looks, 2^25 seconds being more than a year. On a line two looks do: the change, and the second before it.
        let (second, looks) = found(change, year, line(change));
        assert!(second == change && looks <= 3, "{change}: {second} by {looks}");
        // Margins that lead astray cost their guesses: none, the first second, the last, one beyond it.
        for astray in [0.0, 1.0, -1.0] {
            let (second, looks) = found(change, year, |t| if t == 0 { 1.0 } else { astray });
            assert!(second == change && looks <= GUESSES + 26, "{change}: {second} by {looks}");
        }
        #[expect(clippy::cast_precision_loss, reason = "seconds of a year")]
        let rising = found(change, year, |t| 1.0 + t as f64);
        #[expect(clippy::cast_precision_loss, reason = "seconds of a year")]
        let far = found(change, year, |t| 1e9 - t as f64);
        for (second, looks) in [rising, far] {
            assert!(second == change && looks <= GUESSES + 26, "{change}: {second} by {looks}");
        }
    }
}

#[test]
fn a_change_lies_after_the_first_second_and_before_the_last_and_is_asked_of_where_it_may_be() {
    let asked = |items: Vec<Item>, from: i64, horizon: i64| {
        let question = question(items, None);
        let asked = Cell::new(0);
        let first = first_change(&[&question], at(from), at(horizon), |_| {
            asked.set(asked.get() + 1);
            true
        });
        (first.map(|(t, cause)| (t.epoch(), cause)), asked.get())
    };
    let ending = || vec![Item { ends_at: Some(at(50)), grace: 1_000, ..item("a", Side::Supports, 4.0) }];
    assert_eq!(asked(ending(), 49, 60), (Some((50, Cause::EvidenceEnd)), 1));
    // Not in the second it starts from, nor at the horizon.
    assert_eq!(asked(ending(), 50, 60), (None, 0));
    assert_eq!(asked(ending(), 0, 50), (None, 0));
    assert_eq!(asked(ending(), 0, 51), (Some((50, Cause::EvidenceEnd)), 1));
    // 36 units are 18 after 100 seconds, in which they still suffice; where the fading begins is looked at as well.
    let fading = || vec![item("a", Side::Supports, 36.0)];
    assert_eq!(asked(fading(), 1, 1_000), (Some((101, Cause::Confidence)), 1));
    assert_eq!(asked(fading(), 1, 102), (Some((101, Cause::Confidence)), 1));
    // One second between, or none that differs: nothing to ask.
    assert_eq!(asked(fading(), 99, 101), (None, 0));
    assert_eq!(asked(fading(), 100, 101), (None, 0));
    assert_eq!(asked(vec![item("a", Side::Adverse, 36.0)], 1, 1_000), (None, 0));
}
