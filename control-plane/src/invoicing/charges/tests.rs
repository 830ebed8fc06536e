use std::sync::Arc;

use super::*;
use crate::catalog::plans::{Phase, Plan, Price, Rate};
use crate::subscriptions::Anchor;
use crate::subscriptions::testing::{self, instant};

use PaymentTerm::{InAdvance, InArrears};

/// Phases of (duration, cards as key, cadence, amount, term).
type Cards<'a> = &'a [(&'a str, Option<&'a str>, &'a str, PaymentTerm)];

fn phase(duration: Option<&str>, cards: Cards<'_>) -> Phase {
    let mut phase = testing::phase(duration, &[]);
    let cards = cards
        .iter()
        .map(|(key, cadence, amount, term)| testing::flat(key, *cadence, amount, *term));
    phase.rate_cards = cards.collect();
    phase
}

fn member(start: &str, end: Option<&str>, phases: Vec<Phase>) -> Member {
    subscribed(start, end, testing::plan(phases))
}

fn subscribed(start: &str, end: Option<&str>, plan: Arc<Plan>) -> Member {
    let mut chain = testing::chain().then(instant(start), &plan);
    if let Some(end) = end {
        chain = chain.ending(instant(end));
    }
    chain.members.remove(0)
}

/// Boundaries, each with its fees and arrears as key, amount and period.
fn bills(member: &Member, boundaries: usize) -> Vec<String> {
    let day = |at: BusinessInstant| at.to_string()[..10].to_owned();
    let show = |charges: Vec<FlatCharge<'_>>| -> String {
        let shown = charges.iter().map(|charge| {
            let (amount, period) = (charge.amount.round_dp(2).normalize(), charge.period);
            let (start, end) = (day(period.start), day(period.end));
            format!(" {}={amount} {start}/{end}", charge.card.key)
        });
        shown.collect()
    };
    let following = |at: &BusinessInstant| next_boundary(member, Some(*at));
    std::iter::successors(next_boundary(member, None), following)
        .take(boundaries)
        .map(|at| {
            let (fees, arrears) = (fees_from(member, at), arrears_until(member, at));
            format!("{}:{} |{}", day(at), show(fees), show(arrears))
        })
        .collect()
}

#[test]
fn fees_are_due_when_a_period_begins_and_arrears_when_it_ends() {
    let cards: Cards<'_> = &[
        ("base", Some("P1M"), "29", InAdvance),
        ("setup", None, "100", InAdvance),
        ("care", Some("P3M"), "9", InAdvance),
        ("audit", Some("P1M"), "5", InArrears),
        ("free", Some("P1M"), "0", InAdvance),
    ];
    let open = member("2026-01-31", None, vec![phase(None, cards)]);
    let expected = [
        "2026-01-31: base=29 2026-01-31/2026-02-28 setup=100 2026-01-31/2026-01-31 \
         care=9 2026-01-31/2026-04-30 |",
        "2026-02-28: base=29 2026-02-28/2026-03-31 | audit=5 2026-01-31/2026-02-28",
        "2026-03-31: base=29 2026-03-31/2026-04-30 | audit=5 2026-02-28/2026-03-31",
        "2026-04-30: base=29 2026-04-30/2026-05-31 care=9 2026-04-30/2026-07-31 | \
         audit=5 2026-03-31/2026-04-30",
    ];
    assert_eq!(bills(&open, 4), expected);
}

#[test]
fn an_end_bills_arrears_by_their_share_and_gives_no_fee_back() {
    let cards: Cards<'_> = &[
        ("base", Some("P1M"), "31", InAdvance),
        ("audit", Some("P1M"), "31", InArrears),
        ("quarterly", Some("P3M"), "90", InArrears),
        ("once", None, "7", InArrears),
    ];
    let ended = member("2026-01-01", Some("2026-02-15"), vec![phase(None, cards)]);
    let expected = [
        "2026-01-01: base=31 2026-01-01/2026-02-01 |",
        "2026-02-01: base=31 2026-02-01/2026-03-01 | audit=31 2026-01-01/2026-02-01",
        "2026-02-15: | audit=15.5 2026-02-01/2026-02-15 quarterly=45 2026-01-01/2026-02-15 \
         once=7 2026-01-01/2026-02-15",
    ];
    assert_eq!(bills(&ended, 9), expected);
}

#[test]
fn a_trial_is_free_and_no_period_crosses_a_phase() {
    let phases = vec![
        phase(Some("P2W"), &[]),
        phase(
            Some("P6W"),
            &[
                ("intro", Some("P1M"), "28", InAdvance),
                ("audit", Some("P1M"), "28", InArrears),
            ],
        ),
        phase(None, &[("base", Some("P1M"), "29", InAdvance)]),
    ];
    let expected = [
        "2026-01-18: |",
        "2026-02-01: intro=28 2026-02-01/2026-03-01 |",
        // 14 days of a month of 31.
        "2026-03-01: intro=12.65 2026-03-01/2026-03-15 | audit=28 2026-02-01/2026-03-01",
        "2026-03-15: base=29 2026-03-15/2026-04-15 | audit=12.65 2026-03-01/2026-03-15",
        "2026-04-15: base=29 2026-04-15/2026-05-15 |",
    ];
    assert_eq!(bills(&member("2026-01-18", None, phases), 5), expected);
}

