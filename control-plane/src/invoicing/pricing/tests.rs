mod exact;

use proptest::prelude::*;

use super::*;
use crate::catalog::plans::{PackageSize, Rate, TierPrice, Tiers};
use crate::money::{Percentage, parse_amount};
use crate::subscriptions::testing::{tiers, usage};

fn usd() -> Currency {
    "USD".parse().unwrap()
}

fn units(text: &str) -> Units {
    text.parse().unwrap()
}

fn amount(text: &str) -> Decimal {
    parse_amount(text).unwrap()
}

fn cycle(carried: Units, units: Units) -> Cycle {
    Cycle {
        carried,
        units,
        minimum: Decimal::ZERO,
    }
}

/// The lines of one whole cycle, and what it comes to.
fn rate(
    price: &UsagePrice,
    currency: Currency,
    quantity: Units,
) -> Result<(Vec<PricedLine>, Minor), TooGreat> {
    let mut rating = Rating::new(currency);
    let whole = Cycle {
        minimum: price.minimum,
        ..cycle(Units::ZERO, quantity)
    };
    let total = rating.add(price, &whole)?;
    Ok((rating.into_lines(), total))
}

fn shown(price: &UsagePrice, quantity: &str) -> Vec<String> {
    let (lines, total) = rate(price, usd(), units(quantity)).unwrap();
    assert_eq!(total, lines.iter().map(PricedLine::total).sum());
    let lines = lines.iter().map(|line| {
        let (quantity, total) = (line.quantity.normalize(), line.total().of(usd()));
        let unit = line.unit_amount.map(|unit| unit.normalize().to_string());
        let unit = unit.unwrap_or_default();
        format!(
            "{}: {quantity} × {unit} -{} = {total}",
            line.id,
            line.discount().get()
        )
    });
    lines.collect()
}

#[test]
fn lines_say_which_part_of_the_price_they_are() {
    let sized = |amount_text, size| Rate::Package {
        amount: amount(amount_text),
        size: PackageSize::new(units(size)).unwrap(),
    };
    let steps = tiers(&[("10", "2", "0"), ("", "3", "0.002")]);
    for (rate, quantity, expected) in [
        (
            Rate::Graduated(steps.clone()),
            "1010",
            &[
                "graduated-tiered-1-price-usage: 10 × 0 -0 = 0.00",
                "graduated-tiered-1-flat-price: 1 × 2 -0 = 2.00",
                "graduated-tiered-2-price-usage: 1000 × 0.002 -0 = 2.00",
                "graduated-tiered-2-flat-price: 1 × 3 -0 = 3.00",
            ][..],
        ),
        (
            Rate::Volume(steps.clone()),
            "1010",
            &[
                "volume-tiered-price: 1010 × 0.002 -0 = 2.02",
                "volume-flat-price: 1 × 3 -0 = 3.00",
            ],
        ),
        (
            Rate::Volume(steps),
            "0",
            &["volume-flat-price: 1 × 2 -0 = 2.00"],
        ),
        (
            Rate::Unit {
                amount: amount("0.1"),
            },
            "2.5",
            &["unit-price-usage: 2.5 × 0.1 -0 = 0.25"],
        ),
        (sized("5", "0.5"), "0.501", &["usage: 2 × 5 -0 = 10.00"]),
        (
            Rate::Dynamic {
                multiplier: amount("1.2"),
            },
            "3",
            &["usage: 3 × 1.2 -0 = 3.60"],
        ),
        (
            Rate::Unit {
                amount: amount("1"),
            },
            "0",
            &[],
        ),
        (sized("1", "10"), "0", &[]),
    ] {
        assert_eq!(shown(&usage(rate), quantity), expected);
    }
}

/// Free units, the price, the percentage, the most, the least: in this order.
#[test]
fn discounts_and_limits_come_one_after_another() {
    let rate = Rate::Graduated(tiers(&[("10", "", "1"), ("", "", "2")]));
    let price = UsagePrice {
        free: units("5"),
        discount: Percentage::new(amount("10")).unwrap(),
        minimum: amount("7"),
        maximum: Some(amount("20")),
        ..usage(rate)
    };
    for (quantity, expected) in [
        // Nothing is left of free units; the least is charged whole.
        ("5", &["min-spend: 1 × 7 -0 = 7.00"][..]),
        (
            "10",
            &[
                "graduated-tiered-1-price-usage: 5 × 1 -50 = 4.50",
                "min-spend: 1 × 2.5 -0 = 2.50",
            ],
        ),
        (
            "15",
            &["graduated-tiered-1-price-usage: 10 × 1 -100 = 9.00"],
        ),
        // 10 + 2 × 10, less a tenth, less 7.00 beyond 20.00: taken off where the most is passed.
        (
            "25",
            &[
                "graduated-tiered-1-price-usage: 10 × 1 -100 = 9.00",
                "graduated-tiered-2-price-usage: 10 × 2 -900 = 11.00",
            ],
        ),
    ] {
        assert_eq!(shown(&price, quantity), expected, "{quantity}");
    }
}

