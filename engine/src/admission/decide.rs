//! One decision: key → subscription → payment → entitlement → units, in that order.

use std::rc::Rc;

use super::chains::ChainRef;
use super::exact::Claiming;
use super::spend::{Short, Spending};
use super::standing::Standing;
use super::verdict::Open;
use super::{Lack, Now, Refusal, RequestId, Ticket, Verdict, Waiting, Worker, demand_of};
use crate::lease::Chain;
use crate::policy::{Demand, Fallback, MeteringMode};
use crate::problem::Code;

/// A decision, or what is missing for it.
type Decision = Result<Verdict, Lack>;

/// What a decision takes Redis to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Redis {
    /// It answers, and may be waited for.
    Answers,
    /// It does not, and what is allowed without it applies.
    Away,
}

impl Worker {
    pub(super) fn decide(
        &mut self,
        waiting: &Waiting,
        demand: &Demand,
        redis: Redis,
        now: Now,
    ) -> Decision {
        let now_ms = now.monotonic_ms;
        let up = redis == Redis::Answers;
        if !up && self.is_too_old(now_ms) {
            return Ok(self.unknown_while_away());
        }
        let is_unknown = self.keys.is_unknown(&waiting.hash, now_ms);
        let known = self
            .keys
            .find(&waiting.hash)
            .filter(|chain| self.chains.has(*chain));
        if up && !self.link.is_fresh(now_ms) && (is_unknown || known.is_some()) {
            return Err(Lack::Reading);
        }
        if is_unknown {
            return Ok(refuse(Code::KeyUnknown));
        }
        let Some(chain) = known else {
            // The call that looks it up reads the change log first.
            return if up {
                Err(Lack::Key)
            } else {
                Ok(self.unknown_while_away())
            };
        };
        if !up && self.policy.on_unavailable.known_key == Fallback::Deny {
            return Ok(refuse(Code::StoreUnavailable));
        }
        self.decide_known(waiting, demand, chain, redis, now)
    }

    /// What Redis is taken to do, as far as the line to it tells.
    pub(super) const fn redis(&self) -> Redis {
        if self.link.is_up() {
            Redis::Answers
        } else {
            Redis::Away
        }
    }

    /// Decides all that wait, oldest first, as far as it is possible now.
    pub(super) fn decide_waiting(&mut self, now: Now) -> Vec<(RequestId, Verdict)> {
        let policy = Rc::clone(&self.policy);
        let patience_ms = 2 * policy.redis.timeout_ms;
        let mut decided = Vec::new();
        for mut waiting in std::mem::take(&mut self.waiting) {
            let Some(demand) = demand_of(&policy, waiting.rule) else {
                continue;
            };
            let (request, rule) = (waiting.request, waiting.rule);
            let is_late = now.monotonic_ms >= waiting.arrived_ms + patience_ms;
            if let Lack::Claim(claiming) = &waiting.lack
                && self.link.is_up()
                && !is_late
                && self.claim_stands(&waiting.hash, claiming, now.monotonic_ms)
            {
                self.waiting.push(waiting);
                continue;
            }
            self.withdraw_promises(&mut waiting.lack);
            // Who has waited for an answer that does not come goes by what is allowed without.
            let redis = if is_late && !self.link.answers(now.monotonic_ms) {
                Redis::Away
            } else {
                self.redis()
            };
            let verdict = match self.decide(&waiting, demand, redis, now) {
                Ok(verdict) => verdict,
                Err(mut lack) if is_late => {
                    self.withdraw_promises(&mut lack);
                    refuse(Code::StoreUnavailable)
                }
                // It is among the look-ups already.
                Err(Lack::Key) if matches!(waiting.lack, Lack::Key) => {
                    self.waiting.push(waiting);
                    continue;
                }
                Err(lack) => {
                    waiting.lack = lack;
                    self.wait(waiting, demand)
                }
            };
            if !matches!(verdict, Verdict::Wait) {
                self.tally.note(Some(rule), &verdict);
                decided.push((request, verdict));
            }
        }
        decided
    }

