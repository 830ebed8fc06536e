//! Chains: a customer's subscriptions, one after another, with what they share.

pub(super) mod store;

use std::collections::HashMap;
use std::sync::Arc;

use tollgate_engine::api_key::Tag;
use tollgate_engine::contract::WindowId;

pub use store::{
    goes_on, ids, next_renewal, of_customer, raise_version, renew_all, renewable, set_renewal,
    tag_of,
};

use super::schedule::Term;
use super::{Subscription, store as subscriptions};
use crate::catalog::plans::{self, Entitlement, Plan};
use crate::clock::BusinessInstant;
use crate::database::Connection;
use crate::error::{Error, Result};
use crate::ids::{CustomerId, PlanId, SubscriptionId};

/// A subscription with what its plan says.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    /// The subscription.
    pub subscription: Subscription,
    /// The version of the plan it is on.
    pub plan: Arc<Plan>,
}

/// A customer's line of subscriptions.
#[derive(Clone, Debug, PartialEq)]
pub struct Chain {
    /// The id of the first one.
    pub id: SubscriptionId,
    /// Whose it is.
    pub customer: CustomerId,
    /// Where its state stands in Redis.
    pub tag: Tag,
    /// Of its access document.
    pub version: u64,
    /// In order; only those that were asked for.
    pub members: Vec<Member>,
}

impl Chain {
    /// Its terms, in order.
    pub fn terms(&self) -> impl DoubleEndedIterator<Item = Term<'_>> {
        self.members.iter().flat_map(Member::terms)
    }

    /// When a window ends, if a subscription of the chain has or had it.
    #[must_use]
    pub fn end_of(&self, window: &WindowId) -> Option<BusinessInstant> {
        end_of(&self.members, window)
    }
}

/// When a window ends, if one of these subscriptions of a chain has or had it.
#[must_use]
pub fn end_of(members: &[Member], window: &WindowId) -> Option<BusinessInstant> {
    let start = BusinessInstant::from_unix_ms(window.start_ms);
    let mut members = members.iter();
    let member = members.find(|member| member.subscription.epoch == window.epoch)?;
    let term = member.term_at(start)?;
    term.entitlements().find_map(|(meter, entitlement)| {
        let Entitlement::Metered { usage_period, .. } = entitlement else {
            return None;
        };
        if meter.as_str() != window.meter {
            return None;
        }
        let found = term.windows(meter, *usage_period, start).next()?;
        (found.id == *window).then_some(found.end)
    })
}

/// Reads chains; a plan that several subscriptions are on is read once.
#[derive(Debug, Default)]
pub struct Loader {
    plans: HashMap<PlanId, Arc<Plan>>,
}

impl Loader {
    /// One chain with its subscriptions that end after `ended_after`, or `None` when there is no such chain.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn chain(
        &mut self,
        connection: &mut Connection,
        id: SubscriptionId,
        ended_after: BusinessInstant,
    ) -> Result<Option<Chain>> {
        let id = id.to_string();
        let chains = self.chains(connection, &id, &id, ended_after).await?;
        Ok(chains.into_iter().next())
    }

    /// The chains from `first` to `last`, both included, with their subscriptions that end after `ended_after`.
    ///
    /// What it reads was never changed before the version it gives: that is read first.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn chains(
        &mut self,
        connection: &mut Connection,
        first: &str,
        last: &str,
        ended_after: BusinessInstant,
    ) -> Result<Vec<Chain>> {
        let chains = store::between(connection, first, last).await?;
        let subscriptions = subscriptions::of_chains(connection, first, last, ended_after).await?;
        let mut members = HashMap::<String, Vec<Member>>::new();
        for subscription in subscriptions {
            let chain = subscription.chain.to_string();
            let member = self.member(connection, subscription).await?;
            members.entry(chain).or_default().push(member);
        }
        let with_members = |row: store::ChainRow| {
            let members = members.remove(&row.id).unwrap_or_default();
            row.with_members(members)
        };
        chains.into_iter().map(with_members).collect()
    }

    /// The subscriptions with these ids, each with its plan, in no order.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn members(
        &mut self,
        connection: &mut Connection,
        ids: &[SubscriptionId],
    ) -> Result<Vec<Member>> {
        let found = subscriptions::of_ids(connection, ids).await?;
        self.with_plans(connection, found).await
    }

    /// The subscriptions of these chains, each with its plan, in no order.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn members_of_chains(
        &mut self,
        connection: &mut Connection,
        chains: &[SubscriptionId],
    ) -> Result<Vec<Member>> {
        let found = subscriptions::of_chain_ids(connection, chains).await?;
        self.with_plans(connection, found).await
    }

    /// By chain, its subscriptions, each with its plan, in no order.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn chains_of(
        &mut self,
        connection: &mut Connection,
        chains: &[SubscriptionId],
    ) -> Result<HashMap<SubscriptionId, Vec<Member>>> {
        let mut found = HashMap::<_, Vec<Member>>::new();
        for member in self.members_of_chains(connection, chains).await? {
            let chain = member.subscription.chain;
            found.entry(chain).or_default().push(member);
        }
        Ok(found)
    }

    async fn with_plans(
        &mut self,
        connection: &mut Connection,
        subscriptions: Vec<Subscription>,
    ) -> Result<Vec<Member>> {
        let mut members = Vec::with_capacity(subscriptions.len());
        for subscription in subscriptions {
            members.push(self.member(connection, subscription).await?);
        }
        Ok(members)
    }

    /// A subscription with its plan.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn member(
        &mut self,
        connection: &mut Connection,
        subscription: Subscription,
    ) -> Result<Member> {
        if let Some(plan) = self.plans.get(&subscription.plan) {
            let plan = Arc::clone(plan);
            return Ok(Member { subscription, plan });
        }
        let (key, version) = (&subscription.plan_key, subscription.plan_version);
        let found = plans::find_version(connection, key, version).await?;
        let missing = || Error::internal(anyhow::anyhow!("no version {version} of plan {key}"));
        let plan = Arc::new(found.ok_or_else(missing)?.plan()?);
        self.plans.insert(subscription.plan, Arc::clone(&plan));
        Ok(Member { subscription, plan })
    }
}
