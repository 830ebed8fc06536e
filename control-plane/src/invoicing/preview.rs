//! What a customer or a subscription would be billed.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::assembly::Draft;
use super::forecast::Forecast;
use super::schedules::{self, Ripe, Schedule};
use super::view::LineView;
use super::{InvoiceKind, Part};
use crate::app::App;
use crate::clock::BusinessInstant;
use crate::customers;
use crate::database::Connection;
use crate::error::{Error, Result};
use crate::http::document::{Document, Mistakes, Place};
use crate::ids::{CustomerId, SubscriptionId};
use crate::money::Money;
use crate::subscriptions;

/// What is to be looked ahead to.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PreviewDocument {
    /// The customer's id or key: all their subscriptions.
    pub customer: Option<String>,
    /// The subscription's id or key, in place of a customer.
    pub subscription: Option<String>,
    /// Everything due until then; only the next invoice of each subscription when left out.
    #[schema(value_type = Option<BusinessInstant>)]
    pub as_of: Option<String>,
}

/// Whose invoices, and until when.
#[derive(Clone, Debug)]
pub struct Wanted {
    who: Who,
    as_of: Option<BusinessInstant>,
}

#[derive(Clone, Debug)]
enum Who {
    Customer(String),
    Subscription(String),
}

/// What would be billed, by what is used so far.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Preview {
    /// Everything due until then; null where it is the next invoice of each subscription.
    as_of: Option<BusinessInstant>,
    /// In the order in which they would be made.
    pub(crate) invoices: Vec<PreviewedInvoice>,
}

/// An invoice that is none yet.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PreviewedInvoice {
    /// Who pays.
    pub(crate) customer: CustomerId,
    /// The subscription that begins, goes on or ends with it.
    pub(crate) subscription: SubscriptionId,
    /// The version of its plan.
    plan_version: u32,
    /// Why there will be one.
    pub(crate) kind: InvoiceKind,
    /// The instant it is about: the beginning of a period, the end of another, or both.
    pub(crate) boundary: BusinessInstant,
    /// Which part of what is due then.
    part: Part,
    /// Three letters of ISO 4217.
    pub(crate) currency: String,
    /// What is to be paid.
    #[schema(value_type = String)]
    pub(crate) total: Money,
    /// What it is made of.
    pub(crate) lines: Vec<LineView>,
}

impl PreviewedInvoice {
    pub(super) fn of(draft: Draft) -> Self {
        let (head, total) = (draft.head, draft.total());
        Self {
            customer: head.customer,
            subscription: head.subscription,
            plan_version: head.plan_version,
            kind: head.kind,
            boundary: head.boundary,
            part: head.part,
            currency: head.currency.to_string(),
            total: total.of(head.currency),
            lines: LineView::all(draft.lines, head.currency),
        }
    }
}

impl Document for PreviewDocument {}

impl PreviewDocument {
    /// What it says, or every mistake in it.
    #[must_use]
    pub fn wanted(self, mistakes: &mut Mistakes) -> Option<Wanted> {
        let root = Place::root();
        let who = match (self.customer, self.subscription) {
            (Some(customer), None) => Some(Who::Customer(customer)),
            (None, Some(subscription)) => Some(Who::Subscription(subscription)),
            _ => {
                let detail = "either a customer or a subscription is to be named";
                mistakes.add(&root, "customer_or_subscription", detail);
                None
            }
        };
        let as_of = self.as_of.map(|text| text.parse::<jiff::Timestamp>());
        let as_of = as_of.transpose().map_err(|_| {
            let place = root.field("asOf");
            mistakes.add(&place, "not_an_instant", "is no instant of RFC 3339");
        });
        Some(Wanted {
            who: who?,
            as_of: as_of.ok()?.map(BusinessInstant::from),
        })
    }
}

/// What would be billed, by what is used so far. Nothing is written.
///
/// # Errors
/// 404 for who is not there.
pub async fn preview(app: &App, connection: &mut Connection, wanted: Wanted) -> Result<Preview> {
    let (customer, schedules) = match wanted.who {
        Who::Customer(id) => {
            let customer = customers::required(connection, &id).await?;
            let schedules = schedules::of_customer(connection, customer.id).await?;
            (Some(customer.id), schedules)
        }
        Who::Subscription(id) => {
            let subscription = subscriptions::required(connection, &id).await?;
            let schedule = schedules::find(connection, subscription.id).await?;
            (None, schedule.into_iter().collect())
        }
    };
    let mut drafts = Vec::new();
    match wanted.as_of {
        Some(as_of) => {
            let mut forecast = Forecast::new(app.clone(), Ripe::supposed(as_of));
            drafts.extend(all_of(&mut forecast, connection, schedules).await?);
            if customer.is_some() {
                drafts.extend(forecast.late(connection, as_of, customer).await?);
            }
        }
        None => {
            for schedule in schedules {
                let Some(due) = &schedule.next else { continue };
                let ripe = Ripe::supposed(due.boundary);
                let mut forecast = Forecast::new(app.clone(), ripe);
                drafts.extend(all_of(&mut forecast, connection, vec![schedule]).await?);
            }
        }
    }
    drafts.sort_by_key(|draft| draft.head.boundary);
    Ok(Preview {
        as_of: wanted.as_of,
        invoices: drafts.into_iter().map(PreviewedInvoice::of).collect(),
    })
}

async fn all_of(
    forecast: &mut Forecast,
    connection: &mut Connection,
    schedules: Vec<Schedule>,
) -> Result<Vec<Draft>> {
    let (drafts, failed) = forecast.of(connection, schedules).await?;
    match failed.first() {
        None => Ok(drafts),
        Some(id) => Err(Error::internal(anyhow::anyhow!("{id} cannot be billed"))),
    }
}
