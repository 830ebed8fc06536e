//! Invoices in Stripe: drafted, filled, issued, paid.

use stripe_billing::invoice::{
    AddLinesInvoice, AddLinesInvoiceLines, CreateInvoice, CreateInvoiceAutomaticTax,
    CreateInvoicePendingInvoiceItemsBehavior, DeleteInvoice, FinalizeInvoiceInvoice, ListInvoice,
    PayInvoice, Period, RetrieveInvoice, VoidInvoiceInvoice,
};
use stripe_shared::{InvoiceCollectionMethod, InvoiceStatus};

use super::answers::{StripeInvoice, StripeInvoiceStatus, metadata};
use super::{PAGE, Result, Stripe};
use crate::catalog::currency::Currency;
use crate::clock::BusinessInstant;

/// A draft to make.
#[derive(Clone, Debug)]
pub struct NewStripeInvoice<'a> {
    /// Our id: in its metadata, and what it is looked for by.
    pub id: &'a str,
    /// Stripe's id of who pays.
    pub customer: &'a str,
    /// Of every line.
    pub currency: Currency,
}

/// A line to add to a draft.
#[derive(Clone, Debug)]
pub struct NewStripeLine {
    /// Our name for it, in its metadata.
    pub identity: String,
    /// For the customer to read.
    pub description: String,
    /// In minor units, net of discounts and credits; never negative.
    pub amount: i64,
    /// What it is for: first instant, and first instant after it.
    pub period: (BusinessInstant, BusinessInstant),
    /// What it was made of.
    pub metadata: Vec<(String, String)>,
}

/// Who sees to it that an issued invoice is paid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Collection {
    /// Stripe, with its own retries and reminders.
    ByStripe,
    /// Whoever finalizes it, by paying it.
    ByUs,
}

impl Stripe {
    /// Makes a draft without lines, tax or anything that lay about for the customer.
    ///
    /// # Errors
    /// When Stripe did not do it, or nobody knows.
    pub async fn create_invoice(
        &self,
        key: &str,
        new: &NewStripeInvoice<'_>,
    ) -> Result<StripeInvoice> {
        if self.doubt(key).await?.is_some() {
            let theirs = self.list_invoices(new.customer).await?;
            let ours = theirs.into_iter().find(|invoice| {
                invoice
                    .metadata
                    .get(metadata::INVOICE)
                    .is_some_and(|id| id == new.id)
            });
            match ours {
                Some(found) => return Ok(found),
                None => self.begin_anew(key).await?,
            }
        }
        let request = CreateInvoice::new()
            .customer(new.customer)
            .currency(stripe_currency(new.currency))
            .auto_advance(false)
            .collection_method(InvoiceCollectionMethod::ChargeAutomatically)
            .pending_invoice_items_behavior(CreateInvoicePendingInvoiceItemsBehavior::Exclude)
            .automatic_tax(CreateInvoiceAutomaticTax::new(false))
            .metadata([(metadata::INVOICE.to_owned(), new.id.to_owned())]);
        self.post("invoices.create", key, &request).await
    }

    /// Adds lines to a draft, 250 at most, all or none.
    ///
    /// # Errors
    /// When Stripe did not do it, or nobody knows.
    pub async fn add_lines(
        &self,
        key: &str,
        invoice: &str,
        lines: &[NewStripeLine],
    ) -> Result<StripeInvoice> {
        if self.doubt(key).await?.is_some() {
            let found = self.get_invoice(invoice).await?;
            if found.line_count > 0 {
                return Ok(found);
            }
            self.begin_anew(key).await?;
        }
        let lines: Vec<_> = lines.iter().map(line).collect();
        let request = AddLinesInvoice::new(invoice, lines);
        self.post("invoices.add_lines", key, &request).await
    }

