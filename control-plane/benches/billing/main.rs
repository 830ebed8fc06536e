//! Measures what billing costs: `scripts/bench billing [--json] [--subscriptions N]`.
//!
//! Each figure stands beside what the database does by itself: the same rows, inserted and nothing else.

#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a measurement that cannot go on has failed"
)]

mod bare;
mod drain;
mod fill;
mod invoices;
mod report;

use clap::Parser;
use tempfile::TempDir;
use tollgate_tests::postgres::{Durability, PostgresServer};

use fill::Filled;
use report::{Figures, Report};

/// What to measure, and how to print it.
#[derive(Debug, Parser)]
#[command(name = "scripts/bench billing")]
struct Options {
    /// Prints one JSON object.
    #[arg(long)]
    json: bool,
    /// How many subscriptions are billed; a tenth as many are billed before, for comparison.
    #[arg(long, default_value_t = 100_000)]
    subscriptions: usize,
    /// Cargo says so to every measurement.
    #[arg(long, hide = true)]
    bench: bool,
}

#[tokio::main]
async fn main() {
    let options = Options::parse();
    let folder = TempDir::new().unwrap();
    let file = |name: &str| format!("sqlite://{}", folder.path().join(name).display());
    let on_sqlite = measure("sqlite", &options, || {
        (file("few"), file("all"), file("bare"))
    })
    .await;
    let server = PostgresServer::start(Durability::Durable).expect("PostgreSQL is installed");
    let made = || server.new_database();
    let on_postgres = measure("postgres", &options, || (made(), made(), made())).await;
    let report = Report::new(vec![on_sqlite, on_postgres]);
    match options.json {
        true => println!("{}", report.json()),
        false => print!("{report}"),
    }
}

/// Measures on three new databases: for few subscriptions, for all, and for bare rows.
async fn measure(
    name: &'static str,
    options: &Options,
    databases: impl Fn() -> (String, String, String),
) -> Figures {
    let (few, all, bare) = databases();
    let few = Filled::new(&few, options.subscriptions / 10).await;
    let few = invoices::bill(&few).await;
    eprintln!("{name}: filling {} subscriptions", options.subscriptions);
    let filled = Filled::new(&all, options.subscriptions).await;
    let billed = invoices::bill(&filled).await;
    let drained = drain::drain(&filled).await;
    let limits = bare::measure(&filled, &bare).await;
    Figures {
        name,
        subscriptions: options.subscriptions,
        few,
        billed,
        drained,
        limits,
    }
}
