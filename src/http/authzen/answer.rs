//! What is answered: a decision with its context, or a refusal in a line of text.

use crate::http::Edge;
use crate::http::gateway::refusal::retry_at;
use crate::http::problem::Problem;
use crate::service::authzen::{Answer, Asker};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use vouchsafe_core::{Status, explain};

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

/// An answer as the specification has it.
#[derive(Debug, Default, Serialize)]
pub(super) struct Told {
    pub(super) decision: bool,
    context: Context,
}

/// What is told beside yes or no; what is not known is absent.
#[expect(clippy::option_option, reason = "absent, and no confidence, are two things")]
#[derive(Debug, Default, Serialize)]
struct Context {
    #[serde(skip_serializing_if = "Option::is_none")]
    reason_code: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason_user: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    help: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    decision_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    eligibility_status: Option<Status>,
    #[serde(skip_serializing_if = "Option::is_none")]
    confidence: Option<Option<f64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    policy_version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    valid_until: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    end_user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    end_user_decision_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stale: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    test: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ItemError>,
}

/// Why an item of a batch could not be asked.
#[derive(Debug, Serialize)]
struct ItemError {
    status: u16,
    message: String,
}

/// An item of a batch that could not be asked: a *no*, and why.
pub(super) fn item_error(status: StatusCode, message: String) -> Told {
    let error = Some(ItemError { status: status.as_u16(), message });
    Told { decision: false, context: Context { error, ..Context::default() } }
}

/// A decision as an asker is told: nothing of the evidence behind it, and of a refusal what its caller may be told.
pub(super) fn told(edge: &Edge, asker: &Asker, answer: Answer) -> Told {
    let mut context = Context {
        stale: (edge.app.feed_age_secs() > 2).then_some(true),
        test: edge.app.deployment.is_test().then_some(true),
        valid_until: answer.valid_until,
        ..Context::default()
    };
    if let Some(reason) = answer.reason {
        context.reason_user = Some(explain::texts(&reason).subject);
        if let Asker::Gateway(gateway) = asker {
            context.help = gateway.help(&reason, answer.decision.as_deref(), None);
        }
        context.retry_at = answer
            .body
            .as_deref()
            .and_then(|decision| retry_at(decision, edge.app.clock.now()))
            .map(|at| at.to_string());
        context.reason_code = Some(reason);
    }
    context.decision_id = answer.decision;
    if let Some(decision) = &answer.body {
        context.eligibility_status = Some(decision.status);
        context.confidence = answer.details.then_some(decision.confidence);
        if let (Some(policy), Some(version)) = (&decision.rules.policy, decision.rules.version) {
            context.policy_version = Some(format!("{policy}@{version}"));
        }
    }
    (context.end_user, context.end_user_decision_id) = answer.end_user.unzip();
    Told { decision: answer.permitted, context }
}
