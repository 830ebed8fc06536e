//! Documents about subscriptions, as they are sent and shown.

use serde::{Deserialize, Serialize};
use tollgate_engine::slug::Slug;
use utoipa::ToSchema;

use super::{PaymentStatus, Status, Subscription};
use crate::catalog::check_slug;
use crate::clock::BusinessInstant;
use crate::http::document::{Document, Mistakes, Place};
use crate::ids::{CustomerId, KEY_MAX_CHARACTERS, PlanId, SubscriptionId, is_key_beside};

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
    pub plan: Slug,
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
    /// The first subscription of the chain that its keys belong to.
    pub chain: SubscriptionId,
    /// Its number in the chain, from 1.
    pub epoch: u32,
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
            chain: shown.chain,
            epoch: shown.epoch,
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
    /// `immediate`, or an instant to come; immediate when left out.
    #[schema(examples("immediate"))]
    timing: Option<String>,
    /// Key of the phase to start with; the first when left out, or the one after a trial that the customer had before.
    starting_phase: Option<String>,
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
    pub(super) plan: Slug,
    pub(super) version: Option<u32>,
    pub(super) starting_phase: Option<String>,
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
        if timing == Some(Some(Timing::NextBillingCycle)) {
            let detail = "what has not begun has no billing cycle";
            mistakes.add(&root.field("timing"), "invalid_timing", detail);
        }
        let wish = check_wish(
            &self.plan,
            self.plan_version,
            self.starting_phase,
            self.key,
            mistakes,
        );
        Some((self.customer, wish?, timing?.unwrap_or(Timing::Immediate)))
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
        let wish = check_wish(
            &self.plan,
            self.plan_version,
            self.starting_phase,
            self.key,
            mistakes,
        );
        Some((wish?, timing?))
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
        plan: check_slug(plan, &root.field("plan"), mistakes)?,
        version,
        starting_phase,
        key,
    })
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
    let latest = now.after(std::time::Duration::from_secs(10 * 366 * 86_400));
    if instant < now || latest < instant {
        let detail = "timing is an instant of the next ten years";
        mistakes.add(&place, "timing_out_of_range", detail);
        return None;
    }
    Some(Some(Timing::At(instant)))
}
