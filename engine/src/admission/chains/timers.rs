//! When chains are due.

use std::cmp::Reverse;

use super::{ChainRef, Chains, slot_of};
use crate::lease::LeaseRules;
use crate::limits::{CHAINS_MAX, LOOKUPS_PER_CALL_MAX};

/// When the chain of a place is due; the greatest is the soonest. A worker has many, so that both are in one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Timer(Reverse<u64>);

const SLOT_BITS: u32 = 20;

// A worker has no more places than chains and look-ups that may bring some, and no clock runs for 500 years.
const _: () = assert!(CHAINS_MAX + 2 * LOOKUPS_PER_CALL_MAX < 1 << SLOT_BITS);

impl Timer {
    const fn new(due_ms: u64, slot: u32) -> Self {
        Self(Reverse(due_ms << SLOT_BITS | slot as u64))
    }

    const fn due_ms(self) -> u64 {
        self.0.0 >> SLOT_BITS
    }

    const fn slot(self) -> u32 {
        self.0.0 as u32 & ((1 << SLOT_BITS) - 1)
    }
}

impl Chains {
    /// Sets the chain's timer anew.
    pub(in crate::admission) fn schedule(&mut self, reference: ChainRef, rules: &LeaseRules) {
        let chain = self.get(reference);
        let due_ms = chain.and_then(|chain| chain.due_ms(rules));
        let due_ms = due_ms.unwrap_or(u64::MAX);
        let Some(place) = self.places.get_mut(reference.slot as usize) else {
            return;
        };
        if due_ms < place.due_ms {
            place.due_ms = due_ms;
            self.timers.push(Timer::new(due_ms, reference.slot));
        }
    }

    /// Lets the chain's timer pass.
    pub(in crate::admission) fn unschedule(&mut self, reference: ChainRef) {
        if let Some(place) = self.places.get_mut(reference.slot as usize) {
            place.due_ms = u64::MAX;
        }
    }

    /// Sets every chain's timer anew.
    pub(in crate::admission) fn schedule_all(&mut self, rules: &LeaseRules) {
        for slot in 0..slot_of(self.places.len()) {
            // One that holds nothing has nothing to say.
            if !self.places[slot as usize].is_idle() {
                self.schedule(self.reference(slot), rules);
            }
        }
    }

    /// Whether a chain is due; drops timers whose chain no longer is.
    pub(in crate::admission) fn is_any_due(&mut self, now_ms: u64, rules: &LeaseRules) -> bool {
        while let Some(timer) = self.timers.peek()
            && timer.due_ms() <= now_ms
        {
            let (due_ms, slot) = (timer.due_ms(), timer.slot());
            let reference = self.reference(slot);
            let is_current = self.places[slot as usize].due_ms == due_ms;
            if is_current {
                let chain_due_ms = self.get(reference).and_then(|chain| chain.due_ms(rules));
                if chain_due_ms.is_some_and(|due_ms| due_ms <= now_ms) {
                    return true;
                }
            }
            self.timers.pop();
            if is_current {
                self.unschedule(reference);
                self.schedule(reference, rules);
            }
        }
        false
    }

    /// Takes the next chain that is due, longest overdue first.
    pub(in crate::admission) fn next_due(
        &mut self,
        now_ms: u64,
        rules: &LeaseRules,
    ) -> Option<ChainRef> {
        if !self.is_any_due(now_ms, rules) {
            return None;
        }
        let slot = self.timers.pop()?.slot();
        self.places[slot as usize].due_ms = u64::MAX;
        Some(self.reference(slot))
    }
}
