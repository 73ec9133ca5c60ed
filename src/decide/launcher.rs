//! The process that starts the site's program for a confined server, which can't: forked before the server confines itself, and
//! told then, once and for all, which program that is. Nobody who takes the server over gets another one started.
//!
//! ```text
//! oneroot ──lanes──▶ or-decide     forks a runner for the question that has come by a lane; says when the lane is free again
//!     └─────one lane──▶ runner      reads the question, runs the program, answers; ends all that the program has left
//! ```
//!
//! A runner adopts what its program leaves behind (PR_SET_CHILD_SUBREAPER), and ends only when nothing of it is there any more:
//! what has made itself a daemon is found as a child of the runner, in whatever group or session.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::panic::set_hook;
use std::path::Path;
use std::process::exit;
use std::time::Duration;

use oneroot_bootconf::Program;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, getpid, kill_process, pidfd_open, set_child_subreaper, wait,
    waitpid,
};
use rustix::thread::set_name;

use super::Purpose;
use super::run::run;
use super::wire::{FREE, LONGEST_QUESTION, Outcome, Ran};
use crate::confine::rendering;
use crate::forked::{self, fork};

/// Exit code of a panic.
const PANICKED: i32 = 101;
/// How long it is waited at first, and at most, between two looks whether what was killed is gone.
const LOOKS: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(100));

/// Forks it, and gives the lanes that lead to it: as many as there may be runs at once. Before this process has a second thread.
///
/// # Errors
/// There are no sockets or no process to be had.
pub fn begin(program: &Program, home: &Path, purpose: Purpose) -> io::Result<Vec<OwnedFd>> {
    let pair = |_| socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None);
    let pairs = (0..program.at_once).map(pair).collect::<rustix::io::Result<Vec<_>>>()?;
    let (ours, its): (Vec<OwnedFd>, Vec<OwnedFd>) = pairs.into_iter().unzip();
    match fork()? {
        Some(_) => Ok(ours),
        None => {
            drop(ours);
            let lanes = its.into_iter().map(Lane::free).collect();
            Launcher { program, home, names: purpose.names(), lanes }.serve()
        }
    }
}

/// One way for questions.
struct Lane {
    socket: OwnedFd,
    runner: Option<Runner>,
}

struct Runner {
    pid: Pid,
    ends: OwnedFd,
}

impl Lane {
    fn free(socket: OwnedFd) -> Self {
        Self { socket, runner: None }
    }

    /// What says that there is something to do. A runner reads its lane itself, and its end is told.
    fn waits_for(&self) -> BorrowedFd<'_> {
        self.runner.as_ref().map_or(self.socket.as_fd(), |runner| runner.ends.as_fd())
    }
}

struct Launcher<'p> {
    program: &'p Program,
    home: &'p Path,
    /// Its own name, and its runners'.
    names: [&'static CStr; 2],
    lanes: Vec<Lane>,
}

impl Launcher<'_> {
    fn serve(mut self) -> ! {
        set_hook(Box::new(|_| exit(PANICKED)));
        forked::shed(&self.lanes.iter().map(|lane| lane.socket.as_raw_fd()).collect::<Vec<_>>());
        forked::outlive_signals();
        let [name, _] = self.names;
        let _ = set_name(name);
        forked::give_way();
        // A program that is root's has no capability of root's: neither this process nor anything that it starts.
        rendering::give_up_all();
        adopt();
        while !self.lanes.is_empty() {
            for at in self.ready() {
                self.serve_lane(at);
            }
            // The server has closed its end, and no runner is on it.
            self.lanes.retain(|lane| lane.runner.is_some() || !is_closed(lane));
        }
        end_all(&[]);
        exit(0);
    }

    /// Waits for questions and for the end of runs: the places of the lanes on which something has happened.
    fn ready(&self) -> Vec<usize> {
        let waits = |lane| PollFd::from_borrowed_fd(Lane::waits_for(lane), PollFlags::IN);
        let mut polled: Vec<PollFd<'_>> = self.lanes.iter().map(waits).collect();
        if poll(&mut polled, None).is_err() {
            return Vec::new();
        }
        let told = polled.iter().enumerate().filter(|(_, one)| !one.revents().is_empty());
        told.map(|(at, _)| at).collect()
    }

    fn serve_lane(&mut self, at: usize) {
        let runners: Vec<Pid> =
            self.lanes.iter().filter_map(|lane| Some(lane.runner.as_ref()?.pid)).collect();
        let (program, home, [_, name]) = (self.program, self.home, self.names);
        let Some(lane) = self.lanes.get_mut(at) else { return };
        match lane.runner.take() {
            Some(Runner { pid, .. }) => {
                let _ = waitpid(Some(pid), WaitOptions::empty());
                // A runner that was killed from outside has left its program to this process.
                end_all(&runners.into_iter().filter(|other| *other != pid).collect::<Vec<_>>());
                let _ = send(&lane.socket, &FREE, SendFlags::NOSIGNAL);
            }
            None if is_closed(lane) => {}
            None => match begin_run(program, home, name, &lane.socket) {
                Ok(runner) => lane.runner = Some(runner),
                Err(cause) => {
                    let _ = recv(&lane.socket, &mut [0; LONGEST_QUESTION][..], RecvFlags::empty());
                    let errno = cause.raw_os_error().unwrap_or(libc::EAGAIN);
                    let told = Ran::silent(Outcome::NotRun(errno)).bytes();
                    let _ = send(&lane.socket, &told, SendFlags::NOSIGNAL);
                    let _ = send(&lane.socket, &FREE, SendFlags::NOSIGNAL);
                }
            },
        }
    }
}

