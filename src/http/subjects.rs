//! `/v1/subjects`: subjects, links, vendor sessions.

use super::Edge;
use super::conditional::{IfMatch, at_version};
use super::extract::{Auth, Checked, Page, Query, page_body};
use super::problem::Problem;
use crate::service::idempotency::expecting;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;
use validator::Validate;
use vouchsafe_core::ids::SubjectId;

/// The subject in a path: anything that is no id of ours is simply not found.
pub(crate) fn subject_id(text: &str) -> Result<SubjectId, Problem> {
    SubjectId::parse(text)
        .map_err(|_| Problem::new(StatusCode::NOT_FOUND, "not_found", "not found").detail("no such subject"))
}

/// A new subject.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewSubject {
    /// `person`, `organisation` or `workload`.
    #[schema(pattern = "^(person|organisation|workload)$")]
    pub(crate) kind: String,
    /// The caller's own id; unique.
    #[validate(length(min = 1, max = 200))]
    #[schema(min_length = 1, max_length = 200)]
    pub(crate) external_id: Option<String>,
}

/// Creates a subject.
#[utoipa::path(post, path = "/v1/subjects", tag = "subjects", request_body = NewSubject, security(("client" = ["subjects:write"])),
    responses((status = 201, description = "created"), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 409, body = Problem), (status = 413, body = Problem), (status = 415, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub async fn create(
    State(edge): State<Edge>,
    Auth(caller): Auth,
    Checked(new): Checked<NewSubject>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    caller.require("subjects:write")?;
    let subject = edge.app.create_subject(&caller.actor(), &new.kind, new.external_id.as_deref()).await?;
    Ok((StatusCode::CREATED, Json(json!(subject))))
}

/// Who stands behind a workload.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Behind {
    /// The organisation that owns it, `org_…` or `sub_…`.
    #[validate(length(min = 1, max = 80))]
    #[schema(min_length = 1, max_length = 80)]
    owner: String,
    /// The person who answers for it, `sub_…`.
    #[validate(length(min = 1, max = 80))]
    #[schema(min_length = 1, max_length = 80)]
    responsible: String,
}

/// Says who stands behind a workload: its answers are never better than theirs. What was said before is superseded.
#[utoipa::path(put, path = "/v1/subjects/{id}/behind", tag = "subjects", params(("id" = String, Path)), request_body = Behind, security(("client" = ["subjects:write"])),
    responses((status = 200, description = "recorded, as an attestation of this service"), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem), (status = 410, body = Problem), (status = 413, body = Problem), (status = 415, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub async fn behind(
    State(edge): State<Edge>,
    Auth(caller): Auth,
    Path(id): Path<String>,
    Checked(new): Checked<Behind>,
) -> Result<Json<Value>, Problem> {
    caller.require("subjects:write")?;
    let unknown = |pointer: &str, problem: &str| Problem::invalid().field(pointer, problem);
    let owner = edge
        .app
        .organisation_subject(&new.owner)
        .map_err(|_| unknown("/owner", "names no organisation: give `org_…` or `sub_…`"))?;
    let responsible =
        SubjectId::parse(&new.responsible).map_err(|_| unknown("/responsible", "names no person: give `sub_…`"))?;
    let attestation = edge.app.stand_behind(&caller.actor(), &subject_id(&id)?, &owner, &responsible).await?;
    Ok(Json(json!({ "attestation": attestation, "owner": owner, "responsible": responsible })))
}

/// Which subjects.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Find {
    /// Only the one with this external id.
    external_id: Option<String>,
    /// At most this many, 1 to 200.
    limit: Option<i64>,
    /// From the page before.
    cursor: Option<String>,
}

/// Lists subjects, or finds one by external id.
#[utoipa::path(get, path = "/v1/subjects", tag = "subjects", params(Find), security(("client" = ["subjects:read"])),
    responses((status = 200, description = "a page"), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub async fn list(
    State(edge): State<Edge>,
    Auth(caller): Auth,
    Query(find): Query<Find>,
) -> Result<Json<Value>, Problem> {
    caller.require("subjects:read")?;
    if let Some(external_id) = &find.external_id {
        let subject = edge.app.subject_by_external(external_id).await?;
        return Ok(Json(json!({ "items": [subject], "next_cursor": null })));
    }
    let page = Page { limit: find.limit, cursor: find.cursor };
    let (limit, after) = page.bounds()?;
    let items = edge.app.subjects(after, limit).await?;
    let last = items.last().map(|subject| subject.id.clone());
    Ok(page_body(&items, limit, last))
}

/// One subject.
#[utoipa::path(get, path = "/v1/subjects/{id}", tag = "subjects", params(("id" = String, Path), ("If-None-Match" = Option<String>, Header)), security(("client" = ["subjects:read"])),
    responses((status = 200, description = "the subject, its version as `ETag`"), (status = 304, description = "as you have it"), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 503, body = Problem)))]
