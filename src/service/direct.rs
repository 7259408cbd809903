//! Directives: proposed, approved by one person (tightening) or two (loosening), then part of the timeline.

use super::authenticate::Caller;
use super::world::{Approval, DirectiveState, World};
use super::{App, ServiceError, ServiceResult, invalid};
use crate::storage::{Change, FeedRow, Record, Write};
use serde_json::json;
use std::collections::BTreeSet;
use vouchsafe_core::ids::{ResourceId, ResourcePattern};
use vouchsafe_core::timeline::{Action, Directive, Entry, state_at};

/// The scope of those who approve.
const APPROVE: &str = "directives:approve";

/// Most resources and families that a message about a directive names.
const MOST_TOLD: usize = 100;

/// A person's name, however it was typed.
pub(crate) fn person(owner: &str) -> String {
    owner.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase()
}

/// The resources and families that an action concerns.
fn concerns(world: &World, action: &Action) -> Vec<String> {
    match action {
        Action::Freeze(pattern) => vec![pattern.to_string()],
        Action::Activate { policy, version } => {
            let policy = world.library.policies.get(&(policy.clone(), *version));
            policy.into_iter().flat_map(|policy| &policy.resources).map(ToString::to_string).collect()
        }
        Action::Lift { directive, .. } => {
            let lifted = world.timeline.iter().filter(|entry| entry.directive == *directive);
            let lifted = lifted.filter(|entry| !matches!(entry.action, Action::Lift { .. }));
            lifted.flat_map(|entry| concerns(world, &entry.action)).collect()
        }
    }
}

fn same_person(a: &str, b: &str) -> bool {
    person(a) == person(b)
}

impl App {
    /// Proposes a directive. What tightens acts at once; a proposer who may approve has approved the rest by proposing.
    ///
    /// # Errors
    /// `Invalid` when an action names something unknown or would leave a resource without a policy; `Conflict` when the id is taken.
    pub async fn propose(&self, caller: &Caller, directive: Directive) -> ServiceResult<DirectiveState> {
        let name_ok = (1..=64).contains(&directive.id.len())
            && directive.id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if !name_ok {
            return Err(invalid("/id", "use 1 to 64 of `a-z 0-9 -`"));
        }
        self.check_actions(&directive)?;
        let state =
            DirectiveState { directive, approvals: Vec::new(), tightening_applied: false, loosening_applied: false };
        let detail = json!({ "actions": state.directive.actions, "authority": state.directive.authority });
        self.advance(caller, state, 0, "directive.proposed", detail).await
    }

    /// Approves a directive.
    ///
    /// # Errors
    /// `NotFound`; `PreconditionFailed` when it is at none of the versions the caller may insist on; `Forbidden` when
    /// the same person or client approved before.
    pub async fn approve(&self, caller: &Caller, id: &str, expected: Option<&[i64]>) -> ServiceResult<DirectiveState> {
        let record = self.store.record("directive", id).await?.ok_or(ServiceError::NotFound("directive"))?;
        // What is read here is what the commit replaces, so the version cannot change in between.
        if expected.is_some_and(|versions| !versions.contains(&record.version)) {
            return Err(ServiceError::PreconditionFailed);
        }
        let state: DirectiveState = serde_json::from_str(&record.body)
            .map_err(|_| ServiceError::Unreadable(format!("record directive/{id}")))?;
        if state
            .approvals
            .iter()
            .any(|approval| approval.client == caller.id || same_person(&approval.owner, &caller.owner))
        {
            return Err(ServiceError::Forbidden("second_person"));
        }
        self.check_actions(&state.directive)?;
        self.advance(caller, state, record.version, "directive.approved", json!({ "owner": caller.owner })).await
    }

