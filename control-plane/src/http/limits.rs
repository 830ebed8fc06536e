//! Request rates: token buckets in this process, bounded in memory.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};

use crate::clock::MachineInstant;
use crate::error::{Error, Result};

/// Buckets kept; when there would be more, the full ones go first, then all.
const BUCKETS_MAX: usize = 10_000;

/// Token buckets by key: `burst` tokens at first, `per_second` more each second.
#[derive(Debug)]
pub struct RateLimiter<K> {
    per_second: f64,
    burst: f64,
    buckets: Mutex<HashMap<K, Bucket>>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: f64,
    at: MachineInstant,
}

impl<K: Eq + Hash> RateLimiter<K> {
    /// A limiter whose buckets are all full.
    #[must_use]
    pub fn new(per_second: f64, burst: f64) -> Self {
        Self {
            per_second,
            burst,
            buckets: Mutex::default(),
        }
    }

    /// Takes one token.
    ///
    /// # Errors
    /// When there is none, with the seconds until there is.
    pub fn take(&self, key: K, now: MachineInstant) -> Result<()> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        self.make_room(&mut buckets, now);
        let bucket = buckets.entry(key).or_insert(Bucket {
            tokens: self.burst,
            at: now,
        });
        *bucket = self.refilled(*bucket, now);
        if bucket.tokens < 1.0 {
            return Err(self.refusal(*bucket));
        }
        bucket.tokens -= 1.0;
        Ok(())
    }

    /// Whether there is a token, without taking it.
    ///
    /// # Errors
    /// When there is none, with the seconds until there is.
    pub fn peek(&self, key: &K, now: MachineInstant) -> Result<()> {
        let buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        match buckets.get(key).map(|bucket| self.refilled(*bucket, now)) {
            Some(bucket) if bucket.tokens < 1.0 => Err(self.refusal(bucket)),
            Some(_) | None => Ok(()),
        }
    }

    fn refusal(&self, bucket: Bucket) -> Error {
        let seconds = ((1.0 - bucket.tokens) / self.per_second).ceil();
        Error::too_many_requests(seconds as u32)
    }

    fn refilled(&self, bucket: Bucket, now: MachineInstant) -> Bucket {
        let elapsed_ms = (now.unix_ms() - bucket.at.unix_ms()).max(0) as f64;
        let tokens = (bucket.tokens + elapsed_ms / 1_000.0 * self.per_second).min(self.burst);
        Bucket { tokens, at: now }
    }

    fn make_room(&self, buckets: &mut HashMap<K, Bucket>, now: MachineInstant) {
        if buckets.len() < BUCKETS_MAX {
            return;
        }
        buckets.retain(|_, bucket| self.refilled(*bucket, now).tokens < self.burst);
        if buckets.len() >= BUCKETS_MAX {
            buckets.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let limiter = RateLimiter::new(2.0, 3.0);
        let start = MachineInstant::from_unix_ms(1_000_000);
        let passed = |ms: u64, tries: usize| {
            let now = start.after(Duration::from_millis(ms));
            (0..tries)
                .filter(|_| limiter.take("key", now).is_ok())
                .count()
        };
        assert_eq!(passed(0, 10), 3);
        assert_eq!(passed(499, 10), 0);
        assert_eq!(passed(1_000, 10), 2);
        assert_eq!(passed(60_000, 10), 3);
        assert!(limiter.take("another", start).is_ok());
    }

    #[test]
    fn a_refusal_says_when_to_come_back() {
        let limiter = RateLimiter::new(0.5, 1.0);
        let now = MachineInstant::from_unix_ms(0);
        limiter.take(1, now).unwrap();
        assert_eq!(
            limiter.take(1, now).unwrap_err().retry_after_seconds(),
            Some(2)
        );
        assert_eq!(
            limiter.peek(&1, now).unwrap_err().retry_after_seconds(),
            Some(2)
        );
        assert!(limiter.peek(&1, now.after(Duration::from_secs(2))).is_ok());
    }

    #[test]
    fn memory_is_bounded_whatever_the_keys_are() {
        let limiter = RateLimiter::new(1.0, 1.0);
        let now = MachineInstant::from_unix_ms(0);
        for key in 0..3 * BUCKETS_MAX {
            let _ = limiter.take(key, now);
        }
        assert!(limiter.buckets.lock().unwrap().len() <= BUCKETS_MAX);
    }
}
