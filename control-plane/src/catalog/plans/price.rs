//! Prices of rate cards, and what follows from them for a plan.

use std::num::NonZeroU64;

use rust_decimal::Decimal;
use serde_json::Value;
use tollgate_engine::slug::Slug;
use tollgate_engine::units::Units;

use super::{Entitlement, Phase, Plan, RateCard};
use crate::calendar::Period;
use crate::money::Percentage;

const PRIVATE_NAMES: [&str; 2] = ["private", "zuplo_private_plan"];
/// The mean of the Gregorian calendar in days: 146,097 in 4,800 months.
const DAYS_PER_4800_MONTHS: i64 = 146_097;

/// What a rate card costs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Price {
    /// An amount per period, or once.
    Flat(FlatPrice),
    /// By what was used; always due in arrears.
    Usage(UsagePrice),
}

/// An amount per period, or once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlatPrice {
    /// How much.
    pub amount: Decimal,
    /// When it is due.
    pub term: PaymentTerm,
    /// What is taken off it.
    pub discount: Percentage,
}

/// When a flat price is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PaymentTerm {
    /// At the beginning of its period.
    InAdvance,
    /// At the end of its period.
    InArrears,
}

/// What usage of one cycle costs: free units, then the rate, then the discount, then the limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsagePrice {
    /// The first units of each cycle, which cost nothing and count for no tier.
    pub free: Units,
    /// What the others cost.
    pub rate: Rate,
    /// What is taken off each line.
    pub discount: Percentage,
    /// What a cycle costs at least; what lacks is charged on a line of its own.
    pub minimum: Decimal,
    /// What a cycle costs at most, if there is a limit; what is beyond is taken off.
    pub maximum: Option<Decimal>,
}

/// How a quantity of one cycle is priced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rate {
    /// Every unit at the same price.
    Unit {
        /// Of one unit.
        amount: Decimal,
    },
    /// Each unit at the price of its own tier.
    Graduated(Tiers),
    /// Every unit at the price of the tier that the last one is in.
    Volume(Tiers),
    /// Whole packages, as many as hold the quantity.
    Package {
        /// Of one package.
        amount: Decimal,
        /// What it holds.
        size: PackageSize,
    },
    /// Units that are amounts themselves, such as a supplier's cost.
    Dynamic {
        /// What each is multiplied by.
        multiplier: Decimal,
    },
}

/// How many units a package holds: more than none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackageSize(NonZeroU64);

impl PackageSize {
    /// A package of `units`, unless that is none.
    #[must_use]
    pub const fn new(units: Units) -> Option<Self> {
        match NonZeroU64::new(units.milli()) {
            Some(milli) => Some(Self(milli)),
            None => None,
        }
    }

    /// How many packages hold `units`.
    #[must_use]
    pub const fn packages(self, units: Units) -> u64 {
        units.milli().div_ceil(self.0.get())
    }
}

/// Tiers by rising end, of which only the last one is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tiers {
    closed: Vec<(Units, TierPrice)>,
    open: TierPrice,
}

/// The prices of units from one tier's end to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TierPrice {
    /// Once.
    pub flat: Option<Decimal>,
    /// For each unit.
    pub unit: Option<Decimal>,
}

impl Tiers {
    /// Tiers with their last units, then the open one; none when the ends do not rise.
    #[must_use]
    pub fn new(closed: Vec<(Units, TierPrice)>, open: TierPrice) -> Option<Self> {
        let mut end = Units::ZERO;
        for (up_to, _) in &closed {
            if *up_to <= end {
                return None;
            }
            end = *up_to;
        }
        Some(Self { closed, open })
    }

    /// In order, each with its last unit; the last tier has none.
    pub fn iter(&self) -> impl Iterator<Item = (Option<Units>, &TierPrice)> {
        let closed = self
            .closed
            .iter()
            .map(|(up_to, price)| (Some(*up_to), price));
        closed.chain([(None, &self.open)])
    }

    fn is_zero(&self) -> bool {
        self.iter().all(|(_, tier)| tier.is_zero())
    }

    /// The tiers with other ends of those that come first and are free.
    fn with_free_units(&self, free: impl Fn(Units) -> Units) -> Self {
        let mut tiers = self.clone();
        let closed = tiers.closed.iter_mut();
        for (up_to, _) in closed.take_while(|(_, tier)| tier.is_zero()) {
            *up_to = free(*up_to);
        }
        tiers
    }
}

impl TierPrice {
    fn is_zero(&self) -> bool {
        let prices = [self.flat, self.unit];
        prices.into_iter().flatten().all(|price| price.is_zero())
    }
}

/// What is given back of a fee when a subscription leaves a plan in the middle of a period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proration {
    /// What is left of the time or of the quota, whichever is less.
    MaxConsumption,
    /// What is left of the time.
    Time,
    /// Nothing.
    None,
}

impl Price {
    /// Whether nothing is ever charged.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        match self {
            Self::Flat(price) => price.is_zero(),
            Self::Usage(price) => price.is_zero(),
        }
    }
}

impl FlatPrice {
    /// Whether nothing is ever charged.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        self.amount.is_zero() || self.discount.is_whole()
    }
}

