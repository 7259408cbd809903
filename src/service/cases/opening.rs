//! Which cases there are: opened by what is found, closed when nothing of it is left.

use super::{
    APPEAL, CONTRADICTION, CaseBody, Change, Closing, Item, QUARANTINE, ReviewWrite, StoredCase, Write, case_body,
};
use crate::service::{Actor, App, ServiceError, ServiceResult};
use crate::storage::ReviewQueue;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use vouchsafe_core::facts::{DOCUMENT_OF_ERASED, DOCUMENT_SHARED, Kind, Outcome, PERSON_MISMATCH, SubjectFacts};
use vouchsafe_core::{Decision, Second, Status};

/// How long a vendor's result may wait for its session to be bound before somebody looks, milliseconds: a day.
const UNBOUND_MS: i64 = 86_400_000;
/// How often every open case is looked at again, milliseconds.
const SWEEP_MS: i64 = 60_000;
/// Cases, or sessions, of one step.
const ROUND: i64 = 50;
/// What the job has to look at next.
#[derive(Debug, Default)]
pub(crate) struct Tending(Mutex<Work>);

#[derive(Debug, Default)]
struct Work {
    /// The last open case that was looked at in this round over all of them; `None` between rounds.
    case: Option<String>,
    /// The last session with a waiting result that was looked at, as (source, session); the same.
    session: Option<(String, String)>,
    /// When the round began.
    begun_ms: i64,
}

impl Tending {
    fn work(&self) -> MutexGuard<'_, Work> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a round over everything if it is time and none is under way.
    fn begins(&self, now_ms: i64) -> bool {
        let mut work = self.work();
        let due = work.case.is_none() && work.session.is_none() && now_ms - work.begun_ms >= SWEEP_MS;
        if due {
            (work.case, work.session) = (Some(String::new()), Some((String::new(), String::new())));
            work.begun_ms = now_ms;
        }
        due
    }
}

/// Whether a page is the last one.
fn ends<T>(page: &[T]) -> bool {
    i64::try_from(page.len()).is_ok_and(|found| found < ROUND)
}

/// Why a question has to be looked at.
#[derive(Debug, Default)]
struct Found {
    causes: BTreeSet<String>,
    resources: BTreeSet<String>,
    /// Attestations that are at odds.
    items: BTreeSet<String>,
}

/// The questions that people have to look at: frames (and keys of membership frames) whose evidence contradicts itself
/// under a policy, and what this service saw by comparing.
fn questions(facts: &SubjectFacts, decisions: &[&Decision], now: Second) -> BTreeMap<String, Found> {
    let mut found: BTreeMap<String, Found> = BTreeMap::new();
    for decision in decisions.iter().filter(|decision| decision.status == Status::Review) {
        for criterion in decision.criteria.iter().filter(|c| c.status == Status::Review && !c.neutral) {
            let question = match &criterion.key {
                Some(key) => format!("{}:{key}", criterion.frame),
                None => criterion.frame.clone(),
            };
            let found = found.entry(question).or_default();
            found.causes.insert(CONTRADICTION.to_owned());
            found.resources.insert(decision.resource.clone());
            // What rests on a document that counts already is on the table too.
            let speaks = criterion.evidence.iter().filter(|line| line.units > 0.0 && line.side.is_some());
            found.items.extend(speaks.map(|line| line.attestation.clone()));
        }
    }
    for attestation in &facts.attestations {
        let said = &attestation.facts;
        let stands = said.kind == Kind::CrossCheck
            && said.outcome == Outcome::Declined
            && !attestation.marks.iter().any(|mark| mark.from_start || mark.at <= now)
            && said.ends_at.is_none_or(|end| now < end);
        if !stands {
            continue;
        }
        for code in [DOCUMENT_SHARED, DOCUMENT_OF_ERASED, PERSON_MISMATCH] {
            if said.codes.contains(code) {
                let found = found.entry("identity".to_owned()).or_default();
                found.causes.insert(code.to_owned());
                found.items.insert(attestation.id.to_string());
            }
        }
    }
    found
}

