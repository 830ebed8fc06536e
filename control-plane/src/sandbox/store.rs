//! The sandbox's clock in the database: one row, or none while it was never moved.

use super::Position;
use crate::clock::{BusinessInstant, MachineInstant};
use crate::database::{Connection, Failure};

/// Where the clock stands.
///
/// # Errors
/// When the database refuses.
pub async fn position(connection: &mut Connection) -> Result<Position, Failure> {
    let row: Option<(i64, Option<i64>, i64)> =
        sqlx::query_as("SELECT lead_ms, target_ms, stepped_ms FROM sandbox_clock WHERE id = 1")
            .fetch_optional(connection)
            .await?;
    let (lead_ms, target_ms, stepped_ms) = row.unwrap_or_default();
    Ok(Position {
        lead_ms,
        target: target_ms.map(BusinessInstant::from_unix_ms),
        stepped: MachineInstant::from_unix_ms(stepped_ms),
    })
}

pub(super) async fn set_position(
    connection: &mut Connection,
    position: Position,
) -> Result<(), Failure> {
    sqlx::query(
        "INSERT INTO sandbox_clock (id, lead_ms, target_ms, stepped_ms) VALUES (1, $1, $2, $3)
         ON CONFLICT (id) DO UPDATE SET lead_ms = excluded.lead_ms,
             target_ms = excluded.target_ms, stepped_ms = excluded.stepped_ms",
    )
    .bind(position.lead_ms)
    .bind(position.target.map(BusinessInstant::unix_ms))
    .bind(position.stepped.unix_ms())
    .execute(connection)
    .await
    .map(drop)
}
