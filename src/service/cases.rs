//! Cases: what a person has to look at, and how it ends.
//!
//! A case is opened when sources contradict each other (`review`), when this service saw something by comparing, when
//! nobody bound a vendor's result, and when an appeal is granted a new look. There is one open case for each subject and
//! question. It closes by itself when its reason is gone, or by an adjudication of two people. An adjudication is an
//! attestation: it marks what it settles and says nothing itself; what a reviewer found out is another attestation. What
//! follows from both, the evidence model says.

mod adjudicate;
mod impartial;
mod opening;
mod view;

use super::authenticate::{Caller, OperatorCaller};
use super::{App, ServiceError, ServiceResult, invalid};
use crate::crypto::sha256_hex;
use crate::storage::{
    CaseEntry, Change, Conflict, ReviewWrite, StoredAttestation, StoredCase, StoredResolution, Write,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use vouchsafe_core::Second;
use vouchsafe_core::facts::{Attestation, Facts, Kind, Mark, MarkKind};

pub use crate::storage::ReviewQueue as Queue;
pub use adjudicate::{Finding, NewProposal};
pub(crate) use opening::Tending;

/// The source of reviewers' findings and adjudications.
pub const REVIEW_SOURCE: &str = "src_review";

/// Longest text of an operator, in bytes.
pub const WORDS_MAX: usize = 4000;

/// Comments of one case, at most; proposals and what becomes of them have room beside them.
const COMMENTS_MAX: usize = 400;

/// Cause of a case: the answer is `review`.
const CONTRADICTION: &str = "status.review";
/// Cause of a case: a vendor's result that nobody bound.
const QUARANTINE: &str = "quarantine";
/// Cause of a case: an appeal is to be looked at anew.
pub(crate) const APPEAL: &str = "appeal";

/// How a case ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Closing {
    /// `settled`, `unchanged`, or `moot` when the reason went away by itself.
    pub(crate) outcome: String,
    /// Stable reason code.
    pub(crate) reason: String,
    /// The operators who decided, first the proposer; nobody for `moot`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) by: Vec<String>,
    /// The adjudication: an attestation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) adjudication: Option<String>,
}

/// A case as stored; names nobody.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct CaseBody {
    /// Why it was opened.
    pub(crate) causes: BTreeSet<String>,
    /// Resources (or families, by a made-up member) whose answer it holds up.
    pub(crate) resources: BTreeSet<String>,
    /// Who looks at it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) assignee: Option<String>,
    /// The proposal that waits for a second person.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) proposal: Option<String>,
    /// The appeal it decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) appeal: Option<String>,
    /// The source of a result that nobody bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) source: Option<String>,
    /// Its session; gone when the case is closed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) session: Option<String>,
    /// What was on the table when people decided: the same again opens no case.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub(crate) material: BTreeSet<String>,
    /// How it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) closing: Option<Closing>,
}

/// The key under which a source repeats itself: for what an organisation says, the organisation and the subject (each of
/// its deliveries has an id of its own); for everything else the check or record.
pub(crate) fn lineage_key(lineage: &str, facts: &Facts) -> String {
    match facts.kind {
        Kind::Vouch | Kind::Directory => facts.document.clone(),
        _ => lineage.to_owned(),
    }
}

/// Digest of what was found: all that the facts say, but for when it was looked at, when it ends and whom we count as
/// the assessor.
pub(crate) fn finding(facts: &Facts) -> String {
    let mut said = json!(facts);
    if let Some(members) = said.as_object_mut() {
        for member in ["checked_at", "ends_at", "assessor"] {
            members.remove(member);
        }
    }
    let mut digest = sha256_hex(said.to_string().as_bytes());
    digest.truncate(32);
    digest
}

/// Marks what an adjudication has settled already and was delivered again since. What stood when it was adjudicated was
/// marked then.
pub(crate) fn settle(attestations: &mut [(Attestation, String)], settled: &[StoredResolution]) {
    for resolution in settled {
        // One that was committed after these facts were read belongs to later ones.
        if !attestations.iter().any(|(attestation, _)| attestation.id.as_str() == resolution.adjudication) {
            continue;
        }
        for (attestation, lineage) in attestations.iter_mut() {
            let same = attestation.source.as_str() == resolution.source
                && lineage_key(lineage, &attestation.facts) == resolution.lineage
                && finding(&attestation.facts) == resolution.finding;
            if same && !attestation.marks.iter().any(|mark| mark.kind == MarkKind::Resolved) {
                let at = Second::from_millis(resolution.at_ms).max(attestation.recorded_at);
                attestation.marks.push(Mark { at, kind: MarkKind::Resolved, from_start: false });
            }
        }
    }
}

/// What a row says, with the keys it is settled by.
struct Item {
    row: StoredAttestation,
    facts: Facts,
    lineage: String,
    finding: String,
}

impl Item {
    fn read(row: StoredAttestation) -> ServiceResult<Self> {
        let facts: Facts = serde_json::from_str(&row.facts)
            .map_err(|_| ServiceError::Unreadable(format!("attestation {}", row.id)))?;
        Ok(Self { lineage: lineage_key(&row.lineage, &facts), finding: finding(&facts), facts, row })
    }

