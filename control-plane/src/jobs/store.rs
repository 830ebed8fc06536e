//! Who holds which job.

use super::Claim;
use crate::clock::MachineInstant;
use crate::database::{Connection, Failure};
use crate::ids::WorkerId;

pub(super) async fn lease_until(
    connection: &mut Connection,
    name: &str,
) -> Result<Option<MachineInstant>, Failure> {
    let until: Option<i64> = sqlx::query_scalar("SELECT lease_until_ms FROM jobs WHERE name = $1")
        .bind(name)
        .fetch_optional(connection)
        .await?;
    Ok(until.map(MachineInstant::from_unix_ms))
}

/// Takes the job unless it is held, and gives its new fencing token.
pub(super) async fn claim(
    connection: &mut Connection,
    name: &str,
    owner: WorkerId,
    now: MachineInstant,
    until: MachineInstant,
) -> Result<Option<i64>, Failure> {
    sqlx::query_scalar(
        "INSERT INTO jobs (name, owner, token, lease_until_ms) VALUES ($1, $2, 1, $3)
         ON CONFLICT (name) DO UPDATE SET
             owner = excluded.owner, token = jobs.token + 1,
             lease_until_ms = excluded.lease_until_ms
         WHERE jobs.lease_until_ms <= $4
         RETURNING token",
    )
    .bind(name)
    .bind(owner.to_string())
    .bind(until.unix_ms())
    .bind(now.unix_ms())
    .fetch_optional(connection)
    .await
}

/// Moves the end of a lease, and says whether the claim still holds the job.
pub(super) async fn extend(
    connection: &mut Connection,
    claim: &Claim,
    until: MachineInstant,
) -> Result<bool, Failure> {
    let extended = sqlx::query(
        "UPDATE jobs SET lease_until_ms = $1 WHERE name = $2 AND token = $3 AND owner = $4",
    )
    .bind(until.unix_ms())
    .bind(&claim.name)
    .bind(claim.token)
    .bind(claim.owner.to_string())
    .execute(connection)
    .await?;
    Ok(extended.rows_affected() == 1)
}

/// Notes that a claim commits, and says whether it still holds the job.
pub(super) async fn note_commit(
    connection: &mut Connection,
    claim: &Claim,
) -> Result<bool, Failure> {
    let noted = sqlx::query(
        "UPDATE jobs SET committed_token = token, committed_by = owner
         WHERE name = $1 AND token = $2 AND owner = $3",
    )
    .bind(&claim.name)
    .bind(claim.token)
    .bind(claim.owner.to_string())
    .execute(connection)
    .await?;
    Ok(noted.rows_affected() == 1)
}

pub(super) async fn free_all(connection: &mut Connection) -> Result<(), Failure> {
    sqlx::query("UPDATE jobs SET lease_until_ms = 0")
        .execute(connection)
        .await
        .map(drop)
}
