//! Money, by Stripe: who pays, how they come to pay, and what Stripe tells us of it.

pub mod grace;
pub mod stripe;

pub use stripe::{Mode, Stripe, StripeError};
