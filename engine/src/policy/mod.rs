//! The filter's configuration: one JSON document, compiled once when it arrives.
//!
//! Unknown fields are refused, and every mistake is named with its path. What comes out answers
//! per request which rule applies and where the key stands, without parsing or allocating.

mod credentials;
mod grpc;
mod parse;
mod path;
mod rates;
mod read;
mod rules;
mod statuses;
mod told;

use std::fmt;

pub use credentials::KeySource;
pub use grpc::GrpcStatuses;
pub use path::{PathRefused, Paths};
pub use rates::RateCost;
pub use read::Mistake;
pub use rules::{Access, Demand, MeterCost, Rule};
pub use statuses::Statuses;

use crate::api_key::Environment;
pub use crate::contract::call::LostLeases;
use crate::problem::Responses;
use crate::units::Units;

/// A whole configuration, valid and compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Whose keys are taken.
    pub environment: Environment,
    /// Whether business time may be moved by the store.
    pub sandbox: bool,
    /// How paths are read.
    pub paths: Paths,
    /// How Redis is reached.
    pub redis: Redis,
    /// Where keys are looked for.
    pub auth: Auth,
    /// How usage is reported.
    pub metering: Metering,
    /// What happens while Redis does not answer.
    pub on_unavailable: OnUnavailable,
    /// How clients and the upstream are answered.
    pub responses: Responses,
    rules: rules::Rules,
}

/// How Redis is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redis {
    /// The Envoy cluster.
    pub cluster: String,
    /// What every name in Redis begins with.
    pub prefix: String,
    /// The ACL user, or the default one.
    pub username: Option<String>,
    /// The environment variable that holds the password, if there is one.
    pub password_env: Option<String>,
    /// How long a call may take, in milliseconds.
    pub timeout_ms: u64,
    /// Calls per second, worker and node; 0 for no pace.
    pub max_calls_per_second: u64,
}

/// Where keys are looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Auth {
    /// Places, first to last.
    pub sources: Vec<KeySource>,
    /// Whether the upstream is kept from seeing keys.
    pub hide_credentials: bool,
    /// Whether keys of other forms are looked up too, as they may have been imported.
    pub foreign_keys: bool,
    /// Whether CORS preflights pass without a key.
    pub allow_preflight: bool,
}

/// When a request's units are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MeteringMode {
    /// After its response; until then a lease of the worker holds them.
    Leased,
    /// Before it goes on.
    Exact,
}

/// How usage is reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metering {
    /// When units are counted, unless a rule says otherwise.
    pub mode: MeteringMode,
    /// Least time between two settles of a subscription, in milliseconds.
    pub flush_interval_ms: u64,
    /// Age at which usage is settled, in milliseconds.
    pub max_unsettled_ms: u64,
    /// Time after which the unspent rest of a lease is given back, in milliseconds.
    pub lease_ttl_ms: u64,
    /// What becomes of leases whose worker is gone.
    pub lost_leases: LostLeases,
    /// How long a request may wait for units, in milliseconds.
    pub wait_for_units_ms: u64,
}

/// What happens while Redis does not answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OnUnavailable {
    /// For keys the worker does not know.
    pub unknown_key: Fallback,
    /// For keys it knows.
    pub known_key: Fallback,
    /// Units per key, worker and outage on soft limits.
    pub offline_units: Units,
    /// Units per key, worker and outage on hard limits, beyond the leases held.
    pub offline_hard_units: Units,
    /// After how long without a good reply a known key becomes unknown, in seconds.
    pub stale_for_seconds: u64,
}

/// What a request gets when the answer is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fallback {
    /// It goes on.
    Allow,
    /// It is refused with `store_unavailable`.
    Deny,
}

/// Everything that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Mistakes(pub Vec<Mistake>);

impl fmt::Display for Mistakes {
    /// One mistake a line.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mistake) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(formatter, "{separator}{mistake}")?;
        }
        Ok(())
    }
}

impl Policy {
    /// The rules in order; the last one takes every request that no other took.
    pub fn rules(&self) -> impl Iterator<Item = &Rule> {
        self.rules
            .rules
            .iter()
            .chain(std::iter::once(&self.rules.catch_all))
    }

    /// The rule at a place in the document, if there is one that is used.
    #[must_use]
    pub fn rule(&self, index: usize) -> Option<&Rule> {
        self.rules
            .rules
            .get(index)
            .or_else(|| Some(&self.rules.catch_all).filter(|rule| rule.index() == index))
    }

    /// The rule for a request by its `:method` and `:path`; the first that matches. `CONNECT` has no path, and matches
    /// as if it were `/`.
    ///
    /// # Errors
    /// When the path is not in normal form, unless the configuration takes paths as given.
    pub fn match_rule(&self, method: &[u8], path_and_query: &[u8]) -> Result<&Rule, PathRefused> {
        // A tunnel is for a host, not for a path.
        let is_tunnel = path_and_query.is_empty() && method == b"CONNECT";
        let path_and_query = if is_tunnel { b"/" } else { path_and_query };
        let path = path::Path::read(path_and_query, self.paths)?;
        let rule = self.find(|rule| rule.matches(method, path.bytes()));
        if path.parameters {
            // Some upstreams read `/a;x` as `/a`, others do not: both readings must agree.
            let read_otherwise =
                self.find(|rule| rule.matches(method, path.bytes_without_parameters()));
            if read_otherwise.index() != rule.index() {
                return Err(PathRefused::Ambiguous);
            }
        }
        Ok(rule)
    }

    fn find(&self, matches: impl Fn(&Rule) -> bool) -> &Rule {
        self.rules
            .rules
            .iter()
            .find(|rule| matches(rule))
            .unwrap_or(&self.rules.catch_all)
    }
}

#[cfg(test)]
mod tests;
