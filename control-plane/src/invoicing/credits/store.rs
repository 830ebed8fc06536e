//! Credits and what they paid, in the database.

use super::{Application, Credit};
use crate::catalog::currency::Currency;
use crate::clock::BusinessInstant;
use crate::database::Connection;
use crate::error::{Error, Result};
use crate::ids::{CreditId, CustomerId, SubscriptionId};
use crate::money::Minor;
use crate::subscriptions::Subscription;

/// Writes a credit, unless this fee was given back for this reason before.
pub(super) async fn insert(connection: &mut Connection, credit: &Credit) -> Result<()> {
    sqlx::query(
        "INSERT INTO credits (id, customer_id, currency, source, cause, amount, created_at_ms)
         VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (source, cause) DO NOTHING",
    )
    .bind(credit.id.to_string())
    .bind(credit.customer.to_string())
    .bind(credit.currency.code())
    .bind(&credit.source)
    .bind(credit.cause.to_string())
    .bind(credit.amount.get())
    .bind(credit.created_at.unix_ms())
    .execute(connection)
    .await?;
    Ok(())
}

/// What was given back of a fee so far.
pub(super) async fn issued(connection: &mut Connection, source: &str) -> Result<Minor> {
    let sum: i64 = sqlx::query_scalar(
        "SELECT CAST(COALESCE(SUM(amount), 0) AS BIGINT) FROM credits WHERE source = $1",
    )
    .bind(source)
    .fetch_one(connection)
    .await?;
    Ok(Minor::new(sum))
}

/// What was given back when a subscription took over.
pub(in crate::invoicing) async fn issued_because(
    connection: &mut Connection,
    cause: SubscriptionId,
) -> Result<Minor> {
    let sum: i64 = sqlx::query_scalar(
        "SELECT CAST(COALESCE(SUM(amount), 0) AS BIGINT) FROM credits WHERE cause = $1",
    )
    .bind(cause.to_string())
    .fetch_one(connection)
    .await?;
    Ok(Minor::new(sum))
}

/// What is left of a customer's credits, the oldest first. What paid an invoice that was taken back is left.
pub(super) async fn remaining(
    connection: &mut Connection,
    customer: CustomerId,
    currency: Currency,
) -> Result<Vec<(CreditId, Minor)>> {
    let rows: Vec<(String, i64)> = sqlx::query_as(
        "SELECT id, remaining FROM (
             SELECT id, amount - (SELECT CAST(COALESCE(SUM(paid.amount), 0) AS BIGINT)
                 FROM credit_applications paid
                 JOIN invoice_lines ON invoice_lines.identity = paid.line
                 JOIN invoices ON invoices.id = invoice_lines.invoice_id
                 WHERE paid.credit_id = credits.id AND invoices.status <> 'void') AS remaining
             FROM credits
             WHERE customer_id = $1 AND currency = $2 AND expired_at_ms IS NULL) unspent
         WHERE remaining > 0 ORDER BY id",
    )
    .bind(customer.to_string())
    .bind(currency.code())
    .fetch_all(connection)
    .await?;
    let rows = rows.into_iter().map(|(id, remaining)| {
        let id = id.parse().map_err(Error::internal)?;
        Ok((id, Minor::new(remaining)))
    });
    rows.collect()
}

/// Writes what credits paid.
pub(in crate::invoicing) async fn record_applications(
    connection: &mut Connection,
    applications: &[Application],
) -> Result<()> {
    for application in applications {
        sqlx::query(
            "INSERT INTO credit_applications (credit_id, line, amount) VALUES ($1, $2, $3)",
        )
        .bind(application.credit.to_string())
        .bind(&application.line)
        .bind(application.amount.get())
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

/// When the customer's last other subscription ended, if all had when this one begins.
pub(super) async fn last_end_before(
    connection: &mut Connection,
    customer: CustomerId,
    beginning: &Subscription,
) -> Result<Option<BusinessInstant>> {
    let (going_on, last_ms): (i64, Option<i64>) = sqlx::query_as(
        "SELECT COUNT(CASE WHEN active_to_ms IS NULL THEN 1 END), MAX(active_to_ms)
         FROM subscriptions
         WHERE customer_id = $1 AND id <> $2 AND active_from_ms < $3
             AND (active_to_ms IS NULL OR active_to_ms > active_from_ms)",
    )
    .bind(customer.to_string())
    .bind(beginning.id.to_string())
    .bind(beginning.active_from.unix_ms())
    .fetch_one(connection)
    .await?;
    let last = last_ms.filter(|_| going_on == 0);
    Ok(last.map(BusinessInstant::from_unix_ms))
}

/// Has what is left of a customer's credits expire.
pub(super) async fn expire(
    connection: &mut Connection,
    customer: CustomerId,
    at: BusinessInstant,
) -> Result<()> {
    sqlx::query(
        "UPDATE credits SET expired_at_ms = $1 WHERE customer_id = $2 AND expired_at_ms IS NULL",
    )
    .bind(at.unix_ms())
    .bind(customer.to_string())
    .execute(connection)
    .await?;
    Ok(())
}
