//! What a rule may say of costs that responses tell.

use super::configuration::{LEAST, demand};
use crate::cost::{BodyUse, Source};
use crate::policy::Policy;

fn policy(rule: &str) -> Result<Policy, Vec<String>> {
    let rules = format!(r#"[{{"match": {{"pathPrefix": "/"}}, {rule}}}]"#);
    let document = LEAST.replace(r#"[{"match": {"pathPrefix": "/"}}]"#, &rules);
    Policy::parse(&document)
        .map_err(|found| found.0.iter().map(ToString::to_string).collect::<Vec<_>>())
}

#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
#[cfg_attr(not(target_arch = "wasm32"), test)]
fn costs_are_told_by_every_documented_source() {
    let policy = policy(
        r#""meters": {"a": 1, "b": 0, "c": 2, "d": 0},
        "reserve": {"b": 2000, "d": "0.5"},
        "meterFrom": {
            "b": {"sum": [{"jsonPointer": "/usage/in"}, {"jsonPointer": "/usage/out", "times": "6.5"}]},
            "c": {"trailer": "X-Cost"},
            "d": {"sum": [{"header": "X-Cost"}, {"responseBytes": true}, {"jsonPointer": "/usage/in"}]}},
        "upstreamMeters": ["b"]"#,
    )
    .unwrap();
    let demand = demand(policy.rules().next().unwrap());
    let held: Vec<_> = demand
        .meters
        .iter()
        .map(|cost| (cost.units.milli(), cost.held.milli(), cost.is_told))
        .collect();
    let expected = [
        (1_000, 1_000, false),
        (0, 2_000_000, true),
        (2_000, 2_000, true),
        (0, 500, true),
    ];
    assert_eq!(held, expected);
    let told = demand.told.as_ref().unwrap();
    let terms: Vec<_> = told
        .meters
        .iter()
        .map(|meter| {
            let term = |term: &crate::cost::Term| (term.source.clone(), term.times.milli());
            let terms: Vec<_> = meter.terms.iter().map(term).collect();
            (meter.place, meter.heeds_upstream, terms)
        })
        .collect();
    let expected = [
        (
            1,
            true,
            vec![(Source::Pointer(0), 1_000), (Source::Pointer(1), 6_500)],
        ),
        (2, false, vec![(Source::Trailer("x-cost".into()), 1_000)]),
        (
            3,
            false,
            vec![
                (Source::Header("x-cost".into()), 1_000),
                (Source::Bytes, 1_000),
                (Source::Pointer(0), 1_000),
            ],
        ),
    ];
    assert_eq!(terms, expected);
    assert_eq!(told.pointers.len(), 2);
    assert_eq!(told.body_use(), BodyUse::Content);
}

#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
#[cfg_attr(not(target_arch = "wasm32"), test)]
fn only_as_much_of_a_response_is_looked_at_as_a_cost_needs() {
    let table = [
        (r#""upstreamMeters": ["a"]"#, BodyUse::None, false),
        (
            r#""meterFrom": {"a": {"header": "x"}}"#,
            BodyUse::None,
            false,
        ),
        (
            r#""meterFrom": {"a": {"trailer": "x"}}"#,
            BodyUse::None,
            true,
        ),
        (
            r#""meterFrom": {"a": {"responseBytes": true}}"#,
            BodyUse::Length,
            true,
        ),
        (
            r#""meterFrom": {"a": {"jsonPointer": "/x"}}"#,
            BodyUse::Content,
            true,
        ),
    ];
    for (rule, body_use, outlasts_headers) in table {
        let policy = policy(&format!(r#""meters": {{"a": 0}}, {rule}"#)).unwrap();
        let told = demand(policy.rules().next().unwrap()).told.clone().unwrap();
        assert_eq!(
            (told.body_use(), told.outlasts_headers()),
            (body_use, outlasts_headers),
            "{rule}"
        );
    }
}

#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
#[cfg_attr(not(target_arch = "wasm32"), test)]
#[expect(clippy::too_many_lines, reason = "a table")]
fn each_mistake_about_costs_is_told() {
    let foreign = "is not one of the rule's meters: list it there, with 0 units if only the response tells them";
    let one_of = "must have one of header, trailer, jsonPointer and responseBytes";
    let table: &[(&str, &[String])] = &[
        (
            r#""meterFrom": {"b": {"header": "x"}}"#,
            &[format!("rules[0].meterFrom.b: {foreign}")],
        ),
        (
            r#""upstreamMeters": ["b", "A"]"#,
            &[
                format!("rules[0].upstreamMeters[0]: {foreign}"),
                "rules[0].upstreamMeters[1]: is not 1 to 64 lower-case letters, digits and underscores".to_owned(),
            ],
        ),
        (
            r#""upstreamMeters": ["a", "a"]"#,
            &["rules[0].upstreamMeters[1]: is given twice".to_owned()],
        ),
        (
            r#""upstreamMeters": []"#,
            &["rules[0].upstreamMeters: must have 1 to 16 members".to_owned()],
        ),
        (
            r#""meterFrom": {}"#,
            &["rules[0].meterFrom: is empty: leave it out".to_owned()],
        ),
        (
            r#""reserve": {}"#,
            &["rules[0].reserve: is empty: leave it out".to_owned()],
        ),
        (
            r#""reserve": {"a": 5, "b": 5}"#,
            &[
                "rules[0].reserve.a: is for a meter whose cost no response tells: see meterFrom and upstreamMeters".to_owned(),
                format!("rules[0].reserve.b: {foreign}"),
            ],
        ),
        (
            r#""upstreamMeters": ["a"], "reserve": {"a": 1}"#,
            &["rules[0].reserve.a: reserves no more than meters says".to_owned()],
        ),
        (
            r#""upstreamMeters": ["a"], "reserve": {"a": 1000000000.001}"#,
            &["rules[0].reserve.a: is greater than 1000000000 units".to_owned()],
        ),
        (
            r#""meterFrom": {"a": {}}"#,
            &[format!("rules[0].meterFrom.a: {one_of}")],
        ),
        (
            r#""meterFrom": {"a": {"header": "x", "trailer": "x"}}"#,
            &[format!("rules[0].meterFrom.a: {one_of}")],
        ),
        (
            r#""meterFrom": {"a": {"sum": [{"header": "x"}, {"times": 2}], "times": 3}}"#,
            &[
                "rules[0].meterFrom.a.times: is not a known field".to_owned(),
                format!("rules[0].meterFrom.a.sum[1]: {one_of}"),
            ],
        ),
        (
            r#""meterFrom": {"a": {"sum": []}}"#,
            &["rules[0].meterFrom.a.sum: must have 1 to 16 members".to_owned()],
        ),
        (
            r#""meterFrom": {"a": {"jsonPointer": "usage"}}"#,
            &["rules[0].meterFrom.a.jsonPointer: does not begin with a slash, such as /usage/total_tokens".to_owned()],
        ),
        (
            r#""meterFrom": {"a": {"header": ":status", "times": -1}}"#,
            &[
                "rules[0].meterFrom.a.times: is negative".to_owned(),
                "rules[0].meterFrom.a.header: must be 1 to 64 of the characters of a header name".to_owned(),
            ],
        ),
        (
            r#""meterFrom": {"a": {"responseBytes": false}}"#,
            &["rules[0].meterFrom.a.responseBytes: must be true".to_owned()],
        ),
    ];
    for (rule, expected) in table {
        let mistakes = policy(&format!(r#""meters": {{"a": 1}}, {rule}"#)).unwrap_err();
        assert_eq!(mistakes, *expected, "{rule}");
    }
    let mistakes = policy(r#""upstreamMeters": ["a"]"#).unwrap_err();
    assert_eq!(mistakes, [format!("rules[0].upstreamMeters[0]: {foreign}")]);
}
