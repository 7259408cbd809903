//! The AuthZEN Authorization API 1.0: evaluation, evaluations, search, metadata. A refusal to answer is a line of text, as
//! the specification has it; a *no* is an answer.

mod answer;
mod request;
pub mod search;

use super::Edge;
use super::extract::{Raw, authenticate, parse_value};
use super::gateway::{Proven, address, single};
use super::problem::Problem;
use crate::service::ServiceError;
use crate::service::authzen::{Asker, Question};
use answer::{Refusal, Told, item_error, told};
use axum::Json;
use axum::extract::{ConnectInfo, FromRequest, FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use request::{Batch, Evaluation, Semantic};
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// Most evaluations of one request.
const MOST_EVALUATIONS: usize = 100;

/// Whoever proved who asks: a gateway by its key, a client by its access token.
#[derive(Debug)]
pub struct Asking {
    asker: Asker,
    /// Where the subject's own request came from, as far as a gateway can say.
    address: Option<IpAddr>,
}

impl FromRequestParts<Edge> for Asking {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, edge: &Edge) -> Result<Self, Refusal> {
        if let Some(Proven(gateway)) = parts.extensions.get::<Proven>() {
            let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.ip());
            let address = peer.and_then(|peer| address(&parts.headers, peer, &edge.trusted_proxies));
            return Ok(Self { asker: Asker::Gateway(Arc::clone(gateway)), address });
        }
        if parts.headers.contains_key("x-gateway-key") {
            // SECURITY: a key that does not hold is not as if none were sent.
            return Err(Problem::from(ServiceError::Unauthenticated).into());
        }
        let caller = authenticate(edge, parts).await?;
        // A client's connection says nothing of where its subject is.
        Ok(Self { asker: Asker::Client(caller), address: None })
    }
}

/// The members of a request's body.
#[derive(Debug)]
pub struct Members(Map<String, Value>);

impl FromRequest<Edge> for Members {
    type Rejection = Refusal;

    async fn from_request(request: Request, edge: &Edge) -> Result<Self, Refusal> {
        let kind = single(request.headers(), header::CONTENT_TYPE.as_str()).unwrap_or_default();
        let essence = kind.split(';').next().unwrap_or_default().trim().to_owned();
        let Raw(bytes) = Raw::from_request(request, edge).await?;
        if !essence.eq_ignore_ascii_case("application/json") {
            return Err(Refusal::bad("send `Content-Type: application/json`"));
        }
        match parse_value(&bytes) {
            Ok(Value::Object(members)) => Ok(Self(members)),
            Ok(_) => Err(Refusal::bad("the body is not a JSON object")),
            Err(problem) => Err(Refusal::of_body(problem)),
        }
    }
}

async fn ask(edge: &Edge, asking: &Asking, evaluation: &Evaluation<'_>) -> Result<Told, Refusal> {
    let question = Question {
        subject: evaluation.subject,
        action: evaluation.action,
        resource: evaluation.resource,
        acting_for: evaluation.acting_for,
        end_user: evaluation.end_user,
        address: asking.address,
    };
    let answer = edge.app.access(&asking.asker, &question).await.map_err(|error| match error {
        ServiceError::Forbidden("asserts") => Refusal::new(
            StatusCode::FORBIDDEN,
            "this gateway may not name callers: name the subject by type `eligibility_token`, or register a gateway that `asserts`",
        ),
        error => Problem::from(error).into(),
    })?;
    let name = if answer.permitted { "permit" } else { "deny" };
    metrics::counter!("vouchsafe_access_evaluations_total", "answer" => name).increment(1);
    Ok(told(edge, &asking.asker, answer))
}

/// The answers to a batch.
#[derive(Debug, Serialize)]
struct Answers {
    evaluations: Vec<Told>,
}

fn answered(body: impl Serialize) -> Response {
    ([(header::CACHE_CONTROL, "no-store")], Json(body)).into_response()
}

