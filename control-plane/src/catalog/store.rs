//! Meters and features in the database.

use tollgate_engine::slug::Slug;

use super::{Feature, Meter};
use crate::clock::BusinessInstant;
use crate::database::{self, Connection, Failure, is_unique_violation};
use crate::error::{Error, Result};
use crate::http::page::Slice;
use crate::ids::{FeatureId, MeterId};

#[derive(sqlx::FromRow)]
struct MeterRow {
    id: String,
    slug: String,
    name: String,
    event_type: String,
    aggregation: String,
    value_property: Option<String>,
    created_at_ms: i64,
    archived_at_ms: Option<i64>,
}

impl TryFrom<MeterRow> for Meter {
    type Error = Error;

    fn try_from(row: MeterRow) -> Result<Self> {
        let unknown = |()| Error::internal(anyhow::anyhow!("aggregation {}", row.aggregation));
        Ok(Self {
            id: row.id.parse().map_err(Error::internal)?,
            slug: row.slug.parse().map_err(Error::internal)?,
            name: row.name,
            event_type: row.event_type,
            aggregation: row.aggregation.parse().map_err(unknown)?,
            value_property: row.value_property,
            created_at: BusinessInstant::from_unix_ms(row.created_at_ms),
            archived_at: row.archived_at_ms.map(BusinessInstant::from_unix_ms),
        })
    }
}

#[derive(sqlx::FromRow)]
struct FeatureRow {
    id: String,
    feature_key: String,
    name: String,
    meter_slug: Option<String>,
    metadata: String,
    created_at_ms: i64,
    archived_at_ms: Option<i64>,
}

impl TryFrom<FeatureRow> for Feature {
    type Error = Error;

    fn try_from(row: FeatureRow) -> Result<Self> {
        let meter_slug: Option<Slug> = row
            .meter_slug
            .map(|slug| slug.parse().map_err(Error::internal))
            .transpose()?;
        Ok(Self {
            id: row.id.parse().map_err(Error::internal)?,
            key: row.feature_key.parse().map_err(Error::internal)?,
            name: row.name,
            meter_slug,
            metadata: serde_json::from_str(&row.metadata).map_err(Error::internal)?,
            created_at: BusinessInstant::from_unix_ms(row.created_at_ms),
            archived_at: row.archived_at_ms.map(BusinessInstant::from_unix_ms),
        })
    }
}

