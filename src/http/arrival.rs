//! What happens to every request before and after its handler: its id and trace, its rate limit, its deadline, its
//! metrics.

use super::ext_authz::grpc;
use super::extract::{ENCODED_NUL, Presented, presented};
use super::limits::{Standing, site};
use super::problem::{self, Problem};
use super::{Edge, gateway, scim, sso};
use crate::crypto::hex;
use crate::service::authenticate::Recognised;
use crate::telemetry::{self, Remote};
use axum::extract::{ConnectInfo, MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use metrics::{Counter, Histogram};
use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};
use tracing::Instrument as _;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Longest a request may take.
const DEADLINE: Duration = Duration::from_secs(15);

/// The id of a request, for its answer and the logs.
#[derive(Debug, Clone)]
pub struct RequestId(pub(super) HeaderValue);

/// What all requests share.
#[derive(Clone)]
pub(super) struct Hall {
    edge: Edge,
    ids: RequestIds,
    meters: Arc<Meters>,
}

impl Hall {
    pub(super) fn new(edge: Edge) -> Self {
        Self { edge, ids: RequestIds::default(), meters: Arc::default() }
    }
}

/// The one layer around every route.
pub(super) async fn receive(State(hall): State<Hall>, mut request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let id = sent_id(request.headers()).unwrap_or_else(|| hall.ids.make());
    let matched = request.extensions().get::<MatchedPath>().cloned();
    let route = matched.as_ref().map_or("unmatched", MatchedPath::as_str);
    let text = id.to_str().unwrap_or_default();
    let echoed = echoed(route, request.headers());
    let remote = traceparent(request.headers());
    let span = tracing::info_span!(
        "request",
        request.id = text,
        http.route = route,
        trace.id = remote.map(|remote| remote.trace),
        trace.parent = remote.map(|remote| remote.parent),
        // Set where traces are exported.
        otel.kind = tracing::field::Empty,
        otel.name = tracing::field::Empty,
    );
    telemetry::begin(&span, request.method().as_str(), route, remote.as_ref());
    request.extensions_mut().insert(RequestId(id.clone()));
    let standing = {
        let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.ip());
        let gateway = gateway::prove(&hall.edge, route, request.headers());
        let recognised = recognised(&hall.edge, route, request.headers(), gateway.as_ref()).await;
        let asker = recognised.as_ref().map(|recognised| recognised.id.as_str());
        let standing = standing(&hall.edge, route, request.headers(), peer, gateway.as_ref(), asker).await;
        if let Some(recognised) = recognised {
            request.extensions_mut().insert(recognised);
        }
        if let Some(gateway) = gateway {
            request.extensions_mut().insert(gateway);
        }
        standing
    };
    // Also where there is no such route.
    let scim = request.uri().path().starts_with("/scim/");
    let mut response = match standing {
        Some(standing) if standing.wait_secs > 0 => refuse(route, &standing),
        _ if (route.starts_with("/v1/") || scim) && request.uri().path().contains(ENCODED_NUL) => {
            problem::not_found().await.into_response()
        }
        _ => match tokio::time::timeout(DEADLINE, next.run(request).instrument(span.clone())).await {
            Ok(response) => response,
            Err(_) => Problem::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "cannot answer now").into_response(),
        },
    };
    if ["/v1/", "/oauth2/", "/access/", "/sso/", "/ssf/"].iter().any(|surface| route.starts_with(surface)) {
        problem::with_metadata(&mut response, &hall.edge.app.issuer);
    }
    if scim {
        response = scim::in_words_of_scim(response);
    }
    response = problem::with_request_id(response, id.to_str().ok());
    response.headers_mut().insert(REQUEST_ID, echoed.unwrap_or(id));
    // A gateway asks often and never reads them.
    if let Some(standing) = standing.filter(|standing| standing.wait_secs > 0 || !gateway::asks_here(route)) {
        standing.write(response.headers_mut());
    }
    telemetry::finish(&span, response.status().as_u16());
    count(&hall.meters, route, response.status(), begun);
    response
}

/// Whoever brings an access token of ours to where those are taken.
async fn recognised(
    edge: &Edge,
    route: &str,
    headers: &HeaderMap,
    gateway: Option<&gateway::Proven>,
) -> Option<Recognised> {
    let by_token = ["/v1/", "/ssf/"].iter().any(|own| route.starts_with(own))
        || (route.starts_with("/access/") && gateway.is_none())
        || matches!(route, "/oauth2/introspect" | "/oauth2/revoke");
    match presented(headers) {
        Presented::Bearer(token) | Presented::Dpop { token, .. } if by_token => edge.app.recognise(token).await,
        _ => None,
    }
}

