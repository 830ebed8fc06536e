//! Tables for keys, tags and hashes.

use super::*;

const LIVE: &str = "tg_live_Ab3z0123456789ABCDEFGHIJKLMNOP3rBkqg";
const TEST: &str = "tg_test_0000zzzzzzzzzzzzzzzzzzzzzzzzzz0eLDWW";

fn tag(text: &str) -> Tag {
    text.parse().unwrap()
}

#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
#[cfg_attr(not(target_arch = "wasm32"), test)]
fn keys_of_other_implementations_are_read() {
    // Composed and hashed with Python's zlib and hashlib.
    let table = [
        (
            LIVE,
            Environment::Live,
            "Ab3z",
            "cf8cedbdd9fec1e2c7aefabaaa8eca7344a60de4f44f34532b6a6e6552cc23aa",
        ),
        (
            TEST,
            Environment::Test,
            "0000",
            "0200b066c12685c078bc865f9fac804455f81e33ddc521195e5e59fb85c5c9a5",
        ),
    ];
    for (text, environment, tag, hash) in table {
        let key = ApiKey::parse(text, environment).unwrap();
        assert_eq!(key.tag().as_str(), tag);
        assert_eq!(key.hash().to_string(), hash);
        let secret = &text[12..38];
        assert_eq!(compose(environment, key.tag(), secret).unwrap(), text);
    }
}

#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
#[cfg_attr(not(target_arch = "wasm32"), test)]
fn garbage_is_refused() {
    let longer = format!("{LIVE}0");
    let multibyte = format!("tg_live_{}", "é".repeat(18));
    let changed_tag = LIVE.replacen('A', "B", 1);
    let table = [
        (LIVE, Environment::Test, Refused::WrongEnvironment),
        (TEST, Environment::Live, Refused::WrongEnvironment),
        ("", Environment::Live, Refused::Malformed),
        ("tg_live_", Environment::Live, Refused::Malformed),
        ("tg_test_", Environment::Live, Refused::Malformed),
        (&LIVE[..43], Environment::Live, Refused::Malformed),
        (&longer, Environment::Live, Refused::Malformed),
        (&multibyte, Environment::Live, Refused::Malformed),
        (
            "TG_LIVE_Ab3z0123456789ABCDEFGHIJKLMNOP3rBkqg",
            Environment::Live,
            Refused::Malformed,
        ),
        (
            "tg_live_Ab3z0123456789ABCDEFGHIJKLMNO-3rBkqg",
            Environment::Live,
            Refused::Malformed,
        ),
        (
            "tg_live_Ab3z0123456789ABCDEFGHIJKLMNOP3rBkqh",
            Environment::Live,
            Refused::WrongChecksum,
        ),
        (&changed_tag, Environment::Live, Refused::WrongChecksum),
        // Six digits can also name numbers above 2^32; they are nobody's checksum.
        (
            "tg_live_Ab3z0123456789ABCDEFGHIJKLMNOPzzzzzz",
            Environment::Live,
            Refused::WrongChecksum,
        ),
    ];
    for (text, environment, expected) in table {
        assert_eq!(ApiKey::parse(text, environment), Err(expected), "{text}");
    }
}

#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
#[cfg_attr(not(target_arch = "wasm32"), test)]
fn compose_takes_only_base62_of_the_right_length() {
    let refused = Err(NotBase62 { length: 26 });
    let table = [
        "",
        "short",
        "0123456789ABCDEFGHIJKLMNO_",
        "0123456789ABCDEFGHIJKLMNOPQ",
    ];
    for secret in table {
        assert_eq!(compose(Environment::Live, tag("Ab3z"), secret), refused);
    }
    for text in ["", "Ab3", "Ab3z0", "Ab3_", "é00"] {
        assert_eq!(text.parse::<Tag>(), Err(NotBase62 { length: 4 }), "{text}");
    }
}

#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
#[cfg_attr(not(target_arch = "wasm32"), test)]
fn debug_output_keeps_the_secret() {
    let key = ApiKey::parse(LIVE, Environment::Live).unwrap();
    assert_eq!(format!("{key:?}"), "ApiKey(tg_live_Ab3z…)");
    assert_eq!(format!("{:?}", key.hash()), "KeyHash(cf8cedbd…)");
}

#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
#[cfg_attr(not(target_arch = "wasm32"), test)]
fn hashes_and_tags_have_one_spelling() {
    let hash = KeyHash::of(LIVE);
    assert_eq!(hash.to_string().parse(), Ok(hash));
    assert_eq!(hash.imported_tag(), tag("cf8c"));
    let upper = hash.to_string().to_uppercase();
    for text in ["", "cf", &upper, &hash.to_string()[1..], &"é".repeat(32)] {
        assert_eq!(text.parse::<KeyHash>(), Err(NotHash), "{text}");
    }
    let json = serde_json::to_string(&(hash, hash.imported_tag())).unwrap();
    assert_eq!(json, format!("[\"{hash}\",\"cf8c\"]"));
    assert_eq!(
        serde_json::from_str::<(KeyHash, Tag)>(&json).unwrap(),
        (hash, tag("cf8c"))
    );
    assert!(serde_json::from_str::<Tag>("\"é00\"").is_err());
}

#[cfg(not(target_arch = "wasm32"))]
mod properties {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn composed_keys_parse(tag in "[0-9A-Za-z]{4}", secret in "[0-9A-Za-z]{26}") {
            let tag: Tag = tag.parse().unwrap();
            let text = compose(Environment::Test, tag, &secret).unwrap();
            prop_assert_eq!(text.len(), KEY_LENGTH);
            let key = ApiKey::parse(&text, Environment::Test).unwrap();
            prop_assert_eq!(key.tag(), tag);
            prop_assert_eq!(key.hash(), KeyHash::of(&text));
            prop_assert_eq!(
                ApiKey::parse(&text, Environment::Live),
                Err(Refused::WrongEnvironment)
            );
        }

        #[test]
        fn one_changed_character_is_refused(at in 8..KEY_LENGTH, to in "[0-9A-Za-z]") {
            let changed = format!("{}{to}{}", &LIVE[..at], &LIVE[at + 1..]);
            let parsed = ApiKey::parse(&changed, Environment::Live);
            prop_assert_eq!(parsed.is_ok(), changed == LIVE);
        }

        #[test]
        fn any_text_is_parsed_or_refused(text in "(tg_live_)?.{0,50}") {
            let _ = ApiKey::parse(&text, Environment::Live);
        }
    }
}
