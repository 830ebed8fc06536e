//! Costs that responses tell: by the upstream's header, a header, a trailer, the body as it streams by, or its length.

use std::fs;
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use tollgate_tests::envoy::{Envoy, Trailers};
use tollgate_tests::http::{Connections, HttpClient, send};
use tollgate_tests::scripted::{Piece, Scripted};
use tollgate_tests::wait;

use crate::customer::{Customer, Quota};
use crate::world::{World, alone, hasten};

const TOKENS: &str = "tokens";
const JSON: &str = "content-type: application/json";

/// A gateway of one worker before an upstream that answers as it is told.
struct Scene {
    upstream: Scripted,
    world: World,
    envoy: Envoy,
    client: HttpClient,
}

impl Scene {
    /// With one rule for everything, of these costs.
    async fn set(costs: Value) -> Self {
        let (world, upstream) = (World::open(), Scripted::start());
        let mut options = world.options();
        options.upstream = upstream.address();
        options.concurrency = 1;
        options.trailers = Trailers::Read;
        hasten(&mut options.policy);
        let mut rule = json!({"match": {"pathPrefix": "/"}});
        for (name, value) in costs.as_object().unwrap() {
            rule[name] = value.clone();
        }
        options.policy["rules"] = json!([rule]);
        let envoy = Envoy::start(options).await;
        Self {
            client: envoy.client(Connections::Fresh),
            upstream,
            world,
            envoy,
        }
    }

    fn customer(&mut self, quota: Quota) -> Customer {
        self.world.customer(&[(TOKENS, quota)])
    }

