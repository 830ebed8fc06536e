//! Customers: their documents as the control plane writes them, and what Redis has counted for them.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use tollgate_engine::api_key::{self, Environment, KeyHash, Tag};
use tollgate_engine::contract::{
    AccessDocument, Entitlement, KeyDocument, Names, Term, Window, WindowId,
};
use tollgate_engine::units::Units;
use tollgate_tests::redis::RedisServer;
use tollgate_tests::store::request;
use tollgate_tests::{PREFIX, publish};

/// A hard limit far away, so that leases are asked for and never short.
const LIMIT: u64 = 1_000_000_000;
const METER: &str = "api_requests";
const GENERATION: &str = "g1";
const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

/// What is left of a customer's units, long after the benchmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// So many that leases are asked for and never short.
    Hard,
    /// There is none.
    Soft,
}

/// Customers with one API key each.
#[derive(Debug)]
pub struct Customers {
    names: Names,
    tag: Tag,
    window: WindowId,
    all: Vec<Customer>,
}

/// A customer with one API key.
#[derive(Debug)]
pub struct Customer {
    key: String,
    subscription: String,
}

/// Opens an empty store.
pub fn open(redis: &mut RedisServer) {
    let names = Names::new(PREFIX);
    publish::load_scripts(redis);
    publish::begin(redis, &names, GENERATION);
    let opened = publish::open(redis, &names, GENERATION, 0);
    assert_eq!(opened, b":1\r\n", "the store opens");
}

impl Customers {
    /// Writes the documents of so many customers, whom no other name gives.
    pub fn publish(redis: &mut RedisServer, name: &str, count: usize, limit: Limit) -> Self {
        let tag = "Ab3z".parse().expect("four characters are a tag");
        let window = current_window(limit);
        let mut customers = Self {
            names: Names::new(PREFIX),
            tag,
            window: AccessDocument::window_id(1, METER, &window),
            all: Vec::with_capacity(count),
        };
        for number in 0..count {
            let customer = Customer::new(name, number, tag);
            let access = access(&customer.subscription, window.clone());
            publish::publish_access(redis, &customers.names, tag, &access);
            customers.publish_key(redis, &customer, 1, None);
            customers.all.push(customer);
        }
        customers
    }

    fn publish_key(
        &self,
        redis: &mut RedisServer,
        customer: &Customer,
        version: u64,
        revoked_at_ms: Option<i64>,
    ) {
        let document = KeyDocument {
            id: format!("key_{}", &customer.subscription["sub_".len()..]),
            chain: customer.subscription.clone(),
            tag: self.tag,
            subject: None,
            expires_at_ms: None,
            revoked_at_ms,
            bypass: false,
        };
        let hash = KeyHash::of(&customer.key);
        publish::publish_key(redis, &self.names, &hash, version, &document);
    }

    /// Revokes the key of one of them.
    pub fn revoke(&self, redis: &mut RedisServer, number: usize) {
        self.publish_key(redis, &self.all[number], 2, Some(1));
    }

    /// The API keys.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.all.iter().map(|customer| customer.key.as_str())
    }

    /// Consumed units of all of them in Redis.
    pub fn consumed(&self, redis: &RedisServer) -> u64 {
        let field = format!("c/{}", self.window);
        let ask = |customer: &Customer| {
            let usage = self.names.usage(self.tag, &customer.subscription);
            request(&["HGET", &usage, &field])
        };
        let asked: Vec<u8> = self.all.iter().flat_map(ask).collect();
        let answer = redis.exchange(&asked);
        let text = String::from_utf8_lossy(&answer);
        let values = text.lines().filter(|line| !line.starts_with('$'));
        let milli: u64 = values.filter_map(|value| value.parse::<u64>().ok()).sum();
        milli / Units::ONE.milli()
    }
}

impl Customer {
    /// Ids are as long as real ones, since they travel in headers.
    fn new(name: &str, number: usize, tag: Tag) -> Self {
        let name = name.replace('_', "");
        let secret = format!("{name:x<16}{number:0>10}");
        let key = api_key::compose(Environment::Test, tag, &secret);
        Self {
            key: key.expect("26 characters are a secret"),
            subscription: format!("sub_{name:X<16}{number:0>10}"),
        }
    }
}

fn current_window(limit: Limit) -> Window {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now_ms = i64::try_from(now.expect("it is after 1970").as_millis());
    let now_ms = now_ms.expect("milliseconds fit");
    Window {
        start_ms: now_ms - HOUR_MS,
        end_ms: now_ms + 30 * DAY_MS,
        included: None,
        limit: match limit {
            Limit::Hard => Units::ONE.checked_mul(LIMIT),
            Limit::Soft => None,
        },
        carried: Vec::new(),
    }
}

fn access(subscription: &str, window: Window) -> AccessDocument {
    AccessDocument {
        chain: subscription.to_owned(),
        version: 1,
        customer: "cus_01K5B3N4Q5R6S7T8V9W0X1Y2Z3".to_owned(),
        block: None,
        terms: vec![Term {
            from_ms: window.start_ms,
            to_ms: None,
            epoch: 1,
            subscription: subscription.to_owned(),
            plan: "pro".to_owned(),
            entitlements: BTreeMap::from([(
                METER.to_owned(),
                Entitlement::Metered {
                    windows: vec![window],
                },
            )]),
        }],
    }
}
