//! Money: whole numbers of a currency's minor unit as Stripe takes them, and exact decimals where a
//! price has not been rounded yet. Never a float.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Sub, SubAssign};
use std::str::FromStr;

use rust_decimal::{Decimal, RoundingStrategy};
use serde::{Deserialize, Serialize, Serializer};

use crate::catalog::currency::Currency;

/// Currencies without a minor unit.
const ZERO_DECIMAL: [&[u8; 3]; 15] = [
    b"BIF", b"CLP", b"DJF", b"GNF", b"JPY", b"KMF", b"KRW", b"MGA", b"PYG", b"RWF", b"VND", b"VUV",
    b"XAF", b"XOF", b"XPF",
];
/// Currencies whose last of three decimals must be 0.
const THREE_DECIMAL: [&[u8; 3]; 7] = [b"BHD", b"IQD", b"JOD", b"KWD", b"LYD", b"OMR", b"TND"];
/// Currencies written with two decimals that must be 0.
const WHOLE_OF_TWO_DECIMAL: [&[u8; 3]; 2] = [b"ISK", b"UGX"];

/// The greatest amount of one line: sums of as many lines as there will ever be stay exact.
const MINOR_MAX: i64 = 1_000_000_000_000_000;
/// Digits of a price: its product with any number of units is exact.
const AMOUNT_MAX_DIGITS: usize = 12;

/// An amount in the minor unit of some currency.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Minor(i64);

impl Minor {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// The amount of `minor` units.
    #[must_use]
    pub const fn new(minor: i64) -> Self {
        Self(minor)
    }

    /// The number of minor units.
    #[must_use]
    pub const fn get(self) -> i64 {
        self.0
    }

    /// Whether this is nothing.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// The same amount in a currency.
    #[must_use]
    pub const fn of(self, currency: Currency) -> Money {
        Money {
            minor: self,
            currency,
        }
    }
}

impl Add for Minor {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }
}

impl AddAssign for Minor {
    fn add_assign(&mut self, other: Self) {
        self.0 += other.0;
    }
}

impl Sub for Minor {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self(self.0 - other.0)
    }
}

impl SubAssign for Minor {
    fn sub_assign(&mut self, other: Self) {
        self.0 -= other.0;
    }
}

impl Sum for Minor {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Add::add)
    }
}

/// An amount in a currency; a decimal string such as `29.00` in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Money {
    /// How much.
    pub minor: Minor,
    /// Of what.
    pub currency: Currency,
}

impl Money {
    /// The amount in the currency's main unit.
    #[must_use]
    pub fn decimal(self) -> Decimal {
        Decimal::new(self.minor.0, exponent(self.currency))
    }
}

impl fmt::Display for Money {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = exponent(self.currency);
        if digits == 0 {
            return write!(formatter, "{}", self.minor.0);
        }
        let minor = self.minor.0.unsigned_abs();
        let minor_per_main = 10_u64.pow(digits);
        let sign = if self.minor.0 < 0 { "-" } else { "" };
        let (whole, part) = (minor / minor_per_main, minor % minor_per_main);
        write!(
            formatter,
            "{sign}{whole}.{part:0width$}",
            width = digits as usize
        )
    }
}

impl Serialize for Money {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The amount is greater than a line of an invoice can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the amount is too great for an invoice")]
pub struct TooGreat;

/// Rounds half away from zero to the smallest amount that Stripe takes in the currency.
///
/// # Errors
/// When it is more than any invoice holds.
pub fn round(amount: Decimal, currency: Currency) -> Result<Minor, TooGreat> {
    let strategy = RoundingStrategy::MidpointAwayFromZero;
    let rounded = amount.round_dp_with_strategy(decimals_charged(currency), strategy);
    let minor_per_main = Decimal::from(10_i64.pow(exponent(currency)));
    let minor = rounded.checked_mul(minor_per_main).map(i64::try_from);
    match minor {
        Some(Ok(minor)) if minor.abs() <= MINOR_MAX => Ok(Minor(minor)),
        _ => Err(TooGreat),
    }
}

/// Decimals that Stripe's amounts of a currency stand for.
fn exponent(currency: Currency) -> u32 {
    if ZERO_DECIMAL.contains(&currency.bytes()) {
        0
    } else if THREE_DECIMAL.contains(&currency.bytes()) {
        3
    } else {
        2
    }
}

/// Decimals of the smallest amount that Stripe takes.
fn decimals_charged(currency: Currency) -> u32 {
    let code = &currency.bytes();
    if ZERO_DECIMAL.contains(code) || WHOLE_OF_TWO_DECIMAL.contains(code) {
        0
    } else {
        2
    }
}

/// A part of an amount, from none to all of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Percentage(Decimal);

impl Percentage {
    /// Nothing of it.
    pub const NONE: Self = Self(Decimal::ZERO);

    /// So many hundredths, unless they are below 0 or above 100.
    #[must_use]
    pub fn new(hundredths: Decimal) -> Option<Self> {
        let is_part = (Decimal::ZERO..=Decimal::ONE_HUNDRED).contains(&hundredths);
        is_part.then(|| Self((hundredths * Decimal::new(1, 2)).normalize()))
    }

    /// Whether it is all.
    #[must_use]
    pub fn is_whole(self) -> bool {
        self.0 == Decimal::ONE
    }

    /// This part of an amount, not rounded.
    #[must_use]
    pub fn of(self, amount: Decimal) -> Decimal {
        amount * self.0
    }

