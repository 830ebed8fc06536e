//! A rate limit on rules that count before, over two gateways of two workers each.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::time::sleep;
use tollgate_tests::envoy::Envoy;
use tollgate_tests::wait;

use super::exact;
use crate::customer::Quota;
use crate::load::Load;
use crate::shop::Shop;
use crate::world::alone;

const RATE: u64 = 100;
const BURST: u64 = 150;
const LIMIT: u64 = 800;
/// Each waits for two calls of its worker.
const CLIENTS: u32 = 12;

#[tokio::test(flavor = "multi_thread")]
async fn two_gateways_give_the_rate_up_to_the_limit() {
    let _alone = alone().await;
    let mut shop = Shop::open().await;
    let quota = Quota::Hard(LIMIT);
    shop.sell_rate("fast", (RATE, BURST), quota).await;
    let subscriber = shop.subscribe("fast").await;
    let mut options = exact(shop.options());
    options.policy["rules"] = json!([
        {"match": {"pathPrefix": "/"}, "meters": {"api_requests": 1}, "rateLimits": {"requests": 1}}
    ]);
    let envoys = [
        Envoy::start(options.clone()).await,
        Envoy::start(options).await,
    ];

    let begun = Instant::now();
    let load = Load::start(&envoys, CLIENTS, "/", subscriber.key());
    // By then the burst is gone.
    sleep(Duration::from_millis(1_500)).await;
    let (since, before) = (Instant::now(), shop.upstream.requests());
    sleep(Duration::from_secs(4)).await;
    let after = shop.upstream.requests();
    let given = |since: Instant| RATE as f64 * since.elapsed().as_secs_f64();
    let (got, share) = (after - before, given(since));
    println!("{got} of {share:.0}, {} asked for", load.sent());
    assert!(got as f64 >= 0.95 * share, "{got} of {share}");
    assert!(after as f64 <= BURST as f64 + given(begun), "{after}");

    wait::until("the whole limit to be used", async || {
        let used = shop.upstream.requests();
        if used >= LIMIT { Ok(()) } else { Err(used) }
    })
    .await;
    let seen = load.for_ms(300).await;
    println!("{seen}");
    seen.assert_only(&["200", "403 quota_exceeded", "429 rate_limited"]);
    assert_eq!((seen.allowed(), shop.upstream.requests()), (LIMIT, LIMIT));
    shop.wait_until_used(&subscriber.subscription, LIMIT).await;
    let counters = subscriber.customer.counters(&shop.redis);
    assert_eq!(
        (counters.consumed(), counters.leased()),
        (LIMIT as f64, 0.0)
    );
}
