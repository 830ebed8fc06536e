//! What a document may say, and how its mistakes are told.

use crate::limits::{MISTAKES_MAX, RULES_MAX};
use crate::policy::{Access, Demand, Policy, Rule};

/// The shortest document.
pub(super) const LEAST: &str = r#"{"environment": "live", "redis": {"cluster": "c", "prefix": "tg:live:"},
    "rules": [{"match": {"pathPrefix": "/"}}]}"#;

fn mistakes(document: &str) -> Vec<String> {
    match Policy::parse(document) {
        Ok(_) => Vec::new(),
        Err(mistakes) => mistakes.0.iter().map(ToString::to_string).collect(),
    }
}

/// The mistakes of a whole document in which one top-level field is replaced or added.
pub(super) fn mistakes_with(field: &str, json: &str) -> Vec<String> {
    let mut document: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(LEAST).unwrap();
    document.insert(field.to_owned(), serde_json::from_str(json).unwrap());
    mistakes(&serde_json::to_string(&document).unwrap())
}

pub(super) fn demand(rule: &Rule) -> &Demand {
    match rule.access() {
        Access::Keyed(demand) => demand,
        Access::Public => panic!("a public rule"),
    }
}

#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
#[cfg_attr(not(target_arch = "wasm32"), test)]
fn what_is_left_out_has_the_default_of_the_whole_document() {
    let whole = include_str!("../../../tests/golden/policy.json");
    let rules = r#"[{"match": {"path": "/healthz"}, "public": true},
        {"match": {"pathPrefix": "/v1/chat", "methods": ["POST"]},
         "meters": {"api_requests": 1, "tokens": 0}, "requires": ["chat"]},
        {"match": {"pathPrefix": "/"}, "meters": {"api_requests": 1}}]"#;
    let least = format!(
        r#"{{"environment": "live", "rules": {rules},
            "redis": {{"cluster": "tollgate_redis", "prefix": "tg:live:"}}}}"#
    );
    assert_eq!(Policy::parse(&least), Policy::parse(whole));
    assert!(Policy::parse(whole).is_ok());
}

#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
#[cfg_attr(not(target_arch = "wasm32"), test)]
fn a_document_names_all_its_mistakes_at_once() {
    let document = r#"{
        "environment": "prod", "redis": {"mode": "cluster", "prefix": "{x}", "timeoutMs": 0.5},
        "auth": {"sources": [{"header": "x-key", "query": "k"}], "foreignKey": false},
        "rules": [
            {"match": {"path": "/a/../b", "methods": ["get"]}, "mode": "exact"},
            {"match": {"path": "/a", "pathPrefix": "/b"}, "meters": {"Bad": -1, "ok": 0.0001}},
            {"match": {"pathPrefix": "/c?d"}, "public": true, "meters": {"ok": 1}}
        ],
        "metering": {"mode": "sometimes", "flushIntervalMs": 500, "flushIntervalMs": 600},
        "responses": {"statuses": {"too_many": 429, "key_missing": 200}},
        "odd field": 1
    }"#;
    let expected = [
        r#"environment: must be "live" or "test""#,
        r#"redis.mode: must be "single""#,
        "redis.cluster: is missing",
        "redis.prefix: must be 1 to 64 of A-Z, a-z, 0-9, :, ., _ and -",
        "redis.timeoutMs: must be a whole number from 10 to 10000",
        "auth.sources[0]: must have either header or query",
        "auth.foreignKey: is not a known field",
        "rules[0].match.path: has a dot segment",
        "rules[0].match.methods[0]: must be 1 to 32 of A-Z, 0-9 and -",
        "rules[0].mode: is not a known field",
        "rules[1].match: must have either path or pathPrefix",
        "rules[1].meters.Bad: is not 1 to 64 lower-case letters, digits and underscores",
        "rules[1].meters.Bad: is negative",
        "rules[1].meters.ok: has more than 3 decimals",
        "rules[2].match.pathPrefix: must be 1 to 2048 of a path without a query",
        "rules[2].meters: means nothing in a public rule",
        "metering.flushIntervalMs: is given twice",
        r#"metering.mode: must be "leased" or "exact""#,
        "responses.statuses.too_many: is not a code; the codes are key_missing, key_malformed, \
         key_unknown, key_expired, key_revoked, subscription_not_started, subscription_ended, \
         payment_required, payment_overdue, payment_uncollectible, meter_not_in_plan, \
         feature_not_in_plan, quota_exceeded, rate_limited, path_not_normal, store_unavailable",
        "responses.statuses.key_missing: must be a whole number from 400 to 599",
        r#"["odd field"]: is not a known field"#,
    ];
    assert_eq!(mistakes(document), expected);
}

