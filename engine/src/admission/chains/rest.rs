//! Chains that are packed, and those that are not.

use super::{Chains, State};
use crate::lease::{Chain, Totals};
use crate::limits::{AWAKE_CHAINS_MAX, AWAKE_CHAINS_MAX_BYTES};
use crate::packed;

impl Chains {
    /// Counts a chain to those that are not packed, and packs others until they are few enough: a hand goes round over
    /// them, and packs what was not used since it last passed.
    pub(super) fn rise(&mut self, slot: u32) {
        self.awake.push_back(slot);
        self.weigh_at(slot);
        while (self.awake.len() > AWAKE_CHAINS_MAX || self.awake_bytes > AWAKE_CHAINS_MAX_BYTES)
            && self.awake.len() > 1
            && let Some(next) = self.awake.pop_front()
        {
            let place = &mut self.places[next as usize];
            if next == slot || std::mem::take(&mut place.is_used) {
                self.awake.push_back(next);
                self.weigh_at(next);
            } else {
                self.pack(next);
            }
        }
    }

    /// Packs all chains.
    pub(in crate::admission) fn pack_all(&mut self) {
        while let Some(slot) = self.awake.pop_front() {
            self.pack(slot);
        }
    }

    fn pack(&mut self, slot: u32) {
        let place = &mut self.places[slot as usize];
        let State::Awake(chain) = &place.state else {
            return;
        };
        chain.add_to(&mut self.packed_totals);
        place.unsettled_ms = chain.unsettled_since_ms().unwrap_or(u64::MAX);
        place.has_document = chain.document_bytes() > 0;
        let packed = State::Packed {
            bytes: packed::pack(chain.as_ref(), ""),
            is_idle: chain.is_idle(),
        };
        place.state = packed;
        self.awake_bytes -= place.bytes as usize;
        self.weigh_at(slot);
    }

    pub(super) fn unpack(&mut self, slot: u32) {
        let place = &mut self.places[slot as usize];
        let State::Packed { bytes, .. } = &place.state else {
            return;
        };
        let Some(chain) = packed::unpack::<Chain>(bytes, "") else {
            return;
        };
        let mut totals = Totals::default();
        chain.add_to(&mut totals);
        self.packed_totals.held -= totals.held;
        self.packed_totals.unsent -= totals.unsent;
        place.unsettled_ms = u64::MAX;
        place.state = State::Awake(Box::new(chain));
        // From now on counted among those that are not packed.
        self.awake_bytes += place.bytes as usize;
        self.rise(slot);
    }
}
