//! Runs each test alone once to see which mutants it reaches, then each mutant against the tests that reach it, the quick ones first.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::build::Binary;
use crate::outcomes::{Outcome, Outcomes};

/// Tests that take longer than one of these wait until every mutant has met the quicker ones.
const ROUNDS: [Duration; 3] = [Duration::from_millis(100), Duration::from_secs(1), Duration::MAX];
/// Tests that caught the latest mutants are tried first: neighbours are often caught by the same.
const LATEST: usize = 4;
/// What a test may take however quick it is by itself, of the processor's time: on a busy machine that is not the clock's.
const LEAST_PATIENCE: Duration = Duration::from_secs(20);
/// By the clock a test may take this many times as long: one that waits for ever uses no processor.
const BUSY: u32 = 20;

pub(crate) struct Test {
    name: String,
    binary: PathBuf,
    took: Duration,
    reaches: BTreeSet<usize>,
}

impl Test {
    fn start(&self, tree: &Path, switch: (&str, &str)) -> Result<Child> {
        let core = tree.join("core");
        Ok(Command::new(&self.binary)
            .args(["--exact", &self.name, "--test-threads=1"])
            .current_dir(&core)
            .env("CARGO_MANIFEST_DIR", &core)
            .env(switch.0, switch.1)
            // That it fails is enough: neither where nor by how little is asked.
            .envs([("PROPTEST_MAX_SHRINK_ITERS", "0"), ("RUST_BACKTRACE", "0")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?)
    }

    /// Whether the test passes with a mutant on; nothing when it does not end.
    fn passes(&self, tree: &Path, mutant: usize) -> Result<Option<bool>> {
        let mut child = self.start(tree, ("MUTANT", &mutant.to_string()))?;
        let patience = LEAST_PATIENCE.max(self.took * 5);
        let until = Instant::now() + patience * BUSY;
        let mut pause = Duration::from_millis(1);
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(Some(status.success()));
            }
            if used(&child) > patience || Instant::now() > until {
                child.kill()?;
                child.wait()?;
                return Ok(None);
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(50));
        }
    }
}

/// What a program has used of the processor's time; nothing where the system does not say.
fn used(child: &Child) -> Duration {
    let text = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap_or_default();
    // After the name, which stands in brackets: eleven members, then its own and the system's time, in hundredths of a second.
    let members = text.rsplit_once(") ").map_or("", |(_, rest)| rest).split(' ');
    Duration::from_millis(members.skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum::<u64>() * 10)
}

/// Every test of the programs with what it reaches and how long it takes, the quickest first.
///
/// # Errors
/// When one fails with no mutant on: then nothing that follows would mean anything.
pub(crate) fn measured(tree: &Path, binaries: &[Binary], mutants: usize) -> Result<Vec<Test>> {
    let reached = std::env::temp_dir().join(format!("vouchsafe-reached-{}", std::process::id()));
    let mut tests = Vec::new();
    for binary in binaries {
        let list =
            Command::new(&binary.path).args(["--list", "--format=terse"]).current_dir(tree.join("core")).output()?;
        let list = String::from_utf8(list.stdout)?;
        for name in list.lines().filter_map(|line| line.strip_suffix(": test")) {
            let mut test = Test {
                name: name.to_owned(),
                binary: binary.path.clone(),
                took: Duration::ZERO,
                reaches: BTreeSet::new(),
            };
            std::fs::write(&reached, "")?;
            let begun = Instant::now();
            if !test
                .start(tree, ("REACHED", reached.to_str().context("a directory for temporary files in UTF-8")?))?
                .wait()?
                .success()
            {
                bail!("`{name}` of `{}` fails with no mutant on", binary.name);
            }
            test.took = begun.elapsed();
            test.reaches = std::fs::read_to_string(&reached)?.lines().map(str::parse).collect::<Result<_, _>>()?;
            test.name = name.to_owned();
            tests.push(test);
        }
    }
    std::fs::remove_file(&reached)?;
    tests.sort_by_key(|test| test.took);
    let all: BTreeSet<_> = tests.iter().flat_map(|test| &test.reaches).collect();
    println!("{} tests pass with no mutant on and reach {} of {mutants} mutants", tests.len(), all.len());
    Ok(tests)
}

/// Tries every mutant that is not known to be caught.
///
/// # Errors
/// When a test cannot be started or an outcome not be kept.
pub(crate) fn all(tree: &Path, tests: &[Test], left: &BTreeSet<usize>, kept: &mut Outcomes) -> Result<()> {
    let mut open: Vec<usize> =
        (1..=kept.count()).filter(|id| !left.contains(id) && kept.known(*id).is_none()).collect();
    let latest = Mutex::new(Vec::new());
    let mut least = Duration::ZERO;
    for most in ROUNDS {
        let round: Vec<&Test> = tests.iter().filter(|test| least <= test.took && test.took < most).collect();
        let (kept, next, survivors) = (Mutex::new(&mut *kept), AtomicUsize::new(0), Mutex::new(Vec::new()));
        let work = || -> Result<()> {
            while let Some(&mutant) = open.get(next.fetch_add(1, Ordering::Relaxed)) {
                match catch(tree, &round, &latest, mutant)? {
                    Some((outcome, by)) => locked(&kept).keep(mutant, outcome, by)?,
                    None => locked(&survivors).push(mutant),
                }
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..jobs()).map(|_| scope.spawn(work)).collect();
            workers.into_iter().try_for_each(|worker| worker.join().unwrap_or_else(|_| bail!("a worker broke down")))
        })?;
        open = survivors.into_inner().unwrap_or_default();
        open.sort_unstable();
        println!("{} mutants open after {} more tests", open.len(), round.len());
        locked(&kept).show_open(&open)?;
        least = most;
    }
    for mutant in open {
        let reached = tests.iter().any(|test| test.reaches.contains(&mutant));
        kept.keep(mutant, Outcome::Missed, if reached { "" } else { "no test reaches it" })?;
    }
    Ok(())
}

/// The first test that notices a mutant, if any does.
fn catch<'a>(
    tree: &Path,
    tests: &[&'a Test],
    latest: &Mutex<Vec<&'a Test>>,
    mutant: usize,
) -> Result<Option<(Outcome, &'a str)>> {
    let first: Vec<&Test> = locked(latest).iter().copied().filter(|test| test.reaches.contains(&mutant)).collect();
    let others = tests.iter().copied().filter(|test| test.reaches.contains(&mutant));
    let others = others.filter(|test| !first.iter().any(|tried| std::ptr::eq(*tried, *test)));
    for test in first.iter().copied().chain(others) {
        let outcome = match test.passes(tree, mutant)? {
            Some(true) => continue,
            Some(false) => Outcome::Caught,
            None => Outcome::Timeout,
        };
        let mut latest = locked(latest);
        latest.retain(|held| !std::ptr::eq(*held, test));
        latest.insert(0, test);
        latest.truncate(LATEST);
        return Ok(Some((outcome, &test.name)));
    }
    Ok(None)
}

fn jobs() -> usize {
    std::env::var("JOBS").ok().and_then(|jobs| jobs.parse().ok()).unwrap_or(2)
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
