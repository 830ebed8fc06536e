//! The sandbox's clock over HTTP.

use axum::Json;
use axum::extract::State;

use super::{ClockView, MoveDocument, arrived, store, wish};
use crate::app::App;
use crate::config::Environment;
use crate::error::{Error, Result};
use crate::idempotency::{Answer, Post};

/// Shows the sandbox's clock.
#[utoipa::path(get, path = "/v1/sandbox/clock", tag = "sandbox",
    responses((status = 200, description = "The clock.", body = ClockView)))]
pub async fn get_clock(State(app): State<App>) -> Result<Json<ClockView>> {
    only_in_a_sandbox(&app)?;
    let position = store::position(&mut *app.database.read().await?).await?;
    Ok(Json(ClockView {
        now: app.clock.business_now(),
        moving_to: position.target,
    }))
}

/// Moves business time forward, in the environment `sandbox` only.
///
/// It goes from due instant to due instant, and at each waits until everything that is due is done;
/// where that takes too long (60 s) it stays, and the answer is 504. Afterwards the filter knows
/// the new time, too. Machine time never moves.
#[utoipa::path(post, path = "/v1/sandbox/clock", tag = "sandbox", request_body = MoveDocument,
    responses((status = 200, description = "The clock where it was wished.", body = ClockView)))]
pub async fn advance_clock(
    State(app): State<App>,
    Post(document, mut call): Post<MoveDocument>,
) -> Result<Answer> {
    only_in_a_sandbox(&app)?;
    let now = app.clock.business_now();
    let target = document.check(|document, mistakes| document.check(now, mistakes))?;
    wish(&app, &mut call.tx, target).await?;
    let moved = ClockView {
        now: target,
        moving_to: None,
    };
    let answer = call.done(&moved).await?;
    arrived(&app, target).await?;
    Ok(answer)
}

fn only_in_a_sandbox(app: &App) -> Result<()> {
    if app.config.environment == Environment::Sandbox {
        return Ok(());
    }
    let detail = "Time can be moved only where TOLLGATE_ENV is sandbox.";
    Err(Error::forbidden("not_a_sandbox", detail))
}
