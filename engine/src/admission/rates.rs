//! Rate limits: units of token buckets that Redis keeps, asked for ahead where many are used.

use std::rc::Rc;

use super::chains::ChainRef;
use super::exact::Claiming;
use super::lookups::Lookup;
use super::spend::{Short, Spending};
use super::{Lack, Part, Refusal, Worker};
use crate::api_key::KeyHash;
use crate::contract::answer::{RateAnswer, RateGrant};
use crate::contract::call::{RateAsk, Subject};
use crate::contract::{Entitlement, Term};
use crate::fields::MeterState;
use crate::policy::{Access, Policy, RateCost};
use crate::problem::Code;
use crate::units::Units;

/// What requests that wait need of one rate limit, in thousandths of a unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RateNeed {
    pub(super) feature: Rc<str>,
    /// The one that needs least.
    pub(super) least: u64,
    /// In all.
    pub(super) milli: u64,
}

/// What a request shall have of one rate limit once its units are counted, in thousandths of a unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Promise {
    feature: Rc<str>,
    milli: u64,
}

/// A rate limit that leaves nothing for now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateRefusal {
    /// The feature whose entitlement it is.
    pub feature: Rc<str>,
    /// Units that it gives in `per_seconds`.
    pub units: Units,
    /// Rounded up.
    pub per_seconds: u64,
    /// When to try again.
    pub retry_after_seconds: u64,
}

impl RateRefusal {
    pub(super) fn state(&self) -> MeterState<'_> {
        MeterState {
            meter: &self.feature,
            limit: self.units,
            remaining: Units::ZERO,
            window_seconds: self.per_seconds,
            resets_in_seconds: self.retry_after_seconds,
        }
    }
}

/// Whether any rule takes something of a rate limit.
pub(super) fn are_used(policy: &Policy) -> bool {
    let takes = |access: &Access| match access {
        Access::Public => false,
        Access::Keyed(demand) => !demand.rates.is_empty(),
    };
    policy.rules().any(|rule| takes(rule.access()))
}

/// What a plan gives of a rate limit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Given {
    units: Units,
    per_ms: u64,
}

impl Given {
    /// Nothing where the plan sets no limit.
    pub(super) fn by(term: &Term, cost: &RateCost) -> Option<Self> {
        match term.entitlements.get(cost.feature.as_str()) {
            Some(Entitlement::RateLimit { units, per_ms, .. }) => Some(Self {
                units: *units,
                per_ms: *per_ms,
            }),
            Some(
                Entitlement::Metered { .. } | Entitlement::Boolean | Entitlement::Static { .. },
            )
            | None => None,
        }
    }
}

/// What a rule takes of rate limits, and what the plan gives of each.
pub(super) type Rates<'r> = (&'r [RateCost], &'r [Option<Given>]);

fn limits<'r>((costs, given): Rates<'r>) -> impl Iterator<Item = (&'r RateCost, Given)> {
    let limits = costs.iter().zip(given);
    limits.filter_map(|(cost, given)| Some((cost, (*given)?)))
}

