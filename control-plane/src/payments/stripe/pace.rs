//! How fast Stripe is called: it allows so many requests per second, overall and per endpoint.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Stopwatch;

/// Requests that may come at once after a pause, in seconds' worth of the rate.
const BURST_SECONDS: u32 = 1;

/// Token buckets: one for all requests, one for each endpoint.
#[derive(Debug)]
pub(super) struct Pace {
    stopwatch: Stopwatch,
    overall_per_second: u32,
    endpoint_per_second: u32,
    /// By endpoint, and for all under the empty name: when the bucket is full again.
    full_at: Mutex<HashMap<&'static str, Duration>>,
}

impl Pace {
    pub(super) fn new(overall_per_second: u32, endpoint_per_second: u32) -> Self {
        Self {
            stopwatch: Stopwatch::start(),
            overall_per_second,
            endpoint_per_second,
            full_at: Mutex::default(),
        }
    }

    /// Takes a place in the queue and says how long it is.
    pub(super) fn reserve(&self, endpoint: &'static str) -> Duration {
        self.reserve_at(endpoint, self.stopwatch.elapsed())
    }

    fn reserve_at(&self, endpoint: &'static str, now: Duration) -> Duration {
        let mut full_at = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        let buckets = [
            ("", self.overall_per_second),
            (endpoint, self.endpoint_per_second),
        ];
        let waits = buckets.map(|(name, per_second)| {
            let full_at = full_at.entry(name).or_default();
            take(full_at, now, per_second)
        });
        waits.into_iter().max().unwrap_or_default()
    }
}

/// Takes one token of a bucket: it is empty when it will be full only after a whole burst's time.
fn take(full_at: &mut Duration, now: Duration, per_second: u32) -> Duration {
    let interval = Duration::from_secs(1) / per_second.max(1);
    let burst = interval * (per_second * BURST_SECONDS).saturating_sub(1);
    *full_at = (*full_at).max(now);
    let wait = full_at.saturating_sub(now + burst);
    *full_at += interval;
    wait
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_one_at_a_time() {
        let pace = Pace::new(100, 5);
        let second = Duration::from_secs(1);
        for _ in 0..5 {
            assert_eq!(pace.reserve_at("a", second), Duration::ZERO);
        }
        assert_eq!(pace.reserve_at("a", second), second / 5);
        assert_eq!(pace.reserve_at("a", second), second / 5 * 2);
        // Another endpoint has a bucket of its own.
        assert_eq!(pace.reserve_at("b", second), Duration::ZERO);
        assert_eq!(pace.reserve_at("a", second * 10), Duration::ZERO);
    }

    #[test]
    fn all_endpoints_together_have_a_rate_too() {
        let pace = Pace::new(2, 2);
        let waits = ["a", "b", "c"].map(|endpoint| pace.reserve_at(endpoint, Duration::ZERO));
        let half = Duration::from_millis(500);
        assert_eq!(waits, [Duration::ZERO, Duration::ZERO, half]);
    }
}
