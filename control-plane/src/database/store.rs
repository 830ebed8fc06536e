//! Connections and transactions: what every other store stands on.

use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::time::Duration;

use sqlx::any::{AnyConnectOptions, AnyPoolOptions, AnyRow};
use sqlx::pool::PoolConnection;
use sqlx::{Any, AnyPool, AssertSqlSafe, Connection as _, Executor, FromRow, Transaction};
use tokio::sync::watch;
use tokio::time::timeout;

use super::Backend;
use crate::config::DatabaseConfig;
use crate::http::page::Slice;

/// A connection, inside a write transaction or not; what every `store.rs` works on.
pub type Connection = sqlx::AnyConnection;
/// Why the database did not do what it was asked.
pub type Failure = sqlx::Error;
/// Why the schema could not be brought up to date.
pub type MigrationFailure = sqlx::migrate::MigrateError;
/// A connection for reading, given back when dropped.
pub type Reader = PoolConnection<Any>;

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!();

/// The database of this process; clones share its connections.
#[derive(Clone, Debug)]
pub struct Database {
    backend: Backend,
    readers: AnyPool,
    writer: AnyPool,
    enqueued: watch::Sender<()>,
}

/// A write transaction; rolled back unless committed.
#[derive(Debug)]
pub struct Write {
    transaction: Transaction<'static, Any>,
    enqueued: watch::Sender<()>,
    wake_up: WakeUp,
}

#[derive(Clone, Copy, Debug)]
enum WakeUp {
    Nobody,
    Outbox,
}

impl Database {
    /// Connects, creating a missing SQLite file.
    ///
    /// # Errors
    /// When the URL names no database this program knows or the database cannot be reached.
    pub async fn connect(config: &DatabaseConfig) -> Result<Self, Failure> {
        sqlx::any::install_default_drivers();
        let url = config.url.expose();
        let backend = Backend::of_url(url)
            .ok_or_else(|| Failure::Configuration("neither a sqlite nor a postgres URL".into()))?;
        let options = match backend {
            Backend::Sqlite => sqlite_url(url)?.parse()?,
            Backend::Postgres => url.parse()?,
        };
        // The writer first: it creates the file and sets the journal mode readers rely on.
        let writer = pool(config, backend, Mode::Write, &options, 1).await?;
        let readers = pool(config, backend, Mode::Read, &options, config.readers).await?;
        Ok(Self {
            backend,
            readers,
            writer,
            enqueued: watch::Sender::new(()),
        })
    }

    /// Brings the schema up to date; replicas that start together wait for each other.
    ///
    /// # Errors
    /// When a migration fails or one that was applied is missing or has changed.
    pub async fn migrate(&self) -> Result<(), MigrationFailure> {
        match self.backend {
            // Here the writer's lock keeps others away, and all of it happens or nothing.
            Backend::Sqlite => {
                let mut tx = self.writer.begin_with("BEGIN IMMEDIATE").await?;
                MIGRATIONS.run_direct(None, &mut *tx, false).await?;
                Ok(tx.commit().await?)
            }
            // There sqlx takes a lock of its own.
            Backend::Postgres => MIGRATIONS.run(&self.writer).await,
        }
    }

    /// Which database this is.
    #[must_use]
    pub fn backend(&self) -> Backend {
        self.backend
    }

    /// A connection that only reads, and sees what is committed.
    ///
    /// # Errors
    /// When no connection becomes free in time.
    pub async fn read(&self) -> Result<Reader, Failure> {
        self.readers.acquire().await
    }

    /// Begins a write transaction; there is no other until it ends.
    ///
    /// # Errors
    /// When another writer does not finish in time.
    pub async fn begin_write(&self) -> Result<Write, Failure> {
        let transaction = match self.backend {
            Backend::Sqlite => self.writer.begin_with("BEGIN IMMEDIATE").await?,
            Backend::Postgres => {
                let mut transaction = self.writer.begin().await?;
                transaction
                    .execute("LOCK TABLE write_lock IN EXCLUSIVE MODE")
                    .await?;
                transaction
            }
        };
        Ok(Write {
            transaction,
            enqueued: self.enqueued.clone(),
            wake_up: WakeUp::Nobody,
        })
    }

