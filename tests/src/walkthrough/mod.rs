//! The walk through the product: a gateway with everything around it, and the commands a user would type.
//!
//! Every command that is printed is run by a shell as it stands there. Ids, secrets and instants are printed as `…`,
//! so that each run prints the same.

mod demo;
mod money;
mod script;
mod steps;

pub use demo::Demo;
pub use script::{Failed, Script};
pub use steps::walk;
