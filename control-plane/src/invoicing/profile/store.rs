//! The billing profile in the database: one row, or none while it is the default.

use super::BillingProfile;
use crate::database::Connection;
use crate::error::{Error, Result};

pub(super) async fn load(connection: &mut Connection) -> Result<BillingProfile> {
    let document: Option<String> =
        sqlx::query_scalar("SELECT document FROM billing_profile WHERE id = 1")
            .fetch_optional(connection)
            .await?;
    match document {
        Some(document) => serde_json::from_str(&document).map_err(Error::internal),
        None => Ok(BillingProfile::default()),
    }
}

pub(super) async fn save(connection: &mut Connection, profile: &BillingProfile) -> Result<()> {
    sqlx::query(
        "INSERT INTO billing_profile (id, document) VALUES (1, $1)
         ON CONFLICT (id) DO UPDATE SET document = excluded.document",
    )
    .bind(serde_json::to_string(profile).map_err(Error::internal)?)
    .execute(connection)
    .await?;
    Ok(())
}
