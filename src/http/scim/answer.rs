//! Answers as SCIM clients read them: `application/scim+json`, weak entity tags, errors of RFC 7644 section 3.12.

use super::super::problem::Problem;
use crate::intake::scim::schema::ERROR;
use crate::intake::scim::{Fault, FaultKind};
use crate::service::ServiceError;
use crate::service::scim::ScimError;
use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

/// `scimType` of what another user has.
const UNIQUENESS: &str = "uniqueness";

const SCIM_JSON: HeaderValue = HeaderValue::from_static("application/scim+json");

/// Why a directory's request is refused.
#[derive(Debug)]
pub enum Refusal {
    /// With the standard's own word for it.
    Named(StatusCode, &'static str, String),
    /// As everywhere; put into SCIM's words at the edge.
    Problem(Box<Problem>),
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self::Named(StatusCode::BAD_REQUEST, fault.kind.scim_type(), fault.detail.to_owned())
    }
}

impl From<ServiceError> for Refusal {
    fn from(error: ServiceError) -> Self {
        // To a directory an erased person is one who is not there.
        let error = if matches!(error, ServiceError::Erased) { ServiceError::NotFound("user") } else { error };
        Self::Problem(Box::new(error.into()))
    }
}

impl From<ScimError> for Refusal {
    fn from(error: ScimError) -> Self {
        match error {
            ScimError::Fault(fault) => fault.into(),
            ScimError::Uniqueness(attribute) => {
                let detail = format!("another user of this directory has this `{attribute}`");
                Self::Named(StatusCode::CONFLICT, UNIQUENESS, detail)
            }
            ScimError::Service(error) => error.into(),
        }
    }
}

fn refused(status: StatusCode, scim_type: Option<&str>, detail: &str) -> Value {
    let mut body = json!({ "schemas": [ERROR], "status": status.as_u16().to_string(), "detail": detail });
    if let (Some(scim_type), Some(members)) = (scim_type, body.as_object_mut()) {
        members.insert("scimType".to_owned(), json!(scim_type));
    }
    body
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        match self {
            Self::Named(status, scim_type, detail) => fresh(status, &refused(status, Some(scim_type), &detail)),
            Self::Problem(problem) => problem.into_response(),
        }
    }
}

/// A problem in SCIM's words; its other headers stay.
pub(in super::super) fn in_words_of_scim(mut response: Response) -> Response {
    let Some(problem) = response.extensions_mut().remove::<Problem>() else { return response };
    let scim_type = match problem.code.as_str() {
        "not_json" => Some(FaultKind::InvalidSyntax.scim_type()),
        "query_invalid" | "invalid" => Some(FaultKind::InvalidValue.scim_type()),
        _ => None,
    };
    // SCIM has no 422: a body that cannot be used is a bad request.
    let status = response.status();
    let status = if status == StatusCode::UNPROCESSABLE_ENTITY { StatusCode::BAD_REQUEST } else { status };
    let detail = problem.detail.as_ref().map_or_else(
        || match problem.errors.first() {
            Some(error) => format!("{}: {}", problem.title, error.detail),
            None => problem.title.clone(),
        },
        |detail| format!("{}: {detail}", problem.title),
    );
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.remove(header::CONTENT_LENGTH);
    headers.insert(header::CONTENT_TYPE, SCIM_JSON);
    *response.body_mut() = Body::from(refused(status, scim_type, &detail).to_string());
    response
}

/// An answer that nobody keeps.
pub(super) fn fresh(status: StatusCode, body: &Value) -> Response {
    let headers = [(header::CONTENT_TYPE, SCIM_JSON), (header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    (status, headers, body.to_string()).into_response()
}

fn entity_tag(tag: &str) -> String {
    format!("W/\"{tag}\"")
}

fn tagged(mut response: Response, tag: &str) -> Response {
    if let Ok(tag) = HeaderValue::try_from(entity_tag(tag)) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

/// A resource under its version.
pub(super) fn resource(status: StatusCode, tag: &str, body: &Value) -> Response {
    let response = tagged(fresh(status, body), tag);
    let location = body.pointer("/meta/location").and_then(Value::as_str);
    with_header(response, header::CONTENT_LOCATION, location)
}

fn with_header(mut response: Response, name: HeaderName, value: Option<&str>) -> Response {
    if let Some(value) = value.and_then(|text| HeaderValue::try_from(text).ok()) {
        response.headers_mut().insert(name, value);
    }
    response
}

pub(super) fn not_modified(tag: &str) -> Response {
    tagged((StatusCode::NOT_MODIFIED, [(header::CACHE_CONTROL, "no-store")]).into_response(), tag)
}

/// Entity tags of a header without quotes and weakness; `None` without the header.
fn tags(headers: &HeaderMap, name: HeaderName) -> Option<Vec<String>> {
    let bare = |tag: &str| {
        let tag = tag.trim();
        tag.strip_prefix("W/").unwrap_or(tag).trim_matches('"').to_owned()
    };
    let lines = headers.get_all(&name).iter();
    headers.contains_key(&name).then(|| {
        lines.flat_map(|line| line.to_str().unwrap_or("").split(',')).map(bare).filter(|tag| !tag.is_empty()).collect()
    })
}

/// Whether the caller has all that would be told.
pub(super) fn is_known(headers: &HeaderMap, tag: &str) -> bool {
    tags(headers, header::IF_NONE_MATCH).is_some_and(|tags| tags.iter().any(|known| known == "*" || known == tag))
}

/// Versions of what the directory said that `If-Match` names, for a change to insist on; `None` without the header or for
/// `*`. SCIM's tags are weak and compared all the same (RFC 7644 section 3.14).
pub(super) fn if_match(headers: &HeaderMap) -> Option<Vec<i64>> {
    let found = tags(headers, header::IF_MATCH).filter(|tags| !tags.iter().any(|tag| tag == "*"))?;
    // What we say of eligibility is the part behind the hyphen: nobody changes it.
    Some(found.iter().filter_map(|tag| tag.split('-').next()?.parse().ok()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_compared_by_the_version_of_what_was_said() {
        let with = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::IF_MATCH, HeaderValue::from_static(value));
            headers.insert(header::IF_NONE_MATCH, HeaderValue::from_static(value));
            headers
        };
        assert_eq!(if_match(&HeaderMap::new()), None);
        assert_eq!(if_match(&with("*")), None);
        assert_eq!(if_match(&with("W/\"3\", \"4-ab\"")), Some(vec![3, 4]));
        assert_eq!(if_match(&with("W/\"abc\"")), Some(vec![]), "a tag that is not ours matches nothing");
        assert!(is_known(&with("W/\"3-ab\""), "3-ab") && is_known(&with("*"), "3-ab"));
        assert!(!is_known(&with("W/\"3\""), "3-ab") && !is_known(&with("W/\"3-cd\""), "3-ab"));
        assert!(!is_known(&HeaderMap::new(), "3"));
    }
}
