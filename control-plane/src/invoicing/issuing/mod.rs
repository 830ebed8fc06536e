//! Drafts, written: many in one transaction, each with everything that is noted with it.

mod store;

use serde::{Deserialize, Serialize};

use super::assembly::Draft;
use super::{Invoice, InvoiceStatus, Line, Step, credits, windows};
use crate::app::App;
use crate::database::Write;
use crate::error::Result;
use crate::ids::{InvoiceId, SubscriptionId};
use crate::outbox::{self, Message, Topic};
use crate::publisher;

/// Invoices to bring to Stripe.
pub(super) const INVOICE: Topic = Topic::new("invoice");

/// The word that an invoice is to be brought to Stripe.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct ToPush {
    pub(super) invoice: InvoiceId,
}

/// Writes what was rated and, but for those without lines, the invoices; then they go to Stripe.
pub(super) async fn write(app: &App, tx: &mut Write, drafts: Vec<Draft>) -> Result<Vec<Invoice>> {
    let rated: Vec<_> = drafts.iter().flat_map(|draft| &draft.rated).collect();
    windows::insert(tx, &rated).await?;
    let corrected: Vec<_> = drafts.iter().flat_map(|draft| &draft.corrected).collect();
    windows::update(tx, &corrected).await?;
    let with_lines = drafts.iter().filter(|draft| !draft.lines.is_empty());
    let invoices: Vec<_> = with_lines
        .map(|draft| (invoice(app, draft), draft.lines.as_slice()))
        .collect();
    let rows: Vec<(&Invoice, &[Line])> = invoices
        .iter()
        .map(|(invoice, lines)| (invoice, *lines))
        .collect();
    let opening = never_billed(tx, &drafts).await?;
    store::insert(tx, &rows).await?;
    let issued: Vec<_> = drafts.iter().flat_map(|draft| &draft.issued).collect();
    credits::insert(tx, &issued).await?;
    let applications = drafts.iter().flat_map(|draft| &draft.applications);
    credits::record_applications(tx, &applications.collect::<Vec<_>>()).await?;
    let invoices: Vec<_> = invoices.into_iter().map(|(invoice, _)| invoice).collect();
    for chain in opening {
        // The first invoice closes access until it is paid.
        publisher::chain_changed(app, tx, chain).await?;
    }
    let now = app.clock.machine_now();
    let words = invoices.iter().map(|invoice| {
        let id = invoice.id;
        Message::new(id.to_string(), &ToPush { invoice: id }, now)
    });
    let words: Vec<_> = words.collect::<Result<_>>()?;
    outbox::enqueue_all(tx, INVOICE, &words).await?;
    Ok(invoices)
}

fn invoice(app: &App, draft: &Draft) -> Invoice {
    let head = &draft.head;
    Invoice {
        id: InvoiceId::generate(app.clock.machine_now()),
        customer: head.customer,
        chain: head.chain,
        subscription: head.subscription,
        plan_version: head.plan_version,
        kind: head.kind,
        boundary: head.boundary,
        part: head.part,
        status: InvoiceStatus::Draft,
        currency: head.currency,
        total: draft.total(),
        step: Step::Create,
        attempt: 1,
        failure: None,
        stripe_id: None,
        number: None,
        hosted_url: None,
        attempts: 0,
        due_since: None,
        created_at: app.clock.business_now(),
        finalized_at: None,
        paid_at: None,
    }
}

/// Chains that get their first invoice: of those after it, access is what it is.
async fn never_billed(tx: &mut Write, drafts: &[Draft]) -> Result<Vec<SubscriptionId>> {
    let with_lines = drafts.iter().filter(|draft| !draft.lines.is_empty());
    let mut chains: Vec<_> = with_lines.map(|draft| draft.head.chain).collect();
    chains.sort_unstable();
    chains.dedup();
    let billed = store::billed(tx, &chains).await?;
    chains.retain(|chain| !billed.contains(chain));
    Ok(chains)
}
