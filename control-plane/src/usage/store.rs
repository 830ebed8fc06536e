//! The ledger in the database.

use std::collections::BTreeMap;
use std::time::Duration;

use tollgate_engine::contract::WindowId;
use tollgate_engine::limits::WORKER_RECORD_TTL_MS;
use tollgate_engine::units::Units;

use super::{Counter, LastDrain, Reading, Workers};
use crate::clock::{BusinessInstant, MachineInstant};
use crate::database::{Connection, Failure};
use crate::error::{Error, Result};

/// What the ledger holds of a chain for a store that is filled.
#[derive(Debug)]
pub(super) struct Restored {
    pub(super) chain: String,
    pub(super) tag: String,
    pub(super) late_generation: i64,
    pub(super) workers: Workers,
    pub(super) windows: Vec<(WindowId, Units)>,
}

/// A window whose counters may be removed from Redis.
#[derive(Debug)]
pub(super) struct Closed {
    pub(super) chain: String,
    pub(super) tag: String,
    pub(super) window: WindowId,
}

/// Takes a reading in: the greatest value of each counter, and how far each worker has come.
///
/// `trim_at` gives for each window of the reading when its counters may be removed from Redis.
pub(super) async fn record(
    connection: &mut Connection,
    reading: &Reading,
    trim_at: &BTreeMap<WindowId, BusinessInstant>,
    now: MachineInstant,
) -> Result<()> {
    let mut risen = BTreeMap::<&WindowId, u64>::new();
    for counter in &reading.counters {
        let before = units_of(&mut *connection, reading, counter).await?;
        if before < Some(counter.units) {
            upsert(&mut *connection, reading, counter).await?;
            let before = before.unwrap_or(Units::ZERO);
            let units = counter.units.saturating_sub(before).milli();
            *risen.entry(&counter.window).or_default() += units;
        }
    }
    for (window, milli) in risen {
        let trim_at = trim_at.get(window).copied();
        add_to_window(&mut *connection, &reading.chain, window, milli, trim_at).await?;
    }
    record_workers(connection, reading, now).await
}

async fn units_of(
    connection: &mut Connection,
    reading: &Reading,
    counter: &Counter,
) -> Result<Option<Units>> {
    let milli: Option<i64> = sqlx::query_scalar(
        "SELECT units FROM usage_counters
         WHERE chain_id = $1 AND epoch = $2 AND meter = $3 AND start_ms = $4 AND generation = $5
             AND late_generation = $6 AND hour = $7 AND api_key = $8",
    )
    .bind(&reading.chain)
    .bind(i64::from(counter.window.epoch))
    .bind(&counter.window.meter)
    .bind(counter.window.start_ms)
    .bind(reading.generation)
    .bind(counter.late_generation)
    .bind(counter.hour)
    .bind(&counter.api_key)
    .fetch_optional(connection)
    .await?;
    milli.map(units).transpose()
}

async fn upsert(connection: &mut Connection, reading: &Reading, counter: &Counter) -> Result<()> {
    sqlx::query(
        "INSERT INTO usage_counters
             (chain_id, epoch, meter, start_ms, generation, late_generation, hour, api_key, units)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
         ON CONFLICT (chain_id, epoch, meter, start_ms, generation, late_generation, hour, api_key)
         DO UPDATE SET units = excluded.units",
    )
    .bind(&reading.chain)
    .bind(i64::from(counter.window.epoch))
    .bind(&counter.window.meter)
    .bind(counter.window.start_ms)
    .bind(reading.generation)
    .bind(counter.late_generation)
    .bind(counter.hour)
    .bind(&counter.api_key)
    .bind(milli(counter.units)?)
    .execute(connection)
    .await?;
    Ok(())
}

async fn add_to_window(
    connection: &mut Connection,
    chain: &str,
    window: &WindowId,
    milli: u64,
    trim_at: Option<BusinessInstant>,
) -> Result<()> {
    sqlx::query(
        "INSERT INTO usage_windows (chain_id, epoch, meter, start_ms, units, trim_at_ms, trimmed)
         VALUES ($1, $2, $3, $4, $5, $6, 0)
         ON CONFLICT (chain_id, epoch, meter, start_ms) DO UPDATE SET
             units = usage_windows.units + excluded.units, trim_at_ms = excluded.trim_at_ms,
             trimmed = 0",
    )
    .bind(chain)
    .bind(i64::from(window.epoch))
    .bind(&window.meter)
    .bind(window.start_ms)
    .bind(i64::try_from(milli).map_err(Error::internal)?)
    .bind(trim_at.map(BusinessInstant::unix_ms))
    .execute(connection)
    .await?;
    Ok(())
}

