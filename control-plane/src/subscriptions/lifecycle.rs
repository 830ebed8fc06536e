//! How subscriptions begin, change and end. Each function is one operation in one transaction.

use std::collections::BTreeMap;

use tollgate_engine::api_key::TAG_LENGTH;
use tollgate_engine::slug::Slug;

use super::document::{Timing, Wish, WishedAnchor};
use super::offer::{Direction, Offer, direction, offer, refused};
use super::schedule::{Resumed, resumed_at};
use super::waiting::{check_settled, wait_for_payment, waits};
use super::{Anchor, Begin, Chain, Loader, Member, Status, Subscription};
use super::{chain, payment, store};
use crate::app::App;
use crate::catalog::configuration;
use crate::clock::BusinessInstant;
use crate::customers::{self, Customer};
use crate::database::Write;
use crate::error::{Error, Result};
use crate::ids::SubscriptionId;
use crate::invoicing;
use crate::payments::grace::FirstPayment;
use crate::random_base62;
use crate::{payments, publisher};

/// Most windows whose units one window carries: each change within a window adds one.
const CARRIED_WINDOWS_MAX: usize = 100;

/// Begins a subscription of a customer.
///
/// A customer has one at a time, unless several are enabled. Who had one before goes on with the
/// chain that ended last: its keys work again, and a window that is not over is not given anew.
pub(super) async fn subscribe(
    app: &App,
    tx: &mut Write,
    customer: &str,
    wish: &Wish,
    timing: Timing,
) -> Result<Subscription> {
    let now = app.clock.business_now();
    let found = customers::find(tx, customer).await?;
    let customer = found.ok_or_else(|| {
        let detail = "there is no such customer";
        refused("customer", "customer_not_found", detail)
    })?;
    let configuration = configuration::load(tx).await?;
    let offer = offer(tx, &customer, wish, &configuration).await?;
    let one_at_a_time = !configuration.multiple_subscriptions_enabled;
    if one_at_a_time && store::has_unended(tx, customer.id, now).await? {
        let detail = "The customer has a subscription: change it, or wait until it has ended.";
        return Err(Error::conflict("subscription_exists", detail));
    }
    check_payable(app, tx, &customer, &offer).await?;
    payment::check_paid(tx, customer.id).await?;
    let start = match timing {
        Timing::Immediate => now,
        Timing::NextBillingCycle => first_cycle(tx, &customer, &offer, wish, now).await?,
        Timing::At(start) => start,
    };
    let new = offer.into_next(app, &customer, wish, start);
    let chain = match chain::store::last_ended(tx, customer.id, now).await? {
        Some(ended) => load_chain(tx, ended).await?,
        None => new_chain(tx, &customer, new.subscription.id).await?,
    };
    let new = append(tx, &chain, new).await?;
    invoicing::subscription_began(app, tx, &new).await?;
    publisher::chain_changed(app, tx, chain.id).await?;
    Ok(new.subscription)
}

/// Changes a subscription to another version of a plan: it ends, and the next of its chain begins.
///
/// An upgrade is immediate and a downgrade comes with the next cycle, unless `timing` says
/// otherwise. A change that was scheduled before is dropped. Where a fee is charged and nothing was
/// ever paid, the change takes effect when its invoice is paid.
pub(super) async fn change(
    app: &App,
    tx: &mut Write,
    subscription: Subscription,
    wish: &Wish,
    timing: Option<Timing>,
) -> Result<Subscription> {
    let now = app.clock.business_now();
    match subscription.status(now) {
        Status::Active | Status::Canceled => {}
        Status::Scheduled | Status::Inactive => {
            let detail = "Only a subscription that goes on can be changed.";
            return Err(Error::conflict("subscription_not_active", detail));
        }
    }
    let chain = load_chain(tx, subscription.chain).await?;
    check_settled(&chain, now)?;
    let customer = customers::find(tx, &subscription.customer.to_string()).await?;
    let customer = customer.ok_or_else(|| missing("customer"))?;
    let configuration = configuration::load(tx).await?;
    let offer = offer(tx, &customer, wish, &configuration).await?;
    if offer.version.id == subscription.plan {
        let detail = "The subscription is on this version of the plan already.";
        return Err(Error::conflict("plan_unchanged", detail));
    }
    let current = Loader::default().member(tx, subscription).await?;
    if offer.plan.currency != current.plan.currency {
        let detail = "A subscription cannot change to a plan in another currency.";
        return Err(Error::conflict("currency_differs", detail));
    }
    let direction = direction(&configuration.plan_order, &current.plan, &offer.plan);
    let timing = timing.unwrap_or(match direction {
        Direction::Upgrade => Timing::Immediate,
        Direction::Downgrade => Timing::NextBillingCycle,
    });
    let start = match timing {
        Timing::Immediate => now,
        Timing::NextBillingCycle => next_cycle(&current, now)?,
        Timing::At(start) => start,
    };
    let end = current.subscription.active_to;
    if end.is_some_and(|end| end < start) {
        let detail = "The subscription ends before that.";
        return Err(Error::conflict("timing_after_end", detail));
    }
    check_payable(app, tx, &customer, &offer).await?;
    if direction == Direction::Upgrade {
        payment::check_paid(tx, customer.id).await?;
    }
    drop_scheduled(app, tx, &chain, now).await?;
    let is_charged = start <= now && offer.charges_in_advance();
    let mut new = offer.into_next(app, &customer, wish, start);
    follow(&mut new.subscription, &current, wish);
    let standing = invoicing::standing(tx, chain.id).await?;
    if is_charged && standing.first_payment == FirstPayment::ToCome {
        return wait_for_payment(app, tx, &chain, new).await;
    }
    store::set_end(tx, current.subscription.id, Some(start)).await?;
    let chain = load_chain(tx, chain.id).await?;
    let new = append(tx, &chain, new).await?;
    invoicing::subscription_changed(app, tx, &current, &new).await?;
    publisher::chain_changed(app, tx, chain.id).await?;
    Ok(new.subscription)
}

