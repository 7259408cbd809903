//! Operators: signing in and out, and who there is.

use super::Edge;
use super::conditional::at_version;
use super::extract::{Auth, Checked, Page, Query};
use super::gateway::address;
use super::limits::site;
use super::problem::Problem;
use super::rules::records;
use crate::service::operators::{Maker, NewOperator as Wanted, Role};
use axum::Json;
use axum::extract::{ConnectInfo, Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use utoipa::ToSchema;
use validator::Validate;

/// An operator to make.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewOperator {
    /// The name to sign in with; never used again for anybody else.
    #[validate(length(min = 1, max = 64))]
    #[schema(min_length = 1, max_length = 64)]
    login: String,
    /// The person's name.
    #[validate(length(min = 1, max = 200))]
    #[schema(min_length = 1, max_length = 200)]
    name: String,
    /// `reviewer`, `auditor`, `admin`; `compliance` is given at the machine only.
    #[schema(value_type = Vec<String>)]
    roles: BTreeSet<Role>,
    /// Who they are as a subject, if they are one: nobody looks at their own case.
    #[validate(length(min = 1, max = 80))]
    subject: Option<String>,
}

/// A name and a password.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SignIn {
    /// The name to sign in with.
    #[validate(length(min = 1, max = 80))]
    #[schema(min_length = 1, max_length = 80)]
    login: String,
    /// The password.
    #[validate(length(min = 1, max = 256))]
    #[schema(min_length = 1, max_length = 256)]
    password: String,
}

/// A new password in the place of the old one.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewPassword {
    /// The one that holds.
    #[validate(length(min = 1, max = 256))]
    #[schema(min_length = 1, max_length = 256)]
    password: String,
    /// At least 15 characters, of which 6 are different.
    #[validate(length(min = 1, max = 256))]
    #[schema(min_length = 15, max_length = 256)]
    new_password: String,
}

fn site_of(edge: &Edge, headers: &HeaderMap, peer: SocketAddr) -> u64 {
    site(address(headers, peer.ip(), &edge.trusted_proxies).unwrap_or(peer.ip()))
}

/// Makes an operator; the password is shown once and has to be changed at the first sign-in.
#[utoipa::path(post, path = "/v1/operators", tag = "operators", request_body = NewOperator, security(("client" = ["admin"]), ("operator" = [])),
    responses((status = 201, description = "made"), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 409, body = Problem), (status = 413, body = Problem), (status = 415, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub async fn create(
    State(edge): State<Edge>,
    Auth(caller): Auth,
    Checked(new): Checked<NewOperator>,
) -> Result<Response, Problem> {
    caller.require("admin")?;
    // One administrator who could make two approvers would be two people.
    if new.roles.contains(&Role::Compliance) {
        return Err(Problem::invalid()
            .field("/roles", "`compliance` is given on the host only: `vouchsafe operator create --role compliance`"));
    }
    let wanted = Wanted { login: new.login, name: new.name, roles: new.roles, subject: new.subject };
    let created = edge.app.create_operator(&Maker::Caller(&caller), wanted).await?;
    let body = json!({ "id": created.id, "password": created.password });
    Ok((StatusCode::CREATED, [(header::CACHE_CONTROL, "no-store")], Json(body)).into_response())
}

/// Operators, without their passwords.
#[utoipa::path(get, path = "/v1/operators", tag = "operators", params(Page), security(("client" = ["admin"]), ("operator" = [])),
    responses((status = 200, description = "a page"), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub async fn list(
    State(edge): State<Edge>,
    Auth(caller): Auth,
    Query(page): Query<Page>,
) -> Result<Json<Value>, Problem> {
    caller.require("admin")?;
    records(&edge, "operator", &page).await
}

/// One operator, without the password.
#[utoipa::path(get, path = "/v1/operators/{id}", tag = "operators", params(("id" = String, Path), ("If-None-Match" = Option<String>, Header)), security(("client" = ["admin"]), ("operator" = [])),
    responses((status = 200, description = "the operator"), (status = 304, description = "you have it"), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 503, body = Problem)))]
pub async fn show(
    State(edge): State<Edge>,
    Auth(caller): Auth,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    caller.require("admin")?;
    let (version, body) = edge.app.show("operator", &id).await?;
    Ok(at_version(&headers, version, &body))
}

/// Switches an operator off; every sign-in ends at once. `vouchsafe operator reset` switches them on again.
#[utoipa::path(post, path = "/v1/operators/{id}/disable", tag = "operators", params(("id" = String, Path)), security(("client" = ["admin"]), ("operator" = [])),
    responses((status = 204, description = "disabled"), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem), (status = 503, body = Problem)))]
pub async fn disable(
    State(edge): State<Edge>,
    Auth(caller): Auth,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    caller.require("admin")?;
    edge.app.disable_operator(&caller.actor(), &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Signs an operator in: an opaque token for `Authorization: Bearer`, for 12 hours at most and 30 minutes without use.
#[utoipa::path(post, path = "/v1/operators/login", tag = "operators", request_body = SignIn,
    responses((status = 200, description = "signed in"), (status = 400, body = Problem), (status = 401, body = Problem), (status = 413, body = Problem), (status = 415, body = Problem), (status = 422, body = Problem), (status = 429, body = Problem), (status = 503, body = Problem)))]
pub async fn sign_in(
    State(edge): State<Edge>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    Checked(given): Checked<SignIn>,
) -> Result<Response, Problem> {
    let signed_in = edge.app.sign_in(&given.login, &given.password, site_of(&edge, &headers, peer)).await?;
    let body = json!({
        "token": signed_in.token, "operator": signed_in.operator, "scopes": signed_in.scopes,
        "password_change_required": signed_in.password_given, "ends_at": signed_in.ends_at,
    });
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(body)).into_response())
}

/// Ends this sign-in.
#[utoipa::path(post, path = "/v1/operators/logout", tag = "operators", security(("client" = []), ("operator" = [])),
    responses((status = 204, description = "signed out"), (status = 401, body = Problem), (status = 403, body = Problem), (status = 503, body = Problem)))]
pub async fn sign_out(State(edge): State<Edge>, Auth(caller): Auth) -> Result<StatusCode, Problem> {
    edge.app.sign_out(&caller).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Changes one's own password; every sign-in ends, this one too.
#[utoipa::path(post, path = "/v1/operators/password", tag = "operators", request_body = NewPassword, security(("client" = []), ("operator" = [])),
    responses((status = 204, description = "changed: sign in again"), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 409, body = Problem), (status = 413, body = Problem), (status = 415, body = Problem), (status = 422, body = Problem), (status = 429, body = Problem), (status = 503, body = Problem)))]
pub async fn change_password(
    State(edge): State<Edge>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Auth(caller): Auth,
    headers: HeaderMap,
    Checked(given): Checked<NewPassword>,
) -> Result<StatusCode, Problem> {
    let site = site_of(&edge, &headers, peer);
    edge.app.change_password(&caller, site, &given.password, &given.new_password).await?;
    Ok(StatusCode::NO_CONTENT)
}
