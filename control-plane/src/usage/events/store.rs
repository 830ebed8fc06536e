//! Events and what they count in the database.

use tollgate_engine::contract::WindowId;
use tollgate_engine::units::Units;

use super::document::Event;
use super::{GENERATION, Measure};
use crate::clock::BusinessInstant;
use crate::database::{Connection, Failure};
use crate::error::Result;
use crate::usage::drain::KEPT_AFTER_END;
use crate::usage::store::{milli, units};

const MS_PER_HOUR: i64 = 3_600_000;

/// What a window counts, and what of it was rated, if it was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) units: Units,
    pub(super) rated: Option<Units>,
}

/// Notes an event, unless it was noted before.
pub(super) async fn insert_event(
    connection: &mut Connection,
    event: &Event,
    now: BusinessInstant,
) -> Result<bool, Failure> {
    let inserted = sqlx::query(
        "INSERT INTO usage_events (source, event_id, type, subject, time_ms, received_at_ms)
         VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (source, event_id) DO NOTHING",
    )
    .bind(&event.source)
    .bind(&event.id)
    .bind(&event.event_type)
    .bind(&event.subject)
    .bind(event.time.unix_ms())
    .bind(now.unix_ms())
    .execute(connection)
    .await?;
    Ok(inserted.rows_affected() == 1)
}

/// Notes what an event says to a meter.
pub(super) async fn insert_reading(
    connection: &mut Connection,
    event: &Event,
    measure: &Measure,
) -> Result<()> {
    sqlx::query(
        "INSERT INTO usage_readings
             (source, event_id, meter, chain_id, epoch, start_ms, time_ms, api_key, units, value)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
    )
    .bind(&event.source)
    .bind(&event.id)
    .bind(&measure.window.meter)
    .bind(measure.chain.to_string())
    .bind(i64::from(measure.window.epoch))
    .bind(measure.window.start_ms)
    .bind(measure.time.unix_ms())
    .bind(&measure.api_key)
    .bind(milli(measure.units)?)
    .bind(&measure.value)
    .execute(connection)
    .await?;
    Ok(())
}

/// Whether an event brought this value in the window before.
pub(super) async fn has_value(
    connection: &mut Connection,
    measure: &Measure,
) -> Result<bool, Failure> {
    let first: Option<String> = sqlx::query_scalar(
        "SELECT event_id FROM usage_readings
         WHERE chain_id = $1 AND epoch = $2 AND meter = $3 AND start_ms = $4 AND value = $5 LIMIT 1",
    )
    .bind(measure.chain.to_string())
    .bind(i64::from(measure.window.epoch))
    .bind(&measure.window.meter)
    .bind(measure.window.start_ms)
    .bind(&measure.value)
    .fetch_optional(connection)
    .await?;
    Ok(first.is_some())
}

/// When the last event of the window happened.
pub(super) async fn last_time(
    connection: &mut Connection,
    measure: &Measure,
) -> Result<Option<BusinessInstant>, Failure> {
    let last: Option<i64> = sqlx::query_scalar(
        "SELECT MAX(time_ms) FROM usage_readings
         WHERE chain_id = $1 AND epoch = $2 AND meter = $3 AND start_ms = $4",
    )
    .bind(measure.chain.to_string())
    .bind(i64::from(measure.window.epoch))
    .bind(&measure.window.meter)
    .bind(measure.window.start_ms)
    .fetch_one(connection)
    .await?;
    Ok(last.map(BusinessInstant::from_unix_ms))
}

/// What events count in the window.
pub(super) async fn counted(connection: &mut Connection, measure: &Measure) -> Result<Units> {
    let counted: i64 = sqlx::query_scalar(
        "SELECT CAST(COALESCE(SUM(units), 0) AS BIGINT) FROM usage_counters
         WHERE chain_id = $1 AND epoch = $2 AND meter = $3 AND start_ms = $4 AND generation = $5",
    )
    .bind(measure.chain.to_string())
    .bind(i64::from(measure.window.epoch))
    .bind(&measure.window.meter)
    .bind(measure.window.start_ms)
    .bind(GENERATION)
    .fetch_one(connection)
    .await?;
    units(counted)
}

