//! Units for one request: from leases, without one, or from what an outage allows; for all meters or none.

use std::rc::Rc;

use smallvec::SmallVec;

use super::exact::Costs;
use super::keys::KnownKey;
use super::rates::RateNeed;
use super::standing::Standing;
use super::verdict::Spent;
use super::{QuotaRefusal, Refusal, seconds};
use crate::lease::{Chain, LeaseRules, Need, Window};
use crate::policy::{Demand, MeterCost, MeteringMode, OnUnavailable};
use crate::problem::Code;
use crate::units::Units;

/// How a meter's units are paid for.
#[derive(Clone, Copy)]
pub(super) enum Source {
    Leases,
    Unleased,
    OfflineSoft,
    OfflineHard,
}

/// By window number, where the units of each meter come from.
type Plan = SmallVec<[(u32, Source); 2]>;

/// Why units cannot be spent now.
pub(super) enum Short {
    Refused(Refusal),
    Needs(Vec<Need>),
    Claims(Box<Costs>),
    Rates(Vec<RateNeed>),
}

/// One request's spending: planned for all meters, then done for all or none.
pub(super) struct Spending<'a> {
    pub(super) chain: &'a mut Chain,
    pub(super) known: &'a mut KnownKey,
    pub(super) rules: &'a LeaseRules,
    pub(super) on_unavailable: &'a OnUnavailable,
    /// Thousandths spent while Redis was away, or would not grant.
    pub(super) offline_milli: &'a mut u64,
    pub(super) wait_until_ms: u64,
    pub(super) up: bool,
    /// The number of the outage, if Redis is away.
    pub(super) outage: u32,
    pub(super) mode: MeteringMode,
    pub(super) now_ms: u64,
    pub(super) business_ms: i64,
}

impl Spending<'_> {
    /// Spends what every meter costs, each from its window.
    pub(super) fn spend(&mut self, demand: &Demand, standing: &Standing) -> Result<Spent, Short> {
        let windows = &standing.windows;
        let rates = (&demand.rates[..], &standing.rates[..]);
        if !demand.rates.is_empty() {
            self.refuse_short_rates(rates)?;
        }
        if self.mode == MeteringMode::Exact
            && self.up
            && !demand.meters.is_empty()
            && let Some(mut costs) = self.claim(demand, windows)?
        {
            costs.promises = self.promise_rates(rates)?;
            return Err(Short::Claims(Box::new(costs)));
        }
        let plan = self.plan(demand, windows)?;
        self.take_rates(rates)?;
        Ok(self.carry_out(demand, &plan))
    }

    /// Where the units of every meter come from.
    fn plan(&self, demand: &Demand, windows: &[u32]) -> Result<Plan, Short> {
        let mut plan = Plan::new();
        let mut needs = Vec::new();
        for (cost, number) in demand.meters.iter().zip(windows) {
            // The caller has just seen to it that the chain knows them.
            let Some(window) = self.chain.window(*number) else {
                return Err(Short::Refused(Refusal::Code(Code::StoreUnavailable)));
            };
            match self.source(window, cost)? {
                Some(source) => plan.push((*number, source)),
                None => {
                    let milli = cost.held.milli().max(1);
                    needs.push(Need {
                        window: Rc::clone(&window.id),
                        least: milli,
                        milli,
                    });
                }
            }
        }
        if needs.is_empty() {
            Ok(plan)
        } else {
            Err(Short::Needs(needs))
        }
    }

    /// Where what a cost holds of a window comes from; `None` when Redis must be asked.
    fn source(&self, window: &Window, cost: &MeterCost) -> Result<Option<Source>, Short> {
        let milli = cost.held.milli();
        let offline = || self.known.offline(self.outage);
        // A cost that is not known yet is not nothing.
        let least = if cost.is_told { milli.max(1) } else { milli };
        let within = |spent: u64, most: Units| spent.saturating_add(least) <= most.milli();
        let Some(limit) = window.limit.filter(|_| !self.known.bypasses()) else {
            let bounded = !self.up && window.included.is_some() && !self.known.bypasses();
            return if !bounded {
                Ok(Some(Source::Unleased))
            } else if within(offline().soft, self.on_unavailable.offline_units) {
                Ok(Some(Source::OfflineSoft))
            } else {
                Err(Short::Refused(Refusal::Code(Code::StoreUnavailable)))
            };
        };
        if window.can_spend(milli, self.now_ms, self.rules) {
            return Ok(Some(Source::Leases));
        }
        if !self.up || self.chain.is_paused(self.now_ms) {
            return if least > 0 && within(offline().hard, self.on_unavailable.offline_hard_units) {
                Ok(Some(Source::OfflineHard))
            } else {
                Err(Short::Refused(Refusal::Code(Code::StoreUnavailable)))
            };
        }
        if window.is_exhausted(milli, self.now_ms) && !self.may_wait_for(window) {
            return Err(Short::Refused(self.quota(window, limit)));
        }
        Ok(None)
    }

    pub(super) fn may_wait_for(&self, window: &Window) -> bool {
        self.now_ms < self.wait_until_ms && window.units_may_return()
    }

    pub(super) fn quota(&self, window: &Window, limit: u64) -> Refusal {
        let resets_in_seconds = seconds(window.end_ms.saturating_sub(self.business_ms));
        Refusal::Quota(QuotaRefusal {
            meter: Rc::clone(&window.meter),
            limit: Units::from_milli(limit).unwrap_or(Units::MAX),
            remaining: Units::from_milli(window.remaining().unwrap_or(0)).unwrap_or(Units::MAX),
            window_seconds: seconds(window.end_ms.saturating_sub(window.start_ms)),
            resets_in_seconds,
            resets_at_ms: window.end_ms,
            retry_after_seconds: if window.units_may_return() {
                1
            } else {
                resets_in_seconds.max(1)
            },
        })
    }

    /// Spends what was planned.
    fn carry_out(&mut self, demand: &Demand, plan: &[(u32, Source)]) -> Spent {
        let mut spent = Spent::new();
        for (cost, (number, source)) in demand.meters.iter().zip(plan) {
            let milli = cost.held.milli();
            let Some(window) = self.chain.window_mut(*number) else {
                continue;
            };
            if !self.up || matches!(source, Source::OfflineHard) {
                *self.offline_milli += milli;
            }
            let reservation = match source {
                Source::Leases => window.reserve(milli, self.now_ms, self.rules),
                Source::Unleased => window.spend_unleased(milli, self.now_ms),
                Source::OfflineSoft | Source::OfflineHard => {
                    let mut offline = self.known.offline(self.outage);
                    match source {
                        Source::OfflineHard => offline.hard += milli,
                        _ => offline.soft += milli,
                    }
                    self.known.spent_offline(offline);
                    window.spend_unleased(milli, self.now_ms)
                }
            };
            spent.push((*number, reservation));
        }
        spent
    }
}
