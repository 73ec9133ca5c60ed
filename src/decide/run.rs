//! One run of the site's program: a question on its stdin, an answer of its stdout, and an end that it does not choose alone.
//!
//! It is over when the program itself has ended, whoever else still has its stdout open: what it has printed by then is the
//! answer. Whatever is in its process group by then is ended with it; what has left that is the launcher's to find.

use std::io::{self, Read, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use oneroot_bootconf::Program;
use oneroot_bootconf::answer::LONGEST;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use super::wire::{LONGEST_SAID, Outcome, Ran};
use crate::forked::ENDING;

/// All of a run's environment. What the server was started with is not the program's to know.
const ENVIRONMENT: [(&str, &str); 2] =
    [("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"), ("LANG", "C.UTF-8")];
/// Memory that each of its processes may take, in bytes.
const MEMORY: u64 = 512 << 20;
/// Files that each may have open, and the size of one that it writes, in bytes.
const FILES: u64 = 256;
const LARGEST_FILE: u64 = 64 << 20;
/// How long the end of a program is waited for that was killed. One that hangs on a disk or a share ends later.
const ENDS: Duration = Duration::from_millis(200);

/// Whether every user may write to a file that is run for the site: then none of them needs to be asked.
pub fn is_open(path: &Path) -> bool {
    path.metadata().is_ok_and(|meta| meta.permissions().mode() & 0o002 != 0)
}

/// Runs the program in the site's directory. `gone` is a socket whose other end is closed when nobody waits any more.
pub fn run(program: &Program, home: &Path, question: &[u8], gone: Option<BorrowedFd<'_>>) -> Ran {
    if is_open(&program.path) {
        return Ran::silent(Outcome::Open);
    }
    let deadline = Instant::now() + Duration::from_secs(program.timeout.into());
    let started = command(program, home).spawn().and_then(|child| Running::of(child, question));
    match started {
        Ok(mut running) => running.until(deadline, gone),
        Err(cause) => Ran::silent(Outcome::NotRun(cause.raw_os_error().unwrap_or(libc::EIO))),
    }
}

fn command(program: &Program, home: &Path) -> Command {
    let mut command = Command::new(&program.path);
    command.args(&program.args).env_clear().envs(ENVIRONMENT).current_dir(home).process_group(0);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let seconds = u64::from(program.timeout) + 1;
    let limits = [
        (libc::RLIMIT_DATA, MEMORY),
        (libc::RLIMIT_CORE, 0),
        (libc::RLIMIT_CPU, seconds),
        (libc::RLIMIT_NOFILE, FILES),
        (libc::RLIMIT_FSIZE, LARGEST_FILE),
    ];
    let begin = move || {
        for (resource, most) in limits {
            let limit = libc::rlimit { rlim_cur: most, rlim_max: most };
            // SAFETY: `limit` lives as long as the call, which only reads it.
            if unsafe { libc::setrlimit(resource, &raw const limit) } != 0 {
                return Err(io::Error::last_os_error());
            }
        }
        for signal in ENDING {
            // What the launcher ignores would stay ignored.
            // SAFETY: SIG_DFL is no handler, so no code runs in a signal's context.
            unsafe { libc::signal(signal, libc::SIG_DFL) };
        }
        Ok(())
    };
    // SAFETY: the closure runs between fork and exec and makes two system calls, both async-signal-safe; it allocates nothing and
    // takes no lock.
    unsafe { command.pre_exec(begin) };
    command
}

/// A program that runs, with what was read of it so far.
struct Running<'q> {
    child: Child,
    /// What of the question is still to be written.
    question: &'q [u8],
    printed: Vec<u8>,
    said: Vec<u8>,
}

/// What there is to do next.
enum Next {
    GoOn,
    Ended,
    End(Outcome),
}

impl<'q> Running<'q> {
    fn of(mut child: Child, question: &'q [u8]) -> io::Result<Self> {
        if let Err(cause) = never_waits(&child) {
            let _ = child.kill();
            return Err(cause.into());
        }
        Ok(Self { child, question, printed: Vec::new(), said: Vec::new() })
    }

    fn until(&mut self, deadline: Instant, gone: Option<BorrowedFd<'_>>) -> Ran {
        let outcome = loop {
            match self.step(deadline, gone) {
                Ok(Next::GoOn) => {}
                Ok(Next::Ended) => break self.ended(),
                Ok(Next::End(outcome)) => {
                    self.end();
                    break outcome;
                }
                Err(cause) => {
                    self.end();
                    break Outcome::NotRun(cause.raw_os_error().unwrap_or(libc::EIO));
                }
            }
        };
        Ran { outcome, said: std::mem::take(&mut self.said) }
    }

    fn pid(&self) -> Option<Pid> {
        i32::try_from(self.child.id()).ok().and_then(Pid::from_raw)
    }

