//! The unspent units of a window, by the call that granted them.

use std::collections::VecDeque;

use crate::limits::TOTAL_MAX_MILLI;
use crate::packed::pack_fields;

/// Units granted by one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Lease {
    /// When the call was sent, monotonic ms.
    sent_ms: u64,
    milli: u64,
}

/// Leases in the order they were granted in; units in thousandths.
#[derive(Clone, Debug, Default)]
pub(super) struct Leases {
    queue: VecDeque<Lease>,
    free: u64,
}

pack_fields!(Lease: sent_ms, milli);
pack_fields!(Leases: queue, free);

impl Leases {
    /// All units.
    pub(super) const fn free(&self) -> u64 {
        self.free
    }

    /// When the call that granted the oldest was sent.
    pub(super) fn oldest_ms(&self) -> Option<u64> {
        self.queue.front().map(|oldest| oldest.sent_ms)
    }

    /// Units whose lease is not over at `now_ms`.
    pub(super) fn valid(&self, now_ms: u64, ttl_ms: u64) -> u64 {
        let valid = self
            .queue
            .iter()
            .filter(|lease| now_ms < lease.sent_ms + ttl_ms);
        valid.map(|lease| lease.milli).sum()
    }

    /// Adds what a call granted; no worker holds more than any counter.
    pub(super) fn add(&mut self, sent_ms: u64, milli: u64) {
        let milli = milli.min(TOTAL_MAX_MILLI.saturating_sub(self.free));
        self.free += milli;
        self.make_room();
        self.queue.push_back(Lease { sent_ms, milli });
    }

    /// Puts units back that were taken.
    pub(super) fn put_back(&mut self, sent_ms: u64, milli: u64) {
        self.free += milli;
        self.make_room();
        self.queue.push_front(Lease { sent_ms, milli });
    }

    /// Most windows have one lease at a time.
    fn make_room(&mut self) {
        if self.queue.capacity() == 0 {
            self.queue.reserve_exact(1);
        }
    }

    /// Takes up to `milli` units, oldest first: how many, and when the youngest of them were sent for.
    pub(super) fn take(&mut self, milli: u64) -> (u64, Option<u64>) {
        let mut open = milli;
        let mut sent_ms = None;
        while open > 0
            && let Some(oldest) = self.queue.front_mut()
        {
            let taken = oldest.milli.min(open);
            oldest.milli -= taken;
            open -= taken;
            sent_ms = Some(oldest.sent_ms);
            if oldest.milli == 0 {
                self.queue.pop_front();
            }
        }
        self.free -= milli - open;
        (milli - open, sent_ms)
    }

    /// Takes out what is over at `now_ms`.
    pub(super) fn expire(&mut self, now_ms: u64, ttl_ms: u64) -> u64 {
        let mut over = 0;
        while let Some(oldest) = self.queue.front()
            && now_ms >= oldest.sent_ms + ttl_ms
        {
            over += oldest.milli;
            self.queue.pop_front();
        }
        self.free -= over;
        over
    }

    /// Takes out everything.
    pub(super) fn clear(&mut self) -> u64 {
        self.queue.clear();
        std::mem::take(&mut self.free)
    }
}
