//! Gateways that die under load: the limit holds, and what is lost is what they had not settled yet (E1, E5).

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::time::sleep;
use tollgate_tests::envoy::Envoy;
use tollgate_tests::wait;

use crate::customer::Quota;
use crate::load::{Load, Seen};
use crate::world::{World, alone};

const LIMIT: u64 = 6_000;
const KILLS: usize = 5;
const CLIENTS: u32 = 6;
const MAX_UNSETTLED_MS: u64 = 400;
/// What is older is settled: `maxUnsettledMs`, and the wait for the next call and its answer on a busy machine.
const UNSETTLED: Duration = Duration::from_millis(MAX_UNSETTLED_MS + 400);
const LIFE: Duration = Duration::from_millis(1_500);

#[tokio::test(flavor = "multi_thread")]
async fn killed_gateways_never_exceed_the_limit_and_lose_what_was_not_settled() {
    let _alone = alone().await;
    let mut world = World::open();
    let customer = world.customer(&[("api_requests", Quota::Hard(LIMIT))]);
    let mut options = world.options();
    options.policy["metering"] =
        json!({"flushIntervalMs": 100, "maxUnsettledMs": MAX_UNSETTLED_MS});
    let mut doomed = Envoy::start(options.clone()).await;
    let spared = Envoy::start(options).await;

    let of_spared = Load::start([&spared], CLIENTS, "/", &customer.key);
    let mut of_doomed = Seen::default();
    let mut killed_at = Vec::new();
    for _ in 0..KILLS {
        let load = Load::start([&doomed], CLIENTS, "/", &customer.key);
        sleep(LIFE).await;
        killed_at.push(Instant::now());
        doomed.kill();
        of_doomed.add(load.stop().await);
        doomed.restart().await;
    }
    // Units that come back from living workers are used, those of the dead are not.
    wait::until("refusals for good", async || {
        let before = world.upstream.requests();
        let load = Load::start([&doomed], CLIENTS, "/", &customer.key);
        of_doomed.add(load.for_ms(1_500).await);
        let allowed = world.upstream.requests() - before;
        if allowed == 0 {
            Ok(())
        } else {
            Err(format!("{allowed} requests allowed"))
        }
    })
    .await;
    let of_spared = of_spared.stop().await;
    of_spared.assert_only(&["200", "403 quota_exceeded"]);

    let reached = world.upstream.requests();
    assert!(reached <= LIMIT, "{reached} requests reached the upstream");
    let counters = wait::until("living workers to settle", async || {
        let counters = customer.counters(&world.redis);
        let granted = counters.consumed() + counters.leased();
        let at_rest = granted == LIMIT as f64 && !spends(&world, &customer).await;
        if at_rest {
            Ok(counters)
        } else {
            Err(format!("{counters:?}"))
        }
    })
    .await;
    let lost = reached as f64 - counters.consumed();
    let unsettled = unsettled(&of_doomed, &killed_at);
    println!(
        "{reached} of {LIMIT} reached the upstream over {KILLS} kills; consumed {}, lost {lost} (at most {unsettled} completed and not settled), stranded {}",
        counters.consumed(),
        counters.leased() - lost,
    );
    assert!(lost >= 0.0, "counted twice: {counters:?}");
    assert!(
        lost <= counters.leased(),
        "lost units are leased again: {counters:?}"
    );
    assert!(
        lost <= unsettled as f64,
        "lost {lost}, completed since the last settles {unsettled}"
    );
}

/// Whether Redis counts more than a moment ago.
async fn spends(world: &World, customer: &crate::customer::Customer) -> bool {
    let before = customer.counters(&world.redis).consumed();
    sleep(UNSETTLED).await;
    customer.counters(&world.redis).consumed() > before
}

/// Requests that were allowed so shortly before a kill that nothing may have told Redis, and those under way then.
fn unsettled(of_doomed: &Seen, killed_at: &[Instant]) -> usize {
    let in_doubt = |at: &Instant| {
        killed_at
            .iter()
            .any(|kill| *at <= *kill && kill.duration_since(*at) <= UNSETTLED)
    };
    let under_way = KILLS * CLIENTS as usize;
    of_doomed.times("200").filter(in_doubt).count() + under_way
}
