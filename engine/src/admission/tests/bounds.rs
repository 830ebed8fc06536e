//! What a worker remembers takes no more memory than it may.

use serde_json::json;

use super::redis::{Bench, access};
use crate::admission::Verdict;
use crate::api_key::{self, Environment};
use crate::contract::Entitlement;
use crate::limits::{
    CHAINS_MAX_BYTES, ENTITLEMENTS_MAX_BYTES, KEY_TEXTS_MAX_BYTES, RECENT_HEADERS_MAX_BYTES,
};

const RULES: &str = r#"[{"match": {"pathPrefix": "/"}, "meters": {"calls": 1}}]"#;

/// A worker whose keys' plan has a static entitlement of so many bytes.
fn bench(bytes: usize) -> Bench {
    let mut bench = Bench::on(RULES);
    (bench.access, bench.pot) = (access(None), None);
    let config = json!("x".repeat(bytes));
    let entitlements = &mut bench.access.terms[0].entitlements;
    entitlements.insert("config".to_owned(), Entitlement::Static { config });
    bench
}

/// Has the next requests carry another key, of a chain of that number.
fn carry(bench: &mut Bench, key: usize, chain: usize) {
    let tag = "Ab3z".parse().unwrap();
    bench.text = api_key::compose(Environment::Test, tag, &format!("{key:0>26}")).unwrap();
    if let Some(document) = bench.key.as_mut() {
        document.chain = format!("sub_{chain}");
    }
    bench.access.chain = format!("sub_{chain}");
}

/// Whether a request goes through, and how many calls it took.
fn calls(bench: &mut Bench) -> usize {
    let before = bench.calls;
    let verdict = bench.request("/");
    assert!(matches!(verdict, Verdict::Admit(_)), "{verdict:?}");
    let worker = &bench.worker;
    assert!(worker.chains.bytes() <= CHAINS_MAX_BYTES);
    assert!(worker.keys.bytes() <= KEY_TEXTS_MAX_BYTES);
    assert!(worker.recents.bytes() <= RECENT_HEADERS_MAX_BYTES);
    bench.calls - before
}

#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
#[cfg_attr(not(target_arch = "wasm32"), test)]
fn of_large_documents_as_many_are_cached_as_there_is_room_for() {
    const BYTES: usize = 1_024 * 1_024;
    const FIT: usize = CHAINS_MAX_BYTES / BYTES - 1;
    let mut bench = bench(BYTES);
    for number in 0..FIT + 10 {
        carry(&mut bench, number, number);
        assert_eq!(calls(&mut bench), 1, "{number}");
        // One that is used all the time stays.
        carry(&mut bench, 0, 0);
        assert_eq!(calls(&mut bench), 0, "{number}");
    }
    // And one that was not for long goes.
    carry(&mut bench, 1, 1);
    assert_eq!(calls(&mut bench), 1);
    carry(&mut bench, FIT + 9, FIT + 9);
    assert_eq!(calls(&mut bench), 0);
}

#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
#[cfg_attr(not(target_arch = "wasm32"), test)]
fn documents_and_headers_of_many_keys_of_one_chain_are_bounded() {
    const SUBJECT_BYTES: usize = 64 * 1_024;
    const FIT: usize = KEY_TEXTS_MAX_BYTES / SUBJECT_BYTES;
    let mut bench = bench(ENTITLEMENTS_MAX_BYTES - 100);
    if let Some(document) = bench.key.as_mut() {
        document.subject = Some("x".repeat(SUBJECT_BYTES));
    }
    let mut most = 0;
    for number in 0..FIT + 100 {
        carry(&mut bench, number, 1);
        assert_eq!(calls(&mut bench), 1);
        most = most.max(bench.worker.keys.bytes());
    }
    let bounds = KEY_TEXTS_MAX_BYTES * 3 / 4..=KEY_TEXTS_MAX_BYTES;
    assert!(bounds.contains(&most), "{most}");
    carry(&mut bench, FIT + 99, 1);
    assert_eq!(calls(&mut bench), 0);
    carry(&mut bench, 0, 1);
    assert_eq!(calls(&mut bench), 1);
}
