//! What holds for all plans and subscriptions.

pub mod routes;
mod store;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use store::load;

use super::check_key;
use super::plans::PlanKey;
use crate::http::document::{Document, Mistakes, Place};

const OVERDUE_DAYS_MAX: u32 = 365;
const PLANS_MAX: usize = 1_000;

/// What holds for all plans and subscriptions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Configuration {
    /// Keys of plans in the order they are shown in; later ones are upgrades of earlier ones.
    #[schema(value_type = Vec<String>)]
    pub plan_order: Vec<PlanKey>,
    /// Days of access after a payment was due, unless customer or plan say otherwise.
    pub max_payment_overdue_days: u32,
    /// Whether a customer may have several subscriptions at a time.
    pub multiple_subscriptions_enabled: bool,
    /// Whether there is grace before a customer's first payment, too.
    #[serde(default)]
    pub grace_on_first_payment: bool,
}

impl Configuration {
    /// What it says of access while a payment is due.
    fn grace(&self) -> (u32, bool) {
        (self.max_payment_overdue_days, self.grace_on_first_payment)
    }
}

impl Default for Configuration {
    fn default() -> Self {
        Self {
            plan_order: Vec::new(),
            max_payment_overdue_days: 3,
            multiple_subscriptions_enabled: false,
            grace_on_first_payment: false,
        }
    }
}

/// What to send to replace the configuration; what is left out gets its default.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConfigurationDocument {
    #[serde(default)]
    plan_order: Vec<String>,
    /// 0 to 365; 3 when left out.
    max_payment_overdue_days: Option<u32>,
    #[serde(default)]
    multiple_subscriptions_enabled: bool,
    /// Whether there is grace before a customer's first payment, too; else there is no access.
    #[serde(default)]
    grace_on_first_payment: bool,
}

impl Document for ConfigurationDocument {}

impl ConfigurationDocument {
    fn check(self, mistakes: &mut Mistakes) -> Option<Configuration> {
        let root = Place::root();
        let defaults = Configuration::default();
        let days = self
            .max_payment_overdue_days
            .unwrap_or(defaults.max_payment_overdue_days);
        if days > OVERDUE_DAYS_MAX {
            let detail = format!("is more than {OVERDUE_DAYS_MAX} days");
            mistakes.add(&root.field("maxPaymentOverdueDays"), "invalid_days", detail);
        }
        let place = root.field("planOrder");
        if self.plan_order.len() > PLANS_MAX {
            mistakes.add(
                &place,
                "too_many_plans",
                format!("is more than {PLANS_MAX} plans"),
            );
            return None;
        }
        let mut seen = BTreeSet::new();
        let mut plan_order = Vec::with_capacity(self.plan_order.len());
        for (index, key) in self.plan_order.iter().enumerate() {
            let place = place.index(index);
            if !seen.insert(key) {
                mistakes.add(&place, "plan_order_duplicated_key", "duplicated key");
            }
            plan_order.push(check_key(key, &place, mistakes));
        }
        Some(Configuration {
            plan_order: plan_order.into_iter().collect::<Option<_>>()?,
            max_payment_overdue_days: days,
            multiple_subscriptions_enabled: self.multiple_subscriptions_enabled,
            grace_on_first_payment: self.grace_on_first_payment,
        })
    }
}
