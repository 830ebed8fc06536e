//! Names in Redis: every key, and the fields of a chain's counters.
//!
//! All keys of a chain of subscriptions carry its tag in braces, so that they stand in one slot of a Redis Cluster.

use std::fmt;
use std::str::FromStr;

use crate::api_key::{KeyHash, Tag};

/// The keys under one prefix, such as `tg:live:`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    prefix: String,
}

impl Names {
    /// Names that begin with `prefix`.
    #[must_use]
    pub fn new(prefix: impl Into<String>) -> Self {
        Self {
            prefix: prefix.into(),
        }
    }

    /// What every name begins with.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Hash: `ready`, `generation`, `changes` (the last number), `drained` (start of the last complete drain) and in a
    /// sandbox `offset` (ms); the filter only reads it.
    #[must_use]
    pub fn store(&self) -> String {
        format!("{}store", self.prefix)
    }

    /// Stream of numbered changes; the filter only reads it.
    #[must_use]
    pub fn changes(&self) -> String {
        format!("{}changes", self.prefix)
    }

    /// Hash: `node` that granted last, `until` when grants on hard limits are paused (unix ms).
    #[must_use]
    pub fn guard(&self) -> String {
        format!("{}guard", self.prefix)
    }

    /// Set of `<tagged prefix> <chain>` whose counters changed since the ledger read them.
    #[must_use]
    pub fn pending(&self) -> String {
        format!("{}pending", self.prefix)
    }

    /// What all keys of a tag begin with, braces included.
    #[must_use]
    pub fn tagged(&self, tag: Tag) -> String {
        format!("{}{{{tag}}}:", self.prefix)
    }

    /// Hash of an API key: `version`, `chain`, `doc`.
    #[must_use]
    pub fn key(&self, tag: Tag, hash: &KeyHash) -> String {
        format!("{}key:{hash}", self.tagged(tag))
    }

    /// Hash of a chain's access document: `version`, `doc`, and `m/<meter>` with the windows for the scripts.
    #[must_use]
    pub fn access(&self, tag: Tag, chain: &str) -> String {
        format!("{}access:{chain}", self.tagged(tag))
    }

    /// Hash of a chain's counters; see [`CounterField`].
    #[must_use]
    pub fn usage(&self, tag: Tag, chain: &str) -> String {
        format!("{}usage:{chain}", self.tagged(tag))
    }

    /// Hash: worker → `<last sequence number>,<its time in seen>,<what it was granted>|<what was counted of its claims>`.
    #[must_use]
    pub fn workers(&self, tag: Tag, chain: &str) -> String {
        format!("{}workers:{chain}", self.tagged(tag))
    }

    /// Sorted set of a chain's workers by last use (unix ms), to the second.
    #[must_use]
    pub fn seen(&self, tag: Tag, chain: &str) -> String {
        format!("{}seen:{chain}", self.tagged(tag))
    }
}

/// A usage period of one meter under one subscription of a chain: `<epoch>/<meter>/<start, unix ms>`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WindowId {
    /// Which subscription of the chain, counted from 1.
    pub epoch: u32,
    /// The meter's slug.
    pub meter: String,
    /// First instant, unix ms.
    pub start_ms: i64,
}

impl fmt::Display for WindowId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}/{}", self.epoch, self.meter, self.start_ms)
    }
}

/// A name in Redis that is not of the expected form.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no name of the contract")]
pub struct NameError(String);

impl FromStr for WindowId {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let parse = || {
            let (epoch, rest) = text.split_once('/')?;
            let (meter, start) = rest.rsplit_once('/')?;
            Some(Self {
                epoch: epoch.parse().ok()?,
                meter: meter.to_owned(),
                start_ms: start.parse().ok()?,
            })
        };
        parse().ok_or_else(|| NameError(text.to_owned()))
    }
}

/// A field of a chain's hash of counters that the control plane reads or writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CounterField {
    /// Units that the ledger holds from earlier generations of the store.
    Base(WindowId),
    /// Consumed units of one hour (hours since the unix epoch) by one API key.
    Hour(WindowId, i64, String),
}

impl fmt::Display for CounterField {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Base(window) => write!(formatter, "b/{window}"),
            Self::Hour(window, hour, key) => write!(formatter, "h/{window}/{hour}/{key}"),
        }
    }
}

impl FromStr for CounterField {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let parse = || match text.split_once('/') {
            Some(("b", window)) => Some(Self::Base(window.parse().ok()?)),
            Some(("h", rest)) => {
                let (rest, key) = rest.rsplit_once('/')?;
                let (window, hour) = rest.rsplit_once('/')?;
                Some(Self::Hour(
                    window.parse().ok()?,
                    hour.parse().ok()?,
                    key.to_owned(),
                ))
            }
            _ => None,
        };
        parse().ok_or_else(|| NameError(text.to_owned()))
    }
}
