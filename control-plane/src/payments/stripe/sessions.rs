//! Pages of Stripe that customers are sent to: Checkout and the portal.

use std::collections::HashMap;

use stripe_billing::billing_portal_session::CreateBillingPortalSession;
use stripe_checkout::checkout_session::{
    CreateCheckoutSession, CreateCheckoutSessionAllowedPaymentMethodTypes,
    CreateCheckoutSessionSetupIntentData, RetrieveCheckoutSession,
};
use stripe_shared::CheckoutSessionMode;

use super::answers::{StripeCheckoutSession, StripePortalSession, metadata};
use super::invoices::stripe_currency;
use super::{Result, Stripe};
use crate::catalog::currency::Currency;

/// A Checkout to make, in which a customer gives a payment method and pays nothing yet.
#[derive(Clone, Debug)]
pub struct NewStripeCheckout<'a> {
    /// Our id of this opening.
    pub id: &'a str,
    /// What it is for: our id of the Checkout.
    pub reference: &'a str,
    /// Stripe's id of who gives the payment method.
    pub customer: &'a str,
    /// What will be charged in later.
    pub currency: Currency,
    /// Where the customer goes afterwards.
    pub success_url: &'a str,
    /// Where the customer goes who gives up.
    pub cancel_url: &'a str,
}

impl Stripe {
    /// Makes a Checkout; one whose answer was lost is left to expire.
    ///
    /// # Errors
    /// When Stripe did not do it, or nobody knows.
    pub async fn create_checkout_session(
        &self,
        key: &str,
        new: &NewStripeCheckout<'_>,
    ) -> Result<StripeCheckoutSession> {
        let ours = HashMap::from([(metadata::CHECKOUT.to_owned(), new.id.to_owned())]);
        let mut intent = CreateCheckoutSessionSetupIntentData::new();
        intent.metadata = Some(ours.clone());
        let request = CreateCheckoutSession::new()
            .mode(CheckoutSessionMode::Setup)
            .currency(stripe_currency(new.currency))
            .customer(new.customer)
            .client_reference_id(new.reference)
            .metadata(ours)
            .setup_intent_data(intent)
            // Cards and their wallets: a debit takes days to clear, and would count as failed until it has.
            .allowed_payment_method_types([CreateCheckoutSessionAllowedPaymentMethodTypes::Card])
            .success_url(new.success_url)
            .cancel_url(new.cancel_url);
        self.post("checkout_sessions.create", key, &request).await
    }

    /// A Checkout as it is now.
    ///
    /// # Errors
    /// When Stripe does not tell.
    pub async fn get_checkout_session(&self, session: &str) -> Result<StripeCheckoutSession> {
        let request = RetrieveCheckoutSession::new(session);
        self.get("checkout_sessions.get", &request).await
    }

    /// Makes a session of the portal, where a customer replaces its card and sees its invoices.
    ///
    /// # Errors
    /// When Stripe did not do it, or nobody knows.
    pub async fn create_portal_session(
        &self,
        key: &str,
        customer: &str,
        return_url: &str,
    ) -> Result<StripePortalSession> {
        let request = CreateBillingPortalSession::new()
            .customer(customer)
            .return_url(return_url);
        self.post("portal_sessions.create", key, &request).await
    }
}
