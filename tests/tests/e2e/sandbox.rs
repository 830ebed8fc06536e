//! Business time that is moved is moved for the gateways, too; machine time is not.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use tokio::time::sleep;
use tollgate_engine::contract::{Block, BlockCode, Names};
use tollgate_tests::PREFIX;
use tollgate_tests::control_plane::ControlPlaneOptions;
use tollgate_tests::envoy::{Envoy, EnvoyOptions};
use tollgate_tests::http::{Connections, HttpClient};
use tollgate_tests::redis::{Persistence, RedisOptions, RedisServer};
use tollgate_tests::store::request;
use tollgate_tests::wait;

use crate::customer::{self, Quota, now_ms};
use crate::shop::{Shop, text};
use crate::world::{World, alone};

const DAY_MS: i64 = 86_400_000;

pub async fn sandbox() -> Shop {
    let redis = RedisServer::start(RedisOptions {
        persistence: Persistence::EverySecond,
        acl_file: None,
    });
    let mut options = ControlPlaneOptions::new(redis.address());
    let environment = ("TOLLGATE_ENV".to_owned(), "sandbox".to_owned());
    options.environment.push(environment);
    Shop::open_with(redis, options).await
}

pub fn in_sandbox(mut options: EnvoyOptions) -> EnvoyOptions {
    options.policy["sandbox"] = json!(true);
    options
}

/// The statuses of so many requests, one after another.
async fn statuses(client: &HttpClient, key: &str, requests: usize) -> Vec<u16> {
    let mut statuses = Vec::new();
    for _ in 0..requests {
        statuses.push(client.get_with_key("/", key).await.unwrap().status);
    }
    statuses
}

#[tokio::test(flavor = "multi_thread")]
async fn a_month_that_is_skipped_gives_the_next_quota_once() {
    let _alone = alone().await;
    let mut shop = sandbox().await;
    shop.sell("plan", Quota::Hard(3)).await;
    let subscriber = shop.subscribe("plan").await;
    let envoy = Envoy::start(in_sandbox(shop.options())).await;
    let client = envoy.client(Connections::Kept);
    for _ in 0..3 {
        let answered = statuses(&client, subscriber.key(), 4).await;
        assert_eq!(answered, [200, 200, 200, 403]);
        let moved = shop
            .control_plane
            .post("/v1/sandbox/clock", &json!({"advance": "P1M"}))
            .await;
        println!("moved to {}", text(&moved["now"]));
    }
    let path = format!("/v1/subscriptions/{}", subscriber.subscription);
    let end = json!({"timing": "immediate"});
    shop.control_plane
        .post(&format!("{path}/cancel"), &end)
        .await;
    wait::until("the end", async || {
        match statuses(&client, subscriber.key(), 1).await[..] {
            [403] => Ok(()),
            ref other => Err(format!("{other:?}")),
        }
    })
    .await;
    // Whoever starts again begins where time stands.
    shop.control_plane.restart().await;
    let clock = shop.control_plane.get("/v1/sandbox/clock").await;
    let subscription = shop.control_plane.get(&path).await;
    assert!(text(&subscription["activeTo"]) <= text(&clock["now"]));
    assert_eq!(subscription["status"], "inactive");
}

#[tokio::test(flavor = "multi_thread")]
async fn grace_ends_by_business_time() {
    let _alone = alone().await;
    let mut world = World::open();
    world.move_time(0);
    let envoy = Envoy::start(in_sandbox(world.options())).await;
    let client = envoy.client(Connections::Kept);
    let customer = world.stranger();
    let mut access = customer::access(&customer.chain, &[("api_requests", Quota::Hard(100))]);
    access.block = Some(Block {
        from_ms: now_ms() + 3 * DAY_MS,
        code: BlockCode::PaymentOverdue,
    });
    world.write_access(&customer, &access);
    world.write_key(&customer, &customer::key_document(&customer));
    for (offset_ms, expected) in [
        (0, "200 "),
        (3 * DAY_MS - 60_000, "200 "),
        (3 * DAY_MS + 1, "403 payment_overdue"),
    ] {
        world.move_time(offset_ms);
        // Every worker knows the time after so long.
        sleep(Duration::from_millis(900)).await;
        for _ in 0..4 {
            let answer = client.get_with_key("/", &customer.key).await.unwrap();
            assert_eq!(format!("{} {}", answer.status, answer.code()), expected);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_of_no_sandbox_takes_a_store_with_its_own_time_for_unavailable() {
    let _alone = alone().await;
    let mut world = World::open();
    let customer = world.customer(&[("api_requests", Quota::Hard(100))]);
    let envoy = world.envoy().await;
    let client = envoy.client(Connections::Kept);
    let answer = client.get_with_key("/", &customer.key).await.unwrap();
    assert_eq!(answer.status, 200);
    world.move_time(0);
    let stranger = world.customer(&[("api_requests", Quota::Hard(100))]);
    let answer = client.get_with_key("/", &stranger.key).await.unwrap();
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (503, "store_unavailable")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn time_moves_in_a_sandbox_only() {
    let _alone = alone().await;
    let shop = Shop::open().await;
    let advance = json!({"advance": "P1M"});
    let clock = "/v1/sandbox/clock";
    let answer = shop
        .control_plane
        .call(Method::POST, clock, Some(&advance))
        .await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (403, "not_a_sandbox")
    );
    // What was moved elsewhere is no store of this control plane's.
    let store = Names::new(PREFIX).store();
    let answer = shop
        .redis
        .exchange(&request(&["HSET", &store, "offset", "1"]));
    assert_eq!(answer, b":1\r\n");
    wait::until("the store's own time to go", async || {
        match &shop
            .redis
            .exchange(&request(&["HEXISTS", &store, "offset"]))[..]
        {
            b":0\r\n" => Ok(()),
            other => Err(String::from_utf8_lossy(other).into_owned()),
        }
    })
    .await;
}
