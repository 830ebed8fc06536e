//! What must hold after every step, and what in the end.

use std::collections::BTreeMap;

use crate::ledger::CHAIN;
use crate::world::{Broken, MILLI, World};

impl World {
    /// E1: reserved and metered units never exceed the limit, at any instant.
    pub fn check_limit(&self) -> Result<(), Broken> {
        let admitted = self.truth.metered + self.truth.open;
        match self.truth.most {
            Some(most) if admitted > most && self.scenario.holds_the_limit() => Err(format!(
                "E1: {admitted} of {most} thousandths admitted after {} ms of {:?}",
                self.now_ms, self.scenario
            )),
            Some(_) | None => Ok(()),
        }
    }

    pub fn check_end(&mut self) -> Result<(), Broken> {
        self.ledger.drain(&mut self.redis, true);
        let windows = self.ledger.windows();
        let counted: u64 = windows.iter().map(|window| self.ledger.units(window)).sum();
        let metered = self.truth.metered;
        let scenario = &self.scenario;
        let extra = self.truth.may_be_extra;
        if counted > metered + extra {
            return Err(format!(
                "E4: {counted} counted, {metered} metered, {extra} may be more: {scenario:?}"
            ));
        }
        let lost = metered.saturating_sub(counted);
        if lost > self.truth.may_be_lost && scenario.loses_only_unsettled() {
            return Err(format!(
                "E3: {lost} lost of {metered} metered, {} may be: {scenario:?}",
                self.truth.may_be_lost
            ));
        }
        self.check_counters()?;
        self.check_rate()?;
        if scenario.traffic.must_reach_the_limit
            && let Some(limit) = scenario.limit
            && metered != limit * MILLI
        {
            return Err(format!("E2: {metered} metered: {scenario:?}"));
        }
        Ok(())
    }

    /// Workers that served lately read the change log, and have nothing else to ask.
    pub fn check_rest(&mut self, from_ms: u64) -> Result<(), Broken> {
        let before = self.calls;
        self.run_until(from_ms + 5_000)?;
        let (calls, most) = (self.calls - before, 20 * self.places.len() as u64);
        if calls > most {
            return Err(format!(
                "{calls} calls without traffic in 5 s: {:?}",
                self.scenario
            ));
        }
        Ok(())
    }

    /// Leases add up, and none is left with a worker that lives.
    pub fn check_counters(&self) -> Result<(), Broken> {
        let usage = self.ledger.names.usage(self.ledger.tag, CHAIN);
        let keys = self.redis.keys();
        let hash = keys.hash(&usage);
        let mut leased = BTreeMap::<&str, i64>::new();
        for (field, value) in hash.into_iter().flatten() {
            let (field, value) = (
                str::from_utf8(field).unwrap(),
                str::from_utf8(value).unwrap(),
            );
            let value: i64 = value.parse().unwrap_or(0);
            let Some((kind, rest)) = field.split_once('/') else {
                continue;
            };
            match kind {
                "o" | "p" => *leased.entry(rest).or_default() += value,
                "t" => {
                    let (rest, worker) = rest.rsplit_once('/').unwrap_or_default();
                    let window = rest.splitn(4, '/').take(3).map(str::len).sum::<usize>() + 2;
                    *leased.entry(&rest[..window]).or_default() -= value;
                    return Err(format!("{worker} keeps {value} of {rest} claimed"));
                }
                "l" => {
                    let (window, worker) = rest.rsplit_once('/').unwrap_or_default();
                    *leased.entry(window).or_default() -= value;
                    let lives = self
                        .places
                        .iter()
                        .any(|place| format!("w{}", place.life) == worker);
                    if lives {
                        return Err(format!("E2: {worker} keeps {value} of {window}"));
                    }
                }
                _ => {}
            }
        }
        match leased.iter().find(|(_, difference)| **difference != 0) {
            Some((window, difference)) => Err(format!("leases of {window} differ by {difference}")),
            None => Ok(()),
        }
    }
}
