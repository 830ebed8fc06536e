//! One window as one worker sees it. Units are thousandths, times monotonic ms unless they say otherwise.

mod claimed;
mod packing;
mod told;

use std::rc::Rc;

use super::LeaseRules;
use super::batch::Consumed;
use super::claims::Shares;
use super::leases::Leases;
use super::rate::SpendingRate;
use crate::contract;
use crate::contract::answer::WindowState;
use crate::contract::call::{Funding, LostLeases};
use crate::limits::MILLI_PER_UNIT;
use crate::units::Units;

use packing::name;

/// What a request took from a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reservation {
    /// How many units.
    pub milli: u64,
    /// When the call that granted the youngest of them was sent; `None` for units spent without a lease.
    pub leased_ms: Option<u64>,
}

/// A window as Redis last described it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct WindowView {
    /// Units nobody had; `None` without a limit.
    remaining: Option<u64>,
    /// Units leased to other workers.
    leased_to_others: u64,
    /// Consumed units.
    used: u64,
}

/// One window of one meter.
#[derive(Clone, Debug)]
pub struct Window {
    /// Its number within the chain, which no other window gets.
    pub number: u32,
    /// `<epoch>/<meter>/<start>`.
    pub id: Rc<str>,
    /// The meter's slug.
    pub meter: Rc<str>,
    /// Which subscription of the chain.
    pub epoch: u32,
    /// First instant, unix ms.
    pub start_ms: i64,
    /// First instant after it, unix ms.
    pub end_ms: i64,
    /// Units the plan includes.
    pub included: Option<u64>,
    /// Units at which requests are refused.
    pub limit: Option<u64>,
    leases: Leases,
    in_flight: u64,
    granted: u64,
    reservations: u32,
    last_spent_ms: u64,
    rate: SpendingRate,
    spends_fractions: bool,
    consumed: Vec<Consumed>,
    returned: u64,
    shares: Shares,
    unacknowledged: u64,
    view: Option<WindowView>,
    exhausted_until_ms: u64,
    others_wait: bool,
}

impl Window {
    /// A window in which nothing happened yet.
    #[must_use]
    pub fn new(number: u32, epoch: u32, meter: &str, described: &contract::Window) -> Self {
        let meter = meter.into();
        Self {
            number,
            id: name(&meter, epoch, described.start_ms),
            meter,
            epoch,
            start_ms: described.start_ms,
            end_ms: described.end_ms,
            included: described.included.map(Units::milli),
            limit: described.limit.map(Units::milli),
            leases: Leases::default(),
            in_flight: 0,
            granted: 0,
            reservations: 0,
            last_spent_ms: 0,
            rate: SpendingRate::NONE,
            spends_fractions: false,
            consumed: Vec::new(),
            returned: 0,
            shares: Shares::default(),
            unacknowledged: 0,
            view: None,
            exhausted_until_ms: 0,
            others_wait: false,
        }
    }

    /// Leased units not yet spent.
    #[must_use]
    pub const fn free(&self) -> u64 {
        self.leases.free()
    }

    /// Leased units: not spent, or reserved by requests under way.
    #[must_use]
    pub const fn held(&self) -> u64 {
        self.leases.free() + self.in_flight
    }

    /// Consumed units that Redis has not acknowledged.
    #[must_use]
    pub const fn unacknowledged(&self) -> u64 {
        self.unacknowledged
    }

    /// Whether Redis said lately that there are not so many units, and need not be asked again yet; 0 are not there
    /// when nothing is.
    #[must_use]
    pub fn is_exhausted(&self, milli: u64, now_ms: u64) -> bool {
        now_ms < self.exhausted_until_ms && self.remaining().is_none_or(|left| left < milli.max(1))
    }

    /// Whether units may come back: from requests under way here or leases elsewhere.
    #[must_use]
    pub fn units_may_return(&self) -> bool {
        self.in_flight > 0
            || self.unacknowledged > 0
            || self.returned > 0
            || !self.shares.is_idle()
            || self.view.is_none_or(|view| view.leased_to_others > 0)
    }

    /// Units left as this worker knows it: of the limit if there is one, else of what the plan includes.
    #[must_use]
    pub fn remaining(&self) -> Option<u64> {
        let view = self.view.unwrap_or_default();
        match self.limit {
            Some(_) => Some(view.remaining.unwrap_or(0) + self.free()),
            None => self.included.map(|included| {
                included.saturating_sub(view.used + self.unacknowledged + self.in_flight)
            }),
        }
    }

