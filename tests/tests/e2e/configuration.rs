//! What an operator configures: mistakes are named, the users of Redis work, and a reload loses nothing.

use serde_json::{Value, json};
use tollgate_tests::control_plane::ControlPlaneOptions;
use tollgate_tests::envoy::{Envoy, EnvoyOptions, Listener};
use tollgate_tests::http::Connections;
use tollgate_tests::process::repository;
use tollgate_tests::redis::{Persistence, RedisOptions, RedisServer};
use tollgate_tests::wait;

use crate::customer::Quota;
use crate::load::Load;
use crate::shop::Shop;
use crate::world::{World, alone, hasten};

const PASSWORD: &str = "change-this-password-of-the-filter";
const CLIENTS: u32 = 6;

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_configuration_is_refused_with_every_mistake() {
    let _alone = alone().await;
    let world = World::closed();
    let mut options = world.options();
    options.policy = json!({
        "environment": "production",
        "redis": {"prefix": "tg:{x}:", "timeoutMs": 1},
        "auth": {"sources": []},
        "rules": [
            {"match": {"pathPrefix": "/a/../b"}, "meters": {"api_requests": -1}},
            {"match": {"pathPrefix": "/c"}, "meters": {}, "public": true, "methodz": ["GET"]}
        ],
        "metering": {"flushIntervalMs": 5_000, "maxUnsettledMs": 1_000, "mode": "precise"},
        "surprise": 1,
    });
    let log = Envoy::start_refused(options).await;
    for path in [
        "environment",
        "redis.cluster",
        "redis.prefix",
        "redis.timeoutMs",
        "auth.sources",
        "rules[0].match.pathPrefix",
        "rules[0].meters.api_requests",
        "rules[1].meters",
        "rules[1].methodz",
        "metering.mode",
        "surprise",
    ] {
        assert!(
            log.contains(&format!("configuration: {path}: ")),
            "{path} in:\n{log}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_of_redis_needs_a_password_that_the_vm_may_see() {
    let _alone = alone().await;
    let world = World::closed();
    let mut options = world.options();
    options.policy["redis"]["username"] = json!("tollgate-filter");
    let log = Envoy::start_refused(options).await;
    assert!(log.contains("redis.username: needs a password"), "{log}");
}

fn guarded_redis() -> RedisServer {
    RedisServer::start(RedisOptions {
        persistence: Persistence::EverySecond,
        acl_file: Some(repository().join("envoy/redis/users.acl")),
    })
}

fn with_user(mut options: EnvoyOptions, password: &str) -> EnvoyOptions {
    options.policy["redis"]["username"] = json!("tollgate-filter");
    let variable = ("TOLLGATE_REDIS_PASSWORD".to_owned(), password.to_owned());
    options.environment.push(variable);
    options
}

#[tokio::test(flavor = "multi_thread")]
async fn the_users_of_redis_can_do_all_that_is_needed() {
    let _alone = alone().await;
    let redis = guarded_redis();
    let mut options = ControlPlaneOptions::new(redis.address());
    let url = format!(
        "redis://tollgate:change-this-password-of-the-control-plane@{}",
        redis.address()
    );
    options.environment.push(("REDIS_URL".to_owned(), url));
    let mut shop = Shop::open_with(redis, options).await;
    shop.sell("plan", Quota::Hard(100_000)).await;
    let subscriber = shop.subscribe("plan").await;
    let envoy = Envoy::start(with_user(shop.options(), PASSWORD)).await;
    let use_and_reckon = async |shop: &Shop| {
        let load = Load::start([&envoy], CLIENTS, "/", subscriber.key());
        load.for_ms(500).await.assert_only(&["200"]);
        let metered = shop.upstream.requests();
        shop.wait_until_used(&subscriber.subscription, metered)
            .await;
    };
    use_and_reckon(&shop).await;
    // An empty Redis is filled, with its own users' rights.
    shop.redis.restart_empty();
    wait::until("every worker to have leases again", async || {
        let load = Load::start([&envoy], CLIENTS, "/", subscriber.key());
        let seen = load.for_ms(200).await;
        let is_away = seen.times("503 store_unavailable").next().is_some();
        if is_away { Err(seen) } else { Ok(()) }
    })
    .await;
    use_and_reckon(&shop).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_told_to_the_operator_and_not_to_the_client() {
    let _alone = alone().await;
    let redis = guarded_redis();
    let mut world = World::closed();
    let mut options = with_user(world.options(), "not-the-password");
    options.redis = redis.address();
    let envoy = Envoy::start(options).await;
    let stranger = world.stranger();
    let answer = envoy
        .client(Connections::Kept)
        .get_with_key("/", &stranger.key)
        .await
        .unwrap();
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (503, "store_unavailable"),
        "{answer}"
    );
    assert!(!answer.body.contains("WRONGPASS"), "{answer}");
    wait::until("the reason in the log", async || {
        let log = envoy.log();
        if log.contains("Redis is away: error WRONGPASS") {
            Ok(())
        } else {
            Err(log)
        }
    })
    .await;
    let dump = envoy.admin().get("/config_dump").await.unwrap();
    assert!(
        dump.status == 200 && !dump.body.contains("not-the-password"),
        "the admin port shows the password"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_under_load_loses_nothing() {
    let _alone = alone().await;
    let mut world = World::open();
    let customer = world.customer(&[("api_requests", Quota::Hard(100_000))]);
    let mut options = world.options();
    options.listener = Listener::Watched;
    let mut envoy = Envoy::start(options.clone()).await;
    let client = envoy.client(Connections::Fresh);
    let load = Load::start([&envoy], CLIENTS, "/", &customer.key);
    for number in 1..=3 {
        let path = format!("/public-{number}");
        let mut policy: Value = options.policy.clone();
        policy["rules"][0] = json!({"match": {"path": path}, "public": true});
        hasten(&mut policy);
        envoy.reload(policy);
        wait::until("the new configuration", async || {
            let answer = client.get(&path).await.map_err(|error| error.to_string())?;
            if answer.status == 200 {
                Ok(())
            } else {
                Err(answer.to_string())
            }
        })
        .await;
    }
    let seen = load.for_ms(1_500).await;
    println!("{seen}");
    seen.assert_only(&["200"]);
    let metered = world.upstream.requests_to("/");
    assert_eq!(metered, seen.allowed());
    world.wait_until_consumed(&customer, metered).await;
    // Workers that left, and those that rest, hold no lease.
    wait::until("all leases to be back", async || {
        let counters = customer.counters(&world.redis);
        if counters.leased() == 0.0 {
            Ok(())
        } else {
            Err(format!("{counters:?}"))
        }
    })
    .await;
}
