//! What responses settle, and what clients see of them.

use std::time::Duration;

use serde_json::json;
use tollgate_tests::http::Connections;
use tollgate_tests::wait;

use super::{METER, Scene};
use crate::customer::Quota;
use crate::world::{alone, hasten};

#[tokio::test(flavor = "multi_thread")]
async fn responses_that_are_not_metered_give_their_units_back() {
    let _alone = alone().await;
    // One worker, so that no other holds what this one needs.
    let mut scene = Scene::set_with(|options| options.concurrency = 1).await;
    let limited = scene.world.customer(&[(METER, Quota::Hard(3))]);
    scene.world.upstream.set_status(500);
    for _ in 0..10 {
        let answer = scene.get("/", &limited).await;
        assert_eq!(answer.status, 500, "{answer}");
    }
    scene.world.upstream.set_status(201);
    for _ in 0..3 {
        assert_eq!(scene.get("/", &limited).await.status, 201);
    }
    assert_eq!(scene.get("/", &limited).await.code(), "quota_exceeded");
    scene.world.wait_until_consumed(&limited, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rule_says_which_statuses_are_metered() {
    let _alone = alone().await;
    let mut scene = Scene::set_with(|options| {
        hasten(&mut options.policy);
        options.policy["rules"] = json!([
            {"match": {"pathPrefix": "/"}, "meters": {"api_requests": 1}, "meterOnStatusCodes": "200, 400-404"}
        ]);
    })
    .await;
    let customer = scene.world.customer(&[(METER, Quota::Soft(100))]);
    for (status, metered) in [
        (200, 1),
        (201, 1),
        (302, 1),
        (400, 2),
        (404, 3),
        (405, 3),
        (503, 3),
    ] {
        scene.world.upstream.set_status(status);
        assert_eq!(scene.get("/", &customer).await.status, status);
        scene.world.wait_until_consumed(&customer, metered).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_before_its_response_gives_its_units_back() {
    let _alone = alone().await;
    let mut scene = Scene::set().await;
    let limited = scene.world.customer(&[(METER, Quota::Hard(1))]);
    scene.world.upstream.set_delay_ms(3_000);
    let leaving = scene.envoy.client(Connections::Fresh);
    let key = limited.key.clone();
    let leaving = tokio::spawn(async move { leaving.get_with_key("/", &key).await });
    wait::until("the request to reach the upstream", async || {
        match scene.world.upstream.requests() {
            1 => Ok(()),
            count => Err(count),
        }
    })
    .await;
    let refused = scene.get("/", &limited).await;
    assert_eq!(refused.code(), "quota_exceeded", "{refused}");
    leaving.abort();
    scene.world.upstream.set_delay_ms(0);
    wait::until("the unit to be back", async || {
        let answer = scene.get("/", &limited).await;
        if answer.status == 200 {
            Ok(())
        } else {
            Err(answer)
        }
    })
    .await;
    scene.world.wait_until_consumed(&limited, 1).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(scene.get("/", &limited).await.code(), "quota_exceeded");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_upstreams_word_on_units_stays_inside() {
    let _alone = alone().await;
    let scene = Scene::set().await;
    scene
        .world
        .upstream
        .set_header("x-tollgate-meters", "api_requests=50");
    for target in ["/", "/healthz"] {
        let answer = scene.get(target, &scene.customer).await;
        assert_eq!(answer.status, 200, "{answer}");
        assert_eq!(answer.header("x-tollgate-meters"), "", "{answer}");
    }
    // No rule lets it change what a request costs.
    scene.world.wait_until_consumed(&scene.customer, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_soft_limit_is_shown_and_passed() {
    let _alone = alone().await;
    // What is left is told as the worker that is asked knows it.
    let mut scene = Scene::set_with(|options| options.concurrency = 1).await;
    let customer = scene.world.customer(&[(METER, Quota::Soft(2))]);
    for remaining in [1, 0, 0, 0] {
        let answer = scene.get("/", &customer).await;
        assert_eq!(answer.status, 200, "{answer}");
        let expected = format!("\"api_requests\";r={remaining};t=");
        assert!(
            answer.header("ratelimit").starts_with(&expected),
            "{answer}"
        );
    }
    scene.world.wait_until_consumed(&customer, 4).await;
}
