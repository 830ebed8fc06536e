//! The database: SQLite or PostgreSQL behind the same SQL.
//!
//! One writer at a time on both, by the same structure: a process writes through a single
//! connection, and on PostgreSQL a table lock makes that one writer over all replicas. So what a
//! rule reads in its transaction cannot change under it, no transaction fails to serialise, and
//! what holds in the tests on SQLite holds on PostgreSQL. Write transactions must therefore be
//! short and never wait for anything but the database.

pub mod bulk;
mod store;

pub use store::{
    Connection, Database, Failure, MigrationFailure, Reader, Write, is_temporary,
    is_unique_violation, list,
};

/// Which database speaks behind the common SQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// One file, one process.
    Sqlite,
    /// A server, any number of replicas.
    Postgres,
}

impl Backend {
    /// The backend a URL names, or `None` for a scheme that is neither.
    #[must_use]
    pub fn of_url(url: &str) -> Option<Self> {
        match url.split_once(':')?.0 {
            "sqlite" => Some(Self::Sqlite),
            "postgres" | "postgresql" => Some(Self::Postgres),
            _ => None,
        }
    }
}
