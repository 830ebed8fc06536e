//! A bad network between gateways and Redis: whatever becomes of calls, usage counts once, the limit holds, and no
//! request waits for long (E1, E2, E3, E4, E8).

use std::time::Duration;

use tollgate_tests::envoy::Envoy;
use tollgate_tests::proxy::{Fate, Proxy};
use tollgate_tests::wait;

use crate::customer::{Customer, Quota};
use crate::load::Load;
use crate::world::{TIMEOUT_MS, World, alone};

const LIMIT: u64 = 400;
const CLIENTS: u32 = 4;
/// A request waits for Redis at most so long, to which a busy machine adds its own.
const LONGEST_WAIT: Duration = Duration::from_millis(2 * TIMEOUT_MS + 500);
/// A reply that comes too late.
const LATE: Fate = Fate::AnswerLate(Duration::from_millis(TIMEOUT_MS + 100));
/// After so long the worker has sent later batches.
const LATER: Fate = Fate::Repeated(Duration::from_millis(700));

/// Two gateways and two customers of theirs, beyond a network that can be disturbed.
struct Scene {
    world: World,
    proxy: Proxy,
    envoys: [Envoy; 2],
    limited: Customer,
    unlimited: Customer,
}

impl Scene {
    async fn set() -> Self {
        let mut world = World::open();
        let limited = world.customer(&[("api_requests", Quota::Hard(LIMIT))]);
        let unlimited = world.customer(&[("api_requests", Quota::Soft(100))]);
        let proxy = Proxy::start(world.redis.address());
        let options = world.hasty_options(&proxy);
        let envoys = [
            Envoy::start(options.clone()).await,
            Envoy::start(options).await,
        ];
        let scene = Self {
            world,
            proxy,
            envoys,
            limited,
            unlimited,
        };
        // So that both customers are known to every worker, and nothing begins with an outage.
        scene.load_unlimited().for_ms(500).await;
        scene
    }

    fn load_limited(&self) -> Load {
        Load::start(&self.envoys, CLIENTS, "/limited", &self.limited.key)
    }

    fn load_unlimited(&self) -> Load {
        Load::start(&self.envoys, CLIENTS, "/unlimited", &self.unlimited.key)
    }

    /// Loads the gateways while the network does its worst.
    async fn suffer(&self, milliseconds: u64) {
        let (limited, unlimited) = (self.load_limited(), self.load_unlimited());
        let (limited, unlimited) =
            tokio::join!(limited.for_ms(milliseconds), unlimited.for_ms(milliseconds));
        println!("limited {limited}; unlimited {unlimited}");
        let outage = ["200", "403 quota_exceeded", "503 store_unavailable"];
        limited.assert_only(&outage);
        // Every worker knows this key, and its limit is soft: it never notices.
        unlimited.assert_only(&["200"]);
        assert!(limited.slowest < LONGEST_WAIT, "{limited}");
        assert!(unlimited.slowest < LONGEST_WAIT, "{unlimited}");
    }

    /// Once healed, everything is counted, once.
    async fn reckon(&self) {
        let upstream = &self.world.upstream;
        for (customer, path) in [(&self.limited, "/limited"), (&self.unlimited, "/unlimited")] {
            let metered = upstream.requests_to(path);
            self.world.wait_until_consumed(customer, metered).await;
        }
        assert!(upstream.requests_to("/limited") <= LIMIT);
    }

    /// No worker was killed, so that demand gets exactly the limit.
    async fn exhaust(&self) {
        wait::until("the whole limit to be used", async || {
            let seen = self.load_limited().for_ms(500).await;
            let used = self.world.upstream.requests_to("/limited");
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

/// What must hold when calls have these fates.
async fn check(fates: &[Fate]) {
    let _alone = alone().await;
    let scene = Scene::set().await;
    for _ in 0..2 {
        scene.proxy.treat(fates);
        scene.suffer(1_500).await;
        scene.proxy.heal();
        scene.reckon().await;
    }
    println!("{} calls disturbed", scene.proxy.disturbed());
    assert!(scene.proxy.disturbed() > 4, "nothing was tried");
    scene.exhaust().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_are_lost() {
    check(&[Fate::Arrives, Fate::RequestLost]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_are_lost() {
    check(&[Fate::Arrives, Fate::AnswerLost]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_come_late() {
    check(&[Fate::Arrives, LATE]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_are_cut_short() {
    check(&[Fate::Arrives, Fate::AnswerShort]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_are_slow_and_in_time() {
    check(&[Fate::AnswerLate(Duration::from_millis(TIMEOUT_MS * 2 / 3))]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_mean_nothing() {
    check(&[Fate::Arrives, Fate::AnswerGarbled]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_arrive_again_later() {
    check(&[LATER]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_at_once() {
    let misfortunes = [
        Fate::RequestLost,
        Fate::AnswerLost,
        LATE,
        Fate::AnswerShort,
        LATER,
    ];
    check(&[&[Fate::Arrives; 6][..], &misfortunes].concat()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_is_dead_and_one_that_refuses() {
    let _alone = alone().await;
    let scene = Scene::set().await;
    scene.proxy.treat(&[Fate::RequestLost]);
    scene.suffer(1_500).await;
    scene.proxy.close();
    scene.suffer(1_500).await;
    scene.proxy.heal();
    scene.reckon().await;
    scene.exhaust().await;
}