/// Takes one from the asker's bucket. `None` where nothing limits.
async fn standing(
    edge: &Edge,
    route: &str,
    headers: &HeaderMap,
    peer: Option<IpAddr>,
    gateway: Option<&gateway::Proven>,
    recognised: Option<&str>,
) -> Option<Standing> {
    let now_ms = edge.app.clock.now_ms();
    let limits = &edge.limits;
    if matches!(route, "/livez" | "/readyz") {
        return None;
    }
    // SECURITY: an id counts only once it is proven; else strangers could empty a client's bucket, or fill memory.
    if let Some(client) = recognised {
        return limits.client.take(client, now_ms);
    }
    if (gateway::asks_here(route) || route.starts_with("/access/"))
        && let (Some(_), Some(key)) = (gateway, gateway::single(headers, "x-gateway-key"))
    {
        return limits.gateway.take(key, now_ms);
    }
    if route.starts_with("/sso/")
        && let Some(asker) = sso::asker(edge, headers).await
    {
        return limits.client.take(asker, now_ms);
    }
    if route.starts_with("/scim/")
        && let Some(asker) = scim::asker_id(edge, headers).await
    {
        return limits.client.take(asker, now_ms);
    }
    let peer = peer?;
    let asker = site(gateway::address(headers, peer, &edge.trusted_proxies).unwrap_or(peer));
    let class = if matches!(route, "/oauth2/token" | "/v1/operators/login") { &limits.token } else { &limits.public };
    class.take(asker, now_ms)
}

/// 429 in the shape of the surface that was asked.
fn refuse(route: &str, standing: &Standing) -> Response {
    metrics::counter!("vouchsafe_rate_limited_total", "class" => standing.class()).increment(1);
    let mut response = if route.starts_with("/oauth2/") {
        problem::oauth(StatusCode::TOO_MANY_REQUESTS, "temporarily_unavailable", "too many requests")
    } else if route == grpc::ROUTE {
        grpc::too_many(standing.wait_secs)
    } else if route.starts_with("/gateway/") || route.starts_with("/access/") {
        (StatusCode::TOO_MANY_REQUESTS, [(header::CACHE_CONTROL, "no-store")]).into_response()
    } else {
        Problem::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", "too many requests")
            .detail("wait as `Retry-After` says")
            .into_response()
    };
    response.headers_mut().insert(header::RETRY_AFTER, standing.wait_secs.into());
    response
}

/// The id that was sent, if it is one of 1 to 64 safe characters: it goes into logs and answers.
pub(super) fn sent_id(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut values = headers.get_all(REQUEST_ID).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let safe = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':');
    ((1..=64).contains(&value.len()) && value.as_bytes().iter().all(safe)).then(|| value.clone())
}

/// What AuthZEN wants back as it was sent, whatever it is. Logs and problems name ours where it is not safe there.
fn echoed(route: &str, headers: &HeaderMap) -> Option<HeaderValue> {
    let mut values = headers.get_all(REQUEST_ID).iter();
    let one = values.next().filter(|_| values.next().is_none());
    one.filter(|_| route.starts_with("/access/")).cloned()
}

/// A `traceparent` (W3C Trace Context level 1); anything unusual counts as absent.
fn traceparent(headers: &HeaderMap) -> Option<Remote<'_>> {
    let mut values = headers.get_all(TRACEPARENT).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let value = value.to_str().ok()?;
    let mut parts = value.split('-');
    let (version, trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let hex = |part: &str, length: usize| {
        part.len() == length && part.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    };
    let id = |part: &str, length: usize| hex(part, length) && part.bytes().any(|byte| byte != b'0');
    // A later version may say more after the flags; version 00 may not, and ff is forbidden.
    let ends = parts.next().is_none() || version != "00";
    let good = hex(version, 2) && version != "ff" && ends && id(trace, 32) && id(parent, 16) && hex(flags, 2);
    // The lowest bit says that the caller keeps its spans; the others are not for us.
    let sampled = u8::from_str_radix(flags, 16).is_ok_and(|flags| flags & 1 == 1);
    good.then_some(Remote { trace, parent, sampled })
}

