//! Invoicing: what is due when, and why.

pub mod calendar;
pub mod pricing;
pub mod proration;
