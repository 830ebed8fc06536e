//! What responses tell, as tables, and against a parser that holds whole documents.

use std::rc::Rc;

use super::*;
use crate::limits::{SCAN_DEPTH_MAX, SCAN_NUMBER_MAX_BYTES};

fn pointers(texts: &[&str]) -> Vec<Rc<Pointer>> {
    let parse = |text: &&str| Rc::new(Pointer::parse(text).unwrap());
    texts.iter().map(parse).collect()
}

/// What a document that comes in pieces of this size has at a pointer.
fn json(document: &[u8], pointer: &str, size: usize) -> Option<u64> {
    let mut json = Json::new(&pointers(&[pointer]));
    document.chunks(size).for_each(|piece| json.read(piece));
    json.found(0)
}

/// What a stream of events that comes in pieces of this size has at a pointer.
fn events(stream: &[u8], pointer: &str, size: usize) -> Option<u64> {
    let mut events = Events::new(&pointers(&[pointer]));
    stream.chunks(size).for_each(|piece| events.read(piece));
    events.found(0)
}

#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
#[cfg_attr(not(target_arch = "wasm32"), test)]
fn amounts_are_decimal_numbers_within_bounds() {
    let table: &[(&str, Option<u64>)] = &[
        ("0", Some(0)),
        ("1", Some(1_000)),
        ("150", Some(150_000)),
        ("0.5", Some(500)),
        ("007.25", Some(7_250)),
        // Finer than a thousandth is cut off.
        ("0.0019", Some(1)),
        ("0.0009", Some(0)),
        ("1e3", Some(1_000_000)),
        ("1.5E+2", Some(150_000)),
        ("1500e-3", Some(1_500)),
        ("1e-999999999999", Some(0)),
        ("0e999999999999", Some(0)),
        ("1000000000", Some(REQUEST_MAX_MILLI)),
        ("1000000000.0009", Some(REQUEST_MAX_MILLI)),
        ("1000000000.001", None),
        ("9999999999", None),
        ("1e999999999999", None),
        ("-1", None),
        ("-0", None),
        ("+1", None),
        ("", None),
        (".5", None),
        ("5.", None),
        ("1e", None),
        ("1e+", None),
        ("1,5", None),
        ("0x10", None),
        ("NaN", None),
        ("inf", None),
        ("1 2", None),
        ("\u{661}", None),
    ];
    for (text, expected) in table {
        assert_eq!(amount::parse(text.as_bytes()), *expected, "{text}");
    }
    let long = "0".repeat(100_000) + "7";
    assert_eq!(amount::parse(long.as_bytes()), Some(7_000));
}

#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
#[cfg_attr(not(target_arch = "wasm32"), test)]
fn pointers_are_those_of_rfc_6901() {
    for (text, mistake) in [
        ("usage", "does not begin with a slash"),
        ("", "does not begin with a slash"),
        ("#/usage", "does not begin with a slash"),
        ("/a~2", "has a ~ that is neither ~0 nor ~1"),
        ("/a~", "has a ~ that is neither ~0 nor ~1"),
        (&"/a".repeat(17), "has more than 16 tokens"),
        (
            &format!("/{}", "a".repeat(129)),
            "has a token longer than 128 bytes",
        ),
    ] {
        let parsed = Pointer::parse(text);
        assert!(
            parsed.is_err_and(|error| error.starts_with(mistake)),
            "{text}"
        );
    }
}

