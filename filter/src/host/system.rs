//! The clocks, randomness and environment that Envoy gives any module.

use std::ptr;

use super::{Refused, abi};

const CLOCK_WALL: u32 = 0;
const CLOCK_MONOTONIC: u32 = 1;
const NANOSECONDS_PER_MS: u64 = 1_000_000;

/// Milliseconds of a clock that never goes back; only differences mean something.
pub fn monotonic_ms() -> Result<u64, Refused> {
    Ok(clock_ns(CLOCK_MONOTONIC)? / NANOSECONDS_PER_MS)
}

/// Unix time in milliseconds, as the machine's clock tells it.
pub fn unix_ms() -> Result<i64, Refused> {
    let now_ms = clock_ns(CLOCK_WALL)? / NANOSECONDS_PER_MS;
    Ok(i64::try_from(now_ms).unwrap_or(i64::MAX))
}

fn clock_ns(clock: u32) -> Result<u64, Refused> {
    let mut time_ns = 0;
    abi::wasi(|| unsafe { abi::clock_time_get(clock, 1, &raw mut time_ns) })?;
    Ok(time_ns)
}

/// Bytes nobody can guess.
pub fn random_bytes<const SIZE: usize>() -> Result<[u8; SIZE], Refused> {
    let mut bytes = [0; SIZE];
    abi::wasi(|| unsafe { abi::random_get(bytes.as_mut_ptr(), SIZE) })?;
    Ok(bytes)
}

/// A variable that the VM's configuration lets through to the module; `None` when it does not.
pub fn environment_variable(name: &str) -> Result<Option<String>, Refused> {
    let (mut count, mut size) = (0, 0);
    abi::wasi(|| unsafe { abi::environ_sizes_get(&raw mut count, &raw mut size) })?;
    let mut entries = vec![ptr::null_mut(); count];
    let mut bytes = vec![0; size];
    abi::wasi(|| unsafe { abi::environ_get(entries.as_mut_ptr(), bytes.as_mut_ptr()) })?;
    // Each entry is `NAME=value` and ends in a zero byte; the pointers tell nothing more.
    let value = bytes
        .split(|byte| *byte == 0)
        .find_map(|entry| entry.strip_prefix(name.as_bytes())?.strip_prefix(b"="));
    Ok(value.map(|value| String::from_utf8_lossy(value).into_owned()))
}
