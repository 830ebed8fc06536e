//! Customers over HTTP.

use axum::Json;
use axum::extract::{Path, State};
use serde::Deserialize;

use super::{Customer, CustomerDocument, required, store};
use crate::app::App;
use crate::error::Result;
use crate::http::document::{Query, Unchecked};
use crate::http::page::{Page, Slice};
use crate::idempotency::{Answer, Post};
use crate::ids::CustomerId;
use crate::publisher;

/// The query of the list of customers.
#[derive(Clone, Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct CustomersQuery {
    /// Items on the page, 1 to 200; 50 when left out.
    limit: Option<u32>,
    /// `nextCursor` of the page before.
    cursor: Option<String>,
    /// Only the customer with this key.
    key: Option<String>,
    /// Only customers with this e-mail address.
    email: Option<String>,
}

/// Makes a customer.
#[utoipa::path(post, path = "/v1/customers", tag = "customers", request_body = CustomerDocument,
    responses((status = 201, description = "The customer.", body = Customer)))]
pub async fn create_customer(
    State(app): State<App>,
    Post(document, mut call): Post<CustomerDocument>,
) -> Result<Answer> {
    let customer =
        document.check(|document, mistakes| document.check(None, &app.clock, mistakes))?;
    store::save(&mut call.tx, &customer).await?;
    call.created(&customer).await
}

/// Lists customers, the newest first.
#[utoipa::path(get, path = "/v1/customers", tag = "customers", params(CustomersQuery),
    responses((status = 200, description = "A page of customers.", body = Page<Customer>)))]
pub async fn list_customers(
    State(app): State<App>,
    Query(query): Query<CustomersQuery>,
) -> Result<Json<Page<Customer>>> {
    let slice = Slice::new::<CustomerId>(query.limit, query.cursor.as_deref())?;
    let (key, email) = (
        query.key.unwrap_or_default(),
        query.email.unwrap_or_default(),
    );
    let customers = store::list(&mut *app.database.read().await?, &slice, &key, &email).await?;
    Ok(Json(slice.page(customers, |customer| customer.id)))
}

/// Shows a customer.
#[utoipa::path(get, path = "/v1/customers/{customer}", tag = "customers",
    params(("customer" = String, Path, description = "Its id or key.")),
    responses((status = 200, description = "The customer.", body = Customer)))]
pub async fn get_customer(
    State(app): State<App>,
    Path(customer): Path<String>,
) -> Result<Json<Customer>> {
    let mut reader = app.database.read().await?;
    Ok(Json(required(&mut reader, &customer).await?))
}

/// Replaces what is known of a customer.
#[utoipa::path(put, path = "/v1/customers/{customer}", tag = "customers",
    params(("customer" = String, Path, description = "Its id or key.")),
    request_body = CustomerDocument,
    responses((status = 200, description = "The customer.", body = Customer)))]
pub async fn update_customer(
    State(app): State<App>,
    Path(customer): Path<String>,
    document: Unchecked<CustomerDocument>,
) -> Result<Json<Customer>> {
    let mut tx = app.database.begin_write().await?;
    let before = required(&mut tx, &customer).await?;
    let customer =
        document.check(|document, mistakes| document.check(Some(&before), &app.clock, mistakes))?;
    store::save(&mut tx, &customer).await?;
    if customer.metadata != before.metadata {
        // The days of grace may be others.
        publisher::customer_changed(&app, &mut tx, customer.id).await?;
    }
    tx.commit().await?;
    Ok(Json(customer))
}
