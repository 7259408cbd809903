//! `/v1/end-users`: the handles under which an organisation knows its own end users.

use super::Edge;
use super::extract::{Auth, Checked};
use super::problem::Problem;
use crate::service::ServiceError;
use crate::service::authenticate::Caller;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;
use validator::Validate;

/// An end user of the caller's organisation.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewEndUser {
    /// The organisation's own name for them, a pseudonym: visible ASCII.
    #[validate(length(min = 1, max = 128))]
    #[schema(min_length = 1, max_length = 128, pattern = "^[!-~]+$")]
    handle: String,
}

fn organisation(caller: &Caller) -> Result<&str, Problem> {
    caller.require("end_users:write")?;
    Ok(caller.organisation.as_deref().ok_or(ServiceError::Forbidden("organisation"))?)
}

/// Makes a person known under a handle of the caller's organisation, who is nobody else's and of whom nothing is known yet.
#[utoipa::path(post, path = "/v1/end-users", tag = "subjects", request_body = NewEndUser, security(("client" = ["end_users:write"])),
    responses((status = 201, description = "registered"), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem), (status = 413, body = Problem), (status = 415, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub async fn register(
    State(edge): State<Edge>,
    Auth(caller): Auth,
    Checked(new): Checked<NewEndUser>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    edge.app.register_end_user(&caller.actor(), organisation(&caller)?, &new.handle).await?;
    Ok((StatusCode::CREATED, Json(json!({ "handle": new.handle }))))
}

/// Takes a handle of the caller's organisation away; tokens that were made by it end.
#[utoipa::path(delete, path = "/v1/end-users/{handle}", tag = "subjects", params(("handle" = String, Path)), security(("client" = ["end_users:write"])),
    responses((status = 204, description = "removed"), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 503, body = Problem)))]
pub async fn remove(
    State(edge): State<Edge>,
    Auth(caller): Auth,
    Path(handle): Path<String>,
) -> Result<StatusCode, Problem> {
    edge.app.remove_end_user(&caller.actor(), organisation(&caller)?, &handle).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The subject behind a handle of an organisation, for the provider's own clients.
#[utoipa::path(get, path = "/v1/organisations/{id}/end-users/{handle}", tag = "subjects", params(("id" = String, Path), ("handle" = String, Path)), security(("client" = ["subjects:read"])),
    responses((status = 200, description = "the subject"), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 503, body = Problem)))]
pub async fn show(
    State(edge): State<Edge>,
    Auth(caller): Auth,
    Path((id, handle)): Path<(String, String)>,
) -> Result<Json<Value>, Problem> {
    caller.require("subjects:read")?;
    // SECURITY: an organisation's client would learn by our id that another organisation serves the same person.
    if caller.organisation.is_some() {
        return Err(ServiceError::NotFound("end user").into());
    }
    let subject = edge.app.registered_end_user(&id, &handle).await?;
    Ok(Json(json!({ "handle": handle, "subject": subject })))
}
