//! The question itself: may this subject use this resource?

use super::index::Asked;
use super::{Actor, App, ServiceError, ServiceResult};
use crate::storage::{AuditEntry, Basis, StoredDecision, Write};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use vouchsafe_core::decision::LookedAt;
use vouchsafe_core::explain::{Explanation, explanation};
use vouchsafe_core::facts::SubjectFacts;
use vouchsafe_core::hindsight::as_of;
use vouchsafe_core::ids::{AttestationId, ResourceId, SubjectId};
use vouchsafe_core::receipt::looked_at;
use vouchsafe_core::rules::{Body, Rules};
use vouchsafe_core::{Decision, Second, decide};

/// Whose facts are asked for.
#[derive(Debug, Clone, Copy)]
enum Whose {
    /// Those of active subjects.
    Active,
    /// Those of erased ones too, while they are kept.
    Kept,
}

impl App {
    /// The decision now, with the rules it rests on.
    ///
    /// # Errors
    /// `NotFound` for an unknown or erased subject; `Unavailable` when the store cannot be read on a miss.
    pub async fn eligibility(
        &self,
        subject: &SubjectId,
        resource: &ResourceId,
    ) -> ServiceResult<(Arc<Decision>, Arc<Rules>)> {
        self.eligibility_for(subject, None, resource).await
    }

    /// The decision now about a subject that acts for an organisation, or for nobody.
    ///
    /// # Errors
    /// As [`App::eligibility`]; `NotFound` too for what is no organisation.
    pub async fn eligibility_for(
        &self,
        subject: &SubjectId,
        acting_for: Option<&SubjectId>,
        resource: &ResourceId,
    ) -> ServiceResult<(Arc<Decision>, Arc<Rules>)> {
        let (decision, rules, _) = self.eligibility_on(subject, acting_for, resource).await?;
        Ok((decision, rules))
    }

    /// The decision now, its rules, and what both were made of.
    pub(crate) async fn eligibility_on(
        &self,
        subject: &SubjectId,
        acting_for: Option<&SubjectId>,
        resource: &ResourceId,
    ) -> ServiceResult<(Arc<Decision>, Arc<Rules>, Basis)> {
        self.check_feed_age()?;
        let now = self.clock.now();
        let world = self.world.load_full();
        let rules = world.rules(resource, now)?;
        let asked = Asked { subject, acting_for, organisations: world.organisations.len() };
        let found = self.index.decision(&asked, &rules, now, || self.gather(subject, acting_for, &rules)).await?;
        let Some((decision, read_at, parties)) = found else { return Err(self.missing(subject.as_str()).await) };
        let basis =
            Basis { version: read_at.version, timeline: world.last_order(), suspensions: read_at.suspensions, parties };
        Ok((decision, rules, basis))
    }

    /// The decision at an instant, by what was known at another: see `vouchsafe_core::hindsight`.
    ///
    /// # Errors
    /// As [`App::eligibility`]; `Invalid` for an instant ahead.
    pub async fn eligibility_at(
        &self,
        subject: &SubjectId,
        acting_for: Option<&SubjectId>,
        resource: &ResourceId,
        at: Second,
        known_at: Second,
    ) -> ServiceResult<Decision> {
        self.check_feed_age()?;
        let now = self.clock.now();
        for (pointer, instant) in [("/at", at), ("/known_at", known_at)] {
            if instant > now {
                return Err(super::invalid(pointer, "lies ahead"));
            }
        }
        let rules = self.world.load().rules_known_at(resource, at, known_at)?;
        self.in_hindsight((subject, acting_for), &rules, (at, known_at), Whose::Active).await
    }

    /// The decision at an instant by what is known now, of an erased subject too, while its facts are kept.
    ///
    /// # Errors
    /// `NotFound` when nothing is left of the subject.
    pub(crate) async fn known_better(
        &self,
        subject: &SubjectId,
        acting_for: Option<&SubjectId>,
        resource: &ResourceId,
        at: Second,
    ) -> ServiceResult<Decision> {
        let now = self.clock.now();
        let rules = self.world.load().rules_known_at(resource, at, now)?;
        self.in_hindsight((subject, acting_for), &rules, (at, now), Whose::Kept).await
    }

