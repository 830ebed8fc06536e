//! Usage of a meter in the database.

use tollgate_engine::slug::Slug;

use super::{Usage, WindowSize};
use crate::calendar::Interval;
use crate::clock::BusinessInstant;
use crate::database::Connection;
use crate::error::Result;
use crate::subscriptions::Subscription;
use crate::usage::store::units;

const MS_PER_HOUR: i64 = 3_600_000;
const HOURS_PER_DAY: i64 = 24;

#[derive(sqlx::FromRow)]
struct Row {
    at_ms: i64,
    subscription: Option<String>,
    customer: Option<String>,
    plan: Option<String>,
    api_key: String,
    milli: i64,
    value: String,
}

impl Row {
    fn usage(self) -> Result<Usage> {
        Ok(Usage {
            at: BusinessInstant::from_unix_ms(self.at_ms),
            subscription: self.subscription,
            customer: self.customer,
            plan: self.plan,
            api_key: Some(self.api_key).filter(|key| !key.is_empty()),
            units: units(self.milli)?,
            value: self.value,
        })
    }
}

/// What the ledger counted of a meter in whole hours, by hour or by day or all at once.
pub(super) async fn counted(
    connection: &mut Connection,
    meter: &Slug,
    period: Interval,
    size: Option<WindowSize>,
    only: Option<&Subscription>,
    limit: i64,
) -> Result<Vec<Usage>> {
    let step = match size {
        None => i64::MAX,
        Some(WindowSize::Hour) => 1,
        Some(WindowSize::Day | WindowSize::Month) => HOURS_PER_DAY,
    };
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT CAST(stretch * $1 * 3600000 AS BIGINT) AS at_ms, subscription, customer, plan, api_key,
             CAST(SUM(units) AS BIGINT) AS milli, '' AS value FROM (
             SELECT hour / $1 AS stretch, subscriptions.id AS subscription,
                 subscriptions.customer_id AS customer, subscriptions.plan_key AS plan, api_key, units
             FROM usage_counters LEFT JOIN subscriptions
                 ON subscriptions.chain_id = usage_counters.chain_id
                     AND subscriptions.epoch = usage_counters.epoch
             WHERE meter = $2 AND hour >= $3 AND hour < $4
                 AND ($5 = '' OR usage_counters.chain_id = $5 AND usage_counters.epoch = $6)) used
         GROUP BY stretch, subscription, customer, plan, api_key LIMIT $7",
    )
    .bind(step)
    .bind(meter.as_str())
    .bind(period.start.unix_ms().div_euclid(MS_PER_HOUR))
    .bind(period.end.unix_ms().div_euclid(MS_PER_HOUR))
    .bind(only.map(|only| only.chain.to_string()).unwrap_or_default())
    .bind(only.map_or(0, |only| i64::from(only.epoch)))
    .bind(limit)
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(Row::usage).collect()
}

/// What events said to a meter, in the order they happened in.
pub(super) async fn readings(
    connection: &mut Connection,
    meter: &Slug,
    period: Interval,
    only: Option<&Subscription>,
    limit: i64,
) -> Result<Vec<Usage>> {
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT time_ms AS at_ms, subscriptions.id AS subscription,
             subscriptions.customer_id AS customer, subscriptions.plan_key AS plan, api_key,
             units AS milli, value
         FROM usage_readings LEFT JOIN subscriptions
             ON subscriptions.chain_id = usage_readings.chain_id
                 AND subscriptions.epoch = usage_readings.epoch
         WHERE meter = $1 AND time_ms >= $2 AND time_ms < $3
             AND ($4 = '' OR usage_readings.chain_id = $4 AND usage_readings.epoch = $5)
         ORDER BY time_ms LIMIT $6",
    )
    .bind(meter.as_str())
    .bind(period.start.unix_ms())
    .bind(period.end.unix_ms())
    .bind(only.map(|only| only.chain.to_string()).unwrap_or_default())
    .bind(only.map_or(0, |only| i64::from(only.epoch)))
    .bind(limit)
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(Row::usage).collect()
}
