//! Imported keys: their documents stand where their hashes place them, and name the chain, which a second call reads.

use super::{Now, Part, Worker};
use crate::api_key::{KeyHash, Tag};
use crate::contract::KeyDocument;
use crate::contract::answer::KeyAnswer;

impl Worker {
    /// Whether a key may have been imported; one of our own that looks so is found all the same.
    pub(super) fn may_be_imported(&self, hash: &KeyHash, tag: Tag) -> bool {
        self.policy.auth.foreign_keys && hash.imported_tag() == tag
    }

    /// Adds what reads a key's document alone.
    pub(super) fn add_key(
        &mut self,
        bytes: &mut Vec<u8>,
        parts: &mut Vec<Part>,
        (hash, tag): (&KeyHash, Tag),
    ) {
        self.writer.key(bytes, tag, hash);
        parts.push(Part::Key(*hash));
        self.stats.lookups += 1;
    }

    /// Takes in a key's document: its chain is looked up next, unless the worker knows it.
    pub(super) fn take_key(&mut self, hash: KeyHash, answer: KeyAnswer<'_>, now: Now) {
        let document = match answer {
            KeyAnswer::Unknown => {
                self.lookups.answered(&hash);
                self.keys.remember_unknown(hash, now.monotonic_ms);
                return;
            }
            KeyAnswer::Known(document) => serde_json::from_slice::<KeyDocument>(document),
        };
        let Ok(document) = document else {
            self.lookups.answered(&hash);
            self.stats.bad_documents += 1;
            return;
        };
        match self.chains.find(&document.chain) {
            Some(chain) => {
                self.lookups.answered(&hash);
                self.remember_key(hash, document, chain);
            }
            None => self.lookups.go_on(&hash, document),
        }
    }
}
