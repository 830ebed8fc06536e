//! The filter's configuration, and the paths of requests.

use tollgate_engine::limits::{MISTAKES_MAX, PATH_MAX_BYTES};
use tollgate_engine::policy::Policy;

use crate::harness::{Random, Target};

const WHOLE: &str = include_str!("../golden/policy.json");
const OTHER: &str = include_str!("../golden/policy-other.json");

#[test]
fn a_configuration_is_whole_or_refused_with_its_mistakes() {
    Target {
        name: "configuration",
        examples: vec![WHOLE.into(), OTHER.into()],
        words: &[
            "{",
            "}",
            "[",
            "]",
            ",",
            ":",
            "\"",
            "null",
            "true",
            "\"rules\":",
            "\"meters\":{",
            "\"sum\":[",
            "-",
            "\"jsonPointer\":\"/",
            "~1",
            "200-299",
            "*",
            "pathPrefix",
            "\\u0000",
            "\u{e9}",
        ],
    }
    .run(
        |length| 128 * length + 64 * 1_024,
        |bytes| {
            let Ok(text) = str::from_utf8(bytes) else {
                return None;
            };
            match Policy::parse(text) {
                Ok(policy) => {
                    // The last rule takes everything else.
                    assert!(policy.match_rule(b"PROPFIND", b"/nowhere/at/all").is_ok());
                    assert_eq!(Policy::parse(text).as_ref(), Ok(&policy));
                    Some(vec![policy.rules().count().to_string()])
                }
                Err(mistakes) => {
                    assert!((1..=MISTAKES_MAX).contains(&mistakes.0.len()));
                    assert!(
                        mistakes
                            .0
                            .iter()
                            .all(|mistake| !mistake.to_string().contains('\n'))
                    );
                    let shapes = mistakes.0.iter().map(|mistake| mistake.path.clone());
                    Some(shapes.collect())
                }
            }
        },
    );
}

#[test]
fn two_spellings_of_a_path_have_one_rule() {
    let policy = Policy::parse(
        r#"{"environment": "test", "redis": {"cluster": "redis", "prefix": "tg:"}, "rules": [
            {"match": {"path": "/healthz"}, "public": true},
            {"match": {"pathPrefix": "/v1/chat"}, "meters": {"tokens": 1}},
            {"match": {"pathPrefix": "/v1/chat+completions"}, "meters": {"tokens": 2}},
            {"match": {"pathPrefix": "/"}, "meters": {"calls": 1}}]}"#,
    )
    .unwrap();
    let mut random = Random::new(1);
    let examples = [
        "/healthz",
        "/v1/chat/completions?stream=1",
        "/v1/%63hat;v=1",
        "/V1//chat/../x",
        "/v1/chat%2Fx",
    ];
    Target {
        name: "path",
        examples: examples.map(Vec::from).to_vec(),
        words: &[
            "/", "//", ".", "..", "%2e", "%2F", "%5c", ";", "?", "#", "\\", "%", "%00", "healthz",
            "v1/chat",
        ],
    }
    .run(
        |length| 8 * length + 1_024,
        |path| {
            let found = policy.match_rule(b"GET", path).map(|rule| rule.index());
            if let Ok(rule) = found {
                let spelled = respelled(path, &mut random);
                let again = policy.match_rule(b"GET", &spelled).map(|rule| rule.index());
                if spelled.len() <= PATH_MAX_BYTES {
                    assert_eq!(again, Ok(rule), "{}", spelled.escape_ascii());
                }
            }
            found.map_err(|refused| refused as u8)
        },
    );
}

/// The same path with some of its letters encoded.
fn respelled(path: &[u8], random: &mut Random) -> Vec<u8> {
    let end = path
        .iter()
        .position(|byte| *byte == b'?')
        .unwrap_or(path.len());
    let mut spelled = Vec::new();
    let mut at = 0;
    while at < path.len() {
        let taken = if path[at] == b'%' {
            3.min(path.len() - at)
        } else {
            1
        };
        if at < end && path[at].is_ascii_lowercase() && random.chance(30) {
            spelled.extend(format!("%{:02x}", path[at]).bytes());
        } else {
            spelled.extend(&path[at..at + taken]);
        }
        at += taken;
    }
    spelled
}
