//! What stands in Redis for a chain and for a key.

use std::collections::BTreeMap;
use std::time::Duration;

use tollgate_engine::api_key::Tag;
use tollgate_engine::contract::{self, AccessDocument, KeyDocument, WindowId};
use tollgate_engine::slug::Slug;
use tollgate_engine::units::Units;

use crate::calendar::Period;
use crate::catalog::plans::{Entitlement, Limit};
use crate::clock::BusinessInstant;
use crate::keys::ApiKey;
use crate::payments::grace::Block;
use crate::subscriptions::Chain;
use crate::subscriptions::schedule::{Term, UsageWindow};

const HOUR: Duration = Duration::from_secs(3_600);
/// How long terms and windows stay in a document after their end, for clocks that differ.
pub const KEPT_AFTER_END: Duration = Duration::from_secs(600);
/// How far a document's windows reach at least until it is renewed: the filter then needs neither
/// calendar nor control plane for so long.
const REACH: Duration = HOUR.saturating_mul(72);
/// How far they reach when it is written.
const WRITTEN_REACH: Duration = HOUR.saturating_mul(96);
/// Windows after the current one until it is renewed.
const WINDOWS_AHEAD: usize = 2;
/// A document is renewed so long before it must be.
const RENEWED_BEFORE: Duration = HOUR;

/// What the keys of a chain may do from `now` on.
#[must_use]
pub fn access_document(
    chain: &Chain,
    block: Option<&Block>,
    now: BusinessInstant,
) -> AccessDocument {
    AccessDocument {
        chain: chain.id.to_string(),
        version: chain.version,
        customer: chain.customer.to_string(),
        block: block.map(Block::contract),
        terms: reach(chain, now)
            .map(|term| contract_term(term, now))
            .collect(),
    }
}

/// When the document of `now` needs further terms or windows, or another block; `None` when it has all there will be.
pub(super) fn renewal(
    chain: &Chain,
    block: Option<&Block>,
    now: BusinessInstant,
) -> Option<BusinessInstant> {
    let reached = reach(chain, now).map(|term| term.start).max();
    let next_term = chain.terms().find(|term| Some(term.start) > reached);
    let next_term = next_term.map(|term| term.start.before(REACH));
    let windows = reach(chain, now).filter_map(|term| {
        let renewals = metered(term).filter_map(|(feature, period)| {
            let windows = windows(term, feature, period, now);
            let (last, before) = (
                windows.last()?,
                windows.iter().rev().nth(WINDOWS_AHEAD - 1)?,
            );
            let is_all = term.end == Some(last.end);
            (!is_all).then(|| before.start.min(last.end.before(REACH)))
        });
        renewals.min()
    });
    let needed = windows.chain(next_term).min();
    let needed = needed.map(|needed| needed.before(RENEWED_BEFORE));
    let unblocked = block.and_then(|block| block.until);
    needed.into_iter().chain(unblocked).min()
}

/// The terms a document of `now` has: at least one of those that are not over, if there is one.
fn reach(chain: &Chain, now: BusinessInstant) -> impl Iterator<Item = Term<'_>> {
    let kept = now.before(KEPT_AFTER_END);
    let horizon = now.after(WRITTEN_REACH);
    let mut to_come = 0;
    let not_over = chain
        .terms()
        .filter(move |term| term.end.is_none_or(|end| kept < end));
    not_over.take_while(move |term| {
        let takes = term.start < horizon || to_come == 0;
        to_come += usize::from(term.end.is_none_or(|end| now < end));
        takes
    })
}

fn metered(term: Term<'_>) -> impl Iterator<Item = (&Slug, Period)> {
    term.entitlements()
        .filter_map(|(feature, entitlement)| match entitlement {
            Entitlement::Metered { usage_period, .. } => Some((feature, *usage_period)),
            Entitlement::Boolean | Entitlement::RateLimit { .. } | Entitlement::Static { .. } => {
                None
            }
        })
}

/// The windows of a meter that a document of `now` has for a term.
fn windows(term: Term<'_>, meter: &Slug, period: Period, now: BusinessInstant) -> Vec<UsageWindow> {
    let begin = now.max(term.start);
    let horizon = begin.after(WRITTEN_REACH);
    let mut windows = Vec::new();
    let mut ahead = 0;
    for window in term.windows(meter, period, now.before(KEPT_AFTER_END)) {
        let is_enough = horizon <= window.end;
        ahead += usize::from(begin < window.start);
        windows.push(window);
        if is_enough && WINDOWS_AHEAD < ahead {
            break;
        }
    }
    windows
}

fn contract_term(term: Term<'_>, now: BusinessInstant) -> contract::Term {
    let entitlements = term.entitlements().map(|(feature, entitlement)| {
        let entitlement = match entitlement {
            Entitlement::Metered { usage_period, .. } => {
                let windows = windows(term, feature, *usage_period, now).into_iter();
                let windows = windows.map(|window| {
                    let (included, limit) = bound(&term, feature, entitlement, &window);
                    contract_window(window, included, limit)
                });
                contract::Entitlement::Metered {
                    windows: windows.collect(),
                }
            }
            Entitlement::Boolean => contract::Entitlement::Boolean,
            Entitlement::RateLimit {
                units,
                per_ms,
                burst,
            } => contract::Entitlement::RateLimit {
                units: *units,
                per_ms: *per_ms,
                burst: *burst,
            },
            Entitlement::Static { config } => contract::Entitlement::Static {
                config: config.clone(),
            },
        };
        (feature.to_string(), entitlement)
    });
    contract::Term {
        from_ms: term.start.unix_ms(),
        to_ms: term.end.map(BusinessInstant::unix_ms),
        epoch: term.subscription.epoch,
        subscription: term.subscription.id.to_string(),
        plan: term.subscription.plan_key.to_string(),
        entitlements: entitlements.collect::<BTreeMap<_, _>>(),
    }
}

/// The units of a metered entitlement that a window includes, and those at which requests are
/// refused: the included ones, on a soft limit with the overage allowed, and none where overage is
/// not bounded.
#[must_use]
pub fn bound(
    term: &Term<'_>,
    meter: &Slug,
    entitlement: &Entitlement,
    window: &UsageWindow,
) -> (Option<Units>, Option<Units>) {
    let Entitlement::Metered {
        issue_after_reset: included,
        limit,
        ..
    } = entitlement
    else {
        return (None, None);
    };
    let included = included.map(|units| window.share_of(units));
    let limit = match limit {
        Limit::Hard => included,
        Limit::Soft { overage_limit } => term
            .overage_limit(meter, *overage_limit)
            .map(|overage| included.unwrap_or_default().saturating_add(overage)),
    };
    (included, limit)
}

fn contract_window(
    window: UsageWindow,
    included: Option<Units>,
    limit: Option<Units>,
) -> contract::Window {
    contract::Window {
        start_ms: window.start.unix_ms(),
        end_ms: window.end.unix_ms(),
        included,
        limit,
        carried: window.carried.iter().map(WindowId::to_string).collect(),
    }
}

/// What is known of a key.
#[must_use]
pub fn key_document(key: &ApiKey, tag: Tag) -> KeyDocument {
    KeyDocument {
        id: key.id.to_string(),
        chain: key.chain.to_string(),
        tag,
        subject: key.subject.clone(),
        expires_at_ms: key.expires_at.map(BusinessInstant::unix_ms),
        revoked_at_ms: key.revoked_at.map(BusinessInstant::unix_ms),
        bypass: key.bypass,
    }
}

#[cfg(test)]
mod tests;
