//! What a change would cost: the change is made, billed and forgotten.

use serde::Serialize;
use utoipa::ToSchema;

use super::assembly::{self, Occasion};
use super::view::LineView;
use super::{InvoiceKind, Part, credits, schedules, store};
use crate::app::App;
use crate::clock::BusinessInstant;
use crate::database::Write;
use crate::error::Result;
use crate::money::{Minor, Money};
use crate::subscriptions::{self, Loader, Subscription};

/// What a change of a subscription would give back and cost, by what is known now.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChangeEstimate {
    /// When the change would happen.
    effective_at: BusinessInstant,
    /// Three letters of ISO 4217.
    currency: String,
    /// What would be given back of the fee that was paid.
    #[schema(value_type = String)]
    credit: Money,
    /// What would be charged then.
    #[schema(value_type = String)]
    total: Money,
    /// What that is made of.
    lines: Vec<LineView>,
}

/// What follows for money from a change that `tx` has made to `new`: the same that will be done.
///
/// The transaction is then to be given up.
///
/// # Errors
/// When the database refuses.
pub async fn estimate(app: &App, tx: &mut Write, new: &Subscription) -> Result<ChangeEstimate> {
    let mut loader = Loader::default();
    let member = loader.member(tx, new.clone()).await?;
    let mut invoice = store::newest_of(tx, new.id).await?;
    if invoice.is_none()
        && new.active_from <= app.clock.business_now()
        && let Some(schedule) = schedules::find(tx, new.id).await?
        && let Some(old) = schedule.changed_from
    {
        let old = subscriptions::required(tx, &old.to_string()).await?;
        let old = loader.member(tx, old).await?;
        let occasion = Occasion {
            member: &member,
            leaving: Some(&old),
            boundary: new.active_from,
            part: Part::All,
            kind: InvoiceKind::Change,
        };
        invoice = assembly::assemble(app, tx, occasion).await?;
    }
    let currency = member.plan.currency;
    let (total, lines) = match invoice {
        None => (Minor::ZERO, Vec::new()),
        Some(invoice) => (invoice.total, store::lines(tx, invoice.id).await?),
    };
    let credit = credits::issued_because(tx, new.id).await?;
    Ok(ChangeEstimate {
        effective_at: new.active_from,
        currency: currency.to_string(),
        credit: credit.of(currency),
        total: total.of(currency),
        lines: LineView::all(lines, currency),
    })
}
