//! From a price and a quantity to lines. Nothing here is rounded but in [`total`]: a line is rounded
//! once, when it is written.

use std::fmt;

use rust_decimal::Decimal;
use tollgate_engine::units::Units;

use crate::catalog::currency::Currency;
use crate::catalog::plans::{Price, Tier};
use crate::money::{self, Minor, TooGreat};

/// Decimals of units.
const UNIT_DECIMALS: u32 = 3;

/// A part of a price.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LineId {
    /// The amount of a flat price.
    Flat,
    /// The units of a tier, from 1.
    TierUsage(u32),
    /// The flat price of a tier, from 1.
    TierFlat(u32),
}

impl fmt::Display for LineId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flat => formatter.write_str("flat-price"),
            Self::TierUsage(tier) => write!(formatter, "graduated-tiered-{tier}-price-usage"),
            Self::TierFlat(tier) => write!(formatter, "graduated-tiered-{tier}-flat-price"),
        }
    }
}

/// What one part of a price comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PricedLine {
    /// Which part.
    pub id: LineId,
    /// How many times the unit amount.
    pub quantity: Decimal,
    /// The price of one.
    pub unit_amount: Decimal,
    /// Quantity × unit amount, exact.
    pub amount: Decimal,
}

impl PricedLine {
    fn new(id: LineId, quantity: Decimal, unit_amount: Decimal) -> Self {
        Self {
            id,
            quantity,
            unit_amount,
            // Exact: 12 digits of a price times 16 of a quantity.
            amount: quantity * unit_amount,
        }
    }
}

/// A quantity of units for multiplying with a price.
#[must_use]
pub fn quantity(units: Units) -> Decimal {
    // Units end below 2^53.
    Decimal::new(units.milli().cast_signed(), UNIT_DECIMALS)
}

/// What a quantity of one period costs.
///
/// A flat price costs the same whatever the quantity is. Each unit costs what its own tier says; a
/// tier's flat price is due when the tier is entered, the first tier's always.
#[must_use]
pub fn rate(price: &Price, units: Units) -> Vec<PricedLine> {
    match price {
        Price::Flat { amount, .. } => vec![PricedLine::new(LineId::Flat, Decimal::ONE, *amount)],
        Price::Graduated { tiers } => graduated(tiers, units),
    }
}

fn graduated(tiers: &[Tier], units: Units) -> Vec<PricedLine> {
    let mut lines = Vec::new();
    let mut start = Units::ZERO;
    for (number, tier) in (1..).zip(tiers) {
        let is_entered = number == 1 || start < units;
        if !is_entered {
            break;
        }
        let end = tier.up_to.map_or(units, |up_to| up_to.min(units));
        let in_tier = end.saturating_sub(start);
        if let Some(unit) = tier.unit.filter(|_| !in_tier.is_zero()) {
            let id = LineId::TierUsage(number);
            lines.push(PricedLine::new(id, quantity(in_tier), unit));
        }
        if let Some(flat) = tier.flat.filter(|flat| !flat.is_zero()) {
            let id = LineId::TierFlat(number);
            lines.push(PricedLine::new(id, Decimal::ONE, flat));
        }
        start = end;
    }
    lines
}

/// What units after `carried` earlier ones of the same window cost: rate(both) − rate(carried).
#[must_use]
pub fn rate_after(price: &Price, carried: Units, units: Units) -> Vec<PricedLine> {
    if carried.is_zero() {
        return rate(price, units);
    }
    let before = rate(price, carried);
    let mut lines = rate(price, carried.saturating_add(units));
    for line in &mut lines {
        if let Some(before) = before.iter().find(|before| before.id == line.id) {
            line.quantity -= before.quantity;
            line.amount -= before.amount;
        }
    }
    lines.retain(|line| !line.quantity.is_zero());
    lines
}

/// The sum of rounded lines.
///
/// # Errors
/// When a line is more than an invoice holds.
pub fn total(lines: &[PricedLine], currency: Currency) -> Result<Minor, TooGreat> {
    let rounded = lines.iter().map(|line| money::round(line.amount, currency));
    rounded.sum()
}

#[cfg(test)]
mod tests;
