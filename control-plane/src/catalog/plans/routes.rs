//! Plans over HTTP.

use axum::Json;
use axum::extract::{Path, State};
use serde::Deserialize;

use super::rules::{self, Features, Purpose};
use super::{PlanDocument, PlanKey, PlanStatus, PlanVersion, store};
use crate::app::App;
use crate::catalog::store::all_features;
use crate::database::{Connection, Write};
use crate::error::{Error, Result};
use crate::http::document::{Mistakes, Nothing, Place, Query, Unchecked};
use crate::http::page::{Page, PageQuery, Slice};
use crate::idempotency::{Answer, Post};
use crate::ids::PlanId;

/// The query of the list of plans.
#[derive(Clone, Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PlansQuery {
    /// Items on the page, 1 to 200; 50 when left out.
    limit: Option<u32>,
    /// `nextCursor` of the page before.
    cursor: Option<String>,
    /// Only versions of this plan.
    key: Option<String>,
    /// Only versions with this status.
    status: Option<PlanStatus>,
}

/// Makes a plan: the draft of its first version.
#[utoipa::path(post, path = "/v1/plans", tag = "plans", request_body = PlanDocument,
    responses((status = 201, description = "The draft.", body = PlanVersion)))]
pub async fn create_plan(
    State(app): State<App>,
    Post(document, mut call): Post<PlanDocument>,
) -> Result<Answer> {
    let features = Features::new(all_features(&mut call.tx).await?);
    let document = check_draft(document, &features, None)?;
    if store::newest_version(&mut call.tx, &document.key)
        .await?
        .is_some()
    {
        let detail = format!("There is a plan {} already: edit it.", document.key);
        return Err(Error::conflict("plan_key_taken", detail));
    }
    let plan = insert_draft(&app, &mut call.tx, document, 1).await?;
    call.created(&plan).await
}

/// Lists versions of plans, the newest first.
#[utoipa::path(get, path = "/v1/plans", tag = "plans", params(PlansQuery),
    responses((status = 200, description = "A page of versions.", body = Page<PlanVersion>)))]
pub async fn list_plans(
    State(app): State<App>,
    Query(query): Query<PlansQuery>,
) -> Result<Json<Page<PlanVersion>>> {
    let slice = Slice::new::<PlanId>(query.limit, query.cursor.as_deref())?;
    let key = query.key.unwrap_or_default();
    let status = query.status.map_or("", PlanStatus::name);
    let plans = store::list(&mut *app.database.read().await?, &slice, &key, status).await?;
    Ok(Json(slice.page(plans, |plan| plan.id)))
}

/// Shows a version by its id, or by a plan's key the version that is sold, else the newest.
#[utoipa::path(get, path = "/v1/plans/{plan}", tag = "plans",
    params(("plan" = String, Path, description = "A version's id, or a plan's key.")),
    responses((status = 200, description = "The version.", body = PlanVersion)))]
pub async fn get_plan(
    State(app): State<App>,
    Path(plan): Path<String>,
) -> Result<Json<PlanVersion>> {
    resolve(&mut *app.database.read().await?, &plan)
        .await
        .map(Json)
}

/// Lists the versions of a plan, the newest first.
#[utoipa::path(get, path = "/v1/plans/{plan}/versions", tag = "plans",
    params(("plan" = String, Path, description = "A version's id, or a plan's key."), PageQuery),
    responses((status = 200, description = "A page of versions.", body = Page<PlanVersion>)))]
pub async fn list_plan_versions(
    State(app): State<App>,
    Path(plan): Path<String>,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<PlanVersion>>> {
    let slice = query.slice::<PlanId>()?;
    let mut reader = app.database.read().await?;
    let key = resolve(&mut reader, &plan).await?.document.key;
    let plans = store::list(&mut reader, &slice, &key, "").await?;
    Ok(Json(slice.page(plans, |plan| plan.id)))
}

/// Edits a plan: a draft becomes the document, any other version gets a new draft after it.
///
/// Key and currency stay as they are. A plan has one draft at a time.
#[utoipa::path(put, path = "/v1/plans/{plan}", tag = "plans", request_body = PlanDocument,
    params(("plan" = PlanId, Path, description = "A version's id.")),
    responses((status = 200, description = "The draft.", body = PlanVersion)))]
pub async fn update_plan(
    State(app): State<App>,
    Path(plan): Path<String>,
    document: Unchecked<PlanDocument>,
) -> Result<Json<PlanVersion>> {
    let mut tx = app.database.begin_write().await?;
    let current = find(&mut tx, &plan).await?;
    let features = Features::new(all_features(&mut tx).await?);
    let document = check_draft(document, &features, Some(&current))?;
    let plan = match current.status {
        PlanStatus::Draft => {
            let updated_at = app.clock.business_now();
            let plan = PlanVersion {
                document,
                updated_at,
                ..current
            };
            store::update(&mut tx, &plan).await?;
            plan
        }
        PlanStatus::Active | PlanStatus::Archived => new_draft(&app, &mut tx, document).await?,
    };
    tx.commit().await?;
    Ok(Json(plan))
}

/// Publishes a draft: from then on it is sold and never changes, and the version sold before is
/// archived. Every mistake is told at once.
#[utoipa::path(post, path = "/v1/plans/{plan}/publish", tag = "plans", request_body = Nothing,
    params(("plan" = String, Path, description = "The draft's id, or the plan's key.")),
    responses((status = 200, description = "The active version.", body = PlanVersion)))]
