//! The job that bills what is due.

use std::time::Duration;

use tokio::sync::Mutex;

use super::assembly::{self, Occasion};
use super::charges::next_boundary;
use super::schedules::{self, Due, Schedule};
use super::{InvoiceKind, InvoiceStatus, Part, late, store};
use crate::app::App;
use crate::clock::Stopwatch;
use crate::database::Write;
use crate::error::Result;
use crate::ids::SubscriptionId;
use crate::jobs::{Claim, Job};
use crate::subscriptions::{self, Loader, Member};
use crate::usage::{self, LastDrain};

/// Subscriptions looked at in one go.
const SUBSCRIPTIONS_PER_ROUND: i64 = 100;
/// How often to look for late usage that no other invoice will hold, and to count what is not paid.
const LATE_INTERVAL: Duration = Duration::from_secs(1);

/// Assembles invoices at their boundaries, each in one transaction with its schedule.
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

    /// Bills subscriptions that are due, and says whether that changed anything.
    ///
    /// One that cannot be billed does not keep others waiting.
    async fn round(&self, claim: &Claim) -> anyhow::Result<Progress> {
        let now = self.app.clock.business_now();
        let due = {
            let mut reader = self.app.database.read().await?;
            let drain = usage::last_drain(&mut reader).await?;
            if schedules::waits(&mut reader, now, self.app.clock.machine_now(), drain).await? {
                self.app.drain_wanted.notify_one();
            }
            schedules::due(&mut reader, now, drain, SUBSCRIPTIONS_PER_ROUND).await?
        };
        let mut progress = Progress::Stuck;
        for subscription in due {
            let mut tx = self.app.database.begin_write().await?;
            match bill(&self.app, &mut tx, subscription).await {
                Ok(Progress::Made) => {
                    claim.commit(tx).await?;
                    progress = Progress::Made;
                }
                Ok(Progress::Stuck) => {}
                Err(error) => {
                    tracing::error!(%subscription, %error, "cannot be billed");
                    metrics::counter!("tollgate_billing_failures_total").increment(1);
                }
            }
        }
        Ok(progress)
    }

    /// Bills late usage that no other invoice will hold.
    async fn bill_late(&self, claim: &Claim) -> anyhow::Result<()> {
        let mut looked = self.looked.lock().await;
        if looked.is_some_and(|looked| looked.elapsed() < LATE_INTERVAL) {
            return Ok(());
        }
        *looked = Some(Stopwatch::start());
        self.measure().await?;
        loop {
            let now = self.app.clock.business_now();
            let due = late::due(&mut *self.app.database.read().await?, now).await?;
            let Some(customer) = due else {
                return Ok(());
            };
            let mut tx = self.app.database.begin_write().await?;
            late::bill(&self.app, &mut tx, customer).await?;
            claim.commit(tx).await?;
        }
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
        while self.round(claim).await? == Progress::Made {}
        self.bill_late(claim).await
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    Made,
    Stuck,
}

/// Bills the next boundary of a subscription, if it still is due, and moves its schedule past it.
async fn bill(app: &App, tx: &mut Write, id: SubscriptionId) -> Result<Progress> {
    let Some(mut schedule) = schedules::find(tx, id).await? else {
        return Ok(Progress::Stuck);
    };
    let drain = usage::last_drain(tx).await?;
    let mut loader = Loader::default();
    let subscription = subscriptions::required(tx, &id.to_string()).await?;
    let member = loader.member(tx, subscription).await?;
    let boundary = next_boundary(&member, schedule.billed);
    let due = schedule
        .next
        .clone()
        .filter(|due| Some(due.boundary) == boundary);
    let Some(due) = due else {
        // Its end was moved meanwhile.
        schedule.advance(app, &member);
        schedules::save(tx, &schedule).await?;
        return Ok(Progress::Made);
    };
    let Some(part) = part(app, &due, drain) else {
        return Ok(Progress::Stuck);
    };
    let old = match schedule.changed_from.filter(|_| schedule.billed.is_none()) {
        None => None,
        Some(old) => {
            let old = subscriptions::required(tx, &old.to_string()).await?;
            Some(loader.member(tx, old).await?)
        }
    };
    let (leaving, kind) = leaving(&schedule, &member, old.as_ref(), &due);
    if schedules::takes_over(tx, id, due.boundary).await?.is_none() {
        let occasion = Occasion {
            member: &member,
            leaving,
            boundary: due.boundary,
            part,
            kind,
        };
        assembly::assemble(app, tx, &occasion).await?;
    }
    match part {
        Part::Fees => {
            tracing::warn!(subscription = %id, boundary = %due.boundary,
                "fees are billed alone: usage is not known");
            metrics::counter!("tollgate_invoices_without_usage_total").increment(1);
            schedule.next = Some(Due {
                part: Part::Arrears,
                ..due
            });
        }
        Part::All | Part::Arrears => {
            schedule.billed = Some(due.boundary);
            schedule.advance(app, &member);
        }
    }
    schedules::save(tx, &schedule).await?;
    Ok(Progress::Made)
}

/// What of a boundary can be billed now, if anything can.
fn part(app: &App, due: &Due, drain: Option<LastDrain>) -> Option<Part> {
    let now = app.clock.business_now();
    if now < due.at {
        return None;
    }
    let waited = due.at.after(schedules::FEES_WAIT) <= now;
    match (due.part, due.is_closed(drain)) {
        (part, true) => Some(part),
        (Part::All, false) if waited => Some(Part::Fees),
        (Part::All | Part::Fees | Part::Arrears, false) => None,
    }
}

/// Whose arrears are due, and why there will be an invoice.
fn leaving<'a>(
    schedule: &Schedule,
    member: &'a Member,
    old: Option<&'a Member>,
    due: &Due,
) -> (Option<&'a Member>, InvoiceKind) {
    match (schedule.billed, old) {
        (None, Some(old)) => (Some(old), InvoiceKind::Change),
        (None, None) => (None, InvoiceKind::First),
        (Some(_), _) if member.subscription.active_to == Some(due.boundary) => {
            (Some(member), InvoiceKind::Final)
        }
        (Some(_), _) => (Some(member), InvoiceKind::Recurring),
    }
}
