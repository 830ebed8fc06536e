//! What a subscription gives at which time: terms, and the windows of its meters.
//!
//! A term is a stretch in which one phase holds. Its meters' windows have its start as anchor, unless the
//! subscription has another one: the first window is then cut. Where
//! an earlier subscription of the chain had a window that would have gone on, and no fee was newly
//! charged since, the first window goes on with that one: it keeps its end and its boundaries, and
//! carries its units.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Deserializer, Serialize};
use tollgate_engine::contract::WindowId;
use tollgate_engine::slug::Slug;
use tollgate_engine::units::Units;

use super::{Anchor, Begin, Member, Subscription};
use crate::calendar::{Boundaries, Interval, Period, Zone};
use crate::catalog::plans::{Entitlement, Phase, UsagePrice};
use crate::clock::BusinessInstant;

/// A stretch of time in which one phase of one subscription holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Term<'a> {
    /// The subscription.
    pub subscription: &'a Subscription,
    /// The phase.
    pub phase: &'a Phase,
    /// First instant: the anchor of everything in it.
    pub start: BusinessInstant,
    /// First instant after it, if it ends.
    pub end: Option<BusinessInstant>,
    member: &'a Member,
}

/// A stretch of time in which units of a meter count together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageWindow {
    /// Its name.
    pub id: WindowId,
    /// First instant.
    pub start: BusinessInstant,
    /// First instant after it.
    pub end: BusinessInstant,
    /// Earlier windows whose units count against its limit.
    pub carried: Vec<WindowId>,
    /// When it would end if its term did not end before.
    whole_end: BusinessInstant,
    /// The part of a whole one that it gives; all of it where none is said.
    share: Option<Share>,
    /// Where its followers begin and end.
    grid: Grid,
}

/// A part of a whole, both in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Share {
    part: u64,
    of: u64,
}

/// Where windows of a meter begin and end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Grid {
    anchor: BusinessInstant,
    period: Period,
    #[serde(default)]
    zone: Zone,
}

impl Grid {
    fn boundaries(&self) -> Boundaries {
        Boundaries::new(self.anchor, self.period, self.zone.clone())
    }
}

/// A window that another subscription goes on with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Resumed {
    end: BusinessInstant,
    grid: Grid,
    #[serde(serialize_with = "to_texts", deserialize_with = "from_texts")]
    carried: Vec<WindowId>,
}

impl Member {
    /// The terms of the subscription, in order.
    pub fn terms(&self) -> impl DoubleEndedIterator<Item = Term<'_>> {
        let subscription = &self.subscription;
        let mut terms = Vec::new();
        let mut start = subscription.active_from;
        if subscription.begin == Begin::WhenPaid {
            return terms.into_iter();
        }
        for phase in self.plan.phases.iter().skip(subscription.starting_phase) {
            let phase_end = phase
                .duration
                .map(|duration| subscription.boundaries(start, duration).boundary(1));
            let end = [phase_end, subscription.active_to]
                .into_iter()
                .flatten()
                .min();
            if end.is_some_and(|end| end <= start) {
                break;
            }
            terms.push(Term {
                subscription,
                phase,
                start,
                end,
                member: self,
            });
            match phase_end {
                Some(phase_end) => start = phase_end,
                None => break,
            }
        }
        terms.into_iter()
    }

    /// The term at `at`.
    #[must_use]
    pub fn term_at(&self, at: BusinessInstant) -> Option<Term<'_>> {
        self.terms().find(|term| term.contains(at))
    }
}

impl<'a> Term<'a> {
    /// Whether `at` is in it.
    #[must_use]
    pub fn contains(&self, at: BusinessInstant) -> bool {
        self.start <= at && self.end.is_none_or(|end| at < end)
    }

    /// Where periods of a cadence begin and end in it.
    #[must_use]
    pub fn boundaries(&self, cadence: Period) -> Boundaries {
        self.subscription.boundaries(self.anchor(), cadence)
    }

