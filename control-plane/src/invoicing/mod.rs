//! What is charged, and for which stretches of time.

pub mod calendar;
