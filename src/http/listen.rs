//! The listener: connections in bounded number, each with bounded patience for its next request.

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use axum::response::Response;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower_service::Service as _;

/// Bounds of a listener.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Most connections at once; further ones wait unaccepted.
    pub connections: usize,
    /// How long a connection may take to send the head of its next request; the idle time of a kept connection too. By
    /// HTTP/2, where connections stay: to send its first bytes, and to answer when it is asked whether it is still there.
    pub patience: Duration,
}

/// What is spoken at a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 without negotiation, as gRPC speaks it within a network.
    Http2,
}

/// Most calls at once on one HTTP/2 connection; further ones wait.
const STREAMS: u32 = 1_000;

/// Largest head of an HTTP/2 request, in bytes.
const HEAD: u32 = 64 * 1024;

/// The bytes that an HTTP/2 connection begins with.
const PREFACE: usize = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".len();

impl Default for Bounds {
    fn default() -> Self {
        Self { connections: 10_000, patience: Duration::from_secs(60) }
    }
}

/// How long to rest when the system has no descriptor left for a new connection.
const REST: Duration = Duration::from_millis(100);

/// Serves until `stop`, then answers what is under way and closes.
pub async fn listen(listener: TcpListener, routes: Router, wire: Wire, bounds: Bounds, stop: CancellationToken) {
    let graceful = GracefulShutdown::new();
    let room = Arc::new(Semaphore::new(bounds.connections));
    while let Some(Ok(place)) = stop.run_until_cancelled(Arc::clone(&room).acquire_owned()).await {
        let Some(accepted) = stop.run_until_cancelled(listener.accept()).await else { break };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection cannot be accepted");
                tokio::time::sleep(REST).await;
                continue;
            }
        };
        // A failure to set it costs latency, nothing else.
        let _ = stream.set_nodelay(true);
        let (routes, watcher) = (routes.clone(), graceful.watcher());
        tokio::spawn(async move {
            match wire {
                Wire::Http1 => one(stream, peer, routes, bounds, watcher).await,
                Wire::Http2 => many(stream, peer, routes, bounds, watcher).await,
            }
            drop(place);
        });
    }
    drop(listener);
    graceful.shutdown().await;
}

/// A connection that carries one request at a time.
async fn one(stream: TcpStream, peer: SocketAddr, routes: Router, bounds: Bounds, watcher: Watcher) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(bounds.patience);
    let service = service_fn(|request| answer(&routes, peer, request));
    // Broken connections are everyday life and concern nobody else.
    let _ = watcher.watch(http.serve_connection(TokioIo::new(stream), service)).await;
}

/// A connection that carries many at once.
async fn many(stream: TcpStream, peer: SocketAddr, routes: Router, bounds: Bounds, watcher: Watcher) {
    if !begins(&stream, bounds.patience).await {
        return;
    }
    let mut http = http2::Builder::new(TokioExecutor::new());
    http.timer(TokioTimer::new())
        .keep_alive_interval(bounds.patience)
        .keep_alive_timeout(bounds.patience)
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(HEAD);
    let service = service_fn(move |request| answer(&routes, peer, request));
    let _ = watcher.watch(http.serve_connection(TokioIo::new(stream), service)).await;
}

/// Whether a connection begins in time: until its first bytes are there, HTTP/2 looks at no clock.
async fn begins(stream: &TcpStream, patience: Duration) -> bool {
    let mut begun = [0; PREFACE];
    let all = async {
        loop {
            match stream.peek(&mut begun).await {
                Ok(PREFACE) => return true,
                Ok(0) | Err(_) => return false,
                // What is there already makes the socket readable, so only the clock can tell when there is more.
                Ok(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    };
    tokio::time::timeout(patience, all).await.unwrap_or(false)
}

fn answer(
    routes: &Router,
    peer: SocketAddr,
    request: hyper::Request<hyper::body::Incoming>,
) -> impl Future<Output = Result<Response, Infallible>> + use<> {
    let mut request: Request = request.map(Body::new);
    request.extensions_mut().insert(ConnectInfo(peer));
    // A router is always ready.
    routes.clone().call(request)
}
