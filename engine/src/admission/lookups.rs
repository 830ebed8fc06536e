//! Keys to look up, and keys being looked up.

use std::collections::BTreeMap;

use super::Waiting;
use super::rates::RateNeed;
use crate::api_key::{KeyHash, Tag};
use crate::contract::KeyDocument;
use crate::lease::{Batch, Wanted};
use crate::limits::LOOKUPS_PER_CALL_MAX;
use crate::policy::{Demand, MeteringMode};

/// Look-ups by key. An answer that was lost may have leased units, so one is repeated, unchanged, until it is answered.
#[derive(Debug, Default)]
pub(super) struct Lookups {
    queued: BTreeMap<KeyHash, Lookup>,
    in_doubt: BTreeMap<KeyHash, Lookup>,
}

/// One look-up.
#[derive(Debug)]
pub(super) struct Lookup {
    pub(super) tag: Tag,
    /// What the requests that wait for it need, as the worker's first batch for a chain it does not know.
    pub(super) batch: Batch,
    /// What they need of rate limits.
    pub(super) rates: Vec<RateNeed>,
    /// Of an imported key whose chain is looked up now.
    pub(super) key: Option<KeyDocument>,
    /// Whether that may have changed since it was read.
    pub(super) is_stale: bool,
}

impl Lookups {
    /// Has a waiting request's key looked up by the next call, unless that is full.
    pub(super) fn want(&mut self, waiting: &Waiting, demand: &Demand, mode: MeteringMode) -> bool {
        if self.in_doubt.contains_key(&waiting.hash) {
            return true;
        }
        if self.queued.len() >= LOOKUPS_PER_CALL_MAX && !self.queued.contains_key(&waiting.hash) {
            return false;
        }
        let lookup = self.queued.entry(waiting.hash).or_insert_with(|| Lookup {
            tag: waiting.tag,
            batch: Batch::default(),
            rates: Vec::new(),
            key: None,
            is_stale: false,
        });
        if mode == MeteringMode::Leased {
            add_demand(&mut lookup.batch, demand);
        }
        lookup.add_rates(&demand.rates);
        true
    }

    /// What goes out now: all in doubt, and of the queued as many as there is room for.
    pub(super) fn send(&mut self, now_ms: u64) -> impl Iterator<Item = (&KeyHash, &Lookup)> {
        while self.in_doubt.len() < LOOKUPS_PER_CALL_MAX
            && let Some((hash, mut lookup)) = self.queued.pop_first()
        {
            lookup.batch.first_sent_ms = now_ms;
            self.in_doubt.insert(hash, lookup);
        }
        self.in_doubt.iter()
    }

    /// Takes out a look-up that was answered.
    pub(super) fn answered(&mut self, hash: &KeyHash) -> Option<Lookup> {
        self.in_doubt.remove(hash)
    }

    /// Has the chain of an imported key looked up by the next call.
    pub(super) fn go_on(&mut self, hash: &KeyHash, document: KeyDocument) {
        if let Some(lookup) = self.in_doubt.remove(hash) {
            let lookup = Lookup {
                key: Some(document),
                is_stale: false,
                ..lookup
            };
            self.queued.insert(*hash, lookup);
        }
    }

    /// Has an imported key's document read again, by the next call.
    pub(super) fn begin_again(&mut self, hash: KeyHash, tag: Tag) {
        let lookup = Lookup {
            tag,
            batch: Batch::default(),
            rates: Vec::new(),
            key: None,
            is_stale: false,
        };
        self.queued.insert(hash, lookup);
    }

    /// Notes that the document of a key may have changed, or those of all.
    pub(super) fn distrust(&mut self, changed: Option<&KeyHash>) {
        for lookups in [&mut self.queued, &mut self.in_doubt] {
            let changed = lookups
                .iter_mut()
                .filter(|(hash, _)| changed.is_none_or(|changed| *hash == changed));
            for (_, lookup) in changed {
                lookup.is_stale = lookup.key.is_some();
            }
        }
    }

    /// Whether there is nothing to look up.
    pub(super) fn is_empty(&self) -> bool {
        self.queued.is_empty() && self.in_doubt.is_empty()
    }
}

/// Adds what one waiting request needs.
fn add_demand(batch: &mut Batch, demand: &Demand) {
    for cost in &demand.meters {
        let milli = cost.held.milli().max(1);
        let known = batch
            .wanted
            .iter_mut()
            .find(|wanted| *wanted.meter == *cost.meter.as_str());
        match known {
            Some(wanted) => {
                wanted.need += milli;
                wanted.least = wanted.least.min(milli);
            }
            None => batch.wanted.push(Wanted {
                meter: cost.meter.as_str().into(),
                window: "".into(),
                least: milli,
                need: milli,
                want: 0,
            }),
        }
    }
}
