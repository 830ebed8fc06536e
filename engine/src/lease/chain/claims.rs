//! A chain's claims: requests that wait until Redis has counted their units.

use super::Chain;
use crate::lease::Batch;
use crate::lease::claims::{Claim, Counted};

impl Chain {
    /// Has what is unsettled told at once, since a response waits until it is; answers the number of the batch with it.
    pub const fn hurry(&mut self) -> u64 {
        self.hurries = true;
        self.sequence.last() + 1
    }

    /// Whether Redis has counted the batch of that number.
    #[must_use]
    pub fn has_told(&self, number: u64) -> bool {
        let oldest = self.to_send().next();
        number <= self.sequence.last() && oldest.is_none_or(|batch| batch.number > number)
    }

    /// What became of the claims that were answered last, if nobody asked yet.
    pub const fn take_counted(&mut self) -> Option<Counted> {
        self.counted.take()
    }

    /// Gives units of a claim back that were counted for nobody.
    pub fn return_claim(&mut self, claim: &Claim, requests: u64, now_ms: u64) {
        for cost in &claim.costs {
            let known = self
                .windows
                .iter_mut()
                .find(|window| window.id == cost.window);
            if let Some(window) = known
                && cost.milli > 0
            {
                window.return_claim(cost.milli * requests, claim.hour, &claim.key);
                self.unsettled_since_ms.get_or_insert(now_ms);
            }
        }
    }

    pub(super) fn add_claims(&mut self, batch: &mut Batch, claims: Vec<Claim>) {
        if claims.is_empty() {
            return;
        }
        for window in &mut self.windows {
            let costs = claims.iter().flat_map(|claim| {
                let costs = claim.costs.iter();
                costs.map(|cost| (cost, cost.milli.max(cost.least) * claim.count))
            });
            let needs = costs.filter(|(cost, _)| cost.window == window.id);
            let milli: u64 = needs.map(|(_, milli)| milli).sum();
            if milli > 0 {
                window.make_room(milli);
            }
        }
        self.round += 1;
        batch.round = self.round;
        batch.claims = claims;
    }

    /// Which batch with claims comes next, counted from 1.
    #[must_use]
    pub const fn next_round(&self) -> u64 {
        self.round + 1
    }

    pub(super) fn note_counted(&mut self, batch: Batch, counts: Vec<u64>) {
        if !batch.claims.is_empty() {
            self.counted = Some(Counted {
                round: batch.round,
                claims: batch.claims,
                counts,
            });
        }
    }
}
