//! The job that bills what is due.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::sync::Mutex;

use super::books::Books;
use super::round::{self, Outcome};
use super::schedules::{self, Place, Ripe};
use super::{Invoice, InvoiceStatus, Part, issuing, late, store};
use crate::app::App;
use crate::clock::{BusinessInstant, Stopwatch};
use crate::database::{Backend, Connection, Write};
use crate::error::{Error, Result};
use crate::ids::SubscriptionId;
use crate::jobs::{Claim, Job};
use crate::subscriptions::Loader;
use crate::usage;

/// Subscriptions billed by one transaction, so that others need not wait for long.
const SUBSCRIPTIONS_PER_ROUND: i64 = 200;
/// Customers whose late usage one transaction bills.
const CUSTOMERS_PER_ROUND: usize = 200;
/// How often to look for late usage that no other invoice will hold, and to count what is not paid.
const LATE_INTERVAL: Duration = Duration::from_secs(1);

/// Assembles invoices at their boundaries, many in one transaction, each with its schedule.
#[derive(Debug)]
pub struct Billing {
    app: App,
    looked: Mutex<Option<Stopwatch>>,
}

impl Billing {
    /// The job over the application's subscriptions.
    #[must_use]
    pub fn new(app: App) -> Self {
        Self {
            app,
            looked: Mutex::default(),
        }
    }

    /// Whether anything is due, which needs no writing to see; usage that is waited for is asked for.
    async fn is_due(&self) -> anyhow::Result<bool> {
        let now = self.app.clock.business_now();
        let mut reader = self.app.database.read().await?;
        let drain = usage::last_drain(&mut reader).await?;
        if schedules::waits(&mut reader, now, self.app.clock.machine_now(), drain).await? {
            self.app.drain_wanted.notify_one();
        }
        let ripe = Ripe::at(now, drain);
        let first = schedules::due(&mut reader, &ripe, &Place::start(), 1).await?;
        Ok(!first.is_empty())
    }

    /// Bills late usage that no other invoice will hold.
    async fn bill_late(&self, claim: &Claim) -> anyhow::Result<()> {
        let mut looked = self.looked.lock().await;
        if looked.is_some_and(|looked| looked.elapsed() < LATE_INTERVAL) {
            return Ok(());
        }
        *looked = Some(Stopwatch::start());
        self.measure().await?;
        let now = self.app.clock.business_now();
        bill_late(&self.app, now, Authority::Job(claim)).await?;
        Ok(())
    }

    /// Shows how many invoices are at which place on their way.
    async fn measure(&self) -> anyhow::Result<()> {
        use InvoiceStatus::{Draft, Failed, Open, Pushing, Uncollectible};
        let mut reader = self.app.database.read().await?;
        for status in [Draft, Pushing, Open, Failed, Uncollectible] {
            let count = store::count(&mut reader, status).await?;
            metrics::gauge!("tollgate_invoices", "status" => status.name()).set(count as f64);
        }
        Ok(())
    }
}

impl Job for Billing {
    fn name(&self) -> &'static str {
        "billing"
    }

    /// Short, because others make subscriptions and drain.
    fn interval(&self) -> Duration {
        Duration::from_millis(self.app.config.outbox.poll_ms.into())
    }

    async fn run(&self, claim: &Claim) -> anyhow::Result<()> {
        let mut passes = Passes::new(self.app.clone(), None);
        while self.is_due().await? && passes.pass(Authority::Job(claim), &mut |_| {}).await? {}
        self.bill_late(claim).await
    }
}

/// By what right something is billed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Authority<'a> {
    /// By a job's, which another replica may take over.
    Job(&'a Claim),
    /// By an operator's. Whoever else bills at the same time finds done what is done.
    Operator,
}

impl Authority<'_> {
    /// Leaves others who write to the same file a tenth of the time: they look now and then whether it is free.
    async fn make_room(self, backend: Backend, taken: Duration) {
        match (self, backend) {
            (Self::Operator, Backend::Sqlite) => tokio::time::sleep(taken / 10).await,
            // There who waited first is first.
            (Self::Job(_), _) | (_, Backend::Postgres) => {}
        }
    }

    async fn commit(self, tx: Write) -> anyhow::Result<()> {
        match self {
            Self::Job(claim) => Ok(claim.commit(tx).await?),
            Self::Operator => Ok(tx.commit().await?),
        }
    }
}

/// What one transaction did.
#[derive(Debug, Default)]
pub(super) struct Done {
    /// Subscriptions that were moved on.
    pub(super) subscriptions: usize,
    /// Those that cannot be billed.
    pub(super) failed: Vec<SubscriptionId>,
    pub(super) invoices: Vec<Invoice>,
}

/// Passes through everything that is due, some subscriptions by each transaction.
#[derive(Debug)]
pub(super) struct Passes {
    app: App,
    /// Boundaries until then; until now when left out.
    until: Option<BusinessInstant>,
    plans: Loader,
}

impl Passes {
    pub(super) fn new(app: App, until: Option<BusinessInstant>) -> Self {
        Self {
            app,
            until,
            plans: Loader::default(),
        }
    }