/// Ends a subscription, at once or later. What was scheduled to follow it is dropped.
///
/// Waiting for the end of a billing cycle is refused where nothing is billed.
pub(super) async fn cancel(
    app: &App,
    tx: &mut Write,
    subscription: Subscription,
    timing: Timing,
) -> Result<Subscription> {
    let now = app.clock.business_now();
    let status = subscription.status(now);
    if status == Status::Inactive {
        return Err(ended());
    }
    if subscription.begin == Begin::WhenPaid {
        return Err(waits());
    }
    let end = match timing {
        Timing::Immediate => now.max(subscription.active_from),
        Timing::At(end) => end.max(subscription.active_from),
        Timing::NextBillingCycle => {
            let member = Loader::default().member(tx, subscription.clone()).await?;
            let term = member.term_at(now).filter(|term| term.phase.is_billed());
            if term.is_none() {
                let detail = "Nothing is billed, so that there is no cycle to wait for.";
                return Err(Error::conflict("nothing_to_bill", detail));
            }
            next_cycle(&member, now)?
        }
    };
    if status != Status::Scheduled {
        let chain = load_chain(tx, subscription.chain).await?;
        drop_scheduled(app, tx, &chain, now).await?;
    }
    set_end(app, tx, subscription, Some(end)).await
}

/// Takes the end of a subscription back before it has come, and what was scheduled to follow it.
pub(super) async fn unschedule_cancelation(
    app: &App,
    tx: &mut Write,
    subscription: Subscription,
) -> Result<Subscription> {
    let now = app.clock.business_now();
    match subscription.status(now) {
        Status::Canceled => {}
        Status::Inactive => return Err(ended()),
        Status::Active | Status::Scheduled => {
            let detail = "The subscription is not canceled.";
            return Err(Error::conflict("subscription_not_canceled", detail));
        }
    }
    let chain = load_chain(tx, subscription.chain).await?;
    drop_scheduled(app, tx, &chain, now).await?;
    set_end(app, tx, subscription, None).await
}

async fn set_end(
    app: &App,
    tx: &mut Write,
    subscription: Subscription,
    end: Option<BusinessInstant>,
) -> Result<Subscription> {
    store::set_end(tx, subscription.id, end).await?;
    let subscription = Subscription {
        active_to: end,
        ..subscription
    };
    let member = Loader::default().member(tx, subscription).await?;
    invoicing::subscription_ended(app, tx, &member).await?;
    publisher::chain_changed(app, tx, member.subscription.chain).await?;
    Ok(member.subscription)
}

/// When the first cycle begins that a new subscription can wait for: that of the anchor it wishes, else the first of the
/// customer's other subscriptions.
async fn first_cycle(
    tx: &mut Write,
    customer: &Customer,
    offer: &Offer,
    wish: &Wish,
    now: BusinessInstant,
) -> Result<BusinessInstant> {
    if let WishedAnchor::At(anchor) = wish.anchor {
        return Ok(offer.boundaries(anchor).period_at(now).end);
    }
    let mut loader = Loader::default();
    let mut cycles = Vec::new();
    for other in store::unended(tx, customer.id, now).await? {
        let member = loader.member(tx, other).await?;
        if member.term_at(now).is_some() {
            cycles.push(next_cycle(&member, now)?);
        }
    }
    cycles.into_iter().min().ok_or_else(|| {
        let detail = "there is no billing cycle to wait for: say a billingAnchor";
        refused("timing", "invalid_timing", detail)
    })
}

