//! The control plane's part: publishes documents, drains counters, and rebuilds a store that was lost.

use std::collections::BTreeMap;

use tollgate_engine::api_key::{KeyHash, Tag};
use tollgate_engine::contract::{
    AccessDocument, CounterField, Entitlement, KeyDocument, Names, Script, Term, Window, WindowId,
};
use tollgate_engine::limits::CLAIM_SILENCE_MAX_MS;
use tollgate_engine::resp::{Replies, Reply};
use tollgate_engine::units::Units;
use tollgate_tests::model::Model;
use tollgate_tests::publish::{self, run_script};
use tollgate_tests::store::request;

use crate::rates::{FEATURE, Rate};

pub const METER: &str = "api_requests";
pub const CHAIN: &str = "sub_01";
/// What the gateways' `leaseTtlMs` is.
pub const LEASE_TTL_MS: u64 = 5_000;

/// What the database holds.
pub struct Ledger {
    pub names: Names,
    pub tag: Tag,
    key_hash: KeyHash,
    generation: u64,
    version: u64,
    document: AccessDocument,
    counters: BTreeMap<(String, String, String), u64>,
    sequences: BTreeMap<String, u64>,
    rate: Option<Rate>,
}

impl Ledger {
    /// A subscription that began at `start_ms` (unix) with one window of a month.
    pub fn new(
        names: Names,
        tag: Tag,
        key_hash: KeyHash,
        start_ms: i64,
        limit: Option<u64>,
        rate: Option<Rate>,
    ) -> Self {
        let mut ledger = Self {
            names,
            tag,
            key_hash,
            generation: 0,
            version: 0,
            document: AccessDocument {
                chain: CHAIN.to_owned(),
                version: 0,
                customer: "cus_01".to_owned(),
                block: None,
                terms: Vec::new(),
            },
            counters: BTreeMap::new(),
            sequences: BTreeMap::new(),
            rate,
        };
        ledger.begin_term(start_ms, limit);
        ledger
    }

    fn begin_term(&mut self, start_ms: i64, limit: Option<u64>) {
        let epoch = u32::try_from(self.document.terms.len()).unwrap() + 1;
        let carried = self.windows();
        if let Some(last) = self.document.terms.last_mut() {
            last.to_ms = Some(start_ms);
        }
        let window = Window {
            start_ms,
            end_ms: start_ms + 30 * 86_400_000,
            included: Some(Units::ONE.checked_mul(limit.unwrap_or(50)).unwrap()),
            limit: limit.map(|limit| Units::ONE.checked_mul(limit).unwrap()),
            carried,
        };
        let entitlements = self.entitlements(window);
        self.document.terms.push(Term {
            from_ms: start_ms,
            to_ms: None,
            epoch,
            subscription: format!("sub_{epoch:02}"),
            plan: "plan".to_owned(),
            entitlements,
        });
        self.version += 1;
        self.document.version = self.version;
    }

    fn entitlements(&self, window: Window) -> BTreeMap<String, Entitlement> {
        let windows = vec![window];
        let rate = self
            .rate
            .map(|rate| (FEATURE.to_owned(), rate.entitlement()));
        let metered = (METER.to_owned(), Entitlement::Metered { windows });
        rate.into_iter().chain([metered]).collect()
    }

    /// All windows of the chain so far.
    pub fn windows(&self) -> Vec<String> {
        let of = |term: &Term| match &term.entitlements[METER] {
            Entitlement::Metered { windows } => {
                AccessDocument::window_id(term.epoch, METER, &windows[0]).to_string()
            }
            Entitlement::Boolean | Entitlement::RateLimit { .. } | Entitlement::Static { .. } => {
                unreachable!()
            }
        };
        self.document.terms.iter().map(of).collect()
    }

    /// Moves the subscription to a plan with another limit.
    pub fn change(&mut self, redis: &mut Model, at_ms: i64, limit: Option<u64>) {
        self.begin_term(at_ms, limit);
        self.publish(redis);
    }

