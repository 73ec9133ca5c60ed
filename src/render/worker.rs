//! The process that renders: bounded by the kernel, and good for one template after the other until one ends it.

use std::os::unix::net::UnixStream;
use std::process::exit;

use oneroot_bootconf::render::render;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};

use super::wire::{Asked, Replies, receive, send};
use super::{MEMORY, SECONDS, STACK};
use crate::confine::rendering;

/// A process that has had more than this resident, in KiB, is ended after its reply: what its heap keeps of one template
/// would be missing to the next.
const WORN: libc::c_long = 64 << 10;
/// Exit code: the kernel would not bound it, so nothing is rendered.
pub const UNBOUNDED: i32 = 3;

/// Renders what is asked for on `socket` until that ends.
pub fn work(socket: &UnixStream) -> ! {
    if bound().is_err() {
        exit(UNBOUNDED);
    }
    as_ever();
    // What this kernel can't do is no reason to render nothing: see `rendering`.
    let _ = rendering::bind_worker();
    while let Ok(message) = receive(socket) {
        let Ok(Asked { file, text, facts, wanted }) = serde_json::from_slice(&message) else { break };
        let replies = facts.iter().map(|facts| {
            // For each machine anew, or the last of many would find nothing left.
            if allow_time().is_err() {
                exit(UNBOUNDED);
            }
            render(&file, &text, facts).map(|text| if wanted { text } else { String::new() })
        });
        let replies: Replies = replies.collect();
        if send(socket, &replies).is_err() || most_resident() > WORN {
            break;
        }
    }
    exit(0);
}

/// Memory, stack, descriptors, core files: for good, so the upper limits too.
fn bound() -> rustix::io::Result<()> {
    let limits =
        [(Resource::Data, MEMORY), (Resource::Stack, STACK), (Resource::Core, 0), (Resource::Nofile, 8)];
    for (resource, limit) in limits {
        let most = getrlimit(resource).maximum.map_or(limit, |maximum| maximum.min(limit));
        setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })?;
    }
    Ok(())
}

/// What the next template may take of a processor. The kernel counts in whole seconds, so it has up to one more.
fn allow_time() -> rustix::io::Result<()> {
    let used = u64::try_from(clock_gettime(ClockId::ProcessCPUTime).tv_sec).unwrap_or(0);
    let limit = getrlimit(Resource::Cpu);
    setrlimit(Resource::Cpu, Rlimit { current: Some(used + 1 + SECONDS), ..limit })
}

/// Signals do what they do without us, so that each end has a signal of its own: Rust's own handler would turn the end of
/// the stack into an abort, and that is the end of memory.
fn as_ever() {
    for signal in [libc::SIGSEGV, libc::SIGBUS, libc::SIGABRT, libc::SIGXCPU, libc::SIGXFSZ] {
        // SAFETY: SIG_DFL is no handler of ours, so no code runs in a signal's context; nothing else in this process, which
        // has one thread, counts on the handlers that were there.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    // SAFETY: all zeros is an empty set in every libc, the call only reads it, and asks for nothing back.
    unsafe {
        let none: libc::sigset_t = std::mem::zeroed();
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
}

/// The most that this process has had resident, in KiB.
fn most_resident() -> libc::c_long {
    // SAFETY: all zeros is a valid `rusage`, which is numbers; the call writes it and keeps no pointer to it.
    unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &raw mut usage);
        usage.ru_maxrss
    }
}
