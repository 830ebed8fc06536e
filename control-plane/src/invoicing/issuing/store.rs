//! New invoices and their lines in the database, many in one go.

use std::collections::HashSet;

use crate::database::Connection;
use crate::database::bulk::{self, Cell};
use crate::error::{Error, Result};
use crate::ids::{InvoiceId, SubscriptionId};
use crate::invoicing::{Invoice, Line};

/// Writes new invoices with their lines.
pub(super) async fn insert(
    connection: &mut Connection,
    invoices: &[(&Invoice, &[Line])],
) -> Result<()> {
    let heads: Vec<_> = invoices.iter().map(|(invoice, _)| head(invoice)).collect();
    bulk::insert(
        &mut *connection,
        "INSERT INTO invoices
             (id, customer_id, chain_id, subscription_id, plan_version, kind, boundary_ms, part,
              status, currency, total, step, attempt, attempts, created_at_ms)",
        &heads,
        "",
    )
    .await?;
    let lines = invoices.iter().flat_map(|(invoice, lines)| {
        let lines = (0..).zip(*lines);
        lines.map(|(position, line)| line_row(invoice.id, position, line))
    });
    let lines: Vec<_> = lines.collect();
    bulk::insert(
        connection,
        "INSERT INTO invoice_lines
             (identity, invoice_id, position, kind, subscription_id, rate_card, description,
              period_start_ms, period_end_ms, quantity, unit_amount, amount, discount, credit,
              total)",
        &lines,
        "",
    )
    .await?;
    Ok(())
}

fn head(invoice: &Invoice) -> [Cell; 15] {
    [
        invoice.id.to_string().into(),
        invoice.customer.to_string().into(),
        invoice.chain.to_string().into(),
        invoice.subscription.to_string().into(),
        i64::from(invoice.plan_version).into(),
        invoice.kind.name().into(),
        invoice.boundary.unix_ms().into(),
        invoice.part.name().into(),
        invoice.status.name().into(),
        invoice.currency.code().into(),
        invoice.total.get().into(),
        invoice.step.name().into(),
        i64::from(invoice.attempt).into(),
        i64::from(invoice.attempts).into(),
        invoice.created_at.unix_ms().into(),
    ]
}

fn line_row(invoice: InvoiceId, position: i64, line: &Line) -> [Cell; 15] {
    [
        line.identity.as_str().into(),
        invoice.to_string().into(),
        position.into(),
        line.kind.name().into(),
        line.subscription.to_string().into(),
        line.rate_card.as_str().into(),
        line.description.as_str().into(),
        line.period.start.unix_ms().into(),
        line.period.end.unix_ms().into(),
        line.quantity.to_string().into(),
        line.unit_amount.map(|amount| amount.to_string()).into(),
        line.amount.get().into(),
        line.discount.get().into(),
        line.credit.get().into(),
        line.total().get().into(),
    ]
}

/// Of these chains those with an invoice with an amount, in money or in credit, that counts for access.
pub(super) async fn billed(
    connection: &mut Connection,
    chains: &[SubscriptionId],
) -> Result<HashSet<SubscriptionId>> {
    let wanted: Vec<[Cell; 1]> = chains.iter().map(|id| [id.to_string().into()]).collect();
    let rows: Vec<(String,)> = bulk::fetch(
        connection,
        "WITH wanted (id) AS (",
        &wanted,
        // One chain after another: PostgreSQL would turn EXISTS into a join with all invoices there are.
        ") SELECT wanted.id FROM wanted WHERE (
             SELECT 1 FROM invoices JOIN subscriptions ON subscriptions.id = subscription_id
             WHERE invoices.chain_id = wanted.id AND status <> 'void' AND waits_for_payment = 0
                 AND (total > 0 OR (SELECT MAX(credit) FROM invoice_lines
                     WHERE invoice_id = invoices.id) > 0)
             LIMIT 1) = 1",
    )
    .await?;
    let ids = rows.iter().map(|(id,)| id.parse().map_err(Error::internal));
    ids.collect()
}
