//! Metrics by name and labels, each defined with Envoy once.
//!
//! Envoy knows no labels, so they stand in the name, `tollgate.decisions;code=ok;rule=2`, and the
//! reference `envoy.yaml` makes tags of them. A metric that Envoy refuses counts nothing: it never
//! fails a request.

use std::cell::Cell;
use std::collections::HashMap;
use std::fmt::Write;
use std::hash::Hash;

use crate::host::{self, MetricId, MetricKind};

/// Counts what happens.
#[derive(Clone, Copy, Debug)]
pub struct Counter(Option<MetricId>);

impl Counter {
    /// The counter of this name.
    #[must_use]
    pub fn define(name: &str) -> Self {
        Self(define(MetricKind::Counter, name))
    }

    /// Counts `amount` more.
    pub fn add(self, amount: u64) {
        if let Some(id) = self.0
            && amount > 0
        {
            // A counter that is defined takes anything that fits.
            let _ = host::increment_metric(id, i64::try_from(amount).unwrap_or(i64::MAX));
        }
    }
}

/// Shows a level, as the sum of what the workers have; the part of a VM that crashed stays in it.
#[derive(Debug)]
pub struct Gauge {
    id: Option<MetricId>,
    own: Cell<i64>,
}

impl Gauge {
    /// The gauge of this name.
    #[must_use]
    pub fn define(name: &str) -> Self {
        Self {
            id: define(MetricKind::Gauge, name),
            own: Cell::new(0),
        }
    }

    /// Sets this worker's part. Workers share the gauge, so it moves by the difference.
    pub fn set(&self, value: u64) {
        let value = i64::try_from(value).unwrap_or(i64::MAX);
        let offset = value - self.own.replace(value);
        if let Some(id) = self.id
            && offset != 0
        {
            let _ = host::increment_metric(id, offset);
        }
    }
}

impl Drop for Gauge {
    fn drop(&mut self) {
        self.set(0);
    }
}

/// Shows how values are distributed.
#[derive(Clone, Copy, Debug)]
pub struct Histogram(Option<MetricId>);

impl Histogram {
    /// The histogram of this name.
    #[must_use]
    pub fn define(name: &str) -> Self {
        Self(define(MetricKind::Histogram, name))
    }

    /// Adds a value.
    pub fn record(self, value: u64) {
        if let Some(id) = self.0 {
            let _ = host::record_metric(id, value);
        }
    }
}

/// Counters of one name that differ in their labels.
#[derive(Debug)]
pub struct CounterFamily<Labels> {
    name: &'static str,
    known: HashMap<Labels, Counter>,
}

impl<Labels: LabelSet> CounterFamily<Labels> {
    /// The family of this name.
    #[must_use]
    pub fn new(name: &'static str) -> Self {
        Self {
            name,
            known: HashMap::new(),
        }
    }

    /// Counts `amount` more under these labels; the first time defines their counter.
    pub fn add(&mut self, labels: Labels, amount: u64) {
        let name = self.name;
        self.known
            .entry(labels)
            .or_insert_with_key(|labels| Counter::define(&labelled(name, labels)))
            .add(amount);
    }
}

/// The labels of a metric. There must be few different ones, since a metric is never forgotten.
pub trait LabelSet: Eq + Hash {
    /// Calls `label` with each name and value; values hold no `;`.
    fn each(&self, label: impl FnMut(&str, &dyn std::fmt::Display));
}

fn labelled(name: &str, labels: &impl LabelSet) -> String {
    let mut text = name.to_owned();
    labels.each(|label, value| {
        // Writing to a string never fails.
        let _ = write!(text, ";{label}={value}");
    });
    text
}

fn define(kind: MetricKind, name: &str) -> Option<MetricId> {
    host::define_metric(kind, name)
        .inspect_err(|refused| {
            host::log(host::LogLevel::Warn, &format!("metric {name}: {refused}"));
        })
        .ok()
}
