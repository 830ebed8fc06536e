use proptest::prelude::*;

use super::*;
use crate::catalog::plans::PaymentTerm;
use crate::money::parse_amount;

fn usd() -> Currency {
    "USD".parse().unwrap()
}

fn units(text: &str) -> Units {
    text.parse().unwrap()
}

/// Tiers of (end, flat price, unit price); an empty text stands for none.
fn tiers(tiers: &[(&str, &str, &str)]) -> Price {
    let some = |text: &str| (!text.is_empty()).then(|| parse_amount(text).unwrap());
    let tiers = tiers.iter().map(|(up_to, flat, unit)| Tier {
        up_to: (!up_to.is_empty()).then(|| units(up_to)),
        flat: some(flat),
        unit: some(unit),
    });
    Price::Graduated {
        tiers: tiers.collect(),
    }
}

fn total_of(price: &Price, quantity: &str) -> String {
    let total = total(&rate(price, units(quantity)), usd()).unwrap();
    total.of(usd()).to_string()
}

/// Figures of OpenMeter's, Lago's and Polar's test suites, and of Zuplo's documentation.
#[test]
fn graduated_prices_come_to_published_figures() {
    let by_thirds = tiers(&[("5", "", "1"), ("10", "", "2"), ("", "", "3")]);
    let entered = tiers(&[("5", "100", "1"), ("10", "200", "2"), ("", "", "3")]);
    let unused = tiers(&[("10", "100", "10"), ("20", "200", "5"), ("", "", "80")]);
    let mixed = tiers(&[
        ("5", "100", ""),
        ("10", "50", ""),
        ("15", "", "10"),
        ("", "", "5"),
    ]);
    let flat_each = tiers(&[("10", "2", "10"), ("20", "3", "5"), ("", "3", "5")]);
    let decimals = tiers(&[("0.1", "0", "10"), ("1", "0", "5"), ("", "0", "2")]);
    let seats = tiers(&[("10", "0", "10"), ("50", "0", "8"), ("", "0", "6")]);
    let enterprise = tiers(&[("1000000", "499.00", ""), ("", "", "0.0005")]);
    let as_you_go = tiers(&[
        ("10000", "", "0.10"),
        ("100000", "", "0.05"),
        ("", "", "0.01"),
    ]);
    for (name, price, quantity, total) in [
        ("om-095", &by_thirds, "5", "5.00"),
        ("om-098", &by_thirds, "3", "3.00"),
        ("om-101", &entered, "7", "309.00"),
        ("om-120", &unused, "0", "100.00"),
        ("om-128", &mixed, "0", "100.00"),
        ("om-131", &mixed, "5.001", "150.00"),
        ("om-134", &mixed, "22", "235.00"),
        ("char-002", &flat_each, "1", "12.00"),
        ("char-005", &flat_each, "12", "115.00"),
        ("char-008", &decimals, "0.5", "3.00"),
        ("char-101", &seats, "10", "100.00"),
        ("char-104", &seats, "51", "426.00"),
        ("zuplo enterprise", &enterprise, "0", "499.00"),
        ("zuplo as you go", &as_you_go, "150000", "6000.00"),
    ] {
        assert_eq!(total_of(price, quantity), total, "{name}");
    }
}

#[test]
fn lines_say_which_part_of_the_price_they_are() {
    let price = tiers(&[("10", "2", "0"), ("", "3", "0.002")]);
    let lines = rate(&price, units("1010"));
    let shown: Vec<_> = lines
        .iter()
        .map(|line| {
            let (quantity, unit) = (line.quantity.normalize(), line.unit_amount);
            format!("{}: {quantity} × {unit}", line.id)
        })
        .collect();
    let expected = [
        "graduated-tiered-1-price-usage: 10 × 0",
        "graduated-tiered-1-flat-price: 1 × 2",
        "graduated-tiered-2-price-usage: 1000 × 0.002",
        "graduated-tiered-2-flat-price: 1 × 3",
    ];
    assert_eq!(shown, expected);
    let flat = Price::Flat {
        amount: parse_amount("100").unwrap(),
        term: PaymentTerm::InArrears,
    };
    let lines = rate(&flat, Units::ZERO);
    assert_eq!((lines[0].id, lines.len()), (LineId::Flat, 1));
    assert_eq!(total_of(&flat, "1"), "100.00");
}

#[test]
fn carried_units_are_not_billed_again() {
    let price = tiers(&[("10", "2", "1"), ("", "3", "0.5")]);
    let after = |carried, new| {
        let lines = rate_after(&price, units(carried), units(new));
        total(&lines, usd()).unwrap().of(usd()).to_string()
    };
    assert_eq!(after("0", "12"), "16.00");
    assert_eq!(after("4", "0"), "0.00");
    assert_eq!(after("4", "6"), "6.00");
    assert_eq!(after("4", "8"), "10.00");
    assert_eq!(after("12", "4"), "2.00");
}

#[test]
fn a_line_that_no_invoice_holds_is_told() {
    let price = tiers(&[("", "", "999999")]);
    assert_eq!(total(&rate(&price, Units::MAX), usd()), Err(TooGreat));
}

fn price() -> impl Strategy<Value = Price> {
    let amount =
        || prop::option::of((0_i64..2_000_000, 0_u32..8).prop_map(|(m, s)| Decimal::new(m, s)));
    let bounds = prop::collection::btree_set(1_u64..50_000, 0..5);
    let prices = prop::collection::vec((amount(), amount()), 6);
    (bounds, prices).prop_map(|(bounds, prices)| {
        let ends = bounds.into_iter().map(Units::from_milli).chain([None]);
        let tiers = ends
            .zip(prices)
            .map(|(up_to, (flat, unit))| Tier { up_to, flat, unit });
        Price::Graduated {
            tiers: tiers.collect(),
        }
    })
}

proptest! {
    /// B5: totals never fall.
    #[test]
    fn more_never_costs_less(price in price(), less in 0_u64..100_000, more in 0_u64..100_000) {
        let cost = |milli| total(&rate(&price, Units::from_milli(milli).unwrap()), usd()).unwrap();
        prop_assert!(cost(less) <= cost(less + more));
        prop_assert!(Minor::ZERO <= cost(less));
    }

    /// Rating after carried units adds up to rating at once, before anything is rounded.
    #[test]
    fn carried_and_new_add_up(price in price(), carried in 0_u64..100_000, new in 0_u64..100_000) {
        let units = |milli| Units::from_milli(milli).unwrap();
        let sum = |lines: &[PricedLine]| lines.iter().map(|line| line.amount).sum::<Decimal>();
        let after = sum(&rate_after(&price, units(carried), units(new)));
        prop_assert!(Decimal::ZERO <= after);
        // Units that were never there do not enter the first tier twice.
        if carried > 0 {
            let whole = sum(&rate(&price, units(carried + new)));
            prop_assert_eq!(sum(&rate(&price, units(carried))) + after, whole);
        }
    }
}
