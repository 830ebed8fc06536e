//! A simulator of Stripe: it keeps what it is told, refuses what Stripe refuses, takes Stripe's test cards on its pages,
//! and sends signed webhooks. No money moves. It speaks one version of the interface and no more of it than
//! [`operations`] lists; what it does not support it refuses.

pub mod account;
pub mod api;
pub mod cards;
pub mod checkout;
pub mod collection;
pub mod conformance;
pub mod control;
pub mod customers;
pub mod faults;
pub mod form;
mod harness;
pub mod idempotency;
pub mod invoices;
pub mod lines;
pub mod objects;
pub mod operations;
pub mod pages;
pub mod parameters;
pub mod refusal;
pub mod server;
pub mod webhooks;
pub mod world;

pub use harness::StripeSimulator;
pub use server::{Exchanges, MAIN_FLOW, Permissions, StripeOptions};
