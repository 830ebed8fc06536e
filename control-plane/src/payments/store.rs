//! Who a customer is to Stripe, in the database.

use crate::clock::MachineInstant;
use crate::database::Connection;
use crate::error::{Error, Result};
use crate::ids::CustomerId;

/// Who a customer is to Stripe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PaymentCustomer {
    /// Our customer.
    pub customer: CustomerId,
    /// Stripe's id, `cus_…`.
    pub stripe_id: String,
    /// Stripe's id of the payment method that invoices are collected from.
    pub payment_method: Option<String>,
    /// What people call it, such as `visa 4242`.
    pub card: Option<String>,
    deleted_at: Option<MachineInstant>,
}

impl PaymentCustomer {
    /// Whether Stripe has it no longer.
    #[must_use]
    pub fn is_deleted(&self) -> bool {
        self.deleted_at.is_some()
    }
}

#[derive(sqlx::FromRow)]
struct Row {
    customer_id: String,
    stripe_id: String,
    payment_method: Option<String>,
    card: Option<String>,
    deleted_at_ms: Option<i64>,
}

impl TryFrom<Row> for PaymentCustomer {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self> {
        Ok(Self {
            customer: row.customer_id.parse().map_err(Error::internal)?,
            stripe_id: row.stripe_id,
            payment_method: row.payment_method,
            card: row.card,
            deleted_at: row.deleted_at_ms.map(MachineInstant::from_unix_ms),
        })
    }
}

/// Who a customer is to Stripe, once it is anybody.
///
/// # Errors
/// When the database refuses.
pub async fn customer_of(
    connection: &mut Connection,
    customer: CustomerId,
) -> Result<Option<PaymentCustomer>> {
    let row: Option<Row> = sqlx::query_as("SELECT * FROM payment_customers WHERE customer_id = $1")
        .bind(customer.to_string())
        .fetch_optional(connection)
        .await?;
    row.map(PaymentCustomer::try_from).transpose()
}

/// The customer with an id of Stripe's.
pub(super) async fn by_stripe_id(
    connection: &mut Connection,
    stripe_id: &str,
) -> Result<Option<PaymentCustomer>> {
    let row: Option<Row> = sqlx::query_as("SELECT * FROM payment_customers WHERE stripe_id = $1")
        .bind(stripe_id)
        .fetch_optional(connection)
        .await?;
    row.map(PaymentCustomer::try_from).transpose()
}

/// The customer whose invoices are collected from a payment method.
pub(super) async fn by_payment_method(
    connection: &mut Connection,
    payment_method: &str,
) -> Result<Option<PaymentCustomer>> {
    let select = "SELECT * FROM payment_customers WHERE payment_method = $1";
    let row: Option<Row> = sqlx::query_as(select)
        .bind(payment_method)
        .fetch_optional(connection)
        .await?;
    row.map(PaymentCustomer::try_from).transpose()
}

/// Notes who a customer is; what is known already stays.
pub(super) async fn add(
    connection: &mut Connection,
    customer: CustomerId,
    stripe_id: &str,
    now: MachineInstant,
) -> Result<()> {
    sqlx::query(
        "INSERT INTO payment_customers (customer_id, stripe_id, created_at_ms)
         VALUES ($1, $2, $3) ON CONFLICT (customer_id) DO NOTHING",
    )
    .bind(customer.to_string())
    .bind(stripe_id)
    .bind(now.unix_ms())
    .execute(connection)
    .await?;
    Ok(())
}

/// Notes from what a customer's invoices are collected: a payment method and what people call it.
pub(super) async fn set_payment_method(
    connection: &mut Connection,
    customer: CustomerId,
    method: Option<(&str, &str)>,
) -> Result<()> {
    let update =
        "UPDATE payment_customers SET payment_method = $1, card = $2 WHERE customer_id = $3";
    sqlx::query(update)
        .bind(method.map(|(id, _)| id))
        .bind(method.map(|(_, card)| card))
        .bind(customer.to_string())
        .execute(connection)
        .await?;
    Ok(())
}

/// Notes that Stripe has a customer no longer.
pub(super) async fn set_deleted(
    connection: &mut Connection,
    customer: CustomerId,
    now: MachineInstant,
) -> Result<()> {
    sqlx::query(
        "UPDATE payment_customers SET deleted_at_ms = $1, payment_method = NULL, card = NULL
         WHERE customer_id = $2 AND deleted_at_ms IS NULL",
    )
    .bind(now.unix_ms())
    .bind(customer.to_string())
    .execute(connection)
    .await?;
    Ok(())
}
