//! When subscriptions are billed next.

mod store;

use std::time::Duration;

pub(super) use store::{count_until, due, find, of_customer, save, taken_over, waits};

use super::assembly::{self, Occasion};
use super::charges::{awaits_usage, next_boundary};
use super::{InvoiceKind, Part, credits, late};
use crate::app::App;
use crate::clock::{BusinessInstant, MachineInstant};
use crate::database::{Connection, Write};
use crate::error::Result;
use crate::ids::SubscriptionId;
use crate::subscriptions::{Member, Subscription};
use crate::usage::LastDrain;

/// Workers settle at once when a subscription is changed; so long after it a drain has all of it.
const SETTLED_AFTER_CHANGE: Duration = Duration::from_secs(2);
/// Fees go out alone when usage is not known for so long.
const FEES_WAIT: Duration = Duration::from_secs(24 * 3_600);

/// When a subscription is billed next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Schedule {
    pub(super) subscription: SubscriptionId,
    /// The subscription that it took over from.
    pub(super) changed_from: Option<SubscriptionId>,
    /// The last boundary that was billed.
    pub(super) billed: Option<BusinessInstant>,
    pub(super) next: Option<Due>,
}

/// A boundary to bill.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) boundary: BusinessInstant,
    /// All, or arrears after the fees went out alone.
    pub(super) part: Part,
    /// When it can be billed.
    pub(super) at: BusinessInstant,
    /// Only after a drain that began then, in business time.
    pub(super) drained: Option<BusinessInstant>,
    /// The same in machine time.
    pub(super) drained_mark: Option<MachineInstant>,
}

/// What is billed: boundaries that have come until some instant, as far as their usage is known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ripe {
    pub(super) now: BusinessInstant,
    /// The last boundary.
    pub(super) until: BusinessInstant,
    pub(super) usage: Known,
}

/// What usage is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// What the ledger had at its last drain.
    Drained(Option<LastDrain>),
    /// What there is to know, whatever comes: nothing is billed by it.
    Supposed,
}

/// A place in the order in which subscriptions are billed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) due_ms: i64,
    pub(super) subscription: String,
}

impl Place {
    /// Before all.
    pub(super) const fn start() -> Self {
        Self {
            due_ms: i64::MIN,
            subscription: String::new(),
        }
    }

    /// That of a subscription.
    pub(super) fn of(schedule: &Schedule) -> Self {
        Self {
            due_ms: schedule
                .next
                .as_ref()
                .map_or(i64::MAX, |due| due.at.unix_ms()),
            subscription: schedule.subscription.to_string(),
        }
    }
}

impl Ripe {
    /// Everything that can be billed at `now`, after the ledger's last drain.
    pub(super) const fn at(now: BusinessInstant, drain: Option<LastDrain>) -> Self {
        Self {
            now,
            until: now,
            usage: Known::Drained(drain),
        }
    }

    /// Everything until an instant that may be to come, as if all that will be used were known.
    pub(super) fn supposed(until: BusinessInstant) -> Self {
        Self {
            now: BusinessInstant::from_unix_ms(i64::MAX),
            until,
            usage: Known::Supposed,
        }
    }

    fn drained_ms(&self) -> i64 {
        match self.usage {
            Known::Drained(drain) => drain.map_or(i64::MIN, |drain| drain.began_at.unix_ms()),
            Known::Supposed => i64::MAX,
        }
    }

    fn mark_ms(&self) -> i64 {
        match self.usage {
            Known::Drained(drain) => drain.map_or(i64::MIN, |drain| drain.mark.unix_ms()),
            Known::Supposed => i64::MAX,
        }
    }

    /// What of a boundary can be billed, if anything can.
    pub(super) fn part(&self, due: &Due) -> Option<Part> {
        if self.now < due.at || self.until < due.boundary {
            return None;
        }
        let waited = due.at.after(FEES_WAIT) <= self.now;
        match (due.part, due.is_closed(self)) {
            (part, true) => Some(part),
            (Part::All, false) if waited => Some(Part::Fees),
            (Part::All | Part::Fees | Part::Arrears, false) => None,
        }
    }
}

impl Due {
    /// Whether everything is known that was used until the boundary.
    fn is_closed(&self, ripe: &Ripe) -> bool {
        let drained = self.drained.map(BusinessInstant::unix_ms);
        let mark = self.drained_mark.map(MachineInstant::unix_ms);
        drained.is_none_or(|needed| needed <= ripe.drained_ms())
            && mark.is_none_or(|needed| needed <= ripe.mark_ms())
    }
}

impl Schedule {
    /// The subscription that is left when this one is billed next, if it took over from one.
    pub(super) fn leaves(&self) -> Option<SubscriptionId> {
        self.changed_from.filter(|_| self.billed.is_none())
    }

