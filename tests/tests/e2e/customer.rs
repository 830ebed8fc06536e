//! Customers, and what Redis counted of them.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use tollgate_engine::api_key::{self, Environment, KeyHash, Tag};
use tollgate_engine::contract::{AccessDocument, Entitlement, KeyDocument, Names, Term, Window};
use tollgate_engine::resp::{Replies, Reply};
use tollgate_engine::units::Units;
use tollgate_tests::PREFIX;
use tollgate_tests::redis::RedisServer;
use tollgate_tests::store::request;

pub const HOUR_MS: i64 = 3_600_000;

/// Who holds a key, whoever wrote it into Redis.
#[derive(Clone, Debug)]
pub struct Customer {
    /// The whole API key.
    pub key: String,
    pub tag: Tag,
    pub chain: String,
}

impl Customer {
    /// The customer with this key, which carries the chain's tag.
    pub fn new(key: &str, chain: &str) -> Self {
        Self {
            key: key.to_owned(),
            tag: key[8..12].parse().unwrap(),
            chain: chain.to_owned(),
        }
    }

    pub fn hash(&self) -> KeyHash {
        KeyHash::of(&self.key)
    }

    /// Everything Redis counts of the customer, asked past any proxy.
    pub fn counters(&self, redis: &RedisServer) -> Counters {
        let usage = Names::new(PREFIX).usage(self.tag, &self.chain);
        let answer = redis.exchange(&request(&["HGETALL", &usage]));
        let reply = Replies::new(&answer).next().unwrap().unwrap();
        let text =
            |reply: &Reply<'_>| String::from_utf8_lossy(reply.as_bulk().unwrap()).into_owned();
        let fields = reply.as_array().unwrap().chunks_exact(2);
        Counters(
            fields
                .map(|pair| (text(&pair[0]), text(&pair[1])))
                .collect(),
        )
    }
}

/// Counters of a chain over all its windows, in units.
#[derive(Clone, Debug)]
pub struct Counters(BTreeMap<String, String>);

impl Counters {
    /// Units consumed, in this life of the store and before.
    pub fn consumed(&self) -> f64 {
        self.sum("c/") + self.sum("b/")
    }

    /// Units consumed of one window in this life of the store.
    pub fn consumed_of(&self, window: &str) -> f64 {
        self.sum(&format!("c/{window}"))
    }

    /// Units leased out.
    pub fn leased(&self) -> f64 {
        self.sum("o/")
    }

    fn sum(&self, kind: &str) -> f64 {
        let counters = self.0.iter().filter(|(field, _)| field.starts_with(kind));
        let milli: u64 = counters
            .map(|(_, milli)| milli.parse::<u64>().unwrap())
            .sum();
        milli as f64 / 1_000.0
    }
}

/// What a plan gives of a meter.
#[derive(Clone, Copy, Debug)]
pub enum Quota {
    /// So many units, and none more.
    Hard(u64),
    /// So many units included, and any number more.
    Soft(u64),
}

impl Quota {
    /// An entitlement for the thirty days around now.
    pub fn entitlement(self) -> Entitlement {
        let units = |count| Units::ONE.checked_mul(count).unwrap();
        let (included, limit) = match self {
            Self::Hard(count) => (units(count), Some(units(count))),
            Self::Soft(count) => (units(count), None),
        };
        let start_ms = now_ms() - HOUR_MS;
        Entitlement::Metered {
            windows: vec![Window {
                start_ms,
                end_ms: start_ms + 30 * 24 * HOUR_MS,
                included: Some(included),
                limit,
                carried: Vec::new(),
            }],
        }
    }
}

/// The access of a chain whose one subscription began an hour ago.
pub fn access(chain: &str, meters: &[(&str, Quota)]) -> AccessDocument {
    let entitlements = meters
        .iter()
        .map(|(meter, quota)| ((*meter).to_owned(), quota.entitlement()));
    AccessDocument {
        chain: chain.to_owned(),
        version: 1,
        customer: format!("cus_of_{chain}"),
        block: None,
        terms: vec![Term {
            from_ms: now_ms() - HOUR_MS,
            to_ms: None,
            epoch: 1,
            subscription: chain.to_owned(),
            plan: "plan".to_owned(),
            entitlements: entitlements.collect(),
        }],
    }
}

/// The document of a customer's key.
pub fn key_document(customer: &Customer) -> KeyDocument {
    KeyDocument {
        id: format!("key_of_{}", customer.chain),
        chain: customer.chain.clone(),
        tag: customer.tag,
        subject: None,
        expires_at_ms: None,
        revoked_at_ms: None,
        bypass: false,
    }
}

/// A well-formed key that no control plane issued; every number makes another.
pub fn key_number(number: u32) -> String {
    let tag = "Ab3z".parse().unwrap();
    api_key::compose(Environment::Test, tag, &format!("{number:0>26}")).unwrap()
}

/// Unix milliseconds.
pub fn now_ms() -> i64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(elapsed.as_millis()).unwrap()
}
