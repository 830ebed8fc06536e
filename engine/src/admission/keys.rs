//! What a worker remembers of keys: those it knows, and those that nobody does.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, Hasher};
use std::rc::Rc;

use super::chains::ChainRef;
use super::recent::RecentRef;
use crate::api_key::KeyHash;
use crate::contract::KeyDocument;
use crate::limits::{CACHED_KEYS_MAX, KEY_TEXTS_MAX_BYTES, UNKNOWN_KEY_TTL_MS, UNKNOWN_KEYS_MAX};

/// A key the worker knows.
#[derive(Clone, Debug)]
pub(super) struct KnownKey {
    pub(super) id: Rc<str>,
    pub(super) chain: ChainRef,
    /// Where what its recent requests found out may be.
    pub(super) recent: RecentRef,
    /// What few keys have.
    more: Option<Box<More>>,
}

#[derive(Clone, Debug, Default)]
struct More {
    subject: Option<String>,
    expires_at_ms: Option<i64>,
    revoked_at_ms: Option<i64>,
    bypass: bool,
    offline: Offline,
}

impl KnownKey {
    /// What is kept of a key's document.
    pub(super) fn new(document: KeyDocument, chain: ChainRef) -> Self {
        let KeyDocument {
            id,
            chain: _,
            tag: _,
            subject,
            expires_at_ms,
            revoked_at_ms,
            bypass,
        } = document;
        let is_plain =
            subject.is_none() && expires_at_ms.is_none() && revoked_at_ms.is_none() && !bypass;
        let more = || More {
            subject,
            expires_at_ms,
            revoked_at_ms,
            bypass,
            offline: Offline::default(),
        };
        Self {
            id: id.into(),
            chain,
            recent: RecentRef::NONE,
            more: (!is_plain).then(|| Box::new(more())),
        }
    }

    /// The caller's own name for whoever holds the key.
    pub(super) fn subject(&self) -> Option<&str> {
        self.more.as_ref()?.subject.as_deref()
    }

    /// From when it is refused as expired.
    pub(super) fn expires_at_ms(&self) -> Option<i64> {
        self.more.as_ref()?.expires_at_ms
    }

    /// Whether it is refused as revoked.
    pub(super) fn is_revoked(&self) -> bool {
        let more = self.more.as_ref();
        more.is_some_and(|more| more.revoked_at_ms.is_some())
    }

    /// Whether it is never refused for quota or payment.
    pub(super) fn bypasses(&self) -> bool {
        self.more.as_ref().is_some_and(|more| more.bypass)
    }

    /// What it spent without Redis in the outage of that number.
    pub(super) fn offline(&self, outage: u32) -> Offline {
        let spent = self.more.as_ref().map(|more| more.offline);
        let spent = spent.filter(|spent| spent.outage == outage);
        spent.unwrap_or(Offline {
            outage,
            ..Offline::default()
        })
    }

    /// Notes what it has spent.
    pub(super) fn spent_offline(&mut self, offline: Offline) {
        self.more.get_or_insert_default().offline = offline;
    }

    fn bytes(&self) -> usize {
        self.id.len() + self.subject().map_or(0, str::len)
    }
}

/// What a key spent without Redis, in thousandths, in the outage of that number.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Offline {
    pub(super) outage: u32,
    pub(super) soft: u64,
    pub(super) hard: u64,
}

/// A key's hash is random already: eight bytes of it, mixed with a number the client does not know.
#[derive(Clone, Debug)]
struct Seeded(u64);

struct SeededHasher(u64);

impl BuildHasher for Seeded {
    type Hasher = SeededHasher;

    fn build_hasher(&self) -> SeededHasher {
        SeededHasher(self.0)
    }
}

impl Hasher for SeededHasher {
    fn write(&mut self, bytes: &[u8]) {
        if let Some((first, _)) = bytes.split_first_chunk() {
            let mixed = (u64::from_le_bytes(*first) ^ self.0).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            self.0 = mixed ^ (mixed >> 32);
        }
    }

