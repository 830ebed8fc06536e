//! What happens once a customer has given a payment method: exactly once, whoever tells of it.

use std::time::Duration;

use super::{Attempt, Checkout, OPEN_FOR, Progress, store};
use crate::app::App;
use crate::customers;
use crate::database::Write;
use crate::error::{Error, Result};
use crate::ids::{CheckoutAttemptId, CheckoutId};
use crate::payments::stripe::{StripeCheckoutSession, StripePaymentMethod, metadata};
use crate::payments::{Prefer, Stripe, customer_of, note_method, settle_default};
use crate::subscriptions::{self, Order};

/// How long after the last opening Stripe may still complete it.
const STRIPE_SESSION_LASTS: Duration = Duration::from_secs(24 * 3_600);
/// Openings that are looked up at once, the newest.
const LOOK_UPS_MAX: usize = 5;

/// Completes the Checkout that one of Stripe's sessions belongs to, if it is ours and complete.
///
/// # Errors
/// When Stripe or the database does not answer, so that it is to be tried again.
pub async fn complete_by_stripe(app: &App, stripe_session: &str) -> Result<()> {
    let stripe = app.stripe()?;
    let session = stripe.get_checkout_session(stripe_session).await?;
    let ours = session.metadata.get(metadata::CHECKOUT);
    let Some(attempt) = ours.and_then(|id| id.parse::<CheckoutAttemptId>().ok()) else {
        return Ok(());
    };
    let attempt = store::attempt(&mut *app.database.read().await?, attempt).await?;
    match attempt {
        Some(attempt) => complete(app, stripe, &attempt, &session).await,
        None => Ok(()),
    }
}

/// Looks up every open Checkout that was opened, in case a webhook was lost.
///
/// # Errors
/// When the database does not answer.
pub async fn look_up_open(app: &App) -> Result<()> {
    let now = app.clock.machine_now();
    let since = now.before(OPEN_FOR + STRIPE_SESSION_LASTS);
    let opened = store::opened(&mut *app.database.read().await?, since).await?;
    for checkout in opened {
        if let Err(error) = look_up(app, checkout).await {
            tracing::warn!(%error, %checkout, "could not look a Checkout up");
        }
    }
    Ok(())
}

/// Asks Stripe whether any opening of a Checkout is complete, and then completes it.
pub(super) async fn look_up(app: &App, checkout: CheckoutId) -> Result<()> {
    let stripe = app.stripe()?;
    let attempts = store::attempts(&mut *app.database.read().await?, checkout).await?;
    let mut asked = 0;
    for attempt in &attempts {
        let Some(stripe_id) = &attempt.stripe_id else {
            continue;
        };
        if asked == LOOK_UPS_MAX {
            break;
        }
        asked += 1;
        let session = stripe.get_checkout_session(stripe_id).await?;
        if session.is_complete() {
            return complete(app, stripe, attempt, &session).await;
        }
    }
    Ok(())
}

async fn complete(
    app: &App,
    stripe: &Stripe,
    attempt: &Attempt,
    session: &StripeCheckoutSession,
) -> Result<()> {
    let checkout = find(app, attempt.checkout).await?;
    if !session.is_complete() || checkout.progress != Progress::Open {
        return Ok(());
    }
    check_ours(app, stripe, &checkout, attempt, session).await?;
    let payer = session.customer.as_deref().unwrap_or_default();
    let payer = stripe.get_customer(payer).await?;
    let act = attempt.id.to_string();
    let method = settle_default(stripe, &payer, Prefer::Newest, &act).await?;
    let Some(method) = method else {
        let reason = format!(
            "{} is complete, but nobody has a payment method",
            session.id
        );
        return Err(Error::unavailable(anyhow::anyhow!(reason)));
    };
    match subscribe(app, attempt, &checkout, session, &method).await {
        Err(error) if error.is_refusal() => fail(app, &checkout, &method, &error).await,
        other => other,
    }
}

async fn find(app: &App, id: CheckoutId) -> Result<Checkout> {
    let found = store::find(&mut *app.database.read().await?, id).await?;
    found.ok_or_else(|| Error::internal(anyhow::anyhow!("an opening without its Checkout")))
}

/// Refuses a session that is not what we asked for: of the other mode, or of another customer.
async fn check_ours(
    app: &App,
    stripe: &Stripe,
    checkout: &Checkout,
    attempt: &Attempt,
    session: &StripeCheckoutSession,
) -> Result<()> {
    let payer = customer_of(&mut *app.database.read().await?, checkout.customer).await?;
    let payer = payer.map(|payer| payer.stripe_id);
    let fits = stripe.mode().fits(session.livemode)
        && session.mode == "setup"
        && payer.is_some()
        && session.customer == payer
        && attempt
            .stripe_id
            .as_ref()
            .is_none_or(|id| *id == session.id);
    if fits {
        return Ok(());
    }
    let reason = format!(
        "Stripe's session {} is not the one of {}",
        session.id, attempt.id
    );
    Err(Error::internal(anyhow::anyhow!(reason)))
}

/// Subscribes the customer, unless another opening was first.
async fn subscribe(
    app: &App,
    attempt: &Attempt,
    checkout: &Checkout,
    session: &StripeCheckoutSession,
    method: &StripePaymentMethod,
) -> Result<()> {
    let mut tx = app.database.begin_write().await?;
    if !still_open(&mut tx, checkout).await? {
        return Ok(());
    }
    note_method(app, &mut tx, checkout.customer, Some(method)).await?;
    let customer = customers::find(&mut tx, &checkout.customer.to_string()).await?;
    let missing = || Error::internal(anyhow::anyhow!("a Checkout without its customer"));
    let customer = customer.ok_or_else(missing)?;
    let order = Order {
        plan: checkout.plan.clone(),
        version: checkout.plan_version,
        starting_phase: checkout.starting_phase.clone(),
    };
    let made = subscriptions::begin(app, &mut tx, &customer, &order).await?;
    store::set_progress(&mut tx, checkout.id, &Progress::Completed(made.id)).await?;
    store::set_stripe_id(&mut tx, attempt.id, &session.id).await?;
    store::set_completed(&mut tx, attempt.id).await?;
    tx.commit().await?;
    tracing::info!(checkout = %checkout.id, subscription = %made.id, "a Checkout is completed");
    Ok(())
}

/// Notes that the customer cannot be subscribed; nothing was charged.
async fn fail(
    app: &App,
    checkout: &Checkout,
    method: &StripePaymentMethod,
    error: &Error,
) -> Result<()> {
    let mut tx = app.database.begin_write().await?;
    if !still_open(&mut tx, checkout).await? {
        return Ok(());
    }
    note_method(app, &mut tx, checkout.customer, Some(method)).await?;
    let failed = Progress::Failed(error.code().to_owned());
    store::set_progress(&mut tx, checkout.id, &failed).await?;
    tx.commit().await?;
    tracing::warn!(checkout = %checkout.id, %error, "a Checkout is complete, but nobody subscribed");
    Ok(())
}

async fn still_open(tx: &mut Write, checkout: &Checkout) -> Result<bool> {
    let now = store::find(tx, checkout.id).await?;
    Ok(now.is_some_and(|now| now.progress == Progress::Open))
}
