//! What billing costs a database: figures as JSON for `scripts/bench billing`, which prints them.
//!
//! Each stands beside what the database does by itself: the same rows, inserted and nothing else.

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
use report::Measured;

/// What to measure, and how to print it.
#[derive(Debug, Parser)]
#[command(name = "scripts/bench billing")]
struct Options {
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
    let measured = [on_sqlite, on_postgres];
    let figures: Vec<_> = measured.iter().flat_map(Measured::figures).collect();
    println!("{}", serde_json::Value::from(figures));
}

/// Measures on three new databases: for few subscriptions, for all, and for bare rows.
async fn measure(
    name: &'static str,
    options: &Options,
    databases: impl Fn() -> (String, String, String),
) -> Measured {
    let (few, all, bare) = databases();
    let few = Filled::new(&few, options.subscriptions / 10).await;
    let few = invoices::bill(&few).await;
    eprintln!("{name}: filling {} subscriptions", options.subscriptions);
    let filled = Filled::new(&all, options.subscriptions).await;
    let billed = invoices::bill(&filled).await;
    let drained = drain::drain(&filled).await;
    let limits = bare::measure(&filled, &bare).await;
    Measured {
        name,
        few,
        billed,
        drained,
        limits,
    }
}
