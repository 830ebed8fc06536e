//! Compares what we have open with what Stripe has, in case a webhook was lost.

use std::collections::HashMap;
use std::time::Duration;

use super::checkout;
use super::stripe::{Stripe, StripeInvoice};
use crate::app::App;
use crate::invoicing::{self, Invoice};
use crate::jobs::{Claim, Job};

/// Invoices looked at before the database is asked for more.
const INVOICES_PER_PAGE: i64 = 100;

/// The job that repairs what a lost webhook left behind.
#[derive(Clone, Debug)]
pub struct Reconciliation {
    app: App,
}

impl Reconciliation {
    /// The job, on the application's invoices and Checkouts.
    #[must_use]
    pub fn new(app: App) -> Self {
        Self { app }
    }

    async fn compare_invoices(&self, stripe: &Stripe, claim: &Claim) -> anyhow::Result<()> {
        let mut after = String::new();
        let mut open: Option<HashMap<String, StripeInvoice>> = None;
        loop {
            let ours = {
                let mut reader = self.app.database.read().await?;
                invoicing::unsettled(&mut reader, &after, INVOICES_PER_PAGE).await?
            };
            let Some(last) = ours.last() else {
                return Ok(());
            };
            after = last.id.to_string();
            // One list tells of most of them.
            let open = match &mut open {
                Some(open) => open,
                none => none.insert(listed(stripe).await?),
            };
            for invoice in ours {
                let known = invoice.stripe_id.as_ref().and_then(|id| open.remove(id));
                if let Err(error) = self.compare(stripe, claim, &invoice, known).await {
                    let error = format!("{error:#}");
                    tracing::warn!(invoice = %invoice.id, error, "could not compare an invoice");
                }
            }
        }
    }

    async fn compare(
        &self,
        stripe: &Stripe,
        claim: &Claim,
        ours: &Invoice,
        known: Option<StripeInvoice>,
    ) -> anyhow::Result<()> {
        let theirs = match (known, &ours.stripe_id) {
            (Some(known), _) => known,
            (None, Some(id)) => stripe.get_invoice(id).await?,
            (None, None) => return Ok(()),
        };
        let mut tx = self.app.database.begin_write().await?;
        invoicing::apply(&self.app, &mut tx, &theirs).await?;
        Ok(claim.commit(tx).await?)
    }
}

async fn listed(stripe: &Stripe) -> anyhow::Result<HashMap<String, StripeInvoice>> {
    let open = stripe.list_open_invoices().await?.into_iter();
    Ok(open.map(|invoice| (invoice.id.clone(), invoice)).collect())
}

impl Job for Reconciliation {
    fn name(&self) -> &'static str {
        "stripe-reconciliation"
    }

    fn interval(&self) -> Duration {
        Duration::from_secs(self.app.config.stripe.reconcile_seconds.into())
    }

    async fn run(&self, claim: &Claim) -> anyhow::Result<()> {
        let Some(stripe) = &self.app.stripe else {
            return Ok(());
        };
        self.compare_invoices(stripe, claim).await?;
        Ok(checkout::look_up_open(&self.app).await?)
    }
}
