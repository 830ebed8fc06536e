//! Checkouts and their openings in the database.

use super::{Attempt, Checkout, ClaimToken, Holder, Progress};
use crate::clock::MachineInstant;
use crate::database::Connection;
use crate::error::{Error, Result};
use crate::ids::{ApiKeyId, CheckoutAttemptId, CheckoutId};

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    customer_id: String,
    plan_key: String,
    plan_version: i64,
    starting_phase: Option<String>,
    currency: String,
    success_url: Option<String>,
    cancel_url: Option<String>,
    status: String,
    subscription_id: Option<String>,
    failure: Option<String>,
    wrong_claims: i64,
    key_id: Option<String>,
    created_at_ms: i64,
    expires_at_ms: i64,
}

impl TryFrom<Row> for Checkout {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self> {
        let progress = match (row.status.as_str(), row.subscription_id, row.failure) {
            ("open", None, None) => Progress::Open,
            ("completed", Some(id), None) => {
                Progress::Completed(id.parse().map_err(Error::internal)?)
            }
            ("failed", None, Some(code)) => Progress::Failed(code),
            other => {
                return Err(Error::internal(anyhow::anyhow!(
                    "a Checkout that is {other:?}"
                )));
            }
        };
        let key = row.key_id.map(|id| id.parse().map_err(Error::internal));
        Ok(Self {
            id: row.id.parse().map_err(Error::internal)?,
            customer: row.customer_id.parse().map_err(Error::internal)?,
            plan: row.plan_key.parse().map_err(Error::internal)?,
            plan_version: u32::try_from(row.plan_version).map_err(Error::internal)?,
            starting_phase: row.starting_phase,
            currency: row.currency.parse().map_err(Error::internal)?,
            success_url: row.success_url,
            cancel_url: row.cancel_url,
            progress,
            wrong_claims: u32::try_from(row.wrong_claims).map_err(Error::internal)?,
            key: key.transpose()?,
            created_at: MachineInstant::from_unix_ms(row.created_at_ms),
            expires_at: MachineInstant::from_unix_ms(row.expires_at_ms),
        })
    }
}

#[derive(sqlx::FromRow)]
struct AttemptRow {
    id: String,
    checkout_id: String,
    holder: String,
    stripe_id: Option<String>,
    completed: i64,
}

impl TryFrom<AttemptRow> for Attempt {
    type Error = Error;

    fn try_from(row: AttemptRow) -> Result<Self> {
        Ok(Self {
            id: row.id.parse().map_err(Error::internal)?,
            checkout: row.checkout_id.parse().map_err(Error::internal)?,
            holder: match row.holder.as_str() {
                "customer" => Holder::Customer,
                "operator" => Holder::Operator,
                other => return Err(Error::internal(anyhow::anyhow!("a token of {other}"))),
            },
            stripe_id: row.stripe_id,
            completed: row.completed != 0,
        })
    }
}

pub(super) async fn insert(connection: &mut Connection, new: &Checkout) -> Result<()> {
    let (status, subscription, failure) = columns(&new.progress);
    sqlx::query(
        "INSERT INTO checkout_sessions (id, customer_id, plan_key, plan_version, starting_phase,
             currency, success_url, cancel_url, status, subscription_id, failure, wrong_claims,
             created_at_ms, expires_at_ms)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 0, $12, $13)",
    )
    .bind(new.id.to_string())
    .bind(new.customer.to_string())
    .bind(new.plan.as_str())
    .bind(i64::from(new.plan_version))
    .bind(&new.starting_phase)
    .bind(new.currency.to_string())
    .bind(&new.success_url)
    .bind(&new.cancel_url)
    .bind(status)
    .bind(subscription)
    .bind(failure)
    .bind(new.created_at.unix_ms())
    .bind(new.expires_at.unix_ms())
    .execute(connection)
    .await?;
    Ok(())
}

fn columns(progress: &Progress) -> (&'static str, Option<String>, Option<String>) {
    match progress {
        Progress::Open => ("open", None, None),
        Progress::Completed(id) => ("completed", Some(id.to_string()), None),
        Progress::Failed(code) => ("failed", None, Some(code.clone())),
    }
}

pub(super) async fn find(connection: &mut Connection, id: CheckoutId) -> Result<Option<Checkout>> {
    let row: Option<Row> = sqlx::query_as("SELECT * FROM checkout_sessions WHERE id = $1")
        .bind(id.to_string())
        .fetch_optional(connection)
        .await?;
    row.map(Checkout::try_from).transpose()
}

