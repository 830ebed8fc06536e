use proptest::prelude::*;

use super::*;
use crate::catalog::plans::PaymentTerm;
use crate::subscriptions::Chain;
use crate::subscriptions::testing::{chain, flat, instant, phase, plan};

/// The windows of a meter over all terms until `until`, as `epoch start..end carried`.
fn shown(chain: &Chain, meter: &str, until: &str) -> Vec<String> {
    let meter: Slug = meter.parse().unwrap();
    let until = instant(until);
    let windows = windows(chain, &meter, until);
    windows
        .iter()
        .map(|window| {
            let date = |at: BusinessInstant| at.to_string().replace("T00:00:00Z", "");
            let carried: Vec<_> = window
                .carried
                .iter()
                .map(|id| {
                    format!(
                        "{}@{}",
                        id.epoch,
                        date(BusinessInstant::from_unix_ms(id.start_ms))
                    )
                })
                .collect();
            let (start, end) = (date(window.start), date(window.end));
            format!("{} {start}..{end} [{}]", window.id.epoch, carried.join(" "))
        })
        .collect()
}

fn windows(chain: &Chain, meter: &Slug, until: BusinessInstant) -> Vec<UsageWindow> {
    let mut found = Vec::new();
    for term in chain.terms() {
        for (feature, entitlement) in term.entitlements() {
            let Entitlement::Metered { usage_period, .. } = entitlement else {
                continue;
            };
            if feature == meter {
                let windows = term.windows(meter, *usage_period, term.start);
                found.extend(windows.take_while(|window| window.start < until));
            }
        }
    }
    found
}

#[test]
fn windows_have_the_start_of_their_term_as_anchor() {
    let plan = plan(vec![
        phase(Some("P10D"), &[("api", "P1W")]),
        phase(None, &[("api", "P1M")]),
    ]);
    let chain = chain().then(instant("2026-01-21"), &plan);
    assert_eq!(
        shown(&chain, "api", "2026-04-01"),
        [
            "1 2026-01-21..2026-01-28 []",
            "1 2026-01-28..2026-01-31 []",
            "1 2026-01-31..2026-02-28 []",
            "1 2026-02-28..2026-03-31 []",
            "1 2026-03-31..2026-04-30 []",
        ]
    );
}

/// A phase with a fee in advance.
fn paid(duration: Option<&str>, meters: &[(&str, &str)]) -> Phase {
    let mut phase = phase(duration, meters);
    let fee = flat("fee", Some("P1M"), "29", PaymentTerm::InAdvance);
    phase.rate_cards.push(fee);
    phase
}

#[test]
fn a_newly_charged_fee_gives_windows_anew() {
    let free = plan(vec![phase(None, &[("api", "P1M")])]);
    let fee = plan(vec![paid(None, &[("api", "P1M")])]);
    let trial = plan(vec![
        phase(Some("P10D"), &[("api", "P1M")]),
        paid(None, &[("api", "P1M")]),
    ]);
    let start = chain().then(instant("2026-01-01"), &free);
    let upgraded = start.clone().then(instant("2026-01-10"), &fee);
    // Nothing was charged for the free plan that follows: it goes on with what was paid for.
    let back = upgraded.then(instant("2026-01-20"), &free);
    assert_eq!(
        shown(&back, "api", "2026-03-01"),
        [
            "1 2026-01-01..2026-01-10 []",
            "2 2026-01-10..2026-01-20 []",
            "3 2026-01-20..2026-02-10 [2@2026-01-10]",
            "3 2026-02-10..2026-03-10 []",
        ]
    );
    let tried = start.then(instant("2026-01-10"), &trial);
    assert_eq!(
        shown(&tried, "api", "2026-03-01"),
        [
            "1 2026-01-01..2026-01-10 []",
            "2 2026-01-10..2026-01-20 [1@2026-01-01]",
            "2 2026-01-20..2026-02-20 []",
            "2 2026-02-20..2026-03-20 []",
        ]
    );
}

