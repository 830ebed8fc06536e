//! Reservations whose response told what they cost.

use std::rc::Rc;

use super::{LeaseRules, Reservation, Window};
use crate::contract::call::{Funding, LostLeases};
use crate::limits::MILLI_PER_UNIT;

impl Window {
    /// Turns a reservation into what its response turned out to cost: gives back what is left of it, or takes what it
    /// lacks from the leases as far as they go, and beyond them too.
    pub fn consume_told(
        &mut self,
        reservation: Reservation,
        milli: u64,
        (hour, key): (i64, &Rc<str>),
        now_ms: u64,
        rules: &LeaseRules,
    ) {
        let held = Reservation {
            milli: reservation.milli.min(milli),
            ..reservation
        };
        let left = reservation.milli - held.milli;
        if left > 0 {
            let left = Reservation {
                milli: left,
                ..reservation
            };
            self.give_up(left, now_ms, rules);
        }
        self.consume(held, hour, key);
        let beyond = milli - held.milli;
        if beyond > 0 {
            self.consume_beyond(beyond, (hour, key), now_ms, rules);
        }
    }

    fn consume_beyond(
        &mut self,
        milli: u64,
        (hour, key): (i64, &Rc<str>),
        now_ms: u64,
        rules: &LeaseRules,
    ) {
        if rules.lost_leases == LostLeases::Return {
            self.expire(now_ms, rules);
        }
        let (leased, _) = self.leases.take(milli);
        self.rate.add(milli, now_ms);
        self.spends_fractions |= !milli.is_multiple_of(MILLI_PER_UNIT);
        self.last_spent_ms = now_ms;
        self.count(leased, Funding::Leased, hour, key);
        self.count(milli - leased, Funding::Unleased, hour, key);
    }
}
