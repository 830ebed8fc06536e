//! Whether money can be taken: what is ready for it, and what is not.

use std::time::Duration;

use serde::Serialize;
use tokio::time::timeout;
use utoipa::ToSchema;

use super::stripe::{Mode, Permission, Stripe, StripeError, StripeWebhookEndpoint};
use super::webhooks::{self, EventHandler};
use crate::app::App;
use crate::error::Result;
use crate::invoicing::billing::Billing;
use crate::invoicing::profile;
use crate::invoicing::pusher::Pusher;
use crate::jobs::{self, Job};
use crate::outbox::Consumer;

/// How long Stripe may take for all that it is asked.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is ready to take money, and what is not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BillingReadiness {
    /// Whether nothing is known that is not ready.
    ready: bool,
    /// What was looked at.
    checks: Vec<BillingCheck>,
}

/// Something that has to be ready.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BillingCheck {
    /// What it is.
    name: CheckName,
    /// How it stands.
    status: CheckStatus,
    /// What was found, and what to do where it is not ready.
    detail: String,
}

/// What has to be ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CheckName {
    /// A key of Stripe's that Stripe knows.
    StripeKey,
    /// The account that it is of.
    StripeAccount,
    /// What the key may do there.
    StripePermissions,
    /// What Stripe signs events with.
    WebhookSecret,
    /// Where Stripe sends events.
    WebhookEndpoint,
    /// Whether events could be handled.
    WebhookEvents,
    /// Where customers come back to.
    PublicUrl,
    /// What holds for all invoices.
    BillingProfile,
    /// Who does the work.
    Jobs,
}

/// How something stands that has to be ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CheckStatus {
    /// It is ready.
    Ready,
    /// It is not.
    NotReady,
    /// It cannot be told.
    Unknown,
}

use CheckName::{
    BillingProfile, Jobs, PublicUrl, StripeAccount, StripeKey, StripePermissions, WebhookEndpoint,
    WebhookEvents, WebhookSecret,
};
use CheckStatus::{NotReady, Ready, Unknown};

impl CheckName {
    fn is(self, status: CheckStatus, detail: impl Into<String>) -> BillingCheck {
        BillingCheck {
            name: self,
            status,
            detail: detail.into(),
        }
    }
}

/// Looks at everything that taking money needs; Stripe is asked, and nothing is changed there.
///
/// # Errors
/// When the database refuses.
pub async fn billing_readiness(app: &App) -> Result<BillingReadiness> {
    let mut checks = of_stripe(app).await;
    checks.push(webhook_secret(app));
    checks.push(webhook_events(app).await?);
    checks.push(public_url(app));
    checks.push(billing_profile(app).await?);
    checks.push(jobs(app).await?);
    Ok(BillingReadiness {
        ready: checks.iter().all(|check| check.status != NotReady),
        checks,
    })
}

/// What Stripe says of our key, of its account, and of where it sends events.
async fn of_stripe(app: &App) -> Vec<BillingCheck> {
    let Some(stripe) = &app.stripe else {
        return vec![StripeKey.is(NotReady, "set STRIPE_API_KEY")];
    };
    let asked = timeout(PATIENCE, ask(app, stripe)).await;
    asked.unwrap_or_else(|_| {
        let detail = format!("Stripe did not answer in {} s", PATIENCE.as_secs());
        vec![shown_key(app), StripeAccount.is(Unknown, detail)]
    })
}

async fn ask(app: &App, stripe: &Stripe) -> Vec<BillingCheck> {
    let account = match stripe.get_account().await {
        Ok(account) if account.charges_enabled => StripeAccount.is(Ready, account.id),
        Ok(account) => {
            let detail = "Stripe does not let it charge yet: finish its set-up in the dashboard";
            StripeAccount.is(NotReady, format!("{}: {detail}", account.id))
        }
        Err(error) if error.is_unauthenticated() => {
            return vec![StripeKey.is(NotReady, "Stripe does not know STRIPE_API_KEY")];
        }
        Err(error) if error.is_forbidden() => StripeAccount.is(Unknown, "the key may not see it"),
        Err(error) => return vec![shown_key(app), StripeAccount.is(Unknown, silence(&error))],
    };
    let (permissions, endpoint) = tokio::join!(permissions(stripe), webhook_endpoint(app, stripe));
    vec![shown_key(app), account, permissions, endpoint]
}

/// For whoever asks; the log tells more.
fn silence(error: &StripeError) -> String {
    tracing::warn!(%error, "Stripe did not say whether it is ready");
    "Stripe does not answer".to_owned()
}

/// The kind of the key and its last characters.
fn shown_key(app: &App) -> BillingCheck {
    let key = app.config.stripe.api_key.expose();
    let (kind, secret) = key.split_at_checked("rk_test_".len()).unwrap_or(("", key));
    let last = match secret.len() {
        0..16 => "",
        length => secret.get(length - 4..).unwrap_or_default(),
    };
    StripeKey.is(Ready, format!("{kind}…{last}"))
}

