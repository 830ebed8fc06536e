//! Usage over HTTP.

use axum::Json;
use axum::extract::{Path, State};
use serde::Serialize;
use tollgate_engine::slug::Slug;
use tollgate_engine::units::{Units, decimal};
use utoipa::ToSchema;

use super::store;
use crate::app::App;
use crate::catalog::plans::Entitlement;
use crate::clock::BusinessInstant;
use crate::database::Connection;
use crate::error::Result;
use crate::ids::SubscriptionId;
use crate::publisher::bound;
use crate::subscriptions::schedule::UsageWindow;
use crate::subscriptions::{self, Loader};

/// What a subscription has used.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UsageView {
    /// The subscription.
    subscription: SubscriptionId,
    /// By meter, in the current usage period, or the last one of a subscription that has ended.
    meters: Vec<MeterUsage>,
    /// Everything settled before is counted; null while nothing was.
    as_of: Option<BusinessInstant>,
}

/// What was used of a meter in one usage period. Units are decimals.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MeterUsage {
    /// The meter.
    #[schema(value_type = String)]
    meter: Slug,
    /// First instant of the period.
    window_start: BusinessInstant,
    /// First instant after it.
    window_end: BusinessInstant,
    /// Units that count against the limit.
    #[schema(value_type = String)]
    #[serde(with = "decimal")]
    used: Units,
    /// Those of them that were used before a change of the plan.
    #[schema(value_type = String)]
    #[serde(with = "decimal")]
    carried: Units,
    /// Units the plan includes, if it says.
    #[schema(value_type = Option<String>)]
    included: Option<String>,
    /// Units at which requests are refused, if there is such a limit.
    #[schema(value_type = Option<String>)]
    limit: Option<String>,
    /// Units left of the limit, or else of the included ones.
    #[schema(value_type = Option<String>)]
    remaining: Option<String>,
}

/// Shows what a subscription has used, as the ledger holds it: seconds after the requests.
#[utoipa::path(get, path = "/v1/subscriptions/{subscription}/usage", tag = "subscriptions",
    params(("subscription" = String, Path, description = "Its id or key.")),
    responses((status = 200, description = "What it has used.", body = UsageView)))]
pub async fn get_subscription_usage(
    State(app): State<App>,
    Path(subscription): Path<String>,
) -> Result<Json<UsageView>> {
    let mut reader = app.database.read().await?;
    let found = subscriptions::required(&mut reader, &subscription).await?;
    let member = Loader::default().member(&mut reader, found).await?;
    let shown = &member.subscription;
    let last = shown
        .active_to
        .map(|end| BusinessInstant::from_unix_ms(end.unix_ms() - 1));
    let now = app.clock.business_now().max(shown.active_from);
    let at = last.map_or(now, |last| last.min(now));
    let mut meters = Vec::new();
    if let Some(term) = member.term_at(at) {
        for (feature, entitlement) in term.entitlements() {
            let Entitlement::Metered { usage_period, .. } = entitlement else {
                continue;
            };
            if let Some(window) = term.windows(feature, *usage_period, at).next() {
                let chain = shown.chain.to_string();
                let bounds = bound(&term, feature, entitlement, &window);
                meters.push(meter_usage(&mut reader, &chain, feature, bounds, window).await?);
            }
        }
    }
    let as_of = super::last_drain(&mut reader).await?;
    Ok(Json(UsageView {
        subscription: shown.id,
        meters,
        as_of: as_of.map(|drain| drain.began_at),
    }))
}

async fn meter_usage(
    connection: &mut Connection,
    chain: &str,
    meter: &Slug,
    (included, limit): (Option<Units>, Option<Units>),
    window: UsageWindow,
) -> Result<MeterUsage> {
    let mut carried = Units::ZERO;
    for earlier in &window.carried {
        let units = store::total(&mut *connection, chain, earlier).await?;
        carried = carried.saturating_add(units);
    }
    let own = store::total(connection, chain, &window.id).await?;
    let used = carried.saturating_add(own);
    let left = limit.or(included).map(|most| most.saturating_sub(used));
    Ok(MeterUsage {
        meter: meter.clone(),
        window_start: window.start,
        window_end: window.end,
        used,
        carried,
        included: included.map(|units| units.to_string()),
        limit: limit.map(|units| units.to_string()),
        remaining: left.map(|units| units.to_string()),
    })
}
