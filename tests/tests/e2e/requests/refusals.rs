//! Every refusal a client can get, by what the documents in Redis say.

use std::time::Duration;

use serde_json::json;
use tokio::time::sleep;
use tollgate_engine::contract::{AccessDocument, Block, BlockCode, Entitlement, KeyDocument};
use tollgate_tests::http::Answer;
use tollgate_tests::wait;

use super::{METER, PLENTY, Scene};
use crate::customer::{self, Customer, HOUR_MS, Quota, now_ms};
use crate::world::{World, alone};

/// A customer whose documents were changed before they were written.
fn customer(
    world: &mut World,
    change: impl FnOnce(&mut AccessDocument, &mut KeyDocument),
) -> Customer {
    let customer = world.stranger();
    let mut access = customer::access(&customer.chain, &[(METER, PLENTY)]);
    let mut key = customer::key_document(&customer);
    change(&mut access, &mut key);
    world.write_access(&customer, &access);
    world.write_key(&customer, &key);
    customer
}

fn blocked(world: &mut World, code: BlockCode) -> Customer {
    customer(world, |access, _| {
        access.block = Some(Block {
            from_ms: now_ms() - 1,
            code,
        });
    })
}

/// What every refusal has.
#[track_caller]
fn assert_refused(answer: &Answer, status: u16, code: &str) {
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (status, code),
        "{answer}"
    );
    assert_eq!(answer.header("content-type"), "application/problem+json");
    assert_eq!(answer.header("cache-control"), "no-store");
    let problem = answer.json();
    assert_eq!(problem["type"], format!("urn:tollgate:problem:{code}"));
    assert_eq!(problem["status"], status);
    assert_eq!(problem["instance"], "/v1/thing");
    for member in ["title", "detail", "requestId"] {
        assert!(!problem[member].as_str().unwrap().is_empty(), "{answer}");
    }
    let challenge = if status == 401 {
        "Bearer realm=\"tollgate\""
    } else {
        ""
    };
    assert_eq!(answer.header("www-authenticate"), challenge, "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn by_key_subscription_payment_and_plan() {
    let _alone = alone().await;
    let mut scene = Scene::set_with(|options| {
        options.policy["rules"] = json!([
            {"match": {"pathPrefix": "/v1/thing"}, "meters": {"api_requests": 1}, "requires": ["chat"]},
            {"match": {"pathPrefix": "/"}, "meters": {"api_requests": 1}}
        ]);
    })
    .await;
    let mut table = keys_that_are_refused(&mut scene.world);
    table.extend(customers_who_are_refused(&mut scene.world));
    for (code, status, customer) in &table {
        let answer = scene.get("/v1/thing?secret=1", customer).await;
        assert_refused(&answer, *status, code);
    }
    assert_eq!(scene.world.upstream.requests(), 0);
}