    fn decide_known(
        &mut self,
        waiting: &Waiting,
        demand: &Demand,
        chain_ref: ChainRef,
        redis: Redis,
        now: Now,
    ) -> Decision {
        let business_ms = self.business_ms(now);
        let up = redis == Redis::Answers;
        // One that is only suspected would be the next.
        let outage = self.link.outage() + u32::from(!up && self.link.is_up());
        let Self {
            keys,
            recents,
            chains,
            policy,
            rules,
            stats,
            ..
        } = self;
        let (Some(known), Some(chain)) = (keys.found(&waiting.hash), chains.get(chain_ref)) else {
            return Err(Lack::Key);
        };
        let Some(version) = version(chain, redis) else {
            let lack = up.then_some(Lack::Document(chain_ref));
            return lack.map_or_else(|| Ok(refuse(Code::StoreUnavailable)), Err);
        };
        let place = (known.recent, &waiting.hash);
        let standing = match recents.find(place, (waiting.rule, version), chain, business_ms) {
            Some(held) => held,
            None => {
                let rule = (waiting.rule, demand);
                let form = policy.responses.identity;
                let caller = |access: &_, term| recents.caller((known, place), access, term, form);
                match Standing::find(known, chain, rule, business_ms, caller) {
                    Ok(found) => recents.keep((&mut known.recent, &waiting.hash), found),
                    Err(refusal) => return Ok(Verdict::Refuse(refusal)),
                }
            }
        };
        let mode = demand.mode.unwrap_or(policy.metering.mode);
        let mut spending = Spending {
            chain,
            known,
            rules,
            on_unavailable: &policy.on_unavailable,
            offline_milli: &mut stats.offline_milli,
            wait_until_ms: waiting.arrived_ms + policy.metering.wait_for_units_ms,
            up,
            outage,
            mode,
            now_ms: now.monotonic_ms,
            business_ms,
        };
        let (spent, claimed) = match spending.spend(demand, standing) {
            Ok(spent) => (spent, None),
            Err(Short::Claims(costs)) => (costs.spent.clone(), Some(costs)),
            Err(Short::Refused(refusal)) => return Ok(Verdict::Refuse(refusal)),
            Err(Short::Needs(needs)) => return Err(Lack::Units(chain_ref, needs)),
            Err(Short::Rates(needs)) => return Err(Lack::Rates(chain_ref, needs)),
        };
        let ticket = Ticket {
            rule: waiting.rule,
            chain: chain_ref,
            key: Rc::clone(&known.id),
            hour: business_ms.div_euclid(3_600_000),
            caller: Rc::clone(&standing.caller),
            spent,
            claimed: None,
            open: Open::begin(demand, waiting.hash),
        };
        self.ask_ahead(chain_ref, &demand.rates, now.monotonic_ms);
        if let Some(costs) = claimed {
            return Err(Lack::Claim(Claiming::begin(*costs, ticket)));
        }
        Ok(self.let_go(ticket, mode, now))
    }

    fn let_go(&mut self, ticket: Ticket, mode: MeteringMode, now: Now) -> Verdict {
        if mode == MeteringMode::Exact && !ticket.spent.is_empty() {
            self.stats.exact_degraded += 1;
        }
        self.chains.touch(ticket.chain, now.monotonic_ms);
        Verdict::Admit(ticket)
    }

    /// Whether the last good answer is so old that every key counts as unknown.
    fn is_too_old(&self, now_ms: u64) -> bool {
        let most_ms = self.policy.on_unavailable.stale_for_seconds * 1_000;
        self.link
            .last_good_ms()
            .is_none_or(|good_ms| now_ms > good_ms + most_ms)
    }

    fn unknown_while_away(&self) -> Verdict {
        match self.policy.on_unavailable.unknown_key {
            Fallback::Allow => Verdict::PassUnknown,
            Fallback::Deny => refuse(Code::StoreUnavailable),
        }
    }
}

/// Version of the document to decide by, if there is one.
fn version(chain: &Chain, redis: Redis) -> Option<u64> {
    match redis {
        Redis::Answers => chain.document_version(),
        Redis::Away => chain.last_document_version(),
    }
}

const fn refuse(code: Code) -> Verdict {
    Verdict::Refuse(Refusal::Code(code))
}
