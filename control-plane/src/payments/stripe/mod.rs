//! Stripe, as far as this program uses it: typed calls with answers of our own.
//!
//! Stripe's crates give the form of a request and nothing else: it is written down with its
//! idempotency key before it is sent, and whatever is sent again under that key is what was written
//! down. A key that is so old that Stripe may have forgotten it is not used again before the object
//! it would make was looked for.

mod account;
mod answers;
mod customers;
mod failure;
mod invoices;
mod pace;
mod send;
mod sessions;
mod store;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use stripe_client_core::StripeRequest;

pub use account::{Permission, StripeAccount, StripeWebhookEndpoint};
pub use answers::{
    StripeCheckoutSession, StripeCustomer, StripeInvoice, StripeInvoiceStatus, StripeMetadata,
    StripePaymentMethod, StripePortalSession, metadata,
};
pub use customers::NewStripeCustomer;
pub use failure::{Refusal, StripeError};
pub use invoices::{Collection, NewStripeInvoice, NewStripeLine};
pub use sessions::NewStripeCheckout;

use answers::List;
use pace::Pace;
use send::{Answer, Body, Call, Sender};
use store::Sent;

use crate::clock::{Clock, MachineInstant};
use crate::config::{Environment, StripeConfig};
use crate::database::{Connection, Database};
use crate::error;

/// What a call of Stripe gives.
pub type Result<T, E = StripeError> = std::result::Result<T, E>;

/// Requests per second, overall and per endpoint: a fifth below what Stripe allows.
const LIVE_PER_SECOND: (u32, u32) = (80, 20);
const TEST_PER_SECOND: (u32, u32) = (20, 20);
/// How long a key is trusted to be known to Stripe, which keeps it for 24 hours at least.
const KEY_TRUSTED: Duration = Duration::from_secs(23 * 3_600);
/// How long answered requests are kept, for whoever looks into what happened.
const ANSWERED_KEPT: Duration = Duration::from_secs(90 * 86_400);
/// Objects on a page of a list.
const PAGE: i64 = 100;

/// Stripe; clones share connections and rates. No call may be made inside a write transaction.
#[derive(Clone)]
pub struct Stripe(Arc<Parts>);

struct Parts {
    sender: Sender,
    database: Database,
    clock: Clock,
    mode: Mode,
}

/// Whether money is real.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It is.
    Live,
    /// It is not.
    Test,
}

impl Mode {
    /// The mode of everything in an environment.
    #[must_use]
    pub fn of(environment: Environment) -> Self {
        match environment {
            Environment::Production => Self::Live,
            Environment::Test | Environment::Sandbox => Self::Test,
        }
    }

    /// Whether an object of Stripe with this `livemode` belongs here.
    #[must_use]
    pub fn fits(self, livemode: bool) -> bool {
        livemode == (self == Self::Live)
    }
}

impl fmt::Debug for Stripe {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Stripe").field(&self.0.mode).finish()
    }
}

impl Stripe {
    /// The way to Stripe, if a key is configured.
    ///
    /// # Errors
    /// When no secure connection could ever be made.
    pub fn new(
        config: &StripeConfig,
        environment: Environment,
        database: Database,
        clock: Clock,
    ) -> anyhow::Result<Option<Self>> {
        if !config.is_set_up() {
            return Ok(None);
        }
        if config.webhook_secrets.is_empty() {
            tracing::warn!("STRIPE_WEBHOOK_SECRET is not set: what Stripe tells is not believed");
        }
        let mode = Mode::of(environment);
        let (overall, endpoint) = match mode {
            Mode::Live => LIVE_PER_SECOND,
            Mode::Test => TEST_PER_SECOND,
        };
        let pace = Pace::new(overall, endpoint);
        let sender = Sender::new(&config.api_base, config.api_key.expose(), pace)?;
        Ok(Some(Self(Arc::new(Parts {
            sender,
            database,
            clock,
            mode,
        }))))
    }

