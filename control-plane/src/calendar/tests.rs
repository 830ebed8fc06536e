mod published;

use std::str::FromStr;

use proptest::prelude::*;
use serde::Deserialize;

use super::*;

fn instant(text: &str) -> BusinessInstant {
    text.parse::<Timestamp>().unwrap().into()
}

fn boundaries(anchor: &str, cadence: &str) -> Boundaries {
    Boundaries::utc(instant(anchor), cadence.parse().unwrap())
}

fn zone(name: &str) -> Zone {
    name.parse().unwrap()
}

/// Figures of public test suites.
#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Case {
    Divisible {
        name: String,
        larger: Period,
        smaller: Period,
        expected: bool,
    },
    AddDuration {
        name: String,
        start: BusinessInstant,
        duration: Period,
        expected: BusinessInstant,
    },
    RecurrenceNextAfter(Recurrence<BusinessInstant>),
    RecurrencePrevBefore(Recurrence<BusinessInstant>),
    RecurrencePeriodAt(Recurrence<Expected>),
}

#[derive(Deserialize)]
struct Figures {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Recurrence<E> {
    name: String,
    interval: Period,
    anchor: BusinessInstant,
    at: BusinessInstant,
    boundary: Option<String>,
    expected: E,
}

#[derive(Deserialize)]
struct Expected {
    from: BusinessInstant,
    to: BusinessInstant,
}

impl<E> Recurrence<E> {
    fn boundaries(&self) -> Boundaries {
        Boundaries::utc(self.anchor, self.interval)
    }

