//! Webhooks that are not what they seem.

use serde_json::Value;
use tollgate_tests::stripe::cards::GOOD;
use tollgate_tests::stripe::faults::WebhookTrouble;
use tollgate_tests::stripe::webhooks::signature;
use tollgate_tests::wait;

use crate::world::World;

/// The event that a Checkout of somebody was completed, which is true, kept from us.
async fn completed_in_silence(world: &World) -> Value {
    let checkout = world.newcomer().await;
    let opening = world.visit(&checkout).await;
    world.stripe.webhook_fault("*", WebhookTrouble::Dropped, 99);
    world.stripe.enter_card(&opening.page, GOOD).await;
    world.stripe.clear_faults();
    let events = world.stripe.objects("event");
    let event = events
        .into_iter()
        .find(|event| event["type"] == "checkout.session.completed");
    event.unwrap()
}

async fn assert_nobody_subscribed(world: &World) {
    world.wait_until_handled().await;
    let subscriptions = world.control_plane.get("/v1/subscriptions").await;
    assert_eq!(subscriptions["items"], serde_json::json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_webhook_does_nothing_and_the_right_one_does_it_once() {
    let world = World::open().await;
    let event = completed_in_silence(&world).await;
    let (payload, right) = world.stripe.signed(&event);
    let now = event["created"].as_i64().unwrap();
    let secret = world.stripe.webhook_secret();
    for forged in [
        String::new(),
        "t=1".to_owned(),
        signature("whsec_other", now, &payload),
        signature("", now, &payload),
        signature(secret, now - 3_600, &payload),
        signature(secret, now, "{}"),
        right.replace("v1=", "v0="),
    ] {
        let answer = world.deliver(&payload, &forged).await;
        assert_eq!(answer.status, 400, "{forged}: {answer}");
    }
    assert_nobody_subscribed(&world).await;
    for _ in 0..3 {
        let answer = world.deliver(&payload, &right).await;
        assert_eq!(answer.status, 200, "{answer}");
    }
    wait::until("the subscription", async || {
        let subscriptions = world.control_plane.get("/v1/subscriptions").await;
        let found = subscriptions["items"].as_array().map(Vec::len);
        if found == Some(1) {
            Ok(())
        } else {
            Err(subscriptions.to_string())
        }
    })
    .await;
    world.assert_settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_of_the_other_mode_is_refused() {
    let world = World::open().await;
    let mut event = completed_in_silence(&world).await;
    event["livemode"] = true.into();
    event["data"]["object"]["livemode"] = true.into();
    let (payload, signature) = world.stripe.signed(&event);
    let answer = world.deliver(&payload, &signature).await;
    assert_eq!(answer.code(), "stripe_event_of_other_mode", "{answer}");
    assert_nobody_subscribed(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_webhook_proves_nothing_about_an_open_session() {
    let world = World::open().await;
    let checkout = world.newcomer().await;
    world.visit(&checkout).await;
    let mut event = serde_json::json!({"id": "evt_early", "object": "event", "type": "checkout.session.completed", "livemode": false});
    event["created"] = tollgate_tests::stripe::world::now().into();
    event["data"]["object"] = world.stripe.objects("checkout.session")[0].clone();
    event["data"]["object"]["status"] = "complete".into();
    let (payload, signature) = world.stripe.signed(&event);
    assert_eq!(world.deliver(&payload, &signature).await.status, 200);
    assert_nobody_subscribed(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_signed_with_a_wrong_secret_is_refused() {
    let world = World::open().await;
    let checkout = world.newcomer().await;
    let opening = world.visit(&checkout).await;
    world
        .stripe
        .webhook_fault("*", WebhookTrouble::WrongSecret, 99);
    world.stripe.enter_card(&opening.page, GOOD).await;
    let refused = wait::until("webhooks about the card", async || {
        let mut attempts = world.stripe.attempts();
        attempts.retain(|attempt| attempt.kind != "customer.created");
        match attempts.len() {
            3.. => Ok(attempts),
            _ => Err(format!("{attempts:?}")),
        }
    })
    .await;
    assert!(
        refused.iter().all(|attempt| attempt.status == Some(400)),
        "{refused:?}"
    );
    assert_nobody_subscribed(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_that_find_nobody_home_come_again() {
    let mut world = World::open().await;
    let checkout = world.newcomer().await;
    let opening = world.visit(&checkout).await;
    world.control_plane.kill();
    world.stripe.enter_card(&opening.page, GOOD).await;
    world.control_plane.restart().await;
    world.wait_until(&checkout, "completed").await;
    world.assert_settled().await;
}
