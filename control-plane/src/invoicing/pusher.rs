//! Brings invoices to Stripe, step by step: drafted, filled, compared, issued and, where somebody
//! waits, paid. What was done is noted after each step, and a step that is done again under its key
//! changes nothing, so that it goes on from wherever it was broken off.

use std::collections::BTreeMap;

use anyhow::{Context, ensure};

use super::assembly::plain;
use super::issuing::{INVOICE, ToPush};
use super::{Invoice, InvoiceKind, InvoiceStatus, Line, Step, state, store};
use crate::app::App;
use crate::database::Write;
use crate::error::{Error, Result};
use crate::ids::InvoiceId;
use crate::money::{Minor, Money};
use crate::outbox::{self, Consumer, Message, Topic};
use crate::payments::stripe::{
    Collection, NewStripeInvoice, NewStripeLine, Stripe, StripeError, StripeInvoice,
    StripeInvoiceStatus, metadata,
};
use crate::{customers, payments};

/// Most lines of an invoice in Stripe.
const LINES_MAX: usize = 250;
/// The greatest amount of a line in Stripe: 8 digits.
const LINE_AMOUNT_MAX: i64 = 99_999_999;

/// Brings invoices to Stripe.
#[derive(Clone, Debug)]
pub struct Pusher {
    pub(super) app: App,
}

impl Pusher {
    /// The consumer of the application's new invoices.
    #[must_use]
    pub fn new(app: App) -> Self {
        Self { app }
    }

    async fn load(&self, id: InvoiceId) -> anyhow::Result<Option<Invoice>> {
        Ok(store::find(&mut *self.app.database.read().await?, id).await?)
    }

    /// Does the next step of an invoice.
    async fn step(&self, stripe: &Stripe, invoice: &Invoice) -> anyhow::Result<()> {
        match invoice.step {
            Step::Create => self.create(stripe, invoice).await,
            Step::Lines => self.fill(stripe, invoice).await,
            Step::Finalize => self.finalize(stripe, invoice).await,
            Step::Pay => self.pay(stripe, invoice).await,
            Step::Void => self.void(stripe, invoice).await,
            Step::Done => Ok(()),
        }
    }

    async fn create(&self, stripe: &Stripe, invoice: &Invoice) -> anyhow::Result<()> {
        let id = invoice.id.to_string();
        let customer = {
            let mut reader = self.app.database.read().await?;
            customers::find(&mut reader, &invoice.customer.to_string()).await?
        };
        let customer = customer.context("an invoice of nobody")?;
        let customer = match payments::ensure_customer(&self.app, &customer).await {
            Ok(customer) => customer,
            Err(error) => {
                self.refused(invoice, error.to_string()).await?;
                return Err(error.into());
            }
        };
        let earlier = match invoice.attempt {
            1 => None,
            _ => listed(stripe, &customer, invoice).await?,
        };
        let theirs = match earlier {
            Some(theirs) => theirs,
            None => {
                let new = NewStripeInvoice {
                    id: &id,
                    customer: &customer,
                    currency: invoice.currency,
                };
                let outcome = stripe.create_invoice(&key(invoice, "create"), &new).await;
                self.or_refused(invoice, outcome).await?
            }
        };
        ensure!(
            stripe.mode().fits(theirs.livemode),
            "Stripe's invoice {} is of the other mode",
            theirs.id
        );
        self.note(invoice, &theirs, Step::Lines).await
    }

    /// Adds the lines, and goes on only if Stripe's sum is ours.
    async fn fill(&self, stripe: &Stripe, invoice: &Invoice) -> anyhow::Result<()> {
        let stripe_id = stripe_id(invoice)?;
        let earlier = match invoice.attempt {
            1 => None,
            _ => Some(stripe.get_invoice(stripe_id).await?).filter(|it| it.line_count > 0),
        };
        let theirs = match earlier {
            Some(theirs) => theirs,
            None => {
                let lines = store::lines(&mut *self.app.database.read().await?, invoice.id).await?;
                let lines = stripe_lines(invoice, lines);
                let outcome = stripe
                    .add_lines(&key(invoice, "lines"), stripe_id, &lines)
                    .await;
                self.or_refused(invoice, outcome).await?
            }
        };
        if theirs.subtotal != invoice.total.get() {
            let (ours, theirs) = (invoice.total.get(), theirs.subtotal);
            let failure = format!("stopped: Stripe's subtotal is {theirs}, ours {ours}");
            tracing::error!(invoice = %invoice.id, failure, "the invoice is not issued");
            metrics::counter!("tollgate_invoices_stopped_total").increment(1);
            return self.refused(invoice, failure).await;
        }
        self.note(invoice, &theirs, Step::Finalize).await
    }

