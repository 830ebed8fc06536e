//! Payment opens and closes access at the gateways, on time and with nobody there.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::time::sleep;
use tollgate_tests::control_plane::ControlPlaneOptions;
use tollgate_tests::envoy::Envoy;
use tollgate_tests::http::Connections;
use tollgate_tests::redis::{Persistence, RedisOptions, RedisServer};
use tollgate_tests::stripe::cards::{FAILS_LATER, GOOD};
use tollgate_tests::stripe::{StripeOptions, StripeSimulator};
use tollgate_tests::wait;

use crate::load::Load;
use crate::sandbox::in_sandbox;
use crate::shop::{Shop, Subscriber, text};
use crate::world::alone;

const CLIENTS: u32 = 4;
const AT_ONCE: Duration = Duration::from_secs(1);

/// A sandbox that takes money.
struct Till {
    shop: Shop,
    stripe: StripeSimulator,
}

impl Till {
    /// One that sells `starter`, 29.00 a month, and `trial`, which is free for a day before that.
    async fn open() -> Self {
        let redis = RedisServer::start(RedisOptions {
            persistence: Persistence::EverySecond,
            acl_file: None,
        });
        let stripe = StripeSimulator::start(StripeOptions::default());
        let mut options = ControlPlaneOptions::new(redis.address());
        options.environment = stripe.environment();
        let sandbox = ("TOLLGATE_ENV".to_owned(), "sandbox".to_owned());
        options.environment.push(sandbox);
        let shop = Shop::open_with(redis, options).await;
        stripe.send_webhooks_to(&format!("{}/webhooks/stripe", shop.control_plane.url()));
        let till = Self { shop, stripe };
        let day =
            json!({"key": "day", "name": "A day", "duration": "P1D", "rateCards": [card(None)]});
        let main = json!({"key": "main", "name": "Main", "duration": null, "rateCards": [card(Some("29.00"))]});
        till.sell("starter", &[&main]).await;
        till.sell("trial", &[&day, &main]).await;
        till
    }

    async fn sell(&self, plan: &str, phases: &[&Value]) {
        let document = json!({"key": plan, "name": plan, "currency": "USD", "billingCadence": "P1M",
            "paymentMethodRequired": plan == "starter", "phases": phases});
        self.post("/v1/plans", &document).await;
        self.post(&format!("/v1/plans/{plan}/publish"), &json!({}))
            .await;
    }

    async fn post(&self, path: &str, document: &Value) -> Value {
        self.shop.control_plane.post(path, document).await
    }

    /// The customer `ada`, who has paid for `starter` by Checkout.
    async fn check_out(&self) -> Subscriber {
        self.post("/v1/customers", &json!({"key": "ada", "name": "Ada"}))
            .await;
        let document = json!({"plan": "starter", "customer": "ada"});
        let made = self.post("/v1/checkout-sessions", &document).await;
        let path = format!("/portal/checkout/{}", text(&made["id"]));
        let opened = self.shop.control_plane.client().get(&path).await.unwrap();
        self.stripe
            .enter_card(opened.header("location"), GOOD)
            .await;
        let path = format!("/v1/checkout-sessions/{}", text(&made["id"]));
        let done = self.until(&path, "status", "completed").await;
        let subscription = text(&done["subscription"]);
        let path = format!("/v1/subscriptions/{subscription}");
        self.until(&path, "paymentStatus", "paid").await;
        self.shop.issue(subscription).await
    }

    /// Waits until a field of a resource is this.
    async fn until(&self, path: &str, field: &str, expected: &str) -> Value {
        wait::until(&format!("{expected} at {path}"), async || {
            let seen = self.shop.control_plane.get(path).await;
            if seen[field] == expected {
                Ok(seen)
            } else {
                Err(seen)
            }
        })
        .await
    }

    async fn envoy(&self) -> Envoy {
        Envoy::start(in_sandbox(self.shop.options())).await
    }
}

/// A card of as many units as any test needs, for a fee or free.
fn card(fee: Option<&str>) -> Value {
    let price = fee.map(|fee| json!({"type": "flat", "amount": fee, "paymentTerm": "in_advance"}));
    json!({"type": "flat_fee", "key": "api_requests", "name": "API requests", "featureKey": "api_requests",
        "billingCadence": "P1M", "price": price,
        "entitlementTemplate": {"type": "metered", "issueAfterReset": 1_000_000, "isSoftLimit": false}})
}

#[tokio::test(flavor = "multi_thread")]
async fn grace_ends_access_and_a_payment_brings_it_back_within_a_second() {
    let _alone = alone().await;
    let till = Till::open().await;
    let subscriber = till.check_out().await;
    let envoys = [till.envoy().await, till.envoy().await];
    let seen = async |expected: &str| {
        let seen = Load::start(&envoys, CLIENTS, "/", subscriber.key())
            .for_ms(300)
            .await;
        seen.assert_only(&[expected]);
    };
    seen("200").await;
    let portal = till
        .post("/v1/customers/ada/portal-sessions", &json!({}))
        .await;
    till.stripe
        .enter_card(text(&portal["url"]), FAILS_LATER)
        .await;
    for (by, expected) in [
        ("P1M", "200"),
        ("P2D", "200"),
        ("P1D", "403 payment_overdue"),
    ] {
        till.post("/v1/sandbox/clock", &json!({"advance": by}))
            .await;
        seen(expected).await;
    }
    let failed = till
        .shop
        .control_plane
        .get("/v1/invoices?status=failed")
        .await;
    let page = text(&failed["items"][0]["hostedInvoiceUrl"]).to_owned();
    let load = Load::start(&envoys, CLIENTS, "/", subscriber.key());
    till.stripe.enter_card(&page, GOOD).await;
    let paid_at = Instant::now();
    let seen = load.for_ms(1_500).await;
    seen.assert_only(&["200", "403 payment_overdue"]);
    let last = seen.last_after("403 payment_overdue", paid_at);
    println!("refused until {last:?} after the payment");
    assert!(seen.allowed() > 0 && last < AT_ONCE, "{seen}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trial_ends_on_time_with_nobody_there() {
    let _alone = alone().await;
    let mut till = Till::open().await;
    let subscriber = till.shop.subscribe("trial").await;
    let envoy = till.envoy().await;
    // The rest of the day passes by itself.
    let advance = json!({"advance": "PT23H59M50S"});
    till.post("/v1/sandbox/clock", &advance).await;
    till.shop.control_plane.kill();
    let client = envoy.client(Connections::Fresh);
    let mut answer = client.get_with_key("/", subscriber.key()).await.unwrap();
    assert_eq!(answer.status, 200, "{answer}");
    while answer.status == 200 {
        sleep(Duration::from_millis(50)).await;
        answer = client.get_with_key("/", subscriber.key()).await.unwrap();
    }
    assert_eq!(answer.code(), "payment_required", "{answer}");
}
