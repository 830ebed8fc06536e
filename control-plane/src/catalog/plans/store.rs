//! Versions of plans in the database.

use super::{PlanKey, PlanStatus, PlanVersion};
use crate::clock::BusinessInstant;
use crate::database::{self, Connection, Failure, is_unique_violation};
use crate::error::{Error, Result};
use crate::http::page::Slice;
use crate::ids::PlanId;

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    version: i64,
    status: String,
    document: String,
    created_at_ms: i64,
    updated_at_ms: i64,
    published_at_ms: Option<i64>,
    archived_at_ms: Option<i64>,
}

impl TryFrom<Row> for PlanVersion {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self> {
        let statuses = [PlanStatus::Draft, PlanStatus::Active, PlanStatus::Archived];
        let status = statuses
            .into_iter()
            .find(|status| status.name() == row.status);
        Ok(Self {
            id: row.id.parse().map_err(Error::internal)?,
            version: u32::try_from(row.version).map_err(Error::internal)?,
            status: status
                .ok_or_else(|| Error::internal(anyhow::anyhow!("plan status {}", row.status)))?,
            document: serde_json::from_str(&row.document).map_err(Error::internal)?,
            created_at: BusinessInstant::from_unix_ms(row.created_at_ms),
            updated_at: BusinessInstant::from_unix_ms(row.updated_at_ms),
            published_at: row.published_at_ms.map(BusinessInstant::from_unix_ms),
            archived_at: row.archived_at_ms.map(BusinessInstant::from_unix_ms),
        })
    }
}

/// Writes a new version; there is at most one draft of a plan.
pub(super) async fn insert(connection: &mut Connection, plan: &PlanVersion) -> Result<()> {
    let inserted = sqlx::query(
        "INSERT INTO plans (id, plan_key, version, status, document, created_at_ms, updated_at_ms)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(plan.id.to_string())
    .bind(&plan.document.key)
    .bind(i64::from(plan.version))
    .bind(plan.status.name())
    .bind(serde_json::to_string(&plan.document).map_err(Error::internal)?)
    .bind(plan.created_at.unix_ms())
    .bind(plan.updated_at.unix_ms())
    .execute(connection)
    .await;
    match inserted {
        Err(failure) if is_unique_violation(&failure) => {
            let detail = format!("There is a plan {} already.", plan.document.key);
            Err(Error::conflict("plan_key_taken", detail))
        }
        other => Ok(other.map(drop)?),
    }
}

/// Writes status, document and instants of a version.
pub(super) async fn update(connection: &mut Connection, plan: &PlanVersion) -> Result<()> {
    sqlx::query(
        "UPDATE plans SET status = $1, document = $2, updated_at_ms = $3, published_at_ms = $4,
             archived_at_ms = $5
         WHERE id = $6",
    )
    .bind(plan.status.name())
    .bind(serde_json::to_string(&plan.document).map_err(Error::internal)?)
    .bind(plan.updated_at.unix_ms())
    .bind(plan.published_at.map(BusinessInstant::unix_ms))
    .bind(plan.archived_at.map(BusinessInstant::unix_ms))
    .bind(plan.id.to_string())
    .execute(connection)
    .await?;
    Ok(())
}

pub(super) async fn find(connection: &mut Connection, id: PlanId) -> Result<Option<PlanVersion>> {
    let row: Option<Row> = sqlx::query_as("SELECT * FROM plans WHERE id = $1")
        .bind(id.to_string())
        .fetch_optional(connection)
        .await?;
    row.map(PlanVersion::try_from).transpose()
}

/// The version of a plan that is sold.
///
/// # Errors
/// When the database refuses.
pub async fn find_active(
    connection: &mut Connection,
    key: &PlanKey,
) -> Result<Option<PlanVersion>> {
    with_status(connection, key, PlanStatus::Active).await
}

pub(super) async fn find_draft(
    connection: &mut Connection,
    key: &PlanKey,
) -> Result<Option<PlanVersion>> {
    with_status(connection, key, PlanStatus::Draft).await
}

/// A plan has at most one version of these statuses.
pub(super) async fn with_status(
    connection: &mut Connection,
    key: &PlanKey,
    status: PlanStatus,
) -> Result<Option<PlanVersion>> {
    let row: Option<Row> =
        sqlx::query_as("SELECT * FROM plans WHERE plan_key = $1 AND status = $2")
            .bind(key.as_str())
            .bind(status.name())
            .fetch_optional(connection)
            .await?;
    row.map(PlanVersion::try_from).transpose()
}

/// A version of a plan by its number, whatever its status.
///
/// # Errors
/// When the database refuses.
pub async fn find_version(
    connection: &mut Connection,
    key: &PlanKey,
    version: u32,
) -> Result<Option<PlanVersion>> {
    let row: Option<Row> =
        sqlx::query_as("SELECT * FROM plans WHERE plan_key = $1 AND version = $2")
            .bind(key.as_str())
            .bind(i64::from(version))
            .fetch_optional(connection)
            .await?;
    row.map(PlanVersion::try_from).transpose()
}

/// The number of a plan's newest version, or `None` when there is no such plan.
pub(super) async fn newest_version(connection: &mut Connection, key: &str) -> Result<Option<u32>> {
    let newest: Option<i64> =
        sqlx::query_scalar("SELECT MAX(version) FROM plans WHERE plan_key = $1")
            .bind(key)
            .fetch_one(connection)
            .await?;
    newest
        .map(|version| u32::try_from(version).map_err(Error::internal))
        .transpose()
}

/// Versions, the newest first; an empty key or status stands for any.
pub(super) async fn list(
    connection: &mut Connection,
    slice: &Slice,
    key: &str,
    status: &str,
) -> Result<Vec<PlanVersion>> {
    let filters = [("plan_key", key), ("status", status)];
    let rows: Vec<Row> = database::list(connection, "plans", slice, &filters).await?;
    rows.into_iter().map(PlanVersion::try_from).collect()
}

/// The keys of `keys` that no plan has.
pub(crate) async fn unknown_keys(
    connection: &mut Connection,
    keys: &[PlanKey],
) -> Result<Vec<PlanKey>, Failure> {
    let mut unknown = Vec::new();
    for key in keys {
        let versions: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM plans WHERE plan_key = $1")
            .bind(key.as_str())
            .fetch_one(&mut *connection)
            .await?;
        if versions == 0 {
            unknown.push(key.clone());
        }
    }
    Ok(unknown)
}