    /// Whether `at` itself is the boundary asked for.
    fn is_itself(&self) -> bool {
        let inclusive = self.boundary.as_deref() == Some("inclusive");
        inclusive && self.boundaries().period_at(self.at).start == self.at
    }
}

#[test]
fn figures_of_public_test_suites_hold() {
    let figures: Figures =
        serde_json::from_str(include_str!("../../tests/cases/calendar.json")).unwrap();
    assert_eq!(figures.cases.len(), 35);
    for case in figures.cases {
        match case {
            Case::Divisible {
                name,
                larger,
                smaller,
                expected,
            } => assert_eq!(larger.is_divisible_by(smaller), expected, "{name}"),
            Case::AddDuration {
                name,
                start,
                duration,
                expected,
            } => {
                let boundaries = Boundaries::utc(start, duration);
                assert_eq!(boundaries.boundary(1), expected, "{name}");
            }
            Case::RecurrenceNextAfter(case) => {
                let after = case.boundaries().period_at(case.at).end;
                let next = if case.is_itself() { case.at } else { after };
                assert_eq!(next, case.expected, "{}", case.name);
            }
            Case::RecurrencePrevBefore(case) => {
                let just_before = BusinessInstant::from_unix_ms(case.at.unix_ms() - 1);
                let before = case.boundaries().period_at(just_before).start;
                let previous = if case.is_itself() { case.at } else { before };
                assert_eq!(previous, case.expected, "{}", case.name);
            }
            Case::RecurrencePeriodAt(case) => {
                let Interval { start, end } = case.boundaries().period_at(case.at);
                let expected = (case.expected.from, case.expected.to);
                assert_eq!((start, end), expected, "{}", case.name);
            }
        }
    }
}

#[test]
fn a_day_the_month_does_not_have_is_its_last_and_comes_back() {
    for (anchor, cadence, expected) in [
        (
            "2026-01-31T15:00:00Z",
            "P1M",
            [
                "2026-02-28T15:00:00Z",
                "2026-03-31T15:00:00Z",
                "2026-04-30T15:00:00Z",
            ],
        ),
        (
            "2024-02-29T00:00:00Z",
            "P1Y",
            [
                "2025-02-28T00:00:00Z",
                "2026-02-28T00:00:00Z",
                "2027-02-28T00:00:00Z",
            ],
        ),
        (
            "2025-11-30T00:00:00Z",
            "P3M",
            [
                "2026-02-28T00:00:00Z",
                "2026-05-30T00:00:00Z",
                "2026-08-30T00:00:00Z",
            ],
        ),
    ] {
        let boundaries = boundaries(anchor, cadence);
        for (n, expected) in (1..).zip(expected) {
            assert_eq!(
                boundaries.boundary(n),
                instant(expected),
                "{anchor} {cadence} {n}"
            );
        }
    }
}

#[test]
fn local_boundaries_keep_their_time_of_day_over_the_change_of_clocks() {
    let daily = Boundaries::new(
        instant("2026-03-27T23:00:00Z"),
        "P1D".parse().unwrap(),
        zone("Europe/Berlin"),
    );
    // Midnight in winter, then in summer: the day between has 23 hours.
    assert_eq!(daily.boundary(1), instant("2026-03-28T23:00:00Z"));
    assert_eq!(daily.boundary(2), instant("2026-03-29T22:00:00Z"));
    let hourly = Boundaries::new(
        instant("2026-03-29T00:00:00Z"),
        "PT1H".parse().unwrap(),
        zone("Europe/Berlin"),
    );
    assert_eq!(hourly.boundary(2), instant("2026-03-29T02:00:00Z"));
}

#[test]
fn a_period_past_the_end_of_the_calendar_ends_with_it() {
    let long = boundaries("2026-01-01T00:00:00Z", "P9999Y");
    let at = instant("2026-05-01T00:00:00Z");
    assert_eq!(long.period_at(at).start, instant("2026-01-01T00:00:00Z"));
    assert!(long.period_at(at).end > instant("9999-12-30T00:00:00Z"));
    let last = long.period_at(at).end;
    assert_eq!(long.period_at(last).start, last);
}

fn any_cadence() -> impl Strategy<Value = Period> {
    let named = prop::sample::select(vec![
        "PT1H", "P1D", "P1W", "P2W", "P4W", "P1M", "P3M", "P6M", "P12M", "P1Y",
    ]);
    let mixed = (0..20_i64, 0..40_i64, 0..50_i64)
        .prop_filter("not nothing", |parts| *parts != (0, 0, 0))
        .prop_map(|(months, days, hours)| format!("P{months}M{days}DT{hours}H"));
    prop_oneof![named.prop_map(str::to_owned), mixed].prop_map(|text| text.parse().unwrap())
}

/// Between 1970 and 2100, to the millisecond.
fn any_instant() -> impl Strategy<Value = BusinessInstant> {
    (0..4_102_444_800_000_i64).prop_map(BusinessInstant::from_unix_ms)
}

/// Zones with summers on both halves, halves and quarters of hours, a summer of half an hour, midnights
/// that do not exist, a day that was left out, and none of that.
const ZONES: [&str; 12] = [
    "UTC",
    "Europe/Berlin",
    "Europe/Lisbon",
    "America/New_York",
    "America/Sao_Paulo",
    "Asia/Kathmandu",
    "Asia/Kolkata",
    "Asia/Beirut",
    "Australia/Lord_Howe",
    "Africa/Casablanca",
    "Pacific/Apia",
    "Pacific/Kiritimati",
];

#[test]
fn a_day_that_a_zone_left_out_is_no_period() {
    // Samoa had no December 30 in 2011.
    let daily = Boundaries::new(
        instant("2011-12-28T10:00:00Z"),
        "P1D".parse().unwrap(),
        zone("Pacific/Apia"),
    );
    let mut at = instant("2011-12-28T10:00:00Z");
    let mut starts = Vec::new();
    for _ in 0..4 {
        let period = daily.period_at(at);
        starts.push(period.start.to_string());
        at = period.end;
    }
    let expected = [
        "2011-12-28T10:00:00Z",
        "2011-12-29T10:00:00Z",
        "2011-12-30T10:00:00Z",
        "2011-12-31T10:00:00Z",
    ];
    assert_eq!(starts, expected);
}

proptest! {
    /// B1: periods tile for every anchor, cadence and zone.
    #[test]
    fn periods_tile(anchor in any_instant(), cadence in any_cadence(), at in any_instant(),
        name in prop::sample::select(ZONES.to_vec()))
    {
        let boundaries = Boundaries::new(anchor, cadence, zone(name));
        prop_assert_eq!(boundaries.boundary(0), anchor);
        let mut period = boundaries.period_at(at);
        prop_assert!(period.start <= at && at < period.end);
        for _ in 0..5 {
            let last = BusinessInstant::from_unix_ms(period.end.unix_ms() - 1);
            prop_assert_eq!(boundaries.period_at(last), period);
            let next = boundaries.period_at(period.end);
            prop_assert_eq!(next.start, period.end);
            prop_assert!(next.start < next.end);
            period = next;
        }
    }

    /// Where there is such a time on such a day, boundaries of days and months have that of the anchor.
    #[test]
    fn boundaries_are_local_dates(anchor in any_instant(), n in -300_i64..300,
        cadence in prop::sample::select(vec!["P1D", "P2W", "P1M", "P3M", "P1Y"]),
        name in prop::sample::select(ZONES.to_vec()))
    {
        let zone = zone(name).time_zone();
        let boundaries = Boundaries::new(anchor, cadence.parse().unwrap(), Zone::from_str(name).unwrap());
        let local = |at: BusinessInstant| at.timestamp().to_zoned(zone.clone()).datetime();
        let (anchored, boundary) = (local(anchor), local(boundaries.boundary(n)));
        let wished = boundary.date().to_datetime(anchored.time());
        let exists = wished.to_zoned(zone.clone()).unwrap().datetime() == wished;
        if exists {
            prop_assert_eq!(boundary.time(), anchored.time());
        }
        if cadence.ends_with(['M', 'Y']) && exists {
            prop_assert_eq!(boundary.day(), anchored.day().min(boundary.date().days_in_month()));
        }
    }
}
