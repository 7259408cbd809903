//! A naive second model must agree with `decide` and `check_live` on random rules and random evidence.
//!
//! 20,000 cases at the scale of seconds and 200 at the scale of days run with the suite; `tests/proof/reference.sh` runs a million.
//! `REFERENCE_CASES` sets the number, `REFERENCE_SEED` draws other ones, `REFERENCE_CASE` repeats a single one by its number.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test fails where a production path must not, and is told by its environment how far to go"
)]

mod dice;
mod draw;
mod naive;
#[path = "../support/mod.rs"]
mod support;
mod tally;
mod verdict;

use dice::Dice;
use draw::Scale;
use std::collections::BTreeSet;
use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use tally::Tally;
use verdict::{Look, Verdict, at_the_request, verdict};
use vouchsafe_core::facts::{Attestation, SubjectFacts};
use vouchsafe_core::rules::{Body, Rules};
use vouchsafe_core::{Decision, Second, check_live, decide};

const SEED: u64 = 1_721;
/// People drawn for each set of rules.
const PEOPLE: u64 = 8;
/// How far ahead the change of an answer that is no yes is looked for.
const REACH: i64 = 300;

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("`{name}` must be a number")))
}

fn seed() -> u64 {
    setting("REFERENCE_SEED").unwrap_or(SEED)
}

struct Case {
    facts: SubjectFacts,
    at: Second,
    live: Vec<Attestation>,
}

/// The case of a number: rules are shared by the neighbours it is drawn with.
fn drawn(scale: Scale, number: u64) -> Case {
    let mut dice = Dice::new(seed() ^ 0x5eed, number);
    let facts = draw::person(&mut dice, scale);
    let at = draw::instant(&mut dice, scale);
    let live = draw::live(&mut dice, scale, at);
    Case { facts, at, live }
}

fn rules_of(scale: Scale, blank: &Body, number: u64) -> Rules {
    draw::rules(&mut Dice::new(seed(), number / PEOPLE), blank, scale)
}

fn near(a: f64, b: f64, within: f64) -> bool {
    (a - b).abs() <= within
}

fn same_number(got: Option<f64>, want: Option<f64>) -> bool {
    match (got, want) {
        // Decisions carry two digits.
        (Some(got), Some(want)) => near(got, want, 0.005 + 1e-9),
        (got, want) => got.is_none() && want.is_none(),
    }
}

