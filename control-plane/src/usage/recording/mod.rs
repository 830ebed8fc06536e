//! What was read of Redis, taken into the ledger.

mod store;

pub(super) use store::record;
