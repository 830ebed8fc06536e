//! Redis dies, pauses, forgets: known keys go on, nothing counts twice, and no key is called unknown (E8, E11).

use std::time::Duration;

use tokio::time::sleep;
use tollgate_tests::envoy::Envoy;
use tollgate_tests::http::Connections;
use tollgate_tests::store::request;
use tollgate_tests::wait;

use crate::customer::Quota;
use crate::load::Load;
use crate::shop::{Shop, Subscriber};
use crate::world::{World, alone, hasten};

const LIMIT: u64 = 600;
const CLIENTS: u32 = 4;
/// What a client may be told while Redis is away.
const OUTAGE: [&str; 3] = ["200", "403 quota_exceeded", "503 store_unavailable"];

/// A shop with two gateways, and a customer with a hard and one with a soft limit whom every worker knows.
struct Scene {
    shop: Shop,
    envoys: [Envoy; 2],
    limited: Subscriber,
    unlimited: Subscriber,
}

impl Scene {
    async fn set() -> Self {
        let mut shop = Shop::open().await;
        shop.sell("hard", Quota::Hard(LIMIT)).await;
        shop.sell("soft", Quota::Soft(100)).await;
        let mut options = shop.options();
        hasten(&mut options.policy);
        let scene = Self {
            limited: shop.subscribe("hard").await,
            unlimited: shop.subscribe("soft").await,
            envoys: [
                Envoy::start(options.clone()).await,
                Envoy::start(options).await,
            ],
            shop,
        };
        scene.load("/unlimited", &scene.unlimited).for_ms(500).await;
        scene
    }

    fn load(&self, path: &'static str, subscriber: &Subscriber) -> Load {
        Load::start(&self.envoys, CLIENTS, path, subscriber.key())
    }

    /// Loads the gateways while something is done to Redis.
    async fn suffer(&mut self, milliseconds: u64, act: impl AsyncFnOnce(&mut Shop)) {
        let limited = self.load("/limited", &self.limited);
        let unlimited = self.load("/unlimited", &self.unlimited);
        act(&mut self.shop).await;
        let (limited, unlimited) =
            tokio::join!(limited.for_ms(milliseconds), unlimited.for_ms(milliseconds));
        println!("limited {limited}; unlimited {unlimited}");
        limited.assert_only(&OUTAGE);
        unlimited.assert_only(&["200"]);
    }

    /// The ledger holds what was metered, and the limit was kept.
    async fn reckon(&self) {
        let upstream = &self.shop.upstream;
        for (subscriber, path) in [(&self.limited, "/limited"), (&self.unlimited, "/unlimited")] {
            let metered = upstream.requests_to(path);
            self.shop
                .wait_until_used(&subscriber.subscription, metered)
                .await;
        }
        assert!(upstream.requests_to("/limited") <= LIMIT);
    }