/// Start, end and what is given of 100 units, of each window until `until`.
fn quotas(chain: &Chain, until: &str) -> Vec<String> {
    let windows = windows(chain, &"api".parse().unwrap(), instant(until));
    let hundred = Units::ONE.checked_mul(100).unwrap();
    let day = |at: BusinessInstant| at.to_string()[5..10].to_owned();
    let shown = windows.iter().map(|window| {
        let (start, end, quota) = (day(window.start), day(window.end), window.share_of(hundred));
        format!("{start}/{end} {quota}")
    });
    shown.collect()
}

#[test]
fn a_window_that_is_cut_gives_all_under_a_given_anchor_and_its_share_under_a_kept_one() {
    let fee = plan(vec![paid(None, &[("api", "P1M")])]);
    let anchor = instant("2026-01-01");
    let start = chain().then(instant("2026-01-16"), &fee);
    let given = start.anchored(Anchor::Given(anchor));
    assert_eq!(
        quotas(&given, "2026-03-01"),
        ["01-16/02-01 100", "02-01/03-01 100"]
    );
    // 10 of 28 days are 35.7 %.
    let kept = given
        .then(instant("2026-02-19"), &fee)
        .anchored(Anchor::Kept(anchor));
    assert_eq!(
        quotas(&kept, "2026-04-02"),
        [
            "01-16/02-01 100",
            "02-01/02-19 100",
            "02-19/03-01 36",
            "03-01/04-01 100",
            "04-01/05-01 100"
        ]
    );
    // On a boundary nothing is cut.
    let later = kept
        .then(instant("2026-05-01"), &fee)
        .anchored(Anchor::Kept(anchor));
    assert_eq!(
        quotas(&later, "2026-05-02").last().unwrap(),
        "05-01/06-01 100"
    );
}

#[test]
fn a_change_goes_on_with_the_window_and_keeps_its_boundaries() {
    let monthly = plan(vec![phase(None, &[("api", "P1M")])]);
    let chain = chain()
        .then(instant("2026-01-31"), &monthly)
        .then(instant("2026-02-10"), &monthly)
        .then(instant("2026-02-20"), &monthly);
    assert_eq!(
        shown(&chain, "api", "2026-04-01"),
        [
            "1 2026-01-31..2026-02-10 []",
            "2 2026-02-10..2026-02-20 [1@2026-01-31]",
            "3 2026-02-20..2026-02-28 [1@2026-01-31 2@2026-02-10]",
            "3 2026-02-28..2026-03-31 []",
            "3 2026-03-31..2026-04-30 []",
        ]
    );
}

#[test]
fn another_period_begins_when_the_window_that_is_carried_ends() {
    let monthly = plan(vec![phase(None, &[("api", "P1M")])]);
    let weekly = plan(vec![phase(None, &[("api", "P1W")])]);
    let chain = chain()
        .then(instant("2026-01-01"), &monthly)
        .then(instant("2026-01-10"), &weekly);
    assert_eq!(
        shown(&chain, "api", "2026-02-10"),
        [
            "1 2026-01-01..2026-01-10 []",
            "2 2026-01-10..2026-02-01 [1@2026-01-01]",
            "2 2026-02-01..2026-02-08 []",
            "2 2026-02-08..2026-02-15 []",
        ]
    );
}

#[test]
fn who_comes_back_within_a_window_goes_on_with_it_and_later_begins_anew() {
    let monthly = plan(vec![phase(None, &[("api", "P1M")])]);
    let ended = || {
        chain()
            .then(instant("2026-01-01"), &monthly)
            .ending(instant("2026-01-05"))
    };
    let back = ended().then(instant("2026-01-20"), &monthly);
    assert_eq!(
        shown(&back, "api", "2026-02-02"),
        [
            "1 2026-01-01..2026-01-05 []",
            "2 2026-01-20..2026-02-01 [1@2026-01-01]",
            "2 2026-02-01..2026-03-01 []",
        ]
    );
    let later = ended().then(instant("2026-02-01"), &monthly);
    assert_eq!(
        shown(&later, "api", "2026-02-02"),
        ["1 2026-01-01..2026-01-05 []", "2 2026-02-01..2026-03-01 []"]
    );
}

