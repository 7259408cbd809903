//! Cases: what a person has to look at, and how it ends.

use super::Edge;
use super::conditional::{IfMatch, at_version};
use super::extract::{Auth, Checked, Page, Query};
use super::problem::Problem;
use crate::service::cases::{Finding, NewProposal as Wanted, Queue};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use utoipa::ToSchema;
use validator::Validate;

/// Which cases or appeals.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Asked {
    /// Of cases `open` or `closed`; of appeals `open`, `reconsidering` or `decided`.
    pub(super) state: Option<String>,
    /// Only those about this subject.
    pub(super) subject: Option<String>,
    /// At most this many, 1 to 200.
    pub(super) limit: Option<i64>,
    /// From the page before.
    pub(super) cursor: Option<String>,
}

impl Asked {
    /// The question, its bounds checked.
    pub(super) fn queue<'a>(&'a self, page: &'a Page, states: &[&str]) -> Result<Queue<'a>, Problem> {
        let (limit, after) = page.bounds()?;
        let state = self.state.as_deref().unwrap_or("");
        if !state.is_empty() && !states.contains(&state) {
            return Err(Problem::invalid().field("/state", format!("choose from {}", states.join(", "))));
        }
        Ok(Queue { state, subject: self.subject.as_deref().unwrap_or(""), after, limit })
    }

    /// The page of it.
    pub(super) fn page(&self) -> Page {
        Page { limit: self.limit, cursor: self.cursor.clone() }
    }
}

/// Who looks at a case.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Assignment {
    /// `opr_…`; null for nobody.
    #[validate(length(min = 1, max = 80))]
    operator: Option<String>,
}

/// Words about a case.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Comment {
    /// What there is to say; sealed under the subject's key, gone with it.
    #[validate(length(min = 1, max = 4000))]
    #[schema(min_length = 1, max_length = 4000, pattern = r"\S")]
    text: String,
}

/// How a case should end. Without `resolves` and `finding`, everything stays as it is.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewProposal {
    /// Stable reason code.
    #[validate(length(min = 1, max = 64))]
    #[schema(min_length = 1, max_length = 64, pattern = "^[a-z0-9_.-]+$")]
    reason: String,
    /// The reason in words.
    #[validate(length(min = 1, max = 4000))]
    text: Option<String>,
    /// Attestations that are settled; the same finding of the same lineage is settled too when it is delivered again.
    #[serde(default)]
    #[validate(length(max = 100))]
    resolves: BTreeSet<String>,
    /// What was found out: `{"statement": {"type": "states", …}, "grade": "STRONG", "basis"?, "fact_date"?, "ends_at"?}`.
    #[schema(value_type = Option<Object>)]
    finding: Option<Finding>,
}

/// Agreement with a proposal.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Confirmation {
    /// Why, in words.
    #[validate(length(min = 1, max = 4000))]
    text: Option<String>,
}

/// Why a proposal is refused, or taken back.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Rejection {
    /// Stable reason code.
    #[validate(length(min = 1, max = 64))]
    #[schema(min_length = 1, max_length = 64, pattern = "^[a-z0-9_.-]+$")]
    reason: String,
    /// Why, in words.
    #[validate(length(min = 1, max = 4000))]
    text: Option<String>,
}

/// Cases, oldest first; an operator does not see their own.
#[utoipa::path(get, path = "/v1/cases", tag = "cases", params(Asked), security(("client" = ["cases:read"]), ("operator" = [])),
    responses((status = 200, description = "a page"), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub async fn list(
    State(edge): State<Edge>,
    Auth(caller): Auth,
    Query(asked): Query<Asked>,
) -> Result<Json<Value>, Problem> {
    caller.require("cases:read")?;
    let page = asked.page();
    let (items, next) = edge.app.list_cases(&caller, asked.queue(&page, &["open", "closed"])?).await?;
    Ok(Json(json!({ "items": items, "next_cursor": next })))
}

/// One case with what was said in it, its version as `ETag`.
#[utoipa::path(get, path = "/v1/cases/{id}", tag = "cases", params(("id" = String, Path), ("If-None-Match" = Option<String>, Header)), security(("client" = ["cases:read"]), ("operator" = [])),
    responses((status = 200, description = "the case"), (status = 304, description = "as you have it"), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 503, body = Problem)))]
pub async fn show(
    State(edge): State<Edge>,
    Auth(caller): Auth,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    caller.require("cases:read")?;
    let (version, case) = edge.app.show_case(&caller, &id).await?;
    Ok(at_version(&headers, version, &case))
}

/// What a case rests on: every statement with its lineage key, and how the question stands, piece by piece.
#[utoipa::path(get, path = "/v1/cases/{id}/evidence", tag = "cases", params(("id" = String, Path)), security(("client" = ["cases:read"]), ("operator" = [])),
    responses((status = 200, description = "attestations and decisions"), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 410, body = Problem), (status = 503, body = Problem)))]
pub async fn evidence(
    State(edge): State<Edge>,
    Auth(caller): Auth,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    caller.require("cases:read")?;
    let evidence = edge.app.case_evidence(&caller, &id).await?;
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(evidence)).into_response())
}

