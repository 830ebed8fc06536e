//! Redis dies together with a gateway, and with its last seconds or without: nothing counts twice, and what is lost or
//! let through beyond the limit is what that gateway did lately (E5, E11).

use std::time::{Duration, Instant};

use tokio::time::sleep;
use tollgate_tests::envoy::Envoy;
use tollgate_tests::wait;

use crate::customer::Quota;
use crate::load::{Load, Seen};
use crate::shop::{Shop, Subscriber};
use crate::world::{alone, hasten};

const LIMIT: u64 = 4_000;
const CLIENTS: u32 = 4;
/// What Redis forgets in the second round.
const FORGOTTEN: Duration = Duration::from_millis(1_500);
/// What a gateway did so shortly before it died may be unknown to Redis: what Redis forgot, `maxUnsettledMs`, and the
/// wait for the next call and its answer on a busy machine.
const LATELY: Duration = FORGOTTEN.saturating_add(Duration::from_millis(400 + 600));

/// What becomes of Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Death {
    /// It comes back with what it had written.
    Written,
    /// It comes back as it was a while ago.
    Older,
}

struct Scene {
    shop: Shop,
    spared: Envoy,
    doomed: Envoy,
    limited: Subscriber,
    unlimited: Subscriber,
    /// Whose requests never come to the gateway that dies.
    safe: Subscriber,
    /// What the gateways that died let through lately: the most that may be lost, and the most beyond the limit.
    unknown: [u64; 2],
}

impl Scene {
    async fn set() -> Self {
        let mut shop = Shop::open().await;
        shop.sell("hard", Quota::Hard(LIMIT)).await;
        shop.sell("soft", Quota::Soft(100)).await;
        let mut options = shop.options();
        hasten(&mut options.policy);
        Self {
            limited: shop.subscribe("hard").await,
            unlimited: shop.subscribe("soft").await,
            safe: shop.subscribe("soft").await,
            spared: Envoy::start(options.clone()).await,
            doomed: Envoy::start(options).await,
            shop,
            unknown: [0, 0],
        }
    }

    fn load(&self, envoy: &Envoy) -> [Load; 2] {
        let load =
            |path, subscriber: &Subscriber| Load::start([envoy], CLIENTS, path, subscriber.key());
        [
            load("/limited", &self.limited),
            load("/unlimited", &self.unlimited),
        ]
    }

    /// Both die under load, and come back.
    async fn die(&mut self, death: Death) {
        let [spared, doomed] = [&self.spared, &self.doomed].map(|envoy| self.load(envoy));
        let safe = Load::start([&self.spared], CLIENTS, "/safe", self.safe.key());
        sleep(Duration::from_millis(500)).await;
        let saved = self.shop.redis.save();
        sleep(FORGOTTEN).await;
        let died_at = Instant::now();
        self.doomed.kill();
        self.shop.redis.kill();
        match death {
            Death::Written => self.shop.redis.restart(),
            Death::Older => self.shop.redis.restart_from(&saved),
        }
        let [of_limited, of_unlimited] = doomed;
        for (unknown, load) in self.unknown.iter_mut().zip([of_limited, of_unlimited]) {
            *unknown += lately(&load.stop().await, died_at) + u64::from(CLIENTS);
        }
        self.doomed.restart().await;
        self.shop.control_plane.wait_until_ready().await;
        sleep(Duration::from_millis(1_000)).await;
        let [limited, unlimited] = spared;
        let (limited, unlimited) = (limited.stop().await, unlimited.stop().await);
        safe.stop().await.assert_only(&["200"]);
        limited.assert_only(&["200", "403 quota_exceeded", "503 store_unavailable"]);
        // A gateway that lives does not notice.
        unlimited.assert_only(&["200"]);
    }

    /// What the ledger and Redis have counted once both rest.
    async fn counted(&self, subscriber: &Subscriber) -> (f64, f64) {
        let (mut last, mut since) = ((0.0, 0.0), Instant::now());
        wait::until("the ledger and Redis to rest", async || {
            let used = self.shop.used(&subscriber.subscription).await;
            let consumed = subscriber.customer.counters(&self.shop.redis).consumed();
            let counted = (used.parse().unwrap(), consumed);
            if counted != last {
                (last, since) = (counted, Instant::now());
            }
            let rests = since.elapsed() > Duration::from_millis(1_500);
            if rests {
                Ok(counted)
            } else {
                Err(format!("{counted:?}"))
            }
        })
        .await
    }

    async fn reckon(&self, death: Death) {
        for (subscriber, path, unknown) in [
            (&self.limited, "/limited", self.unknown[0]),
            (&self.unlimited, "/unlimited", self.unknown[1]),
            (&self.safe, "/safe", 0),
        ] {
            let (reached, unknown) = (self.shop.upstream.requests_to(path) as f64, unknown as f64);
            let (ledger, redis) = self.counted(subscriber).await;
            println!(
                "{death:?}: {reached} reached the upstream at {path}, {ledger} in the ledger, {redis} in Redis: {} lost (at most {unknown} may be)",
                reached - ledger
            );
            // The ledger may have read what Redis forgot then.
            assert!(redis <= ledger && ledger <= reached, "counted twice");
            assert!(
                reached - redis <= unknown,
                "more lost than the gateway did lately"
            );
        }
    }
}

fn lately(seen: &Seen, died_at: Instant) -> u64 {
    let of_late = |at: &Instant| *at <= died_at && died_at.duration_since(*at) <= LATELY;
    seen.times("200").filter(of_late).count() as u64
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_and_a_gateway_at_once() {
    let _alone = alone().await;
    let mut scene = Scene::set().await;
    for death in [Death::Written, Death::Older] {
        scene.die(death).await;
        scene.reckon(death).await;
    }
    // Whatever is left is used, and refused then.
    let reached = wait::until("refusals for good", async || {
        let before = scene.shop.upstream.requests_to("/limited");
        let envoys = [&scene.spared, &scene.doomed];
        let seen = Load::start(envoys, CLIENTS, "/limited", scene.limited.key())
            .for_ms(600)
            .await;
        let after = scene.shop.upstream.requests_to("/limited");
        let refused = seen.times("403 quota_exceeded").next().is_some();
        if refused && before == after {
            Ok(after)
        } else {
            Err(seen)
        }
    })
    .await;
    let over = reached.saturating_sub(LIMIT);
    println!(
        "{reached} of {LIMIT} let through: {over} beyond the limit (at most {} may be)",
        scene.unknown[0]
    );
    assert!(over <= scene.unknown[0]);
}
