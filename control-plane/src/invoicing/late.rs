//! Late usage: units of windows that became known after these were billed.

use std::collections::BTreeSet;
use std::time::Duration;

use rust_decimal::Decimal;
use tollgate_engine::units::Units;

use super::assembly::{self, Draft, Head};
use super::books::Books;
use super::pricing::{self, Cycle, Rating};
use super::windows::{self, Late, Rated};
use super::{InvoiceKind, Line, LineKind, Part, charges};
use crate::calendar::Interval;
use crate::clock::BusinessInstant;
use crate::database::Connection;
use crate::error::{Error, Result};
use crate::ids::CustomerId;
use crate::money::Minor;
use crate::subscriptions::Member;

/// Late usage that no other invoice will hold goes on one of its own, at most once in so long.
const BETWEEN_OWN_INVOICES: Duration = Duration::from_secs(24 * 3_600);

/// Adds what is late of a draft's customer, in its currency.
///
/// Of each window it is rate(everything) − what was billed of it, in one line that names the period.
pub(super) fn add(books: &mut Books, draft: &mut Draft) -> Result<()> {
    let Head {
        customer, currency, ..
    } = draft.head;
    for (member, late) in books.take_late(customer, currency) {
        let (line, rated) = correct(&member, &late)?;
        draft.lines.extend(line);
        draft.corrected.push(rated);
    }
    Ok(())
}

/// The line for what is late, if it comes to anything, and the window as it is rated then.
fn correct(member: &Member, late: &Late) -> Result<(Option<Line>, Rated)> {
    let rated = &late.rated;
    let start = BusinessInstant::from_unix_ms(rated.window.start_ms);
    let found = member.term_at(start).and_then(|term| {
        let mut cards = term.phase.rate_cards.iter();
        let card = cards.find(|card| card.key == rated.rate_card)?;
        let (meter, period) = card.meter()?;
        let window = term.windows(meter, period, start).next()?;
        Some((term, card, card.usage_price()?, window))
    });
    let missing = || anyhow::anyhow!("no rate card {} at {start}", rated.rate_card);
    let (term, card, price, window) = found.ok_or_else(|| Error::internal(missing()))?;
    let mut rating = Rating::new(member.plan.currency);
    let cycle = Cycle {
        carried: rated.carried,
        units: late.units,
        minimum: charges::minimum(price, &window),
    };
    let total = rating
        .add(&window.price(price), &cycle)
        .map_err(Error::internal)?;
    // Never less: totals do not fall, and the ledger only grows. A window that shared a line with
    // others may have been rounded up there.
    let amount = (total - rated.amount).max(Minor::ZERO);
    let corrections = rated.corrections + 1;
    let extra = late.units.saturating_sub(rated.units);
    let line = (!amount.is_zero()).then(|| {
        let id = format!("late-usage/arrears/{corrections}");
        Line {
            identity: assembly::identity(member, &term, card, start, &id),
            kind: LineKind::Late,
            subscription: member.subscription.id,
            rate_card: card.key.clone(),
            description: format!("{}: {}, later usage", member.plan.name, card.name),
            period: Interval {
                start,
                end: rated.end,
            },
            quantity: quantity(extra),
            unit_amount: None,
            amount,
            discount: Minor::ZERO,
            credit: Minor::ZERO,
        }
    });
    let rated = Rated {
        units: late.units,
        amount: rated.amount + amount,
        corrections,
        ..rated.clone()
    };
    Ok((line, rated))
}

fn quantity(units: Units) -> Decimal {
    pricing::quantity(units).normalize()
}

/// Customers whose late usage is to go on an invoice of its own, each with when.
async fn alone(connection: &mut Connection) -> Result<Vec<(CustomerId, BusinessInstant)>> {
    let customers = windows::late_alone(connection).await?.into_iter();
    Ok(customers
        .map(|(customer, last)| (customer, last.after(BETWEEN_OWN_INVOICES)))
        .collect())
}

/// The first instant at which late usage goes on an invoice of its own.
pub(super) async fn first_due(connection: &mut Connection) -> Result<Option<BusinessInstant>> {
    let alone = alone(connection).await?;
    Ok(alone.into_iter().map(|(_, at)| at).min())
}

/// Customers whose late usage is to go on an invoice of its own at `now`.
pub(super) async fn due(
    connection: &mut Connection,
    now: BusinessInstant,
) -> Result<BTreeSet<CustomerId>> {
    let alone = alone(connection).await?.into_iter();
    let due = alone.filter(|(_, at)| *at <= now);
    Ok(due.map(|(customer, _)| customer).collect())
}

/// What is late of customers, in one currency of each.
pub(super) async fn drafts(
    connection: &mut Connection,
    books: &mut Books,
    customers: &BTreeSet<CustomerId>,
    boundary: BusinessInstant,
) -> Result<Vec<Draft>> {
    books.learn_customers(connection, customers).await?;
    let mut drafts = Vec::new();
    for customer in customers {
        let Some(member) = books.late_member(*customer) else {
            continue;
        };
        let head = Head::new(member, InvoiceKind::Late, boundary, Part::Arrears);
        let mut draft = Draft::new(head);
        add(books, &mut draft)?;
        drafts.push(draft);
    }
    Ok(drafts)
}

#[cfg(test)]
mod tests;
