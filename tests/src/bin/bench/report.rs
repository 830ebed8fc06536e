//! The figures as a table and as JSON.

use std::fmt::{self, Display};
use std::fs;

use crate::edge::{COLUMNS, CPU, LEAST_SPEED, Measured, P50_SINGLE, ROUNDS, RPS_BUSY, Results};
use crate::extras::Extras;
use crate::long::Long;
use crate::rows::Row;

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
    extras: Extras,
    long: Option<Long>,
}

/// What a figure must be.
#[derive(Clone, Copy, Debug)]
enum Bar {
    AtLeast(f64),
    AtMost(f64),
}

/// A figure that must be as its bar says.
#[derive(Debug)]
struct Claim {
    text: &'static str,
    bar: Bar,
    figure: f64,
}

impl Claim {
    fn holds(&self) -> bool {
        match self.bar {
            Bar::AtLeast(least) => self.figure >= least,
            Bar::AtMost(most) => self.figure <= most,
        }
    }
}

impl Display for Claim {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bar = match self.bar {
            Bar::AtLeast(least) => format!("≥ {least}"),
            Bar::AtMost(most) => format!("≤ {most}"),
        };
        let verdict = if self.holds() { "held" } else { "missed" };
        write!(out, "{verdict:6} {}: {:.2}, {bar}", self.text, self.figure)
    }
}

/// The medians of one row, each figure on its own.
#[derive(Debug)]
struct RowReport {
    row: Row,
    measured: Measured,
    rounds: Vec<Measured>,
}

impl RowReport {
    fn new(row: Row, rounds: &[Measured]) -> Self {
        Self {
            row,
            measured: medians(rounds),
            rounds: rounds.to_vec(),
        }
    }

    /// Divided by plain Envoy in the same seconds, since a machine has slower and faster ones.
    fn of_plain(&self, column: usize) -> f64 {
        median(self.rounds.iter().map(|round| round.of_plain(column)))
    }

    /// What is beyond plain Envoy in the same seconds.
    fn beyond_plain(&self, column: usize) -> f64 {
        let beyond = |round: &Measured| round.figures[column] - round.plain[column];
        median(self.rounds.iter().map(beyond))
    }
}

impl Report {
    /// Takes the medians.
    pub fn new(results: Results) -> Self {
        let rows = results.rows.iter();
        Self {
            rows: rows
                .map(|(row, rounds)| RowReport::new(*row, rounds))
                .collect(),
            envoy: results.envoy,
            processors: results.processors,
            other_work: results.other_work,
            extras: results.extras,
            long: results.long,
        }
    }

    /// All figures as one JSON object, its members in the order of the table.
    pub fn json(&self) -> String {
        let rows = self.rows.iter().map(|RowReport { row, measured, .. }| {
            let figures = COLUMNS.iter().zip(measured.figures);
            let figures = figures.map(|(name, figure)| format!("\"{name}\":{figure:.2}"));
            format!("\"{row}\":{{{}}}", figures.collect::<Vec<_>>().join(","))
        });
        let Extras {
            cold_key_calls,
            cached_keys_mb,
            revocation_ms: [p50, p99],
        } = self.extras;
        let commands = self.commands_per_hundred();
        let extras = format!(
            "\"cold_key_calls\":{cold_key_calls:.0},\"cached_100k_keys_mb\":{cached_keys_mb:.1},\"redis_commands_per_100\":{commands:.2},\"revocation_ms\":{{\"p50\":{p50:.0},\"p99\":{p99:.0}}}"
        );
        let long = self.long.map(|long| format!(",{}", long.json()));
        let long = long.unwrap_or_default();
        format!("{{{},{extras}{long}}}", rows.collect::<Vec<_>>().join(","))
    }

    fn row(&self, row: Row) -> &RowReport {
        let found = self.rows.iter().find(|report| report.row == row);
        found.expect("every row is measured")
    }

    /// What one row has of plain's figure divided by what another has, round by round.
    fn ratio(&self, row: Row, other: Row, column: usize) -> f64 {
        let rounds = self.row(row).rounds.iter().zip(&self.row(other).rounds);
        median(rounds.map(|(one, other)| one.of_plain(column) / other.of_plain(column)))
    }

    fn commands_per_hundred(&self) -> f64 {
        let [_, commands, _] = self.row(Row::Leased).measured.redis;
        commands / 10.0
    }

    /// The processor time of a request beyond plain's.
    fn write_added(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let added = self.rows.iter().skip(1);
        let added = added.map(|row| format!("{} {:+.1} µs", row.row, row.beyond_plain(CPU)));
        let added = added.collect::<Vec<_>>().join(", ");
        writeln!(out, "CPU beyond plain: {added}")
    }

