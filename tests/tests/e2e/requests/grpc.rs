//! gRPC: refusals in its own terms, what is metered by the status that comes last, and costs in trailers.

use serde_json::{Value, json};
use tollgate_tests::envoy::{Envoy, Protocol};
use tollgate_tests::grpc::{self, Form, Outcome, Patience, Reply, Service};

use super::METER;
use crate::customer::{Customer, Quota};
use crate::world::{World, alone, hasten};

const TOKENS: &str = "tokens";

/// A gateway of one worker before a service.
struct Scene {
    service: Service,
    world: World,
    envoy: Envoy,
}

impl Scene {
    /// With one rule for everything.
    async fn set(rule: Value) -> Self {
        let (world, service) = (World::open(), Service::start());
        let mut options = world.options();
        options.upstream = service.address();
        options.protocol = Protocol::Http2;
        options.concurrency = 1;
        hasten(&mut options.policy);
        let mut everything = json!({"match": {"pathPrefix": "/"}});
        for (name, value) in rule.as_object().unwrap() {
            everything[name] = value.clone();
        }
        options.policy["rules"] = json!([everything]);
        let envoy = Envoy::start(options).await;
        Self {
            service,
            world,
            envoy,
        }
    }

    async fn call(&self, headers: &[(&'static str, &str)], patience: Patience) -> Outcome {
        let outcome = grpc::call(&self.envoy.url(), headers, patience).await;
        outcome.unwrap_or_else(|error| panic!("{error}: {}", self.envoy.log()))
    }

    async fn call_by(&self, customer: &Customer) -> Outcome {
        let headers = [("x-api-key", customer.key.as_str())];
        self.call(&headers, Patience::Whole).await
    }
}

/// Trailers alone, with this status and the code in front of the message.
#[track_caller]
fn assert_refused(outcome: &Outcome, status: &str, code: &str) {
    assert_eq!((outcome.status, outcome.last("grpc-status")), (200, status));
    assert!(outcome.trailers.is_none() && outcome.body.is_empty());
    let message = outcome.last("grpc-message");
    assert!(message.starts_with(&format!("{code}: ")), "{outcome:?}");
    assert_eq!(outcome.last("content-type"), "application/grpc");
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_trailers_alone() {
    let _alone = alone().await;
    let mut scene = Scene::set(json!({"meters": {"api_requests": 1}})).await;
    let limited = scene.world.customer(&[(METER, Quota::Hard(1))]);
    let without = scene.world.customer(&[("others", Quota::Hard(1))]);
    let stranger = scene.world.stranger();

    assert_refused(&scene.call(&[], Patience::Whole).await, "16", "key_missing");
    assert_refused(&scene.call_by(&stranger).await, "16", "key_unknown");
    assert_refused(&scene.call_by(&without).await, "7", "meter_not_in_plan");
    assert_eq!(scene.call_by(&limited).await.last("grpc-status"), "0");
    let refused = scene.call_by(&limited).await;
    assert_refused(&refused, "8", "quota_exceeded");
    assert!(
        refused
            .last("ratelimit")
            .starts_with("\"api_requests\";r=0;")
    );
    assert!(!refused.last("retry-after").is_empty());

    scene.world.redis.kill();
    let another = scene.world.stranger();
    assert_refused(&scene.call_by(&another).await, "14", "store_unavailable");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_that_comes_last_tells_whether_a_call_is_metered() {
    let _alone = alone().await;
    let rule = json!({"meters": {"api_requests": 1}, "meterOnGrpcStatus": [0, 5]});
    let mut scene = Scene::set(rule).await;
    let customer = scene.world.customer(&[(METER, Quota::Hard(4))]);
    for (form, status, units) in [
        (Form::Message, "0", 1),
        (Form::TrailersOnly, "0", 2),
        (Form::Message, "5", 3),
        (Form::Message, "13", 3),
        (Form::TrailersOnly, "13", 3),
        (Form::Message, "what", 3),
    ] {
        scene
            .service
            .answer(Reply::new(form, &[("grpc-status", status)]));
        let outcome = scene.call_by(&customer).await;
        assert_eq!(outcome.last("grpc-status"), status, "{outcome:?}");
        assert_eq!(outcome.trailers.is_none(), form == Form::TrailersOnly);
        let left = 4 - units;
        let told = outcome.headers["ratelimit"].to_str().unwrap();
        // What the call itself costs is not known yet when its headers come.
        assert!(told.starts_with("\"api_requests\";r="), "{left} {told}");
        scene.world.wait_until_consumed(&customer, units).await;
    }

    // What is under way holds its unit, and gives it back when it is broken off.
    scene.service.answer(Reply::new(Form::Endless, &[]));
    let key = [("x-api-key", customer.key.as_str())];
    let cut_off = scene.call(&key, Patience::FirstMessage).await;
    assert_eq!(cut_off.body, b"\0\0\0\0\x03abc");
    scene
        .service
        .answer(Reply::new(Form::Message, &[("grpc-status", "0")]));
    tollgate_tests::wait::until("the unit to be back", async || {
        match scene.call_by(&customer).await {
            outcome if outcome.last("grpc-status") == "0" => Ok(()),
            outcome => Err(format!("{outcome:?}")),
        }
    })
    .await;
    scene.world.wait_until_consumed(&customer, 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn trailers_tell_costs() {
    let _alone = alone().await;
    let rule = json!({
        "meters": {"tokens": 0, "api_requests": 1},
        "meterFrom": {"tokens": {"trailer": "x-cost"}},
        "upstreamMeters": ["api_requests"],
        "reserve": {"tokens": 20},
    });
    let mut scene = Scene::set(rule).await;
    let costs = [
        ("grpc-status", "0"),
        ("x-cost", "7"),
        ("x-tollgate-meters", "api_requests=3"),
    ];
    for (form, trailers, units) in [
        (Form::Message, &costs[..], 10),
        (Form::TrailersOnly, &costs[..], 10),
        // A metered call that does not tell its cost has that of the rule.
        (Form::Message, &costs[..1], 1),
        (Form::Message, &[("grpc-status", "2"), ("x-cost", "7")], 0),
    ] {
        scene.service.answer(Reply::new(form, trailers));
        let customer = scene
            .world
            .customer(&[(TOKENS, Quota::Hard(20)), (METER, Quota::Soft(10))]);
        let outcome = scene.call_by(&customer).await;
        assert_eq!(outcome.last("grpc-status"), trailers[0].1, "{outcome:?}");
        assert_eq!(outcome.last("x-tollgate-meters"), "", "{outcome:?}");
        scene.world.wait_until_consumed(&customer, units).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_upstreams_word_in_trailers_stays_inside_on_every_rule() {
    let _alone = alone().await;
    for (rule, units) in [
        (json!({"public": true}), 0),
        (json!({"meters": {"api_requests": 1}}), 1),
        (
            json!({"meters": {"api_requests": 1}, "upstreamMeters": ["api_requests"]}),
            6,
        ),
    ] {
        let mut scene = Scene::set(rule).await;
        scene.service.answer(Reply::new(
            Form::Message,
            &[
                ("grpc-status", "0"),
                ("x-tollgate-meters", "api_requests+=5"),
            ],
        ));
        let customer = scene.world.customer(&[(METER, Quota::Soft(10))]);
        let outcome = scene.call_by(&customer).await;
        assert_eq!(outcome.last("grpc-status"), "0", "{outcome:?}");
        assert_eq!(outcome.last("x-tollgate-meters"), "", "{outcome:?}");
        scene.world.wait_until_consumed(&customer, units).await;
    }
}