pub(super) async fn set_progress(
    connection: &mut Connection,
    id: CheckoutId,
    progress: &Progress,
) -> Result<()> {
    let (status, subscription, failure) = columns(progress);
    sqlx::query(
        "UPDATE checkout_sessions SET status = $1, subscription_id = $2, failure = $3
         WHERE id = $4",
    )
    .bind(status)
    .bind(subscription)
    .bind(failure)
    .bind(id.to_string())
    .execute(connection)
    .await?;
    Ok(())
}

pub(super) async fn count_wrong_claim(connection: &mut Connection, id: CheckoutId) -> Result<()> {
    sqlx::query("UPDATE checkout_sessions SET wrong_claims = wrong_claims + 1 WHERE id = $1")
        .bind(id.to_string())
        .execute(connection)
        .await?;
    Ok(())
}

pub(super) async fn set_key(
    connection: &mut Connection,
    id: CheckoutId,
    key: ApiKeyId,
) -> Result<()> {
    sqlx::query("UPDATE checkout_sessions SET key_id = $1 WHERE id = $2")
        .bind(key.to_string())
        .bind(id.to_string())
        .execute(connection)
        .await?;
    Ok(())
}

pub(super) async fn insert_attempt(
    connection: &mut Connection,
    new: &Attempt,
    token: &ClaimToken,
    now: MachineInstant,
) -> Result<()> {
    sqlx::query(
        "INSERT INTO checkout_attempts (id, checkout_id, token_hash, holder, completed, created_at_ms)
         VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(new.id.to_string())
    .bind(new.checkout.to_string())
    .bind(token.hash())
    .bind(match new.holder {
        Holder::Customer => "customer",
        Holder::Operator => "operator",
    })
    .bind(i64::from(new.completed))
    .bind(now.unix_ms())
    .execute(connection)
    .await?;
    Ok(())
}

pub(super) async fn set_stripe_id(
    connection: &mut Connection,
    attempt: CheckoutAttemptId,
    stripe_id: &str,
) -> Result<()> {
    sqlx::query("UPDATE checkout_attempts SET stripe_id = $1 WHERE id = $2")
        .bind(stripe_id)
        .bind(attempt.to_string())
        .execute(connection)
        .await?;
    Ok(())
}

pub(super) async fn set_completed(
    connection: &mut Connection,
    attempt: CheckoutAttemptId,
) -> Result<()> {
    sqlx::query("UPDATE checkout_attempts SET completed = 1 WHERE id = $1")
        .bind(attempt.to_string())
        .execute(connection)
        .await?;
    Ok(())
}

/// The openings of a Checkout, the newest first.
pub(super) async fn attempts(
    connection: &mut Connection,
    checkout: CheckoutId,
) -> Result<Vec<Attempt>> {
    let rows: Vec<AttemptRow> = sqlx::query_as(
        "SELECT id, checkout_id, holder, stripe_id, completed FROM checkout_attempts
         WHERE checkout_id = $1 ORDER BY id DESC",
    )
    .bind(checkout.to_string())
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(Attempt::try_from).collect()
}

pub(super) async fn attempt(
    connection: &mut Connection,
    id: CheckoutAttemptId,
) -> Result<Option<Attempt>> {
    let row: Option<AttemptRow> = sqlx::query_as(
        "SELECT id, checkout_id, holder, stripe_id, completed FROM checkout_attempts WHERE id = $1",
    )
    .bind(id.to_string())
    .fetch_optional(connection)
    .await?;
    row.map(Attempt::try_from).transpose()
}

/// The opening of a Checkout that a token was made with.
pub(super) async fn attempt_of_token(
    connection: &mut Connection,
    checkout: CheckoutId,
    token: &ClaimToken,
) -> Result<Option<Attempt>> {
    let row: Option<AttemptRow> = sqlx::query_as(
        "SELECT id, checkout_id, holder, stripe_id, completed FROM checkout_attempts
         WHERE checkout_id = $1 AND token_hash = $2",
    )
    .bind(checkout.to_string())
    .bind(token.hash())
    .fetch_optional(connection)
    .await?;
    row.map(Attempt::try_from).transpose()
}

/// Checkouts that are open and were opened, made after `since`.
pub(super) async fn opened(
    connection: &mut Connection,
    since: MachineInstant,
) -> Result<Vec<CheckoutId>> {
    let ids: Vec<String> = sqlx::query_scalar(
        "SELECT id FROM checkout_sessions
         WHERE status = 'open' AND created_at_ms >= $1 AND EXISTS (
             SELECT 1 FROM checkout_attempts
             WHERE checkout_id = checkout_sessions.id AND stripe_id IS NOT NULL)
         ORDER BY id",
    )
    .bind(since.unix_ms())
    .fetch_all(connection)
    .await?;
    ids.iter()
        .map(|id| id.parse().map_err(Error::internal))
        .collect()
}
