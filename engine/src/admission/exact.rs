//! Requests that go on only once Redis has counted their units, all that wait together by one call.
//!
//! A request that is refused or gone while its batch is in doubt leaves its claim in it; what was counted for nobody is
//! given back once that is known.

use std::collections::BTreeMap;
use std::rc::Rc;

use smallvec::SmallVec;

use super::chains::{ChainRef, Chains};
use super::rates::Promise;
use super::spend::{Short, Spending};
use super::verdict::Spent;
use super::{Lack, Now, RequestId, Ticket, Verdict, Worker};
use crate::api_key::KeyHash;
use crate::contract::call::{Bounds, ClaimCost};
use crate::lease::{Claim, Counted, Reservation};
use crate::policy::Demand;
use crate::problem::Code;

/// A request whose units are to be counted before it goes on.
#[derive(Debug)]
pub(super) struct Claiming {
    pub(super) chain: ChainRef,
    pub(super) claim: Claim,
    pub(super) ticket: Ticket,
    pub(super) promises: Vec<Promise>,
    /// In which batch with claims of its chain, and as which of them.
    pub(super) sent: Option<(u64, usize)>,
}

impl Claiming {
    pub(super) fn begin(costs: Costs, ticket: Ticket) -> Box<Self> {
        let claim = Claim {
            hour: ticket.hour,
            key: Rc::clone(&ticket.key),
            bounds: costs.bounds,
            costs: costs.costs,
            count: 1,
        };
        Box::new(Self {
            chain: ticket.chain,
            claim,
            ticket,
            promises: costs.promises,
            sent: None,
        })
    }
}

/// What a request claims, by window.
#[derive(Debug)]
pub(super) struct Costs {
    pub(super) bounds: Bounds,
    pub(super) costs: SmallVec<[ClaimCost; 2]>,
    pub(super) spent: Spent,
    /// What it shall have of rate limits.
    pub(super) promises: Vec<Promise>,
}

/// A response that is held back until Redis has counted what it told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    request: RequestId,
    chain: ChainRef,
    batch: u64,
    until_ms: u64,
}

impl Spending<'_> {
    /// What a request claims of every meter; nothing while Redis grants nothing, which is decided as in an outage.
    pub(super) fn claim(&self, demand: &Demand, windows: &[u32]) -> Result<Option<Costs>, Short> {
        let bypass = self.known.bypasses();
        let mut claimed = Costs {
            bounds: if bypass {
                Bounds::Beyond
            } else {
                Bounds::Within
            },
            costs: SmallVec::new(),
            spent: Spent::new(),
            promises: Vec::new(),
        };
        for (cost, number) in demand.meters.iter().zip(windows) {
            // The caller has just seen to it that the chain knows them.
            let Some(window) = self.chain.window(*number) else {
                return Err(Short::Refused(super::Refusal::Code(Code::StoreUnavailable)));
            };
            let milli = cost.held.milli();
            if let Some(limit) = window.limit.filter(|_| !bypass) {
                if self.chain.is_paused(self.now_ms) {
                    return Ok(None);
                }
                if window.is_exhausted(milli, self.now_ms) && !self.may_wait_for(window) {
                    return Err(Short::Refused(self.quota(window, limit)));
                }
            }
            claimed.costs.push(ClaimCost {
                window: Rc::clone(&window.id),
                milli,
                least: milli.max(1),
            });
            let leased_ms = None;
            claimed
                .spent
                .push((*number, Reservation { milli, leased_ms }));
        }
        Ok(Some(claimed))
    }
}

impl Chains {
    /// Whether a request's claim is to be sent now; one that Redis had no units for is sent again later.
    pub(super) fn asks_claim(&mut self, claiming: &Claiming, now_ms: u64) -> bool {
        let Some(chain) = self.get(claiming.chain) else {
            return false;
        };
        let is_short = |cost: &ClaimCost| chain.is_exhausted(&cost.window, cost.least, now_ms);
        let heeds_limits = claiming.claim.bounds == Bounds::Within;
        claiming.sent.is_none()
            && !chain.in_doubt()
            && !(heeds_limits && claiming.claim.costs.iter().any(is_short))
    }
}

impl Worker {
    /// Whether a request need not be decided again: its claim is with Redis, or will be as it was decided.
    pub(super) fn claim_stands(&mut self, key: &KeyHash, claiming: &Claiming, now_ms: u64) -> bool {
        let chain = claiming.chain;
        claiming.sent.is_some()
            || self.link.is_fresh(now_ms)
                && self.chains.asks_claim(claiming, now_ms)
                && self
                    .chains
                    .get(chain)
                    .and_then(|chain| chain.document_version())
                    == Some(claiming.ticket.caller.version)
                && self.keys.find(key) == Some(claiming.chain)
    }

    /// Takes up the claims of all that wait, alike ones as one, by the place of their chain.
    pub(super) fn gather_claims(&mut self, now_ms: u64) -> BTreeMap<u32, (ChainRef, Vec<Claim>)> {
        let mut by_chain = BTreeMap::<u32, (ChainRef, Vec<Claim>)>::new();
        let mut waiting = std::mem::take(&mut self.waiting);
        for one in &mut waiting {
            let Lack::Claim(claiming) = &mut one.lack else {
                continue;
            };
            if !self.chains.asks_claim(claiming, now_ms) {
                continue;
            }
            let Some(chain) = self.chains.get(claiming.chain) else {
                continue;
            };
            let first = || (claiming.chain, Vec::new());
            let (_, claims) = by_chain.entry(claiming.chain.slot).or_insert_with(first);
            let alike = claims
                .iter_mut()
                .position(|claim| claim.is_alike(&claiming.claim));
            let place = alike.unwrap_or(claims.len());
            match claims.get_mut(place) {
                Some(claim) => claim.count += 1,
                None => claims.push(claiming.claim.clone()),
            }
            claiming.sent = Some((chain.next_round(), place));
        }
        self.waiting = waiting;
        by_chain
    }

