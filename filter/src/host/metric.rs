//! Envoy's metrics, by number.

use super::{Refused, abi};

/// What a metric counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum MetricKind {
    /// Only grows.
    Counter = 0,
    /// Grows and shrinks.
    Gauge = 1,
    /// The distribution of what is recorded.
    Histogram = 2,
}

/// Envoy's number of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetricId(u32);

/// The metric of this name, made when it is not there yet; all workers share it.
pub fn define_metric(kind: MetricKind, name: &str) -> Result<MetricId, Refused> {
    let mut metric = 0;
    abi::call(|| unsafe {
        abi::proxy_define_metric(kind as u32, name.as_ptr(), name.len(), &raw mut metric)
    })?;
    Ok(MetricId(metric))
}

/// Adds to a counter or gauge; a counter refuses less than 0.
pub fn increment_metric(metric: MetricId, offset: i64) -> Result<(), Refused> {
    abi::call(|| abi::proxy_increment_metric(metric.0, offset))
}

/// Adds a value to a histogram.
pub fn record_metric(metric: MetricId, value: u64) -> Result<(), Refused> {
    abi::call(|| abi::proxy_record_metric(metric.0, value))
}
