//! A rate limit in the plan: one token bucket over all workers.

use tollgate_engine::contract::Entitlement;
use tollgate_engine::units::Units;

use crate::random::Random;
use crate::scenario::{Faults, Scenario, Traffic};
use crate::simulate;
use crate::world::{Broken, World};

pub const FEATURE: &str = "requests";
/// A rate that is asked for twice over so long gets this share of it.
const SHARE_PERCENT: u64 = 95;
const SHARE_OF_MS: u64 = 10_000;

/// So many units each `per_ms`, of which so many may gather.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    pub units: u64,
    pub per_ms: u64,
    pub burst: u64,
    /// Whether clients ask for twice as much all the time, and nothing goes wrong.
    pub is_reached: bool,
}

impl Rate {
    pub fn entitlement(self) -> Entitlement {
        let units = |count| Units::ONE.checked_mul(count).unwrap();
        Entitlement::RateLimit {
            units: units(self.units),
            per_ms: self.per_ms,
            burst: units(self.burst),
        }
    }

    fn of(seed: u64) -> Self {
        let mut random = Random::new(seed ^ 5);
        let (units, per_ms): (u64, u64) =
            random.pick(&[(1, 1_000), (3, 60_000), (20, 1_000), (10, 3_000)]);
        Self {
            units,
            per_ms,
            burst: units.div_ceil(4) * random.pick(&[1, 4, 20]),
            is_reached: false,
        }
    }
}

impl World {
    /// However the requests that were let through are cut out of time, they are at most burst + rate × time.
    pub fn check_rate(&self) -> Result<(), Broken> {
        let Some(rate) = self.scenario.rate else {
            return Ok(());
        };
        // A bucket of its own, in parts of a unit so that nothing is rounded.
        let (cost, most) = (rate.per_ms, rate.burst * rate.per_ms);
        let (mut level, mut at_ms) = (most, 0);
        for (number, now_ms) in self.truth.let_through.iter().enumerate() {
            level = most.min(level + (now_ms - at_ms) * rate.units);
            at_ms = *now_ms;
            let Some(left) = level.checked_sub(cost) else {
                return Err(format!(
                    "request {number} at {now_ms} ms is one too many: {:?}",
                    self.scenario
                ));
            };
            level = left;
        }
        if rate.is_reached {
            self.check_share(rate)?;
        }
        Ok(())
    }

    fn check_share(&self, rate: Rate) -> Result<(), Broken> {
        let end_ms = self.scenario.traffic.for_ms;
        let is_late = |at_ms: &&u64| **at_ms > end_ms - SHARE_OF_MS;
        let got = self.truth.let_through.iter().filter(is_late).count() as u64;
        let least = rate.units * SHARE_OF_MS / rate.per_ms * SHARE_PERCENT / 100;
        if got < least {
            return Err(format!("{got} of {least}: {:?}", self.scenario));
        }
        Ok(())
    }
}

fn limited(seed: u64, faults: Faults) -> Scenario {
    let scenario = Scenario::of(seed);
    Scenario {
        rate: Some(Rate::of(seed)),
        limit: None,
        faults,
        ..scenario
    }
}

#[test]
fn a_rate_holds_over_any_network() {
    simulate("rate, network", |seed| limited(seed, Faults::network(seed)));
}

#[test]
fn a_rate_holds_while_workers_and_redis_die() {
    simulate("rate, deaths", |seed| {
        let faults = Faults {
            kills_per_minute: 20,
            restarts_per_minute: 20,
            losses_per_minute: 5,
            ..Faults::network(seed)
        };
        limited(seed, faults)
    });
}

#[test]
fn a_rate_holds_for_requests_that_are_counted_before() {
    simulate("rate, exact", |seed| {
        let faults = match seed % 3 {
            0 => Faults::NONE,
            1 => Faults::network(seed),
            _ => Faults {
                kills_per_minute: 10,
                restarts_per_minute: 10,
                losses_per_minute: 5,
                ..Faults::network(seed)
            },
        };
        let scenario = limited(seed, faults);
        Scenario {
            // Many are refused by a quota that their rate let through.
            limit: [None, Some(7), Some(40)][usize::try_from(seed / 3 % 3).unwrap()],
            traffic: scenario.traffic.exact(seed / 9),
            ..scenario
        }
    });
}

/// Requests that a quota refuses take nothing of a rate: here nearly all of them are, and none is metered.
#[test]
fn what_a_quota_refuses_after_all_leaves_the_rate_to_others() {
    simulate("rate, exact, quota", |seed| {
        let mut random = Random::new(seed ^ 7);
        let units = random.pick(&[10, 20]);
        Scenario {
            workers: 1,
            limit: Some(random.within(3, 5)),
            rate: Some(Rate {
                units,
                per_ms: 1_000,
                burst: units,
                is_reached: true,
            }),
            traffic: Traffic {
                requests_per_second: 200,
                longest_ms: 5,
                unmetered_percent: 100,
                must_reach_the_limit: false,
                ..Traffic::beyond_the_limit(seed).exact(0)
            },
            ..Scenario::of(seed)
        }
    });
}

#[test]
fn a_rate_that_is_asked_for_twice_over_is_used_up() {
    simulate("rate, demand", |seed| {
        let mut random = Random::new(seed ^ 6);
        let workers = random.within(1, 4);
        // Twenty units a second and worker, and a little more than twice as many requests.
        let requests_per_second = [50, 90, 150, 200][usize::try_from(workers).unwrap() - 1];
        let units = 20 * workers;
        Scenario {
            workers: usize::try_from(workers).unwrap(),
            limit: random.pick(&[None, Some(1_000_000)]),
            rate: Some(Rate {
                units,
                per_ms: 1_000,
                burst: random.pick(&[units / 4, units, 3 * units]).max(units / 5),
                is_reached: true,
            }),
            traffic: Traffic {
                requests_per_second,
                for_ms: 16_000,
                must_reach_the_limit: false,
                exact_percent: if seed % 16 == 0 { 100 } else { 0 },
                ..Traffic::beyond_the_limit(seed)
            },
            ..Scenario::of(seed)
        }
    });
}
