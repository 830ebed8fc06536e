//! Effects outside the database: written down in the transaction that calls for them, carried out
//! afterwards until they succeed.
//!
//! At least once, and in order for each ordering key: while one message of a key fails, later ones
//! of that key wait and those of other keys go on. Consumers must bear repeats.

mod store;

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{Mutex, watch};
use tokio::task::JoinSet;
use tracing::Instrument;

use crate::app::App;
use crate::clock::MachineInstant;
use crate::database::{Connection, Database, Failure, Write};
use crate::error::{Error, Result};
use crate::ids::EventId;
use crate::jobs::{Claim, Job};

/// Messages carried out by one round, which ends with one transaction.
const MESSAGES_PER_ROUND: i64 = 100;

/// What a message is about; one consumer takes all messages of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Topic(&'static str);

impl Topic {
    /// A topic by its name in the database.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self(name)
    }
}

/// Carries out the messages of one topic.
pub trait Consumer: Send + Sync + 'static {
    /// The topic.
    const TOPIC: Topic;
    /// The job that carries its messages out.
    const JOB: &'static str;
    /// How many messages, of as many ordering keys, are carried out at once.
    const AT_ONCE: usize = 1;
    /// The longest wait before a message is tried again, where the configured one is too long.
    const LONGEST_WAIT_MS: u64 = u64::MAX;

    /// Whether messages can be carried out at all; while they cannot, none is tried.
    fn is_ready(&self) -> impl Future<Output = bool> + Send {
        std::future::ready(true)
    }

    /// Carries out one message; it comes again until this succeeds.
    fn deliver(&self, message: &Message) -> impl Future<Output = anyhow::Result<()>> + Send;
}

/// An effect to carry out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Tells repeats from new messages.
    pub id: EventId,
    /// Messages of one key come in the order of their commits.
    pub ordering_key: String,
    /// How often it was tried before.
    pub attempts: u32,
    /// When it was written down.
    pub enqueued_at: MachineInstant,
    payload: String,
}

impl Message {
    /// An effect that is not written down yet.
    ///
    /// # Errors
    /// When the payload is no document.
    pub fn new(
        ordering_key: String,
        payload: &impl Serialize,
        now: MachineInstant,
    ) -> Result<Self> {
        Ok(Self {
            id: EventId::generate(now),
            ordering_key,
            attempts: 0,
            enqueued_at: now,
            payload: serde_json::to_string(payload).map_err(Error::internal)?,
        })
    }

    /// What was enqueued.
    ///
    /// # Errors
    /// When it is not the document expected.
    pub fn payload<T: DeserializeOwned>(&self) -> serde_json::Result<T> {
        serde_json::from_str(&self.payload)
    }
}

/// Writes an effect down in the transaction that calls for it; carried out after its commit.
///
/// # Errors
/// When the database refuses.
pub async fn enqueue(
    tx: &mut Write,
    topic: Topic,
    ordering_key: &str,
    payload: &impl Serialize,
    now: MachineInstant,
) -> Result<EventId> {
    let message = Message::new(ordering_key.to_owned(), payload, now)?;
    let id = message.id;
    enqueue_all(tx, topic, &[message]).await?;
    Ok(id)
}

/// Writes effects of one topic down, in order.
///
/// # Errors
/// When the database refuses.
pub async fn enqueue_all(tx: &mut Write, topic: Topic, messages: &[Message]) -> Result<()> {
    store::insert(tx, topic, messages).await?;
    tx.wake_outbox();
    Ok(())
}

/// Whether a message is not carried out yet.
///
/// # Errors
/// When the database refuses.
pub async fn is_pending(connection: &mut Connection, id: EventId) -> Result<bool, Failure> {
    store::exists(connection, id).await
}

/// How many messages of a topic are not carried out yet.
///
/// # Errors
/// When the database refuses.
pub async fn pending(app: &App, topic: Topic) -> Result<u64, Failure> {
    let (count, _) = store::backlog(&mut *app.database.read().await?, topic).await?;
    Ok(u64::try_from(count).unwrap_or(0))
}

/// How many messages are not carried out yet, by topic.
///
/// # Errors
/// When the database refuses.
pub async fn backlogs(connection: &mut Connection) -> Result<Vec<(String, u64)>, Failure> {
    let backlogs = store::backlogs(connection).await?.into_iter();
    let counted = backlogs.map(|(topic, count)| (topic, u64::try_from(count).unwrap_or(0)));
    Ok(counted.collect())
}

