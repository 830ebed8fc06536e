//! Costs that responses tell: what is held for them, what they settle, and what a limit makes of them.

use super::redis::{Bench, access};
use crate::admission::{CallFailure, CallResult, Ending, Rest, Settled, Ticket, Verdict};
use crate::contract::Entitlement;
use crate::problem::Code;

const RULES: &str = r#"[
    {"match": {"path": "/word"}, "meters": {"calls": 0}, "upstreamMeters": ["calls"]},
    {"match": {"path": "/held"}, "meters": {"calls": 1}, "upstreamMeters": ["calls"], "reserve": {"calls": 8}},
    {"match": {"path": "/body"}, "meters": {"calls": 0}, "meterFrom": {"calls": {"jsonPointer": "/n"}}},
    {"match": {"pathPrefix": "/"}, "meters": {"calls": 1}}]"#;

fn admitted(bench: &mut Bench, path: &str) -> Ticket {
    match bench.request(path) {
        Verdict::Admit(ticket) => ticket,
        verdict => panic!("{path}: {verdict:?}"),
    }
}

fn code(verdict: &Verdict) -> Option<Code> {
    match verdict {
        Verdict::Refuse(refusal) => Some(refusal.code()),
        Verdict::Pass | Verdict::PassUnknown | Verdict::Admit(_) | Verdict::Wait => None,
    }
}

/// Answers a request with the upstream's word on its cost and no body.
fn answer(bench: &mut Bench, mut ticket: Ticket, status: u16, word: &str) {
    let headers: [(&[u8], &[u8]); 1] = [(b"x-tollgate-meters", word.as_bytes())];
    let (ending, now) = (Ending::Status(status), bench.now());
    let settled = bench
        .worker
        .respond(&mut ticket, ending, headers.into_iter(), Rest::None, now);
    assert_eq!(settled, Settled::Whole);
}

/// Units that batches have told Redis of, and those it still may lease.
fn settle(bench: &mut Bench) -> (u64, u64) {
    for _ in 0..100 {
        bench.now_ms += 50;
        bench.exchange();
    }
    (bench.consumed / 1_000, bench.pot.unwrap_or(0) / 1_000)
}

#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
#[cfg_attr(not(target_arch = "wasm32"), test)]
fn a_cost_settles_as_the_response_tells_it() {
    let table: &[(&str, u16, &str, u64)] = &[
        ("/word", 200, "calls=5", 5),
        ("/word", 200, "", 0),
        ("/word", 500, "calls=5", 0),
        ("/held", 200, "calls=5", 5),
        ("/held", 200, "calls=8", 8),
        ("/held", 200, "calls+=10", 11),
        ("/held", 200, "", 1),
        ("/held", 404, "calls=5", 0),
        // No word is heeded where no rule says so.
        ("/", 200, "calls=5", 1),
        // More than is left of the limit: what was in flight.
        ("/word", 200, "calls=50", 50),
    ];
    for (path, status, word, units) in table {
        let mut bench = Bench::on(RULES);
        let ticket = admitted(&mut bench, path);
        answer(&mut bench, ticket, *status, word);
        let left = 20_u64.saturating_sub(*units);
        assert_eq!(settle(&mut bench), (*units, left), "{path} {status} {word}");
    }
}

#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
#[cfg_attr(not(target_arch = "wasm32"), test)]
fn a_hard_limit_refuses_what_is_held_beyond_it_and_anything_once_it_is_reached() {
    let mut bench = Bench::on(RULES);
    let held = [admitted(&mut bench, "/held"), admitted(&mut bench, "/held")];
    // 16 of 20 are held, so 8 more do not fit; a single one and a cost nobody knows yet do.
    assert_eq!(code(&bench.request("/held")), Some(Code::QuotaExceeded));
    let single = admitted(&mut bench, "/");
    let unknown = admitted(&mut bench, "/word");
    for ticket in held {
        answer(&mut bench, ticket, 200, "calls=8");
    }
    answer(&mut bench, single, 200, "");
    // Three are left, and it turns out to cost seven.
    answer(&mut bench, unknown, 200, "calls=7");
    for path in ["/word", "/", "/held", "/body"] {
        assert_eq!(
            code(&bench.request(path)),
            Some(Code::QuotaExceeded),
            "{path}"
        );
    }
    assert_eq!(settle(&mut bench).0, 24);
}

#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
#[cfg_attr(not(target_arch = "wasm32"), test)]
fn what_was_seen_of_a_body_counts_when_its_stream_ends_or_dies() {
    let table: &[(&[&str], u64)] = &[
        (&["{\"n\":", "3}"], 3),
        (&["{\"n\":3,", "\"rest"], 3),
        (&["{\"n\":", "3"], 0),
        (&[], 0),
    ];
    for (pieces, units) in table {
        let mut bench = Bench::on(RULES);
        let mut ticket = admitted(&mut bench, "/body");
        assert!(ticket.reads_content() && ticket.reading().is_none());
        let headers: [(&[u8], &[u8]); 1] = [(b"content-type", b"application/json")];
        let (status, now) = (Ending::Status(200), bench.now());
        let headers = headers.into_iter();
        let settled = bench
            .worker
            .respond(&mut ticket, status, headers, Rest::Follows, now);
        assert_eq!(settled, Settled::Begun);
        for piece in *pieces {
            ticket.reading().unwrap().read(piece.as_bytes());
        }
        let now = bench.now();
        bench.worker.finish(&ticket, Ending::Died, now);
        assert_eq!(settle(&mut bench).0, *units, "{pieces:?}");
        let untold = u64::from(*units == 0);
        assert_eq!(bench.worker.stats().costs_untold, untold, "{pieces:?}");
    }
    // One that dies before its status costs nothing.
    let mut bench = Bench::on(RULES);
    let ticket = admitted(&mut bench, "/held");
    let now = bench.now();
    bench.worker.finish(&ticket, Ending::Died, now);
    assert_eq!(settle(&mut bench), (0, 20));
}

#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
#[cfg_attr(not(target_arch = "wasm32"), test)]
fn without_redis_costs_that_were_told_use_up_the_offline_units() {
    let mut bench = Bench::on(RULES);
    bench.access = access(Some(1_000));
    for entitlement in bench.access.terms[0].entitlements.values_mut() {
        if let Entitlement::Metered { windows } = entitlement {
            windows[0].limit = None;
        }
    }
    bench.pot = None;
    let ticket = admitted(&mut bench, "/word");
    answer(&mut bench, ticket, 200, "calls=1");
    bench.now_ms += 1_000;
    let (_, verdict) = bench.arrive("/word");
    assert!(matches!(verdict, Verdict::Wait));
    let now = bench.now();
    assert!(bench.worker.next_call(now).is_some());
    let failed = CallResult::Failed(CallFailure::Refused);
    let decided = bench.worker.answer(failed, now);
    let Some((_, Verdict::Admit(first))) = decided.into_iter().next() else {
        panic!("a known key goes on");
    };
    answer(&mut bench, first, 200, "calls=60");
    let (_, Verdict::Admit(second)) = bench.arrive("/word") else {
        panic!("60 of 100 units are used");
    };
    answer(&mut bench, second, 200, "calls=60");
    let (_, verdict) = bench.arrive("/word");
    assert_eq!(code(&verdict), Some(Code::StoreUnavailable));
    assert_eq!(bench.worker.stats().offline_milli, 120_000);
}
