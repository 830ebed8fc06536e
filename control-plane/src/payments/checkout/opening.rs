//! Opening a Checkout and looking at it: what the customer's browser does.

use super::completion::look_up;
use super::{
    Attempt, Checkout, CheckoutStatus, ClaimToken, Holder, OPENINGS_MAX, Progress, required, store,
};
use crate::app::App;
use crate::customers;
use crate::error::{Error, Result};
use crate::ids::CheckoutAttemptId;
use crate::invoicing;
use crate::payments::ensure_customer;
use crate::payments::stripe::NewStripeCheckout;

/// A Checkout that was opened.
#[derive(Clone, Debug)]
pub struct Opened {
    /// Stripe's page.
    pub url: String,
    /// What claims the key when this opening is the one that completes the Checkout.
    pub token: ClaimToken,
}

/// Opens a Checkout: makes a Stripe session and a token for it. Nothing once it is completed.
///
/// # Errors
/// When it is over, or Stripe does not do it.
pub async fn open(app: &App, id: &str) -> Result<Option<Opened>> {
    let stripe = app.stripe()?;
    let (checkout, customer) = {
        let mut reader = app.database.read().await?;
        let checkout = required(&mut reader, id).await?;
        let customer = customers::find(&mut reader, &checkout.customer.to_string()).await?;
        let missing = || Error::internal(anyhow::anyhow!("a Checkout without its customer"));
        (checkout, customer.ok_or_else(missing)?)
    };
    match checkout.status(app.clock.machine_now()) {
        CheckoutStatus::Open => {}
        CheckoutStatus::Completed | CheckoutStatus::Failed => return Ok(None),
        CheckoutStatus::Expired => {
            let detail = "This Checkout has expired. Ask for a new link.";
            return Err(Error::conflict("checkout_session_expired", detail));
        }
    }
    let payer = ensure_customer(app, &customer).await?;
    let token = ClaimToken::generate();
    let attempt = begin(app, &checkout, &token).await?;
    let page = checkout.url(app);
    let new = NewStripeCheckout {
        id: &attempt.to_string(),
        reference: &checkout.id.to_string(),
        customer: &payer,
        currency: checkout.currency,
        success_url: &format!("{page}/success"),
        cancel_url: &format!("{page}/cancel"),
    };
    let key = format!("{attempt}:create:1");
    let session = stripe.create_checkout_session(&key, &new).await?;
    let mut tx = app.database.begin_write().await?;
    store::set_stripe_id(&mut tx, attempt, &session.id).await?;
    tx.commit().await?;
    let url = session.url.ok_or_else(|| {
        Error::internal(anyhow::anyhow!(
            "Stripe's session {} has no page",
            session.id
        ))
    })?;
    Ok(Some(Opened { url, token }))
}

/// Writes an opening down before Stripe hears of it, so that whatever it completes is known.
async fn begin(app: &App, checkout: &Checkout, token: &ClaimToken) -> Result<CheckoutAttemptId> {
    let now = app.clock.machine_now();
    let attempt = Attempt {
        id: CheckoutAttemptId::generate(now),
        checkout: checkout.id,
        holder: Holder::Customer,
        stripe_id: None,
        completed: false,
    };
    let mut tx = app.database.begin_write().await?;
    if store::attempts(&mut tx, checkout.id).await?.len() >= OPENINGS_MAX {
        let detail = "This Checkout was opened too often. Ask for a new link.";
        return Err(Error::conflict("checkout_session_worn_out", detail));
    }
    store::insert_attempt(&mut tx, &attempt, token, now).await?;
    tx.commit().await?;
    Ok(attempt.id)
}

/// A Checkout as it is now: one that is open is looked up in Stripe.
///
/// # Errors
/// 404 when there is none. What Stripe does not tell leaves it open.
pub async fn look(app: &App, id: &str) -> Result<Checkout> {
    let checkout = required(&mut *app.database.read().await?, id).await?;
    if checkout.progress != Progress::Open {
        return Ok(checkout);
    }
    if app
        .look_ups
        .take(checkout.id, app.clock.machine_now())
        .is_err()
    {
        // Whoever reloads all the time sees what the webhook brings.
        return Ok(checkout);
    }
    if let Err(error) = look_up(app, checkout.id).await {
        tracing::warn!(%error, checkout = %checkout.id, "could not look a Checkout up");
    }
    required(&mut *app.database.read().await?, id).await
}

/// Where the customer can pay what could not be collected at once, if anything: the bank may want to
/// ask in person.
///
/// # Errors
/// When the database refuses.
pub async fn payment_page(app: &App, checkout: &Checkout) -> Result<Option<String>> {
    let Progress::Completed(subscription) = checkout.progress else {
        return Ok(None);
    };
    let overdue = invoicing::overdue(&mut *app.database.read().await?, subscription).await?;
    Ok(overdue.and_then(|invoice| invoice.hosted_url))
}
