//! The lives of the data in Redis: found lost, filled again from the database, opened.
//!
//! One job watches the store, fills it and drains it, so that these never overlap: a store is filled
//! from a ledger that holds everything it ever will of the lives before.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use tokio::sync::Mutex;
use tollgate_engine::contract::Script;
use tollgate_engine::limits::BATCH_RETAINED_MS;

use super::KEPT_AFTER_END;
use super::edge::{Edge, Readiness, StoreState, script};
use super::store::{self, Generation};
use crate::app::App;
use crate::clock::{MachineInstant, Stopwatch};
use crate::config::Environment;
use crate::jobs::{Claim, Job};
use crate::subscriptions::{self, Loader, chain};
use crate::usage::{self, Drain};
use crate::{keys, sandbox};

/// How often the store is looked at.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// Chains or keys written in one go.
const DOCUMENTS_PER_PAGE: i64 = 200;
/// Names looked through in one go for what an earlier life left behind.
const NAMES_PER_SCAN: usize = 1_000;
/// How much later than its interval a drain may begin.
const MARK_DELAY: Duration = Duration::from_secs(1);

/// What is to be done about a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Diagnosis {
    /// Nothing: it is in this life.
    Sound(i64),
    /// Its last second may be lost: documents are written again.
    Restarted(i64),
    /// Everything is written again, as another life.
    Lost,
}

/// Keeps the store filled and the ledger up to date.
#[derive(Debug)]
pub struct Keeper {
    app: App,
    edge: Edge,
    drain: Drain,
    drained: Mutex<Option<Drained>>,
    wanted: AtomicBool,
    unreachable: AtomicBool,
}

/// The last drain.
#[derive(Clone, Copy, Debug)]
struct Drained {
    since: Stopwatch,
    /// The store's offset at that time.
    offset_ms: Option<i64>,
}

impl Job for Keeper {
    fn name(&self) -> &'static str {
        "store"
    }

    fn interval(&self) -> Duration {
        CHECK_INTERVAL.min(self.app.config.usage.drain_interval())
    }

    async fn work(&self) {
        self.app.drain_wanted.notified().await;
        self.wanted.store(true, Ordering::Relaxed);
    }

    async fn run(&self, claim: &Claim) -> anyhow::Result<()> {
        self.measure().await?;
        let state = match self.edge.state().await {
            Ok(state) => state,
            Err(error) => {
                if !self.unreachable.swap(true, Ordering::Relaxed) {
                    tracing::warn!(%error, "Redis does not answer");
                }
                return Ok(());
            }
        };
        if self.unreachable.swap(false, Ordering::Relaxed) {
            tracing::info!("Redis answers again");
        }
        let offset_ms = self.keep_offset(&state).await?;
        let generation = self.heal(claim, state).await?;
        self.drain_when_due(claim, generation, offset_ms).await
    }
}

impl Keeper {
    /// The keeper of the application's store.
    #[must_use]
    pub fn new(app: App) -> Self {
        let edge = Edge::new(&app);
        let drain = Drain::new(app.clone(), edge.clone());
        Self {
            app,
            edge,
            drain,
            drained: Mutex::default(),
            wanted: AtomicBool::new(false),
            unreachable: AtomicBool::new(false),
        }
    }

    /// Has the store's time be where a sandbox's clock is; the store of no sandbox has none of its own.
    async fn keep_offset(&self, state: &StoreState) -> anyhow::Result<Option<i64>> {
        let offset_ms = match self.app.config.environment {
            Environment::Sandbox => {
                Some(sandbox::lead_ms(&mut *self.app.database.read().await?).await?)
            }
            Environment::Production | Environment::Test => None,
        };
        if state.offset_ms != offset_ms {
            self.edge.set_offset(offset_ms).await?;
        }
        Ok(offset_ms)
    }

    /// Does what the store needs, and gives the life it is in then.
    async fn heal(&self, claim: &Claim, state: StoreState) -> anyhow::Result<i64> {
        let (latest, mark) = {
            let mut reader = self.app.database.read().await?;
            let drained = usage::last_drain(&mut reader).await?;
            let mark = drained.map(|drained| drained.mark);
            (store::latest(&mut reader).await?, mark)
        };
        let interval = self.app.config.usage.drain_interval();
        match diagnose(&state, latest.as_ref(), mark, interval) {
            Diagnosis::Sound(generation) => Ok(generation),
            Diagnosis::Restarted(generation) => {
                tracing::warn!("Redis was restarted: writing documents again");
                self.edge.load_scripts().await?;
                self.publish_all().await?;
                self.mark_written(claim, generation, &state.node).await?;
                Ok(generation)
            }
            Diagnosis::Lost => {
                let latest = latest.map_or(0, |latest| latest.number);
                let rebuilt = self.rebuild(claim, state, latest).await;
                rebuilt.context("cannot fill the store")
            }
        }
    }

