//! The scripts' behaviour: every table runs on the model and on a real Redis.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod chain;
mod claims;
mod drain;
mod leases;
mod notation;
mod order;
mod publish;
mod random;
mod world;
mod writes;

/// Runs each scenario on the model and on a real Redis.
macro_rules! on_both {
    ($($scenario:ident)*) => {
        $(mod $scenario {
            #[test]
            fn on_the_model() {
                super::$scenario(&mut crate::world::World::on_model());
            }
            #[test]
            fn on_redis() {
                super::$scenario(&mut crate::world::World::on_redis());
            }
        })*
    };
}
pub(crate) use on_both;
