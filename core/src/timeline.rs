//! Directives: one append-only timeline of approved actions, folded per resource.

use crate::ids::{ResourceId, ResourcePattern};
use crate::policy::Policy;
use crate::second::Second;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// A policy at a version.
pub type PolicyKey = (String, u32);

/// Names of actions, for lifting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActionName {
    /// A freeze.
    Freeze,
    /// An activation.
    Activate,
}

/// One action of a directive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Action {
    /// Nobody may use the resources until it is lifted.
    Freeze(ResourcePattern),
    /// The policy is in force for its resources from now on. Does not thaw.
    Activate {
        /// Policy id.
        policy: String,
        /// Policy version.
        version: u32,
    },
    /// Takes an earlier directive back, from now on.
    Lift {
        /// The directive.
        directive: String,
        /// Which of its actions; empty means all.
        #[serde(default)]
        actions: BTreeSet<ActionName>,
    },
}

impl Action {
    /// Whether it lets more people in than before, so that it takes two people. Every activation counts as loosening.
    #[must_use]
    pub fn loosens(&self) -> bool {
        !matches!(self, Action::Freeze(_))
    }
}

/// A directive as people write it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Directive {
    /// Name, unique.
    pub id: String,
    /// Who ordered it.
    pub authority: String,
    /// The order's citation.
    pub citation: String,
    /// From when; absent means from approval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effective_at: Option<Second>,
    /// What it does; never empty.
    pub actions: Vec<Action>,
}

/// An approved action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Order of approval.
    pub seq: i64,
    /// The directive it belongs to.
    pub directive: String,
    /// First second it acts.
    pub from: Second,
    /// What it does.
    pub action: Action,
}

/// The state of one resource at one instant.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ResourceState {
    /// The policy in force.
    pub policy: Option<PolicyKey>,
    /// Directives that freeze it, in order.
    pub frozen_by: Vec<String>,
    /// Directives that shaped the state, in order.
    pub directives: Vec<String>,
    /// Since when it has been so.
    pub since: Option<Second>,
    /// The next approved change.
    pub next_change: Option<Second>,
}

/// Folds the timeline for `resource` at `t`, in (from, seq) order.
#[must_use]
pub fn state_at(
    entries: &[Entry],
    policies: &BTreeMap<PolicyKey, Policy>,
    resource: &ResourceId,
    t: Second,
) -> ResourceState {
    let touches = |action: &Action| match action {
        Action::Freeze(pattern) => pattern.covers(resource),
        Action::Activate { policy, version } => policies
            .get(&(policy.clone(), *version))
            .is_some_and(|policy| policy.resources.iter().any(|pattern| pattern.covers(resource))),
        Action::Lift { .. } => false,
    };
    // An action stands from its own instant until a later-approved (or later-acting) lift of it: one that is lifted before it acts never stands.
    let end_of = |held: &Entry| {
        let name = match held.action {
            Action::Freeze(_) => ActionName::Freeze,
            Action::Activate { .. } | Action::Lift { .. } => ActionName::Activate,
        };
        entries
            .iter()
            .filter(|entry| match &entry.action {
                Action::Lift { directive, actions } => {
                    *directive == held.directive
                        && (actions.is_empty() || actions.contains(&name))
                        && (entry.seq > held.seq || entry.from > held.from)
                }
                _ => false,
            })
            .map(|entry| entry.from)
            .min()
    };
    let mut ordered: Vec<&Entry> = entries.iter().filter(|entry| touches(&entry.action)).collect();
    ordered.sort_by_key(|entry| (entry.from, entry.seq));
    let mut state = ResourceState::default();
    let mut changes: Vec<Second> = Vec::new();
    for entry in ordered {
        let end = end_of(entry);
        if end.is_some_and(|end| end <= entry.from) {
            continue;
        }
        changes.extend([Some(entry.from), end].into_iter().flatten());
        if entry.from > t || end.is_some_and(|end| end <= t) {
            continue;
        }
        match &entry.action {
            Action::Freeze(_) => state.frozen_by.push(entry.directive.clone()),
            Action::Activate { policy, version } => state.policy = Some((policy.clone(), *version)),
            Action::Lift { .. } => {}
        }
        if !state.directives.contains(&entry.directive) {
            state.directives.push(entry.directive.clone());
        }
    }
    state.since = changes.iter().copied().filter(|change| *change <= t).max();
    state.next_change = changes.iter().copied().filter(|change| *change > t).min();
    state
}
