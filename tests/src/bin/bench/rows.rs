//! The kinds of gateways that are measured, and what each must reach.

use std::fmt;

use serde_json::Value;
use tollgate_tests::envoy::Module;
use tollgate_tests::process::{near_test, program};

/// One kind of gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Row {
    /// Envoy without a filter.
    Plain,
    /// A Wasm filter that continues at once.
    Empty,
    /// A Wasm filter that makes the host calls of ours and nothing else.
    Twin,
    /// The filter on one busy key with a hard limit.
    Leased,
    /// The same without headers for the upstream and about limits.
    Lean,
    /// The same as `Leased`, but Redis counts each request before it goes on, as often as it can.
    Exact,
    /// The filter on ten thousand keys with soft limits, all as busy.
    Keys10k,
    /// The same with four workers.
    Keys10k4w,
}

/// How many keys the rows with many of them use.
pub const MANY_KEYS: usize = 10_000;

impl Row {
    /// Every row, in the order of the table.
    pub const ALL: [Self; 8] = [
        Self::Plain,
        Self::Empty,
        Self::Twin,
        Self::Leased,
        Self::Lean,
        Self::Exact,
        Self::Keys10k,
        Self::Keys10k4w,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Empty => "empty",
            Self::Twin => "twin",
            Self::Leased => "leased",
            Self::Lean => "lean",
            Self::Exact => "exact",
            Self::Keys10k => "keys_10k",
            Self::Keys10k4w => "keys_10k_4w",
        }
    }

    /// Whether its requests are metered.
    pub const fn is_metered(self) -> bool {
        match self {
            Self::Plain | Self::Empty | Self::Twin => false,
            Self::Leased | Self::Lean | Self::Exact | Self::Keys10k | Self::Keys10k4w => true,
        }
    }

    /// How many keys its requests come with.
    pub const fn keys(self) -> usize {
        match self {
            Self::Keys10k | Self::Keys10k4w => MANY_KEYS,
            Self::Plain | Self::Empty | Self::Twin | Self::Leased | Self::Lean | Self::Exact => 1,
        }
    }

    /// How many workers the gateway has.
    pub const fn workers(self) -> u32 {
        match self {
            Self::Keys10k4w => 4,
            Self::Plain
            | Self::Empty
            | Self::Twin
            | Self::Leased
            | Self::Lean
            | Self::Exact
            | Self::Keys10k => 1,
        }
    }

    /// Says in the filter's configuration what is different.
    pub fn configure(self, policy: &mut Value) {
        match self {
            Self::Lean => {
                policy["responses"]["rateLimitHeaders"] = false.into();
                policy["responses"]["identity"] = "none".into();
            }
            Self::Exact => {
                policy["metering"]["mode"] = "exact".into();
                policy["redis"]["maxCallsPerSecond"] = 0.into();
            }
            // So that no request is refused while every key is looked up for the first time.
            Self::Keys10k | Self::Keys10k4w => policy["redis"]["timeoutMs"] = 2_000.into(),
            Self::Plain | Self::Empty | Self::Twin | Self::Leased => {}
        }
    }

    /// What stands before the backend.
    pub fn module(self) -> Module {
        match self {
            Self::Plain => Module::None,
            Self::Empty => other_module("TOLLGATE_BENCH_EMPTY", "tollgate_bench_empty.wasm"),
            Self::Twin => other_module("TOLLGATE_BENCH_TWIN", "tollgate_bench_twin.wasm"),
            Self::Leased | Self::Lean | Self::Exact | Self::Keys10k | Self::Keys10k4w => {
                Module::Tollgate
            }
        }
    }
}

fn other_module(variable: &str, file: &str) -> Module {
    Module::Other(program(variable, near_test(file)))
}

impl fmt::Display for Row {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}