impl UsagePrice {
    /// The price with another number of free units, whether they are taken off or a tier.
    #[must_use]
    pub fn with_free_units(&self, free: impl Fn(Units) -> Units) -> Self {
        let rate = match &self.rate {
            Rate::Graduated(tiers) => Rate::Graduated(tiers.with_free_units(&free)),
            Rate::Volume(tiers) => Rate::Volume(tiers.with_free_units(&free)),
            rate @ (Rate::Unit { .. } | Rate::Package { .. } | Rate::Dynamic { .. }) => {
                rate.clone()
            }
        };
        Self {
            free: free(self.free),
            rate,
            ..self.clone()
        }
    }

    /// Whether nothing is ever charged.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        let is_free = match &self.rate {
            Rate::Unit { amount } | Rate::Package { amount, .. } => amount.is_zero(),
            Rate::Graduated(tiers) | Rate::Volume(tiers) => tiers.is_zero(),
            Rate::Dynamic { multiplier } => multiplier.is_zero(),
        };
        let is_given = self.discount.is_whole() || self.maximum.is_some_and(|most| most.is_zero());
        self.minimum.is_zero() && (is_free || is_given)
    }
}

impl RateCard {
    /// The flat price of each of its periods, if there is one that is due in advance.
    #[must_use]
    pub fn fee_in_advance(&self) -> Option<&FlatPrice> {
        self.flat_price(PaymentTerm::InAdvance)
    }

    /// The flat price that is due in this term, if it ever charges anything.
    #[must_use]
    pub fn flat_price(&self, term: PaymentTerm) -> Option<&FlatPrice> {
        match &self.price {
            Some(Price::Flat(price)) if price.term == term && !price.is_zero() => Some(price),
            Some(Price::Flat(_) | Price::Usage(_)) | None => None,
        }
    }

    /// What it charges for use of its feature, if it ever charges anything.
    #[must_use]
    pub fn usage_price(&self) -> Option<&UsagePrice> {
        match &self.price {
            Some(Price::Usage(price)) if !price.is_zero() => Some(price),
            Some(Price::Flat(_) | Price::Usage(_)) | None => None,
        }
    }

    /// The meter it counts, with how often its units are issued anew.
    #[must_use]
    pub fn meter(&self) -> Option<(&Slug, Period)> {
        let grant = self.feature.as_ref()?;
        match grant.entitlement {
            Some(Entitlement::Metered { usage_period, .. }) => Some((&grant.feature, usage_period)),
            Some(
                Entitlement::Boolean | Entitlement::RateLimit { .. } | Entitlement::Static { .. },
            )
            | None => None,
        }
    }

    /// Whether it ever charges anything.
    #[must_use]
    pub fn is_billed(&self) -> bool {
        self.price.as_ref().is_some_and(|price| !price.is_zero())
    }
}

impl Phase {
    /// Whether anything is ever charged in it.
    #[must_use]
    pub fn is_billed(&self) -> bool {
        self.rate_cards.iter().any(RateCard::is_billed)
    }

    /// Whether a fee is charged when it begins: units of earlier windows then do not count on.
    #[must_use]
    pub fn charges_in_advance(&self) -> bool {
        self.rate_cards
            .iter()
            .any(|card| card.fee_in_advance().is_some())
    }

    /// Recurring fees that are due in advance, per month of 146,097 / 4,800 days.
    #[must_use]
    pub fn fee_per_month(&self) -> Decimal {
        let fees = self.rate_cards.iter().filter_map(|card| {
            let (fee, cadence) = (card.fee_in_advance()?, card.billing_cadence?);
            let paid = fee.amount - fee.discount.of(fee.amount);
            Some(paid / months(cadence))
        });
        fees.sum()
    }
}

impl Plan {
    /// Whether only who was invited may subscribe to it, as its metadata says, in Zuplo's words, too.
    #[must_use]
    pub fn is_private(&self) -> bool {
        PRIVATE_NAMES
            .iter()
            .any(|name| match self.metadata.get(name) {
                Some(Value::Bool(is_private)) => *is_private,
                Some(Value::String(text)) => text == "true",
                _ => false,
            })
    }

    /// Whether anything is ever charged in any phase.
    #[must_use]
    pub fn is_billed(&self) -> bool {
        self.phases.iter().any(Phase::is_billed)
    }

    /// Whether a subscription needs a payment method: as it says, else when anything is charged.
    #[must_use]
    pub fn needs_payment_method(&self) -> bool {
        self.payment_method_required
            .unwrap_or_else(|| self.is_billed())
    }
}

/// How many months a cadence is long in the mean.
fn months(cadence: Period) -> Decimal {
    const SECONDS_PER_DAY: i64 = 86_400;
    let seconds = cadence.days() * SECONDS_PER_DAY + cadence.seconds();
    let seconds_per_month = DAYS_PER_4800_MONTHS * SECONDS_PER_DAY / 4_800;
    Decimal::from(cadence.months()) + Decimal::from(seconds) / Decimal::from(seconds_per_month)
}

#[cfg(test)]
mod tests;
