//! Logs, metrics and, where they are built in, traces. No personal data, no bodies.

use crate::config::{LogFormat, Otlp};
use std::io::IsTerminal as _;
use tracing_subscriber::EnvFilter;

#[cfg(feature = "otel")]
mod traces;

/// The trace that a request is part of, as its caller says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Remote<'a> {
    /// 32 hex digits.
    pub(crate) trace: &'a str,
    /// The caller's span, 16 hex digits.
    pub(crate) parent: &'a str,
    /// Whether the caller keeps its spans.
    pub(crate) sampled: bool,
}

/// The export of traces, if there is one; to be ended before the process ends.
#[must_use]
#[derive(Default)]
pub struct Traces {
    #[cfg(feature = "otel")]
    provider: Option<opentelemetry_sdk::trace::SdkTracerProvider>,
}

impl Traces {
    /// Sends what is left, for at most a few seconds.
    pub async fn end(self) {
        #[cfg(feature = "otel")]
        if let Some(provider) = self.provider {
            traces::end(provider).await;
        }
    }
}

/// Installs the log subscriber and, where `otlp` says so, the export of traces. A second call does nothing.
///
/// # Errors
/// When the export cannot be set up; a collector that does not answer is no error.
pub fn install(format: LogFormat, filter: &str, otlp: Option<&Otlp>) -> Result<Traces, String> {
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"));
    #[cfg(feature = "otel")]
    if let Some(otlp) = otlp {
        return with_traces(format, filter, otlp);
    }
    #[cfg(not(feature = "otel"))]
    let _ = otlp;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(coloured());
    let _ = match format {
        LogFormat::Human => builder.try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
    Ok(Traces::default())
}

/// Whether somebody looks at the log as it is written, and wants colours (<https://no-color.org>): a file has no use for them.
fn coloured() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|no| no.is_empty())
}

/// Each output has its own filter: fewer logs are no fewer spans.
#[cfg(feature = "otel")]
fn with_traces(format: LogFormat, filter: EnvFilter, otlp: &Otlp) -> Result<Traces, String> {
    use tracing_subscriber::Layer as _;
    use tracing_subscriber::layer::SubscriberExt as _;
    use tracing_subscriber::util::SubscriberInitExt as _;
    let provider = traces::start(otlp)?;
    let logs = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(coloured());
    let logs = match format {
        LogFormat::Human => logs.with_filter(filter).boxed(),
        LogFormat::Json => logs.json().with_filter(filter).boxed(),
    };
    let _ = tracing_subscriber::registry().with(logs).with(traces::layer(&provider)).try_init();
    Ok(Traces { provider: Some(provider) })
}

/// Makes the span of a request part of its caller's trace, and names it. Before it is entered for the first time.
pub(crate) fn begin(span: &tracing::Span, method: &str, route: &str, remote: Option<&Remote<'_>>) {
    #[cfg(feature = "otel")]
    traces::begin(span, method, route, remote);
    #[cfg(not(feature = "otel"))]
    let _ = (span, method, route, remote);
}

/// Notes how a request was answered.
pub(crate) fn finish(span: &tracing::Span, status: u16) {
    #[cfg(feature = "otel")]
    traces::finish(span, status);
    #[cfg(not(feature = "otel"))]
    let _ = (span, status);
}

/// Upper bounds of the durations that are counted, in seconds.
const BUCKETS: [f64; 12] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

/// Installs the metrics recorder and gives the handle that renders it; somebody must call its `run_upkeep` now and
/// then, or samples pile up. `None` when a recorder is installed already.
#[must_use]
pub fn install_metrics() -> Option<metrics_exporter_prometheus::PrometheusHandle> {
    metrics_exporter_prometheus::PrometheusBuilder::new().set_buckets(&BUCKETS).ok()?.install_recorder().ok()
}
