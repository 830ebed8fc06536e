//! Invoices and their lines in the database.

use rust_decimal::Decimal;

use super::credits::CutFee;
use super::{Invoice, InvoiceKind, InvoiceStatus, Line, LineKind, Part, Step};
use crate::calendar::Interval;
use crate::clock::BusinessInstant;
use crate::database::bulk::{self, Cell};
use crate::database::{self, Connection};
use crate::error::{Error, Result};
use crate::http::page::Slice;
use crate::ids::{InvoiceId, SubscriptionId};
use crate::money::Minor;

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    customer_id: String,
    chain_id: String,
    subscription_id: String,
    plan_version: i64,
    kind: String,
    boundary_ms: i64,
    part: String,
    status: String,
    currency: String,
    total: i64,
    step: String,
    attempt: i64,
    failure: Option<String>,
    stripe_id: Option<String>,
    number: Option<String>,
    hosted_url: Option<String>,
    attempts: i64,
    due_since_ms: Option<i64>,
    created_at_ms: i64,
    finalized_at_ms: Option<i64>,
    paid_at_ms: Option<i64>,
}

impl TryFrom<Row> for Invoice {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self> {
        let count = |number: i64| u32::try_from(number).map_err(Error::internal);
        Ok(Self {
            id: row.id.parse().map_err(Error::internal)?,
            customer: row.customer_id.parse().map_err(Error::internal)?,
            chain: row.chain_id.parse().map_err(Error::internal)?,
            subscription: row.subscription_id.parse().map_err(Error::internal)?,
            plan_version: count(row.plan_version)?,
            kind: InvoiceKind::named(&row.kind)?,
            boundary: BusinessInstant::from_unix_ms(row.boundary_ms),
            part: Part::named(&row.part)?,
            status: InvoiceStatus::named(&row.status)?,
            currency: row.currency.parse().map_err(Error::internal)?,
            total: Minor::new(row.total),
            step: Step::named(&row.step)?,
            attempt: count(row.attempt)?,
            failure: row.failure,
            stripe_id: row.stripe_id,
            number: row.number,
            hosted_url: row.hosted_url,
            attempts: count(row.attempts)?,
            due_since: row.due_since_ms.map(BusinessInstant::from_unix_ms),
            created_at: BusinessInstant::from_unix_ms(row.created_at_ms),
            finalized_at: row.finalized_at_ms.map(BusinessInstant::from_unix_ms),
            paid_at: row.paid_at_ms.map(BusinessInstant::from_unix_ms),
        })
    }
}

#[derive(sqlx::FromRow)]
struct LineRow {
    identity: String,
    kind: String,
    subscription_id: String,
    rate_card: String,
    description: String,
    period_start_ms: i64,
    period_end_ms: i64,
    quantity: String,
    unit_amount: Option<String>,
    amount: i64,
    discount: i64,
    credit: i64,
}

#[derive(sqlx::FromRow)]
struct FeeRow {
    #[sqlx(flatten)]
    line: LineRow,
    status: String,
    credited: i64,
}

impl TryFrom<LineRow> for Line {
    type Error = Error;

    fn try_from(row: LineRow) -> Result<Self> {
        let decimal = |text: &str| Decimal::from_str_exact(text).map_err(Error::internal);
        Ok(Self {
            identity: row.identity,
            kind: LineKind::named(&row.kind)?,
            subscription: row.subscription_id.parse().map_err(Error::internal)?,
            rate_card: row.rate_card.parse().map_err(Error::internal)?,
            description: row.description,
            period: Interval {
                start: BusinessInstant::from_unix_ms(row.period_start_ms),
                end: BusinessInstant::from_unix_ms(row.period_end_ms),
            },
            quantity: decimal(&row.quantity)?,
            unit_amount: row.unit_amount.as_deref().map(decimal).transpose()?,
            amount: Minor::new(row.amount),
            discount: Minor::new(row.discount),
            credit: Minor::new(row.credit),
        })
    }
}

