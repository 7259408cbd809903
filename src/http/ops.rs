//! Health and metrics.

use super::Edge;
use axum::extract::State;
use axum::http::StatusCode;

/// The process lives.
#[utoipa::path(get, path = "/livez", tag = "operations", responses((status = 200, description = "alive")))]
pub async fn livez() -> StatusCode {
    StatusCode::OK
}

/// Fit to answer: the store writes and is the one we knew, the anchor follows, the feed is fresh.
#[utoipa::path(get, path = "/readyz", tag = "operations", responses((status = 200, description = "ready"), (status = 503, description = "not ready")))]
pub async fn readyz(State(edge): State<Edge>) -> (StatusCode, &'static str) {
    if edge.app.check_history().is_err() {
        return (StatusCode::SERVICE_UNAVAILABLE, "the database is not the one this process knew; see its log");
    }
    if !edge.app.anchor_works() {
        return (StatusCode::SERVICE_UNAVAILABLE, "the anchor cannot be written; see the log");
    }
    if edge.app.feed_age_secs() > 10 {
        return (StatusCode::SERVICE_UNAVAILABLE, "the change feed is older than ten seconds");
    }
    match edge.app.store.ping().await {
        Ok(()) if edge.app.deployment.is_test() => (StatusCode::OK, "ready (test deployment)"),
        Ok(()) => (StatusCode::OK, "ready"),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "the database does not answer"),
    }
}

/// Prometheus text.
pub async fn metrics(State(edge): State<Edge>) -> (StatusCode, String) {
    metrics::gauge!("vouchsafe_feed_age_seconds")
        .set(f64::from(i32::try_from(edge.app.feed_age_secs()).unwrap_or(i32::MAX)));
    metrics::gauge!("vouchsafe_test_deployment").set(if edge.app.deployment.is_test() { 1.0 } else { 0.0 });
    match &edge.metrics {
        Some(handle) => (StatusCode::OK, handle.render()),
        None => (StatusCode::NOT_FOUND, String::new()),
    }
}
