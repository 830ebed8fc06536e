//! The outbox's rows.

use super::{Message, Topic};
use crate::clock::MachineInstant;
use crate::database::bulk::{self, Cell};
use crate::database::{Connection, Failure};
use crate::error::{Error, Result};
use crate::ids::EventId;

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    ordering_key: String,
    attempts: i64,
    enqueued_at_ms: i64,
    payload: String,
}

impl TryFrom<Row> for Message {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self> {
        Ok(Self {
            id: row.id.parse().map_err(Error::internal)?,
            ordering_key: row.ordering_key,
            attempts: u32::try_from(row.attempts).unwrap_or(u32::MAX),
            enqueued_at: MachineInstant::from_unix_ms(row.enqueued_at_ms),
            payload: row.payload,
        })
    }
}

/// Writes messages with the next numbers, in order.
pub(super) async fn insert(
    connection: &mut Connection,
    topic: Topic,
    messages: &[Message],
) -> Result<()> {
    let count = i64::try_from(messages.len()).map_err(Error::internal)?;
    if count == 0 {
        return Ok(());
    }
    let last: i64 = sqlx::query_scalar(
        "INSERT INTO sequences (name, value) VALUES ('outbox', $1)
         ON CONFLICT (name) DO UPDATE SET value = sequences.value + excluded.value
         RETURNING value",
    )
    .bind(count)
    .fetch_one(&mut *connection)
    .await?;
    let rows: Vec<[Cell; 8]> = (last - count + 1..)
        .zip(messages)
        .map(|(sequence, message)| {
            [
                message.id.to_string().into(),
                topic.0.into(),
                message.ordering_key.as_str().into(),
                sequence.into(),
                message.payload.as_str().into(),
                message.enqueued_at.unix_ms().into(),
                0.into(),
                0.into(),
            ]
        })
        .collect();
    bulk::insert(
        connection,
        "INSERT INTO outbox (id, topic, ordering_key, sequence, payload, enqueued_at_ms,
             attempts, next_attempt_ms)",
        &rows,
        "",
    )
    .await?;
    Ok(())
}

/// The oldest message of each ordering key, when it is due, oldest first.
pub(super) async fn due_heads(
    connection: &mut Connection,
    topic: Topic,
    now: MachineInstant,
    limit: i64,
) -> Result<Vec<Message>> {
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT id, ordering_key, attempts, enqueued_at_ms, payload FROM outbox
         WHERE topic = $1 AND next_attempt_ms <= $2 AND NOT EXISTS (
             SELECT 1 FROM outbox earlier
             WHERE earlier.topic = outbox.topic AND earlier.ordering_key = outbox.ordering_key
                 AND earlier.sequence < outbox.sequence)
         ORDER BY sequence LIMIT $3",
    )
    .bind(topic.0)
    .bind(now.unix_ms())
    .bind(limit)
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(Message::try_from).collect()
}

pub(super) async fn remove(connection: &mut Connection, id: EventId) -> Result<(), Failure> {
    sqlx::query("DELETE FROM outbox WHERE id = $1")
        .bind(id.to_string())
        .execute(connection)
        .await
        .map(drop)
}

pub(super) async fn postpone(
    connection: &mut Connection,
    id: EventId,
    until: MachineInstant,
) -> Result<(), Failure> {
    sqlx::query("UPDATE outbox SET attempts = attempts + 1, next_attempt_ms = $1 WHERE id = $2")
        .bind(until.unix_ms())
        .bind(id.to_string())
        .execute(connection)
        .await
        .map(drop)
}

/// How many messages wait, and when the oldest was enqueued.
pub(super) async fn backlog(
    connection: &mut Connection,
    topic: Topic,
) -> Result<(i64, Option<i64>), Failure> {
    sqlx::query_as("SELECT COUNT(*), MIN(enqueued_at_ms) FROM outbox WHERE topic = $1")
        .bind(topic.0)
        .fetch_one(connection)
        .await
}

/// How many messages wait, by topic.
pub(super) async fn backlogs(connection: &mut Connection) -> Result<Vec<(String, i64)>, Failure> {
    sqlx::query_as("SELECT topic, COUNT(*) FROM outbox GROUP BY topic ORDER BY topic")
        .fetch_all(connection)
        .await
}

/// Whether a message waits.
pub(super) async fn exists(connection: &mut Connection, id: EventId) -> Result<bool, Failure> {
    let found: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM outbox WHERE id = $1")
        .bind(id.to_string())
        .fetch_one(connection)
        .await?;
    Ok(found > 0)
}