/// What differs between the decision and the model's.
fn differences(got: &Decision, want: &Verdict) -> Vec<String> {
    let mut found = Vec::new();
    let mut check = |what: &str, same: bool, text: String| {
        if !same {
            found.push(format!("{what}: {text}"));
        }
    };
    let status = format!("{:?}", want.status).to_lowercase();
    check("status", got.status.as_str() == status, format!("{} instead of {status}", got.status.as_str()));
    check("at", got.at.epoch() == want.at, format!("{} instead of {}", got.at, Second::from_epoch(want.at)));
    check("exemption", got.exemption == want.exemption, format!("{:?} {:?}", got.exemption, want.exemption));
    check("live", got.live == want.live, format!("{:?} {:?}", got.live, want.live));
    let confidence = same_number(got.confidence, want.confidence);
    check("confidence", confidence, format!("{:?} {:?}", got.confidence, want.confidence));
    let looked_at: BTreeSet<String> = got.attestations.iter().map(|a| a.id.to_string()).collect();
    check("attestations", looked_at == want.looked_at, format!("{looked_at:?} {:?}", want.looked_at));
    let cause = got.expiry_cause.map(|cause| serde_json::to_value(cause).unwrap().as_str().unwrap().to_owned());
    let yes = status == "eligible";
    let (next, other) = if yes { (got.expires_at, got.recheck_at) } else { (got.recheck_at, got.expires_at) };
    let next = next.map_or(naive::NEVER, Second::epoch);
    // Past the end of its search the model cannot say more than that nothing changes before.
    let beyond = want.change == naive::NEVER && !yes && next >= want.looked_to;
    let text = format!("{next} {cause:?} instead of {} {:?}, looked to {}", want.change, want.cause, want.looked_to);
    let settled = next == want.change && cause.as_deref() == want.cause;
    check("next change", (settled || beyond || want.ambiguous) && other.is_none(), text);
    if let Some(why) = want.closed {
        check("reasons", got.reasons == [why], format!("{:?} instead of {why}", got.reasons));
        check("criteria", got.criteria.is_empty(), format!("{} criteria", got.criteria.len()));
        return found;
    }
    let ids: Vec<&String> = got.criteria.iter().map(|c| &c.id).collect();
    check("criteria", ids == want.lines.iter().map(|line| &line.id).collect::<Vec<_>>(), format!("{ids:?}"));
    for (report, line) in got.criteria.iter().zip(&want.lines) {
        let a = &line.answer;
        let same = report.status.as_str() == format!("{:?}", a.status).to_lowercase()
            && report.neutral == a.neutral
            && (report.key == a.key || a.tied)
            && near(report.belief, a.b, 5.1e-5)
            && near(report.disbelief, a.d, 5.1e-5)
            && near(report.uncertainty, 1.0 - a.b - a.d, 5.1e-5);
        check("criterion", same, format!("{report:?} instead of {line:?}"));
    }
    let mut must: BTreeSet<String> = want.lines.iter().map(|line| line.reason.clone()).collect();
    must.extend(want.exemption.as_ref().map(|_| "exemption.applied".to_owned()));
    must.extend(want.lines.iter().flat_map(|line| line.tells.iter().cloned()));
    let frames = || got.criteria.iter().map(|c| c.frame.as_str()).zip(&want.lines);
    must.extend(frames().filter(|(_, line)| line.overtaken.0).map(|(frame, _)| format!("{frame}.overtaken")));
    let mut may = must.clone();
    may.extend(frames().filter(|(_, line)| line.overtaken.1).map(|(frame, _)| format!("{frame}.overtaken")));
    may.extend(frames().map(|(frame, _)| format!("{frame}.inconsistent")));
    let told: BTreeSet<String> = got.reasons.iter().cloned().collect();
    let tied = want.lines.iter().any(|line| line.answer.tied);
    check("reasons", (must.is_subset(&told) && told.is_subset(&may)) || tied, format!("{told:?} instead of {must:?}"));
    found
}

/// Judges one case both ways; the tally learns what it reached.
fn judge(rules: &Rules, case: &Case, look: Look, reach: i64, tally: &mut Tally) -> Vec<String> {
    let got = decide(rules, &case.facts, case.at);
    let want = verdict(&rules.body, rules.since.epoch(), &case.facts, case.at.epoch(), reach, look);
    let mut found = differences(&got, &want);
    tally.saw(&got, &want, rules);
    if want.status == naive::Status::Eligible {
        let judged = check_live(rules, got, &case.live, case.at);
        let (status, confidence) = at_the_request(&rules.body, &want, &case.live, case.at.epoch());
        let name = format!("{status:?}").to_lowercase();
        if judged.status.as_str() != name || !same_number(judged.confidence, confidence) {
            let text = format!("{:?} {:?}", judged.status, judged.confidence);
            found.push(format!("at the request: {text} instead of {name} {confidence:?}"));
        }
        tally.saw_live(&judged, &want);
    }
    found
}

/// The fewest attestations with which the two still differ.
fn smallest(rules: &Rules, case: Case, look: Look, reach: i64) -> Case {
    let mut case = case;
    let mut index = 0;
    while index < case.facts.attestations.len() {
        let mut facts = case.facts.clone();
        facts.attestations.remove(index);
        let fewer = Case { facts, at: case.at, live: case.live.clone() };
        if judge(rules, &fewer, look, reach, &mut Tally::default()).is_empty() {
            index += 1;
        } else {
            case = fewer;
        }
    }
    case
}

