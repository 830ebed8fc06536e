//! Batches and their numbers: what is in doubt, and what Redis might still lose.

use std::collections::VecDeque;
use std::rc::Rc;

use super::claims::{Claim, Share};
use crate::contract::answer::Outcome;
use crate::contract::call::{ClaimChange, Entry, Funding, Order};
use crate::limits::{
    BATCH_IN_DOUBT_MAX_MS, BATCH_RETAINED_MS, BATCHES_PER_CALL_MAX, BATCHES_RETAINED_MAX,
};
use crate::packed::pack_fields;

/// Consumed units of one window, hour and key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consumed {
    /// The window they were admitted in.
    pub window: Rc<str>,
    /// Hours since the unix epoch.
    pub hour: i64,
    /// `key_…`.
    pub key: Rc<str>,
    /// Thousandths of a unit.
    pub milli: u64,
    /// Where they came from.
    pub funding: Funding,
}

/// What waiting requests need of one window, in thousandths of a unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Need {
    /// The window.
    pub window: Rc<str>,
    /// The one that needs least.
    pub least: u64,
    /// In all.
    pub milli: u64,
}

/// A lease asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The meter's slug.
    pub meter: Rc<str>,
    /// The window, or the current one by Redis's clock when empty.
    pub window: Rc<str>,
    /// The least that is of use to any request that waits, in thousandths.
    pub least: u64,
    /// What requests that wait need, in thousandths.
    pub need: u64,
    /// What the worker would like in all, in thousandths.
    pub want: u64,
}

/// What one worker tells Redis of one chain at once. Sent again, it says the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Its number, from 1.
    pub number: u64,
    /// When it was first sent, monotonic ms; leases it brings are counted from there.
    pub first_sent_ms: u64,
    /// What was consumed.
    pub consumed: Vec<Consumed>,
    /// What was not spent, by window.
    pub returned: Vec<(Rc<str>, u64)>,
    /// What the worker holds, by window, for a Redis that may have forgotten.
    pub declared: Vec<(Rc<str>, u64)>,
    /// What becomes of units that were claimed.
    pub changes: Vec<(ClaimChange, Share)>,
    /// Requests that wait for it.
    pub claims: Vec<Claim>,
    /// Which batch with claims of its chain, counted from 1; 0 for one without.
    pub round: u64,
    /// What it asks for.
    pub wanted: Vec<Wanted>,
    restart: bool,
}

impl Batch {
    /// Which numbers Redis may accept it after.
    #[must_use]
    pub const fn order(&self) -> Order {
        if self.restart {
            Order::Restart
        } else {
            Order::Next
        }
    }

    /// The lines that are sent.
    pub fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        let consumed = self.consumed.iter().map(|consumed| Entry::Consumed {
            window: &consumed.window,
            hour: consumed.hour,
            key: &consumed.key,
            milli: consumed.milli,
            funding: consumed.funding,
        });
        let returned = self.returned.iter().map(|(window, milli)| Entry::Returned {
            window,
            milli: *milli,
        });
        let declared = self.declared.iter().map(|(window, milli)| Entry::Declared {
            window,
            milli: *milli,
        });
        let wanted = self.wanted.iter().map(|wanted| Entry::Wanted {
            meter: &wanted.meter,
            window: &wanted.window,
            least: wanted.least,
            need: wanted.need,
            want: wanted.want,
        });
        let changes = self.changes.iter().map(|(change, share)| Entry::Claimed {
            change: *change,
            window: &share.window,
            hour: share.hour,
            key: &share.key,
            milli: share.milli,
        });
        let claims = self.claims.iter().map(|claim| Entry::Claim {
            hour: claim.hour,
            key: &claim.key,
            count: claim.count,
            bounds: claim.bounds,
            costs: &claim.costs,
        });
        let held = returned.chain(declared).chain(changes);
        consumed.chain(held).chain(claims).chain(wanted)
    }

    /// What must be said again to a Redis that lost it: the units, not the wishes.
    fn without_wishes(mut self, counts: &[u64]) -> Self {
        self.wanted.clear();
        self.declared.clear();
        self.changes
            .retain(|(change, _)| *change != ClaimChange::Kept);
        let counted = std::mem::take(&mut self.claims).into_iter().zip(counts);
        let counted = counted.filter(|(_, count)| **count > 0);
        self.claims = counted
            .map(|(claim, count)| claim.counted(*count))
            .collect();
        self
    }

    /// The least that a request of a claim which was not counted whole needs of a window; 0 where there is none.
    #[must_use]
    pub fn least_short_claim(&self, answered: &[u64], window: &Rc<str>) -> u64 {
        let short = self.claims.iter().zip(answered);
        let short = short.filter(|(claim, count)| **count < claim.count);
        let costs = short.flat_map(|(claim, _)| &claim.costs);
        let of_window = costs.filter(|cost| cost.window == *window);
        of_window.map(|cost| cost.least).min().unwrap_or(0)
    }

    /// How many requests of each claim Redis has counted, given its answer. Of a batch that it knows only to be counted,
    /// that is all: nobody pays for more than was let through.
    #[must_use]
    pub fn counts(&self, answered: &[u64]) -> Vec<u64> {
        let answered = answered.iter().copied().map(Some);
        let counts = answered.chain(std::iter::repeat(None));
        let claims = self.claims.iter().zip(counts);
        claims
            .map(|(claim, count)| count.map_or(claim.count, |count| count.min(claim.count)))
            .collect()
    }
}

