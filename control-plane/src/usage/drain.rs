//! From Redis into the ledger, and what the ledger holds out of Redis again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, ensure};
use redis::Cmd;
use tollgate_engine::contract::{CounterField, Script, WindowId};
use tollgate_engine::limits::{CLAIM_SILENCE_MAX_MS, WORKER_RECORD_TTL_MS};
use tollgate_engine::units::Units;

use super::recording::record;
use super::store::{self, Closed, Trimmed};
use super::{Counter, LastDrain, Reading};
use crate::app::App;
use crate::clock::{BusinessInstant, Stopwatch};
use crate::ids::SubscriptionId;
use crate::jobs::Claim;
use crate::publisher::edge::{Edge, script};
use crate::subscriptions::Loader;
use crate::subscriptions::chain::end_of;

/// Chains read and stored by one transaction.
const CHAINS_PER_TRANSACTION: usize = 500;
/// Chains written into a store in one go.
const CHAINS_PER_PAGE: i64 = 200;
/// Windows looked at by one run of the trimming.
const WINDOWS_PER_RUN: i64 = 200;
/// How long after a window's end its counters stay in Redis at least.
pub(super) const KEPT_AFTER_END: Duration = Duration::from_secs(24 * 3_600);
/// When a window that could not be trimmed is tried again.
const TRIM_AGAIN: Duration = Duration::from_secs(3_600);

/// What one script read of a chain: generation, workers with numbers, counters with late generations and units.
type Answer = (String, Vec<String>, Vec<String>);

/// Carries counters between Redis and the ledger.
#[derive(Clone, Debug)]
pub struct Drain {
    app: App,
    edge: Edge,
}

impl Drain {
    /// Between the application's database and Redis.
    #[must_use]
    pub fn new(app: App, edge: Edge) -> Self {
        Self { app, edge }
    }

    /// Reads everything that changed since the ledger last held it.
    ///
    /// # Errors
    /// When Redis or the database fails, or the store does not stay in this life until the end: what
    /// was read until then is kept, and the rest is read by the next pass.
    pub async fn pass(&self, claim: &Claim, generation: i64) -> anyhow::Result<()> {
        let stopwatch = Stopwatch::start();
        let drain = LastDrain {
            began_at: self.app.clock.business_now(),
            mark: self.app.clock.machine_now(),
        };
        let pending = self.edge.pending().await?;
        let mut loader = Loader::default();
        let mut pages = pending.chunks(CHAINS_PER_TRANSACTION);
        let mut read = match pages.next() {
            Some(page) => self.read(page).await?,
            None => Vec::new(),
        };
        while !read.is_empty() || pages.len() > 0 {
            // While one page is stored, the next one is read.
            let next = async {
                match pages.next() {
                    Some(page) => self.read(page).await,
                    None => Ok(Vec::new()),
                }
            };
            let (stored, next) = tokio::join!(self.store(claim, &read, &mut loader), next);
            stored?;
            read = next?;
        }
        let state = self.edge.state().await?;
        ensure!(
            state.generation == Some(generation),
            "the store was lost meanwhile"
        );
        let mut tx = self.app.database.begin_write().await?;
        store::record_drain(&mut tx, drain).await?;
        claim.commit(tx).await?;
        self.edge.mark_drained(drain.mark).await?;
        metrics::gauge!("tollgate_drain_chains").set(pending.len() as f64);
        metrics::histogram!("tollgate_drain_seconds").record(stopwatch.elapsed());
        Ok(())
    }

    /// Stores a page that was read, and takes it off the list.
    async fn store(
        &self,
        claim: &Claim,
        readings: &[Reading],
        loader: &mut Loader,
    ) -> anyhow::Result<()> {
        if readings.is_empty() {
            return Ok(());
        }
        let trim_at = self.ends(readings, loader).await?;
        let now = self.app.clock.machine_now();
        let mut tx = self.app.database.begin_write().await?;
        record(&mut tx, readings, &trim_at, now).await?;
        claim.commit(tx).await?;
        let drained: Vec<_> = readings
            .iter()
            .map(|reading| self.drained(reading))
            .collect();
        self.edge.run::<i64>(&drained).await?;
        Ok(())
    }

