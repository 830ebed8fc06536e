//! Figures of other billing systems' test suites.

use serde_json::Value;

use super::*;

/// Dates, minutes and seconds.
fn at(value: &Value) -> BusinessInstant {
    let text = value.as_str().unwrap();
    match text.len() {
        10 => instant(&format!("{text}T00:00:00Z")),
        17 => instant(&text.replace('Z', ":00Z")),
        _ => instant(text),
    }
}

fn cadence(inputs: &Value) -> String {
    let of = |unit: &str| inputs[unit].as_u64();
    match (of("months"), of("years")) {
        (Some(months), _) => format!("P{months}M"),
        (_, Some(years)) => format!("P{years}Y"),
        _ => inputs["interval"].as_str().unwrap_or("P1M").to_owned(),
    }
}

/// What a case of this category expects, and what comes out.
fn compare(category: &str, inputs: &Value, expected: &Value) {
    let anchor = match category {
        // The day of the month on which bills are made.
        "period.first_bcd" => instant(&format!("2012-01-{}T00:00:00Z", inputs["bcd"])),
        _ if inputs["anchor"].is_null() => at(&inputs["start"]),
        _ => at(&inputs["anchor"]),
    };
    let boundaries = Boundaries::utc(anchor, cadence(inputs).parse().unwrap());
    let period_at = |value: &Value| boundaries.period_at(at(value));
    match category {
        "period.anchor" => {
            for (n, period) in (0..).zip(expected["periods"].as_array().unwrap()) {
                let bounds = (boundaries.boundary(n), boundaries.boundary(n + 1));
                assert_eq!(bounds, (at(&period["start"]), at(&period["end_exclusive"])));
            }
        }
        "period.event_assignment" => {
            let period = period_at(&inputs["event_at"]);
            let n = expected["period_index"].as_i64().unwrap();
            assert_eq!(period.start, boundaries.boundary(n));
        }
        "period.current_start" => {
            assert_eq!(
                period_at(&inputs["at"]).start,
                at(&expected["period_start"])
            );
        }
        "period.current" | "period.current_instant" => {
            let period = period_at(&inputs["at"]);
            let bounds = &expected["period"];
            assert_eq!((period.start, period.end), (at(&bounds[0]), at(&bounds[1])));
        }
        "period.cycle_end" => {
            let end = expected
                .get("cycle_end")
                .unwrap_or(&expected["cycle_end_date"]);
            assert_eq!(period_at(&inputs["now"]).end, at(end));
        }
        "period.next_date" => assert_eq!(boundaries.boundary(1), at(&expected["next"])),
        "period.first_bcd" => {
            assert_eq!(
                period_at(&inputs["start"]).end,
                at(&expected["first_bcd_date"])
            );
        }
        other => panic!("{other}"),
    }
}

#[test]
fn periods_are_those_of_other_billing_systems() {
    let figures: Value =
        serde_json::from_str(include_str!("../../../tests/cases/billing.json")).unwrap();
    let cases = figures["cases"].as_array().unwrap().iter();
    let category = |case: &Value| case["category"].as_str().unwrap().to_owned();
    let periods: Vec<_> = cases
        .filter(|case| category(case).starts_with("period."))
        .collect();
    assert_eq!(periods.len(), 15);
    for case in periods {
        compare(&category(case), &case["inputs"], &case["expected"]);
    }
}

/// A refill on a day that a month does not have is on its last day.
#[test]
fn refills_are_clamped_to_the_months_last_day() {
    let figures: Value =
        serde_json::from_str(include_str!("../../../tests/cases/billing.json")).unwrap();
    let mut cases = figures["cases"].as_array().unwrap().iter();
    let case = cases
        .find(|case| case["category"] == "quota.refill_day")
        .unwrap();
    let monthly = boundaries("2024-01-31T00:00:00Z", "P1M");
    let months = case["inputs"]["months"].as_array().unwrap().iter();
    for (month, expected) in months.zip(case["expected"]["refill_dates"].as_array().unwrap()) {
        let day = instant(&format!("{}-15T00:00:00Z", month.as_str().unwrap()));
        assert_eq!(monthly.period_at(day).end, at(expected));
    }
}

#[test]
fn cadences_align_as_zuplo_says() {
    let figures: Value =
        serde_json::from_str(include_str!("../../../tests/cases/zuplo.json")).unwrap();
    let cases = figures["cases"].as_array().unwrap().iter();
    let aligned: Vec<_> = cases
        .filter(|case| case["kind"] == "cadence_alignment")
        .collect();
    assert_eq!(aligned.len(), 1);
    for case in aligned {
        let period = |name: &str| case[name].as_str().unwrap().parse::<Period>().unwrap();
        let is_aligned = period("plan").is_aligned_with(period("rate_card"));
        assert_eq!(is_aligned, case["aligned"] == true, "{case}");
    }
}
