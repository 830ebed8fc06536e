//! Keys that were let through before, recognized without parsing and hashing them again.
//!
//! A key's text is known by its SipHash-1-3 of 128 bits under a secret of this worker, so that nobody can find
//! another text that is taken for it, and no text is kept.

use siphasher::sip128::SipHasher13;

use crate::api_key::{KeyHash, Tag};
use crate::limits::RECOGNIZED_KEYS_MAX;

/// A text under the worker's secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark(u128);

#[derive(Clone, Copy, Debug)]
struct Seen {
    mark: Mark,
    hash: KeyHash,
    tag: Tag,
}

/// The keys let through last.
#[derive(Debug)]
pub(super) struct Recognized {
    secret: [u8; 16],
    /// By the last bits of their marks; empty until the first key comes.
    places: Vec<Option<Seen>>,
}

impl Recognized {
    /// None yet; nobody else knows `secret`.
    pub(super) const fn new(secret: u128) -> Self {
        Self {
            secret: secret.to_le_bytes(),
            places: Vec::new(),
        }
    }

    /// The mark of a text, and hash and tag of the key it is, if it was let through lately.
    pub(super) fn find(&self, text: &[u8]) -> (Mark, Option<(KeyHash, Tag)>) {
        let hasher = SipHasher13::new_with_key(&self.secret);
        let mark = Mark(hasher.hash(text).as_u128());
        let seen = self.places.get(place(mark)).copied().flatten();
        let same = seen.filter(|seen| seen.mark == mark);
        (mark, same.map(|seen| (seen.hash, seen.tag)))
    }

    /// Remembers a key that was let through, in place of another if need be.
    pub(super) fn remember(&mut self, mark: Mark, hash: KeyHash, tag: Tag) {
        if self.places.is_empty() {
            self.places.resize(RECOGNIZED_KEYS_MAX, None);
        }
        if let Some(seen) = self.places.get_mut(place(mark)) {
            *seen = Some(Seen { mark, hash, tag });
        }
    }
}

const fn place(Mark(mark): Mark) -> usize {
    mark as usize % RECOGNIZED_KEYS_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg_attr(not(target_arch = "wasm32"), test)]
    #[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
    fn a_text_is_recognized_after_it_was_remembered_and_no_other_is() {
        let texts: Vec<String> = (0..2_000).map(|number| format!("text {number}")).collect();
        let key = |text: &str| (KeyHash::of(text), "Ab3z".parse().unwrap());
        let mut recognized = Recognized::new(1);
        for text in &texts {
            let (mark, seen) = recognized.find(text.as_bytes());
            assert_eq!(seen, None, "{text}");
            let (hash, tag) = key(text);
            recognized.remember(mark, hash, tag);
            assert_eq!(recognized.find(text.as_bytes()).1, Some((hash, tag)));
        }
        for text in &texts {
            // Another may have taken its place, but it is never taken for another.
            let seen = recognized.find(text.as_bytes()).1;
            assert!(seen.is_none_or(|seen| seen == key(text)), "{text}");
        }
        let (mark, _) = recognized.find(b"text 1");
        assert_ne!(Recognized::new(2).find(b"text 1").0, mark);
    }
}
