//! The model's own arithmetic: months, fees, tiers and what is left of a fee, in whole numbers.

/// Milliseconds of a day.
const DAY_MS: i64 = 86_400_000;

/// What a plan costs and gives, in cents and units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    pub key: &'static str,
    /// A fee each month in advance.
    pub fee: i64,
    /// Units of each month: of the quota, and before the price begins.
    pub quota: i64,
    /// The price of a unit beyond the quota, in hundredths of a cent; none for a hard limit.
    pub unit: i64,
    /// Days of a first phase that costs nothing.
    pub trial_days: i64,
}

/// The cheapest first: the order of plans.
pub const PLANS: [Plan; 5] = [
    Plan {
        key: "free",
        fee: 0,
        quota: 1_000,
        unit: 0,
        trial_days: 0,
    },
    Plan {
        key: "payg",
        fee: 0,
        quota: 0,
        unit: 100,
        trial_days: 0,
    },
    Plan {
        key: "starter",
        fee: 2_900,
        quota: 10_000,
        unit: 0,
        trial_days: 0,
    },
    Plan {
        key: "trial",
        fee: 4_900,
        quota: 20_000,
        unit: 0,
        trial_days: 14,
    },
    Plan {
        key: "pro",
        fee: 9_900,
        quota: 50_000,
        unit: 20,
        trial_days: 0,
    },
];

pub fn plan(key: &str) -> Plan {
    *PLANS.iter().find(|plan| plan.key == key).unwrap()
}

/// A stretch of time, in Unix milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stretch {
    pub start: i64,
    pub end: i64,
}

impl Plan {
    /// When what it costs begins, for a subscription that begins at `start`.
    pub fn charged_from(&self, start: i64) -> i64 {
        start + self.trial_days * DAY_MS
    }

    /// The months of a subscription that began at `start` which begin until `last`, before `end`.
    pub fn months(&self, start: i64, end: Option<i64>, last: i64) -> Vec<Stretch> {
        let anchor = self.charged_from(start);
        (0..)
            .map(|number| Stretch {
                start: month_after(anchor, number),
                end: month_after(anchor, number + 1),
            })
            .take_while(|month| month.start <= last && end.is_none_or(|end| month.start < end))
            .collect()
    }

    /// What a whole window of so many units costs in arrears, rounded half up.
    pub fn usage(&self, units: i64) -> i64 {
        let hundredths = (units - self.quota).max(0) * self.unit;
        (hundredths + 50) / 100
    }
}

/// What is left of `price` for a month that is cut at `at`, when so much of `quota` was consumed: half away from zero.
pub fn left(price: i64, month: Stretch, at: i64, consumed: i64, quota: i64) -> i64 {
    let (of, gone) = (
        i128::from((month.end - month.start) / 1_000),
        i128::from((at - month.start) / 1_000),
    );
    let time = (of - gone.min(of), of);
    let (quota, consumed) = (i128::from(quota), i128::from(consumed));
    let units = (quota - consumed.min(quota), quota.max(1));
    let least = match quota {
        0 => time,
        _ if units.0 * time.1 < time.0 * units.1 => units,
        _ => time,
    };
    let doubled = 2 * i128::from(price) * least.0;
    i64::try_from((doubled + least.1) / (2 * least.1)).unwrap()
}

/// The instant `months` later, on the same day or the month's last.
fn month_after(anchor: i64, months: i64) -> i64 {
    let (day_number, time) = (anchor.div_euclid(DAY_MS), anchor.rem_euclid(DAY_MS));
    let (year, month, day) = date(day_number);
    let whole = year * 12 + (month - 1) + months;
    let (year, month) = (whole.div_euclid(12), whole.rem_euclid(12) + 1);
    let day = day.min(length(year, month));
    days(year, month, day) * DAY_MS + time
}

fn length(year: i64, month: i64) -> i64 {
    let next = match month {
        12 => days(year + 1, 1, 1),
        _ => days(year, month + 1, 1),
    };
    next - days(year, month, 1)
}

/// Days since 1970 of a date of the Gregorian calendar.
fn days(year: i64, month: i64, day: i64) -> i64 {
    const BEFORE: [i64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    let past = year - 1;
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let in_year = BEFORE[usize::try_from(month - 1).unwrap()] + i64::from(leap && month > 2);
    let years = past * 365 + past.div_euclid(4) - past.div_euclid(100) + past.div_euclid(400);
    years + in_year + day - 1 - 719_162
}

/// The date of a day since 1970.
fn date(number: i64) -> (i64, i64, i64) {
    let mut year = 1970 + number / 366;
    while days(year + 1, 1, 1) <= number {
        year += 1;
    }
    let mut month = 1;
    while month < 12 && days(year, month + 1, 1) <= number {
        month += 1;
    }
    (year, month, number - days(year, month, 1) + 1)
}
