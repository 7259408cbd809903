//! `envoy.service.auth.v3.Authorization/Check`: the gateway's question by gRPC, answered as by HTTP.

use super::super::Edge;
use super::super::arrival::{RequestId, sent_id};
use super::super::gateway::{self, Proven, Question, Reply};
use super::to_remove;
use super::wire::{
    CheckRequest, CheckResponse, DeniedHttpResponse, HeaderOption, HeaderPair, HttpRequest, HttpResponse, HttpStatus,
    OVERWRITE, OkHttpResponse, Status as Rpc,
};
use crate::intake::client_address::ForwardedHeader;
use axum::Extension;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use http_body_util::{BodyExt as _, Full};
use prost::Message as _;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use tonic::server::{Grpc, UnaryService};
use tonic::{Code, Status};
use tonic_prost::ProstCodec;

/// The one method.
pub(in crate::http) const ROUTE: &str = "/envoy.service.auth.v3.Authorization/Check";

/// Where the gateway's settings of a route name the resource.
const RESOURCE: &str = "resource";

/// Largest question, in bytes: Envoy takes 60 KiB of headers from its callers, and their bodies are not for us.
const LARGEST: usize = 128 * 1024;

/// Answers one call.
pub(in crate::http) async fn check(
    State(edge): State<Edge>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    proven: Option<Extension<Proven>>,
    request: Request,
) -> Response {
    let asked = Asked { edge, gateway: proven.map(|Extension(gateway)| gateway), peer: peer.ip() };
    let mut grpc = Grpc::new(ProstCodec::<CheckResponse, CheckRequest>::default()).max_decoding_message_size(LARGEST);
    grpc.unary(asked, request).await.map(axum::body::Body::new)
}

/// A call that is none of ours.
pub(in crate::http) async fn unknown() -> Response {
    failed(Code::Unimplemented, "the one method here is `envoy.service.auth.v3.Authorization/Check`")
}

/// Too many calls, said as an answer: no `failure_mode_allow` makes a yes of it.
pub(in crate::http) fn too_many(wait_secs: i64) -> Response {
    let wait = wait_secs.to_string();
    let reply = Reply::new(StatusCode::TOO_MANY_REQUESTS, &[(header::RETRY_AFTER, &wait)]);
    let message = say(reply).encode_to_vec();
    let Ok(length) = u32::try_from(message.len()) else { return failed(Code::ResourceExhausted, "too many requests") };
    // A message that is not compressed, and its length (the protocol's `Length-Prefixed-Message`).
    let frame: Vec<u8> = [0].into_iter().chain(length.to_be_bytes()).chain(message).collect();
    let ended = HeaderMap::from_iter([(HeaderName::from_static("grpc-status"), HeaderValue::from_static("0"))]);
    let body = Full::new(Bytes::from(frame)).with_trailers(async move { Some(Ok(ended)) });
    ([(header::CONTENT_TYPE, "application/grpc")], axum::body::Body::new(body)).into_response()
}

/// A call that came to no answer, as gRPC says it.
pub(in crate::http) fn failed(code: Code, message: &str) -> Response {
    Status::new(code, message).into_http::<axum::body::Body>().into_response()
}

struct Asked {
    edge: Edge,
    gateway: Option<Proven>,
    peer: IpAddr,
}

impl UnaryService<CheckRequest> for Asked {
    type Response = CheckResponse;
    type Future = Pin<Box<dyn Future<Output = Result<tonic::Response<CheckResponse>, Status>> + Send>>;

    fn call(&mut self, request: tonic::Request<CheckRequest>) -> Self::Future {
        let (edge, gateway, peer) = (self.edge.clone(), self.gateway.clone(), self.peer);
        let own_id = request.extensions().get::<RequestId>().map(|id| id.0.clone());
        Box::pin(async move {
            let context = request.into_inner().attributes.unwrap_or_default();
            let resource = context.context_extensions.get(RESOURCE).map_or("", String::as_str);
            let http = context.request.and_then(|request| request.http).unwrap_or_default();
            let source = context.source.and_then(|source| source.address?.socket_address);
            let source = source.as_ref().map(|source| source.address.as_str());
            let headers = headers(&http, source, edge.trusted_proxies.header);
            let request = Some((http.method.as_str(), http.path.as_str())).filter(|(_, path)| path.starts_with('/'));
            // The caller knows the id of its own request; ours is that of the gateway's question.
            let id = sent_id(&headers).or(own_id);
            let (gateway, request_id) = (gateway.as_ref(), id.as_ref());
            let question = Question { gateway, resource, headers: &headers, request, request_id, peer };
            Ok(tonic::Response::new(say(gateway::reply(&edge, question).await)))
        })
    }
}

/// A value that is no text. SECURITY: what cannot be read is not taken for what is not there.
fn unreadable() -> HeaderValue {
    HeaderValue::from_bytes(&[0xff]).unwrap_or(HeaderValue::from_static(""))
}

/// The caller's headers, and as the last hop the address that Envoy itself saw.
fn headers(http: &HttpRequest, source: Option<&str>, forwarded: ForwardedHeader) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let mut add = |name: &str, value: &[u8]| {
        // Names such as `:path` are no headers.
        if let Ok(name) = HeaderName::from_bytes(name.as_bytes()) {
            headers.append(name, HeaderValue::from_bytes(value).unwrap_or_else(|_| unreadable()));
        }
    };
    match &http.header_map {
        Some(raw) => raw.headers.iter().for_each(|pair| {
            add(&pair.key, if pair.raw_value.is_empty() { pair.value.as_bytes() } else { &pair.raw_value });
        }),
        None => http.headers.iter().for_each(|(name, value)| add(name, value.as_bytes())),
    }
    if let Some(source) = source {
        add(forwarded.name(), forwarded.entry(source).as_bytes());
    }
    headers
}

/// The reply in Envoy's words. What cannot be known is a refusal too, so that no `failure_mode_allow` makes a yes of it.
fn say(reply: Reply) -> CheckResponse {
    let code = match reply.status {
        StatusCode::OK => Code::Ok,
        StatusCode::UNAUTHORIZED => Code::Unauthenticated,
        StatusCode::SERVICE_UNAVAILABLE => Code::Unavailable,
        StatusCode::TOO_MANY_REQUESTS => Code::ResourceExhausted,
        _ => Code::PermissionDenied,
    };
    let http_response = if code == Code::Ok {
        let own = |name: &HeaderName| gateway::OWN_RESULTS.contains(name);
        let headers_to_remove = to_remove(&reply).into_iter().map(str::to_owned).collect();
        HttpResponse::Ok(OkHttpResponse { headers: options(&reply.headers, own), headers_to_remove })
    } else {
        HttpResponse::Denied(DeniedHttpResponse {
            status: Some(HttpStatus { code: reply.status.as_u16().into() }),
            headers: options(&reply.headers, |_| true),
            body: String::from_utf8(reply.body.into()).unwrap_or_default(),
        })
    };
    CheckResponse { status: Some(Rpc { code: code.into() }), http_response: Some(http_response) }
}

fn options(headers: &HeaderMap, wanted: impl Fn(&HeaderName) -> bool) -> Vec<HeaderOption> {
    let wanted = headers.iter().filter(|(name, _)| wanted(name));
    let text = wanted.filter_map(|(name, value)| Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned())));
    text.map(|(key, value)| HeaderOption {
        header: Some(HeaderPair { key, value, raw_value: Vec::new() }),
        append_action: OVERWRITE,
    })
    .collect()
}
