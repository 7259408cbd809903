//! `GET /gateway/check/{resource}`: one answer for every gateway that can ask by HTTP.

pub(super) mod refusal;

use super::Edge;
use super::arrival::RequestId;
use super::ext_authz::grpc;
use super::extract::{Presented, presented};
use crate::intake::client_address::Proxies;
use crate::service::end_users::Named;
use crate::service::gateway::{Credential, Verdict};
use crate::service::world::Gateway;
use crate::service::{ServiceError, ServiceResult};
use axum::Extension;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use refusal::Refusal;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use vouchsafe_core::ids::ResourceId;

const DECISION: HeaderName = HeaderName::from_static("x-eligibility-decision");
const REASON: HeaderName = HeaderName::from_static("x-eligibility-reason");
const VALID_UNTIL: HeaderName = HeaderName::from_static("x-eligibility-valid-until");
const SUBJECT: HeaderName = HeaderName::from_static("x-eligibility-subject");
const END_USER: HeaderName = HeaderName::from_static("x-eligibility-end-user");
const END_USER_DECISION: HeaderName = HeaderName::from_static("x-eligibility-end-user-decision");
const STALE: HeaderName = HeaderName::from_static("x-eligibility-stale");
const TEST: HeaderName = HeaderName::from_static("x-eligibility-test");

/// Every name under which an answer may say something.
pub(super) static OWN_RESULTS: [HeaderName; 8] =
    [DECISION, REASON, VALID_UNTIL, SUBJECT, END_USER, END_USER_DECISION, STALE, TEST];

/// What a gateway says to us; from a caller these names say nothing to anybody.
pub(super) static OWN_REQUEST_HEADERS: [HeaderName; 4] = [
    HeaderName::from_static("x-gateway-key"),
    HeaderName::from_static("x-vouchsafe-caller"),
    HeaderName::from_static("x-vouchsafe-acting-for"),
    HeaderName::from_static("x-vouchsafe-end-user"),
];

/// What a check came to, before a socket says it: HTTP, ext_authz by HTTP and ext_authz by gRPC say the same.
#[derive(Debug)]
pub(super) struct Reply {
    /// 200 lets pass, exactly.
    pub(super) status: StatusCode,
    /// What the gateway, and through it the application or the caller, learns.
    pub(super) headers: HeaderMap,
    /// For the caller who may not pass; empty where there is nothing to say.
    pub(super) body: Bytes,
}

impl Reply {
    pub(super) fn new(status: StatusCode, set: &[(HeaderName, &str)]) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        for (name, value) in set {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(name.clone(), value);
            }
        }
        Self { status, headers, body: Bytes::new() }
    }

    pub(super) fn challenge(scheme: &str, error: &str) -> Self {
        let text = if error.is_empty() { scheme.to_owned() } else { format!("{scheme} error=\"{error}\"") };
        Self::new(StatusCode::UNAUTHORIZED, &[(header::WWW_AUTHENTICATE, text.as_str())])
    }
}

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        (self.status, self.headers, self.body).into_response()
    }
}

/// One value of a header; given twice it counts as unusable.
pub(super) fn single<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok().map(str::trim).filter(|text| !text.is_empty()),
        _ => None,
    }
}

/// The gateway that asks, proven by its key: once for a request, before its rate is looked at.
#[derive(Debug, Clone)]
pub struct Proven(pub(super) Arc<Gateway>);

/// Whether a route is one that gateways ask at.
pub(super) fn asks_here(route: &str) -> bool {
    route.starts_with("/gateway/") || route == grpc::ROUTE
}

/// The gateway behind the key that a request to a gateway's route brings.
pub(super) fn prove(edge: &Edge, route: &str, headers: &HeaderMap) -> Option<Proven> {
    if !(asks_here(route) || route.starts_with("/access/")) {
        return None;
    }
    edge.app.gateway(single(headers, "x-gateway-key")?).ok().map(Proven)
}