impl App {
    /// What these facts and decisions ask people to look at and nobody was asked yet, as writes that can stand in any
    /// commit: each brings its own audit entry, and has no effect where the question has an open case already. What
    /// people decided on is not asked again until there is something new.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(crate) async fn case_writes(&self, facts: &SubjectFacts, decisions: &[&Decision]) -> ServiceResult<Vec<Write>> {
        let found = questions(facts, decisions, self.clock.now());
        if found.is_empty() {
            return Ok(Vec::new());
        }
        let subject = facts.subject.as_str();
        let held = self.cases_about(subject).await?;
        let mut writes = Vec::new();
        for (question, found) in found {
            let mut earlier = held.iter().filter(|case| case.question == question).rev();
            if earlier.clone().any(|case| case.state == "open") {
                continue;
            }
            if let Some(last) = earlier.next()
                && self.is_decided_on(subject, &case_body(last)?, &found.items).await?
            {
                continue;
            }
            let body = CaseBody { causes: found.causes, resources: found.resources, ..CaseBody::default() };
            writes.push(self.new_case(Some(subject), &question, &body)?.1);
        }
        Ok(writes)
    }

    /// All cases about a subject, oldest first.
    pub(crate) async fn cases_about(&self, subject: &str) -> ServiceResult<Vec<StoredCase>> {
        let mut cases: Vec<StoredCase> = Vec::new();
        loop {
            let after = cases.last().map(|case| case.id.clone()).unwrap_or_default();
            let page = self.store.cases(ReviewQueue { state: "", subject, after: &after, limit: 200 }).await?;
            let done = page.len() < 200;
            cases.extend(page);
            if done {
                return Ok(cases);
            }
        }
    }

    /// Whether people looked at all of this material and left it as it is. What was settled and is still at odds is asked
    /// again: otherwise a review would have no exit.
    async fn is_decided_on(&self, subject: &str, body: &CaseBody, items: &BTreeSet<String>) -> ServiceResult<bool> {
        if body.closing.as_ref().is_none_or(|closing| closing.outcome != "unchanged") {
            return Ok(false);
        }
        Ok(self.material(subject, items).await?.is_subset(&body.material))
    }

    /// What some attestations say, under the keys by which it would be said again.
    pub(super) async fn material(&self, subject: &str, items: &BTreeSet<String>) -> ServiceResult<BTreeSet<String>> {
        let Some((_, rows)) = self.store.load_subject(subject).await? else { return Ok(BTreeSet::new()) };
        let rows = rows.into_iter().filter(|row| items.contains(&row.id));
        rows.map(|row| Ok(Item::read(row)?.material())).collect()
    }

    /// A case that is not stored yet, and its id.
    pub(crate) fn new_case(
        &self,
        subject: Option<&str>,
        question: &str,
        body: &CaseBody,
    ) -> ServiceResult<(String, Write)> {
        let id = self.id("cas")?;
        let detail = json!({ "subject": subject, "question": question, "causes": body.causes });
        let audit = self.audit(&Actor::system(), "case.opened", &id, &detail)?;
        let outbox = self.case_message("case.opened", &id, subject, &detail)?;
        let case = StoredCase {
            id: id.clone(),
            subject: subject.map(str::to_owned),
            question: question.to_owned(),
            state: "open".to_owned(),
            version: 1,
            body: serde_json::to_string(body).map_err(|_| ServiceError::Unreadable("case".to_owned()))?,
            opened_at_ms: self.clock.now_ms(),
            closed_at_ms: None,
        };
        Ok((id, Write::Review(ReviewWrite::OpenCase { case, audit, outbox })))
    }

    /// Goes through what is looked at again every minute: open cases, which may have lost their reason; results that
    /// nobody bound; appeals that are overdue. Cases about subjects are opened by the reassessment. Called every second;
    /// several replicas may, and who comes second has no effect.
    ///
    /// # Errors
    /// `Unavailable` while the picture is old; when the store cannot be read or written. It goes on where it was.
    pub async fn tend_cases(&self) -> ServiceResult<()> {
        self.check_feed_age()?;
        if self.tending.begins(self.clock.now_ms()) {
            self.note_overdue().await?;
        }
        self.tend_unbound().await?;
        self.tend_open().await
    }

    /// Goes on with the round over all open cases.
    async fn tend_open(&self) -> ServiceResult<()> {
        let Some(after) = self.tending.work().case.clone() else { return Ok(()) };
        let page = self.store.cases(ReviewQueue { state: "open", subject: "", after: &after, limit: ROUND }).await?;
        for case in &page {
            let tended = match &case.subject {
                Some(subject) => self.tend_subject(subject).await,
                None => self.close_if_bound(case).await,
            };
            match tended {
                // One that cannot be read stands in nobody's way.
                Err(ServiceError::Unreadable(what)) => tracing::error!(case = case.id, what, "a case cannot be tended"),
                tended => tended?,
            }
        }
        self.tending.work().case = page.last().filter(|_| !ends(&page)).map(|case| case.id.clone());
        Ok(())
    }

    /// Opens and closes the cases about a subject.
    pub(crate) async fn tend_subject(&self, subject: &str) -> ServiceResult<()> {
        let Some((facts, read_at)) = self.load_versioned(subject).await? else { return Ok(()) };
        let decisions = self.standing(&facts).await?;
        let decisions: Vec<&Decision> = decisions.iter().collect();
        let writes = self.case_writes(&facts, &decisions).await?;
        if !writes.is_empty() {
            let change = Change { writes, audit: Vec::new(), feed: Vec::new(), outbox: Vec::new() };
            let _ = self.commit_whole(change).await?;
        }
        let found = questions(&facts, &decisions, self.clock.now());
        let open = self.store.cases(ReviewQueue { state: "open", subject, after: "", limit: 200 }).await?;
        for case in open {
            let mut body = case_body(&case)?;
            if body.causes.contains(APPEAL) {
                continue;
            }
            // Only on the facts that were looked at.
            let expect = Write::Expect { subject: subject.to_owned(), versions: vec![read_at.version] };
            let id = case.id.clone();
            let (write, action, detail) = match found.get(&case.question) {
                None => {
                    let closing = moot("resolved_itself");
                    (self.case_write(case, &body, Some(closing))?, "case.closed", json!({ "outcome": "moot" }))
                }
                Some(found) if found.causes != body.causes || found.resources != body.resources => {
                    body.causes.clone_from(&found.causes);
                    body.resources.clone_from(&found.resources);
                    (self.case_write(case, &body, None)?, "case.updated", json!({ "causes": body.causes }))
                }
                Some(_) => continue,
            };
            self.commit_tended(vec![expect, write], action, &id, Some(subject), &detail).await?;
        }
        Ok(())
    }

    /// Whoever changed it meanwhile is right: it is looked at again.
    async fn commit_tended(
        &self,
        writes: Vec<Write>,
        action: &str,
        id: &str,
        subject: Option<&str>,
        detail: &serde_json::Value,
    ) -> ServiceResult<()> {
        let audit = vec![self.audit(&Actor::system(), action, id, detail)?];
        let closed = action == "case.closed";
        let outbox = closed.then(|| self.case_message("case.closed", id, subject, detail)).transpose()?;
        let change = Change { writes, audit, feed: Vec::new(), outbox: outbox.into_iter().collect() };
        match self.commit_whole(change).await {
            Ok(_) | Err(ServiceError::PreconditionFailed) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Goes on with the round over results that nobody bound within a day.
    async fn tend_unbound(&self) -> ServiceResult<()> {
        let Some((source, session)) = self.tending.work().session.clone() else { return Ok(()) };
        let before_ms = self.clock.now_ms() - UNBOUND_MS;
        let page = self.store.unbound(before_ms, (&source, &session), ROUND).await?;
        let last = page.last().filter(|_| !ends(&page)).cloned();
        for (source, session) in page {
            let digest = self.crypto.lookup_digest(&format!("session/{source}"), &session);
            let question = format!("{QUARANTINE}:{source}:{}", digest.get(..32).unwrap_or(&digest));
            let body = CaseBody {
                causes: BTreeSet::from([QUARANTINE.to_owned()]),
                source: Some(source.clone()),
                session: Some(session.clone()),
                ..CaseBody::default()
            };
            if self.is_known(&question, &source, &session).await? {
                continue;
            }
            let (_, write) = self.new_case(None, &question, &body)?;
            let change = Change { writes: vec![write], audit: Vec::new(), feed: Vec::new(), outbox: Vec::new() };
            let _ = self.commit_whole(change).await?;
        }
        self.tending.work().session = last;
        Ok(())
    }

    /// Whether the question was asked, and nothing was delivered since people closed it.
    async fn is_known(&self, question: &str, source: &str, session: &str) -> ServiceResult<bool> {
        let Some(last) = self.store.last_case(question).await? else { return Ok(false) };
        let body = case_body(&last)?;
        let decided = body.closing.as_ref().is_some_and(|closing| closing.outcome != "moot");
        let waiting = self.store.quarantined(source, session).await?;
        Ok(last.state == "open" || (decided && waiting.iter().all(|delivery| body.material.contains(&delivery.id))))
    }

    async fn close_if_bound(&self, case: &StoredCase) -> ServiceResult<()> {
        let body = case_body(case)?;
        let (Some(source), Some(session)) = (&body.source, &body.session) else { return Ok(()) };
        let bound = self.store.session_subject(source, session).await?.is_some();
        let reason = match (bound, self.store.quarantined(source, session).await?.is_empty()) {
            (true, _) => "bound",
            (false, true) => "expired",
            (false, false) => return Ok(()),
        };
        let write = self.case_write(case.clone(), &body, Some(moot(reason)))?;
        let detail = json!({ "outcome": "moot", "reason": reason });
        self.commit_tended(vec![write], "case.closed", &case.id, None, &detail).await
    }
}

fn moot(reason: &str) -> Closing {
    Closing { outcome: "moot".to_owned(), reason: reason.to_owned(), by: Vec::new(), adjudication: None }
}
