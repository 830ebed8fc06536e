//! Periods that do not begin where the one before ended.

use crate::database::{Connection, Failure};

/// A fee's period, after another that was charged.
#[derive(Debug, sqlx::FromRow)]
pub(super) struct Fee {
    pub(super) subscription_id: String,
    pub(super) rate_card: String,
    /// When the subscription began.
    pub(super) active_from_ms: i64,
    pub(super) identity: String,
    pub(super) start_ms: i64,
    /// Identity of the line for the period before.
    pub(super) before: String,
    pub(super) began_ms: i64,
    pub(super) ended_ms: i64,
}

/// A window, after another that was rated.
#[derive(Debug, sqlx::FromRow)]
pub(super) struct Window {
    pub(super) chain_id: String,
    pub(super) epoch: i64,
    pub(super) meter: String,
    pub(super) start_ms: i64,
    pub(super) began_ms: i64,
    pub(super) ended_ms: i64,
    /// The last boundary that was billed of its subscription.
    pub(super) billed_ms: Option<i64>,
}

pub(super) async fn fees(connection: &mut Connection) -> Result<Vec<Fee>, Failure> {
    sqlx::query_as(
        "SELECT subscription_id, rate_card, active_from_ms, identity, start_ms, before, began_ms, ended_ms FROM (
             SELECT subscription_id, rate_card, identity, period_start_ms AS start_ms,
                 LAG(identity) OVER earlier AS before, LAG(period_start_ms) OVER earlier AS began_ms,
                 LAG(period_end_ms) OVER earlier AS ended_ms
             FROM invoice_lines WHERE kind = 'fee'
             WINDOW earlier AS (PARTITION BY subscription_id, rate_card ORDER BY period_start_ms, period_end_ms)
         ) fees JOIN subscriptions ON subscriptions.id = subscription_id
         WHERE ended_ms <> start_ms ORDER BY subscription_id, start_ms",
    )
    .fetch_all(connection)
    .await
}

pub(super) async fn windows(connection: &mut Connection) -> Result<Vec<Window>, Failure> {
    sqlx::query_as(
        "SELECT windows.chain_id, windows.epoch, meter, start_ms, began_ms, ended_ms, billed_ms FROM (
             SELECT chain_id, epoch, meter, start_ms, LAG(start_ms) OVER earlier AS began_ms,
                 LAG(end_ms) OVER earlier AS ended_ms
             FROM rated_windows
             WINDOW earlier AS (PARTITION BY chain_id, epoch, meter, rate_card ORDER BY start_ms)
         ) windows
             LEFT JOIN subscriptions ON subscriptions.chain_id = windows.chain_id AND subscriptions.epoch = windows.epoch
             LEFT JOIN billing_schedules ON subscription_id = subscriptions.id
         WHERE ended_ms <> start_ms ORDER BY windows.chain_id, windows.epoch, start_ms",
    )
    .fetch_all(connection)
    .await
}