/// What the ledger holds of a window beside what this life of the store counted: of earlier lives, and of events.
pub(crate) async fn held_beside(
    connection: &mut Connection,
    chain: &str,
    window: &WindowId,
    generation: i64,
) -> Result<Units> {
    let held: i64 = sqlx::query_scalar(
        "SELECT CAST(COALESCE(SUM(units), 0) AS BIGINT) FROM usage_counters
         WHERE chain_id = $1 AND epoch = $2 AND meter = $3 AND start_ms = $4 AND generation <> $5",
    )
    .bind(chain)
    .bind(i64::from(window.epoch))
    .bind(&window.meter)
    .bind(window.start_ms)
    .bind(generation)
    .fetch_one(connection)
    .await?;
    units(held)
}

/// The window as it stands.
pub(super) async fn window(connection: &mut Connection, measure: &Measure) -> Result<Window> {
    let row: Option<(i64, Option<i64>)> = sqlx::query_as(
        "SELECT units, rated FROM usage_windows
         WHERE chain_id = $1 AND epoch = $2 AND meter = $3 AND start_ms = $4",
    )
    .bind(measure.chain.to_string())
    .bind(i64::from(measure.window.epoch))
    .bind(&measure.window.meter)
    .bind(measure.window.start_ms)
    .fetch_optional(connection)
    .await?;
    let Some((total, rated)) = row else {
        return Ok(Window::default());
    };
    Ok(Window {
        units: units(total)?,
        rated: rated.map(units).transpose()?,
    })
}

/// Adds units to the counter of the hour of an event.
pub(super) async fn add_to_counter(
    connection: &mut Connection,
    measure: &Measure,
    added: Units,
) -> Result<()> {
    sqlx::query(
        "INSERT INTO usage_counters
             (chain_id, epoch, meter, start_ms, generation, late_generation, hour, api_key, units)
         VALUES ($1, $2, $3, $4, $5, 0, $6, $7, $8)
         ON CONFLICT (chain_id, epoch, meter, start_ms, generation, late_generation, hour, api_key)
         DO UPDATE SET units = usage_counters.units + excluded.units",
    )
    .bind(measure.chain.to_string())
    .bind(i64::from(measure.window.epoch))
    .bind(&measure.window.meter)
    .bind(measure.window.start_ms)
    .bind(GENERATION)
    .bind(measure.time.unix_ms().div_euclid(MS_PER_HOUR))
    .bind(&measure.api_key)
    .bind(milli(added)?)
    .execute(connection)
    .await?;
    Ok(())
}

/// Removes what events counted in the window, to be counted anew.
pub(super) async fn remove_counters(
    connection: &mut Connection,
    measure: &Measure,
) -> Result<(), Failure> {
    sqlx::query(
        "DELETE FROM usage_counters
         WHERE chain_id = $1 AND epoch = $2 AND meter = $3 AND start_ms = $4 AND generation = $5",
    )
    .bind(measure.chain.to_string())
    .bind(i64::from(measure.window.epoch))
    .bind(&measure.window.meter)
    .bind(measure.window.start_ms)
    .bind(GENERATION)
    .execute(connection)
    .await
    .map(drop)
}

/// Writes what the window counts, and has it taken out of Redis again when it is over.
pub(super) async fn set_window(
    connection: &mut Connection,
    measure: &Measure,
    total: Units,
) -> Result<()> {
    sqlx::query(
        "INSERT INTO usage_windows (chain_id, epoch, meter, start_ms, units, trim_at_ms, trimmed)
         VALUES ($1, $2, $3, $4, $5, $6, 0)
         ON CONFLICT (chain_id, epoch, meter, start_ms) DO UPDATE SET
             units = excluded.units, trim_at_ms = excluded.trim_at_ms, trimmed = 0",
    )
    .bind(measure.chain.to_string())
    .bind(i64::from(measure.window.epoch))
    .bind(&measure.window.meter)
    .bind(measure.window.start_ms)
    .bind(milli(total)?)
    .bind(measure.window_end.after(KEPT_AFTER_END).unix_ms())
    .execute(&mut *connection)
    .await?;
    sqlx::query(
        "INSERT INTO usage_chains (chain_id, workers, late_generation) VALUES ($1, '{}', 0)
         ON CONFLICT (chain_id) DO NOTHING",
    )
    .bind(measure.chain.to_string())
    .execute(connection)
    .await?;
    Ok(())
}
