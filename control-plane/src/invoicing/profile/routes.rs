//! The billing profile over HTTP.

use axum::Json;
use axum::extract::State;

use super::{BillingProfile, BillingProfileDocument, store};
use crate::app::App;
use crate::error::Result;
use crate::http::document::Unchecked;

/// Shows the billing profile.
#[utoipa::path(get, path = "/v1/billing/profile", tag = "billing",
    responses((status = 200, description = "The billing profile.", body = BillingProfile)))]
pub async fn get_billing_profile(State(app): State<App>) -> Result<Json<BillingProfile>> {
    store::load(&mut *app.database.read().await?)
        .await
        .map(Json)
}

/// Replaces the billing profile. Subscriptions that were made before keep what held then.
#[utoipa::path(put, path = "/v1/billing/profile", tag = "billing",
    request_body = BillingProfileDocument,
    responses((status = 200, description = "The billing profile.", body = BillingProfile)))]
pub async fn update_billing_profile(
    State(app): State<App>,
    document: Unchecked<BillingProfileDocument>,
) -> Result<Json<BillingProfile>> {
    let profile = document.check(BillingProfileDocument::check)?;
    let mut tx = app.database.begin_write().await?;
    store::save(&mut tx, &profile).await?;
    tx.commit().await?;
    Ok(Json(profile))
}
