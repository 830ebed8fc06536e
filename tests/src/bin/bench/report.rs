//! The figures as a table and as JSON.

use std::fmt::{self, Display};
use std::fs;

use crate::edge::{COLUMNS, CPU, Measured, ROUNDS, RPS_BUSY, Results, Row};

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
    processors: usize,
    other_work: f64,
    rows: Vec<RowReport>,
}

/// The medians of one row, each figure on its own.
#[derive(Debug)]
struct RowReport {
    row: Row,
    measured: Measured,
    /// Divided by plain round by round, since a machine has slower and faster minutes.
    of_plain: [f64; COLUMNS.len()],
}

impl RowReport {
    fn new(row: Row, rounds: &[Measured], plain: &[Measured]) -> Self {
        let pairs = || rounds.iter().zip(plain);
        Self {
            row,
            measured: medians(rounds),
            of_plain: std::array::from_fn(|at| {
                median(pairs().map(|(round, plain)| round.figures[at] / plain.figures[at]))
            }),
        }
    }
}

impl Report {
    /// Takes the medians.
    pub fn new(results: Results) -> Self {
        let (_, plain) = &results.rows[0];
        let rows = results.rows.iter();
        Self {
            rows: rows
                .map(|(row, rounds)| RowReport::new(*row, rounds, plain))
                .collect(),
            envoy: results.envoy,
            processors: results.processors,
            other_work: results.other_work,
        }
    }

    /// All figures as one JSON object, its members in the order of the table.
    pub fn json(&self) -> String {
        let rows = self.rows.iter().map(|RowReport { row, measured, .. }| {
            let figures = COLUMNS.iter().zip(measured.figures);
            let figures = figures.map(|(name, figure)| format!("\"{name}\":{figure:.2}"));
            format!("\"{row}\":{{{}}}", figures.collect::<Vec<_>>().join(","))
        });
        format!("{{{}}}", rows.collect::<Vec<_>>().join(","))
    }

    /// The processor time of a request beyond plain's.
    fn write_added(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = &self.rows[0].measured;
        let added = self.rows.iter().skip(1).map(|row| {
            let added = row.measured.figures[CPU] - plain.figures[CPU];
            format!("{} {added:+.1} µs", row.row)
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
        self.rows.iter().filter_map(|report| {
            let share = report.of_plain[RPS_BUSY];
            Some((report.row, report.row.least_of_plain()?, share))
        })
    }
}

impl Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (envoy, machine) = (&self.envoy, machine(self.processors));
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
        for report in &self.rows {
            write_line(out, report.row, written(&report.measured.figures))?;
        }
        writeln!(out, "\ndivided by plain, round by round")?;
        for report in &self.rows {
            let ratios = report.of_plain.map(|ratio| format!("{ratio:.2}"));
            write_line(out, report.row, ratios)?;
        }
        writeln!(out, "\n{CPU_NOTE}")?;
        self.write_added(out)?;
        let metered = |report: &&RowReport| report.row.is_metered();
        for RowReport { row, measured, .. } in self.rows.iter().filter(metered) {
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
fn machine(processors: usize) -> String {
    let information = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let mut lines = information.lines().filter_map(|line| line.split_once(':'));
    let name = lines.find(|(name, _)| name.trim() == "model name");
    let name = name.map_or("an unnamed processor", |(_, name)| name.trim());
    format!("{processors} × {name}")
}
