//! Traces by OTLP over HTTP. Spans end in a bounded queue, which a thread of its own sends; nothing waits for it.

use super::Remote;
use crate::config::Otlp;
use metrics::counter;
use opentelemetry::trace::{
    SpanContext, SpanId, Status, TraceContextExt as _, TraceFlags, TraceId, TraceState, TracerProvider as _,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracerProvider, Span, SpanData, SpanExporter, SpanProcessor,
};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tracing::Subscriber;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::registry::LookupSpan;

/// Spans that wait to be sent; further ones are dropped.
const QUEUE: usize = 8192;
/// Spans of one message.
const BATCH: usize = 512;
/// How often a message is sent.
const PERIOD: Duration = Duration::from_secs(1);
/// How long a collector may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Whether spans are exported in this process.
static ACTIVE: AtomicBool = AtomicBool::new(false);

/// Starts the export. Must be called within a runtime, which then does the sending.
pub(super) fn start(otlp: &Otlp) -> Result<SdkTracerProvider, String> {
    let client = reqwest::Client::builder()
        .timeout(PATIENCE)
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .map_err(|error| error.to_string())?;
    let sender = Sender { client, runtime: tokio::runtime::Handle::current() };
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_http_client(sender)
        .with_endpoint(format!("{}/v1/traces", otlp.endpoint))
        .with_timeout(PATIENCE)
        .build()
        .map_err(|error| error.to_string())?;
    let bounds = BatchConfigBuilder::default()
        .with_max_queue_size(QUEUE)
        .with_max_export_batch_size(BATCH)
        .with_scheduled_delay(PERIOD)
        .build();
    let queue = BatchSpanProcessor::builder(Counted { exporter, lost: AtomicBool::new(false) });
    let provider = SdkTracerProvider::builder()
        .with_span_processor(Ended(queue.with_batch_config(bounds).build()))
        // Who called us decided already; what begins here is kept in part.
        .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(otlp.share))))
        .with_resource(
            Resource::builder_empty()
                .with_service_name("vouchsafe")
                .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
                .build(),
        )
        .build();
    ACTIVE.store(true, Ordering::Relaxed);
    Ok(provider)
}

/// Our spans as theirs. Only spans go out, only our own, and no log lines in them: what sends them makes spans too.
pub(super) fn layer<S>(provider: &SdkTracerProvider) -> impl Layer<S> + Send + Sync
where
    S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
{
    tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("vouchsafe"))
        .with_location(false)
        .with_threads(false)
        .with_level(false)
        .with_target(false)
        .with_tracked_inactivity(false)
        .with_filter(filter_fn(|metadata| metadata.is_span() && metadata.target().starts_with("vouchsafe")))
}

/// Sends what is left, for a while, and stops.
pub(super) async fn end(provider: SdkTracerProvider) {
    ACTIVE.store(false, Ordering::Relaxed);
    let ended = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(PATIENCE)).await;
    if !matches!(ended, Ok(Ok(()))) {
        tracing::warn!("the last spans could not be sent");
    }
}

/// See [`super::begin`].
pub(super) fn begin(span: &tracing::Span, method: &str, route: &str, remote: Option<&Remote<'_>>) {
    if !ACTIVE.load(Ordering::Relaxed) {
        return;
    }
    if let Some(Remote { trace, parent, sampled }) = remote
        && let (Ok(trace), Ok(parent)) = (TraceId::from_hex(trace), SpanId::from_hex(parent))
    {
        let flags = if *sampled { TraceFlags::SAMPLED } else { TraceFlags::NOT_SAMPLED };
        let caller = SpanContext::new(trace, parent, flags, true, TraceState::NONE);
        // It can only fail for a span that has begun or that nobody exports.
        let _ = span.set_parent(Context::new().with_remote_span_context(caller));
    }
    span.record("otel.kind", "server");
    span.record("otel.name", format!("{method} {route}"));
    span.set_attribute("http.request.method", method.to_owned());
}

/// See [`super::finish`].
pub(super) fn finish(span: &tracing::Span, status: u16) {
    if ACTIVE.load(Ordering::Relaxed) {
        span.set_attribute("http.response.status_code", i64::from(status));
        if status >= 500 {
            span.set_status(Status::error(""));
        }
    }
}

/// Sends with the client that we have, on the runtime that we have: the exporter's thread has none.
#[derive(Debug)]
struct Sender {
    client: reqwest::Client,
    runtime: tokio::runtime::Handle,
}

#[async_trait::async_trait]
impl HttpClient for Sender {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (client, request) = (self.client.clone(), request.try_into()?);
        let answer = self.runtime.spawn(async move { client.execute(request).await }).await??;
        // Only the status counts; what a collector writes besides is not read.
        Ok(Response::builder().status(answer.status()).body(Bytes::new())?)
    }
}

/// Counts what was sent and what was lost on the way, and tells the log when that changes.
#[derive(Debug)]
struct Counted {
    exporter: opentelemetry_otlp::SpanExporter,
    lost: AtomicBool,
}

impl SpanExporter for Counted {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let number = u64::try_from(batch.len()).unwrap_or(u64::MAX);
        let sent = self.exporter.export(batch).await;
        let lost = sent.is_err();
        counter!("vouchsafe_spans_total", "outcome" => if lost { "lost" } else { "sent" }).increment(number);
        if self.lost.swap(lost, Ordering::Relaxed) != lost {
            match &sent {
                Err(error) => tracing::warn!(%error, "spans are lost: the collector does not take them"),
                Ok(()) => tracing::info!("the collector takes spans again"),
            }
        }
        sent
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

/// Counts spans that ended: those neither sent nor lost found the queue full, or wait in it.
#[derive(Debug)]
struct Ended(BatchSpanProcessor);

impl SpanProcessor for Ended {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.0.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        counter!("vouchsafe_spans_total", "outcome" => "ended").increment(1);
        self.0.on_end(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.0.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.0.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.0.set_resource(resource);
    }
}
