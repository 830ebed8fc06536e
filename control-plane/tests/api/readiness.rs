//! What is ready to take money, and what is not.

use std::collections::BTreeMap;

use serde_json::Value;
use tollgate_tests::stripe::faults::RequestTrouble;
use tollgate_tests::stripe::{Permissions, StripeOptions, StripeSimulator};

use crate::process;
use crate::shop::text;
use crate::world::{TestDatabase, World};

const URL: &str = "https://billing.example.com";
const KEY: &str = "rk_test_simulator0000000000001234";

fn simulator(permissions: Permissions) -> StripeSimulator {
    StripeSimulator::start(StripeOptions {
        key: KEY.to_owned(),
        permissions,
        ..StripeOptions::default()
    })
}

async fn open(stripe: &StripeSimulator, key: &str) -> World {
    let url = stripe.url();
    let settings = [
        ("STRIPE_API_KEY", key),
        ("STRIPE_API_BASE", url.as_str()),
        ("STRIPE_WEBHOOK_SECRET", stripe.webhook_secret()),
        ("TOLLGATE_SERVER_PUBLIC_URL", URL),
    ];
    World::with(TestDatabase::sqlite(), &settings).await
}

/// Whether all is ready, and by name how each thing stands.
async fn look(world: &World) -> (bool, BTreeMap<String, (String, String)>) {
    let found = world.get("/v1/billing-readiness").await.expect(200);
    let field = |check: &Value, name: &str| text(&check[name]).to_owned();
    let checks = found["checks"].as_array().unwrap().iter();
    let checks = checks.map(|check| {
        let stands = (field(check, "status"), field(check, "detail"));
        (field(check, "name"), stands)
    });
    (found["ready"] == true, checks.collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_ready_where_all_is_set_up() {
    let stripe = simulator(Permissions::only(&[
        "accounts_kyc_basic_read",
        "customer_write",
        "payment_method_read",
        "checkout_session_write",
        "customer_portal_write",
        "invoice_write",
        "webhook_read",
    ]));
    stripe.send_webhooks_to(&format!("{URL}/webhooks/stripe"));
    let database = TestDatabase::sqlite();
    let mut command = process::command(&database);
    command.envs(stripe.environment());
    command.env("TOLLGATE_SERVER_PUBLIC_URL", URL);
    let process = process::Process::begin(command);
    let client = reqwest::Client::new();
    // Jobs begin one after another.
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(20);
    let found: Value = loop {
        let asked = client
            .get(format!("{}/v1/billing-readiness", process.url))
            .bearer_auth(crate::world::ADMIN_KEY);
        let found: Value = asked.send().await.unwrap().json().await.unwrap();
        if found["ready"] == true || tokio::time::Instant::now() > deadline {
            break found;
        }
    };
    assert_eq!(found["ready"], true, "{found:#}");
    let checks = found["checks"].as_array().unwrap();
    assert!(
        checks.iter().all(|check| check["status"] == "ready"),
        "{found:#}"
    );
    let names: Vec<_> = checks.iter().map(|check| text(&check["name"])).collect();
    assert_eq!(
        names,
        [
            "stripe_key",
            "stripe_account",
            "stripe_permissions",
            "webhook_endpoint",
            "webhook_secret",
            "webhook_events",
            "public_url",
            "billing_profile",
            "jobs"
        ]
    );
    // Enough to know it by, and no more.
    assert_eq!(checks[0]["detail"], "rk_test_…1234");
    // Nothing was made by asking.
    for kind in [
        "customer",
        "invoice",
        "checkout.session",
        "billing_portal.session",
    ] {
        assert!(stripe.objects(kind).is_empty(), "{kind}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_is_named_with_what_to_do() {
    let world = World::new(TestDatabase::sqlite()).await;
    let (ready, checks) = look(&world).await;
    assert!(!ready);
    let not_ready = |name: &str| {
        let (status, detail) = &checks[name];
        assert_eq!(status, "not_ready", "{name}");
        detail.clone()
    };
    assert_eq!(not_ready("stripe_key"), "set STRIPE_API_KEY");
    assert_eq!(not_ready("webhook_secret"), "set STRIPE_WEBHOOK_SECRET");
    assert!(not_ready("public_url").starts_with("set server.public_url"));
    assert!(not_ready("jobs").starts_with("nobody does billing, invoices, stripe-events: "));
    assert_eq!(checks["billing_profile"].0, "ready");
}

#[tokio::test(flavor = "multi_thread")]
async fn permissions_that_a_key_lacks_are_named_as_stripe_names_them() {
    let stripe = simulator(Permissions::only(&[
        "customer_read",
        "payment_method_read",
        "invoice_write",
    ]));
    let world = open(&stripe, KEY).await;
    let (ready, checks) = look(&world).await;
    assert!(!ready);
    assert_eq!(
        checks["stripe_permissions"],
        (
            "not_ready".to_owned(),
            "give the key what it lacks: Accounts (read) (rak_accounts_kyc_basic_read), Customers (write) (rak_customer_write), \
             Checkout Sessions (write) (rak_checkout_session_write), Customer portal (write) (rak_customer_portal_write)"
                .to_owned()
        )
    );
    for name in ["stripe_account", "webhook_endpoint"] {
        assert_eq!(checks[name].0, "unknown", "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_stripe_sends_events_is_looked_at() {
    let stripe = simulator(Permissions::All);
    let world = open(&stripe, KEY).await;
    let url = format!("{URL}/webhooks/stripe");
    let of = async || look(&world).await.1["webhook_endpoint"].clone();
    assert_eq!(
        of().await,
        (
            "not_ready".to_owned(),
            format!("Stripe sends no events to {url}")
        )
    );
    stripe.send_some_webhooks_to(&url, &["invoice.paid"]);
    let (status, detail) = of().await;
    assert_eq!(status, "not_ready");
    assert!(
        detail.contains(" is not sent checkout.session.completed, "),
        "{detail}"
    );
    assert!(!detail.contains("invoice.paid"), "{detail}");
    let dead = "INSERT INTO stripe_events (id, stripe_id, type, object_id, payload, status, attempts, next_attempt_ms,
            happened_at_ms, received_at_ms) VALUES ('evt_1', 'evt_1', 'invoice.paid', '', '{}', 'dead', 20, 0, 0, 0)";
    let mut tx = world.app.database.begin_write().await.unwrap();
    sqlx::query(dead).execute(&mut *tx).await.unwrap();
    tx.commit().await.unwrap();
    let (status, detail) = look(&world).await.1["webhook_events"].clone();
    assert_eq!(
        (status.as_str(), detail.starts_with("1 given up")),
        ("not_ready", true)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_stripe_does_not_know_and_silence_are_told_apart() {
    let stripe = simulator(Permissions::All);
    let world = open(&stripe, "rk_test_another0000000000000000000").await;
    let (_, checks) = look(&world).await;
    assert_eq!(
        checks["stripe_key"],
        (
            "not_ready".to_owned(),
            "Stripe does not know STRIPE_API_KEY".to_owned()
        )
    );
    assert!(!checks.contains_key("stripe_account"));
    let world = open(&stripe, KEY).await;
    stripe.fault("GET", "/v1/account", RequestTrouble::Late(12_000));
    let (_, checks) = look(&world).await;
    assert_eq!(
        checks["stripe_account"],
        (
            "unknown".to_owned(),
            "Stripe did not answer in 10 s".to_owned()
        )
    );
}
