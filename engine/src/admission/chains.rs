//! The chains of subscriptions that a worker remembers, and when each has something to say.
//!
//! Those used lately are as they are, as many as there is room for; all others are packed, whatever they hold, and
//! unpacked by their next use.

mod rest;
mod timers;

use std::collections::hash_map::DefaultHasher;
use std::collections::{BinaryHeap, VecDeque};
use std::hash::{BuildHasher, BuildHasherDefault};
use std::mem;

use hashbrown::HashTable;

use crate::lease::{Chain, Totals};
use crate::limits::{CHAINS_MAX, CHAINS_MAX_BYTES};
use crate::packed;

use timers::Timer;

/// At how many chains is looked for one that may be forgotten.
const SEARCH_MAX: usize = 1_024;

/// Which chain, in which life of its place in the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ChainRef {
    pub(super) slot: u32,
    life: u32,
}

#[derive(Debug)]
enum State {
    Vacant,
    Awake(Box<Chain>),
    Packed {
        bytes: Box<[u8]>,
        /// Whether nothing would be lost if it were forgotten.
        is_idle: bool,
    },
}

#[derive(Debug)]
struct Place {
    life: u32,
    state: State,
    /// What it takes of [`CHAINS_MAX_BYTES`].
    bytes: u32,
    /// Whether it was used since it was last looked at for being packed.
    is_used: bool,
    /// Whether it has a document.
    has_document: bool,
    used_ms: u64,
    due_ms: u64,
    /// Of a packed one, since when usage waits to be settled; else, and when none does, [`u64::MAX`].
    unsettled_ms: u64,
}

impl Place {
    /// The id of its chain.
    fn id(&self) -> &str {
        match &self.state {
            State::Vacant => "",
            State::Awake(chain) => &chain.id,
            State::Packed { bytes, .. } => packed::leading_text(bytes).unwrap_or_default(),
        }
    }

    fn is_idle(&self) -> bool {
        match &self.state {
            State::Vacant => false,
            State::Awake(chain) => chain.is_idle(),
            State::Packed { is_idle, .. } => *is_idle,
        }
    }
}

/// The chains a worker takes part in, and when each is due.
#[derive(Debug, Default)]
pub(super) struct Chains {
    places: Vec<Place>,
    vacant: Vec<u32>,
    /// Their places, by the ids that stand there.
    by_id: HashTable<u32>,
    timers: BinaryHeap<Timer>,
    /// Those that are not packed, in the order in which they are looked at for it.
    awake: VecDeque<u32>,
    /// What they take of [`AWAKE_CHAINS_MAX_BYTES`](crate::limits::AWAKE_CHAINS_MAX_BYTES).
    awake_bytes: usize,
    /// What the packed ones hold.
    packed_totals: Totals,
    bytes: usize,
    swept: usize,
    /// Up to where something was forgotten for want of room.
    forgotten: usize,
}

fn hash(id: &str) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(id)
}

fn slot_of(place: usize) -> u32 {
    u32::try_from(place).unwrap_or(u32::MAX)
}

impl Chains {
    pub(super) fn find(&self, id: &str) -> Option<ChainRef> {
        let is_it = |slot: &u32| self.places[*slot as usize].id() == id;
        let slot = self.by_id.find(hash(id), is_it)?;
        Some(self.reference(*slot))
    }

    pub(super) fn insert(&mut self, chain: Chain, now_ms: u64) -> ChainRef {
        let slot = self.vacant.pop().unwrap_or_else(|| {
            self.places.push(Place {
                life: 0,
                state: State::Vacant,
                bytes: 0,
                is_used: true,
                has_document: false,
                used_ms: 0,
                due_ms: u64::MAX,
                unsettled_ms: u64::MAX,
            });
            slot_of(self.places.len() - 1)
        });
        let id_hash = hash(&chain.id);
        let place = &mut self.places[slot as usize];
        place.life += 1;
        place.used_ms = now_ms;
        place.due_ms = u64::MAX;
        place.state = State::Awake(Box::new(chain));
        let Self { places, by_id, .. } = self;
        by_id.insert_unique(id_hash, slot, |slot| hash(places[*slot as usize].id()));
        self.rise(slot);
        let reference = self.reference(slot);
        self.weigh(reference, now_ms);
        reference
    }

    /// Notes how large a chain is by now, and forgets what it may of others as long as all take more than they may: of a
    /// few in turn, of the one that was used least lately.
    pub(super) fn weigh(&mut self, reference: ChainRef, now_ms: u64) {
        const AT_ONCE: usize = 8;
        self.touch(reference, now_ms);
        self.weigh_at(reference.slot);
        let mut looked_at = 0;
        while self.bytes > CHAINS_MAX_BYTES && looked_at < self.places.len() {
            let some = (0..AT_ONCE).map(|next| (self.forgotten + next) % self.places.len());
            let other = some.filter(|at| *at != reference.slot as usize);
            let other =
                other.filter(|at| self.places[*at].has_document || self.places[*at].is_idle());
            if let Some(at) = other.min_by_key(|at| self.places[*at].used_ms) {
                self.lighten(slot_of(at));
                looked_at = 0;
            }
            self.forgotten = (self.forgotten + AT_ONCE) % self.places.len();
            looked_at += AT_ONCE;
        }
    }

    /// Forgets a chain, or as much of it as may be forgotten.
    fn lighten(&mut self, slot: u32) {
        if self.places[slot as usize].is_idle() {
            self.remove(slot);
        } else if let Some(chain) = self.get(self.reference(slot)) {
            chain.forget_document();
            self.weigh_at(slot);
        }
    }

