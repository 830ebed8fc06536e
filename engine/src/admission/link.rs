//! Whether Redis answers: pace, circuit breaker, and how old the worker's knowledge is. Times are monotonic ms.

use crate::limits::{
    BREAKER_FIRST_MS, BREAKER_LONGEST_MS, READING_DUE_MS, READING_MAX_AGE_MS, SERVED_LATELY_MS,
};

/// Why a call did not bring what it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CallFailure {
    /// No answer in time, or the connection was lost.
    NoAnswer,
    /// No connection.
    Refused,
    /// The answer ended early, or was none of Redis's.
    ShortAnswer,
    /// Redis answered with an error.
    Error,
    /// The store is not filled yet, or belongs to a sandbox and this filter does not.
    Unready,
}

impl CallFailure {
    /// Every reason, in order.
    pub const ALL: [Self; 5] = [
        Self::NoAnswer,
        Self::Refused,
        Self::ShortAnswer,
        Self::Error,
        Self::Unready,
    ];

    /// The name in metrics and in the log.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoAnswer => "no_answer",
            Self::Refused => "refused",
            Self::ShortAnswer => "short_answer",
            Self::Error => "error",
            Self::Unready => "unready",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Up,
    /// One call got no answer: the next one tells, while requests go on waiting.
    InDoubt,
    Down {
        failures: u32,
        retry_ms: u64,
    },
}

/// The worker's line to one Redis node.
#[derive(Clone, Debug)]
pub(super) struct Link {
    state: State,
    outages: u32,
    last_good_ms: Option<u64>,
    reading_ms: Option<u64>,
    served_ms: Option<u64>,
    calls_per_second: u64,
    budget: u64,
    refilled_ms: u64,
}

/// One call in the units of the budget.
const CALL: u64 = 1_000;

impl Link {
    pub(super) const fn new(calls_per_second: u64) -> Self {
        Self {
            state: State::Up,
            outages: 0,
            last_good_ms: None,
            reading_ms: None,
            served_ms: None,
            calls_per_second,
            budget: CALL * calls_per_second,
            refilled_ms: 0,
        }
    }

    /// Whether Redis is taken to be there.
    pub(super) const fn is_up(&self) -> bool {
        matches!(self.state, State::Up | State::InDoubt)
    }

    /// Whether Redis answered lately, and nothing speaks against it.
    pub(super) fn answers(&self, now_ms: u64) -> bool {
        matches!(self.state, State::Up) && self.is_fresh(now_ms)
    }

    /// Counts outages, so that what is allowed in one is not allowed again by the same.
    pub(super) const fn outage(&self) -> u32 {
        self.outages
    }

    /// When Redis last gave a good answer.
    pub(super) const fn last_good_ms(&self) -> Option<u64> {
        self.last_good_ms
    }

    /// Whether the change log was read lately enough to answer from the cache.
    pub(super) fn is_fresh(&self, now_ms: u64) -> bool {
        self.reading_ms
            .is_some_and(|reading_ms| now_ms <= reading_ms + READING_MAX_AGE_MS)
    }

    /// Whether a worker that serves requests should read the change log now.
    pub(super) fn reading_due(&self, now_ms: u64) -> bool {
        let serves = self
            .served_ms
            .is_some_and(|served_ms| now_ms < served_ms + SERVED_LATELY_MS);
        let read = self
            .reading_ms
            .is_some_and(|reading_ms| now_ms < reading_ms + READING_DUE_MS);
        serves && !read
    }

    /// Whether a worker that takes Redis to be away should try again.
    pub(super) const fn probe_due(&self, now_ms: u64) -> bool {
        matches!(self.state, State::Down { retry_ms, .. } if now_ms >= retry_ms)
    }

    pub(super) const fn note_request(&mut self, now_ms: u64) {
        self.served_ms = Some(now_ms);
    }

    /// Takes a call out of the budget, if breaker and pace allow one.
    pub(super) fn take_call(&mut self, now_ms: u64) -> bool {
        if matches!(self.state, State::Down { retry_ms, .. } if now_ms < retry_ms) {
            return false;
        }
        if self.calls_per_second == 0 {
            return true;
        }
        let elapsed_ms = now_ms.saturating_sub(self.refilled_ms);
        self.refilled_ms = now_ms;
        // A second's worth may go out at once; a worker that was idle need not wait for its first answers.
        self.budget = self
            .budget
            .saturating_add(elapsed_ms.saturating_mul(self.calls_per_second))
            .min(CALL * self.calls_per_second);
        if self.budget < CALL {
            return false;
        }
        self.budget -= CALL;
        true
    }

    /// Notes a good answer to a call sent at `sent_ms`.
    pub(super) const fn succeed(&mut self, sent_ms: u64, now_ms: u64) {
        self.state = State::Up;
        self.last_good_ms = Some(now_ms);
        self.reading_ms = Some(sent_ms);
    }

    /// Notes that there is more in the change log than one call brought.
    pub(super) const fn read_again(&mut self) {
        self.reading_ms = None;
    }

    /// Notes a call that failed. One without an answer is repeated at once; after any other, or a second one, Redis is
    /// taken to be away, and each further call waits longer.
    pub(super) const fn fail(&mut self, failure: CallFailure, now_ms: u64) {
        let failures = match (self.state, failure) {
            (State::Up, CallFailure::NoAnswer | CallFailure::ShortAnswer) => {
                self.state = State::InDoubt;
                return;
            }
            (State::Up | State::InDoubt, _) => {
                self.outages += 1;
                0
            }
            (State::Down { failures, .. }, _) => failures.saturating_add(1),
        };
        let doublings = if failures > 10 { 10 } else { failures };
        let wait_ms = BREAKER_FIRST_MS << doublings;
        let wait_ms = if wait_ms > BREAKER_LONGEST_MS {
            BREAKER_LONGEST_MS
        } else {
            wait_ms
        };
        self.state = State::Down {
            failures,
            retry_ms: now_ms + wait_ms,
        };
    }
}
