//! Late usage: units of windows that became known after these were billed.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use rust_decimal::Decimal;
use tollgate_engine::units::Units;

use super::assembly::{self, Draft, Head};
use super::books::Books;
use super::credits::Credit;
use super::pricing::{self, Cycle, Rating};
use super::windows::{self, Late, Rated};
use super::{InvoiceKind, Line, LineKind, Part, charges};
use crate::app::App;
use crate::calendar::Interval;
use crate::catalog::plans::RateCard;
use crate::clock::BusinessInstant;
use crate::database::Connection;
use crate::error::{Error, Result};
use crate::ids::CustomerId;
use crate::money::{Minor, Money};
use crate::subscriptions::schedule::{Term, UsageWindow};
use crate::subscriptions::{Loader, Member};

/// Late usage that no other invoice will hold goes on one of its own, at most once in so long.
const BETWEEN_OWN_INVOICES: Duration = Duration::from_secs(24 * 3_600);

/// Adds what is late of a draft's customer, in its currency.
///
/// Of each window it is rate(everything) − what was billed of it, in one line that names the period;
/// where that is negative, since more costs less, it is a credit.
pub(super) fn add(app: &App, books: &mut Books, draft: &mut Draft) -> Result<()> {
    let Head {
        customer, currency, ..
    } = draft.head;
    for (member, late) in books.take_late(customer, currency) {
        let Correction {
            line,
            credited,
            rated,
        } = correct(&member, &late)?;
        if let Some(line) = line {
            if !credited.is_zero() {
                let source = line.identity.clone();
                let credit = Credit::new(app, &member, source, member.subscription.id, credited);
                books.add_credit(&credit);
                draft.issued.push(credit);
            }
            draft.lines.push(line);
        }
        draft.corrected.push(rated);
    }
    Ok(())
}

/// What is late of a window.
#[derive(Debug)]
struct Correction {
    /// If it comes to anything; a credit's has no amount.
    line: Option<Line>,
    /// What was billed too much.
    credited: Minor,
    /// The window as it is rated then.
    rated: Rated,
}

fn correct(member: &Member, late: &Late) -> Result<Correction> {
    let rated = &late.rated;
    let start = BusinessInstant::from_unix_ms(rated.window.start_ms);
    let (term, card, window) = find(member, rated)?;
    let price = card.usage_price().map(|price| window.price(price));
    let price = price.ok_or_else(|| missing(rated))?;
    let minimum = charges::minimum(&price, &window);
    let cost = |units| {
        let cycle = Cycle {
            carried: rated.carried,
            units,
            minimum,
        };
        Rating::new(member.plan.currency).add(&price, &cycle)
    };
    let total = cost(late.units).map_err(Error::internal)?;
    let before = cost(rated.units).map_err(Error::internal)?;
    let amount = (total - rated.amount).max(Minor::ZERO);
    // A window that shared a line with others may have been rounded up there: only what more units made
    // cheaper is given back.
    let credited = match total < before {
        true => (rated.amount - total).max(Minor::ZERO),
        false => Minor::ZERO,
    };
    let corrections = rated.corrections + 1;
    let extra = late.units.saturating_sub(rated.units);
    let (plan, name) = (&member.plan.name, &card.name);
    let is_something = !amount.is_zero() || !credited.is_zero();
    let line = is_something.then(|| Line {
        identity: assembly::identity(
            member,
            &term,
            card,
            start,
            &format!("late-usage/arrears/{corrections}"),
        ),
        kind: LineKind::Late,
        subscription: member.subscription.id,
        rate_card: card.key.clone(),
        description: match credited.is_zero() {
            true => format!("{plan}: {name}, later usage"),
            false => {
                let credited = credited.of(member.plan.currency);
                format!("{plan}: {name}, later usage: {credited} credited")
            }
        },
        period: Interval {
            start,
            end: rated.end,
        },
        quantity: quantity(extra),
        unit_amount: None,
        amount,
        discount: Minor::ZERO,
        credit: Minor::ZERO,
    });
    let rated = Rated {
        units: late.units,
        amount: rated.amount + amount - credited,
        corrections,
        ..rated.clone()
    };
    Ok(Correction {
        line,
        credited,
        rated,
    })
}