/// What a subscription takes over from the one before: the customer's limits, and the boundaries if they are to be kept.
fn follow(new: &mut Subscription, current: &Member, wish: &Wish) {
    let before = BusinessInstant::from_unix_ms(new.active_from.unix_ms() - 1);
    let term = current.term_at(before.max(current.subscription.active_from));
    new.overage_limits = current.subscription.overage_limits.clone();
    if let (WishedAnchor::Keep, Some(term)) = (wish.anchor, term) {
        new.anchor = Anchor::Kept(term.anchor());
        new.zone = current.subscription.zone.clone();
    }
}

/// The end of the billing period at `now`; none crosses the end of its term.
fn next_cycle(member: &Member, now: BusinessInstant) -> Result<BusinessInstant> {
    let term = member.term_at(now).ok_or_else(|| missing("term"))?;
    let cycle = term.boundaries(member.plan.billing_cadence).period_at(now);
    Ok(term.end.map_or(cycle.end, |end| end.min(cycle.end)))
}

async fn new_chain(tx: &mut Write, customer: &Customer, first: SubscriptionId) -> Result<Chain> {
    let chain = Chain {
        id: first,
        customer: customer.id,
        tag: random_base62(TAG_LENGTH).parse().map_err(Error::internal)?,
        version: 0,
        members: Vec::new(),
    };
    chain::store::insert(tx, &chain).await?;
    Ok(chain)
}

/// A chain with all its subscriptions.
pub(super) async fn load_chain(tx: &mut Write, id: SubscriptionId) -> Result<Chain> {
    let ever = BusinessInstant::from_unix_ms(i64::MIN);
    let chain = Loader::default().chain(tx, id, ever).await?;
    chain.ok_or_else(|| missing("chain"))
}

/// Adds a subscription to a chain whose last one ends when it begins, or has ended before.
pub(super) async fn append(tx: &mut Write, chain: &Chain, mut new: Member) -> Result<Member> {
    let last = chain.members.last();
    let last_epoch = last.map_or(0, |last| last.subscription.epoch);
    let subscription = &mut new.subscription;
    subscription.chain = chain.id;
    subscription.epoch = last_epoch + 1;
    subscription.resumed = resumed_at(&chain.members, subscription.active_from);
    check_carried(&subscription.resumed)?;
    store::insert(tx, subscription).await?;
    Ok(new)
}

fn check_carried(resumed: &BTreeMap<Slug, Resumed>) -> Result<()> {
    let most = resumed.values().map(Resumed::carried_windows).max();
    if most.unwrap_or(0) <= CARRIED_WINDOWS_MAX {
        return Ok(());
    }
    let detail = format!("A window allows {CARRIED_WINDOWS_MAX} changes: wait until it is over.");
    Err(Error::conflict("too_many_changes", detail))
}

/// Drops the subscription of a chain that has not begun, if there is one; not one that waits for its
/// payment, which may come.
pub(super) async fn drop_scheduled(
    app: &App,
    tx: &mut Write,
    chain: &Chain,
    now: BusinessInstant,
) -> Result<()> {
    for mut member in chain.members.iter().cloned() {
        let subscription = &mut member.subscription;
        if subscription.status(now) == Status::Scheduled && subscription.begin == Begin::OnTime {
            subscription.active_to = Some(subscription.active_from);
            store::set_end(tx, subscription.id, subscription.active_to).await?;
            invoicing::subscription_ended(app, tx, &member).await?;
        }
    }
    Ok(())
}

/// Refuses a paid plan where nothing can be charged.
async fn check_payable(
    app: &App,
    tx: &mut Write,
    customer: &Customer,
    offer: &Offer,
) -> Result<()> {
    let needs_method = offer.plan.needs_payment_method();
    if offer.plan.is_billed() || needs_method {
        app.stripe()?;
    }
    if needs_method && !payments::has_payment_method(tx, customer.id).await? {
        let detail = "The customer has no payment method: POST /v1/checkout-sessions leads to one.";
        return Err(Error::conflict("payment_method_required", detail));
    }
    Ok(())
}

pub(super) fn ended() -> Error {
    Error::conflict("subscription_ended", "The subscription has ended.")
}

fn missing(what: &'static str) -> Error {
    Error::internal(anyhow::anyhow!("a subscription without its {what}"))
}
