//! Stripe's account, what it tells whom, and what our key may do there.

use serde::Deserialize;
use stripe_client_core::VERSION;

use super::answers::List;
use super::failure::StripeError;
use super::send::{Body, Call};
use super::{Result, Stripe};

/// The account that the key is of.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct StripeAccount {
    /// Its id, `acct_…`.
    pub id: String,
    /// Whether Stripe lets it charge anybody.
    #[serde(default)]
    pub charges_enabled: bool,
}

/// Where Stripe sends events.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct StripeWebhookEndpoint {
    id: String,
    /// The address.
    pub url: String,
    /// `enabled` or `disabled`.
    #[serde(default)]
    pub status: String,
    /// The types of events that are sent; `*` for all.
    #[serde(default)]
    pub enabled_events: Vec<String>,
    /// The version of Stripe's API that events are written in; the account's where none is said.
    pub api_version: Option<String>,
}

impl StripeWebhookEndpoint {
    /// Whether events of a type are sent there.
    #[must_use]
    pub fn is_sent(&self, kind: &str) -> bool {
        let mut enabled = self.enabled_events.iter();
        enabled.any(|enabled| enabled == "*" || enabled == kind)
    }
}

/// A permission of a restricted key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permission {
    /// What Stripe's dashboard calls it.
    pub row: &'static str,
    /// What Stripe's messages call it.
    pub name: &'static str,
    /// A call that it allows, and that does nothing: there is no such object, or nothing is said of what to make.
    probe: Probe,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Probe {
    Get(&'static str),
    Post(&'static str),
}

impl Permission {
    /// Those without which nobody can be charged.
    pub const NEEDED: [Self; 6] = [
        Self {
            row: "Accounts (read)",
            name: "rak_accounts_kyc_basic_read",
            probe: Probe::Get("/v1/account"),
        },
        Self {
            row: "Customers (write)",
            name: "rak_customer_write",
            probe: Probe::Post("/v1/customers/cus_none"),
        },
        Self {
            row: "Payment Methods (read)",
            name: "rak_payment_method_read",
            probe: Probe::Get("/v1/payment_methods/pm_none"),
        },
        Self {
            row: "Checkout Sessions (write)",
            name: "rak_checkout_session_write",
            probe: Probe::Post("/v1/checkout/sessions/cs_none/expire"),
        },
        Self {
            row: "Customer portal (write)",
            name: "rak_customer_portal_write",
            probe: Probe::Post("/v1/billing_portal/sessions"),
        },
        Self {
            row: "Invoices (write)",
            name: "rak_invoice_write",
            probe: Probe::Post("/v1/invoices/in_none"),
        },
    ];
}

impl Stripe {
    /// The version of Stripe's API that this program speaks.
    #[must_use]
    pub fn api_version() -> &'static str {
        VERSION.as_str()
    }

    /// The account that the key is of.
    ///
    /// # Errors
    /// When Stripe does not tell.
    pub async fn get_account(&self) -> Result<StripeAccount> {
        let call = Call {
            endpoint: "account.get",
            path: "/v1/account",
            body: Body::None,
        };
        self.0.sender.send(&call).await?.read()
    }

    /// Where Stripe sends events; 100 places at most, which is more than an account may have.
    ///
    /// # Errors
    /// When Stripe does not tell.
    pub async fn list_webhook_endpoints(&self) -> Result<Vec<StripeWebhookEndpoint>> {
        let call = Call {
            endpoint: "webhook_endpoints.list",
            path: "/v1/webhook_endpoints?limit=100",
            body: Body::None,
        };
        let list: List<StripeWebhookEndpoint> = self.0.sender.send(&call).await?.read()?;
        Ok(list.data)
    }

    /// Whether the key has a permission. Nothing is changed by asking.
    ///
    /// # Errors
    /// When Stripe does not answer, or does not know the key.
    pub async fn is_permitted(&self, permission: &Permission) -> Result<bool> {
        // Nothing comes of it, and so nothing of asking twice.
        let key = format!("readiness:{:016x}", rand::random::<u64>());
        let (path, body) = match permission.probe {
            Probe::Get(path) => (path, Body::None),
            Probe::Post(path) => (
                path,
                Body::Form {
                    key: &key,
                    form: "",
                },
            ),
        };
        let call = Call {
            endpoint: "permissions.probe",
            path,
            body,
        };
        match self.0.sender.send(&call).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_forbidden() => Ok(false),
            // It was looked at, and found to be about nothing.
            Err(StripeError::Api { refusal, .. }) if matches!(refusal.status, 400 | 404) => {
                Ok(true)
            }
            Err(error) => Err(error),
        }
    }
}
