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
    /// What its versions have in common: 1 to 64 of `a-z`, `0-9`, `_` and `-`.
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
    /// What is given back of a fee when a subscription leaves the plan in the middle of a period.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pro_rating_config: Option<ProRatingDocument>,
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
        "correlationId",
        "createdAt",
        "deletedAt",
        "effectiveFrom",
        "effectiveTo",
        "featureId",
        "id",
        "managedBy",
        "publishedAt",
        "settlementMode",
        "status",
        "updatedAt",
        "validationErrors",
        "version",
    ];
}

/// What is given back of a fee that was paid for a period in advance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProRatingDocument {
    /// Whether anything is; true when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// `max_consumption_based` (when left out), `prorate_prices` or `none`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(examples("max_consumption_based"))]
    pub mode: Option<String>,
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
    /// Null: free.
    #[serde(default)]
    pub price: Option<PriceDocument>,
    /// What it entitles to.
    #[serde(default)]
    pub entitlement_template: Option<EntitlementDocument>,
    /// What is taken off the price.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub discounts: Option<DiscountsDocument>,
    /// How it is taxed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tax_config: Option<TaxDocument>,
    /// The operator's notes.
    #[serde(default)]
    pub metadata: Metadata,
}

impl Document for RateCardDocument {
    const TOLERATED: &'static [&'static str] = PlanDocument::TOLERATED;
}

/// What a rate card costs. Amounts are decimals of the plan's currency.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PriceDocument {
    /// `flat`, `unit`, `tiered`, `package` or `dynamic`.
    #[serde(default, rename = "type")]
    #[schema(examples("flat"))]
    pub price_type: String,
    /// Flat: what each period costs. Unit and package: what each unit or package costs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub amount: Option<Scalar>,
    /// Flat: `in_advance` (when left out) or `in_arrears`. A price by usage is always in arrears.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payment_term: Option<String>,
    /// Tiered: `graduated` or `volume`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// Tiered: by rising `upToAmount`; the last one is open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tiers: Option<Vec<TierDocument>>,
    /// Package: how many units each holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub quantity_per_package: Option<Scalar>,
    /// Dynamic: what each unit costs; 1 when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub multiplier: Option<Scalar>,
    /// Usage: what each period costs at least.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub minimum_amount: Option<Scalar>,
    /// Usage: what each period costs at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub maximum_amount: Option<Scalar>,
}

/// What is taken off a price.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DiscountsDocument {
    /// A part of each line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percentage: Option<PercentageDocument>,
    /// The first units of each period; not of a flat price.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<FreeUnitsDocument>,
}

/// A part of each line that is taken off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PercentageDocument {
    /// 0 to 100.
    #[schema(value_type = String)]
    pub percentage: Scalar,
}

/// Units that cost nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct FreeUnitsDocument {
    /// How many in each period.
    #[schema(value_type = String)]
    pub quantity: Scalar,
}

/// How something is taxed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TaxDocument {
    /// `inclusive` or `exclusive`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behavior: Option<String>,
    /// What Stripe is to know of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stripe: Option<StripeTaxDocument>,
}

/// How Stripe taxes something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct StripeTaxDocument {
    /// A product tax code.
    #[schema(examples("txcd_10000000"))]
    pub code: String,
}

/// What units from one tier's end to the next cost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TierDocument {
    /// The last unit of the tier; null or left out for the last tier.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub up_to_amount: Option<Scalar>,
    /// Charged once when the tier is entered; the first one always is.
    #[serde(default)]
    pub flat_price: Option<TierPriceDocument>,
    /// Charged for each unit.
    #[serde(default)]
    pub unit_price: Option<TierPriceDocument>,
}

/// One of a tier's prices.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TierPriceDocument {
    /// `flat` or `unit`, as it stands; may be left out.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub price_type: Option<String>,
    /// A decimal.
    #[schema(value_type = String)]
    pub amount: Scalar,
}

/// What a rate card entitles to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct EntitlementDocument {
    /// `metered`, `boolean`, `static` or `rate_limit`.
    #[serde(default, rename = "type")]
    #[schema(examples("metered"))]
    pub entitlement_type: String,
    /// Metered: units included in each usage period.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub issue_after_reset: Option<Scalar>,
    /// Metered: which of several amounts of units is used up first; only with `issueAfterReset`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub issue_after_reset_priority: Option<Scalar>,
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
    /// Rate limit: units that each `per` gives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub units: Option<Scalar>,
    /// Rate limit: an ISO 8601 duration from PT1S to PT24H.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(examples("PT1S"))]
    pub per: Option<String>,
    /// Rate limit: most units that gather while nobody uses them; `units` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub burst: Option<Scalar>,
    /// Static: the value for the upstream, as JSON or as a text of JSON. Boolean: true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<Value>,
}
