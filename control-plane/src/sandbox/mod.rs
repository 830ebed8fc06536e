//! The sandbox's clock: business time that can be moved, so that nothing has to wait for it to pass.
//!
//! A wish to move is written down; one replica carries it out, from due instant to due instant, and
//! goes on only when everything that was due is done, so that a year in a minute ends as a year
//! would. Machine time never moves.

mod agenda;
mod mover;
pub mod routes;
mod store;

use std::time::Duration;

use anyhow::ensure;
use jiff::Span;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use tokio::time::sleep;
use tollgate_engine::limits::READING_MAX_AGE_MS;
use utoipa::ToSchema;

pub use mover::Mover;

use crate::app::{App, Shutdown};
use crate::clock::{BusinessInstant, MachineInstant};
use crate::config::Environment;
use crate::database::{Connection, Failure, Write};
use crate::error::{Error, Result};
use crate::http::document::{Document, Mistakes, Place};

/// The route of the clock: a move may take longer than other requests, and ends by itself.
pub const CLOCK_PATH: &str = "/v1/sandbox/clock";

/// How often to look whether what was due is done.
const POLL: Duration = Duration::from_millis(20);
/// How often a process looks whether another one has moved the clock.
const FOLLOW: Duration = Duration::from_millis(100);
/// After so long what the filter has counted is in Redis, with its default settings:
/// `maxUnsettledMs` and twice `flushIntervalMs`.
const SETTLED_AFTER: Duration = Duration::from_millis(2_500);
/// After so long every worker has read the store's time again.
const KNOWN_AFTER: Duration = Duration::from_millis(READING_MAX_AGE_MS);
/// Farthest move.
const YEARS_MAX: Duration = Duration::from_secs(10 * 366 * 86_400);

/// Where the clock stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Business time minus machine time, in ms.
    pub lead_ms: i64,
    /// Where it is going, if it is.
    pub target: Option<BusinessInstant>,
    /// When it was last moved, or is to begin: the ledger is up to date after a drain that began later.
    pub stepped: MachineInstant,
}

/// The sandbox's clock, as it is shown.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClockView {
    /// Business time: of periods, phases, grace and expiry.
    pub now: BusinessInstant,
    /// Where it is going, while it is being moved.
    pub moving_to: Option<BusinessInstant>,
}

/// What to send to move business time: one of both.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MoveDocument {
    /// How far, as an ISO 8601 duration.
    #[schema(examples("P1M"))]
    advance: Option<String>,
    /// Where to, as an instant to come.
    to: Option<BusinessInstant>,
}

impl Document for MoveDocument {}

impl MoveDocument {
    /// Where business time is to go: forward, and ten years at most.
    fn check(self, now: BusinessInstant, mistakes: &mut Mistakes) -> Option<BusinessInstant> {
        let root = Place::root();
        let (place, target) = match (self.advance, self.to) {
            (Some(text), None) => (root.field("advance"), advanced(now, &text)),
            (None, Some(to)) => (root.field("to"), Some(to)),
            (Some(_), Some(_)) | (None, None) => {
                let detail = "either advance or to says where business time goes";
                mistakes.add(&root, "invalid_move", detail);
                return None;
            }
        };
        let target = target.filter(|target| (now..=now.after(YEARS_MAX)).contains(target));
        if target.is_none() {
            let detail = "is no way forward of up to ten years, such as P1M or an instant to come";
            mistakes.add(&place, "invalid_move", detail);
        }
        target
    }
}

/// The instant an ISO 8601 duration after `now`, by the calendar.
fn advanced(now: BusinessInstant, text: &str) -> Option<BusinessInstant> {
    let span = text.parse::<Span>().ok().filter(|_| text.starts_with('P'));
    let start = now.timestamp().to_zoned(TimeZone::UTC);
    let end = start.checked_add(span?).ok()?;
    Some(end.timestamp().into())
}

/// How far business time was moved, in ms.
///
/// # Errors
/// When the database refuses.
pub async fn lead_ms(connection: &mut Connection) -> Result<i64, Failure> {
    Ok(store::position(connection).await?.lead_ms)
}

/// Writes down that business time is to go to `target`.
///
/// A move that nobody has carried on for long is over.
async fn wish(app: &App, tx: &mut Write, target: BusinessInstant) -> Result<()> {
    let now = app.clock.machine_now();
    let position = store::position(tx).await?;
    if position.target.is_some() && now < position.stepped.after(app.config.sandbox.step_timeout())
    {
        let detail = "The clock is being moved.";
        return Err(Error::conflict("clock_moving", detail));
    }
    let wished = Position {
        target: Some(target),
        stepped: now.after(SETTLED_AFTER),
        ..position
    };
    Ok(store::set_position(tx, wished).await?)
}

/// Waits until business time has come to `target`, for this process and for every worker.
///
/// Where what is due at one instant is not done in time, the clock stays there.
async fn arrived(app: &App, target: BusinessInstant) -> Result<()> {
    loop {
        let position = store::position(&mut *app.database.read().await?).await?;
        if position.target != Some(target) {
            app.clock.advance_to_lead_ms(position.lead_ms);
            sleep(KNOWN_AFTER).await;
            return Ok(());
        }
        if position.stepped.after(app.config.sandbox.step_timeout()) < app.clock.machine_now() {
            give_up(app, position).await?;
        }
        sleep(POLL).await;
    }
}

/// Leaves the clock where it is and says what it waits for, unless it has gone on meanwhile.
async fn give_up(app: &App, position: Position) -> Result<()> {
    let mut tx = app.database.begin_write().await?;
    if store::position(&mut tx).await? != position {
        return Ok(());
    }
    let agenda = agenda::read(app, &mut tx, position).await?;
    let stopped = Position {
        target: None,
        ..position
    };
    store::set_position(&mut tx, stopped).await?;
    tx.commit().await?;
    let now = app.clock.business_now();
    let waits = match agenda.pending.is_empty() {
        true => "the job that moves it, which no process does".to_owned(),
        false => agenda.pending.join(", "),
    };
    let detail = format!("The clock stays at {now}: this is still to be done: {waits}.");
    Err(Error::late("clock_stopped", detail))
}

/// Sets the clock of a process that starts.
///
/// # Errors
/// When the database was a sandbox with another time, and is none any more: what happened there is yet to come.
pub async fn begin(app: &App) -> anyhow::Result<()> {
    let lead_ms = lead_ms(&mut *app.database.read().await?).await?;
    if app.config.environment == Environment::Sandbox {
        app.clock.advance_to_lead_ms(lead_ms);
        return Ok(());
    }
    ensure!(
        lead_ms == 0,
        "this database is of a sandbox whose time was moved: TOLLGATE_ENV must be sandbox"
    );
    Ok(())
}

/// Follows what other processes do to the clock.
pub async fn follow(app: App, mut shutdown: Shutdown) {
    while !shutdown.is_requested() {
        match app.database.read().await {
            Ok(mut reader) => match lead_ms(&mut reader).await {
                Ok(lead_ms) => app.clock.advance_to_lead_ms(lead_ms),
                Err(error) => tracing::warn!(%error, "cannot read the sandbox's clock"),
            },
            Err(error) => tracing::warn!(%error, "cannot read the sandbox's clock"),
        }
        tokio::select! {
            () = shutdown.requested() => {}
            () = sleep(FOLLOW) => {}
        }
    }
}
