use proptest::prelude::*;
use serde::Deserialize;

use super::*;

fn instant(text: &str) -> BusinessInstant {
    text.parse::<Timestamp>().unwrap().into()
}

fn boundaries(anchor: &str, cadence: &str) -> Boundaries {
    Boundaries::utc(instant(anchor), cadence.parse().unwrap())
}

/// Central Europe, without needing a time zone database.
fn central_europe() -> TimeZone {
    TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap()
}

/// Figures of public test suites; what is shorter than an hour is no period here.
#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Case {
    AddDuration {
        name: String,
        start: BusinessInstant,
        duration: String,
        expected: BusinessInstant,
    },
    RecurrenceNextAfter(Recurrence<BusinessInstant>),
    RecurrencePrevBefore(Recurrence<BusinessInstant>),
    RecurrencePeriodAt(Recurrence<Expected>),
}

#[derive(Deserialize)]
struct Recurrence<E> {
    name: String,
    interval: String,
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
        Boundaries::utc(self.anchor, self.interval.parse().unwrap())
    }

    /// Whether `at` itself is the boundary asked for.
    fn is_itself(&self) -> bool {
        let inclusive = self.boundary.as_deref() == Some("inclusive");
        inclusive && self.boundaries().period_at(self.at).start == self.at
    }
}

#[test]
fn figures_of_public_test_suites_hold() {
    let cases: Vec<Case> =
        serde_json::from_str(include_str!("../../../tests/data/calendar.json")).unwrap();
    assert!(cases.len() > 10);
    for case in cases {
        match case {
            Case::AddDuration {
                name,
                start,
                duration,
                expected,
            } => {
                let boundaries = Boundaries::utc(start, duration.parse().unwrap());
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
        central_europe(),
    );
    // Midnight in winter, then in summer: the day between has 23 hours.
    assert_eq!(daily.boundary(1), instant("2026-03-28T23:00:00Z"));
    assert_eq!(daily.boundary(2), instant("2026-03-29T22:00:00Z"));
    let hourly = Boundaries::new(
        instant("2026-03-29T00:00:00Z"),
        "PT1H".parse().unwrap(),
        central_europe(),
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

proptest! {
    #[test]
    fn periods_tile(anchor in any_instant(), cadence in any_cadence(), at in any_instant(),
        zone in prop::sample::select(vec![TimeZone::UTC, central_europe()]))
    {
        let boundaries = Boundaries::new(anchor, cadence, zone);
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
}
