//! Subscriptions: who is on which version of which plan, and since when.
//!
//! A chain is a customer's line of subscriptions, one after another: a change ends one and starts
//! the next, and who subscribes again to a plan without a fee goes on with the chain that ended
//! last. Keys and counters belong to the chain, so that a change keeps keys, and units that were
//! used count on where no fee was newly charged.

pub mod chain;
mod checkout;
mod document;
#[cfg(test)]
mod figures;
mod lifecycle;
mod offer;
mod overage;
mod payment;
pub mod routes;
pub mod schedule;
mod store;
#[cfg(test)]
pub(crate) mod testing;
mod waiting;

use std::collections::BTreeMap;

use serde::Serialize;
use tollgate_engine::contract::BlockCode;
use tollgate_engine::slug::Slug;
use tollgate_engine::units::Units;
use utoipa::ToSchema;

pub use chain::{Chain, Loader, Member};
pub use checkout::{Order, begin, check_room};
pub use payment::block;
pub(crate) use store::find;
pub use waiting::invoice_settled;

use crate::calendar::{Boundaries, Period, Zone};
use crate::catalog::plans::PlanKey;
use crate::clock::BusinessInstant;
use crate::database::Connection;
use crate::error::{Error, Result};
use crate::ids::{CustomerId, PlanId, SubscriptionId};
use crate::payments::grace::Block;
use schedule::Resumed;

/// The subscription with an id or key.
///
/// # Errors
/// 404 when there is none.
pub async fn required(connection: &mut Connection, id_or_key: &str) -> Result<Subscription> {
    let found = find(connection, id_or_key).await?;
    found.ok_or_else(|| {
        let detail = "There is no such subscription.";
        Error::not_found("subscription_not_found", detail)
    })
}

/// A customer on one version of a plan, from `active_from` to `active_to`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// Its id.
    pub id: SubscriptionId,
    /// The operator's own name for it.
    pub key: Option<String>,
    /// The first subscription of its chain.
    pub chain: SubscriptionId,
    /// Its number in the chain, from 1.
    pub epoch: u32,
    /// Who subscribed.
    pub customer: CustomerId,
    /// The version of the plan.
    pub plan: PlanId,
    /// The plan's key.
    pub plan_key: PlanKey,
    /// The version's number.
    pub plan_version: u32,
    /// The number of the phase it started with, from 0.
    pub starting_phase: usize,
    /// Whether it started with a trial.
    pub start: Start,
    /// What it begins with.
    pub begin: Begin,
    /// By meter, the window of an earlier subscription that its first one goes on with.
    pub resumed: BTreeMap<Slug, Resumed>,
    /// Where its boundaries count from.
    pub anchor: Anchor,
    /// The zone whose dates they are, as it was when it was made.
    pub zone: Zone,
    /// By meter, units beyond the quota of a soft limit that replace the plan's `overageLimit`.
    pub overage_limits: BTreeMap<Slug, Units>,
    /// First instant.
    pub active_from: BusinessInstant,
    /// First instant after it, if it ends.
    pub active_to: Option<BusinessInstant>,
    /// When it was made.
    pub created_at: BusinessInstant,
}

/// What a subscription started with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// A first phase that another one follows.
    Trial,
    /// Anything else.
    Regular,
}

/// Where the boundaries of a subscription count from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anchor {
    /// The start of each phase.
    Start,
    /// This instant. A first window that is cut gives its whole quota.
    Given(BusinessInstant),
    /// The same as of the subscription before. A first window that is cut gives its share.
    Kept(BusinessInstant),
}

/// What a subscription begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// Its first instant.
    OnTime,
    /// The payment of its first invoice; the subscription before it goes on until then.
    WhenPaid,
}

/// Where a subscription is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It has not begun.
    Scheduled,
    /// It goes on without an end.
    Active,
    /// It goes on and has an end, which can be taken back.
    Canceled,
    /// It has ended.
    Inactive,
}

/// Whether everything that was due is paid; the later, the worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PaymentStatus {
    /// Nothing was ever charged.
    NotRequired,
    /// It is.
    Paid,
    /// It is being collected.
    Pending,
    /// Collecting it failed, and is tried again.
    Failed,
    /// It was given up.
    Uncollectible,
}

/// Whether requests pass, apart from quotas.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// They do.
    Granted,
    /// The subscription has not begun.
    SubscriptionNotStarted,
    /// The subscription has ended.
    SubscriptionEnded,
    /// The first payment was not made.
    PaymentRequired,
    /// A payment was due for longer than the days of grace.
    PaymentOverdue,
    /// An invoice was given up.
    PaymentUncollectible,
}

impl Access {
    /// What status and payment allow at `now`.
    #[must_use]
    pub fn of(status: Status, block: Option<&Block>, now: BusinessInstant) -> Self {
        let block = block.filter(|block| block.holds(now));
        match (status, block.map(|block| block.code)) {
            (Status::Scheduled, _) => Self::SubscriptionNotStarted,
            (Status::Inactive, _) => Self::SubscriptionEnded,
            (Status::Active | Status::Canceled, None) => Self::Granted,
            (_, Some(BlockCode::PaymentRequired)) => Self::PaymentRequired,
            (_, Some(BlockCode::PaymentOverdue)) => Self::PaymentOverdue,
            (_, Some(BlockCode::PaymentUncollectible)) => Self::PaymentUncollectible,
        }
    }
}

impl Anchor {
    /// The instant, if it is not the start of each phase.
    #[must_use]
    pub fn instant(self) -> Option<BusinessInstant> {
        match self {
            Self::Start => None,
            Self::Given(instant) | Self::Kept(instant) => Some(instant),
        }
    }
}

impl Subscription {
    /// Where periods of a cadence begin and end that count from `anchor`.
    #[must_use]
    pub fn boundaries(&self, anchor: BusinessInstant, cadence: Period) -> Boundaries {
        Boundaries::new(anchor, cadence, self.zone.clone())
    }

    /// Where it is in its life at `now`.
    #[must_use]
    pub fn status(&self, now: BusinessInstant) -> Status {
        match self.active_to {
            Some(end) if end <= now || end <= self.active_from => Status::Inactive,
            _ if now < self.active_from || self.begin == Begin::WhenPaid => Status::Scheduled,
            Some(_) => Status::Canceled,
            None => Status::Active,
        }
    }
}
