//! Webhook endpoints: who is told by HTTP, what was sent to them, and sending it again.

use super::Edge;
use super::admin::patterns;
use super::conditional::IfMatch;
use super::extract::{Auth, Checked, Page, Query, page_body};
use super::problem::Problem;
use super::rules::{records, shows};
use crate::service::webhooks::{Admin, Again, SCOPE, Wanted};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use utoipa::ToSchema;
use validator::Validate;
use vouchsafe_core::Second;

/// An endpoint to register.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewEndpoint {
    /// For people.
    #[validate(length(min = 1, max = 200))]
    #[schema(min_length = 1, max_length = 200)]
    name: String,
    /// Where messages are posted: https and public, on port 443 unless others are configured.
    #[validate(length(min = 1, max = 500))]
    url: String,
    /// Which messages, such as `eligibility.changed`.
    #[validate(length(min = 1, max = 20))]
    topics: BTreeSet<String>,
    /// Only what concerns these resources and families; all if absent.
    #[serde(default)]
    #[validate(length(max = 100))]
    resources: Vec<String>,
    /// Whether it is told the caller's own id of a subject; takes `subjects:read` too.
    #[serde(default)]
    external_id: bool,
    /// Whether it is signed with Ed25519 (`v1a`) beside the secret.
    #[serde(default)]
    ed25519: bool,
}

/// What is to be changed of an endpoint; what is absent stays.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EndpointChange {
    /// For people.
    #[validate(length(min = 1, max = 200))]
    name: Option<String>,
    /// Where messages are posted.
    #[validate(length(min = 1, max = 500))]
    url: Option<String>,
    /// Which messages.
    #[validate(length(min = 1, max = 20))]
    topics: Option<BTreeSet<String>>,
    /// Only what concerns these resources and families; empty for all.
    #[validate(length(max = 100))]
    resources: Option<Vec<String>>,
    /// Whether it is told the caller's own id of a subject; takes `subjects:read` too.
    external_id: Option<bool>,
}

/// Which messages are to be sent again: one, or those of a time.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Replay {
    /// `out_…`; then nothing else is given.
    #[validate(length(min = 1, max = 80))]
    message: Option<String>,
    /// From when, such as `2026-11-22T08:00:00Z`.
    #[schema(value_type = Option<String>)]
    from: Option<Second>,
    /// Until before when.
    #[schema(value_type = Option<String>)]
    to: Option<Second>,
    /// Those that came through too; without it those that are dead or wait.
    #[serde(default)]
    delivered: bool,
}

/// Which deliveries.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct AskedLog {
    /// `pending`, `delivered` or `dead`.
    state: Option<String>,
    /// At most this many, 1 to 200.
    limit: Option<i64>,
    /// From the page before.
    cursor: Option<String>,
}

/// A secret is in no cache.
fn secret(status: StatusCode, body: Value) -> impl IntoResponse {
    (status, [(header::CACHE_CONTROL, "no-store")], Json(body))
}

