//! API keys in the database.

use tollgate_engine::api_key::KeyHash;

use super::{ApiKey, StoredKey, prefix};
use crate::clock::BusinessInstant;
use crate::config::Environment;
use crate::database::{Connection, Failure};
use crate::error::{Error, Result};
use crate::http::page::Slice;
use crate::ids::{ApiKeyId, SubscriptionId};

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    chain_id: String,
    tag: String,
    hash: String,
    name: Option<String>,
    subject: Option<String>,
    bypass: i64,
    imported: i64,
    last_characters: String,
    version: i64,
    created_at_ms: i64,
    expires_at_ms: Option<i64>,
    revoked_at_ms: Option<i64>,
}

impl Row {
    fn stored(self, environment: Environment) -> Result<StoredKey> {
        let key = ApiKey {
            id: self.id.parse().map_err(Error::internal)?,
            chain: self.chain_id.parse().map_err(Error::internal)?,
            name: self.name,
            subject: self.subject,
            bypass: self.bypass != 0,
            imported: self.imported != 0,
            prefix: (self.imported == 0).then(|| prefix(environment, &self.tag)),
            last_characters: (self.imported == 0).then_some(self.last_characters),
            created_at: BusinessInstant::from_unix_ms(self.created_at_ms),
            expires_at: self.expires_at_ms.map(BusinessInstant::from_unix_ms),
            revoked_at: self.revoked_at_ms.map(BusinessInstant::from_unix_ms),
        };
        Ok(StoredKey {
            key,
            tag: self.tag.parse().map_err(Error::internal)?,
            hash: self.hash.parse().map_err(Error::internal)?,
            version: u64::try_from(self.version).map_err(Error::internal)?,
        })
    }
}

pub(super) async fn insert(
    connection: &mut Connection,
    key: &ApiKey,
    hash: &KeyHash,
) -> Result<()> {
    sqlx::query(
        "INSERT INTO api_keys (id, chain_id, hash, name, subject, bypass, last_characters, version,
             created_at_ms, expires_at_ms, imported)
         VALUES ($1, $2, $3, $4, $5, $6, $7, 1, $8, $9, $10)",
    )
    .bind(key.id.to_string())
    .bind(key.chain.to_string())
    .bind(hash.to_string())
    .bind(&key.name)
    .bind(&key.subject)
    .bind(i64::from(key.bypass))
    .bind(key.last_characters.as_deref().unwrap_or_default())
    .bind(key.created_at.unix_ms())
    .bind(key.expires_at.map(BusinessInstant::unix_ms))
    .bind(i64::from(key.imported))
    .execute(connection)
    .await?;
    Ok(())
}

/// Writes when a key ends, and raises the version of its document.
pub(super) async fn update(connection: &mut Connection, key: &ApiKey) -> Result<(), Failure> {
    sqlx::query(
        "UPDATE api_keys SET expires_at_ms = $1, revoked_at_ms = $2, version = version + 1
         WHERE id = $3",
    )
    .bind(key.expires_at.map(BusinessInstant::unix_ms))
    .bind(key.revoked_at.map(BusinessInstant::unix_ms))
    .bind(key.id.to_string())
    .execute(connection)
    .await
    .map(drop)
}

/// The key with an id.
///
/// # Errors
/// When the database refuses.
pub async fn find(
    connection: &mut Connection,
    id: ApiKeyId,
    environment: Environment,
) -> Result<Option<StoredKey>> {
    let row: Option<Row> = sqlx::query_as(
        "SELECT api_keys.*, chains.tag FROM api_keys JOIN chains ON chains.id = api_keys.chain_id
         WHERE api_keys.id = $1",
    )
    .bind(id.to_string())
    .fetch_optional(connection)
    .await?;
    row.map(|row| row.stored(environment)).transpose()
}

/// The key with this hash.
pub(super) async fn find_by_hash(
    connection: &mut Connection,
    hash: &KeyHash,
    environment: Environment,
) -> Result<Option<ApiKey>> {
    let row: Option<Row> = sqlx::query_as(
        "SELECT api_keys.*, chains.tag FROM api_keys JOIN chains ON chains.id = api_keys.chain_id
         WHERE api_keys.hash = $1",
    )
    .bind(hash.to_string())
    .fetch_optional(connection)
    .await?;
    let stored = row.map(|row| row.stored(environment)).transpose()?;
    Ok(stored.map(|stored| stored.key))
}

/// Keys after `after`, in the order of their ids; the empty text is before all.
///
/// # Errors
/// When the database refuses.
pub async fn following(
    connection: &mut Connection,
    after: &str,
    limit: i64,
    environment: Environment,
) -> Result<Vec<StoredKey>> {
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT api_keys.*, chains.tag FROM api_keys JOIN chains ON chains.id = api_keys.chain_id
         WHERE api_keys.id > $1 ORDER BY api_keys.id LIMIT $2",
    )
    .bind(after)
    .bind(limit)
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| row.stored(environment))
        .collect()
}

pub(super) async fn list(
    connection: &mut Connection,
    slice: &Slice,
    chain: SubscriptionId,
    environment: Environment,
) -> Result<Vec<ApiKey>> {
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT api_keys.*, chains.tag FROM api_keys JOIN chains ON chains.id = api_keys.chain_id
         WHERE api_keys.id < $1 AND api_keys.chain_id = $2 ORDER BY api_keys.id DESC LIMIT $3",
    )
    .bind(&slice.below)
    .bind(chain.to_string())
    .bind(slice.rows())
    .fetch_all(connection)
    .await?;
    let stored = rows.into_iter().map(|row| row.stored(environment));
    stored
        .map(|stored| stored.map(|stored| stored.key))
        .collect()
}

/// How many keys of a chain are neither revoked nor expired.
pub(super) async fn count_usable(
    connection: &mut Connection,
    chain: SubscriptionId,
    now: BusinessInstant,
) -> Result<i64, Failure> {
    sqlx::query_scalar(
        "SELECT COUNT(*) FROM api_keys WHERE chain_id = $1 AND revoked_at_ms IS NULL
             AND (expires_at_ms IS NULL OR expires_at_ms > $2)",
    )
    .bind(chain.to_string())
    .bind(now.unix_ms())
    .fetch_one(connection)
    .await
}
