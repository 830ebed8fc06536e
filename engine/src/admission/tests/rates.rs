//! Rate limits and imported keys, as one worker sees them.

use super::redis::{Bench, access, code};
use crate::admission::{CallFailure, CallResult, Ending, Refusal, Verdict};
use crate::api_key::KeyHash;
use crate::contract::Entitlement;
use crate::problem::Code;
use crate::units::Units;

const RULES: &str =
    r#"[{"match": {"pathPrefix": "/"}, "meters": {"calls": 1}, "rateLimits": {"requests": 1}}]"#;

fn limited(rules: &str) -> Bench {
    let mut bench = Bench::on(rules);
    let limit = Entitlement::RateLimit {
        units: Units::ONE,
        per_ms: 1_000,
        burst: Units::ONE,
    };
    let entitlements = &mut bench.access.terms[0].entitlements;
    entitlements.insert("requests".to_owned(), limit);
    bench
}

#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
#[cfg_attr(not(target_arch = "wasm32"), test)]
fn what_redis_gives_goes_through_and_the_rest_is_refused_without_a_call() {
    let mut bench = limited(RULES);
    bench.rate = 1_000;
    assert_eq!(code(&bench.request("/")), None);
    // The key, its document, leases and the rate came with one call.
    assert_eq!(bench.calls, 1);
    for _ in 0..5 {
        let Verdict::Refuse(Refusal::Rate(refused)) = bench.request("/") else {
            panic!("it goes through");
        };
        assert_eq!((refused.retry_after_seconds, refused.per_seconds), (1, 1));
        assert_eq!((&*refused.feature, refused.units), ("requests", Units::ONE));
    }
    assert_eq!(bench.calls, 1);
    // When there is more, as Redis said, it is asked again.
    (bench.now_ms, bench.rate) = (bench.now_ms + 700, 1_000);
    assert_eq!(code(&bench.request("/")), None);
}

#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
#[cfg_attr(not(target_arch = "wasm32"), test)]
fn a_request_that_a_quota_refuses_takes_nothing_of_a_rate() {
    let mut bench = limited(RULES);
    (bench.pot, bench.rate) = (Some(1_000), 3_000);
    let Verdict::Admit(first) = bench.request("/") else {
        panic!("refused");
    };
    for _ in 0..3 {
        assert_eq!(code(&bench.request("/")), Some(Code::QuotaExceeded));
    }
    let now = bench.now();
    bench.worker.finish(&first, Ending::Status(500), now);
    assert_eq!(bench.rate, 2_000);
    assert_eq!(code(&bench.request("/")), None);
}

#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
#[cfg_attr(not(target_arch = "wasm32"), test)]
fn whom_no_rate_limits_is_not_asked_about() {
    let mut without = Bench::on(RULES);
    let mut bypassing = limited(RULES);
    if let Some(key) = bypassing.key.as_mut() {
        key.bypass = true;
    }
    for bench in [&mut without, &mut bypassing] {
        for _ in 0..5 {
            assert_eq!(code(&bench.request("/")), None);
        }
        assert_eq!(bench.rate, 0);
    }
}

#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
#[cfg_attr(not(target_arch = "wasm32"), test)]
fn without_redis_a_rate_is_a_hard_limit() {
    for (units, allowed) in [(0, 0), (2, 2)] {
        let mut bench = limited(RULES);
        let policy = format!(
            r#"{{"environment": "test", "redis": {{"cluster": "redis", "prefix": "tg:test:"}},
                "onUnavailable": {{"offlineHardUnits": {units}}},
                "rules": [{{"match": {{"pathPrefix": "/"}}, "rateLimits": {{"requests": 1}}}}]}}"#
        );
        let access = bench.access.clone();
        bench = Bench::new(&policy);
        (bench.access, bench.rate) = (access, 1_000);
        assert_eq!(code(&bench.request("/")), None);
        bench.now_ms += 400;
        let now = bench.now();
        assert!(bench.worker.next_call(now).is_some());
        let refused = CallResult::Failed(CallFailure::Refused);
        bench.worker.answer(refused, now);
        let verdicts = (0..4).map(|_| code(&bench.arrive("/").1));
        let verdicts: Vec<_> = verdicts.collect();
        let through = verdicts.iter().filter(|code| code.is_none());
        assert_eq!(through.count(), allowed, "{verdicts:?}");
        assert_eq!(verdicts.last(), Some(&Some(Code::StoreUnavailable)));
    }
}

fn foreign() -> Bench {
    let mut bench = Bench::new(
        r#"{"environment": "test", "redis": {"cluster": "redis", "prefix": "tg:test:"},
            "auth": {"foreignKeys": true}, "rules": [{"match": {"pathPrefix": "/"}, "meters": {"calls": 1}}]}"#,
    );
    bench.text = "a key of before".to_owned();
    (bench.access, bench.pot) = (access(None), None);
    bench
}

#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
#[cfg_attr(not(target_arch = "wasm32"), test)]
fn a_cold_imported_key_takes_two_calls_and_a_warm_one_none() {
    let mut bench = foreign();
    assert_eq!(code(&bench.request("/")), None);
    assert_eq!(bench.calls, 2);
    bench.text = "another".to_owned();
    assert_eq!(code(&bench.request("/")), None);
    assert_eq!(bench.calls, 3);

    let mut unknown = foreign();
    unknown.key = None;
    assert_eq!(code(&unknown.request("/")), Some(Code::KeyUnknown));
    assert_eq!(code(&unknown.request("/")), Some(Code::KeyUnknown));
    assert_eq!(unknown.calls, 1);
    unknown.text = "tg_test_nonsense".to_owned();
    assert_eq!(code(&unknown.request("/")), Some(Code::KeyMalformed));
}

#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
#[cfg_attr(not(target_arch = "wasm32"), test)]
fn an_imported_key_that_changes_between_its_calls_is_read_again() {
    let mut bench = foreign();
    let (request, verdict) = bench.arrive("/");
    assert!(matches!(verdict, Verdict::Wait));
    assert!(bench.exchange().is_empty());
    if let Some(key) = bench.key.as_mut() {
        key.revoked_at_ms = Some(0);
    }
    bench
        .changed
        .push(KeyHash::of("a key of before").to_string());
    assert!(bench.exchange().is_empty());
    let decided = bench.exchange();
    let [(decided, verdict)] = &decided[..] else {
        panic!("{decided:?}");
    };
    assert_eq!((*decided, code(verdict)), (request, Some(Code::KeyRevoked)));
}
