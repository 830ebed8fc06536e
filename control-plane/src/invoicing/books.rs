//! What must be known of subscriptions that are billed together, read for all of them at once.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use tollgate_engine::contract::WindowId;
use tollgate_engine::units::Units;

use super::assembly::Work;
use super::credits::{self, Application, Credit, CutFee, Left};
use super::windows::{self, Late};
use super::{Line, store};
use crate::catalog::currency::Currency;
use crate::clock::BusinessInstant;
use crate::database::Connection;
use crate::error::{Error, Result};
use crate::ids::{CustomerId, SubscriptionId};
use crate::subscriptions::{Loader, Member};
use crate::usage::{self, Span};

/// What was used, what is late, and what credits and fees there are.
///
/// What it learned of a customer's credits and late usage it keeps, less what was taken of it.
#[derive(Debug, Default)]
pub(super) struct Books {
    loader: Loader,
    used: HashMap<SubscriptionId, BTreeMap<WindowId, Units>>,
    cut_fees: HashMap<SubscriptionId, Vec<CutFee>>,
    customers: HashMap<CustomerId, Account>,
}

/// What a customer has beside subscriptions.
#[derive(Debug, Default)]
struct Account {
    credits: Vec<Left>,
    late: Vec<(Member, Late)>,
}

impl Books {
    /// Reads plans by a loader that has read some already.
    pub(super) fn with_plans(loader: Loader) -> Self {
        Self {
            loader,
            ..Self::default()
        }
    }

    /// The plans that were read.
    pub(super) fn into_plans(self) -> Loader {
        self.loader
    }

    /// Reads plans.
    pub(super) fn plans(&mut self) -> &mut Loader {
        &mut self.loader
    }

    /// Reads everything that decides what this work comes to.
    pub(super) async fn learn(
        &mut self,
        connection: &mut Connection,
        work: &[&Work<'_>],
    ) -> Result<()> {
        self.used.clear();
        self.cut_fees.clear();
        let customers = work.iter().map(|work| work.customer()).collect();
        self.learn_customers(connection, &customers).await?;
        let cuts: Vec<_> = work.iter().filter_map(|work| work.cut()).collect();
        self.learn_cut(connection, &cuts).await?;
        let spans: Vec<_> = work.iter().flat_map(|work| work.spans()).collect();
        self.learn_used(connection, &spans).await
    }

    /// Reads credits and late usage of customers that are not known yet.
    pub(super) async fn learn_customers(
        &mut self,
        connection: &mut Connection,
        customers: &BTreeSet<CustomerId>,
    ) -> Result<()> {
        let unknown = customers
            .iter()
            .filter(|id| !self.customers.contains_key(*id));
        let unknown: Vec<_> = unknown.copied().collect();
        let accounts = unknown.iter().map(|id| (*id, Account::default()));
        self.customers.extend(accounts);
        for (customer, left) in credits::remaining(connection, &unknown).await? {
            self.account(customer).credits.push(left);
        }
        let late = windows::late(connection, &unknown).await?;
        let chains: BTreeSet<_> = late.iter().map(|(_, late)| late.rated.chain).collect();
        let chains: Vec<_> = chains.into_iter().collect();
        let members = self.loader.members_of_chains(connection, &chains).await?;
        let members: HashMap<_, _> = members
            .into_iter()
            .map(|member| {
                (
                    (member.subscription.chain, member.subscription.epoch),
                    member,
                )
            })
            .collect();
        for (customer, late) in late {
            let window = &late.rated.window;
            let member = members.get(&(late.rated.chain, window.epoch)).cloned();
            let nobody = || Error::internal(anyhow::anyhow!("window {window} of nobody"));
            let member = member.ok_or_else(nobody)?;
            self.account(customer).late.push((member, late));
        }
        Ok(())
    }

    /// Reads the fees of subscriptions that are cut at an instant, and how much of what they were for was consumed.
    pub(super) async fn learn_cut(
        &mut self,
        connection: &mut Connection,
        cuts: &[(&Member, BusinessInstant)],
    ) -> Result<()> {
        let wanted = cuts.iter().map(|(old, at)| (old.subscription.id, *at));
        let wanted: Vec<_> = wanted.collect();
        for fee in store::fees_at(connection, &wanted).await? {
            let fees = self.cut_fees.entry(fee.line.subscription).or_default();
            fees.push(fee);
        }
        let spans = cuts.iter().flat_map(|(old, at)| {
            let fees = self.cut_fees(old.subscription.id).iter();
            fees.flat_map(|fee| credits::consumed_spans(old, fee, *at))
        });
        let spans: Vec<_> = spans.collect();
        self.learn_used(connection, &spans).await
    }

    async fn learn_used(&mut self, connection: &mut Connection, spans: &[Span]) -> Result<()> {
        for (chain, window, units) in usage::totals(connection, spans).await? {
            self.used.entry(chain).or_default().insert(window, units);
        }
        Ok(())
    }

    fn account(&mut self, customer: CustomerId) -> &mut Account {
        self.customers.entry(customer).or_default()
    }

    /// The units of a window.
    pub(super) fn units(&self, chain: SubscriptionId, window: &WindowId) -> Units {
        let used = self.used.get(&chain).and_then(|used| used.get(window));
        used.copied().unwrap_or(Units::ZERO)
    }

    /// The units of windows together.
    pub(super) fn units_within(&self, span: &Span) -> Units {
        let bound = |at: BusinessInstant| WindowId {
            epoch: span.epoch,
            meter: span.meter.clone(),
            start_ms: at.unix_ms(),
        };
        if span.to < span.from {
            return Units::ZERO;
        }
        let used = self.used.get(&span.chain).into_iter();
        let within = used.flat_map(|used| used.range(bound(span.from)..bound(span.to)));
        within.fold(Units::ZERO, |sum, (_, units)| sum.saturating_add(*units))
    }

    /// The fees of a subscription that are cut.
    pub(super) fn cut_fees(&self, subscription: SubscriptionId) -> &[CutFee] {
        self.cut_fees.get(&subscription).map_or(&[], Vec::as_slice)
    }

    /// Takes what is late in a currency: it is billed once.
    pub(super) fn take_late(
        &mut self,
        customer: CustomerId,
        currency: Currency,
    ) -> Vec<(Member, Late)> {
        let late = &mut self.account(customer).late;
        let of_currency = |(member, _): &mut (Member, Late)| member.plan.currency == currency;
        late.extract_if(.., of_currency).collect()
    }

    /// The currency of what is late of a customer, if anything is.
    pub(super) fn late_member(&self, customer: CustomerId) -> Option<&Member> {
        let account = self.customers.get(&customer)?;
        account.late.last().map(|(member, _)| member)
    }

    /// Adds a credit to what the customer has.
    pub(super) fn add_credit(&mut self, credit: &Credit) {
        let left = Left {
            credit: credit.id,
            currency: credit.currency,
            amount: credit.amount,
        };
        self.account(credit.customer).credits.push(left);
    }

    /// Has the customer's credits pay what they can of the fees among `lines`.
    pub(super) fn spend(
        &mut self,
        customer: CustomerId,
        currency: Currency,
        lines: &mut [Line],
    ) -> Vec<Application> {
        credits::spend(&mut self.account(customer).credits, currency, lines)
    }
}
