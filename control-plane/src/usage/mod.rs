//! The ledger: what was consumed, read from Redis and kept for good.
//!
//! A counter in Redis only grows while a life of the store lasts, and the ledger takes the greatest
//! value it has seen of it: reading again, late or twice at once changes nothing. How far each
//! worker's batches have come is stored with the counters they made, so that a batch which the
//! ledger holds is never counted again, whatever Redis forgets.

mod drain;
pub mod events;
pub mod query;
mod recording;
pub mod routes;
mod store;
mod windows;

use std::collections::BTreeMap;

use tollgate_engine::contract::WindowId;
use tollgate_engine::units::Units;

pub use drain::Drain;
pub(crate) use events::held_beside;
pub use store::{is_used, last_drain};
pub(crate) use windows::{Mark, Span, mark_rated, totals};

use crate::clock::{BusinessInstant, MachineInstant};

/// Consumed units of one hour by one API key, in one window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counter {
    /// The window they were admitted in.
    pub window: WindowId,
    /// How often the window's counters had been removed before.
    pub late_generation: i64,
    /// Hours since 1970.
    pub hour: i64,
    /// `key_…`.
    pub api_key: String,
    /// How many.
    pub units: Units,
}

/// What Redis had of a chain at one instant.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Reading {
    chain: String,
    /// What names of the chain begin with.
    tagged: String,
    generation: i64,
    counters: Vec<Counter>,
    /// The last batch of each worker.
    sequences: Vec<(String, u64)>,
}

/// How far each worker's batches are in the ledger.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Workers(BTreeMap<String, (u64, i64)>);

impl Workers {
    /// Takes in what was read at `now`, and forgets workers that Redis has forgotten as well.
    fn merge(
        &mut self,
        sequences: &[(String, u64)],
        now: MachineInstant,
        forgotten: MachineInstant,
    ) {
        for (worker, number) in sequences {
            let known = self.0.entry(worker.clone()).or_default();
            if known.0 < *number {
                *known = (*number, now.unix_ms());
            }
        }
        self.0
            .retain(|_, (_, risen_ms)| forgotten.unix_ms() <= *risen_ms);
    }
}

/// The last time that everything in Redis was read; the store has its mark, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastDrain {
    /// When it began: what was settled before is in the ledger.
    pub began_at: BusinessInstant,
    /// The same by the clock of machines.
    pub mark: MachineInstant,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_workers_only_rise_and_are_forgotten_with_redis() {
        let at = MachineInstant::from_unix_ms;
        let mut workers = Workers::default();
        let read = |texts: &[(&str, u64)]| -> Vec<(String, u64)> {
            texts
                .iter()
                .map(|(worker, number)| ((*worker).to_owned(), *number))
                .collect()
        };
        workers.merge(&read(&[("a", 3), ("b", 1)]), at(100), at(0));
        // An older reading, and one that says the same.
        workers.merge(&read(&[("a", 2), ("b", 1)]), at(200), at(0));
        assert_eq!(
            workers.0,
            BTreeMap::from([("a".into(), (3, 100)), ("b".into(), (1, 100))])
        );
        workers.merge(&read(&[("a", 4)]), at(300), at(101));
        assert_eq!(workers.0, BTreeMap::from([("a".into(), (4, 300))]));
    }
}
