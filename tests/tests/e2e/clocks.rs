//! Gateways whose clocks are wrong: Redis's clock says which window holds, for all of them (E1).

use std::time::{Duration, Instant};

use tollgate_engine::contract::{AccessDocument, Entitlement, Window};
use tollgate_engine::units::Units;
use tollgate_tests::clock::WrongClock;
use tollgate_tests::envoy::Envoy;
use tollgate_tests::wait;

use crate::customer::{self, HOUR_MS, Quota, now_ms};
use crate::load::Load;
use crate::world::{World, alone};

const CLIENTS: u32 = 3;

async fn envoy_ahead(world: &World, clock: &WrongClock, seconds: i64) -> Envoy {
    let mut options = world.options();
    options.environment.extend(clock.ahead(seconds));
    Envoy::start(options).await
}

/// A term around now of two windows, the second of which begins in so many milliseconds.
fn access(chain: &str, in_ms: i64, limits: [u64; 2]) -> AccessDocument {
    let now_ms = now_ms();
    let mut access = customer::access(chain, &[("api_requests", Quota::Hard(1))]);
    let instants = [now_ms - HOUR_MS / 2, now_ms + in_ms, now_ms + HOUR_MS / 2];
    let window = |place: usize| Window {
        start_ms: instants[place],
        end_ms: instants[place + 1],
        included: Units::ONE.checked_mul(limits[place]),
        limit: Units::ONE.checked_mul(limits[place]),
        carried: Vec::new(),
    };
    let windows = vec![window(0), window(1)];
    let term = &mut access.terms[0];
    (term.from_ms, term.to_ms) = (instants[0], Some(instants[2]));
    term.entitlements = [("api_requests".to_owned(), Entitlement::Metered { windows })].into();
    access
}

/// The mean of a histogram of a gateway.
pub async fn mean_skew_ms(envoy: &Envoy) -> f64 {
    wait::until("the skew in the metrics", async || {
        let answer = envoy.admin().get("/stats/prometheus").await.unwrap();
        let value = |series: &str| {
            let mut lines = answer.body.lines();
            let line = lines.find(|line| line.contains(series))?;
            line.rsplit_once(' ')?.1.parse::<f64>().ok()
        };
        match (
            value("tollgate_clock_skew_ms_sum"),
            value("tollgate_clock_skew_ms_count"),
        ) {
            (Some(sum), Some(count)) if count > 0.0 => Ok(sum / count),
            other => Err(format!("{other:?}")),
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_hour_early_or_late_they_share_the_windows_of_redis() {
    const LIMITS: [u64; 2] = [60, 90];
    let _alone = alone().await;
    let mut world = World::open();
    let clock = WrongClock::build();
    let envoys = [
        envoy_ahead(&world, &clock, 3_600).await,
        envoy_ahead(&world, &clock, -3_600).await,
    ];
    let customer = world.stranger();
    let access = access(&customer.chain, 3_000, LIMITS);
    world.write_access(&customer, &access);
    world.write_key(&customer, &customer::key_document(&customer));

    let load = Load::start(&envoys, CLIENTS, "/", &customer.key);
    let total = LIMITS.iter().sum();
    wait::until("both limits to be used", async || {
        let reached = world.upstream.requests();
        assert!(reached <= total, "{reached} of {total}");
        if reached == total {
            Ok(())
        } else {
            Err(reached)
        }
    })
    .await;
    let seen = load.for_ms(1_000).await;
    seen.assert_only(&["200", "403 quota_exceeded"]);
    println!("{seen}");
    assert_eq!(world.upstream.requests(), total);
    world.wait_until_consumed(&customer, total).await;
    let Entitlement::Metered { windows } = &access.terms[0].entitlements["api_requests"] else {
        unreachable!("it was made so");
    };
    for (window, limit) in windows.iter().zip(LIMITS) {
        let window = AccessDocument::window_id(1, "api_requests", window).to_string();
        let consumed = customer.counters(&world.redis).consumed_of(&window);
        assert_eq!(consumed, limit as f64, "{window}");
    }
    for envoy in &envoys {
        let skew_ms = mean_skew_ms(envoy).await;
        println!("skew {skew_ms} ms");
        assert!((skew_ms - 3_600_000.0).abs() < 200_000.0, "{skew_ms}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_seconds_are_let_pass_and_three_are_corrected() {
    const LIFE_MS: i64 = 5_000;
    let _alone = alone().await;
    let mut world = World::open();
    let clock = WrongClock::build();
    let envoys = [
        envoy_ahead(&world, &clock, 1).await,
        envoy_ahead(&world, &clock, 3).await,
    ];
    let customer = world.stranger();
    let access = customer::access(&customer.chain, &[("api_requests", Quota::Soft(10))]);
    world.write_access(&customer, &access);
    let mut key = customer::key_document(&customer);
    key.expires_at_ms = Some(now_ms() + LIFE_MS);
    world.write_key(&customer, &key);
    let start = Instant::now();
    let lives = async |envoy: &Envoy| {
        let load = Load::start([envoy], CLIENTS, "/", &customer.key);
        let seen = load.for_ms(LIFE_MS as u64 + 700).await;
        seen.assert_only(&["200", "401 key_expired"]);
        seen.last_after("200", start)
    };
    let (tolerated, corrected) = tokio::join!(lives(&envoys[0]), lives(&envoys[1]));
    println!(
        "a clock 1 s ahead ended the key after {tolerated:?}, one 3 s ahead after {corrected:?}"
    );
    let near =
        |life: Duration, expected_ms: i64| life.as_millis().abs_diff(expected_ms as u128) < 500;
    assert!(near(tolerated, LIFE_MS - 1_000), "{tolerated:?}");
    assert!(near(corrected, LIFE_MS), "{corrected:?}");
}
