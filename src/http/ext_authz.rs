//! Envoy's external authorisation (ext_authz) by HTTP: the caller's own request under a prefix. By gRPC: [`grpc`].

pub(super) mod grpc;
mod wire;

use super::Edge;
use super::arrival::RequestId;
use super::gateway::{self, OWN_REQUEST_HEADERS, OWN_RESULTS, Proven, Question, Reply};
use axum::Extension;
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use std::net::SocketAddr;

/// Where Envoy's `path_prefix` points, and the resource behind it.
const PREFIX: &str = "/gateway/envoy/";

/// The route of all checks by HTTP.
pub(super) const ROUTE: &str = "/gateway/envoy/{*question}";

/// Names that Envoy takes away from a request that passes.
const REMOVE: HeaderName = HeaderName::from_static("x-envoy-auth-headers-to-remove");

/// May the caller of this very request pass? Any method, whatever the body; 200 exactly where it may.
pub(super) async fn check(
    State(edge): State<Edge>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    proven: Option<Extension<Proven>>,
    id: Option<Extension<RequestId>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let (resource, path) = asked(&uri);
    let request = Some((method.as_str(), path));
    let (gateway, request_id) = (proven.as_deref(), id.as_deref().map(|id| &id.0));
    let question = Question { gateway, resource, headers: &headers, request, request_id, peer: peer.ip() };
    let mut reply = gateway::reply(&edge, question).await;
    if reply.status == StatusCode::OK
        && let Ok(names) = HeaderValue::try_from(to_remove(&reply).join(","))
    {
        reply.headers.insert(REMOVE, names);
    }
    reply.into_response()
}

/// The resource that the prefix names, and path and query that the caller asked for.
///
/// SECURITY: the resource ends at the first slash after the prefix, as it stands; what the caller wrote, whatever it
/// decodes to, comes after it.
fn asked(uri: &Uri) -> (&str, &str) {
    let text = uri.path_and_query().map_or("", |text| text.as_str());
    let rest = text.strip_prefix(PREFIX).unwrap_or_default();
    match rest.find('/') {
        Some(end) => rest.split_at(end),
        None => (rest, "/"),
    }
}

/// Names of ours that this answer does not set: what came under them from outside is not to reach the application.
fn to_remove(reply: &Reply) -> Vec<&'static str> {
    let unset = OWN_RESULTS.iter().filter(|name| !reply.headers.contains_key(*name));
    unset.chain(&OWN_REQUEST_HEADERS).map(HeaderName::as_str).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_callers_path_never_reaches_the_resource() {
        let of = |text: &str| {
            let uri: Uri = text.parse().unwrap();
            let (resource, path) = asked(&uri);
            (resource.to_owned(), path.to_owned())
        };
        for (path, resource, rest) in [
            ("/gateway/envoy/a.b/x?y=1", "a.b", "/x?y=1"),
            ("/gateway/envoy/a.b/", "a.b", "/"),
            ("/gateway/envoy/a.b", "a.b", "/"),
            ("/gateway/envoy/a.b//c.d/x", "a.b", "//c.d/x"),
            ("/gateway/envoy/a.b/../c.d/x", "a.b", "/../c.d/x"),
            ("/gateway/envoy/a.b/..%2fc.d", "a.b", "/..%2fc.d"),
            ("/gateway/envoy/a.b/gateway/envoy/c.d/x", "a.b", "/gateway/envoy/c.d/x"),
            ("http://c.d/gateway/envoy/a.b/x", "a.b", "/x"),
            // No id of a resource: refused as one that nobody governs.
            ("/gateway/envoy/a.b%2fc.d/x", "a.b%2fc.d", "/x"),
            ("/gateway/envoy/a.b;c.d/x", "a.b;c.d", "/x"),
            ("/gateway/envoy/a.b*", "a.b*", "/"),
            ("/gateway/envoy/a.b?x=/c.d", "a.b?x=", "/c.d"),
            ("/gateway/envoy//a.b/x", "", "/a.b/x"),
        ] {
            assert_eq!(of(path), (resource.to_owned(), rest.to_owned()), "{path}");
        }
    }
}
