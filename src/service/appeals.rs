//! Appeals: the subject's side asks for another look, within a time, by somebody who did not decide before.

use super::authenticate::Caller;
use super::cases::{APPEAL, CaseBody, WORDS_MAX};
use super::{Actor, App, ServiceError, ServiceResult, invalid};
use crate::storage::{Change, Conflict, ReviewQueue, ReviewWrite, StoredAppeal, Write};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use vouchsafe_core::ids::{ResourceId, SubjectId};
use vouchsafe_core::second::DAY;
use vouchsafe_core::{Second, Status};

/// Within what time an appeal is to be decided unless configured, in seconds: 30 days.
pub const APPEAL_SECS: i64 = 30 * DAY;

/// Reasons that the subject is told, with their texts.
pub const REASONS: [(&str, &str); 5] = [
    ("decision_stands", "Another person looked at it and came to the same answer."),
    ("evidence_missing", "What you sent does not prove what is asked. The eligibility answer says what would."),
    ("rules_leave_no_choice", "The rules in force leave no other answer."),
    ("looked_at_anew", "It is being looked at anew by people who did not decide before."),
    ("decided_anew", "It was decided anew by people who did not decide before."),
];

/// Overdue appeals of one round.
const ROUND: i64 = 200;

/// How an appeal can be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The decision stands.
    Upheld,
    /// Two people look at it anew, in a case.
    Reconsider,
}

/// An appeal as stored; names nobody.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct AppealBody {
    /// The decision appealed against.
    decision: String,
    /// The status it had.
    status: String,
    /// The case in which it is looked at anew.
    #[serde(skip_serializing_if = "Option::is_none")]
    case: Option<String>,
    /// `upheld` or `changed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<String>,
    /// One of [`REASONS`].
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// Who answered it.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    by: BTreeSet<String>,
    /// It was told that it is overdue.
    overdue_told: bool,
}

fn appeal_body(appeal: &StoredAppeal) -> ServiceResult<AppealBody> {
    serde_json::from_str(&appeal.body).map_err(|_| ServiceError::Unreadable(format!("appeal {}", appeal.id)))
}

fn replaced(mut appeal: StoredAppeal, body: &AppealBody) -> ServiceResult<Write> {
    let expected = appeal.version;
    appeal.body = serde_json::to_string(body).map_err(|_| ServiceError::Unreadable("appeal".to_owned()))?;
    Ok(Write::Review(ReviewWrite::Appeal { appeal, expected }))
}

impl App {
    /// Opens an appeal against the answer that the subject has for a resource now. Its words are sealed.
    ///
    /// # Errors
    /// `Invalid` when the subject is eligible, or without words; `Conflict` while another one about the same is undecided.
    pub async fn open_appeal(
        &self,
        actor: &Actor,
        subject: &SubjectId,
        resource: &ResourceId,
        words: &str,
    ) -> ServiceResult<(i64, Value)> {
        if words.trim().is_empty() || words.len() > WORDS_MAX {
            return Err(invalid("/text", "say why, in 1 to 4000 bytes"));
        }
        let (decision, rules) = self.eligibility(subject, resource).await?;
        if decision.status == Status::Eligible {
            return Err(invalid("/resource", "the subject is eligible: there is nothing to appeal against"));
        }
        self.record_decision(actor, &decision, &rules).await?;
        let id = self.id("apl")?;
        let now_ms = self.clock.now_ms();
        let body = AppealBody {
            decision: decision.id.clone(),
            status: decision.status.as_str().to_owned(),
            ..AppealBody::default()
        };
        let appeal = StoredAppeal {
            id: id.clone(),
            subject: subject.to_string(),
            resource: resource.to_string(),
            state: "open".to_owned(),
            version: 1,
            body: json!(body).to_string(),
            sealed: Some(self.data_key(subject.as_str()).await?.seal(&format!("appeal/{id}"), words.as_bytes())?),
            opened_at_ms: now_ms,
            due_at_ms: now_ms + self.appeal_secs.load(Ordering::Relaxed) * 1000,
            decided_at_ms: None,
        };
        let detail = json!({ "subject": subject, "resource": resource, "decision": decision.id });
        let audit = self.audit(actor, "appeal.opened", &id, &detail)?;
        let view = self.appeal_view(&appeal, &body, None);
        let write = Write::Review(ReviewWrite::Appeal { appeal, expected: 0 });
        match self.commit(vec![write], audit, Vec::new()).await? {
            Ok(()) => Ok((1, view)),
            Err(Conflict::NoSuchSubject) => Err(self.missing(subject.as_str()).await),
            Err(_) => Err(ServiceError::Conflict("appeal")),
        }
    }

