//! `GET /gateway/events`: what a gateway is told at once, as server-sent events (WHATWG HTML, section 9.2).

use super::Edge;
use super::gateway::{Proven, Reply, single};
use crate::service::stream::Event;
use axum::Extension;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use hyper::body::Frame;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::sync::mpsc::Receiver;

/// For nginx: hand it on as it comes.
const UNBUFFERED: HeaderName = HeaderName::from_static("x-accel-buffering");

/// The events of one connection; a queue that its writer bounds.
struct Events(Receiver<Event>);

impl HttpBody for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|event| event.map(|event| Ok(Frame::data(text(&event).into()))))
    }
}

/// JSON has no line feed, so each is one line of data.
fn text(event: &Event) -> String {
    // Whoever is cut off comes back after two seconds.
    let retry = if matches!(event.name, "ready" | "reset") { "retry: 2000\n" } else { "" };
    format!("{retry}id: {}\nevent: {}\ndata: {}\n\n", event.id, event.name, event.data)
}

/// Where the gateway was: nothing, a position, or something that is none and lies before everything.
fn last_seen(headers: &HeaderMap) -> Option<i64> {
    const LAST: &str = "last-event-id";
    headers.contains_key(LAST).then(|| single(headers, LAST).and_then(|text| text.parse().ok()).unwrap_or(-1))
}

/// Tells a gateway to stop what is open: `subject.stop`, `token.stop`, `resource.stop`, `resource.resume`, `heartbeat`, after
/// `ready` or `reset`. `Last-Event-ID` goes on where a connection broke off.
#[utoipa::path(get, path = "/gateway/events", tag = "gateway", params(("X-Gateway-Key" = String, Header), ("Last-Event-ID" = Option<String>, Header)),
    responses((status = 200, description = "events, without end", content_type = "text/event-stream", body = String), (status = 401, description = "no known gateway"), (status = 503, description = "too many are open, or it cannot know")))]
pub async fn listen(State(edge): State<Edge>, proven: Option<Extension<Proven>>, headers: HeaderMap) -> Response {
    let Some(Extension(Proven(gateway))) = proven else { return Reply::challenge("Bearer", "").into_response() };
    match edge.app.stream(&gateway, last_seen(&headers)).await {
        Ok(events) => {
            let mut response = Reply::new(StatusCode::OK, &[(UNBUFFERED, "no")]).into_response();
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
            *response.body_mut() = Body::new(Events(events));
            response
        }
        Err(error) => {
            tracing::warn!(error = %error, "a gateway cannot be told what happens");
            Reply::new(StatusCode::SERVICE_UNAVAILABLE, &[(header::RETRY_AFTER, "10")]).into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_that_is_none_lies_before_everything() {
        let seen = |values: &[&str]| {
            let name = HeaderName::from_static("last-event-id");
            let values = values.iter().map(|value| (name.clone(), HeaderValue::from_str(value).unwrap()));
            last_seen(&values.collect())
        };
        assert_eq!((seen(&[]), seen(&["17"]), seen(&["x"]), seen(&["1", "2"])), (None, Some(17), Some(-1), Some(-1)));
    }
}
