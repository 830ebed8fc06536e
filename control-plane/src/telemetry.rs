//! Logs and metrics.

use std::io::IsTerminal;
use std::sync::OnceLock;
use std::time::Duration;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;

use crate::config::{LogFormat, TelemetryConfig};

/// How often measurements are folded into their histograms.
pub const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// Upper bounds of every histogram of durations, in seconds.
const SECONDS: [f64; 12] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0,
];

/// Sends log lines to standard error, as configured.
///
/// # Errors
/// When the filter is malformed or logging was set up before.
pub fn start_logging(config: &TelemetryConfig) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&config.log)?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let json = match config.format {
        LogFormat::Auto => !std::io::stderr().is_terminal(),
        LogFormat::Json => true,
        LogFormat::Text => false,
    };
    let started = if json {
        lines
            .json()
            .flatten_event(true)
            .with_span_list(false)
            .try_init()
    } else {
        lines.with_ansi(std::io::stderr().is_terminal()).try_init()
    };
    started.map_err(|error| anyhow::anyhow!(error))
}

/// The metrics of this process, in Prometheus's text format.
#[derive(Clone, Debug)]
pub struct Metrics(PrometheusHandle);

impl Metrics {
    /// The recorder of this process, installed by the first call.
    ///
    /// # Errors
    /// When another recorder was installed before.
    pub fn install() -> anyhow::Result<Self> {
        static INSTALLED: OnceLock<Option<PrometheusHandle>> = OnceLock::new();
        let handle = INSTALLED.get_or_init(|| {
            PrometheusBuilder::new()
                .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)
                .and_then(PrometheusBuilder::install_recorder)
                .ok()
        });
        handle
            .clone()
            .map(Self)
            .ok_or_else(|| anyhow::anyhow!("no metrics recorder"))
    }

    /// All metrics, as `/metrics` shows them.
    #[must_use]
    pub fn render(&self) -> String {
        self.0.render()
    }

    /// Folds measurements into their histograms; without it memory grows until the next scrape.
    pub fn upkeep(&self) {
        self.0.run_upkeep();
    }
}
