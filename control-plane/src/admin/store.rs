//! Admin keys in the database.

use super::{AdminKey, Origin, Scope};
use crate::clock::MachineInstant;
use crate::database::{self, Connection, Failure};
use crate::error::{Error, Result};
use crate::http::page::Slice;
use crate::ids::AdminKeyId;

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    name: String,
    scopes: String,
    created_at_ms: i64,
    expires_at_ms: Option<i64>,
    last_used_ms: Option<i64>,
    revoked_at_ms: Option<i64>,
}

impl TryFrom<Row> for AdminKey {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self> {
        let scopes: Vec<Scope> = serde_json::from_str(&row.scopes).map_err(Error::internal)?;
        Ok(Self {
            id: row.id.parse().map_err(Error::internal)?,
            name: row.name,
            scopes,
            created_at: MachineInstant::from_unix_ms(row.created_at_ms),
            expires_at: row.expires_at_ms.map(MachineInstant::from_unix_ms),
            last_used_at: row.last_used_ms.map(MachineInstant::from_unix_ms),
            revoked_at: row.revoked_at_ms.map(MachineInstant::from_unix_ms),
        })
    }
}

pub(super) async fn insert(
    connection: &mut Connection,
    key: &AdminKey,
    secret_hash: &str,
    origin: Origin,
) -> Result<()> {
    sqlx::query(
        "INSERT INTO admin_keys (id, name, secret_hash, scopes, origin, created_at_ms, expires_at_ms)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(key.id.to_string())
    .bind(&key.name)
    .bind(secret_hash)
    .bind(serde_json::to_string(&key.scopes).map_err(Error::internal)?)
    .bind(origin.name())
    .bind(key.created_at.unix_ms())
    .bind(key.expires_at.map(MachineInstant::unix_ms))
    .execute(connection)
    .await?;
    Ok(())
}

pub(super) async fn count(connection: &mut Connection) -> Result<i64, Failure> {
    sqlx::query_scalar("SELECT COUNT(*) FROM admin_keys")
        .fetch_one(connection)
        .await
}

pub(super) async fn find(connection: &mut Connection, id: AdminKeyId) -> Result<Option<AdminKey>> {
    let row: Option<Row> = sqlx::query_as("SELECT * FROM admin_keys WHERE id = $1")
        .bind(id.to_string())
        .fetch_optional(connection)
        .await?;
    row.map(AdminKey::try_from).transpose()
}

pub(crate) async fn find_by_hash(
    connection: &mut Connection,
    secret_hash: &str,
) -> Result<Option<AdminKey>> {
    let row: Option<Row> = sqlx::query_as("SELECT * FROM admin_keys WHERE secret_hash = $1")
        .bind(secret_hash)
        .fetch_optional(connection)
        .await?;
    row.map(AdminKey::try_from).transpose()
}

pub(super) async fn list(connection: &mut Connection, slice: &Slice) -> Result<Vec<AdminKey>> {
    let rows: Vec<Row> = database::list(connection, "admin_keys", slice, &[]).await?;
    rows.into_iter().map(AdminKey::try_from).collect()
}

pub(crate) async fn mark_used(
    connection: &mut Connection,
    id: AdminKeyId,
    now: MachineInstant,
) -> Result<(), Failure> {
    sqlx::query("UPDATE admin_keys SET last_used_ms = $1 WHERE id = $2")
        .bind(now.unix_ms())
        .bind(id.to_string())
        .execute(connection)
        .await
        .map(drop)
}

pub(super) async fn revoke(
    connection: &mut Connection,
    id: AdminKeyId,
    now: MachineInstant,
) -> Result<(), Failure> {
    sqlx::query("UPDATE admin_keys SET revoked_at_ms = $1 WHERE id = $2 AND revoked_at_ms IS NULL")
        .bind(now.unix_ms())
        .bind(id.to_string())
        .execute(connection)
        .await
        .map(drop)
}

pub(super) async fn revoke_origin(
    connection: &mut Connection,
    origin: Origin,
    now: MachineInstant,
) -> Result<(), Failure> {
    sqlx::query(
        "UPDATE admin_keys SET revoked_at_ms = $1 WHERE origin = $2 AND revoked_at_ms IS NULL",
    )
    .bind(now.unix_ms())
    .bind(origin.name())
    .execute(connection)
    .await
    .map(drop)
}
