//! Access documents in Redis: what the filter knows, written whenever it changes.
//!
//! A change and the word that something changed are one transaction; the document itself is read
//! anew when it is written, so that whichever word comes last, the newest stands. Versions grow with
//! every change, and a document never overwrites one that is not older.

mod document;
pub mod edge;
pub mod lifecycle;
pub mod readiness;
pub mod renewal;
mod store;

use std::time::Duration;

use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};
use tokio::time::sleep;
use tollgate_engine::contract::Script;

pub use document::{KEPT_AFTER_END, access_document, bound, key_document};

use crate::app::App;
use crate::clock::Stopwatch;
use crate::database::{Failure, Write};
use crate::error::Result;
use crate::ids::{ApiKeyId, CustomerId, EventId, SubscriptionId};
use crate::jobs;
use crate::keys::{self, ApiKey};
use crate::outbox::{self, Consumer, Message, Topic};
use crate::subscriptions::{self, Loader, chain};
use crate::usage;
use edge::Edge;

/// How long to wait for a document to be written.
const WRITTEN_WITHIN: Duration = Duration::from_millis(500);
/// How often to look whether it is.
const WRITTEN_POLL: Duration = Duration::from_millis(5);

/// Documents to write.
pub const PUBLISH: Topic = Topic::new("publish");

/// What changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Changed {
    Chain(SubscriptionId),
    Key(ApiKeyId),
    Window(SubscriptionId, String),
}

/// Has a chain's access document written anew, after the change in this transaction.
///
/// # Errors
/// When the database refuses.
pub async fn chain_changed(app: &App, tx: &mut Write, id: SubscriptionId) -> Result<()> {
    let now = app.clock.business_now();
    chain::raise_version(tx, id).await?;
    let after = now.before(KEPT_AFTER_END);
    if let Some(loaded) = Loader::default().chain(tx, id, after).await? {
        let block = subscriptions::block(tx, &loaded, now).await?;
        let renewal = document::renewal(&loaded, block.as_ref(), now);
        chain::set_renewal(tx, id, renewal).await?;
    }
    enqueue(app, tx, id, Changed::Chain(id)).await.map(drop)
}

/// Has the access documents of all chains of a customer written anew, after the change in this transaction.
///
/// # Errors
/// When the database refuses.
pub async fn customer_changed(app: &App, tx: &mut Write, customer: CustomerId) -> Result<()> {
    for id in chain::of_customer(tx, customer).await? {
        chain_changed(app, tx, id).await?;
    }
    Ok(())
}

/// Has a key's document written anew, after the change in this transaction; gives the word that is so.
///
/// # Errors
/// When the database refuses.
pub async fn key_changed(app: &App, tx: &mut Write, key: &ApiKey) -> Result<EventId> {
    enqueue(app, tx, key.chain, Changed::Key(key.id)).await
}

/// Has Redis told of what the ledger holds of a window beside what was counted there, after the change in this
/// transaction.
///
/// # Errors
/// When the database refuses.
pub async fn window_changed(
    app: &App,
    tx: &mut Write,
    chain: SubscriptionId,
    window: String,
) -> Result<()> {
    // While a store is filled it takes nothing: documents do not wait for that.
    let ordering_key = format!("{chain} {window}");
    let changed = Changed::Window(chain, window);
    let now = app.clock.machine_now();
    outbox::enqueue(tx, PUBLISH, &ordering_key, &changed, now)
        .await
        .map(drop)
}

/// In order for each chain: its access document stands before its first key.
async fn enqueue(
    app: &App,
    tx: &mut Write,
    chain: SubscriptionId,
    changed: Changed,
) -> Result<EventId> {
    let now = app.clock.machine_now();
    outbox::enqueue(tx, PUBLISH, &chain.to_string(), &changed, now).await
}

/// Waits until what was committed stands in Redis, so that a key which is used as soon as it is shown is known.
///
/// Half a second at most, and not at all where nobody writes documents: they are written when they can be.
pub async fn written(app: &App, word: EventId) {
    let stopwatch = Stopwatch::start();
    while stopwatch.elapsed() < WRITTEN_WITHIN {
        match is_to_be_written(app, word).await {
            Ok(true) => sleep(WRITTEN_POLL).await,
            Ok(false) => return,
            Err(error) => {
                tracing::warn!(%error, "cannot see whether a document is written");
                return;
            }
        }
    }
}

async fn is_to_be_written(app: &App, word: EventId) -> Result<bool, Failure> {
    let mut reader = app.database.read().await?;
    let now = app.clock.machine_now();
    Ok(jobs::is_held(&mut reader, Publisher::JOB, now).await?
        && outbox::is_pending(&mut reader, word).await?)
}

/// Writes documents that changed.
#[derive(Clone, Debug)]
pub struct Publisher {
    app: App,
    edge: Edge,
}

impl Publisher {
    /// A publisher to the application's Redis.
    #[must_use]
    pub fn new(app: App) -> Self {
        let edge = Edge::new(&app);
        Self { app, edge }
    }
}

impl Publisher {
    /// Writes what the ledger holds of a window, once the store is open: what fills it does not know all of it.
    async fn write_base(&self, chain: SubscriptionId, window: &str) -> anyhow::Result<()> {
        let state = self.edge.state().await?;
        let generation = state.generation.context("the store is empty")?;
        let mut reader = self.app.database.read().await?;
        let tag = chain::tag_of(&mut reader, chain).await?;
        let (id, parsed) = (chain.to_string(), window.parse()?);
        let held = usage::held_beside(&mut reader, &id, &parsed, generation).await?;
        drop(reader);
        let (store, tagged) = (self.edge.names().store(), self.edge.names().tagged(tag));
        let mut base = edge::script(Script::Base, &[&store]);
        base.arg(generation).arg(tagged).arg(id);
        base.arg(window).arg(held.milli());
        let answers = self.edge.run::<i64>(&[base]).await?;
        ensure!(answers == [1], "the store is not open");
        Ok(())
    }
}

impl Consumer for Publisher {
    const TOPIC: Topic = PUBLISH;
    const JOB: &'static str = "publish";
    // Once Redis answers again, what was revoked is refused within a second.
    const LONGEST_WAIT_MS: u64 = 250;

    async fn is_ready(&self) -> bool {
        // An outage leaves the backlog as it is, however long, until Redis answers.
        self.edge.ping().await.is_ok()
    }

    async fn deliver(&self, message: &Message) -> anyhow::Result<()> {
        let mut reader = self.app.database.read().await?;
        let command = match message.payload()? {
            Changed::Chain(id) => {
                let now = self.app.clock.business_now();
                let after = now.before(KEPT_AFTER_END);
                match Loader::default().chain(&mut reader, id, after).await? {
                    Some(chain) => {
                        let block = subscriptions::block(&mut reader, &chain, now).await?;
                        Some(self.edge.publish_access(&chain, block.as_ref(), now))
                    }
                    None => None,
                }
            }
            Changed::Key(id) => {
                let environment = self.app.config.environment;
                let key = keys::find(&mut reader, id, environment).await?;
                key.map(|key| self.edge.publish_key(&key))
            }
            Changed::Window(chain, window) => {
                drop(reader);
                return self.write_base(chain, &window).await;
            }
        };
        drop(reader);
        self.edge.run::<i64>(command.as_slice()).await?;
        Ok(())
    }
}
