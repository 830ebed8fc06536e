//! Stripe's events in the database.

use std::time::Duration;

use super::{Event, EventStatus};
use crate::clock::MachineInstant;
use crate::database::{self, Connection};
use crate::error::{Error, Result};
use crate::http::page::Slice;

/// How long handled events are kept: Stripe brings none again after a month.
const HANDLED_KEPT: Duration = Duration::from_secs(90 * 86_400);

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    stripe_id: String,
    #[sqlx(rename = "type")]
    kind: String,
    object_id: String,
    payload: String,
    status: String,
    attempts: i64,
    next_attempt_ms: i64,
    failure: Option<String>,
    happened_at_ms: i64,
    received_at_ms: i64,
    handled_at_ms: Option<i64>,
}

impl TryFrom<Row> for Event {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self> {
        let status = EventStatus::parse(&row.status);
        let unknown = || Error::internal(anyhow::anyhow!("an event that is {}", row.status));
        Ok(Self {
            id: row.id.parse().map_err(Error::internal)?,
            status: status.ok_or_else(unknown)?,
            stripe_id: row.stripe_id,
            kind: row.kind,
            object: row.object_id,
            payload: row.payload,
            attempts: u32::try_from(row.attempts).unwrap_or(u32::MAX),
            next_attempt: MachineInstant::from_unix_ms(row.next_attempt_ms),
            failure: row.failure,
            happened_at: MachineInstant::from_unix_ms(row.happened_at_ms),
            received_at: MachineInstant::from_unix_ms(row.received_at_ms),
            handled_at: row.handled_at_ms.map(MachineInstant::from_unix_ms),
        })
    }
}

/// Stores an event, unless it is stored already.
pub(super) async fn insert(connection: &mut Connection, event: &Event) -> Result<()> {
    sqlx::query(
        "INSERT INTO stripe_events (id, stripe_id, type, object_id, payload, status, attempts,
             next_attempt_ms, happened_at_ms, received_at_ms)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
         ON CONFLICT (stripe_id) DO NOTHING",
    )
    .bind(event.id.to_string())
    .bind(&event.stripe_id)
    .bind(&event.kind)
    .bind(&event.object)
    .bind(&event.payload)
    .bind(event.status.name())
    .bind(i64::from(event.attempts))
    .bind(event.next_attempt.unix_ms())
    .bind(event.happened_at.unix_ms())
    .bind(event.received_at.unix_ms())
    .execute(connection)
    .await?;
    Ok(())
}

/// Writes how far the handling of an event is.
pub(super) async fn update(connection: &mut Connection, event: &Event) -> Result<()> {
    sqlx::query(
        "UPDATE stripe_events SET status = $1, attempts = $2, next_attempt_ms = $3, failure = $4,
             handled_at_ms = $5 WHERE id = $6",
    )
    .bind(event.status.name())
    .bind(i64::from(event.attempts))
    .bind(event.next_attempt.unix_ms())
    .bind(&event.failure)
    .bind(event.handled_at.map(MachineInstant::unix_ms))
    .bind(event.id.to_string())
    .execute(connection)
    .await?;
    Ok(())
}

/// The event with our id or Stripe's.
pub(super) async fn find(connection: &mut Connection, id: &str) -> Result<Option<Event>> {
    let row: Option<Row> =
        sqlx::query_as("SELECT * FROM stripe_events WHERE id = $1 OR stripe_id = $1")
            .bind(id)
            .fetch_optional(connection)
            .await?;
    row.map(Event::try_from).transpose()
}

/// Events that are to be handled now, in the order they came in.
pub(super) async fn due(
    connection: &mut Connection,
    now: MachineInstant,
    limit: i64,
) -> Result<Vec<Event>> {
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT * FROM stripe_events WHERE status = 'pending' AND next_attempt_ms <= $1
         ORDER BY id LIMIT $2",
    )
    .bind(now.unix_ms())
    .bind(limit)
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(Event::try_from).collect()
}

/// Events, the newest first; no status stands for any.
pub(super) async fn list(
    connection: &mut Connection,
    slice: &Slice,
    status: Option<EventStatus>,
) -> Result<Vec<Event>> {
    let filters = [("status", status.map_or("", EventStatus::name))];
    let rows: Vec<Row> = database::list(connection, "stripe_events", slice, &filters).await?;
    rows.into_iter().map(Event::try_from).collect()
}

/// How many events are to be handled, now or later; dead ones are not.
///
/// # Errors
/// When the database refuses.
pub async fn pending(connection: &mut Connection) -> Result<u64> {
    let count: i64 =
        sqlx::query_scalar("SELECT COUNT(*) FROM stripe_events WHERE status = 'pending'")
            .fetch_one(connection)
            .await?;
    Ok(u64::try_from(count).unwrap_or(0))
}

/// How many events failed so often that a person has to look.
///
/// # Errors
/// When the database refuses.
pub async fn dead(connection: &mut Connection) -> Result<u64> {
    let count: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM stripe_events WHERE status = 'dead'")
        .fetch_one(connection)
        .await?;
    Ok(u64::try_from(count).unwrap_or(0))
}

/// When the oldest event came in that is to be handled.
pub(super) async fn oldest_pending(connection: &mut Connection) -> Result<Option<MachineInstant>> {
    let select = "SELECT MIN(received_at_ms) FROM stripe_events WHERE status = 'pending'";
    let oldest: Option<i64> = sqlx::query_scalar(select).fetch_one(connection).await?;
    Ok(oldest.map(MachineInstant::from_unix_ms))
}

/// Removes events that came in long before `now` and need no one any more, and says how many.
///
/// # Errors
/// When the database refuses.
pub async fn remove_handled(
    connection: &mut Connection,
    now: MachineInstant,
    limit: i64,
) -> Result<u64> {
    let removed = sqlx::query(
        "DELETE FROM stripe_events WHERE id IN (
             SELECT id FROM stripe_events
             WHERE status IN ('handled', 'ignored') AND received_at_ms < $1 LIMIT $2)",
    )
    .bind(now.before(HANDLED_KEPT).unix_ms())
    .bind(limit)
    .execute(connection)
    .await?;
    Ok(removed.rows_affected())
}
