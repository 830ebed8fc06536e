//! Three days without the control plane and its database, or with one that is broken: quotas go on by the day, keys stay
//! known, and gateways that start meanwhile work (E7).

use std::fs;

use reqwest::Method;
use serde_json::json;
use tollgate_engine::contract::Names;
use tollgate_tests::PREFIX;
use tollgate_tests::envoy::Envoy;
use tollgate_tests::postgres;
use tollgate_tests::store::request;
use tollgate_tests::wait;

use crate::customer::Quota;
use crate::load::Load;
use crate::sandbox::{in_sandbox, sandbox};
use crate::shop::Shop;
use crate::world::alone;

const CLIENTS: u32 = 3;
const DAILY: u64 = 20;
const HOUR_MS: u64 = 3_600_000;
/// As far as documents must reach.
const ABSENT_HOURS: u64 = 72;

/// Publishes a plan with a quota for each day.
async fn sell_by_the_day(shop: &Shop) {
    let template = json!({"type": "metered", "issueAfterReset": DAILY, "isSoftLimit": false, "usagePeriod": "P1D"});
    let card = json!({"type": "flat_fee", "key": "api_requests", "name": "API requests", "featureKey": "api_requests",
        "billingCadence": "P1M", "price": null, "entitlementTemplate": template});
    let phase = json!({"key": "default", "name": "Default", "duration": null, "rateCards": [card]});
    let plan = json!({"key": "daily", "name": "Daily", "currency": "USD", "billingCadence": "P1M", "phases": [phase]});
    shop.control_plane.post("/v1/plans", &plan).await;
    shop.control_plane
        .post("/v1/plans/daily/publish", &json!({}))
        .await;
}

/// Has the store's time be so far ahead.
fn pass(shop: &Shop, milliseconds: u64) {
    let (store, offset) = (Names::new(PREFIX).store(), milliseconds.to_string());
    let answer = shop
        .redis
        .exchange(&request(&["HSET", &store, "offset", &offset]));
    assert!(answer.starts_with(b":"), "{}", answer.escape_ascii());
}

#[tokio::test(flavor = "multi_thread")]
async fn three_days_without_the_control_plane() {
    let _alone = alone().await;
    let mut shop = sandbox().await;
    sell_by_the_day(&shop).await;
    let subscriber = shop.subscribe("daily").await;
    let mut envoys = vec![Envoy::start(in_sandbox(shop.options())).await];
    shop.control_plane.kill();
    let days = ABSENT_HOURS / 24;
    for day in 0..=days {
        // The last instant of which documents must tell.
        let passed_ms = (day * 24 * HOUR_MS).min(ABSENT_HOURS * HOUR_MS - 60_000);
        pass(&shop, passed_ms);
        let load = Load::start(&envoys, CLIENTS, "/", subscriber.key());
        let due = DAILY * (day + 1).min(days);
        wait::until("the day's quota to be used", async || {
            let reached = shop.upstream.requests();
            assert!(reached <= due, "{reached} of {due}");
            if reached == due { Ok(()) } else { Err(reached) }
        })
        .await;
        let seen = load.for_ms(500).await;
        println!("day {day}: {seen}");
        seen.assert_only(&["200", "403 quota_exceeded"]);
        assert_eq!(shop.upstream.requests(), due);
        if day == 1 {
            envoys.push(Envoy::start(in_sandbox(shop.options())).await);
        }
    }
    let reached = shop.upstream.requests();
    wait::until("Redis to have counted everything", async || {
        let consumed = subscriber.customer.counters(&shop.redis).consumed();
        if consumed == reached as f64 {
            Ok(())
        } else {
            Err(consumed)
        }
    })
    .await;
    // Back again, it takes over where time stands, and counts the last day's usage.
    shop.control_plane.restart().await;
    shop.control_plane.wait_until_ready().await;
    let advance = json!({"advance": format!("PT{}M", ABSENT_HOURS * 60 - 1)});
    shop.control_plane.post("/v1/sandbox/clock", &advance).await;
    shop.wait_until_used(&subscriber.subscription, DAILY).await;
}

/// Makes a database useless while it is in use.
fn destroy(url: &str) {
    let Some(file) = url.strip_prefix("sqlite://") else {
        return postgres::destroy(url);
    };
    for ending in ["", "-wal", "-shm"] {
        fs::write(format!("{file}{ending}"), [0xff; 4_096].repeat(64)).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_breaks_is_not_missed() {
    let _alone = alone().await;
    let mut shop = Shop::open().await;
    shop.sell("plan", Quota::Hard(100_000)).await;
    let subscriber = shop.subscribe("plan").await;
    let envoy = shop.envoy().await;
    let load = Load::start([&envoy], CLIENTS, "/", subscriber.key());
    shop.control_plane.forgo_diagnosis();
    let mut settings = shop.control_plane.settings();
    let (_, url) = settings.find(|(name, _)| name == "DATABASE_URL").unwrap();
    destroy(&url);
    let path = format!("/v1/subscriptions/{}", subscriber.subscription);
    wait::until("the control plane to notice", async || {
        let answer = shop.control_plane.call(Method::GET, &path, None).await;
        if answer.status >= 500 {
            Ok(())
        } else {
            Err(answer)
        }
    })
    .await;
    let seen = load.for_ms(3_000).await;
    seen.assert_only(&["200"]);
    wait::until("Redis to have counted everything", async || {
        let consumed = subscriber.customer.counters(&shop.redis).consumed();
        if consumed == seen.allowed() as f64 {
            Ok(())
        } else {
            Err(consumed)
        }
    })
    .await;
}
