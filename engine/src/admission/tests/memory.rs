//! What a worker takes of memory for as many keys as it may cache, each of another customer: where it runs, since
//! elsewhere pointers are longer and other things are in memory.

use std::collections::BTreeMap;

use crate::admission::{CallResult, Ending, Head, Now, Verdict, Worker};
use crate::api_key::{self, Environment, KeyHash};
use crate::contract::{AccessDocument, Entitlement, KeyDocument};
use crate::limits::{CACHED_KEYS_MAX, CACHED_KEYS_MAX_BYTES, LOOKUPS_PER_CALL_MAX};
use crate::policy::Policy;
use crate::resp::Replies;

use super::redis::{NOW_MS, access, array};

const CONFIGURATION: &str = r#"{"environment": "test", "redis": {"cluster": "redis", "prefix": "tg:test:", "maxCallsPerSecond": 0},
    "rules": [{"match": {"pathPrefix": "/"}, "meters": {"calls": 1}}]}"#;

/// How long a call takes: as fast as a Redis that does nothing else.
const CALL_MS: u64 = 20;

/// The documents of a customer, with ids as long as real ones.
fn documents(number: usize) -> (KeyDocument, AccessDocument) {
    let mut access = access(Some(1_000_000_000));
    access.chain = format!("sub_{number:0>26}");
    access.customer = format!("cus_{number:0>26}");
    access.terms[0].subscription = access.chain.clone();
    if let Some(Entitlement::Metered { windows }) = access.terms[0].entitlements.get_mut("calls") {
        windows[0].included = None;
    }
    let key = KeyDocument {
        id: format!("key_{number:0>26}"),
        chain: access.chain.clone(),
        tag: "Ab3z".parse().unwrap(),
        subject: None,
        expires_at_ms: None,
        revoked_at_ms: None,
        bypass: false,
    };
    (key, access)
}

/// What a Redis that knows every key answers, given the customers by the hashes of the keys that are looked up.
fn answer(call: &[u8], numbers: &BTreeMap<String, usize>) -> Vec<u8> {
    let mut out = Vec::new();
    for command in Replies::new(call) {
        let command = command.unwrap();
        let words: Vec<&str> = command
            .as_array()
            .unwrap()
            .iter()
            .map(|word| str::from_utf8(word.as_bulk().unwrap()).unwrap())
            .collect();
        let is_batch = words.contains(&"tg:test:pending");
        let name = words.get(6).and_then(|name| name.rsplit(':').next());
        let looked_up = name.and_then(|hash| numbers.get(hash));
        let fields: Vec<String> = match looked_up {
            _ if !is_batch => ["ready", "node", &NOW_MS.to_string(), "1", "", "0"]
                .map(str::to_owned)
                .to_vec(),
            None => ["ok", words[10], "1", "", "", "0", ""]
                .map(str::to_owned)
                .to_vec(),
            Some(number) => {
                let (key, access) = documents(*number);
                let Some(Entitlement::Metered { windows }) =
                    access.terms[0].entitlements.get("calls")
                else {
                    panic!("the plan has a meter");
                };
                let window = AccessDocument::window_id(1, "calls", &windows[0]).to_string();
                let texts = [
                    serde_json::to_string(&access).unwrap(),
                    serde_json::to_string(&key).unwrap(),
                ];
                let [access, key] = &texts;
                [
                    "ok",
                    "1",
                    "1",
                    access,
                    key,
                    "0",
                    "",
                    &window,
                    "1000",
                    "999999000",
                    "0",
                    "0",
                    "0",
                ]
                .map(str::to_owned)
                .to_vec()
            }
        };
        array(&mut out, &fields);
    }
    out
}

/// Has every customer's key used once, as many together as one call looks up.
fn fill(worker: &mut Worker, customers: usize) {
    let tag = "Ab3z".parse().unwrap();
    let mut now_ms = 1_000;
    for from in (0..customers).step_by(LOOKUPS_PER_CALL_MAX) {
        let now = |now_ms| Now {
            monotonic_ms: now_ms,
            unix_ms: NOW_MS + now_ms as i64,
        };
        let mut numbers = BTreeMap::new();
        for number in from..customers.min(from + LOOKUPS_PER_CALL_MAX) {
            let secret = format!("{number:0>26}");
            let text = api_key::compose(Environment::Test, tag, &secret).unwrap();
            numbers.insert(KeyHash::of(&text).to_string(), number);
            let head = Head {
                method: b"GET",
                path: b"/",
                headers: &[("x-api-key", text.as_bytes())],
            };
            let verdict = worker.admit(number as u32, &head, now(now_ms));
            assert!(matches!(verdict, Verdict::Wait), "{verdict:?}");
        }
        let call = worker.next_call(now(now_ms)).unwrap();
        let reply = answer(&call, &numbers);
        now_ms += CALL_MS;
        let decided = worker.answer(CallResult::Answer(&reply), now(now_ms));
        assert_eq!(decided.len(), numbers.len());
        for (_, verdict) in decided {
            let Verdict::Admit(ticket) = verdict else {
                panic!("not admitted: {verdict:?}");
            };
            worker.finish(&ticket, Ending::Status(200), now(now_ms));
        }
        worker.tick(now(now_ms));
    }
}

#[wasm_bindgen_test::wasm_bindgen_test]
fn every_key_that_may_be_cached_fits_into_the_memory_for_them() {
    let policy = Policy::parse(CONFIGURATION).unwrap();
    let mut worker = Worker::new(policy.into(), "worker".to_owned(), 7, None);
    let before = memory_bytes();
    fill(&mut worker, CACHED_KEYS_MAX);
    let bytes = memory_bytes() - before;
    assert_eq!(worker.cached(), (CACHED_KEYS_MAX, CACHED_KEYS_MAX));
    assert!(bytes <= CACHED_KEYS_MAX_BYTES, "{bytes}");
}

/// What the VM has: it never gives any back, so that nothing is missed that was there for a moment.
fn memory_bytes() -> usize {
    const PAGE_BYTES: usize = 64 * 1_024;
    core::arch::wasm32::memory_size(0) * PAGE_BYTES
}
