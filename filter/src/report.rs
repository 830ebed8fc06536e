//! What the worker counted, for Envoy's metrics, once a second.

use std::fmt::Display;

use tollgate_engine::admission::{CallFailure, Now, Stats, Tally};
use tollgate_engine::policy::{Access, Policy};

use crate::host::{self, LogLevel};
use crate::metrics::{Counter, CounterFamily, Gauge, Histogram, LabelSet};
use crate::shared::Shared;

/// Time between two reports.
const INTERVAL_MS: u64 = 1_000;

/// Everything Envoy shows of one worker, and what of it was told so far.
#[derive(Debug)]
pub struct Report {
    due_ms: u64,
    told: Stats,
    decisions: CounterFamily<DecisionLabels>,
    units: CounterFamily<MeterLabel>,
    calls: CounterFamily<OutcomeLabel>,
    lookups: Counter,
    batches: Counter,
    grants: Counter,
    returns: Counter,
    gaps: Counter,
    batches_lost: Counter,
    bad_documents: Counter,
    costs_untold: Counter,
    exact_degraded: Counter,
    offline_milli: Counter,
    keys: Gauge,
    chains: Gauge,
    stores_away: Gauge,
    held_milli: Gauge,
    unsent_milli: Gauge,
    batch_size: Histogram,
    settle_lag_ms: Histogram,
    clock_skew_ms: Histogram,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct DecisionLabels {
    code: &'static str,
    rule: Option<usize>,
}

impl LabelSet for DecisionLabels {
    fn each(&self, mut label: impl FnMut(&str, &dyn Display)) {
        label("code", &self.code);
        match self.rule {
            Some(rule) => label("rule", &rule),
            None => label("rule", &"none"),
        }
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct MeterLabel(String);

impl LabelSet for MeterLabel {
    fn each(&self, mut label: impl FnMut(&str, &dyn Display)) {
        label("meter", &self.0);
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct OutcomeLabel(&'static str);

impl LabelSet for OutcomeLabel {
    fn each(&self, mut label: impl FnMut(&str, &dyn Display)) {
        label("outcome", &self.0);
    }
}

impl Report {
    /// Nothing told yet.
    pub fn new(now: Now) -> Self {
        Self {
            due_ms: now.monotonic_ms + INTERVAL_MS,
            told: Stats::default(),
            decisions: CounterFamily::new("tollgate.decisions"),
            units: CounterFamily::new("tollgate.milli_units"),
            calls: CounterFamily::new("tollgate.calls"),
            lookups: Counter::define("tollgate.key_lookups"),
            batches: Counter::define("tollgate.batches"),
            grants: Counter::define("tollgate.grants"),
            returns: Counter::define("tollgate.returns"),
            gaps: Counter::define("tollgate.gaps"),
            batches_lost: Counter::define("tollgate.batches_lost"),
            bad_documents: Counter::define("tollgate.bad_documents"),
            costs_untold: Counter::define("tollgate.costs_untold"),
            exact_degraded: Counter::define("tollgate.exact_degraded"),
            offline_milli: Counter::define("tollgate.offline_milli_units"),
            keys: Gauge::define("tollgate.cached_keys"),
            chains: Gauge::define("tollgate.cached_chains"),
            stores_away: Gauge::define("tollgate.stores_away"),
            held_milli: Gauge::define("tollgate.held_milli_units"),
            unsent_milli: Gauge::define("tollgate.unsent_milli_units"),
            batch_size: Histogram::define("tollgate.batches_per_call"),
            settle_lag_ms: Histogram::define("tollgate.settle_lag_ms"),
            clock_skew_ms: Histogram::define("tollgate.clock_skew_ms"),
        }
    }

    /// Tells Envoy what changed, once in [`INTERVAL_MS`].
    pub fn export_if_due(&mut self, shared: &Shared, now: Now) {
        if now.monotonic_ms >= self.due_ms {
            self.due_ms = now.monotonic_ms + INTERVAL_MS;
            self.export(shared, now);
        }
    }

    /// Tells Envoy what changed.
    pub fn export(&mut self, shared: &Shared, now: Now) {
        let (tally, stats, (keys, chains), lag_ms, skew_ms, is_up) = shared.with_worker(|worker| {
            (
                worker.take_tally(),
                worker.stats(),
                worker.cached(),
                worker.settle_lag_ms(now),
                worker.clock_skew_ms(),
                worker.store_is_up(),
            )
        });
        self.export_tally(&tally, &shared.policy);
        self.export_told(&tally, &shared.policy);
        self.export_stats(&stats);
        self.keys.set(keys as u64);
        self.chains.set(chains as u64);
        self.stores_away.set(u64::from(!is_up));
        let totals = shared.with_worker(|worker| worker.totals());
        self.held_milli.set(totals.held);
        self.unsent_milli.set(totals.unsent);
        // A worker without traffic has neither.
        if stats.calls_ok > 0 {
            self.settle_lag_ms.record(lag_ms);
            self.clock_skew_ms.record(skew_ms.unsigned_abs());
        }
    }

    fn export_tally(&mut self, tally: &Tally, policy: &Policy) {
        for (rule, decided, count) in tally.decisions() {
            let code = decided.as_str();
            self.decisions.add(DecisionLabels { code, rule }, count);
        }
        for (rule, count) in tally.metered() {
            let Some(Access::Keyed(demand)) = policy.rule(rule).map(|rule| rule.access()) else {
                continue;
            };
            for cost in demand.meters.iter().filter(|cost| !cost.is_told) {
                let milli = cost.units.milli().saturating_mul(count);
                self.units
                    .add(MeterLabel(cost.meter.as_str().to_owned()), milli);
            }
        }
    }

    fn export_told(&mut self, tally: &Tally, policy: &Policy) {
        for (rule, place, milli) in tally.told() {
            let Some(Access::Keyed(demand)) = policy.rule(rule).map(|rule| rule.access()) else {
                continue;
            };
            if let Some(cost) = demand.meters.get(place) {
                self.units
                    .add(MeterLabel(cost.meter.as_str().to_owned()), milli);
            }
        }
    }

    fn export_stats(&mut self, stats: &Stats) {
        let told = std::mem::replace(&mut self.told, *stats);
        let lost = stats.batches_lost - told.batches_lost;
        if lost > 0 {
            host::log(
                LogLevel::Error,
                &format!("usage was lost: {lost} batches that neither Redis nor this worker has"),
            );
        }
        for (counter, now, before) in [
            (self.lookups, stats.lookups, told.lookups),
            (self.batches, stats.batches, told.batches),
            (self.grants, stats.grants, told.grants),
            (self.returns, stats.returns, told.returns),
            (self.gaps, stats.gaps, told.gaps),
            (self.batches_lost, stats.batches_lost, told.batches_lost),
            (self.bad_documents, stats.bad_documents, told.bad_documents),
            (self.costs_untold, stats.costs_untold, told.costs_untold),
            (
                self.exact_degraded,
                stats.exact_degraded,
                told.exact_degraded,
            ),
            (self.offline_milli, stats.offline_milli, told.offline_milli),
        ] {
            counter.add(now - before);
        }
        self.calls
            .add(OutcomeLabel("ok"), stats.calls_ok - told.calls_ok);
        for failure in CallFailure::ALL {
            let at = failure as usize;
            self.calls.add(
                OutcomeLabel(failure.as_str()),
                stats.calls_failed[at] - told.calls_failed[at],
            );
        }
    }

    /// Notes how many batches went into the call just made.
    pub fn note_call(&mut self, shared: &Shared) {
        let batches = shared.with_worker(|worker| worker.batches_in_call());
        self.batch_size.record(batches as u64);
    }
}