    /// Tells of commits of this process that put something into the outbox.
    #[must_use]
    pub fn subscribe_outbox(&self) -> watch::Receiver<()> {
        self.enqueued.subscribe()
    }

    /// Asks the database for an answer, and nothing else.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn ping(&self) -> Result<(), Failure> {
        self.read().await?.execute("SELECT 1").await.map(drop)
    }

    /// What a look at every page of the file finds wrong; a server looks after its files itself.
    ///
    /// # Errors
    /// When so much is wrong that the file cannot even be looked at.
    pub async fn damage(&self) -> Result<Vec<String>, Failure> {
        match self.backend {
            Backend::Postgres => Ok(Vec::new()),
            Backend::Sqlite => {
                let found: Vec<String> = sqlx::query_scalar("PRAGMA quick_check(10)")
                    .fetch_all(&self.readers)
                    .await?;
                Ok(found.into_iter().filter(|line| line != "ok").collect())
            }
        }
    }

    /// Waits for running statements and closes every connection.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

impl Write {
    /// Makes everything in this transaction true at once, then wakes whom it concerns.
    ///
    /// # Errors
    /// When the database did not confirm it; what then holds is whatever it did.
    pub async fn commit(self) -> Result<(), Failure> {
        self.transaction.commit().await?;
        match self.wake_up {
            WakeUp::Nobody => {}
            WakeUp::Outbox => self.enqueued.send_replace(()),
        }
        Ok(())
    }

    /// Has the outbox looked at as soon as this transaction is committed.
    pub(crate) fn wake_outbox(&mut self) {
        self.wake_up = WakeUp::Outbox;
    }
}

impl Deref for Write {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.transaction
    }
}

impl DerefMut for Write {
    fn deref_mut(&mut self) -> &mut Connection {
        &mut self.transaction
    }
}