    /// Issues a draft.
    ///
    /// # Errors
    /// When Stripe did not do it, or nobody knows.
    pub async fn finalize_invoice(
        &self,
        key: &str,
        invoice: &str,
        collection: Collection,
    ) -> Result<StripeInvoice> {
        if self.doubt(key).await?.is_some() {
            let found = self.get_invoice(invoice).await?;
            if found.status != StripeInvoiceStatus::Draft {
                return Ok(found);
            }
            self.begin_anew(key).await?;
        }
        let request =
            FinalizeInvoiceInvoice::new(invoice).auto_advance(collection == Collection::ByStripe);
        self.post("invoices.finalize", key, &request).await
    }

    /// Has the customer's default payment method pay an open invoice now.
    ///
    /// # Errors
    /// When Stripe did not do it, or nobody knows; [`super::StripeError::is_declined`] when the
    /// bank refused.
    pub async fn pay_invoice(&self, key: &str, invoice: &str) -> Result<StripeInvoice> {
        if self.doubt(key).await?.is_some() {
            let found = self.get_invoice(invoice).await?;
            if found.status != StripeInvoiceStatus::Open {
                return Ok(found);
            }
            self.begin_anew(key).await?;
        }
        let request = PayInvoice::new(invoice);
        self.post("invoices.pay", key, &request).await
    }

    /// Takes an issued invoice back that is not paid.
    ///
    /// # Errors
    /// When Stripe did not do it, or nobody knows.
    pub async fn void_invoice(&self, key: &str, invoice: &str) -> Result<StripeInvoice> {
        if self.doubt(key).await?.is_some() {
            let found = self.get_invoice(invoice).await?;
            if found.status == StripeInvoiceStatus::Void {
                return Ok(found);
            }
            self.begin_anew(key).await?;
        }
        let request = VoidInvoiceInvoice::new(invoice);
        self.post("invoices.void", key, &request).await
    }

    /// Removes a draft.
    ///
    /// # Errors
    /// When Stripe did not do it, or nobody knows.
    pub async fn delete_draft(&self, invoice: &str) -> Result<()> {
        let request = DeleteInvoice::new(invoice);
        self.delete("invoices.delete", &request).await
    }

    /// An invoice as it is now.
    ///
    /// # Errors
    /// When Stripe does not tell.
    pub async fn get_invoice(&self, invoice: &str) -> Result<StripeInvoice> {
        let request = RetrieveInvoice::new(invoice);
        self.get("invoices.get", &request).await
    }

    /// All invoices of a customer, the newest first.
    ///
    /// # Errors
    /// When Stripe does not tell.
    pub async fn list_invoices(&self, customer: &str) -> Result<Vec<StripeInvoice>> {
        let page = |after: Option<&str>| {
            let request = ListInvoice::new().customer(customer).limit(PAGE);
            match after {
                Some(after) => request.starting_after(after),
                None => request,
            }
        };
        self.list("invoices.list", |invoice: &StripeInvoice| &invoice.id, page)
            .await
    }

    /// All invoices that are issued and not paid, the newest first.
    ///
    /// # Errors
    /// When Stripe does not tell.
    pub async fn list_open_invoices(&self) -> Result<Vec<StripeInvoice>> {
        let page = |after: Option<&str>| {
            let request = ListInvoice::new().status(InvoiceStatus::Open).limit(PAGE);
            match after {
                Some(after) => request.starting_after(after),
                None => request,
            }
        };
        self.list("invoices.list", |invoice: &StripeInvoice| &invoice.id, page)
            .await
    }
}

fn line(new: &NewStripeLine) -> AddLinesInvoiceLines {
    let mut line = AddLinesInvoiceLines::new();
    line.amount = Some(new.amount);
    line.description = Some(new.description.clone());
    let (start, end) = new.period;
    line.period = Some(Period {
        start: start.timestamp().as_second(),
        end: end.timestamp().as_second(),
    });
    let identity = (metadata::LINE.to_owned(), new.identity.clone());
    line.metadata = Some(new.metadata.iter().cloned().chain([identity]).collect());
    line
}

/// The same currency in Stripe's words.
pub(super) fn stripe_currency(currency: Currency) -> stripe_types::Currency {
    let code = currency.to_string().to_lowercase();
    // A code that its crate does not know is kept as it is.
    let Ok(currency) = code.parse::<stripe_types::Currency>();
    currency
}
