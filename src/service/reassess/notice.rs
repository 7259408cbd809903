//! Notices ahead of an end: told only where the evidence held would not renew the yes.

use crate::service::{App, ServiceResult};
use crate::storage::StoredStanding;
use serde_json::{Value, json};
use std::sync::Arc;
use vouchsafe_core::facts::SubjectFacts;
use vouchsafe_core::ids::ResourceId;
use vouchsafe_core::rules::Rules;
use vouchsafe_core::second::DAY;
use vouchsafe_core::{Decision, Second, Status, decide};

/// How long before its end a yes that will not be renewed is told, seconds, longest first.
pub const NOTICES_SECS: [i64; 3] = [30 * DAY, 7 * DAY, DAY];

/// Renewals that are looked through at once: of a policy whose yes lasts half a day or longer, all within 30 days. A yes
/// that goes on longer is looked at again before it stopped.
const STEPS: usize = 64;

/// How a yes goes on if nothing more is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ahead {
    /// For ever.
    Always,
    /// At least until this instant.
    Until(Second),
    /// Until this instant, and then it is something else.
    Ends(Second, Status),
}

/// A notice that is to be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Notice {
    ends_at: Second,
    then: Status,
}

impl Notice {
    /// What is told.
    pub(super) fn body(self, standing: &StoredStanding) -> Value {
        let StoredStanding { subject, resource, decision, .. } = standing;
        json!({ "subject": subject, "resource": resource, "status": Status::Eligible, "decision": decision,
            "ends_at": self.ends_at, "next_status": self.then })
    }
}

/// Notes in a standing when to look next, and what is told now, if something is. `before` is how long before an end
/// notices are given, seconds, longest first.
fn plan(standing: &mut StoredStanding, ahead: Ahead, before: &[i64], now: Second) -> Option<Notice> {
    let longest = before.first().copied().unwrap_or(0);
    let (ends_at, then) = match ahead {
        Ahead::Always => return None,
        Ahead::Until(at) => {
            let first = at.plus(-longest);
            // Where it stopped before the horizon: half-way, so that it is seen in time and not looked at all the time.
            let half = now.plus((at.since(now) / 2).max(60));
            standing.notice_ms = Some(if first > now { first } else { half }.millis());
            return None;
        }
        Ahead::Ends(at, then) => (at, then),
    };
    let left = ends_at.since(now);
    standing.notice_ms = before.iter().find(|before| **before < left).map(|before| ends_at.plus(-before).millis());
    let stage = before.iter().rev().find(|before| left <= **before)? * 1000;
    let end_ms = ends_at.millis();
    let is_told = standing.told_end_ms == Some(end_ms) && standing.told_before_ms.is_some_and(|told| told <= stage);
    (standing.told_end_ms, standing.told_before_ms) =
        (Some(end_ms), if is_told { standing.told_before_ms } else { Some(stage) });
    (!is_told).then_some(Notice { ends_at, then })
}

impl App {
    /// Looks ahead of a decision and notes in its standing when to look next; the notice that is to be given now.
    pub(super) fn look_ahead(
        &self,
        standing: &mut StoredStanding,
        decision: &Decision,
        facts: &SubjectFacts,
        rules: &Arc<Rules>,
        resource: &ResourceId,
    ) -> ServiceResult<Option<Notice>> {
        let before = self.notices.load();
        let Some(longest) = before.first() else { return Ok(None) };
        if decision.status != Status::Eligible {
            (standing.told_end_ms, standing.told_before_ms) = (None, None);
            return Ok(None);
        }
        let now = self.clock.now();
        let ahead = self.ahead(decision, facts, rules, resource, now.plus(*longest))?;
        Ok(plan(standing, ahead, &before, now))
    }

