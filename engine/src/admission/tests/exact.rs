//! Requests that are counted before they go on, and what they take of rate limits meanwhile.

use super::redis::{Bench, access, code};
use crate::admission::{CallFailure, CallResult, Ending, RequestId, Rest, Verdict};
use crate::contract::Entitlement;
use crate::grpc::GrpcStatus;
use crate::limits::RATE_LEASE_MS;
use crate::problem::Code;
use crate::units::Units;

/// A worker that waits long for Redis, so that tests can let time pass.
fn limited(limit: Option<u64>) -> Bench {
    patient(limit, 0)
}

/// The same, where requests wait so long for units.
fn patient(limit: Option<u64>, wait_ms: u64) -> Bench {
    let mut bench = Bench::new(&format!(
        r#"{{"environment": "test", "redis": {{"cluster": "redis", "prefix": "tg:test:", "timeoutMs": 2000}},
            "metering": {{"waitForUnitsMs": {wait_ms}}},
            "rules": [{{"match": {{"path": "/leased"}}, "rateLimits": {{"requests": 1}}}},
                      {{"match": {{"pathPrefix": "/"}}, "metering": {{"mode": "exact"}}, "meters": {{"calls": 1}},
                       "rateLimits": {{"requests": 1}}}}]}}"#
    ));
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

/// How many of the requests for a rate alone go through at once, of as many as Redis gives no more for.
fn held(bench: &mut Bench) -> usize {
    bench.rate = 0;
    let codes = (0..10).map(|_| code(&bench.request("/leased")));
    codes.filter(Option::is_none).count()
}

#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
#[cfg_attr(not(target_arch = "wasm32"), test)]
fn a_request_that_a_quota_refuses_after_all_takes_nothing_of_a_rate() {
    let mut bench = limited(Some(1));
    bench.rate = 3_000;
    let requests = [(); 3].map(|()| arrive(&mut bench));
    assert!(decided(&mut bench).is_empty());
    let refused = Some(Code::QuotaExceeded);
    let expected = [None, refused, refused];
    let expected: Vec<_> = requests.into_iter().zip(expected).collect();
    assert_eq!(decided(&mut bench), expected);
    assert_eq!(held(&mut bench), 2);
}

#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
#[cfg_attr(not(target_arch = "wasm32"), test)]
fn who_leaves_while_its_claim_is_in_doubt_takes_nothing_of_a_rate() {
    let mut bench = limited(Some(5));
    bench.rate = 2_000;
    let [gone, _] = [(); 2].map(|()| arrive(&mut bench));
    assert!(decided(&mut bench).is_empty());
    let now = bench.now();
    assert!(bench.worker.next_call(now).is_some());
    bench.worker.abandon(gone);
    let (_, verdict) = bench.arrive("/leased");
    assert_eq!(code(&verdict), None);
}

#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
#[cfg_attr(not(target_arch = "wasm32"), test)]
fn who_waits_for_units_in_vain_takes_nothing_of_a_rate() {
    let mut bench = patient(Some(1), 4_000);
    bench.rate = 2_000;
    assert_eq!(code(&bench.request("/")), None);
    let request = arrive(&mut bench);
    let mut codes = Vec::new();
    for _ in 0..100 {
        bench.rate = 2_000;
        bench.now_ms += 50;
        let now = bench.now();
        let verdicts = bench.worker.tick(now);
        codes.extend(verdicts.iter().map(|(request, it)| (*request, code(it))));
        codes.append(&mut decided(&mut bench));
    }
    assert_eq!(codes, [(request, Some(Code::QuotaExceeded))]);
    bench.now_ms += RATE_LEASE_MS;
    assert_eq!(code(&bench.request("/leased")), None);
}

#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
#[cfg_attr(not(target_arch = "wasm32"), test)]
fn what_a_request_is_promised_of_a_rate_nobody_else_gets() {
    let mut bench = limited(Some(5));
    bench.rate = 1_000;
    let request = arrive(&mut bench);
    assert!(decided(&mut bench).is_empty());
    // It waits for its claim; Redis has no more for others.
    let (_, verdict) = bench.arrive("/leased");
    assert_eq!(code(&verdict), Some(Code::RateLimited));
    assert_eq!(decided(&mut bench), [(request, None)]);
}

#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
#[cfg_attr(not(target_arch = "wasm32"), test)]
fn a_claim_that_is_counted_too_late_for_a_rate_asks_for_it_anew() {
    for (rate, expected) in [(0, Some(Code::RateLimited)), (1_000, None)] {
        let mut bench = limited(Some(5));
        bench.rate = 1_000;
        let request = arrive(&mut bench);
        assert!(decided(&mut bench).is_empty());
        let now = bench.now();
        let call = bench.worker.next_call(now).unwrap();
        let answer = bench.answer(&call);
        bench.now_ms += RATE_LEASE_MS;
        bench.rate = rate;
        let now = bench.now();
        let verdicts = bench.worker.answer(CallResult::Answer(&answer), now);
        assert!(verdicts.is_empty(), "{verdicts:?}");
        // The change log is read before, and the claim told of after.
        let codes = [(); 3].map(|()| decided(&mut bench)).concat();
        assert_eq!(codes, [(request, expected)]);
        bench.now_ms += 1_000;
        bench.exchange();
        // What was counted in vain came back.
        let left = if expected.is_none() { 4_000 } else { 5_000 };
        assert_eq!(bench.pot, Some(left));
    }
}

#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
#[cfg_attr(not(target_arch = "wasm32"), test)]
fn a_response_that_is_not_metered_is_not_held_back() {
    let mut bench = Bench::on(
        r#"[{"match": {"pathPrefix": "/"}, "metering": {"mode": "exact"}, "meters": {"calls": 1},
             "meterFrom": {"calls": {"header": "x-cost"}}}]"#,
    );
    for (ending, is_held) in [(Ending::Status(500), false), (Ending::Status(200), true)] {
        let Verdict::Admit(mut ticket) = bench.request("/") else {
            panic!("refused");
        };
        let now = bench.now();
        let cost = [(&b"x-cost"[..], &b"3"[..])].into_iter();
        bench
            .worker
            .respond(&mut ticket, ending, cost, Rest::None, now);
        assert_eq!(bench.worker.hold(1, &ticket, now), is_held, "{ending:?}");
    }
    for (status, is_held) in [(13, false), (0, true)] {
        let Verdict::Admit(mut ticket) = bench.request("/") else {
            panic!("refused");
        };
        let (now, status) = (
            bench.now(),
            GrpcStatus::read(format!("{status}").as_bytes()),
        );
        let cost = [(&b"x-cost"[..], &b"3"[..])].into_iter();
        bench.worker.respond_grpc(&mut ticket, cost, Rest::Follows);
        bench.worker.finish_grpc(&mut ticket, status, now);
        assert_eq!(bench.worker.hold(1, &ticket, now), is_held, "{status:?}");
    }
}
