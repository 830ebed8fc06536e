//! What `onUnavailable` allows while Redis does not answer, line by line.

use super::redis::{Bench, access};
use crate::admission::{CallFailure, CallResult, Ending, Refusal, Verdict};
use crate::contract::Entitlement;
use crate::limits::{BATCH_IN_DOUBT_MAX_MS, BREAKER_FIRST_MS, BREAKER_LONGEST_MS};
use crate::problem::Code;

/// A worker that has served its key once, whose plan has a hard limit if `limit`, and whose Redis then goes away.
fn cut_off(on_unavailable: &str, limit: Option<u64>, included: bool) -> Bench {
    let mut bench = Bench::new(&format!(
        r#"{{"environment": "test", "redis": {{"cluster": "redis", "prefix": "tg:test:"}}, "onUnavailable": {on_unavailable},
            "rules": [{{"match": {{"pathPrefix": "/"}}, "meters": {{"calls": 1}}}}]}}"#
    ));
    bench.access = access(Some(1_000));
    bench.pot = limit.map(|limit| limit * 1_000);
    for entitlement in bench.access.terms[0].entitlements.values_mut() {
        if let Entitlement::Metered { windows } = entitlement {
            windows[0].limit = windows[0].limit.filter(|_| limit.is_some());
            windows[0].included = windows[0].included.filter(|_| included);
        }
    }
    assert!(matches!(bench.request("/"), Verdict::Admit(_)));
    lose(&mut bench);
    bench
}

/// Has calls fail until the worker takes Redis to be away.
fn lose(bench: &mut Bench) {
    while bench.worker.store_is_up() {
        bench.now_ms += 500;
        let now = bench.now();
        if bench.worker.next_call(now).is_some() {
            let failed = CallResult::Failed(CallFailure::Refused);
            bench.worker.answer(failed, now);
        }
    }
}

/// How many requests are let through at once, and how the next one is refused; no more than `most`.
fn allowed(bench: &mut Bench, most: usize) -> (usize, Option<Code>) {
    for count in 0..most {
        match bench.arrive("/").1 {
            Verdict::Admit(_) | Verdict::PassUnknown => {}
            Verdict::Refuse(Refusal::Code(code)) => return (count, Some(code)),
            other => panic!("{other:?}"),
        }
    }
    (most, None)
}

const AWAY: Option<Code> = Some(Code::StoreUnavailable);