    /// Moves past the boundary that was billed, or looks again where nothing was since.
    pub(super) fn advance(&mut self, app: &App, member: &Member) {
        // Who took over also bills what the one before owes.
        let is_billed =
            member.plan.is_billed() || (self.billed.is_none() && self.changed_from.is_some());
        let boundary = next_boundary(member, self.billed).filter(|_| is_billed);
        if self.next.as_ref().map(|due| due.boundary) != boundary {
            self.next = boundary.map(|boundary| due_at(app, member, boundary));
        }
    }
}

/// A boundary; the usage before it is known some time later.
fn due_at(app: &App, leaving: &Member, boundary: BusinessInstant) -> Due {
    let closed = awaits_usage(leaving, boundary)
        .then(|| boundary.after(app.config.invoicing.collection_delay()));
    Due {
        boundary,
        part: Part::All,
        at: closed.unwrap_or(boundary),
        drained: closed,
        drained_mark: None,
    }
}

/// Bills what is due when a subscription begins, and from then on.
///
/// Fees of the first period are on an invoice of this transaction, if it begins now.
///
/// # Errors
/// When the database refuses.
pub async fn subscription_began(app: &App, tx: &mut Write, member: &Member) -> Result<()> {
    let subscription = &member.subscription;
    credits::expire(tx, subscription.customer, subscription).await?;
    let mut schedule = Schedule {
        subscription: subscription.id,
        changed_from: None,
        billed: None,
        next: None,
    };
    if subscription.active_from <= app.clock.business_now() {
        let occasion = Occasion {
            member,
            leaving: None,
            boundary: subscription.active_from,
            part: Part::All,
            kind: InvoiceKind::First,
        };
        assembly::assemble(app, tx, occasion).await?;
        schedule.billed = Some(subscription.active_from);
    }
    schedule.advance(app, member);
    save(tx, &[&schedule]).await
}

/// Bills what is due when `new` takes over from `old`: new fees less what is left of the old ones, and
/// what the old one still owes, on one invoice once the ledger has everything.
///
/// # Errors
/// When the database refuses.
pub async fn subscription_changed(
    app: &App,
    tx: &mut Write,
    old: &Member,
    new: &Member,
) -> Result<()> {
    let start = new.subscription.active_from;
    let ended = Member {
        subscription: Subscription {
            active_to: Some(start),
            ..old.subscription.clone()
        },
        plan: old.plan.clone(),
    };
    let is_due = old.plan.is_billed() || new.plan.is_billed();
    let next = is_due.then(|| {
        if app.clock.business_now() < start {
            return due_at(app, &ended, start);
        }
        let settled = app.clock.machine_now().after(SETTLED_AFTER_CHANGE);
        Due {
            boundary: start,
            part: Part::All,
            at: start,
            drained: None,
            drained_mark: old.plan.is_billed().then_some(settled),
        }
    });
    let schedule = Schedule {
        subscription: new.subscription.id,
        changed_from: Some(left_at(tx, &old.subscription, start).await?),
        billed: None,
        next,
    };
    save(tx, &[&schedule]).await?;
    reschedule(app, tx, &ended).await
}

/// Whom a subscription takes over from at `start`: `old`, or where that one ends in the instant it began
/// and was not billed, the one before.
async fn left_at(
    tx: &mut Write,
    old: &Subscription,
    start: BusinessInstant,
) -> Result<SubscriptionId> {
    let before = find(tx, old.id).await?;
    let before = before.filter(|before| start <= old.active_from && before.billed.is_none());
    Ok(before
        .and_then(|before| before.changed_from)
        .unwrap_or(old.id))
}

/// Bills a subscription until its end, which was set or taken back; one that will never begin is not
/// billed.
///
/// # Errors
/// When the database refuses.
pub async fn subscription_ended(app: &App, tx: &mut Write, member: &Member) -> Result<()> {
    reschedule(app, tx, member).await
}

async fn reschedule(app: &App, tx: &mut Write, member: &Member) -> Result<()> {
    if let Some(mut schedule) = find(tx, member.subscription.id).await? {
        schedule.advance(app, member);
        save(tx, &[&schedule]).await?;
    }
    Ok(())
}

/// The first instant of business time at which something is to be billed, past or to come.
///
/// # Errors
/// When the database refuses.
pub async fn pending_at(connection: &mut Connection) -> Result<Option<BusinessInstant>> {
    let scheduled = store::first_due(connection).await?;
    let late = late::first_due(connection).await?;
    Ok([scheduled, late].into_iter().flatten().min())
}

/// Bills a subscription from its first instant on, of which the fees are paid already.
///
/// # Errors
/// When the database refuses.
pub async fn subscription_took_effect(app: &App, tx: &mut Write, member: &Member) -> Result<()> {
    let found = find(tx, member.subscription.id).await?;
    let mut schedule = found.unwrap_or(Schedule {
        subscription: member.subscription.id,
        changed_from: None,
        billed: None,
        next: None,
    });
    schedule.billed = Some(member.subscription.active_from);
    schedule.advance(app, member);
    save(tx, &[&schedule]).await
}
