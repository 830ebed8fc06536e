//! Documents of the control plane.

use tollgate_engine::contract::{AccessDocument, Entitlement, KeyDocument};
use tollgate_engine::fields;

use crate::harness::Target;

pub const ACCESS: &str = include_str!("../golden/contract/access-v1.json");
pub const KEY: &str = include_str!("../golden/contract/key-v1.json");
pub const WORDS: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "null",
    "\"limit\":",
    "\"carried\":[\"",
    "\"type\":\"metered\"",
    "\"windows\":[",
    "\"block\":{",
    "payment_overdue",
    "\\u0000",
    "\u{e9}",
    "\"toMs\":",
    "1e5",
    "-1",
    ";",
    "\\ud800",
];

/// Memory for a document of so many bytes: the smallest values are the dearest.
pub const fn most_bytes(length: usize) -> usize {
    192 * length + 16 * 1_024
}

#[test]
fn access_documents_come_back() {
    Target {
        name: "access document",
        examples: vec![ACCESS.into()],
        words: WORDS,
    }
    .run(most_bytes, |bytes| {
        let document = serde_json::from_slice::<AccessDocument>(bytes).ok()?;
        let written = &document.fields()["doc"];
        assert_eq!(
            serde_json::from_str::<AccessDocument>(written)
                .ok()
                .as_ref(),
            Some(&document)
        );
        for term in &document.terms {
            if let Some((_, line)) = fields::entitlements(&term.entitlements) {
                assert!(
                    line.bytes().all(|byte| (b' '..=b'~').contains(&byte)),
                    "{line}"
                );
            }
            for (meter, entitlement) in &term.entitlements {
                if let Entitlement::Metered { windows } = entitlement {
                    let first = windows.first().map(|window| window.start_ms);
                    assert!(first.is_none_or(|start_ms| {
                        document.window(term.epoch, meter, start_ms).is_some()
                    }));
                }
            }
        }
        Some((document.terms.len(), document.block.is_some()))
    });
}

#[test]
fn key_documents_come_back() {
    Target {
        name: "key document",
        examples: vec![KEY.into()],
        words: WORDS,
    }
    .run(most_bytes, |bytes| {
        let document = serde_json::from_slice::<KeyDocument>(bytes).ok()?;
        let written = &document.fields()["doc"];
        assert_eq!(
            serde_json::from_str::<KeyDocument>(written).ok().as_ref(),
            Some(&document)
        );
        Some((document.subject.is_some(), document.bypass))
    });
}
