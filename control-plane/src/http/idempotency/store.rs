//! Answers by idempotency key.

use axum::http::StatusCode;

use super::{Claim, Scope, Stored};
use crate::clock::MachineInstant;
use crate::database::Connection;
use crate::error::{Error, Result};

pub(super) async fn find_answer(
    connection: &mut Connection,
    scope: &Scope,
    now: MachineInstant,
) -> Result<Option<Stored>> {
    let row: Option<(String, i64, String)> = sqlx::query_as(
        "SELECT fingerprint, status, body FROM idempotency_keys
         WHERE caller = $1 AND route = $2 AND idempotency_key = $3 AND expires_at_ms > $4",
    )
    .bind(&scope.caller)
    .bind(&scope.route)
    .bind(&scope.key)
    .bind(now.unix_ms())
    .fetch_optional(connection)
    .await?;
    row.map(|(fingerprint, status, body)| {
        let status = u16::try_from(status).map_err(Error::internal)?;
        let status = StatusCode::from_u16(status).map_err(Error::internal)?;
        Ok(Stored {
            fingerprint,
            status,
            body,
        })
    })
    .transpose()
}

pub(super) async fn insert_answer(
    connection: &mut Connection,
    claim: &Claim,
    status: StatusCode,
    body: &str,
) -> Result<()> {
    // What is replaced has expired: an answer that has not would have been given instead.
    sqlx::query(
        "INSERT INTO idempotency_keys
             (caller, route, idempotency_key, fingerprint, status, body, expires_at_ms)
         VALUES ($1, $2, $3, $4, $5, $6, $7)
         ON CONFLICT (caller, route, idempotency_key) DO UPDATE SET
             fingerprint = excluded.fingerprint, status = excluded.status,
             body = excluded.body, expires_at_ms = excluded.expires_at_ms",
    )
    .bind(&claim.scope.caller)
    .bind(&claim.scope.route)
    .bind(&claim.scope.key)
    .bind(&claim.fingerprint)
    .bind(i64::from(status.as_u16()))
    .bind(body)
    .bind(claim.expires_at.unix_ms())
    .execute(connection)
    .await?;
    Ok(())
}

/// Removes answers that are kept long enough, at most `rows` of them, and says how many it was.
///
/// # Errors
/// When the database refuses.
pub async fn remove_expired(
    connection: &mut Connection,
    now: MachineInstant,
    rows: i64,
) -> Result<u64> {
    let removed = sqlx::query(
        "DELETE FROM idempotency_keys WHERE (caller, route, idempotency_key) IN
             (SELECT caller, route, idempotency_key FROM idempotency_keys
              WHERE expires_at_ms <= $1 LIMIT $2)",
    )
    .bind(now.unix_ms())
    .bind(rows)
    .execute(connection)
    .await?;
    Ok(removed.rows_affected())
}
