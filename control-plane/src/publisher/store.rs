//! Lives of the data in Redis.

use crate::clock::MachineInstant;
use crate::database::{Connection, Failure};

/// One life of the data in Redis.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Generation {
    /// Its number.
    #[sqlx(rename = "generation")]
    pub number: i64,
    /// Since when the filter could use it, if it came to that.
    pub opened_at_ms: Option<i64>,
    /// The process for which every document was written.
    pub node: Option<String>,
}

/// The last life that was begun.
pub(super) async fn latest(connection: &mut Connection) -> Result<Option<Generation>, Failure> {
    sqlx::query_as(
        "SELECT generation, opened_at_ms, node FROM store_generations
         ORDER BY generation DESC LIMIT 1",
    )
    .fetch_optional(connection)
    .await
}

/// Whether the filter could ever use a life before this one.
pub(super) async fn was_opened_before(
    connection: &mut Connection,
    generation: i64,
) -> Result<bool, Failure> {
    let opened: i64 = sqlx::query_scalar(
        "SELECT COUNT(*) FROM store_generations
         WHERE generation < $1 AND opened_at_ms IS NOT NULL",
    )
    .bind(generation)
    .fetch_one(connection)
    .await?;
    Ok(opened > 0)
}

pub(super) async fn begin(
    connection: &mut Connection,
    generation: i64,
    now: MachineInstant,
) -> Result<(), Failure> {
    sqlx::query("INSERT INTO store_generations (generation, begun_at_ms) VALUES ($1, $2)")
        .bind(generation)
        .bind(now.unix_ms())
        .execute(connection)
        .await
        .map(drop)
}

/// Notes that the filter may be using a life from now on.
pub(super) async fn mark_opened(
    connection: &mut Connection,
    generation: i64,
    now: MachineInstant,
) -> Result<(), Failure> {
    sqlx::query("UPDATE store_generations SET opened_at_ms = $1 WHERE generation = $2")
        .bind(now.unix_ms())
        .bind(generation)
        .execute(connection)
        .await
        .map(drop)
}

/// Notes the process for which every document was written.
pub(super) async fn mark_written(
    connection: &mut Connection,
    generation: i64,
    node: &str,
) -> Result<(), Failure> {
    sqlx::query("UPDATE store_generations SET node = $1 WHERE generation = $2")
        .bind(node)
        .bind(generation)
        .execute(connection)
        .await
        .map(drop)
}
