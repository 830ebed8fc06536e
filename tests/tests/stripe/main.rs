//! The Stripe simulator keeps to Stripe's contract, and does what the tests of the product lean on.

mod browser;
mod calls;
mod faults;
mod pages;
mod table;
mod webhooks;
mod world;
