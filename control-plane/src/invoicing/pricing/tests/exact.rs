//! The same prices reckoned a second time, in whole numbers: nothing that is shown is off by anything.

use super::*;

/// Digits after the point of prices here, and of prices times thousandths of units.
const PRICE_SCALE: u32 = 9;
const EXACT_SCALE: u32 = PRICE_SCALE + 3;

/// A price in integers: amounts of 10^-9, units in thousandths, a percentage in hundredths of one.
#[derive(Clone, Debug)]
struct Plain {
    free: i128,
    rate: PlainRate,
    percent: i128,
    minimum: i128,
    maximum: Option<i128>,
}

#[derive(Clone, Debug)]
enum PlainRate {
    Unit(i128),
    Dynamic(i128),
    Package(i128, i128),
    Graduated(Vec<(i128, i128, i128)>, (i128, i128)),
    Volume(Vec<(i128, i128, i128)>, (i128, i128)),
}

impl Plain {
    /// What the quantity comes to, part by part, in 10^-12.
    fn parts(&self, milli: i128) -> Vec<i128> {
        let milli = (milli - self.free).max(0);
        match &self.rate {
            PlainRate::Unit(price) | PlainRate::Dynamic(price) => vec![milli * price],
            PlainRate::Package(price, size) => {
                let packages = (milli + size - 1) / size;
                vec![packages * price * 1_000]
            }
            PlainRate::Graduated(closed, open) => {
                let mut parts = Vec::new();
                let mut start = 0;
                let open = (i128::MAX, open.0, open.1);
                for (end, flat, unit) in closed.iter().copied().chain([open]) {
                    if start == 0 || milli > start {
                        parts.push((milli.min(end) - start) * unit);
                        parts.push(flat * 1_000);
                    }
                    start = end;
                }
                parts
            }
            PlainRate::Volume(closed, open) => {
                let open = (i128::MAX, open.0, open.1);
                let mut tiers = closed.iter().copied().chain([open]);
                let (_, flat, unit) = tiers.find(|(end, _, _)| milli <= *end).unwrap();
                vec![milli * unit, flat * 1_000]
            }
        }
    }

    /// The total in the smallest amount of a currency that is charged so many decimals.
    fn total(&self, milli: i128, decimals: u32) -> i128 {
        let round = |exact: i128| half_up(exact, 10_i128.pow(EXACT_SCALE - decimals));
        let total: i128 = self
            .parts(milli)
            .into_iter()
            .map(round)
            .map(|amount| amount - half_up(amount * self.percent, 10_000))
            .sum();
        let limit = |price: i128| round(price * 1_000);
        let most = self.maximum.map_or(i128::MAX, limit);
        total.min(most).max(limit(self.minimum))
    }

    fn price(&self) -> UsagePrice {
        let amount = |price: i128| Decimal::from_i128_with_scale(price, PRICE_SCALE);
        let tiers = |closed: &[(i128, i128, i128)], open: &(i128, i128)| {
            let tier = |flat, unit| TierPrice {
                flat: Some(amount(flat)),
                unit: Some(amount(unit)),
            };
            let closed = closed
                .iter()
                .map(|it| (exact_units(it.0), tier(it.1, it.2)));
            Tiers::new(closed.collect(), tier(open.0, open.1)).unwrap()
        };
        UsagePrice {
            free: exact_units(self.free),
            rate: match &self.rate {
                PlainRate::Unit(price) => Rate::Unit {
                    amount: amount(*price),
                },
                PlainRate::Dynamic(price) => Rate::Dynamic {
                    multiplier: amount(*price),
                },
                PlainRate::Package(price, size) => Rate::Package {
                    amount: amount(*price),
                    size: PackageSize::new(exact_units(*size)).unwrap(),
                },
                PlainRate::Graduated(closed, open) => Rate::Graduated(tiers(closed, open)),
                PlainRate::Volume(closed, open) => Rate::Volume(tiers(closed, open)),
            },
            discount: Percentage::new(Decimal::from_i128_with_scale(self.percent, 2)).unwrap(),
            minimum: amount(self.minimum),
            maximum: self.maximum.map(amount),
        }
    }
}

fn exact_units(milli: i128) -> Units {
    Units::from_milli(milli.try_into().unwrap()).unwrap()
}

/// A quotient of what is not negative, halves away from zero.
fn half_up(dividend: i128, divisor: i128) -> i128 {
    (dividend * 2 + divisor) / (divisor * 2)
}

/// From a billionth to a thousand, and often nothing.
fn any_price() -> impl Strategy<Value = i128> {
    prop_oneof![
        Just(0),
        1_i128..1_000,
        1_i128..1_000_000_000_000,
        (1_i128..1_000).prop_map(|cents| cents * 10_000_000),
    ]
}

/// Up to 10^9 units, to the thousandth.
fn any_quantity() -> impl Strategy<Value = i128> {
    prop_oneof![0_i128..20_000, 0_i128..=1_000_000_000_999]
}

fn any_plain() -> impl Strategy<Value = Plain> {
    let tiers = || {
        let ends = prop::collection::btree_set(1_i128..2_000_000, 0..5);
        let prices = prop::collection::vec((any_price(), any_price()), 6);
        (ends, prices).prop_map(|(ends, prices)| {
            let closed = ends.into_iter().zip(&prices[1..]);
            let closed = closed.map(|(end, (flat, unit))| (end, *flat, *unit));
            (closed.collect::<Vec<_>>(), prices[0])
        })
    };
    let rate = prop_oneof![
        any_price().prop_map(PlainRate::Unit),
        any_price().prop_map(PlainRate::Dynamic),
        (any_price(), 1_i128..2_000_000).prop_map(|(price, size)| PlainRate::Package(price, size)),
        tiers().prop_map(|(closed, open)| PlainRate::Graduated(closed, open)),
        tiers().prop_map(|(closed, open)| PlainRate::Volume(closed, open)),
    ];
    let free = prop_oneof![Just(0_i128), 0_i128..1_000_000];
    let percent = prop_oneof![Just(0_i128), 0_i128..=10_000];
    let limits = (any_price(), prop::option::of(any_price()));
    (free, rate, percent, limits).prop_map(|(free, rate, percent, (least, most))| Plain {
        free,
        rate,
        percent,
        minimum: most.map_or(least, |most| least.min(most)),
        maximum: most,
    })
}

proptest! {
    /// B4: totals are what whole numbers say, in every currency, for quantities of 10^9 with three
    /// decimals and unit prices of 10^-9.
    #[test]
    fn totals_are_exact(plain in any_plain(), milli in any_quantity(),
        (code, decimals, minor_per_charged) in prop::sample::select(vec![
            ("USD", 2_u32, 1_i128), ("JPY", 0, 1), ("KWD", 2, 10), ("ISK", 0, 100), ("UGX", 0, 100),
        ]))
    {
        let (_, total) = rate(&plain.price(), code.parse().unwrap(), exact_units(milli)).unwrap();
        let expected = plain.total(milli, decimals) * minor_per_charged;
        prop_assert_eq!(i128::from(total.get()), expected);
    }
}