#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
#[cfg_attr(not(target_arch = "wasm32"), test)]
fn each_kind_of_limit_has_its_allowance() {
    let both = r#"{"offlineUnits": 7, "offlineHardUnits": 3}"#;
    let cases = [
        // A soft limit, a hard one without leases left, and no limit at all.
        (both, None, true, (7, AWAY)),
        (both, Some(1), true, (3, AWAY)),
        (both, None, false, (500, None)),
        // Nobody but who is known, and nobody at all.
        (r#"{"offlineUnits": 0}"#, None, true, (0, AWAY)),
        (r#"{"offlineHardUnits": 0}"#, Some(1), true, (0, AWAY)),
        (r#"{"knownKey": "deny"}"#, None, false, (0, AWAY)),
    ];
    for (configuration, limit, included, expected) in cases {
        let mut bench = cut_off(configuration, limit, included);
        let before = bench.worker.stats().offline_milli;
        let found = allowed(&mut bench, 500);
        assert_eq!(found, expected, "{configuration} {limit:?} {included}");
        let counted = bench.worker.stats().offline_milli - before;
        assert_eq!(counted, found.0 as u64 * 1_000, "{configuration}");
    }
}

#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
#[cfg_attr(not(target_arch = "wasm32"), test)]
fn an_allowance_is_for_one_outage_and_a_good_reply_ends_it() {
    let mut bench = cut_off(r#"{"offlineUnits": 7}"#, None, true);
    assert_eq!(allowed(&mut bench, 100), (7, AWAY));
    // A try that fails is the same outage.
    bench.now_ms += BREAKER_LONGEST_MS;
    lose(&mut bench);
    assert_eq!(allowed(&mut bench, 100), (0, AWAY));
    bench.now_ms += BREAKER_LONGEST_MS;
    bench.exchange();
    assert!(bench.worker.store_is_up());
    assert_eq!(allowed(&mut bench, 100), (100, None));
    lose(&mut bench);
    assert_eq!(allowed(&mut bench, 100), (7, AWAY));
}

#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
#[cfg_attr(not(target_arch = "wasm32"), test)]
fn after_its_time_every_key_is_unknown() {
    for (unknown_key, expected) in [("deny", (0, AWAY)), ("allow", (100, None))] {
        let configuration = format!(r#"{{"staleForSeconds": 10, "unknownKey": "{unknown_key}"}}"#);
        let mut bench = cut_off(&configuration, None, false);
        let last_good_ms = bench.now_ms - 500;
        bench.now_ms = last_good_ms + 10_000;
        assert_eq!(allowed(&mut bench, 100), (100, None));
        bench.now_ms += 501;
        assert_eq!(allowed(&mut bench, 100), expected, "{unknown_key}");
    }
}

#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
#[cfg_attr(not(target_arch = "wasm32"), test)]
fn the_breaker_asks_less_and_less_often() {
    let mut bench = cut_off("{}", None, false);
    let began_ms = bench.now_ms;
    let mut asked_ms = Vec::new();
    while bench.now_ms < began_ms + 60_000 {
        bench.now_ms += 10;
        assert!(matches!(bench.arrive("/").1, Verdict::Admit(_)));
        let now = bench.now();
        if bench.worker.next_call(now).is_some() {
            asked_ms.push(bench.now_ms);
            let failed = CallResult::Failed(CallFailure::NoAnswer);
            bench.worker.answer(failed, now);
        }
    }
    let gaps: Vec<u64> = asked_ms.windows(2).map(|two| two[1] - two[0]).collect();
    assert!(asked_ms[0] - began_ms >= BREAKER_FIRST_MS, "{asked_ms:?}");
    assert!(gaps.is_sorted(), "{gaps:?}");
    assert_eq!(gaps.last(), Some(&BREAKER_LONGEST_MS));
}

#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
#[cfg_attr(not(target_arch = "wasm32"), test)]
fn who_waits_in_vain_goes_by_what_is_allowed_without_redis() {
    // A soft limit with an allowance and without one, and a hard limit without leases left.
    let cases = [
        ("{}", None, None),
        (r#"{"offlineUnits": 0}"#, None, AWAY),
        ("{}", Some(2), AWAY),
    ];
    for (configuration, limit, expected) in cases {
        let mut bench = cut_off(configuration, limit, true);
        bench.now_ms += BREAKER_LONGEST_MS;
        bench.exchange();
        assert!(bench.worker.store_is_up());
        // The log must be read again before the cache answers, and the call for it hangs.
        bench.now_ms += 1_000;
        let (request, verdict) = bench.arrive("/");
        assert!(matches!(verdict, Verdict::Wait));
        let now = bench.now();
        assert!(bench.worker.next_call(now).is_some());
        bench.now_ms += 499;
        let now = bench.now();
        assert!(bench.worker.tick(now).is_empty());
        bench.now_ms += 1;
        let now = bench.now();
        let decided = bench.worker.tick(now);
        let code = match &decided[..] {
            [(decided, Verdict::Admit(_))] if *decided == request => None,
            [(decided, Verdict::Refuse(refusal))] if *decided == request => Some(refusal.code()),
            other => panic!("{other:?}"),
        };
        assert_eq!(code, expected, "{configuration} {limit:?}");
    }
}

#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
#[cfg_attr(not(target_arch = "wasm32"), test)]
fn a_batch_that_is_in_doubt_for_too_long_is_given_up_and_counted() {
    let mut bench = Bench::on(r#"[{"match": {"pathPrefix": "/"}, "meters": {"calls": 1}}]"#);
    (bench.access, bench.pot) = (access(None), None);
    let Verdict::Admit(ticket) = bench.request("/") else {
        panic!("refused");
    };
    let now = bench.now();
    bench.worker.finish(&ticket, Ending::Status(200), now);
    bench.now_ms += 10_000;
    lose(&mut bench);
    assert_eq!(bench.worker.stats().batches_lost, 0);
    bench.now_ms += BATCH_IN_DOUBT_MAX_MS;
    bench.exchange();
    assert_eq!((bench.worker.stats().batches_lost, bench.consumed), (1, 0));
}
