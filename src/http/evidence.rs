//! Evidence in: attestations, vouches, observations, vendors' webhooks.

use super::Edge;
use super::conditional::IfMatch;
use super::extract::{Auth, Checked, Raw};
use super::problem::Problem;
use super::subjects::subject_id;
use crate::intake::vouch::parse_subject;
use crate::service::ServiceError;
use crate::service::idempotency::expecting;
use crate::service::ingest::{Delivery, Submission};
use crate::service::vouch::PlainVouch;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use utoipa::ToSchema;
use validator::Validate;
use vouchsafe_core::Second;
use vouchsafe_core::facts::{Basis, Grade, Kind, Outcome, Statement};

/// A document that was examined.
#[derive(Debug, Clone, Default, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Document {
    /// `passport`, `permanent_resident_card`, …
    #[serde(rename = "type")]
    #[validate(length(min = 1, max = 64))]
    kind: Option<String>,
    /// ISO 3166-1 alpha-3.
    #[validate(length(equal = 3))]
    issuing_country: Option<String>,
    /// Its number; only a keyed digest is kept.
    #[validate(length(min = 1, max = 64))]
    number: Option<String>,
    /// Day of issue, `YYYY-MM-DD`.
    issued_on: Option<String>,
    /// Last day of validity, `YYYY-MM-DD`.
    expires_on: Option<String>,
}

/// Who the document says it belongs to; only keyed digests are kept.
#[derive(Debug, Clone, Default, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Person {
    /// `YYYY-MM-DD`.
    birth_date: Option<String>,
    /// As read.
    #[validate(length(min = 1, max = 200))]
    name: Option<String>,
}

/// A statement of a source about the subject.
#[derive(Debug, Clone, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewAttestation {
    /// The source spoken for; `src_self` for the subject's own declaration.
    #[validate(length(min = 1, max = 80))]
    pub(crate) source: String,
    /// The source's own delivery id: a repeat is recognised by it.
    #[validate(length(min = 1, max = 200))]
    pub(crate) event_id: Option<String>,
    /// Results of one check share it; a newer one supersedes the older.
    #[validate(length(min = 1, max = 200))]
    check_id: Option<String>,
    /// `document_check`, `registry`, `review`, `vouch`, `directory`, `declaration`.
    #[schema(value_type = String)]
    kind: Kind,
    /// `SUPERIOR`, `STRONG`, `FAIR`, `WEAK`; at most what the source may claim.
    #[schema(value_type = Option<String>)]
    grade: Option<Grade>,
    /// `approved`, `declined`, `resubmit`, `pending`, `document_expired`, `error`.
    #[serde(default)]
    #[schema(value_type = String)]
    outcome: Outcome,
    /// Outcome codes: `face_match`, `face_mismatch`, `forged`, …
    #[serde(default)]
    #[validate(length(max = 32))]
    codes: BTreeSet<String>,
    /// The document examined.
    #[serde(default)]
    #[validate(nested)]
    document: Document,
    /// Who it belongs to.
    #[serde(default)]
    #[validate(nested)]
    person: Person,
    /// What was said: `{"type":"read"|"states"|"nationalities"|"employment", …}`.
    #[schema(value_type = Option<Object>)]
    statement: Option<Statement>,
    /// `registry_record`, `export_control_record`, `document_seen`, `i9`, `e_verify`, `hr_record`.
    #[schema(value_type = Option<String>)]
    basis: Option<Basis>,
    /// The source's own doubt, in (0, 1].
    doubt: Option<f64>,
    /// When the stated condition began, RFC 3339.
    #[schema(value_type = Option<String>)]
    fact_date: Option<Second>,
    /// When the source looked, RFC 3339; absent means now.
    #[schema(value_type = Option<String>)]
    pub(crate) checked_at: Option<Second>,
    /// When the statement ends, RFC 3339.
    #[schema(value_type = Option<String>)]
    ends_at: Option<Second>,
}