/// When the oldest message of a topic that is not carried out yet was written down.
///
/// # Errors
/// When the database refuses.
pub async fn oldest(database: &Database, topic: Topic) -> Result<Option<MachineInstant>, Failure> {
    let (_, oldest) = store::backlog(&mut *database.read().await?, topic).await?;
    Ok(oldest.map(MachineInstant::from_unix_ms))
}

/// The job that carries out the messages of one consumer's topic.
#[derive(Debug)]
pub struct Dispatcher<C> {
    app: App,
    consumer: Arc<C>,
    wake_ups: Mutex<watch::Receiver<()>>,
}

impl<C: Consumer> Dispatcher<C> {
    /// The job for `consumer`.
    #[must_use]
    pub fn new(app: App, consumer: C) -> Self {
        let wake_ups = Mutex::new(app.database.subscribe_outbox());
        Self {
            app,
            consumer: Arc::new(consumer),
            wake_ups,
        }
    }

    /// Carries out the first message of each ordering key, and says whether there may be more.
    async fn round(&self, claim: &Claim) -> anyhow::Result<Progress> {
        let now = self.app.clock.machine_now();
        let messages = {
            let mut reader = self.app.database.read().await?;
            store::due_heads(&mut reader, C::TOPIC, now, MESSAGES_PER_ROUND).await?
        };
        if messages.is_empty() {
            return Ok(Progress::Done);
        }
        let mut outcomes = Vec::with_capacity(messages.len());
        let mut waiting = messages.into_iter();
        let mut running = JoinSet::new();
        loop {
            while running.len() < C::AT_ONCE
                && let Some(message) = waiting.next()
            {
                let consumer = Arc::clone(&self.consumer);
                let delivery = async move {
                    let outcome = consumer.deliver(&message).await;
                    (message, outcome)
                };
                running.spawn(delivery.in_current_span());
            }
            match running.join_next().await {
                Some(outcome) => outcomes.push(outcome?),
                None => break,
            }
        }
        self.record(claim, outcomes).await?;
        Ok(Progress::More)
    }

    async fn record(
        &self,
        claim: &Claim,
        outcomes: Vec<(Message, anyhow::Result<()>)>,
    ) -> anyhow::Result<()> {
        let now = self.app.clock.machine_now();
        let mut tx = self.app.database.begin_write().await?;
        for (message, outcome) in outcomes {
            match outcome {
                Ok(()) => store::remove(&mut tx, message.id).await?,
                Err(error) => {
                    let again = now.after(self.wait(message.attempts));
                    store::postpone(&mut tx, message.id, again).await?;
                    let (id, attempts) = (message.id, message.attempts + 1);
                    let error = format!("{error:#}");
                    tracing::warn!(%id, attempts, error, topic = C::TOPIC.0, "will try again");
                    metrics::counter!("tollgate_outbox_failures_total", "topic" => C::TOPIC.0)
                        .increment(1);
                }
            }
        }
        claim.commit(tx).await?;
        Ok(())
    }

    /// first × 2^attempts, up to the longest configured and the consumer's own.
    fn wait(&self, attempts: u32) -> Duration {
        let config = &self.app.config.outbox;
        let first_ms = u64::from(config.retry_first_ms);
        let wait_ms = first_ms.saturating_mul(1_u64.checked_shl(attempts).unwrap_or(u64::MAX));
        let longest_ms = u64::from(config.retry_longest_ms).min(C::LONGEST_WAIT_MS);
        Duration::from_millis(wait_ms.min(longest_ms))
    }

    async fn measure(&self) -> anyhow::Result<()> {
        let mut reader = self.app.database.read().await?;
        let (count, oldest) = store::backlog(&mut reader, C::TOPIC).await?;
        let now = self.app.clock.machine_now().unix_ms();
        let lag_seconds = oldest.map_or(0.0, |oldest| (now - oldest).max(0) as f64 / 1_000.0);
        metrics::gauge!("tollgate_outbox_pending", "topic" => C::TOPIC.0).set(count as f64);
        metrics::gauge!("tollgate_outbox_lag_seconds", "topic" => C::TOPIC.0).set(lag_seconds);
        Ok(())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    More,
    Done,
}

impl<C: Consumer> Job for Dispatcher<C> {
    fn name(&self) -> &'static str {
        C::JOB
    }

    /// Short, because another replica's commits wake nobody here.
    fn interval(&self) -> Duration {
        Duration::from_millis(self.app.config.outbox.poll_ms.into())
    }

    async fn work(&self) {
        // The sender lives as long as the database this job holds.
        let _ = self.wake_ups.lock().await.changed().await;
    }

    async fn run(&self, claim: &Claim) -> anyhow::Result<()> {
        while self.consumer.is_ready().await && self.round(claim).await? == Progress::More {}
        self.measure().await
    }
}
