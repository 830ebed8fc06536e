//! A Redis that answers by rote: documents as told, and leases from one pot.

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::admission::{CallResult, Head, Now, RequestId, Verdict, Worker};
use crate::api_key::{self, Environment};
use crate::contract::{AccessDocument, Entitlement, KeyDocument, Term, Window};
use crate::policy::Policy;
use crate::problem::Code;
use crate::resp::{Replies, Reply};
use crate::units::Units;

pub const NOW_MS: i64 = 1_790_000_000_000;
const DAY_MS: i64 = 86_400_000;

/// Why a decided request was refused; `None` when it was admitted.
pub fn code(verdict: &Verdict) -> Option<Code> {
    match verdict {
        Verdict::Refuse(refusal) => Some(refusal.code()),
        Verdict::Admit(_) => None,
        Verdict::Pass | Verdict::PassUnknown | Verdict::Wait => panic!("not decided: {verdict:?}"),
    }
}

/// A worker and what its Redis would say.
pub struct Bench {
    pub worker: Worker,
    /// What requests carry.
    pub text: String,
    pub key: Option<KeyDocument>,
    pub access: AccessDocument,
    /// Thousandths left to lease; `None` without a limit.
    pub pot: Option<u64>,
    /// Thousandths that batches reported.
    pub consumed: u64,
    pub calls: usize,
    /// Thousandths that the rate limit still gives.
    pub rate: u64,
    /// Keys that changed, by their hashes.
    pub changed: Vec<String>,
    /// The last number Redis has of this worker before the first batch: a look-up with a lower one is stale.
    pub last: u64,
    pub now_ms: u64,
    requests: RequestId,
}

impl Bench {
    pub fn new(configuration: &str) -> Self {
        let policy = Rc::new(Policy::parse(configuration).unwrap());
        Self {
            worker: Worker::new(policy, "worker".to_owned(), 7, None),
            text: own_key(),
            key: Some(KeyDocument {
                id: "key_1".to_owned(),
                chain: "sub_1".to_owned(),
                tag: "Ab3z".parse().unwrap(),
                subject: None,
                expires_at_ms: None,
                revoked_at_ms: None,
                bypass: false,
            }),
            access: access(Some(20)),
            pot: Some(20_000),
            consumed: 0,
            calls: 0,
            rate: 0,
            changed: Vec::new(),
            last: 0,
            now_ms: 1_000,
            requests: 0,
        }
    }

    pub fn on(rules: &str) -> Self {
        Self::new(&format!(
            r#"{{"environment": "test", "redis": {{"cluster": "redis", "prefix": "tg:test:"}}, "rules": {rules}}}"#
        ))
    }

    pub const fn now(&self) -> Now {
        Now {
            monotonic_ms: self.now_ms,
            unix_ms: NOW_MS + self.now_ms as i64,
        }
    }

    /// A request with the key; what waits is decided by the calls it takes.
    pub fn request(&mut self, path: &str) -> Verdict {
        let (request, verdict) = self.arrive(path);
        match verdict {
            Verdict::Wait => self.decided(request),
            verdict => verdict,
        }
    }

    /// A request with the key, as far as it is decided at once.
    pub fn arrive(&mut self, path: &str) -> (RequestId, Verdict) {
        let key = self.text.clone();
        let headers = [("x-api-key", key.as_bytes())];
        self.requests += 1;
        let head = Head {
            method: b"GET",
            path: path.as_bytes(),
            headers: &headers,
        };
        let verdict = self.worker.admit(self.requests, &head, self.now());
        (self.requests, verdict)
    }

    fn decided(&mut self, request: RequestId) -> Verdict {
        for _ in 0..20 {
            for (decided, verdict) in self.exchange() {
                if decided == request {
                    return verdict;
                }
            }
            self.now_ms += 50;
            let now = self.now();
            if let Some((_, verdict)) = self
                .worker
                .tick(now)
                .into_iter()
                .find(|(id, _)| *id == request)
            {
                return verdict;
            }
        }
        panic!("the request is never decided");
    }

    /// Makes the next call, if one is due, and answers it.
    pub fn exchange(&mut self) -> Vec<(RequestId, Verdict)> {
        let now = self.now();
        let Some(bytes) = self.worker.next_call(now) else {
            return Vec::new();
        };
        self.calls += 1;
        let answer = self.answer(&bytes);
        self.now_ms += 1;
        let now = self.now();
        self.worker.answer(CallResult::Answer(&answer), now)
    }

    /// What Redis answers to a call.
    pub fn answer(&mut self, call: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        for command in Replies::new(call) {
            let command = command.unwrap();
            let words: Vec<&str> = command
                .as_array()
                .unwrap()
                .iter()
                .map(|word| str::from_utf8(word.as_bulk().unwrap()).unwrap())
                .collect();
            let fields = match words.len() {
                _ if words.contains(&"tg:test:pending") => self.settle(&words),
                6 => self.key_alone(),
                9 => self.enter(),
                _ => self.rate(&words),
            };
            array(&mut out, &fields);
        }
        out
    }

    fn enter(&self) -> Vec<String> {
        let time = self.now().unix_ms.to_string();
        let last = self.changed.len().to_string();
        let mut fields = ["ready", "node", &time, "1", "", &last]
            .map(str::to_owned)
            .to_vec();
        for (number, hash) in (1..).zip(&self.changed) {
            fields.extend([&number.to_string(), "k", hash, "2"].map(str::to_owned));
        }
        fields
    }

    fn key_alone(&self) -> Vec<String> {
        match &self.key {
            Some(key) => vec!["ok".to_owned(), serde_json::to_string(key).unwrap()],
            None => vec!["unknown".to_owned()],
        }
    }