/// What identifies the subject of a case; for operators who review, and recorded in the audit log.
#[utoipa::path(get, path = "/v1/cases/{id}/identifiers", tag = "cases", params(("id" = String, Path)), security(("client" = ["cases:identify"]), ("operator" = [])),
    responses((status = 200, description = "external id and links"), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 410, body = Problem), (status = 503, body = Problem)))]
pub async fn identifiers(
    State(edge): State<Edge>,
    Auth(caller): Auth,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    caller.require("cases:identify")?;
    let identifiers = edge.app.identify_case(&caller, &id).await?;
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(identifiers)).into_response())
}

/// Says who looks at a case.
#[utoipa::path(post, path = "/v1/cases/{id}/assign", tag = "cases", params(("id" = String, Path), ("If-Match" = Option<String>, Header)), request_body = Assignment, security(("client" = ["cases:review"]), ("operator" = [])),
    responses((status = 204, description = "assigned"), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem), (status = 412, body = Problem), (status = 413, body = Problem), (status = 415, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub async fn assign(
    State(edge): State<Edge>,
    Auth(caller): Auth,
    Path(id): Path<String>,
    expected: IfMatch,
    Checked(new): Checked<Assignment>,
) -> Result<StatusCode, Problem> {
    caller.require("cases:review")?;
    edge.app.assign_case(&caller, &id, new.operator.as_deref(), expected.0.as_deref()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Says something in a case.
#[utoipa::path(post, path = "/v1/cases/{id}/comments", tag = "cases", params(("id" = String, Path), ("If-Match" = Option<String>, Header)), request_body = Comment, security(("client" = ["cases:review"]), ("operator" = [])),
    responses((status = 201, description = "said"), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem), (status = 410, body = Problem), (status = 412, body = Problem), (status = 413, body = Problem), (status = 415, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub async fn comment(
    State(edge): State<Edge>,
    Auth(caller): Auth,
    Path(id): Path<String>,
    expected: IfMatch,
    Checked(new): Checked<Comment>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    caller.require("cases:review")?;
    let entry = edge.app.comment_case(&caller, &id, &new.text, expected.0.as_deref()).await?;
    Ok((StatusCode::CREATED, Json(json!({ "id": entry }))))
}

/// Proposes how a case ends; a second operator confirms or rejects it.
#[utoipa::path(post, path = "/v1/cases/{id}/proposals", tag = "cases", params(("id" = String, Path), ("If-Match" = Option<String>, Header)), request_body = NewProposal, security(("client" = ["cases:review"]), ("operator" = [])),
    responses((status = 201, description = "proposed"), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem), (status = 410, body = Problem), (status = 412, body = Problem), (status = 413, body = Problem), (status = 415, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub async fn propose(
    State(edge): State<Edge>,
    Auth(caller): Auth,
    Path(id): Path<String>,
    expected: IfMatch,
    Checked(new): Checked<NewProposal>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    caller.require("cases:review")?;
    let wanted = Wanted { reason: new.reason, words: new.text, resolves: new.resolves, finding: new.finding };
    let proposal = edge.app.propose_in_case(&caller, &id, wanted, expected.0.as_deref()).await?;
    Ok((StatusCode::CREATED, Json(json!({ "id": proposal }))))
}

/// Confirms a proposal of another operator: the case is closed, and what it settles is settled.
#[utoipa::path(post, path = "/v1/cases/{id}/proposals/{proposal}/confirm", tag = "cases", params(("id" = String, Path), ("proposal" = String, Path), ("If-Match" = Option<String>, Header)), request_body = Confirmation, security(("client" = ["cases:review"]), ("operator" = [])),
    responses((status = 204, description = "adjudicated"), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem), (status = 410, body = Problem), (status = 412, body = Problem), (status = 413, body = Problem), (status = 415, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub async fn confirm(
    State(edge): State<Edge>,
    Auth(caller): Auth,
    Path((id, proposal)): Path<(String, String)>,
    expected: IfMatch,
    Checked(new): Checked<Confirmation>,
) -> Result<StatusCode, Problem> {
    caller.require("cases:review")?;
    edge.app.confirm_proposal(&caller, &id, &proposal, new.text.as_deref(), expected.0.as_deref()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Rejects a proposal, or takes one's own back; the case stays open.
#[utoipa::path(post, path = "/v1/cases/{id}/proposals/{proposal}/reject", tag = "cases", params(("id" = String, Path), ("proposal" = String, Path), ("If-Match" = Option<String>, Header)), request_body = Rejection, security(("client" = ["cases:review"]), ("operator" = [])),
    responses((status = 204, description = "rejected"), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem), (status = 410, body = Problem), (status = 412, body = Problem), (status = 413, body = Problem), (status = 415, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub async fn reject(
    State(edge): State<Edge>,
    Auth(caller): Auth,
    Path((id, proposal)): Path<(String, String)>,
    expected: IfMatch,
    Checked(new): Checked<Rejection>,
) -> Result<StatusCode, Problem> {
    caller.require("cases:review")?;
    let (words, versions) = (new.text.as_deref(), expected.0.as_deref());
    edge.app.reject_proposal(&caller, &id, &proposal, &new.reason, words, versions).await?;
    Ok(StatusCode::NO_CONTENT)
}