    /// Workers that live lose nothing: demand gets exactly the limit.
    async fn exhaust(&self) {
        wait::until("the whole limit to be used", async || {
            let seen = self.load("/limited", &self.limited).for_ms(500).await;
            let used = self.shop.upstream.requests_to("/limited");
            assert!(used <= LIMIT, "{used} requests reached the upstream");
            if used == LIMIT {
                Ok(())
            } else {
                Err(format!("{used}: {seen}"))
            }
        })
        .await;
        self.reckon().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_and_started_again_with_what_it_had_written() {
    let _alone = alone().await;
    let mut scene = Scene::set().await;
    for _ in 0..3 {
        let kill = async |shop: &mut Shop| {
            sleep(Duration::from_millis(300)).await;
            shop.redis.kill();
            sleep(Duration::from_millis(500)).await;
            shop.redis.restart();
        };
        scene.suffer(1_000, kill).await;
        scene.reckon().await;
    }
    scene.exhaust().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_and_started_empty() {
    let _alone = alone().await;
    let mut scene = Scene::set().await;
    for _ in 0..2 {
        let lose = async |shop: &mut Shop| {
            sleep(Duration::from_millis(300)).await;
            shop.redis.kill();
            sleep(Duration::from_millis(300)).await;
            shop.redis.restart_empty();
            shop.control_plane.wait_until_ready().await;
        };
        scene.suffer(1_000, lose).await;
        scene.reckon().await;
    }
    scene.exhaust().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_not_filled_calls_no_key_unknown() {
    let _alone = alone().await;
    let mut scene = Scene::set().await;
    scene.shop.control_plane.kill();
    scene.shop.redis.restart_empty();
    let seen = scene.load("/limited", &scene.limited).for_ms(1_000).await;
    seen.assert_only(&["503 store_unavailable"]);
    let seen = scene.load("/unlimited", &scene.unlimited).for_ms(500).await;
    seen.assert_only(&["200"]);
    scene.shop.control_plane.restart().await;
    scene.shop.control_plane.wait_until_ready().await;
    scene.exhaust().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn paused_for_three_seconds() {
    let _alone = alone().await;
    let mut world = World::open();
    let known = world.customer(&[("api_requests", Quota::Soft(10))]);
    let unknown = world.customer(&[("api_requests", Quota::Soft(10))]);
    let mut options = world.options();
    options.policy["onUnavailable"]["offlineUnits"] = 100_000.into();
    let envoy = Envoy::start(options).await;
    Load::start([&envoy], CLIENTS, "/", &known.key)
        .for_ms(500)
        .await;

    world.redis.pause();
    let load = Load::start([&envoy], CLIENTS, "/", &known.key);
    let client = envoy.client(Connections::Fresh);
    for _ in 0..5 {
        let refused = client.get_with_key("/", &unknown.key).await.unwrap();
        assert_eq!(
            (refused.status, refused.code().as_str()),
            (503, "store_unavailable"),
            "{refused}"
        );
        assert_eq!(refused.header("retry-after"), "1");
    }
    let seen = load.for_ms(3_000).await;
    seen.assert_only(&["200"]);
    assert!(seen.slowest < Duration::from_secs(1), "{seen}");
    world.redis.resume();

    let metered = world.upstream.requests();
    world.wait_until_consumed(&known, metered).await;
    wait::until("the unknown key to work", async || {
        let answer = client.get_with_key("/", &unknown.key).await.unwrap();
        if answer.status == 200 {
            Ok(())
        } else {
            Err(answer.code())
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn scripts_that_are_forgotten_go_unnoticed() {
    let _alone = alone().await;
    let mut world = World::open();
    let customer = world.customer(&[("api_requests", Quota::Hard(100_000))]);
    let envoy = world.envoy().await;
    let load = Load::start([&envoy], CLIENTS, "/", &customer.key);
    for _ in 0..10 {
        sleep(Duration::from_millis(200)).await;
        let flushed = world.redis.exchange(&request(&["SCRIPT", "FLUSH"]));
        assert_eq!(flushed, b"+OK\r\n");
        // A key that nobody has asked for needs them, too.
        let cold = world.stranger();
        let answer = envoy
            .client(Connections::Fresh)
            .get_with_key("/", &cold.key)
            .await
            .unwrap();
        assert_eq!(answer.code(), "key_unknown");
    }
    let seen = load.stop().await;
    seen.assert_only(&["200"]);
    world.wait_until_consumed(&customer, seen.allowed()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_nobody_has_opened_is_unavailable() {
    let _alone = alone().await;
    let mut world = World::closed();
    let stranger = world.stranger();
    let envoy = world.envoy().await;
    let client = envoy.client(Connections::Kept);
    for _ in 0..3 {
        let answer = client.get_with_key("/", &stranger.key).await.unwrap();
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (503, "store_unavailable"),
            "{answer}"
        );
        assert!(answer.header("retry-after").parse::<u32>().unwrap() > 0);
    }
    assert_eq!(world.upstream.requests(), 0);
}
