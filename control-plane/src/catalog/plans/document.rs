//! The document of a plan, as it is sent and shown. Its texts are checked by [`super::rules`], so
//! that a document with mistakes is read to its end and all of them are told.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::http::document::{Document, Scalar};
use crate::metadata::Metadata;

/// What is sold and under which conditions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlanDocument {
    /// What its versions have in common: 1 to 64 of `a-z`, `0-9` and `_`.
    #[serde(default)]
    pub key: String,
    /// What people call it.
    #[serde(default)]
    pub name: String,
    /// What it is for, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Three letters of ISO 4217, the same in all versions.
    #[serde(default)]
    #[schema(examples("USD"))]
    pub currency: String,
    /// How often it is billed: P1W, P2W, P4W, P1M, P3M, P6M, P12M or P1Y.
    #[serde(default)]
    #[schema(examples("P1M"))]
    pub billing_cadence: String,
    /// Whether a subscription needs a payment method; by its prices when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payment_method_required: Option<bool>,
    /// The operator's notes.
    #[serde(default)]
    pub metadata: Metadata,
    /// In order: every one but the last has a duration.
    #[serde(default)]
    pub phases: Vec<PhaseDocument>,
}

impl Document for PlanDocument {
    // What Zuplo and OpenMeter show of their plans and what means nothing here, and what this API
    // itself adds when it shows one: a plan that was read can be sent back.
    const TOLERATED: &'static [&'static str] = &[
        "alignment",
        "annotations",
        "archivedAt",
        "createdAt",
        "deletedAt",
        "effectiveFrom",
        "effectiveTo",
        "featureId",
        "id",
        "issueAfterResetPriority",
        "managedBy",
        "publishedAt",
        "settlementMode",
        "status",
        "updatedAt",
        "validationErrors",
        "version",
    ];
}

/// A stretch of a subscription with its own conditions; a trial is a first one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PhaseDocument {
    /// Unique in the plan.
    #[serde(default)]
    pub key: String,
    /// What people call it.
    #[serde(default)]
    pub name: String,
    /// What it is for, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// How long it lasts, as an ISO 8601 duration; null for the last.
    #[serde(default)]
    #[schema(examples("P2W"))]
    pub duration: Option<String>,
    /// The operator's notes.
    #[serde(default)]
    pub metadata: Metadata,
    /// What it gives.
    #[serde(default)]
    pub rate_cards: Vec<RateCardDocument>,
}

/// What a phase gives.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RateCardDocument {
    /// `flat_fee` or `usage_based`.
    #[serde(default, rename = "type")]
    #[schema(examples("flat_fee"))]
    pub card_type: String,
    /// Unique in the phase; the feature's key, also when left out.
    #[serde(default)]
    pub key: Option<String>,
    /// What people call it; the key when left out.
    #[serde(default)]
    pub name: Option<String>,
    /// What it is for, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The feature it gives.
    #[serde(default)]
    pub feature_key: Option<String>,
    /// How often it is billed; null: once per phase.
    #[serde(default)]
    #[schema(examples("P1M"))]
    pub billing_cadence: Option<String>,
    /// Null: free. Prices are not supported yet.
    #[serde(default)]
    pub price: Option<Value>,
    /// What it entitles to.
    #[serde(default)]
    pub entitlement_template: Option<EntitlementDocument>,
    /// The operator's notes.
    #[serde(default)]
    pub metadata: Metadata,
}

/// What a rate card entitles to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct EntitlementDocument {
    /// `metered`, `boolean` or `static`.
    #[serde(default, rename = "type")]
    #[schema(examples("metered"))]
    pub entitlement_type: String,
    /// Metered: units included in each usage period.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub issue_after_reset: Option<Scalar>,
    /// Metered: whether requests pass when the units are used up; false when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_soft_limit: Option<bool>,
    /// Metered, with a soft limit: units beyond the included ones at which requests are refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub overage_limit: Option<Scalar>,
    /// Metered: whether overage counts against the next period; only false is supported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preserve_overage_at_reset: Option<bool>,
    /// Metered: how often units are issued anew; the card's cadence when left out, or the plan's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage_period: Option<String>,
    /// Static: the value for the upstream, as JSON or as a text of JSON. Boolean: true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<Value>,
}