/// Windows that were rated in slices which do not sum to the whole, each with both sums.
///
/// One that shared a line with others may have been rounded there, and is not looked at.
///
/// # Errors
/// When the database refuses.
pub async fn uneven(connection: &mut Connection) -> Result<Vec<(String, [Money; 2])>> {
    let corrected = windows::corrected(connection).await?;
    let chains: BTreeSet<_> = corrected.iter().map(|rated| rated.chain).collect();
    let chains: Vec<_> = chains.into_iter().collect();
    let members = Loader::default().chains_of(connection, &chains).await?;
    let mut uneven = Vec::new();
    for rated in corrected {
        let members = members.get(&rated.chain).map_or(&[][..], Vec::as_slice);
        let mut members = members.iter();
        let epoch = rated.window.epoch;
        let member = members.find(|member| member.subscription.epoch == epoch);
        // What has no price is told of elsewhere.
        if let Some(member) = member
            && let Some(whole) = whole(member, &rated)
            && whole != rated.amount
        {
            let sums = [rated.amount, whole].map(|sum| sum.of(member.plan.currency));
            uneven.push((format!("{} {}", rated.chain, rated.window), sums));
        }
    }
    Ok(uneven)
}

/// What all that was rated of a window comes to at once, where it has lines of its own.
fn whole(member: &Member, rated: &Rated) -> Option<Minor> {
    let (_, card, window) = find(member, rated).ok()?;
    let (_, period) = card.meter()?;
    let price = card.usage_price()?;
    let cycle = Cycle {
        carried: rated.carried,
        units: rated.units,
        minimum: charges::minimum(price, &window),
    };
    let whole = Rating::new(member.plan.currency).add(&window.price(price), &cycle);
    whole.ok().filter(|_| period == member.plan.billing_cadence)
}

/// The rate card that a window was rated by, and the window.
fn find<'a>(member: &'a Member, rated: &Rated) -> Result<(Term<'a>, &'a RateCard, UsageWindow)> {
    let start = BusinessInstant::from_unix_ms(rated.window.start_ms);
    let found = member.term_at(start).and_then(|term| {
        let mut cards = term.phase.rate_cards.iter();
        let card = cards.find(|card| card.key == rated.rate_card)?;
        let (meter, period) = card.meter()?;
        let window = term.windows(meter, period, start).next()?;
        Some((term, card, window))
    });
    found.ok_or_else(|| missing(rated))
}

fn missing(rated: &Rated) -> Error {
    let (card, window) = (&rated.rate_card, &rated.window);
    Error::internal(anyhow::anyhow!("no rate card {card} at {window}"))
}

fn quantity(units: Units) -> Decimal {
    pricing::quantity(units).normalize()
}

/// By customer, how many subscriptions a look ahead has billed to their end; none where what is written is asked.
pub(super) type Ended = HashMap<CustomerId, i64>;

/// Customers whose late usage is to go on an invoice of its own, each with when: nothing of theirs is
/// still to be billed, but what has `ended`.
async fn alone(
    connection: &mut Connection,
    ended: &Ended,
) -> Result<Vec<(CustomerId, BusinessInstant)>> {
    let ended_of = |customer| ended.get(&customer).copied().unwrap_or_default();
    let most = ended.values().copied().max().unwrap_or_default();
    let late = windows::late_customers(connection, most).await?.into_iter();
    let alone = late.filter(|late| late.going_on <= ended_of(late.customer));
    Ok(alone
        .map(|late| (late.customer, late.last.after(BETWEEN_OWN_INVOICES)))
        .collect())
}

/// The first instant at which late usage goes on an invoice of its own.
pub(super) async fn first_due(connection: &mut Connection) -> Result<Option<BusinessInstant>> {
    let alone = alone(connection, &Ended::new()).await?;
    Ok(alone.into_iter().map(|(_, at)| at).min())
}

/// Customers whose late usage is to go on an invoice of its own at `now`, after what has `ended`.
pub(super) async fn due(
    connection: &mut Connection,
    now: BusinessInstant,
    ended: &Ended,
) -> Result<BTreeSet<CustomerId>> {
    let alone = alone(connection, ended).await?.into_iter();
    let due = alone.filter(|(_, at)| *at <= now);
    Ok(due.map(|(customer, _)| customer).collect())
}

/// What is late of customers, in one currency of each.
pub(super) async fn drafts(
    app: &App,
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
        add(app, books, &mut draft)?;
        drafts.push(draft);
    }
    Ok(drafts)
}

#[cfg(test)]
mod tests;
