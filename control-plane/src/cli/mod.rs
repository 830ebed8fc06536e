//! Commands that work on the database by themselves.

pub mod invoices;
mod progress;
