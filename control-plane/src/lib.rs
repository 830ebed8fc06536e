//! Tollgate's control plane: catalogue, customers, subscriptions, keys and usage behind one API.
//!
//! Routes call rules, rules call stores, never back. `router.rs` shows every route.

pub mod admin;
pub mod app;
pub mod calendar;
pub mod catalog;
pub mod cli;
pub mod clock;
pub mod config;
pub mod customers;
pub mod database;
pub mod doctor;
pub mod error;
pub mod health;
pub mod http;
pub mod ids;
pub mod invoicing;
pub mod jobs;
pub mod keys;
pub mod metadata;
pub mod money;
pub mod outbox;
pub mod payments;
pub mod portal;
pub mod publisher;
pub mod router;
pub mod sandbox;
pub mod subscriptions;
pub mod telemetry;
pub mod usage;

pub use http::idempotency;

/// Random base62 characters, each as likely as any other, from the system's random numbers.
pub(crate) fn random_base62(characters: usize) -> String {
    use tollgate_engine::api_key::BASE62;
    (0..characters)
        .map(|_| char::from(BASE62[rand::random_range(0..BASE62.len())]))
        .collect()
}

/// Bytes as lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}
