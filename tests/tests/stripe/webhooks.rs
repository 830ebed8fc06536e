//! Webhooks: signed, repeated until they are taken, and troubled on demand.

use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use serde_json::Value;
use tollgate_tests::stripe::StripeSimulator;
use tollgate_tests::stripe::cards::FAILS_LATER;
use tollgate_tests::stripe::faults::WebhookTrouble;
use tollgate_tests::stripe::webhooks::signature;
use tollgate_tests::wait;

use crate::world::{World, id};

/// An endpoint that takes what comes, unless it is told to refuse.
#[derive(Clone, Default)]
struct Endpoint {
    seen: Arc<Mutex<Vec<(String, String)>>>,
    refuses: Arc<Mutex<u32>>,
}

impl Endpoint {
    async fn start(stripe: &StripeSimulator) -> Self {
        let endpoint = Self::default();
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await;
        let listener = listener.expect("a loopback port is free");
        let address = listener.local_addr().expect("it has an address");
        let router = Router::new().fallback(take).with_state(endpoint.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        stripe.send_webhooks_to(&format!("http://{address}/webhooks"));
        endpoint
    }

    fn kinds(&self) -> Vec<String> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let kind = |body: &String| {
            let event: Value = serde_json::from_str(body).expect("it is JSON");
            event["type"].as_str().unwrap_or_default().to_owned()
        };
        seen.iter().map(|(body, _)| kind(body)).collect()
    }

    async fn wait_for(&self, count: usize) -> Vec<String> {
        wait::until("webhooks", async || {
            let kinds = self.kinds();
            if kinds.len() >= count {
                Ok(kinds)
            } else {
                Err(format!("{kinds:?}"))
            }
        })
        .await
    }
}

async fn take(State(endpoint): State<Endpoint>, headers: HeaderMap, body: String) -> StatusCode {
    let signature = headers.get("stripe-signature");
    let signature = signature.and_then(|value| value.to_str().ok());
    let mut refuses = endpoint
        .refuses
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    if *refuses > 0 {
        *refuses -= 1;
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    let mut seen = endpoint.seen.lock().unwrap_or_else(PoisonError::into_inner);
    seen.push((body, signature.unwrap_or_default().to_owned()));
    StatusCode::OK
}

#[tokio::test]
async fn webhooks_are_signed_over_time_and_body() {
    let world = World::new();
    let endpoint = Endpoint::start(&world.stripe).await;
    world.customer().await;
    endpoint.wait_for(1).await;
    let seen = endpoint.seen.lock().expect("nobody panicked");
    let (body, header) = &seen[0];
    let time = header
        .strip_prefix("t=")
        .and_then(|rest| rest.split_once(','));
    let seconds = time.expect("it has a time").0.parse().expect("a number");
    assert_eq!(
        *header,
        signature(world.stripe.webhook_secret(), seconds, body)
    );
    assert_ne!(*header, signature("whsec_other", seconds, body));
    let event: Value = serde_json::from_str(body).expect("it is JSON");
    assert_eq!(event["livemode"], false);
    assert_eq!(event["data"]["object"]["email"], "ada@example.com");
}

#[test]
fn the_signature_is_the_documented_one() {
    // Made with `printf '1.{}' | openssl dgst -sha256 -hmac whsec_test`.
    let expected = "t=1,v1=7500d5d4be4b3ef07af1fe56f7d522d135cdaa7530de557e67cc1049c52de094";
    assert_eq!(signature("whsec_test", 1, "{}"), expected);
}

#[tokio::test]
async fn a_refused_webhook_comes_again() {
    let world = World::new();
    let endpoint = Endpoint::start(&world.stripe).await;
    *endpoint.refuses.lock().expect("nobody panicked") = 2;
    world.customer().await;
    assert_eq!(endpoint.wait_for(1).await, ["customer.created"]);
    let statuses: Vec<_> = world.stripe.attempts();
    let statuses: Vec<_> = statuses.iter().map(|attempt| attempt.status).collect();
    assert_eq!(&statuses[..2], [Some(503), Some(503)]);
}

#[tokio::test]
async fn an_event_can_be_sent_again_and_an_invoice_collected_again() {
    let world = World::new();
    let customer = world.customer_with(FAILS_LATER).await;
    let invoice = world.open_invoice(&customer).await;
    let endpoint = Endpoint::start(&world.stripe).await;
    for _ in 0..2 {
        world.stripe.retry(&invoice).await;
    }
    assert_eq!(world.stripe.charges().len(), 2);
    assert_eq!(world.invoice(&invoice).await["attempt_count"], 2);
    assert_eq!(endpoint.wait_for(4).await.len(), 4);
    let event = world.stripe.objects("event").pop().map(|event| id(&event));
    world
        .stripe
        .send_again(&event.expect("there are events"))
        .await;
    assert_eq!(endpoint.wait_for(5).await[4], "invoice.payment_failed");
}

#[tokio::test]
async fn webhooks_come_twice_shuffled_late_or_not_at_all() {
    let world = World::new();
    let customer = world.paying_customer().await;
    let endpoint = Endpoint::start(&world.stripe).await;
    world
        .stripe
        .webhook_fault("invoice.created", WebhookTrouble::Twice, 1);
    world
        .stripe
        .webhook_fault("invoice.updated", WebhookTrouble::Dropped, 9);
    let invoice = world.draft(&customer).await;
    endpoint.wait_for(2).await;
    world
        .stripe
        .webhook_fault("invoice.*", WebhookTrouble::Shuffled, 3);
    let path = |step: &str| format!("/v1/invoices/{invoice}/{step}");
    world.made(&path("finalize"), "").await;
    world.made(&path("pay"), "").await;
    let mut kinds = endpoint.wait_for(6).await.split_off(2);
    kinds.retain(|kind| kind != "invoice_payment.paid");
    let expected = [
        "invoice.payment_succeeded",
        "invoice.paid",
        "invoice.finalized",
    ];
    assert_eq!(kinds, expected);
    world
        .stripe
        .webhook_fault("customer.created", WebhookTrouble::Late(300), 1);
    world
        .stripe
        .webhook_fault("customer.created", WebhookTrouble::WrongSecret, 1);
    world.customer().await;
    world.customer().await;
    assert_eq!(endpoint.wait_for(8).await[6..], ["customer.created"; 2]);
}
