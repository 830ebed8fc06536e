//! What goes into the worker's next call to Redis.

use super::chains::{ChainRef, Chains};
use super::{Call, Lack, Now, Part, Worker, rates};
use crate::contract::Script;
use crate::contract::call::{self, BatchHeader, Order, Subject};
use crate::lease::{Claim, Need};
use crate::limits::{SETTLES_AT_ONCE_MAX, SETTLES_PER_CALL_MAX, SETTLES_PER_SECOND_MAX};

/// How many chains may be settled now: as many as its pace allows, but never so many at once that a call takes long.
#[derive(Clone, Copy, Debug)]
pub(super) struct SettleBudget {
    /// In thousandths of one.
    left: u64,
    refilled_ms: u64,
}

/// One settle in the units of the budget.
const SETTLE: u64 = 1_000;

impl Default for SettleBudget {
    fn default() -> Self {
        Self {
            left: SETTLE * SETTLES_AT_ONCE_MAX,
            refilled_ms: 0,
        }
    }
}

impl SettleBudget {
    pub(super) const fn take(&mut self, now_ms: u64) -> bool {
        let elapsed_ms = now_ms.saturating_sub(self.refilled_ms);
        self.refilled_ms = now_ms;
        let left = self
            .left
            .saturating_add(elapsed_ms.saturating_mul(SETTLES_PER_SECOND_MAX));
        let most = SETTLE * SETTLES_AT_ONCE_MAX;
        self.left = if left < most { left } else { most };
        if self.left < SETTLE {
            return false;
        }
        self.left -= SETTLE;
        true
    }
}

impl Chains {
    /// Whether what a request lacks is to be asked for now; units that were refused are asked for again later.
    fn ask_for(&mut self, lack: &Lack, now_ms: u64) -> bool {
        match lack {
            Lack::Reading | Lack::Document(_) | Lack::Rates(..) => true,
            // It is among the look-ups.
            Lack::Key => false,
            Lack::Claim(claiming) => self.asks_claim(claiming, now_ms),
            Lack::Units(chain, needs) => self.get(*chain).is_some_and(|chain| {
                needs
                    .iter()
                    .any(|need| !chain.is_exhausted(&need.window, need.least, now_ms))
            }),
        }
    }
}

impl Worker {
    /// The bytes to send now, if a call is due and allowed; the result belongs to [`Worker::answer`].
    pub fn next_call(&mut self, now: Now) -> Option<Vec<u8>> {
        let now_ms = now.monotonic_ms;
        if self.call.is_some() || !self.has_something_to_ask(now_ms) {
            return None;
        }
        if !self.link.take_call(now_ms) {
            return None;
        }
        let mut bytes = Vec::with_capacity(1_024);
        let mut parts = Vec::new();
        self.begin(&mut bytes, &mut parts);
        self.add_batches(&mut bytes, &mut parts, now_ms);
        self.add_rates(&mut bytes, &mut parts, now_ms);
        self.add_lookups(&mut bytes, &mut parts, now_ms);
        self.call = Some(Call {
            sent_ms: now_ms,
            parts,
        });
        Some(bytes)
    }

    fn has_something_to_ask(&mut self, now_ms: u64) -> bool {
        let awaits_more = self.company.is_awaited(self.waiting.len(), now_ms);
        !self.lookups.is_empty()
            || !self.rates_ahead.is_empty()
            || self.link.reading_due(now_ms)
            || self.link.probe_due(now_ms)
            || self.chains.is_any_due(now_ms, &self.rules)
            || self.waiting.iter().any(|waiting| {
                let may_wait = awaits_more && matches!(waiting.lack, Lack::Claim(_));
                !may_wait && self.chains.ask_for(&waiting.lack, now_ms)
            })
    }

    fn begin(&mut self, bytes: &mut Vec<u8>, parts: &mut Vec<Part>) {
        if let Some(password) = &self.password {
            call::authenticate(bytes, self.policy.redis.username.as_deref(), password);
            parts.push(Part::Authenticate);
        }
        if self.load_scripts {
            let rate = rates::are_used(&self.policy).then_some(Script::Rate);
            let key = self.policy.auth.foreign_keys.then_some(Script::Key);
            let scripts = [Script::Enter, Script::Settle].into_iter();
            for script in scripts.chain(rate).chain(key) {
                call::load(bytes, script);
                parts.push(Part::Load);
            }
        }
        self.writer.enter(bytes, self.position);
        parts.push(Part::Enter);
    }

