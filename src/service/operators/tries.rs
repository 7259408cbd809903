//! How often a password may be tried: a bound on guessing that nobody can use to keep somebody out.
//!
//! Failures are counted per name and network, and per name. Whoever fails too often from one network waits, there alone.
//! A name that is tried from everywhere is closed to networks from which its operator has not signed in lately, and stays
//! open to those. Counts live in memory, per process, and end by themselves; a name that does not exist is counted
//! the same way.

use moka::sync::Cache;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Mutex, PoisonError};

const MINUTE: i64 = 60_000;

/// Failures of one name from one network before it waits.
const HERE: u32 = 10;
/// How long it waits after the last one that counted, milliseconds.
const HERE_WAIT: i64 = 15 * MINUTE;
/// Failures of one name from everywhere within [`ANYWHERE_WAIT`] before only known networks may try.
const ANYWHERE: u32 = 100;
/// How long that lasts after the last one that counted, milliseconds.
const ANYWHERE_WAIT: i64 = 60 * MINUTE;
/// Most counts kept of either kind; each takes about 100 bytes.
const COUNTS: u64 = 100_000;

/// Failures, and when the last one was.
#[derive(Debug, Default, Clone, Copy)]
struct Count {
    failures: u32,
    last_ms: i64,
}

type Counts = Cache<u64, Arc<Mutex<Count>>>;

/// Failed tries, by name and network.
#[derive(Debug)]
pub(crate) struct Tries {
    here: Counts,
    anywhere: Counts,
    hasher: RandomState,
}

/// Whether a try may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// It may, and counts as failed until it is told otherwise.
    Yes,
    /// Only from a network that is known; then it counts.
    IfKnown {
        /// Seconds to wait for whoever is not known.
        wait_secs: i64,
    },
    /// Not before so many seconds.
    Wait {
        /// Seconds to wait.
        wait_secs: i64,
        /// The failure before this one was the last that was allowed: told once.
        first: bool,
    },
}

impl Default for Tries {
    fn default() -> Self {
        Self { here: Cache::new(COUNTS), anywhere: Cache::new(COUNTS), hasher: RandomState::new() }
    }
}

/// Counts one more failure if fewer than `most` stand; else says how long to wait, and whether that is news.
fn take(count: &Mutex<Count>, most: u32, wait_ms: i64, now_ms: i64) -> Result<(), (i64, bool)> {
    let mut count = count.lock().unwrap_or_else(PoisonError::into_inner);
    if now_ms - count.last_ms >= wait_ms {
        *count = Count::default();
    }
    if count.failures >= most {
        // What is refused does not count: whoever goes on trying does not make it last longer.
        let first = count.failures == most;
        count.failures = most + 1;
        return Err(((count.last_ms + wait_ms - now_ms).max(0) / 1000 + 1, first));
    }
    *count = Count { failures: count.failures + 1, last_ms: now_ms };
    Ok(())
}

impl Tries {
    fn counts(&self, name: &str, site: u64) -> (Arc<Mutex<Count>>, Arc<Mutex<Count>>) {
        let here = self.here.get_with(self.hasher.hash_one((name, site)), Arc::default);
        (here, self.anywhere.get_with(self.hasher.hash_one(name), Arc::default))
    }

    /// Takes a turn before the password is looked at, so that many tries at once are counted like one after another.
    pub(super) fn take(&self, name: &str, site: u64, now_ms: i64) -> Turn {
        let (here, anywhere) = self.counts(name, site);
        if let Err((wait_secs, first)) = take(&here, HERE, HERE_WAIT, now_ms) {
            return Turn::Wait { wait_secs, first };
        }
        match take(&anywhere, ANYWHERE, ANYWHERE_WAIT, now_ms) {
            Ok(()) => Turn::Yes,
            Err((wait_secs, _)) => Turn::IfKnown { wait_secs },
        }
    }

    /// The try was right, or nobody's fault: what it counted here is taken back.
    pub(super) fn forgive(&self, name: &str, site: u64) {
        let (here, anywhere) = self.counts(name, site);
        *here.lock().unwrap_or_else(PoisonError::into_inner) = Count::default();
        let mut anywhere = anywhere.lock().unwrap_or_else(PoisonError::into_inner);
        anywhere.failures = anywhere.failures.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_795_219_200_000;

    #[test]
    fn ten_failures_from_one_network_wait_a_quarter_of_an_hour_there_alone() {
        let tries = Tries::default();
        for n in 0..10 {
            assert_eq!(tries.take("cam", 1, NOW + n), Turn::Yes);
        }
        assert_eq!(tries.take("cam", 1, NOW + 10), Turn::Wait { wait_secs: 900, first: true });
        for n in 11..1000 {
            assert!(matches!(tries.take("cam", 1, NOW + n), Turn::Wait { first: false, .. }));
        }
        assert_eq!(tries.take("cam", 2, NOW + 11), Turn::Yes, "another network");
        assert_eq!(tries.take("lee", 1, NOW + 11), Turn::Yes, "another name");
        // The tries that were refused did not make it longer: the last one that counted was at 9 ms.
        assert!(matches!(tries.take("cam", 1, NOW + 9 + 15 * MINUTE - 1), Turn::Wait { .. }));
        assert_eq!(tries.take("cam", 1, NOW + 9 + 15 * MINUTE), Turn::Yes);
    }

    #[test]
    fn a_name_tried_from_everywhere_stays_open_to_known_networks() {
        let tries = Tries::default();
        for site in 0..100 {
            assert_eq!(tries.take("cam", site, NOW), Turn::Yes);
        }
        for site in 100..1000 {
            assert_eq!(tries.take("cam", site, NOW + 1), Turn::IfKnown { wait_secs: 3600 });
        }
        assert_eq!(tries.take("cam", 5000, NOW + 60 * MINUTE), Turn::Yes, "an hour later");
    }

    #[test]
    fn a_right_password_takes_its_failures_back() {
        let tries = Tries::default();
        for _ in 0..30 {
            for _ in 0..3 {
                assert_eq!(tries.take("cam", 1, NOW), Turn::Yes);
            }
            tries.forgive("cam", 1);
        }
    }
}
