//! A rate limit lets what it gives through, over two gateways of two workers each.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tollgate_tests::http::Connections;

use crate::customer::Quota;
use crate::load::Load;
use crate::shop::Shop;
use crate::world::alone;

const RATE: u64 = 100;
const BURST: u64 = 150;
const CLIENTS: u32 = 3;

impl Shop {
    /// Publishes a plan of so many requests each second, within a quota.
    pub async fn sell_rate(&self, plan: &str, (units, burst): (u64, u64), quota: Quota) {
        let requests = json!({"key": "requests", "name": "Requests"});
        self.control_plane.post("/v1/features", &requests).await;
        let card = |feature: &str, template: serde_json::Value| {
            json!({"type": "flat_fee", "featureKey": feature, "billingCadence": "P1M", "price": null,
                "entitlementTemplate": template})
        };
        let rate = json!({"type": "rate_limit", "units": units, "per": "PT1S", "burst": burst});
        let cards = [
            card("requests", rate),
            card("api_requests", quota.template()),
        ];
        let phase =
            json!({"key": "default", "name": "Default", "duration": null, "rateCards": cards});
        let document = json!({"key": plan, "name": plan, "currency": "USD", "billingCadence": "P1M", "phases": [phase]});
        self.control_plane.post("/v1/plans", &document).await;
        let path = format!("/v1/plans/{plan}/publish");
        self.control_plane.post(&path, &json!({})).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_gateways_give_the_rate_and_no_more() {
    let _alone = alone().await;
    let mut shop = Shop::open().await;
    shop.sell_rate("fast", (RATE, BURST), Quota::Soft(0)).await;
    let subscriber = shop.subscribe("fast").await;
    let mut options = shop.options();
    options.policy["rules"] = json!([
        {"match": {"pathPrefix": "/"}, "meters": {"api_requests": 1}, "rateLimits": {"requests": 1}}
    ]);
    let envoys = [
        tollgate_tests::envoy::Envoy::start(options.clone()).await,
        tollgate_tests::envoy::Envoy::start(options).await,
    ];

    let load = Load::start(&envoys, CLIENTS, "/", subscriber.key());
    // The burst is gone after a second of more than twice the rate.
    sleep(Duration::from_secs(2)).await;
    let (begun, before) = (Instant::now(), shop.upstream.requests());
    sleep(Duration::from_secs(10)).await;
    let (took, after) = (begun.elapsed(), shop.upstream.requests());
    let sent = load.sent();
    let seen = load.stop().await;
    seen.assert_only(&["200", "429 rate_limited"]);

    let got = after - before;
    let given = RATE as f64 * took.as_secs_f64();
    println!("{got} of {given:.0} in {took:?}, {sent} asked for in all");
    assert!(sent > 3 * RATE * 10, "not twice the rate: {sent}");
    assert!(got as f64 >= 0.95 * given, "{got} of {given}");
    assert!(got as f64 <= given + BURST as f64, "{got} of {given}");
    // All of it, from the first request on.
    let most = BURST as f64 + RATE as f64 * (took.as_secs_f64() + 2.5);
    assert!((after as f64) <= most, "{after} of {most}");

    let client = envoys[0].client(Connections::Kept);
    let mut requests = JoinSet::new();
    for _ in 0..2 * BURST {
        let (client, key) = (client.clone(), subscriber.key().to_owned());
        requests.spawn(async move { client.get_with_key("/", &key).await.unwrap() });
    }
    let answers = requests.join_all().await;
    let refused = answers.iter().find(|answer| answer.status == 429);
    let refused = refused.expect("more than a burst at once");
    assert_eq!(refused.code(), "rate_limited", "{refused}");
    assert_eq!(refused.header("retry-after"), "1", "{refused}");
    assert_eq!(
        refused.header("ratelimit-policy"),
        format!("\"requests\";q={RATE};w=1")
    );
}
