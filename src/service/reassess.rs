//! Reassessment: what each subject comes to, looked at again when it is due and when something changed.
//!
//! Checks never wait for this: they decide by themselves. This job only notices, so that a change of status is told, the
//! tokens of whoever is no longer eligible are revoked, and a review can be opened, in one commit. A *standing* is one
//! row for each subject and resource (or family, for which a made-up member stands). Three things lead to a subject:
//!
//! - a standing that is due: the instant at which its decision changes by itself has come;
//! - the change feed: something was said about the subject, or about another party that its answers were made of;
//! - a sweep over all subjects, after a start, after the feed was lost, and when orders or suspensions changed. It
//!   reads ids and digests and decides only where a standing was made of something else.
//!
//! Several replicas do this at once. A standing is replaced only where it is still the one that was read, and only while
//! subject, orders and suspensions are what the decision was made of; who comes second has no effect. Another party may
//! change in between: its own change leads here again.

use super::parties::Seen;
use super::ssf::events::LEVEL_TOPIC;
use super::{Actor, App, ServiceError, ServiceResult};
use crate::storage::{Change, Conflict, StoredStanding, StoredToken, Swept, Write};
use finding::Finding;
pub use notice::NOTICES_SECS;
use serde::Serialize;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use vouchsafe_core::facts::SubjectFacts;
use vouchsafe_core::ids::SubjectId;
use vouchsafe_core::{Decision, Second, Status, decide};
use waiting::REMEMBERED;
pub(crate) use waiting::Waiting;

mod finding;
mod notice;
mod waiting;

/// Subjects of one round.
const ROUND: usize = 100;
/// Subjects that one step of a sweep looks over.
const PAGE: i64 = 500;
/// How long a subject whose facts cannot be read is left alone, milliseconds.
const ASIDE: i64 = 3_600_000;

/// What is to be noted of one subject without telling anybody.
struct Noted {
    subject: String,
    writes: Vec<Write>,
    /// Renewals among them: subject, resource, decision.
    renewed: Vec<[String; 3]>,
}

impl App {
    /// Looks at the subjects that wait, at most a hundred; called now and then. Whether more wait.
    ///
    /// # Errors
    /// `Unavailable` while the picture is old; when the store cannot be read or written. What waits goes on waiting.
    pub async fn reassess(&self) -> ServiceResult<bool> {
        self.check_feed_age()?;
        let now_ms = self.clock.now_ms();
        let mut subjects = self.waiting.take(now_ms, ROUND);
        let outcome = self.reassess_round(now_ms, &mut subjects).await;
        if outcome.is_err() {
            // What was not looked at waits again.
            subjects.iter().for_each(|subject| self.waiting.changed(subject));
        }
        outcome
    }

    async fn reassess_round(&self, now_ms: i64, subjects: &mut BTreeSet<String>) -> ServiceResult<bool> {
        let mut more = subjects.len() >= ROUND;
        for changed in &*subjects {
            let most = i64::try_from(REMEMBERED).unwrap_or(i64::MAX);
            // One more than are remembered, so that more are swept.
            self.waiting.party_changed(self.store.relying_on(changed, most + 1).await?);
        }
        subjects.extend(self.waiting.take_relying(ROUND - subjects.len()));
        let aside: BTreeSet<String> = self.waiting.work().aside.keys().cloned().collect();
        // More than a round, so that those left alone do not stand in the way of the others.
        let limit = i64::try_from(ROUND * 4 + aside.len() * 4).unwrap_or(i64::MAX);
        for due in self.store.due_standings(now_ms, limit).await? {
            if subjects.len() >= ROUND {
                more = true;
                break;
            }
            if !aside.contains(&due) {
                subjects.insert(due);
            }
        }
        if subjects.len() < ROUND {
            self.sweep_on().await?;
            let work = self.waiting.work();
            more |= work.sweep.is_some() || !work.changed.is_empty();
        }
        more |= !self.waiting.work().relying.is_empty();
        let mut noted = Vec::new();
        for subject in subjects.clone() {
            match self.reassess_subject(&subject).await {
                Ok(found) => noted.extend(found),
                Err(ServiceError::Unreadable(what)) => {
                    tracing::error!(subject, what, "a subject cannot be reassessed");
                    self.waiting.work().aside.insert(subject.clone(), now_ms + ASIDE);
                }
                Err(error) => return Err(error),
            }
        }
        self.note_standings(&noted).await?;
        Ok(more)
    }