    /// Answers an appeal: the decision stands, or two others look at it anew in a case of its own.
    ///
    /// # Errors
    /// `Forbidden` for the subject and for whoever decided about it before; `Invalid` for an unknown reason; `Conflict`
    /// when it is answered already.
    pub async fn answer_appeal(
        &self,
        caller: &Caller,
        id: &str,
        verdict: Verdict,
        reason: &str,
        expected: Option<&[i64]>,
    ) -> ServiceResult<(i64, Value)> {
        let operator = caller.operator()?;
        let mut appeal = self.load_appeal(id).await?;
        if expected.is_some_and(|versions| !versions.contains(&appeal.version)) {
            return Err(ServiceError::PreconditionFailed);
        }
        if operator.subject.as_deref() == Some(appeal.subject.as_str()) {
            return Err(ServiceError::Forbidden("impartial"));
        }
        if !REASONS.iter().any(|(code, _)| *code == reason) {
            let codes: Vec<&str> = REASONS.iter().map(|(code, _)| *code).collect();
            return Err(invalid("/reason", format!("choose from {}", codes.join(", "))));
        }
        if appeal.state != "open" {
            return Err(ServiceError::Conflict("appeal"));
        }
        self.decided_nothing_about(caller, &appeal.subject).await?;
        let mut body = appeal_body(&appeal)?;
        body.reason = Some(reason.to_owned());
        let mut change = Change { writes: Vec::new(), audit: Vec::new(), feed: Vec::new(), outbox: Vec::new() };
        match verdict {
            Verdict::Upheld => {
                body.outcome = Some("upheld".to_owned());
                body.by.insert(caller.id.clone());
                appeal.state = "decided".to_owned();
                appeal.decided_at_ms = Some(self.clock.now_ms());
            }
            Verdict::Reconsider => {
                let case = CaseBody {
                    causes: BTreeSet::from([APPEAL.to_owned()]),
                    resources: BTreeSet::from([appeal.resource.clone()]),
                    appeal: Some(id.to_owned()),
                    ..CaseBody::default()
                };
                let (case_id, write) = self.new_case(Some(&appeal.subject), &format!("{APPEAL}:{id}"), &case)?;
                body.case = Some(case_id);
                appeal.state = "reconsidering".to_owned();
                change.writes.push(write);
            }
        }
        let detail = json!({ "verdict": verdict, "reason": reason, "case": body.case, "subject": appeal.subject });
        change.audit.push(self.audit(&caller.actor(), "appeal.answered", id, &detail)?);
        change.writes.push(replaced(appeal, &body)?);
        self.commit_whole(change).await?.map_err(|_| ServiceError::Conflict("appeal"))?;
        self.show_appeal(caller, id).await
    }

    /// The write by which the end of a case decides its appeal.
    pub(crate) async fn decided_by_case(&self, id: &str, outcome: &str, by: &[String]) -> ServiceResult<Option<Write>> {
        let Some(mut appeal) = self.store.appeal(id).await?.filter(|appeal| appeal.state != "decided") else {
            return Ok(None);
        };
        let mut body = appeal_body(&appeal)?;
        body.outcome = Some(outcome.to_owned());
        body.reason = Some("decided_anew".to_owned());
        body.by.extend(by.iter().cloned());
        appeal.state = "decided".to_owned();
        appeal.decided_at_ms = Some(self.clock.now_ms());
        replaced(appeal, &body).map(Some)
    }

    /// Who answered appeals of a subject.
    pub(crate) async fn deciders_of_appeals(&self, subject: &str) -> ServiceResult<BTreeSet<String>> {
        let mut found = BTreeSet::new();
        for appeal in self.appeals_of(subject).await? {
            found.extend(appeal_body(&appeal)?.by);
        }
        Ok(found)
    }

    async fn appeals_of(&self, subject: &str) -> ServiceResult<Vec<StoredAppeal>> {
        let mut appeals: Vec<StoredAppeal> = Vec::new();
        loop {
            let after = appeals.last().map(|appeal| appeal.id.clone()).unwrap_or_default();
            let page = self.store.appeals(ReviewQueue { state: "", subject, after: &after, limit: 200 }).await?;
            let done = page.len() < 200;
            appeals.extend(page);
            if done {
                return Ok(appeals);
            }
        }
    }

    async fn load_appeal(&self, id: &str) -> ServiceResult<StoredAppeal> {
        self.store.appeal(id).await?.ok_or(ServiceError::NotFound("appeal"))
    }

