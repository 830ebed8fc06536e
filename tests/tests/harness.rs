//! The servers of the harness do what tests rely on: they die, come back, fall silent and start again from older data.

use std::time::Duration;

use reqwest::Method;
use tollgate_tests::control_plane::{ControlPlane, ControlPlaneOptions};
use tollgate_tests::envoy::{Envoy, EnvoyOptions};
use tollgate_tests::http::{Connections, send};
use tollgate_tests::redis::{Persistence, RedisOptions, RedisServer};
use tollgate_tests::store::request;
use tollgate_tests::upstream::Upstream;

fn set(redis: &RedisServer, value: &str) {
    assert_eq!(redis.exchange(&request(&["SET", "key", value])), b"+OK\r\n");
}

fn get(redis: &RedisServer) -> String {
    let answer = redis.exchange(&request(&["GET", "key"]));
    String::from_utf8(answer).expect("the value is text")
}

fn persistent() -> RedisServer {
    RedisServer::start(RedisOptions {
        persistence: Persistence::EverySecond,
        acl_file: None,
    })
}

#[test]
fn redis_starts_again_with_its_data_without_them_or_with_older_ones() {
    let mut redis = persistent();
    set(&redis, "1");
    let saved = redis.save();
    set(&redis, "2");
    redis.restart();
    assert_eq!(get(&redis), "$1\r\n2\r\n");
    redis.restart_from(&saved);
    assert_eq!(get(&redis), "$1\r\n1\r\n");
    redis.restart_empty();
    assert_eq!(get(&redis), "$-1\r\n");
}

#[test]
fn a_paused_redis_answers_once_it_goes_on() {
    let redis = persistent();
    redis.pause();
    let ping = redis.try_exchange(b"PING\r\n", Duration::from_millis(100));
    assert!(ping.is_err(), "{ping:?}");
    redis.resume();
    assert_eq!(redis.exchange(b"PING\r\n"), b"+PONG\r\n");
}

#[test]
fn a_killed_redis_refuses_connections() {
    let mut redis = persistent();
    redis.kill();
    assert!(
        redis
            .try_exchange(b"PING\r\n", Duration::from_secs(1))
            .is_err()
    );
    assert!(std::net::TcpStream::connect(redis.address()).is_err());
}

#[tokio::test]
async fn envoy_runs_the_filter_before_the_upstream() {
    let (upstream, redis) = (
        Upstream::start(),
        RedisServer::start(RedisOptions::default()),
    );
    let mut envoy = Envoy::start(EnvoyOptions::new(upstream.address(), redis.address())).await;
    let client = envoy.client(Connections::Kept);

    let public = client.get("/healthz").await.expect("Envoy answers");
    assert_eq!(public.status, 200, "{public}");
    assert_eq!(public.json()["path"], "/healthz");
    let refused = client.get("/other").await.expect("Envoy answers");
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (401, "key_missing")
    );
    assert_eq!(upstream.requests(), 1);

    envoy.kill();
    assert!(client.get("/healthz").await.is_err());
    envoy.restart().await;
    upstream.set_status(503);
    let public = client.get("/healthz").await.expect("Envoy answers");
    assert_eq!(public.status, 503);
    assert!(!envoy.stats("upstream_rq_503").await.is_empty());
    assert!(envoy.terminate().success());
}

#[tokio::test]
async fn a_control_plane_keeps_its_database_over_a_kill() {
    let redis = RedisServer::start(RedisOptions::default());
    let mut control_plane = ControlPlane::start(ControlPlaneOptions::new(redis.address())).await;
    let anonymous = send(control_plane.client().request(Method::GET, "/v1/meters")).await;
    assert_eq!(anonymous.expect("it answers").status, 401);
    let meter = serde_json::json!({"slug": "api_requests", "name": "Requests", "eventType": "api_requests", "aggregation": "SUM"});
    let made = control_plane
        .call(Method::POST, "/v1/meters", Some(&meter))
        .await;
    assert_eq!(made.status, 201, "{made}");
    control_plane.kill();
    control_plane.restart().await;
    let meters = control_plane.get("/v1/meters").await;
    assert_eq!(meters["items"][0]["slug"], "api_requests", "{meters}");
    assert!(control_plane.terminate().success());
}
