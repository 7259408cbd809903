//! What is held about a person, for the person (GDPR, articles 15 and 20).

use super::admissions::{AdmissionView, Asked};
use super::end_users::Noted;
use super::outbox::written_at;
use super::world::World;
use super::{Actor, App, ServiceError, ServiceResult};
use crate::storage::{StoredDecision, StoredStanding};
use serde_json::{Value, json};
use vouchsafe_core::facts::{Attestation, SubjectFacts};
use vouchsafe_core::ids::SubjectId;
use vouchsafe_core::{Second, explain};

/// Rows read at once.
const PAGE: i64 = 500;

/// Keyed digests of document and person: they tell the person nothing and the finder of an export too much.
const KEYS: [&str; 2] = ["document", "person"];

/// An attestation without its keyed digests, with the name of its source.
pub(crate) fn without_keys(world: &World, attestation: &Attestation) -> Value {
    let mut item = json!(attestation);
    if let Some(facts) = item.get_mut("facts").and_then(Value::as_object_mut) {
        facts.retain(|name, _| !KEYS.contains(&name.as_str()));
    }
    if let Some(members) = item.as_object_mut() {
        let name = world.sources.get(attestation.source.as_str()).map(|(source, _)| source.name.clone());
        members.insert("source_name".to_owned(), json!(name));
    }
    item
}

impl App {
    /// Everything held about a subject, readable: identifiers, links, what directories say, sessions, evidence with what was
    /// said of it, decisions with the reasons told to the person, tokens and for whom they were made, where it was let in,
    /// cases, appeals, what was provided to identity providers by which consent, of what others were told, and who asked
    /// not to be told. Writes an audit entry.
    ///
    /// # Errors
    /// `NotFound`, `Erased`.
    pub async fn export_subject(&self, actor: &Actor, subject: &SubjectId) -> ServiceResult<Value> {
        let view = self.subject(subject).await?;
        let Some(facts) = self.load_facts(subject.as_str()).await? else {
            return Err(self.missing(subject.as_str()).await);
        };
        let links: Vec<Value> = self
            .links(subject)
            .await?
            .into_iter()
            .map(|(namespace, id)| json!({ "namespace": namespace, "id": id }))
            .collect();
        let sessions: Vec<Value> = self
            .store
            .sessions(subject.as_str())
            .await?
            .into_iter()
            .map(|session| {
                let bound_at = Second::from_millis(session.created_at_ms);
                json!({ "source": session.source, "session": session.session, "bound_at": bound_at })
            })
            .collect();
        let body = json!({
            "exported_at": self.clock.now(),
            "issuer": self.issuer,
            "subject": view,
            "links": links,
            "directories": self.exported_directories(subject).await?,
            "sessions": sessions,
            "attestations": self.exported_attestations(&facts),
            "decisions": self.exported_decisions(subject, facts).await?,
            "standings": self.exported_standings(subject).await?,
            "tokens": self.exported_tokens(subject).await?,
            "admissions": self.exported_admissions(subject).await?,
            "cases": self.exported_cases(subject).await?,
            "appeals": self.exported_appeals(subject).await?,
            "consents": self.exported_consents(subject).await?,
            "messages": self.exported_messages(subject).await?,
            "not_told": self.exported_muted(subject).await?,
            "kept": {
                "while": "the account is used",
                "days_after_erasure": self.retention_ms() / 86_400_000,
            },
        });
        // The entry comes first: nothing leaves unrecorded.
        let audit = self.audit(actor, "subject.exported", subject.as_str(), &json!({}))?;
        let _ = self.commit(Vec::new(), audit, Vec::new()).await?;
        Ok(body)
    }

    /// What was told of the subject, by id and type; its content is what the rest of the export says.
    async fn exported_messages(&self, subject: &SubjectId) -> ServiceResult<Vec<Value>> {
        let found = self.store.messages_of(subject.as_str()).await?;
        let item = |(id, topic): (String, String)| json!({ "at": written_at(&id), "id": id, "type": topic });
        Ok(found.into_iter().map(item).collect())
    }

    /// The receivers of signals that asked not to be told of the subject.
    async fn exported_muted(&self, subject: &SubjectId) -> ServiceResult<Vec<Value>> {
        let world = self.world.load();
        let name = |id: &String| world.signal_receivers.get(id).map(|receiver| receiver.name.clone());
        let muted = self.store.muted_by(subject.as_str()).await?;
        Ok(muted.iter().map(|id| json!({ "receiver": id, "name": name(id) })).collect())
    }

