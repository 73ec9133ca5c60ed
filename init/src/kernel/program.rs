//! Programs of the tree that are given so much time and no more. Each is in a process group of its own, so that what it has started goes
//! with it.

use std::io::Read;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{OFlags, fcntl_setfl};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use super::Result;
use super::net::errno;

/// How often it is looked whether a program has ended.
const LOOKS: Duration = Duration::from_millis(20);
/// How long a program that was killed is waited for: one that waits for a file server without end does not die of it.
const DIES: Duration = Duration::from_secs(1);

/// What became of a program that was asked something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ran {
    /// How it ended.
    pub ended: Ended,
    /// What it has printed, and no more than it was to print.
    pub printed: Vec<u8>,
}

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// By itself, with this status.
    With(i32),
    /// By a signal of this number.
    By(i32),
    /// It was killed, for its time was over.
    Late,
    /// It was killed, for it printed on.
    TooMuch,
}

/// A program that runs.
struct Running {
    child: Child,
    pid: Pid,
    end: Instant,
}

/// Runs a program to its end; none where it was killed for being late, with all of its group.
pub(super) fn run(command: &mut Command, within: Duration) -> Result<Option<ExitStatus>> {
    let mut running = Running::start(command, within)?;
    loop {
        if running.has_ended()? {
            return running.child.wait().map(Some).map_err(errno);
        }
        if running.is_late() {
            running.kill();
            return Ok(None);
        }
        thread::sleep(LOOKS);
    }
}

/// Runs a program that has nothing to read and is to print at most so many bytes. What it leaves in its group is killed, and what has
/// left that has nobody who reads what it prints.
pub(super) fn ask(program: &str, most: usize, within: Duration) -> Result<Ran> {
    let mut command = Command::new(program);
    let mut running = Running::start(command.stdin(Stdio::null()).stdout(Stdio::piped()), within)?;
    let mut printed = Vec::new();
    let watched = running.watch(most, &mut printed);
    let status = running.kill();
    let ended = match watched? {
        Some(ended) => ended,
        None => match status {
            Some(status) => status.code().map_or(Ended::By(status.signal().unwrap_or(0)), Ended::With),
            None => Ended::Late,
        },
    };
    printed.truncate(most);
    Ok(Ran { ended, printed })
}

impl Running {
    fn start(command: &mut Command, within: Duration) -> Result<Self> {
        let end = Instant::now() + within;
        let child = command.process_group(0).spawn().map_err(errno)?;
        let pid = Pid::from_child(&child);
        Ok(Self { child, pid, end })
    }

    /// Whether it has ended. Until it is waited for, its number is nobody else's, nor is its group's.
    fn has_ended(&self) -> Result<bool> {
        let looks = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        Ok(waitid(WaitId::Pid(self.pid), looks)?.is_some())
    }

    fn is_late(&self) -> bool {
        Instant::now() >= self.end
    }

    /// Reads what it prints until it has ended; why it is to be killed before that, if it is.
    fn watch(&mut self, most: usize, printed: &mut Vec<u8>) -> Result<Option<Ended>> {
        let mut pipe = self.child.stdout.take().ok_or(Errno::PIPE)?;
        fcntl_setfl(&pipe, OFlags::NONBLOCK)?;
        loop {
            // Asked before the pipe is read: all that it has printed is there then. Who else has the pipe may print for ever.
            let has_ended = self.has_ended()?;
            let room = (most + 1).saturating_sub(printed.len());
            // What was read stays, whatever comes then; most often there is nothing more for now.
            let _ = pipe.by_ref().take(room.try_into().unwrap_or(0)).read_to_end(printed);
            if printed.len() > most {
                return Ok(Some(Ended::TooMuch));
            }
            if has_ended {
                return Ok(None);
            }
            if self.is_late() {
                return Ok(Some(Ended::Late));
            }
            thread::sleep(LOOKS);
        }
    }

    /// Kills what there is of its group, and says how it ended, where it has.
    fn kill(&mut self) -> Option<ExitStatus> {
        let _ = kill_process_group(self.pid, Signal::KILL);
        let end = Instant::now() + DIES;
        loop {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Some(status);
            }
            if Instant::now() >= end {
                return None;
            }
            thread::sleep(LOOKS);
        }
    }
}