    /// What it adds to the material of a case.
    fn material(&self) -> String {
        format!("{}/{}/{}", self.row.source, self.lineage, self.finding)
    }
}

fn is_code(text: &str) -> bool {
    let safe = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_.-".contains(&byte);
    (1..=64).contains(&text.len()) && text.bytes().all(safe)
}

impl App {
    /// A case at one of the versions its caller insists on, with its body.
    async fn load_case(&self, id: &str, expected: Option<&[i64]>) -> ServiceResult<(StoredCase, CaseBody)> {
        let case = self.store.case(id).await?.ok_or(ServiceError::NotFound("case"))?;
        if expected.is_some_and(|versions| !versions.contains(&case.version)) {
            return Err(ServiceError::PreconditionFailed);
        }
        let body = case_body(&case)?;
        Ok((case, body))
    }

    /// The same, to be changed by an operator who is not the one it is about.
    async fn open_case_for<'c>(
        &self,
        caller: &'c Caller,
        id: &str,
        expected: Option<&[i64]>,
    ) -> ServiceResult<(&'c OperatorCaller, StoredCase, CaseBody)> {
        let operator = caller.operator()?;
        let (case, body) = self.load_case(id, expected).await?;
        not_about(caller, &case)?;
        if case.state != "open" {
            return Err(ServiceError::Conflict("case"));
        }
        Ok((operator, case, body))
    }

    /// Says who looks at a case, or that nobody does.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` for somebody who may not review it; `Conflict` when it is closed or has changed.
    pub async fn assign_case(
        &self,
        caller: &Caller,
        id: &str,
        assignee: Option<&str>,
        expected: Option<&[i64]>,
    ) -> ServiceResult<()> {
        let (_, case, mut body) = self.open_case_for(caller, id, expected).await?;
        if let Some(assignee) = assignee {
            let able = match self.load_operator(assignee).await {
                Ok((operator, _)) => {
                    !operator.disabled
                        && operator.scopes().contains("cases:review")
                        && (case.subject.is_none() || operator.subject != case.subject)
                }
                Err(ServiceError::NotFound(_)) => false,
                Err(error) => return Err(error),
            };
            if !able {
                return Err(invalid("/operator", "is no operator who may review this case"));
            }
        }
        body.assignee = assignee.map(str::to_owned);
        let audit = self.audit(&caller.actor(), "case.assigned", id, &json!({ "operator": assignee }))?;
        self.commit_case(vec![self.case_write(case, &body, None)?], audit).await
    }

    /// Says something in a case; the words are sealed under the subject's key.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` when it is closed; `Invalid` for words that are too many.
    pub async fn comment_case(
        &self,
        caller: &Caller,
        id: &str,
        words: &str,
        expected: Option<&[i64]>,
    ) -> ServiceResult<String> {
        let (_, case, _) = self.open_case_for(caller, id, expected).await?;
        if self.store.case_entries(id).await?.len() >= COMMENTS_MAX {
            return Err(invalid("/text", "the case is full of words: decide it"));
        }
        let entry = self.entry(caller, &case, "comment", &json!({}), Some(words)).await?;
        let entry_id = entry.id.clone();
        let audit = self.audit(&caller.actor(), "case.commented", id, &json!({ "entry": entry_id }))?;
        self.commit_case(vec![Write::Review(ReviewWrite::Entry(entry))], audit).await?;
        Ok(entry_id)
    }

    async fn commit_case(&self, writes: Vec<Write>, audit: crate::storage::AuditEntry) -> ServiceResult<()> {
        match self.commit(writes, audit, Vec::new()).await? {
            Ok(()) => Ok(()),
            Err(Conflict::NoSuchSubject) => Err(ServiceError::Erased),
            Err(_) => Err(ServiceError::Conflict("case")),
        }
    }

    /// A case's row with another body, at the version that was read; closed where `closing` says how.
    fn case_write(&self, mut case: StoredCase, body: &CaseBody, closing: Option<Closing>) -> ServiceResult<Write> {
        let expected = case.version;
        let mut body = body.clone();
        if let Some(closing) = closing {
            case.state = "closed".to_owned();
            case.closed_at_ms = Some(self.clock.now_ms());
            (body.proposal, body.session) = (None, None);
            body.closing = Some(closing);
        }
        case.body = serde_json::to_string(&body).map_err(|_| ServiceError::Unreadable("case".to_owned()))?;
        Ok(Write::Review(ReviewWrite::Case { case, expected }))
    }

    /// Something an operator says in a case.
    async fn entry(
        &self,
        caller: &Caller,
        case: &StoredCase,
        kind: &str,
        body: &Value,
        words: Option<&str>,
    ) -> ServiceResult<CaseEntry> {
        let id = self.id("ent")?;
        let sealed = match words {
            Some(words) => Some(self.seal_words(case, &id, words).await?),
            None => None,
        };
        Ok(CaseEntry {
            id,
            case_id: case.id.clone(),
            operator: caller.id.clone(),
            kind: kind.to_owned(),
            at_ms: self.clock.now_ms(),
            body: body.to_string(),
            sealed,
        })
    }

    /// Words about somebody go with their key; where nobody is bound yet, under the deployment's.
    async fn seal_words(&self, case: &StoredCase, entry: &str, words: &str) -> ServiceResult<Vec<u8>> {
        if words.trim().is_empty() || words.len() > WORDS_MAX {
            return Err(invalid("/text", "say it in 1 to 4000 bytes"));
        }
        let context = format!("case/{entry}");
        match &case.subject {
            Some(subject) => Ok(self.data_key(subject).await?.seal(&context, words.as_bytes())?),
            None => Ok(self.crypto.seal_secret(&context, words.as_bytes())?),
        }
    }

    /// The key of an active subject.
    pub(crate) async fn data_key(&self, subject: &str) -> ServiceResult<crate::crypto::DataKey> {
        match self.store.subject(subject).await? {
            Some(found) if found.state == "active" => Ok(self.crypto.unwrap_data_key(subject, &found.wrapped_key)?),
            _ => Err(self.missing(subject).await),
        }
    }
}