impl Spending<'_> {
    /// Refuses what Redis has said lately that there is not enough for: such a request asks for no leases either.
    pub(super) fn refuse_short_rates(&mut self, rates: Rates<'_>) -> Result<(), Short> {
        if !self.up || self.known.bypasses() {
            return Ok(());
        }
        for (cost, given) in limits(rates) {
            let (milli, now_ms) = (cost.units.milli(), self.now_ms);
            let bucket = self.chain.bucket_for(cost.feature.as_str());
            if bucket.is_short(now_ms) && !bucket.can_take(milli, now_ms) {
                bucket.note_refused(milli, now_ms);
                let more_in_seconds = bucket.more_in_seconds(now_ms);
                return Err(Short::Refused(refusal(cost, given, more_in_seconds)));
            }
        }
        Ok(())
    }

    /// Takes what a request takes of each rate limit that the plan has, of all or none.
    pub(super) fn take_rates(&mut self, rates: Rates<'_>) -> Result<(), Short> {
        let limited = self.limited(rates);
        if !self.up {
            return self.take_rates_offline(&limited);
        }
        self.ask_for_short(&limited)?;
        for cost in limited {
            let bucket = self.chain.bucket_for(cost.feature.as_str());
            bucket.take(cost.units.milli(), self.now_ms);
        }
        Ok(())
    }

    /// The same for a request that goes on only once its units are counted: it is promised them, so that one that is
    /// refused then has taken nothing.
    pub(super) fn promise_rates(&mut self, rates: Rates<'_>) -> Result<Vec<Promise>, Short> {
        let limited = self.limited(rates);
        self.ask_for_short(&limited)?;
        let promises = limited.into_iter().map(|cost| {
            let bucket = self.chain.bucket_for(cost.feature.as_str());
            let milli = cost.units.milli();
            bucket.promise(milli);
            let feature = Rc::clone(&bucket.feature);
            Promise { feature, milli }
        });
        Ok(promises.collect())
    }

    /// What of a rule's rates the plan limits.
    fn limited<'r>(&self, rates: Rates<'r>) -> Vec<&'r RateCost> {
        let is_bound = !self.known.bypasses();
        let limited = limits(rates).filter(|_| is_bound);
        limited.map(|(cost, _)| cost).collect()
    }

    fn ask_for_short(&mut self, limited: &[&RateCost]) -> Result<(), Short> {
        let mut needs = Vec::new();
        for cost in limited {
            let (milli, now_ms) = (cost.units.milli(), self.now_ms);
            let bucket = self.chain.bucket_for(cost.feature.as_str());
            if bucket.can_take(milli, now_ms) {
                continue;
            }
            needs.push(RateNeed {
                feature: Rc::clone(&bucket.feature),
                least: milli,
                milli,
            });
        }
        if needs.is_empty() {
            Ok(())
        } else {
            Err(Short::Rates(needs))
        }
    }

    /// While Redis is away: what the worker holds, then what is allowed on hard limits.
    fn take_rates_offline(&mut self, limited: &[&RateCost]) -> Result<(), Short> {
        let now_ms = self.now_ms;
        let mut beyond = 0;
        for cost in limited {
            let milli = cost.units.milli();
            if !self
                .chain
                .bucket_for(cost.feature.as_str())
                .can_take(milli, now_ms)
            {
                beyond += milli;
            }
        }
        let mut offline = self.known.offline(self.outage);
        offline.hard = offline.hard.saturating_add(beyond);
        if beyond > 0 && offline.hard > self.on_unavailable.offline_hard_units.milli() {
            return Err(Short::Refused(Refusal::Code(Code::StoreUnavailable)));
        }
        if beyond > 0 {
            self.known.spent_offline(offline);
        }
        for cost in limited {
            let bucket = self.chain.bucket_for(cost.feature.as_str());
            bucket.take(cost.units.milli(), now_ms);
        }
        Ok(())
    }
}

fn refusal(cost: &RateCost, given: Given, retry_after_seconds: u64) -> Refusal {
    Refusal::Rate(RateRefusal {
        feature: cost.feature.as_str().into(),
        units: given.units,
        per_seconds: given.per_ms.div_ceil(1_000),
        retry_after_seconds,
    })
}

impl Worker {
    /// Has what a request took of rate limits asked for again before the next one waits for it.
    pub(super) fn ask_ahead(&mut self, chain: ChainRef, rates: &[RateCost], now_ms: u64) {
        if rates.is_empty() {
            return;
        }
        let Some(known) = self.chains.get(chain) else {
            return;
        };
        for cost in rates {
            let bucket = known.bucket_for(cost.feature.as_str());
            let is_asked = |(other, feature): &(ChainRef, Rc<str>)| {
                *other == chain && *feature == bucket.feature
            };
            if bucket.runs_low(now_ms) && !self.rates_ahead.iter().any(is_asked) {
                self.rates_ahead.push((chain, Rc::clone(&bucket.feature)));
            }
        }
    }

    /// Takes back what a request was promised that is decided anew, or waits no longer.
    pub(super) fn withdraw_promises(&mut self, lack: &mut Lack) {
        if let Lack::Claim(claiming) = lack
            && let Some(chain) = self.chains.get(claiming.chain)
        {
            for promise in claiming.promises.drain(..) {
                chain.bucket_for(&promise.feature).withdraw(promise.milli);
            }
        }
    }

