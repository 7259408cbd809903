//! Day one: many subjects with their links and sessions, each recognised by the caller's own ids.
//!
//! What makes a second run harmless is in the rows: an external id, a link and a session exist once. A bulk of new
//! subjects is one commit with every subject's own audit entries; where one of them is there already, the bulk is undone
//! and looked at one by one.

use super::subjects::{check_namespace, link_key};
use super::{Actor, App, ServiceError, ServiceResult, invalid};
use crate::crypto::DataKey;
use crate::storage::{Change, Conflict, FeedRow, StoredSubject, Write};
use serde_json::json;
use vouchsafe_core::facts::SubjectKind;
use vouchsafe_core::ids::SubjectId;

/// A caller's existing account.
#[derive(Debug, Clone)]
pub struct Account {
    /// `person`, `organisation`, `workload`.
    pub kind: String,
    /// The caller's own id.
    pub external_id: Option<String>,
    /// Ids of the account elsewhere, as (namespace, id).
    pub links: Vec<(String, String)>,
    /// Vendor sessions, as (source, session).
    pub sessions: Vec<(String, String)>,
}

/// What became of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Populated {
    /// A new subject.
    Created,
    /// The subject was there; links or sessions were added.
    Extended,
    /// All of it was there.
    Known,
}

/// What accounts need written, in one commit.
struct Plan {
    change: Change,
    /// Subject, source and session, for which something may be waiting.
    sessions: Vec<(String, String, String)>,
}

impl Plan {
    fn new() -> Self {
        let change = Change { writes: Vec::new(), audit: Vec::new(), feed: Vec::new(), outbox: Vec::new() };
        Self { change, sessions: Vec::new() }
    }
}

impl App {
    /// Creates subjects for accounts, or completes those that are there; one answer for each, in order. An account
    /// whose answer is an error has written nothing.
    ///
    /// # Errors
    /// In place of an account's answer: `Invalid` naming the member, `Conflict` for a lost race; when the store fails.
    pub async fn populate(&self, actor: &Actor, accounts: &[Account]) -> Vec<ServiceResult<Populated>> {
        let mut answers: Vec<ServiceResult<Populated>> = Vec::with_capacity(accounts.len());
        for account in accounts {
            answers.push(self.check_account(account).map(|()| Populated::Created));
        }
        let mut open: Vec<(&mut ServiceResult<Populated>, &Account)> =
            answers.iter_mut().zip(accounts).filter(|(answer, _)| answer.is_ok()).collect();
        if self.create_all(actor, &open).await {
            return answers;
        }
        let mut new = Vec::new();
        for (answer, account) in open.drain(..) {
            match self.find_account(account).await {
                Ok(Some(subject)) => *answer = self.complete(actor, &subject, account).await,
                Ok(None) => new.push((answer, account)),
                Err(error) => *answer = Err(error),
            }
        }
        if !self.create_all(actor, &new).await {
            // They collide with each other, with a link of somebody's, or with another process.
            for (answer, account) in new {
                *answer = self.populate_one(actor, account).await;
            }
        }
        answers
    }

    async fn populate_one(&self, actor: &Actor, account: &Account) -> ServiceResult<Populated> {
        if let Some(subject) = self.find_account(account).await? {
            return self.complete(actor, &subject, account).await;
        }
        let mut plan = Plan::new();
        self.plan_new(actor, account, &mut plan)?;
        match self.carry_out(plan).await? {
            Ok(()) => Ok(Populated::Created),
            Err(conflict) => Err(collision(&conflict)),
        }
    }

    /// Refuses what could never be written.
    fn check_account(&self, account: &Account) -> ServiceResult<()> {
        if account.external_id.is_none() && account.links.is_empty() {
            let problem = "give this or a link: without either, a second run could not recognise the subject";
            return Err(invalid("/external_id", problem));
        }
        if SubjectKind::parse(&account.kind).is_none() {
            return Err(invalid("/kind", "must be `person`, `organisation` or `workload`"));
        }
        for (at, (namespace, _)) in account.links.iter().enumerate() {
            check_namespace(namespace).map_err(|error| match error {
                ServiceError::Invalid { problem, .. } => invalid(&format!("/links/{at}/namespace"), problem),
                other => other,
            })?;
        }
        let world = self.world.load();
        for (at, (source, _)) in account.sessions.iter().enumerate() {
            if !world.sources.contains_key(source) {
                return Err(invalid(&format!("/sessions/{at}/source"), "no such source"));
            }
        }
        Ok(())
    }

    /// All as new subjects in one commit; `false` when nothing was written.
    async fn create_all(&self, actor: &Actor, accounts: &[(&mut ServiceResult<Populated>, &Account)]) -> bool {
        let mut plan = Plan::new();
        for (_, account) in accounts {
            if let Err(error) = self.plan_new(actor, account, &mut plan) {
                tracing::error!(error = %error, "a subject cannot be made");
                return false;
            }
        }
        // Whatever the reason, each account is then looked at by itself and gets its own answer.
        accounts.is_empty() || matches!(self.carry_out(plan).await, Ok(Ok(())))
    }

