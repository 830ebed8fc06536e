//! The figures as a table and as JSON.

use std::fmt::{self, Display};

use serde_json::json;

use crate::bare::Limits;
use crate::drain::Drained;
use crate::invoices::Billed;

/// Least invoices per second.
const INVOICES_PER_SECOND: f64 = 2_000.0;
const PEAK_MIB: f64 = 300.0;
/// Most times as long for ten times as many.
const TENFOLD: f64 = 11.0;
/// Longest drain of 100,000 counters, in seconds.
const DRAIN_SECONDS: f64 = 5.0;

/// What was measured on one database.
pub struct Figures {
    pub name: &'static str,
    pub subscriptions: usize,
    /// A tenth as many.
    pub few: Billed,
    pub billed: Billed,
    pub drained: Drained,
    pub limits: Limits,
}

/// What was measured on all.
pub struct Report(Vec<Figures>);

impl Figures {
    /// How many times as long ten times as many took.
    fn tenfold(&self) -> f64 {
        self.billed.seconds / self.few.seconds
    }

    fn counters_per_second(&self) -> f64 {
        self.drained.counters as f64 / self.drained.seconds
    }
}

impl Report {
    pub fn new(figures: Vec<Figures>) -> Self {
        Self(figures)
    }

    pub fn json(&self) -> String {
        let databases = self.0.iter().map(|it| {
            let invoices = json!({
                "subscriptions": it.subscriptions, "perSecond": it.billed.per_second(),
                "bareInsertsPerSecond": it.limits.invoices_per_second,
                "ofBare": it.billed.per_second() / it.limits.invoices_per_second,
                "peakMib": it.billed.peak_mib, "tenfold": it.tenfold(),
            });
            let drain = json!({
                "counters": it.drained.counters, "seconds": it.drained.seconds,
                "perSecond": it.counters_per_second(),
                "bareInsertsPerSecond": it.limits.counters_per_second,
                "ofBare": it.counters_per_second() / it.limits.counters_per_second,
            });
            (
                it.name.to_owned(),
                json!({"invoices": invoices, "drain": drain}),
            )
        });
        serde_json::Value::Object(databases.collect()).to_string()
    }
}

impl Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for it in &self.0 {
            let (per_second, bare) = (it.billed.per_second(), it.limits.invoices_per_second);
            writeln!(
                out,
                "{}, {} subscriptions of three lines",
                it.name, it.subscriptions
            )?;
            line(out, "invoices/s", per_second, "≥", INVOICES_PER_SECOND)?;
            writeln!(
                out,
                "    bare inserts of the same rows: {bare:.0}/s; {:.2} of that",
                per_second / bare
            )?;
            line(out, "peak memory, MiB", it.billed.peak_mib, "<", PEAK_MIB)?;
            line(out, "time for 10 times as many", it.tenfold(), "≤", TENFOLD)?;
            let (counters, limit) = (it.counters_per_second(), it.limits.counters_per_second);
            let name = format!("drain of {} counters, s", it.drained.counters);
            line(out, &name, it.drained.seconds, "≤", DRAIN_SECONDS)?;
            writeln!(
                out,
                "    bare inserts of the same rows: {limit:.0}/s; {:.2} of that",
                counters / limit
            )?;
        }
        Ok(())
    }
}

fn line(out: &mut fmt::Formatter<'_>, name: &str, figure: f64, is: &str, bar: f64) -> fmt::Result {
    let holds = match is {
        "≥" => figure >= bar,
        _ => figure <= bar,
    };
    let verdict = if holds { "holds" } else { "is missed" };
    writeln!(out, "  {name:32} {figure:10.1}   {is} {bar} {verdict}")
}
