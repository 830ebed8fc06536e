//! Money, by Stripe: who pays, how they come to pay, and what Stripe tells us of it.

pub mod checkout;
pub mod grace;
pub mod readiness;
pub mod reconcile;
pub mod routes;
mod store;
pub mod stripe;
pub mod webhooks;

pub use store::{PaymentCustomer, customer_of};
pub use stripe::{Mode, Stripe, StripeError};

use crate::app::App;
use crate::customers::Customer;
use crate::database::{Connection, Write};
use crate::error::{Error, Result};
use crate::ids::CustomerId;
use crate::publisher;
use stripe::{NewStripeCustomer, StripeCustomer, StripePaymentMethod};

/// Whether a customer has a payment method that invoices are collected from.
///
/// # Errors
/// When the database refuses.
pub async fn has_payment_method(connection: &mut Connection, customer: CustomerId) -> Result<bool> {
    let found = customer_of(connection, customer).await?;
    Ok(found.is_some_and(|found| found.payment_method.is_some() && !found.is_deleted()))
}

/// Stripe's id of a customer, if it has one and can be charged.
///
/// # Errors
/// When the database refuses.
pub async fn stripe_customer(
    connection: &mut Connection,
    customer: CustomerId,
) -> Result<Option<String>> {
    let found = customer_of(connection, customer).await?;
    let chargeable = found.filter(|found| !found.is_deleted());
    Ok(chargeable.map(|found| found.stripe_id))
}

/// Stripe's id of a customer, which is made there if it is not yet. Not to be called in a transaction.
///
/// # Errors
/// When Stripe is not set up or does not do it, or the customer was deleted there.
pub async fn ensure_customer(app: &App, customer: &Customer) -> Result<String> {
    let known = customer_of(&mut *app.database.read().await?, customer.id).await?;
    if let Some(known) = known {
        return usable(known).map(|known| known.stripe_id);
    }
    let new = NewStripeCustomer {
        id: customer.id,
        name: &customer.name,
        email: customer.email.as_deref(),
    };
    // One key for ever: whoever races gets the same one.
    let key = format!("{}:create:1", customer.id);
    let made = app.stripe()?.create_customer(&key, &new).await?;
    if !app.stripe()?.mode().fits(made.livemode) {
        return Err(Error::internal(anyhow::anyhow!(
            "a customer of the other mode: {}",
            made.id
        )));
    }
    let mut tx = app.database.begin_write().await?;
    store::add(&mut tx, customer.id, &made.id, app.clock.machine_now()).await?;
    tx.commit().await?;
    Ok(made.id)
}

fn usable(customer: PaymentCustomer) -> Result<PaymentCustomer> {
    if customer.is_deleted() {
        let detail = "The customer was deleted in Stripe, so that nothing can be charged.";
        return Err(Error::conflict("payment_customer_deleted", detail));
    }
    Ok(customer)
}

/// Which of a customer's payment methods invoices are to be collected from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Prefer {
    /// The one that was given last.
    Newest,
    /// The one that is the default, while there is one.
    Default,
}

/// Sees to it that a customer has a default payment method if it has any, and gives it.
///
/// `act` names what made it necessary: once for all repeats.
async fn settle_default(
    stripe: &Stripe,
    customer: &StripeCustomer,
    prefer: Prefer,
    act: &str,
) -> Result<Option<StripePaymentMethod>, StripeError> {
    let methods = stripe.list_payment_methods(&customer.id).await?;
    let default = customer.default_payment_method();
    let position = methods
        .iter()
        .position(|method| Some(method.id.as_str()) == default);
    let chosen = match prefer {
        Prefer::Newest => 0,
        Prefer::Default => position.unwrap_or(0),
    };
    if let Some(method) = methods.get(chosen)
        && position != Some(chosen)
    {
        let key = format!("{act}:default:{}", method.id);
        stripe
            .set_default_payment_method(&key, &customer.id, &method.id)
            .await?;
    }
    Ok(methods.into_iter().nth(chosen))
}

/// Notes from what a customer's invoices are collected, with what that means for access.
async fn note_method(
    app: &App,
    tx: &mut Write,
    customer: CustomerId,
    method: Option<&StripePaymentMethod>,
) -> Result<()> {
    let could = has_payment_method(tx, customer).await?;
    let label = method.map(StripePaymentMethod::label);
    let noted = method.zip(label.as_deref());
    let noted = noted.map(|(method, label)| (method.id.as_str(), label));
    store::set_payment_method(tx, customer, noted).await?;
    if could != method.is_some() {
        publisher::customer_changed(app, tx, customer).await?;
    }
    Ok(())
}