/// Code, status, and whose key gets them.
type Refused = (&'static str, u16, Customer);

fn keys_that_are_refused(world: &mut World) -> Vec<Refused> {
    let past = now_ms() - HOUR_MS;
    let expired = customer(world, |_, key| key.expires_at_ms = Some(past));
    let revoked = customer(world, |_, key| key.revoked_at_ms = Some(past));
    vec![
        ("key_unknown", 401, world.stranger()),
        ("key_expired", 401, expired),
        ("key_revoked", 401, revoked),
    ]
}

fn customers_who_are_refused(world: &mut World) -> Vec<Refused> {
    let (past, future) = (now_ms() - HOUR_MS, now_ms() + HOUR_MS);
    let early = customer(world, |access, _| access.terms[0].from_ms = future);
    let late = customer(world, |access, _| access.terms[0].to_ms = Some(past));
    let without_meter = customer(world, |access, _| {
        access.terms[0].entitlements = [("chat".to_owned(), Entitlement::Boolean)].into();
    });
    vec![
        ("subscription_not_started", 403, early),
        ("subscription_ended", 403, late),
        (
            "payment_required",
            403,
            blocked(world, BlockCode::PaymentRequired),
        ),
        (
            "payment_overdue",
            403,
            blocked(world, BlockCode::PaymentOverdue),
        ),
        (
            "payment_uncollectible",
            403,
            blocked(world, BlockCode::PaymentUncollectible),
        ),
        ("feature_not_in_plan", 403, customer(world, |_, _| {})),
        ("meter_not_in_plan", 403, without_meter),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn by_form_without_a_word_about_any_key() {
    let _alone = alone().await;
    let scene = Scene::set().await;
    let key = &scene.customer.key;
    let last = if key.ends_with('0') { '1' } else { '0' };
    let wrong_end = format!("{}{last}", &key[..key.len() - 1]);
    let of_another_environment = key.replace("tg_test_", "tg_live_");
    for malformed in [
        "nonsense",
        &wrong_end,
        &of_another_environment,
        &key[..20],
        "tg_test_",
    ] {
        let answer = scene.client.get_with_key("/v1/thing", malformed).await;
        assert_refused(&answer.unwrap(), 401, "key_malformed");
    }
    let missing = scene.client.get("/v1/thing").await.unwrap();
    assert_refused(&missing, 401, "key_missing");
    assert_eq!(scene.world.upstream.requests(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn by_quota_with_all_there_is_to_know() {
    let _alone = alone().await;
    let mut scene = Scene::set_with(|options| {
        // What is left is told as the worker that is asked knows it.
        options.concurrency = 1;
        options.policy["responses"] = json!({
            "statuses": {"quota_exceeded": 429, "key_missing": 403},
            "upgradeUrl": "https://example.com/plans",
        });
    })
    .await;
    let limited = scene.world.customer(&[(METER, Quota::Hard(3))]);
    for remaining in [2, 1, 0] {
        let answer = scene.get("/v1/thing", &limited).await;
        assert_eq!(answer.status, 200, "{answer}");
        let limit = answer.header("ratelimit");
        assert!(
            limit.starts_with(&format!("\"api_requests\";r={remaining};t=")),
            "{answer}"
        );
        assert_eq!(
            answer.header("ratelimit-policy"),
            "\"api_requests\";q=3;w=2592000"
        );
    }
    scene.world.wait_until_consumed(&limited, 3).await;
    // Once no unit can come back, the window's end is when to try again.
    let answer = wait::until("the window's end as Retry-After", async || {
        let answer = scene.get("/v1/thing", &limited).await;
        assert_refused(&answer, 429, "quota_exceeded");
        let seconds: u64 = answer.header("retry-after").parse().unwrap();
        if seconds > 1 { Ok(answer) } else { Err(answer) }
    })
    .await;
    let seconds: i64 = answer.header("retry-after").parse().unwrap();
    let window_end = 30 * 24 * 3_600 - 3_600;
    assert!(
        (window_end - 60..=window_end).contains(&seconds),
        "{answer}"
    );
    assert!(
        answer
            .header("ratelimit")
            .starts_with("\"api_requests\";r=0;t="),
        "{answer}"
    );
    let problem = answer.json();
    assert_eq!(
        (&problem["meter"], &problem["limit"], &problem["used"]),
        (&json!(METER), &json!("3"), &json!("3"))
    );
    assert_eq!(problem["upgradeUrl"], "https://example.com/plans");
    assert!(
        problem["resetsAt"].as_str().unwrap().ends_with('Z'),
        "{answer}"
    );

    let missing = scene.client.get("/v1/thing").await.unwrap();
    assert_refused(&missing, 403, "key_missing");
    assert!(missing.json()["upgradeUrl"].is_null(), "{missing}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bypassing_key_is_metered_and_never_refused() {
    let _alone = alone().await;
    let mut scene = Scene::set().await;
    let customer = customer(&mut scene.world, |access, key| {
        access.terms[0].entitlements = [(METER.to_owned(), Quota::Hard(1).entitlement())].into();
        access.block = Some(Block {
            from_ms: now_ms() - 1,
            code: BlockCode::PaymentOverdue,
        });
        key.bypass = true;
    });
    for _ in 0..5 {
        assert_eq!(scene.get("/v1/thing", &customer).await.status, 200);
    }
    scene.world.wait_until_consumed(&customer, 5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ends_later_ends_on_time_with_nobody_writing_again() {
    let _alone = alone().await;
    let mut scene = Scene::set().await;
    let end = now_ms() + 2_000;
    let table = [
        (
            "key_expired",
            customer(&mut scene.world, |_, key| key.expires_at_ms = Some(end)),
        ),
        (
            "subscription_ended",
            customer(&mut scene.world, |access, _| {
                access.terms[0].to_ms = Some(end)
            }),
        ),
        (
            "payment_overdue",
            customer(&mut scene.world, |access, _| {
                access.block = Some(Block {
                    from_ms: end,
                    code: BlockCode::PaymentOverdue,
                });
            }),
        ),
    ];
    while now_ms() < end - 200 {
        for (code, customer) in &table {
            let answer = scene.get("/v1/thing", customer).await;
            assert_eq!(answer.status, 200, "{code} too early: {answer}");
        }
        sleep(Duration::from_millis(50)).await;
    }
    sleep(Duration::from_millis(400)).await;
    for (code, customer) in &table {
        assert_eq!(scene.get("/v1/thing", customer).await.code(), *code);
    }
}
