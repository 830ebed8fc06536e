use std::sync::Arc;

use proptest::prelude::*;
use tollgate_engine::contract::Entitlement;

use super::*;
use crate::catalog::plans::Plan;
use crate::subscriptions::Chain;
use crate::subscriptions::testing::{chain, instant, phase, plan};

fn windows_of<'d>(document: &'d AccessDocument, meter: &str) -> Vec<&'d contract::Window> {
    let entitlements = document
        .terms
        .iter()
        .filter_map(|term| term.entitlements.get(meter));
    let windows = entitlements.map(|entitlement| match entitlement {
        Entitlement::Metered { windows } => windows,
        other => panic!("{other:?}"),
    });
    windows.flatten().collect()
}

/// Whether the document of `written` still says enough at `now`.
fn suffices(document: &AccessDocument, chain: &Chain, now: BusinessInstant) {
    let reach_ms = now.after(REACH).unix_ms();
    let windows = windows_of(document, "api");
    for term in chain.terms().filter(|term| term.start.unix_ms() < reach_ms) {
        if term.end.is_some_and(|end| end <= now) {
            continue;
        }
        let from = term.start.max(now);
        let covered = document
            .terms
            .iter()
            .any(|covered| covered.from_ms == term.start.unix_ms());
        assert!(covered, "no term of {} at {now}", term.start);
        let of_term = windows
            .iter()
            .filter(|window| window.start_ms >= term.start.unix_ms());
        let last_ms = of_term.clone().map(|window| window.end_ms).max().unwrap();
        let ahead = of_term
            .filter(|window| window.start_ms > from.unix_ms())
            .count();
        let is_all = term.end.is_some_and(|end| end.unix_ms() <= last_ms);
        assert!(is_all || reach_ms <= last_ms, "{now}: 72 h are not reached");
        assert!(
            is_all || ahead >= WINDOWS_AHEAD,
            "{now}: {ahead} windows ahead"
        );
    }
}

fn any_plan() -> impl Strategy<Value = Arc<Plan>> {
    let period = prop::sample::select(vec!["PT1H", "P1D", "P1W", "P1M", "P3M", "P1Y", "P5DT7H"]);
    let duration = prop::sample::select(vec!["PT5H", "P2D", "P10D", "P2M"]);
    let phases = prop::collection::vec((duration, period.clone()), 0..4);
    (phases, period).prop_map(|(phases, last)| {
        let phases = phases
            .into_iter()
            .map(|(duration, period)| phase(Some(duration), &[("api", period)]));
        plan(phases.chain([phase(None, &[("api", last)])]).collect())
    })
}

proptest! {
    #[test]
    fn a_document_suffices_until_it_is_renewed(plans in prop::collection::vec((any_plan(), 1..2_000_i64), 1..4),
        hours in 0..3_000_i64, parts in prop::collection::vec(0.0..1.0_f64, 5))
    {
        let start = instant("2026-01-31");
        let mut at = start;
        let mut chain = chain();
        for (plan, gap) in &plans {
            chain = chain.then(at, plan);
            at = BusinessInstant::from_unix_ms(at.unix_ms() + gap * 3_600_000);
        }
        let now = BusinessInstant::from_unix_ms(start.unix_ms() + hours * 3_600_000);
        let document = access_document(&chain, None, now);
        prop_assert!(document.terms.len() < 30);
        suffices(&document, &chain, now);
        let until = match renewal(&chain, None, now) {
            Some(renewal) => {
                prop_assert!(now < renewal, "{} is not after {}", renewal, now);
                renewal.unix_ms() - 1
            }
            None => now.unix_ms() + 10 * 365 * 24 * 3_600_000,
        };
        for part in parts.into_iter().chain([1.0]) {
            let later = now.unix_ms() as f64 + (until - now.unix_ms()) as f64 * part;
            suffices(&document, &chain, BusinessInstant::from_unix_ms(later as i64));
        }
    }
}

#[test]
fn limits_are_what_the_entitlement_says() {
    let included = Units::ONE.checked_mul(100);
    let all = |overage| included.and_then(|included| included.checked_add(overage));
    for (issue, limit, expected) in [
        (included, Limit::Hard, (included, included)),
        (
            included,
            Limit::Soft {
                overage_limit: None,
            },
            (included, None),
        ),
        (
            included,
            Limit::Soft {
                overage_limit: Some(Units::ONE),
            },
            (included, all(Units::ONE)),
        ),
        (
            None,
            Limit::Soft {
                overage_limit: Some(Units::ONE),
            },
            (None, Some(Units::ONE)),
        ),
    ] {
        let entitlement = crate::catalog::plans::Entitlement::Metered {
            issue_after_reset: issue,
            limit,
            usage_period: "P1M".parse().unwrap(),
        };
        let mut monthly = phase(None, &[("api", "P1M")]);
        let grant = monthly.rate_cards[0].feature.as_mut().unwrap();
        grant.entitlement = Some(entitlement.clone());
        let meter = grant.feature.clone();
        let mut chain = chain().then(instant("2026-01-01"), &plan(vec![monthly]));
        let bounds = |chain: &Chain| {
            let term = chain.terms().next().unwrap();
            let period = "P1M".parse().unwrap();
            let window = term.windows(&meter, period, term.start).next().unwrap();
            bound(&term, &meter, &entitlement, &window)
        };
        assert_eq!(bounds(&chain), expected, "{entitlement:?}");
        // What the customer or the operator set replaces the plan's overage limit, on a soft limit.
        let own = &mut chain.members[0].subscription.overage_limits;
        own.insert(meter.clone(), Units::ZERO);
        let (included, _) = expected;
        let expected = Some(included.unwrap_or_default());
        assert_eq!(bounds(&chain), (included, expected), "{entitlement:?}");
    }
}

#[test]
fn a_document_says_what_ends_and_what_begins() {
    let monthly = plan(vec![phase(None, &[("api", "P1M")])]);
    let change = instant("2026-01-10");
    let chain = chain()
        .then(instant("2026-01-01"), &monthly)
        .then(change, &monthly)
        .ending(instant("2026-01-20"));
    let document = access_document(&chain, None, change);
    let terms: Vec<_> = document
        .terms
        .iter()
        .map(|term| (term.epoch, term.from_ms, term.to_ms))
        .collect();
    let ms = |text| instant(text).unix_ms();
    assert_eq!(
        terms,
        [
            (1, ms("2026-01-01"), Some(ms("2026-01-10"))),
            (2, ms("2026-01-10"), Some(ms("2026-01-20"))),
        ]
    );
    let windows = windows_of(&document, "api");
    assert_eq!(windows.len(), 2);
    assert_eq!(windows[1].end_ms, ms("2026-01-20"));
    assert_eq!(windows[1].carried, [format!("1/api/{}", ms("2026-01-01"))]);
    assert_eq!(renewal(&chain, None, change), None);
    // What ended is kept a while, then left out; nothing is left of a chain that ended.
    let later = access_document(&chain, None, change.after(KEPT_AFTER_END));
    assert_eq!(later.terms.len(), 1);
    assert_eq!(
        access_document(&chain, None, instant("2026-02-01")).terms,
        []
    );
}
