//! From a price and quantities to lines, in the order of the specification: free units, price,
//! percentage, most, least.
//!
//! Every line is rounded once, to the smallest amount that is charged in the currency, and everything
//! after is reckoned with rounded amounts: what is shown is what is summed.

mod parts;
#[cfg(test)]
mod tests;

use std::fmt;

use rust_decimal::Decimal;
use tollgate_engine::units::Units;

use crate::catalog::currency::Currency;
use crate::catalog::plans::{FlatPrice, UsagePrice};
use crate::money::{self, Minor, TooGreat};
use parts::{Parts, after, parts};

/// Decimals of units.
const UNIT_DECIMALS: u32 = 3;

/// A part of a price.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LineId {
    /// The amount of a flat price.
    Flat,
    /// The units of a unit price.
    Unit,
    /// The packages of a package price, or the units of a dynamic one.
    Usage,
    /// The units of a graduated tier, from 1.
    TierUsage(u32),
    /// The flat price of a graduated tier, from 1.
    TierFlat(u32),
    /// The units of the one tier that holds them all.
    VolumeUsage,
    /// The flat price of that tier.
    VolumeFlat,
    /// What lacks of the least that is to be spent.
    MinimumSpend,
}

impl fmt::Display for LineId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flat => formatter.write_str("flat-price"),
            Self::Unit => formatter.write_str("unit-price-usage"),
            Self::Usage => formatter.write_str("usage"),
            Self::TierUsage(tier) => write!(formatter, "graduated-tiered-{tier}-price-usage"),
            Self::TierFlat(tier) => write!(formatter, "graduated-tiered-{tier}-flat-price"),
            Self::VolumeUsage => formatter.write_str("volume-tiered-price"),
            Self::VolumeFlat => formatter.write_str("volume-flat-price"),
            Self::MinimumSpend => formatter.write_str("min-spend"),
        }
    }
}

impl LineId {
    /// The line for people, of a rate card with this name.
    #[must_use]
    pub fn describe(&self, card: &str) -> String {
        match self {
            Self::Flat | Self::Unit | Self::Usage | Self::VolumeUsage => card.to_owned(),
            Self::TierUsage(tier) => format!("{card}, tier {tier}"),
            Self::TierFlat(tier) => format!("{card}, tier {tier} at a flat price"),
            Self::VolumeFlat => format!("{card}, at a flat price"),
            Self::MinimumSpend => format!("{card}, up to the minimum spend"),
        }
    }
}

/// A line of a price, rounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PricedLine {
    /// Which part of the price.
    pub id: LineId,
    /// How many times the unit amount.
    pub quantity: Decimal,
    /// The price of one; none where the quantity has no one price.
    pub unit_amount: Option<Decimal>,
    /// What the quantity comes to, before it is rounded.
    exact: Decimal,
    /// What it comes to.
    pub amount: Minor,
    /// What is taken off as a part of it.
    percentage: Minor,
    /// What is taken off because it is beyond the most that is to be spent.
    beyond: Minor,
}

impl PricedLine {
    fn new(id: LineId, unit_amount: Option<Decimal>) -> Self {
        Self {
            id,
            quantity: Decimal::ZERO,
            unit_amount,
            exact: Decimal::ZERO,
            amount: Minor::ZERO,
            percentage: Minor::ZERO,
            beyond: Minor::ZERO,
        }
    }

    /// What is taken off.
    #[must_use]
    pub fn discount(&self) -> Minor {
        self.percentage + self.beyond
    }

    /// What is left to pay.
    #[must_use]
    pub fn total(&self) -> Minor {
        self.amount - self.discount()
    }

    /// Adds to what the quantity comes to.
    fn add(&mut self, amount: Decimal, rules: Rules) -> Result<(), TooGreat> {
        self.exact += amount;
        self.amount = money::round(self.exact, rules.currency)?;
        self.percentage = rules.percentage.of_money(self.amount.of(rules.currency));
        Ok(())
    }
}

/// What holds for every line.
#[derive(Clone, Copy, Debug)]
struct Rules {
    currency: Currency,
    percentage: money::Percentage,
}

/// A quantity for multiplying with a price.
#[must_use]
pub fn quantity(units: Units) -> Decimal {
    // Units end below 2^53.
    Decimal::new(units.milli().cast_signed(), UNIT_DECIMALS)
}

