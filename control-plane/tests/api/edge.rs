//! A control plane with a Redis of its own, whose jobs run when the test says so, and workers that settle there.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use tollgate::clock::Clock;
use tollgate::jobs::{Claim, Job};
use tollgate::outbox::Dispatcher;
use tollgate::publisher::Publisher;
use tollgate::publisher::lifecycle::Keeper;
use tollgate::publisher::renewal::Renewal;
use tollgate_engine::api_key::{KeyHash, Tag};
use tollgate_engine::contract::answer::{AnswerError, Outcome, Settled};
use tollgate_engine::contract::call::{
    BatchHeader, Entry, Funding, LostLeases, Order, Subject, Writer,
};
use tollgate_engine::contract::{AccessDocument, KeyDocument, Names, Script};
use tollgate_engine::resp::{Replies, Reply};
use tollgate_tests::redis::{RedisOptions, RedisServer};
use tollgate_tests::store::request;

use crate::bank;
use crate::shop::{self, text};
use crate::world::{TestDatabase, World};

/// The hour that workers name, which may be any.
pub const HOUR: i64 = 495_000;
const LEASE_TTL_MS: u64 = 5_000;

pub struct Edge {
    pub world: World,
    pub redis: RedisServer,
    pub names: Names,
    keeper: Keeper,
    publishing: Dispatcher<Publisher>,
    renewal: Renewal,
}

impl Edge {
    /// A shop whose store is open.
    pub async fn open(database: TestDatabase) -> Self {
        Self::with(database, RedisOptions::default()).await
    }

    pub async fn with(database: TestDatabase, options: RedisOptions) -> Self {
        let redis = RedisServer::start(options);
        // Somewhat behind Redis, so that what a test does in a minute is over there.
        let now = Timestamp::now() - SignedDuration::from_mins(10);
        let edge = Self::on(database, redis, now).await;
        shop::open(&edge.world).await;
        edge.keep().await;
        edge
    }

    /// A control plane on a Redis, with nothing done yet.
    pub async fn on(database: TestDatabase, redis: RedisServer, now: Timestamp) -> Self {
        let url = format!("redis://{}", redis.address());
        Self::at(database, redis, &url, now).await
    }

    /// The same with a user of its own.
    pub async fn at(database: TestDatabase, redis: RedisServer, url: &str, now: Timestamp) -> Self {
        let settings = [
            ("REDIS_URL", url),
            ("TOLLGATE_USAGE_DRAIN_INTERVAL_MS", "1"),
            ("STRIPE_API_KEY", bank::STRIPE_KEY),
            ("STRIPE_WEBHOOK_SECRET", bank::WEBHOOK_SECRET),
        ];
        let world = World::at(database, &settings, Clock::manual(now)).await;
        Self {
            names: Names::new(&world.app.config.redis.prefix),
            keeper: Keeper::new(world.app.clone()),
            publishing: Dispatcher::new(world.app.clone(), Publisher::new(world.app.clone())),
            renewal: Renewal::new(world.app.clone()),
            world,
            redis,
        }
    }

    /// Another process on the same database and Redis, whose jobs take over.
    pub fn replica(self) -> Self {
        let app = self.world.app.clone();
        Self {
            keeper: Keeper::new(app.clone()),
            publishing: Dispatcher::new(app.clone(), Publisher::new(app.clone())),
            renewal: Renewal::new(app),
            ..self
        }
    }

    /// The right to a job: whoever asks last has it.
    pub async fn claim(&self, job: &str) -> Claim {
        static OWNERS: AtomicU64 = AtomicU64::new(0);
        let database = &self.world.app.database;
        let now = self.world.clock.machine_now();
        tollgate::jobs::free_all(database).await.unwrap();
        let at = now.after(Duration::from_millis(OWNERS.fetch_add(1, Ordering::SeqCst)));
        let owner = tollgate::ids::WorkerId::generate(at);
        let lease = Duration::from_secs(3_600);
        Claim::take(database, job, owner, now, lease)
            .await
            .unwrap()
            .unwrap()
    }

