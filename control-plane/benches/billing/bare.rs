//! The database's own limit: the rows that billing and draining write, inserted into empty tables.

use std::time::Instant;

use sqlx::any::AnyRow;
use sqlx::{AssertSqlSafe, Column, Connection as _, Executor, Row, TypeInfo, ValueRef};
use tollgate::database::bulk::Cell;
use tollgate::database::{Backend, Connection};

use crate::fill::{self, Filled};

/// Invoices, and chains, of one transaction, as billing and draining have it.
const INVOICES_PER_TRANSACTION: i64 = 200;
const CHAINS_PER_TRANSACTION: i64 = 500;
/// Enough to measure.
const TRANSACTIONS: i64 = 50;
/// Rows of one statement, as everywhere.
const ROWS_PER_STATEMENT: usize = 200;

/// What bare inserts do.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub invoices_per_second: f64,
    pub counters_per_second: f64,
}

/// What is written by one invoice, by whom it is of.
const OF_INVOICES: [(&str, &str); 6] = [
    (
        "invoices",
        "subscription_id IN ({page}) AND kind = 'recurring'",
    ),
    ("invoice_lines", "subscription_id IN ({page})"),
    ("rated_windows", "chain_id IN ({page})"),
    (
        "usage_windows",
        "chain_id IN ({page}) AND rated IS NOT NULL",
    ),
    ("billing_schedules", "subscription_id IN ({page})"),
    (
        "outbox",
        "ordering_key IN (SELECT id FROM invoices WHERE subscription_id IN ({page}) AND kind = 'recurring')",
    ),
];
const OF_CHAINS: [(&str, &str); 3] = [
    ("usage_counters", "chain_id IN ({page})"),
    ("usage_windows", "chain_id IN ({page}) AND rated IS NULL"),
    ("usage_chains", "chain_id IN ({page})"),
];

/// The rows of one table that one transaction writes.
struct Rows {
    into: String,
    columns: usize,
    cells: Vec<Cell>,
}

/// Copies some of what was written into an empty database, by insertions alone.
pub async fn measure(filled: &Filled, bare: &str) -> Limits {
    let app = fill::app(bare, "redis://127.0.0.1:1").await;
    let backend = app.database.backend();
    app.database.close().await;
    let mut source = Connection::connect(&filled.url).await.unwrap();
    let mut target = Connection::connect(bare).await.unwrap();
    let setup = match backend {
        Backend::Sqlite => {
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = OFF"
        }
        Backend::Postgres => "SET session_replication_role = replica",
    };
    target.execute(sqlx::raw_sql(setup)).await.unwrap();
    let rate = async |source: &mut Connection,
                      target: &mut Connection,
                      tables: &[(&str, &str)],
                      per: i64| {
        let (mut seconds, mut subscriptions) = (0.0, 0);
        for page in 0..TRANSACTIONS.min(filled.chains.len() as i64 / per).max(1) {
            let which = format!(
                "SELECT id FROM subscriptions ORDER BY id LIMIT {per} OFFSET {}",
                page * per
            );
            let mut all = Vec::new();
            for (table, condition) in tables {
                let condition = condition.replace("{page}", &which);
                all.push(read(source, table, &condition).await);
            }
            let began = Instant::now();
            write(target, backend, &all).await;
            seconds += began.elapsed().as_secs_f64();
            subscriptions += all[0].cells.len() / all[0].columns;
        }
        subscriptions as f64 / seconds
    };
    let invoices_per_second = rate(
        &mut source,
        &mut target,
        &OF_INVOICES,
        INVOICES_PER_TRANSACTION,
    )
    .await;
    let counters_per_second =
        rate(&mut source, &mut target, &OF_CHAINS, CHAINS_PER_TRANSACTION).await;
    Limits {
        invoices_per_second,
        counters_per_second,
    }
}

async fn read(source: &mut Connection, table: &str, condition: &str) -> Rows {
    let sql = format!("SELECT * FROM {table} WHERE {condition}");
    let found: Vec<AnyRow> = sqlx::query(AssertSqlSafe(sql))
        .fetch_all(source)
        .await
        .unwrap();
    let columns = found.first().map_or(&[][..], |row| row.columns());
    let names: Vec<_> = columns.iter().map(|column| column.name()).collect();
    Rows {
        into: format!("INSERT INTO {table} ({})", names.join(", ")),
        columns: names.len(),
        cells: found
            .iter()
            .flat_map(|row| (0..names.len()).map(|at| cell(row, at)))
            .collect(),
    }
}

fn cell(row: &AnyRow, at: usize) -> Cell {
    let value = row.try_get_raw(at).unwrap();
    let (of_value, of_column) = (value.type_info(), row.column(at).type_info());
    // A null may tell nothing of its column.
    let name = if value.is_null() {
        of_column.name()
    } else {
        of_value.name()
    };
    match name {
        "BIGINT" => Cell::Number(row.get(at)),
        _ => Cell::Text(row.get(at)),
    }
}

/// One transaction.
async fn write(target: &mut Connection, backend: Backend, all: &[Rows]) {
    let mut tx = target.begin().await.unwrap();
    for rows in all.iter().filter(|rows| rows.columns > 0) {
        for page in rows.cells.chunks(ROWS_PER_STATEMENT * rows.columns) {
            let places = (0..page.len() / rows.columns).map(|row| {
                let places = (1..=rows.columns).map(|column| match backend {
                    Backend::Sqlite => "?".to_owned(),
                    Backend::Postgres => format!("${}", row * rows.columns + column),
                });
                format!("({})", places.collect::<Vec<_>>().join(", "))
            });
            let sql = format!(
                "{} VALUES {}",
                rows.into,
                places.collect::<Vec<_>>().join(", ")
            );
            let mut query = sqlx::query(AssertSqlSafe(sql));
            for cell in page {
                query = match cell.clone() {
                    Cell::Text(text) => query.bind(text),
                    Cell::Number(number) => query.bind(number),
                };
            }
            query.execute(&mut *tx).await.unwrap();
        }
    }
    tx.commit().await.unwrap();
}
