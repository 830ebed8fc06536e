//! Pure rules shared by the filter and the control plane.
//!
//! Nothing here does I/O, reads a clock or draws random numbers: callers pass instants and random
//! material in and carry out what comes back. Natively and in `wasm32-unknown-unknown` the same
//! input gives the same answer.

#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic)
)]
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, reason = "a test may fail by panicking")
)]

pub mod admission;
pub mod api_key;
pub mod contract;
pub mod cost;
pub mod fields;
pub mod grpc;
pub mod lease;
pub mod limits;
mod packed;
pub mod policy;
pub mod problem;
pub mod resp;
pub mod slug;
pub mod units;
