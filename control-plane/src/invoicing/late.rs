//! Late usage: units of windows that became known after these were billed.

use std::time::Duration;

use rust_decimal::Decimal;
use tollgate_engine::units::Units;

use super::assembly::{self, Draft, Head};
use super::calendar::Interval;
use super::pricing::{self, Cycle, Rating};
use super::windows::{self, Late, Rated};
use super::{InvoiceKind, Line, LineKind, Part, charges};
use crate::app::App;
use crate::catalog::currency::Currency;
use crate::clock::BusinessInstant;
use crate::database::{Connection, Write};
use crate::error::{Error, Result};
use crate::ids::CustomerId;
use crate::money::Minor;
use crate::subscriptions::{Loader, Member};

/// Late usage that no other invoice will hold goes on one of its own, at most once in so long.
const BETWEEN_OWN_INVOICES: Duration = Duration::from_secs(24 * 3_600);

/// Adds the late usage of a customer, in one currency, to what is to be billed.
///
/// Of each window it is rate(everything) − what was billed of it, in one line that names the period.
pub(super) async fn add(
    connection: &mut Connection,
    customer: CustomerId,
    currency: Currency,
    draft: &mut Draft,
) -> Result<()> {
    let mut loader = Loader::default();
    for late in windows::late(connection, customer).await? {
        let member = member_of(&mut *connection, &mut loader, &late.rated).await?;
        if member.plan.currency == currency {
            let (line, rated) = correct(&member, &late)?;
            draft.lines.extend(line);
            draft.corrected.push(rated);
        }
    }
    Ok(())
}

/// The subscription that a window is of.
async fn member_of(
    connection: &mut Connection,
    loader: &mut Loader,
    rated: &Rated,
) -> Result<Member> {
    let ever = BusinessInstant::from_unix_ms(i64::MIN);
    let chain = loader.chain(connection, rated.chain, ever).await?;
    let members = chain.into_iter().flat_map(|chain| chain.members);
    let mut members = members.filter(|member| member.subscription.epoch == rated.window.epoch);
    members
        .next()
        .ok_or_else(|| Error::internal(anyhow::anyhow!("window {} of nobody", rated.window)))
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

/// A customer whose late usage is to go on an invoice of its own at `now`.
pub(super) async fn due(
    connection: &mut Connection,
    now: BusinessInstant,
) -> Result<Option<CustomerId>> {
    let mut alone = alone(connection).await?.into_iter();
    Ok(alone
        .find(|(_, at)| *at <= now)
        .map(|(customer, _)| customer))
}

/// Bills the late usage of a customer alone.
pub(super) async fn bill(app: &App, tx: &mut Write, customer: CustomerId) -> Result<()> {
    let now = app.clock.business_now();
    let Some(last) = windows::late(tx, customer).await?.pop() else {
        return Ok(());
    };
    let member = member_of(tx, &mut Loader::default(), &last.rated).await?;
    let mut draft = Draft::default();
    add(tx, customer, member.plan.currency, &mut draft).await?;
    let head = Head {
        subscription: &member.subscription,
        currency: member.plan.currency,
        kind: InvoiceKind::Late,
        boundary: now,
        part: Part::Arrears,
    };
    assembly::write(app, tx, &head, draft).await.map(drop)
}

#[cfg(test)]
mod tests;
