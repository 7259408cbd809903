//! What is told beside a decision that is asked for now: other resources, scheduled changes, checks to try again.

use super::parties::Gathered;
use super::world::World;
use super::{App, ServiceResult};
use vouchsafe_core::explain::{self, Alternative, MOST_ALTERNATIVES, NextStep, Upcoming};
use vouchsafe_core::facts::SubjectFacts;
use vouchsafe_core::ids::{ResourceId, SubjectId};
use vouchsafe_core::rules::Rules;
use vouchsafe_core::{Decision, Status};

/// Told when answering, no part of the decision.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Beside {
    /// Resources of the same family that the subject may use now; asked only where this one is refused.
    pub alternatives: Vec<Alternative>,
    /// What approved changes of the rules will bring for the subject.
    pub upcoming: Vec<Upcoming>,
    /// Checks that ended without a finding and would help.
    pub retries: Vec<NextStep>,
}

impl App {
    /// What is told beside a decision of this instant. At most a fixed number of other resources and of changes is looked at.
    ///
    /// # Errors
    /// When the store cannot be read on a miss.
    pub async fn beside(&self, subject: &SubjectId, decision: &Decision, rules: &Rules) -> ServiceResult<Beside> {
        let refused = decision.status != Status::Eligible;
        if !refused && rules.body.next_change.is_none() {
            return Ok(Beside::default());
        }
        let acting_for = decision.acting_for.as_deref().and_then(|party| SubjectId::parse(party).ok());
        let gathered = self.gather(subject, acting_for.as_ref(), rules).await?;
        let Some(Gathered { facts, .. }) = gathered else { return Err(self.missing(subject.as_str()).await) };
        let world = self.world.load_full();
        let now = self.clock.now();
        let known = facts.known_at(now);
        Ok(Beside {
            alternatives: if refused { self.alternatives(&world, &facts, &rules.body.resource)? } else { Vec::new() },
            upcoming: explain::upcoming(
                rules,
                |at| Rules::compile(&world.library, &world.timeline, &rules.body.resource, at).ok(),
                &known,
                decision.status,
            ),
            retries: explain::retries(rules, &facts, decision, now),
        })
    }

    fn alternatives(&self, world: &World, facts: &SubjectFacts, asked: &ResourceId) -> ServiceResult<Vec<Alternative>> {
        let now = self.clock.now();
        let known = world.known_resources();
        let family = known.iter().filter(|other| explain::of_one_family(asked, other)).take(MOST_ALTERNATIVES);
        let rules = family.map(|other| world.rules(other, now)).collect::<ServiceResult<Vec<_>>>()?;
        Ok(explain::alternatives(rules.iter().map(AsRef::<Rules>::as_ref), facts, now))
    }
}
