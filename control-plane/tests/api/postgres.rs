//! The PostgreSQL server of this test run.

use std::io::Write;
use std::sync::LazyLock;

use tollgate_tests::postgres::{Durability, PostgresServer};

static SERVER: LazyLock<Option<PostgresServer>> = LazyLock::new(start);

/// The URL of a new, empty database, or `None` where PostgreSQL is not installed.
pub fn new_database() -> Option<String> {
    SERVER.as_ref().map(PostgresServer::new_database)
}

fn start() -> Option<PostgresServer> {
    let server = PostgresServer::start(Durability::Lost);
    if server.is_none() {
        // Straight to the descriptor: the test harness hides what passing tests print.
        let line = "\nNOT TESTED ON POSTGRESQL: install the package postgresql\n";
        std::io::stderr().write_all(line.as_bytes()).unwrap();
    }
    server
}
