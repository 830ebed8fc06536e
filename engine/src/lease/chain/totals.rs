//! What a worker has of a chain, in all its windows.

use super::Chain;
use crate::lease::Window;

/// Thousandths of units in the hands of a worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Leased, and not consumed yet.
    pub held: u64,
    /// Consumed, and not known to be in Redis.
    pub unsent: u64,
}

impl Chain {
    /// Adds what the worker has of this chain.
    pub fn add_to(&self, totals: &mut Totals) {
        totals.held += self.windows.iter().map(Window::held).sum::<u64>();
        totals.unsent += self.windows.iter().map(Window::unacknowledged).sum::<u64>();
    }
}
