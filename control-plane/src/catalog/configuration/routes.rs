//! The configuration over HTTP.

use axum::Json;
use axum::extract::State;

use super::{Configuration, ConfigurationDocument, store};
use crate::app::App;
use crate::catalog::plans;
use crate::error::Result;
use crate::http::document::{Mistakes, Place, Unchecked};
use crate::subscriptions::chain;

/// Shows the configuration.
#[utoipa::path(get, path = "/v1/configuration", tag = "configuration",
    responses((status = 200, description = "The configuration.", body = Configuration)))]
pub async fn get_configuration(State(app): State<App>) -> Result<Json<Configuration>> {
    store::load(&mut *app.database.read().await?)
        .await
        .map(Json)
}

/// Replaces the configuration.
#[utoipa::path(put, path = "/v1/configuration", tag = "configuration",
    request_body = ConfigurationDocument,
    responses((status = 200, description = "The configuration.", body = Configuration)))]
pub async fn update_configuration(
    State(app): State<App>,
    document: Unchecked<ConfigurationDocument>,
) -> Result<Json<Configuration>> {
    let configuration = document.check(ConfigurationDocument::check)?;
    let mut tx = app.database.begin_write().await?;
    let order = &configuration.plan_order;
    let mut mistakes = Mistakes::default();
    for unknown in plans::unknown_keys(&mut tx, order).await? {
        let index = order
            .iter()
            .position(|key| *key == unknown)
            .unwrap_or_default();
        let place = Place::root().field("planOrder").index(index);
        mistakes.add(
            &place,
            "plan_not_found",
            format!("there is no plan {unknown}"),
        );
    }
    mistakes.finish()?;
    let before = store::load(&mut tx).await?;
    store::save(&mut tx, &configuration).await?;
    if configuration.grace() != before.grace() {
        chain::renew_all(&mut tx, app.clock.business_now()).await?;
    }
    tx.commit().await?;
    Ok(Json(configuration))
}
