//! Customers who can be charged, and what becomes of their invoices, with nobody asking Stripe.

use std::time::Duration;

use serde_json::{Value, json};
use tollgate::invoicing;
use tollgate::invoicing::billing::Billing;
use tollgate::jobs::{Claim, Job};
use tollgate::payments::stripe::StripeInvoice;
use tollgate::publisher::renewal::Renewal;

use crate::shop::{self, look, text};
use crate::world::{TestDatabase, World};

pub const DAY: Duration = Duration::from_secs(86_400);
pub const STRIPE_KEY: &str = "sk_test_0123456789abcdefghijklmn";
pub const WEBHOOK_SECRET: &str = "whsec_0123456789abcdefghijklmn";

/// A shop with paid plans: `starter` (29.00 for 10,000) and `pro` (99.00 for 50,000) beside `tiny`, `free` and `big`.
pub async fn open(database: TestDatabase) -> World {
    let settings = [
        ("STRIPE_API_KEY", STRIPE_KEY),
        ("STRIPE_WEBHOOK_SECRET", WEBHOOK_SECRET),
    ];
    let world = World::with(database, &settings).await;
    shop::open(&world).await;
    sell(&world, "starter", "29.00", 10_000, &json!({})).await;
    sell(&world, "pro", "99.00", 50_000, &json!({})).await;
    world
}

/// Publishes a plan with a monthly fee.
pub async fn sell(world: &World, key: &str, fee: &str, units: u64, fields: &Value) {
    let mut document = json!({"phases": [paid_phase("main", fee, units)]});
    for (field, value) in fields.as_object().unwrap() {
        document[field] = value.clone();
    }
    shop::sell_with(world, key, &[], &document).await;
}

/// A phase with a monthly fee, the last of its plan.
pub fn paid_phase(key: &str, fee: &str, units: u64) -> Value {
    let price = json!({"type": "flat", "amount": fee, "paymentTerm": "in_advance"});
    json!({"key": key, "name": key, "duration": null, "rateCards": [
        {"type": "flat_fee", "key": "fee", "billingCadence": "P1M", "price": price},
        {"type": "flat_fee", "key": "calls", "featureKey": "calls", "billingCadence": "P1M", "price": null,
            "entitlementTemplate": {"type": "metered", "issueAfterReset": units}},
    ]})
}

/// Gives the customer `acme` a card.
pub async fn give_card(world: &World) {
    let customer = world.get("/v1/customers/acme").await.expect(200);
    let mut tx = world.app.database.begin_write().await.unwrap();
    sqlx::query(
        "INSERT INTO payment_customers (customer_id, stripe_id, payment_method, created_at_ms)
         VALUES ($1, 'cus_1', 'pm_1', 0)",
    )
    .bind(text(&customer["id"]))
    .execute(&mut *tx)
    .await
    .unwrap();
    tx.commit().await.unwrap();
}

/// The newest invoice of a customer.
pub async fn newest(world: &World) -> Value {
    let invoices = world.get("/v1/customers/acme/invoices").await.expect(200);
    invoices["items"][0].clone()
}

/// Stripe says of the newest invoice: `open`, `failed`, `paid`, `void` or `uncollectible`.
pub async fn say(world: &World, word: &str) {
    say_of(world, &newest(world).await, word).await;
}

/// Stripe says that of an invoice.
pub async fn say_of(world: &World, invoice: &Value, word: &str) {
    let (status, attempted) = match word {
        "failed" => ("open", true),
        other => (other, other != "open"),
    };
    let id = text(&invoice["id"]);
    let said: StripeInvoice = serde_json::from_value(json!({
        "id": format!("in_{id}"), "status": status, "attempted": attempted, "attempt_count": i64::from(attempted),
        "metadata": {"tollgate_invoice": id},
    }))
    .unwrap();
    let mut tx = world.app.database.begin_write().await.unwrap();
    invoicing::apply(&world.app, &mut tx, &said).await.unwrap();
    tx.commit().await.unwrap();
}

/// Lets business time pass, and everything be billed and renewed that is due then.
pub async fn pass(world: &World, time: Duration) {
    world.clock.advance_business(time);
    run(world, Billing::new(world.app.clone())).await;
    run(world, Renewal::new(world.app.clone())).await;
}

async fn run(world: &World, job: impl Job) {
    let (database, now) = (&world.app.database, world.clock.machine_now());
    let claim = Claim::take(database, job.name(), world.app.worker, now, DAY);
    let claim = claim.await.unwrap().unwrap();
    job.run(&claim).await.unwrap();
    claim.release(database).await.unwrap();
}

/// Whether requests of a subscription pass, and how its payments stand.
pub async fn access(world: &World, subscription: &Value) -> (String, String) {
    let access = look(world, subscription, "/access").await;
    (
        text(&access["access"]).to_owned(),
        text(&access["paymentStatus"]).to_owned(),
    )
}

/// Fails unless access and payment status are these.
pub async fn assert_access(world: &World, subscription: &Value, expected: (&str, &str)) {
    let (granted, status) = access(world, subscription).await;
    assert_eq!((granted.as_str(), status.as_str()), expected);
}