    /// What its boundaries count from.
    #[must_use]
    pub fn anchor(&self) -> BusinessInstant {
        self.subscription.anchor.instant().unwrap_or(self.start)
    }

    /// Whether the subscription begins with it.
    #[must_use]
    pub fn is_first(&self) -> bool {
        self.start == self.subscription.active_from
    }

    /// What it gives, by feature.
    pub fn entitlements(&self) -> impl Iterator<Item = (&'a Slug, &'a Entitlement)> + use<'a> {
        let grants = self
            .phase
            .rate_cards
            .iter()
            .filter_map(|card| card.feature.as_ref());
        grants.filter_map(|grant| Some((&grant.feature, grant.entitlement.as_ref()?)))
    }

    /// The windows of a meter with this usage period, in order, from the one that `from` is in.
    pub fn windows(
        &self,
        meter: &Slug,
        period: Period,
        from: BusinessInstant,
    ) -> impl Iterator<Item = UsageWindow> + use<'a> {
        let (term, meter) = (*self, meter.clone());
        let first = term.window_at(&meter, period, from.max(term.start));
        std::iter::successors(Some(first), move |before| {
            let is_last = before.end <= before.start || term.end == Some(before.end);
            (!is_last).then(|| term.window_at(&meter, period, before.end))
        })
    }

    /// The window of a meter that `at`, an instant of the term, is in.
    fn window_at(&self, meter: &Slug, period: Period, at: BusinessInstant) -> UsageWindow {
        let own = Grid {
            anchor: self.anchor(),
            period,
            zone: self.subscription.zone.clone(),
        };
        let resumed = self.subscription.resumed.get(meter);
        let resumed = resumed.filter(|resumed| self.start < resumed.end && !self.is_charged());
        let grid = resumed.map_or(own, |resumed| resumed.grid_for(period));
        if let Some(resumed) = resumed.filter(|resumed| at < resumed.end) {
            let carried = resumed.carried.iter().cloned();
            let carried = carried.chain(self.earlier_starts(meter)).collect();
            return self.window(meter, self.start, resumed.end, carried, grid);
        }
        let whole = grid.boundaries().period_at(at);
        let least = resumed.map_or(self.start, |resumed| resumed.end.max(self.start));
        let start = whole.start.max(least);
        let share = self.share_of(start, whole);
        UsageWindow {
            share,
            ..self.window(meter, start, whole.end, Vec::new(), grid)
        }
    }

    /// What a window gives that begins at `start` instead of with the whole one: all, but under boundaries
    /// that were kept from an earlier plan.
    fn share_of(&self, start: BusinessInstant, whole: Interval) -> Option<Share> {
        let is_kept = matches!(self.subscription.anchor, Anchor::Kept(_));
        let is_cut = is_kept && self.is_first() && start == self.start && whole.start < start;
        let length = |from: BusinessInstant| whole.end.unix_ms().abs_diff(from.unix_ms());
        is_cut.then(|| Share {
            part: length(start),
            of: length(whole.start),
        })
    }

    /// Units beyond the quota of a soft limit at which requests are refused, where the plan says `planned`.
    #[must_use]
    pub fn overage_limit(&self, meter: &Slug, planned: Option<Units>) -> Option<Units> {
        let own = self.subscription.overage_limits.get(meter);
        own.copied().or(planned)
    }

    /// Whether a fee was newly charged since the subscription began: windows are then given anew.
    fn is_charged(&self) -> bool {
        let mut begun = self.member.terms().filter(|term| term.start <= self.start);
        begun.any(|term| term.phase.charges_in_advance())
    }

    fn window(
        &self,
        meter: &Slug,
        start: BusinessInstant,
        whole_end: BusinessInstant,
        carried: Vec<WindowId>,
        grid: Grid,
    ) -> UsageWindow {
        UsageWindow {
            id: self.window_id(meter, start),
            start,
            end: self.end.map_or(whole_end, |end| end.min(whole_end)),
            carried,
            whole_end,
            share: None,
            grid,
        }
    }

    fn window_id(&self, meter: &Slug, start: BusinessInstant) -> WindowId {
        WindowId {
            epoch: self.subscription.epoch,
            meter: meter.to_string(),
            start_ms: start.unix_ms(),
        }
    }

    /// The first windows of the subscription's earlier terms: a resumed window goes on through all.
    fn earlier_starts(&self, meter: &Slug) -> impl Iterator<Item = WindowId> {
        let earlier = self.member.terms().filter(|term| term.start < self.start);
        let metered = earlier.filter(move |term| {
            term.entitlements().any(|(feature, entitlement)| {
                feature == meter && matches!(entitlement, Entitlement::Metered { .. })
            })
        });
        metered.map(|term| self.window_id(meter, term.start))
    }
}

