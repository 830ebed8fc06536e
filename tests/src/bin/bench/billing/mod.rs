//! Measures what billing takes: the control plane's own program at work.

mod quotes;

use std::fmt::{self, Display};

/// What was measured of one part.
#[derive(Clone, Copy, Debug)]
pub struct Figure {
    /// Its name, the same in the table and in JSON.
    pub name: &'static str,
    /// How much.
    pub value: f64,
    /// Of what.
    pub unit: &'static str,
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
}

impl Figure {
    /// Whether it reaches what it must.
    pub fn holds(&self) -> bool {
        match self.bar {
            Some(Bar::AtLeast(least)) => least <= self.value,
            None => true,
        }
    }

    fn json(&self) -> serde_json::Value {
        let bar = self.bar.map(|Bar::AtLeast(bar)| bar);
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
    Report(vec![quotes::measure()])
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
            write!(out, "{name:24}{value:>14.0} {unit}")?;
            if let Some(limit) = figure.limit {
                write!(out, "; {:.2} of the limit, {limit:.0}", value / limit)?;
            }
            if let Some(Bar::AtLeast(bar)) = figure.bar {
                let verdict = if figure.holds() { "holds" } else { "is missed" };
                write!(out, "; at least {bar:.0} {verdict}")?;
            }
            writeln!(out)?;
        }
        Ok(())
    }
}
