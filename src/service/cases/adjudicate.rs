//! Deciding a case: one operator proposes, a second one confirms.

use super::{
    CaseBody, Change, Closing, Conflict, Item, REVIEW_SOURCE, ReviewWrite, StoredCase, StoredResolution, Write, is_code,
};
use crate::service::authenticate::Caller;
use crate::service::ingest::{Speaker, Submission};
use crate::service::{App, ServiceError, ServiceResult, invalid};
use crate::storage::{CaseEntry, FeedRow, StoredMark};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeSet;
use vouchsafe_core::Second;
use vouchsafe_core::facts::{Basis, Facts, Grade, Kind, Outcome, SourceKind, Statement};
use vouchsafe_core::ids::SubjectId;

/// Most findings that one adjudication settles.
const RESOLVES_MAX: usize = 100;

/// How often a confirmation is tried whose subject changes under it.
const TRIES: usize = 5;

/// What a reviewer found out.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Finding {
    /// What is so.
    pub statement: Statement,
    /// Strength, at most `STRONG`.
    pub grade: Grade,
    /// What it rests on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub basis: Option<Basis>,
    /// Since when it is so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fact_date: Option<Second>,
    /// Until when it is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends_at: Option<Second>,
}

/// How a case could end.
#[derive(Debug, Clone)]
pub struct NewProposal {
    /// Stable reason code.
    pub reason: String,
    /// The reason in words; sealed under the subject's key.
    pub words: Option<String>,
    /// Attestations that are settled, and with them the same findings when they are delivered again.
    pub resolves: BTreeSet<String>,
    /// What was found out.
    pub finding: Option<Finding>,
}

/// An attestation to be settled, by the keys under which it would come again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settled {
    attestation: String,
    source: String,
    lineage: String,
    finding: String,
}

impl Settled {
    fn is(&self, item: &Item) -> bool {
        item.row.source == self.source && item.lineage == self.lineage && item.finding == self.finding
    }
}

/// A proposal as stored; names nobody.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Proposal {
    reason: String,
    resolves: Vec<Settled>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    finding: Option<Finding>,
}

impl Proposal {
    fn outcome(&self) -> &'static str {
        if self.resolves.is_empty() && self.finding.is_none() { "unchanged" } else { "settled" }
    }
}

impl App {
    /// Proposes how a case ends. Changes nothing until a second operator confirms it.
    ///
    /// # Errors
    /// `Forbidden` for whoever the case is about, said what would be settled, or decided what is appealed against;
    /// `Invalid` naming the member; `Conflict` while another proposal waits.
    pub async fn propose_in_case(
        &self,
        caller: &Caller,
        id: &str,
        new: NewProposal,
        expected: Option<&[i64]>,
    ) -> ServiceResult<String> {
        let (_, case, mut body) = self.open_case_for(caller, id, expected).await?;
        if body.proposal.is_some() {
            return Err(ServiceError::Conflict("proposal"));
        }
        if !is_code(&new.reason) {
            return Err(invalid("/reason", "use 1 to 64 of `a-z 0-9 _ . -`"));
        }
        if new.resolves.len() > RESOLVES_MAX {
            return Err(invalid("/resolves", "at most 100 at once"));
        }
        self.not_decided_before(caller, &case, &body).await?;
        let (_, items) = self.items(&case).await?;
        let mut resolves = Vec::new();
        for (at, wanted) in new.resolves.iter().enumerate() {
            let found = items.iter().find(|item| item.row.id == *wanted && item.facts.kind != Kind::Adjudication);
            let item = found.ok_or_else(|| {
                invalid(&format!("/resolves/{at}"), "is no attestation about the subject of the case")
            })?;
            self.did_not_say(caller, &item.row).await?;
            resolves.push(Settled {
                attestation: item.row.id.clone(),
                source: item.row.source.clone(),
                lineage: item.lineage.clone(),
                finding: item.finding.clone(),
            });
        }
        let proposal = Proposal { reason: new.reason, resolves, finding: new.finding };
        if let Some(finding) = &proposal.finding {
            let subject = case.subject.as_ref().ok_or_else(|| invalid("/finding", "nobody is bound yet"))?;
            self.review_facts(subject, finding, &proposal.reason, "not yet", &case.question)?;
        }
        let stored = json!(proposal);
        let entry = self.entry(caller, &case, "proposal", &stored, new.words.as_deref()).await?;
        let entry_id = entry.id.clone();
        body.proposal = Some(entry_id.clone());
        let detail = json!({ "proposal": entry_id, "reason": proposal.reason,
            "resolves": proposal.resolves.iter().map(|settled| &settled.attestation).collect::<Vec<_>>(),
            "finding": proposal.finding.as_ref().map(|finding| &finding.statement) });
        let audit = self.audit(&caller.actor(), "case.proposed", id, &detail)?;
        let writes = vec![self.case_write(case, &body, None)?, Write::Review(ReviewWrite::Entry(entry))];
        self.commit_case(writes, audit).await?;
        Ok(entry_id)
    }