    /// Adds the caller's approval and applies what is now approved, in one commit.
    async fn advance(
        &self,
        caller: &Caller,
        mut state: DirectiveState,
        expected: i64,
        action: &str,
        detail: serde_json::Value,
    ) -> ServiceResult<DirectiveState> {
        let now = self.clock.now();
        if caller.scopes.contains(APPROVE) {
            state.approvals.push(Approval { client: caller.id.clone(), owner: caller.owner.clone(), at: now });
        }
        let world = self.world.load_full();
        // A client or operator that was disabled or lost the scope since speaks no more.
        let standing = |approval: &&Approval| approval.client == caller.id || world.may(&approval.client, APPROVE);
        let counted: Vec<&Approval> = state.approvals.iter().filter(standing).collect();
        let owners: BTreeSet<String> = counted.iter().map(|approval| person(&approval.owner)).collect();
        let clients: BTreeSet<&String> = counted.iter().map(|approval| &approval.client).collect();
        let two_people = owners.len() >= 2 && clients.len() >= 2;
        let id = state.directive.id.clone();
        // An order's past instant is kept in its text; it acts from its approval, never on what was answered before.
        let from = state.directive.effective_at.map_or(now, |at| at.max(now));
        let (mut writes, mut touched) = (Vec::new(), BTreeSet::new());
        for step in &state.directive.actions {
            let due = if step.loosens() { two_people && !state.loosening_applied } else { !state.tightening_applied };
            if due {
                touched.extend(concerns(&world, step));
                writes.push(Write::Timeline {
                    directive: id.clone(),
                    from_ms: from.millis(),
                    approved_ms: now.millis(),
                    action: serde_json::to_string(step).map_err(|_| ServiceError::Unreadable("action".to_owned()))?,
                });
            }
        }
        state.tightening_applied = true;
        state.loosening_applied |= two_people;
        let body = serde_json::to_string(&state).map_err(|_| ServiceError::Unreadable("directive".to_owned()))?;
        let mut feed = vec![FeedRow { kind: "record".to_owned(), key: format!("directive/{id}") }];
        if !writes.is_empty() {
            feed.push(FeedRow { kind: "timeline".to_owned(), key: id.clone() });
        }
        let record = Record {
            kind: "directive".to_owned(),
            id: id.clone(),
            version: expected + 1,
            body,
            sealed: None,
            updated_at_ms: self.clock.now_ms(),
        };
        let mut outbox = Vec::new();
        if !writes.is_empty() {
            let resources: Vec<String> = touched.into_iter().take(MOST_TOLD).collect();
            let body = json!({ "directive": id, "effective_at": from, "resources": resources });
            outbox.push(self.message("directive.applied", &id, &body)?);
        }
        writes.push(Write::Record { record, expected });
        let audit = vec![self.audit(&caller.actor(), action, &id, &detail)?];
        let change = Change { writes, audit, feed, outbox };
        self.commit_whole(change).await?.map_err(|_| ServiceError::Conflict("directive"))?;
        Ok(state)
    }

    /// Refuses actions that name something unknown, and a lift that would leave a resource without a policy.
    fn check_actions(&self, directive: &Directive) -> ServiceResult<()> {
        let world = self.world.load();
        if directive.actions.is_empty() {
            return Err(invalid("/actions", "names no action"));
        }
        let now = self.clock.now();
        for (index, action) in directive.actions.iter().enumerate() {
            let pointer = format!("/actions/{index}");
            match action {
                Action::Freeze(_) => {}
                Action::Activate { policy, version } => {
                    if !world.library.policies.contains_key(&(policy.clone(), *version)) {
                        return Err(invalid(&pointer, "no such policy at this version"));
                    }
                }
                Action::Lift { directive: lifted, .. } => {
                    if !world.timeline.iter().any(|entry| entry.directive == *lifted) {
                        return Err(invalid(&pointer, "that directive is not in force"));
                    }
                    let mut after = world.timeline.clone();
                    after.push(Entry {
                        seq: i64::MAX,
                        directive: directive.id.clone(),
                        from: directive.effective_at.map_or(now, |at| at.max(now)),
                        action: action.clone(),
                    });
                    let at = after.last().map_or(now, |entry| entry.from);
                    let governed = |entries: &[Entry], resource: &ResourceId| {
                        state_at(entries, &world.library.policies, resource, at).policy.is_some()
                    };
                    let probes = self.probe_resources(&world);
                    if probes.iter().any(|resource| governed(&world.timeline, resource) && !governed(&after, resource))
                    {
                        return Err(invalid(&pointer, "no policy would remain in force"));
                    }
                }
            }
        }
        Ok(())
    }

    /// One member of every family and every named resource that a policy governs.
    fn probe_resources(&self, world: &super::world::World) -> BTreeSet<ResourceId> {
        let members = world.library.policies.values().flat_map(|policy| policy.resources.iter());
        members.filter_map(ResourcePattern::sample).collect()
    }
}
