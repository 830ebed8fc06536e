//! What is allowed without Redis, to the unit, and that Redis is not asked all the time (E8).

use std::time::Duration;

use serde_json::json;
use tokio::time::sleep;
use tollgate_engine::contract::Entitlement;
use tollgate_tests::envoy::Envoy;
use tollgate_tests::http::{Connections, HttpClient};
use tollgate_tests::proxy::{Fate, Proxy};
use tollgate_tests::wait;

use crate::customer::{self, Customer, Quota};
use crate::load::Load;
use crate::world::{TIMEOUT_MS, World, alone};

const SOFT: u64 = 7;
const HARD: u64 = 3;
const STALE: Duration = Duration::from_secs(4);

/// A customer of a plan that counts and neither includes nor limits.
fn unlimited(world: &mut World) -> Customer {
    let customer = world.stranger();
    let mut access = customer::access(&customer.chain, &[("api_requests", Quota::Soft(1))]);
    for entitlement in access.terms[0].entitlements.values_mut() {
        if let Entitlement::Metered { windows } = entitlement {
            windows[0].included = None;
        }
    }
    world.write_access(&customer, &access);
    world.write_key(&customer, &customer::key_document(&customer));
    customer
}

/// Of so many requests with a key, how many are let through; all others are told that Redis is away.
async fn allowed(client: &HttpClient, path: &str, key: &str, requests: u64) -> u64 {
    let mut allowed = 0;
    for _ in 0..requests {
        let answer = client.get_with_key(path, key).await.unwrap();
        match (answer.status, answer.code().as_str()) {
            (200, _) => allowed += 1,
            (503, "store_unavailable") => assert_eq!(answer.header("retry-after"), "1"),
            other => panic!("{other:?}: {answer}"),
        }
    }
    allowed
}

#[tokio::test(flavor = "multi_thread")]
async fn known_keys_go_on_as_far_as_they_may_and_everything_arrives_later() {
    let _alone = alone().await;
    let mut world = World::open();
    let soft = world.customer(&[("api_requests", Quota::Soft(1_000))]);
    let hard = world.customer(&[("api_requests", Quota::Hard(1_000_000))]);
    let (unlimited, unseen) = (
        unlimited(&mut world),
        world.customer(&[("api_requests", Quota::Soft(9))]),
    );
    let proxy = Proxy::start(world.redis.address());
    let mut options = world.hasty_options(&proxy);
    options.concurrency = 1;
    options.policy["onUnavailable"] =
        json!({"offlineUnits": SOFT, "offlineHardUnits": HARD, "staleForSeconds": STALE.as_secs()});
    let envoy = Envoy::start(options).await;
    let client = envoy.client(Connections::Kept);
    for (path, customer) in [("/soft", &soft), ("/unlimited", &unlimited)] {
        assert_eq!(allowed(&client, path, &customer.key, 1).await, 1);
    }
    // So that leases are held, which a worker takes for what it spends.
    let load = Load::start([&envoy], 4, "/hard", &hard.key);
    load.for_ms(600).await.assert_only(&["200"]);

    proxy.close();
    let before = hard.counters(&world.redis);
    wait::until("the worker to see that Redis is away", async || {
        let away = envoy.stats("stores_away").await.into_values().sum::<u64>();
        // A request makes it look.
        allowed(&client, "/unlimited", &unlimited.key, 1).await;
        if away > 0 { Ok(()) } else { Err(away) }
    })
    .await;
    allowed(&client, "/hard", &hard.key, 1_000).await;
    let reached = world.upstream.requests_to("/hard") as f64;
    let leased = before.consumed() + before.leased();
    println!(
        "hard: {reached} let through, {leased} consumed or leased when Redis went away, {HARD} allowed beyond"
    );
    assert!(
        reached > before.consumed() + HARD as f64,
        "leases are spent, too"
    );
    assert!(reached <= leased + HARD as f64, "{reached} of {leased}");
    assert_eq!(allowed(&client, "/soft", &soft.key, 20).await, SOFT);
    assert_eq!(allowed(&client, "/unlimited", &unlimited.key, 50).await, 50);
    assert_eq!(allowed(&client, "/unseen", &unseen.key, 5).await, 0);
    sleep(STALE).await;
    assert_eq!(allowed(&client, "/unlimited", &unlimited.key, 5).await, 0);

    proxy.heal();
    for (path, customer) in [
        ("/hard", &hard),
        ("/soft", &soft),
        ("/unlimited", &unlimited),
    ] {
        let metered = world.upstream.requests_to(path);
        world.wait_until_consumed(customer, metered).await;
    }
    assert_eq!(allowed(&client, "/soft", &soft.key, 20).await, 20);
    let offline = envoy
        .stats("offline_milli_units")
        .await
        .into_values()
        .sum::<u64>();
    println!("{} units were let through without Redis", offline / 1_000);
    assert!(offline / 1_000 >= SOFT + HARD + 50, "{offline}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_is_away_is_asked_less_and_less_often() {
    let _alone = alone().await;
    let mut world = World::open();
    let customer = world.customer(&[("api_requests", Quota::Soft(10))]);
    let proxy = Proxy::start(world.redis.address());
    let mut options = world.hasty_options(&proxy);
    options.concurrency = 1;
    let envoy = Envoy::start(options).await;
    let load = Load::start([&envoy], 4, "/", &customer.key);
    sleep(Duration::from_millis(300)).await;
    proxy.treat(&[Fate::RequestLost]);
    let seen = load.for_ms(5_000).await;
    let asked = proxy.disturbed();
    println!("{asked} calls in 5 s without an answer; {seen}");
    seen.assert_only(&["200"]);
    // Two at once, then after 0.1, 0.2, 0.4, 0.8, 1.6 and 2 s; each is waited for.
    assert!((4..=8).contains(&asked), "{asked} calls");
    assert!(
        seen.slowest < Duration::from_millis(2 * TIMEOUT_MS + 500),
        "{seen}"
    );
    proxy.heal();
    world.wait_until_consumed(&customer, seen.allowed()).await;
}
