//! Handles events: reads again what they are about, and does what follows, once for all of them.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::task::JoinSet;

use super::{Envelope, Event, EventStatus, store};
use crate::app::App;
use crate::error::{Error, Result};
use crate::invoicing;
use crate::jobs::{Claim, Job};
use crate::payments::stripe::StripeInvoice;
use crate::payments::{Prefer, checkout, note_method, settle_default, store as payments};
use crate::publisher;

/// Events looked at in one round.
const EVENTS_PER_ROUND: i64 = 50;
/// Objects read from Stripe at the same time.
const OBJECTS_AT_ONCE: usize = 8;
/// Failures after which a person has to look: nine hours of them.
const ATTEMPTS_MAX: u32 = 20;
/// Wait before the second attempt, doubled each time up to the longest.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(3_600);

/// The types of events that are handled.
const HANDLED: [(&str, Family); 20] = [
    ("checkout.session.completed", Family::Checkout),
    ("checkout.session.async_payment_succeeded", Family::Checkout),
    ("checkout.session.async_payment_failed", Family::Checkout),
    ("checkout.session.expired", Family::Checkout),
    ("customer.updated", Family::Customer),
    ("customer.deleted", Family::Customer),
    ("setup_intent.succeeded", Family::Method),
    ("setup_intent.setup_failed", Family::Method),
    ("payment_method.attached", Family::Method),
    ("payment_method.detached", Family::Method),
    ("payment_method.updated", Family::Method),
    ("payment_method.automatically_updated", Family::Method),
    ("invoice.finalized", Family::Invoice),
    ("invoice.finalization_failed", Family::Invoice),
    ("invoice.paid", Family::Invoice),
    ("invoice.payment_failed", Family::Invoice),
    ("invoice.payment_action_required", Family::Invoice),
    ("invoice.voided", Family::Invoice),
    ("invoice.marked_uncollectible", Family::Invoice),
    ("invoice.overdue", Family::Invoice),
];

/// The types of events that something here depends on.
pub fn handled() -> impl Iterator<Item = &'static str> {
    HANDLED.iter().map(|(kind, _)| *kind)
}

/// Whether anything here depends on events of this type.
pub(super) fn concerns(kind: &str) -> bool {
    Subject::family(kind).is_some()
}

/// What events are about: those about one subject are handled together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Subject {
    Checkout(String),
    Customer(String),
    Invoice(String),
    /// A payment method that is nobody's any more.
    LostMethod(String),
    Nothing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    Checkout,
    Customer,
    Invoice,
    Method,
}

impl Subject {
    fn family(kind: &str) -> Option<Family> {
        let mut handled = HANDLED.iter();
        handled.find_map(|(handled, family)| (*handled == kind).then_some(*family))
    }

    fn of(kind: &str, event: &Envelope) -> Self {
        let object = event.object().to_owned();
        match Self::family(kind) {
            Some(Family::Checkout) => Self::Checkout(object),
            Some(Family::Customer) => Self::Customer(object),
            Some(Family::Invoice) => Self::Invoice(object),
            Some(Family::Method) => match event.customer() {
                Some(customer) => Self::Customer(customer.to_owned()),
                None => Self::LostMethod(object),
            },
            None => Self::Nothing,
        }
    }
}

/// Whether the customer has just given a payment method, which is then the one to use.
fn prefers(kind: &str) -> Prefer {
    match kind {
        "setup_intent.succeeded" | "payment_method.attached" => Prefer::Newest,
        _ => Prefer::Default,
    }
}

/// The job that handles Stripe's events.
#[derive(Clone, Debug)]
pub struct EventHandler {
    app: App,
}

impl EventHandler {
    /// The job, on the application's inbox.
    #[must_use]
    pub fn new(app: App) -> Self {
        Self { app }
    }

    /// Handles what is due, and says how much that was.
    async fn round(&self, claim: &Claim) -> anyhow::Result<usize> {
        let now = self.app.clock.machine_now();
        let due = store::due(&mut *self.app.database.read().await?, now, EVENTS_PER_ROUND).await?;
        let count = due.len();
        let mut subjects = BTreeMap::<Subject, Vec<Event>>::new();
        for event in due {
            let envelope: Envelope = serde_json::from_str(&event.payload)?;
            let subject = Subject::of(&event.kind, &envelope);
            subjects.entry(subject).or_default().push(event);
        }
        let mut running = JoinSet::new();
        for (subject, events) in subjects {
            if running.len() == OBJECTS_AT_ONCE
                && let Some(ended) = running.join_next().await
            {
                ended??;
            }
            let (handler, claim) = (self.clone(), claim.clone());
            running.spawn(async move { handler.handle(&claim, &subject, events).await });
        }
        while let Some(ended) = running.join_next().await {
            ended??;
        }
        Ok(count)
    }

    /// Does what follows from events about one subject, and notes how that went.
    async fn handle(
        &self,
        claim: &Claim,
        subject: &Subject,
        events: Vec<Event>,
    ) -> anyhow::Result<()> {
        let outcome = match subject {
            Subject::Checkout(session) => checkout::complete_by_stripe(&self.app, session).await,
            Subject::Customer(customer) => self.settle_customer(customer, &events).await,
            Subject::Invoice(invoice) => self.settle_invoice(claim, invoice, &events).await,
            Subject::LostMethod(method) => self.replace_method(method, &events).await,
            Subject::Nothing => Ok(()),
        };
        let mut tx = self.app.database.begin_write().await?;
        for event in events {
            store::update(&mut tx, &self.after(event, subject, &outcome)).await?;
        }
        claim.commit(tx).await?;
        Ok(())
    }

