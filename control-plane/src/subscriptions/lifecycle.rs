//! How subscriptions begin, change and end. Each function is one operation in one transaction.

use std::borrow::Cow;
use std::collections::BTreeMap;

use tollgate_engine::api_key::TAG_LENGTH;
use tollgate_engine::slug::Slug;

use super::document::{Timing, Wish};
use super::schedule::{Resumed, resumed_at};
use super::{Chain, Loader, Member, Start, Status, Subscription, chain, store};
use crate::app::App;
use crate::catalog::configuration::{self, Configuration};
use crate::catalog::plans::{self, Phase, Plan, PlanStatus, PlanVersion};
use crate::clock::BusinessInstant;
use crate::customers::{self, Customer};
use crate::database::Write;
use crate::error::{Error, Result, Violation};
use crate::ids::SubscriptionId;
use crate::invoicing::calendar::Boundaries;
use crate::publisher;
use crate::random_base62;

/// Most windows whose units one window carries: each change within a window adds one.
const CARRIED_WINDOWS_MAX: usize = 100;

/// A plan with the version it is.
struct Offer {
    version: PlanVersion,
    plan: Plan,
    starting_phase: usize,
}

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
    let start = match timing {
        Timing::Immediate | Timing::NextBillingCycle => now,
        Timing::At(start) => start,
    };
    let id = SubscriptionId::generate(app.clock.machine_now());
    let chain = match chain::store::last_ended(tx, customer.id, now).await? {
        Some(ended) => load_chain(tx, ended).await?,
        None => new_chain(tx, &customer, id).await?,
    };
    append(app, tx, &chain, id, &offer, wish.key.clone(), start).await
}

/// Changes a subscription to another version of a plan: it ends, and the next of its chain begins.
///
/// An upgrade is immediate and a downgrade comes with the next cycle, unless `timing` says
/// otherwise. A change that was scheduled before is dropped.
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
    let current = current.subscription;
    if current.active_to.is_some_and(|end| end < start) {
        let detail = "The subscription ends before that.";
        return Err(Error::conflict("timing_after_end", detail));
    }
    drop_scheduled(tx, current.chain, now).await?;
    store::set_end(tx, current.id, Some(start)).await?;
    let chain = load_chain(tx, current.chain).await?;
    let id = SubscriptionId::generate(app.clock.machine_now());
    append(app, tx, &chain, id, &offer, wish.key.clone(), start).await
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
        drop_scheduled(tx, subscription.chain, now).await?;
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
    drop_scheduled(tx, subscription.chain, now).await?;
    set_end(app, tx, subscription, None).await
}

async fn set_end(
    app: &App,
    tx: &mut Write,
    subscription: Subscription,
    end: Option<BusinessInstant>,
) -> Result<Subscription> {
    store::set_end(tx, subscription.id, end).await?;
    publisher::chain_changed(app, tx, subscription.chain).await?;
    Ok(Subscription {
        active_to: end,
        ..subscription
    })
}

/// The plan that is wished for, with the phase that the customer would start with.
async fn offer(
    tx: &mut Write,
    customer: &Customer,
    wish: &Wish,
    configuration: &Configuration,
) -> Result<Offer> {
    let version = match wish.version {
        Some(number) => plans::find_version(tx, &wish.plan, number).await?,
        None => plans::find_active(tx, &wish.plan).await?,
    };
    let version = version.ok_or_else(|| {
        let detail = format!("no such version of a plan {} is sold", wish.plan);
        refused("plan", "plan_not_found", detail)
    })?;
    if version.status != PlanStatus::Active {
        let detail = format!("This version of the plan is {}.", version.status.name());
        return Err(Error::conflict("plan_not_active", detail));
    }
    let plan = version.plan()?;
    let trials = store::trials(tx, customer.id).await?;
    let order = &configuration.plan_order;
    let starting_phase = match &wish.starting_phase {
        None => first_phase(&plan, &trials, order),
        Some(key) => {
            let phase = plan
                .phases
                .iter()
                .position(|phase| phase.key.as_str() == key);
            phase.ok_or_else(|| {
                let detail = format!("the plan has no phase {key}");
                refused("startingPhase", "phase_not_found", detail)
            })?
        }
    };
    Ok(Offer {
        version,
        plan,
        starting_phase,
    })
}