async fn record_workers(
    connection: &mut Connection,
    reading: &Reading,
    now: MachineInstant,
) -> Result<()> {
    let mut workers = match workers_of(&mut *connection, &reading.chain).await? {
        Some(known) => read_workers(&known)?,
        None => Workers::default(),
    };
    let forgotten = now.before(Duration::from_millis(WORKER_RECORD_TTL_MS));
    workers.merge(&reading.sequences, now, forgotten);
    let late = reading
        .counters
        .iter()
        .map(|counter| counter.late_generation)
        .max();
    sqlx::query(
        "INSERT INTO usage_chains (chain_id, workers, late_generation) VALUES ($1, $2, $3)
         ON CONFLICT (chain_id) DO UPDATE SET workers = excluded.workers,
             late_generation = CASE WHEN usage_chains.late_generation < excluded.late_generation
                 THEN excluded.late_generation ELSE usage_chains.late_generation END",
    )
    .bind(&reading.chain)
    .bind(serde_json::to_string(&workers.0).map_err(Error::internal)?)
    .bind(late.unwrap_or(0))
    .execute(connection)
    .await?;
    Ok(())
}

async fn workers_of(connection: &mut Connection, chain: &str) -> Result<Option<String>, Failure> {
    sqlx::query_scalar("SELECT workers FROM usage_chains WHERE chain_id = $1")
        .bind(chain)
        .fetch_optional(connection)
        .await
}

fn read_workers(text: &str) -> Result<Workers> {
    serde_json::from_str(text)
        .map(Workers)
        .map_err(Error::internal)
}

/// The units of a window, of every generation; zero for one that was not used.
pub(super) async fn total(
    connection: &mut Connection,
    chain: &str,
    window: &WindowId,
) -> Result<Units> {
    let milli: Option<i64> = sqlx::query_scalar(
        "SELECT units FROM usage_windows
         WHERE chain_id = $1 AND epoch = $2 AND meter = $3 AND start_ms = $4",
    )
    .bind(chain)
    .bind(i64::from(window.epoch))
    .bind(&window.meter)
    .bind(window.start_ms)
    .fetch_optional(connection)
    .await?;
    units(milli.unwrap_or(0))
}

/// Notes that everything in Redis was read.
pub(super) async fn record_drain(
    connection: &mut Connection,
    drain: LastDrain,
) -> Result<(), Failure> {
    sqlx::query(
        "INSERT INTO usage_drains (id, began_at_ms, began_machine_ms) VALUES (1, $1, $2)
         ON CONFLICT (id) DO UPDATE SET
             began_at_ms = excluded.began_at_ms, began_machine_ms = excluded.began_machine_ms",
    )
    .bind(drain.began_at.unix_ms())
    .bind(drain.mark.unix_ms())
    .execute(connection)
    .await
    .map(drop)
}

/// The last time that everything in Redis was read, if it ever was.
///
/// # Errors
/// When the database refuses.
pub async fn last_drain(connection: &mut Connection) -> Result<Option<LastDrain>, Failure> {
    let row: Option<(i64, i64)> =
        sqlx::query_as("SELECT began_at_ms, began_machine_ms FROM usage_drains WHERE id = 1")
            .fetch_optional(connection)
            .await?;
    Ok(row.map(|(began_at_ms, mark_ms)| LastDrain {
        began_at: BusinessInstant::from_unix_ms(began_at_ms),
        mark: MachineInstant::from_unix_ms(mark_ms),
    }))
}

/// Whether any worker was ever heard of.
///
/// # Errors
/// When the database refuses.
pub async fn is_used(connection: &mut Connection) -> Result<bool, Failure> {
    let first: Option<String> =
        sqlx::query_scalar("SELECT chain_id FROM usage_chains WHERE workers <> '{}' LIMIT 1")
            .fetch_optional(connection)
            .await?;
    Ok(first.is_some())
}

/// What the ledger holds of the chains after `after` that were used, in the order of their ids.
pub(super) async fn restored(
    connection: &mut Connection,
    after: &str,
    limit: i64,
) -> Result<Vec<Restored>> {
    let chains: Vec<(String, String, i64, String)> = sqlx::query_as(
        "SELECT usage_chains.chain_id, chains.tag, usage_chains.late_generation,
             usage_chains.workers
         FROM usage_chains JOIN chains ON chains.id = usage_chains.chain_id
         WHERE usage_chains.chain_id > $1 ORDER BY usage_chains.chain_id LIMIT $2",
    )
    .bind(after)
    .bind(limit)
    .fetch_all(&mut *connection)
    .await?;
    let mut windows = match (chains.first(), chains.last()) {
        (Some(first), Some(last)) => untrimmed(connection, &first.0, &last.0).await?,
        _ => BTreeMap::new(),
    };
    let restored = chains
        .into_iter()
        .map(|(chain, tag, late_generation, workers)| {
            Ok(Restored {
                windows: windows.remove(&chain).unwrap_or_default(),
                chain,
                tag,
                late_generation,
                workers: read_workers(&workers)?,
            })
        });
    restored.collect()
}

