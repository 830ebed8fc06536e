//! What a simulation does, drawn from its seed.

use crate::random::Random;
use crate::rates::Rate;
use crate::world::{CLAIMS_RECORDED_AFTER_MS, SETTLED_AFTER_MS};

/// One simulation.
#[derive(Clone, Debug)]
pub struct Scenario {
    pub workers: usize,
    /// In units; `None` for a soft limit without end.
    pub limit: Option<u64>,
    /// What the plan gives in a short time; `None` for all that is asked for.
    pub rate: Option<Rate>,
    pub traffic: Traffic,
    pub faults: Faults,
    /// How often the subscription moves to another plan.
    pub changes_per_minute: u64,
}

impl Scenario {
    pub fn of(seed: u64) -> Self {
        let mut random = Random::new(seed ^ 1);
        Self {
            workers: usize::try_from(random.within(1, 5)).unwrap(),
            limit: random.pick(&[Some(0), Some(1), Some(7), Some(40), Some(300), None]),
            rate: None,
            traffic: Traffic::of(seed),
            faults: Faults::NONE,
            changes_per_minute: 0,
        }
    }
}

/// What clients do.
#[derive(Clone, Debug)]
pub struct Traffic {
    /// All of them together.
    pub requests_per_second: u64,
    pub for_ms: u64,
    /// Longest time a request is under way.
    pub longest_ms: u64,
    /// Share of requests whose response is not metered, in percent.
    pub unmetered_percent: u64,
    /// Whether every request costs one unit, all responses are metered and demand goes on long enough: exactly the
    /// limit must get through.
    pub must_reach_the_limit: bool,
    /// Most units that a response may tell a request costs; 0 for requests that cost one unit each.
    pub most_told: u64,
    /// Share of requests whose units are counted before they go on, in percent.
    pub exact_percent: u64,
}

impl Traffic {
    fn of(seed: u64) -> Self {
        let mut random = Random::new(seed ^ 2);
        Self {
            requests_per_second: random.pick(&[3, 20, 80]),
            for_ms: random.within(3_000, 12_000),
            longest_ms: random.pick(&[5, 60, 3_000, 12_000]),
            unmetered_percent: random.pick(&[0, 0, 30]),
            must_reach_the_limit: false,
            most_told: 0,
            exact_percent: 0,
        }
    }

    /// All of it, or half of it, by rules that count before.
    pub fn exact(self, seed: u64) -> Self {
        Self {
            exact_percent: [100, 50][usize::try_from(seed % 2).unwrap()],
            ..self
        }
    }

    pub fn beyond_the_limit(seed: u64) -> Self {
        Self {
            requests_per_second: 60,
            for_ms: 16_000,
            unmetered_percent: 0,
            must_reach_the_limit: true,
            ..Self::of(seed)
        }
    }
}

/// What goes wrong.
#[derive(Clone, Debug)]
pub struct Faults {
    /// Longest way to Redis and back, each.
    pub delay_ms: u64,
    /// Share of calls that are lost on the way, in percent.
    pub lost_percent: u64,
    /// Share of answers that are lost, cut short, or come after the time-out; Redis has done what they tell of.
    pub broken_percent: u64,
    /// Share of calls that Redis executes again, later, though nobody listens any more.
    pub repeated_percent: u64,
    /// How often a worker is killed; a new one takes its place.
    pub kills_per_minute: u64,
    /// How often Redis restarts without its last moments.
    pub restarts_per_minute: u64,
    /// How often Redis loses everything.
    pub losses_per_minute: u64,
}

impl Faults {
    pub const NONE: Self = Self {
        delay_ms: 2,
        lost_percent: 0,
        broken_percent: 0,
        repeated_percent: 0,
        kills_per_minute: 0,
        restarts_per_minute: 0,
        losses_per_minute: 0,
    };

    /// A network that no worker is cut off by for as long as a lease lives: while Redis has forgotten leases, the limit
    /// holds only for workers that come back and declare theirs in that time (E11).
    pub fn passable_network(seed: u64) -> Self {
        let network = Self::network(seed);
        Self {
            delay_ms: network.delay_ms.min(20),
            lost_percent: network.lost_percent.min(5),
            broken_percent: network.broken_percent.min(5),
            ..network
        }
    }

    pub fn network(seed: u64) -> Self {
        let mut random = Random::new(seed ^ 3);
        Self {
            delay_ms: random.pick(&[1, 20, 120]),
            lost_percent: random.pick(&[0, 5, 30]),
            broken_percent: random.pick(&[0, 5, 30]),
            repeated_percent: random.pick(&[0, 10]),
            ..Self::NONE
        }
    }
}

impl Scenario {
    /// Several workers that hold large leases while the limit comes near: what is forgotten then is missed.
    pub fn with_large_leases(seed: u64) -> Self {
        let mut random = Random::new(seed ^ 4);
        Self {
            workers: usize::try_from(random.within(2, 4)).unwrap(),
            limit: Some(random.pick(&[60, 200, 400])),
            traffic: Traffic {
                requests_per_second: 80,
                ..Traffic::of(seed)
            },
            ..Self::of(seed)
        }
    }

    /// Whether no unit beyond the limit may be admitted: only a Redis that lost data, together with a worker that
    /// died, may forget a lease.
    pub const fn holds_the_limit(&self) -> bool {
        let faults = &self.faults;
        faults.kills_per_minute == 0
            || (faults.restarts_per_minute == 0 && faults.losses_per_minute == 0)
    }

    /// When everything is healed, all usage is in the ledger after this time.
    pub const fn settled_after_ms(&self) -> u64 {
        if self.traffic.exact_percent > 0 && self.faults.kills_per_minute > 0 {
            SETTLED_AFTER_MS + CLAIMS_RECORDED_AFTER_MS
        } else {
            SETTLED_AFTER_MS
        }
    }

    /// Whether nothing may be lost but what a killed worker had not settled.
    pub const fn loses_only_unsettled(&self) -> bool {
        self.holds_the_limit()
    }
}
