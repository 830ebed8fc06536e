//! Taking invoices back that were mistakes: a draft is removed from Stripe, an issued one voided there.
//!
//! What credits paid of it is left again, and what it rated is not billed anew: whoever takes an
//! invoice back gives up what it was for.

use super::pusher::{Pusher, check_unsettled, key, listed, wish};
use super::{Invoice, InvoiceStatus, Step, state, store};
use crate::app::App;
use crate::database::Write;
use crate::error::Result;
use crate::payments;
use crate::payments::stripe::{Stripe, StripeInvoice, StripeInvoiceStatus};

/// Has an invoice taken back: at once where it never went to Stripe, else soon.
///
/// # Errors
/// 409 when it is paid or was taken back.
pub(super) async fn void(app: &App, tx: &mut Write, invoice: Invoice) -> Result<Invoice> {
    check_unsettled(&invoice)?;
    match &app.stripe {
        None => take_back(app, tx, invoice).await,
        Some(_) => wish(app, tx, invoice, Step::Void).await,
    }
}

/// Notes that an invoice was taken back, with everything that follows from it.
async fn take_back(app: &App, tx: &mut Write, invoice: Invoice) -> Result<Invoice> {
    let before = invoice.clone();
    let after = Invoice {
        status: InvoiceStatus::Void,
        step: Step::Done,
        failure: None,
        ..invoice
    };
    state::write(app, tx, &before, &after).await?;
    Ok(after)
}

impl Pusher {
    /// Takes an invoice back that may be anywhere on its way.
    pub(super) async fn void(&self, stripe: &Stripe, invoice: &Invoice) -> anyhow::Result<()> {
        let Some(theirs) = self.theirs(stripe, invoice).await? else {
            return self.take_back(invoice).await;
        };
        match theirs.status {
            StripeInvoiceStatus::Draft => {
                let outcome = stripe.delete_draft(&theirs.id).await;
                self.or_refused(invoice, outcome).await?;
                self.take_back(invoice).await
            }
            StripeInvoiceStatus::Open
            | StripeInvoiceStatus::Uncollectible
            | StripeInvoiceStatus::Other(_) => {
                let outcome = stripe.void_invoice(&key(invoice, "void"), &theirs.id).await;
                let theirs = self.or_refused(invoice, outcome).await?;
                self.note(invoice, &theirs, Step::Done).await
            }
            // Whoever paid it was first.
            StripeInvoiceStatus::Paid | StripeInvoiceStatus::Void => {
                self.note(invoice, &theirs, Step::Done).await
            }
        }
    }

    /// The invoice in Stripe, if it was ever made there.
    async fn theirs(
        &self,
        stripe: &Stripe,
        invoice: &Invoice,
    ) -> anyhow::Result<Option<StripeInvoice>> {
        if let Some(id) = &invoice.stripe_id {
            return match stripe.get_invoice(id).await {
                // A draft that was removed.
                Err(error) if error.is_missing() => Ok(None),
                found => Ok(Some(found?)),
            };
        }
        let customer = {
            let mut reader = self.app.database.read().await?;
            payments::stripe_customer(&mut reader, invoice.customer).await?
        };
        match customer {
            None => Ok(None),
            Some(customer) => Ok(listed(stripe, &customer, invoice).await?),
        }
    }

    async fn take_back(&self, invoice: &Invoice) -> anyhow::Result<()> {
        let mut tx = self.app.database.begin_write().await?;
        if let Some(current) = store::find(&mut tx, invoice.id).await?
            && current.status < InvoiceStatus::Paid
        {
            take_back(&self.app, &mut tx, current).await?;
        }
        Ok(tx.commit().await?)
    }
}
