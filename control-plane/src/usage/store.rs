//! The ledger in the database.

use std::collections::{BTreeMap, HashMap};

use tollgate_engine::contract::WindowId;
use tollgate_engine::units::Units;

use super::{Counter, LastDrain, Workers};
use crate::clock::{BusinessInstant, MachineInstant};
use crate::database::bulk::{self, Cell};
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

/// A counter of the ledger.
#[derive(sqlx::FromRow)]
pub(super) struct CounterRow {
    pub(super) chain_id: String,
    pub(super) epoch: i64,
    pub(super) meter: String,
    pub(super) start_ms: i64,
    pub(super) generation: i64,
    pub(super) late_generation: i64,
    pub(super) hour: i64,
    pub(super) api_key: String,
    pub(super) units: i64,
}

pub(super) fn read_workers(text: &str) -> Result<Workers> {
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

/// By window, its counters of the last late generation of this life of the store.
pub(super) async fn last_counters(
    connection: &mut Connection,
    closed: &[Closed],
    generation: i64,
) -> Result<HashMap<(String, WindowId), Vec<Counter>>> {
    let wanted: Vec<[Cell; 5]> = closed
        .iter()
        .map(|closed| {
            [
                closed.chain.as_str().into(),
                i64::from(closed.window.epoch).into(),
                closed.window.meter.as_str().into(),
                closed.window.start_ms.into(),
                generation.into(),
            ]
        })
        .collect();
    let rows: Vec<CounterRow> = bulk::fetch(
        connection,
        "WITH wanted (chain_id, epoch, meter, start_ms, generation) AS (",
        &wanted,
        ") SELECT held.* FROM wanted CROSS JOIN usage_counters held
         WHERE held.chain_id = wanted.chain_id AND held.epoch = wanted.epoch
             AND held.meter = wanted.meter AND held.start_ms = wanted.start_ms
             AND held.generation = wanted.generation
         ORDER BY held.late_generation",
    )
    .await?;
    let mut windows = HashMap::<_, Vec<Counter>>::new();
    for row in rows {
        let window = window_id(row.epoch, row.meter, row.start_ms)?;
        let counters = windows.entry((row.chain_id, window.clone())).or_default();
        counters.retain(|earlier| earlier.late_generation == row.late_generation);
        counters.push(Counter {
            window,
            late_generation: row.late_generation,
            hour: row.hour,
            api_key: row.api_key,
            units: units(row.units)?,
        });
    }
    Ok(windows)
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
    outcomes: &[(&Closed, Trimmed)],
) -> Result<(), Failure> {
    let rows: Vec<[Cell; 7]> = outcomes
        .iter()
        .map(|(closed, outcome)| {
            let (trimmed, again) = match outcome {
                Trimmed::Removed => (1, None),
                Trimmed::Refused(again) => (0, Some(again.unix_ms())),
            };
            [
                closed.chain.as_str().into(),
                i64::from(closed.window.epoch).into(),
                closed.window.meter.as_str().into(),
                closed.window.start_ms.into(),
                0.into(),
                again.into(),
                trimmed.into(),
            ]
        })
        .collect();
    bulk::insert(
        connection,
        "INSERT INTO usage_windows (chain_id, epoch, meter, start_ms, units, trim_at_ms, trimmed)",
        &rows,
        "ON CONFLICT (chain_id, epoch, meter, start_ms) DO UPDATE SET trimmed = excluded.trimmed,
             trim_at_ms = COALESCE(excluded.trim_at_ms, usage_windows.trim_at_ms)",
    )
    .await
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
