//! Plans: versions of what is sold, draft until published, then never changed.

mod document;
mod key;
mod price;
pub mod routes;
mod rules;
mod store;

use serde::Serialize;
use serde_json::Value;
use tollgate_engine::slug::Slug;
use tollgate_engine::units::Units;
use utoipa::ToSchema;

pub use document::{EntitlementDocument, PhaseDocument, PlanDocument, RateCardDocument};
pub use key::PlanKey;
pub use price::{
    FlatPrice, PackageSize, PaymentTerm, Price, Proration, Rate, TierPrice, Tiers, UsagePrice,
};
pub(crate) use rules::check_rate_card;
pub(crate) use store::unknown_keys;
pub use store::{find_active, find_version};

use super::currency::Currency;
use crate::calendar::Period;
use crate::clock::BusinessInstant;
use crate::error::{Error, Result};
use crate::ids::PlanId;
use crate::metadata::Metadata;

/// Where a version of a plan is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, serde::Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum PlanStatus {
    /// It can be edited, and nobody can subscribe to it.
    Draft,
    /// It is sold and never changes.
    Active,
    /// It is no longer sold; subscriptions to it go on.
    Archived,
}

impl PlanStatus {
    /// The status's name in documents and in the database.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::Active => "active",
            Self::Archived => "archived",
        }
    }
}

/// One version of a plan, as it is stored and shown.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlanVersion {
    /// Its id.
    pub id: PlanId,
    /// Its number among the versions of the plan, from 1.
    pub version: u32,
    /// Where it is in its life.
    pub status: PlanStatus,
    /// What it says.
    #[serde(flatten)]
    pub document: PlanDocument,
    /// When it was made.
    pub created_at: BusinessInstant,
    /// When it was last edited.
    pub updated_at: BusinessInstant,
    /// When it became active.
    pub published_at: Option<BusinessInstant>,
    /// When it was archived.
    pub archived_at: Option<BusinessInstant>,
}

impl PlanVersion {
    /// What the version means, with every rule held: what subscriptions are made of.
    ///
    /// # Errors
    /// When it is a draft that breaks a rule; a version that was published never does.
    pub fn plan(&self) -> Result<Plan> {
        rules::read_published(&self.document)
            .ok_or_else(|| Error::conflict("plan_not_valid", "This draft breaks rules of plans."))
    }
}

/// A plan that holds every rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// What its versions have in common.
    pub key: PlanKey,
    /// What people call it.
    pub name: String,
    /// What it is paid in.
    pub currency: Currency,
    /// How often it is billed.
    pub billing_cadence: Period,
    /// Whether a subscription needs a payment method; by its prices when not said.
    pub payment_method_required: Option<bool>,
    /// What is given back of a fee when a subscription leaves it in the middle of a period.
    pub proration: Proration,
    /// The operator's notes.
    pub metadata: Metadata,
    /// In order; at least one, and only the last has no end.
    pub phases: Vec<Phase>,
}

/// A stretch of a subscription with its own conditions; a trial is a first one.
#[derive(Clone, Debug, PartialEq)]
pub struct Phase {
    /// Unique in the plan.
    pub key: Slug,
    /// What people call it.
    pub name: String,
    /// How long it lasts; the last one has no end.
    pub duration: Option<Period>,
    /// What it gives; at least one.
    pub rate_cards: Vec<RateCard>,
}

/// What a phase gives and costs.
#[derive(Clone, Debug, PartialEq)]
pub struct RateCard {
    /// Unique in the phase; the feature's key when there is one.
    pub key: Slug,
    /// What people call it.
    pub name: String,
    /// What its price may be.
    pub kind: RateCardKind,
    /// What it gives, if anything.
    pub feature: Option<Grant>,
    /// How often it is billed; none for once per phase.
    pub billing_cadence: Option<Period>,
    /// What it costs; none: free.
    pub price: Option<Price>,
}

/// How a rate card is charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RateCardKind {
    /// An amount per period or once.
    FlatFee,
    /// By what was used of a metered feature.
    UsageBased,
}

/// A feature that a rate card is about.
#[derive(Clone, Debug, PartialEq)]
pub struct Grant {
    /// The feature's key; for a metered one the meter's slug, too.
    pub feature: Slug,
    /// What it entitles to, if anything.
    pub entitlement: Option<Entitlement>,
}

/// What a plan entitles to for one feature.
#[derive(Clone, Debug, PartialEq)]
pub enum Entitlement {
    /// Units of a meter, anew each usage period.
    Metered {
        /// Units included in each period; none only with a soft limit: pay as you go.
        issue_after_reset: Option<Units>,
        /// What happens beyond them.
        limit: Limit,
        /// How often they are issued anew, counted from the phase's anchor.
        usage_period: Period,
    },
    /// The feature is there.
    Boolean,
    /// Units in a short time: a token bucket for the whole chain of subscriptions.
    RateLimit {
        /// Units that each `per_ms` gives.
        units: Units,
        /// Milliseconds.
        per_ms: u64,
        /// Most units that gather.
        burst: Units,
    },
    /// A value for the upstream.
    Static {
        /// Any JSON.
        config: Value,
    },
}

/// What happens when a quota is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Requests are refused.
    Hard,
    /// Requests pass.
    Soft {
        /// Units beyond the quota at which they are refused after all.
        overage_limit: Option<Units>,
    },
}
