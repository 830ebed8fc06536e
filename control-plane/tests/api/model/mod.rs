//! Random sequences of what customers, operators, Stripe and failing machines do, through the real code on a real
//! database, beside a small model that reckons money by itself.
//!
//! After each step the doctor finds nothing, and fees, credits and usage are what the model says. A seed that fails is
//! printed; `TOLLGATE_SEED=<seed>` runs it alone, `TOLLGATE_SEEDS=<n>` runs more of them.

mod checks;
mod reckoning;
mod steps;
mod template;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{LazyLock, Mutex};

use crate::world::TestDatabase;
use steps::Run;

/// Short sequences that are run always.
const SEEDS: u64 = 200;
const STEPS: usize = 14;

/// Random numbers that a seed repeats (SplitMix64).
pub struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number in `from..=to`.
    pub fn within(&mut self, from: u64, to: u64) -> u64 {
        from + self.next() % (to - from + 1)
    }

    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[usize::try_from(self.next() % choices.len() as u64).unwrap()]
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// A database with plans and nothing else, made once and copied: in PostgreSQL where `TOLLGATE_TEST_DATABASE` says so.
static TEMPLATE: LazyLock<TestDatabase> = LazyLock::new(|| {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let make = async {
        let database = match std::env::var("TOLLGATE_TEST_DATABASE").as_deref() {
            Ok("postgres") => TestDatabase::postgres().await.unwrap(),
            _ => TestDatabase::sqlite(),
        };
        template::make_template(database.clone()).await;
        database
    };
    runtime.block_on(make)
});

/// Runs a seed, and gives what happened and why it failed, if it did.
fn run(seed: u64) -> Result<(), String> {
    let log = Arc::new(Mutex::new(Vec::new()));
    let steps = number("TOLLGATE_STEPS").map_or(STEPS, |steps| usize::try_from(steps).unwrap());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let outcome = std::panic::catch_unwind(AssertUnwindSafe(|| {
        runtime.block_on(async {
            let mut run = Run::begin(&TEMPLATE, Random(seed), Arc::clone(&log)).await;
            for _ in 0..steps {
                run.step().await;
            }
            run.end().await;
        });
    }));
    runtime.shutdown_background();
    outcome.map_err(|panic| {
        let said = panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        let log = log.lock().unwrap().join("\n  ");
        format!("{}\n  {log}", said.unwrap_or_default())
    })
}

#[test]
fn whatever_happens_money_is_what_the_model_says() {
    let seeds: Vec<u64> = match number("TOLLGATE_SEED") {
        Some(seed) => vec![seed],
        None => (0..number("TOLLGATE_SEEDS").unwrap_or(SEEDS)).collect(),
    };
    LazyLock::force(&TEMPLATE);
    let next = AtomicUsize::new(0);
    let failed = Mutex::new(None);
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while failed.lock().unwrap().is_none() {
                    let Some(&seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed)) else {
                        break;
                    };
                    if let Err(why) = run(seed) {
                        *failed.lock().unwrap() = Some((seed, why));
                    }
                }
            });
        }
    });
    if let Some((seed, why)) = failed.into_inner().unwrap() {
        panic!("{why}\nrun it again with TOLLGATE_SEED={seed}");
    }
}
