//! Every reason to refuse a key that Redis knows, in the order of the checks.

use super::redis::{Bench, NOW_MS};
use crate::admission::{Ending, Refusal, Verdict};
use crate::api_key::KeyHash;
use crate::contract::{Block, BlockCode, Entitlement};
use crate::limits::READING_MAX_AGE_MS;
use crate::problem::Code;

const RULES: &str = r#"[
    {"match": {"path": "/open"}, "public": true},
    {"match": {"path": "/chat"}, "requires": ["chat"]},
    {"match": {"path": "/video"}, "requires": ["video"]},
    {"match": {"path": "/tokens"}, "meters": {"calls": 1, "tokens": 1}},
    {"match": {"path": "/heavy"}, "meters": {"calls": 7}},
    {"match": {"pathPrefix": "/"}, "meters": {"calls": 1}}]"#;

fn code(verdict: &Verdict) -> Option<Code> {
    match verdict {
        Verdict::Refuse(refusal) => Some(refusal.code()),
        Verdict::Pass | Verdict::PassUnknown | Verdict::Admit(_) | Verdict::Wait => None,
    }
}

fn block(from_ms: i64, code: BlockCode) -> Option<Block> {
    Some(Block { from_ms, code })
}

#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
#[cfg_attr(not(target_arch = "wasm32"), test)]
fn each_check_refuses_with_its_own_code_before_the_next() {
    type Change = fn(&mut Bench);
    let cases: [(Change, &str, Option<Code>); 17] = [
        (|_| {}, "/", None),
        (|_| {}, "/open", None),
        (|_| {}, "/chat", None),
        (|bench| bench.key = None, "/", Some(Code::KeyUnknown)),
        (
            |bench| key(bench).revoked_at_ms = Some(NOW_MS),
            "/",
            Some(Code::KeyRevoked),
        ),
        (
            |bench| key(bench).expires_at_ms = Some(NOW_MS),
            "/",
            Some(Code::KeyExpired),
        ),
        (
            |bench| key(bench).expires_at_ms = Some(NOW_MS + 60_000),
            "/",
            None,
        ),
        (
            |bench| bench.access.terms[0].from_ms = NOW_MS + 60_000,
            "/",
            Some(Code::SubscriptionNotStarted),
        ),
        (
            |bench| bench.access.terms[0].to_ms = Some(NOW_MS),
            "/",
            Some(Code::SubscriptionEnded),
        ),
        (
            |bench| bench.access.block = block(NOW_MS, BlockCode::PaymentRequired),
            "/",
            Some(Code::PaymentRequired),
        ),
        (
            |bench| bench.access.block = block(NOW_MS, BlockCode::PaymentOverdue),
            "/",
            Some(Code::PaymentOverdue),
        ),
        (
            |bench| bench.access.block = block(NOW_MS, BlockCode::PaymentUncollectible),
            "/",
            Some(Code::PaymentUncollectible),
        ),
        // Grace that is not over yet.
        (
            |bench| bench.access.block = block(NOW_MS + 60_000, BlockCode::PaymentOverdue),
            "/",
            None,
        ),
        (|_| {}, "/video", Some(Code::FeatureNotInPlan)),
        (|_| {}, "/tokens", Some(Code::MeterNotInPlan)),
        (|bench| bench.pot = Some(0), "/", Some(Code::QuotaExceeded)),
        // A service account is never refused for quota or payment.
        (
            |bench| {
                key(bench).bypass = true;
                bench.pot = Some(0);
                bench.access.block = block(NOW_MS, BlockCode::PaymentOverdue);
            },
            "/",
            None,
        ),
    ];
    for (number, (change, path, expected)) in cases.into_iter().enumerate() {
        let mut bench = Bench::on(RULES);
        change(&mut bench);
        let verdict = bench.request(path);
        assert_eq!(code(&verdict), expected, "case {number}: {verdict:?}");
    }
}

fn key(bench: &mut Bench) -> &mut crate::contract::KeyDocument {
    bench.key.as_mut().unwrap()
}

