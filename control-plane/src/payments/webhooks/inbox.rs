//! Takes an event in: checks it, stores it once, and lets the handler know.

use super::{Envelope, Event, EventStatus, handler, signature, store};
use crate::app::App;
use crate::clock::MachineInstant;
use crate::error::{Error, Result};
use crate::ids::StripeEventId;

/// Longest id or type of an event that is stored.
const NAME_MAX_BYTES: usize = 255;

/// Stores an event that `header` proves to be Stripe's; one that is stored already stays as it is.
///
/// # Errors
/// 400 when it is not proven or not meant for this installation.
pub async fn receive(app: &App, header: &str, body: &[u8]) -> Result<()> {
    let now = app.clock.machine_now();
    let stripe = app.stripe()?;
    signature::check(header, body, &app.config.stripe.webhook_secrets, now)?;
    let event = read(body)?;
    if !stripe.mode().fits(event.livemode) {
        let detail = "The event is of Stripe's other mode: live here, test there.";
        return Err(Error::invalid_request("stripe_event_of_other_mode", detail));
    }
    if event.account.is_some() {
        let detail = "The event is of a connected account, and this endpoint of our own.";
        return Err(Error::invalid_request(
            "stripe_event_of_other_account",
            detail,
        ));
    }
    let status = match handler::concerns(&event.kind) {
        true => EventStatus::Pending,
        false => EventStatus::Ignored,
    };
    let payload = std::str::from_utf8(body).map_err(Error::internal)?;
    let stored = Event {
        id: StripeEventId::generate(now),
        object: event.object().to_owned(),
        payload: payload.to_owned(),
        status,
        attempts: 0,
        next_attempt: now,
        failure: None,
        happened_at: MachineInstant::from_unix_ms(event.created.saturating_mul(1_000)),
        received_at: now,
        handled_at: None,
        stripe_id: event.id,
        kind: event.kind,
    };
    let mut tx = app.database.begin_write().await?;
    store::insert(&mut tx, &stored).await?;
    tx.commit().await?;
    app.events.notify_one();
    let delay_seconds = (now.unix_ms() - stored.happened_at.unix_ms()).max(0) as f64 / 1_000.0;
    metrics::histogram!("tollgate_stripe_event_delay_seconds").record(delay_seconds);
    tracing::info!(
        event = stored.stripe_id,
        kind = stored.kind,
        "an event came in"
    );
    Ok(())
}

fn read(body: &[u8]) -> Result<Envelope> {
    let invalid = |detail: String| Error::invalid_request("stripe_event_invalid", detail);
    let event: Envelope =
        serde_json::from_slice(body).map_err(|error| invalid(format!("No event: {error}.")))?;
    let named = |name: &str| (1..=NAME_MAX_BYTES).contains(&name.len());
    if !named(&event.id) || !named(&event.kind) {
        return Err(invalid("The event has no id or no type.".to_owned()));
    }
    Ok(event)
}
