//! What a person may ask of what is held about them: their export, their erasure; and the legal hold that forbids it.

use super::Edge;
use super::conditional::IfMatch;
use super::extract::{Auth, Checked};
use super::problem::Problem;
use super::subjects::subject_id;
use crate::service::erase::HoldView;
use crate::service::idempotency::expecting;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;
use validator::Validate;

/// Erases the subject: its key, identifiers and links are destroyed, its tokens revoked. What identifies nobody is
/// kept for auditors until `kept_until`.
#[utoipa::path(delete, path = "/v1/subjects/{id}", tag = "subjects", params(("id" = String, Path), ("If-Match" = Option<String>, Header)), security(("client" = ["subjects:erase"])),
    responses((status = 200, description = "erased, and until when the rest is kept"), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem), (status = 410, body = Problem), (status = 412, body = Problem), (status = 503, body = Problem)))]
pub async fn erase(
    State(edge): State<Edge>,
    Auth(caller): Auth,
    Path(id): Path<String>,
    expected: IfMatch,
) -> Result<Json<Value>, Problem> {
    caller.require("subjects:erase")?;
    let (actor, subject) = (caller.actor(), subject_id(&id)?);
    let erased = expecting(&subject, expected.0, edge.app.erase_subject(&actor, &subject, "requested")).await?;
    Ok(Json(json!(erased)))
}

/// Everything held about the subject, for the person; recorded in the audit log.
#[utoipa::path(get, path = "/v1/subjects/{id}/export", tag = "subjects", params(("id" = String, Path)), security(("client" = ["subjects:export"])),
    responses((status = 200, description = "identifiers, links, sessions, evidence, decisions, tokens"), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 410, body = Problem), (status = 503, body = Problem)))]
pub async fn export(
    State(edge): State<Edge>,
    Auth(caller): Auth,
    Path(id): Path<String>,
) -> Result<impl IntoResponse, Problem> {
    caller.require("subjects:export")?;
    let export = edge.app.export_subject(&caller.actor(), &subject_id(&id)?).await?;
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(export)))
}

/// A legal hold wanted.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewHold {
    /// Why, for example the citation of an order; names nobody.
    #[validate(length(min = 1, max = 200))]
    #[schema(min_length = 1, max_length = 200, pattern = r"\S")]
    reason: String,
}

/// Places a legal hold: until it is lifted, the subject is not erased, nor what is left of an erased one purged.
#[utoipa::path(put, path = "/v1/subjects/{id}/hold", tag = "subjects", params(("id" = String, Path), ("If-Match" = Option<String>, Header)), request_body = NewHold, security(("client" = ["subjects:hold"])),
    responses((status = 200, description = "placed"), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem), (status = 412, body = Problem), (status = 413, body = Problem), (status = 415, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub async fn place_hold(
    State(edge): State<Edge>,
    Auth(caller): Auth,
    Path(id): Path<String>,
    expected: IfMatch,
    Checked(new): Checked<NewHold>,
) -> Result<Json<HoldView>, Problem> {
    caller.require("subjects:hold")?;
    let (actor, subject) = (caller.actor(), subject_id(&id)?);
    let placed = edge.app.place_hold(&actor, &subject, &new.reason);
    Ok(Json(expecting(&subject, expected.0, placed).await?))
}

/// The legal hold on the subject.
#[utoipa::path(get, path = "/v1/subjects/{id}/hold", tag = "subjects", params(("id" = String, Path)), security(("client" = ["subjects:hold"])),
    responses((status = 200, description = "the hold"), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 503, body = Problem)))]
pub async fn show_hold(
    State(edge): State<Edge>,
    Auth(caller): Auth,
    Path(id): Path<String>,
) -> Result<Json<HoldView>, Problem> {
    caller.require("subjects:hold")?;
    Ok(Json(edge.app.hold(&subject_id(&id)?).await?))
}

/// Lifts the legal hold.
#[utoipa::path(delete, path = "/v1/subjects/{id}/hold", tag = "subjects", params(("id" = String, Path), ("If-Match" = Option<String>, Header)), security(("client" = ["subjects:hold"])),
    responses((status = 204, description = "lifted"), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 412, body = Problem), (status = 503, body = Problem)))]
pub async fn lift_hold(
    State(edge): State<Edge>,
    Auth(caller): Auth,
    Path(id): Path<String>,
    expected: IfMatch,
) -> Result<StatusCode, Problem> {
    caller.require("subjects:hold")?;
    let (actor, subject) = (caller.actor(), subject_id(&id)?);
    expecting(&subject, expected.0, edge.app.lift_hold(&actor, &subject)).await?;
    Ok(StatusCode::NO_CONTENT)
}