    /// What Redis has of these chains; a chain of a store without a generation is left out.
    async fn read(&self, page: &[(String, String)]) -> anyhow::Result<Vec<Reading>> {
        let store = self.edge.names().store();
        let commands: Vec<_> = page
            .iter()
            .map(|(tagged, chain)| {
                let mut drain = script(Script::Drain, &[&store]);
                drain
                    .arg(tagged)
                    .arg(chain)
                    .arg(WORKER_RECORD_TTL_MS)
                    .arg(CLAIM_SILENCE_MAX_MS);
                drain
            })
            .collect();
        let answers = self.edge.run::<Answer>(&commands).await?;
        let readings = page
            .iter()
            .zip(answers)
            .filter_map(|((tagged, chain), answer)| {
                let (generation, sequences, counters) = answer;
                Some(Reading {
                    chain: chain.clone(),
                    tagged: tagged.clone(),
                    generation: generation.parse().ok()?,
                    counters: counters_of(chain, &counters),
                    sequences: pairs(&sequences).filter_map(sequence_of).collect(),
                })
            });
        Ok(readings.collect())
    }

    /// By window of readings, when its counters may be removed from Redis. A window that no
    /// subscription has is counted like any other, and stays.
    async fn ends<'a>(
        &self,
        readings: &'a [Reading],
        loader: &mut Loader,
    ) -> anyhow::Result<BTreeMap<(&'a str, &'a WindowId), BusinessInstant>> {
        let ids = readings
            .iter()
            .filter_map(|reading| reading.chain.parse().ok());
        let ids: Vec<_> = ids.collect();
        let chains = {
            let mut reader = self.app.database.read().await?;
            loader.chains_of(&mut reader, &ids).await?
        };
        let mut ends = BTreeMap::new();
        for reading in readings {
            let id: Option<SubscriptionId> = reading.chain.parse().ok();
            let members = id.and_then(|id| chains.get(&id));
            let windows: BTreeSet<_> = reading
                .counters
                .iter()
                .map(|counter| &counter.window)
                .collect();
            for window in windows {
                match members.and_then(|members| end_of(members, window)) {
                    Some(end) => {
                        let place = (reading.chain.as_str(), window);
                        ends.insert(place, end.after(KEPT_AFTER_END));
                    }
                    None => {
                        let chain = &reading.chain;
                        tracing::warn!(chain, %window, "units of a window that no subscription has");
                        metrics::counter!("tollgate_drain_unknown_windows_total").increment(1);
                    }
                }
            }
        }
        Ok(ends)
    }

    fn drained(&self, reading: &Reading) -> Cmd {
        let (store, pending) = (self.edge.names().store(), self.edge.names().pending());
        let mut drained = script(Script::Drained, &[&store, &pending]);
        drained
            .arg(reading.generation)
            .arg(&reading.tagged)
            .arg(&reading.chain);
        for counter in &reading.counters {
            let late_generation = counter.late_generation;
            drained
                .arg(field(counter))
                .arg(late_generation)
                .arg(counter.units.milli());
        }
        drained
    }

    /// Writes what the ledger holds into a store of this life that is being filled.
    ///
    /// # Errors
    /// When Redis or the database fails, or the store is of another life by now.
    pub async fn restore(&self, generation: i64) -> anyhow::Result<()> {
        let store = self.edge.names().store();
        let mut after = String::new();
        loop {
            let page = {
                let mut reader = self.app.database.read().await?;
                store::restored(&mut reader, &after, CHAINS_PER_PAGE).await?
            };
            let Some(last) = page.last() else {
                return Ok(());
            };
            after.clone_from(&last.chain);
            let mut commands = Vec::with_capacity(page.len());
            for held in &page {
                let tagged = self.edge.names().tagged(held.tag.parse()?);
                let mut restore = script(Script::Restore, &[&store]);
                restore
                    .arg(generation)
                    .arg(tagged)
                    .arg(&held.chain)
                    .arg(held.late_generation);
                for (window, units) in &held.windows {
                    restore.arg("b").arg(window.to_string()).arg(units.milli());
                }
                for (worker, (number, _)) in &held.workers.0 {
                    restore.arg("w").arg(worker).arg(number);
                }
                commands.push(restore);
            }
            let answers = self.edge.run::<i64>(&commands).await?;
            ensure!(
                answers.iter().all(|answer| *answer == 1),
                "another replica fills the store"
            );
        }
    }

    /// Removes counters of closed windows that the ledger holds from Redis.
    ///
    /// # Errors
    /// When Redis or the database fails.
    pub async fn trim(&self, claim: &Claim, generation: i64) -> anyhow::Result<()> {
        let now = self.app.clock.business_now();
        let mut reader = self.app.database.read().await?;
        let closed = store::closed(&mut reader, now, WINDOWS_PER_RUN).await?;
        if closed.is_empty() {
            return Ok(());
        }
        let counters = store::last_counters(&mut reader, &closed, generation).await?;
        drop(reader);
        let mut commands = Vec::with_capacity(closed.len());
        for window in &closed {
            let held = counters.get(&(window.chain.clone(), window.window.clone()));
            let held = held.map_or(&[][..], Vec::as_slice);
            commands.push(self.trim_command(window, generation, held)?);
        }
        let answers = self.edge.run::<i64>(&commands).await?;
        let mut tx = self.app.database.begin_write().await?;
        let outcomes = closed.iter().zip(answers).map(|(window, answer)| {
            let outcome = match answer {
                1 => Trimmed::Removed,
                _ => Trimmed::Refused(now.after(TRIM_AGAIN)),
            };
            (window, outcome)
        });
        store::set_trimmed(&mut tx, &outcomes.collect::<Vec<_>>()).await?;
        Ok(claim.commit(tx).await?)
    }

    fn trim_command(
        &self,
        closed: &Closed,
        generation: i64,
        counters: &[Counter],
    ) -> anyhow::Result<Cmd> {
        let tagged = self.edge.names().tagged(closed.tag.parse()?);
        let late_generation = counters
            .first()
            .map_or(0, |counter| counter.late_generation);
        let mut trim = script(Script::Trim, &[&self.edge.names().store()]);
        trim.arg(generation).arg(tagged).arg(&closed.chain);
        trim.arg(closed.window.to_string()).arg(late_generation);
        for counter in counters {
            trim.arg(field(counter)).arg(counter.units.milli());
        }
        Ok(trim)
    }
}

