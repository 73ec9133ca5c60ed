//! What init tells the server of a boot: a phase that is over, or a failure. One report is one HTTP POST to `/b/BOOT/report` from
//! a port below 1024, its body lines of `key value`, at most [`LONGEST`] bytes.
//!
//! Whoever sends it, it is a claim: what it says is bounded, has no control characters, and decides nothing.

use thiserror::Error;

/// Bytes of a report.
pub const LONGEST: usize = 4096;
/// Lines of the kernel's log in one.
pub const MOST_KERNEL_LINES: usize = 12;

/// A report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// What it was busy with.
    pub phase: Phase,
    /// Milliseconds since the kernel started.
    pub at_ms: u64,
    /// Milliseconds that the phase took so far.
    pub took_ms: u64,
    /// Why it did not come to an end; none where it did. A sentence without a full stop, with what to do.
    pub failure: Option<String>,
    /// The kernel's last words, where it failed.
    pub kernel: Vec<String>,
}

/// What init is busy with, in the order in which it comes about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Reads what it was given.
    Settings,
    /// Loads drivers and finds the NIC.
    Drivers,
    /// Waits for the NIC's carrier.
    Carrier,
    /// Takes its address.
    Address,
    /// Mounts its root.
    Root,
    /// Lays over it what can be written.
    Overlay,
    /// Puts in place what the machine is given.
    Files,
    /// Hands over to the real init.
    HandOver,
}

/// A report that can't be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BadReport {
    /// More bytes than a report has.
    #[error("a report has at most {LONGEST} bytes")]
    TooLong,
    /// Not lines of text, or not those of a report.
    #[error("a report is lines of text: phase, at, took, and what failed")]
    Malformed,
}
