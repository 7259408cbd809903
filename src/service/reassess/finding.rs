//! What a subject comes to, beside what it came to before.

use super::notice::Notice;
use crate::storage::{StoredStanding, Write};
use std::sync::Arc;
use vouchsafe_core::policy::Disclosure;
use vouchsafe_core::rules::Rules;
use vouchsafe_core::{Decision, Status};

/// The band of a yes: its confidence to the tenth below, so that days alone change it seldom. Only where the policy
/// discloses confidence: what nobody may learn is not kept either.
pub(super) fn level(decision: &Decision, rules: &Rules) -> Option<String> {
    rules.body.policy.as_ref().filter(|policy| policy.discloses.contains(&Disclosure::Confidence))?;
    decision.confidence.filter(|_| decision.status == Status::Eligible).map(band)
}

/// In hundredths it is a whole number, as it is told elsewhere.
fn band(confidence: f64) -> String {
    format!("{:.1}", ((confidence * 100.0).round() / 10.0).floor() / 10.0)
}

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
    /// Whether anybody asked to be told levels.
    pub(super) is_heard: bool,
}

impl Finding {
    /// Whether somebody has to know. That nothing was known before is the same as too little.
    pub(super) fn is_news(&self) -> bool {
        let before = self.before.as_ref().map_or(Status::Insufficient.as_str(), |before| before.status.as_str());
        before != self.standing.status
    }

    /// Whether something is told of it.
    pub(super) fn is_told(&self) -> bool {
        self.is_news() || self.notice.is_some() || self.new_level().is_some()
    }

    /// The level that is new, and the one before it.
    pub(super) fn new_level(&self) -> Option<(&str, Option<&str>)> {
        let before = self.before.as_ref().and_then(|before| before.level.as_deref());
        let level = self.standing.level.as_deref().filter(|level| self.is_heard && Some(*level) != before)?;
        Some((level, before))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_band_begins_at_its_tenth_and_ends_before_the_next() {
        for tenth in 0..10 {
            for hundredth in 0..10 {
                let confidence = f64::from(tenth * 10 + hundredth) / 100.0;
                assert_eq!(band(confidence), format!("0.{tenth}"), "{confidence}");
            }
        }
        assert_eq!(band(1.0), "1.0");
    }
}