    /// Takes what a request was promised that can go on now. None of it when it came too late: Redis may have given it
    /// to others by now.
    pub(super) fn redeem_promises(&mut self, claiming: &mut Claiming, now_ms: u64) -> bool {
        let promises = std::mem::take(&mut claiming.promises);
        let Some(chain) = self.chains.get(claiming.chain) else {
            return promises.is_empty();
        };
        let mut is_kept = true;
        for Promise { feature, milli } in &promises {
            let bucket = chain.bucket_for(feature);
            bucket.withdraw(*milli);
            is_kept &= bucket.can_take(*milli, now_ms);
        }
        for Promise { feature, milli } in promises.iter().filter(|_| is_kept) {
            chain.bucket_for(feature).take(*milli, now_ms);
        }
        is_kept
    }

    /// Adds what waiting requests need of rate limits, and what the next ones will.
    pub(super) fn add_rates(&mut self, bytes: &mut Vec<u8>, parts: &mut Vec<Part>, now_ms: u64) {
        let ahead = std::mem::take(&mut self.rates_ahead);
        let mut asked: Vec<(ChainRef, RateNeed)> = ahead
            .into_iter()
            .map(|(chain, feature)| {
                let (least, milli) = (0, 0);
                let need = RateNeed {
                    feature,
                    least,
                    milli,
                };
                (chain, need)
            })
            .collect();
        for waiting in &self.waiting {
            if let Lack::Rates(chain, needs) = &waiting.lack {
                for need in needs {
                    gather(&mut asked, *chain, need);
                }
            }
        }
        for (reference, need) in asked {
            let Some(chain) = self.chains.get(reference) else {
                continue;
            };
            let bucket = chain.bucket_for(&need.feature);
            let ask = bucket.ask(need.least, need.milli, now_ms);
            let subject = Subject::Chain {
                tag: chain.tag,
                chain: &chain.id,
            };
            self.rate_number += 1;
            let asker = (self.id.as_str(), self.rate_number);
            self.writer.rate(bytes, &subject, asker, &need.feature, ask);
            parts.push(Part::Rate(reference, need.feature));
        }
    }

    /// Adds what a cold key's requests need of rate limits, whether or not its plan has them.
    pub(super) fn add_first_rates(
        &mut self,
        bytes: &mut Vec<u8>,
        parts: &mut Vec<Part>,
        subject: &Subject<'_>,
        (hash, lookup): (&KeyHash, &Lookup),
    ) {
        for need in &lookup.rates {
            let ask = RateAsk {
                held: 0,
                least: need.least,
                need: need.milli,
                want: 0,
            };
            self.rate_number += 1;
            let asker = (self.id.as_str(), self.rate_number);
            self.writer.rate(bytes, subject, asker, &need.feature, ask);
            parts.push(Part::FirstRate(*hash, Rc::clone(&need.feature)));
        }
    }

    /// Takes in what Redis gave a chain.
    pub(super) fn take_rate(
        &mut self,
        chain: Option<ChainRef>,
        feature: &str,
        answer: RateAnswer,
        (sent_ms, now_ms): (u64, u64),
    ) {
        let Some(chain) = chain.and_then(|chain| self.chains.get(chain)) else {
            return;
        };
        let grant = match answer {
            RateAnswer::Known(grant) => grant,
            // The worker's document says otherwise: a newer one is on its way.
            RateAnswer::None => RateGrant {
                milli: 0,
                wait_ms: 1,
            },
        };
        chain.bucket_for(feature).learn(grant, sent_ms, now_ms);
    }
}

fn gather(asked: &mut Vec<(ChainRef, RateNeed)>, chain: ChainRef, need: &RateNeed) {
    let known = asked
        .iter_mut()
        .find(|(other, known)| *other == chain && known.feature == need.feature);
    match known {
        Some((_, known)) => add_need(known, need),
        None => asked.push((chain, need.clone())),
    }
}

/// Adds what another request needs; nothing is needed yet where `least` is 0.
fn add_need(known: &mut RateNeed, need: &RateNeed) {
    known.milli += need.milli;
    known.least = match known.least {
        0 => need.least,
        least => least.min(need.least),
    };
}

impl Lookup {
    /// Adds what one waiting request takes of rate limits.
    pub(super) fn add_rates(&mut self, rates: &[RateCost]) {
        for cost in rates {
            let milli = cost.units.milli();
            let need = RateNeed {
                feature: cost.feature.as_str().into(),
                least: milli,
                milli,
            };
            let known = self.rates.iter_mut().find(|it| it.feature == need.feature);
            match known {
                Some(known) => add_need(known, &need),
                None => self.rates.push(need),
            }
        }
    }
}
