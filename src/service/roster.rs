//! Rosters: many vouches and withdrawals of one organisation in one request, each row by itself.
//!
//! A row is one commit with its own audit entry. A repeated roster records nothing twice: a row is known by its
//! delivery id or, where it has none, by saying what the organisation's standing vouch of the last day says already. So
//! a row is safe to send again whatever became of the answer, and no idempotency key needs to guard it: rows are
//! recorded apart from the request's own key, which only keeps the answer.

use super::authenticate::Caller;
use super::ingest::{Delivery, Speaker};
use super::vouch::submission;
use super::{App, ServiceError, ServiceResult, invalid};
use crate::intake::roster::{Asks, Row, RowError, Said};
use crate::storage::{Change, FeedRow, StoredMark, Write};
use serde_json::json;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use tokio::task::JoinSet;
use tracing::Instrument as _;
use vouchsafe_core::facts::{Attestation, Kind, MarkKind, Statement, SubjectFacts};
use vouchsafe_core::ids::SubjectId;
use vouchsafe_core::second::DAY;

/// Subjects whose rows are recorded at the same time.
const ABREAST: usize = 32;

/// What became of a row.
#[derive(Debug)]
pub enum Outcome {
    /// A new vouch.
    Recorded(String),
    /// Said before, by this vouch.
    Duplicate(String),
    /// These vouches were taken back.
    Withdrawn(Vec<String>),
    /// Nothing stood that could be withdrawn.
    Unchanged,
    /// Refused; nothing was changed by it.
    Refused(ServiceError),
}

/// The rows of one subject, in order, by their place in the roster.
type Rows = Vec<(usize, Row)>;

impl App {
    /// Records a roster; the outcomes are in the order of its rows.
    ///
    /// # Errors
    /// `Forbidden` for a client that is no organisation's. Where the store fails, that is the whole answer: what is
    /// recorded stays, and the same roster can be sent again.
    pub async fn vouch_roster(
        self: &Arc<Self>,
        caller: &Caller,
        rows: Vec<Result<Row, RowError>>,
    ) -> ServiceResult<Vec<Outcome>> {
        let (organisation, _) = self.organisation_of(caller)?;
        let mut outcomes: BTreeMap<usize, Outcome> = BTreeMap::new();
        let mut groups: HashMap<SubjectId, Rows> = HashMap::new();
        let mut events: HashMap<String, Row> = HashMap::new();
        for (place, row) in rows.into_iter().enumerate() {
            let found = match row {
                Err(RowError { pointer, problem }) => Err(invalid(&pointer, problem)),
                Ok(row) if reused(&mut events, &row) => {
                    Err(invalid("/event_id", "another row of this roster has it and says something else"))
                }
                Ok(row) => self.vouched_subject(&organisation, &row.subject).await.map(|subject| (subject, row)),
            };
            match found {
                Ok((subject, row)) => groups.entry(subject).or_default().push((place, row)),
                Err(error) if error.is_ours() => return Err(error),
                Err(error) => drop(outcomes.insert(place, Outcome::Refused(error))),
            }
        }
        let mut tasks: JoinSet<ServiceResult<Vec<(usize, Outcome)>>> = JoinSet::new();
        let mut waiting = groups.into_iter();
        loop {
            while tasks.len() < ABREAST
                && let Some((subject, rows)) = waiting.next()
            {
                let (app, caller) = (Arc::clone(self), caller.clone());
                tasks.spawn(async move { app.vouch_rows(&caller, &subject, rows).await }.in_current_span());
            }
            match tasks.join_next().await {
                Some(done) => outcomes.extend(done.map_err(|_| ServiceError::Unavailable("roster"))??),
                None => return Ok(outcomes.into_values().collect()),
            }
        }
    }

    /// The rows of one subject, one after the other.
    async fn vouch_rows(
        &self,
        caller: &Caller,
        subject: &SubjectId,
        rows: Rows,
    ) -> ServiceResult<Vec<(usize, Outcome)>> {
        let at_odds: Vec<bool> = rows.iter().map(|(_, row)| rows.iter().any(|(_, other)| clash(row, other))).collect();
        let mut outcomes = Vec::new();
        for ((place, row), at_odds) in rows.into_iter().zip(at_odds) {
            let outcome = if at_odds {
                Err(invalid("/subject", "another row of this roster says something else about the same subject"))
            } else {
                self.vouch_row(caller, subject, row).await
            };
            match outcome {
                Ok(outcome) => outcomes.push((place, outcome)),
                Err(error) if error.is_ours() => return Err(error),
                Err(error) => outcomes.push((place, Outcome::Refused(error))),
            }
        }
        Ok(outcomes)
    }

