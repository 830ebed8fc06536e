use proptest::prelude::*;
use tollgate_engine::contract::WindowId;

use super::*;
use crate::catalog::plans::{Price, Rate, TierPrice, Tiers};
use crate::money;
use crate::subscriptions::testing::{self, instant};

/// A subscription to a meter with two tiers.
fn member(first: (i64, u32), end: u64, second: (i64, u32)) -> Member {
    by(Rate::Graduated, first, end, second)
}

fn by(rate: fn(Tiers) -> Rate, first: (i64, u32), end: u64, second: (i64, u32)) -> Member {
    let tier = |(mantissa, scale)| TierPrice {
        flat: Some(Decimal::new(mantissa, scale)),
        unit: Some(Decimal::new(mantissa, scale)),
    };
    let closed = vec![(Units::from_milli(end).unwrap(), tier(first))];
    let tiers = Tiers::new(closed, tier(second)).unwrap();
    let mut phase = testing::phase(None, &[("calls", "P1M")]);
    phase.rate_cards[0].price = Some(Price::Usage(testing::usage(rate(tiers))));
    let chain = testing::chain().then(instant("2026-01-01"), &testing::plan(vec![phase]));
    chain.members.into_iter().next().unwrap()
}

fn rated(member: &Member, carried: Units, units: Units) -> Rated {
    let price = member.plan.phases[0].rate_cards[0].usage_price().unwrap();
    let cycle = Cycle {
        carried,
        units,
        minimum: price.minimum,
    };
    let amount = Rating::new(member.plan.currency).add(price, &cycle);
    Rated {
        chain: member.subscription.chain,
        window: WindowId {
            epoch: 1,
            meter: "calls".to_owned(),
            start_ms: instant("2026-01-01").unix_ms(),
        },
        rate_card: "calls".parse().unwrap(),
        end: instant("2026-02-01"),
        carried,
        units,
        amount: amount.unwrap(),
        corrections: 0,
    }
}

#[test]
fn late_usage_is_a_line_that_names_its_period_and_none_where_it_costs_nothing() {
    let member = member((0, 0), 10_000, (5, 1));
    let units = |text: &str| text.parse::<Units>().unwrap();
    let before = rated(&member, Units::ZERO, units("8"));
    let late = |units| Late {
        rated: before.clone(),
        units,
    };
    let Correction {
        line, rated: after, ..
    } = correct(&member, &late(units("10"))).unwrap();
    assert!(line.is_none());
    assert_eq!((after.units, after.corrections), (units("10"), 1));
    let Correction {
        line, rated: after, ..
    } = correct(&member, &late(units("13"))).unwrap();
    let line = line.unwrap();
    assert_eq!(
        (line.amount, after.amount),
        (Minor::new(200), Minor::new(200))
    );
    assert_eq!(
        (line.kind, line.period.end),
        (LineKind::Late, instant("2026-02-01"))
    );
    let rest = "/phase/calls/v1/2026-01-01T00:00:00Z/late-usage/arrears/1";
    assert_eq!(line.identity, format!("{}{rest}", member.subscription.id));
    assert_eq!(line.quantity.to_string(), "5");
}

proptest! {
    /// B5: whatever comes when, a window's lines sum to what it costs as a whole, to the cent.
    #[test]
    fn slices_sum_to_the_whole(
        rate in prop::sample::select(vec![Rate::Graduated as fn(Tiers) -> Rate, Rate::Volume]),
        first in (1_i64..5_000, 0_u32..6),
        second in (0_i64..5_000, 0_u32..6),
        end in 1_u64..20_000,
        carried in 0_u64..20_000,
        slices in prop::collection::vec(0_u64..9_000, 1..8),
    ) {
        let member = by(rate, first, end, second);
        let milli = |milli| Units::from_milli(milli).unwrap();
        let mut window = rated(&member, milli(carried), Units::ZERO);
        let mut billed = window.amount;
        for slice in slices {
            let units = window.units.saturating_add(milli(slice));
            let late = correct(&member, &Late { rated: window, units }).unwrap();
            billed += late.line.map_or(Minor::ZERO, |line| line.amount) - late.credited;
            window = late.rated;
        }
        let whole = rated(&member, milli(carried), window.units);
        prop_assert_eq!(billed, whole.amount);
        prop_assert_eq!(window.amount, whole.amount);
        let currency = member.plan.currency;
        prop_assert_eq!(money::round(billed.of(currency).decimal(), currency), Ok(billed));
    }
}
