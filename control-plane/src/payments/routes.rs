//! Whether money can be taken, and Stripe's customer portal, over HTTP.

use axum::Json;
use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::checkout::is_web_url;
use super::ensure_customer;
use super::readiness::{BillingReadiness, billing_readiness};
use crate::app::App;
use crate::customers;
use crate::error::Result;
use crate::http::document::{Document, Mistakes, Place};
use crate::idempotency::{Answer, Post};
use crate::ids::{CustomerId, PortalSessionId};

/// What to send for a session of the customer portal.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PortalSessionDocument {
    /// Where the portal leads back to; a page of ours when left out.
    #[schema(examples("https://example.com/account"))]
    return_url: Option<String>,
}

impl Document for PortalSessionDocument {}

impl PortalSessionDocument {
    fn check(self, app: &App, mistakes: &mut Mistakes) -> Option<String> {
        if self
            .return_url
            .as_deref()
            .is_some_and(|url| !is_web_url(url))
        {
            let detail = "returnUrl is not an http or https URL";
            mistakes.add(&Place::root().field("returnUrl"), "invalid_url", detail);
        }
        let ours = || format!("{}/portal/return", app.public_url());
        Some(self.return_url.unwrap_or_else(ours))
    }
}

/// A session of the customer portal.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PortalSession {
    /// Its id.
    id: PortalSessionId,
    /// Whose it is.
    customer: CustomerId,
    /// Where to send the customer, soon: it lasts minutes.
    url: String,
}

/// Lists what is ready to take money and what is not. Stripe is asked for it, and nothing is changed there.
#[utoipa::path(get, path = "/v1/billing-readiness", tag = "billing",
    responses((status = 200, description = "What is ready and what is not.", body = BillingReadiness)))]
pub async fn get_billing_readiness(State(app): State<App>) -> Result<Json<BillingReadiness>> {
    billing_readiness(&app).await.map(Json)
}

/// Makes a link to Stripe's portal, where a customer replaces the card and sees invoices.
#[utoipa::path(post, path = "/v1/customers/{customer}/portal-sessions", tag = "customers",
    params(("customer" = String, Path, description = "Its id or key.")),
    request_body = PortalSessionDocument,
    responses((status = 201, description = "The link.", body = PortalSession)))]
pub async fn create_portal_session(
    State(app): State<App>,
    Path(customer): Path<String>,
    Post(document, mut call): Post<PortalSessionDocument>,
) -> Result<Answer> {
    let return_url = document.check(|document, mistakes| document.check(&app, mistakes))?;
    let customer = customers::required(&mut call.tx, &customer).await?;
    let stripe = app.stripe()?;
    let paused = call.pause();
    let payer = ensure_customer(&app, &customer).await?;
    let id = PortalSessionId::generate(app.clock.machine_now());
    let key = format!("{id}:create:1");
    let made = stripe
        .create_portal_session(&key, &payer, &return_url)
        .await?;
    let session = PortalSession {
        id,
        customer: customer.id,
        url: made.url,
    };
    paused.resume(&app).await?.created(&session).await
}
