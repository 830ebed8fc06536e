//! Signing webhooks and delivering them at least once.

use std::sync::Arc;
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::faults::WebhookTrouble;
use super::server::Simulator;
use super::world::{Delivery, now};

/// How long an endpoint may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// After a failure it is tried again this much later, then twice as late each time.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// How late at most.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// After so many failures an event is given up.
const ATTEMPTS: u32 = 40;

/// An attempt to deliver an event.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Attempt {
    /// The event's id.
    pub event: String,
    /// Its type.
    pub kind: String,
    /// What the endpoint answered, if it did.
    pub status: Option<u16>,
}

/// The header `Stripe-Signature` for a body that is sent at `seconds` since 1970.
///
/// # Panics
/// Never: a key may have any length.
#[must_use]
pub fn signature(secret: &str, seconds: i64, payload: &str) -> String {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("a key may have any length");
    mac.update(format!("{seconds}.{payload}").as_bytes());
    let hex: String = mac
        .finalize()
        .into_bytes()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("t={seconds},v1={hex}")
}

/// Sends what waits, each event as its fault wants it.
pub fn dispatch(simulator: &Arc<Simulator>) {
    for mut delivery in simulator.take_outgoing() {
        match simulator.webhook_trouble(&delivery.kind) {
            None => send_later(simulator, delivery, 0),
            Some((WebhookTrouble::Late(delay_ms), _)) => send_later(simulator, delivery, delay_ms),
            Some((WebhookTrouble::Twice, _)) => {
                send_later(simulator, delivery.clone(), 0);
                send_later(simulator, delivery, 0);
            }
            Some((WebhookTrouble::Dropped, _)) => {}
            Some((WebhookTrouble::Shuffled, more)) => {
                simulator.hold(delivery);
                if more == 0 {
                    let mut held = simulator.release();
                    held.reverse();
                    send_in_order(simulator, held);
                }
            }
            Some((WebhookTrouble::WrongSecret, _)) => {
                delivery.secret = "whsec_of_somebody_else".to_owned();
                let simulator = Arc::clone(simulator);
                tokio::spawn(async move { attempt(&simulator, &delivery).await });
            }
        }
    }
}

fn send_later(simulator: &Arc<Simulator>, delivery: Delivery, delay_ms: u64) {
    let simulator = Arc::clone(simulator);
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(delay_ms)).await;
        deliver(&simulator, &delivery).await;
    });
}

fn send_in_order(simulator: &Arc<Simulator>, deliveries: Vec<Delivery>) {
    let simulator = Arc::clone(simulator);
    tokio::spawn(async move {
        for delivery in deliveries {
            deliver(&simulator, &delivery).await;
        }
    });
}

async fn deliver(simulator: &Simulator, delivery: &Delivery) {
    let mut pause = FIRST_PAUSE;
    for _ in 0..ATTEMPTS {
        if attempt(simulator, delivery)
            .await
            .is_some_and(|status| (200..300).contains(&status))
        {
            return;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

async fn attempt(simulator: &Simulator, delivery: &Delivery) -> Option<u16> {
    let status = post(simulator.client(), delivery).await;
    simulator.note(Attempt {
        event: delivery.event.clone(),
        kind: delivery.kind.clone(),
        status,
    });
    status
}

async fn post(client: &reqwest::Client, delivery: &Delivery) -> Option<u16> {
    let request = client
        .post(&delivery.url)
        .timeout(PATIENCE)
        .header("content-type", "application/json; charset=utf-8")
        .header("user-agent", "Stripe/1.0 (simulator)")
        .header(
            "stripe-signature",
            signature(&delivery.secret, now(), &delivery.payload),
        )
        .body(delivery.payload.clone());
    Some(request.send().await.ok()?.status().as_u16())
}
