//! `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header): who repeats a POST gets the first answer again.

use super::Edge;
use super::extract::{Auth, Raw, authenticate};
use super::problem::{self, Problem};
use crate::service::idempotency::{Claim, Claimed, under};
use axum::body::{Body, to_bytes};
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::sync::Arc;
use tracing::Instrument as _;

const KEY: HeaderName = HeaderName::from_static("idempotency-key");
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// Headers that belong to an answer.
const KEPT: [HeaderName; 4] = [header::CONTENT_TYPE, header::CACHE_CONTROL, header::ETAG, header::LOCATION];

/// Largest answer that is kept.
const ANSWER_LIMIT: usize = 1024 * 1024;

/// The service, and the scope that each guarded POST needs, by route.
#[derive(Clone)]
pub(super) struct Posts {
    pub(super) edge: Edge,
    pub(super) scopes: Arc<HashMap<String, String>>,
}

/// An answer as it is kept.
#[derive(Serialize, Deserialize)]
struct Kept {
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
}

/// The key: a structured-field string, or the same without quotes.
fn key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let refuse = || {
        Problem::new(StatusCode::BAD_REQUEST, "idempotency_key_invalid", "the idempotency key cannot be used")
            .detail("send one `Idempotency-Key` of 1 to 255 visible characters, such as \"8e03978e-40d5-43dd\"")
    };
    let mut values = headers.get_all(KEY).iter();
    let value = match (values.next(), values.next()) {
        (None, _) => return Ok(None),
        (Some(value), None) => value.to_str().map_err(|_| refuse())?.trim(),
        (Some(_), Some(_)) => return Err(refuse()),
    };
    let key = match value.strip_prefix('"') {
        Some(quoted) => {
            let inner = quoted.strip_suffix('"').ok_or_else(refuse)?;
            let plain = inner.replace("\\\\", "").replace("\\\"", "");
            if plain.contains(['"', '\\']) {
                return Err(refuse());
            }
            inner
        }
        None => value,
    };
    let fits = (1..=255).contains(&key.len()) && key.bytes().all(|byte| (0x20..0x7f).contains(&byte));
    if fits { Ok(Some(key.to_owned())) } else { Err(refuse()) }
}

/// Repeats the first answer to a POST that carries a key; lets everything else pass.
pub(super) async fn repeat(State(posts): State<Posts>, request: Request, next: Next) -> Response {
    let scope = request
        .extensions()
        .get::<MatchedPath>()
        .and_then(|route| posts.scopes.get(route.as_str()))
        .map(String::as_str);
    let (Some(scope), &Method::POST) = (scope, request.method()) else { return next.run(request).await };
    let key = match key(request.headers()) {
        Ok(Some(key)) => key,
        Ok(None) => return next.run(request).await,
        Err(problem) => return problem.into_response(),
    };
    let (mut parts, body) = request.into_parts();
    // Who may not ask is told so, by the handler where a scope is missing, and finds no one else's answer.
    let caller = match authenticate(&posts.edge, &parts).await {
        Ok(caller) => caller,
        Err(problem) => return problem.into_response(),
    };
    parts.extensions.insert(Auth(Arc::clone(&caller)));
    if !caller.scopes.contains(scope) {
        return next.run(Request::from_parts(parts, body)).await;
    }
    let body = match Raw::read(body).await {
        Ok(Raw(body)) => body,
        Err(problem) => return problem.into_response(),
    };
    let place = format!("{} {}", parts.method, parts.uri.path());
    let request_id = problem::request_id(&parts.extensions);
    let request = Request::from_parts(parts, Body::from(body.clone()));
    match posts.edge.app.claim(&caller.id, &place, &key, &body).await {
        Ok(Claimed::Ours(claim)) => first(posts.edge, claim, request, next, request_id).await,
        Ok(Claimed::Answered(kept)) => replay(&kept),
        Ok(Claimed::InProgress) => {
            Problem::new(StatusCode::CONFLICT, "idempotency_in_progress", "the first attempt is still at work")
                .retry_after(1)
                .into_response()
        }
        Ok(Claimed::Reused) => Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "idempotency_key_reused",
            "the idempotency key was used with another body",
        )
        .into_response(),
        Ok(Claimed::AnswerLost(effect)) => {
            Problem::new(StatusCode::CONFLICT, "idempotency_answer_lost", "done before, but the answer was lost")
                .detail(format!("the first attempt acted on `{effect}`"))
                .into_response()
        }
        Err(error) => Problem::from(error).into_response(),
    }
}

