//! Lengths of time by the calendar: ISO 8601 durations such as `P1M`.

use std::fmt;
use std::str::FromStr;

use jiff::fmt::temporal::SpanParser;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

const SECONDS_PER_HOUR: i64 = 3_600;

/// A length of time in months, days and seconds, each at least 0 and together more than that.
///
/// Equal lengths are equal however they were written: `P12M` is `P1Y`, `P7D` is `P1W`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Period {
    months: i64,
    days: i64,
    seconds: i64,
}

/// Why a text is no period.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotPeriod {
    /// No ISO 8601 duration in whole seconds.
    #[error("is not an ISO 8601 duration such as P1M or P2W")]
    NotIso,
    /// A negative length, or none.
    #[error("must be positive")]
    NotPositive,
    /// Shorter than an hour.
    #[error("must be at least 1 hour")]
    TooShort,
}

impl Period {
    /// An hour.
    pub const HOUR: Self = Self::new(0, 0, SECONDS_PER_HOUR);
    /// A day.
    pub const DAY: Self = Self::new(0, 1, 0);
    /// A month.
    pub const MONTH: Self = Self::new(1, 0, 0);

    const fn new(months: i64, days: i64, seconds: i64) -> Self {
        Self {
            months,
            days,
            seconds,
        }
    }

    /// Calendar months, years included.
    #[must_use]
    pub fn months(self) -> i64 {
        self.months
    }

    /// Calendar days, weeks included.
    #[must_use]
    pub fn days(self) -> i64 {
        self.days
    }

    /// Exact seconds, hours included.
    #[must_use]
    pub fn seconds(self) -> i64 {
        self.seconds
    }

    /// Whether a plan may be billed this often: every 1, 2 or 4 weeks, or 1, 3, 6 or 12 months.
    #[must_use]
    pub fn is_plan_cadence(self) -> bool {
        let weeks = [7, 14, 28].map(|days| Self::new(0, days, 0));
        let months = [1, 3, 6, 12].map(|months| Self::new(months, 0, 0));
        weeks.contains(&self) || months.contains(&self)
    }

    /// Whether a rate card may be billed this often: as a plan, or every hour or day.
    #[must_use]
    pub fn is_card_cadence(self) -> bool {
        self.is_plan_cadence() || self == Self::HOUR || self == Self::DAY
    }

    /// This, unless it is shorter than an hour.
    ///
    /// # Errors
    /// When it is.
    pub const fn at_least_an_hour(self) -> Result<Self, NotPeriod> {
        match self {
            Self {
                months: 0,
                days: 0,
                seconds: ..SECONDS_PER_HOUR,
            } => Err(NotPeriod::TooShort),
            period => Ok(period),
        }
    }

    /// Whether one of two cadences is a whole number of the other's.
    #[must_use]
    pub fn is_aligned_with(self, other: Self) -> bool {
        self.is_divisible_by(other) || other.is_divisible_by(self)
    }

    /// Whether this is a whole number of `part`, in every month of 28 to 31 days and on every day of
    /// 23 to 25 hours.
    #[must_use]
    pub fn is_divisible_by(self, part: Self) -> bool {
        let whole = |of: i64, by: i64| of % by == 0;
        match (part.months, part.days, part.seconds) {
            // Months and days have whole hours, and nothing else in common.
            (0, 0, seconds) if self.months > 0 || self.days > 0 => {
                whole(SECONDS_PER_HOUR, seconds) && whole(self.seconds, seconds)
            }
            (0, 0, seconds) => whole(self.seconds, seconds),
            // Months have whole days, and no other number in common.
            (0, days, 0) if self.months > 0 => days == 1 && self.seconds == 0,
            (0, days, 0) => self.days > 0 && whole(self.days, days) && self.seconds == 0,
            (months, 0, 0) => {
                self.months > 0 && whole(self.months, months) && (self.days, self.seconds) == (0, 0)
            }
            (months, days, seconds) => {
                let parts = [
                    (self.months, months),
                    (self.days, days),
                    (self.seconds, seconds),
                ];
                let times = parts.iter().filter(|(_, part)| *part > 0);
                let times = times.map(|(whole, part)| whole / part).min().unwrap_or(0);
                times > 0 && parts.iter().all(|(whole, part)| part * times == *whole)
            }
        }
    }
}

impl FromStr for Period {
    type Err = NotPeriod;

    fn from_str(text: &str) -> Result<Self, NotPeriod> {
        // The parser takes more spellings than the standard has.
        let standard = text
            .bytes()
            .all(|byte| b"-+PYMWDTHS".contains(&byte) || byte.is_ascii_digit());
        let span = SpanParser::new().parse_span(text).ok().filter(|_| standard);
        let span = span.ok_or(NotPeriod::NotIso)?;
        let months = i64::from(span.get_years()) * 12 + i64::from(span.get_months());
        let days = i64::from(span.get_weeks()) * 7 + i64::from(span.get_days());
        let seconds = i64::from(span.get_hours()) * SECONDS_PER_HOUR
            + span.get_minutes() * 60
            + span.get_seconds();
        match (months, days, seconds) {
            (..0, _, _) | (_, ..0, _) | (_, _, ..0) | (0, 0, 0) => Err(NotPeriod::NotPositive),
            _ => Ok(Self::new(months, days, seconds)),
        }
    }
}