/// By chain, the units of windows whose counters were not removed from Redis.
async fn untrimmed(
    connection: &mut Connection,
    first: &str,
    last: &str,
) -> Result<BTreeMap<String, Vec<(WindowId, Units)>>> {
    let rows: Vec<(String, i64, String, i64, i64)> = sqlx::query_as(
        "SELECT chain_id, epoch, meter, start_ms, units FROM usage_windows
         WHERE chain_id >= $1 AND chain_id <= $2 AND trimmed = 0",
    )
    .bind(first)
    .bind(last)
    .fetch_all(connection)
    .await?;
    let mut windows = BTreeMap::<String, Vec<_>>::new();
    for (chain, epoch, meter, start_ms, milli) in rows {
        let held = (window_id(epoch, meter, start_ms)?, units(milli)?);
        windows.entry(chain).or_default().push(held);
    }
    Ok(windows)
}

/// Windows whose counters may be removed from Redis at `now`, the longest due first.
pub(super) async fn closed(
    connection: &mut Connection,
    now: BusinessInstant,
    limit: i64,
) -> Result<Vec<Closed>> {
    let rows: Vec<(String, i64, String, i64, String)> = sqlx::query_as(
        "SELECT chain_id, epoch, meter, start_ms, chains.tag
         FROM usage_windows JOIN chains ON chains.id = usage_windows.chain_id
         WHERE trimmed = 0 AND trim_at_ms <= $1 ORDER BY trim_at_ms LIMIT $2",
    )
    .bind(now.unix_ms())
    .bind(limit)
    .fetch_all(connection)
    .await?;
    let closed = rows
        .into_iter()
        .map(|(chain, epoch, meter, start_ms, tag)| {
            let window = window_id(epoch, meter, start_ms)?;
            Ok(Closed { chain, tag, window })
        });
    closed.collect()
}

/// The counters of a window of the last late generation of this life of the store.
pub(super) async fn last_counters(
    connection: &mut Connection,
    closed: &Closed,
    generation: i64,
) -> Result<Vec<Counter>> {
    let rows: Vec<(i64, i64, String, i64)> = sqlx::query_as(
        "SELECT late_generation, hour, api_key, units FROM usage_counters
         WHERE chain_id = $1 AND epoch = $2 AND meter = $3 AND start_ms = $4 AND generation = $5
         ORDER BY late_generation",
    )
    .bind(&closed.chain)
    .bind(i64::from(closed.window.epoch))
    .bind(&closed.window.meter)
    .bind(closed.window.start_ms)
    .bind(generation)
    .fetch_all(connection)
    .await?;
    let last = rows.last().map(|(late_generation, ..)| *late_generation);
    let rows = rows.into_iter().filter(|row| Some(row.0) == last);
    let counters = rows.map(|(late_generation, hour, api_key, milli)| {
        Ok(Counter {
            window: closed.window.clone(),
            late_generation,
            hour,
            api_key,
            units: units(milli)?,
        })
    });
    counters.collect()
}

/// What became of a window's counters in Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trimmed {
    Removed,
    /// To be tried again then.
    Refused(BusinessInstant),
}

pub(super) async fn set_trimmed(
    connection: &mut Connection,
    closed: &Closed,
    outcome: Trimmed,
) -> Result<(), Failure> {
    let (trimmed, again) = match outcome {
        Trimmed::Removed => (1_i64, None),
        Trimmed::Refused(again) => (0, Some(again.unix_ms())),
    };
    sqlx::query(
        "UPDATE usage_windows SET trimmed = $1, trim_at_ms = COALESCE($2, trim_at_ms)
         WHERE chain_id = $3 AND epoch = $4 AND meter = $5 AND start_ms = $6",
    )
    .bind(trimmed)
    .bind(again)
    .bind(&closed.chain)
    .bind(i64::from(closed.window.epoch))
    .bind(&closed.window.meter)
    .bind(closed.window.start_ms)
    .execute(connection)
    .await
    .map(drop)
}

pub(super) fn window_id(epoch: i64, meter: String, start_ms: i64) -> Result<WindowId> {
    Ok(WindowId {
        epoch: u32::try_from(epoch).map_err(Error::internal)?,
        meter,
        start_ms,
    })
}

pub(super) fn units(milli: i64) -> Result<Units> {
    let units = u64::try_from(milli).ok().and_then(Units::from_milli);
    units.ok_or_else(|| Error::internal(anyhow::anyhow!("{milli} thousandths are no units")))
}

pub(super) fn milli(units: Units) -> Result<i64> {
    i64::try_from(units.milli()).map_err(Error::internal)
}