/// Whether the other end of a lane is closed and nothing waits on it.
fn is_closed(lane: &Lane) -> bool {
    let peek = recv(&lane.socket, &mut [0; 1][..], RecvFlags::PEEK | RecvFlags::DONTWAIT);
    matches!(peek, Ok((_, 0)) | Err(Errno::CONNRESET | Errno::PIPE))
}

/// Forks a runner for the question that waits on a lane.
fn begin_run(program: &Program, home: &Path, name: &CStr, lane: &OwnedFd) -> io::Result<Runner> {
    match fork()? {
        Some(pid) => {
            let ends = pidfd_open(pid, PidfdFlags::empty());
            // Without it the run's end would not be noticed: Linux before 5.3.
            let ends = ends.inspect_err(|_| {
                let _ = kill_process(pid, Signal::KILL);
            })?;
            Ok(Runner { pid, ends })
        }
        None => {
            forked::shed(&[lane.as_raw_fd()]);
            let _ = set_name(name);
            adopt();
            let mut question = vec![0; LONGEST_QUESTION];
            let ran = match recv(lane, &mut question[..], RecvFlags::empty()) {
                Ok((_, 0)) | Err(_) => exit(0),
                Ok((_, length)) => {
                    run(program, home, question.get(..length).unwrap_or_default(), Some(lane.as_fd()))
                }
            };
            // Whoever waits goes on; this process and its lane wait for what is left.
            let _ = send(lane, &ran.bytes(), SendFlags::NOSIGNAL);
            end_all(&[]);
            exit(0);
        }
    }
}

/// What a descendant leaves behind is this process' child from now on.
fn adopt() {
    let _ = set_child_subreaper(Some(getpid()));
}

/// Kills all children but these until there are none: those of one that was killed come up as children of this process.
fn end_all(but: &[Pid]) {
    let (mut pause, longest) = LOOKS;
    loop {
        let left: Vec<Pid> = children().into_iter().filter(|child| !but.contains(child)).collect();
        for child in &left {
            let _ = kill_process(*child, Signal::KILL);
        }
        for child in &left {
            let _ = waitpid(Some(*child), WaitOptions::NOHANG);
        }
        // Of all children: waitpid(None) would ask for those of this process' group alone, and a daemon has one of its own.
        let is_done = match but.is_empty() {
            true => matches!(wait(WaitOptions::NOHANG), Err(Errno::CHILD)),
            false => left.is_empty(),
        };
        if is_done {
            return;
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(longest);
    }
}

/// This process' children, by what /proc says of all processes: a kernel need not have a list of them.
fn children() -> Vec<Pid> {
    let own = getpid();
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok().and_then(Pid::from_raw));
    ids.filter(|pid| parent(*pid) == Some(own)).collect()
}

fn parent(pid: Pid) -> Option<Pid> {
    let stat = std::fs::read(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    // The name before it may have anything in it, parentheses too.
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(stat.get(end + 2..)?).ok()?;
    rest.split(' ').nth(1)?.parse().ok().and_then(Pid::from_raw)
}
