//! Documents about Checkouts, as they are sent and shown.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Checkout, CheckoutStatus, ClaimToken, Progress};
use crate::app::App;
use crate::catalog::check_key;
use crate::catalog::plans::PlanKey;
use crate::clock::MachineInstant;
use crate::http::document::{Document, Mistakes, Place};
use crate::ids::{ApiKeyId, CheckoutId, CustomerId, SubscriptionId};

/// Longest URL to lead customers to.
const URL_MAX_BYTES: usize = 2_048;

/// What to send for a new Checkout.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CheckoutDocument {
    /// The plan's key.
    #[serde(default)]
    plan: String,
    /// Id or key of the customer.
    customer: Option<String>,
    /// The same, in place of `customer`.
    customer_id: Option<String>,
    /// Where the customer can go on to from the page that shows the key.
    #[schema(examples("https://example.com/welcome"))]
    success_url: Option<String>,
    /// Where the customer who gives up can go back to.
    #[schema(examples("https://example.com/pricing"))]
    cancel_url: Option<String>,
    /// Key of the phase to start with; the first when left out, or the one after a trial that the customer had before.
    starting_phase: Option<String>,
}

impl Document for CheckoutDocument {}

/// What is wanted of a Checkout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) plan: PlanKey,
    pub(super) customer: String,
    pub(super) starting_phase: Option<String>,
    pub(super) success_url: Option<String>,
    pub(super) cancel_url: Option<String>,
}

impl CheckoutDocument {
    /// What is wanted.
    pub(super) fn check(self, mistakes: &mut Mistakes) -> Option<Wanted> {
        let root = Place::root();
        let customer = match (self.customer, self.customer_id) {
            (Some(customer), None) | (None, Some(customer)) if !customer.is_empty() => customer,
            _ => {
                let detail = "either customer or customerId is the id or key of a customer";
                mistakes.add(&root.field("customer"), "customer_missing", detail);
                String::new()
            }
        };
        let urls = [
            ("successUrl", &self.success_url),
            ("cancelUrl", &self.cancel_url),
        ];
        for (field, url) in urls {
            if url.as_deref().is_some_and(|url| !is_web_url(url)) {
                let detail = format!("{field} is not an http or https URL");
                mistakes.add(&root.field(field), "invalid_url", detail);
            }
        }
        Some(Wanted {
            plan: check_key(&self.plan, &root.field("plan"), mistakes)?,
            customer,
            starting_phase: self.starting_phase,
            success_url: self.success_url,
            cancel_url: self.cancel_url,
        })
    }
}

/// Whether a link may lead there.
pub(crate) fn is_web_url(url: &str) -> bool {
    let host = url
        .strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://"));
    url.len() <= URL_MAX_BYTES
        && url.bytes().all(|byte| byte.is_ascii_graphic())
        && host.is_some_and(|host| host.starts_with(|first: char| first.is_ascii_alphanumeric()))
}

/// A Checkout, as it is shown.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CheckoutView {
    /// Its id.
    id: CheckoutId,
    /// Where to send the customer; null once there is nothing left to do.
    url: Option<String>,
    /// Where it is.
    status: CheckoutStatus,
    /// Who is to subscribe.
    customer: CustomerId,
    /// The plan's key.
    #[schema(value_type = String)]
    plan: PlanKey,
    /// The number of the plan's version.
    plan_version: u32,
    /// The subscription that it made.
    subscription: Option<SubscriptionId>,
    /// The code of why the customer could not be subscribed.
    failure: Option<String>,
    /// The key that was claimed.
    key: Option<ApiKeyId>,
    /// From when it cannot be opened any more.
    expires_at: MachineInstant,
}

impl CheckoutView {
    pub(super) fn new(app: &App, checkout: &Checkout) -> Self {
        let status = checkout.status(app.clock.machine_now());
        let (subscription, failure) = match &checkout.progress {
            Progress::Open => (None, None),
            Progress::Completed(subscription) => (Some(*subscription), None),
            Progress::Failed(failure) => (None, Some(failure.clone())),
        };
        Self {
            id: checkout.id,
            url: (status == CheckoutStatus::Open).then(|| checkout.url(app)),
            status,
            customer: checkout.customer,
            plan: checkout.plan.clone(),
            plan_version: checkout.plan_version,
            subscription,
            failure,
            key: checkout.key,
            expires_at: checkout.expires_at,
        }
    }
}

/// A new Checkout, with the token that is shown this once.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NewCheckout {
    /// The Checkout.
    #[serde(flatten)]
    pub(super) checkout: CheckoutView,
    /// Claims the key once the customer is subscribed; null when this answer is repeated.
    #[schema(value_type = Option<String>)]
    pub(super) claim_token: ClaimToken,
    /// Whether the token was shown by an earlier answer to the same request.
    pub(super) secret_already_shown: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_lead_to_the_web_only() {
        for url in ["https://example.com/a?b=c#d", "http://127.0.0.1:8080"] {
            assert!(is_web_url(url), "{url}");
        }
        let long = format!("https://{}", "a".repeat(URL_MAX_BYTES));
        for url in [
            "",
            "javascript:alert(1)",
            "https://",
            "//example.com",
            "https://a b",
            &long,
        ] {
            assert!(!is_web_url(url), "{url}");
        }
    }
}
