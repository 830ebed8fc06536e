//! Readings, many in one transaction: what they add to the ledger is one statement for all.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use tollgate_engine::contract::WindowId;
use tollgate_engine::limits::WORKER_RECORD_TTL_MS;
use tollgate_engine::units::Units;

use crate::clock::{BusinessInstant, MachineInstant};
use crate::database::Connection;
use crate::database::bulk::{self, Cell};
use crate::error::{Error, Result};
use crate::usage::store::{CounterRow, milli, read_workers, units, window_id};
use crate::usage::{Counter, Reading, Workers};

/// Takes readings in: the greatest value of each counter, and how far each worker has come.
///
/// `trim_at` gives for each window when its counters may be removed from Redis.
pub(in crate::usage) async fn record(
    connection: &mut Connection,
    readings: &[Reading],
    trim_at: &BTreeMap<(&str, &WindowId), BusinessInstant>,
    now: MachineInstant,
) -> Result<()> {
    let known = units_of(&mut *connection, readings).await?;
    let mut risen = BTreeMap::<(&str, &WindowId), u64>::new();
    let mut rows: Vec<[Cell; 9]> = Vec::new();
    for reading in readings {
        for counter in &reading.counters {
            let before = known.get(&Place::of(reading, counter)).copied();
            if before < Some(counter.units) {
                rows.push(row_of(reading, counter)?);
                let before = before.unwrap_or(Units::ZERO);
                let window = (reading.chain.as_str(), &counter.window);
                *risen.entry(window).or_default() += counter.units.saturating_sub(before).milli();
            }
        }
    }
    bulk::insert(
        &mut *connection,
        "INSERT INTO usage_counters
             (chain_id, epoch, meter, start_ms, generation, late_generation, hour, api_key, units)",
        &rows,
        "ON CONFLICT (chain_id, epoch, meter, start_ms, generation, late_generation, hour, api_key)
         DO UPDATE SET units = excluded.units",
    )
    .await?;
    add_to_windows(&mut *connection, &risen, trim_at).await?;
    record_workers(connection, readings, now).await
}

/// Where a counter is in the ledger.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Place<'a> {
    chain: Cow<'a, str>,
    window: Cow<'a, WindowId>,
    generation: i64,
    late_generation: i64,
    hour: i64,
    api_key: Cow<'a, str>,
}

impl<'a> Place<'a> {
    fn of(reading: &'a Reading, counter: &'a Counter) -> Self {
        Self {
            chain: Cow::Borrowed(&reading.chain),
            window: Cow::Borrowed(&counter.window),
            generation: reading.generation,
            late_generation: counter.late_generation,
            hour: counter.hour,
            api_key: Cow::Borrowed(&counter.api_key),
        }
    }
}

/// What the ledger holds of the counters of readings.
async fn units_of(
    connection: &mut Connection,
    readings: &[Reading],
) -> Result<HashMap<Place<'static>, Units>> {
    let counters = readings.iter().flat_map(|reading| {
        let counters = reading.counters.iter();
        counters.map(move |counter| {
            [
                reading.chain.as_str().into(),
                i64::from(counter.window.epoch).into(),
                counter.window.meter.as_str().into(),
                counter.window.start_ms.into(),
                reading.generation.into(),
                counter.late_generation.into(),
                counter.hour.into(),
                counter.api_key.as_str().into(),
            ]
        })
    });
    let wanted: Vec<[Cell; 8]> = counters.collect();
    let rows: Vec<CounterRow> = bulk::fetch(
        connection,
        "WITH wanted (chain_id, epoch, meter, start_ms, generation, late_generation, hour, api_key) AS (",
        &wanted,
        ") SELECT held.* FROM wanted CROSS JOIN usage_counters held
         WHERE held.chain_id = wanted.chain_id AND held.epoch = wanted.epoch
             AND held.meter = wanted.meter AND held.start_ms = wanted.start_ms
             AND held.generation = wanted.generation
             AND held.late_generation = wanted.late_generation AND held.hour = wanted.hour
             AND held.api_key = wanted.api_key",
    )
    .await?;
    let held = rows.into_iter().map(|row| {
        let place = Place {
            chain: Cow::Owned(row.chain_id),
            window: Cow::Owned(window_id(row.epoch, row.meter, row.start_ms)?),
            generation: row.generation,
            late_generation: row.late_generation,
            hour: row.hour,
            api_key: Cow::Owned(row.api_key),
        };
        Ok((place, units(row.units)?))
    });
    held.collect()
}

