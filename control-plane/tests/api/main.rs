//! The control plane over HTTP, each test on a database of its own, SQLite and PostgreSQL alike.

#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a test that cannot go on has failed"
)]

mod postgres;
mod prices;
mod stripe;
mod waiting;
mod world;

mod admin;
mod anchors;
mod background;
mod bank;
mod calls;
mod catalog;
mod changes;
mod checkouts;
mod claims;
mod codes;
mod collecting;
mod commands;
mod configuration;
mod customers;
mod doctor;
mod documented;
mod documents;
mod edge;
mod events;
mod grace;
mod idempotency;
mod imports;
mod invites;
mod invoices;
mod keys;
mod kills;
mod ledger;
mod losses;
mod model;
mod money;
mod openapi;
mod outages;
mod plans;
mod previews;
mod process;
mod publishing;
mod quotes;
mod rate_limits;
mod readiness;
mod renewals;
mod requests;
mod sandbox;
mod serving;
mod shop;
mod storage;
mod subscriptions;
mod telling;
mod till;
mod webhooks;
mod zones;
mod zuplo;
