//! Cases as people see them.

use super::{CaseBody, Item, StoredCase, case_body, not_about};
use crate::service::authenticate::Caller;
use crate::service::export::without_keys;
use crate::service::{App, ServiceError, ServiceResult};
use crate::storage::{CaseEntry, ReviewQueue};
use serde_json::{Value, json};
use vouchsafe_core::facts::SubjectFacts;
use vouchsafe_core::ids::SubjectId;
use vouchsafe_core::{Decision, Second, explain};

/// A case without what was said in it.
fn summary(case: &StoredCase, body: &CaseBody) -> Value {
    json!({
        "id": case.id, "subject": case.subject, "question": case.question, "state": case.state,
        "version": case.version, "causes": body.causes, "resources": body.resources, "assignee": body.assignee,
        "proposal": body.proposal, "appeal": body.appeal, "source": body.source, "session": body.session,
        "opened_at": Second::from_millis(case.opened_at_ms), "closed_at": case.closed_at_ms.map(Second::from_millis),
        // What is closed without saying how ended with its subject.
        "closing": match (&body.closing, case.state.as_str()) {
            (None, "closed") => json!({ "outcome": "moot", "reason": "erased" }),
            (closing, _) => json!(closing),
        },
    })
}

impl App {
    /// A page of cases, without those about the caller.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn list_cases(
        &self,
        caller: &Caller,
        queue: ReviewQueue<'_>,
    ) -> ServiceResult<(Vec<Value>, Option<String>)> {
        let page = self.store.cases(queue).await?;
        let full = i64::try_from(page.len()).is_ok_and(|found| found == queue.limit);
        let last = page.last().filter(|_| full).map(|case| case.id.clone());
        let items = page.iter().filter(|case| not_about(caller, case).is_ok());
        let items = items.map(|case| Ok(summary(case, &case_body(case)?))).collect::<ServiceResult<_>>()?;
        Ok((items, last))
    }

    /// A case with what was said in it, and its version.
    ///
    /// # Errors
    /// `NotFound`; `Forbidden` for whoever it is about.
    pub async fn show_case(&self, caller: &Caller, id: &str) -> ServiceResult<(i64, Value)> {
        let (case, body) = self.load_case(id, None).await?;
        not_about(caller, &case)?;
        let mut view = summary(&case, &body);
        let entries = self.case_entry_views(&case, true).await?;
        if let Some(members) = view.as_object_mut() {
            members.insert("entries".to_owned(), json!(entries));
        }
        Ok((case.version, view))
    }

    /// What was said in a case, the words opened where their key still is.
    pub(crate) async fn case_entry_views(&self, case: &StoredCase, operators: bool) -> ServiceResult<Vec<Value>> {
        let key = match &case.subject {
            Some(subject) => match self.data_key(subject).await {
                Ok(key) => Some(key),
                Err(ServiceError::Erased | ServiceError::NotFound(_)) => None,
                Err(error) => return Err(error),
            },
            None => None,
        };
        let open = |entry: &CaseEntry| -> ServiceResult<Option<String>> {
            let context = format!("case/{}", entry.id);
            let plain = match (&entry.sealed, &key, &case.subject) {
                (Some(sealed), Some(key), _) => key.open(&context, sealed)?,
                (Some(sealed), None, None) => self.crypto.open_secret(&context, sealed)?,
                _ => return Ok(None),
            };
            Ok(Some(String::from_utf8(plain).map_err(|_| ServiceError::Unreadable(context))?))
        };
        let entries = self.store.case_entries(&case.id).await?;
        entries
            .iter()
            .map(|entry| {
                let body: Value = serde_json::from_str(&entry.body)
                    .map_err(|_| ServiceError::Unreadable(format!("case entry {}", entry.id)))?;
                let mut view = json!({ "id": entry.id, "kind": entry.kind, "at": Second::from_millis(entry.at_ms),
                    "text": open(entry)?, "body": body });
                if operators && let Some(members) = view.as_object_mut() {
                    members.insert("operator".to_owned(), json!(entry.operator));
                }
                Ok(view)
            })
            .collect()
    }

    /// What a case rests on: every statement about its subject with the key it would come again under, and how the
    /// question stands under each policy, piece by piece. No identifiers.
    ///
    /// # Errors
    /// `NotFound`; `Forbidden` for whoever it is about; `Erased`.
    pub async fn case_evidence(&self, caller: &Caller, id: &str) -> ServiceResult<Value> {
        let (case, body) = self.load_case(id, None).await?;
        not_about(caller, &case)?;
        let Some(subject) = &case.subject else {
            let waiting = match (&body.source, &body.session) {
                (Some(source), Some(session)) => self.store.quarantined(source, session).await?,
                _ => Vec::new(),
            };
            let waiting: Vec<Value> = waiting
                .iter()
                .map(|delivery| {
                    json!({ "id": delivery.id, "received_at": Second::from_millis(delivery.received_at_ms) })
                })
                .collect();
            return Ok(json!({ "subject": null, "waiting": waiting, "attestations": [], "decisions": [] }));
        };
        let Some(facts) = self.load_facts(subject).await? else { return Err(self.missing(subject).await) };
        let attestations = self.evidence_items(subject, &facts).await?;
        let decisions: Vec<Value> = self
            .standing(&facts)
            .await?
            .iter()
            .filter_map(|decision| explained(decision, &case.question, &body))
            .collect();
        Ok(json!({ "subject": subject, "attestations": attestations, "decisions": decisions }))
    }

    async fn evidence_items(&self, subject: &str, facts: &SubjectFacts) -> ServiceResult<Vec<Value>> {
        let rows = self.store.load_subject(subject).await?.map(|(_, rows)| rows).unwrap_or_default();
        let keys = rows.into_iter().map(Item::read).collect::<ServiceResult<Vec<_>>>()?;
        let world = self.world.load();
        Ok(facts
            .attestations
            .iter()
            .map(|attestation| {
                let mut item = without_keys(&world, attestation);
                let key = keys.iter().find(|key| key.row.id == attestation.id.as_str());
                if let (Some(members), Some(key)) = (item.as_object_mut(), key) {
                    members.insert("lineage".to_owned(), json!(key.lineage));
                    members.insert("finding".to_owned(), json!(key.finding));
                }
                item
            })
            .collect())
    }

    /// What identifies the subject of a case, for whoever has to look at it; recorded before it is told.
    ///
    /// # Errors
    /// `Forbidden` for whoever it is about; `NotFound` while nobody is bound; `Erased`.
    pub async fn identify_case(&self, caller: &Caller, id: &str) -> ServiceResult<serde_json::Value> {
        let (case, _) = self.load_case(id, None).await?;
        not_about(caller, &case)?;
        let subject = case.subject.ok_or(ServiceError::NotFound("subject"))?;
        let subject = SubjectId::parse(&subject).map_err(|_| ServiceError::Unreadable("subject id".to_owned()))?;
        let view = self.subject(&subject).await?;
        let links = self.links(&subject).await?;
        let links: Vec<_> =
            links.into_iter().map(|(namespace, id)| json!({ "namespace": namespace, "id": id })).collect();
        let audit = self.audit(&caller.actor(), "case.identified", id, &json!({ "subject": subject }))?;
        let _ = self.commit(Vec::new(), audit, Vec::new()).await?;
        Ok(json!({ "subject": view, "links": links }))
    }

    /// The cases about a subject, for their export: what was decided and said, not by whom.
    pub(crate) async fn exported_cases(&self, subject: &SubjectId) -> ServiceResult<Vec<Value>> {
        let mut items = Vec::new();
        for case in self.cases_about(subject.as_str()).await? {
            let body = case_body(&case)?;
            items.push(json!({
                "id": case.id, "question": case.question, "state": case.state, "causes": body.causes,
                "opened_at": Second::from_millis(case.opened_at_ms),
                "closed_at": case.closed_at_ms.map(Second::from_millis),
                "outcome": body.closing.as_ref().map(|closing| &closing.outcome),
                "reason": body.closing.as_ref().map(|closing| &closing.reason),
                "said": self.case_entry_views(&case, false).await?,
            }));
        }
        Ok(items)
    }
}

/// How a question stands under one policy; nothing where the policy does not ask it.
fn explained(decision: &Decision, question: &str, body: &CaseBody) -> Option<Value> {
    let asked = |frame: &str, key: Option<&String>| {
        question == frame || key.is_some_and(|key| question == format!("{frame}:{key}"))
    };
    let criteria: Vec<_> = decision
        .criteria
        .iter()
        .filter(|criterion| asked(&criterion.frame, criterion.key.as_ref()) || body.appeal.is_some())
        .collect();
    if criteria.is_empty() {
        return None;
    }
    let reasons: Vec<Value> = decision
        .reasons
        .iter()
        .map(|code| json!({ "code": code, "operator": explain::texts(code).operator }))
        .collect();
    Some(json!({ "resource": decision.resource, "status": decision.status, "policy": decision.rules.policy,
        "reasons": reasons, "criteria": criteria }))
}
