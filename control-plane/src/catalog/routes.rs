//! Meters and features over HTTP.

use axum::Json;
use axum::extract::{Path, State};

use super::{Feature, FeatureDocument, Meter, MeterDocument, required_meter, store};
use crate::app::App;
use crate::error::{Error, Result};
use crate::http::document::{Nothing, Query};
use crate::http::page::{Page, PageQuery};
use crate::idempotency::{Answer, Post};
use crate::ids::{FeatureId, MeterId};

/// Makes a meter; its slug is taken for good.
#[utoipa::path(post, path = "/v1/meters", tag = "meters", request_body = MeterDocument,
    responses((status = 201, description = "The meter.", body = Meter)))]
pub async fn create_meter(
    State(app): State<App>,
    Post(document, mut call): Post<MeterDocument>,
) -> Result<Answer> {
    let meter = document.check(|document, mistakes| document.check(&app.clock, mistakes))?;
    store::insert_meter(&mut call.tx, &meter).await?;
    call.created(&meter).await
}

/// Lists meters, the newest first, archived ones included.
#[utoipa::path(get, path = "/v1/meters", tag = "meters", params(PageQuery),
    responses((status = 200, description = "A page of meters.", body = Page<Meter>)))]
pub async fn list_meters(
    State(app): State<App>,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<Meter>>> {
    let slice = query.slice::<MeterId>()?;
    let meters = store::list_meters(&mut *app.database.read().await?, &slice).await?;
    Ok(Json(slice.page(meters, |meter| meter.id)))
}

/// Shows a meter.
#[utoipa::path(get, path = "/v1/meters/{meter}", tag = "meters",
    params(("meter" = String, Path, description = "Its id or slug.")),
    responses((status = 200, description = "The meter.", body = Meter)))]
pub async fn get_meter(State(app): State<App>, Path(meter): Path<String>) -> Result<Json<Meter>> {
    required_meter(&mut *app.database.read().await?, &meter)
        .await
        .map(Json)
}

/// Archives a meter that no feature uses any more; what it counted stays.
#[utoipa::path(post, path = "/v1/meters/{meter}/archive", tag = "meters", request_body = Nothing,
    params(("meter" = String, Path, description = "Its id or slug.")),
    responses((status = 200, description = "The meter.", body = Meter)))]
pub async fn archive_meter(
    State(app): State<App>,
    Path(meter): Path<String>,
    Post(document, mut call): Post<Nothing>,
) -> Result<Answer> {
    document.check(|nothing, _| Some(nothing))?;
    let meter = required_meter(&mut call.tx, &meter).await?;
    if store::is_meter_used(&mut call.tx, &meter.slug).await? {
        let detail = "A feature uses this meter. Archive the feature first.";
        return Err(Error::conflict("meter_in_use", detail));
    }
    let archived_at = meter
        .archived_at
        .unwrap_or_else(|| app.clock.business_now());
    store::archive_meter(&mut call.tx, meter.id, archived_at).await?;
    call.done(&Meter {
        archived_at: Some(archived_at),
        ..meter
    })
    .await
}

/// Makes a feature; it cannot be changed, only archived.
///
/// A metered feature's key is its meter's slug: otherwise its usage would be lost in silence.
#[utoipa::path(post, path = "/v1/features", tag = "features", request_body = FeatureDocument,
    responses((status = 201, description = "The feature.", body = Feature)))]
pub async fn create_feature(
    State(app): State<App>,
    Post(document, mut call): Post<FeatureDocument>,
) -> Result<Answer> {
    let meters = store::all_meters(&mut call.tx).await?;
    let feature =
        document.check(|document, mistakes| document.check(&app.clock, &meters, mistakes))?;
    store::insert_feature(&mut call.tx, &feature).await?;
    call.created(&feature).await
}

/// Lists features, the newest first, archived ones included.
#[utoipa::path(get, path = "/v1/features", tag = "features", params(PageQuery),
    responses((status = 200, description = "A page of features.", body = Page<Feature>)))]
pub async fn list_features(
    State(app): State<App>,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<Feature>>> {
    let slice = query.slice::<FeatureId>()?;
    let features = store::list_features(&mut *app.database.read().await?, &slice).await?;
    Ok(Json(slice.page(features, |feature| feature.id)))
}

/// Shows a feature.
#[utoipa::path(get, path = "/v1/features/{feature}", tag = "features",
    params(("feature" = String, Path, description = "Its id or key.")),
    responses((status = 200, description = "The feature.", body = Feature)))]
pub async fn get_feature(
    State(app): State<App>,
    Path(feature): Path<String>,
) -> Result<Json<Feature>> {
    let found = store::find_feature(&mut *app.database.read().await?, &feature).await?;
    found.map(Json).ok_or_else(no_feature)
}

/// Archives a feature: plans that have it keep it, no other plan may use it.
#[utoipa::path(post, path = "/v1/features/{feature}/archive", tag = "features",
    params(("feature" = String, Path, description = "Its id or key.")), request_body = Nothing,
    responses((status = 200, description = "The feature.", body = Feature)))]
pub async fn archive_feature(
    State(app): State<App>,
    Path(feature): Path<String>,
    Post(document, mut call): Post<Nothing>,
) -> Result<Answer> {
    document.check(|nothing, _| Some(nothing))?;
    let feature = store::find_feature(&mut call.tx, &feature)
        .await?
        .ok_or_else(no_feature)?;
    let archived_at = feature
        .archived_at
        .unwrap_or_else(|| app.clock.business_now());
    store::archive_feature(&mut call.tx, feature.id, archived_at).await?;
    call.done(&Feature {
        archived_at: Some(archived_at),
        ..feature
    })
    .await
}

fn no_feature() -> Error {
    Error::not_found("feature_not_found", "There is no such feature.")
}
