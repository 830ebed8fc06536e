//! Invoices and drained counters, as a program beside the control plane measured them on each database: it may use what
//! this one may not.

use std::env;

use serde_json::Value;

use super::{Bar, Figure};

/// The figures that `TOLLGATE_STORAGE_FIGURES` holds.
pub fn figures() -> Vec<Figure> {
    let text = env::var("TOLLGATE_STORAGE_FIGURES").expect("scripts/bench has them measured");
    let figures: Vec<Value> = serde_json::from_str(&text).expect("figures are a list");
    figures.iter().map(figure).collect()
}

fn figure(figure: &Value) -> Figure {
    let text = |name: &str| figure[name].as_str().expect("a text").to_owned();
    let bar = |name: &str| figure[name].as_f64();
    Figure {
        name: text("name"),
        value: figure["value"].as_f64().expect("a number"),
        unit: text("unit"),
        bar: bar("atLeast")
            .map(Bar::AtLeast)
            .or_else(|| bar("atMost").map(Bar::AtMost)),
        limit: figure["limit"].as_f64(),
    }
}
