//! Which rule a request gets, and which paths are refused.

use crate::policy::{PathRefused, Policy};

/// A policy with these rules; a rule's place is what the tables name.
fn policy(paths: &str, rules: &str) -> Policy {
    Policy::parse(&format!(
        r#"{{"environment":"test","paths":"{paths}","redis":{{"cluster":"redis","prefix":"tg:"}},"rules":{rules}}}"#
    ))
    .unwrap()
}

const RULES: &str = r#"[
    {"match": {"path": "/healthz"}, "public": true},
    {"match": {"pathPrefix": "/v1/chat", "methods": ["POST"]}, "meters": {"tokens": 5}},
    {"match": {"pathPrefix": "/v1/caf%C3%A9/"}, "meters": {"coffee": 1}},
    {"match": {"path": "/"}, "public": true},
    {"match": {"pathPrefix": "/"}, "meters": {"api_requests": 1}}
]"#;

fn index(policy: &Policy, method: &str, path: &[u8]) -> Result<usize, PathRefused> {
    policy
        .match_rule(method.as_bytes(), path)
        .map(|rule| rule.index())
}

#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
#[cfg_attr(not(target_arch = "wasm32"), test)]
fn the_first_matching_rule_applies() {
    let policy = policy("normal", RULES);
    let table = [
        ("GET", "/healthz", 0),
        ("GET", "/healthz?deep=1", 0),
        ("GET", "/healthz/", 0),
        ("GET", "/healthz/x", 4),
        ("GET", "/Healthz", 4),
        ("POST", "/v1/chat", 1),
        ("POST", "/v1/chat/", 1),
        ("POST", "/v1/chat/completions", 1),
        ("POST", "/v1/chat?x=/../", 1),
        ("POST", "/v1/chatter", 4),
        ("POST", "/v1/cha", 4),
        ("POST", "/v1", 4),
        ("GET", "/v1/chat", 4),
        ("post", "/v1/chat", 4),
        ("GET", "/v1/caf%c3%a9", 2),
        ("GET", "/v1/café/x", 2),
        ("GET", "/", 3),
        ("GET", "/?x", 3),
        ("GET", "/x", 4),
        // Other spellings of the same paths.
        ("POST", "/v1/ch%61t", 1),
        ("POST", "/%76%31/%63%68%61%74/x", 1),
        ("GET", "/h%65althz", 0),
        // What looks like an escape after decoding is not decoded again.
        ("POST", "/v1/ch%2561t", 4),
        // Parameters that cannot change the rule.
        ("POST", "/v1/chat/a;v=1/b", 1),
        ("GET", "/x;v=1", 4),
    ];
    for (method, path, expected) in table {
        assert_eq!(
            index(&policy, method, path.as_bytes()),
            Ok(expected),
            "{method} {path}"
        );
    }
}

#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
#[cfg_attr(not(target_arch = "wasm32"), test)]
fn rules_may_share_a_path_by_methods_and_extents() {
    let policy = policy(
        "normal",
        r#"[
            {"match": {"path": "/a", "methods": ["GET"]}},
            {"match": {"path": "/a"}},
            {"match": {"pathPrefix": "/a", "methods": ["GET", "PUT"]}},
            {"match": {"pathPrefix": "/", "methods": ["PUT"]}},
            {"match": {"pathPrefix": "/"}}
        ]"#,
    );
    let table = [
        ("GET", "/a", 0),
        ("PUT", "/a", 1),
        ("HEAD", "/a", 1),
        ("PUT", "/a/b", 2),
        ("HEAD", "/a/b", 4),
        ("PUT", "/b", 3),
    ];
    for (method, path, expected) in table {
        assert_eq!(
            index(&policy, method, path.as_bytes()),
            Ok(expected),
            "{method} {path}"
        );
    }
}

