//! The contract's forms: what was written once must be read for ever.

use serde_json::Value;

use super::answer::{AnswerError, Entered, Settled};
use super::*;
use crate::limits::DOUBLE_EXACT;
use crate::resp::Reply;

const ACCESS: &str = include_str!("../../tests/golden/contract/access-v1.json");
const KEY: &str = include_str!("../../tests/golden/contract/key-v1.json");

#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
#[cfg_attr(not(target_arch = "wasm32"), test)]
fn documents_are_read_and_written_as_they_were() {
    let same = |text: &str, written: Value| {
        assert_eq!(written, serde_json::from_str::<Value>(text).unwrap());
    };
    let access: AccessDocument = serde_json::from_str(ACCESS).unwrap();
    same(ACCESS, serde_json::to_value(&access).unwrap());
    let key: KeyDocument = serde_json::from_str(KEY).unwrap();
    same(KEY, serde_json::to_value(&key).unwrap());
}

#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
#[cfg_attr(not(target_arch = "wasm32"), test)]
fn fields_of_a_newer_control_plane_are_ignored() {
    let mut access: Value = serde_json::from_str(ACCESS).unwrap();
    access["colour"] = "blue".into();
    access["terms"][0]["colour"] = "blue".into();
    let entitlements = &mut access["terms"][0]["entitlements"];
    entitlements["api_requests"]["windows"][0]["colour"] = "blue".into();
    entitlements["requests"]["colour"] = "blue".into();
    assert!(serde_json::from_value::<AccessDocument>(access).is_ok());
    let mut key: Value = serde_json::from_str(KEY).unwrap();
    key["colour"] = "blue".into();
    assert!(serde_json::from_value::<KeyDocument>(key).is_ok());
}

#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
#[cfg_attr(not(target_arch = "wasm32"), test)]
fn windows_and_rate_limits_are_packed_for_the_scripts() {
    let access: AccessDocument = serde_json::from_str(ACCESS).unwrap();
    let fields = access.fields();
    assert_eq!(
        fields["m/api_requests"],
        "1790000000000,1792592000000,20000,1,;\
         1791000000000,1792592000000,1000000,2,1/api_requests/1790000000000;\
         1792592000000,1795184000000,,2,"
    );
    assert_eq!(
        fields["r/requests"],
        "1790000000000,1791000000000,1500,60000,3000;1791000000000,,100000,1000,200000"
    );
    let names: Vec<_> = fields.keys().collect();
    assert_eq!(names, ["doc", "m/api_requests", "r/requests"]);
}

#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
#[cfg_attr(not(target_arch = "wasm32"), test)]
fn counter_fields_and_windows_read_back_what_they_write() {
    let window = WindowId {
        epoch: 3,
        meter: "api_requests".to_owned(),
        start_ms: 1_790_000_000_000,
    };
    let field = CounterField::Hour(window.clone(), 497_222, "key_01".to_owned());
    assert_eq!(field.to_string().parse(), Ok(field));
    assert_eq!(window.to_string().parse(), Ok(window));
    assert!("h/1/api_requests".parse::<CounterField>().is_err());
}

#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
#[cfg_attr(not(target_arch = "wasm32"), test)]
fn a_digest_is_forty_hex_digits_of_its_own() {
    // That Redis computes the same is held by the tests of the scripts.
    let mut digests: Vec<_> = Script::ALL.iter().map(|script| script.sha1()).collect();
    let is_hex =
        |digest: &String| digest.len() == 40 && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
    assert!(digests.iter().all(is_hex));
    digests.sort();
    digests.dedup();
    assert_eq!(digests.len(), Script::ALL.len());
}

#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
#[cfg_attr(not(target_arch = "wasm32"), test)]
fn numbers_that_lua_cannot_count_to_are_no_answer() {
    let reply = |fields: &[&'static str]| {
        let bulk = |field: &&'static str| Reply::Bulk(field.as_bytes());
        Reply::Array(fields.iter().map(bulk).collect())
    };
    let (most, beyond) = ("9007199254740992", "9007199254740993");
    assert_eq!(most.parse(), Ok(DOUBLE_EXACT));
    let enter = |time, last| reply(&["ready", "node", time, "1", "", last]);
    assert!(Entered::read(&enter("-9007199254740992", most)).is_ok());
    for (time, last) in [(beyond, "0"), ("-9223372036854775808", "0"), ("0", beyond)] {
        assert_eq!(
            Entered::read(&enter(time, last)),
            Err(AnswerError::Unexpected)
        );
    }
    let batch = |last, claims, granted, used| {
        reply(&[
            "ok",
            last,
            "1",
            "",
            "",
            "0",
            claims,
            "1/calls/0",
            granted,
            "",
            "0",
            used,
            "0",
        ])
    };
    assert!(Settled::read(&batch(most, most, most, most)).is_ok());
    for (last, claims, granted, used) in [
        ("18446744073709551615", "", "0", "0"),
        ("1", "1 9007199254740993", "0", "0"),
        ("1", "", beyond, "0"),
        ("1", "", "0", beyond),
    ] {
        let answer = batch(last, claims, granted, used);
        assert_eq!(Settled::read(&answer), Err(AnswerError::Unexpected));
    }
    let counted = |last| {
        let text = [Reply::Bulk(b"1"), Reply::Bulk(b""), Reply::Bulk(b"")];
        let numbers = [Reply::Integer(0), Reply::Bulk(b"")];
        let words = [Reply::Bulk(b"ok"), Reply::Integer(last)];
        Reply::Array([&words[..], &text, &numbers].concat())
    };
    assert!(Settled::read(&counted(9_007_199_254_740_992)).is_ok());
    for last in [-1, 9_007_199_254_740_993] {
        let answer = counted(last);
        assert_eq!(Settled::read(&answer), Err(AnswerError::Unexpected));
    }
}