/// The address the caller's request came from, as a configured proxy wrote it. The peer of this connection is the
/// gateway: its own address is never the caller's, and without a word about the caller nothing is known.
pub(super) fn address(headers: &HeaderMap, peer: IpAddr, proxies: &Proxies) -> Option<IpAddr> {
    let mut forwarded = Vec::new();
    for value in headers.get_all(proxies.header.name()) {
        // Bytes that are no text are no evidence.
        forwarded.push(value.to_str().ok()?);
    }
    // Asked about nobody forwarded for, it is the peer itself.
    let itself = proxies.client(peer, &[]);
    proxies.client(peer, &forwarded).filter(|address| Some(*address) != itself)
}

/// The organisation that an asserted caller acts for, `org_…` or `sub_…`; given twice or unreadable it is an error.
fn acting_for(headers: &HeaderMap) -> Result<Option<&str>, ()> {
    const NAME: &str = "x-vouchsafe-acting-for";
    match (headers.contains_key(NAME), single(headers, NAME)) {
        (false, _) => Ok(None),
        (true, Some(text)) => Ok(Some(text)),
        (true, None) => Err(()),
    }
}

/// The handle of the end user for whom the caller asks.
fn end_user(headers: &HeaderMap) -> Named<'_> {
    const NAME: &str = "x-vouchsafe-end-user";
    match (headers.contains_key(NAME), single(headers, NAME)) {
        (false, _) => Named::Nobody,
        (true, Some(handle)) => Named::Handle(handle),
        // SECURITY: a header that cannot be read is not one that is absent; whether it matters is for the policy to say.
        (true, None) => Named::Unreadable,
    }
}

/// Method and path of the caller's own request, as the gateway names them: `X-Forwarded-Method` and `X-Forwarded-Uri`, or
/// `X-Original-Method` and `X-Original-URI`.
fn forwarded(headers: &HeaderMap) -> Option<(&str, &str)> {
    let pairs = [("x-forwarded-method", "x-forwarded-uri"), ("x-original-method", "x-original-uri")];
    // SECURITY: two pairs may contradict each other, and one of them may be the caller's own.
    let mut given =
        pairs.into_iter().filter(|(method, uri)| headers.contains_key(*method) || headers.contains_key(*uri));
    let (Some((method, uri)), None) = (given.next(), given.next()) else { return None };
    Some((single(headers, method)?, single(headers, uri).filter(|uri| uri.starts_with('/'))?))
}

/// What a gateway asks: for whom the headers speak, and to which resource.
#[derive(Debug)]
pub(super) struct Question<'q> {
    /// The gateway, if its key proved it.
    pub(super) gateway: Option<&'q Proven>,
    /// From the gateway's own configuration.
    pub(super) resource: &'q str,
    /// The caller's credential and address, or the caller whom the gateway asserts.
    pub(super) headers: &'q HeaderMap,
    /// Method and path of the caller's own request, where the gateway names them.
    pub(super) request: Option<(&'q str, &'q str)>,
    /// The id by which the caller can ask about a refusal.
    pub(super) request_id: Option<&'q HeaderValue>,
    /// The other end of the gateway's connection.
    pub(super) peer: IpAddr,
}

/// The one answer to a gateway, whichever socket it asked at.
pub(super) async fn reply(edge: &Edge, question: Question<'_>) -> Reply {
    let Question { gateway, resource, headers, request, request_id, peer } = question;
    let Some(Proven(gateway)) = gateway else { return Reply::challenge("Bearer", "") };
    let refusal = Refusal { edge, gateway, headers, request_id };
    let Ok(resource) = ResourceId::parse(resource) else {
        return refusal.because("resource.ungoverned", None, None);
    };
    // SECURITY: the header counts only from a gateway that may assert; from any other it is as if it were not there.
    let asserted = if gateway.asserts { single(headers, "x-vouchsafe-caller") } else { None };
    let brought = presented(headers);
    let scheme = if matches!(brought, Presented::Dpop { .. }) { "DPoP" } else { "Bearer" };
    let credential = match (asserted, brought) {
        (Some(caller), _) => match acting_for(headers) {
            Ok(acting_for) => Credential::Asserted(caller, acting_for),
            // SECURITY: a header that cannot be read is not one that is absent.
            Err(()) => return Reply::challenge(scheme, "invalid_request"),
        },
        (None, Presented::Bearer(token)) => Credential::Token(token),
        (None, Presented::Dpop { token, proof }) => Credential::Bound { token, proof, request },
        (None, Presented::None | Presented::Unreadable) => Credential::None,
    };
    let address = address(headers, peer, &edge.trusted_proxies);
    // SECURITY: as with callers, an end user is named by gateways that may; to others a token names them.
    let end_user = if gateway.asserts { end_user(headers) } else { Named::Nobody };
    let verdict = edge.app.check(gateway, credential, end_user, &resource, address).await;
    say(edge, verdict, scheme, &refusal)
}

