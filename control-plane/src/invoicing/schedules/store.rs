//! Schedules in the database.

use super::{Due, FEES_WAIT, Place, Ripe, Schedule};
use crate::clock::{BusinessInstant, MachineInstant};
use crate::database::bulk::{self, Cell};
use crate::database::{Connection, Failure};
use crate::error::{Error, Result};
use crate::ids::{CustomerId, SubscriptionId};
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
    schedules: &[&Schedule],
) -> Result<()> {
    let rows: Vec<[Cell; 8]> = schedules.iter().map(|schedule| row_of(schedule)).collect();
    bulk::insert(
        connection,
        "INSERT INTO billing_schedules
             (subscription_id, changed_from, billed_ms, boundary_ms, part, due_ms, drained_ms,
              drained_mark_ms)",
        &rows,
        "ON CONFLICT (subscription_id) DO UPDATE SET changed_from = excluded.changed_from,
             billed_ms = excluded.billed_ms, boundary_ms = excluded.boundary_ms,
             part = excluded.part, due_ms = excluded.due_ms, drained_ms = excluded.drained_ms,
             drained_mark_ms = excluded.drained_mark_ms",
    )
    .await?;
    Ok(())
}

fn row_of(schedule: &Schedule) -> [Cell; 8] {
    let next = schedule.next.as_ref();
    let drained = next.and_then(|due| due.drained);
    let drained_mark = next.and_then(|due| due.drained_mark);
    [
        schedule.subscription.to_string().into(),
        schedule.changed_from.map(|id| id.to_string()).into(),
        schedule.billed.map(BusinessInstant::unix_ms).into(),
        next.map(|due| due.boundary.unix_ms()).into(),
        next.map_or(Part::All, |due| due.part).name().into(),
        next.map(|due| due.at.unix_ms()).into(),
        drained.map(BusinessInstant::unix_ms).into(),
        drained_mark.map(MachineInstant::unix_ms).into(),
    ]
}

/// Schedules that something is due of, the longest due first.
pub(in crate::invoicing) async fn due(
    connection: &mut Connection,
    ripe: &Ripe,
    after: &Place,
    limit: i64,
) -> Result<Vec<Schedule>> {
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT * FROM billing_schedules
         WHERE due_ms <= $1 AND boundary_ms <= $2 AND (
             ((drained_ms IS NULL OR drained_ms <= $3)
                 AND (drained_mark_ms IS NULL OR drained_mark_ms <= $4))
             OR (part = 'all' AND due_ms <= $5))
             AND (due_ms, subscription_id) > ($6, $7)
         ORDER BY due_ms, subscription_id LIMIT $8",
    )
    .bind(ripe.now.unix_ms())
    .bind(ripe.until.unix_ms())
    .bind(ripe.drained_ms())
    .bind(ripe.mark_ms())
    .bind(ripe.now.before(FEES_WAIT).unix_ms())
    .bind(after.due_ms)
    .bind(&after.subscription)
    .bind(limit)
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(Schedule::try_from).collect()
}

/// How many subscriptions have a boundary until an instant that was not billed.
pub(in crate::invoicing) async fn count_until(
    connection: &mut Connection,
    until: BusinessInstant,
) -> Result<u64> {
    let count: i64 =
        sqlx::query_scalar("SELECT COUNT(*) FROM billing_schedules WHERE boundary_ms <= $1")
            .bind(until.unix_ms())
            .fetch_one(connection)
            .await?;
    u64::try_from(count).map_err(Error::internal)
}

/// The schedules of a customer's subscriptions, the oldest first.
pub(in crate::invoicing) async fn of_customer(
    connection: &mut Connection,
    customer: CustomerId,
) -> Result<Vec<Schedule>> {
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT billing_schedules.* FROM billing_schedules
         JOIN subscriptions ON subscriptions.id = subscription_id
         WHERE customer_id = $1 ORDER BY boundary_ms, subscription_id",
    )
    .bind(customer.to_string())
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(Schedule::try_from).collect()
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

/// By subscription, the instants at which others took over from it, and bill what it owes.
pub(in crate::invoicing) async fn taken_over(
    connection: &mut Connection,
    subscriptions: &[SubscriptionId],
) -> Result<Vec<(SubscriptionId, BusinessInstant, SubscriptionId)>> {
    let wanted: Vec<[Cell; 1]> = subscriptions
        .iter()
        .map(|id| [id.to_string().into()])
        .collect();
    let rows: Vec<(String, i64, String)> = bulk::fetch(
        connection,
        "WITH wanted (id) AS (",
        &wanted,
        ") SELECT wanted.id, successors.active_from_ms, successors.id
         FROM wanted CROSS JOIN billing_schedules CROSS JOIN subscriptions successors
         WHERE billing_schedules.changed_from = wanted.id
             AND successors.id = billing_schedules.subscription_id
             AND (active_to_ms IS NULL OR active_to_ms > active_from_ms)",
    )
    .await?;
    let taken = rows.into_iter().map(|(old, at_ms, new)| {
        let old = old.parse().map_err(Error::internal)?;
        let new = new.parse().map_err(Error::internal)?;
        Ok((old, BusinessInstant::from_unix_ms(at_ms), new))
    });
    taken.collect()
}
