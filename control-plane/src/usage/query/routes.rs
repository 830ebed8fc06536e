//! What meters counted, over HTTP.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};
use tollgate_engine::slug::Slug;
use tollgate_engine::units::{Units, decimal};
use utoipa::ToSchema;

use super::{GroupBy, WindowSize, add_up, store};
use crate::app::App;
use crate::calendar::Interval;
use crate::catalog::{self, Aggregation};
use crate::clock::BusinessInstant;
use crate::error::{Error, Result};
use crate::http::document::Query;
use crate::subscriptions;

/// Most rows that one answer is made of.
const ROWS_MAX: usize = 100_000;
const MS_PER_HOUR: i64 = 3_600_000;

/// The query of what a meter counted.
#[derive(Clone, Debug, Deserialize, utoipa::IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct MeterQuery {
    /// First instant, a full hour; the beginning when left out.
    #[param(value_type = Option<BusinessInstant>)]
    from: Option<String>,
    /// First instant after it, a full hour; now when left out.
    #[param(value_type = Option<BusinessInstant>)]
    to: Option<String>,
    /// `HOUR`, `DAY` or `MONTH`, in UTC; all in one when left out.
    #[param(inline)]
    window_size: Option<WindowSize>,
    /// Only usage of the subscription with this id or key.
    filter_subscription: Option<String>,
    /// Names, with commas between, of what usage is told apart by: `subscription`, `customer`, `plan`, `key`.
    group_by: Option<String>,
}

/// What a meter counted.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MeterUsageView {
    /// The meter.
    #[schema(value_type = String)]
    meter: Slug,
    /// First instant.
    from: BusinessInstant,
    /// First instant after it.
    to: BusinessInstant,
    /// In the order of time; where nothing was used there is nothing.
    data: Vec<MeterRow>,
}

/// What was used in a stretch of time, by a group if groups were asked for.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MeterRow {
    /// First instant.
    window_start: BusinessInstant,
    /// First instant after it.
    window_end: BusinessInstant,
    /// A decimal.
    #[schema(value_type = String)]
    #[serde(with = "decimal")]
    value: Units,
    /// By name of what was asked for; null where it is not known.
    group_by: BTreeMap<&'static str, Option<String>>,
}

/// Shows what a meter counted, as the ledger holds it: through the gateway and by events.
#[utoipa::path(get, path = "/v1/meters/{meter}/query", tag = "meters",
    params(("meter" = String, Path, description = "Its id or slug."), MeterQuery),
    responses((status = 200, description = "What it counted.", body = MeterUsageView)))]
pub async fn get_meter_usage(
    State(app): State<App>,
    Path(meter): Path<String>,
    Query(query): Query<MeterQuery>,
) -> Result<Json<MeterUsageView>> {
    let period = period(&query, app.clock.business_now())?;
    let groups = groups(query.group_by.as_deref())?;
    let mut reader = app.database.read().await?;
    let meter = catalog::required_meter(&mut reader, &meter).await?;
    let only = match &query.filter_subscription {
        Some(id_or_key) => Some(subscriptions::required(&mut reader, id_or_key).await?),
        None => None,
    };
    let (size, limit) = (query.window_size, ROWS_MAX as i64 + 1);
    let rows = match meter.aggregation {
        Aggregation::Sum | Aggregation::Count => {
            store::counted(&mut reader, &meter.slug, period, size, only.as_ref(), limit).await?
        }
        Aggregation::Max | Aggregation::Latest | Aggregation::UniqueCount => {
            store::readings(&mut reader, &meter.slug, period, only.as_ref(), limit).await?
        }
    };
    if rows.len() > ROWS_MAX {
        let detail = "That is too much for one answer: ask for less time, or for one subscription.";
        return Err(Error::invalid_request("query_too_wide", detail));
    }
    let sums = add_up(meter.aggregation, rows, period, size, &groups);
    let data = sums
        .into_iter()
        .map(|((start_ms, end_ms, group), value)| MeterRow {
            window_start: BusinessInstant::from_unix_ms(start_ms),
            window_end: BusinessInstant::from_unix_ms(end_ms),
            value,
            group_by: groups.iter().map(|group| group.name()).zip(group).collect(),
        });
    Ok(Json(MeterUsageView {
        meter: meter.slug,
        from: period.start,
        to: period.end,
        data: data.collect(),
    }))
}

fn period(query: &MeterQuery, now: BusinessInstant) -> Result<Interval> {
    let next_hour = (now.unix_ms().div_euclid(MS_PER_HOUR) + 1) * MS_PER_HOUR;
    let start = instant(query.from.as_deref(), "from", 0)?;
    let end = instant(query.to.as_deref(), "to", next_hour)?;
    if end <= start {
        let detail = "to is not after from.";
        return Err(Error::invalid_request("invalid_query", detail));
    }
    Ok(Interval { start, end })
}

fn instant(text: Option<&str>, name: &str, otherwise_ms: i64) -> Result<BusinessInstant> {
    let Some(text) = text else {
        return Ok(BusinessInstant::from_unix_ms(otherwise_ms));
    };
    let instant = text
        .parse::<jiff::Timestamp>()
        .map(BusinessInstant::from)
        .ok();
    let hour = instant.filter(|instant| instant.unix_ms().rem_euclid(MS_PER_HOUR) == 0);
    hour.ok_or_else(|| {
        let detail = format!("{name} is no RFC 3339 instant at a full hour.");
        Error::invalid_request("invalid_query", detail)
    })
}

fn groups(names: Option<&str>) -> Result<Vec<GroupBy>> {
    let mut groups = Vec::new();
    for name in names
        .unwrap_or_default()
        .split(',')
        .filter(|name| !name.is_empty())
    {
        let known = GroupBy::ALL.into_iter().find(|group| group.name() == name);
        let group = known.ok_or_else(|| {
            let detail = format!("Usage cannot be told apart by {name}.");
            Error::invalid_request("invalid_query", detail)
        })?;
        if !groups.contains(&group) {
            groups.push(group);
        }
    }
    Ok(groups)
}