    /// Waits for whatever comes first, and takes it in.
    fn step(&mut self, deadline: Instant, gone: Option<BorrowedFd<'_>>) -> io::Result<Next> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(Next::End(Outcome::Late));
        }
        let pid = self.pid().ok_or(Errno::SRCH)?;
        let process = pidfd_open(pid, PidfdFlags::empty())?;
        let mut polled = vec![PollFd::new(&process, PollFlags::IN)];
        // The end of a socket or pipe is told whatever is asked of it.
        polled.extend(gone.as_ref().map(|gone| PollFd::new(gone, PollFlags::empty())));
        polled.extend(self.child.stdin.as_ref().map(|pipe| PollFd::new(pipe, PollFlags::OUT)));
        polled.extend(self.child.stdout.as_ref().map(|pipe| PollFd::new(pipe, PollFlags::IN)));
        polled.extend(self.child.stderr.as_ref().map(|pipe| PollFd::new(pipe, PollFlags::IN)));
        match poll(&mut polled, Some(&Timespec::try_from(left).map_err(io::Error::other)?)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(cause) => return Err(cause.into()),
        }
        let mut told = polled.iter().map(|one| !one.revents().is_empty());
        let has_ended = told.next().unwrap_or(false);
        if gone.is_some() && told.next().unwrap_or(false) {
            return Ok(Next::End(Outcome::Gone));
        }
        self.ask()?;
        if self.listen()? {
            return Ok(Next::End(Outcome::TooLong));
        }
        Ok(if has_ended { Next::Ended } else { Next::GoOn })
    }

    /// Writes what there is room for; a program may read as little of it as it likes.
    fn ask(&mut self) -> io::Result<()> {
        while let Some(pipe) = self.child.stdin.as_mut() {
            match pipe.write(self.question) {
                Ok(written) if written < self.question.len() => {
                    self.question = self.question.get(written..).unwrap_or_default();
                }
                Ok(_) => self.child.stdin = None,
                Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => break,
                Err(cause) if cause.kind() == io::ErrorKind::BrokenPipe => self.child.stdin = None,
                Err(cause) => return Err(cause),
            }
        }
        Ok(())
    }

    /// Reads what there is; whether it is too much.
    fn listen(&mut self) -> io::Result<bool> {
        let Self { child, printed, said, .. } = self;
        let mut is_too_long = false;
        taken(&mut child.stdout, |bytes| {
            printed.extend_from_slice(bytes);
            is_too_long = printed.len() > LONGEST;
            !is_too_long
        })?;
        // Of one that never stops the rest is read later, for the deadline has to be seen.
        let mut most = LONGEST;
        taken(&mut child.stderr, |bytes| {
            said.extend_from_slice(bytes);
            said.drain(..said.len().saturating_sub(LONGEST_SAID));
            most = most.saturating_sub(bytes.len());
            most > 0
        })?;
        Ok(is_too_long)
    }

    /// The program has ended by itself. Its group goes while its id is nobody else's: it is not waited for yet.
    fn ended(&mut self) -> Outcome {
        self.kill();
        // What came in the moment before its end.
        let is_too_long = self.listen().unwrap_or(false);
        match self.child.wait() {
            Ok(_) if is_too_long => Outcome::TooLong,
            Ok(status) => outcome(status, std::mem::take(&mut self.printed)),
            Err(cause) => Outcome::NotRun(cause.raw_os_error().unwrap_or(libc::EIO)),
        }
    }

    /// Ends it with its group, and waits a moment so that it is gone where it can be.
    fn end(&mut self) {
        self.kill();
        let until = Instant::now() + ENDS;
        while self.child.try_wait().is_ok_and(|ended| ended.is_none()) && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn kill(&self) {
        // What ignores SIGTERM would have to be killed all the same, and has nothing to put in order.
        let _ = self.pid().map(|pid| kill_process_group(pid, Signal::KILL));
    }
}

/// Has nothing wait on the pipes of a program but [`poll`].
fn never_waits(child: &Child) -> rustix::io::Result<()> {
    let pipes = [
        child.stdin.as_ref().map(|pipe| pipe.as_fd()),
        child.stdout.as_ref().map(|pipe| pipe.as_fd()),
        child.stderr.as_ref().map(|pipe| pipe.as_fd()),
    ];
    pipes.into_iter().flatten().try_for_each(|pipe| rustix::fs::fcntl_setfl(pipe, OFlags::NONBLOCK))
}

/// Reads a pipe until nothing is there or `take` has had enough; closes it at its end.
fn taken(pipe: &mut Option<impl Read>, mut take: impl FnMut(&[u8]) -> bool) -> io::Result<()> {
    let mut buffer = [0; 16 << 10];
    while let Some(open) = pipe.as_mut() {
        match open.read(&mut buffer) {
            Ok(0) => *pipe = None,
            Ok(count) => {
                if !take(buffer.get(..count).unwrap_or_default()) {
                    break;
                }
            }
            Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => break,
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
            Err(cause) => return Err(cause),
        }
    }
    Ok(())
}

fn outcome(status: ExitStatus, printed: Vec<u8>) -> Outcome {
    match (status.code(), status.signal()) {
        (Some(0), _) => Outcome::Answered(printed),
        (Some(code), _) => Outcome::Exit(code),
        (None, signal) => Outcome::Signal(signal.unwrap_or(0)),
    }
}
