//! When units are counted, by rule.

use super::configuration::{LEAST, demand, mistakes_with};
use crate::policy::{MeteringMode, Policy};

#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
#[cfg_attr(not(target_arch = "wasm32"), test)]
fn a_rule_may_count_before_or_after_whatever_all_others_do() {
    let document = LEAST.replace(
        r#"[{"match": {"pathPrefix": "/"}}]"#,
        r#"[{"match": {"path": "/a"}, "meters": {"m": 1}, "metering": {"mode": "exact"}},
            {"match": {"pathPrefix": "/"}, "meters": {"m": 1}}]"#,
    );
    let policy = Policy::parse(&document).unwrap();
    let modes: Vec<_> = policy.rules().map(|rule| demand(rule).mode).collect();
    assert_eq!(modes, [Some(MeteringMode::Exact), None]);
    assert_eq!(policy.metering.mode, MeteringMode::Leased);

    for (rule, mistake) in [
        (
            r#"{"match": {"pathPrefix": "/"}, "metering": {"mode": "exact"}}"#,
            "rules[0].metering: means nothing in a rule without meters",
        ),
        (
            r#"{"match": {"pathPrefix": "/"}, "meters": {"m": 1}, "metering": {}}"#,
            "rules[0].metering.mode: is missing",
        ),
        (
            r#"{"match": {"pathPrefix": "/"}, "meters": {"m": 1}, "metering": {"mode": "leased", "leaseTtlMs": 1}}"#,
            "rules[0].metering.leaseTtlMs: is not a known field",
        ),
        (
            r#"{"match": {"pathPrefix": "/"}, "public": true, "metering": {"mode": "leased"}}"#,
            "rules[0].metering: means nothing in a public rule",
        ),
    ] {
        assert_eq!(
            mistakes_with("rules", &format!("[{rule}]")),
            [mistake],
            "{rule}"
        );
    }
}