impl NewAttestation {
    /// As a use case takes it, under a delivery id.
    ///
    /// # Errors
    /// 422 naming the day that is none.
    pub(crate) fn submission(self, event: String) -> Result<Submission, Problem> {
        let day = |pointer: &str,
                   text: Option<String>,
                   read: fn(&str) -> Result<Second, vouchsafe_core::second::ParseSecondError>| {
            text.map(|text| read(&text).map_err(|_| Problem::invalid().field(pointer, "must be a day as YYYY-MM-DD")))
                .transpose()
        };
        let issued = day("/document/issued_on", self.document.issued_on, Second::start_of_date)?;
        let expires = day("/document/expires_on", self.document.expires_on, Second::end_of_date)?;
        day("/person/birth_date", self.person.birth_date.clone(), Second::start_of_date)?;
        Ok(Submission {
            source: self.source,
            event,
            lineage: self.check_id,
            kind: self.kind,
            grade: self.grade,
            outcome: self.outcome,
            codes: self.codes,
            document_type: self.document.kind,
            issuing_country: self.document.issuing_country,
            document_number: self.document.number,
            statement: self.statement,
            basis: self.basis,
            doubt: self.doubt,
            birth_date: self.person.birth_date,
            name: self.person.name,
            fact_date: self.fact_date.or(issued),
            checked_at: self.checked_at,
            ends_at: [self.ends_at, expires].into_iter().flatten().min(),
            simulated: false,
        })
    }
}

fn delivered(delivery: Delivery) -> Result<(StatusCode, Json<Value>), Problem> {
    match delivery {
        Delivery::Recorded(id) => Ok((StatusCode::CREATED, Json(json!({ "id": id, "result": "recorded" })))),
        Delivery::Duplicate(id) => Ok((StatusCode::OK, Json(json!({ "id": id, "result": "duplicate" })))),
        Delivery::Quarantined => Ok((StatusCode::ACCEPTED, Json(json!({ "result": "quarantined" })))),
        Delivery::Reopened => Ok((StatusCode::ACCEPTED, Json(json!({ "result": "reopened" })))),
        Delivery::Ignored => Ok((StatusCode::ACCEPTED, Json(json!({ "result": "ignored" })))),
        Delivery::Overtaken => {
            Err(Problem::new(StatusCode::CONFLICT, "overtaken", "a newer result of the same check stands"))
        }
    }
}

/// Records a statement of a source that the client may speak for.
#[utoipa::path(post, path = "/v1/subjects/{id}/attestations", tag = "evidence", params(("id" = String, Path), ("If-Match" = Option<String>, Header)), request_body = NewAttestation, security(("client" = ["attestations:write"])),
    responses((status = 201, description = "recorded"), (status = 200, description = "delivered before"), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem), (status = 412, body = Problem), (status = 413, body = Problem), (status = 415, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub async fn attest(
    State(edge): State<Edge>,
    Auth(caller): Auth,
    Path(id): Path<String>,
    expected: IfMatch,
    Checked(new): Checked<NewAttestation>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    caller.require("attestations:write")?;
    if !caller.sources.contains(&new.source) {
        return Err(ServiceError::Forbidden("source").into());
    }
    let event = match new.event_id.clone() {
        Some(event) => event,
        None => edge.app.fresh_event()?,
    };
    let submission = new.submission(event)?;
    let (actor, subject) = (caller.actor(), subject_id(&id)?);
    delivered(expecting(&subject, expected.0, edge.app.submit(&actor, &subject, submission)).await?)
}

/// Attestations about the subject, with what was said of them.
#[utoipa::path(get, path = "/v1/subjects/{id}/attestations", tag = "evidence", params(("id" = String, Path)), security(("client" = ["attestations:read"])),
    responses((status = 200, description = "the attestations"), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 503, body = Problem)))]
pub async fn list(
    State(edge): State<Edge>,
    Auth(caller): Auth,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    caller.require("attestations:read")?;
    let items = edge.app.attestations(&subject_id(&id)?).await?;
    Ok(Json(json!({ "items": items, "next_cursor": null })))
}

/// Why an attestation is taken back.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Revocation {
    /// Stable reason code of the caller.
    #[validate(length(min = 1, max = 64))]
    reason: String,
    /// As if it had never been said: forgery, a reopened check.
    #[serde(default)]
    from_start: bool,
}

