//! Random histories of a chain: workers that spend, settle, lose answers and die, while windows change and the ledger
//! reads and removes counters. Whatever happens, the sums hold, the limit holds, and every counted unit reaches the
//! ledger once.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, RngSeed, TestRunner};

use crate::chain::Chain;
use crate::world::World;

/// Workers that run at a time.
pub const WORKERS: usize = 3;

/// What happens next.
#[derive(Clone, Debug)]
pub enum Step {
    /// A worker spends up to so many of its units.
    Spend(Index, u64),
    /// A worker sends what is in doubt, or else a new batch.
    Send(Index, Ask, Fate),
    /// A worker is killed, and another starts in its place.
    Die(Index),
    /// The ledger reads counters, and Redis learns of it, or not, or of an earlier reading once more.
    Drain(Acknowledgement),
    /// The ledger has a window removed.
    Trim(Index),
    /// Business time passes.
    Pass(u32),
    /// The subscription changes to a plan with this limit, with the units used carried over or not.
    Change(u64, Carry),
}

/// What a worker asks for and gives back, in units.
#[derive(Clone, Copy, Debug)]
pub struct Ask {
    pub need: u64,
    pub want: u64,
    pub returned: u64,
}

/// What becomes of a batch.
#[derive(Clone, Copy, Debug)]
pub enum Fate {
    Arrives,
    Lost,
    AnswerLost,
    ArrivesTwice,
}

/// What Redis learns of what the ledger holds.
#[derive(Clone, Copy, Debug)]
pub enum Acknowledgement {
    Arrives,
    Lost,
    ArrivesAgain,
}

/// What a new window counts of the one before.
#[derive(Clone, Copy, Debug)]
pub enum Carry {
    Used,
    Nothing,
}

fn step() -> impl Strategy<Value = Step> {
    let ask = (0..6_u64, 0..12_u64, 0..3_u64).prop_map(|(need, want, returned)| Ask {
        need,
        want,
        returned,
    });
    let fate = prop_oneof![
        5 => Just(Fate::Arrives),
        1 => Just(Fate::Lost),
        2 => Just(Fate::AnswerLost),
        1 => Just(Fate::ArrivesTwice),
    ];
    let acknowledgement = prop_oneof![
        Just(Acknowledgement::Arrives),
        Just(Acknowledgement::Lost),
        Just(Acknowledgement::ArrivesAgain),
    ];
    prop_oneof![
        8 => (any::<Index>(), 1..8_u64).prop_map(|(worker, units)| Step::Spend(worker, units)),
        12 => (any::<Index>(), ask, fate).prop_map(|(worker, ask, fate)| Step::Send(worker, ask, fate)),
        1 => any::<Index>().prop_map(Step::Die),
        3 => acknowledgement.prop_map(Step::Drain),
        2 => any::<Index>().prop_map(Step::Trim),
        1 => (1..100_u32).prop_map(Step::Pass),
        1 => (1..30_u64, prop_oneof![Just(Carry::Used), Just(Carry::Nothing)])
            .prop_map(|(limit, carry)| Step::Change(limit, carry)),
    ]
}

#[test]
fn sums_limit_and_ledger_hold_on_the_model() {
    check(300, |steps| {
        Chain::new(World::on_model()).run(steps);
    });
}

#[test]
fn the_model_answers_as_redis_does() {
    check(12, |steps| {
        let modelled = Chain::new(World::on_model()).run(steps);
        let real = Chain::new(World::on_redis()).run(steps);
        assert_eq!(modelled, real);
    });
}

fn check(cases: u32, run: impl Fn(&[Step])) {
    let config = Config {
        cases,
        rng_seed: RngSeed::Fixed(1),
        failure_persistence: None,
        ..Config::default()
    };
    TestRunner::new(config)
        .run(&vec(step(), 1..120), |steps| {
            run(&steps);
            Ok(())
        })
        .unwrap_or_else(|error| panic!("{error}"));
}