/// Rows of a table, the newest first, whose columns have these values; an empty value stands for any.
///
/// # Errors
/// When the database refuses.
pub async fn list<T>(
    connection: &mut Connection,
    table: &'static str,
    slice: &Slice,
    filters: &[(&'static str, &str)],
) -> Result<Vec<T>, Failure>
where
    T: for<'r> FromRow<'r, AnyRow> + Send + Unpin,
{
    let filters: Vec<_> = filters
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .collect();
    let mut sql = format!("SELECT * FROM {table} WHERE id < $1");
    for (number, (column, _)) in (2..).zip(&filters) {
        sql += &format!(" AND {column} = ${number}");
    }
    sql += &format!(" ORDER BY id DESC LIMIT ${}", filters.len() + 2);
    // Made of names in this program only.
    let mut query = sqlx::query_as(AssertSqlSafe(sql)).bind(slice.below.clone());
    for (_, value) in filters {
        query = query.bind((*value).to_owned());
    }
    query.bind(slice.rows()).fetch_all(connection).await
}

/// Whether a statement was refused because a unique index already holds its row.
#[must_use]
pub fn is_unique_violation(failure: &Failure) -> bool {
    failure
        .as_database_error()
        .is_some_and(sqlx::error::DatabaseError::is_unique_violation)
}

/// Whether asking again later may help: the database was busy, restarting or out of reach.
#[must_use]
pub fn is_temporary(failure: &Failure) -> bool {
    // SQLITE_BUSY and its extended forms; PostgreSQL's lock timeout, statement cancelled, idle
    // transaction ended, serialisation failure, deadlock, shutting down, starting up and too many
    // connections.
    const CODES: [&str; 12] = [
        "5", "261", "517", "55P03", "57014", "25P03", "40001", "40P01", "57P01", "57P02", "57P03",
        "53300",
    ];
    match failure {
        Failure::PoolTimedOut | Failure::PoolClosed | Failure::Io(_) => true,
        Failure::Database(error) => error.code().is_some_and(|code| CODES.contains(&&*code)),
        _ => false,
    }
}

#[derive(Clone, Copy)]
enum Mode {
    Read,
    Write,
}

async fn pool(
    config: &DatabaseConfig,
    backend: Backend,
    mode: Mode,
    options: &AnyConnectOptions,
    connections: u32,
) -> Result<AnyPool, Failure> {
    let setup = session_setup(backend, mode, config.busy_timeout());
    // A pool that cannot connect tries again until its time is over, and then says no more than that.
    let tried = timeout(config.busy_timeout(), try_connection(options, &setup)).await;
    let obstacle = match tried {
        Ok(Err(failure)) if !is_temporary(&failure) => return Err(failure),
        Ok(tried) => tried.err(),
        Err(_) => return Err(Failure::PoolTimedOut),
    };
    let pool = AnyPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(config.busy_timeout())
        .after_connect(move |connection, _| {
            let setup = setup.clone();
            Box::pin(async move { set_up(connection, &setup).await })
        })
        .connect_with(options.clone())
        .await;
    match (pool, obstacle) {
        (Err(Failure::PoolTimedOut), Some(obstacle)) => Err(obstacle),
        (pool, _) => pool,
    }
}

async fn try_connection(options: &AnyConnectOptions, setup: &[String]) -> Result<(), Failure> {
    let mut connection = Connection::connect_with(options).await?;
    set_up(&mut connection, setup).await?;
    connection.close().await
}

async fn set_up(connection: &mut Connection, setup: &[String]) -> Result<(), Failure> {
    for statement in setup {
        let statement = AssertSqlSafe(statement.clone());
        connection.execute(sqlx::raw_sql(statement)).await?;
    }
    Ok(())
}

fn session_setup(backend: Backend, mode: Mode, patience: Duration) -> Vec<String> {
    let patience_ms = patience.as_millis();
    match (backend, mode) {
        (Backend::Sqlite, Mode::Write) => vec![
            format!("PRAGMA busy_timeout = {patience_ms}"),
            "PRAGMA journal_mode = WAL".to_owned(),
            // FULL: what was answered survives a power cut, not only a crash.
            "PRAGMA synchronous = FULL".to_owned(),
            "PRAGMA foreign_keys = ON".to_owned(),
        ],
        (Backend::Sqlite, Mode::Read) => vec![
            format!("PRAGMA busy_timeout = {patience_ms}"),
            "PRAGMA query_only = ON".to_owned(),
        ],
        (Backend::Postgres, Mode::Write) => vec![
            format!("SET lock_timeout = {patience_ms}"),
            format!("SET statement_timeout = {}", patience_ms * 3),
            // A writer finds rows by their keys: a plan that was made while a table was small must not read all of it
            // when it has grown.
            "SET enable_seqscan = off".to_owned(),
            "SET enable_hashjoin = off".to_owned(),
            "SET enable_mergejoin = off".to_owned(),
            // A writer that hangs would stop every replica: the server ends its transaction.
            format!(
                "SET idle_in_transaction_session_timeout = {}",
                patience_ms * 3
            ),
        ],
        (Backend::Postgres, Mode::Read) => vec![
            format!("SET statement_timeout = {}", patience_ms * 3),
            "SET default_transaction_read_only = on".to_owned(),
        ],
    }
}

/// Asks SQLite to create the file, and refuses a database that only one connection could see.
fn sqlite_url(url: &str) -> Result<String, Failure> {
    let (location, parameters) = url.split_once('?').unwrap_or((url, ""));
    let file = location
        .trim_start_matches("sqlite:")
        .trim_start_matches("//");
    if file.is_empty() || file == ":memory:" || parameters.contains("mode=") {
        let reason = "a SQLite URL names a file and no mode, as in sqlite://tollgate.db";
        return Err(Failure::Configuration(reason.into()));
    }
    let folder = Path::new(file)
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    if let Some(folder) = folder {
        std::fs::create_dir_all(folder).map_err(Failure::Io)?;
    }
    let separator = if parameters.is_empty() { "" } else { "&" };
    Ok(format!("{location}?mode=rwc{separator}{parameters}"))
}