/// Revokes an attestation of a source that the client may speak for.
#[utoipa::path(post, path = "/v1/attestations/{id}/revoke", tag = "evidence", params(("id" = String, Path)), request_body = Revocation, security(("client" = ["attestations:write"])),
    responses((status = 204, description = "revoked"), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 413, body = Problem), (status = 415, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub async fn revoke(
    State(edge): State<Edge>,
    Auth(caller): Auth,
    Path(id): Path<String>,
    Checked(body): Checked<Revocation>,
) -> Result<StatusCode, Problem> {
    caller.require("attestations:write")?;
    edge.app.revoke_as(&caller, &id, &body.reason, body.from_start).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A vouch: signed, or of the organisation's own client.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewVouch {
    /// A `vouch+jwt`; then nothing else is given.
    #[validate(length(min = 1, max = 16384))]
    vouch: Option<String>,
    /// Our subject id, or a link as `namespace:id`.
    subject: Option<String>,
    /// `{"type":"employment", …}` or `{"type":"states", …}`.
    #[schema(value_type = Option<Object>)]
    statement: Option<Statement>,
    /// What it rests on.
    #[schema(value_type = Option<String>)]
    basis: Option<Basis>,
    /// When the stated condition began.
    #[schema(value_type = Option<String>)]
    fact_date: Option<Second>,
    /// When the vouch ends.
    #[schema(value_type = Option<String>)]
    ends_at: Option<Second>,
    /// The organisation's own delivery id.
    #[validate(length(min = 1, max = 200))]
    event_id: Option<String>,
}

/// Records an employer's vouch.
#[utoipa::path(post, path = "/v1/vouches", tag = "evidence", request_body = NewVouch, security(("client" = ["vouches:write"])),
    responses((status = 201, description = "recorded"), (status = 200, description = "delivered before"), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem), (status = 413, body = Problem), (status = 415, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub async fn vouch(
    State(edge): State<Edge>,
    Auth(caller): Auth,
    Checked(new): Checked<NewVouch>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    caller.require("vouches:write")?;
    match (new.vouch, new.subject, new.statement) {
        (Some(token), None, None) => {
            let (delivery, _) = edge.app.vouch_signed(&token).await?;
            delivered(delivery)
        }
        (None, Some(subject), Some(statement)) => {
            let vouch = PlainVouch {
                statement,
                basis: new.basis,
                fact_date: new.fact_date,
                ends_at: new.ends_at,
                event: new.event_id,
            };
            let unknown = || Problem::from(ServiceError::NotFound("subject"));
            let organisation = caller.organisation.as_deref().ok_or(ServiceError::Forbidden("organisation"))?;
            let subject = parse_subject(&subject).ok_or_else(unknown)?;
            let subject = edge.app.vouched_subject(organisation, &subject).await?;
            delivered(edge.app.vouch_plain(&caller, &subject, vouch).await?)
        }
        _ => Err(Problem::invalid().field("", "give `vouch` alone, or `subject` and `statement`")),
    }
}

/// Withdraws a vouch of the caller's organisation.
#[utoipa::path(post, path = "/v1/vouches/{id}/withdraw", tag = "evidence", params(("id" = String, Path)), security(("client" = ["vouches:write"])),
    responses((status = 204, description = "withdrawn"), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 503, body = Problem)))]
pub async fn withdraw(
    State(edge): State<Edge>,
    Auth(caller): Auth,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    caller.require("vouches:write")?;
    edge.app.withdraw_vouch(&caller, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A client address seen for a subject.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewObservation {
    /// Our subject id.
    subject: String,
    /// IPv4 or IPv6 address; not kept.
    #[validate(length(min = 2, max = 45))]
    address: String,
}

/// Records where an address leaves its network.
#[utoipa::path(post, path = "/v1/observations", tag = "evidence", request_body = NewObservation, security(("client" = ["observations:write"])),
    responses((status = 201, description = "recorded"), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 413, body = Problem), (status = 415, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub async fn observe(
    State(edge): State<Edge>,
    Auth(caller): Auth,
    Checked(new): Checked<NewObservation>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    caller.require("observations:write")?;
    let address = new.address.parse().map_err(|_| Problem::invalid().field("/address", "is not an IP address"))?;
    delivered(edge.app.observe(&caller.actor(), &subject_id(&new.subject)?, address).await?)
}

/// A vendor's webhook: raw bytes and the vendor's own signature.
#[utoipa::path(post, path = "/v1/intake/{source}", tag = "evidence", params(("source" = String, Path)),
    request_body(content = String, content_type = "application/json"),
    responses((status = 202, description = "taken"), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem), (status = 413, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub async fn webhook(
    State(edge): State<Edge>,
    Path(source): Path<String>,
    headers: HeaderMap,
    Raw(body): Raw,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let results: Vec<Value> = edge
        .app
        .webhook(&source, &headers, &body)
        .await?
        .into_iter()
        .map(|delivery| match delivery {
            Delivery::Recorded(id) => json!({ "result": "recorded", "id": id }),
            Delivery::Duplicate(id) => json!({ "result": "duplicate", "id": id }),
            Delivery::Quarantined => json!({ "result": "quarantined" }),
            Delivery::Overtaken => json!({ "result": "overtaken" }),
            Delivery::Reopened => json!({ "result": "reopened" }),
            Delivery::Ignored => json!({ "result": "ignored" }),
        })
        .collect();
    Ok((StatusCode::ACCEPTED, Json(json!({ "deliveries": results }))))
}
