//! Waiting for a state, never for a time: until it is there, or until a deadline that fails the test with what was seen
//! last.

use std::fmt::Display;
use std::thread;
use std::time::{Duration, Instant};

/// How long a state may take to come about before a test fails.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// How often is looked.
const PAUSE: Duration = Duration::from_millis(10);

/// Looks until `probe` finds what it looks for, and answers that; an error says what it saw instead.
///
/// # Panics
/// When it has not found it after [`PATIENCE`].
pub async fn until<T, E: Display>(what: &str, mut probe: impl AsyncFnMut() -> Result<T, E>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match probe().await {
            Ok(found) => return found,
            Err(seen) => assert_in_time(what, deadline, &seen),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// The same for a probe that blocks.
///
/// # Panics
/// When it has not found it after [`PATIENCE`].
pub fn blocking_until<T, E: Display>(what: &str, mut probe: impl FnMut() -> Result<T, E>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match probe() {
            Ok(found) => return found,
            Err(seen) => assert_in_time(what, deadline, &seen),
        }
        thread::sleep(PAUSE);
    }
}

fn assert_in_time(what: &str, deadline: Instant, seen: &impl Display) {
    assert!(
        Instant::now() < deadline,
        "waited {} s for {what}; last: {seen}",
        PATIENCE.as_secs()
    );
}
