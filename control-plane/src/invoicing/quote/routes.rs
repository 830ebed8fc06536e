//! Quotes over HTTP.

use axum::Json;

use super::{Quote, QuoteDocument};
use crate::error::Result;
use crate::http::document::Unchecked;

/// Says what a quantity of one rate card would cost: the same lines that an invoice would have.
///
/// Nothing is kept of it.
#[utoipa::path(post, path = "/v1/quote", tag = "quote", request_body = QuoteDocument,
    responses((status = 200, description = "What it would cost.", body = Quote)))]
pub async fn create_quote(document: Unchecked<QuoteDocument>) -> Result<Json<Quote>> {
    document.check(QuoteDocument::check).map(Json)
}
