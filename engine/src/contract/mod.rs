//! What crosses processes: the documents the control plane writes for the filter, the names they stand under in
//! Redis, the scripts both sides run there, and the calls and answers of a worker.
//!
//! Nothing else is shared through Redis. A script is the only way either side changes a counter.

pub mod answer;
pub mod call;
mod documents;
mod names;
mod packing;
mod scripts;

pub use documents::{AccessDocument, Block, BlockCode, Entitlement, KeyDocument, Term, Window};
pub use names::{CounterField, NameError, Names, WindowId};
pub use scripts::Script;

#[cfg(test)]
mod tests;
