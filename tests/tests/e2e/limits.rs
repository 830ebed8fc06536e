//! A hard limit lets exactly its units through, over two gateways of two workers each (E1, E2).

use std::time::Duration;

use serde_json::json;
use tokio::time::sleep;
use tollgate_tests::wait;

use crate::customer::Quota;
use crate::load::Load;
use crate::shop::Shop;
use crate::world::{World, alone};

/// How long demand must go on to get every unit: `leaseTtlMs` + 2 × `flushIntervalMs` of the default configuration.
const DEMAND: Duration = Duration::from_millis(5_000 + 2 * 250);
const CLIENTS: u32 = 6;

#[tokio::test(flavor = "multi_thread")]
async fn two_gateways_let_exactly_the_limit_through() {
    const LIMIT: u64 = 500;
    let _alone = alone().await;
    let mut shop = Shop::open().await;
    shop.sell("plan", Quota::Hard(LIMIT)).await;
    let subscriber = shop.subscribe("plan").await;
    let envoys = [shop.envoy().await, shop.envoy().await];

    let load = Load::start(&envoys, CLIENTS, "/", subscriber.key());
    wait::until("demand for more than the limit", async || {
        let sent = load.sent();
        if sent > LIMIT { Ok(()) } else { Err(sent) }
    })
    .await;
    sleep(DEMAND).await;
    let seen = load.stop().await;

    seen.assert_only(&["200", "403 quota_exceeded"]);
    println!("{seen}");
    assert_eq!(shop.upstream.requests(), LIMIT, "requests at the upstream");
    assert_eq!(seen.allowed(), LIMIT);
    shop.wait_until_used(&subscriber.subscription, LIMIT).await;
    let counters = subscriber.customer.counters(&shop.redis);
    assert_eq!((counters.consumed(), counters.leased()), (500.0, 0.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_of_one_lets_one_request_through() {
    let _alone = alone().await;
    let mut world = World::open();
    let envoys = [world.envoy().await, world.envoy().await];
    for round in 1..=5 {
        let customer = world.customer(&[("api_requests", Quota::Hard(1))]);
        let seen = Load::start(&envoys, CLIENTS, "/", &customer.key)
            .for_ms(600)
            .await;
        seen.assert_only(&["200", "403 quota_exceeded"]);
        assert_eq!(
            (seen.allowed(), world.upstream.requests()),
            (1, round),
            "{seen}"
        );
        world.wait_until_consumed(&customer, 1).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fractions_of_units_add_up() {
    let _alone = alone().await;
    let mut world = World::open();
    let mut options = world.options();
    options.policy["rules"][1]["meters"] = json!({"api_requests": 2.5});
    options.policy["metering"] = json!({"leaseTtlMs": 2_000});
    let envoys = [
        tollgate_tests::envoy::Envoy::start(options.clone()).await,
        tollgate_tests::envoy::Envoy::start(options).await,
    ];
    // 40 requests take 100 units, and 39 requests 97.5 of 99.
    for (limit, requests, units) in [(100, 40, 100.0), (99, 39, 97.5)] {
        let before = world.upstream.requests();
        let customer = world.customer(&[("api_requests", Quota::Hard(limit))]);
        let seen = Load::start(&envoys, CLIENTS, "/", &customer.key)
            .for_ms(4_000)
            .await;
        seen.assert_only(&["200", "403 quota_exceeded"]);
        assert_eq!(world.upstream.requests() - before, requests, "{seen}");
        wait::until("everything to be settled", async || {
            let counters = customer.counters(&world.redis);
            let settled = counters.consumed() == units && counters.leased() == 0.0;
            if settled {
                Ok(())
            } else {
                Err(format!("{counters:?}"))
            }
        })
        .await;
    }
}