impl fmt::Display for Period {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (weeks, days) = match self.days % 7 {
            0 => (self.days / 7, 0),
            _ => (0, self.days),
        };
        let date = [
            (self.months / 12, 'Y'),
            (self.months % 12, 'M'),
            (weeks, 'W'),
            (days, 'D'),
        ];
        let time = [
            (self.seconds / SECONDS_PER_HOUR, 'H'),
            (self.seconds % SECONDS_PER_HOUR / 60, 'M'),
            (self.seconds % 60, 'S'),
        ];
        for (designator, parts) in [("P", &date[..]), ("T", &time[..])] {
            if designator == "P" || self.seconds > 0 {
                formatter.write_str(designator)?;
            }
            for (amount, unit) in parts.iter().filter(|(amount, _)| *amount > 0) {
                write!(formatter, "{amount}{unit}")?;
            }
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse()
            .map_err(|error| serde::de::Error::custom(format!("{text} {error}")))
    }
}

impl Serialize for Period {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn period(text: &str) -> Period {
        text.parse()
            .unwrap_or_else(|error| panic!("{text} {error}"))
    }

    #[test]
    fn periods_read_and_write_the_shortest_form() {
        for (text, shortest) in [
            ("PT1H", "PT1H"),
            ("P1D", "P1D"),
            ("P7D", "P1W"),
            ("P4W", "P4W"),
            ("P1M", "P1M"),
            ("P12M", "P1Y"),
            ("P18M", "P1Y6M"),
            ("PT90M", "PT1H30M"),
            ("P1M10DT5400S", "P1M10DT1H30M"),
        ] {
            assert_eq!(period(text).to_string(), shortest);
            assert_eq!(period(shortest), period(text));
        }
    }

    #[test]
    fn what_is_no_period_is_refused() {
        use NotPeriod::{NotIso, NotPositive};
        for (text, reason) in [
            ("", NotIso),
            ("P", NotIso),
            ("1 month", NotIso),
            ("p1m", NotIso),
            ("P1.5M", NotIso),
            ("PT1.5H", NotIso),
            ("P1M ", NotIso),
            ("P0D", NotPositive),
            ("-P1M", NotPositive),
            ("P99999999999999Y", NotIso),
        ] {
            assert_eq!(text.parse::<Period>(), Err(reason), "{text}");
        }
    }

    #[test]
    fn what_is_billed_lasts_an_hour_at_least() {
        for (text, enough) in [
            ("PT3599S", false),
            ("PT1H", true),
            ("P1D", true),
            ("P1M", true),
        ] {
            assert_eq!(period(text).at_least_an_hour().is_ok(), enough, "{text}");
        }
    }

    #[test]
    fn lengths_divide_when_they_do_in_every_month_and_on_every_day() {
        for (whole, part, expected) in [
            ("P1M10D", "P1M10D", true),
            ("P3M30DT3H", "P1M10DT1H", true),
            ("P3M30DT4H", "P1M10DT1H", false),
            ("P1M10D", "P1D", true),
            ("P1M10D", "PT30M", true),
            ("P1D", "PT12H", false),
            ("P7M", "P1W", false),
            ("P1M", "P28D", false),
            ("P1W", "P1W", true),
            ("PT1H", "P1D", false),
        ] {
            assert_eq!(
                period(whole).is_divisible_by(period(part)),
                expected,
                "{whole} {part}"
            );
        }
    }

    #[test]
    fn cadences_align_when_one_is_always_a_whole_number_of_the_other() {
        let cadences = [
            "PT1H", "P1D", "P1W", "P2W", "P4W", "P1M", "P3M", "P6M", "P1Y",
        ];
        let groups = [
            &["P1W", "P2W", "P4W"][..],
            &["P1M", "P3M", "P6M", "P1Y"][..],
        ];
        for one in cadences {
            for other in cadences {
                let short = |text| ["PT1H", "P1D"].contains(&text);
                let expected = short(one)
                    || short(other)
                    || groups
                        .iter()
                        .any(|group| group.contains(&one) && group.contains(&other));
                let aligned = period(one).is_aligned_with(period(other));
                assert_eq!(aligned, expected, "{one} {other}");
            }
        }
    }

    #[test]
    fn a_plan_is_billed_weekly_at_most() {
        for text in ["P1W", "P2W", "P4W", "P1M", "P3M", "P6M", "P12M", "P1Y"] {
            assert!(period(text).is_plan_cadence() && period(text).is_card_cadence());
        }
        for text in ["PT1H", "P1D"] {
            assert!(!period(text).is_plan_cadence() && period(text).is_card_cadence());
        }
        for text in ["P2D", "P3W", "P2M", "P2Y", "P1M1D", "PT2H"] {
            assert!(!period(text).is_card_cadence(), "{text}");
        }
    }
}
