//! What one worker may spend, has spent and has yet to tell Redis, per window and chain of subscriptions.
//!
//! A unit a request reserves is taken from a lease, is in flight until the response, and is then consumed or released.
//! Consumed and returned units gather until the next batch. Nothing here knows a request, a rule or a connection.

mod batch;
mod bucket;
mod chain;
mod claims;
mod leases;
mod rate;
mod window;

pub use batch::{Batch, Need, Wanted};
pub use bucket::Bucket;
pub use chain::{Chain, Settlement, Totals};
pub use claims::{Claim, Counted, Share};
pub use window::{Reservation, Window};

/// How leases live, from the configuration; times in ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseRules {
    /// At the latest after this time an unspent lease is given back.
    pub ttl_ms: u64,
    /// Whether a lease may be spent after that time.
    pub lost_leases: crate::contract::call::LostLeases,
    /// Least time between two batches of a chain.
    pub flush_interval_ms: u64,
    /// Most time a consumed unit waits for a batch.
    pub max_unsettled_ms: u64,
}

#[cfg(test)]
mod tests;