    /// Goes on with the sweep, if one is under way: whoever stands otherwise than recorded waits.
    async fn sweep_on(&self) -> ServiceResult<()> {
        let Some(after) = self.waiting.work().sweep.clone() else { return Ok(()) };
        let now = self.clock.now();
        let world = self.world.load_full();
        let mut rules = BTreeMap::new();
        for pattern in world.patterns() {
            if let Some(sample) = pattern.sample() {
                rules.insert(pattern.to_string(), world.rules(&sample, now)?);
            }
        }
        let governed = rules.values().filter(|rules| rules.body.policy.is_some()).count();
        let page = self.store.sweep(&after, PAGE).await?;
        let mut work = self.waiting.work();
        // One that began anew meanwhile goes on from its own beginning.
        if work.sweep.as_ref() == Some(&after) {
            work.sweep = page.last().map(|last| last.subject.clone());
        }
        for of_one in page.chunk_by(|a, b| a.subject == b.subject) {
            let is_current = |row: &Swept| {
                !row.parties_changed
                    && row.version == Some(row.current)
                    && row.suspensions == Some(world.suspensions)
                    && row.resource.as_ref().and_then(|resource| rules.get(resource)).map(|rules| &rules.digest)
                        == row.rules.as_ref()
            };
            let standings = of_one.iter().filter(|row| row.resource.is_some()).count();
            let stands = standings >= governed && of_one.iter().all(is_current);
            if let Some(first) = of_one.first()
                && (standings > 0 || (first.matters && governed > 0))
                && !stands
                && !work.aside.contains_key(&first.subject)
            {
                work.changed.insert(first.subject.clone());
            }
        }
        Ok(())
    }

    /// Looks at a subject at once, because something was taken from it; what is overtaken meanwhile waits as usual.
    pub(crate) async fn look_again(&self, subject: &SubjectId) -> ServiceResult<()> {
        if let Some(noted) = self.reassess_subject(subject.as_str()).await? {
            self.note_standings(std::slice::from_ref(&noted)).await?;
        }
        Ok(())
    }

    /// Looks at one subject: news are committed with all that follows from them, the rest is handed back.
    async fn reassess_subject(&self, id: &str) -> ServiceResult<Option<Noted>> {
        // Before the facts: what is read later is at least as new.
        let held = self.store.standings(id).await?;
        let timeline = self.world.load().last_order();
        let Some((facts, read_at)) = self.load_versioned(id).await? else { return Ok(None) };
        if facts.attestations.is_empty() && held.is_empty() && self.store.decisions_of(id, "", 1).await?.is_empty() {
            // Nothing was said or decided of it: it does not matter yet.
            return Ok(None);
        }
        let relied_on: BTreeMap<String, i64> = self.store.relied_on(id).await?.into_iter().collect();
        let (mut findings, mut parties) = (Vec::new(), Vec::new());
        let world = self.world.load_full();
        let now = self.clock.now();
        for pattern in world.patterns() {
            let Some(sample) = pattern.sample() else { continue };
            let resource = pattern.to_string();
            let before = held.iter().find(|held| held.resource == resource && held.acting_for.is_empty()).cloned();
            let rules = world.rules(&sample, now)?;
            if before.is_none() && rules.body.policy.is_none() {
                continue;
            }
            let (gathered, seen) = self.with_parties(facts.clone(), None, &rules).await?;
            let party_changed = seen.iter().any(|party| relied_on.get(&party.id) != Some(&party.version_or_none()));
            parties.extend(seen);
            let decision = decide(&rules, &gathered, now);
            let told = |of: fn(&StoredStanding) -> Option<i64>| before.as_ref().and_then(of);
            let mut standing = StoredStanding {
                subject: id.to_owned(),
                acting_for: String::new(),
                resource,
                status: decision.status.as_str().to_owned(),
                decision: decision.id.clone(),
                rules: rules.digest.clone(),
                version: read_at.version,
                suspensions: read_at.suspensions,
                due_ms: decision.valid_until().map(Second::millis),
                notice_ms: None,
                told_end_ms: told(|before| before.told_end_ms),
                told_before_ms: told(|before| before.told_before_ms),
                level: finding::level(&decision, &rules),
            };
            let notice = self.look_ahead(&mut standing, &decision, &gathered, &rules, &sample)?;
            let mut receivers = world.signal_receivers.values();
            let is_heard = standing.level.is_some()
                && receivers.any(|one| one.receiver().wants(LEVEL_TOPIC, std::slice::from_ref(&pattern)));
            findings.push(Finding { standing, before, decision, rules, party_changed, notice, is_heard });
        }
        let decisions: Vec<&Decision> = findings.iter().map(|finding| &finding.decision).collect();
        let cases = self.case_writes(&facts, &decisions).await?;
        findings.retain(|finding| finding.before.as_ref() != Some(&finding.standing));
        let dead = self.dead_tokens(&facts, now, &mut parties).await?;
        let relies = self.relies(id, parties, &relied_on);
        if !dead.is_empty() || !cases.is_empty() || findings.iter().any(Finding::is_told) {
            let writes = cases.into_iter().chain(relies).collect();
            self.tell(&facts, &findings, dead, writes, timeline).await?;
            // What left review needs nobody's look any more.
            let review = |finding: &Finding| {
                finding.before.as_ref().is_some_and(|before| before.status == Status::Review.as_str())
            };
            if findings.iter().any(|finding| finding.is_news() && review(finding)) {
                self.tend_subject(id).await?;
            }
            return Ok(None);
        }
        let renewed = renewals(id, &findings);
        let writes: Vec<Write> = findings.iter().map(|finding| finding.write(timeline)).chain(relies).collect();
        Ok((!writes.is_empty()).then(|| Noted { subject: id.to_owned(), writes, renewed }))
    }

