//! A chain of subscriptions in a Redis, real or modelled.

use std::collections::BTreeMap;
use std::fmt::Write;

use tollgate_engine::api_key::{KeyHash, Tag};
use tollgate_engine::contract::answer::{ChangedDocument, Entered, Settled};
use tollgate_engine::contract::call::{LostLeases, Writer};
use tollgate_engine::contract::{
    AccessDocument, Entitlement, KeyDocument, Names, Script, Term, Window, WindowId,
};
use tollgate_engine::resp::Reply;
use tollgate_engine::units::Units;
use tollgate_tests::model::Model;
use tollgate_tests::publish;
use tollgate_tests::redis::{Persistence, RedisOptions, RedisServer};
use tollgate_tests::store::{Store, request};

use crate::notation::{shown, single};

/// A lease time in which no test has to hurry.
pub const LONG_LEASE_MS: u64 = 60_000;
/// A lease time that a test can wait for.
pub const SHORT_LEASE_MS: u64 = 1_000;
/// The store's generation.
pub const GENERATION: &str = "g1";

const CHAIN: &str = "sub_chain";
pub const METER: &str = "api";

pub struct World {
    pub store: Box<dyn Store>,
    pub names: Names,
    pub writer: Writer,
    pub tag: Tag,
    pub chain: String,
    pub key_id: String,
    /// Redis's clock when the world began (unix ms).
    pub origin_ms: i64,
    pub version: u64,
    pub windows: BTreeMap<String, String>,
}

impl World {
    pub fn on_model() -> Self {
        Self::new(Box::new(Model::new(7, 1_790_000_000_000)))
    }

    pub fn on_redis() -> Self {
        Self::new(Box::new(RedisServer::start(RedisOptions {
            persistence: Persistence::EverySecond,
            acl_file: None,
        })))
    }

    fn new(store: Box<dyn Store>) -> Self {
        let names = Names::new("tg:test:");
        let mut world = Self {
            store,
            writer: Writer::new(names.clone(), LostLeases::Hold, LONG_LEASE_MS),
            names,
            tag: "Ab3z".parse().unwrap(),
            chain: CHAIN.to_owned(),
            key_id: "key_1".to_owned(),
            origin_ms: 0,
            version: 0,
            windows: BTreeMap::from([("current".to_owned(), String::new())]),
        };
        world.load_scripts();
        world.origin_ms = world.time_ms();
        publish::begin(world.store.as_mut(), &world.names, GENERATION);
        assert_eq!(world.open(GENERATION, 0), ":1");
        world
    }

    pub fn lost_leases(&mut self, lost_leases: LostLeases, lease_ttl_ms: u64) {
        self.writer = Writer::new(self.names.clone(), lost_leases, lease_ttl_ms);
    }

    pub fn load_scripts(&mut self) {
        publish::load_scripts(self.store.as_mut());
    }

    /// Runs one command and shows its reply.
    pub fn command(&mut self, words: &[&str]) -> String {
        let answer = self.store.exchange(&request(words));
        shown(&single(&answer))
    }

    /// Runs a script of the control plane and shows its reply.
    pub fn script(&mut self, script: Script, keys: &[&str], arguments: &[&str]) -> String {
        let answer = self.run(script, keys, arguments);
        shown(&single(&answer))
    }

    /// Runs a script of the control plane.
    pub fn run(&mut self, script: Script, keys: &[&str], arguments: &[&str]) -> Vec<u8> {
        publish::run_script(self.store.as_mut(), script, keys, arguments)
    }

    pub fn open(&mut self, generation: &str, pause_ms: u64) -> String {
        let answer = publish::open(self.store.as_mut(), &self.names, generation, pause_ms);
        shown(&single(&answer))
    }

    pub fn time_ms(&mut self) -> i64 {
        let answer = self.store.exchange(b"*1\r\n$4\r\nTIME\r\n");
        let reply = single(&answer);
        let parts = reply.as_array().unwrap();
        let number = |at: usize| -> i64 {
            str::from_utf8(parts[at].as_bulk().unwrap())
                .unwrap()
                .parse()
                .unwrap()
        };
        number(0) * 1_000 + number(1) / 1_000
    }

