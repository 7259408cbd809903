//! A receiver of webhooks that writes down what it gets and answers as it is told.

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use std::sync::{Arc, Mutex};
use tokio::sync::Notify;

/// One request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Got {
    pub(crate) id: String,
    pub(crate) timestamp: String,
    pub(crate) signatures: String,
    pub(crate) text: String,
    /// Whether it was answered with success.
    pub(crate) accepted: bool,
}

impl Got {
    pub(crate) fn body(&self) -> Value {
        serde_json::from_str(&self.text).unwrap()
    }

    pub(crate) fn topic(&self) -> String {
        self.body()["type"].as_str().unwrap().to_owned()
    }

    /// Whether one of the signatures was made with this secret (`whsec_…`).
    pub(crate) fn is_signed_with(&self, secret: &str) -> bool {
        let key = STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &key);
        let message = format!("{}.{}.{}", self.id, self.timestamp, self.text);
        let wanted = format!("v1,{}", STANDARD.encode(aws_lc_rs::hmac::sign(&key, message.as_bytes())));
        self.signatures.split(' ').any(|signature| signature == wanted)
    }
}

/// What a request is answered with.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Reply {
    Status(u16),
    /// With `Retry-After`.
    After(u16, &'static str),
    /// With `Location`.
    Redirect(u16),
    Never,
}

type Script = Box<dyn FnMut(&Got) -> Reply + Send>;

#[derive(Clone)]
struct Shared {
    got: Arc<Mutex<Vec<Got>>>,
    script: Arc<Mutex<Script>>,
    news: Arc<Notify>,
    url: String,
}

pub(crate) struct Receiver {
    shared: Shared,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn receive(State(shared): State<Shared>, headers: HeaderMap, body: Bytes) -> Response {
    let text = |name: &str| headers.get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
    let mut got = Got {
        id: text("webhook-id"),
        timestamp: text("webhook-timestamp"),
        signatures: text("webhook-signature"),
        text: String::from_utf8(body.to_vec()).unwrap(),
        accepted: false,
    };
    let reply = (shared.script.lock().unwrap())(&got);
    got.accepted = matches!(reply, Reply::Status(200..300));
    shared.got.lock().unwrap().push(got);
    shared.news.notify_waiters();
    let status = |status| StatusCode::from_u16(status).unwrap();
    match reply {
        Reply::Status(code) => status(code).into_response(),
        Reply::After(code, after) => (status(code), [(header::RETRY_AFTER, after)]).into_response(),
        Reply::Redirect(code) => {
            (status(code), [(header::LOCATION, format!("{}/elsewhere", shared.url))]).into_response()
        }
        Reply::Never => std::future::pending().await,
    }
}

impl Receiver {
    pub(crate) async fn answering(script: impl FnMut(&Got) -> Reply + Send + 'static) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let script: Script = Box::new(script);
        let shared = Shared { got: Arc::default(), script: Arc::new(Mutex::new(script)), news: Arc::default(), url };
        let routes = Router::new().fallback(receive).with_state(shared.clone());
        let server = tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        Self { shared, server }
    }

    /// One that takes everything.
    pub(crate) async fn new() -> Self {
        Self::answering(|_| Reply::Status(204)).await
    }

    pub(crate) fn url(&self) -> String {
        self.shared.url.clone()
    }

    /// From now on it answers so.
    pub(crate) fn answers(&self, script: impl FnMut(&Got) -> Reply + Send + 'static) {
        *self.shared.script.lock().unwrap() = Box::new(script);
    }

    pub(crate) fn got(&self) -> Vec<Got> {
        self.shared.got.lock().unwrap().clone()
    }

    /// What it got since the last time.
    pub(crate) fn taken(&self) -> Vec<Got> {
        std::mem::take(&mut *self.shared.got.lock().unwrap())
    }

    pub(crate) fn topics(&self) -> Vec<String> {
        self.taken().iter().map(Got::topic).collect()
    }

    /// Waits until it got so many.
    pub(crate) async fn has(&self, count: usize) {
        let waited = tokio::time::timeout(std::time::Duration::from_secs(60), async {
            loop {
                let news = self.shared.news.notified();
                if self.shared.got.lock().unwrap().len() >= count {
                    return;
                }
                // Somebody may have come in between.
                let _ = tokio::time::timeout(std::time::Duration::from_millis(100), news).await;
            }
        });
        assert!(waited.await.is_ok(), "{} of {count} came", self.got().len());
    }
}
