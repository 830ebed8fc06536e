//! The protocol between workers and Redis, simulated: the engine's workers, the real scripts in a model of Redis, a
//! network that delays, loses, repeats and cuts, processes that die, a Redis that comes back older or empty.
//!
//! Each test runs many seeds and checks invariants of the edge after every step (E1) and at the end (E2–E4, E11). A
//! seed that fails is printed; `TOLLGATE_SEED=<seed>` runs it alone, `TOLLGATE_SEEDS=<n>` runs more of them.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod faults;
mod invariants;
mod ledger;
mod network;
mod random;
mod rates;
mod scenario;
mod world;

use scenario::{Faults, Scenario, Traffic};
use world::World;

/// Runs a scenario for many seeds on both cores.
fn simulate(name: &str, scenario: impl Fn(u64) -> Scenario + Sync) {
    let number = |variable: &str| -> Option<u64> { std::env::var(variable).ok()?.parse().ok() };
    let seeds: Vec<u64> = match number("TOLLGATE_SEED") {
        Some(seed) => vec![seed],
        None => (0..number("TOLLGATE_SEEDS").unwrap_or(400)).collect(),
    };
    let next = std::sync::atomic::AtomicUsize::new(0);
    let failure = std::sync::Mutex::new(None);
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    let Some(&seed) = seeds.get(at) else { break };
                    if failure.lock().unwrap().is_some() {
                        break;
                    }
                    if let Err(broken) = World::new(scenario(seed), seed).run() {
                        *failure.lock().unwrap() = Some((seed, broken));
                    }
                }
            });
        }
    });
    if let Some((seed, broken)) = failure.into_inner().unwrap() {
        panic!("{name}: {broken}\nrun it again with TOLLGATE_SEED={seed}");
    }
}

#[test]
fn a_quiet_network_gives_exactly_the_limit() {
    simulate("quiet", |seed| Scenario {
        faults: Faults::NONE,
        traffic: Traffic::beyond_the_limit(seed),
        ..Scenario::of(seed)
    });
}

#[test]
fn lost_late_repeated_and_short_answers_count_once() {
    simulate("network", |seed| Scenario {
        faults: Faults::network(seed),
        ..Scenario::of(seed)
    });
}

#[test]
fn costs_that_responses_tell_count_once() {
    simulate("told", |seed| {
        let scenario = Scenario::of(seed);
        Scenario {
            faults: Faults::network(seed),
            traffic: Traffic {
                most_told: 5,
                ..scenario.traffic
            },
            ..scenario
        }
    });
}

#[test]
fn a_bad_network_still_gives_exactly_the_limit() {
    simulate("network, beyond the limit", |seed| Scenario {
        faults: Faults::network(seed),
        // Half of the calls may fail, and a worker whose calls fail asks less often.
        traffic: Traffic {
            for_ms: 60_000,
            ..Traffic::beyond_the_limit(seed)
        },
        ..Scenario::of(seed)
    });
}

#[test]
fn killed_workers_never_exceed_the_limit_and_lose_only_what_was_unsettled() {
    simulate("kills", |seed| Scenario {
        faults: Faults {
            kills_per_minute: 20,
            ..Faults::network(seed)
        },
        ..Scenario::of(seed)
    });
}

#[test]
fn a_redis_that_loses_its_last_second_loses_and_exceeds_nothing() {
    simulate("restarts", |seed| Scenario {
        faults: Faults {
            restarts_per_minute: [4, 10, 40][usize::try_from(seed % 3).unwrap()],
            ..Faults::passable_network(seed)
        },
        ..Scenario::with_large_leases(seed)
    });
}

#[test]
fn a_store_that_is_lost_comes_back_from_the_ledger() {
    simulate("losses", |seed| Scenario {
        faults: Faults {
            losses_per_minute: [4, 12][usize::try_from(seed % 2).unwrap()],
            ..Faults::passable_network(seed)
        },
        ..Scenario::with_large_leases(seed)
    });
}

#[test]
fn units_that_are_counted_before_give_exactly_the_limit() {
    simulate("exact", |seed| Scenario {
        faults: Faults::NONE,
        traffic: Traffic::beyond_the_limit(seed).exact(seed),
        ..Scenario::of(seed)
    });
}

#[test]
fn units_that_are_counted_before_count_once_on_a_bad_network() {
    simulate("exact, network", |seed| {
        let scenario = Scenario::of(seed);
        let traffic = Traffic {
            most_told: [0, 5][usize::try_from(seed / 2 % 2).unwrap()],
            ..scenario.traffic.exact(seed)
        };
        Scenario {
            faults: Faults::network(seed),
            traffic,
            ..scenario
        }
    });
}

#[test]
fn killed_workers_lose_nothing_that_was_counted_before() {
    simulate("exact, kills", |seed| {
        let scenario = Scenario::of(seed);
        Scenario {
            faults: Faults {
                kills_per_minute: 20,
                ..Faults::network(seed)
            },
            traffic: scenario.traffic.exact(seed),
            ..scenario
        }
    });
}

#[test]
fn a_redis_that_forgets_is_told_again_what_was_counted_before() {
    simulate("exact, restarts and losses", |seed| {
        let scenario = Scenario::with_large_leases(seed);
        Scenario {
            faults: Faults {
                restarts_per_minute: [4, 40, 0][usize::try_from(seed % 3).unwrap()],
                losses_per_minute: [0, 0, 8][usize::try_from(seed % 3).unwrap()],
                ..Faults::passable_network(seed)
            },
            traffic: scenario.traffic.exact(seed),
            ..scenario
        }
    });
}

#[test]
fn changes_of_plan_carry_what_was_used() {
    simulate("changes", |seed| Scenario {
        changes_per_minute: 20,
        faults: Faults::network(seed),
        ..Scenario::of(seed)
    });
}

#[test]
fn everything_at_once_never_counts_twice() {
    simulate("everything", |seed| Scenario {
        changes_per_minute: 10,
        faults: Faults {
            kills_per_minute: 10,
            restarts_per_minute: 10,
            losses_per_minute: 4,
            ..Faults::network(seed)
        },
        traffic: Scenario::of(seed).traffic.exact(seed / 2 * 2 + 1),
        ..Scenario::of(seed)
    });
}