#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
#[cfg_attr(not(target_arch = "wasm32"), test)]
fn a_path_that_is_not_normal_is_refused() {
    use PathRefused::{
        Ambiguous, BadEncoding, DotSegment, EmptySegment, Forbidden, NotAbsolute, TooLong,
    };
    let policy = policy("normal", RULES);
    let long = format!("/{}", "x".repeat(64 * 1_024));
    let table: &[(&[u8], PathRefused)] = &[
        (b"", NotAbsolute),
        (b"*", NotAbsolute),
        (b"?x", NotAbsolute),
        (b"v1/chat", NotAbsolute),
        (b"http://host/v1/chat", NotAbsolute),
        (b"//", EmptySegment),
        (b"//v1/chat", EmptySegment),
        (b"/v1//chat", EmptySegment),
        (b"/v1/chat//", EmptySegment),
        (b"/v1/;x/chat", EmptySegment),
        (b"/.", DotSegment),
        (b"/..", DotSegment),
        (b"/v1/./chat", DotSegment),
        (b"/free/../v1/chat", DotSegment),
        (b"/free/..;/v1/chat", DotSegment),
        (b"/free/..;x=1/v1/chat", DotSegment),
        (b"/v1/%2e%2E/chat", Forbidden),
        (b"/v1/.%2e/chat", Forbidden),
        (b"/v1/a%2Eb", Forbidden),
        (b"/v1%2Fchat", Forbidden),
        (b"/v1%2fchat", Forbidden),
        (b"/v1%5Cchat", Forbidden),
        (b"/v1\\chat", Forbidden),
        (b"/v1#/chat", Forbidden),
        (b"/v1/chat%00", Forbidden),
        (b"/v1/chat\0", Forbidden),
        (b"/v1/chat%0d%0a", Forbidden),
        (b"/v1/chat\t", Forbidden),
        (b"/v1/chat x", Forbidden),
        (b"/v1/chat\x7f", Forbidden),
        (b"/v1/chat%7F", Forbidden),
        (b"/v1/%", BadEncoding),
        (b"/v1/%6", BadEncoding),
        (b"/v1/%zz", BadEncoding),
        (b"/v1/%u002e", BadEncoding),
        (b"/v1/%+1", BadEncoding),
        (b"/v1/%6/x", BadEncoding),
        // A servlet container reads these as the path of another rule.
        (b"/v1/chat;x", Ambiguous),
        (b"/v1;a=b/chat", Ambiguous),
        (b"/healthz;", Ambiguous),
        (long.as_bytes(), TooLong),
    ];
    for (path, expected) in table {
        let shown = String::from_utf8_lossy(&path[..path.len().min(40)]);
        assert_eq!(index(&policy, "POST", path), Err(*expected), "{shown}");
    }
}

#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
#[cfg_attr(not(target_arch = "wasm32"), test)]
fn paths_as_given_are_compared_byte_for_byte() {
    let policy = policy(
        "asGiven",
        r#"[
            {"match": {"pathPrefix": "/projects/a%2Fb"}},
            {"match": {"path": "//odd/../path;x"}},
            {"match": {"pathPrefix": "/"}}
        ]"#,
    );
    let table: &[(&[u8], usize)] = &[
        (b"/projects/a%2Fb", 0),
        (b"/projects/a%2Fb/issues?x", 0),
        (b"/projects/a%2fb", 2),
        (b"/projects/a/b", 2),
        (b"//odd/../path;x", 1),
        (b"*", 2),
        (b"", 2),
        (b"/%zz\0", 2),
    ];
    for (path, expected) in table {
        assert_eq!(
            index(&policy, "GET", path),
            Ok(*expected),
            "{}",
            path.escape_ascii()
        );
    }
}

#[cfg(not(target_arch = "wasm32"))]
mod properties {
    use proptest::prelude::*;

    use super::*;

