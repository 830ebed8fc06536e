//! Bytes that mean nothing, from clients, Redis and the configuration: the gateway goes on as if nothing had come (E9).

use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tollgate_tests::envoy::{Envoy, Listener, Normalisation};
use tollgate_tests::http::Connections;
use tollgate_tests::proxy::{Fate, Proxy};
use tollgate_tests::wait;

use crate::customer::Quota;
use crate::load::Load;
use crate::world::{World, alone, hasten};

const CLIENTS: u32 = 4;
const REQUESTS: u64 = 400;
/// Requests at the same time.
const TOGETHER: usize = 50;
/// More than a worker takes in of an answer, and less than Envoy does.
const ENDLESS_BYTES: usize = 30 * 1_024 * 1_024;

/// No VM of the gateway ended, nor began anew.
fn assert_unbroken(envoy: &Envoy) {
    let log = envoy.log();
    for sign in [
        "panicked",
        "Wasm VM failed",
        "Proxy-Wasm plugin in-VM backtrace",
        "Reload",
    ] {
        assert!(!log.contains(sign), "{sign}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_without_end() {
    let _alone = alone().await;
    let mut world = World::open();
    let customer = world.customer(&[("api_requests", Quota::Soft(100))]);
    let proxy = Proxy::start(world.redis.address());
    let mut options = world.hasty_options(&proxy);
    options.policy["redis"]["timeoutMs"] = 1_000.into();
    let envoy = Envoy::start(options).await;
    Load::start([&envoy], CLIENTS, "/", &customer.key)
        .for_ms(300)
        .await;
    proxy.treat(&[Fate::AnswerEndless(ENDLESS_BYTES)]);
    let load = Load::start([&envoy], CLIENTS, "/", &customer.key);
    wait::until("answers without end", async || {
        let disturbed = proxy.disturbed();
        if disturbed > 5 {
            Ok(())
        } else {
            Err(disturbed)
        }
    })
    .await;
    let failed = wait::until("calls that failed for it", async || {
        let stats = envoy.stats("calls").await;
        let short = stats
            .into_iter()
            .filter(|(name, _)| name.contains("short_answer"));
        let short: u64 = short.map(|(_, count)| count).sum();
        if short > 2 { Ok(short) } else { Err(short) }
    })
    .await;
    proxy.heal();
    let seen = load.for_ms(300).await;
    println!("{failed} answers without end; {seen}");
    seen.assert_only(&["200"]);
    world
        .wait_until_consumed(&customer, world.upstream.requests())
        .await;
    assert_unbroken(&envoy);
}

/// Requests that no client would send on purpose, made from one that it would; the same for every number.
fn spoilt(number: u64, key: &str) -> Vec<u8> {
    let mut random = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = |end: usize| {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) as usize % end.max(1)
    };
    let target = [
        "/",
        "/v1/x?api_key=",
        "/%",
        "/%2e%2E/",
        "/a/../b;c",
        "//",
        "http://[::1]/",
        "/?api_key=%zz&api%5Fkey=",
    ][next(8)];
    let filler =
        ["a", "\u{e9}", "%61", "\\", "\"", ";=,"][next(6)].repeat([0, 1, 300, 20_000][next(4)]);
    let fields = [
        format!("authorization: Bearer {key}{filler}"),
        format!("authorization: Bearer \t{filler}"),
        format!("x-api-key: {filler}{key}"),
        format!("x-tollgate-identity: {filler}"),
        format!("x-tollgate-{filler}: 1"),
        format!("x-request-id: {filler}"),
        "transfer-encoding: chunked".to_owned(),
        "content-length: 18446744073709551616".to_owned(),
        "connection: upgrade\r\nupgrade: websocket".to_owned(),
    ];
    let method = ["GET", "POST", "OPTIONS", "CONNECT", "GET", "get"][next(6)];
    let mut request =
        format!("{method} {target}{key} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n");
    for _ in 0..next(5) {
        request.push_str(&fields[next(fields.len())]);
        request.push_str("\r\n");
    }
    request.push_str("\r\n");
    let mut bytes = request.into_bytes();
    let changes = [0, 0, 0, 1, 4][next(5)];
    for _ in 0..changes {
        let at = next(bytes.len());
        bytes[at] = next(256) as u8;
    }
    bytes
}

/// Sends bytes, and waits until the gateway has had enough of them.
async fn send(address: String, bytes: Vec<u8>) {
    let exchange = async {
        let Ok(mut stream) = TcpStream::connect(address).await else {
            return;
        };
        // It may close before it has read everything.
        let _ = stream.write_all(&bytes).await;
        let _ = stream.read_to_end(&mut Vec::new()).await;
    };
    let _ = timeout(Duration::from_millis(250), exchange).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_no_client_would_send() {
    let _alone = alone().await;
    let mut world = World::open();
    let customer = world.customer(&[("api_requests", Quota::Soft(100))]);
    let mut options = world.options();
    // Whatever Envoy itself lets through reaches the filter.
    options.normalisation = Normalisation::None;
    let envoy = Envoy::start(options).await;
    let address = envoy.url().replace("http://", "");
    for first in (0..REQUESTS).step_by(TOGETHER) {
        let some = (first..).take(TOGETHER);
        let some = some.map(|number| send(address.clone(), spoilt(number, &customer.key)));
        some.collect::<JoinSet<()>>().join_all().await;
    }
    let seen = Load::start([&envoy], CLIENTS, "/", &customer.key)
        .for_ms(300)
        .await;
    seen.assert_only(&["200"]);
    let decisions = wait::until("the decisions in the metrics", async || {
        let decisions: u64 = envoy.stats("decisions").await.into_values().sum();
        let some = seen.allowed() + REQUESTS / 8;
        if decisions > some {
            Ok(decisions)
        } else {
            Err(decisions)
        }
    })
    .await;
    let reached = world.upstream.requests();
    println!(
        "{decisions} decisions over {REQUESTS} requests of garbage and {}; {reached} reached the upstream",
        seen.allowed()
    );
    // Who went away before the answer came pays nothing.
    wait::until("what was answered to be counted", async || {
        let consumed = customer.counters(&world.redis).consumed();
        assert!(consumed <= reached as f64, "{consumed} of {reached}");
        if consumed >= seen.allowed() as f64 {
            Ok(())
        } else {
            Err(consumed)
        }
    })
    .await;
    assert_unbroken(&envoy);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_means_nothing_changes_nothing() {
    let _alone = alone().await;
    let mut world = World::open();
    let customer = world.customer(&[("api_requests", Quota::Hard(100_000))]);
    let mut options = world.options();
    options.listener = Listener::Watched;
    hasten(&mut options.policy);
    let mut envoy = Envoy::start(options).await;
    let load = Load::start([&envoy], CLIENTS, "/", &customer.key);
    for policy in [
        json!(7),
        json!({"rules": "x"}),
        json!({"environment": ["\u{0}", {"a": 1e308}]}),
    ] {
        envoy.reload(policy);
        sleep(Duration::from_millis(400)).await;
    }
    wait::until("the mistakes in the log", async || {
        let log = envoy.log();
        if log.contains("configuration: rules: ") {
            Ok(())
        } else {
            Err(log)
        }
    })
    .await;
    let seen = load.for_ms(300).await;
    println!("{seen}");
    seen.assert_only(&["200"]);
    let healthy = envoy
        .client(Connections::Fresh)
        .get("/healthz")
        .await
        .unwrap();
    assert_eq!(healthy.status, 200, "{healthy}");
    world.wait_until_consumed(&customer, seen.allowed()).await;
}
