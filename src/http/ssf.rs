//! Shared Signals (SSF 1.0): streams of receivers, their delivery by poll (RFC 8936), and what providers push (RFC 8935).

pub mod receivers;
mod request;

use super::Edge;
use super::extract::{Auth, Query, Raw};
use super::problem::Problem;
use crate::service::ServiceError;
use crate::service::ssf::collect::Asked;
use crate::service::ssf::receive::ReceiveError;
use crate::service::ssf::streams::{POLL, PUSH};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use request::{Members, asked, bad};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::IntoParams;

/// Which stream.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Which {
    /// `ssf_…`
    stream_id: Option<String>,
}

impl Which {
    fn needed(&self) -> Result<&str, Problem> {
        self.stream_id.as_deref().ok_or_else(|| bad("/stream_id", "is required"))
    }
}

/// What the service refuses, by the status codes of SSF.
fn refused(error: ServiceError) -> Problem {
    match error {
        ServiceError::Invalid { pointer, problem } => bad(&pointer, problem),
        ServiceError::TooManyTries { wait_secs } => {
            Problem::new(StatusCode::TOO_MANY_REQUESTS, "verification_too_soon", "verified a moment ago")
                .detail("wait as `Retry-After` and `min_verification_interval` say")
                .retry_after(wait_secs)
        }
        ServiceError::Forbidden("registration as a receiver") => {
            Problem::new(StatusCode::FORBIDDEN, "not_a_receiver", "the client is no receiver of signals")
                .detail("an administrator registers it")
        }
        error => error.into(),
    }
}

fn told(status: StatusCode, body: &Value) -> Response {
    (status, [(header::CACHE_CONTROL, "no-store")], Json(body)).into_response()
}

/// What this transmitter offers, and where (SSF 1.0 section 7.1).
#[utoipa::path(get, path = "/.well-known/ssf-configuration", tag = "ssf", responses((status = 200, description = "metadata", content_type = "application/json", body = Object)))]
pub async fn configuration(State(edge): State<Edge>) -> Response {
    let at = |path: &str| format!("{}{path}", edge.app.issuer);
    let metadata = json!({
        "spec_version": "1_0", "issuer": edge.app.issuer, "jwks_uri": at("/.well-known/jwks.json"),
        "delivery_methods_supported": [PUSH, POLL],
        "configuration_endpoint": at("/ssf/stream"), "status_endpoint": at("/ssf/status"),
        "add_subject_endpoint": at("/ssf/subjects:add"), "remove_subject_endpoint": at("/ssf/subjects:remove"),
        "verification_endpoint": at("/ssf/verify"),
        "authorization_schemes": [{ "spec_urn": "urn:ietf:rfc:6749" }], "default_subjects": "ALL",
    });
    ([(header::CACHE_CONTROL, "public, max-age=300")], Json(metadata)).into_response()
}

/// Makes the caller's stream; without `delivery` it is fetched.
#[utoipa::path(post, path = "/ssf/stream", tag = "ssf", request_body(content = Object, description = "`events_requested`, `delivery` {`method`, `endpoint_url`, `authorization_header`}, `description`"), security(("client" = ["ssf.manage"])),
    responses((status = 201, description = "the stream's configuration", content_type = "application/json", body = Object), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 409, body = Problem), (status = 413, body = Problem), (status = 503, body = Problem)))]
pub async fn create_stream(
    State(edge): State<Edge>,
    Auth(caller): Auth,
    Members(members): Members,
) -> Result<Response, Problem> {
    let made = edge.app.create_stream(&caller, &members).await.map_err(refused)?;
    Ok(told(StatusCode::CREATED, &made))
}

/// The caller's stream of that id, or without one a list of those it has.
#[utoipa::path(get, path = "/ssf/stream", tag = "ssf", params(Which), security(("client" = ["ssf.read"])),
    responses((status = 200, description = "the configuration, or a list", content_type = "application/json", body = serde_json::Value), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 503, body = Problem)))]
