//! What an operator sees: metrics by labels, and decisions in the access log.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;
use tollgate_tests::clock::WrongClock;
use tollgate_tests::envoy::{AccessLog, Envoy};
use tollgate_tests::http::Connections;
use tollgate_tests::process::repository;
use tollgate_tests::proxy::{Fate, Proxy};
use tollgate_tests::store::request;
use tollgate_tests::wait;

use super::{METER, Scene};
use crate::clocks::mean_skew_ms;
use crate::customer::Quota;
use crate::world::{World, alone, hasten};

/// The series of our own that Envoy shows to Prometheus.
async fn series(envoy: &Envoy) -> Vec<String> {
    let answer = envoy.admin().get("/stats/prometheus").await.unwrap();
    let ours = answer.body.lines();
    ours.filter(|line| line.starts_with("tollgate_") && !line.contains("_bucket{"))
        .map(str::to_owned)
        .collect()
}

/// Waits until there is a line for each of these: its name, its labels, and how its value begins.
async fn wait_for(envoy: &Envoy, expected: &[(&str, &[&str], &str)]) {
    wait::until("the metrics", async || {
        let series = series(envoy).await;
        let has = |(name, labels, value): &&(&str, &[&str], &str)| {
            series.iter().any(|line| {
                let (head, shown) = line.rsplit_once(' ').unwrap_or_default();
                head.starts_with(&format!("{name}{{"))
                    && labels.iter().all(|label| head.contains(label))
                    && shown.starts_with(value)
            })
        };
        let missing: Vec<_> = expected.iter().filter(|it| !has(it)).collect();
        if missing.is_empty() {
            Ok(())
        } else {
            Err(format!("{missing:?} among {series:#?}"))
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_tell_decisions_units_calls_and_what_is_cached() {
    let _alone = alone().await;
    let mut scene = Scene::set_with(|options| options.concurrency = 1).await;
    for _ in 0..3 {
        assert_eq!(scene.get("/", &scene.customer).await.status, 200);
    }
    for target in ["/", "/healthz", "/healthz"] {
        scene.client.get(target).await.unwrap();
    }
    wait_for(
        &scene.envoy,
        &[
            (
                "tollgate_decisions",
                &["code=\"admitted\"", "rule=\"1\""],
                "3",
            ),
            (
                "tollgate_decisions",
                &["code=\"key_missing\"", "rule=\"1\""],
                "1",
            ),
            (
                "tollgate_decisions",
                &["code=\"passed\"", "rule=\"0\""],
                "2",
            ),
            ("tollgate_milli_units", &["meter=\"api_requests\""], "3000"),
            ("tollgate_calls", &["outcome=\"ok\""], ""),
            ("tollgate_key_lookups", &[], "1"),
            ("tollgate_cached_keys", &[], "1"),
            ("tollgate_cached_chains", &[], "1"),
            ("tollgate_stores_away", &[], "0"),
            ("tollgate_settle_lag_ms_count", &[], ""),
            ("tollgate_clock_skew_ms_count", &[], ""),
            ("tollgate_batches_per_call_count", &[], ""),
            ("tollgate_batches", &[], ""),
            ("tollgate_grants", &[], ""),
        ],
    )
    .await;
    // What nobody spends any more goes back.
    let limited = scene.world.customer(&[(METER, Quota::Hard(1_000))]);
    for _ in 0..100 {
        assert_eq!(scene.get("/", &limited).await.status, 200);
    }
    let all_back: &[(&str, &[&str], &str)] = &[
        ("tollgate_returns", &[], ""),
        ("tollgate_held_milli_units", &[], "0"),
        ("tollgate_unsent_milli_units", &[], "0"),
    ];
    wait_for(&scene.envoy, all_back).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_tell_what_goes_wrong() {
    let _alone = alone().await;
    let mut world = World::open();
    let proxy = Proxy::start(world.redis.address());
    let mut options = world.hasty_options(&proxy);
    options.concurrency = 1;
    options.policy["rules"] = json!([{
        "match": {"pathPrefix": "/"}, "meters": {"api_requests": 1, "tokens": 0},
        "meterFrom": {"tokens": {"header": "x-cost"}},
    }]);
    let envoy = Envoy::start(options).await;
    let client = envoy.client(Connections::Kept);
    let customer = world.customer(&[(METER, Quota::Soft(9)), ("tokens", Quota::Soft(9))]);
    let get = async || client.get_with_key("/", &customer.key).await.unwrap();
    assert_eq!(get().await.status, 200);
    for (fate, outcome) in [
        (Fate::RequestLost, "no_answer"),
        (Fate::AnswerShort, "short_answer"),
    ] {
        proxy.treat(&[fate]);
        let label = format!("outcome=\"{outcome}\"");
        wait_for(&envoy, &[("tollgate_calls", &[&label], "")]).await;
        proxy.heal();
    }
    wait_for(&envoy, &[("tollgate_stores_away", &[], "0")]).await;
    proxy.close();
    wait_for(&envoy, &[("tollgate_stores_away", &[], "1")]).await;
    assert_eq!(get().await.status, 200);
    wait_for(
        &envoy,
        &[
            ("tollgate_calls", &["outcome=\"refused\""], ""),
            ("tollgate_offline_milli_units", &[], "1000"),
            ("tollgate_unsent_milli_units", &[], "1000"),
            ("tollgate_costs_untold", &[], "2"),
        ],
    )
    .await;
    proxy.heal();
    wait_for(
        &envoy,
        &[
            ("tollgate_stores_away", &[], "0"),
            ("tollgate_unsent_milli_units", &[], "0"),
        ],
    )
    .await;
}

/// How long a worker keeps what Redis has counted, and a little more.
const RETAINED: Duration = Duration::from_secs(11);

/// A worker of a hasty gateway whose clock is five seconds ahead.
async fn hasty_and_ahead(world: &World, clock: &WrongClock) -> Envoy {
    let mut options = world.options();
    hasten(&mut options.policy);
    options.concurrency = 1;
    options.environment.extend(clock.ahead(5));
    Envoy::start(options).await
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_tell_what_redis_lost_and_how_wrong_a_clock_is() {
    let _alone = alone().await;
    let (mut world, clock) = (World::open(), WrongClock::build());
    let envoy = hasty_and_ahead(&world, &clock).await;
    let client = envoy.client(Connections::Kept);
    let customer = world.customer(&[(METER, Quota::Soft(9))]);
    let get = async || client.get_with_key("/", &customer.key).await.unwrap();
    let lost_nothing: (&str, &[&str], &str) = ("tollgate_batches_lost", &[], "0");

    // What the worker told lately it tells again.
    assert_eq!(get().await.status, 200);
    world.wait_until_consumed(&customer, 1).await;
    let saved = world.redis.save();
    for units in [2, 3] {
        assert_eq!(get().await.status, 200);
        world.wait_until_consumed(&customer, units).await;
    }
    world.redis.restart_from(&saved);
    wait_for(&envoy, &[("tollgate_gaps", &[], "1"), lost_nothing]).await;
    world.wait_until_consumed(&customer, 3).await;

    // What it told longer ago nobody has any more.
    let saved = world.redis.save();
    assert_eq!(get().await.status, 200);
    world.wait_until_consumed(&customer, 4).await;
    sleep(RETAINED).await;
    assert_eq!(get().await.status, 200);
    world.wait_until_consumed(&customer, 5).await;
    let skew_ms = mean_skew_ms(&envoy).await;
    assert!((skew_ms - 5_000.0).abs() < 1_000.0, "{skew_ms}");
    world.redis.restart_from(&saved);
    wait_for(&envoy, &[("tollgate_batches_lost", &[], "1")]).await;
    world.wait_until_consumed(&customer, 4).await;
    assert!(envoy.log().contains("usage was lost"), "{}", envoy.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_tell_documents_that_nobody_can_read() {
    let _alone = alone().await;
    let mut scene = Scene::set_with(|options| options.concurrency = 1).await;
    let customer = scene.world.customer(&[(METER, Quota::Soft(9))]);
    let names = &scene.world.names;
    let broken = [
        names.access(customer.tag, &customer.chain),
        names.key(customer.tag, &customer.hash()),
    ];
    let mut seen = 0;
    for name in broken {
        let written = request(&["HSET", &name, "doc", "{\"chain\": 7}"]);
        assert_eq!(scene.world.redis.exchange(&written), b":0\r\n");
        let refused = scene.get("/", &customer).await;
        assert_eq!(refused.status, 503, "{refused}");
        assert_eq!(refused.code(), "store_unavailable");
        seen = wait::until("more documents that cannot be read", async || {
            let stats = scene.envoy.stats("tollgate.bad_documents$").await;
            let count: u64 = stats.into_values().sum();
            if count > seen { Ok(count) } else { Err(count) }
        })
        .await;
    }
    // Nobody else notices.
    assert_eq!(scene.get("/", &scene.customer).await.status, 200);
}

/// The words of a query that name metrics.
fn names(query: &str) -> BTreeSet<String> {
    let is_word = |character: char| character.is_ascii_alphanumeric() || character == '_';
    let words = query.split(|character| !is_word(character));
    words
        .filter(|word| word.starts_with("tollgate_"))
        .map(str::to_owned)
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_query_of_the_dashboard_names_metrics_that_exist() {
    let _alone = alone().await;
    let scene = Scene::set().await;
    scene.get("/", &scene.customer).await;
    let text = fs::read_to_string(repository().join("envoy/dashboard.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels
        .iter()
        .flat_map(|panel| panel["targets"].as_array().unwrap());
    let mut wanted = BTreeSet::new();
    for target in targets {
        let query = target["expr"].as_str().unwrap();
        let names = names(query);
        assert!(!names.is_empty(), "{query}");
        wanted.extend(names);
    }
    for variable in dashboard["templating"]["list"].as_array().unwrap() {
        wanted.extend(names(variable["query"].as_str().unwrap()));
    }
    assert!(wanted.len() > 15, "{wanted:?}");
    wait::until("each metric of the dashboard", async || {
        // With those that count nothing yet, and the buckets of histograms.
        let answer = scene.envoy.admin().get("/stats/prometheus").await.unwrap();
        let is_there = |name: &String| {
            let (line, kind) = (format!("{name}{{"), format!("# TYPE {name} "));
            answer
                .body
                .lines()
                .any(|it| it.starts_with(&line) || it.starts_with(&kind))
        };
        let missing: Vec<_> = wanted.iter().filter(|name| !is_there(name)).collect();
        let ours = answer.body.lines().filter(|line| line.contains("tollgate"));
        let ours: Vec<_> = ours.filter(|line| !line.contains("le=")).collect();
        if missing.is_empty() {
            Ok(())
        } else {
            Err(format!("{missing:?} among {ours:#?}"))
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_access_log_tells_decision_and_identity() {
    let _alone = alone().await;
    let scene = Scene::set_with(|options| options.access_log = AccessLog::Reference).await;
    scene.get("/let-in", &scene.customer).await;
    scene.client.get("/left-out").await.unwrap();
    wait::until("the access log", async || {
        let log = scene.envoy.log();
        let line = |path: &str| {
            log.lines()
                .find(|line| line.contains(path))
                .unwrap_or_default()
                .to_owned()
        };
        let told = line("/let-in").contains("customer=cus_of_sub_1")
            && line("/left-out").contains("decision=tollgate_key_missing");
        assert!(!log.contains(&scene.customer.key));
        if told { Ok(()) } else { Err(log) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_access_log_tells_subscription_and_units_where_it_is_wanted() {
    let _alone = alone().await;
    let mut scene = Scene::set_with(|options| {
        options.access_log = AccessLog::Fields;
        options.concurrency = 1;
        options.policy["responses"] = json!({"accessLog": true});
        options.policy["rules"] = json!([
            {"match": {"path": "/open"}, "public": true},
            {"match": {"path": "/cost"}, "meters": {"api_requests": 1}, "upstreamMeters": ["api_requests"]},
            {"match": {"pathPrefix": "/"}, "meters": {"api_requests": 1}},
        ]);
    })
    .await;
    let one = scene.world.customer(&[(METER, Quota::Hard(1))]);
    scene.get("/first", &one).await;
    scene.get("/second", &one).await;
    scene.client.get("/open").await.unwrap();
    scene
        .world
        .upstream
        .set_header("x-tollgate-meters", "api_requests+=1.5");
    scene.get("/cost", &scene.customer).await;
    scene.world.upstream.set_status(500);
    scene.get("/failed", &scene.customer).await;
    let expected = [
        ("/first", "admitted sub_2 api_requests=1"),
        ("/second", "quota_exceeded sub_2 -"),
        ("/open", "passed - -"),
        ("/cost", "admitted sub_1 api_requests=2.5"),
        ("/failed", "admitted sub_1 "),
    ];
    wait::until("the access log", async || {
        let log = scene.envoy.log();
        let is_told = |(path, fields): &(&str, &str)| {
            let line = format!("fields {path} {fields}");
            log.lines().any(|it| it.trim_end() == line.trim_end())
        };
        let missing: Vec<_> = expected.iter().filter(|it| !is_told(it)).collect();
        if missing.is_empty() {
            Ok(())
        } else {
            Err(format!("{missing:?}: {log}"))
        }
    })
    .await;
}
