//! Credits: what was given back of a fee, kept for later fees of the same customer.

mod store;

use tollgate_engine::slug::Slug;
use tollgate_engine::units::Units;

use super::books::Books;
use super::charges;
use super::proration::{self, Consumption, Fee};
use super::{InvoiceStatus, Line, LineKind};
use crate::app::App;
use crate::calendar::Interval;
use crate::catalog::currency::Currency;
use crate::catalog::plans::Entitlement;
use crate::clock::BusinessInstant;
use crate::database::{Connection, Write};
use crate::error::{Error, Result};
use crate::ids::{CreditId, CustomerId, SubscriptionId};
use crate::money::Minor;
use crate::subscriptions::{Member, Subscription};
use crate::usage::Span;

pub(super) use store::{insert, issued_because, record_applications, remaining};

/// What was given back of one fee, or of usage that more of it made cheaper.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Credit {
    pub(super) id: CreditId,
    pub(super) customer: CustomerId,
    pub(super) currency: Currency,
    /// Identity of the fee's line, or of the one that tells of later usage.
    source: String,
    /// The subscription that took over, or that was used.
    cause: SubscriptionId,
    pub(super) amount: Minor,
    created_at: BusinessInstant,
}

impl Credit {
    pub(super) fn new(
        app: &App,
        of: &Member,
        source: String,
        cause: SubscriptionId,
        amount: Minor,
    ) -> Self {
        Self {
            id: CreditId::generate(app.clock.machine_now()),
            customer: of.subscription.customer,
            currency: of.plan.currency,
            source,
            cause,
            amount,
            created_at: app.clock.business_now(),
        }
    }
}

/// What is left of a credit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Left {
    pub(super) credit: CreditId,
    pub(super) currency: Currency,
    pub(super) amount: Minor,
}

/// A part of a credit that pays a part of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Application {
    credit: CreditId,
    line: String,
    amount: Minor,
}

/// A fee for a period that is cut, with what was given back of it before.
#[derive(Clone, Debug)]
pub(super) struct CutFee {
    pub(super) line: Line,
    pub(super) status: InvoiceStatus,
    pub(super) credited: Minor,
}

/// Gives back what is left at `at` of the fees that were paid for `old`, which `cause` took over from.
pub(super) async fn issue(
    app: &App,
    tx: &mut Write,
    old: &Member,
    at: BusinessInstant,
    cause: SubscriptionId,
) -> Result<()> {
    let mut books = Books::default();
    books.learn_cut(tx, &[(old, at)]).await?;
    let issued = owed(app, &books, old, at, cause)?;
    insert(tx, &issued.iter().collect::<Vec<_>>()).await
}

/// What is left at `at` of the fees that were paid for `old`, which `cause` took over from.
///
/// A fee that is not paid yet counts nothing: what is left of it is given back once it is.
pub(super) fn owed(
    app: &App,
    books: &Books,
    old: &Member,
    at: BusinessInstant,
    cause: SubscriptionId,
) -> Result<Vec<Credit>> {
    let mut credits = Vec::new();
    for cut in books.cut_fees(old.subscription.id) {
        if cut.status != InvoiceStatus::Paid {
            continue;
        }
        let fee = Fee {
            paid: cut.line.price(),
            currency: old.plan.currency,
            period: cut.line.period,
            credited: cut.credited,
        };
        let consumption = consumption(books, old, cut.line.period, at);
        let amount = proration::credit(&fee, at, old.plan.proration, &consumption)
            .map_err(Error::internal)?;
        if amount.is_zero() {
            continue;
        }
        let source = cut.line.identity.clone();
        credits.push(Credit::new(app, old, source, cause, amount));
    }
    Ok(credits)
}

/// Of each metered entitlement: what was consumed of the windows that began in a fee's period until
/// `at`, and the quotas of all windows that begin in it.
fn consumption(
    books: &Books,
    old: &Member,
    period: Interval,
    at: BusinessInstant,
) -> Vec<Consumption> {
    let quotas = quotas(old, period).into_iter();
    let meters = quotas.map(|(meter, quota)| Consumption {
        consumed: books.units_within(&consumed_span(old, &meter, period, at)),
        quota,
    });
    meters.collect()
}

/// Of each metered entitlement, the quotas of all windows that begin in a fee's period.
pub(super) fn quotas(old: &Member, period: Interval) -> Vec<(Slug, Units)> {
    // As if it went on: windows that would have begun later count, too.
    let whole = Member {
        subscription: Subscription {
            active_to: None,
            ..old.subscription.clone()
        },
        plan: old.plan.clone(),
    };
    // Who waited for the payment has been charged from before the beginning.
    let start = period.start.max(old.subscription.active_from);
    let Some(term) = whole.term_at(start) else {
        return Vec::new();
    };
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
            .windows(meter, *usage_period, start)
            .take_while(|window| window.start < period.end)
            .filter(|window| start <= window.start);
        let quota = windows.map(|window| window.share_of(*issued));
        let quota = quota.fold(Units::ZERO, Units::saturating_add);
        meters.push((meter.clone(), quota));
    }
    meters
}

/// The windows of a meter that began in a fee's period until `at`.
fn consumed_span(old: &Member, meter: &Slug, period: Interval, at: BusinessInstant) -> Span {
    Span {
        chain: old.subscription.chain,
        epoch: old.subscription.epoch,
        meter: meter.to_string(),
        from: period.start,
        to: at,
    }
}

/// Everything that decides how much of a fee's period was consumed until `at`.
pub(super) fn consumed_spans(old: &Member, fee: &CutFee, at: BusinessInstant) -> Vec<Span> {
    let period = fee.line.period;
    let cards = old.plan.phases.iter().flat_map(|phase| &phase.rate_cards);
    let grants = cards.filter_map(|card| card.feature.as_ref());
    grants
        .map(|grant| consumed_span(old, &grant.feature, period, at))
        .collect()
}

/// Has credits pay what they can of the fees among `lines`, older credits and earlier lines first.
pub(super) fn spend(left: &mut [Left], currency: Currency, lines: &mut [Line]) -> Vec<Application> {
    let mut applications = Vec::new();
    let fees = lines.iter_mut().filter(|line| line.kind == LineKind::Fee);
    for line in fees {
        for left in left.iter_mut().filter(|left| left.currency == currency) {
            let amount = line.total().min(left.amount);
            if amount.is_zero() {
                continue;
            }
            left.amount -= amount;
            line.credit += amount;
            applications.push(Application {
                credit: left.credit,
                line: line.identity.clone(),
                amount,
            });
        }
    }
    applications
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
