//! Where a request's key is found, and what the upstream does not see.

use crate::api_key::{self, Environment};
use crate::policy::Policy;
use crate::problem::Code;

fn policy(auth: &str) -> Policy {
    Policy::parse(&format!(
        r#"{{"environment":"live","redis":{{"cluster":"redis","prefix":"tg:"}},"auth":{auth},
            "rules":[{{"match":{{"pathPrefix":"/"}}}}]}}"#
    ))
    .unwrap()
}

fn key(tag: &str) -> String {
    let secret = "0123456789ABCDEFGHIJKLMNOP";
    api_key::compose(Environment::Live, tag.parse().unwrap(), secret).unwrap()
}

#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
#[cfg_attr(not(target_arch = "wasm32"), test)]
fn the_first_source_that_has_a_key_is_taken() {
    use Code::{KeyMalformed, KeyMissing};
    let policy = policy("{}");
    let (aaaa, bbbb) = (key("aaaa"), key("bbbb"));
    let bearer = format!("Bearer {aaaa}");
    let spaced = format!("  bEARER \t {aaaa} ");
    let two = format!("Bearer {aaaa} {bbbb}");
    let glued = format!("Bearer{aaaa}");
    let query = format!("/v1?x=1&api_key={bbbb}&y");
    let encoded_name = format!("/v1?api%5Fkey={bbbb}");
    let empty_first = format!("/v1?api_key=&api_key={bbbb}");
    type Case<'a> = (&'a [(&'a str, &'a str)], &'a str, Result<&'a str, Code>);
    let table: &[Case<'_>] = &[
        (&[("authorization", &bearer)], "/v1", Ok("aaaa")),
        (&[("authorization", &spaced)], "/v1", Ok("aaaa")),
        (&[("x-api-key", &aaaa)], "/v1", Ok("aaaa")),
        (
            &[("authorization", &bearer), ("x-api-key", &bbbb)],
            "/v1",
            Ok("aaaa"),
        ),
        (
            &[("x-api-key", &bbbb), ("authorization", &bearer)],
            "/v1",
            Ok("aaaa"),
        ),
        (
            &[("authorization", "Basic YTpi"), ("x-api-key", &bbbb)],
            "/v1",
            Ok("bbbb"),
        ),
        (
            &[("authorization", "Bearer"), ("x-api-key", &bbbb)],
            "/v1",
            Ok("bbbb"),
        ),
        (&[], &query, Ok("bbbb")),
        (&[], &encoded_name, Ok("bbbb")),
        (&[], &empty_first, Ok("bbbb")),
        (&[("x-api-key", &aaaa)], &query, Ok("aaaa")),
        (&[], "/v1", Err(KeyMissing)),
        (&[("authorization", "")], "/v1", Err(KeyMissing)),
        (&[("authorization", "Bearer ")], "/v1", Err(KeyMissing)),
        (&[("authorization", "Bear")], "/v1", Err(KeyMissing)),
        (&[("authorization", &glued)], "/v1", Err(KeyMissing)),
        (&[("x-api-key", " ")], "/v1?api_key=", Err(KeyMissing)),
        (&[], "/v1?api_key", Err(KeyMissing)),
        (&[], "/v1?&&=&%zz=1", Err(KeyMissing)),
        (
            &[("x-api-key", "nonsense"), ("x-other", &aaaa)],
            &query,
            Err(KeyMalformed),
        ),
        (&[("authorization", &two)], "/v1", Err(KeyMalformed)),
        (&[], "/v1?api_key=tg%5Flive+%zz%", Err(KeyMalformed)),
        (&[("x-api-key", "é")], "/v1", Err(KeyMalformed)),
    ];
    for (headers, path, expected) in table {
        let text = policy.credential(headers, path.as_bytes());
        let tag = text
            .and_then(|text| policy.identify(text))
            .map(|(_, tag)| tag.to_string());
        let expected = expected.map(str::to_owned);
        assert_eq!(tag, expected, "{headers:?} {path}");
    }
}

#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
#[cfg_attr(not(target_arch = "wasm32"), test)]
fn header_values_need_not_be_text() {
    let headers = [("x-api-key", &b"\xff\xfe"[..])];
    let policy = policy("{}");
    let text = policy.credential(&headers, b"/");
    assert_eq!(text, Ok(&b"\xff\xfe"[..]));
    let key = text.and_then(|text| policy.identify(text));
    assert_eq!(key, Err(Code::KeyMalformed));
}

#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
#[cfg_attr(not(target_arch = "wasm32"), test)]
fn every_credential_is_hidden_used_or_not() {
    let headers = [
        ("authorization", "bearer one"),
        ("x-api-key", "two"),
        ("x-other", "three"),
    ];
    let hidden = |policy: &Policy| {
        headers.map(|(name, value)| policy.hides(name.as_bytes(), value.as_bytes()))
    };
    assert_eq!(hidden(&policy("{}")), [true, true, false]);
    // An authorization that is not ours is the upstream's.
    assert!(!policy("{}").hides(b"authorization", b"Basic YTpi"));
    let shown = policy(r#"{"hideCredentials": false}"#);
    assert_eq!(hidden(&shown), [false; 3]);
    assert_eq!(shown.path_without_credentials(b"/?api_key=one"), None);
}

#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
#[cfg_attr(not(target_arch = "wasm32"), test)]
fn the_query_is_rewritten_without_its_keys() {
    let policy = policy("{}");
    let table = [
        ("/v1", None),
        ("/v1?", None),
        ("/v1?x=1&y=%20+&&", None),
        ("/v1?api_keys=1&xapi_key=2&API_KEY=3", None),
        ("/api_key=1", None),
        ("/v1?api_key=one", Some("/v1")),
        ("/v1?api_key", Some("/v1")),
        ("/v1?x=1&api_key=one", Some("/v1?x=1")),
        ("/v1?api_key=one&x=%20+&&y", Some("/v1?x=%20+&&y")),
        ("/v1?api_key=one&x&api_key=two", Some("/v1?x")),
        ("/v1?%61pi%5fkey=one&x", Some("/v1?x")),
        ("/v1?x=?api_key=1&api_key=2", Some("/v1?x=?api_key=1")),
    ];
    for (path, expected) in table {
        let rewritten = policy.path_without_credentials(path.as_bytes());
        assert_eq!(rewritten.as_deref(), expected.map(str::as_bytes), "{path}");
    }
}

#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
#[cfg_attr(not(target_arch = "wasm32"), test)]
fn preflights_pass_only_when_allowed_and_complete() {
    let allowed = policy(r#"{"allowPreflight": true}"#);
    let complete = [
        ("origin", "https://a"),
        ("access-control-request-method", "POST"),
    ];
    assert!(allowed.passes_preflight(b"OPTIONS", &complete));
    assert!(!allowed.passes_preflight(b"GET", &complete));
    assert!(!allowed.passes_preflight(b"OPTIONS", &complete[..1]));
    assert!(!policy("{}").passes_preflight(b"OPTIONS", &complete));
}

#[cfg(not(target_arch = "wasm32"))]
mod properties {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_query_keeps_a_key(query in "([a-z%&=_;+]|api_key=|%61pi_key=|x=1&){0,20}") {
            let policy = policy("{}");
            let path = format!("/v1?{query}");
            if let Some(rewritten) = policy.path_without_credentials(path.as_bytes()) {
                prop_assert_eq!(policy.path_without_credentials(&rewritten), None);
                let headers: [(&str, &str); 0] = [];
                prop_assert_eq!(policy.credential(&headers, &rewritten), Err(Code::KeyMissing));
            }
        }
    }
}
