//! Subscriptions in the database.

use super::{Anchor, Begin, Start, Subscription};
use crate::clock::BusinessInstant;
use crate::database::bulk::{self, Cell};
use crate::database::{self, Connection, Failure, is_unique_violation};
use crate::error::{Error, Result};
use crate::http::page::Slice;
use crate::ids::{CustomerId, SubscriptionId};

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    subscription_key: Option<String>,
    chain_id: String,
    epoch: i64,
    customer_id: String,
    plan_id: String,
    plan_key: String,
    plan_version: i64,
    starting_phase: i64,
    trial: i64,
    waits_for_payment: i64,
    anchor_ms: Option<i64>,
    anchor_kept: i64,
    overage_limits: String,
    time_zone: String,
    resumed: String,
    active_from_ms: i64,
    active_to_ms: Option<i64>,
    created_at_ms: i64,
}

impl TryFrom<Row> for Subscription {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self> {
        Ok(Self {
            id: row.id.parse().map_err(Error::internal)?,
            key: row.subscription_key,
            chain: row.chain_id.parse().map_err(Error::internal)?,
            epoch: u32::try_from(row.epoch).map_err(Error::internal)?,
            customer: row.customer_id.parse().map_err(Error::internal)?,
            plan: row.plan_id.parse().map_err(Error::internal)?,
            plan_key: row.plan_key.parse().map_err(Error::internal)?,
            plan_version: u32::try_from(row.plan_version).map_err(Error::internal)?,
            starting_phase: usize::try_from(row.starting_phase).map_err(Error::internal)?,
            start: match row.trial {
                0 => Start::Regular,
                _ => Start::Trial,
            },
            begin: match row.waits_for_payment {
                0 => Begin::OnTime,
                _ => Begin::WhenPaid,
            },
            resumed: serde_json::from_str(&row.resumed).map_err(Error::internal)?,
            anchor: match (row.anchor_ms, row.anchor_kept) {
                (None, _) => Anchor::Start,
                (Some(ms), 0) => Anchor::Given(BusinessInstant::from_unix_ms(ms)),
                (Some(ms), _) => Anchor::Kept(BusinessInstant::from_unix_ms(ms)),
            },
            zone: row.time_zone.parse().map_err(Error::internal)?,
            overage_limits: serde_json::from_str(&row.overage_limits).map_err(Error::internal)?,
            active_from: BusinessInstant::from_unix_ms(row.active_from_ms),
            active_to: row.active_to_ms.map(BusinessInstant::from_unix_ms),
            created_at: BusinessInstant::from_unix_ms(row.created_at_ms),
        })
    }
}

pub(super) async fn insert(connection: &mut Connection, new: &Subscription) -> Result<()> {
    let inserted = sqlx::query(
        "INSERT INTO subscriptions
             (id, subscription_key, chain_id, epoch, customer_id, plan_id, plan_key, plan_version,
              starting_phase, trial, resumed, active_from_ms, active_to_ms, created_at_ms,
              waits_for_payment, anchor_ms, anchor_kept, overage_limits, time_zone)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18,
                 $19)",
    )
    .bind(new.id.to_string())
    .bind(&new.key)
    .bind(new.chain.to_string())
    .bind(i64::from(new.epoch))
    .bind(new.customer.to_string())
    .bind(new.plan.to_string())
    .bind(new.plan_key.as_str())
    .bind(i64::from(new.plan_version))
    .bind(i64::try_from(new.starting_phase).map_err(Error::internal)?)
    .bind(i64::from(new.start == Start::Trial))
    .bind(serde_json::to_string(&new.resumed).map_err(Error::internal)?)
    .bind(new.active_from.unix_ms())
    .bind(new.active_to.map(BusinessInstant::unix_ms))
    .bind(new.created_at.unix_ms())
    .bind(i64::from(new.begin == Begin::WhenPaid))
    .bind(new.anchor.instant().map(BusinessInstant::unix_ms))
    .bind(i64::from(matches!(new.anchor, Anchor::Kept(_))))
    .bind(serde_json::to_string(&new.overage_limits).map_err(Error::internal)?)
    .bind(new.zone.to_string())
    .execute(connection)
    .await;
    match inserted {
        Err(failure) if is_unique_violation(&failure) => {
            let detail = "Another subscription has this key.";
            Err(Error::conflict("subscription_key_taken", detail))
        }
        other => Ok(other.map(drop)?),
    }
}

/// Writes when a subscription ends.
pub(super) async fn set_end(
    connection: &mut Connection,
    id: SubscriptionId,
    end: Option<BusinessInstant>,
) -> Result<(), Failure> {
    sqlx::query("UPDATE subscriptions SET active_to_ms = $1 WHERE id = $2")
        .bind(end.map(BusinessInstant::unix_ms))
        .bind(id.to_string())
        .execute(connection)
        .await
        .map(drop)
}

/// Writes what a subscription has in place of its plan's overage limits.
pub(super) async fn set_overage_limits(
    connection: &mut Connection,
    subscription: &Subscription,
) -> Result<()> {
    sqlx::query("UPDATE subscriptions SET overage_limits = $1 WHERE id = $2")
        .bind(serde_json::to_string(&subscription.overage_limits).map_err(Error::internal)?)
        .bind(subscription.id.to_string())
        .execute(connection)
        .await?;
    Ok(())
}

