//! Packs, sets and policies: examined as a whole, then committed as immutable versions.

use super::{Actor, App, ServiceError, ServiceResult};
use serde::Serialize;
use serde_json::json;
use vouchsafe_core::check::{Finding, refused};
use vouchsafe_core::compare::{Verdict, compare};
use vouchsafe_core::definitions::Pack;
use vouchsafe_core::document::Document;
use vouchsafe_core::policy::{NamedSet, Policy};

/// What was committed.
#[derive(Debug, Serialize)]
pub struct Committed {
    /// The policy's id; `name@version` of a pack, `name@date` of a set.
    pub id: String,
    /// Of a policy: the version it got.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// Of a policy with an earlier version: how it stands to that, as `vouchsafe policy diff` says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compared: Option<Compared>,
    /// What somebody should look at; it was committed all the same.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Finding>,
}

/// How a policy stands to the version before it.
#[derive(Debug, Serialize)]
pub struct Compared {
    /// The version before it.
    pub with_version: u32,
    /// `wider`, `narrower`, `equal`, `incomparable` or `not_decided`.
    pub verdict: Verdict,
    /// Whether it governs the same resources: the verdict speaks only of those that both govern.
    pub same_resources: bool,
}

/// What was read, or everything that is refused.
fn usable<T>((read, findings): (Option<T>, Vec<Finding>)) -> ServiceResult<(T, Vec<Finding>)> {
    match read {
        Some(value) => Ok((value, findings)),
        None => Err(ServiceError::Refused(findings)),
    }
}

fn unless_refused(findings: Vec<Finding>) -> ServiceResult<()> {
    if refused(&findings) { Err(ServiceError::Refused(findings)) } else { Ok(()) }
}

impl App {
    /// Examines a definition pack and adds it as a version.
    ///
    /// # Errors
    /// `Refused` with everything wrong with it, `Conflict` when the version exists.
    pub async fn commit_definition(&self, actor: &Actor, mut document: Document) -> ServiceResult<Committed> {
        let (pack, warnings) = usable(Pack::examine(&mut document, &self.world.load().library))?;
        let id = self.create_definition(actor, pack).await?;
        Ok(Committed { id, version: None, compared: None, warnings })
    }

    /// Adds a definition pack version.
    ///
    /// # Errors
    /// As [`App::commit_definition`].
    pub async fn create_definition(&self, actor: &Actor, pack: Pack) -> ServiceResult<String> {
        unless_refused(pack.findings(&self.world.load().library))?;
        let name = pack.name();
        self.create_record(actor, "definition", &name, &pack, None, json!({})).await?;
        Ok(name)
    }

    /// Examines a named, dated set and adds it.
    ///
    /// # Errors
    /// `Refused` with everything wrong with it, `Conflict` when it exists.
    pub async fn commit_set(&self, actor: &Actor, mut document: Document) -> ServiceResult<Committed> {
        let (set, warnings) = usable(NamedSet::examine(&mut document))?;
        let id = self.create_set(actor, set).await?;
        Ok(Committed { id, version: None, compared: None, warnings })
    }

    /// Adds a named, dated set.
    ///
    /// # Errors
    /// As [`App::commit_set`].
    pub async fn create_set(&self, actor: &Actor, set: NamedSet) -> ServiceResult<String> {
        unless_refused(set.findings())?;
        let id = set.id.clone();
        self.create_record(actor, "set", &id, &set, None, json!({ "members": set.members.len() })).await?;
        Ok(id)
    }

    /// Examines a policy and commits it as its next version.
    ///
    /// # Errors
    /// `Refused` with everything wrong with it.
    pub async fn commit_policy(&self, actor: &Actor, mut document: Document) -> ServiceResult<Committed> {
        let (policy, warnings) = usable(Policy::examine(&mut document, &self.world.load().library))?;
        let id = policy.id.clone();
        let version = self.create_policy(actor, policy.clone()).await?;
        let compared = self.compared(policy, version).await;
        Ok(Committed { id, version: Some(version), compared, warnings })
    }

    /// How a committed policy stands to the version before it. It is told besides; what cannot be told stops nothing.
    async fn compared(&self, policy: Policy, version: u32) -> Option<Compared> {
        let world = self.world.load_full();
        let with_version = version.checked_sub(1)?;
        // Examples are looked for, which may take a while.
        let compared = tokio::task::spawn_blocking(move || {
            let before = world.library.policies.get(&(policy.id.clone(), with_version))?;
            compare(before, &policy, &world.library).ok()
        });
        let found = compared.await.ok()??;
        let same_resources = found.no_longer_governed.is_empty() && found.newly_governed.is_empty();
        Some(Compared { with_version, verdict: found.verdict, same_resources })
    }

    /// Commits a policy as its next version.
    ///
    /// # Errors
    /// As [`App::commit_policy`].
    pub async fn create_policy(&self, actor: &Actor, mut policy: Policy) -> ServiceResult<u32> {
        policy.write_out_defaults();
        let version = {
            let world = self.world.load();
            unless_refused(policy.findings(&world.library))?;
            world.library.policies.keys().filter(|(id, _)| *id == policy.id).map(|(_, v)| *v).max().unwrap_or(0) + 1
        };
        let name = format!("{}@{version}", policy.id);
        self.create_record(actor, "policy", &name, &policy, None, json!({ "resources": policy.resources })).await?;
        Ok(version)
    }
}
