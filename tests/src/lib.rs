//! What the tests stand on: a model of Redis, and real servers that are started on free ports and gone when dropped.

pub mod browser;
pub mod clock;
pub mod control_plane;
pub mod envoy;
pub mod grpc;
pub mod http;
pub mod model;
pub mod namespace;
pub mod postgres;
pub mod process;
pub mod proxy;
pub mod publish;
pub mod redis;
pub mod scripted;
pub mod store;
pub mod stripe;
pub mod upstream;
pub mod wait;
pub mod walkthrough;

/// What every name in Redis starts with, in all tests.
pub const PREFIX: &str = "tg:test:";
