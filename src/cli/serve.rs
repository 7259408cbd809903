//! `vouchsafe serve`: listeners, background jobs, graceful end.

use super::{ConfigArgs, load, logs, open};
use crate::crypto::MasterKey;
use crate::http::limits::{Limits, Quotas};
use crate::http::listen::{Bounds, Wire, listen};
use crate::http::{Edge, admin_router, grpc_router, router};
use crate::intake::client_address::Proxies;
use crate::service::webhooks::Courier;
use crate::service::{App, ServiceError, admissions};
use crate::storage::{self, StoreError};
use anyhow::Context as _;
use metrics_exporter_prometheus::PrometheusHandle;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long open requests may take after the signal.
const DRAIN: Duration = Duration::from_secs(30);

pub(crate) async fn run(args: &ConfigArgs) -> anyhow::Result<ExitCode> {
    let config = load(args)?;
    let traces = logs(config.log, config.otlp.as_ref())?;
    // The key first: without it no database is of use.
    MasterKey::from_file(&config.master_key_file)?;
    match storage::examine(&config.database).await {
        // The anchor knows whether there was one: if not, this is the first start of a new deployment.
        Err(StoreError::Missing(_)) if config.anchor_file.is_some() => {}
        examined => examined.context("opening the database")?,
    }
    let app = open(&config).await?;
    let bind = async |address| TcpListener::bind(address).await.with_context(|| format!("listening on {address}"));
    let listeners = Listeners {
        public: bind(config.listen).await?,
        admin: bind(config.admin_listen).await?,
        grpc: match config.grpc_listen {
            Some(address) => Some(bind(address).await?),
            None => None,
        },
    };
    if app.deployment.is_test() {
        tracing::warn!("test deployment: evidence may be made up, and no production gateway accepts its tokens");
    }
    // Whoever reads "ready" may stop us at once.
    let until = signalled();
    let (listen, admin) = (listeners.public.local_addr()?, listeners.admin.local_addr()?);
    let grpc = listeners.grpc.as_ref().map(TcpListener::local_addr).transpose()?;
    tracing::info!(%listen, %admin, grpc = grpc.map(tracing::field::display), "ready");
    let code = serve(app, config.proxies.into(), &config.quotas, listeners, until).await;
    traces.end().await;
    code
}

/// Where the service is reached.
pub(crate) struct Listeners {
    /// The API.
    pub(crate) public: TcpListener,
    /// Health and metrics.
    pub(crate) admin: TcpListener,
    /// Gateways that ask by gRPC.
    pub(crate) grpc: Option<TcpListener>,
}

/// Serves until `until` completes, then drains. A crashed task makes the exit code non-zero.
pub(crate) async fn serve(
    app: Arc<App>,
    trusted_proxies: Arc<Proxies>,
    quotas: &Quotas,
    listeners: Listeners,
    until: impl Future<Output = ()>,
) -> anyhow::Result<ExitCode> {
    let metrics = crate::telemetry::install_metrics();
    let edge = Edge {
        app: Arc::clone(&app),
        trusted_proxies,
        limits: Arc::new(Limits::new(quotas)),
        metrics: metrics.clone(),
    };
    let stop = CancellationToken::new();
    let tasks = TaskTracker::new();
    let mut jobs = tokio::task::JoinSet::new();
    let mut served = vec![
        (listeners.public, router(edge.clone()), Wire::Http1),
        (listeners.admin, admin_router(edge.clone()), Wire::Http1),
    ];
    served.extend(listeners.grpc.map(|listener| (listener, grpc_router(edge), Wire::Http2)));
    for (listener, routes, wire) in served {
        let stopped = stop.clone();
        jobs.spawn(tasks.track_future(async move {
            listen(listener, routes, wire, Bounds::default(), stopped).await;
            Ok(())
        }));
    }
    jobs.spawn(tasks.track_future(follow(Arc::clone(&app), stop.clone())));
    jobs.spawn(tasks.track_future(link(Arc::clone(&app), stop.clone())));
    jobs.spawn(tasks.track_future(reassess(Arc::clone(&app), stop.clone())));
    jobs.spawn(tasks.track_future(tend_status(Arc::clone(&app), stop.clone())));
    jobs.spawn(tasks.track_future(stock_up(Arc::clone(&app), stop.clone())));
    jobs.spawn(tasks.track_future(tend(Arc::clone(&app), stop.clone())));
    jobs.spawn(tasks.track_future(write_admissions(Arc::clone(&app), stop.clone())));
    jobs.spawn(tasks.track_future(keep_bounds(Arc::clone(&app), stop.clone())));
    jobs.spawn(tasks.track_future(deliver(Arc::clone(&app), stop.clone())));
    jobs.spawn(tasks.track_future(measure(Arc::clone(&app), stop.clone())));
    if let Some(metrics) = metrics {
        jobs.spawn(tasks.track_future(tidy(metrics, stop.clone())));
    }
    tasks.close();
    let mut code = ExitCode::SUCCESS;
    tokio::select! {
        () = until => tracing::info!("stopping"),
        Some(ended) = jobs.join_next() => {
            tracing::error!(?ended, "a task ended by itself");
            code = ExitCode::FAILURE;
        }
    }
    stop.cancel();
    app.end_streams();
    let drained = tokio::select! {
        () = tasks.wait() => true,
        () = tokio::time::sleep(DRAIN) => false,
        () = signalled() => false,
    };
    // What was answered last is counted too.
    if !matches!(tokio::time::timeout(LAST_WRITE, app.write_admissions()).await, Ok(Ok(_))) {
        tracing::error!("stopped before all admissions were written down");
        code = ExitCode::FAILURE;
    }
    if !drained {
        tracing::error!("stopped before all requests were answered");
        code = ExitCode::FAILURE;
    }
    Ok(code)
}

