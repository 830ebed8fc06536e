//! Documents about subscriptions, as they are sent and shown.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tollgate_engine::slug::Slug;
use tollgate_engine::units::Units;
use utoipa::ToSchema;

use super::{PaymentStatus, Status, Subscription};
use crate::calendar::Zone;
use crate::catalog::check_key;
use crate::catalog::plans::PlanKey;
use crate::clock::BusinessInstant;
use crate::http::document::{Document, Mistakes, Place, Scalar};
use crate::ids::{CustomerId, KEY_MAX_CHARACTERS, PlanId, SubscriptionId, is_key_beside};

const TEN_YEARS: Duration = Duration::from_secs(10 * 366 * 86_400);

/// A subscription, as it is shown.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SubscriptionView {
    /// Its id.
    pub id: SubscriptionId,
    /// The operator's own name for it; paths take it in place of the id.
    pub key: Option<String>,
    /// Who subscribed.
    pub customer: CustomerId,
    /// The plan's key.
    #[schema(value_type = String)]
    pub plan: PlanKey,
    /// The number of the plan's version.
    pub plan_version: u32,
    /// The id of the plan's version.
    pub plan_id: PlanId,
    /// The key of the phase it is in, if it is in one.
    #[schema(value_type = Option<String>)]
    pub phase: Option<Slug>,
    /// Where it is in its life.
    pub status: Status,
    /// Whether everything that was due is paid.
    pub payment_status: PaymentStatus,
    /// First instant.
    pub active_from: BusinessInstant,
    /// First instant after it, if it ends.
    pub active_to: Option<BusinessInstant>,
    /// What its boundaries count from; null: the start of each phase.
    pub billing_anchor: Option<BusinessInstant>,
    /// By meter, what was set in place of the plan's `overageLimit`.
    pub overage_limits: BTreeMap<String, String>,
    /// The first subscription of the chain that its keys belong to.
    pub chain: SubscriptionId,
    /// Its number in the chain, from 1.
    pub epoch: u32,
    /// The zone whose dates its boundaries are.
    #[schema(value_type = String)]
    pub time_zone: Zone,
    /// When it was made.
    pub created_at: BusinessInstant,
}

impl SubscriptionView {
    /// The subscription at `now`, in this phase.
    pub(super) fn new(
        shown: Subscription,
        phase: Option<Slug>,
        payment_status: PaymentStatus,
        now: BusinessInstant,
    ) -> Self {
        Self {
            status: shown.status(now),
            payment_status,
            id: shown.id,
            key: shown.key,
            customer: shown.customer,
            plan: shown.plan_key,
            plan_version: shown.plan_version,
            plan_id: shown.plan,
            phase,
            active_from: shown.active_from,
            active_to: shown.active_to,
            billing_anchor: shown.anchor.instant(),
            overage_limits: shown
                .overage_limits
                .iter()
                .map(|(meter, units)| (meter.to_string(), units.to_string()))
                .collect(),
            chain: shown.chain,
            epoch: shown.epoch,
            time_zone: shown.zone,
            created_at: shown.created_at,
        }
    }
}

/// What to send for a new subscription.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SubscriptionDocument {
    /// Id or key of the customer.
    #[serde(default)]
    customer: String,
    /// The plan's key.
    #[serde(default)]
    plan: String,
    /// The version that is sold when left out.
    plan_version: Option<u32>,
    /// `immediate`, `next_billing_cycle` or an instant to come; immediate when left out. The next cycle is that of
    /// `billingAnchor`, else the first of the customer's other subscriptions.
    #[schema(examples("immediate"))]
    timing: Option<String>,
    /// Key of the phase to start with; the first when left out, or the one after a trial that the customer had before.
    starting_phase: Option<String>,
    /// An instant that boundaries count from; the start of each phase when left out. A first period that is cut costs
    /// its share.
    #[schema(value_type = Option<BusinessInstant>)]
    billing_anchor: Option<String>,
    /// 1 to 256 visible ASCII characters other than `/`, and no id of a subscription.
    key: Option<String>,
}

impl Document for SubscriptionDocument {}

/// What to send to change the plan of a subscription.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChangeDocument {
    /// The new plan's key.
    #[serde(default)]
    plan: String,
    /// The version that is sold when left out.
    plan_version: Option<u32>,
    /// `immediate`, `next_billing_cycle` or an instant to come; when left out, an upgrade is immediate and a downgrade
    /// comes with the next cycle.
    #[schema(examples("immediate"))]
    timing: Option<String>,
    /// Key of the phase to start with; the first when left out, or the one after a trial that the customer had before.
    starting_phase: Option<String>,
    /// `keep`: boundaries stay where they are, and the first period costs and gives its share. When left out, they
    /// count from the change.
    #[schema(examples("keep"))]
    billing_anchor: Option<String>,
    /// The new subscription's key.
    key: Option<String>,
}

impl Document for ChangeDocument {}

/// What to send to cancel a subscription.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CancelDocument {
    /// `immediate`, `next_billing_cycle` or an instant to come; immediate when left out.
    #[schema(examples("immediate"))]
    timing: Option<String>,
}

impl Document for CancelDocument {}

/// What to send to set the overage limit of a meter.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct OverageLimitDocument {
    /// Units beyond the quota at which requests are refused; null: what the plan says.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    overage_limit: Option<Scalar>,
}

impl Document for OverageLimitDocument {}

