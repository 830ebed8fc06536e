//! When the next call with claims is worth making.
//!
//! A call costs many times what one request in it does. Clients whose requests Redis has just let go are likely to come
//! back with the next ones as soon as they are answered, so the next call waits for as many as are still away; but not
//! longer than they may hold up whoever came in the meantime.

use crate::limits::COMPANY_MAX_MS;

/// An answer of Redis that let requests go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Round(u32);

/// Those that the last such answer let go.
#[derive(Debug, Default)]
pub(super) struct Company {
    round: Round,
    away: usize,
    until_ms: u64,
}

impl Company {
    /// Begins with an answer that has just come.
    pub(super) const fn begin(&mut self, now_ms: u64) {
        self.round.0 = self.round.0.wrapping_add(1);
        self.away = 0;
        self.until_ms = now_ms + COMPANY_MAX_MS;
    }

    /// Notes a request that goes on.
    pub(super) const fn leave(&mut self) -> Round {
        self.away += 1;
        self.round
    }

    /// Notes that a request is finished, and which answer had let it go, if any.
    pub(super) fn come_back(&mut self, round: Option<Round>) {
        if round == Some(self.round) {
            self.away = self.away.saturating_sub(1);
        }
    }

    /// Whether so many that wait should wait for more.
    pub(super) const fn is_awaited(&self, waiting: usize, now_ms: u64) -> bool {
        waiting < self.away && now_ms <= self.until_ms
    }
}