/// Ids of requests that came without one: the process's start and a number.
#[derive(Clone)]
struct RequestIds {
    start: u64,
    next: Arc<AtomicU64>,
}

impl Default for RequestIds {
    fn default() -> Self {
        Self { start: RandomState::new().hash_one(0), next: Arc::default() }
    }
}

impl RequestIds {
    fn make(&self) -> HeaderValue {
        let next = self.next.fetch_add(1, Ordering::Relaxed);
        let id = hex(&[self.start.to_be_bytes(), next.to_be_bytes()].concat());
        HeaderValue::try_from(id).unwrap_or_else(|_| HeaderValue::from_static("unknown"))
    }
}

/// Meters by status and route: finding one by its labels costs more than counting.
type Meters = RwLock<HashMap<u16, HashMap<String, (Counter, Histogram)>>>;

/// Counts and times requests by route, never by path: paths hold subject ids.
fn count(meters: &Meters, route: &str, status: StatusCode, begun: Instant) {
    let status = status.as_u16();
    let elapsed = begun.elapsed().as_secs_f64();
    if let Some((counter, histogram)) =
        meters.read().unwrap_or_else(PoisonError::into_inner).get(&status).and_then(|routes| routes.get(route))
    {
        counter.increment(1);
        histogram.record(elapsed);
        return;
    }
    let counter =
        metrics::counter!("vouchsafe_http_requests_total", "route" => route.to_owned(), "status" => status.to_string());
    let histogram = metrics::histogram!("vouchsafe_http_request_duration_seconds", "route" => route.to_owned());
    counter.increment(1);
    histogram.record(elapsed);
    let mut meters = meters.write().unwrap_or_else(PoisonError::into_inner);
    meters.entry(status).or_default().insert(route.to_owned(), (counter, histogram));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: HeaderName, values: &[&str]) -> HeaderMap {
        values.iter().map(|value| (name.clone(), HeaderValue::from_bytes(value.as_bytes()).unwrap())).collect()
    }

    #[test]
    fn an_id_is_taken_over_only_if_it_is_short_and_safe() {
        let taken = |values: &[&str]| sent_id(&headers(REQUEST_ID, values)).is_some();
        assert!(taken(&["a"]) && taken(&["7f-A_b.c:9"]) && taken(&[&"x".repeat(64)]));
        for bad in ["", "a b", "a\tb", "é", "a\"b", "a=b", "<a>", "a/b", &"x".repeat(65)] {
            assert!(!taken(&[bad]), "{bad}");
        }
        assert!(!taken(&["a", "a"]) && !taken(&[]));
    }

    #[test]
    fn a_traceparent_is_read_strictly() {
        let (trace, parent) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
        let read = |text: &str| traceparent(&headers(TRACEPARENT, &[text])).is_some();
        let headers_good = headers(TRACEPARENT, &[&format!("00-{trace}-{parent}-01")]);
        assert_eq!(traceparent(&headers_good), Some(Remote { trace, parent, sampled: true }));
        for (flags, sampled) in [("00", false), ("02", false), ("03", true), ("ff", true)] {
            let headers = headers(TRACEPARENT, &[&format!("00-{trace}-{parent}-{flags}")]);
            assert_eq!(traceparent(&headers).map(|remote| remote.sampled), Some(sampled), "{flags}");
        }
        assert!(read(&format!("00-{trace}-{parent}-00")));
        assert!(read(&format!("cc-{trace}-{parent}-01-later")));
        for bad in [
            String::new(),
            format!("00-{trace}-{parent}"),
            format!("00-{trace}-{parent}-01-later"),
            format!("00-{trace}-{parent}-1"),
            format!("ff-{trace}-{parent}-01"),
            format!("0-{trace}-{parent}-01"),
            format!("00-{}-{parent}-01", trace.to_uppercase()),
            format!("00-{}-{parent}-01", "0".repeat(32)),
            format!("00-{trace}-{}-01", "0".repeat(16)),
            format!("00-{trace}f-{parent}-01"),
            format!("00-{trace}-{parent}-0g"),
            format!("00_{trace}_{parent}_01"),
        ] {
            assert!(!read(&bad), "{bad}");
        }
        let twice = format!("00-{trace}-{parent}-01");
        assert_eq!(traceparent(&headers(TRACEPARENT, &[&twice, &twice])), None);
    }
}
