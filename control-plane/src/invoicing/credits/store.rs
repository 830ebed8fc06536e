//! Credits and what they paid, in the database.

use super::{Application, Credit, Left};
use crate::clock::BusinessInstant;
use crate::database::Connection;
use crate::database::bulk::{self, Cell};
use crate::error::{Error, Result};
use crate::ids::{CustomerId, SubscriptionId};
use crate::money::Minor;
use crate::subscriptions::Subscription;

/// Writes credits, but those of which the fee was given back for this reason before.
pub(in crate::invoicing) async fn insert(
    connection: &mut Connection,
    credits: &[&Credit],
) -> Result<()> {
    let rows: Vec<[Cell; 7]> = credits
        .iter()
        .map(|credit| {
            [
                credit.id.to_string().into(),
                credit.customer.to_string().into(),
                credit.currency.code().into(),
                credit.source.as_str().into(),
                credit.cause.to_string().into(),
                credit.amount.get().into(),
                credit.created_at.unix_ms().into(),
            ]
        })
        .collect();
    bulk::insert(
        connection,
        "INSERT INTO credits (id, customer_id, currency, source, cause, amount, created_at_ms)",
        &rows,
        "ON CONFLICT (source, cause) DO NOTHING",
    )
    .await?;
    Ok(())
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

/// What is left of customers' credits, the oldest first. What paid an invoice that was taken back is left.
pub(in crate::invoicing) async fn remaining(
    connection: &mut Connection,
    customers: &[CustomerId],
) -> Result<Vec<(CustomerId, Left)>> {
    let wanted: Vec<[Cell; 1]> = customers.iter().map(|id| [id.to_string().into()]).collect();
    let rows: Vec<(String, String, String, i64)> = bulk::fetch(
        connection,
        "WITH wanted (id) AS (",
        &wanted,
        ") SELECT customer_id, id, currency, remaining FROM (
             SELECT credits.customer_id, credits.id, credits.currency,
                 credits.amount - (SELECT CAST(COALESCE(SUM(paid.amount), 0) AS BIGINT)
                 FROM credit_applications paid
                 JOIN invoice_lines ON invoice_lines.identity = paid.line
                 JOIN invoices ON invoices.id = invoice_lines.invoice_id
                 WHERE paid.credit_id = credits.id AND invoices.status <> 'void') AS remaining
             FROM wanted CROSS JOIN credits
             WHERE credits.customer_id = wanted.id AND credits.expired_at_ms IS NULL) unspent
         WHERE remaining > 0 ORDER BY id",
    )
    .await?;
    let left = rows
        .into_iter()
        .map(|(customer, credit, currency, remaining)| {
            let left = Left {
                credit: credit.parse().map_err(Error::internal)?,
                currency: currency.parse().map_err(Error::internal)?,
                amount: Minor::new(remaining),
            };
            Ok((customer.parse().map_err(Error::internal)?, left))
        });
    left.collect()
}

/// Writes what credits paid.
pub(in crate::invoicing) async fn record_applications(
    connection: &mut Connection,
    applications: &[&Application],
) -> Result<()> {
    let rows: Vec<[Cell; 3]> = applications
        .iter()
        .map(|application| {
            [
                application.credit.to_string().into(),
                application.line.as_str().into(),
                application.amount.get().into(),
            ]
        })
        .collect();
    let into = "INSERT INTO credit_applications (credit_id, line, amount)";
    Ok(bulk::insert(connection, into, &rows, "").await?)
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
