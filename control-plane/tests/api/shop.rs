//! A catalogue to subscribe to, and the requests that subscriptions are made of.

use serde_json::{Value, json};

use crate::catalog::metered_feature;
use crate::world::{Answer, World};

/// Publishes a plan whose phases (duration, hard limit) give units of the meter `calls` each month.
pub async fn sell(world: &World, key: &str, phases: &[(Option<&str>, u64)]) -> Value {
    sell_with(world, key, phases, &json!({})).await
}

/// The same with other fields of the plan.
pub async fn sell_with(
    world: &World,
    key: &str,
    phases: &[(Option<&str>, u64)],
    fields: &Value,
) -> Value {
    let phases = phases.iter().enumerate().map(|(index, (duration, limit))| {
        json!({
            "key": format!("phase_{index}"), "name": "Phase", "duration": duration,
            "rateCards": [{
                "type": "flat_fee", "key": "calls", "featureKey": "calls",
                "billingCadence": "P1M", "price": null,
                "entitlementTemplate": {"type": "metered", "issueAfterReset": limit},
            }],
        })
    });
    let phases: Vec<_> = phases.collect();
    let mut plan = json!({
        "key": key, "name": key, "currency": "USD", "billingCadence": "P1M", "phases": phases,
    });
    for (field, value) in fields.as_object().unwrap() {
        plan[field] = value.clone();
    }
    let draft = world.post("/v1/plans", &plan).await.expect(201);
    publish(world, &draft).await
}

/// Publishes a draft of a plan.
pub async fn publish(world: &World, draft: &Value) -> Value {
    let path = format!("/v1/plans/{}/publish", text(&draft["id"]));
    world.post(&path, &json!({})).await.expect(200)
}

/// The feature `calls`, the plans `tiny` (20), `free` (1,000) and `big` (5,000), in this order, and the customer `acme`.
pub async fn open(world: &World) {
    metered_feature(world, "calls").await;
    for (key, limit) in [("tiny", 20), ("free", 1_000), ("big", 5_000)] {
        sell(world, key, &[(None, limit)]).await;
    }
    order(world, &["tiny", "free", "big"]).await;
    customer(world, "acme").await;
}

/// Sets the order of plans.
pub async fn order(world: &World, plans: &[&str]) {
    configure(world, &json!({"planOrder": plans})).await;
}

/// Replaces the configuration.
pub async fn configure(world: &World, document: &Value) {
    world.put("/v1/configuration", document).await.expect(200);
}

/// Makes a customer with this key.
pub async fn customer(world: &World, key: &str) {
    let document = json!({"key": key, "name": key});
    world.post("/v1/customers", &document).await.expect(201);
}

/// Tries to subscribe `acme` to a plan.
pub async fn try_subscribe(world: &World, plan: &str) -> Answer {
    let document = json!({"customer": "acme", "plan": plan});
    world.post("/v1/subscriptions", &document).await
}

/// Subscribes `acme` to a plan.
pub async fn subscribe(world: &World, plan: &str) -> Value {
    try_subscribe(world, plan).await.expect(201)
}

/// Does something with a subscription.
pub async fn act(world: &World, subscription: &Value, verb: &str, document: &Value) -> Answer {
    let path = format!("/v1/subscriptions/{}/{verb}", text(&subscription["id"]));
    world.post(&path, document).await
}

/// Changes a subscription to a plan.
pub async fn change(world: &World, subscription: &Value, plan: &str) -> Value {
    let document = json!({"plan": plan});
    act(world, subscription, "change", &document)
        .await
        .expect(200)
}

/// A subscription, or a part of what is known of it.
pub async fn look(world: &World, subscription: &Value, part: &str) -> Value {
    let path = format!("/v1/subscriptions/{}{part}", text(&subscription["id"]));
    world.get(&path).await.expect(200)
}

/// Issues a key for a subscription.
pub async fn issue(world: &World, subscription: &Value) -> Value {
    act(world, subscription, "keys", &json!({}))
        .await
        .expect(201)
}

#[track_caller]
pub fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}
