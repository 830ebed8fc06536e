//! What was spent in the last second.

use crate::packed::pack_fields;

/// Units spent in the last second, from two buckets of a second: the older one counts by the share of it that still
/// lies in the last second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpendingRate {
    second: u64,
    current: u64,
    previous: u64,
}

pack_fields!(SpendingRate: second, current, previous);

impl SpendingRate {
    /// Nothing was spent.
    pub const NONE: Self = Self {
        second: 0,
        current: 0,
        previous: 0,
    };

    /// Counts `milli` spent at `now_ms`.
    pub const fn add(&mut self, milli: u64, now_ms: u64) {
        self.advance(now_ms);
        self.current = self.current.saturating_add(milli);
    }

    /// Milli-units spent in the second before `now_ms`.
    #[must_use]
    pub const fn last_second(mut self, now_ms: u64) -> u64 {
        self.advance(now_ms);
        let left = 1_000 - now_ms % 1_000;
        // Totals are bounded far below 2^53, so the product cannot overflow.
        self.current.saturating_add(self.previous * left / 1_000)
    }

    const fn advance(&mut self, now_ms: u64) {
        let second = now_ms / 1_000;
        if second == self.second {
            return;
        }
        self.previous = if second == self.second + 1 {
            self.current
        } else {
            0
        };
        self.current = 0;
        self.second = second;
    }
}
