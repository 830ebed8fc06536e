//! What was sent to Stripe, in the database.

use crate::clock::MachineInstant;
use crate::database::Connection;
use crate::error::Result;

/// A POST as it was first sent.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub(super) struct Sent {
    pub(super) idempotency_key: String,
    round: i64,
    pub(super) path: String,
    pub(super) form: String,
    first_sent_ms: i64,
}

impl Sent {
    /// The key in the header: another one each time it was begun anew.
    pub(super) fn header_key(&self) -> String {
        match self.round {
            0 => self.idempotency_key.clone(),
            round => format!("{}:again{round}", self.idempotency_key),
        }
    }

    pub(super) fn first_sent(&self) -> MachineInstant {
        MachineInstant::from_unix_ms(self.first_sent_ms)
    }
}

/// Writes down what is to be sent under a key, unless something was before, and gives what holds.
pub(super) async fn keep(
    connection: &mut Connection,
    key: &str,
    path: &str,
    form: &str,
    now: MachineInstant,
) -> Result<Sent> {
    let insert = "INSERT INTO stripe_requests (idempotency_key, round, path, form, first_sent_ms)
         VALUES ($1, 0, $2, $3, $4) ON CONFLICT (idempotency_key) DO NOTHING";
    sqlx::query(insert)
        .bind(key)
        .bind(path)
        .bind(form)
        .bind(now.unix_ms())
        .execute(&mut *connection)
        .await?;
    let select = "SELECT idempotency_key, round, path, form, first_sent_ms FROM stripe_requests
         WHERE idempotency_key = $1";
    Ok(sqlx::query_as(select)
        .bind(key)
        .fetch_one(connection)
        .await?)
}

/// What was sent under a key, if anything was.
pub(super) async fn find(connection: &mut Connection, key: &str) -> Result<Option<Sent>> {
    let select = "SELECT idempotency_key, round, path, form, first_sent_ms FROM stripe_requests
         WHERE idempotency_key = $1";
    Ok(sqlx::query_as(select)
        .bind(key)
        .fetch_optional(connection)
        .await?)
}

/// Notes that the request is sent anew, since it was never done.
pub(super) async fn begin_anew(
    connection: &mut Connection,
    key: &str,
    now: MachineInstant,
) -> Result<()> {
    sqlx::query(
        "UPDATE stripe_requests SET round = round + 1, first_sent_ms = $1 WHERE idempotency_key = $2",
    )
    .bind(now.unix_ms())
    .bind(key)
    .execute(connection)
    .await?;
    Ok(())
}

/// Notes what Stripe answered.
pub(super) async fn answered(
    connection: &mut Connection,
    key: &str,
    status: u16,
    request_id: &str,
    now: MachineInstant,
) -> Result<()> {
    sqlx::query(
        "UPDATE stripe_requests SET status = $1, request_id = $2, answered_ms = $3
         WHERE idempotency_key = $4",
    )
    .bind(i64::from(status))
    .bind(request_id)
    .bind(now.unix_ms())
    .bind(key)
    .execute(connection)
    .await?;
    Ok(())
}

/// Removes requests that were answered before an instant, and says how many.
pub(super) async fn remove_answered(
    connection: &mut Connection,
    before: MachineInstant,
    limit: i64,
) -> Result<u64> {
    let removed = sqlx::query(
        "DELETE FROM stripe_requests WHERE idempotency_key IN (
             SELECT idempotency_key FROM stripe_requests WHERE answered_ms < $1 LIMIT $2)",
    )
    .bind(before.unix_ms())
    .bind(limit)
    .execute(connection)
    .await?;
    Ok(removed.rows_affected())
}
