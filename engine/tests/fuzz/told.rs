//! Responses that tell what they cost: JSON and server-sent events as they stream by, and the upstream's own header.

use std::rc::Rc;

use tollgate_engine::cost::{Cost, METERS, Reading, Told};
use tollgate_engine::limits::REQUEST_MAX_MILLI;
use tollgate_engine::policy::{Access, Policy};

use crate::harness::{Random, Target, pieces};

fn told() -> Rc<Told> {
    let policy = Policy::parse(
        r#"{"environment": "test", "redis": {"cluster": "redis", "prefix": "tg:"}, "rules": [{"match": {"pathPrefix": "/"},
            "meters": {"tokens": 0, "calls": 1, "bytes": 0}, "upstreamMeters": ["tokens", "calls"],
            "meterFrom": {"bytes": {"responseBytes": true}, "tokens": {"sum": [{"jsonPointer": "/usage/input_tokens"},
                {"jsonPointer": "/usage/0/a~1b", "times": 6.5}, {"header": "x-cost"}]}}}]}"#,
    );
    let policy = policy.unwrap_or_else(|mistakes| panic!("{mistakes}"));
    let Some(Access::Keyed(demand)) = policy.rule(0).map(|rule| rule.access()) else {
        panic!("the rule takes keys");
    };
    Rc::clone(demand.told.as_ref().unwrap())
}

/// What a response costs whose body comes in these pieces.
fn costs(told: &Rc<Told>, headers: &[(&[u8], &[u8])], body: &[&[u8]]) -> (Vec<Cost>, bool) {
    let mut reading = Reading::begin(told, headers.iter().copied());
    for piece in body {
        reading.count(piece.len());
        reading.read(piece);
    }
    (reading.costs().collect(), reading.is_complete())
}

fn check(name: &'static str, content_type: &str, examples: &[&str], words: &[&str]) {
    let told = told();
    let headers = [(&b"content-type"[..], content_type.as_bytes())];
    let mut random = Random::new(1);
    Target {
        name,
        examples: examples
            .iter()
            .map(|text| text.as_bytes().to_vec())
            .collect(),
        words,
    }
    .run(
        // A few pointers and levels, and the pieces of this test: nothing of the body.
        |length| 32 * length + 8 * 1_024,
        |body| {
            let whole = costs(&told, &headers, &[body]);
            let cut = costs(&told, &headers, &pieces(body, &mut random));
            assert_eq!(cut, whole);
            assert!(whole.0.iter().all(|cost| cost.milli <= REQUEST_MAX_MILLI));
            let tokens = whole.0[2].milli;
            (tokens, whole.1)
        },
    );
}

#[test]
fn json_bodies() {
    check(
        "JSON body",
        "application/json",
        &[
            r#"{"id": "x", "usage": {"input_tokens": 12, "output_tokens": 34.5, "0": {"a/b": 7}}}"#,
            r#"{"usage": [{"a/b": 1e2}], "usage": {"input_tokens": 1}, "text": "\"usage\": {\\", "deep": [[[{}]]]}"#,
        ],
        &[
            "{",
            "}",
            "[",
            "]",
            ",",
            ":",
            "\"",
            "\\u0075sage",
            "\\",
            "\"usage\":",
            "\"input_tokens\":",
            "1e400",
            "-",
            "null",
            "\u{feff}",
        ],
    );
}

#[test]
fn server_sent_events() {
    check(
        "events",
        "text/event-stream; charset=utf-8",
        &[
            "event: a\r\ndata: {\"usage\": {\"input_tokens\": 3}}\r\n\r\ndata: [DONE]\n\n",
            "data: {\"usage\":\ndata: {\"input_tokens\": 4, \"0\": {\"a/b\": 1}}}\r\r: comment\ndata:{}\n\n",
        ],
        &[
            "data:",
            "data: ",
            "\n",
            "\r",
            "\r\n",
            "\n\n",
            ":",
            "event: x\n",
            "\u{feff}",
            "{\"usage\":{\"input_tokens\":9}}",
        ],
    );
}

#[test]
fn a_long_body_takes_no_more_memory_than_a_short_one() {
    let told = told();
    let unit = br#"{"text": "aaaa\u00e9", "list": [1, 2.5e3, {"usage": null}], "#;
    Target {
        name: "long bodies",
        examples: vec![
            unit.to_vec(),
            b"[".to_vec(),
            b"\"".to_vec(),
            b"data: {\"a\":\n".to_vec(),
            b"9".to_vec(),
        ],
        words: &["[", "{\"a\":", "\"", "\\", "\n"],
    }
    .run(
        |_| 8 * 1_024,
        |piece| {
            for content_type in [&b"application/json"[..], b"text/event-stream"] {
                let mut reading =
                    Reading::begin(&told, [(&b"content-type"[..], content_type)].into_iter());
                for _ in 0..(64 * 1_024 / piece.len().max(1)).min(2_000) {
                    reading.read(piece);
                }
            }
        },
    );
}

#[test]
fn the_upstreams_own_header() {
    let told = told();
    Target {
        name: "x-tollgate-meters",
        examples: [
            "tokens=150, calls+=2",
            "tokens=1.5;q=1,,calls=0",
            "tokens += 3",
        ]
        .map(Vec::from)
        .to_vec(),
        words: &[
            "tokens", "calls", "bytes", "=", "+=", ",", ";", " ", "\t", "-", "1e3", "\"", "inf",
            "nan",
        ],
    }
    .run(
        |length| 8 * length + 8 * 1_024,
        |line| {
            let (said, _) = costs(&told, &[(METERS.as_bytes(), line)], &[b"{}"]);
            assert!(said.iter().all(|cost| cost.milli <= REQUEST_MAX_MILLI));
            // Meters are in the order of their names. What only the body's length tells, no header changes.
            assert_eq!(said[0].milli, 2_000);
            (said[1].milli, said[2].milli)
        },
    );
}