impl UsageWindow {
    /// The cycle that it is, or is a part of.
    #[must_use]
    pub fn whole(&self) -> Interval {
        Interval {
            start: self.grid.boundaries().period_at(self.start).start,
            end: self.whole_end,
        }
    }

    /// What it gives of units that a whole window gives: of a cut one its share, rounded up to whole units.
    #[must_use]
    pub fn share_of(&self, units: Units) -> Units {
        let Some(Share { part, of }) = self.share else {
            return units;
        };
        let milli = (u128::from(units.milli()) * u128::from(part)).div_ceil(u128::from(of.max(1)));
        let whole = u64::try_from(milli)
            .unwrap_or(u64::MAX)
            .div_ceil(Units::ONE.milli());
        Units::ONE.saturating_mul(whole).min(units)
    }

    /// What units cost in it: of a cut window, its share of the free ones is free.
    #[must_use]
    pub fn price<'a>(&self, price: &'a UsagePrice) -> Cow<'a, UsagePrice> {
        match self.share {
            None => Cow::Borrowed(price),
            Some(_) => Cow::Owned(price.with_free_units(|units| self.share_of(units))),
        }
    }

    /// What a subscription that begins before this window is whole goes on with.
    fn resume(self) -> Resumed {
        let mut carried = self.carried;
        carried.push(self.id);
        Resumed {
            end: self.whole_end,
            grid: self.grid,
            carried,
        }
    }
}

impl Resumed {
    /// How many windows' units are carried.
    #[must_use]
    pub fn carried_windows(&self) -> usize {
        self.carried.len()
    }

    /// The same boundaries as before for the same period, else new ones from the window's end.
    fn grid_for(&self, period: Period) -> Grid {
        if self.grid.period == period {
            return self.grid.clone();
        }
        Grid {
            anchor: self.end,
            period,
            zone: self.grid.zone.clone(),
        }
    }
}

/// By meter, the windows that a subscription which starts at `start` after `members` goes on with:
/// the last one of each meter, where it would not be over.
#[must_use]
pub fn resumed_at(members: &[Member], start: BusinessInstant) -> BTreeMap<Slug, Resumed> {
    let mut seen = BTreeSet::new();
    let mut resumed = BTreeMap::new();
    let terms = members.iter().rev().flat_map(|member| member.terms().rev());
    for term in terms.filter(|term| term.start < start) {
        let end = term.end.map_or(start, |end| end.min(start));
        let last = BusinessInstant::from_unix_ms(end.unix_ms() - 1);
        for (meter, entitlement) in term.entitlements() {
            let Entitlement::Metered { usage_period, .. } = entitlement else {
                continue;
            };
            if !seen.insert(meter) {
                continue;
            }
            let window = term.window_at(meter, *usage_period, last);
            if start < window.whole_end {
                resumed.insert(meter.clone(), window.resume());
            }
        }
    }
    resumed
}

fn to_texts<S: serde::Serializer>(ids: &[WindowId], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(ids.iter().map(WindowId::to_string))
}

fn from_texts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<WindowId>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    let ids = texts.iter().map(|text| text.parse());
    ids.collect::<Result<_, _>>()
        .map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests;
