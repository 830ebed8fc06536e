//! What the tests stand on: a model of Redis, and real servers that are started on free ports and gone when dropped.

pub mod model;
pub mod process;
pub mod redis;
pub mod store;
