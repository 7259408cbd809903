//! Extractors: the authenticated caller, and checked bodies with field pointers.

use super::Edge;
use super::problem::Problem;
use crate::service::ServiceError;
use crate::service::authenticate::{Caller, Recognised};
use crate::token::dpop::DpopError;
use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt as _;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use std::sync::Arc;
use validator::{Validate, ValidationErrors, ValidationErrorsKind};

/// Algorithms of a client's own signatures: assertions and proofs of possession.
pub(super) const DPOP_ALGORITHMS: [&str; 4] = ["ES256", "EdDSA", "Ed25519", "RS256"];

/// An access token as a request brings it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Presented<'h> {
    /// No access token.
    None,
    /// Whoever bears it.
    Bearer(&'h str),
    /// Bound to a key; `proof` is the one `DPoP` header, if there is exactly one.
    Dpop {
        /// The token.
        token: &'h str,
        /// The proof.
        proof: Option<&'h str>,
    },
    /// An `Authorization` that cannot be read, or two of them.
    Unreadable,
}

/// Whether `Accept` names a media type.
pub(super) fn accepts(headers: &HeaderMap, wanted: &str) -> bool {
    let values = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let named = parts.next().is_some_and(|name| name.eq_ignore_ascii_case(wanted));
        named && !parts.any(|part| matches!(part, "q=0" | "q=0.0" | "q=0.00" | "q=0.000"))
    })
}

/// The access token that a request brings.
pub(super) fn presented(headers: &HeaderMap) -> Presented<'_> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = match (values.next(), values.next()) {
        (None, _) => return Presented::None,
        (Some(value), None) => value.to_str().unwrap_or_default(),
        (Some(_), Some(_)) => return Presented::Unreadable,
    };
    let (scheme, token) = value.split_once(' ').map_or((value, ""), |(scheme, rest)| (scheme, rest.trim()));
    let (bearer, bound) = (scheme.eq_ignore_ascii_case("bearer"), scheme.eq_ignore_ascii_case("dpop"));
    match () {
        () if (bearer || bound) && (token.is_empty() || token.contains(' ')) => Presented::Unreadable,
        () if bearer => Presented::Bearer(token),
        () if bound => Presented::Dpop { token, proof: dpop_proof(headers).ok().flatten() },
        () => Presented::None,
    }
}

/// The one `DPoP` header; `Err` where there are several, or where it is no text.
pub(super) fn dpop_proof(headers: &HeaderMap) -> Result<Option<&str>, ()> {
    let mut values = headers.get_all("dpop").iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(|_| ()),
        (Some(_), Some(_)) => Err(()),
    }
}

/// The caller behind the access token that a request brings. A proof of possession is used up by it.
pub(super) async fn authenticate(edge: &Edge, request: &Parts) -> Result<Arc<Caller>, Problem> {
    let refused = |error: ServiceError, scheme| match error {
        ServiceError::Unauthenticated => Problem::from(error).challenged(scheme, "invalid_token"),
        ServiceError::Unproven(_) => Problem::from(error).challenged(scheme, "invalid_dpop_proof"),
        error => Problem::from(error),
    };
    match presented(&request.headers) {
        Presented::None => Err(ServiceError::Unauthenticated.into()),
        Presented::Unreadable => Err(Problem::new(
            StatusCode::BAD_REQUEST,
            "authorization_invalid",
            "the `Authorization` header cannot be read",
        )
        .detail("send it once, as `Bearer TOKEN` or `DPoP TOKEN`")
        .challenged("Bearer", "invalid_request")),
        Presented::Bearer(token) => {
            let recognised = request.extensions.get::<Recognised>();
            edge.app.recognised_caller(token, recognised).await.map_err(|error| refused(error, "Bearer"))
        }
        Presented::Dpop { token, proof: Some(proof) } => {
            let (method, path) = (request.method.as_str(), request.uri.path());
            edge.app.bound_caller(token, proof, method, path).await.map_err(|error| refused(error, "DPoP"))
        }
        Presented::Dpop { proof: None, .. } => {
            let missing = ServiceError::Unproven(DpopError::Unfit("send one `DPoP` header"));
            Err(refused(missing, "DPoP"))
        }
    }
}

