//! What is due at which boundary: fees of the period that begins, arrears of the one that ends.
//!
//! The boundaries of a subscription are those of its plan's cadence, counted from the anchor of each
//! term, and the ends of its terms. A card's cycles are counted from the anchor of the term, too: those
//! of a cadence shorter than the plan's come together at the plan's boundary.

use rust_decimal::Decimal;

use super::proration::share;
use crate::calendar::Interval;
use crate::calendar::Period;
use crate::catalog::plans::{FlatPrice, PaymentTerm, RateCard, UsagePrice};
use crate::clock::BusinessInstant;
use crate::subscriptions::Member;
use crate::subscriptions::schedule::{Term, UsageWindow};

/// A flat amount that is due.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct FlatCharge<'a> {
    pub(super) term: Term<'a>,
    pub(super) card: &'a RateCard,
    /// Of which it is.
    pub(super) period: Interval,
    /// How many of the card's cycles.
    pub(super) cycles: u32,
    /// Of one whole cycle.
    pub(super) price: &'a FlatPrice,
    /// Not rounded, and nothing taken off; of cut cycles the share.
    pub(super) amount: Decimal,
}

/// Windows of one priced meter that are over.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct UsageCharge<'a> {
    pub(super) term: Term<'a>,
    pub(super) card: &'a RateCard,
    pub(super) price: &'a UsagePrice,
    /// In order; at least one.
    pub(super) windows: Vec<UsageWindow>,
}

/// The first boundary after one, or the first of all.
pub(super) fn next_boundary(
    member: &Member,
    after: Option<BusinessInstant>,
) -> Option<BusinessInstant> {
    let Some(after) = after else {
        return member.terms().next().map(|term| term.start);
    };
    let term = member.term_at(after)?;
    Some(plan_period(member, &term, after).end)
}

/// The term that goes on until `boundary` or is over there, with the boundary before.
fn term_before<'a>(
    member: &'a Member,
    boundary: BusinessInstant,
) -> Option<(Term<'a>, BusinessInstant)> {
    let last = BusinessInstant::from_unix_ms(boundary.unix_ms() - 1);
    let term = member.term_at(last)?;
    let before = plan_period(member, &term, last).start;
    Some((term, before))
}

/// The billing period that `at` is in; none crosses its term.
fn plan_period(member: &Member, term: &Term<'_>, at: BusinessInstant) -> Interval {
    let whole = term.boundaries(member.plan.billing_cadence).period_at(at);
    cut(term, whole, term.end)
}

/// Whether something is due at `boundary` that depends on what was used until then.
pub(super) fn awaits_usage(member: &Member, boundary: BusinessInstant) -> bool {
    !usage_until(member, boundary).is_empty()
}

/// Fees of the periods that begin at `boundary`.
///
/// A phase's end cuts a fee to its share; the end of the subscription does not, since fees are not
/// given back.
pub(super) fn fees_from(member: &Member, boundary: BusinessInstant) -> Vec<FlatCharge<'_>> {
    let Some(term) = member.term_at(boundary) else {
        return Vec::new();
    };
    let end = phase_end(&term);
    let whole = term
        .boundaries(member.plan.billing_cadence)
        .period_at(boundary);
    let period = cut(&term, whole, end);
    if period.start != boundary {
        return Vec::new();
    }
    let fees = term.phase.rate_cards.iter().filter_map(|card| {
        let fee = card.fee_in_advance()?;
        match card.billing_cadence {
            None => (boundary == term.start).then(|| FlatCharge {
                term,
                card,
                period: Interval {
                    start: term.start,
                    end: end.unwrap_or(term.start),
                },
                cycles: 1,
                price: fee,
                amount: fee.amount,
            }),
            Some(cadence) => {
                let cycles = cycles(&term, cadence, period.start)
                    .take_while(|cycle| cycle.start < period.end)
                    .filter(|cycle| period.start <= cycle.start.max(term.start));
                flat(term, card, fee, end, cycles)
            }
        }
    });
    fees.collect()
}

