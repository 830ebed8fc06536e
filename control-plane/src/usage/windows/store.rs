//! Totals of windows, and what of them was rated, in the database.

use tollgate_engine::contract::WindowId;
use tollgate_engine::units::Units;

use super::{Mark, Span};
use crate::database::Connection;
use crate::database::bulk::{self, Cell};
use crate::error::{Error, Result};
use crate::ids::SubscriptionId;
use crate::usage::store;

/// The units of windows that were used, of every generation.
pub(crate) async fn totals(
    connection: &mut Connection,
    spans: &[Span],
) -> Result<Vec<(SubscriptionId, WindowId, Units)>> {
    let wanted: Vec<[Cell; 5]> = spans
        .iter()
        .map(|span| {
            [
                span.chain.to_string().into(),
                i64::from(span.epoch).into(),
                span.meter.as_str().into(),
                span.from.unix_ms().into(),
                span.to.unix_ms().into(),
            ]
        })
        .collect();
    // CROSS JOIN has SQLite look up each of what is wanted.
    let rows: Vec<(String, i64, String, i64, i64)> = bulk::fetch(
        connection,
        "WITH wanted (chain_id, epoch, meter, from_ms, to_ms) AS (",
        &wanted,
        ") SELECT used.chain_id, used.epoch, used.meter, used.start_ms, used.units
         FROM wanted CROSS JOIN usage_windows used
         WHERE used.chain_id = wanted.chain_id AND used.epoch = wanted.epoch
             AND used.meter = wanted.meter AND used.start_ms >= wanted.from_ms
             AND used.start_ms < wanted.to_ms",
    )
    .await?;
    let totals = rows
        .into_iter()
        .map(|(chain, epoch, meter, start_ms, milli)| {
            let window = store::window_id(epoch, meter, start_ms)?;
            let chain = chain.parse().map_err(Error::internal)?;
            Ok((chain, window, store::units(milli)?))
        });
    totals.collect()
}

/// Notes what of windows was rated, also of those that were not used.
pub(crate) async fn mark_rated(connection: &mut Connection, marks: &[Mark<'_>]) -> Result<()> {
    let rows = marks.iter().map(|mark| {
        Ok([
            mark.chain.to_string().into(),
            i64::from(mark.window.epoch).into(),
            mark.window.meter.as_str().into(),
            mark.window.start_ms.into(),
            0.into(),
            1.into(),
            store::milli(mark.rated)?.into(),
        ])
    });
    let rows: Vec<[Cell; 7]> = rows.collect::<Result<_>>()?;
    bulk::insert(
        connection,
        "INSERT INTO usage_windows (chain_id, epoch, meter, start_ms, units, trimmed, rated)",
        &rows,
        "ON CONFLICT (chain_id, epoch, meter, start_ms) DO UPDATE SET rated = excluded.rated",
    )
    .await?;
    Ok(())
}
