//! The figures as a table and as JSON.

use std::fmt::{self, Display};
use std::fs;

use crate::edge::{COLUMNS, CPU, Measured, ROUNDS, RPS_BUSY, Results, Row};
use crate::work::processors;

const HEADINGS: [&str; COLUMNS.len()] = [
    "requests/s",
    "p50 µs",
    "p99 µs",
    "requests/s",
    "p50 µs",
    "p99 µs",
    "CPU µs/request",
];
const WIDTHS: [usize; COLUMNS.len()] = [11, 8, 8, 13, 8, 8, 17];
const CPU_NOTE: &str = "CPU: gateway, backend and Redis while 32 connections are busy; the load generator is not counted.";

/// The medians of all rows.
#[derive(Debug)]
pub struct Report {
    envoy: String,
    other_work: f64,
    rows: Vec<(Row, Measured)>,
}

impl Report {
    /// Takes the median of every figure on its own.
    pub fn new(results: Results) -> Self {
        let rows = results.rows.into_iter();
        Self {
            envoy: results.envoy,
            other_work: results.other_work,
            rows: rows.map(|(row, rounds)| (row, medians(&rounds))).collect(),
        }
    }

    /// All figures as one JSON object, its members in the order of the table.
    pub fn json(&self) -> String {
        let rows = self.rows.iter().map(|(row, measured)| {
            let figures = COLUMNS.iter().zip(measured.figures);
            let figures = figures.map(|(name, figure)| format!("\"{name}\":{figure:.2}"));
            format!("\"{row}\":{{{}}}", figures.collect::<Vec<_>>().join(","))
        });
        format!("{{{}}}", rows.collect::<Vec<_>>().join(","))
    }

    /// The processor time of a request beyond plain's.
    fn write_added(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (_, plain) = &self.rows[0];
        let added = self.rows.iter().skip(1).map(|(row, measured)| {
            let added = measured.figures[CPU] - plain.figures[CPU];
            format!("{row} {added:+.1} µs")
        });
        let added = added.collect::<Vec<_>>().join(", ");
        writeln!(out, "CPU beyond plain: {added}")
    }

    /// Whether every row reaches its share of plain.
    pub fn holds(&self) -> bool {
        self.verdicts().all(|(_, least, share)| share >= least)
    }

    /// Rows with the share of plain they must reach, and the one they do.
    fn verdicts(&self) -> impl Iterator<Item = (Row, f64, f64)> {
        self.rows.iter().filter_map(|(row, measured)| {
            let share = self.ratios(measured)[RPS_BUSY];
            Some((*row, row.least_of_plain()?, share))
        })
    }

    fn ratios(&self, measured: &Measured) -> [f64; COLUMNS.len()] {
        let (_, plain) = &self.rows[0];
        std::array::from_fn(|at| measured.figures[at] / plain.figures[at])
    }
}

impl Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (envoy, machine) = (&self.envoy, machine());
        writeln!(
            out,
            "Envoy {envoy}, one worker, on {machine}; medians of {ROUNDS} rounds\n"
        )?;
        writeln!(
            out,
            "{:8}{:>27}{:>29}",
            "", "1 connection", "32 connections"
        )?;
        write_line(out, "", HEADINGS.map(str::to_owned))?;
        for (row, measured) in &self.rows {
            write_line(out, row, written(&measured.figures))?;
        }
        writeln!(out, "\ndivided by plain")?;
        for (row, measured) in &self.rows {
            let ratios = self.ratios(measured);
            write_line(out, row, ratios.map(|ratio| format!("{ratio:.2}")))?;
        }
        writeln!(out, "\n{CPU_NOTE}")?;
        self.write_added(out)?;
        for (row, measured) in self.rows.iter().filter(|(row, _)| row.is_metered()) {
            let [calls, commands, executed] = measured.redis;
            writeln!(
                out,
                "Redis per 1,000 requests, {row}: {calls:.2} calls with {commands:.2} commands; {executed:.1} with those inside scripts"
            )?;
        }
        let other_work = 100.0 * self.other_work;
        writeln!(
            out,
            "Other work took {other_work:.0} % of the machine meanwhile."
        )?;
        for (row, least, share) in self.verdicts() {
            let verdict = if share >= least { "holds" } else { "is missed" };
            writeln!(
                out,
                "{row} ≥ {least:.2} of plain in requests/s on 32 connections {verdict}: {share:.3}"
            )?;
        }
        Ok(())
    }
}

fn write_line(
    out: &mut fmt::Formatter<'_>,
    name: impl Display,
    cells: [String; COLUMNS.len()],
) -> fmt::Result {
    write!(out, "{name:8}")?;
    for (cell, width) in cells.iter().zip(WIDTHS) {
        write!(out, "{cell:>width$}")?;
    }
    writeln!(out)
}

/// Whole numbers with their thousands apart, but processor time to a tenth.
fn written(figures: &[f64; COLUMNS.len()]) -> [String; COLUMNS.len()] {
    std::array::from_fn(|at| match at {
        CPU => format!("{:.1}", figures[at]),
        _ => thousands(figures[at].round() as u64),
    })
}

fn thousands(number: u64) -> String {
    match number / 1_000 {
        0 => number.to_string(),
        more => format!("{},{:03}", thousands(more), number % 1_000),
    }
}

fn medians(rounds: &[Measured]) -> Measured {
    Measured {
        figures: std::array::from_fn(|at| median(rounds.iter().map(|round| round.figures[at]))),
        redis: std::array::from_fn(|at| median(rounds.iter().map(|round| round.redis[at]))),
    }
}

/// The middle one; the number of rounds is odd.
fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut figures: Vec<_> = figures.collect();
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// The processor's name and how many of them there are.
fn machine() -> String {
    let information = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let mut lines = information.lines().filter_map(|line| line.split_once(':'));
    let name = lines.find(|(name, _)| name.trim() == "model name");
    let name = name.map_or("an unnamed processor", |(_, name)| name.trim());
    format!("{} × {name}", processors())
}
