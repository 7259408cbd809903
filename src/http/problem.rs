//! Problems (RFC 9457): stable types and codes; nothing is copied from an inner error.

use super::arrival::RequestId;
use super::extract::DPOP_ALGORITHMS;
use crate::intake::IntakeError;
use crate::service::ServiceError;
use crate::service::admin::SCOPES;
use axum::Json;
use axum::body::Body;
use axum::http::{Extensions, HeaderValue, Response as HttpResponse, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;
use vouchsafe_core::check::{Finding, Level};

/// One member that cannot be used.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct FieldError {
    /// JSON pointer (RFC 6901).
    pub pointer: String,
    /// What is wrong and what to do.
    pub detail: String,
}

/// An error body.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Problem {
    /// Stable identifier of the kind of problem.
    #[serde(rename = "type")]
    pub kind: String,
    /// Short text.
    pub title: String,
    /// HTTP status.
    pub status: u16,
    /// Stable code.
    pub code: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Members that cannot be used.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
    /// The decision, where the problem is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision: Option<Value>,
    /// The request, as in `x-request-id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// Seconds to wait before another try.
    #[serde(skip)]
    pub retry_after: Option<i64>,
    /// What `WWW-Authenticate` says (RFC 6750 section 3): scheme, error, scope.
    #[serde(skip)]
    challenge: Option<(&'static str, &'static str, Option<&'static str>)>,
}

impl Problem {
    /// A problem by status, code and title.
    #[must_use]
    pub fn new(status: StatusCode, code: &str, title: &str) -> Self {
        Self {
            kind: format!("urn:vouchsafe:problem:{code}"),
            title: title.to_owned(),
            status: status.as_u16(),
            code: code.to_owned(),
            detail: None,
            errors: Vec::new(),
            decision: None,
            request_id: None,
            retry_after: None,
            challenge: None,
        }
    }

    /// With `Retry-After`.
    #[must_use]
    pub fn retry_after(mut self, seconds: i64) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// With an error of this scheme in `WWW-Authenticate`.
    #[must_use]
    pub(super) fn challenged(mut self, scheme: &'static str, error: &'static str) -> Self {
        self.challenge = Some((scheme, error, None));
        self
    }

    /// The value of `WWW-Authenticate`, where it has one.
    pub(super) fn challenge(&self) -> Option<String> {
        match self.challenge {
            Some((scheme, error, Some(scope))) => Some(format!("{scheme} error=\"{error}\", scope=\"{scope}\"")),
            Some((scheme, error, None)) => Some(format!("{scheme} error=\"{error}\"")),
            // Who brought nothing is told no error (RFC 6750 section 3.1).
            None => (self.status == StatusCode::UNAUTHORIZED.as_u16()).then(|| "Bearer".to_owned()),
        }
    }

    /// With a detail.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// With one member that cannot be used.
    #[must_use]
    pub fn field(mut self, pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        self.errors.push(FieldError { pointer: pointer.into(), detail: detail.into() });
        self
    }

    /// 422 for the members of a body.
    #[must_use]
    pub fn invalid() -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", "the request cannot be used")
    }
}

impl Problem {
    /// 422 for rules that cannot be used: every finding (of more than 200 the first), with its place where they came as a text.
    #[must_use]
    pub fn findings(findings: &[Finding]) -> Self {
        findings.iter().take(200).fold(Self::invalid(), |problem, finding| {
            let place = finding.place.map(|at| format!("line {}, column {}: ", at.line, at.column)).unwrap_or_default();
            let level = if finding.level == Level::Warning { "warning: " } else { "" };
            problem.field(finding.pointer.clone(), format!("{place}{level}{finding}"))
        })
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(&self)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("2"));
        }
        if let Some(value) = self.challenge().and_then(|text| HeaderValue::try_from(text).ok()) {
            headers.insert(header::WWW_AUTHENTICATE, value);
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        // Kept beside the body until the edge puts the request's id in; see `with_request_id`.
        response.extensions_mut().insert(self);
        response
    }
}