    fn plan_new(&self, actor: &Actor, account: &Account, plan: &mut Plan) -> ServiceResult<()> {
        let (subject, key, audit) = self.new_subject(actor, &account.kind, account.external_id.as_deref())?;
        plan.change.audit.push(audit);
        plan.change.feed.push(FeedRow { kind: "subject".to_owned(), key: subject.id.clone() });
        let id = subject.id.clone();
        plan.change.writes.push(Write::Subject(subject));
        for (namespace, link) in &account.links {
            self.plan_link(actor, &id, &key, namespace, link, plan)?;
        }
        for (source, session) in &account.sessions {
            self.plan_session(actor, &id, source, session, plan)?;
        }
        Ok(())
    }

    fn plan_link(
        &self,
        actor: &Actor,
        subject: &str,
        key: &DataKey,
        namespace: &str,
        id: &str,
        plan: &mut Plan,
    ) -> ServiceResult<()> {
        let link = self.new_link(subject, key, namespace, id)?;
        plan.change.audit.push(self.audit(actor, "link.created", subject, &json!({ "namespace": namespace }))?);
        plan.change.feed.push(FeedRow { kind: "link".to_owned(), key: link_key(namespace, &link.digest) });
        plan.change.writes.push(Write::Link(link));
        Ok(())
    }

    fn plan_session(
        &self,
        actor: &Actor,
        subject: &str,
        source: &str,
        session: &str,
        plan: &mut Plan,
    ) -> ServiceResult<()> {
        plan.change.audit.push(self.audit(actor, "session.bound", subject, &json!({ "source": source }))?);
        plan.change.writes.push(Write::Session {
            source: source.to_owned(),
            session: session.to_owned(),
            subject: subject.to_owned(),
            created_at_ms: self.clock.now_ms(),
        });
        plan.sessions.push((subject.to_owned(), source.to_owned(), session.to_owned()));
        Ok(())
    }

    /// Commits a plan and attaches what was waiting for its sessions.
    async fn carry_out(&self, plan: Plan) -> ServiceResult<Result<(), Conflict>> {
        let feed = plan.change.feed.clone();
        let answer = self.commit_change(plan.change).await?;
        if answer.is_err() {
            return Ok(answer);
        }
        self.follow(&feed).await?;
        for (subject, source, session) in &plan.sessions {
            let subject = SubjectId::parse(subject).map_err(|_| ServiceError::Unreadable("subject id".to_owned()))?;
            if let Err(error) = self.release_quarantine(source, session, &subject).await {
                // The binding stands; a job of the service attaches what waits.
                tracing::warn!(error = %error, "results of a bound session wait to be attached");
            }
        }
        Ok(answer)
    }

    /// The subject that an account is already: by its external id, without one by its first link.
    async fn find_account(&self, account: &Account) -> ServiceResult<Option<StoredSubject>> {
        match (&account.external_id, account.links.first()) {
            (Some(external_id), _) => Ok(self.store.subject_by_external(&self.external_digest(external_id)).await?),
            (None, Some((namespace, id))) => {
                match self.store.link(namespace, &self.link_digest(namespace, id)).await? {
                    Some(link) => Ok(self.store.subject(&link.subject).await?),
                    None => Ok(None),
                }
            }
            (None, None) => Ok(None),
        }
    }

    /// Adds what a subject lacks of its account, all or nothing.
    async fn complete(&self, actor: &Actor, subject: &StoredSubject, account: &Account) -> ServiceResult<Populated> {
        if subject.state != "active" {
            return Err(invalid("/external_id", "belongs to a subject that was erased"));
        }
        if subject.kind != account.kind {
            return Err(invalid("/kind", "the subject is there already as another kind"));
        }
        let key = self.crypto.unwrap_data_key(&subject.id, &subject.wrapped_key)?;
        let mut plan = Plan::new();
        for (at, (namespace, id)) in account.links.iter().enumerate() {
            match self.store.link(namespace, &self.link_digest(namespace, id)).await? {
                Some(link) if link.subject == subject.id => {}
                Some(_) => return Err(invalid(&format!("/links/{at}/id"), "is linked to another subject")),
                None => self.plan_link(actor, &subject.id, &key, namespace, id, &mut plan)?,
            }
        }
        for (at, (source, session)) in account.sessions.iter().enumerate() {
            match self.store.session_subject(source, session).await? {
                Some(holder) if holder == subject.id => {}
                Some(_) => return Err(invalid(&format!("/sessions/{at}/session"), "is bound to another subject")),
                None => self.plan_session(actor, &subject.id, source, session, &mut plan)?,
            }
        }
        if plan.change.writes.is_empty() {
            return Ok(Populated::Known);
        }
        match self.carry_out(plan).await? {
            Ok(()) => Ok(Populated::Extended),
            Err(conflict) => Err(collision(&conflict)),
        }
    }
}

/// Which member a single account collides by.
fn collision(conflict: &Conflict) -> ServiceError {
    match conflict {
        Conflict::Exists("links") => invalid("/links", "one of them is linked to another subject, or named twice"),
        Conflict::Exists("sessions") => invalid("/sessions", "one of them is bound to another subject"),
        _ => ServiceError::Conflict("subject"),
    }
}
