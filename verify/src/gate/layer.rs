//! The gate as a layer of tower: in front of axum, tonic, hyper or whatever speaks [`http`].

use super::{Gate, Refusal};
use http::header::{AUTHORIZATION, CACHE_CONTROL, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tower_layer::Layer;
use tower_service::Service;

const REASON: HeaderName = HeaderName::from_static("x-eligibility-reason");

/// Puts a [`Gate`] in front of a service.
#[derive(Debug, Clone)]
pub struct GateLayer(Arc<Gate>);

impl GateLayer {
    /// For one gate.
    #[must_use]
    pub fn new(gate: Arc<Gate>) -> Self {
        Self(gate)
    }
}

impl<S> Layer<S> for GateLayer {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Guarded<S> {
        Guarded { gate: Arc::clone(&self.0), inner }
    }
}

/// A service behind a [`Gate`]: it sees only requests of those who may pass, with [`super::Eligible`] among their
/// extensions.
#[derive(Debug, Clone)]
pub struct Guarded<S> {
    gate: Arc<Gate>,
    inner: S,
}

impl<S, B, R> Service<Request<B>> for Guarded<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    B: Send + 'static,
    R: Default,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<R>, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        // The one that is ready is used, and a new one takes its place.
        let fresh = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, fresh);
        let gate = Arc::clone(&self.gate);
        Box::pin(async move {
            let token = bearer(request.headers()).map(str::to_owned);
            let judged = match token {
                Some(token) => gate.judge(&token).await,
                None => Err(Refusal::Missing),
            };
            match judged {
                Ok(eligible) => {
                    request.extensions_mut().insert(eligible);
                    inner.call(request).await
                }
                Err(refusal) => Ok(refused(&refusal)),
            }
        })
    }
}

/// The one bearer token of a request; of two nobody knows which was meant.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token)
}

/// RFC 6750: a bare challenge where nothing was brought, and no word about what is wrong with a token.
fn refused<R: Default>(refusal: &Refusal) -> Response<R> {
    let mut response = Response::new(R::default());
    let (status, name, value) = match refusal {
        Refusal::Missing => (StatusCode::UNAUTHORIZED, WWW_AUTHENTICATE, "Bearer"),
        Refusal::Invalid(_) => (StatusCode::UNAUTHORIZED, WWW_AUTHENTICATE, "Bearer error=\"invalid_token\""),
        Refusal::Forbidden(reason) => (StatusCode::FORBIDDEN, REASON, *reason),
        Refusal::Unknown(_) => (StatusCode::SERVICE_UNAVAILABLE, RETRY_AFTER, "2"),
    };
    *response.status_mut() = status;
    response.headers_mut().insert(name, HeaderValue::from_static(value));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
