//! Totals of windows, and what of them was rated, in the database.

use tollgate_engine::contract::WindowId;
use tollgate_engine::slug::Slug;
use tollgate_engine::units::Units;

use crate::database::Connection;
use crate::error::Result;
use crate::ids::SubscriptionId;
use crate::invoicing::calendar::Interval;
use crate::usage::store;

/// The units of all windows of a meter in one subscription of a chain that began in `period`.
pub(crate) async fn total_of(
    connection: &mut Connection,
    chain: SubscriptionId,
    epoch: u32,
    meter: &Slug,
    period: Interval,
) -> Result<Units> {
    let milli: i64 = sqlx::query_scalar(
        "SELECT CAST(COALESCE(SUM(units), 0) AS BIGINT) FROM usage_windows
         WHERE chain_id = $1 AND epoch = $2 AND meter = $3 AND start_ms >= $4 AND start_ms < $5",
    )
    .bind(chain.to_string())
    .bind(i64::from(epoch))
    .bind(meter.as_str())
    .bind(period.start.unix_ms())
    .bind(period.end.unix_ms())
    .fetch_one(connection)
    .await?;
    store::units(milli)
}

/// Notes what of a window was rated, also of one that was not used.
pub(crate) async fn mark_rated(
    connection: &mut Connection,
    chain: SubscriptionId,
    window: &WindowId,
    rated: Units,
) -> Result<()> {
    sqlx::query(
        "INSERT INTO usage_windows
             (chain_id, epoch, meter, start_ms, units, trim_at_ms, trimmed, rated)
         VALUES ($1, $2, $3, $4, 0, NULL, 1, $5)
         ON CONFLICT (chain_id, epoch, meter, start_ms) DO UPDATE SET rated = excluded.rated",
    )
    .bind(chain.to_string())
    .bind(i64::from(window.epoch))
    .bind(&window.meter)
    .bind(window.start_ms)
    .bind(store::milli(rated)?)
    .execute(connection)
    .await?;
    Ok(())
}
