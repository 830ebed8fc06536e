//! What a worker holds of a rate limit. Units are thousandths, times monotonic ms.

use std::rc::Rc;

use super::leases::Leases;
use super::rate::SpendingRate;
use crate::contract::answer::RateGrant;
use crate::contract::call::RateAsk;
use crate::limits::{RATE_ASK_MAX_MS, RATE_ASK_MS, RATE_LEASE_MS};
use crate::packed::pack_fields;

/// A worker's part in one rate limit of a chain.
#[derive(Clone, Debug)]
pub struct Bucket {
    /// The feature whose entitlement it is.
    pub feature: Rc<str>,
    got: Leases,
    /// What of it requests shall have that wait until their units are counted.
    promised: u64,
    /// What the last answer left here.
    filled: u64,
    /// What requests asked for, whether they got it or not.
    demand: SpendingRate,
    /// What the last request took.
    cost: u64,
    ask_again_ms: u64,
    more_ms: u64,
}

pack_fields!(Bucket: feature, got, promised, filled, demand, cost, ask_again_ms, more_ms);

impl Bucket {
    /// Nothing yet.
    #[must_use]
    pub fn new(feature: &str) -> Self {
        Self {
            feature: feature.into(),
            got: Leases::default(),
            promised: 0,
            filled: 0,
            demand: SpendingRate::NONE,
            cost: 0,
            ask_again_ms: 0,
            more_ms: 0,
        }
    }

    /// Whether `milli` units can be taken at once.
    #[must_use]
    pub fn can_take(&self, milli: u64, now_ms: u64) -> bool {
        self.got.valid(now_ms, RATE_LEASE_MS) >= self.promised + milli
    }

    /// Keeps them for a request that cannot go on yet, instead; the caller has asked [`Bucket::can_take`].
    pub const fn promise(&mut self, milli: u64) {
        self.promised += milli;
    }

    /// Keeps them no longer.
    pub const fn withdraw(&mut self, milli: u64) {
        self.promised = self.promised.saturating_sub(milli);
    }

    /// What nobody is promised.
    const fn free(&self) -> u64 {
        self.got.free().saturating_sub(self.promised)
    }

    /// Takes them; the caller has asked [`Bucket::can_take`].
    pub fn take(&mut self, milli: u64, now_ms: u64) {
        self.got.expire(now_ms, RATE_LEASE_MS);
        self.got.take(milli);
        self.demand.add(milli, now_ms);
        self.cost = milli;
    }

    /// Notes a request that got nothing.
    pub const fn note_refused(&mut self, milli: u64, now_ms: u64) {
        self.demand.add(milli, now_ms);
    }

    /// Whether Redis said lately that there is not enough, and need not be asked yet.
    #[must_use]
    pub const fn is_short(&self, now_ms: u64) -> bool {
        now_ms < self.ask_again_ms
    }

    /// Whether to ask before the next request has to wait for it.
    #[must_use]
    pub const fn runs_low(&self, now_ms: u64) -> bool {
        self.filled > 0 && self.free() * 2 < self.filled && !self.is_short(now_ms)
    }

    /// Whole seconds until there is more, as far as is known; at least 1.
    #[must_use]
    pub fn more_in_seconds(&self, now_ms: u64) -> u64 {
        self.more_ms.saturating_sub(now_ms).div_ceil(1_000).max(1)
    }

    /// What to ask for at `now_ms`, when requests that wait need `need` in all and `least` each; 0 when none does.
    pub fn ask(&mut self, least: u64, need: u64, now_ms: u64) -> RateAsk {
        self.got.expire(now_ms, RATE_LEASE_MS);
        self.filled = 0;
        let free = self.free();
        let ahead = self.demand.last_second(now_ms) * AHEAD_MS / 1_000;
        RateAsk {
            // What is promised is not spent: it still counts as if it lay in the bucket.
            held: self.got.free(),
            least: match least {
                0 => self.cost.max(1),
                least => least.saturating_sub(free).max(1),
            },
            need: need.saturating_sub(free),
            want: ahead.saturating_sub(free),
        }
    }

    /// Takes in the answer to what was asked at `sent_ms`.
    pub fn learn(&mut self, grant: RateGrant, sent_ms: u64, now_ms: u64) {
        if grant.milli > 0 {
            self.got.add(sent_ms, grant.milli);
            self.filled = self.free();
        }
        self.more_ms = now_ms + grant.wait_ms;
        self.ask_again_ms = match grant.wait_ms {
            0 => 0,
            wait_ms => (sent_ms + RATE_ASK_MS).max(now_ms + wait_ms.min(RATE_ASK_MAX_MS)),
        };
    }
}

/// A worker likes to hold what is asked of it in this time.
const AHEAD_MS: u64 = 250;
