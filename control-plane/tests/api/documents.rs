//! How documents are read: every unknown field, every wrong shape, with its place.

use serde::Deserialize;
use tollgate::error::Error;
use tollgate::http::document::{self, Document, Place, Scalar};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Outer {
    #[serde(default)]
    items: Vec<Inner>,
    amount: Option<Scalar>,
}

#[derive(Debug, Deserialize)]
struct Inner {
    #[expect(dead_code, reason = "only its shape is looked at")]
    key: Option<String>,
}

impl Document for Outer {
    const TOLERATED: &'static [&'static str] = &["createdAt"];
}

fn read(text: &str) -> Result<Outer, Error> {
    document::read::<Outer>(text.as_bytes())?.check(|outer, _| Some(outer))
}

#[track_caller]
fn mistakes(text: &str) -> Vec<(String, String)> {
    let error = read(text).unwrap_err();
    let pair = |violation: &tollgate::error::Violation| {
        (violation.code.to_string(), violation.path.clone())
    };
    error.violations().iter().map(pair).collect()
}

#[test]
fn unknown_fields_are_told_together_wherever_they_are() {
    let text = r#"{"a": 1, "items": [{"key": "x"}, {"key": "y", "b": {"c": 1}}], "createdAt": 1}"#;
    let expected = [("unknown_field", "$.a"), ("unknown_field", "$.items[1].b")];
    assert_eq!(
        mistakes(text),
        expected.map(|(code, path)| (code.into(), path.into()))
    );
}

#[test]
fn a_wrong_shape_is_told_with_its_place() {
    for (text, code, path) in [
        (
            r#"{"items": [{"key": 1}]}"#,
            "invalid_type",
            "$.items[0].key",
        ),
        (r#"{"items": {}}"#, "invalid_type", "$.items"),
        (r#"{"amount": true}"#, "invalid_type", "$.amount"),
        ("[]", "invalid_type", "$"),
        (r#"{"items": ["#, "invalid_json", "$.items"),
        ("{} {}", "invalid_json", "$"),
        ("nonsense", "invalid_json", "$"),
    ] {
        assert_eq!(
            mistakes(text),
            [(code.to_owned(), path.to_owned())],
            "{text}"
        );
    }
}

#[test]
fn a_number_may_be_written_as_one_or_as_text() {
    for (text, expected) in [
        (r#"{"amount": 1000}"#, "1000"),
        (r#"{"amount": "1000.50"}"#, "1000.50"),
        (r#"{"amount": 0.1}"#, "0.1"),
        (
            r#"{"amount": 12345678901234567890}"#,
            "12345678901234567890",
        ),
    ] {
        assert_eq!(
            read(text).unwrap().amount,
            Some(Scalar(expected.to_owned()))
        );
    }
}

#[test]
fn no_body_is_an_empty_document() {
    assert!(read("").unwrap().items.is_empty());
}

#[test]
fn mistakes_are_bounded() {
    let fields: Vec<String> = (0..1_000).map(|n| format!("\"f{n}\": 1")).collect();
    assert_eq!(mistakes(&format!("{{{}}}", fields.join(","))).len(), 100);
}

#[test]
fn places_are_json_paths() {
    let place = Place::root().field("phases").index(2).field("key");
    assert_eq!(place.to_string(), "$.phases[2].key");
}