/// A challenge says where to learn how to get a token (RFC 9728 section 5.1), and that one bound to a key is taken too.
pub(super) fn with_metadata(response: &mut Response, issuer: &str) {
    let Some(challenge) = response.headers().get(header::WWW_AUTHENTICATE).and_then(|value| value.to_str().ok()) else {
        return;
    };
    if !(challenge.starts_with("Bearer") || challenge.starts_with("DPoP")) {
        return;
    }
    let separator = if challenge.contains(' ') { "," } else { "" };
    let metadata = format!("{separator} resource_metadata=\"{issuer}/.well-known/oauth-protected-resource\"");
    let bound = challenge.starts_with("DPoP");
    let algorithms = DPOP_ALGORITHMS.join(" ");
    let first = format!("{challenge}{metadata}");
    let (first, second) = if bound {
        (format!("{first}, algs=\"{algorithms}\""), None)
    } else {
        let second = (response.status() == StatusCode::UNAUTHORIZED).then(|| format!("DPoP algs=\"{algorithms}\""));
        (first, second)
    };
    let headers = response.headers_mut();
    headers.remove(header::WWW_AUTHENTICATE);
    for text in std::iter::once(first).chain(second) {
        if let Ok(value) = HeaderValue::try_from(text) {
            headers.append(header::WWW_AUTHENTICATE, value);
        }
    }
}

/// The id of the request, as set or replaced at the edge.
pub(super) fn request_id(extensions: &Extensions) -> Option<String> {
    Some(extensions.get::<RequestId>()?.0.to_str().ok()?.to_owned())
}

/// A problem says which request it answers.
pub(super) fn with_request_id(mut response: Response, id: Option<&str>) -> Response {
    let (Some(mut problem), Some(id)) = (response.extensions_mut().remove::<Problem>(), id) else { return response };
    problem.request_id = Some(id.to_owned());
    let Ok(body) = serde_json::to_vec(&problem) else { return response };
    response.headers_mut().remove(header::CONTENT_LENGTH);
    *response.body_mut() = Body::from(body);
    response
}

impl From<ServiceError> for Problem {
    fn from(error: ServiceError) -> Self {
        match error {
            ServiceError::NotFound(what) => {
                Self::new(StatusCode::NOT_FOUND, "not_found", "not found").detail(format!("no such {what}"))
            }
            ServiceError::Invalid { pointer, problem } => Self::invalid().field(pointer, problem),
            ServiceError::Refused(findings) => Self::findings(&findings),
            ServiceError::Conflict(what) => Self::new(StatusCode::CONFLICT, "conflict", "conflicts with what is there")
                .detail(format!("the {what} exists, was used or has changed")),
            ServiceError::Erased => Self::new(StatusCode::GONE, "subject_erased", "the subject was erased"),
            ServiceError::LegalHold => Self::new(StatusCode::CONFLICT, "legal_hold", "a legal hold forbids it")
                .detail("see the hold for its reason; ask again when it is lifted"),
            ServiceError::PreconditionFailed => {
                Self::new(StatusCode::PRECONDITION_FAILED, "precondition_failed", "it has changed since you read it")
                    .detail("read it again and decide anew")
            }
            ServiceError::KeyTakenOver => {
                Self::new(StatusCode::CONFLICT, "idempotency_in_progress", "another attempt took over")
            }
            ServiceError::Forbidden("second_person") => {
                Self::new(StatusCode::FORBIDDEN, "second_person_required", "another person must approve")
            }
            ServiceError::Forbidden("impartial") => {
                Self::new(StatusCode::FORBIDDEN, "not_impartial", "somebody else has to look at this")
                    .detail("you are the one it is about, you said what is in question, or you decided on it before")
            }
            ServiceError::PasswordGiven => {
                Self::new(StatusCode::FORBIDDEN, "password_change_required", "change the password you were given first")
                    .detail("`POST /v1/operators/password`, then sign in again")
            }
            ServiceError::TooManyTries { wait_secs } => {
                Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_tries", "the password was tried too often")
                    .detail("wait as `Retry-After` says, or try from a network you signed in from lately")
                    .retry_after(wait_secs)
            }
            ServiceError::Forbidden(scope) => {
                let mut problem = Self::new(StatusCode::FORBIDDEN, "insufficient_scope", "not allowed for this client")
                    .detail(format!("needs `{scope}`"));
                if SCOPES.contains(&scope) {
                    problem.challenge = Some(("Bearer", "insufficient_scope", Some(scope)));
                }
                problem
            }
            ServiceError::Suspended => Self::new(StatusCode::FORBIDDEN, "suspended", "the source is suspended")
                .detail("nothing it says is taken until it is reinstated; then say it anew"),
            ServiceError::Unauthenticated => {
                Self::new(StatusCode::UNAUTHORIZED, "unauthenticated", "authenticate first")
            }
            ServiceError::Unproven(why) => {
                Self::new(StatusCode::UNAUTHORIZED, "invalid_dpop_proof", "prove the key that the token is bound to")
                    .detail(why.to_string())
            }
            ServiceError::NotEligible(decision) => {
                let mut problem = Self::new(StatusCode::FORBIDDEN, "not_eligible", "the subject is not eligible");
                problem.decision = Some(super::decisions::ordinary(&decision));
                problem
            }
            ServiceError::EndUser(refusal) => {
                Self::new(StatusCode::FORBIDDEN, "not_eligible", "the subject is not eligible")
                    .detail(vouchsafe_core::explain::texts(refusal.code()).subject)
            }
            ServiceError::Intake(error) => intake(&error),
            ServiceError::Unavailable(_) | ServiceError::WrongDeployment(_) => unavailable(&error),
            ServiceError::Store(_) => unavailable(&error),
            ServiceError::Crypto(_) | ServiceError::Unreadable(_) => {
                tracing::error!(error = %error, "request failed");
                internal()
            }
        }
    }
}

