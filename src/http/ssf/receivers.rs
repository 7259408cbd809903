//! Receivers of signals, as an administrator registers them.

use crate::http::Edge;
use crate::http::admin::patterns;
use crate::http::conditional::IfMatch;
use crate::http::extract::{Auth, Checked, Page, Query};
use crate::http::identity::disclosures;
use crate::http::problem::Problem;
use crate::http::rules::{records, shows};
use crate::service::ssf::streams::Status;
use crate::service::ssf::{Names, NewReceiver, ReceiverChange};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use utoipa::ToSchema;
use validator::Validate;

/// A client to register as a receiver of signals.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewSignalReceiver {
    /// The client; it holds `ssf.read` and `ssf.manage`.
    #[validate(length(min = 1, max = 80))]
    client: String,
    /// For people.
    #[validate(length(min = 1, max = 200))]
    #[schema(min_length = 1, max_length = 200)]
    name: String,
    /// `aud` of its tokens.
    #[validate(length(min = 1, max = 500))]
    aud: String,
    /// It knows subjects by the pairwise `sub` of this audience; or `namespace`.
    #[validate(length(min = 1, max = 200))]
    audience: Option<String>,
    /// It knows subjects by their ids in this namespace of links; or `audience`.
    #[validate(length(min = 1, max = 64))]
    namespace: Option<String>,
    /// Only what concerns these resources and families; all if absent.
    #[serde(default)]
    #[validate(length(max = 100))]
    resources: Vec<String>,
    /// It guards just these resources itself: a lost eligibility ends its sessions.
    #[serde(default)]
    for_resource: bool,
    /// What it may learn beyond whether and until when, where the policy discloses it too: `confidence`.
    #[serde(default)]
    #[validate(length(max = 3))]
    discloses: BTreeSet<String>,
}

/// What is to be changed of a receiver; what is absent stays.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SignalReceiverChange {
    /// For people.
    #[validate(length(min = 1, max = 200))]
    #[schema(min_length = 1, max_length = 200)]
    name: Option<String>,
    /// `aud` of its tokens.
    #[validate(length(min = 1, max = 500))]
    aud: Option<String>,
    /// Only what concerns these resources and families; empty for all.
    #[validate(length(max = 100))]
    resources: Option<Vec<String>>,
    /// It guards just these resources itself.
    for_resource: Option<bool>,
    /// What it may learn beyond whether and until when, where the policy discloses it too: `confidence`.
    #[validate(length(max = 3))]
    discloses: Option<BTreeSet<String>>,
}

/// What a stream is to do.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewStatus {
    /// `enabled`, `paused` or `disabled`.
    #[schema(value_type = String)]
    status: Status,
    /// Why; its receiver is told.
    #[validate(length(min = 1, max = 1000))]
    reason: Option<String>,
}

/// Registers a client as a receiver of signals; it makes its stream itself.
#[utoipa::path(post, path = "/v1/signal-receivers", tag = "admin", request_body = NewSignalReceiver, security(("client" = ["admin"])),
    responses((status = 201, description = "registered"), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 409, body = Problem), (status = 413, body = Problem), (status = 415, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub async fn create(
    State(edge): State<Edge>,
    Auth(caller): Auth,
    Checked(new): Checked<NewSignalReceiver>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    caller.require("admin")?;
    let names = match (new.audience, new.namespace) {
        (Some(audience), None) => Names::Audience(audience),
        (None, Some(namespace)) => Names::Namespace(namespace),
        _ => return Err(Problem::invalid().field("/audience", "give `audience` or `namespace`")),
    };
    let receiver = NewReceiver {
        client: new.client,
        name: new.name,
        aud: new.aud,
        names,
        resources: patterns(&new.resources)?,
        for_resource: new.for_resource,
        discloses: disclosures(&new.discloses)?,
    };
    let id = receiver.client.clone();
    edge.app.create_signal_receiver(&caller.actor(), receiver).await?;
    Ok((StatusCode::CREATED, Json(json!({ "id": id }))))
}

/// Receivers of signals.
#[utoipa::path(get, path = "/v1/signal-receivers", tag = "admin", params(Page), security(("client" = ["admin"])),
    responses((status = 200, description = "a page"), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub async fn list(
    State(edge): State<Edge>,
    Auth(caller): Auth,
    Query(page): Query<Page>,
) -> Result<Json<Value>, Problem> {
    caller.require("admin")?;
    records(&edge, "signal_receiver", &page).await
}

/// Changes what is registered of a receiver; its stream stays, and by which names it knows subjects.
#[utoipa::path(patch, path = "/v1/signal-receivers/{id}", tag = "admin", params(("id" = String, Path), ("If-Match" = Option<String>, Header)), request_body = SignalReceiverChange, security(("client" = ["admin"])),
    responses((status = 204, description = "changed"), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem), (status = 412, body = Problem), (status = 413, body = Problem), (status = 415, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub async fn change(
    State(edge): State<Edge>,
    Auth(caller): Auth,
    Path(id): Path<String>,
    expected: IfMatch,
    Checked(new): Checked<SignalReceiverChange>,
) -> Result<StatusCode, Problem> {
    caller.require("admin")?;
    let change = ReceiverChange {
        name: new.name,
        aud: new.aud,
        resources: new.resources.as_deref().map(patterns).transpose()?,
        for_resource: new.for_resource,
        discloses: new.discloses.as_ref().map(disclosures).transpose()?,
    };
    edge.app.change_signal_receiver(&caller.actor(), &id, change, expected.0.as_deref()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Ends a receiver with its stream and all that waits in it.
#[utoipa::path(delete, path = "/v1/signal-receivers/{id}", tag = "admin", params(("id" = String, Path), ("If-Match" = Option<String>, Header)), security(("client" = ["admin"])),
    responses((status = 204, description = "ended"), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem), (status = 412, body = Problem), (status = 503, body = Problem)))]
pub async fn delete(
    State(edge): State<Edge>,
    Auth(caller): Auth,
    Path(id): Path<String>,
    expected: IfMatch,
) -> Result<StatusCode, Problem> {
    caller.require("admin")?;
    edge.app.delete_signal_receiver(&caller.actor(), &id, expected.0.as_deref()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lets a receiver's stream flow, holds it or stops it; the receiver is told.
#[utoipa::path(post, path = "/v1/signal-receivers/{id}/status", tag = "admin", params(("id" = String, Path)), request_body = NewStatus, security(("client" = ["admin"])),
    responses((status = 200, description = "`stream_id`, `status`, `reason`"), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem), (status = 413, body = Problem), (status = 415, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub async fn set_status(
    State(edge): State<Edge>,
    Auth(caller): Auth,
    Path(id): Path<String>,
    Checked(new): Checked<NewStatus>,
) -> Result<Json<Value>, Problem> {
    caller.require("admin")?;
    let told = edge.app.administer_stream(&caller.actor(), &id, new.status, new.reason.as_deref()).await?;
    Ok(Json(json!(told)))
}

shows! {
    show, "signal_receiver", "/v1/signal-receivers/{id}", "admin", "admin", "One receiver of signals with its stream.";
}
