//! Rated windows in the database.

use tollgate_engine::contract::WindowId;
use tollgate_engine::units::Units;

use super::{Late, LateCustomer, Rated};
use crate::clock::BusinessInstant;
use crate::database::Connection;
use crate::database::bulk::{self, Cell};
use crate::error::{Error, Result};
use crate::ids::CustomerId;
use crate::money::Minor;
use crate::usage;

#[derive(sqlx::FromRow)]
struct Row {
    customer_id: String,
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

/// Writes windows that are rated for the first time.
pub(in crate::invoicing) async fn insert(
    connection: &mut Connection,
    rated: &[&Rated],
) -> Result<()> {
    write(connection, rated, "").await
}

/// Writes windows that are rated again.
pub(in crate::invoicing) async fn update(
    connection: &mut Connection,
    rated: &[&Rated],
) -> Result<()> {
    let again = "ON CONFLICT (chain_id, epoch, meter, start_ms, rate_card) DO UPDATE SET
         units = excluded.units, amount = excluded.amount, corrections = excluded.corrections";
    write(connection, rated, again).await
}

async fn write(connection: &mut Connection, rated: &[&Rated], conflict: &str) -> Result<()> {
    let rows = rated.iter().map(|rated| {
        Ok([
            rated.chain.to_string().into(),
            i64::from(rated.window.epoch).into(),
            rated.window.meter.as_str().into(),
            rated.window.start_ms.into(),
            rated.rate_card.as_str().into(),
            rated.end.unix_ms().into(),
            milli(rated.carried)?.into(),
            milli(rated.units)?.into(),
            rated.amount.get().into(),
            i64::from(rated.corrections).into(),
        ])
    });
    let rows: Vec<[Cell; 10]> = rows.collect::<Result<_>>()?;
    bulk::insert(
        connection,
        "INSERT INTO rated_windows (chain_id, epoch, meter, start_ms, rate_card, end_ms, carried,
             units, amount, corrections)",
        &rows,
        conflict,
    )
    .await?;
    let marks: Vec<_> = rated.iter().map(|rated| rated.mark()).collect();
    usage::mark_rated(connection, &marks).await
}

/// Windows of customers of which more was used than was rated, the oldest first.
pub(in crate::invoicing) async fn late(
    connection: &mut Connection,
    customers: &[CustomerId],
) -> Result<Vec<(CustomerId, Late)>> {
    let wanted: Vec<[Cell; 1]> = customers.iter().map(|id| [id.to_string().into()]).collect();
    let rows: Vec<Row> = bulk::fetch(
        connection,
        "WITH wanted (id) AS (",
        &wanted,
        ") SELECT chains.customer_id, rated.chain_id, rated.epoch, rated.meter, rated.start_ms,
             rated.rate_card, rated.end_ms, rated.carried, rated.units, rated.amount,
             rated.corrections, used.units AS used
         FROM wanted CROSS JOIN chains CROSS JOIN usage_windows used CROSS JOIN rated_windows rated
         WHERE chains.customer_id = wanted.id AND used.chain_id = chains.id
             AND used.rated IS NOT NULL AND used.rated < used.units
             AND rated.chain_id = used.chain_id AND rated.epoch = used.epoch
             AND rated.meter = used.meter AND rated.start_ms = used.start_ms
         ORDER BY rated.start_ms, rated.chain_id, rated.epoch",
    )
    .await?;
    let late = rows.into_iter().map(|row| {
        let customer = row.customer_id.parse().map_err(Error::internal)?;
        Ok((customer, Late::try_from(row)?))
    });
    late.collect()
}

/// Windows to which late usage was added.
pub(in crate::invoicing) async fn corrected(connection: &mut Connection) -> Result<Vec<Rated>> {
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT chains.customer_id, rated.*, rated.units AS used
         FROM rated_windows rated JOIN chains ON chains.id = rated.chain_id
         WHERE rated.corrections > 0",
    )
    .fetch_all(connection)
    .await?;
    let late = rows.into_iter().map(Late::try_from);
    late.map(|late| Ok(late?.rated)).collect()
}

/// Customers with late usage of whom at most so many subscriptions are still to be billed.
pub(in crate::invoicing) async fn late_customers(
    connection: &mut Connection,
    most_going_on: i64,
) -> Result<Vec<LateCustomer>> {
    let rows: Vec<(String, i64, Option<i64>, Option<i64>)> = sqlx::query_as(
        "SELECT customer_id, going_on,
             (SELECT MAX(active_to_ms) FROM subscriptions
              WHERE subscriptions.customer_id = late.customer_id),
             (SELECT MAX(boundary_ms) FROM invoices
              WHERE invoices.customer_id = late.customer_id AND kind = 'late')
         FROM (
             SELECT customer_id, (
                 SELECT COUNT(*) FROM subscriptions
                 JOIN billing_schedules ON billing_schedules.subscription_id = subscriptions.id
                 WHERE subscriptions.customer_id = used.customer_id AND boundary_ms IS NOT NULL) AS going_on
             FROM (
                 SELECT DISTINCT chains.customer_id
                 FROM usage_windows JOIN chains ON chains.id = usage_windows.chain_id
                 WHERE usage_windows.rated IS NOT NULL AND usage_windows.rated < usage_windows.units
             ) used
         ) late
         WHERE going_on <= $1",
    )
    .bind(most_going_on)
    .fetch_all(connection)
    .await?;
    let rows = rows
        .into_iter()
        .map(|(customer, going_on, ended_ms, billed_ms)| {
            let last_ms = ended_ms.max(billed_ms).unwrap_or(i64::MIN);
            Ok(LateCustomer {
                customer: customer.parse().map_err(Error::internal)?,
                going_on,
                last: BusinessInstant::from_unix_ms(last_ms),
            })
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