fn unavailable(error: &ServiceError) -> Problem {
    tracing::error!(error = %error, "cannot know now");
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "cannot answer now")
}

pub(super) fn internal() -> Problem {
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the service failed")
}

/// A delivery that was refused: its own clear answer, nothing changed.
fn intake(error: &IntakeError) -> Problem {
    let (status, code) = match error {
        IntakeError::MissingSignature => (StatusCode::UNAUTHORIZED, "signature_missing"),
        IntakeError::BadSignature => (StatusCode::UNAUTHORIZED, "signature_invalid"),
        IntakeError::Malformed(_) => (StatusCode::BAD_REQUEST, "malformed"),
        IntakeError::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "too_large"),
        IntakeError::Stale => (StatusCode::BAD_REQUEST, "stale"),
        IntakeError::NotYetValid => (StatusCode::BAD_REQUEST, "not_yet_valid"),
        IntakeError::WrongAudience => (StatusCode::BAD_REQUEST, "wrong_audience"),
        IntakeError::WrongEnvironment => (StatusCode::FORBIDDEN, "wrong_environment"),
        IntakeError::Unsupported(_) => (StatusCode::UNPROCESSABLE_ENTITY, "unsupported"),
        IntakeError::Upstream(_) | IntakeError::SlowDown { .. } => {
            (StatusCode::SERVICE_UNAVAILABLE, "upstream_unavailable")
        }
    };
    tracing::warn!(code, "delivery refused");
    Problem::new(status, code, "the delivery was refused").detail(error.to_string())
}

/// 404 for unknown paths.
pub async fn not_found() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "not_found", "not found")
}

/// 405 for known paths.
pub async fn method_not_allowed() -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "method not allowed")
}

/// One request panicked; the process lives, the client learns nothing.
#[must_use]
pub fn panicked(_: Box<dyn std::any::Any + Send + 'static>) -> HttpResponse<Body> {
    tracing::error!("a handler panicked");
    internal().into_response()
}

/// OAuth's own error shape (RFC 6749 section 5.2).
#[must_use]
pub fn oauth(status: StatusCode, error: &str, description: &str) -> Response {
    let mut response = (status, Json(json!({ "error": error, "error_description": description }))).into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if status == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"vouchsafe\""));
    }
    response
}
