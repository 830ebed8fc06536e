//! Windows that were rated: what is still to be billed of them is late usage.

mod store;

use tollgate_engine::contract::WindowId;
use tollgate_engine::slug::Slug;
use tollgate_engine::units::Units;

pub(super) use store::{corrected, insert, late, late_customers, update};

use crate::clock::BusinessInstant;
use crate::ids::{CustomerId, SubscriptionId};
use crate::money::Minor;
use crate::usage::Mark;

/// Everything rated of a window so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rated {
    pub(super) chain: SubscriptionId,
    pub(super) window: WindowId,
    pub(super) rate_card: Slug,
    pub(super) end: BusinessInstant,
    /// Units of earlier windows that came before.
    pub(super) carried: Units,
    /// Its own.
    pub(super) units: Units,
    pub(super) amount: Minor,
    /// How often late usage was added.
    pub(super) corrections: u32,
}

impl Rated {
    fn mark(&self) -> Mark<'_> {
        Mark {
            chain: self.chain,
            window: &self.window,
            rated: self.units,
        }
    }
}

/// A window of which more was used than was rated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Late {
    /// As it was rated.
    pub(super) rated: Rated,
    /// As the ledger holds it.
    pub(super) units: Units,
}

/// A customer with late usage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LateCustomer {
    pub(super) customer: CustomerId,
    /// How many of their subscriptions are still to be billed: an invoice of these will hold it.
    pub(super) going_on: i64,
    /// When they were last billed: the end of the last subscription, or the last invoice of late usage.
    pub(super) last: BusinessInstant,
}