/// May this subject do this with that? *No* is an answer of 200.
#[utoipa::path(post, path = "/access/v1/evaluation", tag = "authzen", request_body(content = Object, description = "`subject` {`type`, `id`}, `action` {`name`}, `resource` {`type`, `id`}, `context`"), params(("X-Gateway-Key" = Option<String>, Header)), security(("client" = ["access:evaluate"]), ()),
    responses((status = 200, description = "`decision` and its `context`", content_type = "application/json", body = Object), (status = 400, description = "cannot be read", content_type = "text/plain", body = String), (status = 401, description = "no valid credential", content_type = "text/plain", body = String), (status = 403, description = "may not ask", content_type = "text/plain", body = String), (status = 503, description = "cannot know", content_type = "text/plain", body = String)))]
pub async fn evaluation(
    State(edge): State<Edge>,
    asking: Asking,
    Members(members): Members,
) -> Result<Response, Refusal> {
    let evaluation = Evaluation::of(&members, &members).map_err(Refusal::bad)?;
    Ok(answered(ask(&edge, &asking, &evaluation).await?))
}

/// Several questions in one request, in order; members of the body are what an item does not say itself.
#[utoipa::path(post, path = "/access/v1/evaluations", tag = "authzen", request_body(content = Object, description = "as one evaluation, with `evaluations` and `options.evaluations_semantic`"), params(("X-Gateway-Key" = Option<String>, Header)), security(("client" = ["access:evaluate"]), ()),
    responses((status = 200, description = "`evaluations`, each with `decision` and `context`", content_type = "application/json", body = Object), (status = 400, description = "cannot be read", content_type = "text/plain", body = String), (status = 401, description = "no valid credential", content_type = "text/plain", body = String), (status = 403, description = "may not ask", content_type = "text/plain", body = String), (status = 503, description = "cannot know", content_type = "text/plain", body = String)))]
pub async fn evaluations(
    State(edge): State<Edge>,
    asking: Asking,
    Members(members): Members,
) -> Result<Response, Refusal> {
    let Batch { items, semantic } = Batch::of(&members).map_err(Refusal::bad)?;
    if items.is_empty() {
        let evaluation = Evaluation::of(&members, &members).map_err(Refusal::bad)?;
        return Ok(answered(ask(&edge, &asking, &evaluation).await?));
    }
    if items.len() > MOST_EVALUATIONS {
        return Err(Refusal::bad(format!("at most {MOST_EVALUATIONS} evaluations go into one request")));
    }
    let mut answers = Vec::with_capacity(items.len());
    for item in items {
        let answer = match Evaluation::of(item, &members) {
            Ok(evaluation) => ask(&edge, &asking, &evaluation).await?,
            Err(why) => item_error(StatusCode::BAD_REQUEST, why),
        };
        let permitted = answer.decision;
        answers.push(answer);
        let last = match semantic {
            Semantic::ExecuteAll => false,
            Semantic::DenyOnFirstDeny => !permitted,
            Semantic::PermitOnFirstPermit => permitted,
        };
        if last {
            break;
        }
    }
    Ok(answered(Answers { evaluations: answers }))
}

/// What this decision point offers, and where.
#[utoipa::path(get, path = "/.well-known/authzen-configuration", tag = "authzen", responses((status = 200, description = "metadata", content_type = "application/json", body = Object)))]
pub async fn configuration(State(edge): State<Edge>) -> Response {
    let at = |path: &str| format!("{}{path}", edge.app.issuer);
    let mut metadata = json!({
        "policy_decision_point": edge.app.issuer,
        "access_evaluation_endpoint": at("/access/v1/evaluation"),
        "access_evaluations_endpoint": at("/access/v1/evaluations"),
        "search_resource_endpoint": at("/access/v1/search/resource"),
        "search_action_endpoint": at("/access/v1/search/action"),
    });
    if let Some(members) = metadata.as_object_mut().filter(|_| edge.app.searches_subjects()) {
        members.insert("search_subject_endpoint".to_owned(), json!(at("/access/v1/search/subject")));
    }
    ([(header::CACHE_CONTROL, "public, max-age=300")], Json(metadata)).into_response()
}