#[test]
fn carried_units_are_not_billed_again() {
    let graduated = Rate::Graduated(tiers(&[("10", "2", "1"), ("", "3", "0.5")]));
    let volume = Rate::Volume(tiers(&[("10", "2", "1"), ("", "3", "0.5")]));
    let packages = Rate::Package {
        amount: amount("5"),
        size: PackageSize::new(units("10")).unwrap(),
    };
    let most = UsagePrice {
        maximum: Some(amount("8")),
        ..usage(graduated.clone())
    };
    let free = UsagePrice {
        free: units("6"),
        ..usage(Rate::Unit {
            amount: amount("1"),
        })
    };
    let after = |price: &UsagePrice, carried, new| {
        let mut rating = Rating::new(usd());
        let total = rating
            .add(price, &cycle(units(carried), units(new)))
            .unwrap();
        let lines = rating.into_lines();
        assert_eq!(total, lines.iter().map(PricedLine::total).sum());
        assert!(lines.iter().all(|line| Minor::ZERO <= line.total()));
        total.of(usd()).to_string()
    };
    for (price, carried, new, expected) in [
        (&usage(graduated.clone()), "0", "12", "16.00"),
        (&usage(graduated.clone()), "4", "0", "0.00"),
        (&usage(graduated.clone()), "4", "6", "6.00"),
        (&usage(graduated.clone()), "4", "8", "10.00"),
        (&usage(graduated), "12", "4", "2.00"),
        // 2 + 8, then 3 + 10: and where more costs less, nothing.
        (&usage(volume.clone()), "8", "12", "3.00"),
        (&usage(volume.clone()), "8", "1", "1.00"),
        (&usage(volume.clone()), "8", "3", "0.00"),
        (&usage(volume), "20", "4", "2.00"),
        (&usage(packages.clone()), "4", "6", "0.00"),
        (&usage(packages), "4", "7", "5.00"),
        (&most, "4", "1", "1.00"),
        (&most, "4", "8", "2.00"),
        (&most, "12", "8", "0.00"),
        (&free, "4", "2", "0.00"),
        (&free, "4", "5", "3.00"),
        (&free, "9", "5", "5.00"),
    ] {
        assert_eq!(
            after(price, carried, new),
            expected,
            "{price:?} {carried} {new}"
        );
    }
}

/// Hours of a third of a cent each are a cent every three hours, not nothing.
#[test]
fn cycles_that_are_billed_together_are_rounded_together_and_limited_alone() {
    let price = usage(Rate::Unit {
        amount: amount("0.00333"),
    });
    let mut rating = Rating::new(usd());
    let mut add = || {
        rating
            .add(&price, &cycle(Units::ZERO, Units::ONE))
            .unwrap()
            .get()
    };
    assert_eq!([add(), add(), add(), add(), add()], [0, 1, 0, 0, 1]);
    let lines = rating.into_lines();
    assert_eq!((lines.len(), lines[0].amount.get()), (1, 2));
    assert_eq!(lines[0].quantity, Decimal::from(5));

    let limited = UsagePrice {
        maximum: Some(amount("3")),
        ..usage(Rate::Unit {
            amount: amount("1"),
        })
    };
    let mut rating = Rating::new(usd());
    let mut add = |quantity| {
        let cycle = Cycle {
            minimum: amount("2"),
            ..cycle(Units::ZERO, units(quantity))
        };
        rating.add(&limited, &cycle).unwrap().get()
    };
    assert_eq!([add("1"), add("5"), add("0")], [200, 300, 200]);
    let lines = rating.into_lines();
    assert_eq!(
        lines.iter().map(|it| it.total().get()).collect::<Vec<_>>(),
        [400, 300]
    );
    assert_eq!(lines[0].discount().get(), 200);
}

#[test]
fn a_line_that_no_invoice_holds_is_told() {
    let price = usage(Rate::Unit {
        amount: amount("999999"),
    });
    assert_eq!(rate(&price, usd(), Units::MAX), Err(TooGreat));
}

#[test]
fn a_flat_price_takes_its_discount_off() {
    let price = |percent| FlatPrice {
        amount: amount("9.99"),
        term: crate::catalog::plans::PaymentTerm::InAdvance,
        discount: Percentage::new(amount(percent)).unwrap(),
    };
    let line = flat(&price("20"), usd(), 2, amount("19.98")).unwrap();
    let figures = (line.amount.get(), line.discount().get(), line.total().get());
    assert_eq!((line.id, figures), (LineId::Flat, (1_998, 400, 1_598)));
    let line = flat(&price("100"), usd(), 1, amount("9.99")).unwrap();
    assert_eq!(line.total(), Minor::ZERO);
}

fn any_amount() -> impl Strategy<Value = Decimal> {
    (0_i64..2_000_000, 0_u32..8).prop_map(|(mantissa, scale)| Decimal::new(mantissa, scale))
}

