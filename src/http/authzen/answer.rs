//! What is answered: a decision with its context, or a refusal in a line of text.

use crate::http::Edge;
use crate::http::gateway::refusal::retry_at;
use crate::http::problem::Problem;
use crate::service::authzen::{Answer, Asker};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};
use vouchsafe_core::explain;

/// The request is not answered.
#[derive(Debug)]
pub struct Refusal {
    status: StatusCode,
    text: String,
    challenge: Option<String>,
    retry_after: Option<i64>,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Self { status, text: text.into(), challenge: None, retry_after: None }
    }

    pub(super) fn bad(text: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, text)
    }

    /// The same refusal as 400: whatever is wrong with a body is that here.
    pub(super) fn of_body(problem: Problem) -> Self {
        Self { status: StatusCode::BAD_REQUEST, ..problem.into() }
    }
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let challenge = problem.challenge();
        let errors = problem.errors.iter().map(|error| format!("`{}` {}", error.pointer, error.detail));
        let text = [problem.title.clone()].into_iter().chain(problem.detail.clone()).chain(errors);
        let unavailable = (status == StatusCode::SERVICE_UNAVAILABLE).then_some(2);
        Self {
            status,
            text: text.collect::<Vec<_>>().join(": "),
            challenge,
            retry_after: problem.retry_after.or(unavailable),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = (self.status, self.text).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if let Some(value) = self.challenge.and_then(|text| HeaderValue::try_from(text).ok()) {
            headers.insert(header::WWW_AUTHENTICATE, value);
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

/// An item of a batch that could not be asked: a *no*, and why.
pub(super) fn item_error(status: StatusCode, message: &str) -> Value {
    json!({ "decision": false, "context": { "error": { "status": status.as_u16(), "message": message } } })
}

/// A decision as an asker is told: nothing of the evidence behind it, and of a refusal what its caller may be told.
pub(super) fn told(edge: &Edge, asker: &Asker, answer: &Answer) -> Value {
    let mut context = Map::new();
    let mut tell = |name: &str, value: Value| context.insert(name.to_owned(), value);
    if let Some(reason) = &answer.reason {
        tell("reason_code", json!(reason));
        tell("reason_user", json!(explain::texts(reason).subject));
        if let Asker::Gateway(gateway) = asker
            && let Some(help) = gateway.help(reason, answer.decision.as_deref(), None)
        {
            tell("help", json!(help));
        }
        if let Some(at) = answer.body.as_deref().and_then(|decision| retry_at(decision, edge.app.clock.now())) {
            tell("retry_at", json!(at.to_string()));
        }
    }
    if let Some(id) = &answer.decision {
        tell("decision_id", json!(id));
    }
    if let Some(decision) = &answer.body {
        tell("eligibility_status", json!(decision.status));
        if answer.details {
            tell("confidence", json!(decision.confidence));
        }
        if let (Some(policy), Some(version)) = (&decision.rules.policy, decision.rules.version) {
            tell("policy_version", json!(format!("{policy}@{version}")));
        }
    }
    if let Some(until) = &answer.valid_until {
        tell("valid_until", json!(until));
    }
    if let Some((end_user, decision)) = &answer.end_user {
        tell("end_user", json!(end_user));
        tell("end_user_decision_id", json!(decision));
    }
    if edge.app.feed_age_secs() > 2 {
        tell("stale", json!(true));
    }
    if edge.app.deployment.is_test() {
        tell("test", json!(true));
    }
    json!({ "decision": answer.permitted, "context": context })
}
