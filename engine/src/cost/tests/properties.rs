//! Anything that streams by, against a parser that holds it whole.

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::Value;

use super::*;

fn key() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("a".to_owned()),
        Just("b".to_owned()),
        "[a\"\\\\\u{e9}0]{0,3}"
    ]
}

fn document() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<u32>().prop_map(Value::from),
        (0_u32..100_000).prop_map(|number| Value::from(f64::from(number) / 8.0)),
        Just(Value::Null),
        Just(Value::Bool(true)),
        "[a-z\"\\\\{}\\[\\],:0-9\u{e9}\n]{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 48, 5, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..5).prop_map(Value::from),
            vec((key(), inner), 0..5)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// Every pointer into a document.
fn all_pointers(value: &Value, at: &str, out: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                let token = name.replace('~', "~0").replace('/', "~1");
                all_pointers(value, &format!("{at}/{token}"), out);
            }
        }
        Value::Array(elements) => {
            for (number, value) in elements.iter().enumerate() {
                all_pointers(value, &format!("{at}/{number}"), out);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
    if !at.is_empty() {
        out.push(at.to_owned());
    }
}

fn expected(document: &Value, pointer: &str) -> Option<u64> {
    match document.pointer(pointer)? {
        Value::Number(number) => amount::parse(number.to_string().as_bytes()),
        _ => None,
    }
}

proptest! {
    #[test]
    fn every_pointer_finds_what_a_parser_finds(document in document(), size in 1_usize..9, pretty: bool) {
        let mut texts = vec!["/a".to_owned(), "/a/b".to_owned(), "/0".to_owned(), "/b/0/a".to_owned()];
        all_pointers(&document, "", &mut texts);
        let text = if pretty { serde_json::to_string_pretty(&document) } else { serde_json::to_string(&document) }.unwrap();
        let known: Vec<&str> = texts.iter().map(String::as_str).collect();
        let mut json = Json::new(&pointers(&known));
        text.as_bytes().chunks(size).for_each(|piece| json.read(piece));
        for (place, pointer) in texts.iter().enumerate() {
            prop_assert_eq!(json.found(place), expected(&document, pointer), "{} {}", text, pointer);
        }
    }

    #[test]
    fn any_bytes_tell_the_same_however_they_are_cut(
        bytes in vec(prop_oneof![4 => proptest::sample::select(&b"{}[]\",:\\ab01-.eE \n\r"[..]), 1 => any::<u8>()], 0..80),
        at in 0_usize..80,
    ) {
        let at = at.min(bytes.len());
        for stream in [bytes.clone(), [b"data:", &bytes[..]].concat()] {
            let whole = (json(&stream, "/a", stream.len().max(1)), events(&stream, "/a", stream.len().max(1)));
            let mut cut = (Json::new(&pointers(&["/a"])), Events::new(&pointers(&["/a"])));
            for piece in [&stream[..at], &stream[at..]] {
                cut.0.read(piece);
                cut.1.read(piece);
            }
            prop_assert_eq!((cut.0.found(0), cut.1.found(0)), whole);
        }
    }

    #[test]
    fn events_tell_what_the_last_one_that_has_it_tells(documents in vec(document(), 0..6), size in 1_usize..9) {
        let events_of = |document: &Value| format!("event: x\ndata: {document}\n\n");
        let stream: String = documents.iter().map(events_of).collect();
        let last = documents.iter().rev().find_map(|document| expected(document, "/a"));
        prop_assert_eq!(events(stream.as_bytes(), "/a", size), last);
    }

    #[test]
    fn any_text_is_an_amount_or_none(text in "[0-9.eE+-]{0,30}") {
        if let Some(milli) = amount::parse(text.as_bytes()) {
            let number: f64 = text.parse().unwrap();
            prop_assert!((number * 1_000.0 - milli as f64).abs() <= 1.0 + number, "{}", text);
        }
    }
}
