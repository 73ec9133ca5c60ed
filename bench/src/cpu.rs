//! CPU time of a process: user and system, all threads, also those that have ended.
//!
//! Loopback hides who pays for TCP: a segment is received in the softirq of whoever sent it, so part of the server's
//! receive path is on the client's account and the other way round. That is the same for every server here.

use anyhow::{Context as _, Result};
use nix::time::ClockId;
use nix::unistd::Pid;

/// Nanoseconds that a process has run on any CPU so far.
pub fn of(pid: u32) -> Result<u64> {
    let pid = Pid::from_raw(i32::try_from(pid)?);
    let clock = ClockId::pid_cpu_clock_id(pid).context("the server has ended")?;
    let now = clock.now().context("cannot read a process's CPU clock")?;
    Ok(u64::try_from(now.tv_sec())? * 1_000_000_000 + u64::try_from(now.tv_nsec())?)
}
