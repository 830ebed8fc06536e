//! Chains and subscriptions in the database.

use std::collections::HashMap;
use std::sync::Arc;

use tollgate_engine::api_key::Tag;

use super::{Chain, Member, Start, Subscription};
use crate::catalog::plans::{self, Plan};
use crate::clock::BusinessInstant;
use crate::database::{Connection, Failure, is_unique_violation};
use crate::error::{Error, Result};
use crate::http::page::Slice;
use crate::ids::{CustomerId, PlanId, SubscriptionId};

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
            resumed: serde_json::from_str(&row.resumed).map_err(Error::internal)?,
            active_from: BusinessInstant::from_unix_ms(row.active_from_ms),
            active_to: row.active_to_ms.map(BusinessInstant::from_unix_ms),
            created_at: BusinessInstant::from_unix_ms(row.created_at_ms),
        })
    }
}

#[derive(sqlx::FromRow)]
struct ChainRow {
    id: String,
    customer_id: String,
    tag: String,
    version: i64,
}

impl ChainRow {
    fn with_members(self, members: Vec<Member>) -> Result<Chain> {
        Ok(Chain {
            id: self.id.parse().map_err(Error::internal)?,
            customer: self.customer_id.parse().map_err(Error::internal)?,
            tag: self.tag.parse().map_err(Error::internal)?,
            version: u64::try_from(self.version).map_err(Error::internal)?,
            members,
        })
    }
}

pub(super) async fn insert_chain(
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

pub(super) async fn insert(connection: &mut Connection, new: &Subscription) -> Result<()> {
    let inserted = sqlx::query(
        "INSERT INTO subscriptions
             (id, subscription_key, chain_id, epoch, customer_id, plan_id, plan_key, plan_version,
              starting_phase, trial, resumed, active_from_ms, active_to_ms, created_at_ms)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)",
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

/// Subscriptions, the newest first; an empty customer or plan stands for any.
pub(super) async fn list(
    connection: &mut Connection,
    slice: &Slice,
    customer: &str,
    plan_key: &str,
) -> Result<Vec<Subscription>> {
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT * FROM subscriptions
         WHERE id < $1 AND ($2 = '' OR customer_id = $2) AND ($3 = '' OR plan_key = $3)
         ORDER BY id DESC LIMIT $4",
    )
    .bind(&slice.below)
    .bind(customer)
    .bind(plan_key)
    .bind(slice.rows())
    .fetch_all(connection)
    .await?;
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

/// The customer's chain that ended last, of those without a subscription that goes on or will begin.
pub(super) async fn last_ended_chain(
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

/// The chain of a subscription.
///
/// # Errors
/// When the database refuses.
pub async fn find_chain_of(
    connection: &mut Connection,
    id_or_key: &str,
) -> Result<Option<SubscriptionId>> {
    let found = find(connection, id_or_key).await?;
    Ok(found.map(|subscription| subscription.chain))
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
pub async fn chain_ids(
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

/// Reads chains; a plan that several subscriptions are on is read once.
#[derive(Debug, Default)]
pub struct Loader {
    plans: HashMap<PlanId, Arc<Plan>>,
}

impl Loader {
    /// One chain with its subscriptions that end after `ended_after`, or `None` when there is no such chain.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn chain(
        &mut self,
        connection: &mut Connection,
        id: SubscriptionId,
        ended_after: BusinessInstant,
    ) -> Result<Option<Chain>> {
        let id = id.to_string();
        let chains = self.chains(connection, &id, &id, ended_after).await?;
        Ok(chains.into_iter().next())
    }

    /// The chains from `first` to `last`, both included, with their subscriptions that end after `ended_after`.
    ///
    /// What it reads was never changed before the version it gives: that is read first.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn chains(
        &mut self,
        connection: &mut Connection,
        first: &str,
        last: &str,
        ended_after: BusinessInstant,
    ) -> Result<Vec<Chain>> {
        let chains: Vec<ChainRow> = sqlx::query_as(
            "SELECT id, customer_id, tag, version FROM chains
             WHERE id >= $1 AND id <= $2 ORDER BY id",
        )
        .bind(first)
        .bind(last)
        .fetch_all(&mut *connection)
        .await?;
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT * FROM subscriptions
             WHERE chain_id >= $1 AND chain_id <= $2
                 AND (active_to_ms IS NULL OR active_to_ms > $3)
             ORDER BY chain_id, epoch",
        )
        .bind(first)
        .bind(last)
        .bind(ended_after.unix_ms())
        .fetch_all(&mut *connection)
        .await?;
        let mut members = HashMap::<String, Vec<Member>>::new();
        for row in rows {
            let chain = row.chain_id.clone();
            let member = self.member(connection, row.try_into()?).await?;
            members.entry(chain).or_default().push(member);
        }
        let with_members = |row: ChainRow| {
            let members = members.remove(&row.id).unwrap_or_default();
            row.with_members(members)
        };
        chains.into_iter().map(with_members).collect()
    }

    /// A subscription with its plan.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn member(
        &mut self,
        connection: &mut Connection,
        subscription: Subscription,
    ) -> Result<Member> {
        if let Some(plan) = self.plans.get(&subscription.plan) {
            let plan = Arc::clone(plan);
            return Ok(Member { subscription, plan });
        }
        let (key, version) = (&subscription.plan_key, subscription.plan_version);
        let found = plans::find_version(connection, key, version).await?;
        let missing = || Error::internal(anyhow::anyhow!("no version {version} of plan {key}"));
        let plan = Arc::new(found.ok_or_else(missing)?.plan()?);
        self.plans.insert(subscription.plan, Arc::clone(&plan));
        Ok(Member { subscription, plan })
    }
}
