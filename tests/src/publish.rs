//! What the control plane does in a store, by the contract alone: it loads scripts, writes documents and opens the
//! store.

use std::collections::BTreeMap;

use tollgate_engine::api_key::{KeyHash, Tag};
use tollgate_engine::contract::{AccessDocument, KeyDocument, Names, Script};

use crate::store::{Store, request};

/// Most entries of the change log.
pub const CHANGES_KEPT: usize = 1_000;

/// Commands that are gathered, to be sent together.
#[derive(Debug, Default)]
pub struct Pipeline(pub Vec<u8>);

impl Store for Pipeline {
    fn exchange(&mut self, request: &[u8]) -> Vec<u8> {
        self.0.extend_from_slice(request);
        Vec::new()
    }

    fn pass_ms(&mut self, _: u64) {}

    fn restart(&mut self) {}
}

/// Loads every script.
pub fn load_scripts(store: &mut (impl Store + ?Sized)) {
    for script in Script::ALL {
        store.exchange(&request(&["SCRIPT", "LOAD", script.text()]));
    }
}

/// Runs a script and answers Redis's reply.
pub fn run_script(
    store: &mut (impl Store + ?Sized),
    script: Script,
    keys: &[&str],
    arguments: &[&str],
) -> Vec<u8> {
    let (digest, count) = (script.sha1(), keys.len().to_string());
    let words = [&["EVALSHA", &digest, &count], keys, arguments].concat();
    store.exchange(&request(&words))
}

/// Names the store's generation, before anything is written into it.
pub fn begin(store: &mut (impl Store + ?Sized), names: &Names, generation: &str) {
    store.exchange(&request(&[
        "HSET",
        &names.store(),
        "generation",
        generation,
    ]));
}

/// Marks the store ready and answers Redis's reply; grants on hard limits are paused for `pause_ms`.
pub fn open(
    store: &mut (impl Store + ?Sized),
    names: &Names,
    generation: &str,
    pause_ms: u64,
) -> Vec<u8> {
    let (name, guard, pause) = (names.store(), names.guard(), pause_ms.to_string());
    run_script(store, Script::Open, &[&name, &guard], &[generation, &pause])
}

/// Writes a chain's access document and answers Redis's reply.
pub fn publish_access(
    store: &mut (impl Store + ?Sized),
    names: &Names,
    tag: Tag,
    document: &AccessDocument,
) -> Vec<u8> {
    let name = names.access(tag, &document.chain);
    let heading = ["s", &document.chain, &document.version.to_string()];
    publish(store, names, &name, heading, &document.fields())
}

/// Writes a key's document and answers Redis's reply.
pub fn publish_key(
    store: &mut (impl Store + ?Sized),
    names: &Names,
    hash: &KeyHash,
    version: u64,
    document: &KeyDocument,
) -> Vec<u8> {
    let name = names.key(document.tag, hash);
    let heading = ["k", &hash.to_string(), &version.to_string()];
    publish(store, names, &name, heading, &document.fields())
}

/// `heading` is kind, id and version.
fn publish(
    store: &mut (impl Store + ?Sized),
    names: &Names,
    name: &str,
    heading: [&str; 3],
    fields: &BTreeMap<String, String>,
) -> Vec<u8> {
    let (kept, store_name, changes) = (CHANGES_KEPT.to_string(), names.store(), names.changes());
    let mut arguments = heading.to_vec();
    arguments.push(&kept);
    for (field, value) in fields {
        arguments.extend([field.as_str(), value.as_str()]);
    }
    let keys = [store_name.as_str(), &changes, name];
    run_script(store, Script::Publish, &keys, &arguments)
}