/// Writes everything of an invoice that Stripe has a say in.
pub(super) async fn update(connection: &mut Connection, invoice: &Invoice) -> Result<()> {
    sqlx::query(
        "UPDATE invoices SET status = $1, step = $2, attempt = $3, failure = $4, stripe_id = $5,
             number = $6, hosted_url = $7, attempts = $8, due_since_ms = $9, finalized_at_ms = $10,
             paid_at_ms = $11
         WHERE id = $12",
    )
    .bind(invoice.status.name())
    .bind(invoice.step.name())
    .bind(i64::from(invoice.attempt))
    .bind(&invoice.failure)
    .bind(&invoice.stripe_id)
    .bind(&invoice.number)
    .bind(&invoice.hosted_url)
    .bind(i64::from(invoice.attempts))
    .bind(invoice.due_since.map(BusinessInstant::unix_ms))
    .bind(invoice.finalized_at.map(BusinessInstant::unix_ms))
    .bind(invoice.paid_at.map(BusinessInstant::unix_ms))
    .bind(invoice.id.to_string())
    .execute(connection)
    .await?;
    Ok(())
}

pub(super) async fn find(connection: &mut Connection, id: InvoiceId) -> Result<Option<Invoice>> {
    let row: Option<Row> = sqlx::query_as("SELECT * FROM invoices WHERE id = $1")
        .bind(id.to_string())
        .fetch_optional(connection)
        .await?;
    row.map(Invoice::try_from).transpose()
}

/// The newest invoice of a subscription.
pub(super) async fn newest_of(
    connection: &mut Connection,
    subscription: SubscriptionId,
) -> Result<Option<Invoice>> {
    let row: Option<Row> = sqlx::query_as(
        "SELECT * FROM invoices WHERE subscription_id = $1 ORDER BY id DESC LIMIT 1",
    )
    .bind(subscription.to_string())
    .fetch_optional(connection)
    .await?;
    row.map(Invoice::try_from).transpose()
}

pub(super) async fn find_by_stripe_id(
    connection: &mut Connection,
    stripe_id: &str,
) -> Result<Option<Invoice>> {
    let row: Option<Row> = sqlx::query_as("SELECT * FROM invoices WHERE stripe_id = $1")
        .bind(stripe_id)
        .fetch_optional(connection)
        .await?;
    row.map(Invoice::try_from).transpose()
}

/// The lines of an invoice, in order.
pub(super) async fn lines(connection: &mut Connection, invoice: InvoiceId) -> Result<Vec<Line>> {
    let rows: Vec<LineRow> =
        sqlx::query_as("SELECT * FROM invoice_lines WHERE invoice_id = $1 ORDER BY position")
            .bind(invoice.to_string())
            .fetch_all(connection)
            .await?;
    rows.into_iter().map(Line::try_from).collect()
}

/// Fees of subscriptions for periods that an instant is in, with the status of their invoices and what
/// was given back of them.
pub(super) async fn fees_at(
    connection: &mut Connection,
    cuts: &[(SubscriptionId, BusinessInstant)],
) -> Result<Vec<CutFee>> {
    let wanted: Vec<[Cell; 2]> = cuts
        .iter()
        .map(|(subscription, at)| [subscription.to_string().into(), at.unix_ms().into()])
        .collect();
    let rows: Vec<FeeRow> = bulk::fetch(
        connection,
        "WITH wanted (id, at_ms) AS (",
        &wanted,
        ") SELECT invoice_lines.*, invoices.status,
             (SELECT CAST(COALESCE(SUM(credits.amount), 0) AS BIGINT) FROM credits
              WHERE credits.source = invoice_lines.identity) AS credited
         FROM wanted CROSS JOIN invoice_lines CROSS JOIN invoices
         WHERE invoice_lines.subscription_id = wanted.id AND invoice_lines.kind = 'fee'
             AND invoice_lines.period_start_ms <= wanted.at_ms
             AND invoice_lines.period_end_ms > wanted.at_ms
             AND invoices.id = invoice_lines.invoice_id
         ORDER BY invoice_lines.identity",
    )
    .await?;
    let fees = rows.into_iter().map(|row| {
        Ok(CutFee {
            line: row.line.try_into()?,
            status: InvoiceStatus::named(&row.status)?,
            credited: Minor::new(row.credited),
        })
    });
    fees.collect()
}

