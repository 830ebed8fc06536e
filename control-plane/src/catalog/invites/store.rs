//! Invites in the database.

use super::PlanInvite;
use crate::catalog::plans::PlanKey;
use crate::clock::BusinessInstant;
use crate::database::{self, Connection, Failure, is_unique_violation};
use crate::error::{Error, Result};
use crate::http::page::Slice;
use crate::ids::PlanInviteId;

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    plan_key: String,
    email: String,
    created_at_ms: i64,
    revoked_at_ms: Option<i64>,
}

impl TryFrom<Row> for PlanInvite {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self> {
        Ok(Self {
            id: row.id.parse().map_err(Error::internal)?,
            plan: row.plan_key.parse().map_err(Error::internal)?,
            email: row.email,
            created_at: BusinessInstant::from_unix_ms(row.created_at_ms),
            revoked_at: row.revoked_at_ms.map(BusinessInstant::from_unix_ms),
        })
    }
}

/// Writes a new invite.
pub(super) async fn insert(connection: &mut Connection, invite: &PlanInvite) -> Result<()> {
    let inserted = sqlx::query(
        "INSERT INTO plan_invites (id, plan_key, email, created_at_ms) VALUES ($1, $2, $3, $4)",
    )
    .bind(invite.id.to_string())
    .bind(invite.plan.as_str())
    .bind(&invite.email)
    .bind(invite.created_at.unix_ms())
    .execute(connection)
    .await;
    match inserted {
        Err(failure) if is_unique_violation(&failure) => {
            let detail = "There is an invite of this address to this plan already.";
            Err(Error::conflict("plan_invite_exists", detail))
        }
        other => Ok(other.map(drop)?),
    }
}

pub(super) async fn find(
    connection: &mut Connection,
    id: PlanInviteId,
) -> Result<Option<PlanInvite>> {
    let row: Option<Row> = sqlx::query_as("SELECT * FROM plan_invites WHERE id = $1")
        .bind(id.to_string())
        .fetch_optional(connection)
        .await?;
    row.map(PlanInvite::try_from).transpose()
}

/// Invites, the newest first; an empty plan or address stands for any.
pub(super) async fn list(
    connection: &mut Connection,
    slice: &Slice,
    plan: &str,
    email: &str,
) -> Result<Vec<PlanInvite>> {
    let filters = [("plan_key", plan), ("email", email)];
    let rows: Vec<Row> = database::list(connection, "plan_invites", slice, &filters).await?;
    rows.into_iter().map(PlanInvite::try_from).collect()
}

pub(super) async fn revoke(
    connection: &mut Connection,
    id: PlanInviteId,
    now: BusinessInstant,
) -> Result<(), Failure> {
    sqlx::query(
        "UPDATE plan_invites SET revoked_at_ms = $1 WHERE id = $2 AND revoked_at_ms IS NULL",
    )
    .bind(now.unix_ms())
    .bind(id.to_string())
    .execute(connection)
    .await
    .map(drop)
}

/// Whether an address, in lower case, has an invite to a plan.
pub(super) async fn is_invited(
    connection: &mut Connection,
    plan: &PlanKey,
    email: &str,
) -> Result<bool, Failure> {
    let invites: i64 = sqlx::query_scalar(
        "SELECT COUNT(*) FROM plan_invites
         WHERE plan_key = $1 AND email = $2 AND revoked_at_ms IS NULL",
    )
    .bind(plan.as_str())
    .bind(email)
    .fetch_one(connection)
    .await?;
    Ok(invites > 0)
}