    /// Refuses a proposal, or takes one's own back; the case stays open.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` when another proposal waits by now.
    pub async fn reject_proposal(
        &self,
        caller: &Caller,
        id: &str,
        proposal: &str,
        reason: &str,
        words: Option<&str>,
        expected: Option<&[i64]>,
    ) -> ServiceResult<()> {
        let (_, case, mut body) = self.open_case_for(caller, id, expected).await?;
        self.waiting_proposal(&case, &body, proposal).await?;
        if !is_code(reason) {
            return Err(invalid("/reason", "use 1 to 64 of `a-z 0-9 _ . -`"));
        }
        body.proposal = None;
        let detail = json!({ "proposal": proposal, "reason": reason });
        let entry = self.entry(caller, &case, "rejection", &detail, words).await?;
        let audit = self.audit(&caller.actor(), "case.rejected", id, &detail)?;
        let writes = vec![self.case_write(case, &body, None)?, Write::Review(ReviewWrite::Entry(entry))];
        self.commit_case(writes, audit).await
    }

    /// Confirms a proposal: the case is closed, what it settles is settled and what it found is said, in one commit.
    ///
    /// # Errors
    /// `Forbidden` for the proposer or whoever cannot be told from them, whoever the case is about, said what would be
    /// settled, or decided what is appealed against; `Conflict` when another proposal waits by now.
    pub async fn confirm_proposal(
        &self,
        caller: &Caller,
        id: &str,
        proposal: &str,
        words: Option<&str>,
        expected: Option<&[i64]>,
    ) -> ServiceResult<()> {
        for _ in 0..TRIES {
            let (_, case, body) = self.open_case_for(caller, id, expected).await?;
            let (entry, proposed) = self.waiting_proposal(&case, &body, proposal).await?;
            self.is_second_person(caller, &entry.operator).await?;
            self.not_decided_before(caller, &case, &body).await?;
            let change = self.adjudication(caller, &case, &body, &entry, &proposed, words).await?;
            match self.commit_whole(change).await {
                Ok(Ok(())) => return Ok(()),
                // Something was said of the subject meanwhile: what is settled is looked up again.
                Err(ServiceError::PreconditionFailed) => {}
                Ok(Err(Conflict::NoSuchSubject)) => return Err(ServiceError::Erased),
                Ok(Err(_)) => return Err(ServiceError::Conflict("case")),
                Err(error) => return Err(error),
            }
        }
        Err(ServiceError::Conflict("subject"))
    }

    /// The proposal that waits, if it is this one.
    async fn waiting_proposal(
        &self,
        case: &StoredCase,
        body: &CaseBody,
        proposal: &str,
    ) -> ServiceResult<(CaseEntry, Proposal)> {
        let entry = self.store.case_entry(proposal).await?;
        let entry = entry.filter(|entry| entry.case_id == case.id && entry.kind == "proposal");
        let entry = entry.ok_or(ServiceError::NotFound("proposal"))?;
        if body.proposal.as_deref() != Some(proposal) {
            return Err(ServiceError::Conflict("proposal"));
        }
        let proposed = serde_json::from_str(&entry.body)
            .map_err(|_| ServiceError::Unreadable(format!("case entry {proposal}")))?;
        Ok((entry, proposed))
    }

    /// Everything that follows from a confirmation.
    async fn adjudication(
        &self,
        caller: &Caller,
        case: &StoredCase,
        body: &CaseBody,
        entry: &CaseEntry,
        proposed: &Proposal,
        words: Option<&str>,
    ) -> ServiceResult<Change> {
        let (version, items) = self.items(case).await?;
        let mut change = Change { writes: Vec::new(), audit: Vec::new(), feed: Vec::new(), outbox: Vec::new() };
        let mut adjudication = None;
        if let Some(subject) = &case.subject {
            change.writes.push(Write::Expect { subject: subject.clone(), versions: vec![version] });
            if proposed.outcome() == "settled" {
                adjudication = Some(self.settling(caller, subject, case, entry, proposed, &items, &mut change).await?);
            }
            change.feed.push(FeedRow { kind: "subject".to_owned(), key: subject.clone() });
        }
        let mut body = body.clone();
        body.material = match &case.subject {
            Some(_) => items.iter().map(Item::material).collect(),
            None => self.waiting_deliveries(&body).await?,
        };
        let closing = Closing {
            outcome: proposed.outcome().to_owned(),
            reason: proposed.reason.clone(),
            by: vec![entry.operator.clone(), caller.id.clone()],
            adjudication: adjudication.clone(),
        };
        if let Some(appeal) = &body.appeal {
            let outcome = if proposed.outcome() == "settled" { "changed" } else { "upheld" };
            change.writes.extend(self.decided_by_case(appeal, outcome, &closing.by).await?);
        }
        let detail = json!({ "proposal": entry.id, "outcome": closing.outcome, "reason": closing.reason,
            "by": closing.by, "adjudication": adjudication, "subject": case.subject });
        change.audit.push(self.audit(&caller.actor(), "case.adjudicated", &case.id, &detail)?);
        change.outbox.push(self.case_message("case.closed", &case.id, case.subject.as_deref(), &detail)?);
        let confirmation = self.entry(caller, case, "confirmation", &json!({ "proposal": entry.id }), words).await?;
        change.writes.push(self.case_write(case.clone(), &body, Some(closing))?);
        change.writes.push(Write::Review(ReviewWrite::Entry(confirmation)));
        Ok(change)
    }