/// The first phase, or the one after a trial for who has had one of this plan or a higher one.
fn first_phase(plan: &Plan, trials: &[String], order: &[Slug]) -> usize {
    let rank = |key: &str| order.iter().position(|ordered| ordered.as_str() == key);
    let own = rank(plan.key.as_str());
    let had = trials.iter().any(|trial| {
        trial == plan.key.as_str()
            || matches!((rank(trial), own), (Some(had), Some(own)) if had > own)
    });
    usize::from(had && is_trial(plan, 0))
}

/// A trial is a first phase, without prices, that another one follows.
fn is_trial(plan: &Plan, phase: usize) -> bool {
    phase == 0 && plan.phases.len() > 1 && !plan.phases[0].is_billed()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Upgrade,
    Downgrade,
}

/// By `order`, plans that are not in it by what they cost in the end; the same is an upgrade, and so is
/// another version of the same plan.
fn direction(order: &[Slug], from: &Plan, to: &Plan) -> Direction {
    let rank = |plan: &Plan| order.iter().position(|ordered| *ordered == plan.key);
    let fee = |plan: &Plan| plan.phases.last().map(Phase::fee_per_month);
    let is_lower = match (rank(from), rank(to)) {
        _ if from.key == to.key => false,
        (Some(from), Some(to)) => to < from,
        _ => fee(to) < fee(from),
    };
    match is_lower {
        true => Direction::Downgrade,
        false => Direction::Upgrade,
    }
}

/// The end of the billing period at `now`; none crosses the end of its term.
fn next_cycle(member: &Member, now: BusinessInstant) -> Result<BusinessInstant> {
    let term = member.term_at(now).ok_or_else(|| missing("term"))?;
    let cycle = Boundaries::utc(term.start, member.plan.billing_cadence).period_at(now);
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
async fn load_chain(tx: &mut Write, id: SubscriptionId) -> Result<Chain> {
    let ever = BusinessInstant::from_unix_ms(i64::MIN);
    let chain = Loader::default().chain(tx, id, ever).await?;
    chain.ok_or_else(|| missing("chain"))
}

/// Adds a subscription to a chain whose last one ends at `start` or has ended before.
async fn append(
    app: &App,
    tx: &mut Write,
    chain: &Chain,
    id: SubscriptionId,
    offer: &Offer,
    key: Option<String>,
    start: BusinessInstant,
) -> Result<Subscription> {
    let now = app.clock.business_now();
    let resumed = resumed_at(&chain.members, start);
    check_carried(&resumed)?;
    let last_epoch = chain
        .members
        .last()
        .map_or(0, |last| last.subscription.epoch);
    let subscription = Subscription {
        id,
        key,
        chain: chain.id,
        epoch: last_epoch + 1,
        customer: chain.customer,
        plan: offer.version.id,
        plan_key: offer.plan.key.clone(),
        plan_version: offer.version.version,
        starting_phase: offer.starting_phase,
        start: match is_trial(&offer.plan, offer.starting_phase) {
            true => Start::Trial,
            false => Start::Regular,
        },
        resumed,
        active_from: start,
        active_to: None,
        created_at: now,
    };
    store::insert(tx, &subscription).await?;
    publisher::chain_changed(app, tx, chain.id).await?;
    Ok(subscription)
}

fn check_carried(resumed: &BTreeMap<Slug, Resumed>) -> Result<()> {
    let most = resumed.values().map(Resumed::carried_windows).max();
    if most.unwrap_or(0) <= CARRIED_WINDOWS_MAX {
        return Ok(());
    }
    let detail = format!("A window allows {CARRIED_WINDOWS_MAX} changes: wait until it is over.");
    Err(Error::conflict("too_many_changes", detail))
}

/// Drops the subscription of a chain that has not begun, if there is one.
async fn drop_scheduled(tx: &mut Write, chain: SubscriptionId, now: BusinessInstant) -> Result<()> {
    for Member { subscription, .. } in load_chain(tx, chain).await?.members {
        if subscription.status(now) == Status::Scheduled {
            store::set_end(tx, subscription.id, Some(subscription.active_from)).await?;
        }
    }
    Ok(())
}

fn refused(field: &str, code: &'static str, detail: impl Into<String>) -> Error {
    Error::invalid(vec![Violation {
        code: Cow::Borrowed(code),
        path: format!("$.{field}"),
        detail: detail.into(),
    }])
}

fn ended() -> Error {
    Error::conflict("subscription_ended", "The subscription has ended.")
}

fn missing(what: &'static str) -> Error {
    Error::internal(anyhow::anyhow!("a subscription without its {what}"))
}
