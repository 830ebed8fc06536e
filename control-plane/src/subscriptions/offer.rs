//! What a customer would subscribe to: a version of a plan, and the phase to start with.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::document::{Wish, WishedAnchor};
use super::{Anchor, Begin, Member, Start, Subscription, store};
use crate::app::App;
use crate::calendar::{Boundaries, Zone};
use crate::catalog::configuration::Configuration;
use crate::catalog::invites;
use crate::catalog::plans::{self, Phase, Plan, PlanKey, PlanStatus, PlanVersion};
use crate::clock::BusinessInstant;
use crate::customers::Customer;
use crate::database::Write;
use crate::error::{Error, Result, Violation};
use crate::ids::SubscriptionId;
use crate::invoicing::profile;

/// A plan with the version it is.
pub(super) struct Offer {
    pub(super) version: PlanVersion,
    pub(super) plan: Plan,
    pub(super) starting_phase: usize,
    /// The zone whose dates the customer's boundaries are.
    zone: Zone,
}

impl Offer {
    /// Whether a fee is charged when it begins.
    pub(super) fn charges_in_advance(&self) -> bool {
        let first = self.plan.phases.get(self.starting_phase);
        first.is_some_and(Phase::charges_in_advance)
    }

    /// Where its periods begin and end that count from `anchor`.
    pub(super) fn boundaries(&self, anchor: BusinessInstant) -> Boundaries {
        Boundaries::new(anchor, self.plan.billing_cadence, self.zone.clone())
    }

    /// The subscription to it that begins at `start`, to be added to a chain.
    pub(super) fn into_next(
        self,
        app: &App,
        customer: &Customer,
        wish: &Wish,
        start: BusinessInstant,
    ) -> Member {
        let id = SubscriptionId::generate(app.clock.machine_now());
        let subscription = Subscription {
            id,
            key: wish.key.clone(),
            chain: id,
            epoch: 1,
            customer: customer.id,
            plan: self.version.id,
            plan_key: self.plan.key.clone(),
            plan_version: self.version.version,
            starting_phase: self.starting_phase,
            start: match is_trial(&self.plan, self.starting_phase) {
                true => Start::Trial,
                false => Start::Regular,
            },
            begin: Begin::OnTime,
            resumed: BTreeMap::new(),
            anchor: match wish.anchor {
                WishedAnchor::At(instant) => Anchor::Given(instant),
                WishedAnchor::Start | WishedAnchor::Keep => Anchor::Start,
            },
            zone: self.zone,
            overage_limits: BTreeMap::new(),
            active_from: start,
            active_to: None,
            created_at: app.clock.business_now(),
        };
        Member {
            subscription,
            plan: Arc::new(self.plan),
        }
    }
}

/// The plan that is wished for, with the phase that the customer would start with.
pub(super) async fn offer(
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
    invites::check_invited(tx, &plan, customer).await?;
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
        zone: profile::zone(tx, customer).await?,
    })
}

/// The first phase, or the one after a trial for who has had one of this plan or a higher one.
fn first_phase(plan: &Plan, trials: &[String], order: &[PlanKey]) -> usize {
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
pub(super) enum Direction {
    Upgrade,
    Downgrade,
}

/// By `order`, plans that are not in it by what they cost in the end; the same is an upgrade, and so is
/// another version of the same plan.
pub(super) fn direction(order: &[PlanKey], from: &Plan, to: &Plan) -> Direction {
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

pub(super) fn refused(field: &str, code: &'static str, detail: impl Into<String>) -> Error {
    Error::invalid(vec![Violation {
        code: Cow::Borrowed(code),
        path: format!("$.{field}"),
        detail: detail.into(),
    }])
}
