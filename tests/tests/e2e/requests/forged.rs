//! What a client may try with keys and headers that are not its own (E10).

use serde_json::json;
use tollgate_engine::api_key::{self, Environment};
use tollgate_tests::http::Answer;
use tollgate_tests::wait;

use super::{PLENTY, Scene, seen};
use crate::world::alone;

/// Everything of an answer that may differ between two requests is left out.
fn said(answer: &Answer) -> String {
    let mut body = answer.json();
    body["requestId"] = json!("");
    let names: Vec<_> = answer.headers.keys().map(|name| name.as_str()).collect();
    format!("{} {names:?} {body}", answer.status)
}

/// A key that differs in a character of the secret, with its checksum.
fn sibling(key: &str, at: usize) -> String {
    let (tag, secret) = key[8..38].split_at(4);
    let mut secret = secret.to_owned().into_bytes();
    secret[at] = if secret[at] == b'x' { b'y' } else { b'x' };
    let secret = String::from_utf8(secret).unwrap();
    api_key::compose(Environment::Test, tag.parse().unwrap(), &secret).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_less_than_a_whole_key_tells_anything_of_it() {
    let _alone = alone().await;
    let scene = Scene::set_with(|options| options.concurrency = 1).await;
    let key = &scene.customer.key;
    // Every worker knows it well.
    for _ in 0..3 {
        assert_eq!(scene.get("/", &scene.customer).await.status, 200);
    }
    let ask = async |key: &str| scene.client.get_with_key("/", key).await.unwrap();

    let mut of_form: Vec<String> = (0..key.len())
        .map(|at| {
            let other = if &key[at..=at] == "x" { "y" } else { "x" };
            format!("{}{other}{}", &key[..at], &key[at + 1..])
        })
        .collect();
    let live = api_key::compose(Environment::Live, scene.customer.tag, &key[12..38]).unwrap();
    let cut = [&key[..43], &key[1..], "tg_test_"].map(str::to_owned);
    of_form.extend([
        live,
        format!("{key}0"),
        format!("{key},{key}"),
        key.to_uppercase(),
    ]);
    of_form.extend(cut);
    let malformed = said(&ask("tg_test_nonsense").await);
    assert!(malformed.contains("key_malformed"), "{malformed}");
    for text in &of_form {
        assert_eq!(said(&ask(text).await), malformed, "{text}");
    }

    // Those that only Redis can tell: beside a known key, and far from any.
    let stranger =
        api_key::compose(Environment::Test, "zzzz".parse().unwrap(), &"0".repeat(26)).unwrap();
    let unknown = said(&ask(&stranger).await);
    assert!(unknown.contains("key_unknown"), "{unknown}");
    for at in 0..26 {
        assert_eq!(said(&ask(&sibling(key, at)).await), unknown);
    }
    wait::until("the look-ups in the metrics", async || {
        let lookups = scene.envoy.stats("key_lookups").await.into_values().sum();
        // Of the customer's key, and of those of good form.
        if lookups == 1 + 1 + 26 {
            Ok(())
        } else {
            Err::<(), u64>(lookups)
        }
    })
    .await;
    assert_eq!(scene.world.upstream.requests(), 3);
    assert_eq!(scene.get("/", &scene.customer).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_header_of_a_client_changes_units_or_leads_to_redis() {
    let _alone = alone().await;
    let mut scene = Scene::set_with(|options| {
        options.policy["rules"] = json!([
            {"match": {"pathPrefix": "/"}, "meters": {"api_requests": 1}, "upstreamMeters": ["api_requests"]}
        ]);
    })
    .await;
    let other = scene.world.customer(&[("api_requests", PLENTY)]);
    let key = format!("x-api-key: {}", scene.customer.key);
    let tries = [
        "x-tollgate-meters: api_requests=0",
        "X-Tollgate-Meters: api_requests+=1000",
        "x_tollgate_meters: api_requests=0",
        "x-envoy-original-dst-host: 127.0.0.1:6379",
        "x-envoy-upstream-alt-stat-name: tollgate_redis",
        "x-envoy-decorator-operation: tollgate_redis",
        "te: trailers",
    ];
    for line in tries {
        let answer = scene.get_with("/", &[&key, line]).await;
        assert_eq!(answer.status, 200, "{answer}");
        let saw = answer.json();
        assert_eq!(seen(&saw, "x-tollgate-meters"), None, "{answer}");
        assert_eq!(seen(&saw, "x_tollgate_meters"), None, "{answer}");
    }
    // Two keys: the first one that is found pays, and nobody else.
    let second = format!("authorization: Bearer {}", scene.customer.key);
    let answer = scene
        .get_with(&format!("/?api_key={}", other.key), &[&second])
        .await;
    assert_eq!(answer.status, 200, "{answer}");
    let host = scene.envoy.url().replace("http://", "");
    // The name of Redis's cluster is a path like any other to Envoy.
    let answer = scene
        .get_with(
            &format!("http://{host}/tollgate_redis"),
            &[&key, "x-host: tollgate_redis"],
        )
        .await;
    assert!([200, 400, 404].contains(&answer.status), "{answer}");
    let metered = scene.world.upstream.requests();
    scene
        .world
        .wait_until_consumed(&scene.customer, metered)
        .await;
    assert_eq!(other.counters(&scene.world.redis).consumed(), 0.0);
}