    async fn finalize(&self, stripe: &Stripe, invoice: &Invoice) -> anyhow::Result<()> {
        let stripe_id = stripe_id(invoice)?;
        let earlier = match invoice.attempt {
            1 => None,
            _ => Some(stripe.get_invoice(stripe_id).await?)
                .filter(|it| it.status != StripeInvoiceStatus::Draft),
        };
        let theirs = match earlier {
            Some(theirs) => theirs,
            None => {
                let (key, collection) = (key(invoice, "finalize"), Collection::ByStripe);
                let outcome = stripe.finalize_invoice(&key, stripe_id, collection).await;
                self.or_refused(invoice, outcome).await?
            }
        };
        let step = match (invoice.kind, &theirs.status) {
            // Somebody waits for it.
            (InvoiceKind::First | InvoiceKind::Change, StripeInvoiceStatus::Open) => Step::Pay,
            _ => Step::Done,
        };
        self.note(invoice, &theirs, step).await
    }

    async fn pay(&self, stripe: &Stripe, invoice: &Invoice) -> anyhow::Result<()> {
        let stripe_id = stripe_id(invoice)?;
        if invoice.attempt > 1 {
            let theirs = stripe.get_invoice(stripe_id).await?;
            if theirs.status == StripeInvoiceStatus::Paid {
                return self.note(invoice, &theirs, Step::Done).await;
            }
        }
        let outcome = stripe.pay_invoice(&key(invoice, "pay"), stripe_id).await;
        let error = match outcome {
            Ok(theirs) => return self.note(invoice, &theirs, Step::Done).await,
            Err(error) => error,
        };
        if error.refusal().is_none() {
            return Err(error.into());
        }
        // Stripe may have collected it by itself meanwhile.
        let mut theirs = stripe.get_invoice(stripe_id).await?;
        if theirs.status == StripeInvoiceStatus::Open && !error.is_declined() {
            return self.or_refused(invoice, Err(error)).await;
        }
        theirs.attempted |= error.is_declined();
        self.note(invoice, &theirs, Step::Done).await
    }

    /// Notes what Stripe said and that the next step is `step`, unless somebody wished for another one
    /// meanwhile.
    pub(super) async fn note(
        &self,
        invoice: &Invoice,
        theirs: &StripeInvoice,
        step: Step,
    ) -> anyhow::Result<()> {
        let mut tx = self.app.database.begin_write().await?;
        // A webhook may have told more of it meanwhile.
        let current = store::find(&mut tx, invoice.id).await?;
        let current = current.context("the invoice is gone")?;
        let is_wished_otherwise = current.step != invoice.step;
        let (step, attempt) = match step {
            _ if is_wished_otherwise => (current.step, current.attempt),
            // Later attempts to pay go on counting.
            Step::Done => (step, invoice.attempt),
            _ => (step, 1),
        };
        let current = Invoice {
            step,
            attempt,
            failure: None,
            ..current
        };
        store::update(&mut tx, &current).await?;
        state::take_in(&self.app, &mut tx, current, theirs).await?;
        Ok(tx.commit().await?)
    }

    /// The answer; a refusal is noted, and the next try is another attempt, since Stripe would only
    /// repeat itself.
    pub(super) async fn or_refused<T>(
        &self,
        invoice: &Invoice,
        outcome: Result<T, StripeError>,
    ) -> anyhow::Result<T> {
        let error = match outcome {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        let is_final = error
            .refusal()
            .is_some_and(|refusal| !matches!(refusal.status, 409 | 429));
        if is_final {
            self.refused(invoice, error.to_string()).await?;
        }
        Err(error.into())
    }

    async fn refused(&self, invoice: &Invoice, failure: String) -> anyhow::Result<()> {
        let mut tx = self.app.database.begin_write().await?;
        let current = store::find(&mut tx, invoice.id).await?;
        let current = current.context("the invoice is gone")?;
        let after = Invoice {
            attempt: invoice.attempt + 1,
            failure: Some(failure),
            ..current
        };
        store::update(&mut tx, &after).await?;
        Ok(tx.commit().await?)
    }
}

impl Consumer for Pusher {
    const TOPIC: Topic = INVOICE;
    const JOB: &'static str = "invoices";
    const AT_ONCE: usize = 8;

    async fn is_ready(&self) -> bool {
        self.app.stripe.is_some()
    }

