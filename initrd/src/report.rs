//! What init tells the server of a boot: a phase that is over, a failure, or a note. One report is one HTTP POST to `/b/BOOT/report` from
//! a port below 1024, its body lines of `key value`, at most [`LONGEST`] bytes.
//!
//! Whoever sends it, it is a claim: what it says is bounded, has no control characters, and decides nothing.

use std::fmt;
use std::str::FromStr;

use oneroot_ids::is_plain;
use thiserror::Error;

/// Bytes of a report.
pub const LONGEST: usize = 4096;
/// Lines of the kernel's log in one.
pub const MOST_KERNEL_LINES: usize = 12;
/// Bytes of the sentence that says what failed.
pub const LONGEST_FAILURE: usize = 640;
/// Bytes of a line of the kernel's.
pub const LONGEST_KERNEL_LINE: usize = 256;

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
    /// Something that is to be known, and that the boot goes on with. A sentence of the same kind.
    pub note: Option<String>,
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

impl Phase {
    /// All of them, in order.
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

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Phase {
    type Err = BadReport;

    fn from_str(text: &str) -> Result<Self, BadReport> {
        Self::ALL.into_iter().find(|phase| phase.as_str() == text).ok_or(BadReport::Malformed)
    }
}

/// The text of a report. What is longer than its part may be is cut, and what is no character to be shown is a space: so a report
/// that was written is one that can be read.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "phase {}\nat {}\ntook {}", self.phase, self.at_ms, self.took_ms)?;
        if let Some(failure) = &self.failure {
            writeln!(f, "failed {}", shown(failure, LONGEST_FAILURE))?;
        }
        if let Some(note) = &self.note {
            writeln!(f, "noted {}", shown(note, LONGEST_FAILURE))?;
        }
        for line in self.kernel.iter().take(MOST_KERNEL_LINES) {
            writeln!(f, "kernel {}", shown(line, LONGEST_KERNEL_LINE))?;
        }
        Ok(())
    }
}

impl FromStr for Report {
    type Err = BadReport;

    fn from_str(text: &str) -> Result<Self, BadReport> {
        if text.len() > LONGEST {
            return Err(BadReport::TooLong);
        }
        let (mut phase, mut at_ms, mut took_ms) = (None, None, None);
        let (mut failure, mut note, mut kernel) = (None, None, Vec::new());
        for line in text.lines() {
            let (key, value) = line.split_once(' ').ok_or(BadReport::Malformed)?;
            let again = match key {
                "phase" => phase.replace(value.parse()?).is_some(),
                "at" => at_ms.replace(number(value)?).is_some(),
                "took" => took_ms.replace(number(value)?).is_some(),
                "failed" => failure.replace(shown(value, LONGEST_FAILURE)).is_some(),
                "noted" => note.replace(shown(value, LONGEST_FAILURE)).is_some(),
                "kernel" => {
                    kernel.push(shown(value, LONGEST_KERNEL_LINE));
                    kernel.len() > MOST_KERNEL_LINES
                }
                _ => return Err(BadReport::Malformed),
            };
            if again {
                return Err(BadReport::Malformed);
            }
        }
        // It either goes on or it does not.
        if failure.is_some() && note.is_some() {
            return Err(BadReport::Malformed);
        }
        match (phase, at_ms, took_ms) {
            (Some(phase), Some(at_ms), Some(took_ms)) => {
                Ok(Self { phase, at_ms, took_ms, failure, note, kernel })
            }
            _ => Err(BadReport::Malformed),
        }
    }
}

fn number(text: &str) -> Result<u64, BadReport> {
    text.parse().map_err(|_| BadReport::Malformed)
}

/// A text as it may be shown to a person: at most so many bytes, and nothing that a terminal obeys, that turns the direction of
/// writing, or that is not seen.
#[must_use]
pub fn shown(text: &str, longest: usize) -> String {
    let mut shown = String::new();
    for char in text.chars() {
        let char = if is_plain(char) { char } else { ' ' };
        if shown.len() + char.len_utf8() > longest {
            break;
        }
        shown.push(char);
    }
    shown
}