#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
#[cfg_attr(not(target_arch = "wasm32"), test)]
#[expect(clippy::too_many_lines, reason = "a table")]
fn each_mistake_is_told() {
    let everything = r#"{"match": {"pathPrefix": "/"}}"#;
    let rules = |rule: &str| format!("[{rule}, {everything}]");
    let table = [
        (
            "sandbox",
            "true".to_owned(),
            "sandbox: needs environment \"test\": time never moves for live keys",
        ),
        (
            "paths",
            "\"any\"".to_owned(),
            "paths: must be \"normal\" or \"asGiven\"",
        ),
        ("redis", "[]".to_owned(), "redis: must be an object"),
        (
            "redis",
            r#"{"cluster": "c", "prefix": "p", "username": "u", "passwordEnv": null}"#.to_owned(),
            "redis.username: needs passwordEnv",
        ),
        ("auth", "null".to_owned(), "auth: must be an object"),
        (
            "auth",
            r#"{"sources": []}"#.to_owned(),
            "auth.sources: must have 1 to 8 members",
        ),
        (
            "auth",
            r#"{"sources": [{"header": "X-Tollgate-Key"}]}"#.to_owned(),
            "auth.sources[0].header: is a header that cannot carry a key",
        ),
        (
            "auth",
            r#"{"sources": [{"header": "Host"}]}"#.to_owned(),
            "auth.sources[0].header: is a header that cannot carry a key",
        ),
        (
            "auth",
            r#"{"sources": [{"header": ":path"}]}"#.to_owned(),
            "auth.sources[0].header: must be 1 to 64 of the characters of a header name",
        ),
        (
            "auth",
            r#"{"sources": [{"header": "a"}, {"header": "A", "scheme": "Bearer"}]}"#.to_owned(),
            "auth.sources[1]: is never reached: an earlier source takes its keys",
        ),
        (
            "auth",
            r#"{"sources": [{"header": "a", "scheme": "x"}, {"header": "a", "scheme": "X"}]}"#
                .to_owned(),
            "auth.sources[1]: is never reached: an earlier source takes its keys",
        ),
        (
            "auth",
            r#"{"sources": [{"query": "a", "scheme": "x"}]}"#.to_owned(),
            "auth.sources[0].scheme: is not a known field",
        ),
        (
            "rules",
            "[]".to_owned(),
            "rules: must have 1 to 1000 members",
        ),
        (
            "rules",
            r#"[{"match": {"pathPrefix": "/v1"}}]"#.to_owned(),
            "rules: ends without a rule for all other requests: {\"match\": {\"pathPrefix\": \"/\"}}",
        ),
        (
            "rules",
            r#"[{"match": {"pathPrefix": "/", "methods": ["GET"]}}]"#.to_owned(),
            "rules: ends without a rule for all other requests: {\"match\": {\"pathPrefix\": \"/\"}}",
        ),
        (
            "rules",
            r#"[{"match": {"path": "/"}}]"#.to_owned(),
            "rules: ends without a rule for all other requests: {\"match\": {\"pathPrefix\": \"/\"}}",
        ),
        (
            "rules",
            format!(r#"[{everything}, {{"match": {{"path": "/late"}}}}]"#),
            "rules[1]: is never reached: rules[0] takes its requests",
        ),
        (
            "rules",
            rules(r#"{"match": {"path": "/a/"}}, {"match": {"path": "/%61"}}"#),
            "rules[1]: is never reached: rules[0] takes its requests",
        ),
        (
            "rules",
            rules(
                r#"{"match": {"pathPrefix": "/a", "methods": ["GET"]}}, {"match": {"pathPrefix": "/a/", "methods": ["POST"]}}, {"match": {"path": "/a/b", "methods": ["GET", "POST"]}}"#,
            ),
            "rules[2]: is never reached: rules[1] takes its requests",
        ),
        ("rules", rules("{}"), "rules[0].match: is missing"),
        (
            "rules",
            rules(r#"{"match": {"path": "v1"}}"#),
            "rules[0].match.path: does not begin with a slash",
        ),
        (
            "rules",
            rules(r#"{"match": {"path": "/a;b"}}"#),
            "rules[0].match.path: has segment parameters on which the rule depends",
        ),
        (
            "rules",
            rules(r#"{"match": {"path": "/a", "methods": ["GET", "GET"]}}"#),
            "rules[0].match.methods[1]: is given twice",
        ),
        (
            "rules",
            rules(r#"{"match": {"path": "/a", "methods": []}}"#),
            "rules[0].match.methods: must have 1 to 32 members",
        ),
        (
            "rules",
            rules(r#"{"match": {"path": "/a"}, "meters": {}}"#),
            "rules[0].meters: is empty: leave it out to authenticate and record nothing",
        ),
        (
            "rules",
            rules(r#"{"match": {"path": "/a"}, "meters": {"a": 1000000000.001}}"#),
            "rules[0].meters.a: is greater than 1000000000 units",
        ),
        (
            "rules",
            rules(r#"{"match": {"path": "/a"}, "meters": {"a": true}}"#),
            "rules[0].meters.a: is not a decimal number such as 1 or 0.5",
        ),
        (
            "rules",
            rules(r#"{"match": {"path": "/a"}, "requires": ["A"]}"#),
            "rules[0].requires[0]: is not 1 to 64 lower-case letters, digits and underscores",
        ),
        (
            "rules",
            rules(r#"{"match": {"path": "/a"}, "meterOnStatusCodes": "200"}"#),
            "rules[0].meterOnStatusCodes: means nothing in a rule without meters",
        ),
        (
            "metering",
            r#"{"flushIntervalMs": 3000}"#.to_owned(),
            "metering.flushIntervalMs: is greater than maxUnsettledMs",
        ),
        (
            "metering",
            r#"{"maxUnsettledMs": 6000}"#.to_owned(),
            "metering.maxUnsettledMs: is greater than leaseTtlMs",
        ),
        (
            "metering",
            r#"{"waitForUnitsMs": 501}"#.to_owned(),
            "metering.waitForUnitsMs: is greater than 2 × redis.timeoutMs, after which no request waits",
        ),
        (
            "onUnavailable",
            r#"{"staleForSeconds": -1}"#.to_owned(),
            "onUnavailable.staleForSeconds: must be a whole number from 0 to 259200",
        ),
        (
            "responses",
            r#"{"upgradeUrl": "javascript:x"}"#.to_owned(),
            "responses.upgradeUrl: must be an http or https URL",
        ),
        (
            "responses",
            r#"{"upgradeUrl": "https://a/\r\nb"}"#.to_owned(),
            "responses.upgradeUrl: must be 1 to 2048 of printable ASCII",
        ),
    ];
    for (field, json, expected) in table {
        assert_eq!(mistakes_with(field, &json), [expected], "{field}: {json}");
    }
}

#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
#[cfg_attr(not(target_arch = "wasm32"), test)]
fn what_is_no_document_is_one_mistake() {
    let long = format!("\"{}\"", "x".repeat(1_024 * 1_024));
    let deep = "[".repeat(100_000);
    let table = [
        (
            "",
            "$: is not JSON: EOF while parsing a value at line 1 column 0",
        ),
        ("[1]", "$: must be an object"),
        (
            "{\"a\":",
            "$: is not JSON: EOF while parsing a value at line 1 column 5",
        ),
        (&long, "$: is longer than 1048576 bytes"),
    ];
    for (document, expected) in table {
        assert_eq!(mistakes(document), [expected]);
    }
    assert_eq!(mistakes(&deep).len(), 1);
    let shadowed = vec![r#"{"match": {"pathPrefix": "/"}}"#; RULES_MAX].join(",");
    assert_eq!(
        mistakes_with("rules", &format!("[{shadowed}]")).len(),
        MISTAKES_MAX
    );
}

#[cfg(not(target_arch = "wasm32"))]
mod properties {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// A document with one piece replaced by anything is compiled or refused.
        #[test]
        fn any_damage_is_refused_or_harmless(
            at in 0..2_000_usize,
            length in 0..20_usize,
            damage in "[ -~é]{0,8}",
        ) {
            let whole = include_str!("../../../tests/golden/policy.json");
            let start = at.min(whole.len());
            let end = (start + length).min(whole.len());
            let damaged = format!("{}{damage}{}", &whole[..start], &whole[end..]);
            if let Err(found) = Policy::parse(&damaged) {
                prop_assert!(!found.0.is_empty());
            }
        }
    }
}
