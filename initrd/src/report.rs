//! What init tells the server of a boot: a phase that is over, or a failure. One report is one HTTP POST to `/b/BOOT/report` from
//! a port below 1024, its body lines of `key value`, at most [`LONGEST`] bytes.
//!
//! Whoever sends it, it is a claim: what it says is bounded, has no control characters, and decides nothing.

use std::fmt;
use std::str::FromStr;

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

impl Phase {
    /// Each, in the order in which it comes about.
    pub const ALL: [Self; 8] = [
        Self::Settings,
        Self::Drivers,
        Self::Carrier,
        Self::Address,
        Self::Root,
        Self::Overlay,
        Self::Files,
        Self::HandOver,
    ];

    /// Its word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Settings => "settings",
            Self::Drivers => "drivers",
            Self::Carrier => "carrier",
            Self::Address => "address",
            Self::Root => "root",
            Self::Overlay => "overlay",
            Self::Files => "files",
            Self::HandOver => "hand-over",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Phase {
    type Err = BadReport;

    fn from_str(word: &str) -> Result<Self, BadReport> {
        Self::ALL.into_iter().find(|phase| phase.as_str() == word).ok_or(BadReport::Malformed)
    }
}

impl FromStr for Report {
    type Err = BadReport;

    fn from_str(text: &str) -> Result<Self, BadReport> {
        if text.len() > LONGEST {
            return Err(BadReport::TooLong);
        }
        let (mut phase, mut at, mut took, mut failure, mut kernel) = (None, None, None, None, Vec::new());
        for line in text.lines() {
            let (key, value) = line.split_once(' ').ok_or(BadReport::Malformed)?;
            let plain = || value.chars().filter(|char| !char.is_control()).collect::<String>();
            match key {
                "phase" if phase.is_none() => phase = Some(value.parse()?),
                "at" if at.is_none() => at = Some(value.parse().map_err(|_| BadReport::Malformed)?),
                "took" if took.is_none() => took = Some(value.parse().map_err(|_| BadReport::Malformed)?),
                "failed" if failure.is_none() => failure = Some(plain()),
                "kernel" if kernel.len() < MOST_KERNEL_LINES => kernel.push(plain()),
                _ => return Err(BadReport::Malformed),
            }
        }
        let (Some(phase), Some(at_ms), Some(took_ms)) = (phase, at, took) else {
            return Err(BadReport::Malformed);
        };
        Ok(Self { phase, at_ms, took_ms, failure, kernel })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "phase {}\nat {}\ntook {}", self.phase, self.at_ms, self.took_ms)?;
        self.failure.iter().try_for_each(|failure| writeln!(f, "failed {failure}"))?;
        self.kernel.iter().try_for_each(|line| writeln!(f, "kernel {line}"))
    }
}
