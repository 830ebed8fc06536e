//! Measures what billing takes: the control plane's own program at work.

mod quotes;
mod storage;

use std::fmt::{self, Display};

/// What was measured of one part.
#[derive(Clone, Debug)]
pub struct Figure {
    /// Its name, the same in the table and in JSON.
    pub name: String,
    /// How much.
    pub value: f64,
    /// Of what.
    pub unit: String,
    /// What it must reach, if anything.
    pub bar: Option<Bar>,
    /// The same of something that does nothing else, if there is such a thing.
    pub limit: Option<f64>,
}

/// What a figure must reach.
#[derive(Clone, Copy, Debug)]
pub enum Bar {
    /// So much.
    AtLeast(f64),
    /// So much, and no more.
    AtMost(f64),
}

impl Figure {
    /// Whether it reaches what it must.
    pub fn holds(&self) -> bool {
        match self.bar {
            Some(Bar::AtLeast(least)) => least <= self.value,
            Some(Bar::AtMost(most)) => self.value <= most,
            None => true,
        }
    }

    fn json(&self) -> serde_json::Value {
        let bar = self.bar.map(|(Bar::AtLeast(bar) | Bar::AtMost(bar))| bar);
        serde_json::json!({
            "value": self.value, "unit": self.unit, "bar": bar, "holds": self.holds(),
            "limit": self.limit, "ratio": self.limit.map(|limit| self.value / limit),
        })
    }
}

/// All figures.
#[derive(Debug)]
pub struct Report(Vec<Figure>);

/// Measures every part.
pub fn measure() -> Report {
    let mut figures = vec![quotes::measure()];
    figures.extend(storage::figures());
    Report(figures)
}

impl Report {
    /// Whether every figure reaches what it must.
    pub fn holds(&self) -> bool {
        self.0.iter().all(Figure::holds)
    }

    /// The figures as one JSON object.
    pub fn json(&self) -> String {
        let figures = self.0.iter().map(|it| (it.name.to_owned(), it.json()));
        serde_json::Value::Object(figures.collect()).to_string()
    }
}

impl Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for figure in &self.0 {
            let Figure {
                name, value, unit, ..
            } = figure;
            write!(out, "{name:24}{:>14} {unit}", shown(*value))?;
            if let Some(limit) = figure.limit {
                write!(out, "; {:.2} of the limit, {}", value / limit, shown(limit))?;
            }
            let verdict = if figure.holds() { "holds" } else { "is missed" };
            match figure.bar {
                Some(Bar::AtLeast(bar)) => write!(out, "; at least {bar:.0} {verdict}")?,
                Some(Bar::AtMost(bar)) => write!(out, "; at most {bar:.0} {verdict}")?,
                None => {}
            }
            writeln!(out)?;
        }
        Ok(())
    }
}

/// Small numbers with a part of one.
fn shown(value: f64) -> String {
    if value < 100.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.0}")
    }
}
