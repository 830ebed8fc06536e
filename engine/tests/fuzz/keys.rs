//! Keys and credentials.

use tollgate_engine::api_key::{self, ApiKey, Environment, KEY_LENGTH};
use tollgate_engine::policy::Policy;

use crate::harness::Target;

const CONFIGURATION: &str = r#"{"environment": "test", "redis": {"cluster": "redis", "prefix": "tg:"},
    "auth": {"sources": [{"header": "authorization", "scheme": "Bearer"}, {"query": "api_key"}]},
    "rules": [{"match": {"pathPrefix": "/"}, "meters": {"calls": 1}}]}"#;

fn key(environment: Environment) -> String {
    let tag = "Ab3z".parse().unwrap();
    api_key::compose(environment, tag, "abcdefghijklmnopqrstuvwxyz").unwrap()
}

#[test]
fn a_key_is_a_key_to_the_last_byte() {
    let known = [key(Environment::Test), key(Environment::Live)];
    Target {
        name: "key",
        examples: known.iter().map(|key| key.clone().into_bytes()).collect(),
        words: &["tg_test_", "tg_live_", "0", "\u{e9}", "\0"],
    }
    .run(
        |length| length + KEY_LENGTH,
        |bytes| {
            let Ok(text) = str::from_utf8(bytes) else {
                return None;
            };
            let parsed = ApiKey::parse(text, Environment::Test);
            if let Ok(key) = &parsed {
                assert_eq!(text.len(), KEY_LENGTH);
                let (tag, secret) = text["tg_test_".len()..KEY_LENGTH - 6].split_at(4);
                assert_eq!(key.tag().as_str(), tag);
                let again = api_key::compose(Environment::Test, key.tag(), secret).unwrap();
                assert_eq!(again, text);
                assert!(ApiKey::parse(text, Environment::Live).is_err());
            }
            Some(parsed.err().map(|refused| refused as u8))
        },
    );
}

#[test]
fn credentials_in_headers_and_queries() {
    let policy = Policy::parse(CONFIGURATION).unwrap();
    let key = key(Environment::Test);
    let examples = [
        format!("Bearer {key}\n/v1/x?a=1"),
        format!("Basic abc\n/v1/x?api_key={key}&b=2"),
        format!("bearer   {key}\n/?api%5fkey={key}"),
    ];
    Target {
        name: "credentials",
        examples: examples.map(String::into_bytes).to_vec(),
        words: &[
            "api_key=",
            "api%5Fkey=",
            "&",
            "?",
            "=",
            "%",
            "Bearer ",
            "#",
            "+",
        ],
    }
    .run(
        |length| 48 * length + 256,
        |bytes| {
            let (value, path) =
                bytes.split_at(bytes.iter().position(|byte| *byte == b'\n').unwrap_or(0));
            let headers = [("authorization", value)];
            let found = policy.credential(&headers, path);
            let known = found
                .ok()
                .and_then(|credential| policy.identify(credential).ok());
            let hides = policy.hides(b"authorization", value);
            if let Some(hidden) = policy.path_without_credentials(path) {
                assert!(hidden.len() <= path.len());
                // What was taken out is out, and no second look finds more.
                assert_eq!(policy.path_without_credentials(&hidden), None);
                let none: [(&str, &[u8]); 0] = [];
                assert!(policy.credential(&none, &hidden).is_err());
            }
            (known.is_some(), found.is_ok(), hides)
        },
    );
}