#[test]
fn a_detour_over_a_plan_without_the_meter_gives_nothing_anew() {
    let with = plan(vec![phase(None, &[("api", "P1M")])]);
    let without = plan(vec![phase(None, &[("other", "P1M")])]);
    let chain = chain()
        .then(instant("2026-01-01"), &with)
        .then(instant("2026-01-10"), &without)
        .then(instant("2026-01-11"), &with);
    assert_eq!(
        shown(&chain, "api", "2026-02-01"),
        [
            "1 2026-01-01..2026-01-10 []",
            "3 2026-01-11..2026-02-01 [1@2026-01-01]"
        ]
    );
    assert_eq!(
        shown(&chain, "other", "2026-02-01"),
        ["2 2026-01-10..2026-01-11 []"]
    );
}

#[test]
fn a_window_that_is_carried_goes_on_through_the_phases() {
    let monthly = plan(vec![phase(None, &[("api", "P1M")])]);
    let phased = plan(vec![
        phase(Some("P1D"), &[("api", "P1M")]),
        phase(None, &[("api", "P1M")]),
    ]);
    let chain = chain()
        .then(instant("2026-01-01"), &monthly)
        .then(instant("2026-01-10"), &phased);
    assert_eq!(
        shown(&chain, "api", "2026-03-01"),
        [
            "1 2026-01-01..2026-01-10 []",
            "2 2026-01-10..2026-01-11 [1@2026-01-01]",
            "2 2026-01-11..2026-02-01 [1@2026-01-01 2@2026-01-10]",
            "2 2026-02-01..2026-03-01 []",
        ]
    );
}

#[test]
fn what_is_stored_of_a_resumed_window_reads_back() {
    let monthly = plan(vec![phase(None, &[("api", "P1M")])]);
    let chain = chain()
        .then(instant("2026-01-01"), &monthly)
        .then(instant("2026-01-10"), &monthly);
    let resumed = &chain.members[1].subscription.resumed;
    assert_eq!(resumed.len(), 1);
    let text = serde_json::to_string(resumed).unwrap();
    assert_eq!(
        serde_json::from_str::<BTreeMap<Slug, Resumed>>(&text).unwrap(),
        *resumed
    );
}

proptest! {
    /// Whatever a customer does without paying, each instant is in one window, and one quota is given per period: the
    /// windows that carry nothing are as far apart as the longest period of the plan before them allows.
    #[test]
    fn no_sequence_of_changes_gives_more_than_one_quota_per_window(
        changes in prop::collection::vec((1..60_i64, 0..3_usize, 0..3_usize), 1..12))
    {
        let periods = ["P1W", "P1M", "P1W"];
        let plans = periods.map(|period| plan(vec![phase(None, &[("api", period)])]));
        let mut at = instant("2026-01-01");
        let mut chain = chain().then(at, &plans[0]);
        for (hours, which, anchor) in changes {
            at = BusinessInstant::from_unix_ms(at.unix_ms() + hours * 12 * 3_600_000);
            let before = chain.terms().last().unwrap().anchor();
            let anchors = [Anchor::Start, Anchor::Given(instant("2026-03-17")), Anchor::Kept(before)];
            chain = chain.then(at, &plans[which]).anchored(anchors[anchor]);
        }
        let meter: Slug = "api".parse().unwrap();
        let windows = windows(&chain, &meter, at.after(std::time::Duration::from_secs(200 * 86_400)));
        let mut last_quota = None;
        for (before, window) in windows.iter().zip(windows.iter().skip(1)) {
            prop_assert_eq!(before.end, window.start);
        }
        for window in &windows {
            prop_assert!(window.start < window.end);
            if window.carried.is_empty() {
                let quota_end = last_quota.replace(window.whole_end);
                prop_assert!(quota_end.is_none_or(|end| end <= window.start));
            } else {
                prop_assert_eq!(Some(window.whole_end), last_quota);
            }
        }
    }
}
