//! Requests that are counted before they go on, and what they take of rate limits meanwhile.

use super::redis::{Bench, access};
use crate::admission::{CallFailure, CallResult, Ending, RequestId, Rest, Verdict};
use crate::contract::Entitlement;
use crate::limits::RATE_LEASE_MS;
use crate::problem::Code;
use crate::units::Units;

/// A worker that waits long for Redis, so that tests can let time pass.
fn limited(limit: Option<u64>) -> Bench {
    let mut bench = Bench::new(
        r#"{"environment": "test", "redis": {"cluster": "redis", "prefix": "tg:test:", "timeoutMs": 2000},
            "rules": [{"match": {"path": "/leased"}, "rateLimits": {"requests": 1}},
                      {"match": {"pathPrefix": "/"}, "metering": {"mode": "exact"}, "meters": {"calls": 1},
                       "rateLimits": {"requests": 1}}]}"#,
    );
    bench.access = access(limit);
    bench.pot = limit.map(|limit| limit * 1_000);
    let rate = Entitlement::RateLimit {
        units: Units::ONE,
        per_ms: 1_000,
        burst: Units::ONE,
    };
    let entitlements = &mut bench.access.terms[0].entitlements;
    entitlements.insert("requests".to_owned(), rate);
    bench
}

/// Without a limit on units, whatever is included.
fn unlimited() -> Bench {
    let mut bench = limited(Some(20));
    for entitlement in bench.access.terms[0].entitlements.values_mut() {
        if let Entitlement::Metered { windows } = entitlement {
            windows[0].limit = None;
        }
    }
    bench.pot = None;
    bench
}

fn code(verdict: &Verdict) -> Option<Code> {
    match verdict {
        Verdict::Refuse(refusal) => Some(refusal.code()),
        Verdict::Admit(_) => None,
        Verdict::Pass | Verdict::PassUnknown | Verdict::Wait => panic!("not decided: {verdict:?}"),
    }
}

/// A request that waits.
#[track_caller]
fn arrive(bench: &mut Bench) -> RequestId {
    let (request, verdict) = bench.arrive("/");
    assert!(matches!(verdict, Verdict::Wait), "{verdict:?}");
    request
}

/// What one call decides, by request.
fn decided(bench: &mut Bench) -> Vec<(RequestId, Option<Code>)> {
    let verdicts = bench.exchange();
    let codes = verdicts.iter().map(|(request, it)| (*request, code(it)));
    codes.collect()
}

/// The call under way fails.
fn lose_call(bench: &mut Bench) -> Vec<(RequestId, Option<Code>)> {
    let now = bench.now();
    assert!(bench.worker.next_call(now).is_some());
    let refused = CallResult::Failed(CallFailure::Refused);
    let verdicts = bench.worker.answer(refused, now);
    let codes = verdicts.iter().map(|(request, it)| (*request, code(it)));
    codes.collect()
}

#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
#[cfg_attr(not(target_arch = "wasm32"), test)]
fn a_request_whose_claim_gets_no_answer_pays_a_rate_once() {
    let mut bench = unlimited();
    bench.rate = 1_000;
    let request = arrive(&mut bench);
    // The key, its document and the rate.
    assert!(decided(&mut bench).is_empty());
    assert_eq!(bench.rate, 0);
    // The claim: without Redis the soft limit has room, and the rate is paid for already.
    assert_eq!(lose_call(&mut bench), [(request, None)]);
}
