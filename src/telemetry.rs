//! Logs and metrics. No personal data, no bodies.

use crate::config::LogFormat;
use tracing_subscriber::EnvFilter;

/// Installs the log subscriber. A second call does nothing.
pub fn install_logs(format: LogFormat, filter: &str) {
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let _ = match format {
        LogFormat::Human => builder.try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
}

/// Upper bounds of the durations that are counted, in seconds.
const BUCKETS: [f64; 12] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

/// Installs the metrics recorder and gives the handle that renders it; somebody must call its `run_upkeep` now and
/// then, or samples pile up. `None` when a recorder is installed already.
#[must_use]
pub fn install_metrics() -> Option<metrics_exporter_prometheus::PrometheusHandle> {
    metrics_exporter_prometheus::PrometheusBuilder::new().set_buckets(&BUCKETS).ok()?.install_recorder().ok()
}
