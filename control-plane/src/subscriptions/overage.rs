//! Overage limits: how far beyond a soft limit a customer is ready to go.

use tollgate_engine::slug::Slug;
use tollgate_engine::units::Units;

use super::lifecycle::ended;
use super::{Loader, Member, Status, Subscription, store};
use crate::app::App;
use crate::catalog::plans::{Entitlement, Limit};
use crate::database::Write;
use crate::error::{Error, Result};
use crate::publisher;

/// Sets how many units of a meter beyond the quota of a soft limit are allowed, or has the plan say it again.
pub(super) async fn set(
    app: &App,
    tx: &mut Write,
    subscription: Subscription,
    meter: &str,
    limit: Option<Units>,
) -> Result<Subscription> {
    if subscription.status(app.clock.business_now()) == Status::Inactive {
        return Err(ended());
    }
    let mut member = Loader::default().member(tx, subscription).await?;
    let Some(meter) = softly_limited(&member, meter) else {
        let detail = "The plan has no soft limit of this meter.";
        return Err(Error::conflict("no_soft_limit", detail));
    };
    let limits = &mut member.subscription.overage_limits;
    match limit {
        Some(limit) => limits.insert(meter, limit),
        None => limits.remove(&meter),
    };
    store::set_overage_limits(tx, &member.subscription).await?;
    publisher::chain_changed(app, tx, member.subscription.chain).await?;
    Ok(member.subscription)
}

/// The meter, if a phase of the plan has a soft limit of it.
fn softly_limited(member: &Member, meter: &str) -> Option<Slug> {
    let cards = member
        .plan
        .phases
        .iter()
        .flat_map(|phase| &phase.rate_cards);
    let mut grants = cards.filter_map(|card| card.feature.as_ref());
    let soft = grants.find(|grant| match &grant.entitlement {
        Some(Entitlement::Metered { limit, .. }) => {
            grant.feature.as_str() == meter && matches!(limit, Limit::Soft { .. })
        }
        _ => false,
    });
    soft.map(|grant| grant.feature.clone())
}
