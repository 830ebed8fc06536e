//! Prices of rate cards, and what follows from them for a plan.

use rust_decimal::Decimal;
use tollgate_engine::units::Units;

use super::{Phase, Plan, RateCard};
use crate::catalog::period::Period;

/// The mean of the Gregorian calendar in days: 146,097 in 4,800 months.
const DAYS_PER_4800_MONTHS: i64 = 146_097;

/// What a rate card costs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Price {
    /// An amount per period, or once.
    Flat {
        /// How much.
        amount: Decimal,
        /// When it is due.
        term: PaymentTerm,
    },
    /// Each unit at the price of its own tier; always due in arrears.
    Graduated {
        /// By rising end; only the last one is open.
        tiers: Vec<Tier>,
    },
}

/// When a flat price is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PaymentTerm {
    /// At the beginning of its period.
    InAdvance,
    /// At the end of its period.
    InArrears,
}

/// The prices of units from one tier's end to the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tier {
    /// The last unit; the last tier has none.
    pub up_to: Option<Units>,
    /// Once when the tier is entered; the first one always is.
    pub flat: Option<Decimal>,
    /// For each unit.
    pub unit: Option<Decimal>,
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
    /// The price with other ends of the tiers that come first and are free.
    #[must_use]
    pub fn with_free_units(&self, free: impl Fn(Units) -> Units) -> Self {
        match self {
            Self::Flat { .. } => self.clone(),
            Self::Graduated { tiers } => {
                let mut tiers = tiers.clone();
                for tier in tiers.iter_mut().take_while(|tier| tier.is_free()) {
                    tier.up_to = tier.up_to.map(&free);
                }
                Self::Graduated { tiers }
            }
        }
    }

    /// Whether nothing is ever charged.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        match self {
            Self::Flat { amount, .. } => amount.is_zero(),
            Self::Graduated { tiers } => tiers.iter().all(Tier::is_free),
        }
    }
}

impl Tier {
    /// Whether nothing is charged in it.
    fn is_free(&self) -> bool {
        let prices = [self.flat, self.unit];
        prices.into_iter().flatten().all(|price| price.is_zero())
    }
}

impl RateCard {
    /// The fee of each of its periods, if there is one that is due in advance.
    #[must_use]
    pub fn fee_in_advance(&self) -> Option<Decimal> {
        match &self.price {
            Some(Price::Flat {
                amount,
                term: PaymentTerm::InAdvance,
            }) if !amount.is_zero() => Some(*amount),
            _ => None,
        }
    }

    /// Whether it charges what is used of its feature.
    #[must_use]
    pub fn charges_usage(&self) -> bool {
        let price = self.price.as_ref().filter(|price| !price.is_zero());
        matches!(price, Some(Price::Graduated { .. }))
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
            Some(fee / months(cadence))
        });
        fees.sum()
    }
}

impl Plan {
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
mod tests {
    use super::*;
    use crate::subscriptions::testing;

    #[test]
    fn fees_compare_by_month_and_only_what_recurs_in_advance_counts() {
        use PaymentTerm::{InAdvance, InArrears};
        let mut phase = testing::phase(None, &[]);
        for (key, cadence, amount, term) in [
            ("monthly", Some("P1M"), "10", InAdvance),
            ("yearly", Some("P1Y"), "120", InAdvance),
            ("setup", None, "500", InAdvance),
            ("later", Some("P1M"), "7", InArrears),
        ] {
            phase
                .rate_cards
                .push(testing::flat(key, cadence, amount, term));
        }
        assert_eq!(phase.fee_per_month(), Decimal::from(20));
        assert!(phase.charges_in_advance());
        let weekly = testing::flat("weekly", Some("P1W"), "7", InAdvance);
        phase.rate_cards = vec![weekly];
        assert_eq!(phase.fee_per_month().round_dp(4).to_string(), "30.4369");
    }

    #[test]
    fn only_tiers_that_come_first_and_are_free_end_elsewhere() {
        let tier = |up_to: Option<u64>, unit: i64| Tier {
            up_to: up_to.map(|units| Units::ONE.saturating_mul(units)),
            flat: None,
            unit: Some(unit.into()),
        };
        let tiers = vec![
            tier(Some(10), 0),
            tier(Some(20), 1),
            tier(Some(30), 0),
            tier(None, 2),
        ];
        let price = Price::Graduated { tiers };
        let cut = price.with_free_units(|_| Units::ONE);
        let tiers = vec![
            tier(Some(1), 0),
            tier(Some(20), 1),
            tier(Some(30), 0),
            tier(None, 2),
        ];
        assert_eq!(cut, Price::Graduated { tiers });
    }

    #[test]
    fn a_plan_needs_a_payment_method_when_it_charges_unless_it_says_otherwise() {
        let mut phase = testing::phase(None, &[("calls", "P1M")]);
        assert!(!testing::plan(vec![phase.clone()]).needs_payment_method());
        let free = testing::flat("base", Some("P1M"), "0", PaymentTerm::InAdvance);
        phase.rate_cards.push(free);
        assert!(!testing::plan(vec![phase.clone()]).needs_payment_method());
        let fee = testing::flat("fee", Some("P1M"), "1", PaymentTerm::InArrears);
        phase.rate_cards.push(fee);
        let plan = testing::plan(vec![phase]);
        assert!(plan.needs_payment_method());
        let mut plan = (*plan).clone();
        plan.payment_method_required = Some(false);
        assert!(!plan.needs_payment_method());
    }
}
