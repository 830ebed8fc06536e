//! Commands of the program: those that work on the database by themselves, and those that ask a running control plane.

pub mod invoices;
mod progress;
pub mod remote;
