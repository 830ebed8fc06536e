//! Tables for header values.

use std::collections::BTreeMap;

use serde_json::json;

use super::*;

fn units(text: &str) -> Units {
    text.parse().unwrap()
}

const IDENTITY: Identity<'_> = Identity {
    customer: "cus_01J0",
    subscription: "sub_01J1",
    plan: "pro",
    key: "key_01J2",
    subject: None,
};

#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
#[cfg_attr(not(target_arch = "wasm32"), test)]
fn rate_limits_list_every_meter() {
    assert_eq!(rate_limit([]), None);
    let requests = MeterState {
        meter: "api_requests",
        limit: units("1000"),
        remaining: units("999.5"),
        window_seconds: 2_592_000,
        resets_in_seconds: 60,
    };
    let tokens = MeterState {
        meter: "tokens",
        limit: Units::MAX,
        remaining: Units::ZERO,
        window_seconds: 3_600,
        resets_in_seconds: 0,
    };
    let headers = rate_limit([requests, tokens]).unwrap();
    assert_eq!(
        headers.policy,
        r#""api_requests";q=1000;w=2592000, "tokens";q=9000000000000;w=3600"#
    );
    assert_eq!(
        headers.state,
        r#""api_requests";r=999;t=60, "tokens";r=0;t=0"#
    );
}

#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
#[cfg_attr(not(target_arch = "wasm32"), test)]
fn identity_is_a_dictionary_of_tokens_and_strings() {
    let plain = "customer=cus_01J0, subscription=sub_01J1, plan=pro, key=key_01J2";
    let long = "x".repeat(257);
    let table = [
        (None, String::new()),
        (Some("user/42"), ", subject=user/42".to_owned()),
        (Some("*"), ", subject=*".to_owned()),
        (Some("42"), ", subject=\"42\"".to_owned()),
        (Some("Ann Lee"), ", subject=\"Ann Lee\"".to_owned()),
        (Some(r#"a"b\c"#), r#", subject="a\"b\\c""#.to_owned()),
        (
            Some("a, key=other"),
            ", subject=\"a, key=other\"".to_owned(),
        ),
        (Some("a;b=c"), ", subject=\"a;b=c\"".to_owned()),
        // No header value: left out whole.
        (Some(""), String::new()),
        (Some("a\r\nx-admin: 1"), String::new()),
        (Some("a\0"), String::new()),
        (Some("a\u{7f}"), String::new()),
        (Some("Zoë"), String::new()),
        (Some(" a"), String::new()),
        (Some(&long), String::new()),
    ];
    for (subject, expected) in table {
        let identity = Identity {
            subject,
            ..IDENTITY
        };
        let header = ("x-tollgate-identity", format!("{plain}{expected}"));
        assert_eq!(
            identity.headers(IdentityHeaders::One),
            [header],
            "{subject:?}"
        );
    }
}

#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
#[cfg_attr(not(target_arch = "wasm32"), test)]
fn static_entitlements_are_one_object() {
    type Given<'g> = &'g [(&'g str, Entitlement)];
    let constant = |config| Entitlement::Static { config };
    let long = "x".repeat(4_000);
    let table: [(Given<'_>, Option<String>); 6] = [
        (&[], None),
        (&[("chat", Entitlement::Boolean)], None),
        (
            &[(
                "meter",
                Entitlement::Metered {
                    windows: Vec::new(),
                },
            )],
            None,
        ),
        (
            &[
                ("chat", Entitlement::Boolean),
                ("models", constant(json!(["a", "\u{e9}\n"]))),
                ("tokens", constant(json!(4096))),
            ],
            Some(r#"{"models":["a","\u00e9\n"],"tokens":4096}"#.to_owned()),
        ),
        (
            &[("none", constant(json!(null)))],
            Some(r#"{"none":null}"#.to_owned()),
        ),
        (
            &[
                ("a", constant(json!(long))),
                ("b", constant(json!(long))),
                ("c", constant(json!(long))),
            ],
            Some(format!(r#"{{"a":"{long}","b":"{long}"}}"#)),
        ),
    ];
    for (given, expected) in table {
        let given: BTreeMap<String, Entitlement> = given
            .iter()
            .map(|(feature, entitlement)| ((*feature).to_owned(), entitlement.clone()))
            .collect();
        let header = entitlements(&given).map(|(name, value)| {
            assert_eq!(name, "x-tollgate-entitlements");
            assert!(value.len() <= ENTITLEMENTS_MAX_BYTES);
            value
        });
        assert_eq!(header, expected, "{given:?}");
    }
}

#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
#[cfg_attr(not(target_arch = "wasm32"), test)]
fn separate_identity_headers_hold_the_values_as_they_are() {
    let identity = Identity {
        plan: "bad\nplan",
        subject: Some("Ann \"Lee\""),
        ..IDENTITY
    };
    let expected = [
        ("x-tollgate-customer", "cus_01J0".to_owned()),
        ("x-tollgate-subscription", "sub_01J1".to_owned()),
        ("x-tollgate-key", "key_01J2".to_owned()),
        ("x-tollgate-subject", "Ann \"Lee\"".to_owned()),
    ];
    assert_eq!(identity.headers(IdentityHeaders::Separate), expected);
    assert_eq!(identity.headers(IdentityHeaders::None), []);
}

#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
#[cfg_attr(not(target_arch = "wasm32"), test)]
fn json_for_headers_is_ascii() {
    let value = serde_json::json!({"a": ["é😀\u{7f}\n", 1.5, null]});
    let ascii = ascii_json(&value);
    assert_eq!(ascii, r#"{"a":["\u00e9\ud83d\ude00\u007f\n",1.5,null]}"#);
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(&ascii).unwrap(),
        value
    );
}

#[cfg(not(target_arch = "wasm32"))]
mod properties {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_value_leaves_its_header(subject in any::<String>(), plan in any::<String>()) {
            let identity = Identity { plan: &plan, subject: Some(&subject), ..IDENTITY };
            for form in [IdentityHeaders::One, IdentityHeaders::Separate] {
                for (_, value) in identity.headers(form) {
                    prop_assert!(value.bytes().all(|byte| matches!(byte, b' '..=b'~')));
                }
            }
        }

        #[test]
        fn a_quoted_subject_reads_back(subject in "[ -~]{1,40}") {
            let mut quoted = String::new();
            push_string(&mut quoted, &subject);
            // JSON reads a string without control bytes the same way.
            prop_assert_eq!(serde_json::from_str::<String>(&quoted).unwrap(), subject);
        }

        #[test]
        fn any_json_is_ascii_and_reads_back(text in any::<String>()) {
            let value = serde_json::Value::String(text);
            let ascii = ascii_json(&value);
            prop_assert!(ascii.bytes().all(|byte| matches!(byte, b' '..=b'~')));
            prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&ascii).unwrap(), value);
        }
    }
}
