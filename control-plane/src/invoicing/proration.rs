//! What is given back of a fee that was paid for a period in advance and is left in its middle.

use rust_decimal::Decimal;
use tollgate_engine::units::Units;

use super::pricing::quantity;
use crate::calendar::Interval;
use crate::catalog::currency::Currency;
use crate::catalog::plans::Proration;
use crate::clock::BusinessInstant;
use crate::money::{self, Minor, TooGreat};

/// A fee that was paid for a period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fee {
    /// What was paid, in money or in credit.
    pub paid: Minor,
    /// In what.
    pub currency: Currency,
    /// What for.
    pub period: Interval,
    /// What was given back of it before.
    pub credited: Minor,
}

/// What was consumed of a meter since the fee's period began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Consumption {
    /// Units consumed.
    pub consumed: Units,
    /// Units of all quotas of the period together.
    pub quota: Units,
}

/// Paid × (1 − max(elapsed, consumed ÷ quota)) − credited before, at least 0, rounded once.
///
/// Elapsed and consumed are at most 1; of several meters the most consumed counts, and one without a
/// quota does not.
///
/// # Errors
/// When the fee is more than any invoice holds.
pub fn credit(
    fee: &Fee,
    at: BusinessInstant,
    proration: Proration,
    consumption: &[Consumption],
) -> Result<Minor, TooGreat> {
    let time_left = left(
        seconds(fee.period.start, at),
        seconds(fee.period.start, fee.period.end),
    );
    let left = match proration {
        Proration::None => Share::NOTHING,
        Proration::Time => time_left,
        Proration::MaxConsumption => consumption
            .iter()
            .filter(|meter| !meter.quota.is_zero())
            .map(|meter| left(quantity(meter.consumed), quantity(meter.quota)))
            .fold(time_left, Share::min),
    };
    let whole = left.of(fee.paid.of(fee.currency).decimal());
    let credit = money::round(whole, fee.currency)? - fee.credited;
    Ok(credit.max(Minor::ZERO))
}

/// An amount's share for the part of a whole period that is charged, before it is rounded.
///
/// A period without length is charged whole, and none is charged more than that.
#[must_use]
pub fn share(amount: Decimal, charged: Interval, whole: Interval) -> Decimal {
    let (part, of) = (
        seconds(charged.start, charged.end),
        seconds(whole.start, whole.end),
    );
    if of.is_zero() {
        return amount;
    }
    Share {
        part: part.min(of),
        of,
    }
    .of(amount)
}

/// A fraction from 0 to 1, divided last so that nothing is rounded before.
#[derive(Clone, Copy, Debug)]
struct Share {
    part: Decimal,
    of: Decimal,
}

impl Share {
    const NOTHING: Self = Self {
        part: Decimal::ZERO,
        of: Decimal::ONE,
    };

    fn of(self, amount: Decimal) -> Decimal {
        amount * self.part / self.of
    }

    fn min(self, other: Self) -> Self {
        if other.part * self.of < self.part * other.of {
            other
        } else {
            self
        }
    }
}

/// What is left when `used` is gone; of nothing, nothing is left.
fn left(used: Decimal, of: Decimal) -> Share {
    if of.is_zero() {
        return Share::NOTHING;
    }
    let part = (of - used).clamp(Decimal::ZERO, of);
    Share { part, of }
}

