//! Appeals: the subject's side asks for another look.

use super::Edge;
use super::cases::Asked;
use super::conditional::{IfMatch, at_version};
use super::extract::{Auth, Checked, Query};
use super::problem::Problem;
use super::subjects::subject_id;
use crate::service::appeals::Verdict;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;
use validator::Validate;
use vouchsafe_core::ids::ResourceId;

/// An appeal of the subject's side.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewAppeal {
    /// Who appeals.
    #[validate(length(min = 1, max = 80))]
    #[schema(min_length = 1, max_length = 80)]
    subject: String,
    /// The resource that was refused.
    #[validate(length(min = 1, max = 128))]
    #[schema(min_length = 1, max_length = 128)]
    resource: String,
    /// Why, in the subject's own words; sealed under the subject's key, gone with it.
    #[validate(length(min = 1, max = 4000))]
    #[schema(min_length = 1, max_length = 4000, pattern = r"\S")]
    text: String,
}

/// The answer to an appeal.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// `upheld`: the decision stands; `reconsider`: two others look at it anew, in a case.
    #[schema(value_type = String)]
    verdict: Verdict,
    /// `decision_stands`, `evidence_missing`, `rules_leave_no_choice`, `looked_at_anew`, `decided_anew`.
    #[validate(length(min = 1, max = 64))]
    #[schema(min_length = 1, max_length = 64)]
    reason: String,
}

/// Opens an appeal against the answer that the subject has for a resource now.
#[utoipa::path(post, path = "/v1/appeals", tag = "appeals", request_body = NewAppeal, security(("client" = ["appeals:write"])),
    responses((status = 201, description = "opened, and until when it is decided"), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem), (status = 410, body = Problem), (status = 413, body = Problem), (status = 415, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub async fn open(
    State(edge): State<Edge>,
    Auth(caller): Auth,
    Checked(new): Checked<NewAppeal>,
) -> Result<Response, Problem> {
    caller.require("appeals:write")?;
    let resource =
        ResourceId::parse(&new.resource).map_err(|error| Problem::invalid().field("/resource", error.to_string()))?;
    let subject = subject_id(&new.subject)?;
    let (version, appeal) = edge.app.open_appeal(&caller.actor(), &subject, &resource, &new.text).await?;
    let mut response = at_version(&HeaderMap::new(), version, &appeal);
    *response.status_mut() = StatusCode::CREATED;
    Ok(response.into_response())
}

/// Appeals, oldest first, without their words.
#[utoipa::path(get, path = "/v1/appeals", tag = "appeals", params(Asked), security(("client" = ["appeals:read"]), ("operator" = [])),
    responses((status = 200, description = "a page"), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub async fn list(
    State(edge): State<Edge>,
    Auth(caller): Auth,
    Query(asked): Query<Asked>,
) -> Result<Json<Value>, Problem> {
    caller.require("appeals:read")?;
    let page = asked.page();
    let queue = asked.queue(&page, &["open", "reconsidering", "decided"])?;
    let (items, next) = edge.app.list_appeals(&caller, queue).await?;
    Ok(Json(json!({ "items": items, "next_cursor": next })))
}

/// One appeal, its version as `ETag`; its words for operators alone.
#[utoipa::path(get, path = "/v1/appeals/{id}", tag = "appeals", params(("id" = String, Path), ("If-None-Match" = Option<String>, Header)), security(("client" = ["appeals:read"]), ("operator" = [])),
    responses((status = 200, description = "the appeal"), (status = 304, description = "as you have it"), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 503, body = Problem)))]
pub async fn show(
    State(edge): State<Edge>,
    Auth(caller): Auth,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    caller.require("appeals:read")?;
    let (version, appeal) = edge.app.show_appeal(&caller, &id).await?;
    Ok(at_version(&headers, version, &appeal))
}

/// Answers an appeal, by an operator who did not decide about the subject before.
#[utoipa::path(post, path = "/v1/appeals/{id}/answer", tag = "appeals", params(("id" = String, Path), ("If-Match" = Option<String>, Header)), request_body = Answer, security(("client" = ["cases:review"]), ("operator" = [])),
    responses((status = 200, description = "answered"), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem), (status = 412, body = Problem), (status = 413, body = Problem), (status = 415, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub async fn answer(
    State(edge): State<Edge>,
    Auth(caller): Auth,
    Path(id): Path<String>,
    expected: IfMatch,
    Checked(new): Checked<Answer>,
) -> Result<Response, Problem> {
    caller.require("cases:review")?;
    let (version, appeal) =
        edge.app.answer_appeal(&caller, &id, new.verdict, &new.reason, expected.0.as_deref()).await?;
    Ok(at_version(&HeaderMap::new(), version, &appeal))
}
