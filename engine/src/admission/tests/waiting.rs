//! Requests that wait: who asks, how often, and what an outage does.

use super::redis::{Bench, access};
use crate::admission::{CallFailure, CallResult, Verdict};
use crate::problem::Code;

const METERED: &str = r#"[{"match": {"pathPrefix": "/"}, "meters": {"calls": 1}}]"#;

#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
#[cfg_attr(not(target_arch = "wasm32"), test)]
fn a_cold_key_takes_one_call_however_many_requests_wait_for_it() {
    let mut bench = Bench::on(METERED);
    for _ in 0..10 {
        assert!(matches!(bench.arrive("/").1, Verdict::Wait));
    }
    let decided = bench.exchange();
    assert_eq!(decided.len(), 10);
    assert!(
        decided
            .iter()
            .all(|(_, verdict)| matches!(verdict, Verdict::Admit(_)))
    );
    assert_eq!(bench.calls, 1);
}

#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
#[cfg_attr(not(target_arch = "wasm32"), test)]
fn an_unknown_key_is_asked_for_once_in_ten_seconds() {
    let mut bench = Bench::on(METERED);
    bench.key = None;
    for _ in 0..50 {
        let verdict = bench.request("/");
        assert!(matches!(&verdict, Verdict::Refuse(refusal) if refusal.code() == Code::KeyUnknown));
        bench.now_ms += 100;
        bench.exchange();
    }
    assert_eq!(bench.worker.stats().lookups, 1);
    bench.now_ms += 10_000;
    bench.request("/");
    assert_eq!(bench.worker.stats().lookups, 2);
}

#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
#[cfg_attr(not(target_arch = "wasm32"), test)]
fn without_redis_a_soft_limit_allows_its_offline_units_and_an_unknown_key_nothing() {
    let mut bench = Bench::on(METERED);
    let mut soft = access(Some(1_000));
    for entitlement in soft.terms[0].entitlements.values_mut() {
        if let crate::contract::Entitlement::Metered { windows } = entitlement {
            windows[0].limit = None;
        }
    }
    bench.access = soft;
    bench.pot = None;
    assert!(matches!(bench.request("/"), Verdict::Admit(_)));
    bench.now_ms += 1_000;
    // The log must be read again before the cache answers; nobody answers.
    let (_, verdict) = bench.arrive("/");
    assert!(matches!(verdict, Verdict::Wait));
    let now = bench.now();
    assert!(bench.worker.next_call(now).is_some());
    let decided = bench
        .worker
        .answer(CallResult::Failed(CallFailure::Refused), now);
    assert!(
        matches!(decided[..], [(_, Verdict::Admit(_))]),
        "{decided:?}"
    );
    // 100 units are allowed in the outage, and one was used just now.
    for _ in 0..99 {
        assert!(matches!(bench.arrive("/").1, Verdict::Admit(_)));
    }
    let (_, verdict) = bench.arrive("/");
    assert!(
        matches!(&verdict, Verdict::Refuse(refusal) if refusal.code() == Code::StoreUnavailable)
    );
}

#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
#[cfg_attr(not(target_arch = "wasm32"), test)]
fn a_worker_calls_no_more_often_than_its_pace() {
    let mut bench = Bench::on(METERED);
    bench.access = access(Some(1_000_000));
    bench.pot = Some(0);
    for _ in 0..10_000 {
        bench.arrive("/");
        bench.exchange();
        bench.now_ms += 1;
    }
    // 25 a second for the ten seconds that passed here and with the answers, and a second's worth in advance.
    let most = usize::try_from(bench.now_ms / 1_000 * 25 + 50).unwrap();
    assert!(bench.calls <= most, "{} calls, {most} allowed", bench.calls);
}

#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
#[cfg_attr(not(target_arch = "wasm32"), test)]
fn a_worker_with_nothing_to_say_reads_the_log_and_no_more() {
    let mut bench = Bench::on(METERED);
    // The chain is known to Redis and to no window of this worker: a key that was revoked, after a restart of Redis.
    bench.key.as_mut().unwrap().revoked_at_ms = Some(1);
    bench.last = 5;
    bench.request("/");
    let calls = bench.calls;
    for _ in 0..100 {
        bench.now_ms += 50;
        bench.exchange();
    }
    // Every 350 ms and a tick.
    assert!(
        bench.calls - calls <= 15,
        "{} calls in 5 s",
        bench.calls - calls
    );
}

#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
#[cfg_attr(not(target_arch = "wasm32"), test)]
fn one_call_without_an_answer_is_repeated_before_anybody_is_refused() {
    let mut bench = Bench::on(METERED);
    let (request, verdict) = bench.arrive("/");
    assert!(matches!(verdict, Verdict::Wait));
    let now = bench.now();
    assert!(bench.worker.next_call(now).is_some());
    bench.now_ms += 250;
    let now = bench.now();
    let lost = CallResult::Failed(CallFailure::NoAnswer);
    assert!(bench.worker.answer(lost, now).is_empty());
    let decided = bench.exchange();
    assert!(
        matches!(decided[..], [(id, Verdict::Admit(_))] if id == request),
        "{decided:?}"
    );
}