    fn exported_attestations(&self, facts: &SubjectFacts) -> Vec<Value> {
        let world = self.world.load();
        facts.attestations.iter().map(|attestation| without_keys(&world, attestation)).collect()
    }

    async fn exported_decisions(&self, subject: &SubjectId, facts: SubjectFacts) -> ServiceResult<Vec<Value>> {
        let mut items = Vec::new();
        let mut after = String::new();
        loop {
            let page = self.store.decisions_of(subject.as_str(), &after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after.clone_from(&last.id);
            for stored in &page {
                items.push((stored.at_ms, self.exported_decision(stored, facts.clone()).await?));
            }
        }
        items.sort_by_key(|(at_ms, _)| *at_ms);
        Ok(items.into_iter().map(|(_, item)| item).collect())
    }

    /// A decision whose inputs cannot be read any more is listed without reasons.
    async fn exported_decision(&self, stored: &StoredDecision, facts: SubjectFacts) -> ServiceResult<Value> {
        let reasons = match self.replay(stored, facts).await {
            Ok(decision) => json!(decision.reasons.iter().map(|code| explain::texts(code).subject).collect::<Vec<_>>()),
            Err(_) => Value::Null,
        };
        Ok(json!({
            "id": stored.id, "resource": stored.resource, "status": stored.status,
            "at": Second::from_millis(stored.at_ms), "expires_at": stored.expires_at_ms.map(Second::from_millis),
            "reasons": reasons,
        }))
    }

    async fn exported_standings(&self, subject: &SubjectId) -> ServiceResult<Vec<Value>> {
        let rows = self.store.standings(subject.as_str()).await?;
        let item = |row: &StoredStanding| {
            json!({ "resource": row.resource, "status": row.status, "decision": row.decision,
                "due_at": row.due_ms.map(Second::from_millis), "level": row.level })
        };
        Ok(rows.iter().map(item).collect())
    }

    async fn exported_admissions(&self, subject: &SubjectId) -> ServiceResult<Vec<AdmissionView>> {
        let asked = Asked { subject: Some(subject.clone()), ..Asked::default() };
        let mut items: Vec<AdmissionView> = Vec::new();
        loop {
            let after = items.last().map_or("", |item| item.id.as_str());
            let page = self.admissions(&asked, after, PAGE).await?;
            if page.is_empty() {
                return Ok(items);
            }
            items.extend(page);
        }
    }

    async fn exported_consents(&self, subject: &SubjectId) -> ServiceResult<Vec<Value>> {
        let Some(stored) = self.store.subject(subject.as_str()).await? else { return Ok(Vec::new()) };
        let key = self.crypto.unwrap_data_key(&stored.id, &stored.wrapped_key)?;
        let mut items: Vec<Value> = Vec::new();
        let mut after = String::new();
        loop {
            let page = self.store.consents(subject.as_str(), &after, PAGE).await?;
            let Some(last) = page.last() else { return Ok(items) };
            after.clone_from(&last.id);
            for row in &page {
                let unreadable = || ServiceError::Unreadable(format!("consent {}", row.id));
                let said: Value =
                    serde_json::from_slice(&key.open("consent", &row.sealed)?).map_err(|_| unreadable())?;
                items.push(json!({
                    "id": row.id, "provider": row.provider, "resource": row.resource, "purpose": said.get("purpose"),
                    "consent": said.get("consent"), "times": row.count, "first": Second::from_millis(row.first_ms),
                    "last": Second::from_millis(row.last_ms),
                }));
            }
        }
    }

    async fn exported_tokens(&self, subject: &SubjectId) -> ServiceResult<Vec<Value>> {
        let mut items = Vec::new();
        let mut after = String::new();
        loop {
            let page = self.store.tokens_of(subject.as_str(), &after, PAGE).await?;
            let Some(last) = page.last() else { return Ok(items) };
            after.clone_from(&last.jti);
            for token in &page {
                let through = match Noted::of(token)? {
                    Some(Noted::Through { customer, .. }) => Some(customer),
                    _ => None,
                };
                items.push(json!({
                    "jti": token.jti, "audience": token.audience, "resource": token.resource,
                    "decision": token.decision, "client": token.client,
                    "issued_at": Second::from_millis(token.issued_at_ms),
                    "expires_at": Second::from_millis(token.expires_at_ms),
                    "revoked_at": token.revoked_at_ms.map(Second::from_millis), "through": through,
                }));
            }
        }
    }
}
