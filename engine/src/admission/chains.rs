//! The chains of subscriptions that a worker remembers, and when each has something to say.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::rc::Rc;

use crate::lease::{Chain, LeaseRules};
use crate::limits::ACCESS_DOCUMENTS_MAX_BYTES;

/// Which chain, in which life of its place in the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ChainRef {
    pub(super) slot: u32,
    life: u32,
}

#[derive(Clone, Debug)]
struct Place {
    life: u32,
    chain: Option<Chain>,
    /// What its document takes of [`ACCESS_DOCUMENTS_MAX_BYTES`].
    document_bytes: usize,
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
    document_bytes: usize,
    /// Up to where documents were forgotten for want of room.
    forgotten: usize,
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
                document_bytes: 0,
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
        let reference = self.reference(slot);
        self.weigh(reference, now_ms);
        reference
    }

    /// Notes how large a chain's document is by now, and forgets others as long as all take more than they may: of a few
    /// in turn, the one that was used least lately.
    pub(super) fn weigh(&mut self, reference: ChainRef, now_ms: u64) {
        const AT_ONCE: usize = 8;
        self.touch(reference, now_ms);
        self.weigh_at(reference.slot as usize);
        let mut looked_at = 0;
        while self.document_bytes > ACCESS_DOCUMENTS_MAX_BYTES && looked_at < self.places.len() {
            let some = (0..AT_ONCE).map(|next| (self.forgotten + next) % self.places.len());
            let other = some.filter(|at| *at != reference.slot as usize);
            let other = other.filter(|at| self.places[*at].document_bytes > 0);
            if let Some(at) = other.min_by_key(|at| self.places[*at].used_ms) {
                if let Some(chain) = self.places[at].chain.as_mut() {
                    chain.forget_document();
                }
                self.weigh_at(at);
                looked_at = 0;
            }
            self.forgotten = (self.forgotten + AT_ONCE) % self.places.len();
            looked_at += AT_ONCE;
        }
    }

    fn weigh_at(&mut self, at: usize) {
        let Some(place) = self.places.get_mut(at) else {
            return;
        };
        let bytes = place.chain.as_ref().map_or(0, Chain::document_bytes);
        let before = std::mem::replace(&mut place.document_bytes, bytes);
        self.document_bytes = self.document_bytes - before + bytes;
    }

    #[cfg(test)]
    pub(super) const fn bytes(&self) -> usize {
        self.document_bytes
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
                self.weigh_at(self.swept);
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }
}
