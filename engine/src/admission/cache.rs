//! What a worker remembers: keys, unknown keys, chains of subscriptions, and when each chain has something to say.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::hash::{BuildHasher, Hasher};
use std::rc::Rc;

use super::standing::Standing;
use crate::api_key::KeyHash;
use crate::contract::KeyDocument;
use crate::lease::{Chain, LeaseRules};
use crate::limits::{CACHED_KEYS_MAX, UNKNOWN_KEY_TTL_MS, UNKNOWN_KEYS_MAX};

/// Which chain, in which life of its place in the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ChainRef {
    pub(super) slot: u32,
    life: u32,
}

/// A key the worker knows.
#[derive(Clone, Debug)]
pub(super) struct KnownKey {
    pub(super) document: Rc<KeyDocument>,
    pub(super) id: Rc<str>,
    pub(super) chain: ChainRef,
    pub(super) offline: Offline,
    /// What held for the last request, and may still.
    pub(super) standing: Option<Standing>,
    /// Headers for the upstream, for the document version and term they were made for.
    pub(super) identity: Option<Identity>,
}

/// Headers for the upstream.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    pub(super) version: u64,
    pub(super) term: usize,
    pub(super) headers: Rc<[(&'static str, String)]>,
}

/// What a key spent without Redis, in thousandths, in the outage of that number.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Offline {
    pub(super) outage: u32,
    pub(super) soft: u64,
    pub(super) hard: u64,
}

impl Offline {
    /// Counts anew in another outage.
    pub(super) fn begin(&mut self, outage: u32) {
        if self.outage != outage {
            *self = Self {
                outage,
                ..Self::default()
            };
        }
    }
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

/// Known keys in two halves: what the young half does not see again before it is full is forgotten with the old one.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    young: HashMap<KeyHash, KnownKey, Seeded>,
    old: HashMap<KeyHash, KnownKey, Seeded>,
    unknown: HashMap<KeyHash, u64, Seeded>,
    unknown_order: VecDeque<(u64, KeyHash)>,
}

impl Keys {
    pub(super) fn new(seed: u64) -> Self {
        let seeded = Seeded(seed);
        Self {
            young: HashMap::with_hasher(seeded.clone()),
            old: HashMap::with_hasher(seeded.clone()),
            unknown: HashMap::with_hasher(seeded),
            unknown_order: VecDeque::new(),
        }
    }

    /// The chain of a key that is known; from here on [`Keys::found`] has it.
    pub(super) fn find(&mut self, hash: &KeyHash) -> Option<ChainRef> {
        if let Some(known) = self.young.get(hash) {
            return Some(known.chain);
        }
        let known = self.old.remove(hash)?;
        let chain = known.chain;
        self.insert(*hash, known);
        Some(chain)
    }

    /// A key that [`Keys::find`] has found.
    pub(super) fn found(&mut self, hash: &KeyHash) -> Option<&mut KnownKey> {
        self.young.get_mut(hash)
    }

    pub(super) fn insert(&mut self, hash: KeyHash, known: KnownKey) {
        if self.young.len() >= CACHED_KEYS_MAX / 2 {
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
        self.young.len() + self.old.len()
    }
}

#[derive(Clone, Debug)]
struct Place {
    life: u32,
    chain: Option<Chain>,
    used_ms: u64,
    due_ms: u64,
}

/// The chains a worker takes part in, and when each is due.
#[derive(Clone, Debug, Default)]
pub(super) struct Chains {
    places: Vec<Place>,
    vacant: Vec<u32>,
    by_id: HashMap<Rc<str>, u32>,
    timers: BinaryHeap<Reverse<(u64, u32)>>,
    swept: usize,
}

impl Chains {
    pub(super) fn find(&self, id: &str) -> Option<ChainRef> {
        self.by_id.get(id).map(|slot| self.reference(*slot))
    }

    pub(super) fn insert(&mut self, chain: Chain, now_ms: u64) -> ChainRef {
        let id = Rc::clone(&chain.id);
        let slot = self.vacant.pop().unwrap_or_else(|| {
            self.places.push(Place {
                life: 0,
                chain: None,
                used_ms: 0,
                due_ms: u64::MAX,
            });
            u32::try_from(self.places.len() - 1).unwrap_or(u32::MAX)
        });
        let place = &mut self.places[slot as usize];
        place.life += 1;
        place.chain = Some(chain);
        place.used_ms = now_ms;
        place.due_ms = u64::MAX;
        self.by_id.insert(id, slot);
        self.reference(slot)
    }