pub(super) async fn insert_meter(connection: &mut Connection, meter: &Meter) -> Result<()> {
    let inserted = sqlx::query(
        "INSERT INTO meters (id, slug, name, event_type, aggregation, value_property, created_at_ms)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(meter.id.to_string())
    .bind(meter.slug.as_str())
    .bind(&meter.name)
    .bind(&meter.event_type)
    .bind(meter.aggregation.name())
    .bind(&meter.value_property)
    .bind(meter.created_at.unix_ms())
    .execute(connection)
    .await;
    match inserted {
        Err(failure) if is_unique_violation(&failure) => {
            let detail = format!("There is a meter {} already.", meter.slug);
            Err(Error::conflict("meter_slug_taken", detail))
        }
        other => Ok(other.map(drop)?),
    }
}

/// The meter with an id or slug, archived or not.
///
/// # Errors
/// When the database refuses.
pub async fn find_meter(connection: &mut Connection, id_or_slug: &str) -> Result<Option<Meter>> {
    let row: Option<MeterRow> = sqlx::query_as("SELECT * FROM meters WHERE id = $1 OR slug = $1")
        .bind(id_or_slug)
        .fetch_optional(connection)
        .await?;
    row.map(Meter::try_from).transpose()
}

pub(super) async fn list_meters(connection: &mut Connection, slice: &Slice) -> Result<Vec<Meter>> {
    let rows: Vec<MeterRow> = database::list(connection, "meters", slice, &[]).await?;
    rows.into_iter().map(Meter::try_from).collect()
}

pub(super) async fn all_meters(connection: &mut Connection) -> Result<Vec<Meter>> {
    let rows: Vec<MeterRow> = sqlx::query_as("SELECT * FROM meters")
        .fetch_all(connection)
        .await?;
    rows.into_iter().map(Meter::try_from).collect()
}

/// Every meter that is not archived.
pub(crate) async fn meters_in_use(connection: &mut Connection) -> Result<Vec<Meter>> {
    let meters = all_meters(connection).await?.into_iter();
    Ok(meters.filter(|meter| meter.archived_at.is_none()).collect())
}

/// Whether a feature that is not archived uses the meter.
pub(super) async fn is_meter_used(
    connection: &mut Connection,
    slug: &Slug,
) -> Result<bool, Failure> {
    let users: i64 = sqlx::query_scalar(
        "SELECT COUNT(*) FROM features WHERE meter_slug = $1 AND archived_at_ms IS NULL",
    )
    .bind(slug.as_str())
    .fetch_one(connection)
    .await?;
    Ok(users > 0)
}

pub(super) async fn archive_meter(
    connection: &mut Connection,
    id: MeterId,
    now: BusinessInstant,
) -> Result<(), Failure> {
    sqlx::query("UPDATE meters SET archived_at_ms = $1 WHERE id = $2 AND archived_at_ms IS NULL")
        .bind(now.unix_ms())
        .bind(id.to_string())
        .execute(connection)
        .await
        .map(drop)
}

pub(super) async fn insert_feature(connection: &mut Connection, feature: &Feature) -> Result<()> {
    let inserted = sqlx::query(
        "INSERT INTO features (id, feature_key, name, meter_slug, metadata, created_at_ms)
         VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(feature.id.to_string())
    .bind(feature.key.as_str())
    .bind(&feature.name)
    .bind(feature.meter_slug.as_ref().map(Slug::as_str))
    .bind(serde_json::to_string(&feature.metadata).map_err(Error::internal)?)
    .bind(feature.created_at.unix_ms())
    .execute(connection)
    .await;
    match inserted {
        Err(failure) if is_unique_violation(&failure) => {
            let detail = format!("There is a feature {} already.", feature.key);
            Err(Error::conflict("feature_key_taken", detail))
        }
        other => Ok(other.map(drop)?),
    }
}

/// The feature with an id, or the newest with a key; one in use before an archived one.
///
/// # Errors
/// When the database refuses.
pub async fn find_feature(connection: &mut Connection, id_or_key: &str) -> Result<Option<Feature>> {
    let row: Option<FeatureRow> = sqlx::query_as(
        "SELECT * FROM features WHERE id = $1 OR feature_key = $1
         ORDER BY CASE WHEN archived_at_ms IS NULL THEN 0 ELSE 1 END, id DESC LIMIT 1",
    )
    .bind(id_or_key)
    .fetch_optional(connection)
    .await?;
    row.map(Feature::try_from).transpose()
}

pub(super) async fn list_features(
    connection: &mut Connection,
    slice: &Slice,
) -> Result<Vec<Feature>> {
    let rows: Vec<FeatureRow> = database::list(connection, "features", slice, &[]).await?;
    rows.into_iter().map(Feature::try_from).collect()
}

/// Every feature, archived ones first.
pub(super) async fn all_features(connection: &mut Connection) -> Result<Vec<Feature>> {
    let rows: Vec<FeatureRow> = sqlx::query_as(
        "SELECT * FROM features ORDER BY CASE WHEN archived_at_ms IS NULL THEN 1 ELSE 0 END, id",
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(Feature::try_from).collect()
}

pub(super) async fn archive_feature(
    connection: &mut Connection,
    id: FeatureId,
    now: BusinessInstant,
) -> Result<(), Failure> {
    sqlx::query("UPDATE features SET archived_at_ms = $1 WHERE id = $2 AND archived_at_ms IS NULL")
        .bind(now.unix_ms())
        .bind(id.to_string())
        .execute(connection)
        .await
        .map(drop)
}
