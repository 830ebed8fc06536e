//! Periods: where they begin and end.
//!
//! Boundary n is anchor + n × cadence, always from the anchor, a day that its month does not have
//! clamped to the month's last: from January 31 by months come February 28 and March 31. Months and
//! days are those of the time zone, so that boundaries are local dates; hours are exact.

mod period;
mod zone;

use jiff::{Span, Timestamp};

pub use period::{NotPeriod, Period};
pub(crate) use zone::check_zone;
pub use zone::{NotZone, Zone};

use crate::clock::BusinessInstant;

const SECONDS_PER_DAY: i64 = 86_400;
/// The mean of the Gregorian calendar: 146,097 days in 4,800 months.
const SECONDS_PER_MONTH: i64 = 146_097 * SECONDS_PER_DAY / 4_800;

/// A stretch of time `[start, end)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval {
    /// First instant.
    pub start: BusinessInstant,
    /// First instant after it.
    pub end: BusinessInstant,
}

/// The boundaries between the periods of one cadence; they tile all time, before the anchor, too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Boundaries {
    anchor: BusinessInstant,
    cadence: Period,
    zone: Zone,
}

impl Boundaries {
    /// The boundaries of `cadence` from `anchor`, as local dates of `zone`.
    #[must_use]
    pub fn new(anchor: BusinessInstant, cadence: Period, zone: Zone) -> Self {
        Self {
            anchor,
            cadence,
            zone,
        }
    }

    /// The boundaries of `cadence` from `anchor` in UTC.
    #[must_use]
    pub fn utc(anchor: BusinessInstant, cadence: Period) -> Self {
        Self::new(anchor, cadence, Zone::UTC)
    }

    /// Boundary `n`: anchor + n × cadence; the end of the year 9999 when it would be later.
    #[must_use]
    pub fn boundary(&self, n: i64) -> BusinessInstant {
        let bound = if n < 0 {
            Timestamp::MIN
        } else {
            Timestamp::MAX
        };
        let anchor = self.anchor.timestamp().to_zoned(self.zone.time_zone());
        let boundary = self.span(n).and_then(|span| anchor.checked_add(span).ok());
        boundary
            .map_or(bound, |boundary| boundary.timestamp())
            .into()
    }

    /// The period that `at` is in.
    #[must_use]
    pub fn period_at(&self, at: BusinessInstant) -> Interval {
        let n = self.index_at(at);
        Interval {
            start: self.boundary(n),
            end: self.boundary(n + 1),
        }
    }

    /// The number of the last boundary that is not after `at`.
    fn index_at(&self, at: BusinessInstant) -> i64 {
        let seconds = self.cadence.months() * SECONDS_PER_MONTH
            + self.cadence.days() * SECONDS_PER_DAY
            + self.cadence.seconds();
        let mut n = (at.unix_ms() - self.anchor.unix_ms()).div_euclid(seconds * 1_000);
        // The mean length misses by a few months' worth of unequal days, never by many periods.
        while self.boundary(n) > at {
            n -= 1;
        }
        // Where a zone left a day out, two boundaries are one: of these the last counts. After the end
        // of the calendar there is nothing.
        let end = BusinessInstant::from(Timestamp::MAX);
        while self.boundary(n) < end && self.boundary(n + 1) <= at {
            n += 1;
        }
        n
    }

    fn span(&self, n: i64) -> Option<Span> {
        let months = self.cadence.months().checked_mul(n)?;
        let days = self.cadence.days().checked_mul(n)?;
        let seconds = self.cadence.seconds().checked_mul(n)?;
        let span = Span::new().try_months(months).ok()?.try_days(days).ok()?;
        span.try_seconds(seconds).ok()
    }
}

#[cfg(test)]
mod tests;