    /// The event after it was handled, or was not.
    fn after(&self, event: Event, subject: &Subject, outcome: &Result<()>) -> Event {
        let now = self.app.clock.machine_now();
        let done = match subject {
            Subject::Nothing => EventStatus::Ignored,
            Subject::Checkout(_)
            | Subject::Customer(_)
            | Subject::Invoice(_)
            | Subject::LostMethod(_) => EventStatus::Handled,
        };
        let Err(error) = outcome else {
            return Event {
                status: done,
                failure: None,
                handled_at: Some(now),
                ..event
            };
        };
        let attempts = event.attempts + 1;
        let status = match attempts < ATTEMPTS_MAX {
            true => EventStatus::Pending,
            false => EventStatus::Dead,
        };
        let (id, kind) = (&event.stripe_id, &event.kind);
        tracing::warn!(event = id, kind, attempts, %error, ?status, "could not handle an event");
        metrics::counter!("tollgate_stripe_event_failures_total").increment(1);
        Event {
            status,
            attempts,
            next_attempt: now.after(wait(attempts)),
            failure: Some(error.to_string()),
            ..event
        }
    }

    /// Takes over what Stripe knows of an invoice of ours.
    async fn settle_invoice(&self, claim: &Claim, invoice: &str, events: &[Event]) -> Result<()> {
        let stripe = self.app.stripe()?;
        let theirs = match stripe.get_invoice(invoice).await {
            Ok(theirs) => theirs,
            // A draft that was thrown away.
            Err(error) if error.is_missing() => return Ok(()),
            // What may not be read is told by the event that is newest.
            Err(error) if error.is_forbidden() => told(events)?,
            Err(error) => return Err(error.into()),
        };
        if !stripe.mode().fits(theirs.livemode) {
            return Ok(());
        }
        let mut tx = self.app.database.begin_write().await?;
        invoicing::apply(&self.app, &mut tx, &theirs).await?;
        claim.commit(tx).await.map_err(Error::unavailable)
    }

    /// Takes over what Stripe knows of a customer of ours.
    async fn settle_customer(&self, stripe_id: &str, events: &[Event]) -> Result<()> {
        let known = {
            let mut reader = self.app.database.read().await?;
            payments::by_stripe_id(&mut reader, stripe_id).await?
        };
        let Some(known) = known else {
            return Ok(());
        };
        let stripe = self.app.stripe()?;
        let customer = stripe.get_customer(stripe_id).await?;
        let now = self.app.clock.machine_now();
        if customer.deleted {
            let mut tx = self.app.database.begin_write().await?;
            payments::set_deleted(&mut tx, known.customer, now).await?;
            publisher::customer_changed(&self.app, &mut tx, known.customer).await?;
            return Ok(tx.commit().await?);
        }
        let newest = events
            .iter()
            .find(|event| prefers(&event.kind) == Prefer::Newest);
        let (prefer, act) = match (newest, events.first()) {
            (Some(event), _) => (Prefer::Newest, event),
            (None, Some(event)) => (Prefer::Default, event),
            (None, None) => return Ok(()),
        };
        let act = act.id.to_string();
        let method = settle_default(stripe, &customer, prefer, &act).await?;
        let mut tx = self.app.database.begin_write().await?;
        note_method(&self.app, &mut tx, known.customer, method.as_ref()).await?;
        Ok(tx.commit().await?)
    }

    /// Finds another payment method for the customer who lost this one.
    async fn replace_method(&self, method: &str, events: &[Event]) -> Result<()> {
        let known = {
            let mut reader = self.app.database.read().await?;
            payments::by_payment_method(&mut reader, method).await?
        };
        match known {
            Some(known) => self.settle_customer(&known.stripe_id, events).await,
            None => Ok(()),
        }
    }
}

/// The invoice as the newest of the events tells of it.
fn told(events: &[Event]) -> Result<StripeInvoice> {
    let newest = events.iter().max_by_key(|event| event.happened_at);
    let payload = newest.map_or("", |event| &event.payload);
    let event: Envelope = serde_json::from_str(payload).map_err(Error::internal)?;
    serde_json::from_value(event.data.object).map_err(Error::internal)
}

/// first × 2^(attempts − 1), up to the longest.
fn wait(attempts: u32) -> Duration {
    let doubled = FIRST_WAIT.saturating_mul(1_u32.checked_shl(attempts - 1).unwrap_or(u32::MAX));
    doubled.min(LONGEST_WAIT)
}

impl Job for EventHandler {
    fn name(&self) -> &'static str {
        "stripe-events"
    }

    /// Short, because events that another replica took in wake nobody here.
    fn interval(&self) -> Duration {
        Duration::from_millis(self.app.config.outbox.poll_ms.into())
    }

    async fn work(&self) {
        self.app.events.notified().await;
    }

    async fn run(&self, claim: &Claim) -> anyhow::Result<()> {
        if self.app.stripe.is_none() {
            return Ok(());
        }
        while self.round(claim).await? > 0 {}
        let mut reader = self.app.database.read().await?;
        let oldest = store::oldest_pending(&mut reader).await?;
        let now = self.app.clock.machine_now().unix_ms();
        let lag_ms = oldest.map_or(0, |oldest| (now - oldest.unix_ms()).max(0));
        metrics::gauge!("tollgate_stripe_event_lag_seconds").set(lag_ms as f64 / 1_000.0);
        Ok(())
    }
}
