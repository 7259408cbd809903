//! The JSON form in which a submitter hands its row to the batcher; the SQL of the batches reads these names.

use super::{AuditEntry, Basis, NewAttestation, OutboxRow, SESSION_KEPT_MS, StoreError, StoredDecision, StoredToken};
use serde::Serialize;

#[derive(Serialize)]
struct AttestationRow<'a> {
    id: &'a str,
    subject: &'a str,
    source: &'a str,
    event: &'a str,
    lineage: &'a str,
    checked: i64,
    recorded: i64,
    facts: &'a str,
    document: Option<&'a str>,
    compare: bool,
    audit: AuditRow<'a>,
    outbox: Option<OutboxColumns<'a>>,
}

#[derive(Serialize)]
struct AuditRow<'a> {
    id: &'a str,
    at: i64,
    actor: &'a str,
    action: &'a str,
    target: &'a str,
    detail: &'a str,
}

#[derive(Serialize)]
struct OutboxColumns<'a> {
    id: &'a str,
    topic: &'a str,
    key: &'a str,
    body: &'a str,
}

#[derive(Serialize)]
struct TokenRow<'a> {
    jti: &'a str,
    subject: &'a str,
    audience: &'a str,
    resource: &'a str,
    decision: &'a str,
    client: &'a str,
    issued: i64,
    expires: i64,
    revoked: Option<i64>,
    list: i64,
    idx: i64,
    end_user: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<SessionRow<'a>>,
    version: i64,
    timeline: i64,
    suspensions: i64,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    parties: &'a [(String, i64)],
    d: DecisionRow<'a>,
    audit: AuditRow<'a>,
}

#[derive(Serialize)]
struct SessionRow<'a> {
    id: &'a str,
    of: Option<&'a str>,
    at: Option<i64>,
    /// As whose sessions that are over is remembered, if they are over at its instant or later.
    until: Option<i64>,
}

#[derive(Serialize)]
struct DecisionRow<'a> {
    id: &'a str,
    subject: &'a str,
    acting_for: Option<&'a str>,
    resource: &'a str,
    at: i64,
    status: &'a str,
    expires: Option<i64>,
    rules: &'a str,
    attestations: &'a str,
}

impl<'a> From<&'a AuditEntry> for AuditRow<'a> {
    fn from(entry: &'a AuditEntry) -> Self {
        Self {
            id: &entry.id,
            at: entry.at_ms,
            actor: &entry.actor,
            action: &entry.action,
            target: &entry.target,
            detail: &entry.detail,
        }
    }
}

impl<'a> From<&'a OutboxRow> for OutboxColumns<'a> {
    fn from(row: &'a OutboxRow) -> Self {
        Self { id: &row.id, topic: &row.topic, key: &row.key, body: &row.body }
    }
}

impl<'a> From<&'a StoredDecision> for DecisionRow<'a> {
    fn from(row: &'a StoredDecision) -> Self {
        Self {
            id: &row.id,
            subject: &row.subject,
            acting_for: row.acting_for.as_deref(),
            resource: &row.resource,
            at: row.at_ms,
            status: &row.status,
            expires: row.expires_at_ms,
            rules: &row.rules_digest,
            attestations: &row.attestations,
        }
    }
}

/// Row of [`super::Store::record_attestation`].
pub(super) fn attestation(new: &NewAttestation) -> Result<String, StoreError> {
    element(&AttestationRow {
        id: &new.id,
        subject: &new.subject,
        source: &new.source,
        event: &new.event,
        lineage: &new.lineage,
        checked: new.checked_at_ms,
        recorded: new.recorded_at_ms,
        facts: &new.facts,
        document: new.document.as_deref(),
        compare: new.compare,
        audit: (&new.audit).into(),
        outbox: new.outbox.as_ref().map(Into::into),
    })
}

/// Row of [`super::Store::record_token`]; the rules travel beside it.
pub(super) fn token(
    token: &StoredToken,
    decision: &StoredDecision,
    basis: &Basis,
    audit: &AuditEntry,
) -> Result<String, StoreError> {
    element(&TokenRow {
        jti: &token.jti,
        subject: &token.subject,
        audience: &token.audience,
        resource: &token.resource,
        decision: &token.decision,
        client: &token.client,
        issued: token.issued_at_ms,
        expires: token.expires_at_ms,
        revoked: token.revoked_at_ms,
        list: token.status_list,
        idx: token.status_idx,
        end_user: token.end_user.as_deref(),
        session: token.session.session.as_deref().map(|id| SessionRow {
            id,
            of: token.session.session_of.as_deref(),
            at: token.session.session_at_ms,
            until: token.session.session_at_ms.map(|at_ms| at_ms.saturating_add(SESSION_KEPT_MS)),
        }),
        version: basis.version,
        timeline: basis.timeline,
        suspensions: basis.suspensions,
        parties: &basis.parties,
        d: decision.into(),
        audit: audit.into(),
    })
}

fn element(row: &impl Serialize) -> Result<String, StoreError> {
    serde_json::to_string(row).map_err(|error| StoreError::Unavailable(format!("row does not serialise: {error}")))
}
