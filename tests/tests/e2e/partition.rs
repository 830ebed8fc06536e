//! A gateway that is cut off from Redis and comes back: the others get all it does not hold, and nothing is lost or
//! counted twice (E1, E2, E3, E8).

use std::time::Duration;

use tokio::time::sleep;
use tollgate_tests::envoy::Envoy;
use tollgate_tests::namespace::{Line, Namespace};
use tollgate_tests::proxy::{Fate, Proxy};
use tollgate_tests::upstream::Upstream;
use tollgate_tests::wait;

use crate::customer::{Customer, Quota};
use crate::load::Load;
use crate::world::{LEASE_TTL_MS, World, alone, hasten};

const LIMIT: u64 = 1_500;
const CLIENTS: u32 = 3;

/// How a gateway is cut off.
enum Cable {
    /// Its line is, as by a broken switch.
    Line(Namespace),
    /// The proxy before Redis lets nothing through, where there are no network namespaces.
    Proxy,
}

/// A gateway near Redis, and a far one.
struct Scene {
    world: World,
    proxy: Proxy,
    cable: Cable,
    near: Envoy,
    far: Envoy,
    limited: Customer,
    unlimited: Customer,
}

impl Scene {
    async fn set() -> Self {
        let mut world = World::open();
        let limited = world.customer(&[("api_requests", Quota::Hard(LIMIT))]);
        let unlimited = world.customer(&[("api_requests", Quota::Soft(100))]);
        let cable = Namespace::make().map_or_else(
            |reason| {
                println!("no network namespaces here ({reason}): a proxy cuts the gateway off");
                Cable::Proxy
            },
            Cable::Line,
        );
        let proxy = match &cable {
            Cable::Line(namespace) => {
                world.upstream = Upstream::start_at(namespace.outside(Line::Front));
                Proxy::start_at(namespace.outside(Line::Back), world.redis.address())
            }
            Cable::Proxy => Proxy::start(world.redis.address()),
        };
        let mut options = world.options();
        hasten(&mut options.policy);
        let near = Envoy::start(options.clone()).await;
        options.redis = proxy.address();
        if let Cable::Line(namespace) = &cable {
            options.address = namespace.inside(Line::Front);
            options.within = namespace.command();
        }
        Self {
            near,
            far: Envoy::start(options).await,
            world,
            proxy,
            cable,
            limited,
            unlimited,
        }
    }

    fn load<'e>(&self, envoys: impl IntoIterator<Item = &'e Envoy>, customer: &Customer) -> Load {
        let path = if customer.chain == self.limited.chain {
            "/limited"
        } else {
            "/unlimited"
        };
        Load::start(envoys, CLIENTS, path, &customer.key)
    }

    fn cut(&self) {
        match &self.cable {
            Cable::Line(namespace) => namespace.cut(Line::Back),
            Cable::Proxy => self.proxy.treat(&[Fate::RequestLost]),
        }
    }

    fn mend(&self) {
        match &self.cable {
            Cable::Line(namespace) => namespace.mend(Line::Back),
            Cable::Proxy => self.proxy.heal(),
        }
    }

    fn used(&self) -> u64 {
        self.world.upstream.requests_to("/limited")
    }

    /// Waits until requests are refused for the quota, and no unit is left that nobody holds; answers those held.
    async fn wait_until_the_rest_is_used(&self) -> f64 {
        wait::until("the near gateway to use the rest", async || {
            let counters = self.limited.counters(&self.world.redis);
            let granted = counters.consumed() + counters.leased();
            if granted >= LIMIT as f64 {
                Ok(counters.leased())
            } else {
                Err(format!("{counters:?}"))
            }
        })
        .await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_others_use_what_it_does_not_hold_and_it_brings_the_rest() {
    let _alone = alone().await;
    let scene = Scene::set().await;
    let both = [&scene.near, &scene.far];
    let (limited, unlimited) = (
        scene.load(both, &scene.limited),
        scene.load(both, &scene.unlimited),
    );
    sleep(Duration::from_millis(700)).await;
    scene.cut();
    let cut_at = std::time::Instant::now();
    sleep(Duration::from_millis(2 * LEASE_TTL_MS)).await;
    let held = scene.wait_until_the_rest_is_used().await;
    assert!(scene.used() <= LIMIT, "{} of {LIMIT}", scene.used());
    let limited = limited.stop().await;
    println!(
        "cut off for {:?}: {} of {LIMIT} used, {held} held by the gateway that is cut off; {limited}",
        cut_at.elapsed(),
        scene.used(),
    );
    limited.assert_only(&["200", "403 quota_exceeded", "503 store_unavailable"]);
    // What it had let through and not yet told stands in Redis as its leases.
    let consumed = scene.limited.counters(&scene.world.redis).consumed();
    assert!(
        scene.used() as f64 - consumed <= held,
        "{consumed} consumed, {held} held"
    );

    scene.mend();
    let unlimited = unlimited.for_ms(500).await;
    // Known keys on soft limits never notice.
    unlimited.assert_only(&["200"]);
    wait::until("the whole limit to be used", async || {
        let seen = scene.load(both, &scene.limited).for_ms(400).await;
        if scene.used() == LIMIT {
            Ok(())
        } else {
            Err(seen)
        }
    })
    .await;
    for (customer, path) in [
        (&scene.limited, "/limited"),
        (&scene.unlimited, "/unlimited"),
    ] {
        let metered = scene.world.upstream.requests_to(path);
        scene.world.wait_until_consumed(customer, metered).await;
    }
    println!("over-admission 0, lost 0, counted twice 0");
}
