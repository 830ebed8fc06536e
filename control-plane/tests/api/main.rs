//! The control plane over HTTP, each test on a database of its own, SQLite and PostgreSQL alike.

#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a test that cannot go on has failed"
)]

mod postgres;
mod world;

mod admin;
mod background;
mod catalog;
mod configuration;
mod customers;
mod documents;
mod idempotency;
mod keys;
mod openapi;
mod plans;
mod process;
mod requests;
mod serving;
mod shop;
mod storage;
mod subscriptions;
