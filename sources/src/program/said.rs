//! What a program says: its last line is shown while it runs, and its last lines when it has failed.

use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::os::unix::fs::FileExt as _;
use std::process::Stdio;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use crate::Progress;
use crate::error::{Error, Result};

/// Lines of a failed program that are shown.
const TAIL: usize = 15;
/// How often it is looked at what a program says.
const GLANCE: Duration = Duration::from_millis(300);
/// Bytes of its end that are looked at.
const LINE: u64 = 1024;
/// Characters of a line that are shown.
const SHOWN: usize = 70;

/// A file that a program writes to, and that is gone with this.
pub struct Said(File);

impl Said {
    /// Nothing so far.
    pub fn begin() -> Result<Self> {
        // A file and no pipe, which would hold the program up once it is full and nobody reads.
        tempfile::tempfile().map(Self).map_err(Error::io("make a file for what the program says"))
    }

    /// For the program's output, or its errors.
    pub fn stdio(&self) -> Result<Stdio> {
        Ok(self.0.try_clone().map_err(Error::io("open what the program says"))?.into())
    }

    /// Shows the last line meanwhile: installing packages takes minutes.
    pub fn shown<T>(&self, progress: &dyn Progress, work: impl FnOnce() -> T) -> T {
        if !progress.is_shown() {
            return work();
        }
        let (done, is_done) = mpsc::channel::<()>();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                while is_done.recv_timeout(GLANCE) == Err(RecvTimeoutError::Timeout) {
                    if let Some(line) = self.last_line() {
                        progress.said(&line);
                    }
                }
            });
            // The watch ends with this, however the work does.
            let _done = done;
            work()
        })
    }

    /// The last whole line, if it is not the longest ever. What is read has its own place, for the program writes at the file's.
    fn last_line(&self) -> Option<String> {
        let length = self.0.metadata().ok()?.len();
        let from = length.saturating_sub(LINE);
        let mut bytes = vec![0; usize::try_from(length - from).ok()?];
        self.0.read_exact_at(&mut bytes, from).ok()?;
        let text = String::from_utf8_lossy(&bytes);
        let line = text.lines().rev().map(str::trim).find(|line| !line.is_empty())?;
        Some(line.chars().take(SHOWN).collect())
    }

    /// The last lines.
    pub fn tail(&mut self) -> Result<String> {
        let mut bytes = Vec::new();
        let mut read = || -> io::Result<()> {
            self.0.rewind()?;
            self.0.read_to_end(&mut bytes).map(drop)
        };
        read().map_err(Error::io("read what the program said"))?;
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().collect();
        Ok(lines.get(lines.len().saturating_sub(TAIL)..).unwrap_or_default().join("\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn the_last_line_that_has_anything_in_it_is_shown_while_the_program_goes_on_writing() {
        let mut said = Said::begin().unwrap();
        assert_eq!(said.last_line(), None);
        let long = "x".repeat(5000);
        write!(said.0, "I: installing\n{long}\nI: configuring  \n\n").unwrap();
        assert_eq!(said.last_line().unwrap(), "I: configuring");
        write!(said.0, "{long}").unwrap();
        assert_eq!(said.last_line().unwrap().len(), SHOWN);
        assert_eq!(said.0.metadata().unwrap().len(), 10_033, "nothing was written over");
    }
}
