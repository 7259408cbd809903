//! Conditional requests (RFC 9110 section 13): the entity tag of a thing with versions is its version.

use super::problem::Problem;
use axum::Json;
use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;

/// The strong entity tag of a version.
fn tag(version: i64) -> String {
    format!("\"{version}\"")
}

/// Entity tags of a header as written, `None` without the header. A comma ends a tag: ours hold none.
fn tags(headers: &HeaderMap, name: &HeaderName) -> Option<Vec<String>> {
    let lines = headers.get_all(name).iter();
    headers.contains_key(name).then(|| {
        lines
            .flat_map(|line| line.to_str().unwrap_or("").split(','))
            .map(|tag| tag.trim().to_owned())
            .filter(|tag| !tag.is_empty())
            .collect()
    })
}

/// Versions that `If-Match` names, for a change to insist on; `None` without the header or for `*`. A tag that is not
/// ours and a weak one match nothing.
#[derive(Debug)]
pub struct IfMatch(pub Option<Vec<i64>>);

impl<S: Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let found = tags(&parts.headers, &header::IF_MATCH).filter(|found| !found.iter().any(|tag| tag == "*"));
        let version = |text: &String| {
            let version = text.strip_prefix('"')?.strip_suffix('"')?.parse().ok()?;
            (*text == tag(version)).then_some(version)
        };
        Ok(Self(found.map(|found| found.iter().filter_map(version).collect())))
    }
}

/// Whether the caller names the tag as what it has.
fn is_known(headers: &HeaderMap, tag: &str) -> bool {
    tags(headers, &header::IF_NONE_MATCH)
        .is_some_and(|found| found.iter().any(|given| given == "*" || given.strip_prefix("W/").unwrap_or(given) == tag))
}

/// The thing at its version, or 304 for who has it already.
pub(crate) fn at_version(headers: &HeaderMap, version: i64, body: &impl Serialize) -> Response {
    let tag = tag(version);
    let known = is_known(headers, &tag);
    let set = [(header::ETAG, tag.as_str()), (header::CACHE_CONTROL, "no-store")];
    if known { (StatusCode::NOT_MODIFIED, set).into_response() } else { (set, Json(body)).into_response() }
}

/// What everybody may fetch and keep for `max_age` seconds, under a strong tag; or 304 for who has it already.
pub(crate) fn published(
    headers: &HeaderMap,
    tag: &str,
    content_type: &'static str,
    max_age: i64,
    body: impl Into<Body>,
) -> Response {
    let tag = format!("\"{tag}\"");
    let known = is_known(headers, &tag);
    let set = [
        (header::ETAG, tag),
        (header::CACHE_CONTROL, format!("public, max-age={max_age}")),
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*".to_owned()),
    ];
    if known {
        return (StatusCode::NOT_MODIFIED, set).into_response();
    }
    (set, [(header::CONTENT_TYPE, content_type)], body.into()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::{HeaderValue, Request};

    async fn if_match(values: &[&'static str]) -> Option<Vec<i64>> {
        let mut request = Request::new(());
        for value in values {
            request.headers_mut().append(header::IF_MATCH, HeaderValue::from_static(value));
        }
        IfMatch::from_request_parts(&mut request.into_parts().0, &()).await.unwrap().0
    }

    #[tokio::test]
    async fn only_strong_tags_of_ours_match() {
        assert_eq!(if_match(&[]).await, None);
        assert_eq!(if_match(&["*"]).await, None);
        assert_eq!(if_match(&["\"3\""]).await, Some(vec![3]));
        assert_eq!(if_match(&["\"3\", \"x\"", "\"4\""]).await, Some(vec![3, 4]));
        for foreign in ["W/\"3\"", "3", "\"03\"", "\"+3\"", "\"\"", ""] {
            assert_eq!(if_match(&[foreign]).await, Some(vec![]), "{foreign}");
        }
    }

    #[test]
    fn who_has_the_version_gets_no_body() {
        let status = |value: &'static str| {
            let headers = [(header::IF_NONE_MATCH, HeaderValue::from_static(value))].into_iter().collect();
            at_version(&headers, 3, &"body").status().as_u16()
        };
        for same in ["\"3\"", "W/\"3\"", "\"2\", \"3\"", "*"] {
            assert_eq!(status(same), 304, "{same}");
        }
        for other in ["\"2\"", "3", "\"33\""] {
            assert_eq!(status(other), 200, "{other}");
        }
    }
}