fn field(counter: &Counter) -> String {
    let (window, key) = (counter.window.clone(), counter.api_key.clone());
    CounterField::Hour(window, counter.hour, key).to_string()
}

/// The counters of an answer. One that cannot be read stays in Redis and is read again.
fn counters_of(chain: &str, answer: &[String]) -> Vec<Counter> {
    let read = |parts: &[String; 3]| {
        let counter = counter_of(parts);
        if let Err(error) = &counter {
            tracing::error!(
                chain,
                field = parts[0],
                error = format!("{error:#}"),
                "no counter"
            );
        }
        counter.ok()
    };
    answer.as_chunks::<3>().0.iter().filter_map(read).collect()
}

fn counter_of([field, late_generation, units]: &[String; 3]) -> anyhow::Result<Counter> {
    let CounterField::Hour(window, hour, api_key) = field.parse()? else {
        anyhow::bail!("not of an hour");
    };
    Ok(Counter {
        window,
        late_generation: late_generation.parse()?,
        hour,
        api_key,
        units: Units::from_milli(units.parse()?).context("too many units")?,
    })
}

fn pairs(texts: &[String]) -> impl Iterator<Item = &[String; 2]> {
    texts.as_chunks::<2>().0.iter()
}

fn sequence_of([worker, number]: &[String; 2]) -> Option<(String, u64)> {
    Some((worker.clone(), number.parse().ok()?))
}