    /// Whether its money is real.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.0.mode
    }

    async fn get<T: DeserializeOwned>(
        &self,
        endpoint: &'static str,
        request: &impl StripeRequest,
    ) -> Result<T> {
        let built = request.build();
        let query = built.query.filter(|query| !query.is_empty());
        let path = match query {
            Some(query) => format!("/v1{}?{query}", built.path),
            None => format!("/v1{}", built.path),
        };
        let call = Call {
            endpoint,
            path: &path,
            body: Body::None,
        };
        self.0.sender.send(&call).await?.read()
    }

    /// Removes an object; one that is gone already is removed.
    async fn delete(&self, endpoint: &'static str, request: &impl StripeRequest) -> Result<()> {
        let path = format!("/v1{}", request.build().path);
        let call = Call {
            endpoint,
            path: &path,
            body: Body::Deletion,
        };
        match self.0.sender.send(&call).await {
            Err(error) if error.is_missing() => Ok(()),
            other => other.map(drop),
        }
    }

    /// Posts what was written down under `key`; that is `request`, if nothing was.
    async fn post<T: DeserializeOwned>(
        &self,
        endpoint: &'static str,
        key: &str,
        request: &impl StripeRequest,
    ) -> Result<T> {
        let built = request.build();
        let path = format!("/v1{}", built.path);
        let form = built.body.unwrap_or_default();
        let sent = self
            .keep(key, &path, &form)
            .await
            .map_err(StripeError::Storage)?;
        let header_key = sent.header_key();
        let call = Call {
            endpoint,
            path: &sent.path,
            body: Body::Form {
                key: &header_key,
                form: &sent.form,
            },
        };
        let outcome = self.0.sender.send(&call).await;
        self.note(key, &outcome).await;
        outcome?.read()
    }

    async fn keep(&self, key: &str, path: &str, form: &str) -> error::Result<Sent> {
        let mut tx = self.0.database.begin_write().await?;
        let now = self.0.clock.machine_now();
        let sent = store::keep(&mut tx, key, path, form, now).await?;
        tx.commit().await?;
        Ok(sent)
    }

    /// Notes an answer; if that fails, only whoever looks into it later misses it.
    async fn note(&self, key: &str, outcome: &Result<Answer>) {
        let (status, request_id) = match outcome {
            Ok(answer) => (answer.status, &answer.request_id),
            Err(error) => match error.refusal() {
                Some(refusal) => (refusal.status, &refusal.request_id),
                None => return,
            },
        };
        if let Err(error) = self.note_answer(key, status, request_id).await {
            tracing::warn!(%error, key, "could not note what Stripe answered");
        }
    }

    async fn note_answer(&self, key: &str, status: u16, request_id: &str) -> error::Result<()> {
        let mut tx = self.0.database.begin_write().await?;
        let now = self.0.clock.machine_now();
        store::answered(&mut tx, key, status, request_id, now).await?;
        Ok(tx.commit().await?)
    }

    /// When `key` was first used, if that is so long ago that Stripe may have forgotten it.
    async fn doubt(&self, key: &str) -> Result<Option<MachineInstant>> {
        let found = async {
            let mut reader = self.0.database.read().await?;
            store::find(&mut reader, key).await
        };
        let sent = found.await.map_err(StripeError::Storage)?;
        let first = sent.map(|sent| sent.first_sent());
        let now = self.0.clock.machine_now();
        Ok(first.filter(|first| first.after(KEY_TRUSTED) <= now))
    }

    /// Has the next post under `key` count as a new request: what it would make is not there.
    async fn begin_anew(&self, key: &str) -> Result<()> {
        let begun = self.note_new_round(key).await;
        begun.map_err(StripeError::Storage)
    }

    async fn note_new_round(&self, key: &str) -> error::Result<()> {
        let mut tx = self.0.database.begin_write().await?;
        store::begin_anew(&mut tx, key, self.0.clock.machine_now()).await?;
        Ok(tx.commit().await?)
    }

    /// Every object of a list; `page` asks for those after an id.
    async fn list<T, R>(
        &self,
        endpoint: &'static str,
        id: impl Fn(&T) -> &str,
        page: impl Fn(Option<&str>) -> R,
    ) -> Result<Vec<T>>
    where
        T: DeserializeOwned,
        R: StripeRequest,
    {
        let mut objects: Vec<T> = Vec::new();
        loop {
            let request = page(objects.last().map(&id));
            let List { data, has_more } = self.get(endpoint, &request).await?;
            let ended = !has_more || data.is_empty();
            objects.extend(data);
            if ended {
                return Ok(objects);
            }
        }
    }

    /// Removes requests that were answered long ago, and says how many.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn remove_answered(
        connection: &mut Connection,
        now: MachineInstant,
        limit: i64,
    ) -> error::Result<u64> {
        store::remove_answered(connection, now.before(ANSWERED_KEPT), limit).await
    }
}