    /// Shows how much usage would be lost if Redis lost everything now.
    async fn measure(&self) -> anyhow::Result<()> {
        let drained = usage::last_drain(&mut *self.app.database.read().await?).await?;
        if let Some(drained) = drained {
            let now = self.app.clock.machine_now().unix_ms();
            let lag_ms = (now - drained.mark.unix_ms()).max(0);
            metrics::gauge!("tollgate_drain_lag_seconds").set(lag_ms as f64 / 1_000.0);
        }
        Ok(())
    }

    /// Drains when the interval is over, when somebody wants it, and after each move of a sandbox's clock.
    async fn drain_when_due(
        &self,
        claim: &Claim,
        generation: i64,
        offset_ms: Option<i64>,
    ) -> anyhow::Result<()> {
        let mut drained = self.drained.lock().await;
        let interval = self.app.config.usage.drain_interval();
        let is_recent =
            |drained: Drained| drained.offset_ms == offset_ms && drained.since.elapsed() < interval;
        let is_wanted = self.wanted.swap(false, Ordering::Relaxed);
        if !is_wanted && drained.is_some_and(is_recent) {
            return Ok(());
        }
        let since = Stopwatch::start();
        *drained = Some(Drained { since, offset_ms });
        self.drain.pass(claim, generation).await?;
        self.drain.trim(claim, generation).await
    }

    /// Begins another life of the store, fills and opens it.
    async fn rebuild(&self, claim: &Claim, state: StoreState, latest: i64) -> anyhow::Result<i64> {
        let stopwatch = Stopwatch::start();
        // Who lost the job to another replica leaves the store to it.
        claim.commit(self.app.database.begin_write().await?).await?;
        if let Some(earlier) = state.generation {
            // What an earlier life still holds is read before it goes.
            if state.readiness == Readiness::Ready {
                self.edge.set_unready().await?;
            }
            self.drain.pass(claim, earlier).await?;
        }
        let generation = latest.max(state.generation.unwrap_or(0)) + 1;
        match latest {
            0 => tracing::info!(generation, "filling the store for the first time"),
            _ => tracing::warn!(generation, latest, "the store was lost: filling it"),
        }
        let now = self.app.clock.machine_now();
        let mut tx = self.app.database.begin_write().await?;
        store::begin(&mut tx, generation, now).await?;
        claim.commit(tx).await?;
        self.clear(generation).await?;
        self.edge.load_scripts().await?;
        self.publish_all().await?;
        self.drain.restore(generation).await?;
        self.open(claim, generation, &state.node).await?;
        tracing::info!(generation, elapsed = ?stopwatch.elapsed(), "the store is ready");
        Ok(generation)
    }

    /// Removes what an earlier life left behind.
    async fn clear(&self, generation: i64) -> anyhow::Result<()> {
        let (store, guard) = (self.edge.names().store(), self.edge.names().guard());
        let mut cursor = 0;
        loop {
            let (next, mut names) = self.edge.scan(cursor, NAMES_PER_SCAN).await?;
            names.retain(|name| *name != store && *name != guard);
            let mut close = script(Script::Close, &[&store]);
            close.arg(generation).arg(names);
            let answers = self.edge.run::<i64>(&[close]).await?;
            ensure!(answers == [1], "another replica fills the store");
            if next == 0 {
                return Ok(());
            }
            cursor = next;
        }
    }

    /// Writes every document that is not there yet or older.
    async fn publish_all(&self) -> anyhow::Result<()> {
        let mut loader = Loader::default();
        let mut after = String::new();
        loop {
            let now = self.app.clock.business_now();
            let mut reader = self.app.database.read().await?;
            let ids = chain::ids(&mut reader, &after, DOCUMENTS_PER_PAGE).await?;
            let (Some(first), Some(last)) = (ids.first(), ids.last()) else {
                break;
            };
            let kept = now.before(KEPT_AFTER_END);
            let chains = loader.chains(&mut reader, first, last, kept).await?;
            let mut publish = Vec::with_capacity(chains.len());
            for chain in &chains {
                let block = subscriptions::block(&mut reader, chain, now).await?;
                publish.push(self.edge.publish_access(chain, block.as_ref(), now));
            }
            drop(reader);
            self.edge.run::<i64>(&publish).await?;
            after = last.clone();
        }
        let mut after = String::new();
        let environment = self.app.config.environment;
        loop {
            let mut reader = self.app.database.read().await?;
            let page = DOCUMENTS_PER_PAGE;
            let keys = keys::following(&mut reader, &after, page, environment).await?;
            drop(reader);
            let Some(last) = keys.last() else {
                return Ok(());
            };
            after = last.key.id.to_string();
            let publish = keys.iter().map(|key| self.edge.publish_key(key));
            self.edge.run::<i64>(&publish.collect::<Vec<_>>()).await?;
        }
    }