    async fn vouch_row(&self, caller: &Caller, subject: &SubjectId, row: Row) -> ServiceResult<Outcome> {
        let (organisation, speaker) = self.organisation_of(caller)?;
        let facts = self.index.facts(subject, || self.load_versioned(subject.as_str())).await?;
        let Some(facts) = facts else { return Err(self.missing(subject.as_str()).await) };
        let said = match row.asks {
            Asks::Withdraw => return self.withdraw_standing(caller, &speaker, &facts).await,
            Asks::Vouch(said) => said,
        };
        let statement = statement(&organisation, &said);
        let event = match row.event {
            Some(event) => event,
            None => {
                let last = vouches(&facts, &speaker).filter(|a| same_question(a, &statement)).max_by_key(|a| &a.id);
                if let Some(last) = last
                    && stands(last)
                    && says(last, &statement, &said)
                    && self.clock.now().since(last.recorded_at) < DAY
                {
                    return Ok(Outcome::Duplicate(last.id.to_string()));
                }
                // Two rosters at once see the same last vouch and so give the same id: one of them is the duplicate.
                let told = json!([subject, statement, said.basis, said.fact_date, said.ends_at, last.map(|a| &a.id)]);
                format!("row:{}", self.crypto.lineage_digest("roster", &told.to_string()))
            }
        };
        let submission = submission(&speaker, event, statement, said.basis, said.fact_date, said.ends_at);
        match self.record(&caller.actor(), subject, &speaker, submission).await? {
            Delivery::Recorded(id) => Ok(Outcome::Recorded(id)),
            Delivery::Duplicate(id) => Ok(Outcome::Duplicate(id)),
            _ => Err(ServiceError::Conflict("vouch")),
        }
    }

    /// Takes back every vouch of the speaker about the subject that still stands, in one commit.
    async fn withdraw_standing(
        &self,
        caller: &Caller,
        speaker: &Speaker,
        facts: &SubjectFacts,
    ) -> ServiceResult<Outcome> {
        let ids: Vec<String> = vouches(facts, speaker)
            // What a suspension silenced is taken back as well.
            .filter(|attestation| attestation.marks.iter().all(|mark| mark.kind == MarkKind::Suspended))
            .map(|attestation| attestation.id.to_string())
            .collect();
        if ids.is_empty() {
            return Ok(Outcome::Unchanged);
        }
        let actor = caller.actor();
        let (mut writes, mut audit) = (Vec::new(), Vec::new());
        for id in &ids {
            writes.push(Write::Mark(StoredMark {
                attestation: id.clone(),
                kind: "revoked".to_owned(),
                at_ms: self.clock.now_ms(),
                from_start: false,
                by: actor.as_str().to_owned(),
                reason: "withdrawn".to_owned(),
            }));
            audit.push(self.audit(&actor, "vouch.withdrawn", id, &json!({}))?);
        }
        let feed = vec![FeedRow { kind: "subject".to_owned(), key: facts.subject.to_string() }];
        let change = Change { writes, audit, feed, outbox: Vec::new() };
        self.commit_whole(change).await?.map_err(|_| ServiceError::NotFound("vouch"))?;
        Ok(Outcome::Withdrawn(ids))
    }
}

/// Whether an earlier row of another content has this one's delivery id.
fn reused(events: &mut HashMap<String, Row>, row: &Row) -> bool {
    let Some(event) = &row.event else { return false };
    events.entry(event.clone()).or_insert_with(|| row.clone()) != row
}

/// Two rows of which nobody can tell which one is meant.
fn clash(row: &Row, other: &Row) -> bool {
    match (&row.asks, &other.asks) {
        (Asks::Vouch(a), Asks::Vouch(b)) => a.frame == b.frame && a != b,
        (a, b) => a != b,
    }
}

fn statement(organisation: &str, said: &Said) -> Statement {
    match said.employed {
        Some(employed) => {
            Statement::Employment { organisation: organisation.to_owned(), employed, relation: said.relation.clone() }
        }
        None => Statement::States { frame: said.frame.clone(), states: said.states.clone() },
    }
}

fn vouches<'f>(facts: &'f SubjectFacts, speaker: &'f Speaker) -> impl Iterator<Item = &'f Attestation> {
    facts
        .attestations
        .iter()
        .filter(|attestation| attestation.source.as_str() == speaker.source && attestation.facts.kind == Kind::Vouch)
}

fn stands(attestation: &Attestation) -> bool {
    attestation.marks.is_empty()
}

fn same_question(attestation: &Attestation, statement: &Statement) -> bool {
    match (&attestation.facts.statement, statement) {
        (Some(Statement::Employment { .. }), Statement::Employment { .. }) => true,
        (Some(Statement::States { frame: a, .. }), Statement::States { frame: b, .. }) => a == b,
        _ => false,
    }
}

fn says(attestation: &Attestation, statement: &Statement, said: &Said) -> bool {
    let facts = &attestation.facts;
    facts.statement.as_ref() == Some(statement)
        && (facts.basis, facts.fact_date, facts.ends_at) == (said.basis, said.fact_date, said.ends_at)
}
