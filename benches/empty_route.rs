//! The floor under our HTTP edge: one route of the same framework, runtime and allocator that does nothing, by HTTP/1 and, for
//! whoever begins so, by HTTP/2; and a gRPC method that reads its question and answers with a message of no length.
//! `empty_route ADDRESS` serves until it is killed; without an address it does nothing, so that `cargo bench` ends.

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Response, header};
use axum::routing::{get, post};
use axum::serve::ListenerExt as _;
use http_body_util::{BodyExt as _, Full};
use mimalloc::MiMalloc;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Not compressed, no length.
const MESSAGE: &[u8] = &[0; 5];

async fn call(_question: Bytes) -> Response<Body> {
    let status = (HeaderName::from_static("grpc-status"), HeaderValue::from_static("0"));
    let body = Full::new(Bytes::from_static(MESSAGE)).with_trailers(async { Some(Ok(HeaderMap::from_iter([status]))) });
    let mut response = Response::new(Body::new(body));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

fn main() -> std::io::Result<()> {
    let Some(address) = std::env::args().nth(1).filter(|argument| !argument.starts_with('-')) else { return Ok(()) };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async move {
        let listener = tokio::net::TcpListener::bind(address).await?;
        let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
        let routes = Router::new().route("/", get(|| async {})).route("/grpc", post(call));
        // In a task, as the service has it: the thread that blocks here runs nothing.
        tokio::spawn(async move { axum::serve(listener, routes).await }).await?
    })
}