#[test]
fn a_given_anchor_cuts_the_first_period_and_every_phases_first() {
    let cards: Cards<'_> = &[
        ("base", Some("P1M"), "31", InAdvance),
        ("weekly", Some("P1W"), "7", InAdvance),
        ("care", Some("P3M"), "90", InAdvance),
        ("audit", Some("P1M"), "31", InArrears),
    ];
    let plan = testing::plan(vec![phase(Some("P20D"), &[]), phase(None, &cards[..1])]);
    let anchored = |plan: &Arc<Plan>, start: &str, anchor: &str| {
        let chain = testing::chain().then(instant(start), plan);
        let mut chain = chain.anchored(Anchor::Given(instant(anchor)));
        chain.members.remove(0)
    };
    let tried = anchored(&plan, "2026-01-11", "2026-03-01");
    let expected = [
        "2026-01-11: |",
        "2026-01-31: base=1 2026-01-31/2026-02-01 |",
        "2026-02-01: base=31 2026-02-01/2026-03-01 |",
        "2026-03-01: base=31 2026-03-01/2026-04-01 |",
    ];
    assert_eq!(bills(&tried, 4), expected);
    let plan = testing::plan(vec![phase(None, cards)]);
    let cut = anchored(&plan, "2026-01-16", "2026-01-01");
    let expected = [
        // 16 of 31 days; the rest of the week from the 15th and two more; 75 of 90 days of a quarter.
        "2026-01-16: base=16 2026-01-16/2026-02-01 weekly=20 2026-01-16/2026-02-05 \
         care=75 2026-01-16/2026-04-01 |",
        "2026-02-01: base=31 2026-02-01/2026-03-01 weekly=28 2026-02-05/2026-03-05 | \
         audit=16 2026-01-16/2026-02-01",
    ];
    assert_eq!(bills(&cut, 2), expected);
}

#[test]
fn cycles_shorter_than_the_plans_come_together() {
    let cards: Cards<'_> = &[
        ("daily", Some("P1D"), "1.5", InAdvance),
        ("hourly", Some("PT1H"), "0.01", InArrears),
    ];
    let daily = member(
        "2026-01-01",
        Some("2026-02-02T12:30:00Z"),
        vec![phase(None, cards)],
    );
    let expected = [
        "2026-01-01: daily=46.5 2026-01-01/2026-02-01 |",
        "2026-02-01: daily=42 2026-02-01/2026-03-01 | hourly=7.44 2026-01-01/2026-02-01",
        "2026-02-02: | hourly=0.36 2026-02-01/2026-02-02",
    ];
    let shown = bills(&daily, 9);
    // 36.5 hours.
    assert_eq!(shown[..2], expected[..2]);
    assert_eq!(
        arrears_until(&daily, instant("2026-02-02T12:30:00Z"))[0]
            .amount
            .to_string(),
        "0.3650"
    );
    assert_eq!(fees_from(&daily, instant("2026-01-01"))[0].cycles, 31);
}

#[test]
fn usage_is_due_when_its_window_is_over() {
    let mut metered = testing::phase(None, &[("calls", "P1M"), ("tokens", "P1D")]);
    for card in &mut metered.rate_cards {
        let rate = Rate::Graduated(testing::tiers(&[("", "", "1")]));
        card.price = Some(Price::Usage(testing::usage(rate)));
    }
    let plan = testing::plan(vec![metered]);
    let open = subscribed("2026-01-01", Some("2026-02-15T12:00:00Z"), plan);
    let count = |at: &str| -> Vec<(String, usize)> {
        let charges = usage_until(&open, instant(at));
        let counts = charges
            .iter()
            .map(|it| (it.card.key.to_string(), it.windows.len()));
        counts.collect()
    };
    assert!(!awaits_usage(&open, instant("2026-01-01")));
    assert!(awaits_usage(&open, instant("2026-02-01")));
    assert_eq!(
        count("2026-02-01"),
        [("calls".to_owned(), 1), ("tokens".to_owned(), 31)]
    );
    assert_eq!(
        count("2026-02-15T12:00:00Z"),
        [("calls".to_owned(), 1), ("tokens".to_owned(), 15)]
    );
    let last = usage_until(&open, instant("2026-02-15T12:00:00Z"));
    assert_eq!(last[0].windows[0].start, instant("2026-02-01"));
}