fn row_of(reading: &Reading, counter: &Counter) -> Result<[Cell; 9]> {
    Ok([
        reading.chain.as_str().into(),
        i64::from(counter.window.epoch).into(),
        counter.window.meter.as_str().into(),
        counter.window.start_ms.into(),
        reading.generation.into(),
        counter.late_generation.into(),
        counter.hour.into(),
        counter.api_key.as_str().into(),
        milli(counter.units)?.into(),
    ])
}

async fn add_to_windows(
    connection: &mut Connection,
    risen: &BTreeMap<(&str, &WindowId), u64>,
    trim_at: &BTreeMap<(&str, &WindowId), BusinessInstant>,
) -> Result<()> {
    let rows = risen.iter().map(|((chain, window), milli)| {
        let trim_at = trim_at.get(&(*chain, *window));
        Ok([
            (*chain).into(),
            i64::from(window.epoch).into(),
            window.meter.as_str().into(),
            window.start_ms.into(),
            i64::try_from(*milli).map_err(Error::internal)?.into(),
            trim_at.map(|at| at.unix_ms()).into(),
            0.into(),
        ])
    });
    let rows: Vec<[Cell; 7]> = rows.collect::<Result<_>>()?;
    bulk::insert(
        connection,
        "INSERT INTO usage_windows (chain_id, epoch, meter, start_ms, units, trim_at_ms, trimmed)",
        &rows,
        "ON CONFLICT (chain_id, epoch, meter, start_ms) DO UPDATE SET
             units = usage_windows.units + excluded.units, trim_at_ms = excluded.trim_at_ms,
             trimmed = 0",
    )
    .await?;
    Ok(())
}

async fn record_workers(
    connection: &mut Connection,
    readings: &[Reading],
    now: MachineInstant,
) -> Result<()> {
    let wanted: Vec<[Cell; 1]> = readings
        .iter()
        .map(|reading| [reading.chain.as_str().into()])
        .collect();
    let known: Vec<(String, String)> = bulk::fetch(
        &mut *connection,
        "WITH wanted (id) AS (",
        &wanted,
        ") SELECT chain_id, workers FROM wanted CROSS JOIN usage_chains WHERE chain_id = wanted.id",
    )
    .await?;
    let known: HashMap<_, _> = known.into_iter().collect();
    let forgotten = now.before(Duration::from_millis(WORKER_RECORD_TTL_MS));
    let rows = readings.iter().map(|reading| {
        let mut workers = match known.get(&reading.chain) {
            Some(known) => read_workers(known)?,
            None => Workers::default(),
        };
        workers.merge(&reading.sequences, now, forgotten);
        let late = reading
            .counters
            .iter()
            .map(|counter| counter.late_generation);
        Ok([
            reading.chain.as_str().into(),
            serde_json::to_string(&workers.0)
                .map_err(Error::internal)?
                .into(),
            late.max().unwrap_or(0).into(),
        ])
    });
    let rows: Vec<[Cell; 3]> = rows.collect::<Result<_>>()?;
    bulk::insert(
        connection,
        "INSERT INTO usage_chains (chain_id, workers, late_generation)",
        &rows,
        "ON CONFLICT (chain_id) DO UPDATE SET workers = excluded.workers,
             late_generation = CASE WHEN usage_chains.late_generation < excluded.late_generation
                 THEN excluded.late_generation ELSE usage_chains.late_generation END",
    )
    .await?;
    Ok(())
}
