//! Chains in the database.

use tollgate_engine::api_key::Tag;

use super::{Chain, Member};
use crate::clock::BusinessInstant;
use crate::database::{Connection, Failure};
use crate::error::{Error, Result};
use crate::ids::{CustomerId, SubscriptionId};

#[derive(sqlx::FromRow)]
pub(super) struct ChainRow {
    pub(super) id: String,
    customer_id: String,
    tag: String,
    version: i64,
}

impl ChainRow {
    pub(super) fn with_members(self, members: Vec<Member>) -> Result<Chain> {
        Ok(Chain {
            id: self.id.parse().map_err(Error::internal)?,
            customer: self.customer_id.parse().map_err(Error::internal)?,
            tag: self.tag.parse().map_err(Error::internal)?,
            version: u64::try_from(self.version).map_err(Error::internal)?,
            members,
        })
    }
}

pub(in crate::subscriptions) async fn insert(
    connection: &mut Connection,
    chain: &Chain,
) -> Result<(), Failure> {
    sqlx::query("INSERT INTO chains (id, customer_id, tag, version) VALUES ($1, $2, $3, 0)")
        .bind(chain.id.to_string())
        .bind(chain.customer.to_string())
        .bind(chain.tag.as_str())
        .execute(connection)
        .await
        .map(drop)
}

/// The customer's chain that ended last, of those without a subscription that goes on or will begin.
pub(in crate::subscriptions) async fn last_ended(
    connection: &mut Connection,
    customer: CustomerId,
    now: BusinessInstant,
) -> Result<Option<SubscriptionId>> {
    let id: Option<String> = sqlx::query_scalar(
        "SELECT chain_id FROM subscriptions WHERE customer_id = $1
         GROUP BY chain_id
         HAVING MAX(CASE WHEN active_to_ms IS NULL THEN 1
                         WHEN active_to_ms > $2 AND active_to_ms > active_from_ms THEN 1
                         ELSE 0 END) = 0
         ORDER BY MAX(active_to_ms) DESC, chain_id DESC LIMIT 1",
    )
    .bind(customer.to_string())
    .bind(now.unix_ms())
    .fetch_optional(connection)
    .await?;
    id.map(|id| id.parse().map_err(Error::internal)).transpose()
}

/// A customer's chains.
///
/// # Errors
/// When the database refuses.
pub async fn of_customer(
    connection: &mut Connection,
    customer: CustomerId,
) -> Result<Vec<SubscriptionId>> {
    let ids: Vec<String> =
        sqlx::query_scalar("SELECT id FROM chains WHERE customer_id = $1 ORDER BY id")
            .bind(customer.to_string())
            .fetch_all(connection)
            .await?;
    ids.iter()
        .map(|id| id.parse().map_err(Error::internal))
        .collect()
}

/// The tag under which a chain's state stands in Redis.
///
/// # Errors
/// When there is no such chain or the database refuses.
pub async fn tag_of(connection: &mut Connection, chain: SubscriptionId) -> Result<Tag> {
    let tag: String = sqlx::query_scalar("SELECT tag FROM chains WHERE id = $1")
        .bind(chain.to_string())
        .fetch_one(connection)
        .await?;
    tag.parse().map_err(Error::internal)
}

/// Whether a subscription of a chain goes on or will begin.
///
/// # Errors
/// When the database refuses.
pub async fn goes_on(
    connection: &mut Connection,
    chain: SubscriptionId,
    now: BusinessInstant,
) -> Result<bool, Failure> {
    let unended: i64 = sqlx::query_scalar(
        "SELECT COUNT(*) FROM subscriptions
         WHERE chain_id = $1 AND (active_to_ms IS NULL
             OR (active_to_ms > $2 AND active_to_ms > active_from_ms))",
    )
    .bind(chain.to_string())
    .bind(now.unix_ms())
    .fetch_one(connection)
    .await?;
    Ok(unended > 0)
}

/// Raises the version of a chain's document.
///
/// # Errors
/// When the database refuses.
pub async fn raise_version(
    connection: &mut Connection,
    chain: SubscriptionId,
) -> Result<(), Failure> {
    sqlx::query("UPDATE chains SET version = version + 1 WHERE id = $1")
        .bind(chain.to_string())
        .execute(connection)
        .await
        .map(drop)
}

/// Notes when a chain's document needs further windows.
///
/// # Errors
/// When the database refuses.
pub async fn set_renewal(
    connection: &mut Connection,
    chain: SubscriptionId,
    renew_at: Option<BusinessInstant>,
) -> Result<(), Failure> {
    sqlx::query("UPDATE chains SET renew_at_ms = $1 WHERE id = $2")
        .bind(renew_at.map(BusinessInstant::unix_ms))
        .bind(chain.to_string())
        .execute(connection)
        .await
        .map(drop)
}

/// Has the documents of all chains written anew, some at a time.
///
/// # Errors
/// When the database refuses.
pub async fn renew_all(connection: &mut Connection, now: BusinessInstant) -> Result<(), Failure> {
    sqlx::query("UPDATE chains SET renew_at_ms = $1 WHERE renew_at_ms IS NULL OR renew_at_ms > $1")
        .bind(now.unix_ms())
        .execute(connection)
        .await
        .map(drop)
}

/// When the first chain's document needs further windows.
///
/// # Errors
/// When the database refuses.
pub async fn next_renewal(connection: &mut Connection) -> Result<Option<BusinessInstant>, Failure> {
    let first: Option<i64> = sqlx::query_scalar("SELECT MIN(renew_at_ms) FROM chains")
        .fetch_one(connection)
        .await?;
    Ok(first.map(BusinessInstant::from_unix_ms))
}

/// Chains whose documents need further windows, the most urgent first.
///
/// # Errors
/// When the database refuses.
pub async fn renewable(
    connection: &mut Connection,
    now: BusinessInstant,
    limit: i64,
) -> Result<Vec<SubscriptionId>> {
    let ids: Vec<String> = sqlx::query_scalar(
        "SELECT id FROM chains WHERE renew_at_ms <= $1 ORDER BY renew_at_ms, id LIMIT $2",
    )
    .bind(now.unix_ms())
    .bind(limit)
    .fetch_all(connection)
    .await?;
    ids.iter()
        .map(|id| id.parse().map_err(Error::internal))
        .collect()
}

/// Ids of chains after `after`, in order; the empty text is before all.
///
/// # Errors
/// When the database refuses.
pub async fn ids(
    connection: &mut Connection,
    after: &str,
    limit: i64,
) -> Result<Vec<String>, Failure> {
    sqlx::query_scalar("SELECT id FROM chains WHERE id > $1 ORDER BY id LIMIT $2")
        .bind(after)
        .bind(limit)
        .fetch_all(connection)
        .await
}

/// The chains from `first` to `last`, both included, in order.
pub(super) async fn between(
    connection: &mut Connection,
    first: &str,
    last: &str,
) -> Result<Vec<ChainRow>, Failure> {
    sqlx::query_as(
        "SELECT id, customer_id, tag, version FROM chains
         WHERE id >= $1 AND id <= $2 ORDER BY id",
    )
    .bind(first)
    .bind(last)
    .fetch_all(connection)
    .await
}
