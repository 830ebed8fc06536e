//! The PostgreSQL server of this test run.

use std::io::Write;
use std::sync::LazyLock;

use tollgate_tests::postgres::{Durability, PostgresServer};

static SERVER: LazyLock<Option<PostgresServer>> = LazyLock::new(start);

/// The URL of a new, empty database, or `None` where PostgreSQL is not installed.
pub fn new_database() -> Option<String> {
    SERVER.as_ref().map(PostgresServer::new_database)
}

fn server() -> &'static PostgresServer {
    SERVER.as_ref().expect("a database of it was made")
}

/// The URL of a copy of a database that nobody is connected to.
pub fn copy(url: &str) -> String {
    server().copy_database(url)
}

/// Ends all connections to a database.
pub fn end_connections(url: &str) {
    server().end_connections(url);
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