/// An authenticated API client.
#[derive(Debug, Clone)]
pub struct Auth(pub Arc<Caller>);

impl FromRequestParts<Edge> for Auth {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, edge: &Edge) -> Result<Self, Problem> {
        // A proof of possession proves once: who was authenticated on the way here stays so.
        if let Some(known) = parts.extensions.get::<Self>() {
            return Ok(known.clone());
        }
        authenticate(edge, parts).await.map(Self)
    }
}

/// A JSON body of known members, checked by `validator`.
#[derive(Debug)]
pub struct Checked<T>(pub T);

impl<T: DeserializeOwned + Validate> FromRequest<Edge> for Checked<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, edge: &Edge) -> Result<Self, Problem> {
        let json =
            request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).is_some_and(|value| {
                value.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
            });
        if !json {
            return Err(Problem::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported_media_type",
                "send `application/json`",
            ));
        }
        let Raw(bytes) = Raw::from_request(request, edge).await?;
        Ok(Self(checked(parse_value(&bytes)?)?))
    }
}

/// Parameters of a query of known types.
#[derive(Debug)]
pub struct Query<T>(pub T);

impl<T: DeserializeOwned> FromRequestParts<Edge> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Edge) -> Result<Self, Problem> {
        let refused =
            |why: &str| Problem::new(StatusCode::BAD_REQUEST, "query_invalid", "the query cannot be used").detail(why);
        if parts.uri.query().is_some_and(|query| query.contains(ENCODED_NUL)) {
            return Err(refused("it holds the character U+0000"));
        }
        axum::extract::Query::try_from_uri(&parts.uri)
            .map(|query| Self(query.0))
            .map_err(|_| refused("a parameter is missing, given twice or of the wrong type"))
    }
}

/// U+0000 in an address. PostgreSQL keeps it in no text, so nothing has such a name.
pub(super) const ENCODED_NUL: &str = "%00";

/// Largest body we use.
const BODY_LIMIT: usize = 256 * 1024;

/// Largest body we read to its end: who sends while we close the connection would never see the answer.
const READ_LIMIT: usize = 8 * 1024 * 1024;

/// The bytes of a body within the limit, as they came.
#[derive(Debug)]
pub struct Raw(pub Bytes);

impl FromRequest<Edge> for Raw {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &Edge) -> Result<Self, Problem> {
        Self::read(request.into_body()).await
    }
}

impl Raw {
    /// Reads a body to its end.
    ///
    /// # Errors
    /// 400 where it breaks off, 413 where it is too long.
    pub(super) async fn read(mut body: Body) -> Result<Self, Problem> {
        let (mut bytes, mut read) = (Vec::new(), 0);
        while let Some(frame) = body.frame().await {
            let broken = |_| Problem::new(StatusCode::BAD_REQUEST, "body_unreadable", "the body broke off");
            let Ok(data) = frame.map_err(broken)?.into_data() else { continue };
            read += data.len();
            if read <= BODY_LIMIT {
                bytes.extend_from_slice(&data);
            } else if read > READ_LIMIT {
                break;
            }
        }
        if read > BODY_LIMIT {
            return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", "the body is over 256 KiB"));
        }
        Ok(Self(bytes.into()))
    }
}

/// Reads JSON, refusing duplicate members anywhere; the message names the place, never the content.
///
/// # Errors
/// 400 for text that is no JSON, 422 for members that do not fit.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    known(parse_value(bytes)?)
}

/// Reads JSON of any shape, refusing duplicate members anywhere.
pub(crate) fn parse_value(bytes: &[u8]) -> Result<Value, Problem> {
    let value = crate::strict_json::parse(bytes).map_err(|_| {
        Problem::new(StatusCode::BAD_REQUEST, "not_json", "the body is not JSON, or names a member twice")
    })?;
    without_nul(&value)?;
    Ok(value)
}