    fn add_batches(&mut self, bytes: &mut Vec<u8>, parts: &mut Vec<Part>, now_ms: u64) {
        let mut claims = self.gather_claims(now_ms);
        for (chain, needs) in self.needs(now_ms) {
            let claims = claims.remove(&chain.slot).map_or_else(Vec::new, |of| of.1);
            self.add_chain(bytes, parts, chain, (&needs, claims), now_ms);
        }
        for (chain, claims) in claims.into_values() {
            self.add_chain(bytes, parts, chain, (&[], claims), now_ms);
        }
        // All that are due are taken before any is added, so that none comes twice and holds up the others.
        let mut due = Vec::new();
        while due.len() < SETTLES_PER_CALL_MAX
            && self.chains.is_any_due(now_ms, &self.rules)
            && self.settles.take(now_ms)
            && let Some(chain) = self.chains.next_due(now_ms, &self.rules)
        {
            due.push(chain);
        }
        for chain in due {
            self.add_chain(bytes, parts, chain, (&[], Vec::new()), now_ms);
        }
    }

    /// What waiting requests need, by chain; a chain whose document they lack comes with no needs.
    fn needs(&mut self, now_ms: u64) -> Vec<(ChainRef, Vec<Need>)> {
        let mut by_chain: Vec<(ChainRef, Vec<Need>)> = Vec::new();
        for waiting in &self.waiting {
            if !self.chains.ask_for(&waiting.lack, now_ms) {
                continue;
            }
            let (chain, needs): (_, &[Need]) = match &waiting.lack {
                Lack::Document(chain) => (*chain, &[]),
                Lack::Units(chain, needs) => (*chain, needs),
                // Claims and rates are asked for apart from batches.
                Lack::Reading | Lack::Key | Lack::Claim(_) | Lack::Rates(..) => continue,
            };
            if !by_chain.iter().any(|(known, _)| *known == chain) {
                by_chain.push((chain, Vec::new()));
            }
            for (_, gathered) in by_chain.iter_mut().filter(|(known, _)| *known == chain) {
                for need in needs {
                    add_need(gathered, need);
                }
            }
        }
        by_chain
    }

    fn add_chain(
        &mut self,
        bytes: &mut Vec<u8>,
        parts: &mut Vec<Part>,
        reference: ChainRef,
        (needs, claims): (&[Need], Vec<Claim>),
        now_ms: u64,
    ) {
        let Some(chain) = self.chains.get(reference) else {
            return;
        };
        if let Some(answered_ms) = self.link.last_good_ms() {
            chain.forget(answered_ms, self.store_number);
        }
        let lost = chain.lost_batches();
        chain.prepare(needs, claims, now_ms, &self.rules);
        self.stats.batches_lost += chain.lost_batches() - lost;
        let in_doubt = chain.in_doubt();
        let version = chain.document_version().unwrap_or(0);
        for batch in chain.to_send() {
            let header = BatchHeader {
                worker: &self.id,
                sequence: batch.number,
                version,
                order: batch.order(),
            };
            let subject = Subject::Chain {
                tag: chain.tag,
                chain: &chain.id,
            };
            self.writer
                .settle(bytes, &subject, &header, batch.entries());
            parts.push(Part::Batch(reference, batch.number));
            self.stats.batches += 1;
            // Not what is sent again.
            if batch.first_sent_ms == now_ms {
                self.stats.returns += batch.returned.len() as u64;
            }
        }
        self.chains.unschedule(reference);
        // What is in doubt now is due again with the answer to this call, not within it.
        if !in_doubt {
            self.chains.schedule(reference, &self.rules);
        }
    }

    fn add_lookups(&mut self, bytes: &mut Vec<u8>, parts: &mut Vec<Part>, now_ms: u64) {
        let mut lookups = std::mem::take(&mut self.lookups);
        for (hash, lookup) in lookups.send(now_ms) {
            let header = BatchHeader {
                worker: &self.id.clone(),
                sequence: u64::from(!lookup.batch.wanted.is_empty()),
                version: 0,
                order: Order::Next,
            };
            let subject = match &lookup.key {
                Some(document) => Subject::Chain {
                    tag: document.tag,
                    chain: &document.chain,
                },
                None if self.may_be_imported(hash, lookup.tag) => {
                    self.add_key(bytes, parts, (hash, lookup.tag));
                    continue;
                }
                None => Subject::Key {
                    tag: lookup.tag,
                    hash,
                },
            };
            self.writer
                .settle(bytes, &subject, &header, lookup.batch.entries());
            parts.push(Part::Lookup(*hash));
            self.stats.lookups += 1;
            self.add_first_rates(bytes, parts, &subject, (hash, lookup));
        }
        self.lookups = lookups;
    }
}

fn add_need(gathered: &mut Vec<Need>, need: &Need) {
    match gathered
        .iter_mut()
        .find(|known| known.window == need.window)
    {
        Some(known) => {
            known.milli += need.milli;
            known.least = known.least.min(need.least);
        }
        None => gathered.push(need.clone()),
    }
}