/// Runs the request to its end even if the client leaves: it may come back for the answer.
async fn first(edge: Edge, claim: Claim, request: Request, next: Next, request_id: Option<String>) -> Response {
    let app = Arc::clone(&edge.app);
    let held = claim.clone();
    let work = async move {
        let response = problem::with_request_id(under(claim.clone(), next.run(request)).await, request_id.as_deref());
        keep(&edge, &claim, response).await
    };
    match tokio::spawn(work.in_current_span()).await {
        Ok(response) => response,
        Err(_) => {
            if let Err(error) = app.give_back(&held).await {
                tracing::error!(error = %error, "an idempotency key could not be given back");
            }
            problem::panicked(Box::new(()))
        }
    }
}

/// Keeps what was done or collided. A refusal changed nothing: its key may carry the corrected request.
async fn keep(edge: &Edge, claim: &Claim, response: Response) -> Response {
    let (parts, body) = response.into_parts();
    let bytes = match to_bytes(body, ANSWER_LIMIT).await {
        Ok(bytes) => bytes,
        Err(_) => return problem::panicked(Box::new(())),
    };
    let kept = if parts.status.is_success() || parts.status == StatusCode::CONFLICT {
        let headers = KEPT
            .iter()
            .filter_map(|name| Some((name.to_string(), parts.headers.get(name)?.to_str().ok()?.to_owned())))
            .collect();
        let kept = Kept { status: parts.status.as_u16(), headers, body: BASE64.encode(&bytes) };
        let kept = serde_json::to_vec(&kept).unwrap_or_default();
        edge.app.keep_answer(claim, &kept).await
    } else {
        edge.app.give_back(claim).await
    };
    if let Err(error) = kept {
        // The answer stands; a retry will learn that it was lost.
        tracing::error!(error = %error, "an answer could not be kept");
    }
    Response::from_parts(parts, Body::from(bytes))
}

fn replay(kept: &[u8]) -> Response {
    let read = || {
        let kept: Kept = serde_json::from_slice(kept).ok()?;
        let mut response = Response::new(Body::from(BASE64.decode(&kept.body).ok()?));
        *response.status_mut() = StatusCode::from_u16(kept.status).ok()?;
        for (name, value) in &kept.headers {
            response
                .headers_mut()
                .insert(HeaderName::from_bytes(name.as_bytes()).ok()?, HeaderValue::from_str(value).ok()?);
        }
        response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
        Some(response)
    };
    read().unwrap_or_else(|| {
        tracing::error!("a kept answer cannot be read");
        problem::internal().into_response()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: &[&str]) -> Result<Option<String>, u16> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(KEY, HeaderValue::from_str(value).unwrap());
        }
        key(&headers).map_err(|problem| problem.status)
    }

    #[test]
    fn a_key_is_read_with_and_without_quotes_and_never_guessed() {
        assert_eq!(read(&[]), Ok(None));
        assert_eq!(read(&["\"8e03\""]), Ok(Some("8e03".to_owned())));
        assert_eq!(read(&["8e03"]), Ok(Some("8e03".to_owned())));
        assert_eq!(read(&["\"a b\""]), Ok(Some("a b".to_owned())));
        for bad in ["", "\"\"", "\"open", "\"a\"b\"", "\"a\\b\"", &"x".repeat(256)] {
            assert_eq!(read(&[bad]), Err(400), "{bad}");
        }
        assert_eq!(read(&["a", "a"]), Err(400));
    }
}