/// By status, the first due instant of the invoices of a chain with an amount, in money or in credit; but of those of one
/// subscription.
pub(super) async fn statuses(
    connection: &mut Connection,
    chain: SubscriptionId,
    but: Option<SubscriptionId>,
) -> Result<Vec<(InvoiceStatus, Option<BusinessInstant>)>> {
    let rows: Vec<(String, Option<i64>)> = sqlx::query_as(
        "SELECT status, MIN(due_since_ms) FROM invoices
         WHERE chain_id = $1 AND subscription_id <> $2 AND (total > 0 OR EXISTS (
             SELECT 1 FROM invoice_lines WHERE invoice_id = invoices.id AND credit > 0))
         GROUP BY status",
    )
    .bind(chain.to_string())
    .bind(but.map(|but| but.to_string()).unwrap_or_default())
    .fetch_all(connection)
    .await?;
    let rows = rows.into_iter().map(|(status, due_since_ms)| {
        let due_since = due_since_ms.map(BusinessInstant::from_unix_ms);
        Ok((InvoiceStatus::named(&status)?, due_since))
    });
    rows.collect()
}

/// How many invoices with this status there are.
pub(super) async fn count(connection: &mut Connection, status: InvoiceStatus) -> Result<i64> {
    let count = sqlx::query_scalar("SELECT COUNT(*) FROM invoices WHERE status = $1")
        .bind(status.name())
        .fetch_one(connection)
        .await?;
    Ok(count)
}

/// Invoices, the newest first; an empty customer, subscription or status stands for any.
pub(super) async fn list(
    connection: &mut Connection,
    slice: &Slice,
    customer: &str,
    subscription: &str,
    status: &str,
) -> Result<Vec<Invoice>> {
    let filters = [
        ("customer_id", customer),
        ("subscription_id", subscription),
        ("status", status),
    ];
    let rows: Vec<Row> = database::list(connection, "invoices", slice, &filters).await?;
    rows.into_iter().map(Invoice::try_from).collect()
}

/// The oldest invoice of a subscription that could not be collected, if there is one.
///
/// # Errors
/// When the database refuses.
pub async fn overdue(
    connection: &mut Connection,
    subscription: SubscriptionId,
) -> Result<Option<Invoice>> {
    let select = "SELECT * FROM invoices WHERE subscription_id = $1 AND status = 'failed'
         ORDER BY id LIMIT 1";
    let row: Option<Row> = sqlx::query_as(select)
        .bind(subscription.to_string())
        .fetch_optional(connection)
        .await?;
    row.map(Invoice::try_from).transpose()
}

/// Invoices that Stripe may still say something new of, the longest unchanged first.
///
/// # Errors
/// When the database refuses.
pub async fn unsettled(
    connection: &mut Connection,
    after: &str,
    limit: i64,
) -> Result<Vec<Invoice>> {
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT * FROM invoices
         WHERE id > $1 AND stripe_id IS NOT NULL
             AND status IN ('pushing', 'open', 'failed', 'uncollectible')
         ORDER BY id LIMIT $2",
    )
    .bind(after)
    .bind(limit)
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(Invoice::try_from).collect()
}

/// Invoices issued at `since` or later that nobody has tried to collect yet.
///
/// # Errors
/// When the database refuses.
pub async fn count_issued_since(
    connection: &mut Connection,
    since: BusinessInstant,
) -> Result<u64> {
    let count: i64 = sqlx::query_scalar(
        "SELECT COUNT(*) FROM invoices WHERE status = 'open' AND finalized_at_ms >= $1",
    )
    .bind(since.unix_ms())
    .fetch_one(connection)
    .await?;
    u64::try_from(count).map_err(Error::internal)
}