pub async fn show_stream(
    State(edge): State<Edge>,
    Auth(caller): Auth,
    Query(which): Query<Which>,
) -> Result<Response, Problem> {
    let found = edge.app.signal_stream(&caller, which.stream_id.as_deref()).await.map_err(refused)?;
    Ok(told(StatusCode::OK, &found))
}

/// Changes what is named of the caller's stream.
#[utoipa::path(patch, path = "/ssf/stream", tag = "ssf", request_body(content = Object, description = "`stream_id` and what is to be changed"), security(("client" = ["ssf.manage"])),
    responses((status = 200, description = "the whole configuration", content_type = "application/json", body = Object), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem), (status = 413, body = Problem), (status = 503, body = Problem)))]
pub async fn change_stream(
    State(edge): State<Edge>,
    Auth(caller): Auth,
    Members(members): Members,
) -> Result<Response, Problem> {
    let changed = edge.app.change_stream(&caller, &members, false).await.map_err(refused)?;
    Ok(told(StatusCode::OK, &changed))
}

/// Replaces what the receiver says of its stream.
#[utoipa::path(put, path = "/ssf/stream", tag = "ssf", request_body(content = Object, description = "`stream_id` and all that the receiver says"), security(("client" = ["ssf.manage"])),
    responses((status = 200, description = "the whole configuration", content_type = "application/json", body = Object), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem), (status = 413, body = Problem), (status = 503, body = Problem)))]
pub async fn replace_stream(
    State(edge): State<Edge>,
    Auth(caller): Auth,
    Members(members): Members,
) -> Result<Response, Problem> {
    let changed = edge.app.change_stream(&caller, &members, true).await.map_err(refused)?;
    Ok(told(StatusCode::OK, &changed))
}

/// Ends the caller's stream, with all that waits in it.
#[utoipa::path(delete, path = "/ssf/stream", tag = "ssf", params(Which), security(("client" = ["ssf.manage"])),
    responses((status = 204, description = "ended"), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem), (status = 503, body = Problem)))]
pub async fn delete_stream(
    State(edge): State<Edge>,
    Auth(caller): Auth,
    Query(which): Query<Which>,
) -> Result<StatusCode, Problem> {
    edge.app.delete_stream(&caller, which.needed()?).await.map_err(refused)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Whether the caller's stream flows.
#[utoipa::path(get, path = "/ssf/status", tag = "ssf", params(Which), security(("client" = ["ssf.read"])),
    responses((status = 200, description = "`stream_id`, `status`, `reason`", content_type = "application/json", body = Object), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 503, body = Problem)))]
pub async fn show_status(
    State(edge): State<Edge>,
    Auth(caller): Auth,
    Query(which): Query<Which>,
) -> Result<Response, Problem> {
    let found = edge.app.stream_status(&caller, which.needed()?).await.map_err(refused)?;
    Ok(told(StatusCode::OK, &json!(found)))
}

/// Lets the caller's stream flow, holds it or stops it.
#[utoipa::path(post, path = "/ssf/status", tag = "ssf", request_body(content = Object, description = "`stream_id`, `status` (`enabled`, `paused`, `disabled`), `reason`"), security(("client" = ["ssf.manage"])),
    responses((status = 200, description = "`stream_id`, `status`, `reason`", content_type = "application/json", body = Object), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem), (status = 413, body = Problem), (status = 503, body = Problem)))]
pub async fn change_status(
    State(edge): State<Edge>,
    Auth(caller): Auth,
    Members(members): Members,
) -> Result<Response, Problem> {
    let changed = edge.app.set_stream_status(&caller, &members).await.map_err(refused)?;
    Ok(told(StatusCode::OK, &json!(changed)))
}

/// Tells the caller's stream of a subject again. Of whom it cannot name nothing is said.
#[utoipa::path(post, path = "/ssf/subjects:add", tag = "ssf", request_body(content = Object, description = "`stream_id`, `subject` (RFC 9493), `verified`"), security(("client" = ["ssf.manage"])),
    responses((status = 200, description = "taken"), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 413, body = Problem), (status = 503, body = Problem)))]
