//! Rated windows in the database.

use tollgate_engine::contract::WindowId;
use tollgate_engine::units::Units;

use super::{Late, Rated};
use crate::clock::BusinessInstant;
use crate::database::Connection;
use crate::error::{Error, Result};
use crate::ids::CustomerId;
use crate::money::Minor;
use crate::usage;

#[derive(sqlx::FromRow)]
struct Row {
    chain_id: String,
    epoch: i64,
    meter: String,
    start_ms: i64,
    rate_card: String,
    end_ms: i64,
    carried: i64,
    units: i64,
    amount: i64,
    corrections: i64,
    used: i64,
}

impl TryFrom<Row> for Late {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self> {
        let rated = Rated {
            chain: row.chain_id.parse().map_err(Error::internal)?,
            window: WindowId {
                epoch: u32::try_from(row.epoch).map_err(Error::internal)?,
                meter: row.meter,
                start_ms: row.start_ms,
            },
            rate_card: row.rate_card.parse().map_err(Error::internal)?,
            end: BusinessInstant::from_unix_ms(row.end_ms),
            carried: units(row.carried)?,
            units: units(row.units)?,
            amount: Minor::new(row.amount),
            corrections: u32::try_from(row.corrections).map_err(Error::internal)?,
        };
        Ok(Self {
            rated,
            units: units(row.used)?,
        })
    }
}

/// Writes a window that is rated for the first time.
pub(in crate::invoicing) async fn insert(connection: &mut Connection, rated: &Rated) -> Result<()> {
    sqlx::query(
        "INSERT INTO rated_windows
             (chain_id, epoch, meter, start_ms, rate_card, end_ms, carried, units, amount,
              corrections)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
    )
    .bind(rated.chain.to_string())
    .bind(i64::from(rated.window.epoch))
    .bind(&rated.window.meter)
    .bind(rated.window.start_ms)
    .bind(rated.rate_card.as_str())
    .bind(rated.end.unix_ms())
    .bind(milli(rated.carried)?)
    .bind(milli(rated.units)?)
    .bind(rated.amount.get())
    .bind(i64::from(rated.corrections))
    .execute(&mut *connection)
    .await?;
    usage::mark_rated(connection, rated.chain, &rated.window, rated.units).await
}

/// Writes a window that is rated again.
pub(in crate::invoicing) async fn update(connection: &mut Connection, rated: &Rated) -> Result<()> {
    sqlx::query(
        "UPDATE rated_windows SET units = $1, amount = $2, corrections = $3
         WHERE chain_id = $4 AND epoch = $5 AND meter = $6 AND start_ms = $7 AND rate_card = $8",
    )
    .bind(milli(rated.units)?)
    .bind(rated.amount.get())
    .bind(i64::from(rated.corrections))
    .bind(rated.chain.to_string())
    .bind(i64::from(rated.window.epoch))
    .bind(&rated.window.meter)
    .bind(rated.window.start_ms)
    .bind(rated.rate_card.as_str())
    .execute(&mut *connection)
    .await?;
    usage::mark_rated(connection, rated.chain, &rated.window, rated.units).await
}

/// Windows of a customer of which more was used than was rated.
pub(in crate::invoicing) async fn late(
    connection: &mut Connection,
    customer: CustomerId,
) -> Result<Vec<Late>> {
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT rated_windows.chain_id, rated_windows.epoch, rated_windows.meter,
             rated_windows.start_ms, rate_card, end_ms, carried, rated_windows.units, amount,
             corrections, usage_windows.units AS used
         FROM usage_windows
         JOIN chains ON chains.id = usage_windows.chain_id
         JOIN rated_windows ON rated_windows.chain_id = usage_windows.chain_id
             AND rated_windows.epoch = usage_windows.epoch
             AND rated_windows.meter = usage_windows.meter
             AND rated_windows.start_ms = usage_windows.start_ms
         WHERE usage_windows.rated IS NOT NULL AND usage_windows.rated < usage_windows.units
             AND chains.customer_id = $1
         ORDER BY rated_windows.start_ms, rated_windows.chain_id, rated_windows.epoch",
    )
    .bind(customer.to_string())
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(Late::try_from).collect()
}

/// A customer with late usage that no invoice to come will hold, and when they were last billed: the end
/// of the last subscription, or the last invoice of late usage.
pub(in crate::invoicing) async fn late_alone(
    connection: &mut Connection,
) -> Result<Vec<(CustomerId, BusinessInstant)>> {
    let rows: Vec<(String, Option<i64>, Option<i64>)> = sqlx::query_as(
        "SELECT customer_id,
             (SELECT MAX(active_to_ms) FROM subscriptions
              WHERE subscriptions.customer_id = alone.customer_id),
             (SELECT MAX(boundary_ms) FROM invoices
              WHERE invoices.customer_id = alone.customer_id AND kind = 'late')
         FROM (
             SELECT DISTINCT chains.customer_id
             FROM usage_windows JOIN chains ON chains.id = usage_windows.chain_id
             WHERE usage_windows.rated IS NOT NULL AND usage_windows.rated < usage_windows.units
         ) alone
         WHERE NOT EXISTS (
             SELECT 1 FROM subscriptions
             JOIN billing_schedules ON billing_schedules.subscription_id = subscriptions.id
             WHERE subscriptions.customer_id = alone.customer_id AND boundary_ms IS NOT NULL)",
    )
    .fetch_all(connection)
    .await?;
    let rows = rows.into_iter().map(|(customer, ended_ms, billed_ms)| {
        let last_ms = ended_ms.max(billed_ms).unwrap_or(i64::MIN);
        let customer = customer.parse().map_err(Error::internal)?;
        Ok((customer, BusinessInstant::from_unix_ms(last_ms)))
    });
    rows.collect()
}

fn units(milli: i64) -> Result<Units> {
    let units = u64::try_from(milli).ok().and_then(Units::from_milli);
    units.ok_or_else(|| Error::internal(anyhow::anyhow!("{milli} thousandths are no units")))
}

fn milli(units: Units) -> Result<i64> {
    i64::try_from(units.milli()).map_err(Error::internal)
}