    /// Bills the next boundary of every subscription that is due, and says whether there was any.
    ///
    /// One that cannot be billed does not keep others waiting.
    pub(super) async fn pass(
        &mut self,
        by: Authority<'_>,
        tell: &mut (dyn FnMut(Done) + Send),
    ) -> anyhow::Result<bool> {
        let mut moved = false;
        let mut after = Place::start();
        let mut one_by_one = 0;
        loop {
            let limit = if one_by_one > 0 {
                1
            } else {
                SUBSCRIPTIONS_PER_ROUND
            };
            let mut tx = self.app.database.begin_write().await?;
            let stopwatch = Stopwatch::start();
            match self.round(&mut tx, &after, limit).await {
                Ok(None) => return Ok(moved),
                Ok(Some((done, next))) => {
                    by.commit(tx).await?;
                    let backend = self.app.database.backend();
                    by.make_room(backend, stopwatch.elapsed()).await;
                    after = next;
                    moved |= done.subscriptions > 0;
                    tell(done);
                }
                // Which of them the database refuses is seen when each is alone.
                Err(error) if limit > 1 => {
                    tracing::warn!(%error, "subscriptions are billed one by one");
                    one_by_one = SUBSCRIPTIONS_PER_ROUND;
                    continue;
                }
                Err(error) => {
                    drop(tx);
                    let Some((place, done)) = self.skip(&after, &error).await? else {
                        return Ok(moved);
                    };
                    after = place;
                    tell(done);
                }
            }
            one_by_one = (one_by_one - 1).max(0);
        }
    }

    /// Bills the first subscriptions that are due after a place, and gives the last one's; none when
    /// there is none.
    async fn round(
        &mut self,
        tx: &mut Write,
        after: &Place,
        limit: i64,
    ) -> Result<Option<(Done, Place)>> {
        let ripe = self.ripe(tx).await?;
        let due = schedules::due(tx, &ripe, after, limit).await?;
        let places: Vec<_> = due.iter().map(Place::of).collect();
        if due.is_empty() {
            return Ok(None);
        }
        let mut books = Books::with_plans(std::mem::take(&mut self.plans));
        let mut all = round::load(tx, books.plans(), due).await?;
        let outcomes = round::bill(&self.app, tx, &mut books, &ripe, &mut all).await?;
        self.plans = books.into_plans();
        let mut last = after.clone();
        let (mut done, mut drafts, mut moved) = (Done::default(), Vec::new(), Vec::new());
        for ((outcome, billed), place) in outcomes.into_iter().zip(&all).zip(places) {
            match outcome {
                Outcome::Later => break,
                Outcome::Waits => {}
                Outcome::Failed(error) => done.fail(billed.schedule.subscription, &error),
                Outcome::Moved(draft) => {
                    moved.push(&billed.schedule);
                    drafts.extend(draft.map(|draft| *draft));
                }
            }
            last = place;
        }
        done.subscriptions = moved.len();
        schedules::save(tx, &moved).await?;
        for draft in drafts.iter().filter(|draft| draft.head.part == Part::Fees) {
            let (subscription, boundary) = (draft.head.subscription, draft.head.boundary);
            tracing::warn!(%subscription, %boundary, "fees are billed alone: usage is not known");
            metrics::counter!("tollgate_invoices_without_usage_total").increment(1);
        }
        done.invoices = issuing::write(&self.app, tx, drafts).await?;
        Ok(Some((done, last)))
    }

    /// Passes over the first subscription after a place, which the database refuses to bill.
    async fn skip(&self, after: &Place, error: &Error) -> anyhow::Result<Option<(Place, Done)>> {
        let mut reader = self.app.database.read().await?;
        let ripe = self.ripe(&mut reader).await?;
        let due = schedules::due(&mut reader, &ripe, after, 1).await?;
        let mut done = Done::default();
        Ok(due.first().map(|schedule| {
            done.fail(schedule.subscription, error);
            (Place::of(schedule), done)
        }))
    }

    async fn ripe(&self, connection: &mut Connection) -> Result<Ripe> {
        let drain = usage::last_drain(connection).await?;
        let ripe = Ripe::at(self.app.clock.business_now(), drain);
        Ok(Ripe {
            until: self.until.unwrap_or(ripe.now),
            ..ripe
        })
    }
}

impl Done {
    fn fail(&mut self, subscription: SubscriptionId, error: &Error) {
        tracing::error!(%subscription, %error, "cannot be billed");
        metrics::counter!("tollgate_billing_failures_total").increment(1);
        self.failed.push(subscription);
    }
}

/// Bills late usage that no other invoice will hold.
pub(super) async fn bill_late(
    app: &App,
    now: BusinessInstant,
    by: Authority<'_>,
) -> anyhow::Result<Vec<Invoice>> {
    let mut billed = Vec::new();
    loop {
        let due = late::due(&mut *app.database.read().await?, now, &late::Ended::new()).await?;
        let due: BTreeSet<_> = due.into_iter().take(CUSTOMERS_PER_ROUND).collect();
        if due.is_empty() {
            return Ok(billed);
        }
        let mut tx = app.database.begin_write().await?;
        let mut books = Books::default();
        let drafts = late::drafts(app, &mut tx, &mut books, &due, now).await?;
        if drafts.is_empty() {
            // Another invoice has taken it meanwhile.
            return Ok(billed);
        }
        billed.extend(issuing::write(app, &mut tx, drafts).await?);
        by.commit(tx).await?;
    }
}
