//! Windows of the ledger, for who bills them.

mod store;

use tollgate_engine::contract::WindowId;
use tollgate_engine::units::Units;

pub(crate) use store::{mark_rated, totals};

use crate::clock::BusinessInstant;
use crate::ids::SubscriptionId;

/// Windows of a meter of one subscription of a chain that begin in `[from, to)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) chain: SubscriptionId,
    pub(crate) epoch: u32,
    pub(crate) meter: String,
    pub(crate) from: BusinessInstant,
    pub(crate) to: BusinessInstant,
}

impl Span {
    /// One window.
    pub(crate) fn of(chain: SubscriptionId, window: &WindowId) -> Self {
        Self {
            chain,
            epoch: window.epoch,
            meter: window.meter.clone(),
            from: BusinessInstant::from_unix_ms(window.start_ms),
            to: BusinessInstant::from_unix_ms(window.start_ms.saturating_add(1)),
        }
    }
}

/// What of a window was rated.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark<'a> {
    pub(crate) chain: SubscriptionId,
    pub(crate) window: &'a WindowId,
    pub(crate) rated: Units,
}
