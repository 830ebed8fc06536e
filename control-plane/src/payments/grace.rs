//! Access by payment: a pure function of what is open, since when, and the days of grace.
//!
//! Free plans and trials are never blocked for payment. No access before a chain's first payment,
//! but where a trial ends and a payment method is on file, until that fails. Afterwards access goes
//! on for the days of grace, and ends with an invoice that is given up.

use std::time::Duration;

use serde_json::Value;
use tollgate_engine::contract::{self, BlockCode};

use crate::clock::BusinessInstant;
use crate::metadata::Metadata;
use crate::subscriptions::PaymentStatus;

const DAY: Duration = Duration::from_secs(86_400);
/// Most days of grace.
pub const DAYS_MAX: u32 = 365;
/// Names under which customers and plans have days of grace; the second is Zuplo's.
const DAYS_NAMES: [&str; 2] = ["maxPaymentOverdueDays", "zuplo_max_payment_overdue_days"];

/// What a chain of subscriptions owes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The worst of its open invoices.
    pub status: PaymentStatus,
    /// The earliest failure, required action or due date of an open invoice.
    pub due_since: Option<BusinessInstant>,
    /// Whether an invoice with an amount was ever paid.
    pub first_payment: FirstPayment,
}

/// Whether an invoice of a chain with an amount was ever paid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstPayment {
    /// None was.
    ToCome,
    /// One was.
    Made,
}

/// What access waits for, beside the standing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// How long access goes on after a payment was due.
    pub grace: Duration,
    /// Whether a chain has grace before its first payment, too.
    pub before_first_payment: BeforeFirstPayment,
    /// Whether the customer can be charged.
    pub payment_method: PaymentMethod,
}

/// What holds before the first payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BeforeFirstPayment {
    /// No access.
    Closed,
    /// Grace as for any payment.
    Grace,
}

/// Whether a customer can be charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PaymentMethod {
    /// There is a way.
    OnFile,
    /// There is none.
    Missing,
}

/// A stretch of time in which a phase holds, as far as payment goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// First instant.
    pub start: BusinessInstant,
    /// First instant after it, if it ends.
    pub end: Option<BusinessInstant>,
    /// What is charged in it.
    pub charge: Charge,
}

/// What is charged in a stretch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Charge {
    /// Nothing: free plans and trials.
    Nothing,
    /// What was used, afterwards.
    Usage,
    /// A fee when it begins, with the subscription.
    Fee,
    /// A fee when it begins, after a trial.
    FeeAfterTrial,
}

/// From when payment closes access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// First instant without access.
    pub from: BusinessInstant,
    /// First instant with access again though nothing is paid: a free plan begins.
    pub until: Option<BusinessInstant>,
    /// Why.
    pub code: BlockCode,
}

impl Block {
    /// Whether access is closed at `now`.
    #[must_use]
    pub fn holds(&self, now: BusinessInstant) -> bool {
        self.from <= now && self.until.is_none_or(|until| now < until)
    }

    /// The same for the filter.
    #[must_use]
    pub fn contract(&self) -> contract::Block {
        contract::Block {
            from_ms: self.from.unix_ms(),
            code: self.code,
        }
    }
}

/// From when payment closes access to a chain with these stretches, in order, if it does from `now` on.
#[must_use]
pub fn block(
    standing: &Standing,
    terms: &Terms,
    stretches: &[Stretch],
    now: BusinessInstant,
) -> Option<Block> {
    let (from, code) = closing(standing, terms, stretches)?;
    let later = |end: Option<BusinessInstant>| end.is_none_or(|end| from < end && now < end);
    let mut charged = stretches
        .iter()
        .skip_while(|stretch| stretch.charge == Charge::Nothing || !later(stretch.end));
    let first = charged.next()?;
    let free = charged.find(|stretch| stretch.charge == Charge::Nothing);
    Some(Block {
        from: from.max(first.start),
        until: free.map(|free| free.start),
        code,
    })
}

/// From when what is charged for is closed.
fn closing(
    standing: &Standing,
    terms: &Terms,
    stretches: &[Stretch],
) -> Option<(BusinessInstant, BlockCode)> {
    let is_strict = standing.first_payment == FirstPayment::ToCome
        && terms.before_first_payment == BeforeFirstPayment::Closed;
    match standing.status {
        PaymentStatus::Uncollectible => Some((ever(), BlockCode::PaymentUncollectible)),
        PaymentStatus::Failed if is_strict => {
            let from = standing.due_since.unwrap_or_else(ever);
            Some((from, BlockCode::PaymentRequired))
        }
        PaymentStatus::Pending | PaymentStatus::NotRequired if is_strict => {
            let from = first_fee(standing.status, terms.payment_method, stretches)?;
            Some((from, BlockCode::PaymentRequired))
        }
        PaymentStatus::Pending | PaymentStatus::Failed => {
            let end = standing.due_since?.after(terms.grace);
            Some((end, BlockCode::PaymentOverdue))
        }
        PaymentStatus::Paid | PaymentStatus::NotRequired => None,
    }
}

/// From when access waits for a first payment that has not failed.
///
/// It is known before anything is charged, so that access ends on time with nobody there.
fn first_fee(
    status: PaymentStatus,
    method: PaymentMethod,
    stretches: &[Stretch],
) -> Option<BusinessInstant> {
    let fee = stretches.iter().find_map(|stretch| match stretch.charge {
        Charge::Fee => Some((stretch.start, PaymentMethod::Missing)),
        // It is taken for paid until it fails.
        Charge::FeeAfterTrial => Some((stretch.start, method)),
        Charge::Nothing | Charge::Usage => None,
    });
    match (fee, status) {
        (Some((start, PaymentMethod::Missing)), _) => Some(start),
        (Some((_, PaymentMethod::OnFile)), _) => None,
        // What was used is charged by now.
        (None, PaymentStatus::Pending) if method == PaymentMethod::Missing => Some(ever()),
        (None, _) => None,
    }
}

/// Before all time that a clock shows.
fn ever() -> BusinessInstant {
    BusinessInstant::from_unix_ms(0)
}

/// The grace of a customer on a plan: the customer's own, else the plan's, else the configured.
#[must_use]
pub fn grace(customer: &Metadata, plan: &Metadata, configured_days: u32) -> Duration {
    let own = |metadata: &Metadata| DAYS_NAMES.iter().find_map(|name| days(metadata.get(name)?));
    DAY * own(customer)
        .or_else(|| own(plan))
        .unwrap_or(configured_days)
}

/// Whole days; what is none is as if it was not there.
fn days(value: &Value) -> Option<u32> {
    let days = match value {
        Value::String(text) => text.trim().parse().ok(),
        other => other.as_u64(),
    };
    u32::try_from(days?).ok().filter(|days| *days <= DAYS_MAX)
}

#[cfg(test)]
mod tests;
