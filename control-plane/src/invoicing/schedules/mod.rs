//! When subscriptions are billed next.

mod store;

use std::time::Duration;

pub(super) use store::{due, find, save, takes_over, waits};

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
pub(super) const FEES_WAIT: Duration = Duration::from_secs(24 * 3_600);

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

impl Due {
    /// Whether the ledger has everything that was used until the boundary.
    pub(super) fn is_closed(&self, drain: Option<LastDrain>) -> bool {
        let began = drain.map(|drain| drain.began_at);
        let mark = drain.map(|drain| drain.mark);
        self.drained.is_none_or(|needed| Some(needed) <= began)
            && self.drained_mark.is_none_or(|needed| Some(needed) <= mark)
    }
}

impl Schedule {
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
        assembly::assemble(app, tx, &occasion).await?;
        schedule.billed = Some(subscription.active_from);
    }
    schedule.advance(app, member);
    save(tx, &schedule).await
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
    save(tx, &schedule).await?;
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
        save(tx, &schedule).await?;
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
    save(tx, &schedule).await
}
