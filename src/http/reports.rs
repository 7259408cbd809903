//! `/v1/reports`: who knows of an order, and who was let in that should not have been.

use super::Edge;
use super::admissions::Wanted;
use super::extract::{Auth, Query};
use super::problem::Problem;
use crate::service::reports::{Exposure, GatewaysReport};
use axum::Json;
use axum::extract::State;

/// Which gateways acknowledged each freeze in force, whose time has passed, who is silent, and what nobody guards.
#[utoipa::path(get, path = "/v1/reports/gateways", tag = "gateway", security(("client" = ["admissions:read"]), ("operator" = [])),
    responses((status = 200, description = "the report"), (status = 401, body = Problem), (status = 403, body = Problem), (status = 503, body = Problem)))]
pub async fn gateways(State(edge): State<Edge>, Auth(caller): Auth) -> Result<Json<GatewaysReport>, Problem> {
    caller.require("admissions:read")?;
    Ok(Json(edge.app.report_gateways().await?))
}

/// Admissions that today's evidence would not have allowed. `limit` bounds the rows of the ledger that are looked at, so a page
/// may be empty and have a `next_cursor`.
#[utoipa::path(get, path = "/v1/reports/exposure", tag = "gateway", params(Wanted), security(("client" = ["admissions:read"]), ("operator" = [])),
    responses((status = 200, description = "a page"), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub async fn exposure(
    State(edge): State<Edge>,
    Auth(caller): Auth,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Exposure>, Problem> {
    caller.require("admissions:read")?;
    let page = wanted.page();
    let (limit, after) = page.bounds()?;
    Ok(Json(edge.app.report_exposure(&wanted.asked()?, after, limit).await?))
}
