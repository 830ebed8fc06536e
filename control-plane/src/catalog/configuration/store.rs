//! The configuration in the database: one row, or none while it is the default.

use super::Configuration;
use crate::database::Connection;
use crate::error::{Error, Result};

/// The configuration.
///
/// # Errors
/// When the database refuses.
pub async fn load(connection: &mut Connection) -> Result<Configuration> {
    let document: Option<String> =
        sqlx::query_scalar("SELECT document FROM configuration WHERE id = 1")
            .fetch_optional(connection)
            .await?;
    match document {
        Some(document) => serde_json::from_str(&document).map_err(Error::internal),
        None => Ok(Configuration::default()),
    }
}

pub(super) async fn save(connection: &mut Connection, configuration: &Configuration) -> Result<()> {
    sqlx::query(
        "INSERT INTO configuration (id, document) VALUES (1, $1)
         ON CONFLICT (id) DO UPDATE SET document = excluded.document",
    )
    .bind(serde_json::to_string(configuration).map_err(Error::internal)?)
    .execute(connection)
    .await?;
    Ok(())
}