/// Writes that a subscription which waited for its payment begins.
pub(super) async fn set_begun(connection: &mut Connection, begun: &Subscription) -> Result<()> {
    sqlx::query(
        "UPDATE subscriptions SET active_from_ms = $1, resumed = $2, waits_for_payment = 0
         WHERE id = $3",
    )
    .bind(begun.active_from.unix_ms())
    .bind(serde_json::to_string(&begun.resumed).map_err(Error::internal)?)
    .bind(begun.id.to_string())
    .execute(connection)
    .await?;
    Ok(())
}

/// The subscription with an id or key.
///
/// # Errors
/// When the database refuses.
pub async fn find(connection: &mut Connection, id_or_key: &str) -> Result<Option<Subscription>> {
    // No key looks like an id, so that at most one row fits.
    let row: Option<Row> =
        sqlx::query_as("SELECT * FROM subscriptions WHERE id = $1 OR subscription_key = $1")
            .bind(id_or_key)
            .fetch_optional(connection)
            .await?;
    row.map(Subscription::try_from).transpose()
}

/// The subscriptions with these ids, in no order.
pub(super) async fn of_ids(
    connection: &mut Connection,
    ids: &[SubscriptionId],
) -> Result<Vec<Subscription>> {
    let wanted: Vec<[Cell; 1]> = ids.iter().map(|id| [id.to_string().into()]).collect();
    let rows: Vec<Row> = bulk::fetch(
        connection,
        "WITH wanted (id) AS (",
        &wanted,
        ") SELECT subscriptions.* FROM wanted CROSS JOIN subscriptions
         WHERE subscriptions.id = wanted.id",
    )
    .await?;
    rows.into_iter().map(Subscription::try_from).collect()
}

/// The subscriptions of these chains, in no order.
pub(super) async fn of_chain_ids(
    connection: &mut Connection,
    chains: &[SubscriptionId],
) -> Result<Vec<Subscription>> {
    let wanted: Vec<[Cell; 1]> = chains.iter().map(|id| [id.to_string().into()]).collect();
    let rows: Vec<Row> = bulk::fetch(
        connection,
        "WITH wanted (id) AS (",
        &wanted,
        ") SELECT subscriptions.* FROM wanted CROSS JOIN subscriptions
         WHERE subscriptions.chain_id = wanted.id",
    )
    .await?;
    rows.into_iter().map(Subscription::try_from).collect()
}

/// A customer's subscriptions that have not ended, the oldest first.
pub(super) async fn unended(
    connection: &mut Connection,
    customer: CustomerId,
    now: BusinessInstant,
) -> Result<Vec<Subscription>> {
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT * FROM subscriptions
         WHERE customer_id = $1 AND (active_to_ms IS NULL
             OR (active_to_ms > $2 AND active_to_ms > active_from_ms))
         ORDER BY id",
    )
    .bind(customer.to_string())
    .bind(now.unix_ms())
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(Subscription::try_from).collect()
}

/// Subscriptions, the newest first; an empty customer or plan stands for any.
pub(super) async fn list(
    connection: &mut Connection,
    slice: &Slice,
    customer: &str,
    plan_key: &str,
) -> Result<Vec<Subscription>> {
    let filters = [("customer_id", customer), ("plan_key", plan_key)];
    let rows: Vec<Row> = database::list(connection, "subscriptions", slice, &filters).await?;
    rows.into_iter().map(Subscription::try_from).collect()
}

/// Whether a customer has a subscription that has not ended.
pub(super) async fn has_unended(
    connection: &mut Connection,
    customer: CustomerId,
    now: BusinessInstant,
) -> Result<bool, Failure> {
    let unended: i64 = sqlx::query_scalar(
        "SELECT COUNT(*) FROM subscriptions
         WHERE customer_id = $1 AND (active_to_ms IS NULL
             OR (active_to_ms > $2 AND active_to_ms > active_from_ms))",
    )
    .bind(customer.to_string())
    .bind(now.unix_ms())
    .fetch_one(connection)
    .await?;
    Ok(unended > 0)
}

/// Keys of the plans that a customer has had a trial of.
pub(super) async fn trials(
    connection: &mut Connection,
    customer: CustomerId,
) -> Result<Vec<String>, Failure> {
    sqlx::query_scalar(
        "SELECT DISTINCT plan_key FROM subscriptions
         WHERE customer_id = $1 AND trial = 1
             AND (active_to_ms IS NULL OR active_to_ms > active_from_ms)",
    )
    .bind(customer.to_string())
    .fetch_all(connection)
    .await
}

/// The subscriptions of the chains from `first` to `last`, both included, that end after
/// `ended_after`, by chain and in order.
pub(super) async fn of_chains(
    connection: &mut Connection,
    first: &str,
    last: &str,
    ended_after: BusinessInstant,
) -> Result<Vec<Subscription>> {
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT * FROM subscriptions
         WHERE chain_id >= $1 AND chain_id <= $2
             AND (active_to_ms IS NULL OR active_to_ms > $3)
         ORDER BY chain_id, epoch",
    )
    .bind(first)
    .bind(last)
    .bind(ended_after.unix_ms())
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(Subscription::try_from).collect()
}