    /// Publishes the next version with windows such as `now 1 -3600..3600 limit 20 carries old`: name, epoch, seconds
    /// from the world's begin, limit in units if any, and the windows it carries.
    pub fn publish(&mut self, windows: &[&str]) {
        let document = self.document(self.version + 1, windows);
        assert!(self.publish_document(&document).starts_with(':'));
        self.version += 1;
    }

    pub fn publish_document(&mut self, document: &AccessDocument) -> String {
        let store = self.store.as_mut();
        let answer = publish::publish_access(store, &self.names, self.tag, document);
        shown(&single(&answer))
    }

    pub fn publish_key(&mut self, version: u64) -> String {
        let document = KeyDocument {
            id: self.key_id.clone(),
            chain: self.chain.clone(),
            tag: self.tag,
            subject: None,
            expires_at_ms: None,
            revoked_at_ms: None,
            bypass: false,
        };
        let hash = KeyHash::of("known");
        let store = self.store.as_mut();
        let answer = publish::publish_key(store, &self.names, &hash, version, &document);
        shown(&single(&answer))
    }

    pub fn document(&mut self, version: u64, windows: &[&str]) -> AccessDocument {
        let terms = windows.iter().map(|window| self.term(window)).collect();
        AccessDocument {
            chain: self.chain.clone(),
            version,
            customer: "cus_1".to_owned(),
            block: None,
            terms,
        }
    }

    /// A term with one window.
    fn term(&mut self, text: &str) -> Term {
        let words: Vec<_> = text.split(' ').collect();
        let epoch = words[1].parse().unwrap();
        let (from, to) = words[2].split_once("..").unwrap();
        let at = |seconds: &str| self.origin_ms + seconds.parse::<i64>().unwrap() * 1_000;
        let after = |name: &str| words.iter().position(|word| *word == name).map(|at| at + 1);
        let window = Window {
            start_ms: at(from),
            end_ms: at(to),
            included: None,
            limit: after("limit").map(|at| words[at].parse().unwrap()),
            carried: after("carries").map_or(Vec::new(), |at| {
                words[at..]
                    .iter()
                    .map(|name| self.windows[*name].clone())
                    .collect()
            }),
        };
        let id = AccessDocument::window_id(epoch, METER, &window).to_string();
        self.windows.insert(words[0].to_owned(), id);
        Term {
            from_ms: window.start_ms,
            to_ms: Some(window.end_ms),
            epoch,
            subscription: format!("sub_{epoch}"),
            plan: "plan".to_owned(),
            entitlements: BTreeMap::from([(
                METER.to_owned(),
                Entitlement::Metered {
                    windows: vec![window],
                },
            )]),
        }
    }

    /// The id of a window by its name.
    pub fn window(&self, name: &str) -> String {
        self.windows[name].clone()
    }

    /// Sends batches, one call each, and compares the answers; `wait 300` lets milliseconds pass, `restart` ends
    /// Redis and starts it again. The counters must add up after each.
    pub fn check(&mut self, rows: &[(&str, &str)]) {
        let mut got = Vec::new();
        for (batch, _) in rows {
            let answer = match *batch {
                "restart" => {
                    self.store.restart();
                    self.load_scripts();
                    self.enter(None);
                    String::new()
                }
                batch if batch.starts_with("wait ") => {
                    self.store.pass_ms(batch[5..].parse().unwrap());
                    String::new()
                }
                batch => self.settle(batch),
            };
            self.assert_sums();
            got.push((*batch, answer));
        }
        let table = |rows: &[(&str, String)]| -> String {
            rows.iter()
                .fold(String::new(), |mut text, (batch, answer)| {
                    let _ = writeln!(text, "{batch:30} → {answer}");
                    text
                })
        };
        let wanted: Vec<_> = rows.iter().map(|(b, a)| (*b, (*a).to_owned())).collect();
        assert!(
            got == wanted,
            "expected:\n{}\ngot:\n{}",
            table(&wanted),
            table(&got)
        );
    }