    fn write_usize(&mut self, _: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Keys that are forgotten together.
#[derive(Clone, Debug)]
struct Half {
    keys: HashMap<KeyHash, KnownKey, Seeded>,
    /// What they take of [`KEY_TEXTS_MAX_BYTES`].
    bytes: usize,
}

impl Half {
    const fn new(seeded: Seeded) -> Self {
        Self {
            keys: HashMap::with_hasher(seeded),
            bytes: 0,
        }
    }

    /// Whether there is no room for another key.
    fn is_full_for(&self, known: &KnownKey) -> bool {
        let bytes = self.bytes + known.bytes();
        self.keys.len() >= CACHED_KEYS_MAX / 2 || bytes > KEY_TEXTS_MAX_BYTES / 2
    }

    fn insert(&mut self, hash: KeyHash, known: KnownKey) {
        self.bytes += known.bytes();
        if let Some(before) = self.keys.insert(hash, known) {
            self.bytes -= before.bytes();
        }
    }

    fn remove(&mut self, hash: &KeyHash) -> Option<KnownKey> {
        let known = self.keys.remove(hash)?;
        self.bytes -= known.bytes();
        Some(known)
    }

    fn clear(&mut self) {
        self.keys.clear();
        self.bytes = 0;
    }
}

/// Known keys in two halves: what the young half does not see again before it is full is forgotten with the old one.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    young: Half,
    old: Half,
    unknown: HashMap<KeyHash, u64, Seeded>,
    unknown_order: VecDeque<(u64, KeyHash)>,
}

impl Keys {
    pub(super) fn new(seed: u64) -> Self {
        let seeded = Seeded(seed);
        Self {
            young: Half::new(seeded.clone()),
            old: Half::new(seeded.clone()),
            unknown: HashMap::with_hasher(seeded),
            unknown_order: VecDeque::new(),
        }
    }

    /// The chain of a key that is known; from here on [`Keys::found`] has it.
    pub(super) fn find(&mut self, hash: &KeyHash) -> Option<ChainRef> {
        if let Some(known) = self.young.keys.get(hash) {
            return Some(known.chain);
        }
        let known = self.old.remove(hash)?;
        let chain = known.chain;
        self.insert(*hash, known);
        Some(chain)
    }

    /// A key that [`Keys::find`] has found.
    pub(super) fn found(&mut self, hash: &KeyHash) -> Option<&mut KnownKey> {
        self.young.keys.get_mut(hash)
    }

    pub(super) fn insert(&mut self, hash: KeyHash, known: KnownKey) {
        if self.young.is_full_for(&known) {
            std::mem::swap(&mut self.young, &mut self.old);
            self.young.clear();
        }
        self.young.insert(hash, known);
    }

    pub(super) fn remove(&mut self, hash: &KeyHash) {
        self.young.remove(hash);
        self.old.remove(hash);
        self.unknown.remove(hash);
    }

    pub(super) fn clear(&mut self) {
        self.young.clear();
        self.old.clear();
        self.unknown.clear();
        self.unknown_order.clear();
    }

    pub(super) fn is_unknown(&self, hash: &KeyHash, now_ms: u64) -> bool {
        self.unknown
            .get(hash)
            .is_some_and(|until_ms| now_ms < *until_ms)
    }

    pub(super) fn remember_unknown(&mut self, hash: KeyHash, now_ms: u64) {
        while let Some(&(until_ms, oldest)) = self.unknown_order.front()
            && (until_ms <= now_ms || self.unknown_order.len() >= UNKNOWN_KEYS_MAX)
        {
            self.unknown_order.pop_front();
            if self.unknown.get(&oldest) == Some(&until_ms) {
                self.unknown.remove(&oldest);
            }
        }
        let until_ms = now_ms + UNKNOWN_KEY_TTL_MS;
        self.unknown.insert(hash, until_ms);
        self.unknown_order.push_back((until_ms, hash));
    }

    pub(super) fn len(&self) -> usize {
        self.young.keys.len() + self.old.keys.len()
    }

    #[cfg(test)]
    pub(super) const fn bytes(&self) -> usize {
        self.young.bytes + self.old.bytes
    }
}
