//! A Redis and an upstream to put Envoys between, with customers written by the contract alone: no control plane.

use serde_json::{Value, json};
use tokio::sync::{Mutex, MutexGuard};
use tollgate_engine::contract::{AccessDocument, KeyDocument, Names};
use tollgate_tests::PREFIX;
use tollgate_tests::envoy::{AccessLog, Envoy, EnvoyOptions};
use tollgate_tests::proxy::Proxy;
use tollgate_tests::publish;
use tollgate_tests::redis::{Persistence, RedisOptions, RedisServer};
use tollgate_tests::store::request;
use tollgate_tests::upstream::Upstream;
use tollgate_tests::wait;

use crate::customer::{self, Customer, Quota};

/// How long a worker waits for Redis in tests that disturb it, so that no test has to wait long.
pub const TIMEOUT_MS: u64 = 150;
/// The life of a lease in such tests.
pub const LEASE_TTL_MS: u64 = 1_500;

static ALONE: Mutex<()> = Mutex::const_new(());

/// Waits until no other test of this process runs.
pub async fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().await
}

pub struct World {
    pub redis: RedisServer,
    pub upstream: Upstream,
    pub names: Names,
    customers: u32,
}

impl World {
    /// A world with an open store.
    pub fn open() -> Self {
        let mut world = Self::closed();
        publish::load_scripts(&mut world.redis);
        publish::begin(&mut world.redis, &world.names, "1");
        publish::open(&mut world.redis, &world.names, "1", 0);
        world
    }

    /// A world whose store nobody has opened.
    pub fn closed() -> Self {
        Self {
            redis: RedisServer::start(RedisOptions {
                persistence: Persistence::EverySecond,
                acl_file: None,
            }),
            upstream: Upstream::start(),
            names: Names::new(PREFIX),
            customers: 0,
        }
    }

    /// Has the store's business time be so far ahead, as a sandbox's control plane would.
    pub fn move_time(&self, offset_ms: i64) {
        let (store, offset) = (self.names.store(), offset_ms.to_string());
        let answer = self
            .redis
            .exchange(&request(&["HSET", &store, "offset", &offset]));
        assert!(answer.starts_with(b":"));
    }

    /// A new customer of a plan with these meters.
    pub fn customer(&mut self, meters: &[(&str, Quota)]) -> Customer {
        let customer = self.stranger();
        self.write_access(&customer, &customer::access(&customer.chain, meters));
        self.write_key(&customer, &customer::key_document(&customer));
        customer
    }

    /// A customer nobody knows yet.
    pub fn stranger(&mut self) -> Customer {
        self.customers += 1;
        let chain = format!("sub_{}", self.customers);
        Customer::new(&customer::key_number(self.customers), &chain)
    }

    pub fn write_access(&mut self, customer: &Customer, document: &AccessDocument) {
        publish::publish_access(&mut self.redis, &self.names, customer.tag, document);
    }

    pub fn write_key(&mut self, customer: &Customer, document: &KeyDocument) {
        publish::publish_key(&mut self.redis, &self.names, &customer.hash(), 1, document);
    }

    /// How an Envoy between upstream and Redis is started.
    pub fn options(&self) -> EnvoyOptions {
        // Thousands of lines would hide what the filter says.
        EnvoyOptions {
            access_log: AccessLog::None,
            ..EnvoyOptions::new(self.upstream.address(), self.redis.address())
        }
    }

    pub async fn envoy(&self) -> Envoy {
        Envoy::start(self.options()).await
    }

    /// How an Envoy is started that reaches Redis through a proxy and has short times.
    pub fn hasty_options(&self, proxy: &Proxy) -> EnvoyOptions {
        let mut options = self.options();
        options.redis = proxy.address();
        hasten(&mut options.policy);
        options
    }

    /// Waits until Redis has counted so many units of a customer, and none more.
    pub async fn wait_until_consumed(&self, customer: &Customer, units: u64) {
        wait_until_consumed(&self.redis, customer, units).await;
    }
}

/// Gives a policy short times, and known keys whatever they want while Redis is away.
pub fn hasten(policy: &mut Value) {
    policy["redis"]["timeoutMs"] = TIMEOUT_MS.into();
    policy["metering"] =
        json!({"flushIntervalMs": 100, "maxUnsettledMs": 400, "leaseTtlMs": LEASE_TTL_MS});
    policy["onUnavailable"] = json!({"offlineUnits": 1_000_000});
}

/// Waits until Redis has counted so many units of a customer, and none more.
pub async fn wait_until_consumed(redis: &RedisServer, customer: &Customer, units: u64) {
    let expected = units as f64;
    let what = format!("{expected} consumed units of {}", customer.chain);
    wait::until(&what, async || {
        let counters = customer.counters(redis);
        assert!(
            counters.consumed() <= expected,
            "more than {expected} units: {counters:?}"
        );
        if counters.consumed() == expected {
            Ok(())
        } else {
            Err(format!("{counters:?}"))
        }
    })
    .await;
}