/// Whole seconds from one instant to a later one.
fn seconds(from: BusinessInstant, to: BusinessInstant) -> Decimal {
    let ms = to.unix_ms().saturating_sub(from.unix_ms());
    Decimal::from(ms.div_euclid(1_000).max(0))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use serde::Deserialize;
    use serde_json::Value;

    use super::*;
    use crate::subscriptions::testing::instant;

    fn interval(start: &str, end: &str) -> Interval {
        Interval {
            start: instant(start),
            end: instant(end),
        }
    }

    fn fee(paid: i64, credited: i64) -> Fee {
        Fee {
            paid: Minor::new(paid),
            currency: "USD".parse().unwrap(),
            period: interval("2026-04-01", "2026-05-01"),
            credited: Minor::new(credited),
        }
    }

    fn used(consumed: u64, quota: u64) -> Consumption {
        let units = |count| Units::ONE.checked_mul(count).unwrap();
        Consumption {
            consumed: units(consumed),
            quota: units(quota),
        }
    }

    #[test]
    fn the_credit_is_what_is_left_of_time_or_quota() {
        use Proration::{MaxConsumption, None, Time};
        let day = |day: u32| instant(&format!("2026-04-{day:02}"));
        for (at, proration, consumption, expected) in [
            // The example of the specification: 29.00, day 15 of 30, 7,000 of 10,000 used.
            (day(16), MaxConsumption, vec![used(7_000, 10_000)], 870),
            (day(16), MaxConsumption, vec![used(1_000, 10_000)], 1_450),
            (day(16), MaxConsumption, vec![], 1_450),
            (day(16), MaxConsumption, vec![used(1, 0)], 1_450),
            (day(16), Time, vec![used(7_000, 10_000)], 1_450),
            (day(16), None, vec![], 0),
            // Zuplo: the quota fully used, and the end of the period.
            (day(4), MaxConsumption, vec![used(10_000, 10_000)], 0),
            (
                instant("2026-05-01"),
                MaxConsumption,
                vec![used(0, 10_000)],
                0,
            ),
            // More than there was, and of several meters the most consumed.
            (day(4), MaxConsumption, vec![used(20_000, 10_000)], 0),
            (instant("2026-06-01"), Time, vec![], 0),
            (
                day(4),
                MaxConsumption,
                vec![used(1, 10), used(5, 10), used(2, 10)],
                1_450,
            ),
            (day(1), MaxConsumption, vec![], 2_900),
        ] {
            let credit = credit(&fee(2_900, 0), at, proration, &consumption).unwrap();
            assert_eq!(credit.get(), expected, "{at} {proration:?} {consumption:?}");
        }
    }

    #[derive(Deserialize)]
    struct Figures<C> {
        cases: Vec<C>,
    }

    /// Figures of flexprice's test suite, where the potential credit is half of what was paid. It gives
    /// min(potential, paid − credited before); here what was credited before is taken off the potential
    /// itself, so that several changes never give back more than one at the last of them would.
    #[test]
    fn what_was_given_back_before_is_not_given_again() {
        let at = instant("2026-04-16");
        let figures: Figures<Value> =
            serde_json::from_str(include_str!("../../tests/cases/billing.json")).unwrap();
        let is_capped = |case: &&Value| case["category"] == "proration.credit_cap";
        let capped: Vec<_> = figures.cases.iter().filter(is_capped).collect();
        assert_eq!(capped.len(), 2);
        let minor = |value: &Value| value.as_str().unwrap().parse::<i64>().unwrap() * 100;
        for case in capped {
            let inputs = &case["inputs"];
            let (potential, paid) = (&inputs["potential_credit"], &inputs["original_amount_paid"]);
            let (potential, paid) = (minor(potential), minor(paid));
            assert_eq!(potential * 2, paid);
            let before = minor(&inputs["previous_credits"]);
            let credit = credit(&fee(paid, before), at, Proration::Time, &[]).unwrap();
            assert_eq!(
                credit.get(),
                (potential - before).max(0),
                "{}",
                case["name"]
            );
            assert!(credit.get() <= minor(&case["expected"]["credit"]));
        }
        for (credited, expected) in [(0, 10_000), (9_000, 1_000)] {
            let credit = credit(&fee(20_000, credited), at, Proration::Time, &[]).unwrap();
            assert_eq!(credit.get(), expected);
        }
    }

    /// Figures of Zuplo's documentation.
    #[test]
    fn the_greater_of_time_and_consumption_is_gone() {
        let figures: Figures<Value> =
            serde_json::from_str(include_str!("../../tests/cases/zuplo.json")).unwrap();
        let is_credit = |case: &&Value| case["kind"] == "max_consumption_credit";
        let credits: Vec<_> = figures.cases.iter().filter(is_credit).collect();
        assert_eq!(credits.len(), 2);
        for case in credits {
            let fee = Fee {
                period: interval("2026-04-01", "2026-05-01"),
                ..fee(2_900, 0)
            };
            let number = |name: &str| case[name].as_u64().unwrap();
            assert_eq!(
                (&case["flat_fee"], number("period_days")),
                (&"29.00".into(), 30)
            );
            let at =
                instant("2026-04-01").after(Duration::from_secs(number("elapsed_days") * 86_400));
            let used = [used(number("used"), number("quota"))];
            let credit = credit(&fee, at, Proration::MaxConsumption, &used).unwrap();
            assert_eq!(
                credit.of(fee.currency).to_string(),
                case["expected_credit"],
                "{case}"
            );
        }
    }

    #[derive(Deserialize)]
    struct Prorated {
        name: String,
        full_amount: Decimal,
        service_period: (BusinessInstant, BusinessInstant),
        full_service_period: (BusinessInstant, BusinessInstant),
        expected_amount: Decimal,
        subscription_end_proration_mode: Option<String>,
    }

    /// Figures of OpenMeter's test suite, but those that bill whole periods at a subscription's end and
    /// those that share one amount out over several.
    #[test]
    fn a_part_of_a_period_is_charged_its_share_of_seconds() {
        let figures: Figures<Value> =
            serde_json::from_str(include_str!("../../tests/cases/proration.json")).unwrap();
        let prorated = figures
            .cases
            .into_iter()
            .filter(|case| case["kind"] == "flat_fee_proration");
        let prorated = prorated.map(|case| serde_json::from_value::<Prorated>(case).unwrap());
        let prorated: Vec<_> = prorated
            .filter(|case| case.subscription_end_proration_mode.is_none())
            .collect();
        assert_eq!(prorated.len(), 6);
        for case in prorated {
            let interval = |(start, end)| Interval { start, end };
            let (charged, whole) = (
                interval(case.service_period),
                interval(case.full_service_period),
            );
            let share = share(case.full_amount, charged, whole);
            assert_eq!(share.round_dp(2), case.expected_amount, "{}", case.name);
        }
    }

    proptest! {
        /// B6: credits of one fee, at whatever instants, never exceed what was paid for it.
        #[test]
        fn credits_never_exceed_the_fee(
            paid in 0_i64..1_000_000,
            changes in prop::collection::vec((0_i64..2_700_000, 0_u64..20_000), 1..6),
        ) {
            let mut fee = fee(paid, 0);
            for (seconds, consumed) in changes {
                let at = BusinessInstant::from_unix_ms(fee.period.start.unix_ms() + seconds * 1_000);
                let consumption = [used(consumed, 10_000)];
                let credit = credit(&fee, at, Proration::MaxConsumption, &consumption).unwrap();
                prop_assert!(Minor::ZERO <= credit);
                fee.credited += credit;
                prop_assert!(fee.credited <= fee.paid);
            }
        }
    }
}
