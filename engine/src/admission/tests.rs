//! One worker, decision by decision, against a Redis that says what the test tells it to.

mod bounds;
mod company;
mod exact;
#[cfg(target_arch = "wasm32")]
mod memory;
mod offline;
mod pacing;
mod rates;
mod redis;
mod refusals;
mod told;
mod waiting;
