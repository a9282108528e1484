//! Logs and metrics.
//!
//! Logs go to stderr, one line an event, with fields. Metrics are Prometheus text at `/metrics`, all named `stowline_…`, none with a tenant in a label.

use std::sync::OnceLock;
use std::time::Duration;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio_util::sync::CancellationToken;
use tracing::{Level, Metadata};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::app::App;
use crate::config::{Log, LogFormat};

/// Seconds: from a fast request to a slow provider.
const SECONDS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0, 120.0];

static RECORDER: OnceLock<Option<PrometheusHandle>> = OnceLock::new();

/// Starts logging as configured. A second start in one process changes nothing.
///
/// # Errors
/// When the filter is no filter.
pub fn log(config: &Log) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&config.filter)
        .map_err(|error| anyhow::anyhow!("log.filter `{}` is no filter: {error}", config.filter))?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // An `Err` says that logging runs already, as it does for a second server in one process.
    let _ = match config.format {
        LogFormat::Json => lines.json().flatten_event(true).finish().with(filter_fn(is_fit)).try_init(),
        LogFormat::Text => {
            let lines = lines.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()));
            lines.finish().with(filter_fn(is_fit)).try_init()
        }
    };
    Ok(())
}

/// The SIP stack writes whole messages into its log, with who calls whom and what they prove it by: under no filter is that heard.
fn is_fit(about: &Metadata<'_>) -> bool {
    !about.target().starts_with("rsipstack") || *about.level() == Level::ERROR
}

/// Starts recording metrics, once in a process.
pub fn record() {
    RECORDER.get_or_init(|| {
        let builder = PrometheusBuilder::new().set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &SECONDS);
        let recorder = builder.ok()?.build_recorder();
        let handle = recorder.handle();
        metrics::set_global_recorder(recorder).ok()?;
        metrics::describe_histogram!("stowline_http_request_seconds", "Time from a request to its answer");
        metrics::describe_gauge!("stowline_intake_waiting", "Call records that were accepted and are no documents yet");
        metrics::describe_counter!(
            "stowline_retention_removed_total",
            "Documents that were removed because of their age"
        );
        metrics::describe_gauge!("stowline_store_healthy", "1 while documents and journal take writes");
        Some(handle)
    });
}

/// Sums up what was recorded every few seconds, so that it takes no room when nobody asks for the metrics.
pub async fn keep_up(stopping: CancellationToken) {
    let mut ticks = tokio::time::interval(Duration::from_secs(5));
    while stopping.run_until_cancelled(ticks.tick()).await.is_some() {
        if let Some(Some(handle)) = RECORDER.get() {
            handle.run_upkeep();
        }
    }
}

/// The metrics as Prometheus text.
pub async fn render(app: &App) -> String {
    let healthy = app.documents.healthy() && app.journal.healthy();
    metrics::gauge!("stowline_store_healthy").set(if healthy { 1.0 } else { 0.0 });
    let Some(Some(handle)) = RECORDER.get() else { return String::new() };
    handle.run_upkeep();
    handle.render()
}
