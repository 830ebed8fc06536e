//! Ten thousand keys that change while requests come: every worker knows within a second, and forgets what it no longer
//! needs (E6, E9).

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tollgate_engine::contract::Names;
use tollgate_tests::PREFIX;
use tollgate_tests::envoy::Envoy;
use tollgate_tests::http::Connections;
use tollgate_tests::publish::{self, Pipeline};

use crate::customer::{self, Customer, Quota, key_number};
use crate::load::Load;
use crate::shop::Shop;
use crate::world::alone;

const KEYS: u32 = 10_000;
/// Documents written at once.
const TOGETHER: usize = 500;
/// Clients that make the keys known, per gateway.
const WARMERS: usize = 50;
const REVOCATIONS: usize = 5;
const AT_ONCE: Duration = Duration::from_secs(1);
/// The memory a VM may take for the keys it knows, and what Envoy takes for whatever else it does meanwhile.
const MOST_BYTES: u64 = 3 * 64 * 1_024 * 1_024;

fn crowd() -> Vec<Customer> {
    let customer = |number: u32| {
        Customer::new(
            &key_number(1_000_000 + number),
            &format!("sub_of_the_crowd_{number}"),
        )
    };
    (0..KEYS).map(customer).collect()
}

/// Writes the documents of some customers in a version.
fn write(shop: &Shop, customers: &[Customer], version: u64) {
    let names = Names::new(PREFIX);
    let mut pipeline = Pipeline::default();
    for customer in customers {
        let mut access = customer::access(&customer.chain, &[("api_requests", Quota::Soft(1_000))]);
        access.version = version;
        publish::publish_access(&mut pipeline, &names, customer.tag, &access);
        let key = customer::key_document(customer);
        publish::publish_key(&mut pipeline, &names, &customer.hash(), version, &key);
    }
    let answer = shop.redis.exchange(&pipeline.0);
    assert!(!answer.contains(&b'-'), "{}", answer.escape_ascii());
}

/// Has every key be used once, at either gateway.
async fn use_all(envoys: &[Envoy; 2], customers: &[Customer]) {
    let mut clients = JoinSet::new();
    for (place, share) in customers
        .chunks(customers.len().div_ceil(2 * WARMERS))
        .enumerate()
    {
        let client = envoys[place % 2].client(Connections::Kept);
        let keys: Vec<_> = share.iter().map(|customer| customer.key.clone()).collect();
        clients.spawn(async move {
            for key in keys {
                let answer = client.get_with_key("/crowd", &key).await.unwrap();
                assert_eq!(answer.status, 200, "{answer}");
            }
        });
    }
    clients.join_all().await;
}

async fn cached(envoys: &[Envoy; 2]) -> u64 {
    let mut cached = 0;
    for envoy in envoys {
        cached += envoy.stats("cached_keys").await.into_values().sum::<u64>();
    }
    cached
}

/// Memory that a process holds, in bytes.
fn memory(envoy: &Envoy) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", envoy.pid())).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    let kilobytes = line.split_whitespace().nth(1).unwrap();
    kilobytes.parse::<u64>().unwrap() * 1_024
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_changes_delay_no_revocation() {
    let _alone = alone().await;
    let mut shop = Shop::open().await;
    shop.sell("plan", Quota::Hard(1_000_000)).await;
    let busy = shop.subscribe("plan").await;
    let mut options = shop.options();
    // The control plane does not know the crowd, and would wonder at its usage.
    let rules = options.policy["rules"].as_array_mut().unwrap();
    rules.insert(0, json!({"match": {"path": "/crowd"}}));
    let envoys = [
        Envoy::start(options.clone()).await,
        Envoy::start(options).await,
    ];
    let before = envoys.each_ref().map(memory);
    let crowd = crowd();
    crowd
        .chunks(TOGETHER)
        .for_each(|some| write(&shop, some, 1));
    let started = Instant::now();
    use_all(&envoys, &crowd).await;
    sleep(Duration::from_millis(200)).await;
    println!(
        "{KEYS} keys were used in {:?}; {} are cached",
        started.elapsed(),
        cached(&envoys).await
    );

    let of_busy = Load::start(&envoys, 2, "/busy", busy.key());
    let mut storm = crowd.chunks(KEYS as usize / REVOCATIONS);
    let mut delays = Vec::new();
    for _ in 0..REVOCATIONS {
        let doomed = shop.issue(&busy.subscription).await;
        let load = Load::start(&envoys, 4, "/doomed", doomed.key());
        sleep(Duration::from_millis(150)).await;
        let changing = storm.next().unwrap();
        changing
            .chunks(TOGETHER)
            .for_each(|some| write(&shop, some, 2));
        let path = format!("/v1/keys/{}/revoke", doomed.key_id);
        shop.control_plane.post(&path, &json!({})).await;
        let revoked_at = Instant::now();
        let seen = load.for_ms(900).await;
        seen.assert_only(&["200", "401 key_revoked", "401 key_unknown"]);
        assert!(seen.times("401 key_revoked").next().is_some(), "{seen}");
        delays.push(seen.last_after("200", revoked_at));
    }
    let of_busy = of_busy.stop().await;
    delays.sort_unstable();
    let left = cached(&envoys).await;
    let grown = [0, 1].map(|at| memory(&envoys[at]).saturating_sub(before[at]));
    println!(
        "revocations amid {} changes were known after {:?} (median) to {:?}; {left} keys are still cached; the gateways grew by {grown:?} bytes; {of_busy}",
        2 * KEYS,
        delays[delays.len() / 2],
        delays[delays.len() - 1],
    );
    of_busy.assert_only(&["200"]);
    assert!(delays.iter().all(|delay| *delay < AT_ONCE), "{delays:?}");
    // Keys that changed are forgotten until they are used again.
    assert!(left < 100, "{left} keys are cached");
    assert!(grown.iter().all(|bytes| *bytes < MOST_BYTES), "{grown:?}");
    let metered = shop.upstream.requests_to("/busy") + shop.upstream.requests_to("/doomed");
    shop.wait_until_used(&busy.subscription, metered).await;
}