#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
#[cfg_attr(not(target_arch = "wasm32"), test)]
fn a_pointer_finds_its_number_however_the_document_is_cut() {
    let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let long = |length: usize| format!(r#"{{"a":{}}}"#, "1".repeat(length));
    let table: &[(&str, &str, Option<u64>)] = &[
        (r#"{"usage":{"total":42}}"#, "/usage/total", Some(42_000)),
        (r#" { "a" : [ 1 , 2 ] } "#, "/a/1", Some(2_000)),
        (r#"{"a":[1,2]}"#, "/a/01", None),
        (r#"{"a":[1,2]}"#, "/a/-", None),
        (r#"{"a":{"1":5}}"#, "/a/1", Some(5_000)),
        (r#"[[],[{"x":0.25}]]"#, "/1/0/x", Some(250)),
        (r#"{"":7}"#, "/", Some(7_000)),
        (r#"{"a/b":{"c~d":7}}"#, "/a~1b/c~0d", Some(7_000)),
        (r#"{"\u0061\"\\":7}"#, "/a\"\\", Some(7_000)),
        (r#"{"\ud83d\ude00":7}"#, "/\u{1f600}", Some(7_000)),
        // A text that looks like the member is none.
        (r#"{"x":"\"a\":1","b":{"a":2},"a":3}"#, "/a", Some(3_000)),
        (r#"{"a":"5"}"#, "/a", None),
        (r#"{"a":true,"b":1}"#, "/b", Some(1_000)),
        (r#"{"a":-1}"#, "/a", None),
        (r#"{"a":{"b":1}}"#, "/a", None),
        (r#"{"a":1}"#, "/a/b", None),
        (r#"{"b":{"a":1}}"#, "/a", None),
        // Of members with one name the last counts.
        (r#"{"a":1,"a":2}"#, "/a", Some(2_000)),
        (r#"{"a":1,"a":null}"#, "/a", None),
        (r#"{"u":{"a":1},"u":{}}"#, "/u/a", None),
        (r#"{"u":{"a":1},"v":{"a":2}}"#, "/u/a", Some(1_000)),
        // Cut off, or no JSON from some place on: what was seen counts, and half a number was not.
        (r#"{"a":1,"b":[["#, "/a", Some(1_000)),
        (r#"{"a":15"#, "/a", None),
        (r#"{"a":1} trailing {"a":2}"#, "/a", Some(1_000)),
        (r#"{"a":1]"a":2}"#, "/a", Some(1_000)),
        (r"<html>", "/a", None),
        (r#""text""#, "/a", None),
        ("", "/a", None),
    ];
    for (document, pointer, expected) in table {
        for size in 1..=document.len().max(1) {
            let found = json(document.as_bytes(), pointer, size);
            assert_eq!(found, *expected, "{document} {pointer} by {size}");
        }
    }
    let within = format!(r#"[{},7]"#, deep(SCAN_DEPTH_MAX - 1));
    assert_eq!(json(within.as_bytes(), "/1", 3), Some(7_000));
    let beyond = format!(r#"[{},7]"#, deep(SCAN_DEPTH_MAX));
    assert_eq!(json(beyond.as_bytes(), "/1", 3), None);
    let zeros = format!(r#"{{"a":0.{}}}"#, "1".repeat(SCAN_NUMBER_MAX_BYTES - 2));
    assert_eq!(json(zeros.as_bytes(), "/a", 3), Some(111));
    assert_eq!(
        json(long(SCAN_NUMBER_MAX_BYTES + 1).as_bytes(), "/a", 3),
        None
    );
}

#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
#[cfg_attr(not(target_arch = "wasm32"), test)]
fn the_last_event_that_has_it_counts_however_the_stream_is_cut() {
    let table: &[(&str, Option<u64>)] = &[
        ("data: {\"n\":1}\n\n", Some(1_000)),
        ("data:{\"n\":1}\r\n\r\ndata:{\"n\":2}\r\n\r\n", Some(2_000)),
        ("data:{\"n\":1}\r\rdata:{\"n\":2}\r\r", Some(2_000)),
        (
            "data: {\"n\":1}\n\ndata: {\"m\":2}\n\ndata: [DONE]\n\n",
            Some(1_000),
        ),
        (
            "event: x\nid: 7\n: data: {\"n\":9}\ndata: {\"n\":1}\nretry: 5\n\n",
            Some(1_000),
        ),
        // Lines of data are one document.
        ("data: {\"n\"\ndata: :1\ndata: }\n\n", Some(1_000)),
        ("data\ndata:\ndata: {\"n\":1}\n\n", Some(1_000)),
        ("database: {\"n\":9}\ndat: {\"n\":9}\n\n", None),
        (" data: {\"n\":9}\n\n", None),
        // A null after a number is no number.
        ("data: {\"n\":1}\n\ndata: {\"n\":null}\n\n", Some(1_000)),
        // The stream ends within an event: what was seen counts.
        ("data: {\"n\":1}\n\ndata: {\"n\":2}", Some(2_000)),
        ("data: {\"n\":1}\n\ndata: {\"n\":25", Some(1_000)),
        ("{\"n\":1}", None),
        ("", None),
    ];
    for (stream, expected) in table {
        for size in 1..=stream.len().max(1) {
            let found = events(stream.as_bytes(), "/n", size);
            assert_eq!(found, *expected, "{stream:?} by {size}");
        }
    }
}

/// What this configuration of a rule's costs makes of a response, by meter.
fn costs(rule: &str, response: &Response<'_>) -> (Vec<(usize, u64)>, bool) {
    let document = format!(
        r#"{{"environment": "live", "redis": {{"cluster": "c", "prefix": "p"}},
            "rules": [{{"match": {{"pathPrefix": "/"}}, {rule}}}]}}"#
    );
    let policy = crate::policy::Policy::parse(&document).unwrap();
    let Some(crate::policy::Access::Keyed(demand)) = policy.rule(0).map(|rule| rule.access())
    else {
        panic!("a public rule");
    };
    let fields = |fields: &[(&'static str, &'static str)]| -> Vec<(&[u8], &[u8])> {
        let bytes =
            |(name, value): &(&'static str, &'static str)| (name.as_bytes(), value.as_bytes());
        fields.iter().map(bytes).collect()
    };
    let mut reading = Reading::begin(
        demand.told.as_ref().unwrap(),
        fields(response.headers).into_iter(),
    );
    for piece in response.body.as_bytes().chunks(7) {
        reading.count(piece.len());
        reading.read(piece);
    }
    reading.read_trailers(fields(response.trailers).into_iter());
    let costs = reading
        .costs()
        .map(|cost| (cost.place, cost.milli))
        .collect();
    (costs, reading.is_complete())
}

#[derive(Default)]
struct Response<'r> {
    headers: &'r [(&'static str, &'static str)],
    body: &'static str,
    trailers: &'r [(&'static str, &'static str)],
}

#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
#[cfg_attr(not(target_arch = "wasm32"), test)]
fn the_upstreams_word_sets_and_adds() {
    let rule = r#""meters": {"a": 1, "b": 2, "c": 3}, "upstreamMeters": ["a", "c"]"#;
    let table: &[(&'static str, [u64; 2], bool)] = &[
        ("", [1_000, 3_000], true),
        ("a=50", [50_000, 3_000], true),
        ("a+=50", [51_000, 3_000], true),
        ("a=0", [0, 3_000], true),
        (" a = 1.5 ,, c += 2 ", [1_500, 5_000], true),
        ("a+=1, a=5, a+=2", [7_000, 3_000], true),
        // Other meters are none of its business.
        ("b=9, d=9, A=9", [1_000, 3_000], true),
        ("a=-1, c=4", [1_000, 4_000], false),
        ("a=NaN, a+=inf, a=1e99, a, =, =1, a=", [1_000, 3_000], false),
        (
            "a=1000000000, a+=1000000000, c+=1000000000",
            [REQUEST_MAX_MILLI, REQUEST_MAX_MILLI],
            true,
        ),
    ];
    for (line, [a, c], is_complete) in table {
        let response = Response {
            headers: &[("x-other", "a=9"), (METERS, line)],
            ..Response::default()
        };
        assert_eq!(
            costs(rule, &response),
            (vec![(0, *a), (2, *c)], *is_complete),
            "{line}"
        );
    }
    let lines = Response {
        headers: &[(METERS, "a=5"), (METERS, "c=6, a+=1")],
        ..Response::default()
    };
    assert_eq!(costs(rule, &lines).0, [(0, 6_000), (2, 6_000)]);
}

#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
#[cfg_attr(not(target_arch = "wasm32"), test)]
#[expect(clippy::too_many_lines, reason = "a table")]
fn every_source_is_read_and_weighed() {
    let usage = r#"{"usage": {"input": 10, "output": 2.5}}"#;
    let sum = r#""meters": {"t": 1}, "meterFrom": {"t": {"sum": [
        {"jsonPointer": "/usage/input"}, {"jsonPointer": "/usage/output", "times": 6}]}}"#;
    let bytes = r#""meters": {"t": 0}, "meterFrom": {"t": {"responseBytes": true, "times": 0.5}}"#;
    let header = r#""meters": {"t": 4}, "meterFrom": {"t": {"header": "X-Cost"}}"#;
    let trailer = r#""meters": {"t": 4}, "meterFrom": {"t": {"trailer": "X-Cost"}}"#;
    let both =
        r#""meters": {"t": 4}, "meterFrom": {"t": {"header": "x-cost"}}, "upstreamMeters": ["t"]"#;
    let json = ("content-type", "application/json");
    let stream = ("content-type", "Text/Event-Stream; charset=utf-8");
    let events = "data: {\"usage\":{\"input\":7}}\n\ndata: {\"usage\":{\"output\":1}}\n\ndata: {\"usage\":{\"output\":2}}\n\n";
    type Fields<'f> = &'f [(&'static str, &'static str)];
    let table: &[(&str, Fields<'_>, &'static str, Fields<'_>, u64, bool)] = &[
        (sum, &[json], usage, &[], 25_000, true),
        (sum, &[], usage, &[], 25_000, true),
        (sum, &[stream], events, &[], 19_000, true),
        (
            sum,
            &[json],
            r#"{"usage": {"input": 10}}"#,
            &[],
            10_000,
            false,
        ),
        // What the response does not tell costs what the rule says.
        (sum, &[json], "{}", &[], 1_000, false),
        (
            sum,
            &[json, ("content-encoding", "gzip")],
            usage,
            &[],
            1_000,
            false,
        ),
        (
            sum,
            &[json, ("content-encoding", "Identity")],
            usage,
            &[],
            25_000,
            true,
        ),
        (bytes, &[], "1234567", &[], 3_500, true),
        (bytes, &[("content-encoding", "gzip")], "", &[], 0, true),
        (header, &[("x-cost", " 7 ")], "", &[], 7_000, true),
        (
            header,
            &[("x-cost", "7"), ("x-cost", "8")],
            "",
            &[],
            7_000,
            true,
        ),
        (header, &[("x-cost", "seven")], "", &[], 4_000, false),
        (header, &[], "", &[("x-cost", "7")], 4_000, false),
        (
            trailer,
            &[("x-cost", "9")],
            "",
            &[("x-cost", "7")],
            7_000,
            true,
        ),
        (trailer, &[], "", &[], 4_000, false),
        (
            both,
            &[("x-cost", "7"), (METERS, "t+=2")],
            "",
            &[],
            9_000,
            true,
        ),
        (
            both,
            &[("x-cost", "7"), (METERS, "t=2")],
            "",
            &[],
            2_000,
            true,
        ),
        (both, &[(METERS, "t+=2")], "", &[], 6_000, false),
    ];
    for (rule, headers, body, trailers, milli, is_complete) in table {
        let response = Response {
            headers,
            body,
            trailers,
        };
        assert_eq!(
            costs(rule, &response),
            (vec![(0, *milli)], *is_complete),
            "{rule} {body}"
        );
    }
}

/// Proptest does not run in Wasm.
#[cfg(not(target_arch = "wasm32"))]
mod properties;