async fn permissions(stripe: &Stripe) -> BillingCheck {
    let mut missing = Vec::new();
    for permission in &Permission::NEEDED {
        match stripe.is_permitted(permission).await {
            Ok(true) => {}
            Ok(false) => missing.push(format!("{} ({})", permission.row, permission.name)),
            Err(error) => return StripePermissions.is(Unknown, silence(&error)),
        }
    }
    match missing.is_empty() {
        true => StripePermissions.is(Ready, "the key may do everything that is needed"),
        false => {
            let detail = format!("give the key what it lacks: {}", missing.join(", "));
            StripePermissions.is(NotReady, detail)
        }
    }
}

async fn webhook_endpoint(app: &App, stripe: &Stripe) -> BillingCheck {
    let url = format!("{}/webhooks/stripe", app.public_url());
    let endpoints = match stripe.list_webhook_endpoints().await {
        Ok(endpoints) => endpoints,
        Err(error) if error.is_forbidden() => {
            let detail = "the key may not see it: Webhook Endpoints (read) (rak_webhook_read)";
            return WebhookEndpoint.is(Unknown, detail);
        }
        Err(error) => return WebhookEndpoint.is(Unknown, silence(&error)),
    };
    let Some(endpoint) = endpoints.iter().find(|endpoint| endpoint.url == url) else {
        return WebhookEndpoint.is(NotReady, format!("Stripe sends no events to {url}"));
    };
    match fault(endpoint) {
        Some(fault) => WebhookEndpoint.is(NotReady, format!("{url} {fault}")),
        None => WebhookEndpoint.is(Ready, url),
    }
}

/// What is wrong with where Stripe sends events.
fn fault(endpoint: &StripeWebhookEndpoint) -> Option<String> {
    if endpoint.status == "disabled" {
        return Some("is disabled".to_owned());
    }
    let needed = Stripe::api_version();
    if endpoint.api_version.as_deref() != Some(needed) {
        let version = endpoint.api_version.as_deref().unwrap_or("the account's");
        return Some(format!("has API version {version} where it needs {needed}"));
    }
    let missing: Vec<_> = webhooks::handled()
        .filter(|kind| !endpoint.is_sent(kind))
        .collect();
    (!missing.is_empty()).then(|| format!("is not sent {}", missing.join(", ")))
}

fn webhook_secret(app: &App) -> BillingCheck {
    match app.config.stripe.webhook_secrets.len() {
        0 => WebhookSecret.is(NotReady, "set STRIPE_WEBHOOK_SECRET"),
        1 => WebhookSecret.is(Ready, "one is set"),
        several => WebhookSecret.is(Ready, format!("{several} are set")),
    }
}

async fn webhook_events(app: &App) -> Result<BillingCheck> {
    let dead = webhooks::dead(&mut *app.database.read().await?).await?;
    Ok(match dead {
        0 => WebhookEvents.is(Ready, "none was given up"),
        some => {
            let detail = format!("{some} given up: see /v1/stripe-events?status=dead");
            WebhookEvents.is(NotReady, detail)
        }
    })
}

fn public_url(app: &App) -> BillingCheck {
    let url = &app.config.server.public_url;
    let is_real = Mode::of(app.config.environment) == Mode::Live;
    match url.as_str() {
        "" => PublicUrl.is(
            NotReady,
            "set server.public_url: Checkout leads customers there",
        ),
        url if is_real && !url.starts_with("https://") => {
            PublicUrl.is(NotReady, format!("{url} does not begin with https://"))
        }
        url => PublicUrl.is(Ready, url),
    }
}

async fn billing_profile(app: &App) -> Result<BillingCheck> {
    let profile = profile::find(&mut *app.database.read().await?).await?;
    let zone = &profile.time_zone;
    Ok(BillingProfile.is(Ready, format!("boundaries are dates of {zone}")))
}

/// The work without which nothing is charged is done by some replica.
async fn jobs(app: &App) -> Result<BillingCheck> {
    let names = [
        Billing::new(app.clone()).name(),
        Pusher::JOB,
        EventHandler::new(app.clone()).name(),
    ];
    let mut reader = app.database.read().await?;
    let mut idle = Vec::new();
    for name in names {
        if !jobs::is_held(&mut reader, name, app.clock.machine_now()).await? {
            idle.push(name);
        }
    }
    Ok(match idle.is_empty() {
        true => Jobs.is(Ready, "they are done"),
        false => {
            let detail = format!(
                "nobody does {}: run tollgate serve --roles jobs",
                idle.join(", ")
            );
            Jobs.is(NotReady, detail)
        }
    })
}