    /// Sends one batch and shows the answer.
    pub fn settle(&mut self, batch: &str) -> String {
        let request = self.batch(batch);
        let answer = self.store.exchange(&request);
        let reply = single(&answer);
        match Settled::read(&reply) {
            Ok(Settled::Unready) => "unready".to_owned(),
            Ok(Settled::Unknown) => "unknown".to_owned(),
            Ok(Settled::Known(receipt)) => self.receipt(&receipt),
            Err(error) => format!("{error}"),
        }
    }

    /// Opens a call and shows the answer without what differs from run to run.
    pub fn enter(&mut self, position: Option<u64>) -> String {
        let mut out = Vec::new();
        self.writer.enter(&mut out, position);
        let answer = self.store.exchange(&out);
        let reply = single(&answer);
        match Entered::read(&reply).unwrap() {
            Entered::Unready => "unready".to_owned(),
            Entered::Ready(store) => {
                let numbers: Vec<_> = store.changes.iter().map(|change| change.number).collect();
                format!(
                    "{} last {} {numbers:?}",
                    store.generation, store.last_change
                )
            }
        }
    }

    /// The changes after a position: number, kind, id and version.
    pub fn changes(&mut self, position: u64) -> Vec<String> {
        let mut out = Vec::new();
        self.writer.enter(&mut out, Some(position));
        let answer = self.store.exchange(&out);
        let reply = single(&answer);
        let Ok(Entered::Ready(store)) = Entered::read(&reply) else {
            panic!("{reply:?}");
        };
        let changes = store.changes.iter().map(|change| {
            let (kind, id) = match change.subject {
                ChangedDocument::Chain(id) => ("chain", id),
                ChangedDocument::Key(id) => ("key", id),
            };
            format!("{} {kind} {id} {}", change.number, change.version)
        });
        changes.collect()
    }

    /// A field of the chain's counters, such as `c/now` or `o/now`, in units.
    pub fn counter(&mut self, kind: &str, window: &str) -> String {
        let field = format!("{kind}/{}", self.windows[window]);
        let milli = self.counters().get(&field).copied().unwrap_or(0);
        Units::from_milli(milli).unwrap().to_string()
    }

    /// All counters of the chain.
    pub fn counters(&mut self) -> BTreeMap<String, u64> {
        let usage = self.names.usage(self.tag, &self.chain);
        let answer = self.store.exchange(&request(&["HGETALL", &usage]));
        let reply = single(&answer);
        let text = |reply: &Reply<'_>| {
            String::from_utf8_lossy(reply.as_bulk().unwrap_or_default()).into_owned()
        };
        reply
            .as_array()
            .unwrap()
            .chunks_exact(2)
            .map(|pair| (text(&pair[0]), text(&pair[1]).parse().unwrap()))
            .collect()
    }

    /// What is leased out is the sum of the leases, what is claimed that of the claims, and what was consumed the sum of
    /// claims and hours and keys, less what was recorded and then given back.
    pub fn assert_sums(&mut self) {
        let counters = self.counters();
        let mut sums = BTreeMap::<(&str, String), u64>::new();
        for (field, milli) in &counters {
            // Of a worker, not of a window.
            let Some((kind, rest)) = field.split_once('/').filter(|(kind, _)| *kind != "a") else {
                continue;
            };
            let window = rest.splitn(4, '/').take(3).collect::<Vec<_>>().join("/");
            assert!(window.parse::<WindowId>().is_ok(), "{field}");
            match kind {
                "l" => *sums.entry(("o", window)).or_default() += milli,
                "h" => *sums.entry(("c", window)).or_default() += milli,
                "t" => {
                    *sums.entry(("c", window.clone())).or_default() += milli;
                    *sums.entry(("p", window)).or_default() += milli;
                }
                "o" | "c" | "p" => *sums.entry((kind, window)).or_default() += 0,
                _ => {}
            }
        }
        for ((kind, window), sum) in sums {
            let total = counters.get(&format!("{kind}/{window}")).copied();
            let excess = counters.get(&format!("e/{window}")).copied();
            let excess = excess.filter(|_| kind == "c").unwrap_or(0);
            assert_eq!(
                total.unwrap_or(0) + excess,
                sum,
                "{kind}/{window} in {counters:?}"
            );
        }
    }
}