fn say(edge: &Edge, verdict: ServiceResult<Verdict>, scheme: &str, refusal: &Refusal<'_>) -> Reply {
    let count = |answer| metrics::counter!("vouchsafe_gateway_checks_total", "answer" => answer).increment(1);
    match verdict {
        Ok(Verdict::Admit(passed)) => {
            count("admit");
            let mut set = vec![
                (DECISION, passed.answer.id.as_str()),
                (VALID_UNTIL, passed.valid_until.as_str()),
                (SUBJECT, passed.subject.as_str()),
            ];
            if let Some((end_user, decision)) = &passed.end_user {
                set.extend([(END_USER, end_user.as_str()), (END_USER_DECISION, decision.as_str())]);
            }
            if passed.stale {
                set.push((STALE, "true"));
            }
            if edge.app.deployment.is_test() {
                set.push((TEST, "true"));
            }
            Reply::new(StatusCode::OK, &set)
        }
        Ok(Verdict::Challenge(error)) => {
            count("challenge");
            Reply::challenge(scheme, error)
        }
        Ok(Verdict::Refuse { reason, decision, answer }) => {
            count("refuse");
            refusal.because(&reason, decision.as_deref(), answer.as_deref())
        }
        Err(ServiceError::NotFound(_)) => refusal.because("resource.ungoverned", None, None),
        Err(error) => {
            tracing::error!(error = %error, "gateway check cannot be answered");
            count("unavailable");
            Reply::new(StatusCode::SERVICE_UNAVAILABLE, &[(header::RETRY_AFTER, "2")])
        }
    }
}

/// May this caller pass to the resource? 200 with empty body, 401, 403 (or 451), 503 when it cannot know.
#[utoipa::path(get, path = "/gateway/check/{resource}", tag = "gateway", params(("resource" = String, Path), ("X-Gateway-Key" = String, Header), ("X-Vouchsafe-Caller" = Option<String>, Header), ("X-Vouchsafe-Acting-For" = Option<String>, Header), ("X-Vouchsafe-End-User" = Option<String>, Header), ("DPoP" = Option<String>, Header)),
    responses((status = 200, description = "pass"), (status = 401, description = "no valid credential"), (status = 403, description = "not eligible; a problem, or a page where `Accept` wants one", content_type = "application/problem+json", body = Object), (status = 451, description = "not eligible, where configured", content_type = "application/problem+json", body = Object), (status = 503, description = "cannot know")))]
pub async fn check(
    State(edge): State<Edge>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Path(resource): Path<String>,
    proven: Option<Extension<Proven>>,
    id: Option<Extension<RequestId>>,
    headers: HeaderMap,
) -> Response {
    let question = Question {
        gateway: proven.as_deref(),
        resource: &resource,
        headers: &headers,
        request: forwarded(&headers),
        request_id: id.as_deref().map(|id| &id.0),
        peer: peer.ip(),
    };
    reply(&edge, question).await.into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gateway_is_never_taken_for_the_caller() {
        let (peer, caller) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([198, 51, 100, 7]));
        let nobody = Proxies::default();
        let trusted = Proxies { trusted: vec![ipnet::IpNet::from(peer)], ..Proxies::default() };
        let mut headers = HeaderMap::new();
        assert_eq!(address(&headers, peer, &nobody), None);
        assert_eq!(address(&headers, peer, &trusted), None);
        headers.insert("x-forwarded-for", HeaderValue::from_static("198.51.100.7"));
        assert_eq!(address(&headers, peer, &nobody), None, "an untrusted gateway's word counts nothing");
        assert_eq!(address(&headers, peer, &trusted), Some(caller));
        headers.insert("x-forwarded-for", HeaderValue::from_static("192.0.2.1"));
        assert_eq!(address(&headers, peer, &trusted), None);
    }
}
