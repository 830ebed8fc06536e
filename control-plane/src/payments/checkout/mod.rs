//! Checkouts: a customer's way to a plan that needs a payment method, and to its key.
//!
//! A Checkout is opened any number of times, each time with a Stripe session and a token of its
//! own. The first that Stripe calls complete, told by a webhook, a redirect or a look-up, makes the
//! subscription, once; only its token claims the key, once.

mod claim;
mod completion;
mod document;
mod opening;
pub mod routes;
mod store;

use std::fmt;
use std::time::Duration;

use serde::Serialize;
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

pub use claim::{Claimed, claim};
pub use completion::{complete_by_stripe, look_up_open};
pub(crate) use document::is_web_url;
pub use document::{CheckoutDocument, CheckoutView, NewCheckout};
pub use opening::{Opened, look, open, payment_page};

use crate::app::App;
use crate::catalog::currency::Currency;
use crate::catalog::plans::PlanKey;
use crate::clock::MachineInstant;
use crate::database::Connection;
use crate::error::{Error, Result};
use crate::ids::{ApiKeyId, CheckoutAttemptId, CheckoutId, CustomerId, SubscriptionId};
use crate::random_base62;

/// How long a Checkout can be opened; each opening lasts as long as Stripe's session.
const OPEN_FOR: Duration = Duration::from_secs(24 * 3_600);
/// Characters of a token: 43 × log2(62) is 256 bits.
const TOKEN_CHARACTERS: usize = 43;
/// Wrong claims that close a Checkout's key to everyone.
const WRONG_CLAIMS_MAX: u32 = 5;
/// Openings of one Checkout: each is a session of Stripe.
const OPENINGS_MAX: usize = 50;

/// A customer's way to a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkout {
    /// Its id.
    pub id: CheckoutId,
    /// Who is to subscribe.
    pub customer: CustomerId,
    /// The plan's key.
    pub plan: PlanKey,
    /// The version that was sold when it was made.
    pub plan_version: u32,
    /// Key of the phase to start with.
    pub starting_phase: Option<String>,
    /// What will be charged in.
    pub currency: Currency,
    /// Where our success page leads on to.
    pub success_url: Option<String>,
    /// Where our cancel page leads back to.
    pub cancel_url: Option<String>,
    /// How far it came.
    pub progress: Progress,
    /// Wrong claims of its key.
    pub wrong_claims: u32,
    /// The key that was claimed.
    pub key: Option<ApiKeyId>,
    /// When it was made.
    pub created_at: MachineInstant,
    /// From when it cannot be opened any more.
    pub expires_at: MachineInstant,
}

/// How far a Checkout came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Nobody has given a payment method.
    Open,
    /// The customer is subscribed.
    Completed(SubscriptionId),
    /// A payment method was given, but the customer could not be subscribed: the code says why.
    Failed(String),
}

/// Where a Checkout is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CheckoutStatus {
    /// It waits for the customer.
    Open,
    /// The customer is subscribed.
    Completed,
    /// The customer could not be subscribed.
    Failed,
    /// Nobody came in time.
    Expired,
}

impl Checkout {
    /// Where it is at `now`.
    #[must_use]
    pub fn status(&self, now: MachineInstant) -> CheckoutStatus {
        match self.progress {
            Progress::Open if self.expires_at <= now => CheckoutStatus::Expired,
            Progress::Open => CheckoutStatus::Open,
            Progress::Completed(_) => CheckoutStatus::Completed,
            Progress::Failed(_) => CheckoutStatus::Failed,
        }
    }

    /// Our page that begins it.
    #[must_use]
    pub fn url(&self, app: &App) -> String {
        format!("{}/portal/checkout/{}", app.public_url(), self.id)
    }
}

/// One opening of a Checkout.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Attempt {
    id: CheckoutAttemptId,
    checkout: CheckoutId,
    holder: Holder,
    /// Stripe's session.
    stripe_id: Option<String>,
    /// Whether it is the one that completed the Checkout.
    completed: bool,
}

/// Who holds the token of an opening.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holder {
    /// Who opened the link.
    Customer,
    /// Who made the Checkout, and may claim whatever completes it.
    Operator,
}

/// What claims a key: 256 random bits, of which only the hash is kept.
#[derive(Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(transparent)]
pub struct ClaimToken(String);

impl ClaimToken {
    fn generate() -> Self {
        Self(random_base62(TOKEN_CHARACTERS))
    }

    /// A token as somebody sent it, right or wrong.
    #[must_use]
    pub fn sent(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// The token itself, for whoever is to hold it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    fn hash(&self) -> String {
        crate::hex(&Sha256::digest(self.0.as_bytes()))
    }
}

impl fmt::Debug for ClaimToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("…")
    }
}

/// The Checkout with an id.
///
/// # Errors
/// 404 when there is none.
pub async fn required(connection: &mut Connection, id: &str) -> Result<Checkout> {
    let not_found = || Error::not_found("checkout_session_not_found", "There is no such Checkout.");
    let id = id.parse().map_err(|_| not_found())?;
    store::find(connection, id).await?.ok_or_else(not_found)
}