    /// One segment of a path that is near a rule's, as its decoded bytes.
    fn segment() -> impl Strategy<Value = String> {
        prop_oneof![
            prop::sample::select(&["v1", "chat", "healthz", "café", "a b", "100%", "x:y"][..])
                .prop_map(str::to_owned),
            "[a-z0-9_~é!$]{1,6}",
        ]
    }

    /// Encodes each byte that must be, and of the others those that `flags` picks.
    fn spell(segments: &[String], flags: u64) -> Vec<u8> {
        let mut path = Vec::new();
        let mut at = 0;
        for segment in segments {
            path.push(b'/');
            for byte in segment.bytes() {
                let must = matches!(byte, b' ' | b'%');
                let pick = flags.rotate_right(at) & 3;
                at += 2;
                match (must, pick) {
                    (false, 0 | 1) => path.push(byte),
                    (_, 2) => path.extend(format!("%{byte:02x}").bytes()),
                    (_, _) => path.extend(format!("%{byte:02X}").bytes()),
                }
            }
        }
        path
    }

    proptest! {
        #[test]
        fn every_spelling_gets_the_same_rule(
            segments in prop::collection::vec(segment(), 1..4),
            one in any::<u64>(),
            other in any::<u64>(),
            slash in prop::sample::select(&["", "/", "?", "/?a=b"][..]),
        ) {
            let policy = policy("normal", RULES);
            let plain = spell(&segments, one);
            let mut respelled = spell(&segments, other);
            respelled.extend(slash.bytes());
            let expected = index(&policy, "POST", &plain);
            prop_assert!(expected.is_ok());
            prop_assert_eq!(index(&policy, "POST", &respelled), expected);
        }

        /// Reads an accepted path as a lenient upstream would, and asks again: the rule stays.
        #[test]
        fn what_an_upstream_may_make_of_a_path_gets_the_same_rule(
            path in "(/(v1|chat|healthz|\\.|\\.\\.|;|;x|%2e|%2F|%5c|%61|%63hat|\\\\|%00|#|%zz|[a-z%;./]{0,4}){0,3}){0,5}"
        ) {
            let policy = policy("normal", RULES);
            if let Ok(rule) = index(&policy, "POST", path.as_bytes()) {
                let read = lenient(&path);
                prop_assert_eq!(index(&policy, "POST", read.as_bytes()), Ok(rule), "{}", read);
            }
        }

        #[test]
        fn any_bytes_get_a_rule_or_a_refusal(path in prop::collection::vec(any::<u8>(), 0..60)) {
            for paths in ["normal", "asGiven"] {
                let policy = policy(paths, RULES);
                let matched = policy.match_rule(b"GET", &path);
                prop_assert!(paths == "normal" || matched.is_ok());
            }
        }
    }

    /// Drops parameters, decodes, takes `\` for `/`, and resolves dot and empty segments; encodes
    /// again what is no longer special, so that the result is a path.
    fn lenient(path: &str) -> String {
        let mut decoded = Vec::new();
        for segment in path.split('/').skip(1) {
            let name = segment.split(';').next().unwrap_or_default();
            let bytes = name.as_bytes();
            let mut text = Vec::new();
            let mut at = 0;
            while at < bytes.len() {
                let escape = name.get(at + 1..at + 3).filter(|_| bytes[at] == b'%');
                match escape.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
                    Some(byte) => {
                        text.push(byte);
                        at += 3;
                    }
                    None => {
                        text.push(bytes[at]);
                        at += 1;
                    }
                }
            }
            let text = String::from_utf8_lossy(&text).replace('\\', "/");
            for part in text.split('/') {
                match part {
                    "" | "." => {}
                    ".." => drop(decoded.pop()),
                    part => decoded.push(part.to_owned()),
                }
            }
        }
        let encode = |part: &String| {
            part.replace('%', "%25")
                .replace(';', "%3B")
                .replace('?', "%3F")
                .replace('#', "%23")
        };
        let parts: Vec<String> = decoded.iter().map(encode).collect();
        format!("/{}", parts.join("/"))
    }
}
