//! Invoicing: what is due when, and why.
//!
//! A subscription is billed at the boundaries of its plan's cadence: fees of the period that begins,
//! arrears of the one that ends, on one invoice. A change is billed at its instant. Each invoice is
//! assembled in the transaction that moves the schedule past its boundary, so that there is one
//! however often and wherever the job runs; then it is brought to Stripe step by step.

mod assembly;
pub mod billing;
mod books;
mod charges;
mod credits;
mod estimate;
mod forecast;
mod issuing;
mod late;
pub mod preview;
pub mod pricing;
pub mod profile;
pub mod proration;
pub mod pusher;
pub mod quote;
mod round;
pub mod routes;
pub mod run;
mod schedules;
#[cfg(test)]
mod search;
mod state;
mod store;
mod view;
mod voiding;
mod windows;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use tollgate_engine::slug::Slug;
use utoipa::ToSchema;

pub use estimate::{ChangeEstimate, estimate};
pub use late::uneven;
pub use schedules::{
    pending_at, subscription_began, subscription_changed, subscription_ended,
    subscription_took_effect,
};
pub use state::{apply, standing, standing_but};
pub use store::{count_issued_since, overdue, unsettled};

use crate::calendar::Interval;
use crate::catalog::currency::Currency;
use crate::clock::BusinessInstant;
use crate::ids::{CustomerId, InvoiceId, SubscriptionId};
use crate::money::Minor;

/// Why there is an invoice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum InvoiceKind {
    /// A subscription began.
    First,
    /// A period ended and the next one began.
    Recurring,
    /// A subscription took over from another.
    Change,
    /// A subscription ended.
    Final,
    /// Usage became known after the last invoice.
    Late,
}

/// Which part of what is due at a boundary an invoice holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Everything.
    All,
    /// Fees, which did not wait for usage.
    Fees,
    /// What the fees did not wait for.
    Arrears,
}

/// Where an invoice is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum InvoiceStatus {
    /// It is assembled.
    Draft,
    /// It is on its way to Stripe.
    Pushing,
    /// It is issued and to be paid.
    Open,
    /// It is issued, and an attempt to collect it failed.
    Failed,
    /// Nobody is expected to pay it.
    Uncollectible,
    /// It is paid.
    Paid,
    /// It was a mistake.
    Void,
}

/// The next step of bringing an invoice to Stripe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Create,
    Lines,
    Finalize,
    Pay,
    /// It is to be taken back.
    Void,
    Done,
}

/// What was or is to be charged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invoice {
    /// Its id.
    pub id: InvoiceId,
    /// Who pays.
    pub customer: CustomerId,
    /// The first subscription of the chain that it is about.
    pub chain: SubscriptionId,
    /// The subscription that begins, goes on or ends at its boundary.
    pub subscription: SubscriptionId,
    /// The version of its plan.
    pub plan_version: u32,
    /// Why there is one.
    pub kind: InvoiceKind,
    /// When it was due to be made.
    pub boundary: BusinessInstant,
    /// Which part of what is due then.
    pub part: Part,
    /// Where it is.
    pub status: InvoiceStatus,
    /// What it is paid in.
    pub currency: Currency,
    /// What is to be paid.
    pub total: Minor,
    step: Step,
    attempt: u32,
    failure: Option<String>,
    /// Its id in Stripe, once it is there.
    pub stripe_id: Option<String>,
    /// What the customer calls it, once it is issued.
    pub number: Option<String>,
    /// Where the customer can see and pay it, once it is issued.
    pub hosted_url: Option<String>,
    /// How often Stripe tried to collect it.
    pub attempts: u32,
    /// The first failed attempt, or the first that the customer had to confirm.
    pub due_since: Option<BusinessInstant>,
    /// When it was assembled.
    pub created_at: BusinessInstant,
    /// When it was issued.
    pub finalized_at: Option<BusinessInstant>,
    /// When it was paid.
    pub paid_at: Option<BusinessInstant>,
}

/// What a line is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LineKind {
    /// A flat price in advance.
    Fee,
    /// A flat price in arrears, or usage.
    Arrears,
    /// Usage of a period that was billed before.
    Late,
}

/// A line of an invoice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// `{subscription}/{phase}/{rateCard}/v{n}/{periodStart}/{lineId}/{part}/{correction}`.
    pub identity: String,
    /// What it is about.
    pub kind: LineKind,
    /// The subscription.
    pub subscription: SubscriptionId,
    /// The rate card.
    pub rate_card: Slug,
    /// For the customer to read.
    pub description: String,
    /// The period.
    pub period: Interval,
    /// How many.
    pub quantity: Decimal,
    /// The price of one; late usage has none of its own.
    pub unit_amount: Option<Decimal>,
    /// What it comes to.
    pub amount: Minor,
    /// What is taken off that.
    pub discount: Minor,
    /// What of the rest is paid with credits.
    pub credit: Minor,
}

impl Line {
    /// What it costs, in money or in credit.
    #[must_use]
    pub fn price(&self) -> Minor {
        self.amount - self.discount
    }

    /// What is left to pay.
    #[must_use]
    pub fn total(&self) -> Minor {
        self.price() - self.credit
    }
}

/// Names of our own enums in the database, the same as in documents.
macro_rules! names {
    ($($type:ident { $($variant:ident = $name:literal),+ $(,)? })+) => {$(
        impl $type {
            /// Its name in the database.
            #[must_use]
            pub(crate) fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }

            /// What a name in the database means.
            fn named(name: &str) -> crate::error::Result<Self> {
                match name {
                    $($name => Ok(Self::$variant),)+
                    other => Err(crate::error::Error::internal(anyhow::anyhow!(
                        "{other} is no {}", stringify!($type)
                    ))),
                }
            }
        }
    )+};
}

names! {
    InvoiceKind {
        First = "first",
        Recurring = "recurring",
        Change = "change",
        Final = "final",
        Late = "late",
    }
    Part { All = "all", Fees = "fees", Arrears = "arrears" }
    InvoiceStatus {
        Draft = "draft",
        Pushing = "pushing",
        Open = "open",
        Failed = "failed",
        Uncollectible = "uncollectible",
        Paid = "paid",
        Void = "void",
    }
    Step {
        Create = "create",
        Lines = "lines",
        Finalize = "finalize",
        Pay = "pay",
        Void = "void",
        Done = "done",
    }
    LineKind { Fee = "fee", Arrears = "arrears", Late = "late" }
}
