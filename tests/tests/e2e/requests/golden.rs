//! Every refusal as its golden file has it, over HTTP and over gRPC.

use std::fs;

use serde_json::{Map, Value, json};
use tollgate_engine::contract::{Block, BlockCode, Entitlement};
use tollgate_engine::units::Units;
use tollgate_tests::envoy::{Envoy, Normalisation};
use tollgate_tests::grpc::{self, Patience};
use tollgate_tests::http::{Answer, Connections};
use tollgate_tests::process::repository;

use super::METER;
use crate::customer::{self, Customer, HOUR_MS, Quota, now_ms};
use crate::world::{World, alone};

/// Members and headers that tell of this request alone.
const OF_THE_REQUEST: [&str; 7] = [
    "requestId",
    "instance",
    "limit",
    "used",
    "resetsAt",
    "ratelimit",
    "retry-after",
];

/// Refusals whose golden files tell of figures that only they have.
const WITH_FIGURES: [&str; 2] = ["quota_exceeded", "rate_limited"];

fn golden(code: &str) -> Value {
    let path = format!("engine/tests/golden/problems/{code}.json");
    let text = fs::read_to_string(repository().join(path)).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// Names and values, without what is of one request.
fn lasting(object: &Value, code: &str) -> Map<String, Value> {
    let members = object.as_object().unwrap().clone().into_iter();
    let has_figures = WITH_FIGURES.contains(&code);
    members
        .map(|(name, value)| {
            let varies = OF_THE_REQUEST.contains(&name.as_str())
                || has_figures
                    && ["detail", "message", "meter", "ratelimit-policy"].contains(&name.as_str());
            let shown = if varies { json!("…") } else { value };
            (name, shown)
        })
        .collect()
}

/// Headers of an answer that a golden file speaks of.
fn headers_of(answer: &Answer) -> Value {
    let ours = [
        "content-type",
        "cache-control",
        "www-authenticate",
        "retry-after",
        "ratelimit",
        "ratelimit-policy",
    ];
    let there = ours.iter().filter(|name| !answer.header(name).is_empty());
    there
        .map(|name| ((*name).to_owned(), answer.header(name).into()))
        .collect::<Map<_, _>>()
        .into()
}

#[track_caller]
fn assert_golden(answer: &Answer, code: &str) {
    let golden = golden(code);
    assert_eq!(answer.status, golden["status"], "{answer}");
    assert_eq!(
        lasting(&headers_of(answer), code),
        lasting(&golden["headers"], code),
        "{answer}"
    );
    assert_eq!(
        lasting(&answer.json(), code),
        lasting(&golden["body"], code),
        "{answer}"
    );
}

async fn assert_golden_grpc(envoy: &Envoy, key: Option<&str>, code: &str) {
    let headers: Vec<_> = key.map(|key| ("x-api-key", key)).into_iter().collect();
    let outcome = grpc::call(&envoy.url(), &headers, Patience::Whole).await;
    let outcome = outcome.unwrap();
    let golden = &golden(code)["grpc"];
    assert_eq!(outcome.status, 200);
    assert_eq!(outcome.last("grpc-status"), golden["status"].to_string());
    if !WITH_FIGURES.contains(&code) {
        // Envoy encodes what a header cannot hold as it is.
        let message = outcome.last("grpc-message").replace("%22", "\"");
        assert_eq!(message, golden["message"].as_str().unwrap());
    }
    for name in golden["headers"].as_object().unwrap().keys() {
        assert!(!outcome.last(name).is_empty(), "{name} of {outcome:?}");
    }
}

/// A customer of a plan with everything, whose documents were changed before they were written.
fn customer(
    world: &mut World,
    change: impl FnOnce(
        &mut tollgate_engine::contract::AccessDocument,
        &mut tollgate_engine::contract::KeyDocument,
    ),
) -> Customer {
    let customer = world.stranger();
    let meters = [(METER, Quota::Hard(1)), ("tokens", Quota::Soft(1))];
    let mut access = customer::access(&customer.chain, &meters);
    let entitlements = &mut access.terms[0].entitlements;
    entitlements.insert("chat".to_owned(), Entitlement::Boolean);
    let mut key = customer::key_document(&customer);
    change(&mut access, &mut key);
    world.write_access(&customer, &access);
    world.write_key(&customer, &key);
    customer
}

/// Code, and whose key gets it.
fn refused(world: &mut World) -> Vec<(&'static str, Customer)> {
    let (past, future) = (now_ms() - HOUR_MS, now_ms() + HOUR_MS);
    let blocked = |world: &mut World, code| {
        customer(world, |access, _| {
            let from_ms = past;
            access.block = Some(Block { from_ms, code });
        })
    };
    let without = |world: &mut World, feature: &str| {
        customer(world, |access, _| {
            access.terms[0].entitlements.remove(feature);
        })
    };
    let one = Units::ONE;
    let seldom = Entitlement::RateLimit {
        units: one,
        per_ms: 3_600_000,
        burst: one,
    };
    vec![
        ("key_unknown", world.stranger()),
        (
            "key_expired",
            customer(world, |_, key| key.expires_at_ms = Some(past)),
        ),
        (
            "key_revoked",
            customer(world, |_, key| key.revoked_at_ms = Some(past)),
        ),
        (
            "subscription_not_started",
            customer(world, |access, _| access.terms[0].from_ms = future),
        ),
        (
            "subscription_ended",
            customer(world, |access, _| access.terms[0].to_ms = Some(past)),
        ),
        (
            "payment_required",
            blocked(world, BlockCode::PaymentRequired),
        ),
        ("payment_overdue", blocked(world, BlockCode::PaymentOverdue)),
        (
            "payment_uncollectible",
            blocked(world, BlockCode::PaymentUncollectible),
        ),
        ("meter_not_in_plan", without(world, "tokens")),
        ("feature_not_in_plan", without(world, "chat")),
        ("quota_exceeded", customer(world, |_, _| {})),
        (
            "rate_limited",
            customer(world, |access, _| {
                let entitlements = &mut access.terms[0].entitlements;
                entitlements.insert("requests".to_owned(), seldom);
                entitlements.insert(METER.to_owned(), Quota::Hard(9).entitlement());
            }),
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_refusal_is_as_its_golden_file_says() {
    let _alone = alone().await;
    let mut world = World::open();
    let mut options = world.options();
    options.concurrency = 1;
    options.normalisation = Normalisation::None;
    options.policy["responses"] = json!({"upgradeUrl": "https://example.com/plans"});
    options.policy["rules"] = json!([{
        "match": {"pathPrefix": "/"},
        "meters": {"api_requests": 1, "tokens": 1},
        "requires": ["chat"],
        "rateLimits": {"requests": 1},
    }]);
    let envoy = Envoy::start(options).await;
    let client = envoy.client(Connections::Kept);

    assert_golden(&client.get("/v1/chat").await.unwrap(), "key_missing");
    assert_golden_grpc(&envoy, None, "key_missing").await;
    let malformed = client.get_with_key("/v1/chat", "nonsense").await.unwrap();
    assert_golden(&malformed, "key_malformed");
    assert_golden_grpc(&envoy, Some("nonsense"), "key_malformed").await;
    let odd = client.get_as_spelled("/v1//chat", &[]).await.unwrap();
    assert_golden(&odd, "path_not_normal");

    let table = refused(&mut world);
    for (code, customer) in &table {
        if WITH_FIGURES.contains(code) {
            let first = client.get_with_key("/v1/chat", &customer.key).await;
            assert_eq!(first.unwrap().status, 200, "{code}");
        }
        let answer = client.get_with_key("/v1/chat", &customer.key).await;
        assert_golden(&answer.unwrap(), code);
        assert_golden_grpc(&envoy, Some(&customer.key), code).await;
    }

    world.redis.kill();
    let stranger = world.stranger();
    let answer = client.get_with_key("/v1/chat", &stranger.key).await;
    assert_golden(&answer.unwrap(), "store_unavailable");
    assert_golden_grpc(&envoy, Some(&stranger.key), "store_unavailable").await;
}