    pub fn publish(&self, redis: &mut Model) {
        let key = KeyDocument {
            id: "key_01".to_owned(),
            chain: CHAIN.to_owned(),
            tag: self.tag,
            subject: None,
            expires_at_ms: None,
            revoked_at_ms: None,
            bypass: false,
        };
        publish::publish_access(redis, &self.names, self.tag, &self.document);
        publish::publish_key(redis, &self.names, &self.key_hash, 1, &key);
    }

    /// Fills an empty store, and opens it.
    pub fn rebuild(&mut self, redis: &mut Model) {
        publish::load_scripts(redis);
        let is_first = self.generation == 0;
        self.generation += 1;
        let generation = self.generation.to_string();
        publish::begin(redis, &self.names, &generation);
        self.publish(redis);
        let usage = self.names.usage(self.tag, CHAIN);
        for window in self.windows() {
            let base = CounterField::Base(window.parse().unwrap()).to_string();
            redis.execute(&request(&[
                "HSET",
                &usage,
                &base,
                &self.units(&window).to_string(),
            ]));
        }
        let now = redis.time_ms().to_string();
        for (worker, last) in &self.sequences {
            let record = format!("{last},{now},");
            let workers = self.names.workers(self.tag, CHAIN);
            redis.execute(&request(&["HSET", &workers, worker, &record]));
            redis.execute(&request(&[
                "ZADD",
                &self.names.seen(self.tag, CHAIN),
                &now,
                worker,
            ]));
        }
        let pause_ms = if is_first { 0 } else { LEASE_TTL_MS };
        publish::open(redis, &self.names, &generation, pause_ms);
    }

    /// What the watcher does every second: rebuilds a store that was lost, loads scripts a restart lost, and publishes
    /// again what a restart may have lost.
    pub fn watch(&mut self, redis: &mut Model) {
        let store = redis.execute(&request(&["HGET", &self.names.store(), "ready"]));
        if store == b"$1\r\n1\r\n" {
            publish::load_scripts(redis);
            self.publish(redis);
        } else {
            self.rebuild(redis);
        }
    }

    /// Reads what changed into the ledger; `acknowledge` false leaves it on Redis's list, as a crash would.
    pub fn drain(&mut self, redis: &mut Model, acknowledge: bool) {
        let prefix = self.names.tagged(self.tag);
        let answer = run_script(
            redis,
            Script::Drain,
            &[&self.names.store()],
            &[
                &prefix,
                CHAIN,
                "86400000",
                &CLAIM_SILENCE_MAX_MS.to_string(),
            ],
        );
        let reply = Replies::new(&answer).next().unwrap().unwrap();
        let [generation, sequences, counters] = reply.as_array().unwrap_or(&[]) else {
            return;
        };
        let mut drained = vec![text(generation), prefix.clone(), CHAIN.to_owned()];
        for counter in texts(counters).chunks(3) {
            let [field, late, units] = counter else {
                unreachable!()
            };
            let key = (text(generation), late.clone(), field.clone());
            let held = self.counters.entry(key).or_default();
            *held = (*held).max(units.parse().unwrap());
            drained.extend_from_slice(counter);
        }
        for sequence in texts(sequences).chunks(2) {
            let last = self.sequences.entry(sequence[0].clone()).or_default();
            *last = (*last).max(sequence[1].parse().unwrap());
        }
        if acknowledge {
            let arguments: Vec<&str> = drained.iter().map(String::as_str).collect();
            let keys = [self.names.store(), self.names.pending()];
            run_script(redis, Script::Drained, &[&keys[0], &keys[1]], &arguments);
        }
    }

    /// Thousandths of units the ledger holds of a window.
    pub fn units(&self, window: &str) -> u64 {
        let window: WindowId = window.parse().unwrap();
        let of_window = |field: &str| match field.parse() {
            Ok(CounterField::Hour(counted, _, _)) => counted == window,
            _ => false,
        };
        self.counters
            .iter()
            .filter(|((_, _, field), _)| of_window(field))
            .map(|(_, units)| units)
            .sum()
    }
}

fn text(reply: &Reply<'_>) -> String {
    String::from_utf8_lossy(reply.as_bulk().unwrap_or_default()).into_owned()
}

fn texts(reply: &Reply<'_>) -> Vec<String> {
    reply.as_array().unwrap_or(&[]).iter().map(text).collect()
}