    /// The note of the other parties that a subject's answers were made of; `None` where it says so already.
    fn relies(&self, id: &str, parties: Vec<Seen>, relied_on: &BTreeMap<String, i64>) -> Option<Write> {
        // Read at two versions, the older counts: what changed in between is looked at again.
        let mut now: BTreeMap<String, i64> = BTreeMap::new();
        for party in parties {
            let version = party.version_or_none();
            now.entry(party.id).and_modify(|known| *known = version.min(*known)).or_insert(version);
        }
        let parties = now.iter().map(|(id, version)| (id.clone(), *version)).collect();
        let note = Write::Relies { subject: id.to_owned(), parties, now_ms: self.clock.now_ms() };
        (now != *relied_on).then_some(note)
    }

    /// Living tokens of a subject that is no longer eligible for their resource. Other parties that are looked at for it are
    /// added to `parties`.
    async fn dead_tokens(
        &self,
        facts: &SubjectFacts,
        now: Second,
        parties: &mut Vec<Seen>,
    ) -> ServiceResult<Vec<StoredToken>> {
        let mut dead = Vec::new();
        let mut looked_at: BTreeMap<(String, String, Option<String>), bool> = BTreeMap::new();
        for token in self.store.living_tokens(facts.subject.as_str(), self.clock.now_ms()).await? {
            let question = (token.resource.clone(), token.decision.clone(), token.end_user.clone());
            let stands = match looked_at.get(&question) {
                Some(stands) => *stands,
                None => self.token_stands(facts, &token, now, parties).await?,
            };
            looked_at.insert(question, stands);
            if !stands {
                dead.push(token);
            }
        }
        // Who is looked at is no party beside itself.
        parties.retain(|party| party.id != facts.subject.as_str());
        Ok(dead)
    }

