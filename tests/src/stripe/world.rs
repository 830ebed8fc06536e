//! An account at the simulator: its objects, what has been charged, and what waits to be sent.

use std::collections::HashMap;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::cards::Card;
use super::form::Node;
use super::idempotency::Keys;
use super::objects::{Objects, text};
use super::refusal::Refusal;

/// The version of Stripe's interface that the simulator speaks.
pub const VERSION: &str = "2026-09-30.endive";
/// The account of every key.
pub const ACCOUNT: &str = "acct_simulator";

/// Whether money would move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It would.
    Live,
    /// It would not.
    Test,
}

/// One attempt to take money.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Charge {
    /// The invoice it was for.
    pub invoice: String,
    /// In the currency's smallest unit.
    pub amount: i64,
    /// Its ISO 4217 code, lower-case.
    pub currency: String,
    /// Whether the money was taken.
    pub paid: bool,
}

/// Everything the simulator knows.
#[derive(Debug)]
pub struct World {
    /// The address that pages start with.
    pub base: String,
    /// Of every object.
    pub mode: Mode,
    /// Everything that has an id.
    pub objects: Objects,
    /// Lines of invoices.
    pub lines: HashMap<String, Vec<Value>>,
    /// The cards behind payment methods.
    pub cards: HashMap<String, Card>,
    /// Cards entered on a page that wait for 3-D Secure, by the page's object.
    pub authenticating: HashMap<String, Card>,
    /// What was charged, in order.
    pub charges: Vec<Charge>,
    /// Idempotency keys.
    pub keys: Keys,
    /// Secrets of webhook endpoints.
    pub secrets: HashMap<String, String>,
    /// Events that are to be delivered.
    pub outgoing: Vec<Delivery>,
    /// Invoices that are to be charged soon.
    pub due: Vec<String>,
    /// The request under way: its id and its idempotency key.
    pub request: (Option<String>, Option<String>),
    seed: u128,
    made: u64,
}

/// An event on its way to an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The event's id.
    pub event: String,
    /// Its type.
    pub kind: String,
    /// Where it goes.
    pub url: String,
    /// What it is signed with.
    pub secret: String,
    /// The body.
    pub payload: String,
}

/// A call of the API.
#[derive(Debug)]
pub struct Call<'a> {
    /// Its path.
    pub path: &'a str,
    /// The ids in its path.
    pub ids: Vec<&'a str>,
    /// What it says, checked.
    pub form: &'a Node,
}

impl World {
    /// An empty account.
    #[must_use]
    pub fn new(base: String, mode: Mode) -> Self {
        let seed = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            base,
            mode,
            objects: Objects::default(),
            lines: HashMap::new(),
            cards: HashMap::new(),
            authenticating: HashMap::new(),
            charges: Vec::new(),
            keys: Keys::default(),
            secrets: HashMap::new(),
            outgoing: Vec::new(),
            due: Vec::new(),
            request: (None, None),
            seed: seed.map_or(0, |seed| seed.as_nanos()),
            made: 0,
        }
    }

    /// A new id with this prefix, such as `cus`.
    pub fn id(&mut self, prefix: &str) -> String {
        format!("{prefix}_{}", self.token())
    }

    /// 24 letters and digits that nobody can guess who does not know when the simulator was started.
    pub fn token(&mut self) -> String {
        const LETTERS: &[u8; 62] =
            b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
        self.made += 1;
        let hash = Sha256::digest(format!("{}/{}/{}", self.base, self.seed, self.made));
        let letters = hash.iter().take(24);
        letters
            .map(|byte| char::from(LETTERS[usize::from(*byte) % LETTERS.len()]))
            .collect()
    }

    /// A new object of this kind with what every object has.
    pub fn object(&mut self, prefix: &str, kind: &str) -> Value {
        json!({
            "id": self.id(prefix),
            "object": kind,
            "created": now(),
            "livemode": self.mode == Mode::Live,
        })
    }

    /// Keeps an object, and tells the endpoints what happened to it.
    pub fn put_and_tell(&mut self, object: Value, kinds: &[&str]) {
        self.objects.put(object.clone());
        for kind in kinds {
            self.tell(kind, &object);
        }
    }

    /// Makes an event and hands it to the endpoints that want it.
    pub fn tell(&mut self, kind: &str, object: &Value) {
        let mut event = self.object("evt", "event");
        let endpoints: Vec<Value> = self.objects.of_kind("webhook_endpoint").cloned().collect();
        let wanted = |endpoint: &&Value| {
            let kinds = endpoint["enabled_events"].as_array();
            endpoint["status"] == "enabled"
                && kinds
                    .is_some_and(|kinds| kinds.iter().any(|known| known == kind || known == "*"))
        };
        let endpoints: Vec<&Value> = endpoints.iter().filter(wanted).collect();
        event["api_version"] = json!(VERSION);
        event["type"] = json!(kind);
        event["pending_webhooks"] = json!(endpoints.len());
        event["request"] = json!({ "id": self.request.0, "idempotency_key": self.request.1 });
        event["data"] = json!({ "object": object });
        for endpoint in endpoints {
            let delivery = self.delivery(&event, endpoint);
            self.outgoing.push(delivery);
        }
        self.objects.put(event);
    }

    /// An event on its way to an endpoint.
    #[must_use]
    pub fn delivery(&self, event: &Value, endpoint: &Value) -> Delivery {
        let id = text(endpoint, "id");
        Delivery {
            event: text(event, "id").to_owned(),
            kind: text(event, "type").to_owned(),
            url: text(endpoint, "url").to_owned(),
            secret: self.secrets.get(id).cloned().unwrap_or_default(),
            payload: event.to_string(),
        }
    }

    /// Replaces ids by their objects, as the form's `expand` asks.
    ///
    /// # Errors
    /// When something cannot be expanded.
    pub fn expand(&self, answer: &mut Value, form: &Node) -> Result<(), Refusal> {
        for (_, path) in form.entries("expand") {
            if let Node::Text(path) = path {
                let names: Vec<&str> = path.split('.').collect();
                self.expand_one(answer, &names).ok_or_else(|| {
                    Refusal::invalid(format!("This property cannot be expanded ({path})."))
                        .about("expand")
                })?;
            }
        }
        Ok(())
    }

    fn expand_one(&self, node: &mut Value, names: &[&str]) -> Option<()> {
        let Some((name, rest)) = names.split_first() else {
            return Some(());
        };
        if let Value::Array(items) = node {
            return items
                .iter_mut()
                .try_for_each(|item| self.expand_one(item, names));
        }
        if *name == "payments" && node["object"] == "invoice" {
            node["payments"] = self.payments(text(node, "id"));
        }
        let child = node.get_mut(*name)?;
        if let Some(object) = child.as_str().and_then(|id| self.objects.get(id)) {
            *child = object.clone();
        } else if child.is_string() {
            return None;
        }
        if child.is_null() {
            Some(())
        } else {
            self.expand_one(child, rest)
        }
    }
}

/// Seconds since 1970.
#[must_use]
pub fn now() -> i64 {
    let passed = SystemTime::now().duration_since(UNIX_EPOCH);
    passed.map_or(0, |passed| {
        i64::try_from(passed.as_secs()).unwrap_or(i64::MAX)
    })
}