    fn rate(&mut self, words: &[&str]) -> Vec<String> {
        let milli = |at: usize| words[at].parse::<u64>().unwrap();
        let (least, need) = (milli(12), milli(13));
        let granted = if self.rate < least {
            0
        } else {
            self.rate.min(need)
        };
        self.rate -= granted;
        let wait_ms = if self.rate < least { 700 } else { 0 };
        ["ok", &granted.to_string(), &wait_ms.to_string()]
            .map(str::to_owned)
            .to_vec()
    }

    fn settle(&mut self, words: &[&str]) -> Vec<String> {
        let is_lookup = !words[6].is_empty();
        let Some(key) = &self.key else {
            return vec!["unknown".to_owned()];
        };
        let document = |is_new: bool, text: String| if is_new { text } else { String::new() };
        let header = &words[7..];
        let has_document = header[4] == self.access.version.to_string();
        let is_stale = header[3].parse::<u64>().unwrap() < self.last;
        let mut fields = vec![
            if is_stale { "stale" } else { "ok" }.to_owned(),
            if is_stale {
                self.last.to_string()
            } else {
                header[3].to_owned()
            },
            self.access.version.to_string(),
            document(!has_document, serde_json::to_string(&self.access).unwrap()),
            document(is_lookup, serde_json::to_string(key).unwrap()),
            "0".to_owned(),
            String::new(),
        ];
        let Some(window) = self.window().filter(|_| !is_stale) else {
            return fields;
        };
        self.count(header);
        let claims = header.iter().enumerate().filter(|(_, word)| **word == "x");
        for (at, _) in claims {
            let counted = self.claim(&header[at..]).to_string();
            fields[6] = format!("{} {counted}", fields[6]).trim_start().to_owned();
            let remaining = self.pot.map_or(String::new(), |pot| pot.to_string());
            fields.extend([&window, "0", &remaining, "0", "0", "0"].map(str::to_owned));
        }
        for wanted in header.iter().enumerate().filter(|(_, word)| **word == "w") {
            let need: u64 = header[wanted.0 + 4].parse().unwrap();
            let granted = self.pot.map_or(0, |pot| pot.min(need));
            self.pot = self.pot.map(|pot| pot - granted);
            let remaining = self.pot.map_or(String::new(), |pot| pot.to_string());
            let granted = granted.to_string();
            fields.extend([&window, &granted, &remaining, "0", "0", "0"].map(str::to_owned));
        }
        fields
    }

    /// Counts as many requests of a claim of one meter as the pot leaves, and answers how many.
    fn claim(&mut self, words: &[&str]) -> u64 {
        let number = |at: usize| words[at].parse::<u64>().unwrap();
        let (asked, milli) = (number(3), number(7));
        let Some(pot) = self.pot else { return asked };
        let counted = asked.min(pot / milli);
        self.pot = Some(pot - counted * milli);
        counted
    }

    /// Counts what a batch reports, and takes back what it returns; what no lease covers comes from the pot too.
    fn count(&mut self, words: &[&str]) {
        let milli = |word: &str| word.parse::<u64>().unwrap();
        for (at, word) in words.iter().enumerate().skip(6) {
            match *word {
                "c" => self.consumed += milli(words[at + 4]),
                "u" => {
                    let milli = milli(words[at + 4]);
                    self.consumed += milli;
                    self.pot = self.pot.map(|pot| pot.saturating_sub(milli));
                }
                "r" => self.pot = self.pot.map(|pot| pot + milli(words[at + 2])),
                "f" => self.consumed += milli(words[at + 4]),
                "g" => self.pot = self.pot.map(|pot| pot + milli(words[at + 4])),
                _ => {}
            }
        }
    }

    fn window(&self) -> Option<String> {
        let term = self.access.terms.first()?;
        match term.entitlements.get("calls")? {
            Entitlement::Metered { windows } => {
                Some(AccessDocument::window_id(term.epoch, "calls", windows.first()?).to_string())
            }
            Entitlement::Boolean | Entitlement::RateLimit { .. } | Entitlement::Static { .. } => {
                None
            }
        }
    }
}

fn own_key() -> String {
    let tag = "Ab3z".parse().unwrap();
    api_key::compose(Environment::Test, tag, "abcdefghijklmnopqrstuvwxyz").unwrap()
}

/// A subscription to a plan with one meter.
pub fn access(limit: Option<u64>) -> AccessDocument {
    let units = limit.map(|limit| Units::ONE.checked_mul(limit).unwrap());
    let window = Window {
        start_ms: NOW_MS - DAY_MS,
        end_ms: NOW_MS + DAY_MS,
        included: units,
        limit: units,
        carried: Vec::new(),
    };
    AccessDocument {
        chain: "sub_1".to_owned(),
        version: 1,
        customer: "cus_1".to_owned(),
        block: None,
        terms: vec![Term {
            from_ms: NOW_MS - DAY_MS,
            to_ms: None,
            epoch: 1,
            subscription: "sub_1".to_owned(),
            plan: "free".to_owned(),
            entitlements: BTreeMap::from([
                (
                    "calls".to_owned(),
                    Entitlement::Metered {
                        windows: vec![window],
                    },
                ),
                ("chat".to_owned(), Entitlement::Boolean),
            ]),
        }],
    }
}

pub fn array(out: &mut Vec<u8>, fields: &[String]) {
    out.extend(format!("*{}\r\n", fields.len()).bytes());
    for field in fields {
        out.extend(format!("${}\r\n{field}\r\n", field.len()).bytes());
    }
    debug_assert!(matches!(
        Replies::new(out).next(),
        Some(Ok(Reply::Array(_)))
    ));
}