pack_fields!(Consumed: window, hour, key, milli, funding);
pack_fields!(Wanted: meter, window, least, need, want);
pack_fields!(
    Batch: number, first_sent_ms, consumed, returned, declared, changes, claims, round, wanted, restart
);
pack_fields!(Retained: batch, since_ms, store);
pack_fields!(Sequence: last, unsent_lost, outbox, retained);

/// A batch Redis has counted but may still lose with its last seconds.
#[derive(Clone, Debug)]
struct Retained {
    batch: Batch,
    since_ms: u64,
    store: u32,
}

/// The numbered batches of one worker for one chain.
///
/// One batch is in doubt at a time, except after Redis lost some: those go out together, in order. A counted batch is
/// kept until the same store has answered anything [`BATCH_RETAINED_MS`] later.
#[derive(Clone, Debug, Default)]
pub struct Sequence {
    last: u64,
    unsent_lost: u64,
    outbox: VecDeque<Batch>,
    retained: VecDeque<Retained>,
}

impl Sequence {
    /// A sequence whose last number Redis knows.
    #[must_use]
    pub fn from_last(last: u64) -> Self {
        Self {
            last,
            ..Self::default()
        }
    }

    /// The number given last.
    #[must_use]
    pub const fn last(&self) -> u64 {
        self.last
    }

    /// Whether a batch is in doubt or waits to be sent again.
    #[must_use]
    pub fn in_doubt(&self) -> bool {
        !self.outbox.is_empty()
    }

    /// Whether nothing would be lost with this sequence.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.outbox.is_empty() && self.retained.is_empty()
    }

    /// Whether counted batches are kept.
    #[must_use]
    pub fn retains(&self) -> bool {
        !self.retained.is_empty()
    }

    /// How many batches were given up because Redis and the worker no longer had what lies between.
    #[must_use]
    pub const fn lost_batches(&self) -> u64 {
        self.unsent_lost
    }

    /// Numbers a batch and puts it in doubt.
    pub fn push(&mut self, mut batch: Batch, now_ms: u64) {
        self.last += 1;
        batch.number = self.last;
        batch.first_sent_ms = now_ms;
        if self.outbox.capacity() == 0 {
            self.outbox.reserve_exact(1);
        }
        self.outbox.push_back(batch);
    }

    /// What goes out now: the batch in doubt, or those Redis lost.
    pub fn to_send(&self) -> impl Iterator<Item = &Batch> {
        self.outbox.iter().take(BATCHES_PER_CALL_MAX)
    }

    /// Takes in what became of the oldest batch in doubt; answers it once it is counted.
    pub fn settle(
        &mut self,
        outcome: Outcome,
        last: u64,
        claims: &[u64],
        now_ms: u64,
        store: u32,
    ) -> Option<(Batch, Vec<u64>)> {
        match outcome {
            Outcome::Applied | Outcome::Repeated | Outcome::Stale => {
                let batch = self.outbox.pop_front()?;
                self.last = self.last.max(last);
                let counts = batch.counts(claims);
                self.retain(batch.clone().without_wishes(&counts), now_ms, store);
                Some((batch, counts))
            }
            Outcome::Gap => {
                self.send_again_after(last);
                None
            }
        }
    }

    /// Gives up a batch that was in doubt for too long to be recognised; answers it.
    pub fn give_up(&mut self, now_ms: u64) -> Option<Batch> {
        let oldest = self.outbox.front()?;
        if now_ms.saturating_sub(oldest.first_sent_ms) < BATCH_IN_DOUBT_MAX_MS {
            return None;
        }
        self.unsent_lost += 1;
        let given_up = self.outbox.pop_front();
        if let Some(next) = self.outbox.front_mut() {
            next.restart = true;
        }
        given_up
    }

    /// Lets go of what `store` has had for long enough, given that it answered at `answered_ms`.
    pub fn forget(&mut self, answered_ms: u64, store: u32) {
        while let Some(oldest) = self.retained.front() {
            if oldest.store != store || answered_ms < oldest.since_ms + BATCH_RETAINED_MS {
                break;
            }
            self.retained.pop_front();
        }
    }

    fn retain(&mut self, batch: Batch, now_ms: u64, store: u32) {
        // A later number counted by this store says that it has the earlier ones.
        for retained in self.retained.iter_mut().rev() {
            if retained.store == store {
                break;
            }
            retained.store = store;
            retained.since_ms = now_ms;
        }
        if self.retained.capacity() == 0 {
            self.retained.reserve_exact(1);
        }
        self.retained.push_back(Retained {
            batch,
            since_ms: now_ms,
            store,
        });
        if self.retained.len() > BATCHES_RETAINED_MAX {
            self.retained.pop_front();
        }
    }

    fn send_again_after(&mut self, last: u64) {
        while let Some(newest) = self.retained.pop_back() {
            if newest.batch.number > last {
                self.outbox.push_front(newest.batch);
            } else {
                self.retained.push_back(newest);
                break;
            }
        }
        for batch in &mut self.outbox {
            batch.wanted.clear();
        }
        if let Some(first) = self.outbox.front_mut()
            && first.number > last + 1
        {
            first.restart = true;
            self.unsent_lost += first.number - last - 1;
        }
    }
}
