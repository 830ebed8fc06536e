//! Invoices over HTTP.

use axum::Json;
use axum::extract::{Path, State};
use serde::Deserialize;

use super::preview::{Preview, PreviewDocument, preview};
use super::view::InvoiceView;
use super::{Invoice, InvoiceStatus, pusher, store, voiding};
use crate::app::App;
use crate::customers;
use crate::database::Connection;
use crate::error::{Error, Result};
use crate::http::document::{Nothing, Query, Unchecked};
use crate::http::page::{Page, PageQuery, Slice};
use crate::idempotency::{Answer, Post};
use crate::ids::InvoiceId;
use crate::subscriptions;

/// The query of the list of invoices.
#[derive(Clone, Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct InvoicesQuery {
    /// Items on the page, 1 to 200; 50 when left out.
    limit: Option<u32>,
    /// `nextCursor` of the page before.
    cursor: Option<String>,
    /// Only invoices of the customer with this id or key.
    customer: Option<String>,
    /// Only invoices of the subscription with this id or key.
    subscription: Option<String>,
    /// Only invoices with this status.
    status: Option<InvoiceStatus>,
}

/// Lists invoices, the newest first.
#[utoipa::path(get, path = "/v1/invoices", tag = "invoices", params(InvoicesQuery),
    responses((status = 200, description = "A page of invoices.", body = Page<InvoiceView>)))]
pub async fn list_invoices(
    State(app): State<App>,
    Query(query): Query<InvoicesQuery>,
) -> Result<Json<Page<InvoiceView>>> {
    let slice = Slice::new::<InvoiceId>(query.limit, query.cursor.as_deref())?;
    let mut reader = app.database.read().await?;
    let customer = customers::filter(&mut reader, query.customer.as_deref()).await?;
    let subscription = match query.subscription {
        None => String::new(),
        Some(subscription) => {
            let found = subscriptions::find(&mut reader, &subscription).await?;
            found.map_or(subscription, |found| found.id.to_string())
        }
    };
    let status = query.status.map_or("", InvoiceStatus::name);
    let found = store::list(&mut reader, &slice, &customer, &subscription, status).await?;
    page(&mut reader, &slice, found).await
}

/// Lists a customer's invoices, the newest first.
#[utoipa::path(get, path = "/v1/customers/{customer}/invoices", tag = "invoices",
    params(("customer" = String, Path, description = "Its id or key."), PageQuery),
    responses((status = 200, description = "A page of invoices.", body = Page<InvoiceView>)))]
pub async fn list_customer_invoices(
    State(app): State<App>,
    Path(customer): Path<String>,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<InvoiceView>>> {
    let slice = query.slice::<InvoiceId>()?;
    let mut reader = app.database.read().await?;
    let customer = customers::required(&mut reader, &customer).await?;
    let found = store::list(&mut reader, &slice, &customer.id.to_string(), "", "").await?;
    page(&mut reader, &slice, found).await
}

/// Shows an invoice.
#[utoipa::path(get, path = "/v1/invoices/{invoice}", tag = "invoices",
    params(("invoice" = InvoiceId, Path, description = "Its id.")),
    responses((status = 200, description = "The invoice.", body = InvoiceView)))]
pub async fn get_invoice(
    State(app): State<App>,
    Path(invoice): Path<String>,
) -> Result<Json<InvoiceView>> {
    let mut reader = app.database.read().await?;
    let invoice = required(&mut reader, &invoice).await?;
    view(&mut reader, invoice).await.map(Json)
}

/// Shows what a customer or a subscription would be billed, by what is used so far; nothing is written.
///
/// Everything due until `asOf`, or only the next invoice of each subscription.
#[utoipa::path(post, path = "/v1/invoices/preview", tag = "invoices",
    request_body = PreviewDocument,
    responses((status = 200, description = "What would be billed.", body = Preview)))]
pub async fn preview_invoices(
    State(app): State<App>,
    document: Unchecked<PreviewDocument>,
) -> Result<Json<Preview>> {
    let wanted = document.check(PreviewDocument::wanted)?;
    let mut reader = app.database.read().await?;
    preview(&app, &mut reader, wanted).await.map(Json)
}

/// Tries again what an invoice waits for: its way to Stripe, or its payment.
///
/// It is tried soon after this answer; the invoice then shows what came of it.
#[utoipa::path(post, path = "/v1/invoices/{invoice}/retry", tag = "invoices",
    request_body = Nothing,
    params(("invoice" = InvoiceId, Path, description = "Its id.")),
    responses((status = 200, description = "The invoice.", body = InvoiceView)))]
pub async fn retry_invoice(
    State(app): State<App>,
    Path(invoice): Path<String>,
    Post(document, mut call): Post<Nothing>,
) -> Result<Answer> {
    document.check(|nothing, _| Some(nothing))?;
    let invoice = required(&mut call.tx, &invoice).await?;
    let invoice = pusher::retry(&app, &mut call.tx, invoice).await?;
    let view = view(&mut call.tx, invoice).await?;
    call.done(&view).await
}

/// Takes an invoice back that is not paid: a draft is removed from Stripe, an issued one voided there.
///
/// It is done soon after this answer; the invoice is then `void`. What it was for is not billed
/// again, and credits that paid a part of it are the customer's again.
#[utoipa::path(post, path = "/v1/invoices/{invoice}/void", tag = "invoices",
    request_body = Nothing,
    params(("invoice" = InvoiceId, Path, description = "Its id.")),
    responses((status = 200, description = "The invoice.", body = InvoiceView)))]
pub async fn void_invoice(
    State(app): State<App>,
    Path(invoice): Path<String>,
    Post(document, mut call): Post<Nothing>,
) -> Result<Answer> {
    document.check(|nothing, _| Some(nothing))?;
    let invoice = required(&mut call.tx, &invoice).await?;
    let invoice = voiding::void(&app, &mut call.tx, invoice).await?;
    let view = view(&mut call.tx, invoice).await?;
    call.done(&view).await
}

async fn required(connection: &mut Connection, id: &str) -> Result<Invoice> {
    let found = match id.parse() {
        Ok(id) => store::find(connection, id).await?,
        Err(_) => None,
    };
    found.ok_or_else(|| Error::not_found("invoice_not_found", "There is no such invoice."))
}

async fn view(connection: &mut Connection, invoice: Invoice) -> Result<InvoiceView> {
    let lines = store::lines(connection, invoice.id).await?;
    Ok(InvoiceView::new(invoice, lines))
}

async fn page(
    connection: &mut Connection,
    slice: &Slice,
    found: Vec<Invoice>,
) -> Result<Json<Page<InvoiceView>>> {
    let mut views = Vec::with_capacity(found.len());
    for invoice in found {
        views.push(view(&mut *connection, invoice).await?);
    }
    Ok(Json(slice.page(views, |view| view.id)))
}
