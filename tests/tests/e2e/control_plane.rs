//! What the control plane changes is so within a second, and without it nothing changes (E6, E7).

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::time::sleep;
use tollgate_tests::envoy::Envoy;
use tollgate_tests::http::Connections;
use tollgate_tests::wait;

use crate::customer::{self, Quota};
use crate::load::Load;
use crate::shop::{Shop, Subscriber};
use crate::world::{World, alone};

const CLIENTS: u32 = 6;
const AT_ONCE: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread")]
async fn killed_it_is_not_missed_and_counts_once_when_it_is_back() {
    let _alone = alone().await;
    let mut shop = Shop::open().await;
    shop.sell("plan", Quota::Hard(100_000)).await;
    let subscriber = shop.subscribe("plan").await;
    let envoy = shop.envoy().await;
    for _ in 0..2 {
        let load = Load::start([&envoy], CLIENTS, "/", subscriber.key());
        sleep(Duration::from_millis(500)).await;
        shop.control_plane.kill();
        let seen = load.for_ms(2_000).await;
        seen.assert_only(&["200"]);
        shop.control_plane.restart().await;
        let metered = shop.upstream.requests();
        shop.wait_until_used(&subscriber.subscription, metered)
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_that_allows_more_works_at_once() {
    let _alone = alone().await;
    let mut shop = Shop::open().await;
    shop.sell("tiny", Quota::Hard(20)).await;
    shop.sell("big", Quota::Hard(100_000)).await;
    let subscriber = shop.subscribe("tiny").await;
    let envoys = [shop.envoy().await, shop.envoy().await];
    wait::until("the limit to be reached", async || {
        let seen = Load::start(&envoys, CLIENTS, "/", subscriber.key())
            .for_ms(500)
            .await;
        if shop.upstream.requests() == 20 {
            Ok(())
        } else {
            Err(seen)
        }
    })
    .await;

    let load = Load::start(&envoys, CLIENTS, "/", subscriber.key());
    let path = format!("/v1/subscriptions/{}/change", subscriber.subscription);
    let change = json!({"plan": "big", "timing": "immediate"});
    let changed = shop.control_plane.post(&path, &change).await;
    let changed_at = Instant::now();
    let seen = load.for_ms(1_500).await;
    seen.assert_only(&["200", "403 quota_exceeded"]);
    let last = seen.last_after("403 quota_exceeded", changed_at);
    println!("refused until {last:?} after the change");
    assert!(last < AT_ONCE, "{seen}");
    let metered = shop.upstream.requests();
    shop.wait_until_used(crate::shop::text(&changed["id"]), metered)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn revoked_keys_are_refused_by_every_worker_within_a_second() {
    let _alone = alone().await;
    let mut shop = Shop::open().await;
    shop.sell("plan", Quota::Hard(1_000_000)).await;
    let first = shop.subscribe("plan").await;
    let envoys = [shop.envoy().await, shop.envoy().await];
    let mut delays = Vec::new();
    for _ in 0..5 {
        let revoke = async || {
            let subscriber = shop.issue(&first.subscription).await;
            revoke_under_load(&shop, &envoys, &subscriber).await
        };
        let four = tokio::join!(revoke(), revoke(), revoke(), revoke());
        delays.extend([four.0, four.1, four.2, four.3]);
    }
    delays.sort_unstable();
    println!(
        "20 revocations were known everywhere after {:?} (median) to {:?}",
        delays[10], delays[19]
    );
    assert!(delays[19] < AT_ONCE, "{delays:?}");
}

/// How long after the answer to its revocation a key was last let through.
async fn revoke_under_load(shop: &Shop, envoys: &[Envoy], subscriber: &Subscriber) -> Duration {
    let load = Load::start(envoys, CLIENTS, "/", subscriber.key());
    sleep(Duration::from_millis(300)).await;
    let path = format!("/v1/keys/{}/revoke", subscriber.key_id);
    shop.control_plane.post(&path, &json!({})).await;
    let revoked_at = Instant::now();
    let seen = load.for_ms(1_200).await;
    seen.assert_only(&["200", "401 key_revoked", "401 key_unknown"]);
    assert!(seen.times("401 key_revoked").next().is_some(), "{seen}");
    seen.last_after("200", revoked_at)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_rolled_with_an_overlap() {
    let _alone = alone().await;
    let mut shop = Shop::open().await;
    shop.sell("plan", Quota::Hard(1_000_000)).await;
    let old = shop.subscribe("plan").await;
    let envoys = [shop.envoy().await, shop.envoy().await];
    let of_old = Load::start(&envoys, CLIENTS, "/", old.key());
    sleep(Duration::from_millis(300)).await;

    let path = format!("/v1/keys/{}/roll", old.key_id);
    let rolled = shop
        .control_plane
        .post(&path, &json!({"overlap": "PT2S"}))
        .await;
    let rolled_at = Instant::now();
    let new = Subscriber::new(&old.subscription, &rolled);
    let of_new = Load::start(&envoys, CLIENTS, "/", new.key());
    let (of_old, of_new) = tokio::join!(of_old.for_ms(3_500), of_new.for_ms(3_500));
    of_old.assert_only(&["200", "401 key_expired"]);
    let overlap = of_old.last_after("200", rolled_at);
    println!(
        "the old key ended after {overlap:?}; the new one was unknown for {:?}",
        of_new.last_after("401 key_unknown", rolled_at)
    );
    assert!((1_500..3_000).contains(&overlap.as_millis()), "{overlap:?}");
    of_new.assert_only(&["200", "401 key_unknown"]);
    assert!(of_new.last_after("401 key_unknown", rolled_at) < AT_ONCE);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_was_asked_for_too_early_works_once_it_is_there() {
    let _alone = alone().await;
    let mut world = World::open();
    let envoys = [world.envoy().await, world.envoy().await];
    let stranger = world.stranger();
    let load = Load::start(&envoys, CLIENTS, "/", &stranger.key);
    sleep(Duration::from_millis(500)).await;
    let quota = [("api_requests", Quota::Hard(1_000_000))];
    world.write_access(&stranger, &customer::access(&stranger.chain, &quota));
    world.write_key(&stranger, &customer::key_document(&stranger));
    let written_at = Instant::now();
    let seen = load.for_ms(1_500).await;
    seen.assert_only(&["200", "401 key_unknown"]);
    let unknown = seen.last_after("401 key_unknown", written_at);
    println!("unknown until {unknown:?} after it was written");
    assert!(seen.allowed() > 0 && unknown < AT_ONCE, "{seen}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_works_when_its_secret_is_shown() {
    let _alone = alone().await;
    let mut shop = Shop::open().await;
    shop.sell("plan", Quota::Hard(1_000_000)).await;
    let first = shop.subscribe("plan").await;
    let envoy = shop.envoy().await;
    let client = envoy.client(Connections::Fresh);
    let mut current = first;
    for _ in 0..10 {
        let new = shop.issue(&current.subscription).await;
        let answer = client.get_with_key("/", new.key()).await.unwrap();
        assert_eq!(answer.status, 200, "{answer}");
        current = shop.roll(&new).await;
        let answer = client.get_with_key("/", current.key()).await.unwrap();
        assert_eq!(answer.status, 200, "{answer}");
    }
}
