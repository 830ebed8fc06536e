//! Where invoices are: what Stripe says of them, and how a chain of subscriptions stands.

use super::{Invoice, InvoiceStatus, credits, schedules, store};
use crate::app::App;
use crate::clock::BusinessInstant;
use crate::database::{Connection, Write};
use crate::error::Result;
use crate::ids::{InvoiceId, SubscriptionId};
use crate::payments::grace::{FirstPayment, Standing};
use crate::payments::stripe::{StripeInvoice, StripeInvoiceStatus, metadata};
use crate::publisher;
use crate::subscriptions::{self, Loader, PaymentStatus};

/// How a chain of subscriptions stands with its invoices: by the worst of those that are not paid.
///
/// Those without an amount do not count, nor do those that were taken back.
///
/// # Errors
/// When the database refuses.
pub async fn standing(connection: &mut Connection, chain: SubscriptionId) -> Result<Standing> {
    standing_but(connection, chain, None).await
}

/// The same without the invoices of one subscription.
///
/// # Errors
/// When the database refuses.
pub async fn standing_but(
    connection: &mut Connection,
    chain: SubscriptionId,
    but: Option<SubscriptionId>,
) -> Result<Standing> {
    let mut standing = Standing {
        status: PaymentStatus::NotRequired,
        due_since: None,
        first_payment: FirstPayment::ToCome,
    };
    let mut worst = None;
    for (status, due_since) in store::statuses(connection, chain, but).await? {
        if status == InvoiceStatus::Paid {
            standing.status = PaymentStatus::Paid;
            standing.first_payment = FirstPayment::Made;
        }
        if InvoiceStatus::Paid <= status {
            continue;
        }
        worst = worst.max(Some(status));
        standing.due_since = match (standing.due_since, due_since) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
    }
    match worst {
        Some(InvoiceStatus::Draft | InvoiceStatus::Pushing | InvoiceStatus::Open) => {
            standing.status = PaymentStatus::Pending;
        }
        Some(InvoiceStatus::Failed) => standing.status = PaymentStatus::Failed,
        Some(InvoiceStatus::Uncollectible) => standing.status = PaymentStatus::Uncollectible,
        Some(InvoiceStatus::Paid | InvoiceStatus::Void) | None => {}
    }
    Ok(standing)
}

/// Takes in what Stripe says of an invoice; one that is none of ours is ignored.
///
/// It only goes forward: what is older, or says the same again, changes nothing.
///
/// # Errors
/// When the database refuses.
pub async fn apply(app: &App, tx: &mut Write, theirs: &StripeInvoice) -> Result<()> {
    let Some(invoice) = ours(tx, theirs).await? else {
        return Ok(());
    };
    take_in(app, tx, invoice, theirs).await.map(drop)
}

async fn ours(connection: &mut Connection, theirs: &StripeInvoice) -> Result<Option<Invoice>> {
    if let Some(found) = store::find_by_stripe_id(connection, &theirs.id).await? {
        return Ok(Some(found));
    }
    // It may say so before the answer that gives its id is stored.
    let id = theirs.metadata.get(metadata::INVOICE);
    let id: Option<InvoiceId> = id.and_then(|id| id.parse().ok());
    match id {
        None => Ok(None),
        Some(id) => {
            let found = store::find(connection, id).await?;
            Ok(found.filter(|invoice| invoice.stripe_id.is_none()))
        }
    }
}

/// Writes what is new, with everything that follows from it, and gives the invoice as it is then.
pub(super) async fn take_in(
    app: &App,
    tx: &mut Write,
    invoice: Invoice,
    theirs: &StripeInvoice,
) -> Result<Invoice> {
    let now = app.clock.business_now();
    let after = merged(&invoice, theirs, now);
    if after != invoice {
        write(app, tx, &invoice, &after).await?;
    }
    Ok(after)
}

/// Writes what became of an invoice, with everything that follows from it.
pub(super) async fn write(
    app: &App,
    tx: &mut Write,
    before: &Invoice,
    after: &Invoice,
) -> Result<()> {
    store::update(tx, after).await?;
    if (after.status, after.due_since) != (before.status, before.due_since) {
        publisher::chain_changed(app, tx, after.chain).await?;
        if after.status == InvoiceStatus::Paid {
            give_back(app, tx, after).await?;
        }
        subscriptions::invoice_settled(app, tx, after.subscription, after.status).await?;
    }
    Ok(())
}

/// An invoice after what Stripe said of it at `now`.
fn merged(invoice: &Invoice, theirs: &StripeInvoice, now: BusinessInstant) -> Invoice {
    let mut after = invoice.clone();
    after.stripe_id = Some(theirs.id.clone());
    after.attempts = u32::try_from(theirs.attempt_count)
        .map_or(after.attempts, |attempts| after.attempts.max(attempts));
    if theirs.status != StripeInvoiceStatus::Draft {
        after.number = theirs.number.clone().or(after.number);
        after.hosted_url = theirs.hosted_invoice_url.clone().or(after.hosted_url);
        after.finalized_at = after.finalized_at.or(Some(now));
    }
    let status = match &theirs.status {
        StripeInvoiceStatus::Draft => InvoiceStatus::Pushing,
        StripeInvoiceStatus::Open if theirs.attempted => InvoiceStatus::Failed,
        StripeInvoiceStatus::Open => InvoiceStatus::Open,
        StripeInvoiceStatus::Paid => InvoiceStatus::Paid,
        StripeInvoiceStatus::Uncollectible => InvoiceStatus::Uncollectible,
        StripeInvoiceStatus::Void => InvoiceStatus::Void,
        StripeInvoiceStatus::Other(_) => after.status,
    };
    // What is paid or void stays so.
    if after.status < InvoiceStatus::Paid && after.status < status {
        after.status = status;
    }
    match after.status {
        InvoiceStatus::Failed | InvoiceStatus::Uncollectible => {
            after.due_since = after.due_since.or(Some(now));
        }
        InvoiceStatus::Paid => after.paid_at = after.paid_at.or(Some(now)),
        InvoiceStatus::Draft
        | InvoiceStatus::Pushing
        | InvoiceStatus::Open
        | InvoiceStatus::Void => {}
    }
    after
}

/// Gives back what was left of fees that are paid only now, where another subscription has taken over.
async fn give_back(app: &App, tx: &mut Write, paid: &Invoice) -> Result<()> {
    let subscription = subscriptions::required(tx, &paid.subscription.to_string()).await?;
    let Some(end) = subscription.active_to else {
        return Ok(());
    };
    let taken_over = schedules::taken_over(tx, &[subscription.id]).await?;
    let cause = taken_over.into_iter().find(|(_, at, _)| *at == end);
    let Some((_, _, cause)) = cause else {
        return Ok(());
    };
    // Before the change is billed there is nothing to make up for.
    let billed = schedules::find(tx, cause).await?;
    if billed.is_some_and(|schedule| schedule.billed.is_some()) {
        let old = Loader::default().member(tx, subscription).await?;
        credits::issue(app, tx, &old, end, cause).await?;
    }
    Ok(())
}
