//! Stripe's events over HTTP: Stripe brings them, operators look after those that failed.

use axum::Json;
use axum::extract::{Path, Request, State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Event, EventStatus, receive, store};
use crate::app::App;
use crate::clock::MachineInstant;
use crate::database::Connection;
use crate::error::{Error, Result};
use crate::http::document::{Nothing, Query};
use crate::http::page::{Page, Slice};
use crate::idempotency::{Answer, Post};
use crate::ids::StripeEventId;

/// Longest event.
const BODY_MAX_BYTES: usize = 512 * 1024;

/// What Stripe is told.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Received {
    received: bool,
}

/// Takes an event from Stripe: proven by its signature, stored, and handled afterwards.
///
/// # Errors
/// When it is not proven, not meant for this installation, or cannot be stored: then it comes again.
pub async fn receive_stripe_event(
    State(app): State<App>,
    request: Request,
) -> Result<Json<Received>> {
    let header = request.headers().get("stripe-signature");
    let header = header
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
        .to_owned();
    let body = axum::body::to_bytes(request.into_body(), BODY_MAX_BYTES)
        .await
        .map_err(|_| Error::body_too_large(BODY_MAX_BYTES))?;
    receive(&app, &header, &body).await?;
    Ok(Json(Received { received: true }))
}

/// An event of Stripe's, without what it holds.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct StripeEventView {
    /// Its id.
    id: StripeEventId,
    /// Stripe's id, `evt_…`.
    stripe_id: String,
    /// Such as `invoice.paid`.
    #[serde(rename = "type")]
    kind: String,
    /// Stripe's id of what it is about.
    object: String,
    /// How far its handling is.
    status: EventStatus,
    /// How often handling it failed.
    attempts: u32,
    /// Why it failed last.
    failure: Option<String>,
    /// When it happened, as Stripe says.
    happened_at: MachineInstant,
    /// When it came.
    received_at: MachineInstant,
    /// When it was handled.
    handled_at: Option<MachineInstant>,
}

impl From<Event> for StripeEventView {
    fn from(event: Event) -> Self {
        Self {
            id: event.id,
            stripe_id: event.stripe_id,
            kind: event.kind,
            object: event.object,
            status: event.status,
            attempts: event.attempts,
            failure: event.failure,
            happened_at: event.happened_at,
            received_at: event.received_at,
            handled_at: event.handled_at,
        }
    }
}

/// The query of the list of Stripe's events.
#[derive(Clone, Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct StripeEventsQuery {
    /// Items on the page, 1 to 200; 50 when left out.
    limit: Option<u32>,
    /// `nextCursor` of the page before.
    cursor: Option<String>,
    /// Only events whose handling is so far: `dead` are those that need a person.
    status: Option<EventStatus>,
}

/// Lists what Stripe told us, the newest first.
#[utoipa::path(get, path = "/v1/stripe-events", tag = "stripe-events", params(StripeEventsQuery),
    responses((status = 200, description = "A page of events.", body = Page<StripeEventView>)))]
pub async fn list_stripe_events(
    State(app): State<App>,
    Query(query): Query<StripeEventsQuery>,
) -> Result<Json<Page<StripeEventView>>> {
    let slice = Slice::new::<StripeEventId>(query.limit, query.cursor.as_deref())?;
    let events = store::list(&mut *app.database.read().await?, &slice, query.status).await?;
    let views = events.into_iter().map(StripeEventView::from).collect();
    Ok(Json(slice.page(views, |event: &StripeEventView| event.id)))
}

/// Shows an event of Stripe's.
#[utoipa::path(get, path = "/v1/stripe-events/{id}", tag = "stripe-events",
    params(("id" = String, Path, description = "Its id, ours or Stripe's.")),
    responses((status = 200, description = "The event.", body = StripeEventView)))]
pub async fn get_stripe_event(
    State(app): State<App>,
    Path(id): Path<String>,
) -> Result<Json<StripeEventView>> {
    let event = required(&mut *app.database.read().await?, &id).await?;
    Ok(Json(event.into()))
}

/// Handles an event of Stripe's again, whatever became of it before.
#[utoipa::path(post, path = "/v1/stripe-events/{id}/replay", tag = "stripe-events",
    request_body = Nothing, params(("id" = String, Path, description = "Its id, ours or Stripe's.")),
    responses((status = 200, description = "The event.", body = StripeEventView)))]
pub async fn replay_stripe_event(
    State(app): State<App>,
    Path(id): Path<String>,
    Post(document, mut call): Post<Nothing>,
) -> Result<Answer> {
    document.check(|nothing, _| Some(nothing))?;
    let event = Event {
        status: EventStatus::Pending,
        attempts: 0,
        next_attempt: app.clock.machine_now(),
        handled_at: None,
        ..required(&mut call.tx, &id).await?
    };
    store::update(&mut call.tx, &event).await?;
    let answer = call.done(&StripeEventView::from(event)).await?;
    app.events.notify_one();
    Ok(answer)
}

async fn required(connection: &mut Connection, id: &str) -> Result<Event> {
    let found = store::find(connection, id).await?;
    found.ok_or_else(|| Error::not_found("stripe_event_not_found", "There is no such event."))
}