    /// This part of money, rounded.
    #[must_use]
    pub fn of_money(self, money: Money) -> Minor {
        if self.0.is_zero() {
            return Minor::ZERO;
        }
        // A part of what an invoice holds is never too great for it.
        round(self.of(money.decimal()), money.currency).unwrap_or(money.minor)
    }
}

/// Why a text is no price.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAmount {
    /// No decimal number.
    #[error("is not a decimal number such as 29 or 0.002")]
    NotDecimal,
    /// Below zero.
    #[error("is negative")]
    Negative,
    /// More digits than are kept exact.
    #[error("has more than {AMOUNT_MAX_DIGITS} digits")]
    TooManyDigits,
}

/// Reads a price: at least 0, with at most 12 digits before and after the point together.
///
/// # Errors
/// When the text is none.
pub fn parse_amount(text: &str) -> Result<Decimal, NotAmount> {
    let plain = text
        .bytes()
        .all(|byte| byte.is_ascii_digit() || b"-.eE".contains(&byte));
    // JSON numbers may come as 1e-5.
    let amount = Decimal::from_str_exact(text).or_else(|_| Decimal::from_scientific(text));
    let amount = amount.ok().filter(|_| plain).ok_or(NotAmount::NotDecimal)?;
    if amount.is_sign_negative() && !amount.is_zero() {
        return Err(NotAmount::Negative);
    }
    let amount = amount.normalize();
    let digits = amount.mantissa().to_string().len();
    if digits > AMOUNT_MAX_DIGITS || AMOUNT_MAX_DIGITS < amount.scale() as usize {
        return Err(NotAmount::TooManyDigits);
    }
    Ok(amount)
}

impl FromStr for Minor {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rounded(amount: &str, currency: &str) -> i64 {
        let amount = Decimal::from_str_exact(amount).unwrap();
        round(amount, currency.parse().unwrap()).unwrap().get()
    }

    #[test]
    fn amounts_round_half_away_from_zero_to_what_stripe_takes() {
        for (amount, currency, minor) in [
            ("13.3333", "USD", 1_333),
            ("0.005", "USD", 1),
            ("0.0049999", "USD", 0),
            ("-0.005", "USD", -1),
            ("-2.675", "EUR", -268),
            ("1234.5", "JPY", 1_235),
            ("1234.5", "KRW", 1_235),
            ("5.124", "KWD", 5_120),
            ("5.125", "KWD", 5_130),
            ("0.005", "TND", 10),
            ("5.5", "ISK", 600),
            ("5.49", "UGX", 500),
        ] {
            assert_eq!(rounded(amount, currency), minor, "{amount} {currency}");
        }
        let much = Decimal::from_str_exact("10000000000000.01").unwrap();
        assert_eq!(round(much, "USD".parse().unwrap()), Err(TooGreat));
        assert_eq!(round(Decimal::MAX, "KWD".parse().unwrap()), Err(TooGreat));
    }

    #[test]
    fn a_percentage_is_a_part_and_rounds_as_every_amount_does() {
        let percentage = |text: &str| Percentage::new(parse_amount(text).unwrap());
        for (percent, minor, currency, expected) in [
            ("20", 999, "USD", 200),
            ("0", 999, "USD", 0),
            ("100", 999, "USD", 999),
            ("12.5", 100, "USD", 13),
            (
                "33.333333",
                1_000_000_000_000_000,
                "USD",
                333_333_330_000_000,
            ),
            ("50", 5, "JPY", 3),
            ("50", 5_010, "KWD", 2_510),
        ] {
            let money = Minor::new(minor).of(currency.parse().unwrap());
            let part = percentage(percent).unwrap().of_money(money);
            assert_eq!(part.get(), expected, "{percent} {currency}");
        }
        assert_eq!(percentage("100.1"), None);
        assert_eq!(Percentage::new(Decimal::NEGATIVE_ONE), None);
        assert!(percentage("100.00").unwrap().is_whole());
    }

    #[test]
    fn money_is_shown_with_the_decimals_of_its_currency() {
        for (minor, currency, text) in [
            (2_900, "USD", "29.00"),
            (0, "USD", "0.00"),
            (5, "EUR", "0.05"),
            (-1_205, "EUR", "-12.05"),
            (500, "JPY", "500"),
            (5_120, "KWD", "5.120"),
            (500, "ISK", "5.00"),
        ] {
            let money = Minor::new(minor).of(currency.parse().unwrap());
            assert_eq!(money.to_string(), text);
            assert_eq!(serde_json::to_value(money).unwrap(), text);
        }
    }

    #[test]
    fn prices_are_decimals_of_up_to_twelve_digits() {
        for (text, amount) in [
            ("29", "29"),
            ("29.00", "29"),
            ("0.002", "0.002"),
            ("0", "0"),
            ("1e-5", "0.00001"),
            ("0.000000000001", "0.000000000001"),
            ("999999999999", "999999999999"),
        ] {
            assert_eq!(parse_amount(text).unwrap().to_string(), amount, "{text}");
        }
        for (text, error) in [
            ("", NotAmount::NotDecimal),
            ("abc", NotAmount::NotDecimal),
            ("1_000", NotAmount::NotDecimal),
            ("1,5", NotAmount::NotDecimal),
            ("-1", NotAmount::Negative),
            ("1234567890.123", NotAmount::TooManyDigits),
            ("0.0000000000001", NotAmount::TooManyDigits),
        ] {
            assert_eq!(parse_amount(text), Err(error), "{text}");
        }
    }
}
