//! What waits for reassessment.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Changed subjects that are remembered one by one; of more, all are swept.
pub(super) const REMEMBERED: usize = 100_000;

/// What waits for the job, in memory: what a crash loses, the sweep at the next start finds.
#[derive(Debug)]
pub(crate) struct Waiting(Mutex<Work>);

#[derive(Debug)]
pub(super) struct Work {
    pub(super) changed: BTreeSet<String>,
    /// Subjects whose answers were made of another party that changed; nobody's answer is looked at again for theirs.
    pub(super) relying: BTreeSet<String>,
    /// Where a sweep goes on after; `None` when none is under way.
    pub(super) sweep: Option<String>,
    /// Subjects whose facts could not be read, and until when they are left alone.
    pub(super) aside: BTreeMap<String, i64>,
}

impl Default for Waiting {
    fn default() -> Self {
        let (changed, relying) = (BTreeSet::new(), BTreeSet::new());
        Self(Mutex::new(Work { changed, relying, sweep: Some(String::new()), aside: BTreeMap::new() }))
    }
}

impl Waiting {
    pub(super) fn work(&self) -> MutexGuard<'_, Work> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something was said about the subject.
    pub(crate) fn changed(&self, subject: &str) {
        let mut work = self.work();
        if work.changed.len() >= REMEMBERED {
            work.changed.clear();
            work.sweep = Some(String::new());
        } else {
            work.changed.insert(subject.to_owned());
        }
    }

    /// Something changed for everybody, or what changed is not known.
    pub(crate) fn all_changed(&self) {
        self.work().sweep = Some(String::new());
    }

    /// Another party that these subjects' answers were made of changed.
    pub(super) fn party_changed(&self, subjects: Vec<String>) {
        let mut work = self.work();
        if work.relying.len() + subjects.len() > REMEMBERED {
            work.relying.clear();
            work.sweep = Some(String::new());
        } else {
            work.relying.extend(subjects);
        }
    }

    /// At most `most` of the subjects that wait because of another party.
    pub(super) fn take_relying(&self, most: usize) -> BTreeSet<String> {
        let mut work = self.work();
        let rest = work.relying.iter().nth(most).cloned();
        let rest = rest.map(|first| work.relying.split_off(&first)).unwrap_or_default();
        std::mem::replace(&mut work.relying, rest)
    }

    /// At most `most` of the subjects that changed.
    pub(super) fn take(&self, now_ms: i64, most: usize) -> BTreeSet<String> {
        let mut work = self.work();
        work.aside.retain(|_, until| *until > now_ms);
        let mut taken = BTreeSet::new();
        while taken.len() < most
            && let Some(subject) = work.changed.pop_first()
        {
            taken.insert(subject);
        }
        taken
    }
}
