//! Work in the background that happens once, however many replicas there are.
//!
//! A job belongs to whoever holds its lease. Each new holder gets a greater fencing token, and
//! commits only through [`Claim::commit`]: a worker that lost its claim, without knowing it,
//! cannot commit. Whose claim committed last stands beside who holds the job, for the doctor.

pub mod housekeeping;
mod store;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tracing::Instrument;

use crate::app::{App, Shutdown};
use crate::clock::{MachineInstant, Stopwatch};
use crate::database::{Connection, Database, Failure, Write};
use crate::ids::WorkerId;

/// Something done again and again by one replica at a time.
pub trait Job: Send + Sync + 'static {
    /// What it is called in the database, the log and the metrics.
    fn name(&self) -> &'static str;

    /// The longest time between two runs.
    fn interval(&self) -> Duration;

    /// Resolves when there is work before the interval is over.
    fn work(&self) -> impl Future<Output = ()> + Send {
        std::future::pending()
    }

    /// Does what there is to do; what it writes goes through `claim`.
    fn run(&self, claim: &Claim) -> impl Future<Output = anyhow::Result<()>> + Send;
}

/// The right to do a job, as long as nobody else got a greater token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    name: String,
    owner: WorkerId,
    token: i64,
}

/// Why a claim could not be used.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// Another worker has taken the job over.
    #[error("the job {name} was taken over by another worker")]
    Lost {
        /// The job.
        name: String,
    },
    /// The database refused.
    #[error(transparent)]
    Database(#[from] Failure),
}

impl Claim {
    /// Takes the job `name` for `lease` if nobody holds it.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn take(
        database: &Database,
        name: &str,
        owner: WorkerId,
        now: MachineInstant,
        lease: Duration,
    ) -> Result<Option<Self>, Failure> {
        // Reading first: a job that another replica holds costs no write.
        if store::lease_until(&mut *database.read().await?, name)
            .await?
            .is_some_and(|t| t > now)
        {
            return Ok(None);
        }
        let mut tx = database.begin_write().await?;
        let token = store::claim(&mut tx, name, owner, now, now.after(lease)).await?;
        tx.commit().await?;
        Ok(token.map(|token| Self {
            name: name.to_owned(),
            owner,
            token,
        }))
    }

    /// Holds the job until `until`.
    ///
    /// # Errors
    /// When another worker has taken it over.
    pub async fn renew(
        &self,
        database: &Database,
        until: MachineInstant,
    ) -> Result<(), ClaimError> {
        let mut tx = database.begin_write().await?;
        let renewed = store::extend(&mut tx, self, until).await?;
        self.held(renewed)?;
        Ok(tx.commit().await?)
    }

    /// Gives the job up, so that another replica need not wait for the lease to end.
    ///
    /// # Errors
    /// When another worker has taken it over.
    pub async fn release(&self, database: &Database) -> Result<(), ClaimError> {
        self.renew(database, MachineInstant::from_unix_ms(0)).await
    }

    /// Commits, unless another worker has taken the job over.
    ///
    /// # Errors
    /// When it has; the transaction is then rolled back.
    pub async fn commit(&self, mut tx: Write) -> Result<(), ClaimError> {
        // There is one writer at a time, so the holder cannot change between this and the commit.
        let held = store::note_commit(&mut tx, self).await?;
        self.held(held)?;
        Ok(tx.commit().await?)
    }

    fn held(&self, held: bool) -> Result<(), ClaimError> {
        if held {
            Ok(())
        } else {
            Err(ClaimError::Lost {
                name: self.name.clone(),
            })
        }
    }
}

/// Whether anybody does a job at `now`.
///
/// # Errors
/// When the database refuses.
pub async fn is_held(
    connection: &mut Connection,
    name: &str,
    now: MachineInstant,
) -> Result<bool, Failure> {
    let until = store::lease_until(connection, name).await?;
    Ok(until.is_some_and(|until| now < until))
}

/// Frees every job at the start of a process that knows it is the only one.
///
/// # Errors
/// When the database refuses.
pub async fn free_all(database: &Database) -> Result<(), Failure> {
    let mut tx = database.begin_write().await?;
    store::free_all(&mut tx).await?;
    tx.commit().await
}

/// Runs `job` whenever this process holds it, until `shutdown`; then gives it up.
pub async fn run_until_shutdown(app: App, job: impl Job, mut shutdown: Shutdown) {
    let mut runner = Runner {
        app,
        job: Arc::new(job),
        held: None,
    };
    let span = tracing::info_span!("job", name = runner.job.name());
    let mut moves = runner.app.clock.subscribe();
    async {
        while !shutdown.is_requested() {
            runner.turn().await;
            tokio::select! {
                () = shutdown.requested() => {}
                () = runner.job.work() => {}
                // What is due is known by the time alone: whoever moves it calls everyone.
                Ok(()) = moves.changed() => {}
                () = sleep(runner.job.interval()) => {}
            }
        }
        if let Some(held) = runner.held.take()
            && let Err(error) = held.claim.release(&runner.app.database).await
        {
            tracing::warn!(%error, "could not give the job up");
        }
    }
    .instrument(span)
    .await;
}

struct Runner<J> {
    app: App,
    job: Arc<J>,
    held: Option<Held>,
}

struct Held {
    claim: Claim,
    until: MachineInstant,
}

impl<J: Job> Runner<J> {
    async fn turn(&mut self) {
        let name = self.job.name();
        let claim = match self.claim().await {
            Ok(Some(claim)) => claim,
            Ok(None) => return,
            Err(error) => {
                self.held = None;
                tracing::warn!(%error, "could not claim the job");
                return;
            }
        };
        let stopwatch = Stopwatch::start();
        let outcome = self.run_while_held(claim).await;
        metrics::histogram!("tollgate_job_seconds", "job" => name).record(stopwatch.elapsed());
        if let Err(error) = outcome {
            metrics::counter!("tollgate_job_failures_total", "job" => name).increment(1);
            tracing::error!(error = format!("{error:#}"), "the job failed");
        }
    }

    /// The claim, new or renewed before half of its lease is over.
    async fn claim(&mut self) -> Result<Option<Claim>, ClaimError> {
        let (now, lease) = (self.app.clock.machine_now(), self.app.job_lease());
        if let Some(held) = &mut self.held {
            if held.until < now.after(lease / 2) {
                held.claim
                    .renew(&self.app.database, now.after(lease))
                    .await?;
                held.until = now.after(lease);
            }
            return Ok(Some(held.claim.clone()));
        }
        let taken = Claim::take(
            &self.app.database,
            self.job.name(),
            self.app.worker,
            now,
            lease,
        )
        .await?;
        self.held = taken.map(|claim| Held {
            claim,
            until: now.after(lease),
        });
        Ok(self.held.as_ref().map(|held| held.claim.clone()))
    }

    /// Runs the job in a task of its own, so that a panic ends the run and not the loop.
    async fn run_while_held(&mut self, claim: Claim) -> anyhow::Result<()> {
        let job = Arc::clone(&self.job);
        let run = async move { job.run(&claim).await };
        let mut task = tokio::spawn(run.in_current_span());
        loop {
            tokio::select! {
                outcome = &mut task => return outcome?,
                () = sleep(self.app.job_lease() / 3) => {}
            }
            if let Err(error) = self.claim().await {
                task.abort();
                self.held = None;
                return Err(error.into());
            }
        }
    }
}
