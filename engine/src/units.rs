//! Amounts of usage: integers of 1/1000 unit, never a float.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};

use crate::limits::{MILLI_PER_UNIT, TOTAL_MAX_MILLI};
use crate::packed::{Pack, Packer, Unpacker};

/// Decimals of a unit that are kept.
const DECIMALS: usize = 3;
/// Doubles from here on no longer tell two amounts 0.001 apart reliably.
const FRACTION_EXACT_BELOW: f64 = (1_u64 << 40) as f64;

/// An amount of usage, at least 0 and at most [`Units::MAX`], in integers of 1/1000 unit.
///
/// Serde reads and writes the integer of milli-units, as documents and counters in Redis hold it;
/// [`decimal`] is the form for people.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Units(u64);

impl Units {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// One unit.
    pub const ONE: Self = Self(MILLI_PER_UNIT);
    /// The greatest total of any counter.
    pub const MAX: Self = Self(TOTAL_MAX_MILLI);

    /// The amount of `milli` thousandths, or `None` above [`Units::MAX`].
    #[must_use]
    pub const fn from_milli(milli: u64) -> Option<Self> {
        if milli <= TOTAL_MAX_MILLI {
            Some(Self(milli))
        } else {
            None
        }
    }

    /// The amount in thousandths of a unit.
    #[must_use]
    pub const fn milli(self) -> u64 {
        self.0
    }

    /// Whether this is nothing.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// The sum, or `None` above [`Units::MAX`].
    #[must_use]
    pub const fn checked_add(self, other: Self) -> Option<Self> {
        // Both are below 2^53, so the sum cannot wrap.
        Self::from_milli(self.0 + other.0)
    }

    /// The difference, or `None` below zero.
    #[must_use]
    pub const fn checked_sub(self, other: Self) -> Option<Self> {
        match self.0.checked_sub(other.0) {
            Some(milli) => Some(Self(milli)),
            None => None,
        }
    }

    /// The product with a count, or `None` above [`Units::MAX`].
    #[must_use]
    pub const fn checked_mul(self, count: u64) -> Option<Self> {
        match self.0.checked_mul(count) {
            Some(milli) => Self::from_milli(milli),
            None => None,
        }
    }

    /// The sum, at most [`Units::MAX`].
    #[must_use]
    pub fn saturating_add(self, other: Self) -> Self {
        self.checked_add(other).unwrap_or(Self::MAX)
    }

    /// The product with a count, at most [`Units::MAX`].
    #[must_use]
    pub fn saturating_mul(self, count: u64) -> Self {
        self.checked_mul(count).unwrap_or(Self::MAX)
    }

    /// The difference, at least zero.
    #[must_use]
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

/// Why a text or number is no amount of units.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotUnits {
    /// No decimal number, such as `1,5`, `.5` or `1e3`.
    #[error("is not a decimal number such as 1 or 0.5")]
    NotDecimal,
    /// Below zero.
    #[error("is negative")]
    Negative,
    /// Finer than 1/1000.
    #[error("has more than {DECIMALS} decimals")]
    TooFine,
    /// Above [`Units::MAX`].
    #[error("is greater than {}", Units::MAX)]
    TooGreat,
    /// A JSON number whose double no longer identifies its decimals.
    #[error("is too great for a JSON number with decimals: write it as a string")]
    Inexact,
}

impl FromStr for Units {
    type Err = NotUnits;

    /// Reads digits with at most 3 significant decimals; zeros after them mean nothing.
    fn from_str(text: &str) -> Result<Self, NotUnits> {
        if let Some(rest) = text.strip_prefix('-') {
            rest.parse::<Self>()?;
            return Err(NotUnits::Negative);
        }
        let (whole, decimals) = match text.split_once('.') {
            Some((_, "")) => return Err(NotUnits::NotDecimal),
            Some((whole, decimals)) => (whole, decimals),
            None => (text, ""),
        };
        let digits_only = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || !digits_only(whole) || !digits_only(decimals) {
            return Err(NotUnits::NotDecimal);
        }
        let decimals = decimals.trim_end_matches('0');
        if decimals.len() > DECIMALS {
            return Err(NotUnits::TooFine);
        }
        let milli = whole
            .bytes()
            .chain(decimals.bytes())
            .chain(std::iter::repeat_n(b'0', DECIMALS - decimals.len()))
            .try_fold(0_u64, |milli, digit| {
                milli.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
            });
        milli.and_then(Self::from_milli).ok_or(NotUnits::TooGreat)
    }
}

impl TryFrom<f64> for Units {
    type Error = NotUnits;

    /// Reads the number's shortest decimal text, so that 0.1 is 0.1; no float is multiplied.
    fn try_from(number: f64) -> Result<Self, NotUnits> {
        if number.fract() != 0.0 && number.abs() >= FRACTION_EXACT_BELOW {
            return Err(NotUnits::Inexact);
        }
        number.to_string().parse()
    }
}

impl Pack for Units {
    fn pack<'v>(&'v self, to: &mut Packer<'v>) {
        self.0.pack(to);
    }

    fn unpack(from: &mut Unpacker<'_>) -> Option<Self> {
        Self::from_milli(u64::unpack(from)?)
    }
}

impl fmt::Display for Units {
    /// The shortest decimal: `1`, `0.5`, `12.001`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, milli) = (self.0 / MILLI_PER_UNIT, self.0 % MILLI_PER_UNIT);
        match milli {
            0 => write!(formatter, "{whole}"),
            _ if milli % 100 == 0 => write!(formatter, "{whole}.{}", milli / 100),
            _ if milli % 10 == 0 => write!(formatter, "{whole}.{:02}", milli / 10),
            _ => write!(formatter, "{whole}.{milli:03}"),
        }
    }
}

impl<'de> Deserialize<'de> for Units {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let milli = u64::deserialize(deserializer)?;
        Self::from_milli(milli).ok_or_else(|| serde::de::Error::custom(NotUnits::TooGreat))
    }
}

/// For `#[serde(with = "units::decimal")]`: writes a decimal string, reads one or a JSON number.
pub mod decimal {
    use std::fmt;

    use serde::de::{Error, Visitor};
    use serde::{Deserializer, Serializer};

    use super::{NotUnits, Units};

    /// Writes `"0.5"`.
    pub fn serialize<S: Serializer>(units: &Units, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(units)
    }

    /// Reads `"0.5"`, `0.5` or `1`.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Units, D::Error> {
        deserializer.deserialize_any(DecimalVisitor)
    }

    struct DecimalVisitor;

    impl Visitor<'_> for DecimalVisitor {
        type Value = Units;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("a number or decimal string with at most 3 decimals")
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<Units, E> {
            text.parse().map_err(E::custom)
        }

        fn visit_u64<E: Error>(self, number: u64) -> Result<Units, E> {
            Units::ONE
                .checked_mul(number)
                .ok_or_else(|| E::custom(NotUnits::TooGreat))
        }

        fn visit_i64<E: Error>(self, number: i64) -> Result<Units, E> {
            let number = u64::try_from(number).map_err(|_| E::custom(NotUnits::Negative))?;
            self.visit_u64(number)
        }

        fn visit_f64<E: Error>(self, number: f64) -> Result<Units, E> {
            Units::try_from(number).map_err(E::custom)
        }
    }
}

#[cfg(test)]
mod tests;
