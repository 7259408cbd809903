//! Suspending sources and organisations, and letting them speak again.

use super::Edge;
use super::conditional::at_version;
use super::extract::{Auth, Checked};
use super::problem::Problem;
use crate::service::authenticate::Caller;
use crate::service::suspend::Party;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Deserialize;
use utoipa::ToSchema;
use validator::Validate;
use vouchsafe_core::Second;

/// Why a party is suspended.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewSuspension {
    /// Stable reason code of the caller.
    #[validate(length(min = 1, max = 64))]
    #[schema(min_length = 1, max_length = 64)]
    reason: String,
    /// Only what was recorded at or after this instant is silenced, RFC 3339; absent means all it ever said.
    #[schema(value_type = Option<String>)]
    since: Option<Second>,
}

/// Why a party may speak again.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Reinstatement {
    /// Stable reason code of the caller.
    #[validate(length(min = 1, max = 64))]
    #[schema(min_length = 1, max_length = 64)]
    reason: String,
}

async fn suspend(
    edge: &Edge,
    caller: &Caller,
    party: Party,
    id: &str,
    new: NewSuspension,
) -> Result<Response, Problem> {
    caller.require("admin")?;
    let actor = caller.actor();
    let (version, body) = edge.app.suspend(&actor, party, id, &new.reason, new.since).await?;
    Ok(at_version(&HeaderMap::new(), version, &body))
}

async fn reinstate(
    edge: &Edge,
    caller: &Caller,
    party: Party,
    id: &str,
    new: Reinstatement,
) -> Result<Response, Problem> {
    caller.require("admin")?;
    let (version, body) = edge.app.reinstate(&caller.actor(), party, id, &new.reason).await?;
    Ok(at_version(&HeaderMap::new(), version, &body))
}

/// Suspends an organisation: from now on its vouches count for nobody, and none are taken from it.
#[utoipa::path(post, path = "/v1/organisations/{id}/suspend", tag = "admin", params(("id" = String, Path)), request_body = NewSuspension, security(("client" = ["admin"])),
    responses((status = 200, description = "suspended"), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem), (status = 413, body = Problem), (status = 415, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub async fn suspend_organisation(
    State(edge): State<Edge>,
    Auth(caller): Auth,
    Path(id): Path<String>,
    Checked(new): Checked<NewSuspension>,
) -> Result<Response, Problem> {
    suspend(&edge, &caller, Party::Organisation, &id, new).await
}

/// Lets an organisation vouch again; what it vouched before stays silent.
#[utoipa::path(post, path = "/v1/organisations/{id}/reinstate", tag = "admin", params(("id" = String, Path)), request_body = Reinstatement, security(("client" = ["admin"])),
    responses((status = 200, description = "reinstated"), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem), (status = 413, body = Problem), (status = 415, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub async fn reinstate_organisation(
    State(edge): State<Edge>,
    Auth(caller): Auth,
    Path(id): Path<String>,
    Checked(new): Checked<Reinstatement>,
) -> Result<Response, Problem> {
    reinstate(&edge, &caller, Party::Organisation, &id, new).await
}

/// Suspends a source: from now on its statements count for nobody, and none are taken from it.
#[utoipa::path(post, path = "/v1/sources/{id}/suspend", tag = "admin", params(("id" = String, Path)), request_body = NewSuspension, security(("client" = ["admin"])),
    responses((status = 200, description = "suspended"), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem), (status = 413, body = Problem), (status = 415, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub async fn suspend_source(
    State(edge): State<Edge>,
    Auth(caller): Auth,
    Path(id): Path<String>,
    Checked(new): Checked<NewSuspension>,
) -> Result<Response, Problem> {
    suspend(&edge, &caller, Party::Source, &id, new).await
}

/// Lets a source speak again; what it said before stays silent.
#[utoipa::path(post, path = "/v1/sources/{id}/reinstate", tag = "admin", params(("id" = String, Path)), request_body = Reinstatement, security(("client" = ["admin"])),
    responses((status = 200, description = "reinstated"), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem), (status = 413, body = Problem), (status = 415, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub async fn reinstate_source(
    State(edge): State<Edge>,
    Auth(caller): Auth,
    Path(id): Path<String>,
    Checked(new): Checked<Reinstatement>,
) -> Result<Response, Problem> {
    reinstate(&edge, &caller, Party::Source, &id, new).await
}
