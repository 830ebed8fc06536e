//! The first invoice: however it comes to be paid, it is paid once, and access follows it.

use serde_json::{Value, json};
use tollgate_tests::stripe::StripeOptions;
use tollgate_tests::stripe::cards::{ALWAYS_AUTHENTICATES, FAILS_LATER, GOOD};
use tollgate_tests::stripe::faults::{RequestTrouble, WebhookTrouble};
use tollgate_tests::wait;

use crate::world::World;

/// Completes a Checkout with this card.
async fn subscribed(world: &World, card: &str) -> String {
    let checkout = world.newcomer().await;
    let opening = world.visit(&checkout).await;
    world.stripe.enter_card(&opening.page, card).await;
    world.wait_until(&checkout, "completed").await;
    let subscription = world.look(&checkout).await["subscription"].clone();
    subscription.as_str().unwrap().to_owned()
}

async fn access(world: &World, subscription: &str) -> Value {
    let path = format!("/v1/subscriptions/{subscription}/access");
    world.control_plane.get(&path).await
}

async fn wait_for_access(world: &World, subscription: &str, expected: &str) {
    wait::until(expected, async || {
        let access = access(world, subscription).await;
        if access["access"] == expected {
            Ok(())
        } else {
            Err(access.to_string())
        }
    })
    .await;
}

/// The page on which the customer can pay the only invoice.
fn hosted(invoice: &Value) -> &str {
    invoice["hostedInvoiceUrl"].as_str().unwrap()
}

fn theirs(invoice: &Value) -> &str {
    invoice["stripeInvoiceId"].as_str().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn stripe_may_collect_by_itself_before_we_ask() {
    let options = StripeOptions {
        collection_delay_ms: 0,
        ..StripeOptions::default()
    };
    let world = World::with(options, &[]).await;
    world
        .stripe
        .fault("POST", "/v1/invoices/*/pay", RequestTrouble::Late(300));
    subscribed(&world, GOOD).await;
    world.assert_settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_about_an_invoice_may_come_twice_and_in_any_order() {
    let world = World::open().await;
    world
        .stripe
        .webhook_fault("invoice.finalized", WebhookTrouble::Late(700), 1);
    world
        .stripe
        .webhook_fault("invoice.paid", WebhookTrouble::Twice, 1);
    world
        .stripe
        .webhook_fault("invoice.*", WebhookTrouble::Shuffled, 3);
    subscribed(&world, GOOD).await;
    world.assert_settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_invoice_that_fails_opens_access_once_it_is_paid() {
    for card in [FAILS_LATER, ALWAYS_AUTHENTICATES] {
        let world = World::open().await;
        let subscription = subscribed(&world, card).await;
        let invoice = world.invoice_that_is("failed").await;
        let before = access(&world, &subscription).await;
        assert_eq!(before["access"], "payment_required", "{before}");
        let card = if card == FAILS_LATER { GOOD } else { card };
        world.stripe.enter_card(hosted(&invoice), card).await;
        wait_for_access(&world, &subscription, "granted").await;
        world.assert_settled().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_that_no_webhook_tells_of_is_found_by_comparing() {
    let settings = [("TOLLGATE_STRIPE_RECONCILE_SECONDS", "1")];
    let world = World::with(StripeOptions::default(), &settings).await;
    subscribed(&world, FAILS_LATER).await;
    let invoice = world.invoice_that_is("failed").await;
    world.stripe.webhook_fault("*", WebhookTrouble::Dropped, 99);
    world.stripe.enter_card(hosted(&invoice), GOOD).await;
    world.assert_settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_card_pays_when_stripe_tries_again() {
    let world = World::open().await;
    let subscription = subscribed(&world, FAILS_LATER).await;
    let invoice = world.invoice_that_is("failed").await;
    let portal = world
        .control_plane
        .post("/v1/customers/ada/portal-sessions", &json!({}))
        .await;
    let page = portal["url"].as_str().unwrap();
    world.stripe.enter_card(page, GOOD).await;
    world.stripe.retry(theirs(&invoice)).await;
    wait_for_access(&world, &subscription, "granted").await;
    world.assert_settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invoice_that_is_given_up_closes_access_until_it_is_paid_after_all() {
    let world = World::open().await;
    let subscription = subscribed(&world, FAILS_LATER).await;
    let invoice = world.invoice_that_is("failed").await;
    world
        .stripe
        .by_hand(theirs(&invoice), "mark_uncollectible")
        .await;
    world.invoice_that_is("uncollectible").await;
    let closed = access(&world, &subscription).await;
    assert_ne!(closed["access"], "granted", "{closed}");
    world.stripe.enter_card(hosted(&invoice), GOOD).await;
    wait_for_access(&world, &subscription, "granted").await;
    world.assert_settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invoice_that_is_taken_back_pays_for_nothing() {
    let world = World::open().await;
    let subscription = subscribed(&world, FAILS_LATER).await;
    let invoice = world.invoice_that_is("failed").await;
    world.stripe.by_hand(theirs(&invoice), "void").await;
    world.invoice_that_is("void").await;
    let closed = access(&world, &subscription).await;
    assert_eq!(closed["access"], "payment_required", "{closed}");
    assert!(world.stripe.charges().iter().all(|charge| !charge.paid));
    world.assert_healthy();
}
