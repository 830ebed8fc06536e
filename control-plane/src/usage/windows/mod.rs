//! Windows of the ledger, for who bills them.

mod store;

pub(crate) use store::{mark_rated, total_of};