    fn weigh_at(&mut self, slot: u32) {
        let place = &mut self.places[slot as usize];
        let bytes = match &place.state {
            State::Vacant => 0,
            State::Awake(chain) => {
                place.has_document = chain.document_bytes() > 0;
                chain.bytes()
            }
            State::Packed { bytes, .. } => bytes.len(),
        };
        let before = mem::replace(&mut place.bytes, slot_of(bytes)) as usize;
        self.bytes = self.bytes - before + bytes;
        if matches!(place.state, State::Awake(_)) {
            self.awake_bytes = self.awake_bytes - before + bytes;
        }
    }

    #[cfg(test)]
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// The chain, unpacked if it was packed.
    pub(super) fn get(&mut self, reference: ChainRef) -> Option<&mut Chain> {
        let place = self.places.get(reference.slot as usize);
        let place = place.filter(|place| place.life == reference.life)?;
        if matches!(place.state, State::Packed { .. }) {
            self.unpack(reference.slot);
        }
        let place = &mut self.places[reference.slot as usize];
        place.is_used = true;
        match &mut place.state {
            State::Awake(chain) => Some(chain),
            State::Vacant | State::Packed { .. } => None,
        }
    }

    /// Whether the chain is remembered.
    pub(super) fn has(&self, reference: ChainRef) -> bool {
        let place = self.places.get(reference.slot as usize);
        place.is_some_and(|place| {
            place.life == reference.life && !matches!(place.state, State::Vacant)
        })
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

    fn remove(&mut self, slot: u32) {
        let Self { places, by_id, .. } = self;
        let id_hash = hash(places[slot as usize].id());
        if let Ok(entry) = by_id.find_entry(id_hash, |other| *other == slot) {
            entry.remove();
        }
        let place = &mut self.places[slot as usize];
        if matches!(place.state, State::Awake(_)) {
            self.awake_bytes -= place.bytes as usize;
            self.awake.retain(|other| *other != slot);
        }
        place.state = State::Vacant;
        place.has_document = false;
        place.due_ms = u64::MAX;
        place.unsettled_ms = u64::MAX;
        self.vacant.push(slot);
        self.weigh_at(slot);
    }

    /// Looks at a few chains in turn: drops windows that are over, and chains that nobody used for `idle_ms`.
    pub(super) fn sweep(&mut self, now_ms: u64, business_ms: i64, idle_ms: u64) {
        const AT_ONCE: usize = 64;
        for _ in 0..AT_ONCE.min(self.places.len()) {
            self.swept = (self.swept + 1) % self.places.len();
            let place = &mut self.places[self.swept];
            if let State::Awake(chain) = &mut place.state {
                chain.drop_windows_ended_before(business_ms);
            }
            if now_ms >= place.used_ms + idle_ms && place.is_idle() {
                self.remove(slot_of(self.swept));
            }
        }
    }

    /// Whether there is room for another chain, for the sake of which others are forgotten that hold nothing.
    pub(super) fn has_room(&mut self) -> bool {
        let mut looked_at = 0;
        while self.is_full() && looked_at < SEARCH_MAX.min(self.places.len()) {
            self.forgotten = (self.forgotten + 1) % self.places.len();
            if self.places[self.forgotten].is_idle() {
                self.remove(slot_of(self.forgotten));
            }
            looked_at += 1;
        }
        !self.is_full()
    }

    fn is_full(&self) -> bool {
        self.len() >= CHAINS_MAX || self.bytes > CHAINS_MAX_BYTES
    }

    /// Trusts nothing of documents any more, and forgets chains that hold nothing besides.
    pub(super) fn distrust(&mut self) {
        for slot in 0..slot_of(self.places.len()) {
            if self.places[slot as usize].is_idle() {
                self.remove(slot);
            } else if let Some(chain) = self.get(self.reference(slot)) {
                chain.distrust();
            }
        }
    }

    /// Whether no chain holds anything, after `forget` has been done to those that do.
    pub(super) fn are_idle_after(&mut self, forget: impl Fn(&mut Chain)) -> bool {
        (0..slot_of(self.places.len())).all(|slot| {
            let is_idle = self.places[slot as usize].is_idle();
            let chain = (!is_idle).then(|| self.get(self.reference(slot))).flatten();
            chain.is_none_or(|chain| {
                forget(chain);
                chain.is_idle()
            })
        })
    }

    /// What the worker has of all chains.
    pub(super) fn totals(&self) -> Totals {
        let mut totals = self.packed_totals;
        self.each_awake(|chain| chain.add_to(&mut totals));
        totals
    }

    fn each_awake(&self, mut each: impl FnMut(&Chain)) {
        for slot in &self.awake {
            if let State::Awake(chain) = &self.places[*slot as usize].state {
                each(chain);
            }
        }
    }

    /// Since when the longest waiting usage is unsettled.
    pub(super) fn oldest_unsettled_ms(&self) -> Option<u64> {
        let packed = self.places.iter().map(|place| place.unsettled_ms);
        let mut oldest_ms = packed.min().unwrap_or(u64::MAX);
        self.each_awake(|chain| {
            oldest_ms = oldest_ms.min(chain.unsettled_since_ms().unwrap_or(u64::MAX));
        });
        Some(oldest_ms).filter(|oldest_ms| *oldest_ms < u64::MAX)
    }

    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }
}