/// How often the feed is read and audit entries are linked.
const PERIOD: Duration = Duration::from_millis(500);

/// How often waiting samples of metrics are counted.
const UPKEEP: Duration = Duration::from_secs(5);

async fn follow(app: Arc<App>, stop: CancellationToken) -> Result<(), String> {
    while stop.run_until_cancelled(tokio::time::sleep(PERIOD)).await.is_some() {
        // Said once, when it broke off.
        if app.check_history().is_ok()
            && let Err(error) = app.poll_feed().await
        {
            tracing::error!(error = %error, "the change feed cannot be read");
        }
    }
    Ok(())
}

async fn link(app: Arc<App>, stop: CancellationToken) -> Result<(), String> {
    while stop.run_until_cancelled(tokio::time::sleep(PERIOD)).await.is_some() {
        link_once(&app).await?;
        // At once: what was linked just now, gateways wait for.
        if let Err(error) = app.follow_log().await {
            tracing::error!(error = %error, "gateways wait to be told what happened");
        }
        if let Err(error) = app.compare_waiting().await {
            tracing::error!(error = %error, "attestations wait to be compared");
        }
        if let Err(error) = app.release_waiting().await {
            tracing::error!(error = %error, "results of bound sessions wait to be attached");
        }
    }
    link_once(&app).await
}

/// How long reassessment leaves the machine alone between two rounds when more waits.
const BREATH: Duration = Duration::from_millis(20);

async fn reassess(app: Arc<App>, stop: CancellationToken) -> Result<(), String> {
    let mut pause = PERIOD;
    while stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_some() {
        pause = PERIOD;
        if app.check_feed_age().is_err() {
            continue;
        }
        match app.reassess().await {
            Ok(true) => pause = BREATH.max(app.store.courtesy()),
            Ok(false) => {}
            Err(error) => tracing::error!(error = %error, "subjects wait to be looked at again"),
        }
    }
    Ok(())
}

/// How often status lists are looked at; one that changed is signed anew as often at most.
const SIGNING: Duration = Duration::from_secs(1);

async fn tend_status(app: Arc<App>, stop: CancellationToken) -> Result<(), String> {
    loop {
        if app.check_history().is_ok()
            && app.check_feed_age().is_ok()
            && let Err(error) = app.tend_status().await
        {
            tracing::error!(error = %error, "status lists stay as they are");
        }
        if stop.run_until_cancelled(tokio::time::sleep(SIGNING)).await.is_none() {
            return Ok(());
        }
    }
}

