//! The one busy key: its documents as the control plane writes them, and what Redis has counted for it.

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
/// Ids as long as real ones, since they travel in headers.
const SUBSCRIPTION: &str = "sub_01K5B3N4Q5R6S7T8V9W0X1Y2Z3";

/// A customer with one API key.
#[derive(Debug)]
pub struct Customer {
    key: String,
    names: Names,
    tag: Tag,
    window: WindowId,
}

impl Customer {
    /// Opens an empty store with the documents of one customer.
    pub fn publish(redis: &mut RedisServer) -> Self {
        let tag = "Ab3z".parse().expect("four characters are a tag");
        let key = api_key::compose(Environment::Test, tag, "abcdefghijklmnopqrstuvwxyz");
        let window = current_window();
        let customer = Self {
            key: key.expect("26 characters are a secret"),
            names: Names::new(PREFIX),
            tag,
            window: AccessDocument::window_id(1, METER, &window),
        };
        let (names, hash) = (&customer.names, KeyHash::of(&customer.key));
        publish::load_scripts(redis);
        publish::begin(redis, names, GENERATION);
        publish::publish_access(redis, names, tag, &access(window));
        publish::publish_key(redis, names, &hash, 1, &key_document(tag));
        let opened = publish::open(redis, names, GENERATION, 0);
        assert_eq!(opened, b":1\r\n", "the store opens");
        customer
    }

    /// The API key.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Consumed units in Redis.
    pub fn consumed(&self, redis: &RedisServer) -> u64 {
        let usage = self.names.usage(self.tag, SUBSCRIPTION);
        let field = format!("c/{}", self.window);
        let answer = redis.exchange(&request(&["HGET", &usage, &field]));
        let text = String::from_utf8_lossy(&answer);
        let milli: Option<u64> = text.lines().nth(1).and_then(|value| value.parse().ok());
        milli.unwrap_or(0) / Units::ONE.milli()
    }
}

fn current_window() -> Window {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now_ms = i64::try_from(now.expect("it is after 1970").as_millis());
    let now_ms = now_ms.expect("milliseconds fit");
    Window {
        start_ms: now_ms - HOUR_MS,
        end_ms: now_ms + 30 * DAY_MS,
        included: None,
        limit: Units::ONE.checked_mul(LIMIT),
        carried: Vec::new(),
    }
}

fn access(window: Window) -> AccessDocument {
    AccessDocument {
        chain: SUBSCRIPTION.to_owned(),
        version: 1,
        customer: "cus_01K5B3N4Q5R6S7T8V9W0X1Y2Z3".to_owned(),
        block: None,
        terms: vec![Term {
            from_ms: window.start_ms,
            to_ms: None,
            epoch: 1,
            subscription: SUBSCRIPTION.to_owned(),
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

fn key_document(tag: Tag) -> KeyDocument {
    KeyDocument {
        id: "key_01K5B3N4Q5R6S7T8V9W0X1Y2Z3".to_owned(),
        chain: SUBSCRIPTION.to_owned(),
        tag,
        subject: None,
        expires_at_ms: None,
        revoked_at_ms: None,
        bypass: false,
    }
}