    /// Whether `milli` units can be spent at once; 0 asks only that something is left.
    #[must_use]
    pub fn can_spend(&self, milli: u64, now_ms: u64, rules: &LeaseRules) -> bool {
        let spendable = match rules.lost_leases {
            LostLeases::Hold => self.free(),
            LostLeases::Return => self.leases.valid(now_ms, rules.ttl_ms),
        };
        spendable >= milli.max(1)
    }

    /// Takes `milli` units from the leases, oldest first; the caller has asked [`Window::can_spend`].
    pub fn reserve(&mut self, milli: u64, now_ms: u64, rules: &LeaseRules) -> Reservation {
        if rules.lost_leases == LostLeases::Return {
            self.expire(now_ms, rules);
        }
        let (taken, leased_ms) = self.leases.take(milli);
        self.in_flight += taken;
        self.rate.add(milli, now_ms);
        self.spends_fractions |= !milli.is_multiple_of(MILLI_PER_UNIT);
        self.last_spent_ms = now_ms;
        self.reservations += 1;
        Reservation { milli, leased_ms }
    }

    /// Spends `milli` units that no lease covers: on a soft limit, or while Redis is away.
    pub const fn spend_unleased(&mut self, milli: u64, now_ms: u64) -> Reservation {
        self.last_spent_ms = now_ms;
        self.reservations += 1;
        Reservation {
            milli,
            leased_ms: None,
        }
    }

    /// Turns a reservation into consumption of an hour by a key.
    pub fn consume(&mut self, reservation: Reservation, hour: i64, key: &Rc<str>) {
        self.reservations = self.reservations.saturating_sub(1);
        let funding = if reservation.leased_ms.is_some() {
            self.in_flight = self.in_flight.saturating_sub(reservation.milli);
            Funding::Leased
        } else {
            Funding::Unleased
        };
        self.count(reservation.milli, funding, hour, key);
    }

    /// Adds to what the next batch reports.
    fn count(&mut self, milli: u64, funding: Funding, hour: i64, key: &Rc<str>) {
        if milli == 0 {
            return;
        }
        self.unacknowledged += milli;
        let same = |consumed: &&mut Consumed| {
            consumed.hour == hour && consumed.funding == funding && consumed.key == *key
        };
        if let Some(consumed) = self.consumed.iter_mut().rev().find(same) {
            consumed.milli += milli;
        } else {
            // Most windows are used by one key in one hour.
            if self.consumed.capacity() == 0 {
                self.consumed.reserve_exact(1);
            }
            self.consumed.push(Consumed {
                window: Rc::clone(&self.id),
                hour,
                key: Rc::clone(key),
                milli,
                funding,
            });
        }
    }

    /// Gives a reservation back to the lease it came from, or to Redis when that lease is over.
    pub fn release(&mut self, reservation: Reservation, now_ms: u64, rules: &LeaseRules) {
        self.reservations = self.reservations.saturating_sub(1);
        self.give_up(reservation, now_ms, rules);
    }

    fn give_up(&mut self, reservation: Reservation, now_ms: u64, rules: &LeaseRules) {
        let Some(sent_ms) = reservation.leased_ms else {
            return;
        };
        self.in_flight = self.in_flight.saturating_sub(reservation.milli);
        if now_ms >= sent_ms + rules.ttl_ms {
            self.returned += reservation.milli;
        } else if reservation.milli > 0 {
            self.leases.put_back(sent_ms, reservation.milli);
        }
    }

    /// Takes in what Redis says of the window after a batch first sent at `sent_ms` that asked for `need`.
    pub fn learn(
        &mut self,
        state: &WindowState<'_>,
        need: u64,
        sent_ms: u64,
        now_ms: u64,
        ask_again_ms: u64,
    ) {
        self.view = Some(WindowView {
            remaining: state.remaining,
            leased_to_others: state.leased_to_others,
            used: state.used,
        });
        self.others_wait = state.others_wait;
        if state.granted > 0 {
            self.leases.add(sent_ms, state.granted);
            self.granted = self.free();
        }
        // A worker that got less although there was more was refused for the time, not for the quota.
        let short = state.granted < need && state.remaining.is_some_and(|left| left < need);
        self.exhausted_until_ms = match (short, self.units_may_return()) {
            (false, _) => 0,
            (true, true) => now_ms + ask_again_ms,
            (true, false) => now_ms + EXHAUSTED_RECHECK_MS,
        };
    }

    /// Takes over what a newer document says of the window.
    pub fn describe(&mut self, described: &contract::Window) {
        self.limit = described.limit.map(Units::milli);
        self.included = described.included.map(Units::milli);
        self.end_ms = described.end_ms;
    }