    /// Lets the filter use the store.
    ///
    /// Grants on hard limits pause for the life of a lease, unless no lease was ever granted: workers
    /// that hold leases of an earlier life declare them within that time.
    async fn open(&self, claim: &Claim, generation: i64, node: &str) -> anyhow::Result<()> {
        let mut tx = self.app.database.begin_write().await?;
        let used_before = store::was_opened_before(&mut tx, generation).await?;
        let ledger_used = usage::is_used(&mut tx).await?;
        store::mark_opened(&mut tx, generation, self.app.clock.machine_now()).await?;
        claim.commit(tx).await?;
        let pause_ms = match used_before || ledger_used {
            true => self.app.config.redis.lease_ttl_ms,
            false => 0,
        };
        if self.edge.state().await?.node != node {
            bail!("Redis was restarted meanwhile");
        }
        // The store begins with everything the ledger holds.
        self.edge.mark_drained(self.app.clock.machine_now()).await?;
        let names = self.edge.names();
        let mut open = script(Script::Open, &[&names.store(), &names.guard()]);
        open.arg(generation).arg(pause_ms);
        let answers = self.edge.run::<i64>(&[open]).await?;
        ensure!(answers == [1], "the store was lost meanwhile");
        if self.edge.state().await?.node != node {
            bail!("Redis was restarted meanwhile");
        }
        self.mark_written(claim, generation, node).await
    }

    async fn mark_written(&self, claim: &Claim, generation: i64, node: &str) -> anyhow::Result<()> {
        let mut tx = self.app.database.begin_write().await?;
        store::mark_written(&mut tx, generation, node).await?;
        Ok(claim.commit(tx).await?)
    }
}

/// What a store needs, given the last life that was begun and the mark of the last drain.
///
/// A process that came back without the marks of so long has lost more than workers send again: it
/// started from an older copy, and what the ledger holds is newer. One mark may be lost with the last
/// second.
fn diagnose(
    state: &StoreState,
    latest: Option<&Generation>,
    mark: Option<MachineInstant>,
    drain_interval: Duration,
) -> Diagnosis {
    let Some(latest) = latest else {
        return Diagnosis::Lost;
    };
    let Some(node) = &latest.node else {
        return Diagnosis::Lost;
    };
    if state.generation != Some(latest.number) || state.readiness != Readiness::Ready {
        return Diagnosis::Lost;
    }
    if *node == state.node {
        return Diagnosis::Sound(latest.number);
    }
    let sent_again = Duration::from_millis(BATCH_RETAINED_MS);
    let most = sent_again
        .saturating_sub(drain_interval)
        .max(drain_interval)
        + MARK_DELAY;
    let seen = state.drained.map(|seen| seen.after(most));
    if mark.is_none_or(|mark| Some(mark) <= seen) {
        Diagnosis::Restarted(latest.number)
    } else {
        Diagnosis::Lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(
        generation: Option<i64>,
        readiness: Readiness,
        drained_seconds: i64,
        node: &str,
    ) -> StoreState {
        StoreState {
            generation,
            readiness,
            offset_ms: None,
            drained: Some(seconds(drained_seconds)),
            node: node.to_owned(),
        }
    }

    fn seconds(seconds: i64) -> MachineInstant {
        MachineInstant::from_unix_ms(seconds * 1_000)
    }

    #[test]
    fn a_store_is_used_only_as_it_was_filled() {
        use Diagnosis::{Lost, Restarted, Sound};
        use Readiness::{Ready, Unready};
        let written = |node: Option<&str>| Generation {
            number: 3,
            opened_at_ms: Some(1),
            node: node.map(str::to_owned),
        };
        let filled = written(Some("a"));
        for (state, latest, expected) in [
            (state(None, Unready, 0, "a"), None, Lost),
            (state(Some(3), Ready, 100, "a"), None, Lost),
            (state(Some(3), Ready, 100, "a"), Some(&filled), Sound(3)),
            (state(None, Unready, 0, "a"), Some(&filled), Lost),
            (state(Some(3), Unready, 100, "a"), Some(&filled), Lost),
            (state(Some(2), Ready, 100, "a"), Some(&filled), Lost),
            (state(Some(4), Ready, 100, "a"), Some(&filled), Lost),
            (state(Some(3), Ready, 100, "b"), Some(&filled), Restarted(3)),
            (state(Some(3), Ready, 94, "b"), Some(&filled), Restarted(3)),
            (state(Some(3), Ready, 93, "b"), Some(&filled), Lost),
            (state(Some(3), Ready, 100, "a"), Some(&written(None)), Lost),
        ] {
            let mark = Some(seconds(100));
            let interval = Duration::from_secs(5);
            let diagnosis = diagnose(&state, latest, mark, interval);
            assert_eq!(diagnosis, expected, "{state:?} {latest:?}");
        }
    }
}
