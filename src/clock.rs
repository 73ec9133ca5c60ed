//! The one place that asks the host for the time and for randomness; everywhere else they are arguments.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};

/// The time since 1970.
pub fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Seconds since 1970.
pub fn now() -> u64 {
    since_1970().as_secs()
}

/// Milliseconds since the host started, from 1000, some milliseconds late: no call into the kernel and no reading of the
/// hardware, for what is asked on every NFS call.
pub fn coarse_ms() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::MonotonicCoarse);
    let (seconds, nanoseconds) = (u64::try_from(now.tv_sec), u64::try_from(now.tv_nsec));
    seconds.unwrap_or(0).max(1) * 1000 + nanoseconds.unwrap_or(0) / 1_000_000
}

/// [`coarse_ms`] in seconds.
pub fn coarse() -> u64 {
    coarse_ms() / 1000
}

/// Bytes that nobody can guess.
pub fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    let count = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    anyhow::ensure!(
        count.context("the kernel has no random bytes")? == N,
        "the kernel has too few random bytes"
    );
    Ok(bytes)
}

/// Milliseconds since 1970, for the steps of a boot.
pub fn now_ms() -> u64 {
    u64::try_from(since_1970().as_millis()).unwrap_or(u64::MAX)
}