    /// The decision under these rules at the first instant, by what was known at the second.
    async fn in_hindsight(
        &self,
        (subject, acting_for): (&SubjectId, Option<&SubjectId>),
        rules: &Rules,
        (at, known_at): (Second, Second),
        whose: Whose,
    ) -> ServiceResult<Decision> {
        // Before the facts, so that whoever was replaced in them has a successor here, or has none in either.
        let before = self.facts_of(subject, acting_for, rules, whose).await?;
        let successors = self.successors(&before).await?;
        let facts = self.facts_of(subject, acting_for, rules, whose).await?;
        Ok(decide(rules, &as_of(&facts, at, known_at, &successors), at))
    }

    /// What was true of a subject at an instant, of an erased one too, by what is known now.
    pub(crate) async fn facts_in_hindsight(
        &self,
        subject: &SubjectId,
        at: Second,
    ) -> ServiceResult<Option<SubjectFacts>> {
        let Some((_, before, _)) = self.load_stored(subject.as_str()).await? else { return Ok(None) };
        let successors = self.successors(&before).await?;
        let Some((_, facts, _)) = self.load_stored(subject.as_str()).await? else { return Ok(None) };
        Ok(Some(as_of(&facts, at, self.clock.now(), &successors).known_at(at)))
    }

    /// All that is stored about a subject and the other parties.
    async fn facts_of(
        &self,
        subject: &SubjectId,
        acting_for: Option<&SubjectId>,
        rules: &Rules,
        whose: Whose,
    ) -> ServiceResult<SubjectFacts> {
        match whose {
            Whose::Active => {
                let facts = self.load_facts(subject.as_str()).await?;
                let Some(facts) = facts else { return Err(self.missing(subject.as_str()).await) };
                Ok(self.with_parties(facts, acting_for, rules).await?.0)
            }
            Whose::Kept => {
                let found = self.load_stored(subject.as_str()).await?;
                let (_, facts, _) = found.ok_or(ServiceError::NotFound("subject"))?;
                self.with_stored_parties(facts, acting_for, rules).await
            }
        }
    }

    /// Which newer result of the same check replaced an attestation.
    async fn successors(&self, facts: &SubjectFacts) -> ServiceResult<BTreeMap<AttestationId, AttestationId>> {
        let mut successors = BTreeMap::new();
        for subject in facts.related.parties.keys().chain([&facts.subject]) {
            let Some((_, rows)) = self.store.load_subject(subject.as_str()).await? else { continue };
            let replaced = rows.iter().flat_map(|row| row.marks.iter()).filter(|mark| mark.kind == "superseded");
            // A mark that no attestation made, by an operator, has no successor.
            successors.extend(replaced.filter_map(|mark| {
                Some((AttestationId::parse(&mark.attestation).ok()?, AttestationId::parse(&mark.by).ok()?))
            }));
        }
        Ok(successors)
    }

    /// What facts come to now under every policy: one decision for each resource named, one for each family.
    pub(crate) async fn standing(&self, facts: &SubjectFacts) -> ServiceResult<Vec<Decision>> {
        let now = self.clock.now();
        let world = self.world.load_full();
        let mut decisions = Vec::new();
        for resource in world.sample_resources() {
            let rules = world.rules(&resource, now)?;
            decisions.push(decide(&rules, &self.with_parties(facts.clone(), None, &rules).await?.0, now));
        }
        Ok(decisions)
    }

    /// No decision rests on a picture that may be older than ten seconds, or on another history than the one we knew.
    pub(crate) fn check_feed_age(&self) -> ServiceResult<()> {
        self.check_history()?;
        if self.feed_age_secs() > 10 { Err(ServiceError::Unavailable("feed")) } else { Ok(()) }
    }

    /// The compact row of a decision.
    #[must_use]
    pub fn stored_decision(decision: &Decision) -> StoredDecision {
        StoredDecision {
            id: decision.id.clone(),
            subject: decision.subject.clone(),
            acting_for: decision.acting_for.clone(),
            resource: decision.resource.clone(),
            at_ms: decision.at.millis(),
            status: decision.status.as_str().to_owned(),
            expires_at_ms: decision.expires_at.map(Second::millis),
            rules_digest: decision.rules.digest.clone(),
            attestations: json!(decision.attestations).to_string(),
        }
    }