    pub(super) fn get(&mut self, reference: ChainRef) -> Option<&mut Chain> {
        self.places
            .get_mut(reference.slot as usize)
            .filter(|place| place.life == reference.life)?
            .chain
            .as_mut()
    }

    pub(super) fn look(&self, reference: ChainRef) -> Option<&Chain> {
        self.places
            .get(reference.slot as usize)
            .filter(|place| place.life == reference.life)?
            .chain
            .as_ref()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Chain> {
        self.places
            .iter_mut()
            .filter_map(|place| place.chain.as_mut())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Chain> {
        self.places.iter().filter_map(|place| place.chain.as_ref())
    }

    fn reference(&self, slot: u32) -> ChainRef {
        ChainRef {
            slot,
            life: self.places[slot as usize].life,
        }
    }

    /// Notes a use of the chain.
    pub(super) fn touch(&mut self, reference: ChainRef, now_ms: u64) {
        if let Some(place) = self.places.get_mut(reference.slot as usize) {
            place.used_ms = now_ms;
        }
    }

    /// Sets the chain's timer anew.
    pub(super) fn schedule(&mut self, reference: ChainRef, rules: &LeaseRules) {
        let Some(place) = self.places.get_mut(reference.slot as usize) else {
            return;
        };
        let due_ms = place
            .chain
            .as_ref()
            .and_then(|chain| chain.due_ms(rules))
            .unwrap_or(u64::MAX);
        if due_ms < place.due_ms {
            place.due_ms = due_ms;
            self.timers.push(Reverse((due_ms, reference.slot)));
        }
    }

    /// Lets the chain's timer pass.
    pub(super) fn unschedule(&mut self, reference: ChainRef) {
        if let Some(place) = self.places.get_mut(reference.slot as usize) {
            place.due_ms = u64::MAX;
        }
    }

    /// Sets every chain's timer anew.
    pub(super) fn schedule_all(&mut self, rules: &LeaseRules) {
        for slot in 0..self.places.len() {
            self.schedule(
                self.reference(u32::try_from(slot).unwrap_or(u32::MAX)),
                rules,
            );
        }
    }

    /// Whether a chain is due; drops timers whose chain no longer is.
    pub(super) fn is_any_due(&mut self, now_ms: u64, rules: &LeaseRules) -> bool {
        while let Some(&Reverse((due_ms, slot))) = self.timers.peek()
            && due_ms <= now_ms
        {
            let place = &mut self.places[slot as usize];
            let is_current = place.due_ms == due_ms;
            let chain_due_ms = place.chain.as_ref().and_then(|chain| chain.due_ms(rules));
            if is_current && chain_due_ms.is_some_and(|due_ms| due_ms <= now_ms) {
                return true;
            }
            self.timers.pop();
            if is_current {
                place.due_ms = u64::MAX;
                self.schedule(self.reference(slot), rules);
            }
        }
        false
    }

    /// Takes the next chain that is due, longest overdue first.
    pub(super) fn next_due(&mut self, now_ms: u64, rules: &LeaseRules) -> Option<ChainRef> {
        if !self.is_any_due(now_ms, rules) {
            return None;
        }
        let Reverse((_, slot)) = self.timers.pop()?;
        self.places[slot as usize].due_ms = u64::MAX;
        Some(self.reference(slot))
    }

    /// Since when the longest waiting usage is unsettled.
    pub(super) fn oldest_unsettled_ms(&self) -> Option<u64> {
        self.iter().filter_map(Chain::unsettled_since_ms).min()
    }

    /// Looks at a few chains in turn: drops windows that are over, and chains that nobody used for `idle_ms`.
    pub(super) fn sweep(&mut self, now_ms: u64, business_ms: i64, idle_ms: u64) {
        const AT_ONCE: usize = 64;
        for _ in 0..AT_ONCE.min(self.places.len()) {
            self.swept = (self.swept + 1) % self.places.len();
            let place = &mut self.places[self.swept];
            let Some(chain) = place.chain.as_mut() else {
                continue;
            };
            chain.drop_windows_ended_before(business_ms);
            if now_ms >= place.used_ms + idle_ms && chain.is_idle() {
                self.by_id.remove(&chain.id);
                place.chain = None;
                place.due_ms = u64::MAX;
                self.vacant
                    .push(u32::try_from(self.swept).unwrap_or(u32::MAX));
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }
}