impl OverageLimitDocument {
    /// How many units beyond the quota are allowed, if that is said.
    pub(super) fn check(self, mistakes: &mut Mistakes) -> Option<Option<Units>> {
        let Some(Scalar(text)) = self.overage_limit else {
            return Some(None);
        };
        match text.parse() {
            Ok(units) => Some(Some(units)),
            Err(error) => {
                let place = Place::root().field("overageLimit");
                mistakes.add(&place, "invalid_units", format!("{text} {error}"));
                None
            }
        }
    }
}

/// What boundaries are to count from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WishedAnchor {
    Start,
    At(BusinessInstant),
    Keep,
}

/// When something is to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Timing {
    Immediate,
    NextBillingCycle,
    At(BusinessInstant),
}

/// The plan that is asked for, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wish {
    pub(super) plan: PlanKey,
    pub(super) version: Option<u32>,
    pub(super) starting_phase: Option<String>,
    pub(super) anchor: WishedAnchor,
    pub(super) key: Option<String>,
}

impl SubscriptionDocument {
    /// Whose subscription it is to be, to what, and when.
    pub(super) fn check(
        self,
        now: BusinessInstant,
        mistakes: &mut Mistakes,
    ) -> Option<(String, Wish, Timing)> {
        let root = Place::root();
        if self.customer.is_empty() {
            let detail = "customer is the id or key of a customer";
            mistakes.add(&root.field("customer"), "customer_missing", detail);
        }
        let timing = check_timing(self.timing.as_deref(), now, mistakes);
        let place = root.field("billingAnchor");
        let anchor = match self.billing_anchor.as_deref() {
            None => Some(WishedAnchor::Start),
            Some(text) => check_instant(text, now, &place, mistakes).map(WishedAnchor::At),
        };
        let wish = check_wish(
            &self.plan,
            self.plan_version,
            self.starting_phase,
            self.key,
            mistakes,
        );
        let wish = Wish {
            anchor: anchor?,
            ..wish?
        };
        Some((self.customer, wish, timing?.unwrap_or(Timing::Immediate)))
    }
}

impl ChangeDocument {
    /// To what the subscription is to be changed, and when, if that is said.
    pub(super) fn check(
        self,
        now: BusinessInstant,
        mistakes: &mut Mistakes,
    ) -> Option<(Wish, Option<Timing>)> {
        let timing = check_timing(self.timing.as_deref(), now, mistakes);
        let anchor = match self.billing_anchor.as_deref() {
            None => WishedAnchor::Start,
            Some("keep") => WishedAnchor::Keep,
            Some(_) => {
                let detail = "billingAnchor is keep or left out";
                let place = Place::root().field("billingAnchor");
                mistakes.add(&place, "invalid_billing_anchor", detail);
                WishedAnchor::Start
            }
        };
        let wish = check_wish(
            &self.plan,
            self.plan_version,
            self.starting_phase,
            self.key,
            mistakes,
        );
        let wish = Wish { anchor, ..wish? };
        Some((wish, timing?))
    }
}

impl CancelDocument {
    /// When the subscription is to end.
    pub(super) fn check(self, now: BusinessInstant, mistakes: &mut Mistakes) -> Option<Timing> {
        let timing = check_timing(self.timing.as_deref(), now, mistakes)?;
        Some(timing.unwrap_or(Timing::Immediate))
    }
}

fn check_wish(
    plan: &str,
    version: Option<u32>,
    starting_phase: Option<String>,
    key: Option<String>,
    mistakes: &mut Mistakes,
) -> Option<Wish> {
    let root = Place::root();
    if key
        .as_deref()
        .is_some_and(|key| !is_key_beside::<SubscriptionId>(key))
    {
        let detail = format!(
            "key has not 1 to {KEY_MAX_CHARACTERS} visible ASCII characters without /, or begins \
             like an id"
        );
        mistakes.add(&root.field("key"), "invalid_key", detail);
    }
    Some(Wish {
        plan: check_key(plan, &root.field("plan"), mistakes)?,
        version,
        starting_phase,
        anchor: WishedAnchor::Start,
        key,
    })
}

/// Reads an instant that boundaries count from: within ten years, so that every calendar can reckon with it.
fn check_instant(
    text: &str,
    now: BusinessInstant,
    place: &Place,
    mistakes: &mut Mistakes,
) -> Option<BusinessInstant> {
    let Ok(instant) = text.parse::<jiff::Timestamp>().map(BusinessInstant::from) else {
        mistakes.add(
            place,
            "invalid_billing_anchor",
            "billingAnchor is no RFC 3339 instant",
        );
        return None;
    };
    if instant < now.before(TEN_YEARS) || now.after(TEN_YEARS) < instant {
        let detail = "billingAnchor is within ten years of now";
        mistakes.add(place, "billing_anchor_out_of_range", detail);
        return None;
    }
    Some(instant)
}

/// Reads when something is to happen: within ten years, so that every calendar can reckon with it.
fn check_timing(
    text: Option<&str>,
    now: BusinessInstant,
    mistakes: &mut Mistakes,
) -> Option<Option<Timing>> {
    let place = Place::root().field("timing");
    let instant = match text {
        None => return Some(None),
        Some("immediate") => return Some(Some(Timing::Immediate)),
        Some("next_billing_cycle") => return Some(Some(Timing::NextBillingCycle)),
        Some(text) => text.parse::<jiff::Timestamp>(),
    };
    let Ok(instant) = instant.map(BusinessInstant::from) else {
        let detail = "timing is neither immediate, next_billing_cycle nor an RFC 3339 instant";
        mistakes.add(&place, "invalid_timing", detail);
        return None;
    };
    if instant < now || now.after(TEN_YEARS) < instant {
        let detail = "timing is an instant of the next ten years";
        mistakes.add(&place, "timing_out_of_range", detail);
        return None;
    }
    Some(Some(Timing::At(instant)))
}
