//! Customers in the database.

use super::Customer;
use crate::calendar::Zone;
use crate::clock::BusinessInstant;
use crate::database::{self, Connection, Failure, is_unique_violation};
use crate::error::{Error, Result};
use crate::http::page::Slice;

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    customer_key: Option<String>,
    name: String,
    email: Option<String>,
    time_zone: Option<String>,
    metadata: String,
    created_at_ms: i64,
    updated_at_ms: i64,
}

impl TryFrom<Row> for Customer {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self> {
        Ok(Self {
            id: row.id.parse().map_err(Error::internal)?,
            key: row.customer_key,
            name: row.name,
            email: row.email,
            time_zone: row
                .time_zone
                .map(|name| name.parse())
                .transpose()
                .map_err(Error::internal)?,
            metadata: serde_json::from_str(&row.metadata).map_err(Error::internal)?,
            created_at: BusinessInstant::from_unix_ms(row.created_at_ms),
            updated_at: BusinessInstant::from_unix_ms(row.updated_at_ms),
        })
    }
}

/// Writes a customer, new or edited.
pub(super) async fn save(connection: &mut Connection, customer: &Customer) -> Result<()> {
    let saved = sqlx::query(
        "INSERT INTO customers
             (id, customer_key, name, email, metadata, created_at_ms, updated_at_ms, time_zone)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
         ON CONFLICT (id) DO UPDATE SET
             customer_key = excluded.customer_key, name = excluded.name, email = excluded.email,
             time_zone = excluded.time_zone, metadata = excluded.metadata,
             updated_at_ms = excluded.updated_at_ms",
    )
    .bind(customer.id.to_string())
    .bind(&customer.key)
    .bind(&customer.name)
    .bind(&customer.email)
    .bind(serde_json::to_string(&customer.metadata).map_err(Error::internal)?)
    .bind(customer.created_at.unix_ms())
    .bind(customer.updated_at.unix_ms())
    .bind(customer.time_zone.as_ref().map(Zone::to_string))
    .execute(connection)
    .await;
    saved.map(drop).map_err(taken)
}

fn taken(failure: Failure) -> Error {
    if is_unique_violation(&failure) {
        let detail = "Another customer has this key.";
        Error::conflict("customer_key_taken", detail)
    } else {
        failure.into()
    }
}

/// The customer with an id or key.
///
/// # Errors
/// When the database refuses.
pub async fn find(connection: &mut Connection, id_or_key: &str) -> Result<Option<Customer>> {
    // No key looks like an id, so that at most one row fits.
    let row: Option<Row> =
        sqlx::query_as("SELECT * FROM customers WHERE id = $1 OR customer_key = $1")
            .bind(id_or_key)
            .fetch_optional(connection)
            .await?;
    row.map(Customer::try_from).transpose()
}

/// Customers, the newest first; an empty key or e-mail address stands for any.
pub(super) async fn list(
    connection: &mut Connection,
    slice: &Slice,
    key: &str,
    email: &str,
) -> Result<Vec<Customer>> {
    let filters = [("customer_key", key), ("email", email)];
    let rows: Vec<Row> = database::list(connection, "customers", slice, &filters).await?;
    rows.into_iter().map(Customer::try_from).collect()
}
