//! Rules: everything in force for one resource at one instant, with a digest.

use crate::definitions::{Pack, Shape, Weights};
use crate::ids::ResourceId;
use crate::policy::{Criterion, Members, NamedSet, Policy};
use crate::second::Second;
use crate::timeline::{Action, Entry, PolicyKey, state_at};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// Why rules cannot be compiled: stops start-up, refuses the change that would bring it about.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("rules for `{resource}`: {problem}")]
pub struct RulesError {
    /// The resource.
    pub resource: String,
    /// What is missing.
    pub problem: String,
}

/// Packs, policies, sets and weights that directives may refer to.
#[derive(Debug, Clone, Default)]
pub struct Library {
    /// By `name@version`.
    pub packs: BTreeMap<String, Pack>,
    /// By (id, version).
    pub policies: BTreeMap<PolicyKey, Policy>,
    /// By `name@date`.
    pub sets: BTreeMap<String, NamedSet>,
    /// The table of numbers.
    pub weights: Weights,
}

/// The content of rules, as digested and as kept for replay.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Body {
    /// The resource.
    pub resource: ResourceId,
    /// Version of the policy in force.
    pub policy_version: Option<u32>,
    /// The policy in force; none means nobody may use the resource.
    pub policy: Option<Policy>,
    /// Its packs, by frame.
    pub packs: BTreeMap<String, Pack>,
    /// The sets it names.
    pub sets: BTreeMap<String, NamedSet>,
    /// Every number, those of the packs included.
    pub weights: Weights,
    /// Directives that freeze the resource.
    pub frozen_by: Vec<String>,
    /// Directives that shaped the state.
    pub directives: Vec<String>,
    /// The next approved change.
    pub next_change: Option<Second>,
}

/// Compiled rules.
#[derive(Debug, Clone)]
pub struct Rules {
    /// The content.
    pub body: Body,
    /// `sha256:` and the SHA-256 of the RFC 8785 JSON of the content.
    pub digest: String,
    /// RFC 8785 JSON of the content.
    pub canonical: String,
    /// Since when they have been in force.
    pub since: Second,
}

/// RFC 8785 JSON of a value. Total: our types always serialise; an impossible failure gives an empty text, whose digest matches nothing.
pub(crate) fn canonical<T: Serialize>(value: &T) -> String {
    serde_json_canonicalizer::to_string(value).unwrap_or_default()
}

/// SHA-256 as lower-case hex.
pub(crate) fn sha256_hex(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Body {
    /// Puts a policy in force with the packs, numbers and sets it names.
    fn govern(&mut self, policy: &Policy, version: u32, library: &Library) -> Result<(), String> {
        for name in &policy.definitions {
            let pack = library.packs.get(name).ok_or_else(|| format!("pack `{name}` is missing"))?;
            self.weights = std::mem::take(&mut self.weights).with(pack);
            self.packs.insert(pack.id.clone(), pack.clone());
        }
        for members in policy.all_criteria().flat_map(Criterion::members) {
            if let Members::Set(name) = members {
                let key = name.strip_prefix("set:").unwrap_or(name);
                let set = library.sets.get(key).ok_or_else(|| format!("set `{key}` is missing"))?;
                self.sets.insert(key.to_owned(), set.clone());
            }
        }
        self.policy_version = Some(version);
        self.policy = Some(policy.clone());
        Ok(())
    }
}

impl Rules {
    /// The rules of one policy by itself, as if it alone had been in force for `resource` since `since`.
    ///
    /// # Errors
    /// When the library does not hold a pack or set that it names.
    pub fn of(library: &Library, policy: &Policy, resource: ResourceId, since: Second) -> Result<Self, RulesError> {
        let mut body = Body {
            resource,
            policy_version: None,
            policy: None,
            packs: BTreeMap::new(),
            sets: BTreeMap::new(),
            weights: library.weights.clone(),
            frozen_by: Vec::new(),
            directives: Vec::new(),
            next_change: None,
        };
        body.govern(policy, 1, library)
            .map_err(|problem| RulesError { resource: body.resource.to_string(), problem })?;
        Ok(Self::from_body(body, since))
    }

    /// Whether the answer may rest on parties that evidence names: contractors' customers, owners' owners.
    #[must_use]
    pub fn follows(&self) -> bool {
        self.body.policy.iter().flat_map(Policy::all_criteria).any(|criterion| {
            criterion.chain > 1 || self.body.packs.get(&criterion.frame).is_some_and(|pack| pack.shape == Shape::Shares)
        })
    }

    /// Rules from their content, for replay.
    #[must_use]
    pub fn from_body(body: Body, since: Second) -> Self {
        let canonical = canonical(&body);
        let digest = format!("sha256:{}", sha256_hex(&canonical));
        Self { body, digest, canonical, since }
    }

    /// The rules in force for `resource` at `t`.
    ///
    /// # Errors
    /// When the timeline names a policy, pack or set that the library does not hold.
    pub fn compile(
        library: &Library,
        timeline: &[Entry],
        resource: &ResourceId,
        t: Second,
    ) -> Result<Self, RulesError> {
        let fail = |problem: String| RulesError { resource: resource.to_string(), problem };
        for entry in timeline {
            // Which resources a missing policy would govern is not known, so none can be answered for.
            if let Action::Activate { policy, version } = &entry.action
                && !library.policies.contains_key(&(policy.clone(), *version))
            {
                return Err(fail(format!("policy `{policy}` version {version} is missing")));
            }
        }
        let state = state_at(timeline, &library.policies, resource, t);
        let mut body = Body {
            resource: resource.clone(),
            policy_version: None,
            policy: None,
            packs: BTreeMap::new(),
            sets: BTreeMap::new(),
            weights: library.weights.clone(),
            frozen_by: state.frozen_by,
            directives: state.directives,
            next_change: state.next_change,
        };
        if let Some(key) = state.policy {
            let policy = library
                .policies
                .get(&key)
                .ok_or_else(|| fail(format!("policy `{}` version {} is missing", key.0, key.1)))?;
            body.govern(policy, key.1, library).map_err(fail)?;
        }
        Ok(Self::from_body(body, state.since.unwrap_or(Second::from_epoch(0))))
    }
}
