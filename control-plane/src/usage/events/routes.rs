//! Events over HTTP.

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::document::{CloudEvent, EventsDocument};
use super::take_in;
use crate::app::App;
use crate::error::Result;
use crate::idempotency::{Answer, Post};

/// What became of the events of a request.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct EventsView {
    /// Events that were counted.
    accepted: u64,
    /// Events that had been counted before.
    duplicates: u64,
}

/// Counts usage that does not pass the gateway: a CloudEvent, or an array of them.
///
/// Each counts once by its source and id, in the usage period that it happened in, also when that is
/// over. All of them are counted or, when one cannot be, none.
#[utoipa::path(post, path = "/v1/events", tag = "meters",
    request_body(content(
        (CloudEvent = "application/json"),
        (CloudEvent = "application/cloudevents+json"),
        (Vec<CloudEvent> = "application/cloudevents-batch+json"))),
    responses((status = 200, description = "What became of them.", body = EventsView)))]
pub async fn create_events(
    State(app): State<App>,
    Post(document, mut call): Post<EventsDocument>,
) -> Result<Answer> {
    let now = app.clock.business_now();
    let events = document.check(|document, mistakes| document.check(now, mistakes))?;
    let taken = take_in(&app, &mut call.tx, &events).await?;
    let view = EventsView {
        accepted: taken.accepted,
        duplicates: taken.duplicates,
    };
    call.done(&view).await
}