fn failed(number: u64, rules: &Rules, case: Case, look: Look, reach: i64, found: &[String]) -> ! {
    let case = smallest(rules, case, look, reach);
    let again = judge(rules, &case, look, reach, &mut Tally::default());
    let policy = serde_json::to_string_pretty(&rules.body.policy).unwrap();
    let people = serde_json::to_string_pretty(&case.facts).unwrap();
    panic!(
        "case {number} of seed {} differs at {}:\n{}\nwith the fewest attestations:\n{}\n{people}\n{policy}\nnext change of rules {:?}, since {}",
        seed(),
        case.at,
        found.join("\n"),
        again.join("\n"),
        rules.body.next_change,
        rules.since
    );
}

/// Judges the cases of `numbers`.
fn run(scale: Scale, numbers: std::ops::Range<u64>) -> Tally {
    let blank = draw::blank(&support::library());
    let days = scale.unit > 1;
    let (look, reach) = if days { (Look::Minutes, 20 * scale.unit) } else { (Look::Seconds, REACH) };
    let mut tally = Tally::default();
    let mut rules = rules_of(scale, &blank, numbers.start);
    for number in numbers {
        if number % PEOPLE == 0 {
            rules = rules_of(scale, &blank, number);
        }
        let case = drawn(scale, number);
        let found = judge(&rules, &case, look, reach, &mut tally);
        if !found.is_empty() {
            failed(number, &rules, case, look, reach, &found);
        }
    }
    tally
}

/// The cases of the whole command, or with the suite one part of four, so that the parts run side by side.
fn part(part: u64) {
    if let Some(number) = setting("REFERENCE_CASE") {
        let tally = run(Scale::SECONDS, number..number + 1);
        assert_eq!(tally.cases, 1);
        return;
    }
    let each = setting("REFERENCE_CASES").map_or(5_000, |cases| cases.div_ceil(4));
    let tally = run(Scale::SECONDS, part * each..(part + 1) * each);
    assert_eq!(tally.cases, each);
    if each >= 5_000 {
        tally.check_shares();
    }
}

#[test]
fn a_naive_model_agrees_on_the_first_5000_cases() {
    part(0);
}

#[test]
fn a_naive_model_agrees_on_the_second_5000_cases() {
    part(1);
}

#[test]
fn a_naive_model_agrees_on_the_third_5000_cases() {
    part(2);
}

#[test]
fn a_naive_model_agrees_on_the_fourth_5000_cases() {
    part(3);
}

#[test]
fn a_naive_model_agrees_on_200_cases_that_last_for_days() {
    let tally = run(Scale::DAYS, 0..200);
    assert_eq!(tally.cases, 200);
    for reached in ["status eligible", "status ineligible", "status review", "recheck found", "expiry policy_max_ttl"] {
        assert!(tally.reached(reached) >= 5, "{reached} in\n{tally}");
    }
}

/// The million, on every core. Prints what it reached.
#[test]
#[ignore = "some minutes in release mode: tests/proof/reference.sh"]
fn a_naive_model_agrees_on_a_million_cases() {
    let cases = setting("REFERENCE_CASES").unwrap_or(1_000_000);
    let workers = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    let terminal = std::io::stderr().is_terminal();
    let finished = AtomicU64::new(0);
    let step = PEOPLE * 64;
    let next = AtomicU64::new(0);
    let mut err = std::io::stderr();
    writeln!(err, "{cases} cases of seed {}", seed()).unwrap();
    let tally = std::thread::scope(|scope| {
        let work = || {
            let mut tally = Tally::default();
            loop {
                let from = next.fetch_add(step, Ordering::Relaxed);
                if from >= cases {
                    return tally;
                }
                let to = (from + step).min(cases);
                tally.add(&run(Scale::SECONDS, from..to));
                let done = finished.fetch_add(to - from, Ordering::Relaxed) + (to - from);
                if terminal {
                    let _ = write!(std::io::stderr(), "\r{done} of {cases} agree");
                } else if done * 20 / cases != (done - (to - from)) * 20 / cases {
                    let _ = writeln!(std::io::stderr(), "{done} of {cases} agree");
                }
            }
        };
        let handles: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        handles.into_iter().fold(Tally::default(), |mut all, handle| {
            all.add(&handle.join().unwrap());
            all
        })
    });
    writeln!(err, "\n{tally}").unwrap();
    assert_eq!(tally.cases, cases);
    tally.check_shares();
}