    /// Records a decision when it first matters; later calls cost nothing.
    ///
    /// # Errors
    /// When the store cannot write.
    pub async fn record_decision(&self, actor: &Actor, decision: &Decision, rules: &Rules) -> ServiceResult<()> {
        if self.recorded.contains_key(&decision.id) {
            return Ok(());
        }
        let (write, audit) = self.recording(actor, decision, rules)?;
        let _ = self.commit(vec![write], audit, Vec::new()).await?;
        self.recorded.insert(decision.id.clone(), ()).await;
        Ok(())
    }

    /// What records a decision, and its entry.
    pub(crate) fn recording(
        &self,
        actor: &Actor,
        decision: &Decision,
        rules: &Rules,
    ) -> ServiceResult<(Write, AuditEntry)> {
        let detail = json!({ "status": decision.status, "resource": decision.resource, "subject": decision.subject });
        let audit = self.audit(actor, "decision.recorded", &decision.id, &detail)?;
        let write = Write::Decision { decision: Self::stored_decision(decision), rules: rules.canonical.clone() };
        Ok((write, audit))
    }

    /// A recorded decision, its body derived again from its inputs; of an erased subject too, while they are kept.
    ///
    /// # Errors
    /// `NotFound`; `Unreadable` when the inputs no longer give the recorded id.
    pub async fn decision(&self, id: &str) -> ServiceResult<Decision> {
        let stored = self.store.decision(id).await?.ok_or(ServiceError::NotFound("decision"))?;
        let (_, facts, _) = self.load_stored(&stored.subject).await?.ok_or(ServiceError::NotFound("decision"))?;
        self.replay(&stored, facts).await
    }

    /// A recorded decision with the full account of what it was weighed by.
    ///
    /// # Errors
    /// As [`App::decision`].
    pub async fn explained_decision(&self, id: &str) -> ServiceResult<(Decision, Explanation)> {
        let stored = self.store.decision(id).await?.ok_or(ServiceError::NotFound("decision"))?;
        let (_, facts, _) = self.load_stored(&stored.subject).await?.ok_or(ServiceError::NotFound("decision"))?;
        let (decision, rules, facts) = self.replayed(&stored, facts).await?;
        let explanation = explanation(&rules, &facts, &decision);
        Ok((decision, explanation))
    }

    /// The body of a recorded decision about the subject with these facts.
    pub(crate) async fn replay(&self, stored: &StoredDecision, facts: SubjectFacts) -> ServiceResult<Decision> {
        Ok(self.replayed(stored, facts).await?.0)
    }

    /// A recorded decision with the rules and the facts that give it.
    pub(crate) async fn replayed(
        &self,
        stored: &StoredDecision,
        facts: SubjectFacts,
    ) -> ServiceResult<(Decision, Rules, SubjectFacts)> {
        let rules = self.store.rules(&stored.rules_digest).await?.ok_or(ServiceError::NotFound("decision"))?;
        let body: Body =
            serde_json::from_str(&rules).map_err(|_| ServiceError::Unreadable(stored.rules_digest.clone()))?;
        let at = Second::from_millis(stored.at_ms);
        let rules = Rules::from_body(body, at);
        let used: Vec<LookedAt> =
            serde_json::from_str(&stored.attestations).map_err(|_| ServiceError::Unreadable(stored.id.clone()))?;
        let unreadable = |_| ServiceError::Unreadable(stored.id.clone());
        let acting_for = stored.acting_for.as_deref().map(SubjectId::parse).transpose().map_err(unreadable)?;
        let facts = self.with_stored_parties(facts, acting_for.as_ref(), &rules).await?;
        let facts = looked_at(facts, &used);
        let decision = decide(&rules, &facts, at);
        if decision.id != stored.id {
            return Err(ServiceError::Unreadable(stored.id.clone()));
        }
        Ok((decision, rules, facts))
    }
}