/// Flat amounts of the periods that end at `boundary`, or since the boundary before.
pub(super) fn arrears_until(member: &Member, boundary: BusinessInstant) -> Vec<FlatCharge<'_>> {
    let Some((term, before)) = term_before(member, boundary) else {
        return Vec::new();
    };
    let is_over = term.end == Some(boundary);
    let charges = term.phase.rate_cards.iter().filter_map(|card| {
        let price = card.flat_price(PaymentTerm::InArrears)?;
        match card.billing_cadence {
            None if is_over => {
                let charged = Interval {
                    start: term.start,
                    end: boundary,
                };
                let whole = Interval {
                    end: phase_end(&term).unwrap_or(boundary),
                    ..charged
                };
                Some(FlatCharge {
                    term,
                    card,
                    period: charged,
                    cycles: 1,
                    price,
                    amount: share(price.amount, charged, whole),
                })
            }
            None => None,
            Some(cadence) => {
                let cycles = cycles(&term, cadence, before)
                    .take_while(|cycle| cycle.start < boundary)
                    .filter(|cycle| cycle.end <= boundary || is_over);
                flat(term, card, price, term.end, cycles)
            }
        }
    });
    charges.collect()
}

/// Windows of priced meters that end at `boundary`, or since the boundary before.
pub(super) fn usage_until(member: &Member, boundary: BusinessInstant) -> Vec<UsageCharge<'_>> {
    let Some((term, before)) = term_before(member, boundary) else {
        return Vec::new();
    };
    let charges = term.phase.rate_cards.iter().filter_map(|card| {
        let price = card.usage_price()?;
        let (meter, period) = card.meter()?;
        let windows: Vec<_> = term
            .windows(meter, period, before)
            .take_while(|window| window.end <= boundary)
            .collect();
        (!windows.is_empty()).then_some(UsageCharge {
            term,
            card,
            price,
            windows,
        })
    });
    charges.collect()
}

/// The end that the phase itself has, whatever the subscription's is.
pub(super) fn phase_end(term: &Term<'_>) -> Option<BusinessInstant> {
    let duration = term.phase.duration?;
    let boundaries = term.subscription.boundaries(term.start, duration);
    Some(boundaries.boundary(1))
}

/// The same date and time of the next year.
pub(super) fn a_year_after(at: BusinessInstant) -> BusinessInstant {
    let year = jiff::Span::new().years(1);
    let zoned = at.timestamp().to_zoned(jiff::tz::TimeZone::UTC);
    zoned
        .checked_add(year)
        .map_or(at, |later| later.timestamp().into())
}

/// The least that is to be spent in a window: of a cut one the share.
pub(super) fn minimum(price: &UsagePrice, window: &UsageWindow) -> Decimal {
    let charged = Interval {
        start: window.start,
        end: window.end,
    };
    share(price.minimum, charged, window.whole())
}

/// A card's whole cycles, in order, from the one that `from` is in.
fn cycles(
    term: &Term<'_>,
    cadence: Period,
    from: BusinessInstant,
) -> impl Iterator<Item = Interval> + use<> {
    let boundaries = term.boundaries(cadence);
    let first = boundaries.period_at(from);
    std::iter::successors(Some(first), move |before| {
        (before.start < before.end).then(|| boundaries.period_at(before.end))
    })
}

/// The charge for some cycles, each cut at the term's start and at `end`.
fn flat<'a>(
    term: Term<'a>,
    card: &'a RateCard,
    price: &'a FlatPrice,
    end: Option<BusinessInstant>,
    cycles: impl Iterator<Item = Interval>,
) -> Option<FlatCharge<'a>> {
    let mut charge: Option<FlatCharge<'a>> = None;
    for whole in cycles {
        let period = cut(&term, whole, end);
        let charge = charge.get_or_insert(FlatCharge {
            term,
            card,
            period,
            cycles: 0,
            price,
            amount: Decimal::ZERO,
        });
        charge.period.end = period.end;
        charge.cycles += 1;
        charge.amount += share(price.amount, period, whole);
    }
    charge
}

/// What of an interval is in a term and before `end`.
fn cut(term: &Term<'_>, interval: Interval, end: Option<BusinessInstant>) -> Interval {
    Interval {
        start: interval.start.max(term.start),
        end: end.map_or(interval.end, |end| end.min(interval.end)),
    }
}

#[cfg(test)]
mod tests;
