//! Subscriptions that begin by a Checkout: for who has none, or in place of a free one.

use super::document::{Timing, Wish, WishedAnchor};
use super::{Loader, Status, Subscription, lifecycle, payment, store};
use crate::app::App;
use crate::catalog::configuration;
use crate::catalog::plans::PlanKey;
use crate::customers::Customer;
use crate::database::{Connection, Write};
use crate::error::{Error, Result};

/// What a customer wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// The plan's key.
    pub plan: PlanKey,
    /// The version of the plan.
    pub version: u32,
    /// Key of the phase to start with; the one a new subscription would start with when left out.
    pub starting_phase: Option<String>,
}

/// Subscribes a customer at once, in place of the free subscription that it has, if it has one.
///
/// # Errors
/// When the customer may not subscribe, or the database refuses.
pub async fn begin(
    app: &App,
    tx: &mut Write,
    customer: &Customer,
    order: &Order,
) -> Result<Subscription> {
    let wish = Wish {
        plan: order.plan.clone(),
        version: Some(order.version),
        starting_phase: order.starting_phase.clone(),
        anchor: WishedAnchor::Start,
        key: None,
    };
    match check_room(app, tx, customer).await? {
        Some(free) => lifecycle::change(app, tx, free, &wish, Some(Timing::Immediate)).await,
        None => {
            let id = customer.id.to_string();
            lifecycle::subscribe(app, tx, &id, &wish, Timing::Immediate).await
        }
    }
}

/// The free subscription that would give way to a new one, if there is one.
///
/// # Errors
/// 409 when the customer has a subscription that does not give way, or has not paid.
pub async fn check_room(
    app: &App,
    connection: &mut Connection,
    customer: &Customer,
) -> Result<Option<Subscription>> {
    payment::check_paid(connection, customer.id).await?;
    let several = configuration::load(connection)
        .await?
        .multiple_subscriptions_enabled;
    if several {
        return Ok(None);
    }
    let now = app.clock.business_now();
    let unended = store::unended(connection, customer.id, now).await?;
    let Some(first) = unended.first().cloned() else {
        return Ok(None);
    };
    let alone = unended.iter().all(|other| other.chain == first.chain);
    let goes_on = match first.status(now) {
        Status::Active | Status::Canceled => true,
        Status::Scheduled | Status::Inactive => false,
    };
    let member = Loader::default().member(connection, first).await?;
    if alone && goes_on && !member.plan.needs_payment_method() {
        return Ok(Some(member.subscription));
    }
    let detail = "The customer has a subscription: change it, or wait until it has ended.";
    Err(Error::conflict("subscription_exists", detail))
}
