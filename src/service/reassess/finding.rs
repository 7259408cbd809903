//! What a subject comes to, beside what it came to before.

use super::notice::Notice;
use crate::storage::{StoredStanding, Write};
use std::sync::Arc;
use vouchsafe_core::rules::Rules;
use vouchsafe_core::{Decision, Status};

/// What a subject comes to under one standing, beside what it came to before.
pub(super) struct Finding {
    pub(super) standing: StoredStanding,
    pub(super) before: Option<StoredStanding>,
    pub(super) decision: Decision,
    pub(super) rules: Arc<Rules>,
    /// Another party is not what it was when this was looked at last.
    pub(super) party_changed: bool,
    /// That it will end, where that is to be told now.
    pub(super) notice: Option<Notice>,
}

impl Finding {
    /// Whether somebody has to know. That nothing was known before is the same as too little.
    pub(super) fn is_news(&self) -> bool {
        let before = self.before.as_ref().map_or(Status::Insufficient.as_str(), |before| before.status.as_str());
        before != self.standing.status
    }

    /// Whether something is told of it.
    pub(super) fn is_told(&self) -> bool {
        self.is_news() || self.notice.is_some()
    }

    /// Whether a yes goes on by the same evidence under the same rules: nobody was asked for anything.
    pub(super) fn is_renewal(&self) -> bool {
        self.before.as_ref().is_some_and(|before| {
            before.decision != self.standing.decision
                && before.status == Status::Eligible.as_str()
                && before.status == self.standing.status
                && self.causes() == ["time"]
        })
    }

    /// What is other than before: `evidence` (or anything else about the subject), `rules`, `suspension`, `party` (another
    /// one that the answer was made of); else `time`.
    pub(super) fn causes(&self) -> Vec<&'static str> {
        let (now, before) = (&self.standing, self.before.as_ref());
        let mut causes = Vec::new();
        if before.is_none_or(|before| before.version != now.version) {
            causes.push("evidence");
        }
        if before.is_some_and(|before| before.rules != now.rules) {
            causes.push("rules");
        }
        if before.is_some_and(|before| before.suspensions != now.suspensions) {
            causes.push("suspension");
        }
        if before.is_some() && self.party_changed {
            causes.push("party");
        }
        if causes.is_empty() {
            causes.push("time");
        }
        causes
    }

    pub(super) fn write(&self, timeline: i64) -> Write {
        let replaces = self.before.as_ref().map(|before| (before.decision.clone(), before.version));
        Write::Standing { standing: self.standing.clone(), replaces, timeline }
    }
}