pub async fn publish_plan(
    State(app): State<App>,
    Path(plan): Path<String>,
    Post(document, mut call): Post<Nothing>,
) -> Result<Answer> {
    document.check(|nothing, _| Some(nothing))?;
    let draft = find_in(&mut call.tx, &plan, PlanStatus::Draft).await?;
    let features = Features::new(all_features(&mut call.tx).await?);
    let mut mistakes = Mistakes::default();
    let plan = rules::check(&draft.document, &features, Purpose::Publish, &mut mistakes);
    mistakes.finish()?;
    let key = plan.map(|plan| plan.key).ok_or_else(no_plan)?;
    if let Some(sold) = store::find_active(&mut call.tx, &key).await? {
        store::update(&mut call.tx, &archived(&app, sold)).await?;
    }
    let published_at = Some(app.clock.business_now());
    let plan = PlanVersion {
        status: PlanStatus::Active,
        published_at,
        ..draft
    };
    store::update(&mut call.tx, &plan).await?;
    call.done(&plan).await
}

/// Archives the version that is sold: nobody can subscribe to it any more, subscriptions go on.
#[utoipa::path(post, path = "/v1/plans/{plan}/archive", tag = "plans", request_body = Nothing,
    params(("plan" = String, Path, description = "The active version's id, or the plan's key.")),
    responses((status = 200, description = "The archived version.", body = PlanVersion)))]
pub async fn archive_plan(
    State(app): State<App>,
    Path(plan): Path<String>,
    Post(document, mut call): Post<Nothing>,
) -> Result<Answer> {
    document.check(|nothing, _| Some(nothing))?;
    let plan = find_in(&mut call.tx, &plan, PlanStatus::Active).await?;
    let plan = archived(&app, plan);
    store::update(&mut call.tx, &plan).await?;
    call.done(&plan).await
}

/// The document, if it may be kept as a draft after `before`.
fn check_draft(
    document: Unchecked<PlanDocument>,
    features: &Features,
    before: Option<&PlanVersion>,
) -> Result<PlanDocument> {
    document.check(|document, mistakes| {
        let fixed = before.into_iter().flat_map(|before| {
            let before = &before.document;
            [
                ("key", "plan_key_fixed", document.key == before.key),
                (
                    "currency",
                    "plan_currency_fixed",
                    document.currency == before.currency,
                ),
            ]
        });
        for (field, code, same) in fixed {
            if !same {
                let detail = format!("{field} is the same in all versions of a plan");
                mistakes.add(&Place::root().field(field), code, detail);
            }
        }
        rules::check(&document, features, Purpose::Draft, mistakes);
        Some(document)
    })
}

/// The next version of a plan that has no draft.
async fn new_draft(app: &App, tx: &mut Write, document: PlanDocument) -> Result<PlanVersion> {
    let key: PlanKey = document.key.parse().map_err(Error::internal)?;
    if let Some(draft) = store::find_draft(tx, &key).await? {
        let detail = format!("The plan has a draft already: {}.", draft.id);
        return Err(Error::conflict("plan_draft_exists", detail));
    }
    let newest = store::newest_version(tx, key.as_str()).await?.unwrap_or(0);
    insert_draft(app, tx, document, newest + 1).await
}

async fn insert_draft(
    app: &App,
    tx: &mut Write,
    document: PlanDocument,
    version: u32,
) -> Result<PlanVersion> {
    let now = app.clock.business_now();
    let plan = PlanVersion {
        id: PlanId::generate(app.clock.machine_now()),
        version,
        status: PlanStatus::Draft,
        document,
        created_at: now,
        updated_at: now,
        published_at: None,
        archived_at: None,
    };
    store::insert(tx, &plan).await?;
    Ok(plan)
}

fn archived(app: &App, plan: PlanVersion) -> PlanVersion {
    let archived_at = Some(app.clock.business_now());
    PlanVersion {
        status: PlanStatus::Archived,
        archived_at,
        ..plan
    }
}

/// The version by its id if it has this status, or by the plan's key the one that has.
async fn find_in(
    connection: &mut Connection,
    id_or_key: &str,
    status: PlanStatus,
) -> Result<PlanVersion> {
    if let Ok(key) = id_or_key.parse::<PlanKey>()
        && let Some(plan) = store::with_status(connection, &key, status).await?
    {
        return Ok(plan);
    }
    let plan = resolve(connection, id_or_key).await?;
    if plan.status == status {
        return Ok(plan);
    }
    let (is, needed) = (plan.status.name(), status.name());
    let detail = format!("This version is {is}; only an {needed} one can be.");
    Err(Error::conflict("plan_invalid_status", detail))
}

async fn find(connection: &mut Connection, id: &str) -> Result<PlanVersion> {
    let id = id.parse().map_err(|_| no_plan())?;
    store::find(connection, id).await?.ok_or_else(no_plan)
}

async fn resolve(connection: &mut Connection, id_or_key: &str) -> Result<PlanVersion> {
    if let Ok(id) = id_or_key.parse() {
        return store::find(connection, id).await?.ok_or_else(no_plan);
    }
    let key: PlanKey = id_or_key.parse().map_err(|_| no_plan())?;
    if let Some(sold) = store::find_active(connection, &key).await? {
        return Ok(sold);
    }
    let newest = store::newest_version(connection, key.as_str())
        .await?
        .ok_or_else(no_plan)?;
    store::find_version(connection, &key, newest)
        .await?
        .ok_or_else(no_plan)
}

fn no_plan() -> Error {
    Error::not_found("plan_not_found", "There is no such plan.")
}