/// Refuses a value in which a text holds U+0000: PostgreSQL cannot keep it.
pub(crate) fn without_nul(value: &Value) -> Result<(), Problem> {
    match nul(value) {
        Some(pointer) => Err(Problem::invalid().field(pointer, "holds the character U+0000")),
        None => Ok(()),
    }
}

/// Where a text holds U+0000, as a JSON pointer.
fn nul(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => text.contains('\0').then(String::new),
        Value::Array(items) => {
            items.iter().enumerate().find_map(|(place, item)| nul(item).map(|inner| format!("/{place}{inner}")))
        }
        Value::Object(members) => members.iter().find_map(|(name, member)| {
            if name.contains('\0') {
                return Some(String::new());
            }
            let name = name.replace('~', "~0").replace('/', "~1");
            nul(member).map(|inner| format!("/{name}{inner}"))
        }),
        _ => None,
    }
}

/// A member that may be null, told apart from one that is absent (RFC 7396).
#[expect(clippy::option_option, reason = "absent, null and given are three things")]
pub(super) fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(member: D) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(member).map(Some)
}

/// A body of known members, checked by `validator`.
pub(crate) fn checked<T: DeserializeOwned + Validate>(value: Value) -> Result<T, Problem> {
    let value: T = known(value)?;
    if let Err(errors) = value.validate() {
        let mut problem = Problem::invalid();
        pointers("", &errors, &mut problem);
        return Err(problem);
    }
    Ok(value)
}

fn known<T: DeserializeOwned>(value: Value) -> Result<T, Problem> {
    serde_json::from_value(value).map_err(|error| {
        // serde names the offending member and what was expected; the offending value is cut off.
        let text = error.to_string();
        let shown = match text.split_once(['`', '"']) {
            Some((head, _)) if head.starts_with("invalid") => "a member has the wrong type or value".to_owned(),
            _ => text,
        };
        Problem::invalid().field("", shown)
    })
}

/// Field pointers from `validator`, without the rejected values.
fn pointers(base: &str, errors: &ValidationErrors, problem: &mut Problem) {
    for (name, kind) in errors.errors() {
        let pointer = format!("{base}/{name}");
        match kind {
            ValidationErrorsKind::Struct(inner) => pointers(&pointer, inner, problem),
            ValidationErrorsKind::List(items) => {
                for (index, inner) in items {
                    pointers(&format!("{pointer}/{index}"), inner, problem);
                }
            }
            ValidationErrorsKind::Field(list) => {
                for error in list {
                    let text = error.message.as_ref().map_or_else(
                        || {
                            let limit = |name: &str| error.params.get(name).map(ToString::to_string);
                            match (limit("min"), limit("max")) {
                                (Some(min), Some(max)) => format!("must be between {min} and {max} long"),
                                (Some(min), None) => format!("must be at least {min} long"),
                                (None, Some(max)) => format!("must be at most {max} long"),
                                (None, None) => "does not fit".to_owned(),
                            }
                        },
                        ToString::to_string,
                    );
                    problem.errors.push(super::problem::FieldError { pointer: pointer.clone(), detail: text });
                }
            }
        }
    }
}

/// Paging: `?limit=&cursor=`; the cursor is the last id of the page before.
#[derive(Debug, serde::Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Page {
    /// At most this many, 1 to 200.
    pub limit: Option<i64>,
    /// From the page before.
    pub cursor: Option<String>,
}

impl Page {
    /// Limit and starting point, in bounds.
    ///
    /// # Errors
    /// 422 for a limit out of bounds.
    pub fn bounds(&self) -> Result<(i64, &str), Problem> {
        let limit = self.limit.unwrap_or(50);
        if !(1..=200).contains(&limit) {
            return Err(Problem::invalid().field("/limit", "must be between 1 and 200"));
        }
        Ok((limit, self.cursor.as_deref().unwrap_or("")))
    }
}

/// A page of items with the cursor of the next.
pub fn page_body<T: serde::Serialize>(items: &[T], limit: i64, last: Option<String>) -> axum::Json<serde_json::Value> {
    let full = i64::try_from(items.len()).is_ok_and(|count| count == limit);
    axum::Json(serde_json::json!({ "items": items, "next_cursor": if full { last } else { None } }))
}