pub async fn add_subject(
    State(edge): State<Edge>,
    Auth(caller): Auth,
    Members(members): Members,
) -> Result<StatusCode, Problem> {
    edge.app.change_subject(&caller, &members, true).await.map_err(refused)?;
    Ok(StatusCode::OK)
}

/// Tells the caller's stream of a subject no more.
#[utoipa::path(post, path = "/ssf/subjects:remove", tag = "ssf", request_body(content = Object, description = "`stream_id`, `subject` (RFC 9493)"), security(("client" = ["ssf.manage"])),
    responses((status = 204, description = "taken"), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 413, body = Problem), (status = 503, body = Problem)))]
pub async fn remove_subject(
    State(edge): State<Edge>,
    Auth(caller): Auth,
    Members(members): Members,
) -> Result<StatusCode, Problem> {
    edge.app.change_subject(&caller, &members, false).await.map_err(refused)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Asks for a verification event, which comes through the stream.
#[utoipa::path(post, path = "/ssf/verify", tag = "ssf", request_body(content = Object, description = "`stream_id`, `state`"), security(("client" = ["ssf.manage"])),
    responses((status = 204, description = "it will come"), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem), (status = 413, body = Problem), (status = 503, body = Problem)))]
pub async fn verify_stream(
    State(edge): State<Edge>,
    Auth(caller): Auth,
    Members(members): Members,
) -> Result<StatusCode, Problem> {
    edge.app.verify_stream(&caller, &members).await.map_err(refused)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Fetches what waits, after taking what is said of earlier tokens (RFC 8936).
#[utoipa::path(post, path = "/ssf/poll/{stream_id}", tag = "ssf", params(("stream_id" = String, Path)), request_body(content = Object, description = "`maxEvents`, `returnImmediately`, `ack`, `setErrs`"), security(("client" = ["ssf.read"])),
    responses((status = 200, description = "`sets` by `jti`, `moreAvailable`", content_type = "application/json", body = Object), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 413, body = Problem), (status = 503, body = Problem)))]
pub async fn poll(
    State(edge): State<Edge>,
    Auth(caller): Auth,
    Path(stream): Path<String>,
    Members(members): Members,
) -> Result<Response, Problem> {
    let asked: Asked = asked(&members)?;
    let found = edge.app.collect(&caller, &stream, &asked).await.map_err(refused)?;
    let mut body = json!({ "sets": found.sets });
    if let Some(members) = body.as_object_mut().filter(|_| found.more) {
        members.insert("moreAvailable".to_owned(), json!(true));
    }
    Ok(told(StatusCode::OK, &body))
}

/// Takes a security event token of a registered identity provider.
#[utoipa::path(post, path = "/ssf/receive", tag = "ssf", request_body(content = String, content_type = "application/secevent+jwt"),
    responses((status = 202, description = "taken"), (status = 400, description = "`err`, `description`", content_type = "application/json", body = Object), (status = 413, body = Problem), (status = 503, body = Problem)))]
pub async fn receive(State(edge): State<Edge>, headers: HeaderMap, Raw(body): Raw) -> Result<Response, Problem> {
    let not_taken = |err: &str, description: &str| {
        Ok(told(StatusCode::BAD_REQUEST, &json!({ "err": err, "description": description })))
    };
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/secevent+jwt")) {
        return not_taken("invalid_request", "send `Content-Type: application/secevent+jwt`");
    }
    let Ok(token) = std::str::from_utf8(&body) else {
        return not_taken("invalid_request", "the text is no security event token that can be taken");
    };
    match edge.app.receive_event(token.trim()).await {
        Ok(()) => Ok((StatusCode::ACCEPTED, [(header::CACHE_CONTROL, "no-store")]).into_response()),
        Err(ReceiveError::NotTaken(not)) => not_taken(not.err, not.description),
        Err(ReceiveError::Service(error)) => Err(error.into()),
    }
}