/// Registers an endpoint; its secret is shown once.
#[utoipa::path(post, path = "/v1/webhook-endpoints", tag = "webhooks", request_body = NewEndpoint, security(("client" = ["webhooks"])),
    responses((status = 201, description = "created, with its secret"), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 409, body = Problem), (status = 413, body = Problem), (status = 415, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub async fn create(
    State(edge): State<Edge>,
    Auth(caller): Auth,
    Checked(new): Checked<NewEndpoint>,
) -> Result<impl IntoResponse, Problem> {
    caller.require(SCOPE)?;
    let wanted = Wanted {
        name: Some(new.name),
        url: Some(new.url),
        topics: Some(new.topics),
        resources: Some(patterns(&new.resources)?),
        external_id: Some(new.external_id),
    };
    let shown = edge.app.create_endpoint(Admin::Caller(&caller), wanted, new.ed25519).await?;
    Ok(secret(StatusCode::CREATED, json!(shown)))
}

/// Endpoints, without their secrets.
#[utoipa::path(get, path = "/v1/webhook-endpoints", tag = "webhooks", params(Page), security(("client" = ["webhooks"])),
    responses((status = 200, description = "a page"), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub async fn list(
    State(edge): State<Edge>,
    Auth(caller): Auth,
    Query(page): Query<Page>,
) -> Result<Json<Value>, Problem> {
    caller.require(SCOPE)?;
    records(&edge, "webhook_endpoint", &page).await
}

shows! {
    show, "webhook_endpoint", "/v1/webhook-endpoints/{id}", "webhooks", "webhooks", "One endpoint, without its secrets.";
}

/// Changes an endpoint; its secrets stay.
#[utoipa::path(patch, path = "/v1/webhook-endpoints/{id}", tag = "webhooks", params(("id" = String, Path), ("If-Match" = Option<String>, Header)), request_body = EndpointChange, security(("client" = ["webhooks"])),
    responses((status = 204, description = "changed"), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem), (status = 412, body = Problem), (status = 413, body = Problem), (status = 415, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub async fn change(
    State(edge): State<Edge>,
    Auth(caller): Auth,
    Path(id): Path<String>,
    expected: IfMatch,
    Checked(new): Checked<EndpointChange>,
) -> Result<StatusCode, Problem> {
    caller.require(SCOPE)?;
    let resources = new.resources.as_deref().map(patterns).transpose()?;
    let wanted = Wanted { name: new.name, url: new.url, topics: new.topics, resources, external_id: new.external_id };
    edge.app.change_endpoint(Admin::Caller(&caller), &id, wanted, expected.0.as_deref()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Deletes an endpoint, its secrets and the log of what was sent to it.
#[utoipa::path(delete, path = "/v1/webhook-endpoints/{id}", tag = "webhooks", params(("id" = String, Path), ("If-Match" = Option<String>, Header)), security(("client" = ["webhooks"])),
    responses((status = 204, description = "deleted"), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem), (status = 412, body = Problem), (status = 503, body = Problem)))]
pub async fn delete(
    State(edge): State<Edge>,
    Auth(caller): Auth,
    Path(id): Path<String>,
    expected: IfMatch,
) -> Result<StatusCode, Problem> {
    caller.require(SCOPE)?;
    edge.app.delete_endpoint(Admin::Caller(&caller), &id, expected.0.as_deref()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Gives an endpoint a new secret, shown once; the old one signs beside it for a time.
#[utoipa::path(post, path = "/v1/webhook-endpoints/{id}/rotate", tag = "webhooks", params(("id" = String, Path)), security(("client" = ["webhooks"])),
    responses((status = 200, description = "the new secret, and until when the old one signs"), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub async fn rotate(
    State(edge): State<Edge>,
    Auth(caller): Auth,
    Path(id): Path<String>,
) -> Result<impl IntoResponse, Problem> {
    caller.require(SCOPE)?;
    let shown = edge.app.rotate_endpoint(Admin::Caller(&caller), &id).await?;
    Ok(secret(StatusCode::OK, json!(shown)))
}

/// Sends a message of the type `webhook.test` now and says what came of it.
#[utoipa::path(post, path = "/v1/webhook-endpoints/{id}/test", tag = "webhooks", params(("id" = String, Path)), security(("client" = ["webhooks"])),
    responses((status = 200, description = "whether it came through, and how it was answered"), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub async fn test(
    State(edge): State<Edge>,
    Auth(caller): Auth,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    caller.require(SCOPE)?;
    Ok(Json(json!(edge.app.test_endpoint(Admin::Caller(&caller), &id).await?)))
}

/// What was and is to be sent to an endpoint, newest first.
#[utoipa::path(get, path = "/v1/webhook-endpoints/{id}/deliveries", tag = "webhooks", params(("id" = String, Path), AskedLog), security(("client" = ["webhooks"])),
    responses((status = 200, description = "a page, and how the endpoint answers"), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub async fn deliveries(
    State(edge): State<Edge>,
    Auth(caller): Auth,
    Path(id): Path<String>,
    Query(asked): Query<AskedLog>,
) -> Result<Json<Value>, Problem> {
    caller.require(SCOPE)?;
    let page = Page { limit: asked.limit, cursor: asked.cursor };
    let (limit, before) = page.bounds()?;
    let items = edge.app.endpoint_deliveries(&id, asked.state.as_deref().unwrap_or(""), before, limit).await?;
    let health = edge.app.endpoint_health(&id).await?;
    let last = items.last().map(|item| item.message.clone());
    let Json(mut body) = page_body(&items, limit, last);
    if let Some(members) = body.as_object_mut() {
        members.insert("failures".to_owned(), json!(health.failures));
        members.insert("failing_since".to_owned(), json!(health.failing_since_ms.map(Second::from_millis)));
    }
    Ok(Json(body))
}

/// Sends messages again: one, or those of a time.
#[utoipa::path(post, path = "/v1/webhook-endpoints/{id}/replay", tag = "webhooks", params(("id" = String, Path)), request_body = Replay, security(("client" = ["webhooks"])),
    responses((status = 200, description = "how many are sent again"), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem), (status = 413, body = Problem), (status = 415, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub async fn replay(
    State(edge): State<Edge>,
    Auth(caller): Auth,
    Path(id): Path<String>,
    Checked(wanted): Checked<Replay>,
) -> Result<Json<Value>, Problem> {
    caller.require(SCOPE)?;
    let again = match (wanted.message, wanted.from, wanted.to) {
        (Some(message), None, None) => Again::Message(message),
        (None, Some(from), Some(to)) => Again::Time { from, to, delivered: wanted.delivered },
        _ => return Err(Problem::invalid().field("", "give `message`, or `from` and `to`")),
    };
    let count = edge.app.replay_messages(Admin::Caller(&caller), &id, again).await?;
    Ok(Json(json!({ "replayed": count })))
}

/// Lets an endpoint be told again; what it missed can be replayed.
#[utoipa::path(post, path = "/v1/webhook-endpoints/{id}/enable", tag = "webhooks", params(("id" = String, Path), ("If-Match" = Option<String>, Header)), security(("client" = ["webhooks"])),
    responses((status = 204, description = "enabled"), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem), (status = 412, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub async fn enable(
    State(edge): State<Edge>,
    Auth(caller): Auth,
    Path(id): Path<String>,
    expected: IfMatch,
) -> Result<StatusCode, Problem> {
    caller.require(SCOPE)?;
    edge.app.enable_endpoint(Admin::Caller(&caller), &id, expected.0.as_deref()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Tells an endpoint nothing more until it is enabled; what waits is kept and can be replayed then.
#[utoipa::path(post, path = "/v1/webhook-endpoints/{id}/disable", tag = "webhooks", params(("id" = String, Path), ("If-Match" = Option<String>, Header)), security(("client" = ["webhooks"])),
    responses((status = 204, description = "disabled"), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem), (status = 412, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub async fn disable(
    State(edge): State<Edge>,
    Auth(caller): Auth,
    Path(id): Path<String>,
    expected: IfMatch,
) -> Result<StatusCode, Problem> {
    caller.require(SCOPE)?;
    edge.app.disable_endpoint(Admin::Caller(&caller), &id, expected.0.as_deref()).await?;
    Ok(StatusCode::NO_CONTENT)
}