pub(crate) fn case_body(case: &StoredCase) -> ServiceResult<CaseBody> {
    serde_json::from_str(&case.body).map_err(|_| ServiceError::Unreadable(format!("case {}", case.id)))
}

/// Nobody looks at their own case.
fn not_about(caller: &Caller, case: &StoredCase) -> ServiceResult<()> {
    let own = caller.operator.as_ref().and_then(|operator| operator.subject.as_ref());
    if own.is_some() && own == case.subject.as_ref() { Err(ServiceError::Forbidden("impartial")) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vouchsafe_core::ids::{AttestationId, SourceId};

    fn facts(change: Value) -> Facts {
        let mut facts = json!({ "kind": "document_check", "source_kind": "document_vendor", "grade": "STRONG",
            "outcome": "declined", "codes": ["face_mismatch"], "document": "doc:1", "assessor": "src_v",
            "checked_at": "2026-11-20T00:00:00Z" });
        for (name, value) in change.as_object().unwrap() {
            facts[name] = value.clone();
        }
        serde_json::from_value(facts).unwrap()
    }

    #[test]
    fn a_finding_is_the_same_whenever_it_was_looked_at_and_another_when_it_says_more() {
        let first = finding(&facts(json!({})));
        for same in [
            json!({ "checked_at": "2026-11-21T00:00:00Z" }),
            json!({ "ends_at": "2027-01-01T00:00:00Z" }),
            json!({ "assessor": "group" }),
        ] {
            assert_eq!(finding(&facts(same.clone())), first, "{same}");
        }
        for other in [
            json!({ "codes": ["face_mismatch", "forged"] }),
            json!({ "outcome": "approved" }),
            json!({ "document": "doc:2" }),
            json!({ "grade": "SUPERIOR" }),
            json!({ "fact_date": "2026-11-19T00:00:00Z" }),
            json!({ "person": { "birth": "b" } }),
        ] {
            assert_ne!(finding(&facts(other.clone())), first, "{other}");
        }
    }

    #[test]
    fn what_was_settled_is_settled_again_under_its_lineage_only() {
        let attestation = |id: &str, source: &str, change: Value| Attestation {
            id: AttestationId::parse(id).unwrap(),
            source: SourceId::parse(source).unwrap(),
            recorded_at: Second::parse("2026-11-22T00:00:00Z").unwrap(),
            facts: facts(change),
            marks: Vec::new(),
        };
        let resolution = StoredResolution {
            adjudication: "att_9".to_owned(),
            subject: "sub_1".to_owned(),
            source: "src_v".to_owned(),
            lineage: "check-1".to_owned(),
            finding: finding(&facts(json!({}))),
            at_ms: Second::parse("2026-11-21T00:00:00Z").unwrap().millis(),
        };
        let adjudication =
            || (attestation("att_9", "src_review", json!({ "kind": "adjudication" })), "case".to_owned());
        let mut held = vec![
            (attestation("att_1", "src_v", json!({})), "check-1".to_owned()),
            (attestation("att_2", "src_v", json!({})), "check-2".to_owned()),
            (attestation("att_3", "src_w", json!({})), "check-1".to_owned()),
            (attestation("att_4", "src_v", json!({ "codes": ["forged"] })), "check-1".to_owned()),
            adjudication(),
        ];
        settle(&mut held, std::slice::from_ref(&resolution));
        let marked: Vec<&str> = held.iter().filter(|(a, _)| !a.marks.is_empty()).map(|(a, _)| a.id.as_str()).collect();
        assert_eq!(marked, ["att_1"]);
        let mark = &held[0].0.marks[0];
        assert_eq!((mark.kind, mark.at), (MarkKind::Resolved, Second::parse("2026-11-22T00:00:00Z").unwrap()));
        // Facts that were read before the adjudication are those of then.
        held.pop();
        held[0].0.marks.clear();
        settle(&mut held, &[resolution]);
        assert!(held.iter().all(|(a, _)| a.marks.is_empty()));
    }
}