    /// One run of the job that fills and drains the store.
    pub async fn keep(&self) {
        self.run_keeper(&self.claim("store").await).await.unwrap();
    }

    /// A second keeper of the same store.
    pub fn second_keeper(&self) -> Keeper {
        Keeper::new(self.world.app.clone())
    }

    /// One run of the keeper with this claim.
    pub async fn run_keeper(&self, claim: &Claim) -> anyhow::Result<()> {
        self.run(&self.keeper, claim).await
    }

    pub async fn run(&self, keeper: &Keeper, claim: &Claim) -> anyhow::Result<()> {
        // The shortest interval between two drains.
        tokio::time::sleep(Duration::from_millis(2)).await;
        keeper.run(claim).await
    }

    /// Writes what changed.
    pub async fn publish(&self) {
        self.publishing
            .run(&self.claim("publish").await)
            .await
            .unwrap();
    }

    /// Renews documents, then writes them.
    pub async fn renew(&self) {
        self.renewal
            .run(&self.claim("renewal").await)
            .await
            .unwrap();
        self.publish().await;
    }

    /// Runs one command and shows its reply.
    pub fn command(&self, words: &[&str]) -> String {
        let answer = self.redis.exchange(&request(words));
        shown(&Replies::new(&answer).next().unwrap().unwrap())
    }

    /// Runs a script of the control plane and shows its reply.
    pub fn run_script(&self, script: Script, keys: &[&str], arguments: &[&str]) -> String {
        let (digest, count) = (script.sha1(), keys.len().to_string());
        self.command(&[&["EVALSHA", &digest, &count], keys, arguments].concat())
    }

    /// A field of a hash, or an empty text.
    pub fn field(&self, name: &str, field: &str) -> String {
        self.command(&["HGET", name, field])
    }

    /// Where a subscription's chain stands.
    pub async fn chain(&self, subscription: &Value) -> Chain {
        let id = text(&subscription["chain"]).to_owned();
        let mut reader = self.world.app.database.read().await.unwrap();
        let id_parsed = id.parse().unwrap();
        let tag = tollgate::subscriptions::chain::tag_of(&mut reader, id_parsed)
            .await
            .unwrap();
        Chain { id, tag }
    }

    /// The access document in Redis.
    pub fn access(&self, chain: &Chain) -> Option<AccessDocument> {
        let document = self.field(&self.names.access(chain.tag, &chain.id), "doc");
        serde_json::from_str(&document).ok()
    }

    /// The document of a key in Redis.
    pub fn key(&self, chain: &Chain, secret: &Value) -> Option<KeyDocument> {
        let hash = KeyHash::of(text(secret));
        let document = self.field(&self.names.key(chain.tag, &hash), "doc");
        serde_json::from_str(&document).ok()
    }

    /// Whether the filter may use the store, and its generation.
    pub fn store(&self) -> (String, String) {
        let store = self.names.store();
        (
            self.field(&store, "ready"),
            self.field(&store, "generation"),
        )
    }

    /// Used and remaining units as the API tells them.
    pub async fn usage(&self, subscription: &Value) -> (String, String) {
        let usage = shop::look(&self.world, subscription, "/usage").await;
        let meter = &usage["meters"][0];
        (
            text(&meter["used"]).to_owned(),
            text(&meter["remaining"]).to_owned(),
        )
    }
}

/// Where the state of a chain of subscriptions stands.
#[derive(Clone, Debug)]
pub struct Chain {
    pub id: String,
    pub tag: Tag,
}

/// A worker of a gateway, as Redis sees it.
pub struct Worker {
    name: &'static str,
    pub sequence: u64,
    chain: Chain,
}

