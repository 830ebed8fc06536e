//! Requests that wait until Redis has counted their units, and what becomes of those units.

use std::rc::Rc;

use smallvec::SmallVec;

use crate::contract::call::{Bounds, ClaimChange, ClaimCost};
use crate::packed::pack_fields;

/// Requests alike that wait for their units to be counted: all of each or nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Hours since the unix epoch.
    pub hour: i64,
    /// `key_…`.
    pub key: Rc<str>,
    /// Whether limits are heeded.
    pub bounds: Bounds,
    /// What each takes.
    pub costs: SmallVec<[ClaimCost; 2]>,
    /// How many requests.
    pub count: u64,
}

pack_fields!(Claim: hour, key, bounds, costs, count);
pack_fields!(Counted: round, claims, counts);
pack_fields!(Share: window, hour, key, milli);
pack_fields!(Shares: open, changes);

impl Claim {
    /// Whether requests of both may be counted as one.
    #[must_use]
    pub fn is_alike(&self, other: &Self) -> bool {
        self.hour == other.hour
            && self.bounds == other.bounds
            && self.key == other.key
            && self.costs == other.costs
    }

    /// What was counted of it, said again to a Redis that lost it.
    pub(super) fn counted(self, count: u64) -> Self {
        Self {
            bounds: Bounds::Beyond,
            count,
            ..self
        }
    }
}

/// How many requests of each claim of a batch were counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    /// Which batch with claims of the chain, counted from 1.
    pub round: u64,
    /// The claims.
    pub claims: Vec<Claim>,
    /// By claim, how many.
    pub counts: Vec<u64>,
}

/// Units of one hour and key that were claimed from a window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// The window.
    pub window: Rc<str>,
    /// Hours since the unix epoch.
    pub hour: i64,
    /// `key_…`.
    pub key: Rc<str>,
    /// Thousandths of a unit.
    pub milli: u64,
}

impl Share {
    fn is_of(&self, hour: i64, key: &Rc<str>) -> bool {
        self.hour == hour && self.key == *key
    }
}

/// What a worker has claimed from one window.
#[derive(Clone, Debug, Default)]
pub(super) struct Shares {
    /// Of requests under way.
    open: Vec<Share>,
    /// What the next batch tells.
    changes: Vec<(ClaimChange, Share)>,
}

impl Shares {
    /// Units of a request that goes on.
    pub(super) fn open(&mut self, share: Share) {
        let same = |open: &&mut Share| open.is_of(share.hour, &share.key);
        match self.open.iter_mut().find(same) {
            Some(open) => open.milli += share.milli,
            None => self.open.push(share),
        }
    }

    /// Units of a request that does no longer.
    pub(super) fn close(&mut self, milli: u64, hour: i64, key: &Rc<str>) {
        for open in self.open.iter_mut().filter(|open| open.is_of(hour, key)) {
            open.milli = open.milli.saturating_sub(milli);
        }
        self.open.retain(|open| open.milli > 0);
    }

    /// Adds to what the next batch tells.
    pub(super) fn note(&mut self, change: ClaimChange, share: Share) {
        if share.milli == 0 {
            return;
        }
        let same = |(known, noted): &&mut (ClaimChange, Share)| {
            *known == change && noted.is_of(share.hour, &share.key)
        };
        match self.changes.iter_mut().find(same) {
            Some((_, noted)) => noted.milli += share.milli,
            None => self.changes.push((change, share)),
        }
    }

    /// Moves what there is to tell into a batch.
    pub(super) fn drain_into(&mut self, changes: &mut Vec<(ClaimChange, Share)>) {
        changes.append(&mut self.changes);
    }

    /// Says in a batch what is under way.
    pub(super) fn declare_in(&self, changes: &mut Vec<(ClaimChange, Share)>) {
        let kept = self.open.iter().cloned();
        changes.extend(kept.map(|share| (ClaimChange::Kept, share)));
    }

    /// Whether units of requests under way are counted.
    pub(super) const fn is_open(&self) -> bool {
        !self.open.is_empty()
    }

    /// Whether units are to be given back.
    pub(super) fn gives_back(&self) -> bool {
        let mut changes = self.changes.iter();
        changes.any(|(change, _)| *change == ClaimChange::GivenBack)
    }

    /// Whether there is anything to tell.
    pub(super) const fn has_changes(&self) -> bool {
        !self.changes.is_empty()
    }

    /// Whether nothing would be lost with this.
    pub(super) const fn is_idle(&self) -> bool {
        self.open.is_empty() && self.changes.is_empty()
    }
}
