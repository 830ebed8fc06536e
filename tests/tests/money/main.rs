//! How money could be lost or taken twice between a customer, Stripe and us, one test each: a real control plane, its
//! Redis, and the Stripe simulator, whose exchanges are checked against Stripe's contract at the end of each.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod browser;
mod claims;
mod invoices;
mod kills;
mod lost;
mod races;
mod renewals;
mod webhooks;
mod world;