    /// Whether everything is as it must be.
    pub fn holds(&self) -> bool {
        self.claims().iter().all(Claim::holds)
    }

    fn claims(&self) -> Vec<Claim> {
        use Bar::{AtLeast, AtMost};
        let claim = |text, bar, figure| Claim { text, bar, figure };
        let of_plain = |row| self.row(row).of_plain(RPS_BUSY);
        let Extras {
            cold_key_calls,
            cached_keys_mb,
            revocation_ms: [_, p99],
        } = self.extras;
        let failed = self.long.map(|long| long.failed as f64);
        let long = failed.map(|failed| claim("failed calls over a veth pair", AtMost(0.0), failed));
        let always = vec![
            claim(
                "leased, of the twin's requests/s",
                AtLeast(0.95),
                self.ratio(Row::Leased, Row::Twin, RPS_BUSY),
            ),
            claim(
                "leased, of plain's requests/s",
                AtLeast(0.84),
                of_plain(Row::Leased),
            ),
            claim(
                "leased, CPU beyond plain in µs",
                AtMost(6.5),
                self.row(Row::Leased).beyond_plain(CPU),
            ),
            claim(
                "lean, of plain's requests/s",
                AtLeast(0.87),
                of_plain(Row::Lean),
            ),
            claim(
                "exact, of plain's requests/s",
                AtLeast(0.60),
                of_plain(Row::Exact),
            ),
            claim(
                "exact, p50 on 1 connection beyond plain in µs",
                AtMost(300.0),
                self.row(Row::Exact).beyond_plain(P50_SINGLE),
            ),
            claim(
                "10,000 keys, of one key's requests/s",
                AtLeast(0.88),
                self.ratio(Row::Keys10k, Row::Leased, RPS_BUSY),
            ),
            claim("calls for a cold key", AtMost(1.0), cold_key_calls),
            claim("100,000 cached keys in MB", AtMost(64.0), cached_keys_mb),
            claim(
                "Redis commands per 100 requests of one key",
                AtMost(1.0),
                self.commands_per_hundred(),
            ),
            claim(
                "revocation to the last worker, p99 in ms",
                AtMost(1_000.0),
                p99,
            ),
        ];
        always.into_iter().chain(long).collect()
    }
}

impl Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (envoy, machine) = (&self.envoy, machine(self.processors));
        writeln!(
            out,
            "Envoy {envoy}, one worker unless the row says 4, on {machine}; medians of {ROUNDS} rounds\n"
        )?;
        writeln!(
            out,
            "{:12}{:>27}{:>29}",
            "", "1 connection", "32 connections"
        )?;
        write_line(out, "", HEADINGS.map(str::to_owned))?;
        for report in &self.rows {
            write_line(out, report.row, written(&report.measured.figures))?;
        }
        writeln!(out, "\ndivided by plain in the same seconds")?;
        for report in &self.rows {
            let ratios = std::array::from_fn(|at| format!("{:.2}", report.of_plain(at)));
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
        let sum = |of: fn(&Measured) -> usize| -> usize {
            self.rows.iter().map(|row| of(&row.measured)).sum()
        };
        let (seconds, slow) = (sum(|row| row.seconds), sum(|row| row.slow));
        writeln!(
            out,
            "Load was put for {seconds} seconds, again while plain was slower than {:.0} % of its best; {slow} such seconds are counted all the same.",
            100.0 * LEAST_SPEED
        )?;
        let [p50, p99] = self.extras.revocation_ms;
        writeln!(
            out,
            "A revoked key is refused by the last worker after {p50:.0} ms, in 99 of 100 cases within {p99:.0} ms.\n"
        )?;
        if let Some(long) = self.long {
            writeln!(out, "{long}\n")?;
        }
        for claim in self.claims() {
            writeln!(out, "{claim}")?;
        }
        Ok(())
    }
}

fn write_line(
    out: &mut fmt::Formatter<'_>,
    name: impl Display,
    cells: [String; COLUMNS.len()],
) -> fmt::Result {
    write!(out, "{name:12}")?;
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
        plain: std::array::from_fn(|at| median(rounds.iter().map(|round| round.plain[at]))),
        seconds: rounds.iter().map(|round| round.seconds).sum(),
        slow: rounds.iter().map(|round| round.slow).sum(),
    }
}

/// The middle one; there is an odd number of them.
pub fn median(figures: impl Iterator<Item = f64>) -> f64 {
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