pub async fn show(
    State(edge): State<Edge>,
    Auth(caller): Auth,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    caller.require("subjects:read")?;
    let subject = edge.app.subject(&subject_id(&id)?).await?;
    Ok(at_version(&headers, subject.version, &subject))
}

/// A caller's id for a subject.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewLink {
    /// For example `api-key`.
    #[validate(length(min = 1, max = 64))]
    #[schema(min_length = 1, max_length = 64)]
    pub(crate) namespace: String,
    /// The id in that namespace.
    #[validate(length(min = 1, max = 512))]
    #[schema(min_length = 1, max_length = 512)]
    pub(crate) id: String,
}

/// Links a caller's id to the subject.
#[utoipa::path(post, path = "/v1/subjects/{id}/links", tag = "subjects", params(("id" = String, Path), ("If-Match" = Option<String>, Header)), request_body = NewLink, security(("client" = ["subjects:write"])),
    responses((status = 201, description = "linked"), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem), (status = 413, body = Problem), (status = 415, body = Problem), (status = 422, body = Problem), (status = 412, body = Problem), (status = 503, body = Problem)))]
pub async fn link(
    State(edge): State<Edge>,
    Auth(caller): Auth,
    Path(id): Path<String>,
    expected: IfMatch,
    Checked(new): Checked<NewLink>,
) -> Result<StatusCode, Problem> {
    caller.require("subjects:write")?;
    let (actor, subject) = (caller.actor(), subject_id(&id)?);
    expecting(&subject, expected.0, edge.app.link(&actor, &subject, &new.namespace, &new.id)).await?;
    Ok(StatusCode::CREATED)
}

/// Links of the subject.
#[utoipa::path(get, path = "/v1/subjects/{id}/links", tag = "subjects", params(("id" = String, Path)), security(("client" = ["subjects:read"])),
    responses((status = 200, description = "the links"), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 503, body = Problem)))]
pub async fn links(
    State(edge): State<Edge>,
    Auth(caller): Auth,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    caller.require("subjects:read")?;
    let links = edge.app.links(&subject_id(&id)?).await?;
    let items: Vec<Value> =
        links.into_iter().map(|(namespace, id)| json!({ "namespace": namespace, "id": id })).collect();
    Ok(Json(json!({ "items": items, "next_cursor": null })))
}

/// Removes a link.
#[utoipa::path(delete, path = "/v1/subjects/{id}/links/{namespace}/{link}", tag = "subjects", params(("id" = String, Path), ("namespace" = String, Path), ("link" = String, Path), ("If-Match" = Option<String>, Header)), security(("client" = ["subjects:write"])),
    responses((status = 204, description = "removed"), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 412, body = Problem), (status = 503, body = Problem)))]
pub async fn unlink(
    State(edge): State<Edge>,
    Auth(caller): Auth,
    Path((id, namespace, link)): Path<(String, String, String)>,
    expected: IfMatch,
) -> Result<StatusCode, Problem> {
    caller.require("subjects:write")?;
    let (actor, subject) = (caller.actor(), subject_id(&id)?);
    expecting(&subject, expected.0, edge.app.unlink(&actor, &subject, &namespace, &link)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A vendor session of the subject.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewSession {
    /// Source id.
    #[validate(length(min = 1, max = 80))]
    #[schema(min_length = 1, max_length = 80)]
    pub(crate) source: String,
    /// The vendor's session id: for Onfido the applicant's, for Stripe the verification session's (`vs_…`), as its API
    /// answered when it was created. What a person's browser can name, such as a reference, binds nothing.
    #[validate(length(min = 1, max = 200))]
    #[schema(min_length = 1, max_length = 200)]
    pub(crate) session: String,
}

/// Binds a vendor session to the subject; what was quarantined for it is attached.
#[utoipa::path(post, path = "/v1/subjects/{id}/sessions", tag = "subjects", params(("id" = String, Path), ("If-Match" = Option<String>, Header)), request_body = NewSession, security(("client" = ["subjects:write"])),
    responses((status = 201, description = "bound"), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem), (status = 413, body = Problem), (status = 415, body = Problem), (status = 422, body = Problem), (status = 412, body = Problem), (status = 503, body = Problem)))]
pub async fn bind_session(
    State(edge): State<Edge>,
    Auth(caller): Auth,
    Path(id): Path<String>,
    expected: IfMatch,
    Checked(new): Checked<NewSession>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    caller.require("subjects:write")?;
    let (actor, subject) = (caller.actor(), subject_id(&id)?);
    let attached =
        expecting(&subject, expected.0, edge.app.bind_session(&actor, &subject, &new.source, &new.session)).await?;
    Ok((StatusCode::CREATED, Json(json!({ "attached": attached }))))
}