    async fn deliver(&self, message: &Message) -> anyhow::Result<()> {
        let word: ToPush = message.payload()?;
        let stripe = self.app.stripe()?;
        let mut before = None;
        // Until it is done, or a step stopped where it was.
        while let Some(invoice) = self.load(word.invoice).await?
            && invoice.step != Step::Done
            && before != Some(invoice.step)
        {
            self.step(stripe, &invoice).await?;
            before = Some(invoice.step);
        }
        Ok(())
    }
}

/// Has an invoice brought to Stripe from where it stopped, or paid again.
///
/// # Errors
/// 409 when there is nothing to try.
pub(super) async fn retry(app: &App, tx: &mut Write, invoice: Invoice) -> Result<Invoice> {
    app.stripe()?;
    check_unsettled(&invoice)?;
    if invoice.step == Step::Void {
        let detail = "The invoice is being taken back.";
        return Err(Error::conflict("invoice_voiding", detail));
    }
    let step = match invoice.status {
        InvoiceStatus::Draft | InvoiceStatus::Pushing => invoice.step,
        InvoiceStatus::Open | InvoiceStatus::Failed | InvoiceStatus::Uncollectible => Step::Pay,
        InvoiceStatus::Paid | InvoiceStatus::Void => Step::Done,
    };
    wish(app, tx, invoice, step).await
}

/// Has a step of an invoice done, as another attempt.
pub(super) async fn wish(
    app: &App,
    tx: &mut Write,
    invoice: Invoice,
    step: Step,
) -> Result<Invoice> {
    let invoice = Invoice {
        step,
        attempt: invoice.attempt + 1,
        ..invoice
    };
    store::update(tx, &invoice).await?;
    let word = ToPush {
        invoice: invoice.id,
    };
    let now = app.clock.machine_now();
    outbox::enqueue(tx, INVOICE, &invoice.id.to_string(), &word, now).await?;
    Ok(invoice)
}

/// Refuses an invoice that is paid or was taken back.
///
/// # Errors
/// 409 then.
pub(super) fn check_unsettled(invoice: &Invoice) -> Result<()> {
    if invoice.status < InvoiceStatus::Paid {
        return Ok(());
    }
    let detail = format!("The invoice is {}.", invoice.status.name());
    Err(Error::conflict("invoice_settled", detail))
}

/// The invoice in Stripe that was made for one of ours.
pub(super) async fn listed(
    stripe: &Stripe,
    customer: &str,
    invoice: &Invoice,
) -> Result<Option<StripeInvoice>, StripeError> {
    let id = invoice.id.to_string();
    let theirs = stripe.list_invoices(customer).await?;
    let is_ours = |theirs: &StripeInvoice| theirs.metadata.get(metadata::INVOICE) == Some(&id);
    Ok(theirs.into_iter().find(is_ours))
}

/// The idempotency key of a step.
pub(super) fn key(invoice: &Invoice, step: &str) -> String {
    format!("{}:{step}:{}", invoice.id, invoice.attempt)
}

fn stripe_id(invoice: &Invoice) -> anyhow::Result<&str> {
    invoice.stripe_id.as_deref().context("no id of Stripe")
}

/// The lines as Stripe takes them: net of credits, none too great, not too many.
fn stripe_lines(invoice: &Invoice, lines: Vec<Line>) -> Vec<NewStripeLine> {
    let single: Vec<_> = lines
        .iter()
        .map(|line| stripe_line(invoice, line))
        .collect();
    let lines = match single.len() {
        0..=LINES_MAX => single,
        _ => grouped(single, &lines),
    };
    lines.into_iter().flat_map(split).collect()
}

fn stripe_line(invoice: &Invoice, line: &Line) -> NewStripeLine {
    let money = |minor: Minor| -> Money { minor.of(invoice.currency) };
    let mut description = line.description.clone();
    if let Some(unit_amount) = line.unit_amount.filter(|_| plain(line.quantity) != "1") {
        let (quantity, unit_amount) = (plain(line.quantity), plain(unit_amount));
        description = format!("{description} ({quantity} × {unit_amount})");
    }
    let mut facts = vec![("amount".to_owned(), money(line.amount).to_string())];
    if !line.discount.is_zero() {
        description = format!("{description}, less {} discount", money(line.discount));
        facts.push(("discount".to_owned(), money(line.discount).to_string()));
    }
    if !line.credit.is_zero() {
        description = format!("{description}, less {} credit", money(line.credit));
        facts.push(("credit".to_owned(), money(line.credit).to_string()));
    }
    NewStripeLine {
        identity: line.identity.clone(),
        description,
        amount: line.total().get(),
        period: (line.period.start, line.period.end),
        metadata: facts,
    }
}

/// One line per rate card.
fn grouped(single: Vec<NewStripeLine>, lines: &[Line]) -> Vec<NewStripeLine> {
    let mut groups = BTreeMap::<_, NewStripeLine>::new();
    for (single, line) in single.into_iter().zip(lines) {
        groups
            .entry((line.subscription, line.rate_card.to_string()))
            .and_modify(|group| {
                group.amount += single.amount;
                group.period.0 = group.period.0.min(single.period.0);
                group.period.1 = group.period.1.max(single.period.1);
                group.metadata.clear();
            })
            .or_insert(single);
    }
    groups.into_values().collect()
}

/// A line in parts of at most 8 digits.
fn split(line: NewStripeLine) -> impl Iterator<Item = NewStripeLine> {
    let whole = line.amount;
    let parts = (whole - 1).max(0) / LINE_AMOUNT_MAX + 1;
    (0..parts).map(move |part| NewStripeLine {
        amount: (whole - part * LINE_AMOUNT_MAX).min(LINE_AMOUNT_MAX),
        ..line.clone()
    })
}

#[cfg(test)]
mod tests;