#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
#[cfg_attr(not(target_arch = "wasm32"), test)]
fn a_hard_limit_lets_exactly_its_units_through_and_says_when_it_resets() {
    let mut bench = Bench::on(RULES);
    let mut admitted = 0;
    for _ in 0..30 {
        if let Verdict::Admit(ticket) = bench.request("/") {
            admitted += 1;
            let now = bench.now();
            bench.worker.finish(&ticket, Ending::Status(200), now);
        }
        bench.now_ms += 20;
    }
    assert_eq!(admitted, 20);
    // Once everything is settled nothing can come back before the window's end.
    bench.now_ms += 3_000;
    bench.exchange();
    bench.now_ms += 300;
    let Verdict::Refuse(Refusal::Quota(quota)) = bench.request("/") else {
        panic!("the quota is used up");
    };
    assert_eq!(quota.limit.to_string(), "20");
    assert_eq!(quota.remaining.to_string(), "0");
    assert!(quota.retry_after_seconds > 80_000, "{quota:?}");
}

#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
#[cfg_attr(not(target_arch = "wasm32"), test)]
fn units_of_responses_that_are_not_metered_come_back() {
    let mut bench = Bench::on(RULES);
    bench.pot = Some(7_000);
    for ending in [Ending::Status(500), Ending::Died, Ending::Status(404)] {
        let Verdict::Admit(ticket) = bench.request("/heavy") else {
            panic!("7 units are there");
        };
        let now = bench.now();
        bench.worker.finish(&ticket, ending, now);
        bench.now_ms += 10;
    }
    let Verdict::Admit(_) = bench.request("/heavy") else {
        panic!("7 units are still there");
    };
    assert_eq!(code(&bench.request("/")), Some(Code::QuotaExceeded));
}

#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
#[cfg_attr(not(target_arch = "wasm32"), test)]
fn all_meters_of_a_rule_are_reserved_or_none() {
    let mut bench = Bench::on(RULES);
    let Entitlement::Metered { windows } = bench.access.terms[0].entitlements["calls"].clone()
    else {
        panic!("calls is metered");
    };
    let mut empty = windows;
    empty[0].limit = Some(crate::units::Units::ZERO);
    bench.access.terms[0]
        .entitlements
        .insert("tokens".to_owned(), Entitlement::Metered { windows: empty });
    let refused = bench.request("/tokens");
    assert!(code(&refused).is_some(), "{refused:?}");
    // The unit of `calls` that was leased for it is there for another request, without a call.
    let calls = bench.calls;
    let Verdict::Admit(_) = bench.request("/") else {
        panic!("calls are left");
    };
    assert_eq!(bench.calls, calls);
}

#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
#[cfg_attr(not(target_arch = "wasm32"), test)]
fn what_ends_later_ends_for_a_key_in_use_with_nobody_writing_again() {
    type Change = fn(&mut Bench, i64);
    let cases: [(Change, Code); 4] = [
        (
            |bench, end_ms| key(bench).expires_at_ms = Some(end_ms),
            Code::KeyExpired,
        ),
        (
            |bench, end_ms| bench.access.terms[0].to_ms = Some(end_ms),
            Code::SubscriptionEnded,
        ),
        (
            |bench, end_ms| bench.access.block = block(end_ms, BlockCode::PaymentOverdue),
            Code::PaymentOverdue,
        ),
        (
            |bench, end_ms| {
                let calls = bench.access.terms[0].entitlements.get_mut("calls");
                if let Some(Entitlement::Metered { windows }) = calls {
                    windows[0].end_ms = end_ms;
                }
            },
            Code::StoreUnavailable,
        ),
    ];
    for (change, expected) in cases {
        let mut bench = Bench::on(RULES);
        let end_ms = bench.now().unix_ms + 10_000;
        change(&mut bench, end_ms);
        for _ in 0..3 {
            let verdict = bench.request("/");
            assert!(matches!(verdict, Verdict::Admit(_)), "{expected:?}");
        }
        bench.now_ms += 10_000;
        let verdict = bench.request("/");
        assert_eq!(code(&verdict), Some(expected), "{verdict:?}");
    }
}

#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
#[cfg_attr(not(target_arch = "wasm32"), test)]
fn a_key_that_was_used_is_refused_once_its_revocation_is_read() {
    let mut bench = Bench::on(RULES);
    assert_eq!(code(&bench.request("/")), None);
    if let Some(key) = bench.key.as_mut() {
        key.revoked_at_ms = Some(0);
    }
    bench.changed.push(KeyHash::of(&bench.text).to_string());
    // The next reading of the change log is due.
    bench.now_ms += READING_MAX_AGE_MS;
    bench.exchange();
    assert_eq!(code(&bench.request("/")), Some(Code::KeyRevoked));
}
