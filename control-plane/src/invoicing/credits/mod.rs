//! Credits: what was given back of a fee, kept for later fees of the same customer.

mod store;

use tollgate_engine::units::Units;

use super::calendar::Interval;
use super::charges;
use super::proration::{self, Consumption, Fee};
use super::{InvoiceStatus, Line, LineKind, store as invoices};
use crate::app::App;
use crate::catalog::currency::Currency;
use crate::catalog::plans::Entitlement;
use crate::clock::BusinessInstant;
use crate::database::{Connection, Write};
use crate::error::{Error, Result};
use crate::ids::{CreditId, CustomerId, SubscriptionId};
use crate::money::Minor;
use crate::subscriptions::{Member, Subscription};
use crate::usage;

pub(super) use store::{issued_because, record_applications};

/// What was given back of one fee.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Credit {
    id: CreditId,
    customer: CustomerId,
    currency: Currency,
    /// Identity of the fee's line.
    source: String,
    /// The subscription that took over.
    cause: SubscriptionId,
    amount: Minor,
    created_at: BusinessInstant,
}

/// A part of a credit that pays a part of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Application {
    credit: CreditId,
    line: String,
    amount: Minor,
}

/// Gives back what is left at `at` of the fees that were paid for `old`, which `cause` took over from.
///
/// A fee that is not paid yet counts nothing: what is left of it is given back once it is.
pub(super) async fn issue(
    app: &App,
    tx: &mut Write,
    old: &Member,
    at: BusinessInstant,
    cause: SubscriptionId,
) -> Result<()> {
    let subscription = &old.subscription;
    let currency = old.plan.currency;
    for (line, status) in invoices::fees_at(tx, subscription.id, at).await? {
        if status != InvoiceStatus::Paid {
            continue;
        }
        let fee = Fee {
            paid: line.price(),
            currency,
            period: line.period,
            credited: store::issued(tx, &line.identity).await?,
        };
        let consumption = consumption(tx, old, line.period, at).await?;
        let amount = proration::credit(&fee, at, old.plan.proration, &consumption)
            .map_err(Error::internal)?;
        if amount.is_zero() {
            continue;
        }
        let credit = Credit {
            id: CreditId::generate(app.clock.machine_now()),
            customer: subscription.customer,
            currency,
            source: line.identity,
            cause,
            amount,
            created_at: app.clock.business_now(),
        };
        store::insert(tx, &credit).await?;
    }
    Ok(())
}

/// Of each metered entitlement: what was consumed of the windows that began in a fee's period until
/// `at`, and the quotas of all windows that begin in it.
async fn consumption(
    connection: &mut Connection,
    old: &Member,
    period: Interval,
    at: BusinessInstant,
) -> Result<Vec<Consumption>> {
    // As if it went on: windows that would have begun later count, too.
    let whole = Member {
        subscription: Subscription {
            active_to: None,
            ..old.subscription.clone()
        },
        plan: old.plan.clone(),
    };
    let Some(term) = whole.term_at(period.start) else {
        return Ok(Vec::new());
    };
    let (chain, epoch) = (old.subscription.chain, old.subscription.epoch);
    let until = Interval { end: at, ..period };
    let mut meters = Vec::new();
    for (meter, entitlement) in term.entitlements() {
        let Entitlement::Metered {
            issue_after_reset: Some(issued),
            usage_period,
            ..
        } = entitlement
        else {
            continue;
        };
        let windows = term
            .windows(meter, *usage_period, period.start)
            .take_while(|window| window.start < period.end)
            .filter(|window| period.start <= window.start);
        let quota = windows.map(|window| window.share_of(*issued));
        let quota = quota.fold(Units::ZERO, Units::saturating_add);
        let consumed = usage::total_of(&mut *connection, chain, epoch, meter, until).await?;
        meters.push(Consumption { consumed, quota });
    }
    Ok(meters)
}

/// Has the customer's credits pay what they can of the fees among `lines`, older credits and earlier
/// lines first.
pub(super) async fn spend(
    connection: &mut Connection,
    customer: CustomerId,
    currency: Currency,
    lines: &mut [Line],
) -> Result<Vec<Application>> {
    let mut left = store::remaining(connection, customer, currency).await?;
    let mut applications = Vec::new();
    let fees = lines.iter_mut().filter(|line| line.kind == LineKind::Fee);
    for line in fees {
        for (credit, remaining) in &mut left {
            let amount = line.total().min(*remaining);
            if amount.is_zero() {
                continue;
            }
            *remaining -= amount;
            line.credit += amount;
            applications.push(Application {
                credit: *credit,
                line: line.identity.clone(),
                amount,
            });
        }
    }
    Ok(applications)
}

/// Has credits expire that the customer left unused for 12 months after the last subscription's end.
pub(super) async fn expire(
    connection: &mut Connection,
    customer: CustomerId,
    beginning: &Subscription,
) -> Result<()> {
    let ended = store::last_end_before(connection, customer, beginning).await?;
    let kept = ended.map(charges::a_year_after);
    match kept {
        Some(until) if until <= beginning.active_from => {
            store::expire(connection, customer, until).await
        }
        _ => Ok(()),
    }
}