    /// One appeal and its version; its words for operators alone.
    ///
    /// # Errors
    /// `NotFound`; `Forbidden` for an operator whom it is about.
    pub async fn show_appeal(&self, caller: &Caller, id: &str) -> ServiceResult<(i64, Value)> {
        let appeal = self.load_appeal(id).await?;
        if caller.operator.as_ref().is_some_and(|operator| operator.subject.as_ref() == Some(&appeal.subject)) {
            return Err(ServiceError::Forbidden("impartial"));
        }
        let words = if caller.operator.is_some() { self.appeal_words(&appeal).await? } else { None };
        let mut view = self.appeal_view(&appeal, &appeal_body(&appeal)?, words);
        if caller.operator.is_some()
            && let Some(members) = view.as_object_mut()
        {
            let body = appeal_body(&appeal)?;
            members.insert("case".to_owned(), json!(body.case));
            members.insert("by".to_owned(), json!(body.by));
        }
        Ok((appeal.version, view))
    }

    /// A page of appeals, without their words.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn list_appeals(
        &self,
        caller: &Caller,
        queue: ReviewQueue<'_>,
    ) -> ServiceResult<(Vec<Value>, Option<String>)> {
        let own = caller.operator.as_ref().and_then(|operator| operator.subject.as_ref());
        let page = self.store.appeals(queue).await?;
        let full = i64::try_from(page.len()).is_ok_and(|found| found == queue.limit);
        let last = page.last().filter(|_| full).map(|appeal| appeal.id.clone());
        let seen = page.iter().filter(|appeal| own != Some(&appeal.subject));
        let items = seen.map(|appeal| Ok(self.appeal_view(appeal, &appeal_body(appeal)?, None)));
        Ok((items.collect::<ServiceResult<_>>()?, last))
    }

    async fn appeal_words(&self, appeal: &StoredAppeal) -> ServiceResult<Option<String>> {
        let Some(sealed) = &appeal.sealed else { return Ok(None) };
        let plain = self.data_key(&appeal.subject).await?.open(&format!("appeal/{}", appeal.id), sealed)?;
        let words = String::from_utf8(plain).map_err(|_| ServiceError::Unreadable(format!("appeal {}", appeal.id)))?;
        Ok(Some(words))
    }

    /// What the subject's side is told: nothing of who decided, or what is held against anyone.
    fn appeal_view(&self, appeal: &StoredAppeal, body: &AppealBody, words: Option<String>) -> Value {
        let reason = body.reason.as_deref();
        let text = REASONS.iter().find(|(code, _)| Some(*code) == reason).map(|(_, text)| *text);
        let mut view = json!({
            "id": appeal.id, "subject": appeal.subject, "resource": appeal.resource, "state": appeal.state,
            "version": appeal.version, "decision": body.decision, "status": body.status,
            "opened_at": Second::from_millis(appeal.opened_at_ms), "due_at": Second::from_millis(appeal.due_at_ms),
            "overdue": appeal.state != "decided" && appeal.due_at_ms <= self.clock.now_ms(),
            "decided_at": appeal.decided_at_ms.map(Second::from_millis),
            "outcome": body.outcome, "reason": reason, "reason_text": text,
        });
        if let (Some(words), Some(members)) = (words, view.as_object_mut()) {
            members.insert("text".to_owned(), json!(words));
        }
        view
    }

    /// Says once of each appeal that it is overdue, and how many are.
    pub(crate) async fn note_overdue(&self) -> ServiceResult<()> {
        let now_ms = self.clock.now_ms();
        let (mut after, mut overdue) = (String::new(), 0_u32);
        loop {
            let page = self.store.overdue_appeals(now_ms, &after, ROUND).await?;
            let Some(last) = page.last() else { break };
            after.clone_from(&last.id);
            for appeal in page {
                overdue = overdue.saturating_add(1);
                self.tell_overdue(appeal).await?;
            }
        }
        metrics::gauge!("vouchsafe_appeals_overdue").set(f64::from(overdue));
        Ok(())
    }

    async fn tell_overdue(&self, appeal: StoredAppeal) -> ServiceResult<()> {
        let mut body = appeal_body(&appeal)?;
        if body.overdue_told {
            return Ok(());
        }
        body.overdue_told = true;
        let id = appeal.id.clone();
        tracing::warn!(appeal = id, "an appeal is overdue");
        let due_at = Second::from_millis(appeal.due_at_ms);
        let audit = self.audit(&Actor::system(), "appeal.overdue", &id, &json!({ "due_at": due_at }))?;
        // Whoever changed it meanwhile is right; it is looked at again.
        let _ = self.commit(vec![replaced(appeal, &body)?], audit, Vec::new()).await?;
        Ok(())
    }

    /// The appeals of a subject, for their export.
    pub(crate) async fn exported_appeals(&self, subject: &SubjectId) -> ServiceResult<Vec<Value>> {
        let mut items = Vec::new();
        for appeal in self.appeals_of(subject.as_str()).await? {
            let words = self.appeal_words(&appeal).await?;
            items.push(self.appeal_view(&appeal, &appeal_body(&appeal)?, words));
        }
        Ok(items)
    }
}