    /// Commits what became of one subject: its standings, and with each new status the decision, the entry, the message and
    /// what else follows from it. Where another was faster, or something changed meanwhile, the subject waits again.
    async fn tell(
        &self,
        facts: &SubjectFacts,
        findings: &[Finding],
        dead: Vec<StoredToken>,
        writes: Vec<Write>,
        timeline: i64,
    ) -> ServiceResult<()> {
        let subject = &facts.subject;
        let id = subject.as_str();
        let mut change = Change { writes, audit: Vec::new(), feed: Vec::new(), outbox: Vec::new() };
        for finding in findings {
            change.writes.push(finding.write(timeline));
            if finding.is_news() {
                self.status_changed(&mut change, subject, finding)?;
            }
            if let Some((level, previous)) = finding.new_level() {
                let resource = &finding.standing.resource;
                let body = json!({ "subject": subject, "resource": resource, "level": level, "previous": previous });
                change.outbox.push(self.message(LEVEL_TOPIC, id, &body)?);
            }
            if let Some(notice) = finding.notice {
                change.outbox.push(self.message("eligibility.expiring", id, &notice.body(&finding.standing))?);
            }
        }
        let news = findings.iter().filter(|finding| finding.is_news());
        let news: Vec<&Decision> = news.map(|finding| &finding.decision).collect();
        self.note_renewals(&mut change, &renewals(id, findings))?;
        // What people have to look at now is asked in the commit of the status that asks for it.
        change.writes.extend(self.case_writes(facts, &news).await?);
        self.end_tokens(&mut change, &Actor::system(), id, &dead, "not_eligible")?;
        match self.commit_whole(change).await? {
            Ok(()) => Ok(()),
            Err(Conflict::NoSuchSubject) => Ok(()),
            Err(_) => {
                self.waiting.changed(id);
                Ok(())
            }
        }
    }

    /// The one place through which a change of status passes: what has to be in the same commit goes into `change`.
    fn status_changed(&self, change: &mut Change, subject: &SubjectId, finding: &Finding) -> ServiceResult<()> {
        let (decision, standing) = (&finding.decision, &finding.standing);
        let previous = finding.before.as_ref().map(|before| before.status.as_str());
        let body = json!({
            "subject": subject, "acting_for": decision.acting_for, "resource": standing.resource,
            "status": decision.status, "previous": previous, "decision": decision.id, "at": decision.at,
            "expires_at": decision.expires_at, "causes": finding.causes(),
        });
        change.writes.push(Write::Decision {
            decision: Self::stored_decision(decision),
            rules: finding.rules.canonical.clone(),
        });
        change.audit.push(self.audit(&Actor::system(), "eligibility.changed", subject.as_str(), &body)?);
        change.outbox.push(self.message("eligibility.changed", subject.as_str(), &body)?);
        metrics::counter!("vouchsafe_eligibility_changes_total", "status" => decision.status.as_str()).increment(1);
        Ok(())
    }

    /// Notes what is no news, in one commit; where one of the subjects was overtaken, each in its own.
    async fn note_standings(&self, noted: &[Noted]) -> ServiceResult<()> {
        if noted.is_empty() || self.note_together(noted).await?.is_ok() {
            return Ok(());
        }
        for one in noted {
            if !matches!(self.note_together(std::slice::from_ref(one)).await?, Ok(()) | Err(Conflict::NoSuchSubject)) {
                self.waiting.changed(&one.subject);
            }
        }
        Ok(())
    }

    async fn note_together(&self, noted: &[Noted]) -> ServiceResult<Result<(), Conflict>> {
        let renewed: Vec<&[String; 3]> = noted.iter().flat_map(|one| &one.renewed).collect();
        let writes = noted.iter().flat_map(|one| one.writes.iter().cloned()).collect();
        let mut change = Change { writes, audit: Vec::new(), feed: Vec::new(), outbox: Vec::new() };
        self.note_renewals(&mut change, &renewed)?;
        self.commit_change(change).await
    }

    /// That a yes goes on is told to nobody, and recorded all the same.
    fn note_renewals(&self, change: &mut Change, renewed: &[impl Serialize]) -> ServiceResult<()> {
        if !renewed.is_empty() {
            let detail = json!({ "renewed": renewed });
            change.audit.push(self.audit(&Actor::system(), "eligibility.renewed", "standings", &detail)?);
        }
        Ok(())
    }
}

/// The renewals among what a subject came to: subject, resource, decision.
fn renewals(subject: &str, findings: &[Finding]) -> Vec<[String; 3]> {
    let renewed = findings.iter().filter(|finding| finding.is_renewal());
    renewed
        .map(|Finding { standing, .. }| [subject.to_owned(), standing.resource.clone(), standing.decision.clone()])
        .collect()
}
