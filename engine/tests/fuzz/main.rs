//! Whatever bytes a client, an upstream, Redis or an operator sends: nothing panics, takes more memory than the limits
//! allow, or reads differently when it comes in other pieces (E9).
//!
//! Every target runs a few thousand inputs, always the same. For longer, on as many targets as there are processors:
//!
//! ```text
//! TOLLGATE_FUZZ_SECONDS=600 cargo test -p tollgate-engine --test fuzz -- --nocapture
//! ```
//!
//! An input that fails is printed; what it found becomes a test beside the code it mends.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod documents;
mod harness;
mod keys;
mod policy;
mod redis;
mod replies;
mod told;
mod worker;
