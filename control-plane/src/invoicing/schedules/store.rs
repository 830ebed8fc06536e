//! Schedules in the database.

use super::{Due, FEES_WAIT, Schedule};
use crate::clock::{BusinessInstant, MachineInstant};
use crate::database::{Connection, Failure};
use crate::error::{Error, Result};
use crate::ids::SubscriptionId;
use crate::invoicing::Part;
use crate::usage::LastDrain;

#[derive(sqlx::FromRow)]
struct Row {
    subscription_id: String,
    changed_from: Option<String>,
    billed_ms: Option<i64>,
    boundary_ms: Option<i64>,
    part: String,
    due_ms: Option<i64>,
    drained_ms: Option<i64>,
    drained_mark_ms: Option<i64>,
}

impl TryFrom<Row> for Schedule {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self> {
        let next = match (row.boundary_ms, row.due_ms) {
            (Some(boundary_ms), Some(due_ms)) => Some(Due {
                boundary: BusinessInstant::from_unix_ms(boundary_ms),
                part: Part::named(&row.part)?,
                at: BusinessInstant::from_unix_ms(due_ms),
                drained: row.drained_ms.map(BusinessInstant::from_unix_ms),
                drained_mark: row.drained_mark_ms.map(MachineInstant::from_unix_ms),
            }),
            _ => None,
        };
        let changed_from = row.changed_from.map(|id| id.parse()).transpose();
        Ok(Self {
            subscription: row.subscription_id.parse().map_err(Error::internal)?,
            changed_from: changed_from.map_err(Error::internal)?,
            billed: row.billed_ms.map(BusinessInstant::from_unix_ms),
            next,
        })
    }
}

pub(in crate::invoicing) async fn find(
    connection: &mut Connection,
    subscription: SubscriptionId,
) -> Result<Option<Schedule>> {
    let row: Option<Row> =
        sqlx::query_as("SELECT * FROM billing_schedules WHERE subscription_id = $1")
            .bind(subscription.to_string())
            .fetch_optional(connection)
            .await?;
    row.map(Schedule::try_from).transpose()
}

pub(in crate::invoicing) async fn save(
    connection: &mut Connection,
    schedule: &Schedule,
) -> Result<()> {
    let next = schedule.next.as_ref();
    sqlx::query(
        "INSERT INTO billing_schedules
             (subscription_id, changed_from, billed_ms, boundary_ms, part, due_ms, drained_ms,
              drained_mark_ms)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
         ON CONFLICT (subscription_id) DO UPDATE SET changed_from = excluded.changed_from,
             billed_ms = excluded.billed_ms, boundary_ms = excluded.boundary_ms,
             part = excluded.part, due_ms = excluded.due_ms, drained_ms = excluded.drained_ms,
             drained_mark_ms = excluded.drained_mark_ms",
    )
    .bind(schedule.subscription.to_string())
    .bind(schedule.changed_from.map(|id| id.to_string()))
    .bind(schedule.billed.map(BusinessInstant::unix_ms))
    .bind(next.map(|due| due.boundary.unix_ms()))
    .bind(next.map_or(Part::All, |due| due.part).name())
    .bind(next.map(|due| due.at.unix_ms()))
    .bind(
        next.and_then(|due| due.drained)
            .map(BusinessInstant::unix_ms),
    )
    .bind(
        next.and_then(|due| due.drained_mark)
            .map(MachineInstant::unix_ms),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Subscriptions that can be billed at `now`, after what the ledger had at its last drain, the longest
/// due first.
pub(in crate::invoicing) async fn due(
    connection: &mut Connection,
    now: BusinessInstant,
    drain: Option<LastDrain>,
    limit: i64,
) -> Result<Vec<SubscriptionId>> {
    let ids: Vec<String> = sqlx::query_scalar(
        "SELECT subscription_id FROM billing_schedules
         WHERE due_ms <= $1 AND (
             ((drained_ms IS NULL OR drained_ms <= $2)
                 AND (drained_mark_ms IS NULL OR drained_mark_ms <= $3))
             OR (part = 'all' AND due_ms <= $4))
         ORDER BY due_ms, subscription_id LIMIT $5",
    )
    .bind(now.unix_ms())
    .bind(drain.map_or(i64::MIN, |drain| drain.began_at.unix_ms()))
    .bind(drain.map_or(i64::MIN, |drain| drain.mark.unix_ms()))
    .bind(now.before(FEES_WAIT).unix_ms())
    .bind(limit)
    .fetch_all(connection)
    .await?;
    ids.iter()
        .map(|id| id.parse().map_err(Error::internal))
        .collect()
}

/// Whether something that is due waits for a drain that can begin now.
pub(in crate::invoicing) async fn waits(
    connection: &mut Connection,
    now: BusinessInstant,
    machine_now: MachineInstant,
    drain: Option<LastDrain>,
) -> Result<bool, Failure> {
    let first: Option<String> = sqlx::query_scalar(
        "SELECT subscription_id FROM billing_schedules
         WHERE due_ms <= $1 AND (drained_mark_ms IS NULL OR drained_mark_ms <= $2)
             AND (drained_ms > $3 OR drained_mark_ms > $4) LIMIT 1",
    )
    .bind(now.unix_ms())
    .bind(machine_now.unix_ms())
    .bind(drain.map_or(i64::MIN, |drain| drain.began_at.unix_ms()))
    .bind(drain.map_or(i64::MIN, |drain| drain.mark.unix_ms()))
    .fetch_optional(connection)
    .await?;
    Ok(first.is_some())
}

/// The first instant at which a subscription is to be billed.
pub(super) async fn first_due(
    connection: &mut Connection,
) -> Result<Option<BusinessInstant>, Failure> {
    let first: Option<i64> = sqlx::query_scalar("SELECT MIN(due_ms) FROM billing_schedules")
        .fetch_one(connection)
        .await?;
    Ok(first.map(BusinessInstant::from_unix_ms))
}

/// The subscription that took over from another at `boundary`, and bills what that one owes, if there
/// is one.
pub(in crate::invoicing) async fn takes_over(
    connection: &mut Connection,
    old: SubscriptionId,
    boundary: BusinessInstant,
) -> Result<Option<SubscriptionId>> {
    let id: Option<String> = sqlx::query_scalar(
        "SELECT subscription_id FROM billing_schedules
         JOIN subscriptions ON subscriptions.id = subscription_id
         WHERE changed_from = $1 AND active_from_ms = $2
             AND (active_to_ms IS NULL OR active_to_ms > active_from_ms)",
    )
    .bind(old.to_string())
    .bind(boundary.unix_ms())
    .fetch_optional(connection)
    .await?;
    id.map(|id| id.parse().map_err(Error::internal)).transpose()
}
