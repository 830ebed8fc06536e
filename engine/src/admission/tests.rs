//! One worker, decision by decision, against a Redis that says what the test tells it to.

mod bounds;
mod company;
mod exact;
mod offline;
mod pacing;
mod rates;
mod redis;
mod refusals;
mod told;
mod waiting;
