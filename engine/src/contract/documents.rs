//! The documents of the control plane, as JSON in Redis. Instants are unix milliseconds, units integers of 1/1000.
//!
//! A document says everything by instants: what ends, starts or is blocked later takes effect on time with nobody
//! writing again. Readers ignore fields they do not know, so that the control plane may be upgraded first.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::names::WindowId;
use crate::api_key::Tag;
use crate::units::Units;

/// What is known of one API key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyDocument {
    /// `key_…`.
    pub id: String,
    /// The chain of subscriptions it belongs to: the id of the first.
    pub chain: String,
    /// Where the chain's state stands.
    pub tag: Tag,
    /// The caller's own name for whoever holds the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// From when it is refused as expired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at_ms: Option<i64>,
    /// From when it is refused as revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at_ms: Option<i64>,
    /// Metered, but never refused for quota or payment (service accounts).
    #[serde(default)]
    pub bypass: bool,
}

/// What the keys of one chain of subscriptions may do, now and later.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AccessDocument {
    /// The id of the chain's first subscription.
    pub chain: String,
    /// Grows with every write.
    pub version: u64,
    /// `cus_…`.
    pub customer: String,
    /// From when, if ever, payment closes access.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block: Option<Block>,
    /// Stretches of time, in order and without overlap; outside them there is no subscription.
    pub terms: Vec<Term>,
}

/// Access closed for a reason of payment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Block {
    /// First instant without access.
    pub from_ms: i64,
    /// Why.
    pub code: BlockCode,
}

/// Why payment closes access.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BlockCode {
    /// The first payment was not made.
    PaymentRequired,
    /// Grace is over.
    PaymentOverdue,
    /// An invoice was given up.
    PaymentUncollectible,
}

/// A stretch `[from, to)` in which one phase of one subscription holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Term {
    /// First instant.
    pub from_ms: i64,
    /// First instant after it, if it ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_ms: Option<i64>,
    /// Which subscription of the chain, counted from 1.
    pub epoch: u32,
    /// `sub_…`.
    pub subscription: String,
    /// The plan's key.
    pub plan: String,
    /// By feature key.
    pub entitlements: BTreeMap<String, Entitlement>,
}

impl Term {
    /// Whether `now_ms` lies in the term.
    #[must_use]
    pub fn contains(&self, now_ms: i64) -> bool {
        self.from_ms <= now_ms && self.to_ms.is_none_or(|to_ms| now_ms < to_ms)
    }
}

/// What a plan gives for one feature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "type")]
pub enum Entitlement {
    /// A quota of a meter.
    Metered {
        /// Usage periods in order: the current one and those to come.
        windows: Vec<Window>,
    },
    /// The feature is there.
    Boolean,
    /// Units in a short time, whatever becomes of the requests: a token bucket for the whole chain.
    RateLimit {
        /// Units that each `per_ms` gives.
        units: Units,
        /// Milliseconds.
        #[serde(rename = "perMs")]
        per_ms: u64,
        /// Most units that gather.
        burst: Units,
    },
    /// A value for the upstream.
    Static {
        /// Any JSON.
        config: serde_json::Value,
    },
}

/// A usage period `[start, end)` of a meter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Window {
    /// First instant.
    pub start_ms: i64,
    /// First instant after it.
    pub end_ms: i64,
    /// Units the plan includes, if it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub included: Option<Units>,
    /// Units at which requests are refused, if there is such a limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<Units>,
    /// Earlier windows whose units count against this one's limit.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub carried: Vec<String>,
}

impl AccessDocument {
    /// The fields of the document's hash in Redis: the document itself, and per meter the windows as the scripts
    /// read them, `start,end,limit,epoch,carried windows` separated by `;`, and per rate limit the terms it holds in,
    /// `from,to,units,per,burst` likewise.
    #[must_use]
    pub fn fields(&self) -> BTreeMap<String, String> {
        let mut fields = BTreeMap::<String, String>::new();
        for term in &self.terms {
            for (feature, entitlement) in &term.entitlements {
                match entitlement {
                    Entitlement::Metered { windows } => {
                        for window in windows {
                            let packed = pack(window, term.epoch);
                            add(fields.entry(format!("m/{feature}")).or_default(), &packed);
                        }
                    }
                    Entitlement::RateLimit {
                        units,
                        per_ms,
                        burst,
                    } => {
                        let to_ms = term.to_ms.map_or(String::new(), |to_ms| to_ms.to_string());
                        let (units, burst) = (units.milli(), burst.milli());
                        let packed = format!("{},{to_ms},{units},{per_ms},{burst}", term.from_ms);
                        add(fields.entry(format!("r/{feature}")).or_default(), &packed);
                    }
                    Entitlement::Boolean | Entitlement::Static { .. } => {}
                }
            }
        }
        fields.insert(
            "doc".to_owned(),
            serde_json::to_string(self).unwrap_or_default(),
        );
        fields
    }

    /// What the document says of one window.
    #[must_use]
    pub fn window(&self, epoch: u32, meter: &str, start_ms: i64) -> Option<&Window> {
        let terms = self.terms.iter().filter(|term| term.epoch == epoch);
        let windows = terms.filter_map(|term| match term.entitlements.get(meter) {
            Some(Entitlement::Metered { windows }) => Some(windows),
            Some(
                Entitlement::Boolean | Entitlement::RateLimit { .. } | Entitlement::Static { .. },
            )
            | None => None,
        });
        windows.flatten().find(|window| window.start_ms == start_ms)
    }

    /// The id of a window of this document.
    #[must_use]
    pub fn window_id(epoch: u32, meter: &str, window: &Window) -> WindowId {
        WindowId {
            epoch,
            meter: meter.to_owned(),
            start_ms: window.start_ms,
        }
    }
}

fn add(packed: &mut String, entry: &str) {
    if !packed.is_empty() {
        packed.push(';');
    }
    packed.push_str(entry);
}

fn pack(window: &Window, epoch: u32) -> String {
    let limit = window
        .limit
        .map_or(String::new(), |limit| limit.milli().to_string());
    format!(
        "{},{},{limit},{epoch},{}",
        window.start_ms,
        window.end_ms,
        window.carried.join(" ")
    )
}

impl KeyDocument {
    /// The fields of the document's hash in Redis.
    #[must_use]
    pub fn fields(&self) -> BTreeMap<String, String> {
        BTreeMap::from([
            ("chain".to_owned(), self.chain.clone()),
            (
                "doc".to_owned(),
                serde_json::to_string(self).unwrap_or_default(),
            ),
        ])
    }
}
