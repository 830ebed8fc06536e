//! What a client, an upstream and an operator see, on real Envoys with the filter and a real Redis.
//!
//! Each module tries to break one kind of promise; the tests run one at a time, since each loads the machine.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod clocks;
mod configuration;
mod control_plane;
mod customer;
mod exact;
mod kills;
mod limits;
mod load;
mod network;
mod offline;
mod partition;
mod paying;
mod readme;
mod redis;
mod requests;
mod sandbox;
mod shop;
mod storm;
mod world;
