//! gRPC by rules that count before: a call goes on once Redis has counted it, and its last status says whether that
//! stays.

use serde_json::{Value, json};
use tokio::task::JoinSet;
use tollgate_tests::envoy::{Envoy, EnvoyOptions, Protocol};
use tollgate_tests::grpc::{self, Form, Outcome, Patience, Reply, Service};
use tollgate_tests::wait;

use super::exact;
use crate::customer::Quota;
use crate::shop::{Shop, Subscriber};
use crate::world::alone;

/// Two gateways before a service, and a customer.
struct Scene {
    shop: Shop,
    service: Service,
    envoys: [Envoy; 2],
    subscriber: Subscriber,
}

impl Scene {
    async fn set(quota: Quota, rule: Value) -> Self {
        let (mut shop, service) = (Shop::open().await, Service::start());
        shop.sell("plan", quota).await;
        let subscriber = shop.subscribe("plan").await;
        let mut options = EnvoyOptions {
            upstream: service.address(),
            protocol: Protocol::Http2,
            ..exact(shop.options())
        };
        options.policy["rules"] = json!([rule]);
        let envoys = [
            Envoy::start(options.clone()).await,
            Envoy::start(options).await,
        ];
        Self {
            shop,
            service,
            envoys,
            subscriber,
        }
    }

    async fn call(&self, patience: Patience) -> Outcome {
        let envoy = &self.envoys[usize::from(self.service.calls().is_multiple_of(2))];
        let headers = [("x-api-key", self.subscriber.key())];
        let outcome = grpc::call(&envoy.url(), &headers, patience).await;
        outcome.unwrap_or_else(|error| panic!("{error}: {}", envoy.log()))
    }

    fn consumed(&self) -> f64 {
        let counters = self.subscriber.customer.counters(&self.shop.redis);
        assert_eq!(counters.leased(), 0.0, "{counters:?}");
        counters.consumed()
    }

    async fn wait_until_consumed(&self, units: u64) {
        wait::until(&format!("{units} units in Redis"), async || {
            let consumed = self.consumed();
            if consumed == units as f64 {
                Ok(())
            } else {
                Err(consumed)
            }
        })
        .await;
    }

    async fn wait_until_used(&self, units: u64) {
        let subscription = &self.subscriber.subscription;
        self.shop.wait_until_used(subscription, units).await;
    }
}

fn one_each() -> Value {
    json!({"match": {"pathPrefix": "/"}, "meters": {"api_requests": 1}})
}

#[tokio::test(flavor = "multi_thread")]
async fn two_gateways_let_exactly_the_limit_of_calls_through() {
    const LIMIT: u64 = 100;
    const CLIENTS: u64 = 10;
    let _alone = alone().await;
    let scene = Scene::set(Quota::Hard(LIMIT), one_each()).await;
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        let url = scene.envoys[usize::from(number.is_multiple_of(2))].url();
        let key = scene.subscriber.key().to_owned();
        clients.spawn(async move {
            let mut seen = Vec::new();
            for _ in 0..2 * LIMIT / CLIENTS {
                let headers = [("x-api-key", key.as_str())];
                let outcome = grpc::call(&url, &headers, Patience::Whole).await.unwrap();
                seen.push(outcome.last("grpc-status").to_owned());
            }
            seen
        });
    }
    let seen = clients.join_all().await.concat();
    let with = |status: &str| seen.iter().filter(|seen| *seen == status).count() as u64;
    assert_eq!((with("0"), with("8")), (LIMIT, LIMIT), "{seen:?}");
    assert_eq!(scene.service.calls(), LIMIT);
    assert_eq!(scene.consumed(), LIMIT as f64);
    scene.wait_until_used(LIMIT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_fail_or_are_broken_off_give_their_units_back() {
    const LIMIT: u64 = 5;
    const IN_VAIN: u64 = 15;
    let _alone = alone().await;
    let scene = Scene::set(Quota::Hard(LIMIT), one_each()).await;
    for (form, patience) in [
        (Form::Message, Patience::Whole),
        (Form::TrailersOnly, Patience::Whole),
        (Form::Endless, Patience::FirstMessage),
    ] {
        let failed = Reply::new(form, &[("grpc-status", "13")]);
        scene.service.answer(failed);
        for _ in 0..IN_VAIN {
            // Whether it comes to the service says whether it was refused.
            let before = scene.service.calls();
            let outcome = scene.call(patience).await;
            assert_eq!(scene.service.calls(), before + 1, "{outcome:?}");
        }
        scene.wait_until_consumed(0).await;
    }
    let good = Reply::new(Form::Message, &[("grpc-status", "0")]);
    scene.service.answer(good);
    for left in (0..=LIMIT).rev() {
        let outcome = scene.call(Patience::Whole).await;
        let expected = if left > 0 { "0" } else { "8" };
        assert_eq!(outcome.last("grpc-status"), expected, "{outcome:?}");
    }
    assert_eq!(scene.service.calls(), 3 * IN_VAIN + LIMIT);
    assert_eq!(scene.consumed(), LIMIT as f64);
    scene.wait_until_used(LIMIT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_sees_the_trailers_is_counted_by_what_they_tell() {
    const COST: u64 = 7;
    let _alone = alone().await;
    let rule = json!({"match": {"pathPrefix": "/"}, "meters": {"api_requests": 0}, "reserve": {"api_requests": 3},
        "meterFrom": {"api_requests": {"trailer": "x-cost"}}});
    let scene = Scene::set(Quota::Hard(1_000), rule).await;
    let mut units = 0;
    for form in [Form::Message, Form::TrailersOnly] {
        let told = Reply::new(form, &[("grpc-status", "0"), ("x-cost", "7")]);
        scene.service.answer(told);
        for _ in 0..5 {
            let outcome = scene.call(Patience::Whole).await;
            assert_eq!(outcome.last("grpc-status"), "0", "{outcome:?}");
            units += COST;
            assert_eq!(scene.consumed(), units as f64, "{outcome:?}");
        }
        let failed = Reply::new(form, &[("grpc-status", "2"), ("x-cost", "7")]);
        scene.service.answer(failed);
        assert_eq!(scene.call(Patience::Whole).await.last("grpc-status"), "2");
        scene.wait_until_consumed(units).await;
    }
    assert_eq!(scene.service.calls(), 2 * 6);
    scene.wait_until_used(units).await;
}