    /// The adjudication's attestation, its marks, what settles the same findings later, and the reviewers' own finding.
    /// Gives the adjudication's id.
    #[expect(clippy::too_many_arguments, reason = "one commit, made in one place")]
    async fn settling(
        &self,
        caller: &Caller,
        subject: &str,
        case: &StoredCase,
        entry: &CaseEntry,
        proposed: &Proposal,
        items: &[Item],
        change: &mut Change,
    ) -> ServiceResult<String> {
        let now_ms = self.clock.now_ms();
        let actor = caller.actor();
        let facts = self.adjudication_facts(&case.id, &proposed.reason);
        let lineage = format!("adjudication/{}", entry.id);
        let new = self.new_attestation(&actor, subject, REVIEW_SOURCE, entry.id.clone(), lineage, &facts)?;
        let id = new.id.clone();
        change.writes.push(Write::Attestation(new));
        for settled in &proposed.resolves {
            for item in items.iter().filter(|item| settled.is(item)) {
                self.did_not_say(caller, &item.row).await?;
                change.writes.push(Write::Mark(StoredMark {
                    attestation: item.row.id.clone(),
                    kind: "resolved".to_owned(),
                    at_ms: now_ms,
                    from_start: false,
                    by: id.clone(),
                    reason: proposed.reason.clone(),
                }));
            }
            change.writes.push(Write::Review(ReviewWrite::Resolve(StoredResolution {
                adjudication: id.clone(),
                subject: subject.to_owned(),
                source: settled.source.clone(),
                lineage: settled.lineage.clone(),
                finding: settled.finding.clone(),
                at_ms: now_ms,
            })));
        }
        if let Some(finding) = &proposed.finding {
            // A later finding on the same question supersedes this one.
            let lineage = format!("{}/{subject}", case.question);
            let event = format!("{}:finding", entry.id);
            let facts = self.review_facts(subject, finding, &proposed.reason, &event, &lineage)?;
            let new = self.new_attestation(&actor, subject, REVIEW_SOURCE, event, lineage, &facts)?;
            change.writes.push(Write::Attestation(new));
        }
        Ok(id)
    }

    /// An adjudication names what it settles by its marks and says nothing itself.
    fn adjudication_facts(&self, case: &str, reason: &str) -> Facts {
        Facts {
            kind: Kind::Adjudication,
            source_kind: SourceKind::Reviewer,
            grade: Grade::Strong,
            outcome: Outcome::Approved,
            codes: BTreeSet::from([reason.to_owned()]),
            document_type: None,
            issuing_country: None,
            statement: None,
            basis: None,
            doubt: None,
            document: format!("case/{case}"),
            assessor: REVIEW_SOURCE.to_owned(),
            person: None,
            fact_date: None,
            checked_at: self.clock.now(),
            ends_at: None,
        }
    }

    fn review_facts(
        &self,
        subject: &str,
        finding: &Finding,
        reason: &str,
        event: &str,
        lineage: &str,
    ) -> ServiceResult<Facts> {
        let subject = SubjectId::parse(subject).map_err(|_| ServiceError::Unreadable("subject id".to_owned()))?;
        let speaker = Speaker {
            source: REVIEW_SOURCE.to_owned(),
            kind: SourceKind::Reviewer,
            assessor: REVIEW_SOURCE.to_owned(),
            max_grade: Grade::Strong,
        };
        let submission = Submission {
            grade: Some(finding.grade),
            codes: BTreeSet::from([reason.to_owned()]),
            statement: Some(finding.statement.clone()),
            basis: finding.basis,
            fact_date: finding.fact_date,
            ends_at: finding.ends_at,
            ..Submission::new(REVIEW_SOURCE, event.to_owned(), Kind::Review)
        };
        self.facts(&subject, &speaker, submission, lineage).map_err(|error| match error {
            ServiceError::Invalid { pointer, problem } => invalid(&format!("/finding{pointer}"), problem),
            other => other,
        })
    }

    /// What was said about the subject of a case, and the version it was read at.
    pub(super) async fn items(&self, case: &StoredCase) -> ServiceResult<(i64, Vec<Item>)> {
        let Some(subject) = &case.subject else { return Ok((0, Vec::new())) };
        match self.store.load_subject(subject).await? {
            Some((found, rows)) if found.state == "active" => {
                Ok((found.version, rows.into_iter().map(Item::read).collect::<ServiceResult<_>>()?))
            }
            _ => Err(self.missing(subject).await),
        }
    }

    async fn waiting_deliveries(&self, body: &CaseBody) -> ServiceResult<BTreeSet<String>> {
        let (Some(source), Some(session)) = (&body.source, &body.session) else { return Ok(BTreeSet::new()) };
        let waiting = self.store.quarantined(source, session).await?;
        Ok(waiting.into_iter().map(|delivery| delivery.id).collect())
    }
}
