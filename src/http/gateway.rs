//! `GET /gateway/check/{resource}`: one answer for every gateway that can ask by HTTP.

use super::Edge;
use super::extract::{Presented, presented};
use crate::intake::client_address::client_address;
use crate::service::ServiceError;
use crate::service::gateway::{Credential, Verdict};
use crate::service::world::Gateway;
use axum::Extension;
use axum::extract::{ConnectInfo, Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use vouchsafe_core::ids::ResourceId;

const DECISION: HeaderName = HeaderName::from_static("x-eligibility-decision");
const REASON: HeaderName = HeaderName::from_static("x-eligibility-reason");
const VALID_UNTIL: HeaderName = HeaderName::from_static("x-eligibility-valid-until");
const SUBJECT: HeaderName = HeaderName::from_static("x-eligibility-subject");
const STALE: HeaderName = HeaderName::from_static("x-eligibility-stale");
const TEST: HeaderName = HeaderName::from_static("x-eligibility-test");

pub(super) fn answer(status: StatusCode, set: &[(HeaderName, &str)]) -> Response {
    let mut response = status.into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    for (name, value) in set {
        if let Ok(value) = HeaderValue::from_str(value) {
            response.headers_mut().insert(name.clone(), value);
        }
    }
    response
}

pub(super) fn challenge(scheme: &str, error: &str) -> Response {
    let text = if error.is_empty() { scheme.to_owned() } else { format!("{scheme} error=\"{error}\"") };
    answer(StatusCode::UNAUTHORIZED, &[(header::WWW_AUTHENTICATE, text.as_str())])
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

/// The gateway behind the key that a request to a gateway's route brings.
pub(super) fn prove(edge: &Edge, route: &str, headers: &HeaderMap) -> Option<Proven> {
    if !route.starts_with("/gateway/") {
        return None;
    }
    edge.app.gateway(single(headers, "x-gateway-key")?).ok().map(Proven)
}

/// The address the caller's request came from, as a configured proxy wrote it. The peer of this connection is the
/// gateway: its own address is never the caller's, and without a word about the caller nothing is known.
pub(super) fn address(headers: &HeaderMap, peer: IpAddr, trusted: &[ipnet::IpNet]) -> Option<IpAddr> {
    let mut forwarded = Vec::new();
    for value in headers.get_all("x-forwarded-for") {
        // Bytes that are no text are no evidence.
        forwarded.push(value.to_str().ok()?);
    }
    client_address(peer, &forwarded, trusted).filter(|address| *address != peer.to_canonical())
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

/// May this caller pass to the resource? 200 with empty body, 401, 403 (or 451), 503 when it cannot know.
#[utoipa::path(get, path = "/gateway/check/{resource}", tag = "gateway", params(("resource" = String, Path), ("X-Gateway-Key" = String, Header), ("X-Vouchsafe-Caller" = Option<String>, Header), ("X-Vouchsafe-Acting-For" = Option<String>, Header), ("DPoP" = Option<String>, Header)),
    responses((status = 200, description = "pass"), (status = 401, description = "no valid credential"), (status = 403, description = "not eligible"), (status = 451, description = "not eligible, where configured"), (status = 503, description = "cannot know")))]
pub async fn check(
    State(edge): State<Edge>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Path(resource): Path<String>,
    proven: Option<Extension<Proven>>,
    headers: HeaderMap,
) -> Response {
    let Some(Extension(Proven(gateway))) = proven else { return challenge("Bearer", "") };
    let refused = StatusCode::from_u16(gateway.deny_status).unwrap_or(StatusCode::FORBIDDEN);
    let Ok(resource) = ResourceId::parse(&resource) else {
        return answer(refused, &[(REASON, "resource.ungoverned")]);
    };
    // SECURITY: the header counts only from a gateway that may assert; from any other it is as if it were not there.
    let asserted = if gateway.asserts { single(&headers, "x-vouchsafe-caller") } else { None };
    let brought = presented(&headers);
    let scheme = if matches!(brought, Presented::Dpop { .. }) { "DPoP" } else { "Bearer" };
    let credential = match (asserted, brought) {
        (Some(caller), _) => match acting_for(&headers) {
            Ok(acting_for) => Credential::Asserted(caller, acting_for),
            // SECURITY: a header that cannot be read is not one that is absent.
            Err(()) => return challenge(scheme, "invalid_request"),
        },
        (None, Presented::Bearer(token)) => Credential::Token(token),
        (None, Presented::Dpop { token, proof }) => Credential::Bound { token, proof, request: forwarded(&headers) },
        (None, Presented::None | Presented::Unreadable) => Credential::None,
    };
    let address = address(&headers, peer.ip(), &edge.trusted_proxies);
    match edge.app.check(&gateway, credential, &resource, address).await {
        Ok(Verdict::Admit(passed)) => {
            metrics::counter!("vouchsafe_gateway_checks_total", "answer" => "admit").increment(1);
            let mut set = vec![
                (DECISION, passed.decision.as_str()),
                (VALID_UNTIL, passed.valid_until.as_str()),
                (SUBJECT, passed.subject.as_str()),
            ];
            if passed.stale {
                set.push((STALE, "true"));
            }
            if edge.app.deployment.is_test() {
                set.push((TEST, "true"));
            }
            answer(StatusCode::OK, &set)
        }
        Ok(Verdict::Challenge(error)) => {
            metrics::counter!("vouchsafe_gateway_checks_total", "answer" => "challenge").increment(1);
            challenge(scheme, error)
        }
        Ok(Verdict::Refuse { reason, decision }) => {
            metrics::counter!("vouchsafe_gateway_checks_total", "answer" => "refuse").increment(1);
            let mut set = vec![(REASON, reason.as_str())];
            set.extend(decision.as_deref().map(|decision| (DECISION, decision)));
            answer(refused, &set)
        }
        Err(ServiceError::NotFound(_)) => answer(refused, &[(REASON, "resource.ungoverned")]),
        Err(error) => {
            tracing::error!(error = %error, "gateway check cannot be answered");
            metrics::counter!("vouchsafe_gateway_checks_total", "answer" => "unavailable").increment(1);
            answer(StatusCode::SERVICE_UNAVAILABLE, &[(header::RETRY_AFTER, "2")])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gateway_is_never_taken_for_the_caller() {
        let (peer, caller) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([198, 51, 100, 7]));
        let trusted = [ipnet::IpNet::from(peer)];
        let mut headers = HeaderMap::new();
        assert_eq!(address(&headers, peer, &[]), None);
        assert_eq!(address(&headers, peer, &trusted), None);
        headers.insert("x-forwarded-for", HeaderValue::from_static("198.51.100.7"));
        assert_eq!(address(&headers, peer, &[]), None, "an untrusted gateway's word counts nothing");
        assert_eq!(address(&headers, peer, &trusted), Some(caller));
        headers.insert("x-forwarded-for", HeaderValue::from_static("192.0.2.1"));
        assert_eq!(address(&headers, peer, &trusted), None);
    }
}