    /// Asks once, and waits until so many units are counted of a new customer.
    async fn costs(&mut self, units: u64) {
        let customer = self.customer(Quota::Soft(100));
        let answer = self.client.get_with_key("/", &customer.key).await.unwrap();
        assert_eq!(answer.status, 200, "{answer}");
        assert_eq!(answer.header("x-tollgate-meters"), "", "{answer}");
        self.world.wait_until_consumed(&customer, units).await;
        tokio::time::sleep(Duration::from_millis(600)).await;
        self.world.wait_until_consumed(&customer, units).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_upstreams_word_sets_and_adds_where_a_rule_says_so() {
    let _alone = alone().await;
    let mut scene =
        Scene::set(json!({"meters": {"tokens": 1}, "upstreamMeters": ["tokens"]})).await;
    for (word, units) in [
        ("x-tollgate-meters: tokens=50, others=3", 50),
        ("x-tollgate-meters: tokens+=50", 51),
        ("x-tollgate-meters: tokens=-1", 1),
        ("x-tollgate-meters: tokens=1e999", 1),
        ("x-other: 7", 1),
    ] {
        scene.upstream.answer(&[word], "{}");
        scene.costs(units).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_trailers_and_bytes_tell_costs() {
    let _alone = alone().await;
    let rule = json!({"meters": {"tokens": 0}, "meterFrom": {"tokens": {"sum": [
        {"header": "X-Cost"}, {"trailer": "X-Cost", "times": 10}, {"responseBytes": true, "times": 0.5}]}}});
    let mut scene = Scene::set(rule).await;
    scene.upstream.answer(&["X-Cost: 3"], "12345678");
    scene.costs(7).await;
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nconnection: close\r\ntrailer: x-cost\r\n\r\n";
    let body = "4\r\n1234\r\n0\r\nX-Cost: 2\r\n\r\n";
    let pieces = [chunked, body].map(Piece::text);
    scene.upstream.perform(pieces.to_vec());
    scene.costs(22).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_tell_costs_and_nobody_can_keep_them_from_it() {
    let _alone = alone().await;
    let rule = json!({"meters": {"tokens": 0}, "meterFrom": {"tokens": {"sum": [
        {"jsonPointer": "/usage/input"}, {"jsonPointer": "/usage/output", "times": 6}]}}});
    let mut scene = Scene::set(rule).await;
    let body = r#"{"text": "\"usage\": {", "usage": {"input": 10, "output": 2.5}}"#;
    scene.upstream.answer(&[JSON], body);
    scene.costs(25).await;

    let customer = scene.customer(Quota::Soft(100));
    let request = scene.client.request(Method::GET, "/");
    let request = request
        .bearer_auth(&customer.key)
        .header("accept-encoding", "gzip")
        .header("range", "bytes=0-1");
    let answer = send(request).await.unwrap();
    assert_eq!(answer.body, body);
    let head = scene.upstream.heads().pop().unwrap();
    assert!(head.contains("accept-encoding: identity\r\n"), "{head}");
    assert!(!head.contains("range:"), "{head}");
    scene.world.wait_until_consumed(&customer, 25).await;

    let events = [
        "{\"usage\":{\"input\":7}}",
        "{\"usage\":{\"output\":1}}",
        "{\"usage\":{\"output\":2}}",
        "[DONE]",
    ];
    let stream: String = events
        .iter()
        .map(|data| format!("data: {data}\n\n"))
        .collect();
    let pieces = stream.as_bytes().chunks(9).flat_map(|bytes| {
        [
            Piece::Bytes(bytes.to_vec()),
            Piece::Pause(Duration::from_millis(2)),
        ]
    });
    scene
        .upstream
        .stream(&["content-type: text/event-stream"], pieces.collect());
    scene.costs(19).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_that_dies_after_its_status_costs_what_was_seen() {
    let _alone = alone().await;
    let rule = json!({"meters": {"tokens": 1}, "meterFrom": {"tokens": {"jsonPointer": "/n"}}});
    let mut scene = Scene::set(rule).await;
    for (seen, units) in [("{\"n\": 30, ", 30), ("{\"n\": 3", 1)] {
        let head = format!("HTTP/1.1 200 OK\r\n{JSON}\r\ncontent-length: 100\r\n\r\n");
        let pause = Piece::Pause(Duration::from_millis(100));
        scene
            .upstream
            .perform(vec![Piece::text(&head), Piece::text(seen), pause]);
        let customer = scene.customer(Quota::Soft(100));
        let answer = scene.client.get_with_key("/", &customer.key).await;
        assert!(answer.is_err(), "the answer is cut off: {answer:?}");
        scene.world.wait_until_consumed(&customer, units).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reserve_is_held_until_the_response_tells_the_cost() {
    let _alone = alone().await;
    let rule = json!({"meters": {"tokens": 0}, "meterFrom": {"tokens": {"jsonPointer": "/n"}}, "reserve": {"tokens": 8}});
    let mut scene = Scene::set(rule).await;
    let customer = scene.customer(Quota::Hard(10));
    let pause = Piece::Pause(Duration::from_millis(1_500));
    scene.upstream.stream(
        &[JSON],
        vec![Piece::text("{\"n\": 1, "), pause, Piece::text("\"x\": 2}")],
    );
    let first = tokio::spawn({
        let (client, key) = (scene.client.clone(), customer.key.clone());
        async move { client.get_with_key("/", &key).await.unwrap() }
    });
    wait::until("the request to reach the upstream", async || {
        match scene.upstream.heads().len() {
            1 => Ok(()),
            count => Err(count),
        }
    })
    .await;
    let refused = scene.client.get_with_key("/", &customer.key).await.unwrap();
    assert_eq!(refused.code(), "quota_exceeded", "{refused}");
    assert_eq!(first.await.unwrap().body, "{\"n\": 1, \"x\": 2}");
    // Nine are left; of these eight are held and five spent, and then there are not eight any more.
    scene.upstream.answer(&[JSON], "{\"n\": 5}");
    wait::until("what was held to be back", async || {
        match scene.client.get_with_key("/", &customer.key).await.unwrap() {
            answer if answer.status == 200 => Ok(()),
            answer => Err(answer),
        }
    })
    .await;
    let refused = scene.client.get_with_key("/", &customer.key).await.unwrap();
    assert_eq!(refused.code(), "quota_exceeded", "{refused}");
    scene.world.wait_until_consumed(&customer, 6).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cost_beyond_a_hard_limit_is_counted_and_the_last() {
    let _alone = alone().await;
    let rule = json!({"meters": {"tokens": 0}, "meterFrom": {"tokens": {"jsonPointer": "/n"}}});
    let mut scene = Scene::set(rule).await;
    let customer = scene.customer(Quota::Hard(10));
    scene.upstream.answer(&[JSON], "{\"n\": 7}");
    for status in [200, 200, 403, 403] {
        let answer = scene.client.get_with_key("/", &customer.key).await.unwrap();
        assert_eq!(answer.status, status, "{answer}");
    }
    scene.world.wait_until_consumed(&customer, 14).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_streams_through_and_takes_no_memory() {
    let _alone = alone().await;
    let rule = json!({"meters": {"tokens": 0}, "meterFrom": {"tokens": {"jsonPointer": "/n"}}});
    let mut scene = Scene::set(rule).await;
    let large = |pieces: usize| {
        let text = Piece::Repeated(vec![b'x'; 1_024 * 1_024], pieces);
        vec![
            Piece::text("{\"text\": \""),
            text,
            Piece::text("\", \"n\": 12}"),
        ]
    };
    scene.upstream.stream(&[JSON], large(4));
    scene.costs(12).await;
    let before_kib = resident_kib(&scene.envoy);
    scene.upstream.stream(&[JSON], large(100));
    let customer = scene.customer(Quota::Soft(100));
    let answer = scene.client.get_with_key("/", &customer.key).await.unwrap();
    assert!(answer.body.len() > 100 * 1_024 * 1_024);
    scene.world.wait_until_consumed(&customer, 12).await;
    let grown_kib = resident_kib(&scene.envoy).saturating_sub(before_kib);
    // Envoy's own buffers are among it.
    assert!(grown_kib < 8 * 1_024, "{grown_kib} KiB more for 100 MiB");

    let pause = Duration::from_secs(2);
    let body = vec![
        Piece::text("{\"n\":"),
        Piece::Pause(pause),
        Piece::text("3}"),
    ];
    scene.upstream.stream(&[JSON], body);
    let customer = scene.customer(Quota::Soft(100));
    let begun = Instant::now();
    let request = scene.client.request(Method::GET, "/");
    let mut response = request.bearer_auth(&customer.key).send().await.unwrap();
    let first = response.chunk().await.unwrap().unwrap();
    assert_eq!(&first[..], b"{\"n\":");
    assert!(begun.elapsed() < pause, "the first bytes were held back");
    while response.chunk().await.unwrap().is_some() {}
    scene.world.wait_until_consumed(&customer, 3).await;
}

fn resident_kib(envoy: &Envoy) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", envoy.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let size = line.unwrap().trim().trim_end_matches(" kB");
    size.parse().unwrap()
}
