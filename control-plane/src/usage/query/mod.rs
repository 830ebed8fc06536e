//! What a meter counted, by time and by who used it.

pub mod routes;
mod store;

use std::collections::BTreeMap;

use serde::Deserialize;
use tollgate_engine::units::Units;
use utoipa::ToSchema;

use crate::calendar::{Boundaries, Interval, Period};
use crate::catalog::Aggregation;
use crate::clock::BusinessInstant;

/// How long the stretches are that usage is shown by, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum WindowSize {
    /// Hours.
    Hour,
    /// Days.
    Day,
    /// Months of the calendar.
    Month,
}

/// What usage is told apart by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum GroupBy {
    Subscription,
    Customer,
    Plan,
    ApiKey,
}

impl GroupBy {
    const ALL: [Self; 4] = [Self::Subscription, Self::Customer, Self::Plan, Self::ApiKey];

    fn name(self) -> &'static str {
        match self {
            Self::Subscription => "subscription",
            Self::Customer => "customer",
            Self::Plan => "plan",
            Self::ApiKey => "key",
        }
    }
}

/// What was used at a time, by whom.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Usage {
    at: BusinessInstant,
    subscription: Option<String>,
    customer: Option<String>,
    plan: Option<String>,
    api_key: Option<String>,
    units: Units,
    /// Of a meter that counts distinct values.
    value: String,
}

impl Usage {
    fn by(&self, group: GroupBy) -> Option<String> {
        match group {
            GroupBy::Subscription => self.subscription.clone(),
            GroupBy::Customer => self.customer.clone(),
            GroupBy::Plan => self.plan.clone(),
            GroupBy::ApiKey => self.api_key.clone(),
        }
    }
}

impl WindowSize {
    /// The stretch that `at` is in.
    fn window_at(self, at: BusinessInstant) -> Interval {
        let period = match self {
            Self::Hour => Period::HOUR,
            Self::Day => Period::DAY,
            Self::Month => Period::MONTH,
        };
        Boundaries::utc(BusinessInstant::from_unix_ms(0), period).period_at(at)
    }
}

/// Usage of one stretch and one group, as it is added up.
#[derive(Clone, Debug, Default)]
struct Sum {
    units: Units,
    values: std::collections::BTreeSet<String>,
}

impl Sum {
    /// Takes usage in, in the order of time.
    fn add(&mut self, aggregation: Aggregation, usage: Usage) {
        match aggregation {
            Aggregation::Sum | Aggregation::Count => {
                self.units = self.units.saturating_add(usage.units);
            }
            Aggregation::Max => self.units = self.units.max(usage.units),
            Aggregation::Latest => self.units = usage.units,
            Aggregation::UniqueCount => {
                self.values.insert(usage.value);
                self.units = Units::ONE.saturating_mul(self.values.len() as u64);
            }
        }
    }
}

/// A stretch of time in ms, and who used it.
type Group = (i64, i64, Vec<Option<String>>);

/// Adds usage up by stretch and group, in this order.
fn add_up(
    aggregation: Aggregation,
    rows: Vec<Usage>,
    whole: Interval,
    size: Option<WindowSize>,
    groups: &[GroupBy],
) -> Vec<(Group, Units)> {
    let mut sums = BTreeMap::<Group, Sum>::new();
    for usage in rows {
        let window = size.map_or(whole, |size| size.window_at(usage.at));
        let group = groups.iter().map(|group| usage.by(*group)).collect();
        let key = (window.start.unix_ms(), window.end.unix_ms(), group);
        sums.entry(key).or_default().add(aggregation, usage);
    }
    sums.into_iter()
        .map(|(group, sum)| (group, sum.units))
        .collect()
}