    /// Forgets that there were no units: the document, or Redis, is another one.
    pub const fn ask_again(&mut self) {
        self.exhausted_until_ms = 0;
    }

    /// Whether less than half of the last lease is left.
    #[must_use]
    pub const fn is_half_spent(&self) -> bool {
        self.limit.is_some() && self.granted > 0 && self.free() * 2 < self.granted
    }

    /// What the worker would like to hold: what it spent in the last second, less what it has; whole units where it
    /// spends whole ones, since a fraction would be of no use to anybody.
    #[must_use]
    pub const fn want(&self, now_ms: u64, rules: &LeaseRules) -> u64 {
        let is_idle = now_ms >= self.last_spent_ms + LEASE_IDLE_MS;
        if self.limit.is_none() || is_idle || rules.ttl_ms == 0 {
            return 0;
        }
        let want = self.rate.last_second(now_ms).saturating_sub(self.free());
        if self.spends_fractions {
            want
        } else {
            want - want % MILLI_PER_UNIT
        }
    }

    /// When the unspent rest of the leases is to be given back: once nothing was spent for [`LEASE_IDLE_MS`], and at
    /// the latest when the oldest is over.
    fn return_due_ms(&self, rules: &LeaseRules) -> Option<u64> {
        let oldest_ms = self.leases.oldest_ms()?;
        let idle_ms = self.last_spent_ms.max(oldest_ms) + LEASE_IDLE_MS.min(rules.ttl_ms);
        Some(idle_ms.min(oldest_ms + rules.ttl_ms))
    }

    /// When the next batch is due for the leases' sake: something is to be given back.
    #[must_use]
    pub fn give_back_due_ms(&self, rules: &LeaseRules) -> Option<u64> {
        let mut due_ms = self.return_due_ms(rules)?;
        if self.others_wait {
            due_ms = due_ms.min(self.last_spent_ms + rules.flush_interval_ms);
        }
        Some(due_ms)
    }

    /// Moves what is due to be given back to the next batch.
    pub fn give_back(&mut self, now_ms: u64, rules: &LeaseRules) {
        let due = self.give_back_due_ms(rules);
        self.expire(now_ms, rules);
        let idle_ms = LEASE_IDLE_MS.min(rules.ttl_ms);
        let limit_ms = if self.others_wait {
            rules.flush_interval_ms
        } else {
            idle_ms
        };
        if due.is_some_and(|due_ms| now_ms >= due_ms) && now_ms >= self.last_spent_ms + limit_ms {
            self.give_back_all();
        }
    }

    fn give_back_all(&mut self) {
        self.returned += self.leases.clear();
        self.granted = 0;
        self.others_wait = false;
    }

    fn expire(&mut self, now_ms: u64, rules: &LeaseRules) {
        self.returned += self.leases.expire(now_ms, rules.ttl_ms);
    }

    /// Whether a batch has something to report.
    #[must_use]
    pub fn has_unsent(&self) -> bool {
        self.has_lease_news() || self.shares.has_changes()
    }

    /// Whether a batch reports something that changes leases.
    #[must_use]
    pub const fn has_lease_news(&self) -> bool {
        !self.consumed.is_empty() || self.returned > 0
    }

    /// Whether nothing would be lost with this window.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        let claims = self.shares.is_idle();
        self.held() == 0
            && self.reservations == 0
            && self.unacknowledged == 0
            && self.returned == 0
            && claims
    }

    /// Moves what was consumed and returned into a batch.
    pub fn drain_into(&mut self, batch: &mut super::Batch) {
        batch.consumed.append(&mut self.consumed);
        if self.returned > 0 {
            batch.returned.push((Rc::clone(&self.id), self.returned));
            self.returned = 0;
        }
        self.shares.drain_into(&mut batch.changes);
    }

    /// Says in a batch what the worker has of the window, for a Redis that may have forgotten.
    pub fn declare_in(&self, batch: &mut super::Batch) {
        batch.declared.push((Rc::clone(&self.id), self.held()));
        self.shares.declare_in(&mut batch.changes);
    }

    /// Notes that Redis counted `milli` consumed units, or that they were given up.
    pub const fn acknowledge(&mut self, milli: u64) {
        self.unacknowledged = self.unacknowledged.saturating_sub(milli);
    }
}

/// A lease nobody spends is given back after this time.
const LEASE_IDLE_MS: u64 = 1_000;
/// Redis is asked again after this time even where no unit can come back: a change may have been missed.
const EXHAUSTED_RECHECK_MS: u64 = 60_000;