/// Between two looks at the clock a burst may need more places.
async fn stock_up(app: Arc<App>, stop: CancellationToken) -> Result<(), String> {
    while stop.run_until_cancelled(app.stock_runs_low()).await.is_some() {
        if let Err(error) = app.stock_up().await {
            tracing::error!(error = %error, "places in status lists cannot be reserved");
            // Whoever needs one tries for itself.
            stop.run_until_cancelled(tokio::time::sleep(SIGNING)).await;
        }
    }
    Ok(())
}

/// How often it is looked what people have to look at.
const TENDING: Duration = Duration::from_secs(1);

async fn tend(app: Arc<App>, stop: CancellationToken) -> Result<(), String> {
    while stop.run_until_cancelled(tokio::time::sleep(TENDING)).await.is_some() {
        if app.check_history().is_ok()
            && let Err(error) = app.tend_cases().await
        {
            tracing::error!(error = %error, "cases cannot be opened or closed");
        }
    }
    Ok(())
}

/// How often what gateways' checks counted is written down.
const COUNTING: Duration = Duration::from_secs(admissions::PERIOD_SECS);
/// How long the last of it may take when the service ends.
const LAST_WRITE: Duration = Duration::from_secs(5);

async fn write_admissions(app: Arc<App>, stop: CancellationToken) -> Result<(), String> {
    loop {
        let due = async {
            tokio::select! {
                () = tokio::time::sleep(COUNTING) => {}
                () = app.admissions_are_many() => {}
            }
        };
        if stop.run_until_cancelled(due).await.is_none() {
            return Ok(());
        }
        if app.check_history().is_ok()
            && let Err(error) = app.write_admissions().await
        {
            tracing::error!(error = %error, "admissions wait to be written down");
        }
    }
}

/// How often what has outlived its use is let go.
const BOUNDS: Duration = Duration::from_secs(60);

async fn keep_bounds(app: Arc<App>, stop: CancellationToken) -> Result<(), String> {
    while stop.run_until_cancelled(tokio::time::sleep(BOUNDS)).await.is_some() {
        if let Err(error) = app.keep_bounds().await {
            tracing::error!(error = %error, "what has outlived its use cannot be let go");
        }
        if app.check_history().is_ok()
            && let Err(error) = app.tend_keys().await
        {
            tracing::error!(error = %error, "signing keys cannot be moved on");
        }
    }
    Ok(())
}

async fn deliver(app: Arc<App>, stop: CancellationToken) -> Result<(), String> {
    Courier::new(app).run(stop).await;
    Ok(())
}

/// How often it is measured what waits to be sent.
const MEASURING: Duration = Duration::from_secs(10);

async fn measure(app: Arc<App>, stop: CancellationToken) -> Result<(), String> {
    while stop.run_until_cancelled(tokio::time::sleep(MEASURING)).await.is_some() {
        if let Err(error) = app.measure_outgoing().await {
            tracing::warn!(error = %error, "what waits to be sent cannot be measured");
        }
    }
    Ok(())
}

/// Samples of durations wait in memory until they are counted.
async fn tidy(metrics: PrometheusHandle, stop: CancellationToken) -> Result<(), String> {
    while stop.run_until_cancelled(tokio::time::sleep(UPKEEP)).await.is_some() {
        metrics.run_upkeep();
    }
    Ok(())
}

/// An error ends the service: another process has to read what the disk holds.
async fn link_once(app: &App) -> Result<(), String> {
    if app.check_history().is_err() {
        // Whether the file was replaced or only went back: on what is gone another process has to look.
        return match app.store.ping().await {
            Err(error @ StoreError::Broken(_)) => Err(error.to_string()),
            _ => Ok(()),
        };
    }
    match app.link_and_anchor().await {
        Ok(_) => {}
        Err(ServiceError::Store(error @ StoreError::Broken(_))) => return Err(error.to_string()),
        Err(error) => tracing::error!(error = %error, "audit entries cannot be linked, or the anchor cannot follow"),
    }
    Ok(())
}

/// Completes at the first interrupt or terminate signal from now on, also before it is first polled.
pub(crate) fn signalled() -> impl Future<Output = ()> {
    use tokio::signal::unix::{SignalKind, signal};
    let signals = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
    async move {
        let (Ok(mut interrupt), Ok(mut terminate)) = signals else {
            return std::future::pending().await;
        };
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    }
}