    /// Notes what became of a chain's claims, until all answers of the call are taken in.
    pub(super) fn note_counted(&mut self, reference: ChainRef) {
        if let Some(chain) = self.chains.get(reference)
            && let Some(counted) = chain.take_counted()
        {
            self.counted.push((reference, counted));
        }
    }

    /// Lets requests go on whose units were counted, first come first served, and gives back what was counted for nobody.
    /// Those whose units were not, or who came too late for a rate, are decided again.
    pub(super) fn resolve_claims(&mut self, now: Now) -> Vec<(RequestId, Verdict)> {
        if self.counted.is_empty() {
            return Vec::new();
        }
        self.company.begin(now.monotonic_ms);
        let counted = std::mem::take(&mut self.counted);
        let mut by_chain: BTreeMap<u32, (ChainRef, Counted)> = counted
            .into_iter()
            .map(|(chain, counted)| (chain.slot, (chain, counted)))
            .collect();
        let mut decided = Vec::new();
        for mut waiting in std::mem::take(&mut self.waiting) {
            let Lack::Claim(claiming) = &mut waiting.lack else {
                self.waiting.push(waiting);
                continue;
            };
            match take_one(&mut by_chain, claiming) {
                Taken::Counted if !self.redeem_promises(claiming, now.monotonic_ms) => {
                    self.return_counted(claiming, now);
                    claiming.sent = None;
                }
                Taken::Counted => {
                    let (request, rule) = (waiting.request, waiting.rule);
                    let Lack::Claim(claiming) = waiting.lack else {
                        continue;
                    };
                    let verdict = Verdict::Admit(self.go_on(*claiming, now));
                    self.tally.note(Some(rule), &verdict);
                    decided.push((request, verdict));
                    continue;
                }
                Taken::Short => claiming.sent = None,
                Taken::Unanswered => {}
            }
            self.waiting.push(waiting);
        }
        self.return_rest(by_chain.into_values(), now);
        decided
    }

    fn go_on(&mut self, claiming: Claiming, now: Now) -> Ticket {
        let Claiming {
            chain, mut ticket, ..
        } = claiming;
        ticket.claimed = Some(self.company.leave());
        let now_ms = now.monotonic_ms;
        if let Some(known) = self.chains.get(chain) {
            for (number, reservation) in &ticket.spent {
                if let Some(window) = known.window_mut(*number) {
                    window.open_claim(reservation.milli, ticket.hour, &ticket.key, now_ms);
                }
            }
        }
        self.chains.touch(chain, now_ms);
        self.chains.schedule(chain, &self.rules);
        ticket
    }

    /// Gives back what was counted of one request that cannot go on.
    fn return_counted(&mut self, claiming: &Claiming, now: Now) {
        if let Some(chain) = self.chains.get(claiming.chain) {
            chain.return_claim(&claiming.claim, 1, now.monotonic_ms);
        }
        self.chains.schedule(claiming.chain, &self.rules);
    }

    fn return_rest(&mut self, counted: impl Iterator<Item = (ChainRef, Counted)>, now: Now) {
        for (reference, counted) in counted {
            if let Some(chain) = self.chains.get(reference) {
                for (claim, left) in counted.claims.iter().zip(&counted.counts) {
                    chain.return_claim(claim, *left, now.monotonic_ms);
                }
            }
            self.chains.schedule(reference, &self.rules);
        }
    }

    /// Whether a response must be held back until Redis has counted what it told; then [`Worker::take_told`] names its
    /// request.
    pub fn hold(&mut self, request: RequestId, ticket: &Ticket, now: Now) -> bool {
        if !ticket.is_claimed() || ticket.open.is_none() {
            return false;
        }
        if !self.link.is_up() {
            self.stats.exact_degraded += 1;
            return false;
        }
        let Some(chain) = self.chains.get(ticket.chain) else {
            return false;
        };
        if chain.unsettled_since_ms().is_none() {
            return false;
        }
        let batch = chain.hurry();
        self.chains.schedule(ticket.chain, &self.rules);
        self.held.push(Held {
            request,
            chain: ticket.chain,
            batch,
            until_ms: now.monotonic_ms + self.policy.redis.timeout_ms,
        });
        true
    }

    /// Requests whose responses need not be held back any more: Redis has counted what they told, or took too long.
    pub fn take_told(&mut self, now: Now) -> Vec<RequestId> {
        let mut told = Vec::new();
        for held in std::mem::take(&mut self.held) {
            let chain = self.chains.get(held.chain);
            let is_told = chain.is_none_or(|chain| chain.has_told(held.batch));
            let is_late = now.monotonic_ms >= held.until_ms || !self.link.is_up();
            if !is_told && !is_late {
                self.held.push(held);
                continue;
            }
            self.stats.exact_degraded += u64::from(!is_told);
            told.push(held.request);
        }
        told
    }
}

/// What an answer says of one request.
enum Taken {
    Counted,
    Short,
    Unanswered,
}

fn take_one(by_chain: &mut BTreeMap<u32, (ChainRef, Counted)>, claiming: &Claiming) -> Taken {
    let Some((round, place)) = claiming.sent else {
        return Taken::Unanswered;
    };
    match by_chain.get_mut(&claiming.chain.slot) {
        Some((chain, counted)) if *chain == claiming.chain && counted.round == round => {
            match counted.counts.get_mut(place) {
                Some(left) if *left > 0 => {
                    *left -= 1;
                    Taken::Counted
                }
                Some(_) | None => Taken::Short,
            }
        }
        Some(_) | None => Taken::Unanswered,
    }
}
