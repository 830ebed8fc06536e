//! What a worker has done and has, for metrics and the log.

use super::{CallFailure, Now, Part, Stats, Tally, Worker};
use crate::lease::Totals;

impl Worker {
    /// What was done so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// What was decided since this was last asked.
    pub fn take_tally(&mut self) -> Tally {
        self.tally.take()
    }

    /// Keys and chains in memory.
    #[must_use]
    pub fn cached(&self) -> (usize, usize) {
        (self.keys.len(), self.chains.len())
    }

    /// Thousandths of units in this worker's hands.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.chains.totals()
    }

    /// For how long the oldest consumed unit waits to be settled, ms.
    #[must_use]
    pub fn settle_lag_ms(&self, now: Now) -> u64 {
        self.chains
            .oldest_unsettled_ms()
            .map_or(0, |since_ms| now.monotonic_ms.saturating_sub(since_ms))
    }

    /// Redis's clock less the host's as last seen, ms.
    #[must_use]
    pub const fn clock_skew_ms(&self) -> i64 {
        self.skew_ms
    }

    /// How the last call that failed did so, and what Redis said.
    #[must_use]
    pub fn last_failure(&self) -> Option<(CallFailure, &str)> {
        let (failure, message) = self.failure.as_ref()?;
        Some((*failure, message))
    }

    /// Batches and look-ups in the call under way.
    #[must_use]
    pub fn batches_in_call(&self) -> usize {
        let is_batch =
            |part: &&Part| matches!(part, Part::Batch(..) | Part::Lookup(_) | Part::Key(_));
        self.call
            .as_ref()
            .map_or(0, |call| call.parts.iter().filter(is_batch).count())
    }

    /// Whether Redis is taken to be there.
    #[must_use]
    pub const fn store_is_up(&self) -> bool {
        self.link.is_up()
    }
}
