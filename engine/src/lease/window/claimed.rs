//! Units that Redis counted before their request went on.

use std::rc::Rc;

use super::{Reservation, Window};
use crate::contract::call::{ClaimChange, Funding};
use crate::lease::Share;

impl Window {
    fn share(&self, milli: u64, hour: i64, key: &Rc<str>) -> Share {
        Share {
            window: Rc::clone(&self.id),
            hour,
            key: Rc::clone(key),
            milli,
        }
    }

    /// Notes that a request goes on whose `milli` units Redis has counted.
    pub fn open_claim(&mut self, milli: u64, hour: i64, key: &Rc<str>, now_ms: u64) {
        self.reservations += 1;
        self.last_spent_ms = now_ms;
        if milli > 0 {
            self.shares.open(self.share(milli, hour, key));
        }
    }

    /// Turns what was claimed into what the request turned out to cost: less is given back, more is consumed beyond it.
    pub fn close_claim(
        &mut self,
        reservation: Reservation,
        milli: u64,
        (hour, key): (i64, &Rc<str>),
    ) {
        self.reservations = self.reservations.saturating_sub(1);
        self.shares.close(reservation.milli, hour, key);
        let finished = reservation.milli.min(milli);
        let finish = self.share(finished, hour, key);
        self.shares.note(ClaimChange::Finished, finish);
        self.return_claim(reservation.milli - finished, hour, key);
        self.count(milli - finished, Funding::Unleased, hour, key);
    }

    /// Gives units back that were counted for nobody.
    pub fn return_claim(&mut self, milli: u64, hour: i64, key: &Rc<str>) {
        let returned = self.share(milli, hour, key);
        self.shares.note(ClaimChange::GivenBack, returned);
    }

    /// Whether units that were claimed are to be given back.
    #[must_use]
    pub fn gives_claims_back(&self) -> bool {
        self.shares.gives_back()
    }

    /// Whether requests are under way whose units Redis has counted.
    #[must_use]
    pub const fn has_open_claims(&self) -> bool {
        self.shares.is_open()
    }

    /// Gives the unspent rest of the leases back where claims may need it: Redis leases it to nobody else meanwhile.
    pub fn make_room(&mut self, milli: u64) {
        let left = self.view.and_then(|view| view.remaining).unwrap_or(0);
        if self.limit.is_some() && left < milli {
            self.give_back_all();
        }
    }
}
