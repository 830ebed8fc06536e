//! Invoices as they are shown. Amounts and quantities are decimals.

use serde::Serialize;
use utoipa::ToSchema;

use super::assembly::plain;
use super::{Invoice, InvoiceKind, InvoiceStatus, Line, LineKind, Part};
use crate::catalog::currency::Currency;
use crate::clock::BusinessInstant;
use crate::ids::{CustomerId, InvoiceId, SubscriptionId};
use crate::money::Money;

/// What was or is to be charged.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct InvoiceView {
    /// Its id.
    pub(super) id: InvoiceId,
    /// Who pays.
    customer: CustomerId,
    /// The subscription that begins, goes on or ends with it.
    subscription: SubscriptionId,
    /// The version of its plan.
    plan_version: u32,
    /// Why there is one.
    kind: InvoiceKind,
    /// Where it is.
    status: InvoiceStatus,
    /// The instant it is about: the beginning of a period, the end of another, or both.
    boundary: BusinessInstant,
    /// Which part of what is due then.
    part: Part,
    /// Three letters of ISO 4217.
    currency: String,
    /// What is to be paid.
    #[schema(value_type = String)]
    total: Money,
    /// What the customer calls it; null until it is issued.
    number: Option<String>,
    /// Where the customer can see and pay it; null until it is issued.
    hosted_invoice_url: Option<String>,
    /// Its id in Stripe; null until it is there.
    stripe_invoice_id: Option<String>,
    /// How often Stripe tried to collect it.
    attempts: u32,
    /// Since when it is overdue, if an attempt failed.
    due_since: Option<BusinessInstant>,
    /// Why the last step on its way to Stripe failed, if it did.
    failure: Option<String>,
    /// When it was assembled.
    created_at: BusinessInstant,
    /// When it was issued.
    finalized_at: Option<BusinessInstant>,
    /// When it was paid.
    paid_at: Option<BusinessInstant>,
    /// What it is made of.
    lines: Vec<LineView>,
}

/// A line of an invoice.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LineView {
    /// Unique for all time.
    id: String,
    /// What it is about.
    kind: LineKind,
    /// The subscription.
    subscription: SubscriptionId,
    /// The rate card.
    rate_card: String,
    /// For the customer to read.
    pub(crate) description: String,
    /// First instant of its period.
    period_start: BusinessInstant,
    /// First instant after it.
    period_end: BusinessInstant,
    /// How many.
    pub(crate) quantity: String,
    /// The price of one, where every one has the same.
    unit_amount: Option<String>,
    /// What it comes to.
    #[schema(value_type = String)]
    amount: Money,
    /// What is taken off that.
    #[schema(value_type = String)]
    discount: Money,
    /// What of the rest is paid with credits.
    #[schema(value_type = String)]
    credit: Money,
    /// What is left to pay.
    #[schema(value_type = String)]
    pub(crate) total: Money,
}

impl InvoiceView {
    pub(super) fn new(invoice: Invoice, lines: Vec<Line>) -> Self {
        let currency = invoice.currency;
        Self {
            id: invoice.id,
            customer: invoice.customer,
            subscription: invoice.subscription,
            plan_version: invoice.plan_version,
            kind: invoice.kind,
            status: invoice.status,
            boundary: invoice.boundary,
            part: invoice.part,
            currency: currency.to_string(),
            total: invoice.total.of(currency),
            number: invoice.number,
            hosted_invoice_url: invoice.hosted_url,
            stripe_invoice_id: invoice.stripe_id,
            attempts: invoice.attempts,
            due_since: invoice.due_since,
            failure: invoice.failure,
            created_at: invoice.created_at,
            finalized_at: invoice.finalized_at,
            paid_at: invoice.paid_at,
            lines: LineView::all(lines, currency),
        }
    }
}

impl LineView {
    pub(super) fn all(lines: Vec<Line>, currency: Currency) -> Vec<Self> {
        let view = |line: Line| Self {
            amount: line.amount.of(currency),
            discount: line.discount.of(currency),
            credit: line.credit.of(currency),
            total: line.total().of(currency),
            id: line.identity,
            kind: line.kind,
            subscription: line.subscription,
            rate_card: line.rate_card.to_string(),
            description: line.description,
            period_start: line.period.start,
            period_end: line.period.end,
            quantity: plain(line.quantity),
            unit_amount: line.unit_amount.map(plain),
        };
        lines.into_iter().map(view).collect()
    }
}
