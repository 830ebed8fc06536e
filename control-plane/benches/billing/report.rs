//! The figures, for whoever prints them.

use serde_json::{Value, json};

use crate::bare::Limits;
use crate::drain::Drained;
use crate::invoices::Billed;

/// Least invoices per second.
const INVOICES_PER_SECOND: f64 = 2_000.0;
/// Most memory, in MiB.
const PEAK_MIB: f64 = 300.0;
/// Most times as long for ten times as many.
const TENFOLD: f64 = 11.0;
/// Longest drain of 100,000 counters, in seconds.
const DRAIN_SECONDS: f64 = 5.0;

/// What was measured on one database.
pub struct Measured {
    pub name: &'static str,
    /// A tenth as many.
    pub few: Billed,
    pub billed: Billed,
    pub drained: Drained,
    pub limits: Limits,
}

impl Measured {
    /// Each figure with its bar, and with what bare inserts of the same rows come to.
    pub fn figures(&self) -> [Value; 4] {
        let (name, invoices) = (self.name, self.billed.invoices);
        let counters = self.drained.counters;
        [
            json!({
                "name": format!("invoices {name}"), "value": self.billed.per_second(),
                "unit": format!("invoices per second, of {invoices} subscriptions with three lines"),
                "atLeast": INVOICES_PER_SECOND, "limit": self.limits.invoices_per_second,
            }),
            json!({
                "name": format!("memory {name}"), "value": self.billed.peak_mib,
                "unit": "MiB meanwhile", "atMost": PEAK_MIB,
            }),
            json!({
                "name": format!("tenfold {name}"), "value": self.billed.seconds / self.few.seconds,
                "unit": "times as long for ten times the subscriptions", "atMost": TENFOLD,
            }),
            json!({
                "name": format!("drain {name}"), "value": self.drained.seconds,
                "unit": format!("seconds for {counters} counters"), "atMost": DRAIN_SECONDS,
                "limit": counters as f64 / self.limits.counters_per_second,
            }),
        ]
    }
}
