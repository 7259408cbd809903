//! API clients.

use super::Edge;
use super::extract::{Auth, Checked, Page, Query};
use super::problem::Problem;
use super::rules::{records, shows};
use crate::service::clients;
use crate::service::world::Client;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use utoipa::ToSchema;
use validator::Validate;

/// An API client to create.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewClient {
    /// For people.
    #[validate(length(min = 1, max = 200))]
    #[schema(min_length = 1, max_length = 200)]
    name: String,
    /// The person who answers for it.
    #[validate(length(min = 1, max = 200))]
    #[schema(min_length = 1, max_length = 200)]
    owner: String,
    /// What it may do.
    scopes: BTreeSet<String>,
    /// Sources it may speak for.
    #[serde(default)]
    sources: BTreeSet<String>,
    /// The organisation it is.
    organisation: Option<String>,
    /// Audiences whose tokens it may introspect; none named: all.
    #[serde(default)]
    audiences: BTreeSet<String>,
    /// Public JWKs with `kid`: it proves itself by `private_key_jwt`, and gets no secret.
    #[serde(default)]
    #[validate(length(max = 8))]
    #[schema(value_type = Vec<Object>)]
    keys: Vec<Value>,
    /// Its assertions may name the token endpoint as their audience, instead of the issuer.
    #[serde(default)]
    endpoint_audience: bool,
    /// It gets access tokens that are bound to a key only (RFC 9449).
    #[serde(default)]
    dpop_bound_access_tokens: bool,
}

/// Keys of a client.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ClientKeys {
    /// Public JWKs with `kid`.
    #[validate(length(min = 1, max = 8))]
    #[schema(value_type = Vec<Object>, min_items = 1, max_items = 8)]
    keys: Vec<Value>,
}

/// Creates an API client; its secret, if it has no keys, is shown once.
#[utoipa::path(post, path = "/v1/clients", tag = "admin", request_body = NewClient, security(("client" = ["admin"])),
    responses((status = 201, description = "created"), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 409, body = Problem), (status = 413, body = Problem), (status = 415, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub async fn create(
    State(edge): State<Edge>,
    Auth(caller): Auth,
    Checked(new): Checked<NewClient>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    caller.require("admin")?;
    // One administrator who could make two approvers would be two people.
    if new.scopes.contains("directives:approve") {
        return Err(Problem::invalid().field(
            "/scopes",
            "`directives:approve` is given on the host only: `vouchsafe client create --scope directives:approve`",
        ));
    }
    let actor = caller.actor();
    let new = clients::NewClient {
        name: new.name,
        owner: new.owner,
        scopes: new.scopes,
        sources: new.sources,
        audiences: new.audiences,
        organisation: new.organisation,
        keys: new.keys,
        endpoint_audience: new.endpoint_audience,
        dpop_bound_access_tokens: new.dpop_bound_access_tokens,
    };
    let created = edge.app.register_client(&actor, new).await?;
    let mut body = json!({ "client_id": created.id });
    if let (Some(secret), Some(members)) = (created.secret, body.as_object_mut()) {
        members.insert("client_secret".to_owned(), json!(secret));
    }
    Ok((StatusCode::CREATED, Json(body)))
}

/// Gives a client other keys: those it had, or its secret, prove nothing from then on.
#[utoipa::path(put, path = "/v1/clients/{id}/keys", tag = "admin", params(("id" = String, Path)), request_body = ClientKeys, security(("client" = ["admin"])),
    responses((status = 200, description = "replaced"), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem), (status = 413, body = Problem), (status = 415, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub async fn replace_keys(
    State(edge): State<Edge>,
    Auth(caller): Auth,
    Path(id): Path<String>,
    Checked(new): Checked<ClientKeys>,
) -> Result<Json<Value>, Problem> {
    caller.require("admin")?;
    // Whoever gives an approver its keys approves in its place.
    let text = "a client with `directives:approve` gets its keys on the host only: `vouchsafe client keys`";
    no_approver(&edge, &id, "/keys", text)?;
    edge.app.replace_client_keys(&caller.actor(), &id, new.keys).await?;
    Ok(Json(json!({ "client_id": id })))
}

/// Refuses what would make somebody an approver who is none, for a client that is one.
fn no_approver(edge: &Edge, id: &str, pointer: &str, text: &str) -> Result<(), Problem> {
    let approves = |client: &Client| client.scopes.contains("directives:approve");
    match edge.app.world.load().clients.get(id) {
        Some(client) if approves(client) => Err(Problem::invalid().field(pointer, text)),
        _ => Ok(()),
    }
}

/// Gives a client another secret, shown once: the one before proves nothing from then on, and its access tokens end.
#[utoipa::path(post, path = "/v1/clients/{id}/secret", tag = "admin", params(("id" = String, Path)), security(("client" = ["admin"])),
    responses((status = 200, description = "renewed"), (status = 422, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem), (status = 503, body = Problem)))]
pub async fn renew_secret(
    State(edge): State<Edge>,
    Auth(caller): Auth,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    caller.require("admin")?;
    let text = "of a client with `directives:approve` this is done on the host only: `vouchsafe client secret`";
    no_approver(&edge, &id, "/id", text)?;
    let secret = edge.app.renew_client_secret(&caller.actor(), &id).await?;
    Ok(Json(json!({ "client_id": id, "client_secret": secret })))
}

/// Switches a client off, at once: nothing proves it any more, and its access tokens end.
#[utoipa::path(post, path = "/v1/clients/{id}/disable", tag = "admin", params(("id" = String, Path)), security(("client" = ["admin"])),
    responses((status = 204, description = "disabled"), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem), (status = 503, body = Problem)))]
pub async fn disable(
    State(edge): State<Edge>,
    Auth(caller): Auth,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    caller.require("admin")?;
    edge.app.disable_client(&caller.actor(), &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Switches a client on again, with the secret or keys that it had.
#[utoipa::path(post, path = "/v1/clients/{id}/enable", tag = "admin", params(("id" = String, Path)), security(("client" = ["admin"])),
    responses((status = 204, description = "enabled"), (status = 422, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem), (status = 503, body = Problem)))]
pub async fn enable(
    State(edge): State<Edge>,
    Auth(caller): Auth,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    caller.require("admin")?;
    let text = "of a client with `directives:approve` this is done on the host only: `vouchsafe client enable`";
    no_approver(&edge, &id, "/id", text)?;
    edge.app.enable_client(&caller.actor(), &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Clients.
#[utoipa::path(get, path = "/v1/clients", tag = "admin", params(Page), security(("client" = ["admin"])),
    responses((status = 200, description = "a page"), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub async fn list(
    State(edge): State<Edge>,
    Auth(caller): Auth,
    Query(page): Query<Page>,
) -> Result<Json<Value>, Problem> {
    caller.require("admin")?;
    records(&edge, "client", &page).await
}

shows! {
    show, "client", "/v1/clients/{id}", "admin", "admin", "One client, without its secret.";
}
