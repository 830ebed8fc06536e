//! `rateLimits`: what a request takes of the plan's rate limits.

use super::read::Node;
use super::rules::slug;
use crate::limits::{RATE_BURST_MAX_MILLI, RATES_PER_RULE_MAX};
use crate::slug::Slug;
use crate::units::Units;

/// What one request takes of one rate limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateCost {
    /// The feature whose entitlement is the rate limit; a plan without one does not limit it.
    pub feature: Slug,
    /// Units; not 0.
    pub units: Units,
}

/// Reads `{"requests": 1}`.
pub(super) fn read(node: &Node<'_>) -> Option<Vec<RateCost>> {
    let fields = node.object()?.into_fields();
    if fields.is_empty() {
        node.mistake("is empty: leave it out");
        return None;
    }
    if fields.len() > RATES_PER_RULE_MAX {
        node.mistake(format!("has more than {RATES_PER_RULE_MAX} rate limits"));
        return None;
    }
    let read = |(name, node): (String, Node<'_>)| {
        let feature = slug(&name, &node);
        let units = node.units(Units::from_milli(RATE_BURST_MAX_MILLI)?);
        if units == Some(Units::ZERO) {
            node.mistake("takes nothing: leave it out");
            return None;
        }
        Some(RateCost {
            feature: feature?,
            units: units?,
        })
    };
    let costs: Vec<Option<RateCost>> = fields.into_iter().map(read).collect();
    costs.into_iter().collect()
}