fn any_tiers() -> impl Strategy<Value = Tiers> {
    let amount = || prop::option::of(any_amount());
    let bounds = prop::collection::btree_set(1_u64..50_000, 0..5);
    let prices = prop::collection::vec((amount(), amount()), 6);
    (bounds, prices).prop_map(|(bounds, prices)| {
        let mut prices = prices
            .into_iter()
            .map(|(flat, unit)| TierPrice { flat, unit });
        let open = prices.next().unwrap();
        let ends = bounds
            .into_iter()
            .map(|end| Units::from_milli(end).unwrap());
        Tiers::new(ends.zip(prices).collect(), open).unwrap()
    })
}

fn any_rate() -> impl Strategy<Value = Rate> {
    let size = |milli| PackageSize::new(Units::from_milli(milli).unwrap()).unwrap();
    prop_oneof![
        any_amount().prop_map(|amount| Rate::Unit { amount }),
        any_amount().prop_map(|multiplier| Rate::Dynamic { multiplier }),
        (any_amount(), 1_u64..20_000).prop_map(move |(amount, milli)| Rate::Package {
            amount,
            size: size(milli)
        }),
        any_tiers().prop_map(Rate::Graduated),
        any_tiers().prop_map(Rate::Volume),
    ]
}

fn priced(rate: impl Strategy<Value = Rate>) -> impl Strategy<Value = UsagePrice> {
    let limits = (any_amount(), prop::option::of(any_amount()));
    let limits = limits.prop_map(|(minimum, maximum)| match maximum {
        Some(maximum) if maximum < minimum => (maximum, Some(minimum)),
        other => (minimum, other),
    });
    let limits = prop_oneof![Just((Decimal::ZERO, None)), limits];
    let free = prop_oneof![Just(0), 0_u64..20_000];
    let percent = prop_oneof![
        Just(Decimal::ZERO),
        (0_i64..=10_000).prop_map(|it| Decimal::new(it, 2))
    ];
    (free, rate, percent, limits).prop_map(|(free, rate, percent, (minimum, maximum))| UsagePrice {
        free: Units::from_milli(free).unwrap(),
        rate,
        discount: Percentage::new(percent).unwrap(),
        minimum,
        maximum,
    })
}

fn any_currency() -> impl Strategy<Value = Currency> {
    let codes = vec!["USD", "JPY", "KWD", "ISK", "UGX", "EUR"];
    prop::sample::select(codes).prop_map(|code| code.parse().unwrap())
}

proptest! {
    /// B5: what more is used never costs less, but where all units take the last one's price.
    #[test]
    fn more_never_costs_less(
        price in priced(any_rate().prop_filter("not by volume", |it| !matches!(it, Rate::Volume(_)))),
        currency in any_currency(),
        less in 0_u64..100_000,
        more in 0_u64..100_000,
    ) {
        let cost = |milli| rate(&price, currency, Units::from_milli(milli).unwrap()).unwrap().1;
        prop_assert!(cost(less) <= cost(less + more));
    }

    /// B4: lines sum to the total, none is negative, and the total keeps within its limits.
    #[test]
    fn lines_sum_and_limits_hold(
        price in priced(any_rate()),
        currency in any_currency(),
        cycles in prop::collection::vec((0_u64..50_000, 0_u64..100_000), 1..5),
    ) {
        let mut rating = Rating::new(currency);
        let mut sum = Minor::ZERO;
        let least = money::round(price.minimum, currency).unwrap();
        let most = price.maximum.map(|most| money::round(most, currency).unwrap());
        for (carried, new) in cycles {
            let units = |milli| Units::from_milli(milli).unwrap();
            let cycle = Cycle { minimum: price.minimum, ..cycle(units(carried), units(new)) };
            let added = rating.add(&price, &cycle).unwrap();
            prop_assert!(least <= added && most.is_none_or(|most| added <= most));
            sum += added;
        }
        let lines = rating.into_lines();
        prop_assert_eq!(sum, lines.iter().map(PricedLine::total).sum::<Minor>());
        for line in lines {
            prop_assert!(Minor::ZERO <= line.discount() && line.discount() <= line.amount);
            prop_assert_eq!(money::round(line.total().of(currency).decimal(), currency), Ok(line.total()));
        }
    }

    /// Rating after carried units adds up to rating at once, to a unit of rounding of each line.
    #[test]
    fn carried_and_new_add_up(tiers in any_tiers(), carried in 1_u64..100_000, new in 0_u64..100_000) {
        let price = usage(Rate::Graduated(tiers));
        let units = |milli| Units::from_milli(milli).unwrap();
        let exact = |cycle: Cycle| -> Decimal {
            let mut rating = Rating::new(usd());
            rating.add(&price, &cycle).unwrap();
            rating.into_lines().iter().map(|line| line.exact).sum()
        };
        let whole = exact(cycle(Units::ZERO, units(carried + new)));
        let before = exact(cycle(Units::ZERO, units(carried)));
        prop_assert_eq!(before + exact(cycle(units(carried), units(new))), whole);
    }
}