/// The line of a flat price of so many cycles, which come to `amount`.
///
/// # Errors
/// When it is more than an invoice holds.
pub fn flat(
    price: &FlatPrice,
    currency: Currency,
    cycles: u32,
    amount: Decimal,
) -> Result<PricedLine, TooGreat> {
    let mut line = PricedLine::new(LineId::Flat, Some(price.amount));
    line.quantity = cycles.into();
    let percentage = price.discount;
    line.add(
        amount,
        Rules {
            currency,
            percentage,
        },
    )?;
    Ok(line)
}

/// What was used in one cycle of a rate card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cycle {
    /// Units that count before these, and are not billed again.
    pub carried: Units,
    /// Units to bill.
    pub units: Units,
    /// The least that is to be spent in it.
    pub minimum: Decimal,
}

/// Lines of a price over the cycles that are billed together: each part comes to one line, rounded
/// once however many cycles there are.
#[derive(Clone, Debug)]
pub struct Rating {
    currency: Currency,
    lines: Vec<PricedLine>,
}

impl Rating {
    /// Of no cycle.
    #[must_use]
    pub fn new(currency: Currency) -> Self {
        let lines = Vec::new();
        Self { currency, lines }
    }

    /// Adds a cycle, and says what it adds to the total: what all its units cost less what the carried
    /// ones would have, within its limits.
    ///
    /// # Errors
    /// When a line is more than an invoice holds.
    pub fn add(&mut self, price: &UsagePrice, cycle: &Cycle) -> Result<Minor, TooGreat> {
        let rules = Rules {
            currency: self.currency,
            percentage: price.discount,
        };
        let both = parts(price, cycle.carried.saturating_add(cycle.units));
        let (parts, spent_before) = if cycle.carried.is_zero() {
            (both, Minor::ZERO)
        } else {
            let before = parts(price, cycle.carried);
            let spent = spent_on(&before, rules)?;
            (after(&before, both), spent)
        };
        let maximum = match price.maximum {
            None => None,
            Some(maximum) => {
                let maximum = money::round(maximum, self.currency)?;
                Some((maximum - spent_before).max(Minor::ZERO))
            }
        };
        let spent = self.add_parts(&parts, maximum, rules)?;
        let minimum = money::round(cycle.minimum, self.currency)?;
        if spent < minimum {
            self.add_missing(minimum - spent);
        }
        Ok(spent.max(minimum))
    }

    /// Adds parts, none of which go beyond what is left of the most that is to be spent.
    fn add_parts(
        &mut self,
        parts: &Parts,
        maximum: Option<Minor>,
        rules: Rules,
    ) -> Result<Minor, TooGreat> {
        let mut spent = Minor::ZERO;
        for part in parts {
            let line = self.line(part.id, part.unit_amount);
            let before = line.total();
            line.quantity += part.quantity;
            line.add(part.amount, rules)?;
            let added = line.total() - before;
            let taken = maximum.map_or(added, |maximum| added.min(maximum - spent));
            line.beyond += added - taken;
            spent += taken;
        }
        Ok(spent)
    }

    fn add_missing(&mut self, missing: Minor) {
        let currency = self.currency;
        let line = self.line(LineId::MinimumSpend, None);
        line.quantity = Decimal::ONE;
        line.amount += missing;
        line.exact = line.amount.of(currency).decimal();
        line.unit_amount = Some(line.exact);
    }

    fn line(&mut self, id: LineId, unit_amount: Option<Decimal>) -> &mut PricedLine {
        let found = self.lines.iter().position(|line| line.id == id);
        let index = found.unwrap_or(self.lines.len());
        if found.is_none() {
            self.lines.push(PricedLine::new(id, unit_amount));
        }
        let line = &mut self.lines[index];
        line.unit_amount = line.unit_amount.filter(|_| line.unit_amount == unit_amount);
        line
    }

    /// The lines, in order.
    #[must_use]
    pub fn into_lines(self) -> Vec<PricedLine> {
        self.lines
    }
}

/// What these parts would come to alone, before any limit.
fn spent_on(parts: &Parts, rules: Rules) -> Result<Minor, TooGreat> {
    let totals = parts.iter().map(|part| {
        let mut line = PricedLine::new(part.id, None);
        line.add(part.amount, rules)?;
        Ok(line.total())
    });
    totals.sum()
}
