//! The process that forks workers, one at a time and when it is asked to, and says how each has ended.
//!
//! It reads nothing of what is rendered: a worker's socket goes to whoever asked, and the supervisor keeps no end of it.

use std::io::{self, IoSlice, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::panic::set_hook;
use std::process::exit;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, getppid, pidfd_open, set_parent_process_death_signal, waitpid,
};
use rustix::thread::set_name;

use super::wire::Word;
use super::worker;
use crate::confine::rendering;
use crate::forked::{self, fork};

/// Exit code of a panic.
const PANICKED: i32 = 101;

/// Forks it; its id, and the end of the socket that asks it for workers. Before this process has a second thread.
///
/// # Errors
/// There is no socket or no process to be had.
pub fn begin() -> io::Result<(Pid, UnixStream)> {
    let (ours, its) = UnixStream::pair()?;
    let parent = rustix::process::getpid();
    match fork()? {
        Some(child) => Ok((child, ours)),
        None => {
            drop(ours);
            supervise(&its, parent)
        }
    }
}

/// Ends with its parent, by whatever that ends.
fn end_with(parent: Pid) {
    let _ = set_parent_process_death_signal(Some(Signal::KILL));
    // It may have ended before that was in force.
    if getppid() != Some(parent) {
        exit(0);
    }
}

fn supervise(control: &UnixStream, parent: Pid) -> ! {
    set_hook(Box::new(|_| exit(PANICKED)));
    forked::shed(&[control.as_raw_fd()]);
    forked::outlive_signals();
    // A name is for people who look at the processes.
    let _ = set_name(c"or-templates");
    forked::give_way();
    rendering::give_up_all();
    end_with(parent);
    // What this kernel can't do is no reason to render nothing.
    let _ = rendering::bind_supervisor();
    while asked(control) {
        let told = match worker(control) {
            Ok(worker) => {
                watch(worker, control);
                ended(worker)
            }
            Err(cause) => Word::NotBegun(cause.raw_os_error().unwrap_or(0)),
        };
        if { control }.write_all(&told.bytes()).is_err() {
            break;
        }
    }
    exit(0);
}

/// Waits until a worker is wanted; not when nobody is there any more.
fn asked(mut control: &UnixStream) -> bool {
    control.read_exact(&mut [0]).is_ok()
}

/// Forks a worker and hands its socket over.
fn worker(control: &UnixStream) -> io::Result<Pid> {
    let (theirs, its) = UnixStream::pair()?;
    let parent = rustix::process::getpid();
    let Some(child) = fork()? else {
        drop(theirs);
        forked::shed(&[its.as_raw_fd()]);
        let _ = set_name(c"or-render");
        end_with(parent);
        worker::work(&its);
    };
    drop(its);
    // Where it does not arrive, nobody is there, and the worker sees its socket end.
    let _ = hand_over(control, OwnedFd::from(theirs));
    Ok(child)
}

fn hand_over(control: &UnixStream, socket: OwnedFd) -> rustix::io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut with = SendAncillaryBuffer::new(&mut space);
    let sockets = [socket.as_fd()];
    with.push(SendAncillaryMessage::ScmRights(&sockets));
    sendmsg(control, &[IoSlice::new(&Word::Begun.bytes())], &mut with, SendFlags::NOSIGNAL)?;
    drop(socket);
    Ok(())
}

/// Waits until the worker has ended, or the server has: then this process ends at once, and the worker with it. The signal
/// that a parent's death sends does not come from a confined server, for Landlock forbids it each signal to others.
fn watch(worker: Pid, control: &UnixStream) {
    // Before Linux 5.3 a worker ends with its template, and this process then.
    let Ok(worker) = pidfd_open(worker, PidfdFlags::empty()) else { return };
    loop {
        // Of a socket whose other end is closed the kernel tells whatever is asked.
        let mut both = [PollFd::new(&worker, PollFlags::IN), PollFd::new(control, PollFlags::empty())];
        match poll(&mut both, None) {
            Err(Errno::INTR) => {}
            // Then the worker's own end is all that is waited for.
            Err(_) => return,
            Ok(_) => {
                let [worker, control] = both.map(|one| !one.revents().is_empty());
                if control {
                    exit(0);
                }
                if worker {
                    return;
                }
            }
        }
    }
}

/// Waits for the end of a child.
pub fn ended(worker: Pid) -> Word {
    loop {
        match waitpid(Some(worker), WaitOptions::empty()) {
            Err(Errno::INTR) => {}
            Ok(Some((_, status))) => {
                return match status.terminating_signal() {
                    Some(signal) => Word::Signal(signal),
                    None => Word::Exit(status.exit_status().unwrap_or(0)),
                };
            }
            Ok(None) => {}
            // There is no such child: it can't be said how it has ended.
            Err(_) => return Word::Exit(PANICKED),
        }
    }
}
