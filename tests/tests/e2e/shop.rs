//! A control plane with a catalogue, its Redis, and customers who subscribe.

use serde_json::{Value, json};
use tollgate_tests::control_plane::{ControlPlane, ControlPlaneOptions};
use tollgate_tests::envoy::{AccessLog, Envoy, EnvoyOptions};
use tollgate_tests::redis::{Persistence, RedisOptions, RedisServer};
use tollgate_tests::upstream::Upstream;
use tollgate_tests::wait;

use crate::customer::{Customer, Quota};

pub struct Shop {
    pub control_plane: ControlPlane,
    pub redis: RedisServer,
    pub upstream: Upstream,
    subscribers: u32,
}

/// A customer with a subscription.
pub struct Subscriber {
    pub subscription: String,
    pub key_id: String,
    pub customer: Customer,
}

impl Shop {
    /// A shop that sells the meter `api_requests`, and drains every half second.
    pub async fn open() -> Self {
        let redis = RedisServer::start(RedisOptions {
            persistence: Persistence::EverySecond,
            acl_file: None,
        });
        let options = ControlPlaneOptions::new(redis.address());
        Self::open_with(redis, options).await
    }

    /// The same with a Redis and options of the control plane.
    pub async fn open_with(redis: RedisServer, mut options: ControlPlaneOptions) -> Self {
        let interval = (
            "TOLLGATE_USAGE_DRAIN_INTERVAL_MS".to_owned(),
            "500".to_owned(),
        );
        options.environment.push(interval);
        let control_plane = ControlPlane::start(options).await;
        control_plane.wait_until_ready().await;
        let meter = json!({"slug": "api_requests", "name": "API requests", "eventType": "request", "aggregation": "SUM", "valueProperty": "$.units"});
        control_plane.post("/v1/meters", &meter).await;
        let feature =
            json!({"key": "api_requests", "name": "API requests", "meterSlug": "api_requests"});
        control_plane.post("/v1/features", &feature).await;
        Self {
            control_plane,
            redis,
            upstream: Upstream::start(),
            subscribers: 0,
        }
    }

    /// Publishes a plan.
    pub async fn sell(&self, plan: &str, quota: Quota) {
        let card = json!({"type": "flat_fee", "key": "api_requests", "name": "API requests", "featureKey": "api_requests",
            "billingCadence": "P1M", "price": null, "entitlementTemplate": quota.template()});
        let phase =
            json!({"key": "default", "name": "Default", "duration": null, "rateCards": [card]});
        let document = json!({"key": plan, "name": plan, "currency": "USD", "billingCadence": "P1M", "phases": [phase]});
        self.control_plane.post("/v1/plans", &document).await;
        let path = format!("/v1/plans/{plan}/publish");
        self.control_plane.post(&path, &json!({})).await;
    }

    /// A new customer of a plan, with a key.
    pub async fn subscribe(&mut self, plan: &str) -> Subscriber {
        self.subscribers += 1;
        let key = format!("customer-{}", self.subscribers);
        let customer = json!({"key": key, "name": key});
        self.control_plane.post("/v1/customers", &customer).await;
        let document = json!({"customer": key, "plan": plan});
        let made = self
            .control_plane
            .post("/v1/subscriptions", &document)
            .await;
        self.issue(text(&made["id"])).await
    }

    /// Another key of a subscription.
    pub async fn issue(&self, subscription: &str) -> Subscriber {
        let path = format!("/v1/subscriptions/{subscription}/keys");
        let issued = self.control_plane.post(&path, &json!({})).await;
        Subscriber::new(subscription, &issued)
    }

    /// A key in place of another, which ends at once.
    pub async fn roll(&self, old: &Subscriber) -> Subscriber {
        let path = format!("/v1/keys/{}/roll", old.key_id);
        let issued = self.control_plane.post(&path, &json!({})).await;
        Subscriber::new(&old.subscription, &issued)
    }

    /// How an Envoy is started.
    pub fn options(&self) -> EnvoyOptions {
        // Thousands of lines would hide what the filter says.
        EnvoyOptions {
            access_log: AccessLog::None,
            ..EnvoyOptions::new(self.upstream.address(), self.redis.address())
        }
    }

    pub async fn envoy(&self) -> Envoy {
        Envoy::start(self.options()).await
    }

    /// Units used in the current period, as the ledger holds them.
    pub async fn used(&self, subscription: &str) -> String {
        let path = format!("/v1/subscriptions/{subscription}/usage");
        let usage = self.control_plane.get(&path).await;
        text(&usage["meters"][0]["used"]).to_owned()
    }

    /// Waits until the ledger holds so many units.
    pub async fn wait_until_used(&self, subscription: &str, units: u64) {
        let what = format!("{units} units in the ledger");
        wait::until(&what, async || {
            let used = self.used(subscription).await;
            if used == units.to_string() {
                Ok(())
            } else {
                Err(used)
            }
        })
        .await;
    }
}

impl Quota {
    /// As a plan says it.
    pub fn template(self) -> Value {
        let (units, is_soft) = match self {
            Self::Hard(units) => (units, false),
            Self::Soft(units) => (units, true),
        };
        json!({"type": "metered", "issueAfterReset": units, "isSoftLimit": is_soft})
    }
}

impl Subscriber {
    /// Who holds a key that was just issued.
    pub fn new(subscription: &str, issued: &Value) -> Self {
        Self {
            subscription: subscription.to_owned(),
            key_id: text(&issued["id"]).to_owned(),
            customer: Customer::new(text(&issued["secret"]), text(&issued["chain"])),
        }
    }

    /// The whole API key.
    pub fn key(&self) -> &str {
        &self.customer.key
    }
}

#[track_caller]
pub fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}