/// One thing that a worker reports; units are whole.
#[derive(Clone, Copy, Debug)]
pub enum Report<'a> {
    /// Consumed from a lease of the window.
    Spent(&'a str, u64),
    /// Consumed without a lease.
    Unleased(&'a str, u64),
    /// Wanted by requests that wait, of the current window.
    Needs(u64),
    /// Held from an earlier life of the store.
    Holds(&'a str, u64),
}

/// What Redis answered to a worker, in whole units.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reaction {
    Unready,
    NotLoaded,
    Unknown,
    /// What became of the batch, and the last number Redis has.
    Settled(Outcome, u64),
    /// The same, with granted, remaining and used units of the current window.
    Granted(Outcome, u64, u64, u64),
}

impl Worker {
    pub fn new(name: &'static str, chain: &Chain) -> Self {
        Self {
            name,
            sequence: 0,
            chain: chain.clone(),
        }
    }

    /// Sends the next batch.
    pub fn settle(&mut self, edge: &Edge, reports: &[Report<'_>]) -> Reaction {
        self.sequence += 1;
        self.settle_again(edge, Order::Next, reports)
    }

    /// Sends a batch with the last number.
    pub fn settle_again(&self, edge: &Edge, order: Order, reports: &[Report<'_>]) -> Reaction {
        let entries = reports.iter().map(|report| report.entry());
        let writer = Writer::new(edge.names.clone(), LostLeases::Hold, LEASE_TTL_MS);
        let mut batch = Vec::new();
        let subject = Subject::Chain {
            tag: self.chain.tag,
            chain: &self.chain.id,
        };
        let header = BatchHeader {
            worker: self.name,
            sequence: self.sequence,
            version: 0,
            order,
        };
        writer.settle(&mut batch, &subject, &header, entries);
        let answer = edge.redis.exchange(&batch);
        reaction(&Replies::new(&answer).next().unwrap().unwrap())
    }
}

impl<'a> Report<'a> {
    fn entry(self) -> Entry<'a> {
        let consumed = |window, units: u64, funding| Entry::Consumed {
            window,
            hour: HOUR,
            key: "key_1",
            milli: units * 1_000,
            funding,
        };
        match self {
            Self::Spent(window, units) => consumed(window, units, Funding::Leased),
            Self::Unleased(window, units) => consumed(window, units, Funding::Unleased),
            Self::Needs(units) => Entry::Wanted {
                meter: "calls",
                window: "",
                least: units * 1_000,
                need: units * 1_000,
                want: units * 1_000,
            },
            Self::Holds(window, units) => Entry::Declared {
                window,
                milli: units * 1_000,
            },
        }
    }
}

fn reaction(reply: &Reply<'_>) -> Reaction {
    let receipt = match Settled::read(reply) {
        Ok(Settled::Known(receipt)) => receipt,
        Ok(Settled::Unready) => return Reaction::Unready,
        Ok(Settled::Unknown) => return Reaction::Unknown,
        Err(AnswerError::NoScript) => return Reaction::NotLoaded,
        Err(error) => panic!("{error}"),
    };
    match receipt.windows.first() {
        None => Reaction::Settled(receipt.outcome, receipt.last),
        Some(window) => Reaction::Granted(
            receipt.outcome,
            window.granted / 1_000,
            window.remaining.unwrap_or(0) / 1_000,
            window.used / 1_000,
        ),
    }
}

/// The id of a meter's window at an instant of a document.
pub fn window_at(document: &AccessDocument, at_ms: i64) -> String {
    let term = document
        .terms
        .iter()
        .find(|term| term.contains(at_ms))
        .unwrap();
    let tollgate_engine::contract::Entitlement::Metered { windows } = &term.entitlements["calls"]
    else {
        panic!("{term:?}");
    };
    let open = windows
        .iter()
        .find(|window| window.start_ms <= at_ms && at_ms < window.end_ms);
    AccessDocument::window_id(term.epoch, "calls", open.unwrap()).to_string()
}

fn shown(reply: &Reply<'_>) -> String {
    match reply {
        Reply::Simple(bytes) | Reply::Bulk(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Reply::Error(message) => panic!("{}", String::from_utf8_lossy(message)),
        Reply::Integer(number) => number.to_string(),
        Reply::Nil => String::new(),
        Reply::Array(replies) => replies.iter().map(shown).collect::<Vec<_>>().join(" "),
    }
}
