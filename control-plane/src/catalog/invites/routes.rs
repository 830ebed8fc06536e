//! Invites over HTTP.

use axum::Json;
use axum::extract::{Path, State};
use serde::Deserialize;

use super::{PlanInvite, PlanInviteDocument, store};
use crate::app::App;
use crate::catalog::plans;
use crate::database::Connection;
use crate::error::{Error, Result};
use crate::http::document::{Mistakes, Nothing, Place, Query};
use crate::http::page::{Page, Slice};
use crate::idempotency::{Answer, Post};
use crate::ids::PlanInviteId;

/// The query of the list of invites.
#[derive(Clone, Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PlanInvitesQuery {
    /// Items on the page, 1 to 200; 50 when left out.
    limit: Option<u32>,
    /// `nextCursor` of the page before.
    cursor: Option<String>,
    /// Only invites to the plan with this key.
    plan: Option<String>,
    /// Only invites of this e-mail address.
    email: Option<String>,
}

/// Invites an e-mail address to a private plan: whose it is may subscribe to it.
#[utoipa::path(post, path = "/v1/plan-invites", tag = "plans", request_body = PlanInviteDocument,
    responses((status = 201, description = "The invite.", body = PlanInvite)))]
pub async fn create_plan_invite(
    State(app): State<App>,
    Post(document, mut call): Post<PlanInviteDocument>,
) -> Result<Answer> {
    let invite = document.check(|document, mistakes| document.check(&app.clock, mistakes))?;
    let plan = [invite.plan.clone()];
    if !plans::unknown_keys(&mut call.tx, &plan).await?.is_empty() {
        let mut mistakes = Mistakes::default();
        let detail = "there is no such plan";
        mistakes.add(&Place::root().field("plan"), "plan_not_found", detail);
        mistakes.finish()?;
    }
    store::insert(&mut call.tx, &invite).await?;
    call.created(&invite).await
}

/// Lists invites, the newest first, revoked ones included.
#[utoipa::path(get, path = "/v1/plan-invites", tag = "plans", params(PlanInvitesQuery),
    responses((status = 200, description = "A page of invites.", body = Page<PlanInvite>)))]
pub async fn list_plan_invites(
    State(app): State<App>,
    Query(query): Query<PlanInvitesQuery>,
) -> Result<Json<Page<PlanInvite>>> {
    let slice = Slice::new::<PlanInviteId>(query.limit, query.cursor.as_deref())?;
    let plan = query.plan.unwrap_or_default();
    let email = query.email.unwrap_or_default().to_lowercase();
    let mut reader = app.database.read().await?;
    let invites = store::list(&mut reader, &slice, &plan, &email).await?;
    Ok(Json(slice.page(invites, |invite| invite.id)))
}

/// Shows an invite.
#[utoipa::path(get, path = "/v1/plan-invites/{invite}", tag = "plans",
    params(("invite" = PlanInviteId, Path, description = "The invite.")),
    responses((status = 200, description = "The invite.", body = PlanInvite)))]
pub async fn get_plan_invite(
    State(app): State<App>,
    Path(invite): Path<String>,
) -> Result<Json<PlanInvite>> {
    required(&mut *app.database.read().await?, &invite)
        .await
        .map(Json)
}

/// Revokes an invite: nobody subscribes by it any more, subscriptions go on.
#[utoipa::path(post, path = "/v1/plan-invites/{invite}/revoke", tag = "plans",
    params(("invite" = PlanInviteId, Path, description = "The invite.")), request_body = Nothing,
    responses((status = 200, description = "The invite.", body = PlanInvite)))]
pub async fn revoke_plan_invite(
    State(app): State<App>,
    Path(invite): Path<String>,
    Post(document, mut call): Post<Nothing>,
) -> Result<Answer> {
    document.check(|nothing, _| Some(nothing))?;
    let invite = required(&mut call.tx, &invite).await?;
    let revoked_at = invite
        .revoked_at
        .unwrap_or_else(|| app.clock.business_now());
    store::revoke(&mut call.tx, invite.id, revoked_at).await?;
    call.done(&PlanInvite {
        revoked_at: Some(revoked_at),
        ..invite
    })
    .await
}

async fn required(connection: &mut Connection, id: &str) -> Result<PlanInvite> {
    let missing = || Error::not_found("plan_invite_not_found", "There is no such invite.");
    let id = id.parse().map_err(|_| missing())?;
    store::find(connection, id).await?.ok_or_else(missing)
}