    /// How a yes goes on if nothing more is said, as far as `horizon`.
    fn ahead(
        &self,
        decision: &Decision,
        facts: &SubjectFacts,
        rules: &Arc<Rules>,
        resource: &ResourceId,
        horizon: Second,
    ) -> ServiceResult<Ahead> {
        let (now, world) = (self.clock.now(), self.world.load_full());
        let mut next = decision.valid_until();
        let mut rules = Arc::clone(rules);
        for _ in 0..STEPS {
            let Some(at) = next else { return Ok(Ahead::Always) };
            if at > horizon {
                return Ok(Ahead::Until(at));
            }
            if rules.body.next_change.is_some_and(|change| change <= at) {
                rules = Arc::new(world.rules_known_at(resource, at, now)?);
            }
            let then = decide(&rules, facts, at);
            if then.status != Status::Eligible {
                return Ok(Ahead::Ends(at, then.status));
            }
            next = then.valid_until().filter(|later| *later > at);
        }
        Ok(next.map_or(Ahead::Always, Ahead::Until))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: [i64; 3] = NOTICES_SECS;

    fn standing() -> StoredStanding {
        StoredStanding {
            subject: "sub_1".to_owned(),
            acting_for: String::new(),
            resource: "restricted.*".to_owned(),
            status: "eligible".to_owned(),
            decision: "dec_1".to_owned(),
            rules: "r".to_owned(),
            version: 1,
            suspensions: 0,
            due_ms: None,
            notice_ms: None,
            told_end_ms: None,
            told_before_ms: None,
            level: None,
        }
    }

    fn day(days: i64) -> Second {
        Second::from_epoch(days * DAY)
    }

    #[test]
    fn each_stage_is_told_once_and_the_next_look_is_at_the_next_stage() {
        let mut held = standing();
        let ends = Ahead::Ends(day(100), Status::Insufficient);
        let mut told = Vec::new();
        let mut now = day(70);
        for _ in 0..3 {
            let notice = plan(&mut held, ends, &BEFORE, now).expect("a notice");
            assert_eq!(notice, Notice { ends_at: day(100), then: Status::Insufficient });
            // Looked at again for another reason.
            assert_eq!(plan(&mut held, ends, &BEFORE, now.plus(10)), None);
            told.push(now);
            let Some(look) = held.notice_ms else { break };
            assert_eq!(plan(&mut held, ends, &BEFORE, Second::from_millis(look).plus(-1)), None, "a second early");
            now = Second::from_millis(look);
        }
        assert_eq!(told, [day(70), day(93), day(99)]);
        assert_eq!(held.notice_ms, None);
    }

    #[test]
    fn an_end_that_is_near_when_it_is_first_seen_is_told_once() {
        let mut held = standing();
        let ends = Ahead::Ends(day(100), Status::Ineligible);
        assert!(plan(&mut held, ends, &BEFORE, day(95)).is_some());
        assert_eq!(held.told_before_ms, Some(7 * DAY * 1000));
        assert_eq!(held.notice_ms, Some(day(99).millis()));
        // Another end is another notice.
        assert!(plan(&mut held, Ahead::Ends(day(101), Status::Ineligible), &BEFORE, day(95)).is_some());
    }

    #[test]
    fn what_goes_on_is_looked_at_when_a_notice_could_be_due() {
        let mut held = standing();
        assert_eq!(plan(&mut held, Ahead::Until(day(100)), &BEFORE, day(1)), None);
        assert_eq!(held.notice_ms, Some(day(70).millis()));
        assert_eq!(plan(&mut held, Ahead::Until(day(41)), &BEFORE, day(1)), None);
        assert_eq!(held.notice_ms, Some(day(11).millis()));
        let mut held = standing();
        assert_eq!(plan(&mut held, Ahead::Until(day(3)), &BEFORE, day(1)), None);
        assert_eq!(held.notice_ms, Some(day(2).millis()), "so many renewals that the end was not seen");
        let mut held = standing();
        assert_eq!(plan(&mut held, Ahead::Always, &BEFORE, day(1)), None);
        assert_eq!(held.notice_ms, None);
    }
}
